"""Hebbian coincidences gated by one number told to all: three-factor rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, Rule, claims, outer


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


@dataclass(frozen=True)
class Gated:
    """dW = by * (the rule's), sample by sample: the third factor `factor`, in which the rule is linear, is multiplied by `by`.

    For any three-factor rule: Gated(RewardedHebb(), "reward", "acetylcholine") is dW = ACh M y (x) x, whose learning rate
    acetylcholine sets. ValueError where the rule does not read `factor`.
    """

    rule: Rule
    factor: str
    by: str

    def __post_init__(self) -> None:
        if self.factor not in self.rule.reads:
            told = ", ".join(sorted(self.rule.reads))
            raise ValueError(f"factor: given {self.factor!r}, which the rule does not read; it reads {told}")

    @property
    def reads(self) -> frozenset[str]:
        return self.rule.reads | {self.by}

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        others = {n: x for n, x in third.items() if n != self.by or n in self.rule.reads}
        return self.rule.update(rec, {**others, self.factor: third[self.by] * third[self.factor]}, state)
