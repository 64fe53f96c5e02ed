"""A task shown as spike trains, or as currents, for networks that spike: see `coding.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from neurosim.plasticity import Batch
from neurosim.record import positive
from neurosim.tasks.base import ORDER, Split, Task, _generator, cross_entropy
from neurosim.tasks.coding import Code, PoissonCode

TRAINS = 3  # the random stream of the trains, beside those of `base.py`


@dataclass(frozen=True, eq=False)
class SpikeTrains(Task):
    """x[t] = code((x - lowest) / (highest - lowest)):  batches are [T, B, *in], with time and dt in ms.

    lowest and highest are those of the training part. What a code draws comes from (seed, epoch), for the test part once and
    for all, the same for every recipe.
    """

    steps: int = 30
    dt: float = 1.0
    code: Code = PoissonCode()

    def __post_init__(self) -> None:
        positive(steps=self.steps, dt=self.dt)

    def trains(self, split: Split, x: Tensor, generator: torch.Generator) -> Tensor:
        """Stored samples [B, *in] -> [T, B, *in]."""
        lowest, highest = split.train_x.min(), split.train_x.max()
        level = ((x - lowest) / (highest - lowest)).clamp(0, 1).to(torch.get_default_dtype())
        return self.code(level, self.steps, self.dt, generator)

    def batches(self, split: Split, seed: int, epoch: int) -> Iterator[Batch]:
        order = _generator(ORDER, seed, epoch).permutation(len(split.train_y))
        noise = stream(split, TRAINS, seed, epoch)
        for index in torch.from_numpy(order).to(split.train_y.device).split(self.batch_size):
            yield self._batch(split, split.train_x[index], split.train_y[index], noise)

    def evaluation(self, split: Split, size: int = 1000) -> Iterator[Batch]:
        noise = stream(split, TRAINS)
        for x, y in zip(split.test_x.split(size), split.test_y.split(size), strict=True):
            yield self._batch(split, x, y, noise)

    def probe(self, split: Split, size: int = 128) -> Batch:
        return self._batch(split, split.train_x[:size], split.train_y[:size], stream(split, TRAINS))

    def _batch(self, split: Split, x: Tensor, y: Tensor, noise: torch.Generator) -> Batch:
        return Batch(self.trains(split, x, noise), y, cross_entropy, time=True, dt=self.dt)


def stream(split: Split, *key: int) -> torch.Generator:
    """A generator of its own for each key, on the device of the samples."""
    seed = int(_generator(*key).integers(2**62))
    return torch.Generator(split.train_x.device).manual_seed(seed)


def spike_trains(task: Task, steps: int = 30, dt: float = 1.0, code: Code = PoissonCode()) -> SpikeTrains:
    """The same task, its inputs coded in so many steps of dt ms; by default as Poisson trains, the brightest at 1,000 Hz."""
    return SpikeTrains(**{f.name: getattr(task, f.name) for f in fields(task)}, steps=steps, dt=dt, code=code)
