"""From populations and projections to the arrays of the compiled loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurosim.engine import arrays, rules
from neurosim.engine.arrays import BLOCK, Array
from neurosim.engine.kinds import factor_of, kind_of
from neurosim.engine.tables import Rows, plasticity, powers
from neurosim.spiking import steps_of

if TYPE_CHECKING:
    from neurosim.engine.network import Network

LONGEST, RANGE = 64.0, 30.0  # ms between rebases, and at most so many of the shortest time constant: exp(30) = 1e13


class Ready(NamedTuple):
    """All that `kernel.advance` is given, and where things are."""

    depth: int
    rebase: int
    room: int  # the most spikes of a step
    cells: arrays.Neurons
    projections: arrays.Projections
    rules: arrays.Plasticity
    decays: arrays.Decays
    gates: arrays.Gates
    clock: Array
    random_state: Array
    flags: Array
    scalars: Array
    signals: dict[str, int]  # where each is in gates.signals
    rows: dict[Any, int]  # (population, channel key) or (projection, trace) -> row of z


class Joined:
    """Arrays one after the other."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.parts, self.length = dtype, [np.zeros(0, dtype)], 0

    def add(self, x: Array) -> int:
        """Where it begins."""
        self.parts.append(np.asarray(x, self.dtype))
        self.length += len(x)
        return self.length - len(x)

    def whole(self) -> Array:
        return np.concatenate(self.parts)


def integers(x: Any) -> Array:
    return np.array(x, np.int64)


def padded(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


def build(net: Network) -> Ready:
    F, dt = net.dtype, net.dt
    rows, found = Rows(), {}
    channels = []
    for p in net.populations:  # a population's channels stand together
        kind = kind_of(p.neuron, dt)
        keys = dict(kind.channels) | {q.onto: q.tau_syn for q in net.projections if q.post is p}
        first = len(rows.size)
        for key, tau in keys.items():
            factor = factor_of(p.neuron, tau, dt)
            found[p.index, key] = rows.add(padded(p.n), 0.0 if tau is None else 1 / tau, factor)
        channels.append((first, len(rows.size)))
    instant = [r == 0 for r in rows.rate]
    tables = plasticity(net, rows, found)
    instant += [False] * (len(rows.size) - len(instant))
    rates = [*rows.rate, *(1 / t for t in tables.taus)]
    fastest = max(rates, default=0.0)
    rebase = max(1, int(min(LONGEST, RANGE / fastest if fastest else LONGEST) / dt))
    up, down = powers(rows.rate, dt, rebase, F)
    z = np.concatenate([np.full(n, s, F) for n, s in zip(rows.size, rows.start, strict=True)] or [np.zeros(1, F)])
    at = np.concatenate([[0], np.cumsum(rows.size)[:-1]]).astype(np.int64) if rows.size else np.zeros(0, np.int64)
    decays = arrays.Decays(at, np.array(rows.size, np.int64), up, down, z, np.array(rows.factor, F), np.array(instant))
    plastic = tables.filled(F, decays)
    cells, depth = neurons(net, channels), 2 + longest(net)
    places = len(cells.v)
    cells = cells._replace(spikes=np.zeros((depth, places), np.int32), count=np.zeros((depth, len(channels)), np.int64))
    seeds = np.random.SeedSequence([net.seed, 1]).generate_state(2, np.uint64)
    return Ready(
        depth, rebase, sum(p.n for p in net.populations), cells, wires(net, found), plastic, decays,
        tables.gates(net, dt, rebase, F), np.zeros(2, np.int64), seeds, np.zeros(places // BLOCK + 1, np.int32),
        np.zeros(max(1, tables.most), F), {n: i for i, n in enumerate(tables.signals)}, found,
    )  # fmt: skip


def longest(net: Network) -> int:
    """The longest delay or rest, in steps."""
    rests = [steps_of(kind_of(p.neuron, net.dt).refractory, net.dt) for p in net.populations]
    return max([*rests, *(int(d.max()) for q in net.projections for d in (q.axonal, q.dendritic))], default=1)


def neurons(net: Network, channels: list[tuple[int, int]]) -> arrays.Neurons:
    F, dt = net.dtype, net.dt
    kinds = [kind_of(p.neuron, dt) for p in net.populations]
    start = np.concatenate([[0], np.cumsum([padded(p.n) for p in net.populations])]).astype(np.int64)
    places = int(start[-1])
    v, x, drive, chance = (np.zeros(places, F) for _ in range(4))
    par = np.zeros((len(kinds), 12), F)
    steps, units, at = [], [], []
    for p, k, s in zip(net.populations, kinds, start, strict=False):
        here = slice(s, s + p.n)
        par[p.index, : len(k.par)], par[p.index, 11] = k.par, k.jump
        v[s : s + padded(p.n)] = k.v
        v[here] = k.v if p.first_v is None else p.first_v
        x[s : s + padded(p.n)] = k.x
        if k.kind == arrays.IZHIKEVICH and p.first_v is not None:
            x[here] = p.neuron.b * v[here]
        drive[here] = p.first_drive
        chance[here] = -np.expm1(-drive[here].astype(np.float64) * dt / 1000) if k.kind == arrays.POISSON else 0
        begin = sum(map(len, steps))
        if k.kind == arrays.TRAINS:
            order = np.argsort(p.neuron.time, kind="stable")
            steps.append(np.rint(np.asarray(p.neuron.time)[order] / dt).astype(np.int64))
            units.append(np.asarray(p.neuron.unit)[order].astype(np.int32))
        at.append((begin, sum(map(len, steps))))
    joined = [np.concatenate(a) if a else np.zeros(0, t) for a, t in ((steps, np.int64), (units, np.int32))]
    spans = np.array(at, np.int64).reshape(-1, 2)
    n = np.array([p.n for p in net.populations], np.int64)
    return arrays.Neurons(
        np.array([k.kind for k in kinds], np.int64), start[:-1], n,
        np.array([steps_of(k.refractory, dt) for k in kinds], np.int64), np.array([k.substeps for k in kinds], np.int64),
        par, np.array(channels, np.int64).reshape(-1, 2),
        np.array([bool(drive[s : s + m].any()) for s, m in zip(start, n, strict=False)]), drive, v, x, np.zeros(places, F),
        np.full(places, -(1 << 40), np.int64), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int64),
        spans[:, 0].copy(), spans[:, 1].copy(), *joined, chance,
        np.array([chance[s : s + m].max(initial=0) for s, m in zip(start, n, strict=False)], F),
    )  # fmt: skip


def wires(net: Network, found: dict[Any, int]) -> arrays.Projections:
    """All projections' synapses in a row."""
    F, some = net.dtype, net.projections
    unit = np.uint16 if all(p.n <= 1 << 16 for p in net.populations) else np.uint32
    kinds = {"row": np.int64, "target": unit, "column": np.int64, "source": unit, "where": np.uint32, "w": F}
    joined, begin = (
        {n: Joined(t) for n, t in kinds.items()},
        {n: [] for n in ("row", "target", "column", "source", "w")},
    )
    delays, spans, each, each_at = Joined(np.int64), ([], []), (Joined(np.int64), Joined(np.int64)), ([], [])
    for q in some:
        into = q.wiring.incoming() if q.rule and not q.wiring.dense else (np.zeros(0),) * 3
        parts = dict(zip(("row", "target", "column", "source", "where", "w"),
                         (q.wiring.row, q.wiring.target, *into, q.first_w), strict=True))  # fmt: skip
        at = {n: joined[n].add(x) for n, x in parts.items()}
        for n, places in begin.items():
            places.append(at[n])
        for side, (values, size) in enumerate(((q.axonal, q.pre.n), (q.dendritic, q.post.n))):
            distinct = np.unique(values)
            first = delays.add(distinct)
            spans[side].append((first, first + len(distinct)))
            each_at[side].append(each[side].add(np.broadcast_to(values, size) if len(distinct) > 1 else np.zeros(0)))
    simple = [0 if q.rule is None else 1 if rules.compiled(q.rule).simple else 2 for q in some]
    row, target, column, source, where, w = (j.whole() for j in joined.values())
    return arrays.Projections(
        integers([q.pre.index for q in some]), integers([q.post.index for q in some]),
        np.array([q.wiring.dense for q in some], bool), integers(begin["w"]), integers([q.wiring.size for q in some]),
        integers([q.post.n for q in some]), integers(begin["row"]), integers(begin["target"]), integers(begin["column"]),
        integers(begin["source"]), integers([found[q.post.index, q.onto] for q in some]), integers(simple),
        integers(spans[0]).reshape(-1, 2), integers(spans[1]).reshape(-1, 2), delays.whole(),
        integers(each_at[0]), integers(each_at[1]), each[0].whole(), each[1].whole(),
        np.array([q.w_min for q in some], F), np.array([q.w_max for q in some], F), row, target, column, source, where, w,
    )  # fmt: skip
