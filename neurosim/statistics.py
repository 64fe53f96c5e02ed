"""What the comparisons claim, in numbers: intervals and paired tests over seeds, and how fast a recipe learns.

A seed is one repetition (J of them). Scores are plain floats, one per seed; a seed that diverged has the score NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan, sqrt

import numpy as np
from scipy import optimize, stats

LOWER_IS_BETTER = {
    "error", "bits per character", "bits per word", "bits per hidden character", "bits per hidden word",
}  # metrics  # fmt: skip
FEWEST_SEEDS = 5  # with fewer, p values are computed but neither shown nor believed: see `detectable`


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """mean and half width h of the t interval over seeds:  h = t(J-1, (1 + confidence) / 2) s / sqrt(J).

    One value has no spread, so its h is NaN; a NaN among the values makes both NaN.
    Raises ValueError if `values` is empty or `confidence` is not between 0 and 1.
    """
    x = np.asarray(values, dtype=float).ravel()
    if x.size == 0:
        raise ValueError("values is empty: an interval needs at least one value.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie between 0 and 1.")
    if x.size == 1:
        return float(x[0]), nan
    quantile = stats.t.ppf((1 + confidence) / 2, x.size - 1)
    return float(x.mean()), float(quantile * x.std(ddof=1) / sqrt(x.size))


def average(values: Sequence[float | None]) -> float:
    """Mean of those that are finite; nan for none."""
    finite = [v for v in values if v is not None and isfinite(v)]
    return interval(finite)[0] if finite else nan


@dataclass(frozen=True)
class Paired:
    """Paired comparison of a with b: the mean of a - b, the half width of its 95 % interval, the two-sided p."""

    difference: float
    half: float
    p: float


def paired(a: Sequence[float], b: Sequence[float], n_train: int, n_test: int) -> Paired:
    """Corrected resampled t test on d = a - b, where the seeds' training sets overlap.

        t = mean(d) / sqrt((1/J + n_test/n_train) var(d)),   J - 1 degrees of freedom, two-sided

    `a` and `b` hold one score per seed, in the same order of seeds; `n_train` and `n_test` count the items of one
    seed's split. n_test = 0 gives the ordinary paired t test.
    Without spread: p = 1 if a and b are equal, p = 0 if they differ by a constant.
    One seed: half and p are NaN. A NaN score: everything is NaN.
    Raises ValueError if the lengths differ or are 0, n_train < 1, or n_test < 0.
    Source: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003).
    """
    x, y = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if x.size != y.size or x.size == 0:
        raise ValueError(f"a and b have {x.size} and {y.size} scores: they need the same number, at least one.")
    if n_train < 1:
        raise ValueError(f"n_train is {n_train}: it must be at least 1.")
    if n_test < 0:
        raise ValueError(f"n_test is {n_test}: it must not be negative.")
    d = x - y
    if np.isnan(d).any():
        return Paired(nan, nan, nan)
    difference = float(d.mean())
    if d.size == 1:
        return Paired(difference, nan, nan)
    rounding = 8 * np.finfo(float).eps * max(np.abs(x).max(), np.abs(y).max())
    if np.ptp(d) <= rounding:  # no spread beyond rounding error: t is 0/0 or infinite
        return Paired(difference, 0.0, 1.0 if abs(difference) <= rounding else 0.0)
    error = sqrt((1 / d.size + n_test / n_train) * d.var(ddof=1))
    half = stats.t.ppf(0.975, d.size - 1) * error
    p = 2 * stats.t.sf(abs(difference) / error, d.size - 1)
    return Paired(difference, float(half), float(p))


def detectable(half: float, seeds: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true difference that `paired` would find, at level alpha and with that power, given its 95 % half width h.

        error = h / t(J-1, .975),   answer = nc error,   P(|T(J-1, nc)| > t(J-1, 1 - alpha/2)) = power

    T(J-1, nc) is the noncentral t distribution. A smaller true difference mostly goes unseen, so "not resolved" does not
    mean equal. With m recipes under Holm's adjustment, alpha = .05 / m is the level of the first step.
    NaN where h is NaN or J < 2. Raises ValueError if alpha or power is not between 0 and 1, or power <= alpha.
    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2.
    """
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha and power are {alpha} and {power}: they must satisfy 0 < alpha < power < 1.")
    if seeds < 2 or isnan(half):
        return nan
    limit = stats.t.ppf(1 - alpha / 2, seeds - 1)
    shares = (np.arange(4000) + 0.5) / 4000  # T = (Z + nc) / s: a sum over equally likely values of s
    reach = limit * np.sqrt(stats.chi2.ppf(shares, seeds - 1) / (seeds - 1))

    def missing(nc: float) -> float:
        return float((stats.norm.cdf(nc - reach) + stats.norm.cdf(-nc - reach)).mean()) - power

    nc = optimize.brentq(missing, 0.0, reach.max() + 10)
    return float(nc * half / stats.t.ppf(0.975, seeds - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment: with p sorted upwards, adjusted_i = max over k <= i of min(1, (m - k + 1) p_k).

    m counts the tests that were made: None and NaN stand for none, do not count, and come back as they are.
    Raises ValueError if a p lies outside 0 to 1.
    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    """
    adjusted = list(p_values)
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None and not isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        if not 0 <= p <= 1:
            raise ValueError(f"p_values holds {p}: a p value lies between 0 and 1.")
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def samples_to_half(samples: Sequence[int], scores: Sequence[float], floor: float, ceiling: float) -> int | None:
    """First of `samples` at which score >= floor + (ceiling - floor) / 2: half the gap between the two is closed.

    `samples` (training samples seen, rising) and `scores` (higher is better; turn an error's sign) run in parallel.
    None if that is never reached, or if there is no gap (ceiling <= floor, or one of them is NaN).
    Raises ValueError if the lengths differ.
    """
    if len(samples) != len(scores):
        raise ValueError(f"samples and scores have lengths {len(samples)} and {len(scores)}: they must be equal.")
    if not ceiling > floor:
        return None
    half = floor + (ceiling - floor) / 2
    return next((int(seen) for seen, score in zip(samples, scores, strict=True) if score >= half), None)


# ---------------------------------------------------------------------------------------------- models of measured changes
def misfit(model: Sequence[float], data: Sequence[float], sem: Sequence[float]) -> float:
    """E = mean over points of ((data - model) / sem)^2, the error that plasticity models are fitted by.

    Source: Pfister and Gerstner, Triplets of spikes in a model of spike timing-dependent plasticity, J Neurosci 26 (2006).
    """
    return float(np.mean(((np.asarray(data) - np.asarray(model)) / np.asarray(sem)) ** 2))


def fitted_amplitudes(terms: Sequence[Sequence[float]], data: Sequence[float], sem: Sequence[float]) -> list[float]:
    """The amplitudes A >= 0 of least misfit, the model being sum_k A_k terms[k]: non-negative least squares."""
    s = np.asarray(sem)
    return optimize.nnls(np.stack(terms, 1) / s[:, None], np.asarray(data) / s)[0].tolist()
