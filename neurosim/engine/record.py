"""What a run records, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from neurosim.engine.arrays import Array
from neurosim.engine.network import Population, Projection


@dataclass(frozen=True)
class Spikes:
    """Every spike of a population."""

    of: Population


@dataclass(frozen=True)
class PopulationRate:
    """A population's mean rate (Hz), in bins of `bin` ms."""

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
    """A state of some units every so many ms (default: each step), after the step: "v", "x" (w of AdEx, r of Izhikevich, a of
    AdaptiveLIF), "g_e", "g_i"; "I": the current of the population's projections, if they are of one time constant."""

    of: Population
    name: str
    units: Sequence[int] = (0,)
    every: float | None = None


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


@dataclass
class Recording:
    """What was recorded from `start` to `stop` ms: by what was asked for."""

    start: float
    stop: float
    interrupted: bool = False
    spike_parts: dict[int, list[tuple[Array, Array]]] = field(default_factory=dict)  # by population
    rates: dict[int, Any] = field(default_factory=dict)
    snapshots: dict[int, tuple[list[float], list[Array]]] = field(default_factory=dict)  # by projection
    states: dict[tuple[int, str], tuple[list[Array], list[Array]]] = field(default_factory=dict)
    totals: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def spikes(self, p: Population) -> Raster:
        parts = asked(self.spike_parts, p.index, f"Spikes of {p!r}")
        return Raster(*(np.concatenate([x[k] for x in parts] or [np.zeros(0)]) for k in range(2)))

    def rate(self, p: Population) -> Array:
        """[bins] Hz."""
        return asked(self.rates, p.index, f"PopulationRate of {p!r}")

    def mean_rate(self, p: Population) -> float:
        """Hz over the whole run; needs no recording."""
        span = (self.stop - self.start) / 1000
        return float(self.totals[p.index] / p.n / span) if span else 0.0

    def weights(self, q: Projection) -> tuple[Array, Array]:
        """(times [snapshots] ms, weights or counts [snapshots, ...])."""
        times, values = asked(self.snapshots, q.index, f"Weights of {q!r}")
        return np.array(times), np.array(values)

    def state(self, p: Population, name: str) -> tuple[Array, Array]:
        """(times [samples] ms, values [samples, units])."""
        times, values = asked(self.states, (p.index, name), f"State {name!r} of {p!r}")
        return np.concatenate(times or [np.zeros(0)]), np.concatenate(values or [np.zeros((0, 0))])


def asked(table: dict, key: Any, what: str) -> Any:
    if key not in table:
        raise ValueError(f"record: {what} was not asked for in this run")
    return table[key]
