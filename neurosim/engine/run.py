"""Running a network: the compiled loop in pieces, what is recorded between them, progress, Ctrl-C, what blows up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurosim.engine import arrays, kernel
from neurosim.engine.build import Ready
from neurosim.engine.network import Network, Population
from neurosim.engine.record import BlowUp, PopulationRate, Recording, Spikes, State, Weights

PIECE = 0.2  # s of computing between looks at the clock
BUFFER = 1 << 16  # spikes kept before they are fetched


def run(
    net: Network, duration: float, record: Sequence[Any], ceiling: float | None, each: Any, to: Path | None
) -> Recording:
    total = whole("duration", duration, net.dt)
    ready = net.made()
    listeners = Listeners(net, ready, record, to)
    rec = Recording(net.t, net.t)
    rec.totals = np.zeros(len(net.populations), np.int64)
    listeners.begin(rec)
    marks = Marks(net, record, each)
    done, piece = 0, min(total, 200)
    progress = Progress(total)
    try:
        while done < total:
            begin = time.perf_counter()
            steps = min(total - done, piece, marks.next(done), listeners.room)
            ran = advanced(net, ready, listeners.seen, steps)
            done += ran
            listeners.fetch(rec)
            for call in marks.due(done):
                call(rec)
            check(net, ready, rec, listeners, ran, ceiling)
            spent = time.perf_counter() - begin
            if spent < PIECE / 2 and ran == piece:
                piece *= 2
            elif spent > PIECE:
                piece = max(1, piece // 2)
            progress.show(done)
    except KeyboardInterrupt:
        rec.interrupted = True
        listeners.fetch(rec)
    finally:
        progress.close()
        listeners.end(rec)
    return rec


def advanced(net: Network, ready: Ready, seen: arrays.Recorded, steps: int) -> int:
    return kernel.advance(
        steps, ready.clock, ready.depth, ready.rebase, net.dtype(net.dt), ready.room, ready.cells, ready.projections,
        ready.rules, ready.decays, ready.gates, seen, ready.random_state, ready.flags, ready.scalars,
    )  # fmt: skip


def check(net: Network, ready: Ready, rec: Recording, listeners: Listeners, ran: int, ceiling: float | None) -> None:
    """BlowUp where a population's rate over the piece is above the ceiling, or a potential is NaN."""
    span = ran * net.dt / 1000
    new, listeners.before = rec.totals - listeners.before, rec.totals.copy()
    for p in net.populations:
        rate = new[p.index] / p.n / span if span else 0.0
        what = ""
        if ceiling is not None and rate > ceiling:
            what = f"its rate was {rate:.0f} Hz, above the ceiling of {ceiling:g} Hz"
        elif ready.cells.kind[p.index] < arrays.POISSON and not np.isfinite(p.v.sum()):
            what = "a potential is NaN or inf"
        if what:
            listeners.end(rec)
            raise BlowUp(f"{p.name}: {what}, at {net.t:g} ms; error.recording has what there is", net.t, p, rec)


def whole(name: str, value: float, dt: float) -> int:
    """A time in whole steps."""
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: given {value} ms, it must be 0 or more")
    n = round(value / dt)
    if abs(n * dt - value) > 1e-6 * max(dt, value):
        raise ValueError(f"{name}: given {value} ms, it must be a whole number of steps of dt = {dt} ms")
    return n


class Marks:
    """What is done every so many steps: snapshots, normalisation, the user's function."""

    def __init__(
        self, net: Network, record: Sequence[Any], each: tuple[float, Callable[[Network], None]] | None
    ) -> None:
        self.base = int(net.made().clock[0])
        self.calls: list[tuple[int, Callable[[Recording], None]]] = []
        for q in net.projections:
            if q.normalise:
                self.calls.append(
                    (whole("normalise", q.normalise[1], net.dt), lambda rec, q=q: q.scale_rows(q.normalise[0]))
                )
        for r in record:
            if isinstance(r, Weights):
                self.calls.append((whole("every", r.every, net.dt), lambda rec, r=r: snapshot(net, r, rec)))
        if each:
            self.calls.append((whole("each", each[0], net.dt), lambda rec: each[1](net)))
        for every, _ in self.calls:
            if every < 1:
                raise ValueError("every: given less than dt, it must be at least one step")

    def next(self, done: int) -> int:
        """Steps until something is due; times are counted from the network's first step, whatever the chunks."""
        t = self.base + done
        return min((every - t % every for every, _ in self.calls), default=1 << 60)

    def due(self, done: int) -> list[Callable[[Recording], None]]:
        return [call for every, call in self.calls if (self.base + done) % every == 0]


def snapshot(net: Network, r: Weights, rec: Recording) -> None:
    times, values = rec.snapshots[r.of.index]
    times.append(net.t)
    values.append(r.of.w.copy() if r.bins is None else np.histogram(r.of.w, r.bins)[0])


class Listeners:
    """The loop's buffers, and their way into a recording."""

    def __init__(self, net: Network, ready: Ready, record: Sequence[Any], to: Path | None) -> None:
        self.net, self.ready, self.record, self.to, self.part = net, ready, record, to, 0
        P = len(net.populations)
        listen, binned = np.zeros(P, bool), np.zeros(P, np.int64)
        watch, what, every = [], [], 1
        self.states: list[State] = []
        for r in record:
            if isinstance(r, Spikes):
                listen[r.of.index] = True
            elif isinstance(r, PopulationRate):
                binned[r.of.index] = max(1, whole("bin", r.bin, net.dt))
            elif isinstance(r, State):
                every = self.sampled(r, watch, what)
            elif not isinstance(r, Weights):
                raise ValueError(f"record: given {r!r}, allowed are Spikes, PopulationRate, Weights and State")
            if r.of.net is not net:
                raise ValueError(f"record: given {r.of!r}, which is not of this network")
        self.room = 1 << 60
        if binned.any():
            self.room = 1 << 14
        if watch:
            self.room = min(self.room, max(every, (1 << 20) // len(watch) * every))
        bins = 1 + self.room // max(1, binned[binned > 0].min(initial=1 << 60)) + 2 if binned.any() else 1
        samples = self.room // every + 2 if watch else 1
        i = lambda x: np.array(x, np.int64)  # noqa: E731
        self.every = every
        self.bin_steps = binned
        self.seen = arrays.Recorded(
            listen, np.zeros(BUFFER + ready.room, np.int64), np.zeros(BUFFER + ready.room, np.int64), i([0]), binned,
            np.zeros((P, int(bins)), np.int64), np.zeros(P, np.int64), i(watch), i(what), i([every]),
            np.zeros((len(watch), int(samples)), net.dtype), i([0]), i([0]), np.zeros(P, np.int64),
        )  # fmt: skip
        self.before = np.zeros(P, np.int64)
        self.offset = 0

    def sampled(self, r: State, watch: list[int], what: list[int]) -> int:
        every = 1 if r.every is None else max(1, whole("every", r.every, self.net.dt))
        if self.states and every != self.every_of(self.states[0]):
            raise ValueError(f"every: given {r.every} ms, all states of one run are sampled at the same steps")
        start = int(self.ready.cells.start[r.of.index])
        row = {n: self.ready.rows[key] for n, key in state_rows(self.net, r.of).items()}
        names = {"v": 0, "x": 1, **{n: 2 + k for n, k in row.items()}}
        if r.name not in names:
            raise ValueError(f"name: given {r.name!r}, the states of {r.of!r} are {', '.join(names)}")
        for u in r.units:
            if not 0 <= u < r.of.n:
                raise ValueError(f"units: given {u}, {r.of!r} has units 0 to {r.of.n - 1}")
            watch.append(int(u) + (start if names[r.name] < 2 else 0))
            what.append(names[r.name])
        self.states.append(r)
        return every

    def every_of(self, r: State) -> int:
        return 1 if r.every is None else max(1, whole("every", r.every, self.net.dt))

    def begin(self, rec: Recording) -> None:
        self.seen.since[0] = self.ready.clock[0]
        for r in self.record:
            if isinstance(r, Spikes):
                rec.spike_parts[r.of.index] = []
            elif isinstance(r, PopulationRate):
                rec.rates[r.of.index] = []
            elif isinstance(r, Weights):
                rec.snapshots[r.of.index] = ([], [])
        for r in self.states:
            rec.states[r.of.index, r.name] = ([], [])
        self.seen.bin_since[:] = self.ready.clock[0]
        self.begun, self.taken = int(self.ready.clock[0]), 0

    def fetch(self, rec: Recording) -> None:
        """Empties the buffers into the recording."""
        seen, cells, dt = self.seen, self.ready.cells, self.net.dt
        rec.stop = self.net.t
        rec.totals += seen.total
        seen.total[:] = 0
        n = int(seen.count[0])
        if n:
            place, step = seen.unit[:n].copy(), seen.step[:n].copy()
            for p in rec.spike_parts:
                start = cells.start[p]
                mine = (place >= start) & (place < start + cells.n[p])
                rec.spike_parts[p].append((step[mine] * dt, (place[mine] - start).astype(np.int32)))
            seen.count[0] = 0
        t = int(self.ready.clock[0])
        for p in rec.rates:
            k = self.bin_steps[p]
            full = (t - seen.bin_since[p]) // k
            rec.rates[p].extend(seen.bins[p, :full].tolist())
            seen.bins[p, 0], seen.bins[p, 1:] = seen.bins[p, full], 0
            seen.bin_since[p] += full * k
        m = int(seen.samples[0])
        if m:
            times = (self.begun + (self.taken + 1 + np.arange(m)) * self.every) * dt
            self.taken += m
            at = 0
            for r in self.states:
                w = len(r.units)
                rec.states[r.of.index, r.name][0].append(times)
                rec.states[r.of.index, r.name][1].append(seen.state[at : at + w, :m].T.copy())
                at += w
            seen.samples[0] = 0

    def end(self, rec: Recording) -> None:
        """Counts become rates, Hz."""
        for p, counts in rec.rates.items():
            if isinstance(counts, list):
                n, width = self.ready.cells.n[p], self.bin_steps[p] * self.net.dt
                rec.rates[p] = np.array(counts, float) / n / width * 1000


def state_rows(net: Network, p: Population) -> dict[str, Any]:
    """Names of a population's currents, and their keys."""
    keys = [key for index, key in net.made().rows if index == p.index and (key is None or isinstance(key, int | float))]
    named = {k: (p.index, k) for k in ("g_e", "g_i") if (p.index, k) in net.made().rows}
    return named | ({"I": (p.index, keys[0])} if len(keys) == 1 else {f"I_{k:g}": (p.index, k) for k in keys if k})


class Progress:
    """A bar with the time left, on a terminal, for what takes longer than a second."""

    def __init__(self, total: int) -> None:
        self.total, self.bar, self.task, self.begin = total, None, None, time.perf_counter()

    def show(self, done: int) -> None:
        if self.bar is None:
            if not sys.stderr.isatty() or time.perf_counter() - self.begin < 1 or done >= self.total:
                return
            from rich.console import Console
            from rich.progress import Progress as Bar

            self.bar = Bar(console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("simulating", total=self.total)
            self.bar.start()
        self.bar.update(self.task, completed=done)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
