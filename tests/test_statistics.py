"""Intervals, paired tests, the bootstrap and Holm's adjustment, against scipy and against numbers worked by hand."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from neurosim.bootstrap import bootstrap
from neurosim.statistics import Paired, detectable, holm, interval, paired, samples_to_half

A = [0.90, 0.92, 0.91, 0.95, 0.93]
B = [0.88, 0.91, 0.92, 0.91, 0.90]


def test_interval_by_hand() -> None:
    # mean 2, s = 1, t(2, .975) = 4.302653: half width 4.302653 / sqrt(3)
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(2.484138, abs=1e-6)


def test_interval_against_scipy_at_another_confidence() -> None:
    low, high = stats.t.interval(0.8, 4, loc=np.mean(A), scale=stats.sem(A))
    mean, half = interval(A, confidence=0.8)
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-12)


def test_interval_of_one_value_has_no_width_and_of_none_is_refused() -> None:
    mean, half = interval([0.5])
    assert mean == 0.5 and math.isnan(half)
    with pytest.raises(ValueError, match="values is empty"):
        interval([])
    with pytest.raises(ValueError, match="confidence is 95"):
        interval([1.0, 2.0], confidence=95)


def test_nan_makes_the_interval_nan() -> None:
    assert all(math.isnan(v) for v in interval([1.0, math.nan, 2.0]))


def test_paired_without_correction_is_scipys_paired_t_test() -> None:
    result, reference = paired(A, B, n_train=1, n_test=0), stats.ttest_rel(A, B)
    ci = reference.confidence_interval(0.95)
    assert result.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert (result.difference - result.half, result.difference + result.half) == pytest.approx((ci.low, ci.high))
    assert paired(A, B, n_train=10**12, n_test=1).p == pytest.approx(reference.pvalue, rel=1e-6)


def test_paired_correction_by_hand() -> None:
    # d = (1, 2, 3): mean 2, s^2 = 1. With n_test/n_train = 2/3: variance (1/3 + 2/3) 1 = 1, so t = 2 with 2 degrees
    # of freedom, where the distribution is closed: p = 1 - t / sqrt(2 + t^2) = 1 - 2 / sqrt(6).
    result = paired([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], n_train=300, n_test=200)
    assert result.difference == 2.0
    assert result.p == pytest.approx(1 - 2 / math.sqrt(6), rel=1e-12)
    assert result.half == pytest.approx(4.302653, abs=1e-6)  # t(2, .975) times the standard error 1


def test_paired_is_antisymmetric_and_two_sided() -> None:
    ab, ba = paired(A, B, 1297, 500), paired(B, A, 1297, 500)
    assert (ba.difference, ba.half, ba.p) == pytest.approx((-ab.difference, ab.half, ab.p))
    assert ab.p > stats.ttest_rel(A, B).pvalue  # overlapping training sets: less evidence than it seems


def test_paired_without_spread() -> None:
    assert paired(A, A, 1297, 500) == Paired(0.0, 0.0, 1.0)
    shifted = paired([a + 0.1 for a in A], A, 1297, 500)  # constant up to rounding
    assert shifted.difference == pytest.approx(0.1)
    assert (shifted.half, shifted.p) == (0.0, 0.0)


def test_paired_sees_a_spread_of_one_test_item_in_a_million() -> None:
    assert 0 < paired([0.9, 0.9, 0.900001], [0.9, 0.9, 0.9], 1297, 500).p < 1


def test_paired_with_one_seed_or_a_diverged_one() -> None:
    one = paired([0.9], [0.8], 1297, 500)
    assert one.difference == pytest.approx(0.1) and math.isnan(one.half) and math.isnan(one.p)
    diverged = paired([0.9, math.nan], [0.8, 0.8], 1297, 500)
    assert all(math.isnan(v) for v in (diverged.difference, diverged.half, diverged.p))


@pytest.mark.parametrize(
    ("a", "b", "n_train", "n_test", "named"),
    [
        ([1.0], [1.0, 2.0], 10, 5, "a and b"),
        ([], [], 10, 5, "a and b"),
        ([1.0], [1.0], 0, 5, "n_train"),
        ([1.0], [1.0], 10, -1, "n_test"),
    ],
)
def test_paired_names_the_bad_argument(a: list, b: list, n_train: int, n_test: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        paired(a, b, n_train, n_test)


def test_paired_keeps_its_level_where_the_plain_test_does_not() -> None:
    # Null: differences correlated between seeds by rho = n_test / (n_train + n_test), as the correction assumes.
    generator, seeds, rho = np.random.default_rng(0), 5, 1 / 3
    shared, own = generator.normal(size=(1000, 1)), generator.normal(size=(1000, seeds))
    d = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    zero = np.zeros(seeds)
    rejected = np.mean([paired(x, zero, n_train=2, n_test=1).p < 0.05 for x in d])
    plain = np.mean([paired(x, zero, n_train=2, n_test=0).p < 0.05 for x in d])
    assert rejected == pytest.approx(0.05, abs=0.02)
    assert plain > 0.15


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_skips_what_was_not_tested() -> None:
    adjusted = holm([None, 0.01, math.nan, 0.04])
    assert adjusted[0] is None and math.isnan(adjusted[2])
    assert [adjusted[1], adjusted[3]] == pytest.approx([0.02, 0.04])  # times 2 and 1, not 4 and 3
    with pytest.raises(ValueError, match="p_values holds 1.5"):
        holm([0.1, 1.5])


def test_samples_to_half() -> None:
    samples, scores = [0, 100, 200, 300], [0.1, 0.5, 0.75, 0.9]
    assert samples_to_half(samples, scores, floor=0.5, ceiling=1.0) == 200  # .75 is half way, and counts
    assert samples_to_half(samples, scores, floor=0.8, ceiling=1.02) is None
    assert samples_to_half(samples, [0.1, math.nan, math.nan, 0.9], floor=0.5, ceiling=1.0) == 300
    assert samples_to_half(samples, scores, floor=0.9, ceiling=0.9) is None
    assert samples_to_half(samples, scores, floor=0.9, ceiling=0.2) is None
    assert samples_to_half(samples, scores, floor=math.nan, ceiling=0.9) is None
    with pytest.raises(ValueError, match="samples and scores"):
        samples_to_half([0, 100], [0.1], floor=0.0, ceiling=1.0)


# ---------------------------------------------------------------------------------------------- what could be found
def test_detectable_is_cohens_number_of_pairs() -> None:
    """For an effect of half a standard deviation, power .80 at .05 two-sided needs 34 pairs, and 33 are too few."""
    half = {j: stats.t.ppf(0.975, j - 1) / math.sqrt(j) for j in (33, 34)}  # s = 1
    assert detectable(half[34], 34) < 0.5 < detectable(half[33], 33)


@pytest.mark.parametrize(("seeds", "alpha"), [(5, 0.05), (20, 0.05 / 26)])
def test_detectable_is_found_in_four_of_five_experiments(seeds: int, alpha: float) -> None:
    generator = np.random.default_rng(1)
    truth = detectable(stats.t.ppf(0.975, seeds - 1) / math.sqrt(seeds), seeds, alpha)  # where s = 1
    d = truth + generator.normal(size=(20_000, seeds))
    assert np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue < alpha) == pytest.approx(0.8, abs=0.015)


def test_detectable_scales_and_refuses() -> None:
    assert detectable(0.02, 5) == pytest.approx(2 * detectable(0.01, 5))
    assert detectable(0.02, 5, 0.05 / 13) > detectable(0.02, 5) > 0.02
    assert detectable(0.0, 5) == 0 and math.isnan(detectable(math.nan, 5)) and math.isnan(detectable(0.1, 1))
    with pytest.raises(ValueError, match="alpha and power are 0.9 and 0.8"):
        detectable(0.1, 5, alpha=0.9)


# ---------------------------------------------------------------------------------------------- bootstrap
def test_bootstrap_of_one_item_a_seed_is_scipys() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 12)) + np.array([[0.4], [0.0]])
    got = bootstrap(a[:, None], b[:, None], 40_000, np.random.default_rng(0))
    want = stats.bootstrap((a - b,), np.mean, n_resamples=40_000, method="percentile", random_state=1)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval), abs=0.02)
    assert got.difference == pytest.approx((a - b).mean())
    tail = 2 * min(np.mean(want.bootstrap_distribution <= 0), np.mean(want.bootstrap_distribution >= 0))
    assert 0.05 < tail < 0.9 and got.p == pytest.approx(tail, abs=0.02)


def test_bootstrap_of_one_seed_is_scipys_over_items() -> None:
    generator = np.random.default_rng(4)
    a, b = (generator.random(300) < 0.9).astype(float), (generator.random(300) < 0.86).astype(float)
    got = bootstrap([a], [b], 20_000, np.random.default_rng(0))
    want = stats.bootstrap((a - b,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval), abs=1.5 / 300)


def test_bootstrap_has_exactly_the_two_level_distribution() -> None:
    """Two seeds of two and three items: every resample enumerated, with its probability."""
    differences = [np.array([1.0, 0.0]), np.array([-1.0, 1.0, 1.0])]
    means = [[np.mean(c) for c in product(d, repeat=len(d))] for d in differences]
    outcomes: dict[float, float] = {}
    for s, t in product(range(2), repeat=2):
        for x, y in product(means[s], means[t]):
            value = round((x + y) / 2, 12)
            outcomes[value] = outcomes.get(value, 0.0) + 0.25 / len(means[s]) / len(means[t])
    assert sum(outcomes.values()) == pytest.approx(1)
    values = sorted(outcomes)
    below = dict(zip(values, np.cumsum([outcomes[v] for v in values]), strict=True))
    zeros = [np.zeros(2), np.zeros(3)]
    got = bootstrap(differences, zeros, 200_000, np.random.default_rng(5))
    assert got.low == pytest.approx(next(v for v in values if below[v] >= 0.025))
    assert got.high == pytest.approx(next(v for v in values if below[v] >= 0.975))
    at_most_0 = sum(q for v, q in outcomes.items() if v <= 0)
    assert got.p == pytest.approx(2 * min(at_most_0, 1 - at_most_0 + outcomes[0.0]), abs=0.01)
    assert got.difference == pytest.approx((0.5 + 1 / 3) / 2)


def test_bootstrap_pairs_the_items() -> None:
    """Two recipes wrong on the very same items differ by nothing; the order of both may change together, not of one."""
    a = [np.repeat([1.0, 0.0], (80, 20)) for _ in range(5)]
    same = bootstrap(a, a, 500, np.random.default_rng(0))
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    other = bootstrap(a, [x[::-1] for x in a], 500, np.random.default_rng(0))
    assert other.low < 0 < other.high and other.difference == 0
    assert bootstrap([x[::-1] for x in a], [x[::-1] for x in a], 500, np.random.default_rng(0)) == same


def test_bootstrap_p_is_never_zero_and_turns_with_its_arguments() -> None:
    a, b = [np.ones(50)] * 6, [np.zeros(50)] * 6
    got = bootstrap(a, b, 999, np.random.default_rng(0))
    assert (got.difference, got.low, got.high) == (1.0, 1.0, 1.0) and got.p == pytest.approx(2 / 1000)
    assert bootstrap(b, a, 999, np.random.default_rng(0)).difference == -1.0


def test_bootstrap_with_all_scores_different_needs_no_classes() -> None:
    d = np.random.default_rng(6).normal(0.1, 1, (4, 400))
    got = bootstrap(d, 0 * d, 4000, np.random.default_rng(0))
    between, within = d.mean(1).var() / 4, d.var(1).mean() / 400 / 4  # variances as the bootstrap has them
    assert (got.high - got.low) / 2 == pytest.approx(1.96 * math.sqrt(between + within), rel=0.06)


def coverage(seeds: int, spread: float, experiments: int = 200, truth: float = 0.02) -> float:
    """How often the interval holds the true difference, where seeds are independent: 200 items each, all new."""
    generator, hits = np.random.default_rng(7), 0
    for _ in range(experiments):
        level = 0.5 + generator.normal(0, spread, seeds)
        better = level + truth + generator.normal(0, spread, seeds)
        a, b = ((generator.random((200, seeds)) < p).T.astype(float) for p in (better, level))
        found = bootstrap(a, b, 400, generator)
        hits += found.low <= truth <= found.high
    return hits / experiments


def test_bootstrap_covers_the_truth_with_many_seeds_and_too_rarely_with_few() -> None:
    assert 0.92 <= coverage(20, 0.1) <= 0.98
    assert coverage(20, 0.0) > 0.96  # items alone: their noise counts twice
    assert coverage(4, 0.1) < 0.92  # as its docstring warns


@pytest.mark.parametrize(
    ("a", "b", "draws", "named"),
    [
        ([[1.0]], [[1.0], [2.0]], 9, "a and b have 1 and 2 seeds"),
        ([], [], 9, "a and b have 0 and 0 seeds"),
        ([[1.0], [1.0, 2.0]], [[1.0], [1.0]], 9, r"a\[1\] and b\[1\] have 2 and 1 items"),
        ([[]], [[]], 9, r"a\[0\] and b\[0\] have 0 and 0 items"),
        ([[1.0]], [[1.0]], 0, "draws is 0"),
    ],
)
def test_bootstrap_names_the_bad_argument(a: list, b: list, draws: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bootstrap(a, b, draws, np.random.default_rng(0))
    assert math.isnan(bootstrap([[math.nan]], [[1.0]], 9, np.random.default_rng(0)).p)
