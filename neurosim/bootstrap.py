"""The bootstrap over seeds and test items, beside the corrected t test of `statistics.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 10_000_000  # numbers drawn at a time


@dataclass(frozen=True)
class Resampled:
    """The mean of a - b, the ends of its 95 % percentile interval, the two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap(a: Sequence[ArrayLike], b: Sequence[ArrayLike], draws: int, generator: np.random.Generator) -> Resampled:
    """Two-level paired bootstrap of D = mean over seeds of mean over items of (a - b).

    One draw: J seeds with replacement, and for each of them as many of its items as it has, with replacement, the same
    for a and b; D* is the mean over the seeds drawn.   p = min(1, 2 (k + 1) / (draws + 1)),   k the smaller of
    #(D* <= 0) and #(D* >= 0), so p is never 0.

    `a` and `b` hold for each seed the score of every test item (1 or 0 where that is right or wrong), item i being the
    same sample for both. Items that differ equally are one class, and a seed's resample is one multinomial draw of the
    classes' counts: the same distribution as drawing items, at draws x J x classes numbers instead of draws x J x items.

    The interval is the percentile one: D is a mean of a symmetric kind, its bias is nought, and BCa's acceleration
    would have to be guessed from a jackknife over J seeds; percentiles also agree with p.

    What it does not cover, and why the t test is the one that decides:
    * Overlapping training sets. Seeds are drawn as if independent; what they share (Nadeau & Bengio 2003) is missed.
    * Few seeds. A bootstrap variance over J seeds is (J - 1) / J of the unbiased one, and no t quantile widens it: at
      J = 5 the share between seeds comes out .63 times as wide as a t interval.
    * Items that all seeds are tested on (a published test set) are drawn anew for each seed, so luck with that one set
      is missed.
    The items' noise is in the seeds' means as well and so counts twice, which is on the safe side. One seed leaves
    items only: it says nothing about another seed.

    Anything not finite makes all NaN. Raises ValueError if a and b differ in seeds or items, there is no seed or a seed
    without items, or draws < 1. Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a and b have {len(a)} and {len(b)} seeds: they need the same number, at least one.")
    if draws < 1:
        raise ValueError(f"draws is {draws}: it must be at least 1.")
    differences = []
    for s, (x, y) in enumerate(zip(a, b, strict=True)):
        x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
        if x.size != y.size or x.size == 0:
            raise ValueError(f"a[{s}] and b[{s}] have {x.size} and {y.size} items: the same number, at least one.")
        differences.append(x - y)
    if not all(np.isfinite(d).all() for d in differences):
        return Resampled(nan, nan, nan, nan)
    seeds = generator.integers(len(differences), size=(draws, len(differences)))
    means = np.empty(seeds.shape)
    for s, d in enumerate(differences):
        drawn = seeds == s
        means[drawn] = _resampled_means(d, int(drawn.sum()), generator)
    found = means.mean(axis=1)
    low, high = np.quantile(found, (0.025, 0.975))
    rounding = 8 * np.finfo(float).eps * max(float(np.abs(d).max()) for d in differences)
    k = min((found <= rounding).sum(), (found >= -rounding).sum())
    difference = float(np.mean([d.mean() for d in differences]))
    return Resampled(difference, float(low), float(high), float(min(1.0, 2 * (k + 1) / (draws + 1))))


def _resampled_means(d: np.ndarray, times: int, generator: np.random.Generator) -> np.ndarray:
    """`times` means of d.size items drawn from d with replacement."""
    values, counts = np.unique(d, return_counts=True)
    block = max(1, BLOCK // values.size)
    parts = [
        generator.multinomial(d.size, counts / d.size, size=min(block, times - done)) @ values / d.size
        for done in range(0, times, block)
    ]
    return np.concatenate(parts) if parts else np.empty(0)
