"""Neuromodulators: a concentration, receptors that it occupies, and what an occupied receptor does to a rule.

    concentration   dc/dt = -(c - tonic) / tau,  c <- c + amount at a release            [uM], tau in ms
    receptor        h = c^n / (EC50^n + c^n)                                             Hill; 0 .. 1
    Gain            p <- p (1 + (full - 1) h)        p: an amplitude, or rho0; full < 0 turns LTP into LTD
    Width           log p <- log p + shift h         p: a time constant
    Tag             the term also fills an eligibility of its own (tau_e), read by h:  dw = full h e dt

Several effects on one parameter: their gains are multiplied, their shifts are added. An amplitude stays positive, what may
become negative is the term's effective gain. During pairing a modulator acts on induction (Gain, Width); after it, on what
pairing left behind (Tag): every term has its own eligibility.

`modulated` is the rule under constant concentrations, which is a rule again: it runs wherever rules run. `reading` is the
rule that is told how they change in time: the factors of its terms are third factors, which `told` makes. Both agree.
Hill 1910 (J Physiol 40:iv); three factors: Gerstner, Lehmann, Liakoni, Corneil & Brea 2018, Front Neural Circuits 12:53.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, prod

import torch
from torch import Tensor

from neurosim.rules.modulators import Modulator, Receptor
from neurosim.rules.spike_rule import SpikeRule, Term

__all__ = ["Effect", "Gain", "Modulator", "Receptor", "Tag", "Width", "doses", "modulated", "reading", "told"]

AFTER = "tag_"  # third factors that read an eligibility; the others multiply at the spike


@dataclass(frozen=True)
class Gain:
    """p <- p (1 + (full - 1) h): full is the factor of p at h = 1, may be negative, and None where it is not known."""

    receptor: Receptor
    parameter: str
    full: float | None
    source: str = ""
    disputed: str = ""  # who found otherwise


@dataclass(frozen=True)
class Width:
    """log p <- log p + shift h: a time constant of a trace."""

    receptor: Receptor
    parameter: str
    shift: float | None
    source: str = ""
    disputed: str = ""


@dataclass(frozen=True)
class Tag:
    """A term's own eligibility, de/dt = -e / tau_e, e <- e + |its change| at its event;  dw = full h e dt  (dt in ms).

    Its change is what it is under the Gains of that moment; depression: only where that depresses. full (1/ms) may have
    either sign, whatever the term's: a negative one turns what potentiation left into depression, a positive one what
    depression left into potentiation.
    """

    receptor: Receptor
    parameter: str
    tau_e: float | None  # ms
    full: float | None  # 1/ms
    source: str = ""
    disputed: str = ""
    depression: bool = False


Effect = Gain | Width | Tag


def modulated(rule: SpikeRule, effects: Sequence[Effect], occupancy: Mapping[str, float]) -> SpikeRule:
    """The rule while receptors are occupied as given, by name, 0 .. 1 (all others 0). Tags act through `reading` alone.

    ValueError: an effect on a parameter that the rule has not, a value that is not known, an occupancy that no effect reads.
    """
    check(rule, effects)
    h = occupancies(effects, occupancy)
    terms = [scaled(m, {p: factor(effects, p, h) for p in scales(m)}) for m in rule.terms]
    traces = {n: replace(t, tau=t.tau * exp(shift(effects, t.parameter, h))) for n, t in rule.traces.items()}
    return replace(rule, traces=traces, terms=tuple(terms))


def occupancies(effects: Sequence[Effect], given: Mapping[str, float]) -> dict[str, float]:
    """By receptor; those not given are free."""
    known = {e.receptor.name for e in effects}
    for name, h in given.items():
        if name not in known:
            raise ValueError(f"occupancy: given {name!r}, the effects act through {', '.join(sorted(known)) or 'none'}")
        if not 0 <= h <= 1:
            raise ValueError(f"occupancy: given {h} of {name}, it must lie in 0 .. 1")
    return {name: float(given.get(name, 0.0)) for name in known}


def listed(effects: Sequence[Effect]) -> None:
    if isinstance(effects, Effect) or not all(isinstance(e, Effect) for e in effects):
        raise ValueError(f"effects: given {effects!r}, expected a tuple of Gain, Width and Tag: (Gain(...),)")
    for e in effects:
        if not isinstance(e.receptor, Receptor):
            raise ValueError(f"receptor: given {e.receptor!r}, expected a Receptor")
    named: dict[str, Receptor] = {}
    for r in (e.receptor for e in effects):
        if named.setdefault(r.name, r) != r:
            raise ValueError(
                f"effects: two receptors are named {r.name}, {named[r.name]} and {r}; name one differently"
            )


def doses(
    effects: Sequence[Effect], concentration: Mapping[str, float], blocked: Iterable[str] = ()
) -> dict[str, float]:
    """Occupancy by receptor of concentrations (uM) by modulator; receptors that an antagonist blocks are at 0.

    ValueError for a modulator that no effect's receptor binds, or a blocked receptor that there is not.
    """
    listed(effects)
    if not isinstance(concentration, Mapping):
        raise ValueError(f"concentration: given {concentration!r}, expected uM by modulator: {{'dopamine': 1.0}}")
    receptors = {e.receptor.name: e.receptor for e in effects}
    known = {r.modulator for r in receptors.values()}
    for name in concentration:
        if name not in known:
            raise ValueError(
                f"{name}: there is no receptor for it among the effects, they bind {', '.join(sorted(known))}"
            )
    for name in blocked:
        if name not in receptors:
            raise ValueError(f"blocked: given {name!r}, the effects act through {', '.join(sorted(receptors))}")
    free = {n: r for n, r in receptors.items() if n not in set(blocked) and r.modulator in concentration}
    c = {n: torch.tensor(float(concentration[r.modulator]), dtype=torch.float64) for n, r in free.items()}
    return {n: float(r.occupied(c[n])) for n, r in free.items()}


# ---------------------------------------------------------------------------------------------- named parameters
def scales(m: Term) -> dict[str, float]:
    """What a term's gain is proportional to, and to which power."""
    return ({m.parameter: 1.0} if m.parameter else {}) | dict(m.scales)


def parameters(rule: SpikeRule) -> tuple[list[str], list[str]]:
    """Names of its amplitudes (with what they scale with) and of its time constants."""
    gains = dict.fromkeys(p for m in rule.terms for p in scales(m))
    return list(gains), list(dict.fromkeys(t.parameter for t in rule.traces.values() if t.parameter))


def check(rule: SpikeRule, effects: Sequence[Effect]) -> None:
    listed(effects)
    gains, taus = parameters(rule)
    for e in effects:
        has = taus if isinstance(e, Width) else gains
        if e.parameter not in has:
            raise ValueError(
                f"{e.receptor.name}: an effect on {e.parameter!r}, which the rule has not; it has {', '.join(has)}"
            )


def number(e: Effect, name: str) -> float:
    """Its value. ValueError where it is not known: nothing is invented."""
    x = getattr(e, name)
    if x is None:
        where = f" ({e.source})" if e.source else ""
        raise ValueError(
            f"{name}: what {e.receptor.name} does to {e.parameter} is not known as a number{where}, give one"
        )
    return float(x)


def factor(effects: Sequence[Effect], parameter: str, h: Mapping[str, float | Tensor]) -> float | Tensor:
    """prod over effects of 1 + (full - 1) h."""
    mine = [e for e in effects if isinstance(e, Gain) and e.parameter == parameter and not idle(h[e.receptor.name])]
    return prod((1 + (number(e, "full") - 1) * h[e.receptor.name] for e in mine), start=1.0)


def shift(effects: Sequence[Effect], parameter: str, h: Mapping[str, float | Tensor]) -> float | Tensor:
    """sum over effects of shift h."""
    mine = [e for e in effects if isinstance(e, Width) and e.parameter == parameter and not idle(h[e.receptor.name])]
    return sum((number(e, "shift") * h[e.receptor.name] for e in mine), 0.0)


def idle(h: float | Tensor) -> bool:
    """A receptor that is free all the time does nothing, known or not."""
    return not isinstance(h, Tensor) and h == 0


def scaled(m: Term, factors: Mapping[str, float | Tensor]) -> Term:
    return replace(m, gain=m.gain * prod(float(x) ** scales(m)[p] for p, x in factors.items()))


# ---------------------------------------------------------------------------------------------- in time
def reading(rule: SpikeRule, effects: Sequence[Effect]) -> SpikeRule:
    """The rule whose terms are multiplied at their spike by third factors, and read by them later; `told` makes these.

    A term with a Gain has one more factor, "gain_" and its parameters; a Tag adds a term with the gate "tag_" and its
    receptor; a Width gives its traces the clock "width_" and its parameter: they decay as exp(-integral dt / tau).
    """
    check(rule, effects)
    terms = []
    for m in rule.terms:
        acts = [p for p in scales(m) if any(isinstance(e, Gain) and e.parameter == p for e in effects)]
        terms.append(replace(m, factors=(*m.factors, *(gain_name(p, scales(m)[p]) for p in acts))))
        for e in effects:
            if isinstance(e, Tag) and e.parameter == m.parameter:
                full, tau_e = number(e, "full"), number(e, "tau_e")
                size = size_name(e, m, effects)
                if size is None and e.depression and m.gain > 0:
                    continue  # it never depresses
                factors = m.factors if size is None else (*m.factors, size)
                gate = AFTER + e.receptor.name
                terms.append(replace(m, gain=abs(m.gain) * full, factors=factors, gate=gate, tau_e=tau_e, parameter=""))
    widths = {e.parameter for e in effects if isinstance(e, Width)}
    traces = {
        n: replace(t, clock=f"width_{t.parameter}") if t.parameter in widths else t for n, t in rule.traces.items()
    }
    return replace(rule, traces=traces, terms=tuple(terms))


def size_name(e: Tag, m: Term, effects: Sequence[Effect]) -> str | None:
    """The third factor that a tag's filling is multiplied by; None where no Gain acts on the term."""
    if not any(isinstance(other, Gain) and other.parameter in scales(m) for other in effects):
        return None
    return f"{'lost' if e.depression else 'size'}_{e.parameter}"


def gain_name(parameter: str, power: float) -> str:
    return (
        f"gain_{parameter}" if power == 1 else f"gain_{parameter}_to_{power:g}".replace("-", "minus_").replace(".", "_")
    )


def told(rule: SpikeRule, effects: Sequence[Effect], concentration: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The third factors that `reading(rule, effects)` reads, like the concentrations (uM, by modulator, [T, ...]).

    ValueError for a modulator without receptor, or one whose concentration is not given.
    """
    check(rule, effects)
    bound = {e.receptor.modulator for e in effects}
    for name, c in concentration.items():
        if not isinstance(c, Tensor):
            raise ValueError(f"{name}: given {type(c).__name__}, expected a tensor [T, ...] of uM")
        if name not in bound:
            raise ValueError(
                f"{name}: there is no receptor for it among the effects, they bind {', '.join(sorted(bound))}"
            )
    for name in bound:
        if name not in concentration:
            raise ValueError(f"concentration: that of {name} is not given, the effects read {', '.join(sorted(bound))}")
    h: dict[str, Tensor] = {}
    for e in effects:
        if e.receptor.name not in h:
            h[e.receptor.name] = e.receptor.occupied(concentration[e.receptor.modulator])
    found = {AFTER + e.receptor.name: h[e.receptor.name] for e in effects if isinstance(e, Tag)}
    found |= {f"width_{e.parameter}": shift(effects, e.parameter, h).exp() for e in effects if isinstance(e, Width)}
    for m in rule.terms:
        for p, power in scales(m).items():
            if any(isinstance(e, Gain) and e.parameter == p for e in effects):
                found[gain_name(p, power)] = factor(effects, p, h) ** power
        for e in effects:
            if isinstance(e, Tag) and e.parameter == m.parameter and (name := size_name(e, m, effects)):
                x = prod((factor(effects, p, h) ** power for p, power in scales(m).items()), start=1.0)
                found[name] = (x if m.gain < 0 else -x).clamp(min=0) if e.depression else x.abs()
    return found
