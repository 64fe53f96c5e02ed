"""One side of a spike rule's products: activity and traces over a span of a trial, and how terms read and add them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Protocol

import torch
from torch import Tensor

Part = tuple[float, list[Tensor]]  # gain, and factors to be multiplied
Weighted = tuple[float, Tensor]  # gain, and their product


class Of(Protocol):
    """What is needed of a trace here: whose it is."""

    @property
    def of(self) -> str: ...


@dataclass(frozen=True)
class Seen:
    """A span of a trial: activity by name, and its traces with what they start from in front, [T + 1, B, *unit]."""

    traces: Mapping[str, Of]
    activity: Mapping[str, Tensor]
    z: Mapping[str, Tensor]
    decays: Mapping[str, float | Tensor]  # [T, ...] where a time constant varies

    def before(self, name: str, event: str) -> bool:
        """Is it a trace read before its bump? Only not so: pre traces at a post spike, and traces of third factors.

        At a pre spike the post spikes of this step are still to come.
        """
        of = self.traces[name].of if name in self.traces else None
        return of in ("pre", "post") and (of, event) != ("pre", "post")

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
        return c, reduce(mul, found).expand_as(like) if found else torch.ones_like(like)


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
