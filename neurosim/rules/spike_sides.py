"""One side of a spike rule's products: activity and traces over a span of a trial, and how terms read and add them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import mul
from typing import Any, Protocol

import torch
from torch import Tensor

from neurosim.traces import SMALL, filtered, filtered_back, filtered_end

Part = tuple[float, list[Tensor]]  # gain, and factors to be multiplied
Weighted = tuple[float, Tensor]  # gain, and their product


class Of(Protocol):
    """What is needed of a trace here: whose it is."""

    @property
    def of(self) -> str: ...


def before(of: str, event: str) -> bool:
    """Is a trace of `of` read before its bump? Only not so: pre traces at a post spike, and traces of third factors.

    At a pre spike the post spikes of this step are still to come.
    """
    return of in ("pre", "post") and (of, event) != ("pre", "post")


@dataclass(frozen=True)
class Seen:
    """A span of a trial: activity by name, and its traces with what they start from in front, [T + 1, B, *unit]."""

    traces: Mapping[str, Of]
    activity: Mapping[str, Tensor]
    z: Mapping[str, Tensor]
    decays: Mapping[str, float | Tensor]  # [T, ...] where a time constant varies

    def before(self, name: str, event: str) -> bool:
        """Is it a trace read before its bump?"""
        return name in self.traces and before(self.traces[name].of, event)

    def read(self, names: tuple[str, ...], event: str) -> tuple[float, list[Tensor]]:
        """Factors at an event as (c, tensors), c times their product; before its bump a trace is a z[t-1], and a is in c."""
        c, found = 1.0, []
        for f in names:
            before = self.before(f, event)
            found.append(self.activity[f] if f not in self.traces else self.z[f][:-1] if before else self.z[f][1:])
            if before and isinstance(a := self.decays[f], Tensor):
                found[-1] = a * found[-1]
            elif before:
                c *= self.decays[f]
        return c, found

    def product(self, names: tuple[str, ...], event: str, like: Tensor) -> tuple[float, Tensor]:
        """As `read`, multiplied, and of a shape; ones where there are no factors."""
        c, found = self.read(names, event)
        if not found:
            return c, torch.ones_like(like)
        x = reduce(mul, found)
        return c, x if x.shape == like.shape else x.expand_as(like)

    def total(self, parts: Iterable[tuple[float, tuple[str, ...]]], event: str, like: Tensor) -> Weighted:
        """The sum of gain * product of factors at an event, as (c, tensor)."""
        found = [(gain, *self.read(names, event)) for gain, names in parts]
        return total([(gain * c, x or [torch.ones_like(like)]) for gain, c, x in found])


def total(parts: list[Part]) -> Weighted:
    """sum of gain * factors as (gain, tensor): the first gain is left outside, where it costs less."""
    (gain, (first, *others)), *rest = parts
    x = reduce(mul, others, first)
    for more, (first, *others) in rest:
        if others:
            x = torch.addcmul(x, first, reduce(mul, others), value=more / gain)
        else:
            x = torch.add(x, first, alpha=more / gain)
    return gain, x


def spanned(decays: Mapping[str, float | Tensor], s: slice) -> dict[str, float | Tensor]:
    """Those of a span of steps."""
    return {n: a[s] if isinstance(a, Tensor) else a for n, a in decays.items()}


# ---------------------------------------------------------------------------------------------- filters of short trials
SHORT = 64  # steps that are filtered at once, by a matmul with a kernel that is kept


def short(x: Tensor) -> bool:
    """One step, or few of a layer that is small enough for a matmul to be faster than a loop."""
    T = x.shape[0]
    return T == 1 or (T <= SHORT and x.numel() < T * SMALL)


def path(x: Tensor, a: float, start: Tensor | float = 0.0) -> Tensor:
    """`filtered`: z[t] = a z[t-1] + x[t], [T + 1, ...]."""
    T = x.shape[0]
    if not (isinstance(start, Tensor) and short(x)):
        return filtered(x, a, start)
    if T == 1:
        return torch.stack((start, torch.add(x[0], start, alpha=a)))
    events = torch.cat((start[None], x)).flatten(1)  # where it starts from counts as one
    return (kernel(T + 1, a, x).T @ events).view(T + 1, *x.shape[1:])


def end(x: Tensor, a: float, start: Tensor | float = 0.0) -> Tensor:
    """`filtered_end`: a^T start + sum_t a^(T-1-t) x[t]."""
    T = x.shape[0]
    if T > SHORT or not isinstance(start, Tensor):
        return filtered_end(x, a, start)
    if T == 1:
        return torch.add(x[0], start, alpha=a)
    age = kernel(T, a, x)[:, -1]
    return torch.add((age @ x.flatten(1)).view_as(start), start, alpha=a**T)


def back(x: Tensor, a: float) -> Tensor:
    """`filtered_back` without its extra step: g[t] = x[t] + a g[t+1]."""
    T = x.shape[0]
    if T == 1:
        return x
    if not short(x):
        return filtered_back(x, a)[:-1]
    return (kernel(T, a, x) @ x.reshape(T, -1)).view(x.shape)


def ages(T: int, a: float, like: Tensor) -> Tensor:
    """a^0, a^1, ... [T]."""
    return kept(_ages, like)(T, a, like.dtype, like.device)


def kernel(T: int, a: float, like: Tensor) -> Tensor:
    """a^(s-t) for s >= t, 0 elsewhere, [t, s]."""
    return kept(_kernel, like)(T, a, like.dtype, like.device)


def kept(make: Any, like: Tensor) -> Any:
    """From the cache for plain tensors; others (fake ones, of a tracer) must not be mixed with what is kept."""
    return make if type(like) is Tensor else make.__wrapped__


@lru_cache(64)
def _ages(T: int, a: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return a ** torch.arange(T, dtype=dtype, device=device)


@lru_cache(64)
def _kernel(T: int, a: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    t = torch.arange(T, device=device)
    return (a ** (t - t[:, None]).to(dtype).clamp(min=0)).triu()
