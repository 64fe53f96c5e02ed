"""Hebbian coincidences gated by one number told to all: three-factor rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, claims, outer


@dataclass(frozen=True)
class RewardedHebb:
    """dW = M y (x) x,   M = reward, one number a sample (reward minus its running mean).

    The two-factor product says which synapses were active, M whether that was better than expected. Without noise in y
    nothing says which unit caused the surprise: the mean of dW is the covariance of M with y x, no gradient.
    Source: three-factor rules, Fremaux & Gerstner 2016, Front Neural Circuits 9:85.
    """

    reads: frozenset[str] = claims("pre", "post", "reward")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return outer(rec, rec.pre, third["reward"] * rec.post)
