"""Sequences that are drawn anew for every epoch: what a task in time is made of. See `Task` for what a comparison asks.

A trial is x [T, n_in] with a target at the steps at which an answer is asked; elsewhere the target is NOT_ASKED. Training
trials come from (seed, epoch), test trials from (seed), and the validation trials are the same for every seed: three
streams that never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neurosim.plasticity import Batch
from neurosim.tasks.base import ORDER, SPLIT, VALIDATION, _count, _generator

NOT_ASKED = -100
Make = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]  # (n, generator) -> x [T, n, n_in], target [T, n]


@dataclass(frozen=True)
class Answers:
    """L = sum over the asked steps of -log softmax(output[t])[target[t]] / asked, in nats.

    output [T, B, K], target [T, B] with NOT_ASKED -> [B]. `asked`: how many steps of a whole trial are, so that the losses
    of a trial's pieces add up to that of the trial.
    """

    asked: int

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        L = F.cross_entropy(output.flatten(0, -2), target.flatten(), ignore_index=NOT_ASKED, reduction="none")
        return L.reshape(target.shape).sum(0) / self.asked


# ---------------------------------------------------------------------------------------------- scores
def decision(output: Tensor, target: Tensor) -> Tensor:
    """1 where argmax of the mean of softmax(output) over the asked steps is the trial's one target, else 0.

    output [T, B, K], target [T, B] -> [B].
    """
    asked = target != NOT_ASKED
    chosen = (output.softmax(-1) * asked[..., None]).sum(0).argmax(-1)
    return (chosen == target.amax(0)).double()


def share_right(output: Tensor, target: Tensor) -> Tensor:
    """The share of asked steps at which argmax(output) = target. output [T, B, K], target [T, B] -> [B]."""
    asked = target != NOT_ASKED
    return ((output.argmax(-1) == target) & asked).sum(0).double() / asked.sum(0)


# ---------------------------------------------------------------------------------------------- the task
@dataclass(frozen=True, eq=False)
class Drawn:
    """What one seed trains and tests on: streams of trials, not stored ones."""

    seed: int
    train_y: Tensor = field(repr=False)  # numbers of the trials of an epoch
    test_y: Tensor = field(repr=False)
    test_key: tuple[int, ...]
    device: torch.device | str = "cpu"

    def to(self, device: torch.device | str) -> Drawn:
        return replace(self, device=device)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Trials made by `make`, [T, n, n_in] with targets [T, n]: trained on `train_size` new ones an epoch.

    `loss` is that of a trial, `scores` its score: (output [T, B, K], target [T, B]) -> [B]. dt in ms per step.
    """

    name: str
    make: Make
    shape: tuple[int, ...]  # of one step
    outputs: int
    loss: Answers
    scores: Callable[[Tensor, Tensor], Tensor] = decision
    dt: float = 1.0
    network: str = "rnn"
    batch_size: int = 64
    train_size: int = 1280
    test_size: int = 500
    validation_size: int = 500
    metric: str = "accuracy"
    drawn_anew: ClassVar[bool] = True  # no trial is trained on twice

    def limited(self, train: int | None = None, test: int | None = None) -> Sequences:
        """The same task with at most so many trials an epoch, and so many to score on."""
        return replace(
            self,
            train_size=min(self.train_size, self.train_size if train is None else _count(train, "train")),
            test_size=min(self.test_size, self.test_size if test is None else _count(test, "test")),
            validation_size=min(self.validation_size, self.validation_size if test is None else test),
        )

    def split(self, seed: int, tuning: bool = False) -> Drawn:
        """The streams of one seed; tuning=True: its test trials are the fixed validation trials."""
        n, key = (self.validation_size, (VALIDATION,)) if tuning else (self.test_size, (SPLIT, seed))
        _generator(*key)  # ValueError for a seed that is none
        return Drawn(seed, torch.arange(self.train_size), torch.arange(n), key)

    def batches(self, split: Drawn, seed: int, epoch: int) -> Iterator[Batch]:
        """An epoch of new trials, drawn from (seed, epoch); the last batch may be short."""
        yield from self._drawn(split, len(split.train_y), self.batch_size, (ORDER, seed, epoch))

    def evaluation(self, split: Drawn, size: int = 250) -> Iterator[Batch]:
        """Every test trial once."""
        yield from self._drawn(split, len(split.test_y), size, split.test_key)

    def probe(self, split: Drawn, size: int = 64) -> Batch:
        """Trials on which updates are held against each other."""
        size = min(size, self.train_size)
        return next(self._drawn(split, size, size, (ORDER, split.seed, 0)))

    def score(self, output: Tensor, target: Tensor) -> float:
        """The mean of `scores`. output [T, B, K], target [T, B]."""
        return self.scores(output, target).mean().item()

    def data(self) -> list[Tensor]:
        """What tells this task's trials from another's: the first of them."""
        return list(self.make(32, stream(VALIDATION)))

    def _drawn(self, split: Drawn, n: int, size: int, key: tuple[int, ...]) -> Iterator[Batch]:
        generator = stream(*key)
        for first in range(0, n, size):
            x, target = self.make(min(size, n - first), generator)
            x = x.to(split.device, torch.get_default_dtype())
            yield Batch(x, target.to(split.device), self.loss, time=True, dt=self.dt)


def stream(*key: int) -> torch.Generator:
    """A random stream of its own for each key."""
    return torch.Generator().manual_seed(int(_generator(*key).integers(2**62)))
