"""The rule of forward-forward: raise a layer's goodness for real data, lower it for false ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, claims, outer, rank


@dataclass(frozen=True)
class Goodness:
    """dW = M sigmoid(-M (g - theta)) (2 / n) y phi'(u) (x) x,   g = mean over the layer's n units of y^2.

    M = reward: +1 for real data, -1 for false. It is the gradient of log sigmoid(M (g - theta)), which asks of each layer
    by itself whether g is above theta for real data and below it for false ones. Reads "lateral": g is the layer's.
    Source: Hinton 2022, arXiv 2212.13345, with the mean square for goodness.
    """

    theta: float = 2.0
    reads: frozenset[str] = claims("pre", "post", "slope", "lateral", "reward")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, M, units = rec.post, third["reward"], tuple(range(-rank(rec.synapse), 0))
        g, n = (y**2).mean(units, keepdim=True), y.shape[-len(units) :].numel()
        return outer(rec, rec.pre, M * (-M * (g - self.theta)).sigmoid() * (2 / n) * y * rec.slope)
