"""The buffers that the compiled loop fills, and their way into a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurosim.engine import arrays
from neurosim.engine.arguments import whole
from neurosim.engine.build import Ready
from neurosim.engine.network import Network
from neurosim.engine.parts import Population
from neurosim.engine.record import PopulationRate, Recording, Spikes, State, Weights

BUFFER = 1 << 16  # spikes kept before they are fetched
SPAN = 1 << 14  # steps whose bins are kept
SAMPLES = 1 << 20  # numbers of states that are kept
HEAVY = 1 << 24  # bytes of a recording that are kept in memory where it is streamed


class Listeners:
    """Buffers for what `record` asks for, and how they are emptied."""

    def __init__(self, net: Network, ready: Ready, record: Sequence[Any], rec: Recording) -> None:
        self.net, self.ready = net, ready
        self.told = arrays.table(arrays.TOLD, net.dtype, len(net.populations))
        self.told["since"] = ready.clock[0]
        self.states: list[State] = []
        watch: list[tuple[int, int]] = []
        every = {self.ask(r, watch) for r in record if isinstance(r, State)}
        if len(every) > 1:
            given = ", ".join(f"{n * net.dt:g}" for n in sorted(every))
            raise ValueError(f"every: given {given} ms, all states of one run are sampled at the same times")
        for r in record:
            if isinstance(r, Spikes):
                self.told[r.of.index]["listen"] = 1
                names = (f"spikes {r.of.index} time", f"spikes {r.of.index} unit")
            elif isinstance(r, PopulationRate):
                self.told[r.of.index]["bin"] = whole("bin", r.bin, net.dt, 1)
                rec.bins[r.of.index], names = r.bin, (f"rate {r.of.index}",)
            elif isinstance(r, Weights):
                names = (f"weights {r.of.index} time", f"weights {r.of.index}")
            else:
                names = (f"state {r.of.index} {r.name} time", f"state {r.of.index} {r.name}")
            rec.parts |= {n: [] for n in names}
        self.every = every.pop() if every else 1
        widths = self.told["bin"][self.told["bin"] > 0]
        self.room = max(SPAN, int(widths.max(initial=0))) if len(widths) else 1 << 60  # steps that the buffers can take
        if watch:
            self.room = min(self.room, max(1, SAMPLES // len(watch)) * self.every)
        bins = 2 + self.room // int(widths.min()) if len(widths) else 1
        samples = 2 + self.room // self.every if watch else 1
        self.begun, self.taken = int(ready.clock[0]) // self.every * self.every, 0
        self.seen = arrays.Seen(
            self.told, np.empty(BUFFER + ready.room, np.int64), np.empty(BUFFER + ready.room, np.int64),
            np.zeros((len(net.populations), bins + 1), np.int64), arrays.table(arrays.WATCH, net.dtype, len(watch)),
            np.zeros((len(watch), samples), net.dtype), np.array([0, 0, self.every]),
        )  # fmt: skip
        for here, (place, what) in zip(self.seen.watch, watch, strict=True):
            here["place"], here["what"] = place, what

    def ask(self, r: State, watch: list[tuple[int, int]]) -> int:
        """Adds what is to be watched; every how many steps."""
        names = {"v": 0, "x": 1, **{n: 2 + row for n, row in currents(self.ready, r.of).items()}}
        if r.name not in names:
            raise ValueError(f"name: given {r.name!r}, the states of {r.of!r} are {', '.join(names)}")
        start = int(self.ready.cells.population["start"][r.of.index]) if names[r.name] < 2 else 0  # a row has its own
        for u in r.units:
            if not 0 <= u < r.of.n:
                raise ValueError(f"units: given {u}, {r.of!r} has units 0 to {r.of.n - 1}")
            watch.append((int(u) + start, names[r.name]))
        self.states.append(r)
        return 1 if r.every is None else whole("every", r.every, self.net.dt, 1)

    def fetch(self, rec: Recording) -> None:
        """Empties the buffers into the recording."""
        seen, population, dt, told = self.seen, self.ready.cells.population, self.net.dt, self.told
        rec.stop = self.net.t
        rec.totals += told["total"]
        told["total"] = 0
        n, m = int(seen.at[0]), int(seen.at[1])
        if n:
            place, step = seen.unit[:n].copy(), seen.step[:n].copy()
            for p in told["listen"].nonzero()[0]:
                start = population["start"][p]
                mine = (place >= start) & (place < start + population["n"][p])
                rec.add(f"spikes {p} time", step[mine] * dt)
                rec.add(f"spikes {p} unit", (place[mine] - start).astype(np.int32))
        t = int(self.ready.clock[0])
        for p in told["bin"].nonzero()[0]:
            full = (t - told["since"][p]) // told["bin"][p]
            rec.add(f"rate {p}", seen.bins[p, :full].copy())
            seen.bins[p, 0], seen.bins[p, 1:] = seen.bins[p, full], 0
            told["since"][p] += full * told["bin"][p]
        if m:
            times, at = (self.begun + (self.taken + 1 + np.arange(m)) * self.every) * dt, 0
            for r in self.states:
                rec.add(f"state {r.of.index} {r.name} time", times)
                rec.add(f"state {r.of.index} {r.name}", seen.state[at : at + len(r.units), :m].T.copy())
                at += len(r.units)
            self.taken += m
        seen.at[:2] = 0


def currents(ready: Ready, p: Population) -> dict[str, int]:
    """Names of a population's currents or conductances, and their rows."""
    mine = {key: row for (kind, index, key), row in ready.rows.items() if kind == "channel" and index == p.index}
    named = {k: row for k, row in mine.items() if isinstance(k, str)}
    taus = {k: row for k, row in mine.items() if not isinstance(k, str)}
    if len(taus) == 1:
        return named | {"I": next(iter(taus.values()))}
    return named | {"I" if k is None else f"I_{k:g}": row for k, row in taus.items()}
