"""Running a network: the compiled loop in pieces, what is recorded between them, progress, Ctrl-C, what blows up."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurosim.engine import arrays, kernel
from neurosim.engine.arguments import number, whole
from neurosim.engine.build import Ready
from neurosim.engine.environment import Environment, compiled_step
from neurosim.engine.kinds import kind_of
from neurosim.engine.listen import HEAVY, Listeners
from neurosim.engine.network import Network
from neurosim.engine.parts import INPUTS, Population
from neurosim.engine.record import BlowUp, Recording, Weights, check_record

PIECE = 0.2  # s of computing between looks at the clock
WINDOW = 100.0  # ms over which a rate is held against the ceiling


def run(
    net: Network,
    duration: float,
    record: Sequence[Any],
    ceiling: float | None,
    each: tuple[float, Callable[[Network], None]] | None,
    environment: Environment | None,
    to: Path | None,
    stop: Interrupt | None = None,
) -> Recording:
    """stop: who hears Ctrl-C, where this is one of several runs."""
    total = whole("duration", duration, net.dt)
    check_record(net, record)
    if net.running:
        raise ValueError("run: this network is running, it cannot be run by what `each` calls")
    if environment is not None and not isinstance(environment, Environment):
        raise ValueError(f"environment: given {environment!r}, expected an Environment")
    if to is not None and any(to.glob("part-*.npz")):
        raise ValueError(f"to: {to} holds the parts of another run, give an empty folder")
    ready = net.made()
    for name, at in ready.signals.items():
        if np.isnan(ready.gates.signal["value"][at]):
            what = "multiplies a term or a time constant"
            raise ValueError(f"signal: {name} {what} and was never told, say net.signal({name}=1.0) first")
    if net.t == 0:
        remember(net)
    totals = np.zeros(len(net.populations), np.int64)
    rec = Recording(net.t, net.t, folder=to, totals=totals, family=net.family)
    listeners = Listeners(net, ready, record, rec)
    marks = Marks(net, record, each, ceiling)
    loop = Loop(net, ready, listeners.seen, environment)
    done, piece = 0, min(total, 1000)
    ended = lambda: environment is not None and environment.ended  # noqa: E731
    progress = Progress(total)
    listening = stop is None
    stop = stop or Interrupt()
    net.running = True
    try:
        while done < total and not stop.asked:
            begin = time.perf_counter()
            steps = min(total - done, piece, marks.next(done), listeners.room)
            ran = loop.advance(steps)
            done += ran
            listeners.fetch(rec)
            if to is not None and rec.held > HEAVY:
                rec.write()
            for call in marks.due(done):
                call(rec)
            check_finite(net, ready, rec)
            spent = time.perf_counter() - begin
            if spent < PIECE / 2 and ran == piece:
                piece *= 2
            elif spent > PIECE:
                piece = max(1, piece // 2)
            progress.show(done)
            if ended():
                break
    except KeyboardInterrupt:  # by `each`, or a second Ctrl-C
        rec.interrupted = True
    finally:
        net.running = False
        if listening:
            stop.close()
        progress.close()
        rec.write()
        net.window = marks.window(rec)
    rec.interrupted |= stop.asked and done < total and not ended()
    return rec


class Interrupt:
    """Ctrl-C, noticed between pieces, so that all of a piece is done; a second one raises at once."""

    def __init__(self) -> None:
        self.asked, self.before = False, None
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self.ask)

    def ask(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def close(self) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)


def remember(net: Network) -> None:
    """What the network begins with, for Brian2: drive is kept by its setter; v and w may have been written to."""
    for p in net.populations:
        if not isinstance(p.neuron, INPUTS):
            first = kind_of(p.neuron, net.dt).v if p.first_v is None else p.first_v
            if (p.v != np.asarray(first, net.dtype)).any():
                p.first_v = p.v.astype(np.float64)
    for q in net.projections:
        if not np.array_equal(q.w, q.first_w):
            q.first_w = q.w.copy()


class Loop:
    """The compiled loop with what it is given; parts that this network has no use for are not compiled."""

    def __init__(self, net: Network, ready: Ready, seen: arrays.Seen, environment: Environment | None) -> None:
        kinds, projection = ready.cells.population["kind"], ready.wires.projection
        others, inputs = ((kinds > arrays.LIF) & (kinds < arrays.POISSON)).any(), (kinds >= arrays.POISSON).any()
        there = (
            others,
            inputs,
            projection["dense"].any(),
            (projection["plastic"] == 2).any(),
            len(ready.decays.clocked),
        )
        step, every, memory, ends = None, 1, np.zeros(0), -1
        if environment is not None:
            step, every = compiled_step(environment.step, net.dtype), whole("every", environment.every, net.dt, 1)
            memory = environment.memory
            if environment.ends is not None:
                ends = environment.ends
                memory[ends] = 0
        self.arguments = (
            ready.clock, ready.depth, ready.rebase, net.gate_steps, net.dt, ready.room, ready.cells, ready.wires,
            ready.rules, ready.decays, ready.gates, seen, ready.random_state, ready.flags, ready.scalars,
            *(True if x else None for x in there), step, every, np.zeros(len(ready.gates.signal), net.dtype),
            ready.tally, memory, ends,
        )  # fmt: skip

    def advance(self, steps: int) -> int:
        """Python's search for garbage is held back: while numba compiles, it took a seventh of the time."""
        on = gc.isenabled()
        gc.disable()
        try:
            return kernel.advance(steps, *self.arguments)
        finally:
            if on:
                gc.enable()


def check_finite(net: Network, ready: Ready, rec: Recording) -> None:
    """BlowUp where a potential is NaN or inf, after a piece."""
    for p in net.populations:
        kind = ready.cells.population["kind"][p.index]
        if kind < arrays.POISSON and not np.isfinite(p.v.sum()):
            raise blown(net, p, rec, "a potential is NaN or inf, found")
        if kind == arrays.POISSON and not 0 <= (drive := p.drive).min() <= drive.max() < np.inf:
            raise blown(net, p, rec, "its environment made a rate NaN, negative or inf, found")


def blown(net: Network, p: Population, rec: Recording, what: str) -> BlowUp:
    return BlowUp(f"{p.name}: {what} at {net.t:g} ms; error.recording has what there is", net.t, p, rec)


class Ceiling:
    """BlowUp where a population's mean rate over WINDOW ms of the network's time is above Hz."""

    def __init__(self, net: Network, ceiling: float) -> None:
        if not 0 < number("ceiling", ceiling) < np.inf:
            raise ValueError(f"ceiling: given {ceiling}, it must be a positive number of Hz")
        self.net, self.Hz, self.steps = net, ceiling, max(1, round(WINDOW / net.dt))
        self.before = np.zeros(len(net.populations), np.int64)  # spikes at the last look, as this run counts them
        self.begin = int(net.made().clock[0])  # of the window
        if net.window is not None and net.window[0] == self.begin // self.steps * self.steps:  # runs before this one
            self.begin, self.before = net.window[0], -net.window[1]

    def __call__(self, rec: Recording) -> None:
        new, self.before = rec.totals - self.before, rec.totals.copy()
        whole, self.begin = self.begin % self.steps == 0, int(self.net.made().clock[0])
        for p in self.net.populations:
            rate = 1000 * new[p.index] / p.n / (self.steps * self.net.dt)
            if whole and rate > self.Hz:
                raise blown(self.net, p, rec, f"its rate was {rate:.0f} Hz, above the ceiling of {self.Hz:g} Hz,")

    def since(self, rec: Recording) -> tuple[int, np.ndarray] | None:
        """(the step with which the present window began, each population's spikes since), if it was seen from there."""
        return (self.begin, rec.totals - self.before) if self.begin % self.steps == 0 else None


class Marks:
    """What is done every so many steps: snapshots, normalisation, the user's function."""

    def __init__(
        self, net: Network, record: Sequence[Any], each: tuple[float, Callable[[Network], None]] | None,
        ceiling: float | None,
    ) -> None:  # fmt: skip
        self.base = int(net.made().clock[0])
        self.calls: list[tuple[int, Callable[[Recording], None]]] = []
        self.ceiling: Ceiling | None = None
        for q in net.projections:
            if q.normalise:
                self.calls.append(
                    (whole("normalise", q.normalise[1], net.dt, 1), lambda rec, q=q: q.scale_rows(q.normalise[0]))
                )
        for r in record:
            if isinstance(r, Weights):
                self.calls.append((whole("every", r.every, net.dt, 1), lambda rec, r=r: snapshot(net, r, rec)))
        if ceiling is not None:
            self.ceiling = Ceiling(net, ceiling)
            self.calls.append((self.ceiling.steps, self.ceiling))
        if each is not None:
            if not (isinstance(each, tuple) and len(each) == 2 and callable(each[1])):
                raise ValueError(f"each: given {each!r}, expected (ms, a function of the network)")
            self.calls.append((whole("each", each[0], net.dt, 1), lambda rec: each[1](net)))

    def next(self, done: int) -> int:
        """Steps until something is due; times are counted from the network's first step, whatever the chunks."""
        t = self.base + done
        return min((every - t % every for every, _ in self.calls), default=1 << 60)

    def window(self, rec: Recording) -> tuple[int, np.ndarray] | None:
        """What the next run's ceiling goes on from, if it is known."""
        return self.ceiling and self.ceiling.since(rec)

    def due(self, done: int) -> list[Callable[[Recording], None]]:
        return [call for every, call in self.calls if (self.base + done) % every == 0]


def snapshot(net: Network, r: Weights, rec: Recording) -> None:
    rec.add(f"weights {r.of.index} time", np.array([net.t]))
    rec.add(f"weights {r.of.index}", (r.of.w.copy() if r.bins is None else np.histogram(r.of.w, r.bins)[0])[None])


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
