"""Spike-timing rules as values: pair and triplet STDP, weight dependence, inhibitory and symmetric windows.

Each function returns a `SpikeRule` (see `spike_rule.py` for timing). Delta t = t_post - t_pre, amplitudes are positive and
the sign is in the term, times in ms, rates in Hz. ValueError for a negative amplitude or a time constant that is not positive.

Triplet STDP is printed here as Pfister & Gerstner (2006) published it, beside a slide that misprints it:

    published                                             a slide in circulation
    pre spike:   dw = -o1 (A2_minus + A3_minus r2)        t = t_post: p1 = p1 + 1, dw_LTP = p1(t - eps) A3_plus
                 r1 <- r1 + 1,  r2 <- r2 + 1              t = t_pre:  o1 = o1 + 1, dw_LTD = -o1 A2_minus, o2 = o2 + 1
    post spike:  dw = r1 (A2_plus + A3_plus o2(t - eps))
                 o1 <- o1 + 1,  o2 <- o2 + 1

The slide's p1 is r1 here. It bumps p1 at post spikes and o1, o2 at pre spikes, where the rule has it the other way round,
and its potentiation lacks the factor o2, read just before the post spike: published is dw_LTP = A3_plus p1 o2(t - eps).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from neurosim.rules.spike_rule import Power, SpikeRule, Term, Trace

__all__ = [
    "DIEHL_COOK_RULE", "PFISTER_GERSTNER", "Power", "SpikeRule", "Term", "Trace", "TripletSet", "inhibitory",
    "morrison", "multiplicative", "pair", "symmetric", "triplet", "van_rossum",
]  # fmt: skip


def amplitudes(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: given {value}, an amplitude is not negative: the sign is in the term")
        if value == float("inf"):
            raise ValueError(f"{name}: given {value}, an amplitude is finite")


def time_constant(name: str, tau: float) -> None:
    Trace("pre", tau, parameter=name)  # says so where it is not positive


def pair(
    A_plus: float = 0.01,
    A_minus: float = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    nearest: bool = False,
    potentiation: Power | None = None,
    depression: Power | None = None,
    source: str = "Song, Miller & Abbott 2000, Nat Neurosci 3:919; window: Bi & Poo 1998, J Neurosci 18:10464",
) -> SpikeRule:
    """dw = A_plus exp(-Delta t/tau_plus) for post after pre, -A_minus exp(Delta t/tau_minus) for pre after post.

    All-to-all, or `nearest` spikes only. `potentiation` and `depression` are factors f(w) of the two; none: additive.
    Source: Song, Miller & Abbott 2000, Nat Neurosci 3:919 (additive, with hard bounds; window of Bi & Poo 1998).
    """
    amplitudes({"A_plus": A_plus, "A_minus": A_minus})
    return SpikeRule(
        {
            "r1": Trace("pre", tau_plus, nearest, "tau_plus"),
            "o1": Trace("post", tau_minus, nearest, "tau_minus"),
        },
        (
            Term(A_plus, ("post", "r1"), parameter="A_plus", weight=potentiation),
            Term(-A_minus, ("pre", "o1"), parameter="A_minus", weight=depression),
        ),
        source=source,
    )


def multiplicative(
    A_plus: float = 0.01,
    A_minus: float = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    w_max: float = 1.0,
    mu: float = 1.0,
) -> SpikeRule:
    """dw = A_plus ((w_max - w)/w_max)^mu exp(-Delta t/tau_plus),   -A_minus (w/w_max)^mu exp(Delta t/tau_minus).

    mu = 1 is multiplicative, mu = 0 additive. Source: Guetig, Aharonov, Rotter & Sompolinsky 2003, J Neurosci 23:3697.
    """
    if not w_max > 0:
        raise ValueError(f"w_max: given {w_max}, the largest weight must be positive")
    up, down = Power(mu, w_max, w_max), Power(mu, w_max)
    source = "Guetig, Aharonov, Rotter & Sompolinsky 2003, J Neurosci 23:3697"
    return pair(A_plus, A_minus, tau_plus, tau_minus, potentiation=up, depression=down, source=source)


def van_rossum(c_p: float = 1.0, c_d: float = 0.003, tau_plus: float = 20.0, tau_minus: float = 20.0) -> SpikeRule:
    """dw = c_p exp(-Delta t/tau_plus),   -c_d w exp(Delta t/tau_minus);   c_p in the unit of w (pS there).

    Its noise in proportion to w is left out: it widens the distribution and does not move the mean. Source: van Rossum, Bi
    & Turrigiano 2000, J Neurosci 20:8812.
    """
    amplitudes({"c_p": c_p, "c_d": c_d})
    source = "van Rossum, Bi & Turrigiano 2000, J Neurosci 20:8812, without its noise"
    return pair(c_p, c_d, tau_plus, tau_minus, depression=Power(1.0), source=source)


def morrison(
    lam: float = 0.1,
    alpha: float = 1.0,
    mu: float = 0.4,
    w0: float = 1.0,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
) -> SpikeRule:
    """dw = lam w0^(1-mu) w^mu exp(-Delta t/tau_plus),   -lam alpha w exp(Delta t/tau_minus).

    Source: Morrison, Aertsen & Diesmann 2007, Neural Comput 19:1437.
    """
    amplitudes({"lam": lam, "alpha": alpha})
    source = "Morrison, Aertsen & Diesmann 2007, Neural Comput 19:1437"
    up, down = Power(mu, w0), Power(1.0, w0)
    return pair(lam * w0, lam * alpha * w0, tau_plus, tau_minus, potentiation=up, depression=down, source=source)


def triplet(
    A2_plus: float = 0.0,
    A3_plus: float = 6.5e-3,
    A2_minus: float = 7.1e-3,
    A3_minus: float = 0.0,
    tau_plus: float = 16.8,
    tau_minus: float = 33.7,
    tau_x: float = 101.0,
    tau_y: float = 114.0,
    nearest: bool = False,
) -> SpikeRule:
    """pre spike: dw = -o1 (A2_minus + A3_minus r2(t - eps));   post spike: dw = r1 (A2_plus + A3_plus o2(t - eps)).

    r1, r2 are traces of pre (tau_plus, tau_x), o1, o2 of post (tau_minus, tau_y): all-to-all, or `nearest` spikes only.
    A term whose amplitude is 0 is left out; the default is the minimal all-to-all set of visual cortex.
    Source: Pfister & Gerstner 2006, J Neurosci 26:9673, eqs 3 and 4.
    """
    amplitudes({"A2_plus": A2_plus, "A3_plus": A3_plus, "A2_minus": A2_minus, "A3_minus": A3_minus})
    traces = {
        "r1": Trace("pre", tau_plus, nearest, "tau_plus"),
        "r2": Trace("pre", tau_x, nearest, "tau_x"),
        "o1": Trace("post", tau_minus, nearest, "tau_minus"),
        "o2": Trace("post", tau_y, nearest, "tau_y"),
    }
    terms = (
        Term(A2_plus, ("post", "r1"), parameter="A2_plus"),
        Term(A3_plus, ("post", "r1", "o2"), parameter="A3_plus"),
        Term(-A2_minus, ("pre", "o1"), parameter="A2_minus"),
        Term(-A3_minus, ("pre", "o1", "r2"), parameter="A3_minus"),
    )
    used = tuple(m for m in terms if m.gain)
    named = {f for m in used for f in m.factors}
    source = "Pfister & Gerstner 2006, J Neurosci 26:9673, eqs 3 and 4"
    return SpikeRule({n: t for n, t in traces.items() if n in named}, used, source=source)


class TripletSet(NamedTuple):
    """One published fit: `triplet(**set._asdict())` is the rule."""

    A2_plus: float
    A3_plus: float
    A2_minus: float
    A3_minus: float
    tau_x: float
    tau_y: float
    nearest: bool

    def rule(self) -> SpikeRule:
        return triplet(**self._asdict())


# Pfister & Gerstner 2006, tables 3 and 4; tau_plus = 16.8 ms, tau_minus = 33.7 ms. tau_x does nothing in minimal sets.
# A3_minus of hippocampus-full is 1.4e-3: copies with 1.4e-4 circulate, and do not fit the data (study triplet_hippocampus).
PFISTER_GERSTNER: Mapping[str, TripletSet] = MappingProxyType({
    "cortex-full": TripletSet(5e-10, 6.2e-3, 7e-3, 2.3e-4, 101.0, 125.0, False),
    "cortex-minimal": TripletSet(0.0, 6.5e-3, 7.1e-3, 0.0, 101.0, 114.0, False),
    "cortex-full-nearest": TripletSet(8.8e-11, 5.3e-2, 6.6e-3, 3.1e-3, 714.0, 40.0, True),
    "cortex-minimal-nearest": TripletSet(0.0, 5e-2, 8e-3, 0.0, 714.0, 40.0, True),
    "hippocampus-full": TripletSet(6.1e-3, 6.7e-3, 1.6e-3, 1.4e-3, 946.0, 27.0, False),
    "hippocampus-minimal": TripletSet(5.3e-3, 8e-3, 3.5e-3, 0.0, 946.0, 40.0, False),
    "hippocampus-full-nearest": TripletSet(4.6e-3, 9.1e-3, 3e-3, 7.5e-9, 575.0, 47.0, True),
    "hippocampus-minimal-nearest": TripletSet(4.6e-3, 9.1e-3, 3e-3, 0.0, 575.0, 48.0, True),
})  # fmt: skip


DIEHL_COOK_RULE = triplet(  # Diehl & Cook 2015, Front Comput Neurosci 9:99, by the authors' code
    A2_minus=1e-4, A3_plus=1e-2, tau_plus=20.0, tau_minus=20.0, tau_y=40.0, nearest=True
)


def symmetric(A: float = 0.01, tau: float = 20.0) -> SpikeRule:
    """dw = A exp(-|Delta t| / tau), whichever spike comes first; a coincident pair counts once."""
    amplitudes({"A": A})
    time_constant("tau", tau)
    return SpikeRule(
        {"r1": Trace("pre", tau, parameter="tau_plus"), "o1": Trace("post", tau, parameter="tau_minus")},
        (Term(A, ("post", "r1"), parameter="A_plus"), Term(A, ("pre", "o1"), parameter="A_minus")),
        source="symmetric window, as under dopamine: Brzosko et al. 2017, eLife 6:e27756",
    )


def inhibitory(eta: float = 1e-2, rho0: float = 3.0, tau: float = 20.0) -> SpikeRule:
    """pre spike: dw = eta (o1 - alpha);   post spike: dw = eta r1;   alpha = 2 rho0 tau.

    On inhibitory synapses (w >= 0 is the strength of inhibition): the post neuron's rate goes to rho0 (Hz). In the engine that
    is a ConductanceLIF and onto="g_i"; on a current, whose inhibitory weights are negative, it learns the wrong way.
    Source: Vogels, Sprekeler, Zenke, Clopath & Gerstner 2011, Science 334:1569.
    """
    amplitudes({"eta": eta, "rho0": rho0})
    time_constant("tau", tau)
    alpha = 2 * rho0 * tau / 1000
    return SpikeRule(
        {"r1": Trace("pre", tau, parameter="tau_plus"), "o1": Trace("post", tau, parameter="tau_minus")},
        (
            Term(eta, ("post", "r1"), parameter="A_plus"),
            Term(eta, ("pre", "o1"), parameter="A_plus"),
            Term(-eta * alpha, ("pre",), parameter="alpha", scales=(("rho0", 1.0),)),
        ),
        source="Vogels, Sprekeler, Zenke, Clopath & Gerstner 2011, Science 334:1569",
    )
