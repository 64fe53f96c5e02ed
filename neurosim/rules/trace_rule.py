"""The trace rule: what follows each other in time comes to drive the same unit. For complex cells out of simple ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, Unsupported, claims, outer, per_unit, rank
from neurosim.traces import trace


@dataclass(frozen=True)
class TraceRule:
    """ybar <- (1 - delta) ybar + delta y,   dW = ybar (x - w),   frame by frame.

    w -> the mean of x in the frames around those in which the unit is active, so a unit that wins on one frame is drawn
    to the next ones too: to what transformations of one thing share. delta = 1: no trace, competitive learning. Nothing
    here makes units compete, the net does (a neuron that takes all); y >= 0.

    Without a time axis, each update is one frame and each sample a film; with one (no dt), each step is a frame, and w that
    of the first. ybar starts at 0 and lasts from update to update in every lane. delta counts frames: Unsupported where
    steps have a length dt in ms. ValueError for delta outside ]0, 1], or a number of films that changes.
    Source: Foeldiak 1991, Neural Comput 3:194 (delta = 0.2).
    """

    delta: float = 0.2
    reads: frozenset[str] = claims("pre", "post", "weight")

    def __post_init__(self) -> None:
        if not 0 < self.delta <= 1:
            raise ValueError(f"delta: given {self.delta}, the share of the new frame must be above 0 and at most 1")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, x, w = rec.post, rec.pre, rec.weight
        if y.dim() == rank(rec.synapse) + 1:
            y, x = y[None], x[None]
        elif rec.dt is not None:
            raise Unsupported(
                f"{rec.name}: the trace rule counts frames, but steps of dt = {rec.dt} ms are given: use Batch(time=True) "
                "without dt"
            )
        start = state.get("ybar")
        if start is not None and start.shape != y.shape[1:]:
            raise ValueError(
                f"{rec.name}: a trace left by {len(start)} films cannot go on in {y.shape[1]}: keep the batch's size"
            )
        ybar, _ = trace(self.delta * y, 1 - self.delta, start)  # [T, B, *unit]
        state["ybar"] = ybar[-1]
        return outer(rec, x, ybar) - per_unit(rec, ybar) * w
