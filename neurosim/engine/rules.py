"""A `SpikeRule` as tables for the compiled loop: groups of terms that share what they read at a spike.

at a spike of one side:   dw = sum over groups  f(w) far sum over terms gain near signals
"""

from __future__ import annotations

from dataclasses import dataclass, field

from neurosim.plasticity import Unsupported
from neurosim.rules.spike_rule import Power, SpikeRule, Term

EVENTS = ("pre", "post")


@dataclass(frozen=True)
class Group:
    """Terms of one event with the same traces of the other side, f(w) and gate."""

    far: tuple[str, ...]  # traces of the other side
    weight: Power | None
    gate: str | None
    tau_e: float
    terms: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...]  # gain, traces of the side that spiked, signals


@dataclass(frozen=True)
class Compiled:
    """Groups, traces and products of traces by event ("pre": 0, "post": 1)."""

    groups: tuple[tuple[Group, ...], tuple[Group, ...]]
    traces: tuple[tuple[str, ...], tuple[str, ...]]
    products: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]  # far traces of two or more
    signals: tuple[str, ...] = field(default=())  # third factors and their traces, that gates, terms and clocks read

    @property
    def simple(self) -> bool:
        """At most one group at each event, additive, with one far row, at once?"""
        groups = [g for some in self.groups for g in some]
        plain = all(g.far and g.weight is None and g.gate is None for g in groups)
        return plain and all(len(some) <= 1 for some in self.groups) and not any(s for g in groups for *_, s in g.terms)


def compiled(rule: SpikeRule) -> Compiled:
    """The rule's tables. Unsupported for terms that need more than two neurons' traces at one spike."""
    for n, t in rule.traces.items():
        if t.clock is not None and t.of not in EVENTS:
            raise Unsupported(
                f"clock: {n} is the trace of a modulator, whose time constant does not vary in the engine"
            )
    found: tuple[dict, dict] = ({}, {})
    for m in rule.terms:
        if not m.gain:
            continue
        event = EVENTS.index(m.factors[0])
        sides = sides_of(rule, m)
        signals = tuple(f for f in m.factors[1:] if of_signal(rule, f))
        key = (sides[1 - event], m.weight, gate_of(rule, m), m.tau_e if m.gate else 0.0)
        found[event].setdefault(key, []).append((m.gain, sides[event], signals))
    groups = tuple(tuple(Group(*key, tuple(terms)) for key, terms in f.items()) for f in found)
    traces = tuple(tuple(n for n, t in rule.traces.items() if t.of == e) for e in EVENTS)
    products = tuple(
        tuple(dict.fromkeys(g.far for g in groups[1 - e] if len(g.far) > 1)) for e in range(2)
    )  # what a post trace's products serve is a pre spike, and the other way round
    read = dict.fromkeys(g.gate for some in groups for g in some if g.gate)
    read |= dict.fromkeys(n for some in groups for g in some for *_, signals in g.terms for n in signals)
    read |= dict.fromkeys(t.clock for t in rule.traces.values() if t.clock)
    raw = dict.fromkeys(rule.traces[n].of for n in read if n in rule.traces)
    return Compiled(groups, traces, products, (*raw, *(n for n in read if n not in raw)))


def sides_of(rule: SpikeRule, m: Term) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A term's traces of pre and of post."""
    sides: tuple[list[str], list[str]] = ([], [])
    for f in m.factors[1:]:
        if f in EVENTS:
            raise Unsupported(
                f"factors: given {m.factors}, the engine acts at one spike, a term with two events is not run"
            )
        if of_signal(rule, f):
            continue
        sides[EVENTS.index(rule.traces[f].of)].append(f)
    return tuple(sorted(sides[0])), tuple(sorted(sides[1]))


def of_signal(rule: SpikeRule, name: str) -> bool:
    """Is it a third factor, or the trace of one? Unsupported for a nearest one."""
    if name in EVENTS or (name in rule.traces and rule.traces[name].of in EVENTS):
        return False
    if name in rule.traces and rule.traces[name].nearest:
        raise Unsupported(f"gate: given {name!r}, a nearest trace of a modulator is not run by the engine")
    return True


def gate_of(rule: SpikeRule, m: Term) -> str | None:
    if m.gate is not None and not of_signal(rule, m.gate):
        raise Unsupported(f"gate: given {m.gate!r}, in the engine only a modulator or its trace is a gate")
    return m.gate
