"""Diehl & Cook's network: unsupervised digit recognition by STDP, inhibition and thresholds that grow.

    inputs (Poisson)  -- STDP -->  n excitatory  -- one to one -->  n inhibitory  -- all but its own -->  excitatory

    model = DiehlCook(784, 400, seed=0)
    counts = model.learn(rates_of(images))            # [k, n] spikes; weights change at every spike
    labels = assign(model.respond(rates), y, 10)      # each neuron's class, on training data alone
    said = vote(model.respond(others), labels, 10)

Every neuron's threshold grows by theta_plus at each of its spikes, so that all take part; incoming weights are scaled to one
sum before each image, and an image to which fewer than `least` spikes answer is shown again, brighter. Source: Diehl & Cook
2015, Front Comput Neurosci 9:99, and their published code for what the text leaves open.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from neurosim.engine import Network, Population, Projection, Spikes
from neurosim.networks.diehl_cook import EXCITATORY, INPUTS, SUM, TO_EXCITATORY
from neurosim.record import positive
from neurosim.rules import SpikeRule
from neurosim.rules.stdp import DIEHL_COOK_RULE as STDP
from neurosim.spiking import ConductanceLIF, Poisson

INHIBITORY = ConductanceLIF(
    C=10.0,
    g_L=1.0,
    E_L=-60.0,
    E_e=0.0,
    E_i=-85.0,
    v_threshold=-40.0,
    v_reset=-45.0,
    refractory=2.0,
    tau_e=1.0,
    tau_i=2.0,
)
TO_INHIBITORY = 10.4  # nS
BRIGHTER, LEAST, TRIES = 0.5, 5, 10  # of the first rates, at each new try; spikes
MEAN = 10.0  # Hz, of all inputs


class DiehlCook:
    """`inputs` Poisson units, n excitatory and n inhibitory neurons, dt in ms; each image for `shown` ms, `rest` ms of none.

    dt, shown and rest are the authors'; their delays of input synapses are not here. After each image thresholds decay by
    exp(-(shown + rest) / tau_theta), all else is back at its start. With dt = 1 ms many neurons reach threshold before
    inhibition comes, and learn the same.

    total: the sum of a neuron's incoming weights, default 78, the authors' at 784 inputs, and in proportion at others, which
    then want higher rates. `net`, `shows`, `cells` and `synapses` are the network, its inputs, the excitatory neurons and what
    learns. ValueError for sizes, times or sums that are none.
    """

    def __init__(
        self,
        inputs: int = INPUTS,
        n: int = 400,
        seed: int = 0,
        *,
        dt: float = 0.5,
        shown: float = 350.0,
        rest: float = 150.0,
        rule: SpikeRule = STDP,
        least: int = LEAST,
        total: float | None = None,
        dtype: type = np.float32,
    ) -> None:
        for name, given, least_of in (("inputs", inputs, 1), ("n", n, 1)):
            if not isinstance(given, int | np.integer) or given < least_of:
                raise ValueError(f"{name}: given {given!r}, it must be a whole number of at least {least_of}")
        total = SUM * inputs / INPUTS if total is None else total
        positive(shown=shown, total=total)
        if not 0 <= rest < math.inf:
            raise ValueError(f"rest: given {rest!r}, it is a time in ms, 0 for none")
        self.net = Network(dt=dt, seed=seed, dtype=dtype)
        self.n, self.shown, self.least, self.total = n, shown, least, total
        self.decay = math.exp(-(shown + rest) / EXCITATORY.tau_theta)
        self.shows: Population = self.net.add(inputs, Poisson(), name="input")
        # a step's share of it is below float32's rounding, so thresholds decay once an image
        still = replace(EXCITATORY, tau_theta=math.inf)
        self.cells: Population = self.net.add(n, still, name="excitatory")
        rivals = self.net.add(n, INHIBITORY, name="inhibitory")
        self.synapses: Projection = self.net.connect(
            self.shows, self.cells, weight=lambda g, k: 0.3 * (g.random(k) + 0.01), onto="g_e", rule=rule, w_max=1.0
        )
        self.net.connect(self.cells, rivals, one_to_one=True, weight=TO_INHIBITORY, onto="g_e")
        others = scipy.sparse.csr_matrix(TO_EXCITATORY * (1 - np.eye(n)))
        self.net.connect(rivals, self.cells, matrix=others, onto="g_i")

    @property
    def theta(self) -> NDArray[np.floating]:
        """By how much each excitatory neuron's threshold stands above v_threshold, in mV, [n]; set it to change it."""
        x = self.net.made().cells.x.reshape(-1)
        return x[self.cells.place : self.cells.place + self.n]

    def learn(self, rates: ArrayLike) -> NDArray[np.int64]:
        """rates [k, inputs] in Hz, one after the other -> spikes [k, n]. Weights change at every spike, thresholds too."""
        return np.array([self._shown(r) for r in self._checked(rates)], np.int64).reshape(-1, self.n)

    def respond(self, rates: ArrayLike) -> NDArray[np.int64]:
        """The same, but weights and thresholds are afterwards as they were before each image."""
        w, theta, counts = self.synapses.w.copy(), self.theta.copy(), []
        for r in self._checked(rates):
            counts.append(self._shown(r))
            self.synapses.w[:], self.theta[:] = w, theta
        return np.array(counts, np.int64).reshape(-1, self.n)

    def save(self, path: Path | str) -> None:
        """Weights [inputs, n] and thresholds [n] as .npz, without pickle."""
        np.savez_compressed(path, weights=self.synapses.w.reshape(-1, self.n), theta=self.theta)

    def _checked(self, rates: ArrayLike) -> NDArray[np.float64]:
        found = np.asarray(rates, float)
        if found.ndim != 2 or found.shape[1] != self.shows.n:
            raise ValueError(f"rates: given {list(found.shape)}, expected [images, {self.shows.n}] in Hz")
        if not (np.isfinite(found).all() and (found >= 0).all()):
            raise ValueError("rates: given some that are negative or not finite, they are in Hz")
        return found

    def _shown(self, rates: NDArray[np.float64]) -> NDArray[np.int64]:
        for k in range(TRIES):
            self.synapses.scale_rows(self.total)
            self.shows.drive = rates * (1 + BRIGHTER * k)
            _, unit = self.net.run(self.shown, [Spikes(self.cells)]).spikes(self.cells)
            self.net.rest()
            self.theta[:] *= self.decay
            if len(unit) >= self.least:
                break
        return np.bincount(unit, minlength=self.n)


# ---------------------------------------------------------------------------------------------- images, classes
def rates_of(images: ArrayLike, mean: float | None = MEAN) -> NDArray[np.float64]:
    """Images [k, ...] of intensities 0 to 255 -> rates [k, inputs] in Hz: in each image `mean` on average over its inputs.

    With mean None as the authors have it for MNIST, intensity / 8 times 2. ValueError for negative intensities.
    """
    found = np.asarray(images, float).reshape(len(np.asarray(images)), -1)
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"images: given intensities down to {found.min():g}, they must be finite and not negative")
    if mean is None:
        return found / 4
    positive(mean=mean)
    of = found.mean(1, keepdims=True)
    return found * np.divide(mean, of, out=np.zeros_like(of), where=of > 0)


def assign(counts: ArrayLike, y: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Each neuron's class, [n]: that whose images it answered most to, on average; -1 for one that never spiked.

    counts [k, n] and y [k], of training images.
    """
    counts, y = np.asarray(counts), np.asarray(y)
    if len(counts) != len(y):
        raise ValueError(f"y: given {len(y)} labels of {len(counts)} images")
    if not np.isin(y, np.arange(classes)).all():
        raise ValueError(f"y: given labels from {y.min()} to {y.max()}, classes are 0 to {classes - 1}")
    means = np.stack([counts[y == c].mean(0) if (y == c).any() else np.zeros(counts.shape[1]) for c in range(classes)])
    return np.where(means.max(0) > 0, means.argmax(0), -1)


def vote(counts: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """The class whose neurons spike most on average, [k]. counts [k, n], labels [n] as `assign` gives them."""
    counts, labels = np.asarray(counts), np.asarray(labels)
    if counts.ndim != 2 or labels.shape != counts.shape[1:]:
        raise ValueError(
            f"labels: given {list(labels.shape)} for counts of {list(counts.shape)}, one a neuron: [k, n], [n]"
        )
    none = np.full(len(counts), -1.0)
    score = [counts[:, labels == c].mean(1) if (labels == c).any() else none for c in range(classes)]
    return np.stack(score, 1).argmax(1)


__all__ = ["DiehlCook", "STDP", "assign", "rates_of", "vote"]
