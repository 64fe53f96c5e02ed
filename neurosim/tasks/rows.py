"""Images read row by row, or patch by patch, from the top: for networks with a memory, and as tokens of a Transformer."""

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

    last row is shown. With a `patch`, squares of so many pixels a side in the place of rows, left to right, then down. dt in
    ms per step. All else is as in the task of the images.
    """

    repeat: int = 1
    dt: float = 10.0
    patch: int | None = None

    def __post_init__(self) -> None:
        positive(repeat=self.repeat, dt=self.dt)
        height, width = self.x.shape[2:]
        sides = [n for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
        if self.patch is not None and self.patch not in sides:
            raise ValueError(f"patch: given {self.patch!r}, but {self.name} of {height} x {width} is cut by {sides}")

    @property
    def piece(self) -> tuple[int, int]:
        """Height and width of what is shown at a step."""
        return (self.patch, self.patch) if self.patch else (1, self.x.shape[3])

    @property
    def shape(self) -> tuple[int, ...]:
        height, width = self.piece
        return (self.x.shape[1] * height * width,)

    def batches(self, split: Split, seed: int, epoch: int) -> Iterator[Batch]:
        return map(self.read, super().batches(split, seed, epoch))

    def evaluation(self, split: Split, size: int = 1000) -> Iterator[Batch]:
        return map(self.read, super().evaluation(split, size))

    def probe(self, split: Split, size: int = 128) -> Batch:
        return self.read(super().probe(split, size))

    def read(self, batch: Batch) -> Batch:
        """The batch in time."""
        h, w = self.piece
        cut = batch.x.unfold(2, h, h).unfold(3, w, w)  # [B, channels, down, across, h, w]
        rows = cut.permute(2, 3, 0, 1, 4, 5).flatten(0, 1).flatten(2)
        target = torch.full(rows.shape[:2], NOT_ASKED, device=rows.device)
        target[-1] = batch.target
        x, target = (v.repeat_interleave(self.repeat, 0) for v in (rows, target))
        return replace(batch, x=x, target=target, loss=Answers(self.repeat), time=True, dt=self.dt)

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        return decision(output, target)


def rows(task: Task, repeat: int = 1, dt: float = 10.0, patch: int | None = None) -> Rows:
    """The same images, row by row or patch by patch.

    ValueError for samples that are no images [C, H, W], and for a patch that does not divide both sides.
    """
    if task.x.dim() != 4:
        raise ValueError(
            f"task: {task.name} has samples {tuple(task.x.shape[1:])}, but rows are those of images [C, H, W]"
        )
    return Rows(**{f.name: getattr(task, f.name) for f in fields(task)}, repeat=repeat, dt=dt, patch=patch)
