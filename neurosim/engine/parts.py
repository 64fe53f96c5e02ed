"""What a network is made of: populations of neurons, and projections of synapses between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neurosim.engine.arguments import number, numbers, per_unit, weights_of
from neurosim.engine.arrays import Array
from neurosim.engine.wiring import Wiring
from neurosim.rules.spike_rule import SpikeRule
from neurosim.spiking import Poisson

if TYPE_CHECKING:
    from neurosim.engine.network import Network


@dataclass(frozen=True, repr=False)
class SpikeTrains:
    """Given spikes: unit[k] spikes at time[k] ms, in the step that begins there. An input population, for `Network.add`."""

    unit: Sequence[int]
    time: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("unit", "time"):
            if np.ndim(numbers(name, getattr(self, name))) != 1:
                raise ValueError(f"{name}: given {getattr(self, name)!r}, expected a list, an entry for each spike")
        if len(self.unit) != len(self.time):
            raise ValueError(f"time: given {len(self.time)} times for {len(self.unit)} units, they must be as many")
        if len(self.time) and not (np.min(self.time) >= 0 and np.isfinite(self.time).all()):
            raise ValueError("time: given a negative or infinite time, spikes come at 0 ms or later")

    def __repr__(self) -> str:
        return f"SpikeTrains({len(self.unit)} spikes)"


INPUTS = (Poisson, SpikeTrains)


class Fixed:
    """What has been compiled or checked when a thing was made, and is not asked for again, can't be set later."""

    fixed: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fixed and name in self.__dict__:
            raise AttributeError(f"{name}: given {value!r}, it was fixed when {self!r} was made")
        super().__setattr__(name, value)


class Population(Fixed):
    """n neurons of one kind. `drive` is its constant input: mV for LIF, pA for AdEx and ConductanceLIF, Hz for Poisson."""

    fixed = ("index", "n", "neuron")

    def __init__(self, net: Network, index: int, n: int, neuron: Any, drive: Any, v: Any, name: str) -> None:
        self.net, self.index, self.n, self.neuron, self.name = net, index, n, neuron, name
        self.first_drive, self.first_v = self._drive(drive), None if v is None else per_unit("v", v, n)

    def __repr__(self) -> str:
        return f"Population({self.name}, {self.n} {type(self.neuron).__name__})"

    @property
    def drive(self) -> Array:
        """[n], a copy; set it to change it, between runs too."""
        return self.first_drive.copy() if self.net.ready is None else self._here(self.net.ready.cells.drive).copy()

    @drive.setter
    def drive(self, value: Any) -> None:
        drive = self._drive(value)
        if self.net.t == 0:
            self.first_drive = drive
        if self.net.ready is not None:
            cells = self.net.ready.cells
            self._here(cells.drive)[:] = drive
            cells.population["driven"][self.index] = drive.any()
            if isinstance(self.neuron, Poisson):
                chance = -np.expm1(-drive * self.net.dt / 1000)
                self._here(cells.chance)[:] = chance
                cells.population["most"][self.index] = chance.max()

    @property
    def place(self) -> int:
        """Where its neurons begin among all, for an environment."""
        return int(self.net.made().cells.population["start"][self.index])

    @property
    def v(self) -> Array:
        """[n], a view."""
        return self._here(self.net.made().cells.v)

    @v.setter
    def v(self, value: Any) -> None:
        v = per_unit("v", value, self.n)
        if self.net.ready is None:
            self.first_v = v
        else:
            self.v[:] = v

    def _drive(self, value: Any) -> Array:
        drive = per_unit("drive", value, self.n)
        if isinstance(self.neuron, Poisson) and drive.min() < 0:
            raise ValueError(f"drive: given {drive.min():g} Hz, the rate of a Poisson input is 0 or more")
        return drive

    def _here(self, x: Array) -> Array:
        start = self.net.made().cells.population["start"][self.index]
        return x.reshape(-1)[start : start + self.n]


class Projection(Fixed):
    """The synapses from one population onto another."""

    fixed = ("index", "onto", "tau_syn", "axonal", "dendritic", "rule", "w_min", "w_max")

    def __init__(
        self, net: Network, index: int, pre: Population, post: Population, wiring: Wiring, first_w: Array, onto: Any,
        tau_syn: float | None, axonal: Array, dendritic: Array, rule: SpikeRule | None, w_min: float, w_max: float,
        normalise: tuple[float, float] | None,
    ) -> None:  # fmt: skip
        self.net, self.index, self.pre, self.post, self.wiring, self.first_w = net, index, pre, post, wiring, first_w
        self.onto, self.tau_syn, self.axonal, self.dendritic = onto, tau_syn, axonal, dendritic
        self.rule, self.w_min, self.w_max, self.normalise = rule, w_min, w_max, normalise

    def __repr__(self) -> str:
        return f"Projection({self.pre.name} to {self.post.name}, {self.wiring.size} synapses)"

    @property
    def w(self) -> Array:
        """All weights, sorted by pre and then by post; a view that may be written to. Ask anew after the first run."""
        if self.net.ready is None:
            if not self.first_w.flags.writeable:
                self.first_w = self.first_w.copy()
            return self.first_w
        here = self.net.ready.wires.projection[self.index]
        return self.net.ready.wires.w[here["first"] : here["first"] + here["size"]]

    @w.setter
    def w(self, value: Any) -> None:
        self.w[:] = weights_of(value, self.wiring, self.w_min, self.w_max, self.net.dtype)

    @property
    def pre_index(self) -> Array:
        """[synapses]: the pre unit of each."""
        return np.repeat(np.arange(self.pre.n), self.post.n if self.wiring.dense else np.diff(self.wiring.row))

    @property
    def post_index(self) -> Array:
        """[synapses]: the post unit of each."""
        return np.tile(np.arange(self.post.n), self.pre.n) if self.wiring.dense else self.wiring.target.astype(np.int64)

    def to_scipy(self) -> Any:
        """scipy.sparse [post, pre], a copy of the weights."""
        from scipy.sparse import csc_array

        row = np.arange(self.pre.n + 1) * self.post.n if self.wiring.dense else self.wiring.row
        return csc_array((self.w.copy(), self.post_index, row), shape=(self.post.n, self.pre.n))

    def to_dense(self) -> Array:
        """[post, pre], a copy; 0 where there is no synapse."""
        return self.w.reshape(self.pre.n, self.post.n).T.copy() if self.wiring.dense else self.to_scipy().toarray()

    def scale_rows(self, total: float) -> None:
        """Every post unit's weights are multiplied so that they sum to total, then clipped at their bounds; a unit whose sum is
        not above 0 stays. ValueError where total is no positive number."""
        if not 0 < number("total", total) < np.inf:
            raise ValueError(f"total: given {total!r}, weights are scaled to a positive sum")
        if self.wiring.dense:
            from neurosim.engine.scale import scaled

            w = self.w.reshape(self.pre.n, self.post.n)
            scaled(w, np.zeros(self.post.n, w.dtype), *(w.dtype.type(v) for v in (total, self.w_min, self.w_max)))
            return
        sums = np.bincount(self.wiring.target, self.w, self.post.n)
        self.w[:] *= np.divide(total, sums, out=np.ones_like(sums), where=sums > 0)[self.wiring.target]
        if np.isfinite(self.w_max) or np.isfinite(self.w_min):
            np.clip(self.w, self.w_min, self.w_max, out=self.w)
