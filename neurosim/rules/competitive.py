"""Rules in which the units of a layer compete for each input: soft winner-take-all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, claims, outer, per_unit, rank


@dataclass(frozen=True)
class SoftHebb:
    """dW = q (x) x - q u w,   q = softmax(u / temperature) over the units of a place,   scaled by | |w| - 1 |^power per unit.

    w -> a mixture component of the inputs on the unit sphere; the rate of a unit falls as its norm nears 1.
    Source: Moraitis et al. 2022, Neuromorph Comput Eng 2:044017; norm-dependent rate: Journe et al. 2023, ICLR.
    """

    temperature: float = 1.0
    power: float = 0.0
    reads: frozenset[str] = claims("pre", "u", "weight", "lateral")

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature: given {self.temperature}, it must be positive")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        u, x, w = rec.u, rec.pre, rec.weight
        q = (u / self.temperature).softmax(-rank(rec.synapse))
        dw = outer(rec, x, q) - per_unit(rec, q * u) * w
        if not self.power:
            return dw
        norm = w.flatten(1).norm(dim=1).reshape(-1, *[1] * (w.dim() - 1))
        return (norm - 1).abs() ** self.power * dw
