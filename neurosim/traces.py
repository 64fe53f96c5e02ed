"""Exponential filters in time, along axis 0: exact decay a = exp(-dt / tau), carried state, forward and backward.

The timing contract of the package: within a step, decay, then pre spikes, then post spikes; a trace is read before its
own bump, so a coincident pair potentiates.
"""

from __future__ import annotations

import torch
from torch import Tensor


def trace(x: Tensor, a: float, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """z[t] = a z[t-1] + x[t].  x [T, ...] -> (z, z just before its bump), both [T, ...]; z[-1] = start, else 0."""
    z = torch.zeros_like(x[0]) if start is None else start
    after, before = [], []
    for x_t in x.unbind(0):
        z = a * z
        before.append(z)
        z = z + x_t
        after.append(z)
    return torch.stack(after), torch.stack(before)


def nearest_trace(x: Tensor, a: float, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As `trace`, but each spike sets z to x[t] instead of adding it: only the nearest spike counts."""
    z = torch.zeros_like(x[0]) if start is None else start
    after, before = [], []
    for x_t in x.unbind(0):
        z = a * z
        before.append(z)
        z = torch.where(x_t > 0, x_t, z)
        after.append(z)
    return torch.stack(after), torch.stack(before)


def backward_trace(x: Tensor, a: float) -> Tensor:
    """g[t] = x[t] + a g[t+1]: what an event at t will have met by the end of the trial."""
    return trace(x.flip(0), a)[0].flip(0)
