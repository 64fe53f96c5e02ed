"""From populations and projections to the tables and arrays of the compiled loop."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurosim.engine import arrays, rules
from neurosim.engine.arrays import BLOCK, Array
from neurosim.engine.kinds import factor_of, kind_of
from neurosim.engine.tables import Rows, Tables, filled, powers
from neurosim.spiking import steps_of

if TYPE_CHECKING:
    from neurosim.engine.network import Network

TOO_SLOW = 16  # a decay a step of so many roundings is off by some 3 %
TABLE = 1 << 16  # steps between rebases at most, for each of which there are powers
LONGEST, RANGE = 64.0, 30.0  # ms between rebases, and at most so many of the shortest time constant: exp(30) = 1e13


class Ready(NamedTuple):
    """All that `kernel.advance` is given, and where things are."""

    depth: int  # steps that spikes are kept
    rebase: int  # steps between rebases
    room: int  # the most spikes of a step
    cells: arrays.Cells
    wires: arrays.Wires
    rules: arrays.Rules
    decays: arrays.Decays
    gates: arrays.Gates
    clock: Array  # step, steps since the last rebase
    random_state: Array
    flags: Array
    scalars: Array
    tally: Array  # [places]: spikes since an environment's last turn
    signals: dict[str, int]  # name: its place in gates.signal
    rows: dict[Any, int]  # ("channel", population, key) or ("trace", projection, name): a row of z
    starts: list[tuple[int, int, float]]  # where z begins with something else than 0: at, size, value


def padded(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


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
        return arrays.joined(self.parts, self.dtype)


def build(net: Network) -> Ready:
    F, dt = net.dtype, net.dt
    rows, found = Rows(), {}
    cells = neurons(net)
    for p, here in zip(net.populations, cells.population, strict=True):  # a population's channels stand together
        keys = dict(kind_of(p.neuron, dt).channels) | {q.onto: q.tau_syn for q in net.projections if q.post is p}
        here["channel"] = len(rows)
        for key, tau in keys.items():
            rate, factor = (0.0 if tau is None else 1 / tau), factor_of(p.neuron, tau, dt)
            found["channel", p.index, key] = rows.add(p.n, rate, factor, instant=tau is None)
        here["channel_end"] = len(rows)
    tables = Tables(net, rows, found)
    fastest = max([*rows.rate, *(1 / t for t in tables.taus)], default=0.0)
    rebase = max(1, min(TABLE, int(min(LONGEST, RANGE / fastest if fastest else LONGEST) / dt)))
    depth, places = 2 + longest(net), cells.last.size
    cells = cells._replace(
        spikes=np.zeros((depth, places), np.int32), count=np.zeros((depth, len(net.populations)), np.int64)
    )
    row, z = rows.laid_out(F)
    varying = filled(arrays.CLOCKED, F, tables.clocked), filled(arrays.PART, F, tables.varying)
    decays = arrays.Decays(row, *powers(rows.rate, dt, rebase, F), z, *varying)
    return Ready(
        depth, rebase, sum(p.n for p in net.populations), cells, wires(net, found), tables.rules(F), decays,
        tables.gates(dt, rebase, F), np.zeros(2, np.int64),
        np.random.SeedSequence([net.seed, 1]).generate_state(2, np.uint64), np.zeros(places // BLOCK + 1, np.int32),
        np.zeros(max(1, tables.most, len(tables.gate)), F), np.zeros(places, np.int64),
        {n: i for i, n in enumerate(tables.signals)}, found,
        [(h["at"], h["size"], start) for h, (_, _, start, _) in zip(row, rows.rest, strict=True) if start],
    )  # fmt: skip


def rest(net: Network) -> None:
    """What is kept of the past, as before the first run."""
    ready = net.made()
    cells, z, signal = ready.cells, ready.decays.z.reshape(-1), ready.gates.signal
    for p, here in zip(net.populations, cells.population, strict=True):
        v, x = first_state(p, kind_of(p.neuron, net.dt), net.dtype)
        at = slice(int(here["start"]), int(here["start"]) + padded(p.n))
        cells.v.reshape(-1)[at] = v
        if here["kind"] != arrays.HOMEOSTATIC:  # a threshold that was learned stays
            cells.x.reshape(-1)[at] = x
    cells.last[:], cells.count[:] = LONG_AGO, 0
    cells.population["held_first"], cells.population["held_count"] = 0, 0
    z[:], ready.gates.e[:], ready.tally[:], ready.clock[1] = 0, 0, 0, 0
    for at, size, start in ready.starts:
        z[at : at + size] = start
    signal["value"][signal["of"] >= 0] = 0


def longest(net: Network) -> int:
    """The longest delay, in steps."""
    return max((int(d.max()) for q in net.projections for d in (q.axonal, q.dendritic)), default=1)


LONG_AGO = -(1 << 40)  # the step of a last spike before any


def first_state(p: Any, kind: Any, F: type) -> tuple[Any, Any]:
    """v and x of a population before its first step, [padded n]."""
    v, x = np.full(padded(p.n), kind.v, F), np.full(padded(p.n), kind.x, F)
    if p.first_v is not None:
        v[: p.n] = p.first_v
        if kind.kind == arrays.IZHIKEVICH:
            x[: p.n] = p.neuron.b * v[: p.n]
    return v, x


def neurons(net: Network) -> arrays.Cells:
    """The populations' state, without their last spikes."""
    F, dt = net.dtype, net.dt
    start = np.concatenate([[0], np.cumsum([padded(p.n) for p in net.populations])]).astype(np.int64)
    table = arrays.table(arrays.POPULATION, F, len(net.populations))
    v, x, drive, current, chance = (arrays.aligned(np.zeros(int(start[-1]), F)) for _ in range(5))
    par = np.zeros((len(net.populations), 12), F)
    steps, units = Joined(np.int64), Joined(np.int32)
    for p, s, here in zip(net.populations, start, table, strict=False):
        kind, at = kind_of(p.neuron, dt), slice(s, s + p.n)
        if kind.kind == arrays.HOMEOSTATIC and 0 < dt / p.neuron.tau_theta < TOO_SLOW * np.finfo(F).eps:
            warnings.warn(
                f"tau_theta: given {p.neuron.tau_theta:g}, in {np.dtype(F)} a step of {dt:g} ms changes a threshold by little "
                "more than rounding, so it decays at another speed: give dtype=numpy.float64, or tau_theta=math.inf",
                stacklevel=2,
            )
        par[p.index, : len(kind.par)], par[p.index, 11] = kind.par, kind.jump
        v[s : s + padded(p.n)], x[s : s + padded(p.n)] = first_state(p, kind, F)
        drive[at] = p.first_drive
        if kind.kind == arrays.POISSON:
            chance[at] = -np.expm1(-p.first_drive * dt / 1000)
        here["train_at"] = steps.length
        if kind.kind == arrays.TRAINS:
            order = np.argsort(p.neuron.time, kind="stable")
            steps.add(np.rint(np.asarray(p.neuron.time)[order] / dt))
            units.add(np.asarray(p.neuron.unit)[order])
        here["kind"], here["start"], here["n"], here["substeps"] = kind.kind, s, p.n, kind.substeps
        here["hold"], here["driven"] = steps_of(kind.refractory, dt), p.first_drive.any()
        here["most"], here["train_end"] = chance[at].max(), steps.length
    blocks = (-1, BLOCK)
    return arrays.Cells(
        table, par, drive.reshape(blocks), v.reshape(blocks), x.reshape(blocks), current.reshape(blocks),
        np.full(v.size, LONG_AGO, np.int64), np.zeros(v.size, np.uint32), chance, np.zeros((0, 0), np.int32),
        np.zeros((0, 0), np.int64), steps.whole(), units.whole(),
    )  # fmt: skip


def wires(net: Network, found: dict[Any, int]) -> arrays.Wires:
    """All projections' synapses in a row."""
    F = net.dtype
    unit = np.uint16 if all(p.n <= 1 << 16 for p in net.populations) else np.uint32
    kinds = {"rows": np.int64, "targets": unit, "columns": np.int64, "incoming": unit, "where": np.uint32, "first": F}
    joined = {n: Joined(t) for n, t in kinds.items()}
    delays, each = Joined(np.int64), {"units_pre": Joined(np.int64), "units_post": Joined(np.int64)}
    table = arrays.table(arrays.PROJECTION, F, len(net.projections))
    for q, here in zip(net.projections, table, strict=True):
        into = q.wiring.incoming() if q.rule and not q.wiring.dense else (np.zeros(0),) * 3
        for name, x in zip(kinds, (q.wiring.row, q.wiring.target, *into, q.first_w), strict=True):
            at = joined[name].add(x)
            if name != "where":
                here[name] = at
        for name, units, values, n in (
            ("axonal", "units_pre", q.axonal, q.pre.n), ("dendritic", "units_post", q.dendritic, q.post.n)
        ):  # fmt: skip
            distinct = np.unique(values)
            here[name] = delays.add(distinct)
            here[name + "_end"] = delays.length
            here[units] = each[units].add(np.broadcast_to(values, n) if len(distinct) > 1 else np.zeros(0))
        here["pre"], here["post"], here["dense"], here["width"] = q.pre.index, q.post.index, q.wiring.dense, q.post.n
        here["size"], here["channel"] = q.wiring.size, found["channel", q.post.index, q.onto]
        here["plastic"] = 0 if q.rule is None else 1 if rules.compiled(q.rule).simple else 2
        here["low"], here["high"] = q.w_min, q.w_max
    lists = {n: j.whole() for n, j in joined.items()}
    for q, here in zip(net.projections, table, strict=True):  # one list of targets for both
        if not q.wiring.dense:
            q.wiring = q.wiring._replace(target=lists["targets"][here["targets"] : here["targets"] + here["size"]])
    return arrays.Wires(
        table, delays.whole(), each["units_pre"].whole(), each["units_post"].whole(), *lists.values()
    )  # fmt: skip
