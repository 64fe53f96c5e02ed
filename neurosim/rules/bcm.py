"""The Bienenstock-Cooper-Munro rule: potentiation above a threshold that slides with the neuron's own activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.plasticity import Record, outer, positive, unit_mean


@dataclass(frozen=True)
class BCM:
    """m <- m + (<y^p> - m) / tau,   theta = rho0 (m / rho0^p)^q,   dW = gain y (y - theta) (x) x.

    p = 2, q = 1 by default: theta = <y^2> / rho0. <.> is the mean over batch, time and places; `tau` counts updates; m
    starts at `start`, or at the first <y^p>. A number given as `theta` stays as it is. Stable where the neuron answers to
    one of several linearly independent inputs, with y = rho0/P (P its probability), and 0 to the others. theta slides on
    other samples' activity: the rule then reads "batch". ValueError if tau < 1, rho0, p or q is not positive, or start < 0.
    Source: Bienenstock, Cooper & Munro 1982, J Neurosci 2:32; p = 2: Intrator & Cooper 1992, Neural Networks 5:3; p = 1,
    q = 2 is homeostatic triplet STDP, see `homeostasis.bcm_from_triplet`.
    """

    tau: float = 20.0
    rho0: float = 1.0  # unit of y
    p: float = 2.0
    q: float = 1.0
    theta: float | None = None
    gain: float = 1.0
    start: float | None = None  # of m

    def __post_init__(self) -> None:
        if not self.tau >= 1:
            raise ValueError(f"tau: given {self.tau}, the threshold needs a time constant of at least 1 update")
        positive(rho0=self.rho0, p=self.p, q=self.q)
        if self.start is not None and not 0 <= self.start < float("inf"):
            raise ValueError(f"start: given {self.start}, the mean of y^p must be finite and not negative")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"pre", "post"} | ({"batch"} if self.theta is None else set()))

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, x = rec.post, rec.pre
        if self.theta is not None:
            return outer(rec, x, self.gain * y * (y - self.theta))
        now = unit_mean(rec, y**self.p)
        first = now if self.start is None else torch.lerp(torch.full_like(now, self.start), now, 1 / self.tau)
        state["m"] = m = torch.lerp(state["m"], now, 1 / self.tau) if "m" in state else first
        theta = self.rho0 * (m / self.rho0**self.p) ** self.q
        return outer(rec, x, self.gain * y * (y - theta))
