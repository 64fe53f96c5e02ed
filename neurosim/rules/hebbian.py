"""Correlation rules: Hebb (1949), Oja (1982, J Math Biol 15:267), Sanger (1989, Neural Networks 2:459).

y = post, x = pre, w = weight; all sums run over batch, time and places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.plasticity import Record, claims, outer, per_unit, units


@dataclass(frozen=True)
class Hebb:
    """dW = y (x) x.   |w| diverges as exp(lr lambda_1 n) along the leading eigenvector. Source: Hebb 1949."""

    reads: frozenset[str] = claims("pre", "post")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return outer(rec, rec.pre, rec.post)


@dataclass(frozen=True)
class Oja:
    """dW = y (x) x - y^2 w.   w -> the leading eigenvector of <x x'>, |w| -> 1 (linear y). Source: Oja 1982."""

    reads: frozenset[str] = claims("pre", "post", "weight")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, x, w = rec.post, rec.pre, rec.weight
        return outer(rec, x, y) - per_unit(rec, y**2) * w


@dataclass(frozen=True)
class Sanger:
    """dW = y (x) x - tril(y y') w.   Rows -> the ordered eigenvectors of <x x'> (linear y). Source: Sanger 1989."""

    reads: frozenset[str] = claims("pre", "post", "weight", "lateral")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y, x, w = units(rec, rec.post), rec.pre, rec.weight
        return outer(rec, x, rec.post) - ((y.T @ y).tril() @ w.flatten(1)).reshape(w.shape)
