"""Rules that follow a credit: `Gradient` (defined in plasticity.py, the rule of every error) and `Perturbed`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Gradient, Record, claims

__all__ = ["Gradient", "Perturbed"]


@dataclass(frozen=True)
class Perturbed:
    """dW = reward xi: keep the disturbance xi of the weight in so far as it helped.

    The rule of `WeightPerturbation`; its noise is shaped like W, so it needs no outer product. Source: Jabri & Flower 1992.
    """

    reads: frozenset[str] = claims("reward", "noise")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return third["reward"].sum() * third["noise"]
