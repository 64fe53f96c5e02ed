"""Four neuromodulators as effects on a spike rule's potentiation and depression, each number with its source.

Arguments name the amplitudes: "A_plus" and "A_minus" of `pair`, "A3_plus" and "A2_minus" of `triplet`. None is what no source
gives as a number, only its direction: using it raises, unless it is given with `dataclasses.replace`. Concentrations in uM,
times in ms. Secondary: as told by Gerstner, Lehmann, Liakoni, Corneil & Brea 2018, Front Neural Circuits 12:53.
"""

from __future__ import annotations

from neurosim.rules.modulation import Effect, Gain, Receptor, Tag, Width

BRZOSKO = "Brzosko et al. 2017, eLife 6:e27756, mouse CA1"
FITTED = f"{BRZOSKO}; fitted in the study modulated_windows"
SEOL = "Seol et al. 2007, visual cortex: direction alone"
HE = "He et al. 2015, visual and frontal cortex: direction; how long it lasts: secondary"

M1 = Receptor(
    "M1", "acetylcholine", EC50=0.24, n=1.0, covered=(0.1, 1.0), source=f"{FITTED}; n = 1 chosen, there are two doses"
)
D1 = Receptor("D1", "dopamine", source="no dose-response is known")
BETA = Receptor("beta", "noradrenaline", source="no dose-response is known")
HT2C = Receptor("5-HT2C", "serotonin", source="no dose-response is known")


def acetylcholine(potentiation: str = "A_plus", depression: str = "A_minus") -> tuple[Effect, ...]:
    """Muscarinic, during pairing: potentiation times 1 - 2.2 h, which is depression above 0.2 uM; depression stays.

    Disputed: in rat CA1 it facilitates potentiation and turns depression into it.
    """
    return (Gain(M1, potentiation, -1.2, FITTED, disputed="Sugisaki et al. 2011, rat CA1: the opposite sign"),)


def dopamine(
    potentiation: str = "A_plus", depression: str = "A_minus", tau_plus: str = "tau_plus"
) -> tuple[Effect, ...]:
    """D1/D5. After pairing, within about a minute, what was depressed is potentiated: 0.56 of it per s and of what is left.

    During pairing depression becomes potentiation and the window widens; no number is known.
    """
    about_a_minute = f"{FITTED}; tau_e = 60 s chosen: within about 1 min it converts, after 10 min not (secondary)"
    return (
        Tag(D1, potentiation, 60_000.0, 0.56e-3, about_a_minute, depression=True),
        Tag(D1, depression, 60_000.0, 0.56e-3, about_a_minute, depression=True),
        Gain(D1, depression, None, f"{BRZOSKO}: during pairing both orders potentiate, without a number"),
        Width(D1, tau_plus, None, f"{BRZOSKO}: during pairing the window is broader, without a number"),
    )


def noradrenaline(potentiation: str = "A_plus", depression: str = "A_minus") -> tuple[Effect, ...]:
    """Beta-adrenergic: while pairing both orders potentiate; later the tag of potentiation, which lasts 5 to 10 s, is read."""
    return (
        Gain(BETA, depression, None, f"{SEOL}; both orders potentiate"),
        Tag(BETA, potentiation, None, None, f"{HE}, 5 to 10 s"),
    )


def serotonin(depression: str = "A_minus") -> tuple[Effect, ...]:
    """5-HT2C: after pairing the tag of depression, which lasts about 3 s, is read."""
    return (Tag(HT2C, depression, 3000.0, None, f"{HE}, about 3 s"),)
