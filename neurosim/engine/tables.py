"""Rules as tables: rows of what decays, groups of terms, what a spike bumps, eligibility and signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosim.engine import arrays, rules
from neurosim.engine.arrays import BLOCK, Array
from neurosim.neurons import decay

if TYPE_CHECKING:
    from neurosim.engine.network import Network
    from neurosim.engine.parts import Projection


class Rows:
    """Rows of `z`: what decays. rate: 1/tau, per ms; 0 for what lasts one step."""

    def __init__(self) -> None:
        self.rate: list[float] = []
        self.rest: list[tuple[int, float, float, bool]] = []  # size, factor, start, instant

    def __len__(self) -> int:
        return len(self.rate)

    def add(self, size: int, rate: float, factor: float = 1.0, start: float = 0.0, instant: bool = False) -> int:
        self.rate.append(rate)
        self.rest.append((size, factor, start, instant))
        return len(self) - 1

    def laid_out(self, F: Any) -> tuple[Array, Array]:
        """(their table, z [blocks, BLOCK])."""
        table, parts, at = arrays.table(arrays.ROW, F, len(self)), [np.zeros(0, F)], 0
        for here, (size, factor, start, instant) in zip(table, self.rest, strict=True):
            here["at"], here["size"], here["factor"], here["instant"] = at, size, factor, instant
            length = -(-size // BLOCK) * BLOCK
            parts.append(np.full(length, start, F))
            at += length
        return table, arrays.aligned(np.concatenate([*parts, np.zeros(BLOCK, F)]).reshape(-1, BLOCK))


def powers(rates: Sequence[float], dt: float, rebase: int, dtype: Any) -> tuple[Array, Array]:
    """exp(+-k dt rate), k = 0 .. rebase: [rates, rebase + 1] each."""
    x = np.multiply.outer(np.array(rates, np.float64), np.arange(rebase + 1) * dt)
    return np.exp(x).astype(dtype), np.exp(-x).astype(dtype)


class Tables:
    """The rules of all projections. Each list's items are records as in `arrays.py`."""

    def __init__(self, net: Network, rows: Rows, found: dict[Any, int]) -> None:
        self.net, self.rows, self.found = net, rows, found
        self.event: list[tuple[int, ...]] = []
        self.group: list[tuple[float, ...]] = []
        self.term: list[tuple[float, ...]] = []
        self.near: list[int] = []
        self.bump: list[tuple[float, ...]] = []
        self.product: list[tuple[int, ...]] = []
        self.part: list[int] = []
        self.gate: list[tuple[Projection, str]] = []
        self.taus: list[float] = []  # of eligibility
        self.signals: dict[str, tuple[int, float, float]] = {}  # of, kept, grown
        self.clocked: list[tuple[float, ...]] = []
        self.varying: list[tuple[float, ...]] = []  # parts of clocked rows
        self.most = 1  # groups of an event
        for q in net.projections:
            if q.rule is None:
                self.event += [(0,) * 6] * 2
            else:
                self.add(q)

    def add(self, q: Projection) -> None:
        c, size, traces = rules.compiled(q.rule), (q.pre.n, q.post.n), q.rule.traces
        for n in c.signals:
            own = (-1, 1.0, 0.0)
            if n in traces:
                own = (list(self.signals).index(traces[n].of), decay(traces[n].tau, self.net.dt), traces[n].bump)
            if self.signals.setdefault(n, own) != own:
                raise ValueError(
                    f"rule: {n!r} is the trace of a modulator in two rules of this network with another time constant, bump or "
                    "modulator, name one of them differently"
                )
        row = lambda names: self.found["trace", q.index, names]  # noqa: E731
        for side in range(2):
            for n in c.traces[side]:  # a start decays in the first step, as on tensors
                self.add_row(q, (n,), size[side])
            for names in c.products[side]:
                self.add_row(q, names, size[side])
        for side in range(2):
            first = len(self.group), len(self.bump), len(self.product)
            self.bump += [(row((n,)), traces[n].nearest, traces[n].bump) for n in c.traces[side]]
            for names in c.products[side]:
                self.product.append((row(names), len(self.part), len(self.part) + len(names)))
                self.part += [row((n,)) for n in names]
            for g in c.groups[side]:
                self.add_group(q, g)
            last = len(self.group), len(self.bump), len(self.product)
            self.event.append(tuple(x for pair in zip(first, last, strict=True) for x in pair))
            self.most = max(self.most, last[0] - first[0])

    def add_row(self, q: Projection, names: tuple[str, ...], size: int) -> None:
        """A trace, or a product of some."""
        traces = [q.rule.traces[n] for n in names]
        fixed, start = sum(1 / t.tau for t in traces if t.clock is None), math.prod(t.start for t in traces)
        varying = [(list(self.signals).index(t.clock), 1 / t.tau) for t in traces if t.clock is not None]
        row = self.rows.add(size, sum(1 / t.tau for t in traces), start=start)
        self.found["trace", q.index, names] = row
        if varying:
            self.clocked.append((row, len(self.varying), len(self.varying) + len(varying), fixed))
            self.varying += varying

    def add_group(self, q: Projection, g: rules.Group) -> None:
        far, f, eligible, first = -1, g.weight, -1, len(self.term)
        if g.far:
            far = self.found["trace", q.index, g.far]
        if g.gate is not None:  # terms that wait equally long for the same signal fill one eligibility
            same = [
                i for i, known in enumerate(zip(self.gate, self.taus, strict=True)) if known == ((q, g.gate), g.tau_e)
            ]
            eligible = same[0] if same else len(self.gate)
            if not same:
                self.gate.append((q, g.gate))
                self.taus.append(g.tau_e)
        for gain, near, signals in g.terms:
            first_near, first_factor = len(self.near), len(self.near) + len(near)
            self.near += [self.found["trace", q.index, (n,)] for n in near]
            self.near += [list(self.signals).index(n) for n in signals]
            self.term.append((first_near, first_factor, len(self.near), gain))
        power = 0 if f is None else 1 if f.w_max is None else 2
        numbers = (f.mu, f.w0, f.w_max or 0.0) if f else (1.0, 1.0, 0.0)
        self.group.append((far, power, eligible, first, len(self.term), *numbers))

    def rules(self, F: Any) -> arrays.Rules:
        i = lambda a: np.array(a, np.int64)  # noqa: E731
        return arrays.Rules(
            filled(arrays.EVENT, F, self.event).reshape(-1, 2), filled(arrays.GROUP, F, self.group),
            filled(arrays.TERM, F, self.term), i(self.near), filled(arrays.BUMP, F, self.bump),
            filled(arrays.PRODUCT, F, self.product), i(self.part),
        )  # fmt: skip

    def gates(self, dt: float, rebase: int, F: Any) -> arrays.Gates:
        names, at, records = list(self.signals), 0, []
        for q, name in self.gate:
            records.append((q.index, at, q.wiring.size, names.index(name)))
            at += q.wiring.size
        multiplies = {names[i] for _, factor, end, _ in self.term for i in self.near[factor:end]}
        multiplies |= {names[i] for i, _ in self.varying}
        first = lambda n, of: math.nan if n in multiplies and of < 0 else 0.0  # noqa: E731 - NaN: to be told before a run
        signals = [(of, first(n, of), kept, grown) for n, (of, kept, grown) in self.signals.items()]
        return arrays.Gates(
            filled(arrays.GATE, F, records), *powers([1 / t for t in self.taus], dt, rebase, F), np.zeros(at, F),
            filled(arrays.SIGNAL, np.float64, signals),  # in float32 a slow trace of a signal would not decay as it should
        )  # fmt: skip


def filled(fields: Any, F: Any, records: Sequence[tuple]) -> Array:
    made = arrays.table(fields, F, len(records))
    made[:] = records if records else made
    return made
