"""A `SpikeRule` as tables for the compiled loop: groups of terms that share what they read at a spike.

at a spike of one side:   dw = sum over groups  f(w) far sum over terms gain near
"""

from __future__ import annotations

from collections.abc import Mapping
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
    terms: tuple[tuple[float, tuple[str, ...]], ...]  # gain, traces of the side that spiked


@dataclass(frozen=True)
class Compiled:
    """Groups, traces and products of traces by event ("pre": 0, "post": 1)."""

    groups: tuple[tuple[Group, ...], tuple[Group, ...]]
    traces: tuple[tuple[str, ...], tuple[str, ...]]
    products: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]  # far traces of two or more
    signals: tuple[str, ...] = field(default=())  # third factors and their traces, that gates read

    @property
    def simple(self) -> bool:
        """At most one group at each event, additive, with one far row, at once?"""
        few = all(len(g) <= 1 for g in self.groups)
        return few and all(g.far and g.weight is None and g.gate is None for some in self.groups for g in some)


def compiled(rule: SpikeRule) -> Compiled:
    """The rule's tables. Unsupported for terms that need more than two neurons' traces at one spike."""
    found: tuple[dict, dict] = ({}, {})
    for m in rule.terms:
        if not m.gain:
            continue
        event = EVENTS.index(m.factors[0])
        sides = sides_of(rule, m)
        key = (sides[1 - event], m.weight, gate_of(rule, m), m.tau_e if m.gate else 0.0)
        found[event].setdefault(key, []).append((m.gain, sides[event]))
    groups = tuple(tuple(Group(*key, tuple(terms)) for key, terms in f.items()) for f in found)
    traces = tuple(tuple(n for n, t in rule.traces.items() if t.of == e) for e in EVENTS)
    products = tuple(
        tuple(dict.fromkeys(g.far for g in groups[1 - e] if len(g.far) > 1)) for e in range(2)
    )  # what a post trace's products serve is a pre spike, and the other way round
    gates = dict.fromkeys(g.gate for some in groups for g in some if g.gate)
    raw = dict.fromkeys(rule.traces[n].of for n in gates if n in rule.traces)
    return Compiled(groups, traces, products, (*(n for n in raw if n not in gates), *gates))


def sides_of(rule: SpikeRule, m: Term) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A term's traces of pre and of post."""
    sides: tuple[list[str], list[str]] = ([], [])
    for f in m.factors[1:]:
        if f not in rule.traces or rule.traces[f].of not in EVENTS:
            raise Unsupported(
                f"factors: given {m.factors}, at a spike the engine reads traces of pre and post; let a modulator be the gate"
            )
        sides[EVENTS.index(rule.traces[f].of)].append(f)
    return tuple(sorted(sides[0])), tuple(sorted(sides[1]))


def gate_of(rule: SpikeRule, m: Term) -> str | None:
    own: Mapping = {**{e: e for e in EVENTS}, **{n: t.of for n, t in rule.traces.items()}}
    if m.gate is not None and own.get(m.gate) in EVENTS:
        raise Unsupported(f"gate: given {m.gate!r}, in the engine only a modulator or its trace is a gate")
    if m.gate in rule.traces and rule.traces[m.gate].nearest:
        raise Unsupported(f"gate: given {m.gate!r}, a nearest trace of a modulator is not run by the engine")
    return m.gate
