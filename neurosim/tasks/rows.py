"""Images read row by row, from the top: for networks with a memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from neurosim.plasticity import Batch
from neurosim.record import positive
from neurosim.tasks.base import Split, Task
from neurosim.tasks.sequences import NOT_ASKED, Answers, decision


@dataclass(frozen=True, eq=False)
class Rows(Task):
    """x[t] = row t // `repeat` of the image, [T, B, channels * width], T = height * `repeat`; the class is asked while the

    last row is shown. dt in ms per step. All else is as in the task of the images.
    """

    repeat: int = 1
    dt: float = 10.0

    def __post_init__(self) -> None:
        positive(repeat=self.repeat, dt=self.dt)

    @property
    def shape(self) -> tuple[int, ...]:
        channels, _, width = self.x.shape[1:]
        return (channels * width,)

    def batches(self, split: Split, seed: int, epoch: int) -> Iterator[Batch]:
        return map(self.read, super().batches(split, seed, epoch))

    def evaluation(self, split: Split, size: int = 1000) -> Iterator[Batch]:
        return map(self.read, super().evaluation(split, size))

    def probe(self, split: Split, size: int = 128) -> Batch:
        return self.read(super().probe(split, size))

    def read(self, batch: Batch) -> Batch:
        """The batch in time."""
        rows = batch.x.permute(2, 0, 1, 3).flatten(2)  # [height, B, channels * width]
        target = torch.full(rows.shape[:2], NOT_ASKED, device=rows.device)
        target[-1] = batch.target
        x, target = (v.repeat_interleave(self.repeat, 0) for v in (rows, target))
        return replace(batch, x=x, target=target, loss=Answers(self.repeat), time=True, dt=self.dt)

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        return decision(output, target)


def rows(task: Task, repeat: int = 1, dt: float = 10.0) -> Rows:
    """The same images, row by row. ValueError for samples that are no images [C, H, W]."""
    if task.x.dim() != 4:
        raise ValueError(
            f"task: {task.name} has samples {tuple(task.x.shape[1:])}, but rows are those of images [C, H, W]"
        )
    return Rows(**{f.name: getattr(task, f.name) for f in fields(task)}, repeat=repeat, dt=dt)
