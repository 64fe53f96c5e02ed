"""Exponential filters in time, along axis 0: exact decay a = exp(-dt / tau), carried state, forward and backward.

The timing contract of the package: within a step, decay, then pre spikes, then post spikes; a trace is read before its
own bump, so a coincident pair potentiates. A filter of T steps is kept as T + 1 numbers, with where it starts from among
them: what a trace is just before its bump at t is a times what it was after the last.

They are written into one tensor, without autograd: inside rules everything is detached.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1 << 21  # numbers of a layer's activity that are worked on at once: they fit in the cache
SMALL, SPAN = 1 << 13, 25  # numbers a step below which many steps are filtered by one matmul, and how many steps


def filtered(x: Tensor, a: float, start: Tensor | float = 0.0) -> Tensor:
    """z[t] = a z[t-1] + x[t].  x [T, ...] -> z [T + 1, ...], from z[-1] = start on: z[1:] after a bump, a z[:-1] before."""
    z = _room(x, a)
    z[0] = start
    if x[0].numel() < SMALL:
        kernel, age = _kernel(z, a)
        for s, x_s in _spans(x, z):  # z[t+i] = sum_j a^(i-j) x[t+j]  +  a^(i+1) z[t-1]
            n, now = len(x_s), z[s.start + 1 : s.stop + 1].view_as(x_s)
            torch.mm(kernel[:n, :n], x_s, out=now).addmm_(age[:n], z[s.start].view(1, -1))
        return z
    for x_t, last, now in zip(x.unbind(0), z[:-1].unbind(0), z[1:].unbind(0), strict=True):
        torch.add(x_t, last, alpha=a, out=now)
    return z


def filtered_nearest(x: Tensor, a: float, start: Tensor | float = 0.0, bump: float | None = None) -> Tensor:
    """As `filtered`, but each spike sets z to x[t] instead of adding it: only the nearest spike counts.

    With a bump x is of 0 and 1, and a spike sets z to the bump, in less time.
    """
    z = _room(x, a)
    z[0] = start
    to = None if bump is None else z.new_full((), bump)
    for x_t, last, now in zip(x.to(z.dtype).unbind(0), z[:-1].unbind(0), z[1:].unbind(0), strict=True):
        if to is None:
            torch.where(x_t > 0, x_t, a * last, out=now)
        else:
            torch.mul(last, a, out=now).lerp_(to, x_t)
    return z


def filtered_varying(x: Tensor, a: Tensor, start: Tensor | float = 0.0, nearest: bool = False) -> Tensor:
    """z[t] = a[t] z[t-1] + x[t], a [T, ...]; nearest: a spike sets z to x[t].  Like `filtered`, z [T + 1, ...]."""
    z = torch.empty(
        len(x) + 1, *torch.broadcast_shapes(x.shape, a.shape)[1:], dtype=torch.result_type(x, a), device=x.device
    )
    z[0] = start
    for t, x_t in enumerate(x):
        z[t + 1] = torch.where(x_t > 0, x_t.to(z.dtype), a[t] * z[t]) if nearest else a[t] * z[t] + x_t
    return z


def filtered_end(x: Tensor, a: float, start: Tensor | float = 0.0) -> Tensor:
    """The end of `filtered` alone: a^T start + sum_t a^(T-1-t) x[t]."""
    T = len(x)
    age = a ** torch.arange(T - 1, -1, -1, dtype=torch.result_type(x, a), device=x.device)
    return a**T * start + torch.tensordot(age, x.to(age.dtype), 1)


def filtered_back(x: Tensor, a: float) -> Tensor:
    """g[t] = x[t] + a g[t+1]: what an event at t will have met by the end.  x [T, ...] -> g [T + 1, ...], to g[T] = 0.

    With z = filtered(y, a, start):   sum_t x[t] z[t]  =  start a g[0] + sum_t y[t] g[t],   z and g without their extra step.
    What is filtered forward on one side of a product may be filtered backward on the other; the start counts as an event
    just before the first step.
    """
    g = _room(x, a)
    g[-1] = 0
    if x[0].numel() < SMALL:
        kernel, age = _kernel(g, a)
        for s, x_s in reversed(_spans(x, g)):  # g[t+i] = sum_j a^(j-i) x[t+j]  +  a^(n-i) g[t+n]
            n, now = len(x_s), g[s].view_as(x_s)
            torch.mm(kernel[:n, :n].T, x_s, out=now).addmm_(age[:n].flip(0), g[s.stop].view(1, -1))
        return g
    for x_t, last, now in zip(*(reversed(y.unbind(0)) for y in (x, g[1:], g[:-1])), strict=True):
        torch.add(x_t, last, alpha=a, out=now)
    return g


def trace(x: Tensor, a: float, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`filtered` as (z, z just before its bump), both like x."""
    z = filtered(x, a, 0.0 if start is None else start)
    return z[1:], a * z[:-1]


def is_train(x: Tensor) -> bool:
    """Is every number 0 or 1?  On the CPU by numpy, whose comparisons take a tenth of torch's time."""
    n = x.numpy() if x.device.type == "cpu" and x.dtype != torch.bfloat16 else x
    k = max(1, BLOCK // max(1, x[0].numel()))  # in spans of the trial, so that it stays in the cache
    return all(((s == 1) == (s != 0)).all() for s in (n[t : t + k] for t in range(0, len(n), k)))


def _kernel(like: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """a^(i-j) for i >= j, 0 elsewhere, [SPAN, SPAN]; and a^(i+1), [SPAN, 1]."""
    i = torch.arange(SPAN, device=like.device)
    since = a ** (i[:, None] - i).to(like.dtype).clamp(min=0)
    return since.tril(), a * since[:, :1]


def _spans(x: Tensor, z: Tensor) -> list[tuple[slice, Tensor]]:
    """Spans of a few steps, and x over them as [steps, numbers a step], of the type of z."""
    some = (slice(t, min(t + SPAN, len(x))) for t in range(0, len(x), SPAN))
    return [(s, x[s].reshape(s.stop - s.start, -1).to(z.dtype)) for s in some]


def _room(x: Tensor, a: float) -> Tensor:
    return x.new_empty(len(x) + 1, *x.shape[1:], dtype=torch.result_type(x, a))
