"""Rules in which the units of a layer compete for each input: winners take all, softly or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, claims, outer, per_unit, positive, rank


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
        positive(temperature=self.temperature)

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        u, x, w = rec.u, rec.pre, rec.weight
        q = (u / self.temperature).softmax(-rank(rec.synapse))
        dw = outer(rec, x, q) - per_unit(rec, q * u) * w
        if not self.power:
            return dw
        norm = w.flatten(1).norm(dim=1).reshape(-1, *[1] * (w.dim() - 1))
        return (norm - 1).abs() ** self.power * dw


@dataclass(frozen=True)
class Winners:
    """dW = q (x) x - q w,   q = 1 for the k units of a place with the largest u, if u > 0; 0 for the others.

    Each winner moves towards the input: w -> the mean of the inputs it wins. k = 1 is hard winner-take-all. Nothing
    revives a unit that never wins. At most half of the units win; where units are tied at the k-th place all of them do.
    ValueError if k < 1.
    Source: Rumelhart & Zipser 1985, Cognitive Science 9:75; k winners: Majani, Erlanson & Abu-Mostafa 1988, NeurIPS.
    """

    k: int = 1
    reads: frozenset[str] = claims("pre", "u", "weight", "lateral")

    def __post_init__(self) -> None:
        if not self.k >= 1:
            raise ValueError(f"k: given {self.k}, at least one unit must win")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        u, x, w, units = rec.u, rec.pre, rec.weight, -rank(rec.synapse)
        k = min(self.k, max(u.shape[units] // 2, 1))
        least = u.topk(k, dim=units).values.amin(units, keepdim=True)
        q = ((u >= least) & (u > 0)).to(u.dtype)
        return outer(rec, x, q) - per_unit(rec, q) * w


@dataclass(frozen=True)
class ClassMean:
    """dW = credit (x) x - credit w,   credit = 1 for the class that is shown, 0 for others:   w_k -> the mean of its inputs.

    The class that is shown wins, whatever the units answer: supervised competitive learning. With SGD at rate r a class's mean
    is over about 1 / r batches' samples of that class, each counted as its share of the batch.
    """

    reads: frozenset[str] = claims("pre", "credit", "weight")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return outer(rec, rec.pre, third["credit"]) - per_unit(rec, third["credit"]) * rec.weight
