"""What rules on spike trains share: the check of the trains, a decay that fits the step, a state that fits the lanes."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from neurosim.neurons import decay
from neurosim.plasticity import Record, rank
from neurosim.traces import is_train


def check_trains(rec: Record, reads: Collection[str]) -> None:
    """ValueError unless pre and post are trains [T, B, *unit], of 0 and 1 where they are read.

    Values are looked at on the CPU alone: a GPU would have to wait for the answer.
    """
    r = rank(rec.synapse)
    axes = "[T, B, N]" if r == 1 else "[T, B, *unit]"
    for name, x in (("pre", rec.pre), ("post", rec.post)):
        if x.dim() != r + 2:
            raise ValueError(
                f"{rec.name}: {name} has the shape {list(x.shape)}, expected {axes}: use Batch(time=True, dt=...)"
            )
        if name in reads and x.device.type == "cpu" and not is_train(x):
            raise ValueError(f"{rec.name}: {name} is no train of spikes, it holds other numbers than 0 and 1")
    if rec.pre.shape[:2] != rec.post.shape[:2]:
        raise ValueError(
            f"{rec.name}: pre {list(rec.pre.shape)} and post {list(rec.post.shape)} differ in T or B, expected {axes}"
        )


def decay_of(name: str, tau: float, dt: float | None) -> float:
    """exp(-dt / tau) of the parameter of that name. ValueError where dt is missing, or longer than tau."""
    if dt is not None and tau < dt:
        raise ValueError(f"{name}: given {tau} ms, less than the step dt = {dt} ms: times are in ms")
    return decay(tau, dt)


def carried(rec: Record, z: Tensor, lanes: int, rule: str) -> Tensor:
    """z, left by an earlier trial, [1 or B, *unit]. ValueError where it was left by another number of lanes."""
    if len(z) not in (1, lanes):
        raise ValueError(
            f"{rec.name}: a trace left by {len(z)} lanes cannot start {lanes}: keep the batch's size, or use "
            f"{rule}(..., forget=True) if the trial's end clears it"
        )
    return z
