"""What a run records, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurosim.engine.arguments import numbers
from neurosim.engine.arrays import Array
from neurosim.engine.parts import Population, Projection

if TYPE_CHECKING:
    from neurosim.engine.network import Network


JOINED = 1 << 20  # bytes up to which pieces of a recording are joined


@dataclass(frozen=True)
class Spikes:
    """Every spike of a population."""

    of: Population


@dataclass(frozen=True)
class PopulationRate:
    """A population's mean rate (Hz), in bins of `bin` ms from the run's start; a bin that its end cuts is left out."""

    of: Population
    bin: float = 10.0


@dataclass(frozen=True)
class Weights:
    """A projection's weights every so many ms, [snapshots, synapses]; with `bins` (edges), their counts [snapshots, bins]."""

    of: Projection
    every: float = 1000.0
    bins: Sequence[float] | None = None


@dataclass(frozen=True)
class State:
    """A state of some units every so many ms of the network's time (default: each step), after the step: "v", "x" (g_n of
    ConductanceLIF, w of AdEx, r of Izhikevich, a of AdaptiveLIF), "g_e", "g_i"; "I": the current of the population's
    projections, if they are of one time constant. All states of a run have the same `every`."""

    of: Population
    name: str
    units: Sequence[int] = (0,)
    every: float | None = None


def check_record(net: Network, record: Sequence[Any]) -> None:
    """ValueError for what is none of the four, of another network, or asked for twice."""
    if not isinstance(record, list | tuple):
        raise ValueError(f"record: given {record!r}, expected a list of Spikes, PopulationRate, Weights and State")
    asked = set()
    for r in record:
        if not isinstance(r, Spikes | PopulationRate | Weights | State):
            raise ValueError(f"record: given {r!r}, allowed are Spikes, PopulationRate, Weights and State")
        of = Projection if isinstance(r, Weights) else Population
        if not isinstance(r.of, of):
            raise ValueError(f"record: {type(r).__name__} is given {r.of!r}, expected a {of.__name__}")
        if r.of.net is not net:
            raise ValueError(f"record: given {r.of!r}, which is not of this network")
        if isinstance(r, State) and not (
            np.ndim(r.units) == 1 and np.asarray(r.units).dtype.kind in "iu" and len(r.units)
        ):
            raise ValueError(f"units: given {r.units!r}, expected a list of units, whole numbers")
        if isinstance(r, Weights) and r.bins is not None:
            edges = numbers("bins", r.bins)
            if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
                raise ValueError(f"bins: given {r.bins!r}, expected the edges of the bins, two or more that rise")
        key = (type(r), r.of.index, getattr(r, "name", ""))
        if key in asked:
            raise ValueError(f"record: {type(r).__name__} of {r.of!r} is asked for twice in one run")
        asked.add(key)


class Raster(NamedTuple):
    """Spikes: time [spikes] ms and unit [spikes], in order of time."""

    time: Array
    unit: Array

    def raster(self) -> tuple[Array, Array]:
        """(time, unit), to plot."""
        return self.time, self.unit

    def counts(self, n: int) -> Array:
        return np.bincount(self.unit, minlength=n)

    def train(self, unit: int) -> Array:
        return self.time[self.unit == unit]


class BlowUp(RuntimeError):
    """A rate above the ceiling, or NaN. `recording`: what there is up to then; `time` ms, `population`."""

    def __init__(self, message: str, time: float, population: Population, recording: Recording) -> None:
        super().__init__(message)
        self.time, self.population, self.recording = time, population, recording


@dataclass(repr=False)
class Recording:
    """What was recorded from `start` to `stop` ms, by what was asked for. `folder`: where a run with `to` left its parts."""

    start: float
    stop: float
    interrupted: bool = False
    folder: Path | None = None
    totals: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # spikes of each population
    bins: dict[int, float] = field(default_factory=dict)  # by population: ms
    parts: dict[str, list[Array]] = field(default_factory=dict)  # pieces of each recorded array, by name
    written: int = 0
    held: int = 0  # bytes of the parts in memory
    family: Any = None  # what its network and that one's replicas have in common

    def __repr__(self) -> str:
        what = ", ".join(self.parts) or "totals alone"
        return f"Recording({self.start:g} to {self.stop:g} ms{', interrupted' * self.interrupted}: {what})"

    def spikes(self, p: Population) -> Raster:
        self._check(p, Population)
        what = f"Spikes of {p!r}"
        return Raster(self._whole(f"spikes {p.index} time", what), self._whole(f"spikes {p.index} unit", what))

    def rate(self, p: Population) -> Array:
        """[bins] Hz."""
        self._check(p, Population)
        counts = self._whole(f"rate {p.index}", f"PopulationRate of {p!r}")
        return counts / p.n / self.bins[p.index] * 1000

    def mean_rate(self, p: Population) -> float:
        """Hz over the whole run; needs no recording."""
        self._check(p, Population)
        span = (self.stop - self.start) / 1000
        return float(self.totals[p.index] / p.n / span) if span else 0.0

    def weights(self, q: Projection) -> tuple[Array, Array]:
        """(times [snapshots] ms, weights or counts [snapshots, ...])."""
        self._check(q, Projection)
        what = f"Weights of {q!r}"
        return self._whole(f"weights {q.index} time", what), self._whole(f"weights {q.index}", what)

    def state(self, p: Population, name: str) -> tuple[Array, Array]:
        """(times [samples] ms, values [samples, units])."""
        self._check(p, Population)
        what = f"State {name!r} of {p!r}"
        return self._whole(f"state {p.index} {name} time", what), self._whole(f"state {p.index} {name}", what)

    def _check(self, of: Any, kind: type) -> None:
        if not isinstance(of, kind):
            raise ValueError(f"record: given {of!r}, a recording is asked for a {kind.__name__}")
        if self.family is not None and of.net.family is not self.family:
            raise ValueError(f"record: given {of!r} of another network than was recorded")

    def add(self, name: str, piece: Array) -> None:
        """Small pieces are joined as they come, so that many short ones take no more room than one long."""
        pieces = self.parts.setdefault(name, [])
        if pieces and not len(piece):
            return
        pieces.append(piece)
        self.held += piece.nbytes
        while len(pieces) > 1 and pieces[-2].nbytes <= min(2 * pieces[-1].nbytes, JOINED):
            pieces[-2:] = [np.concatenate(pieces[-2:])]

    def write(self) -> None:
        """What is in memory goes to the folder's next part, whole or not at all."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"part-{self.written:05d}.npz"
        unfinished = path.with_suffix(".unfinished")
        with open(unfinished, "wb") as file:
            np.savez_compressed(file, **{n: np.concatenate(p) for n, p in self.parts.items() if p})
        unfinished.replace(path)
        self.written += 1
        self.parts, self.held = {n: [] for n in self.parts}, 0

    def _whole(self, name: str, what: str) -> Array:
        if name not in self.parts:
            raise ValueError(f"record: {what} was not asked for in this run")
        pieces = []
        for k in range(self.written):
            with np.load(self.folder / f"part-{k:05d}.npz", allow_pickle=False) as part:
                pieces += [part[name]] if name in part else []
        pieces += self.parts[name]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32 if name.endswith("unit") else np.float64)
