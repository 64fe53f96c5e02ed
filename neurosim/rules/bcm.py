"""The Bienenstock-Cooper-Munro rule: potentiation above a threshold that slides with the neuron's own activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.plasticity import Record, claims, outer, unit_mean


@dataclass(frozen=True)
class BCM:
    """theta <- theta + (<y^2> - theta) / tau,   dW = y (y - theta) (x) x.

    <.> is the mean over batch, time and places; `tau` counts updates; theta starts at the first <y^2>. Stable where the
    neuron answers to one of several linearly independent inputs, with y = 1/p (p its probability), and 0 to the others.
    theta slides on other samples' activity: the rule reads "batch". ValueError if tau < 1.
    Source: Bienenstock, Cooper & Munro 1982, J Neurosci 2:32; this form: Intrator & Cooper 1992, Neural Networks 5:3.
    """

    tau: float = 20.0
    reads: frozenset[str] = claims("pre", "post", "batch")

    def __post_init__(self) -> None:
        if not self.tau >= 1:
            raise ValueError(f"tau: given {self.tau}, the threshold needs a time constant of at least 1 update")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, x, y2 = rec.post, rec.pre, unit_mean(rec, rec.post**2)
        state["theta"] = theta = torch.lerp(state["theta"], y2, 1 / self.tau) if "theta" in state else y2
        return outer(rec, x, y * (y - theta))
