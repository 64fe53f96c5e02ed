"""Intervals, the corrected paired test and Holm's adjustment, against scipy and against numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from neurosim.statistics import Paired, holm, interval, paired, samples_to_half

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
