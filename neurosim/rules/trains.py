"""What rules on spike trains share: the check of the trains, a decay that fits the step, a state that fits the lanes."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import torch
from torch import Tensor

from neurosim.neurons import decay
from neurosim.plasticity import Record, Unsupported, rank
from neurosim.traces import is_train

FEW = 1 << 14  # numbers


def check_trains(rec: Record, reads: Collection[str]) -> None:
    """ValueError unless pre and post are trains [T, B, *unit], of 0 and 1 where they are read, that fit the weight.

    Values are looked at on the CPU alone: a GPU would have to wait for the answer.
    """
    r = rank(rec.synapse)
    axes = "[T, B, N]" if r == 1 else "[T, B, *unit]"
    for name, x in (("pre", rec.pre), ("post", rec.post)):
        if x.dim() != r + 2:
            raise ValueError(
                f"{rec.name}: {name} has the shape {list(x.shape)}, expected {axes}: use Batch(time=True, dt=...)"
            )
        if not x.numel():
            raise ValueError(
                f"{rec.name}: {name} has the shape {list(x.shape)}, expected {axes} with a step and a lane"
            )
        if not x.is_floating_point() or x.dtype != rec.weight.dtype:
            raise ValueError(f"{rec.name}: {name} is of {x.dtype}, expected the weight's type, {rec.weight.dtype}")
        n = channels(rec, name)
        if x.shape[2] != n:
            raise ValueError(
                f"{rec.name}: {name} has the shape {list(x.shape)}, expected {axes} with "
                + (f"N = {n}" if r == 1 else f"{n} channels")
            )
        if name in reads and x.device.type == "cpu" and not spikes_only(x):
            raise Unsupported(f"{rec.name}: {name} is no train of spikes, it holds other numbers than 0 and 1")
    if rec.pre.shape[:2] != rec.post.shape[:2]:
        raise ValueError(
            f"{rec.name}: pre {list(rec.pre.shape)} and post {list(rec.post.shape)} differ in T or B, expected {axes}"
        )


def check_told(rec: Record, needed: Collection[str], third: Collection[str], traces: Collection[str]) -> None:
    """ValueError where a third factor that is read is not told."""
    for f in needed:
        if f not in third:
            known = ", ".join(sorted({"pre", "post", *traces, *third}))
            raise ValueError(
                f"{rec.name}: the rule reads {f!r}, which is no trace of it and is not told; there is {known}"
            )


def spikes_only(x: Tensor) -> bool:
    """Is every number 0 or 1?  Of a few numbers torch tells sooner than numpy."""
    return torch.equal(x, (x != 0).to(x.dtype)) if x.numel() < FEW else is_train(x)


def channels(rec: Record, name: str) -> int:
    """Units of a dense synapse's side, channels of a convolution's."""
    post, pre = rec.weight.shape[:2]
    return post if name == "post" else pre * getattr(rec.synapse, "groups", 1)


@lru_cache(1024)
def decay_of(name: str, tau: float, dt: float | None) -> float:
    """exp(-dt / tau) of the parameter of that name. ValueError where dt is missing, or longer than tau."""
    if dt is not None and tau < dt:
        raise ValueError(f"{name}: given {tau} ms, less than the step dt = {dt} ms: times are in ms")
    return decay(tau, dt)


def varying(rec: Record, name: str, of: str, tau: float, clock: Tensor) -> Tensor:
    """exp(-dt / (tau clock)), [T, ...]. ValueError where that is below the step, or differs between post units for a trace of
    pre, which would be one a synapse."""
    if of == "pre" and clock[0].numel() > clock.shape[1]:
        raise ValueError(
            f"{rec.name}: the clock of {name} is given {list(clock.shape)}, of a trace of pre it is one number a lane"
        )
    decay_of(name, tau * float(clock.min()), rec.dt)
    return torch.exp(-float(rec.dt or 1) / (tau * clock))


def carried(rec: Record, z: Tensor, lanes: int, rule: str, pooled: bool) -> Tensor:
    """z, left by an earlier trial, [B, *unit], or pooled [1, *unit]. ValueError where another number of lanes left it."""
    if len(z) != lanes and not (pooled and len(z) == 1):
        raise ValueError(
            f"{rec.name}: a trace left by {len(z)} lanes cannot start {lanes}: keep the batch's size, or use "
            f"{rule}(..., forget=True) if the trial's end clears it"
        )
    return z
