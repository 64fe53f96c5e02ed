"""Stimulation protocols: spike times by hand, chance against its expectation, and each lane's change by the equation."""

from math import exp

import pytest
import torch

from neurosim.rules import Hebb
from neurosim.rules.homeostasis import homeostatic_triplet
from neurosim.rules.spike_rule import SpikeRule
from neurosim.rules.stdp import inhibitory, morrison, pair, symmetric, triplet
from neurosim.tasks import pairing
from neurosim.tasks.pairing import (
    Trains,
    bursts,
    changes,
    frequency,
    pairs,
    poisson,
    quadruplets,
    together,
    triplets,
)  # fmt: skip


def times(trains, lane=0):
    return tuple((x[:, lane, 0].nonzero().flatten() * trains.dt).tolist() for x in (trains.pre, trains.post))


@pytest.mark.parametrize(
    "trains, pre, post",
    [
        (pairs(10, 1, 2), [0, 1000], [10, 1010]),
        (pairs(-10, 1, 2, dt=0.5), [10, 1010], [0, 1000]),
        (pairs(0, 10, 2, dt=5), [0, 100], [0, 100]),
        (frequency(50, -10, 3, dt=5), [10, 30, 50], [0, 20, 40]),
        (triplets(5, -15, 1, 2), [0, 20, 1000, 1020], [5, 1005]),
        (triplets(-5, 15, 1, 2), [5, 1005], [0, 20, 1000, 1020]),
        (quadruplets(-89, n=1), [0, 94], [5, 89]),  # pre-post first
        (quadruplets(84, n=1), [5, 84], [0, 89]),  # post-pre first
        (bursts(20, 10, n=2, size=3, every=1000), [0, 50, 100, 1000, 1050, 1100], [10, 60, 110, 1010, 1060, 1110]),
    ],
)
def test_spike_times(trains, pre, post):
    assert times(trains) == (pre, post)
    assert len(trains.pre) == max(pre + post) / trains.dt + 1  # it ends with the last spike


def test_times_are_rounded_to_the_nearest_step():
    assert times(pairs(10.4, 1000 / 33.4, 3)) == ([0, 33, 67], [10, 44, 77])  # 66.8 -> 67; 43.8 -> 44; 77.2 -> 77
    assert times(pairs(0.3, 1, 1, dt=0.1))[1] == pytest.approx([0.3])  # 3 steps, though .3 / .1 < 3
    assert times(pairs(2.5, 1, 1))[1] == [3]  # halves up


def test_together_stands_side_by_side():
    both = together([pairs(10, 1, 2), triplets(5, -5, 1, 1)])
    assert both.lanes == 2 and both.duration == 1011
    assert times(both, 0) == times(pairs(10, 1, 2)) and times(both, 1) == times(triplets(5, -5, 1, 1))


@pytest.mark.parametrize("lag", (0.0, 6.0, -6.0))
def test_poisson_has_its_rates_and_correlation(lag):
    dt, c, p, q = 2.0, 0.4, 0.04, 0.06  # 20 and 30 Hz
    t = poisson(20.0, 30.0, 40_000.0, 30, torch.Generator().manual_seed(0), c, lag, dt)
    n = t.pre.numel()
    assert n == 600_000
    for x, rate in ((t.pre, p), (t.post, q)):
        assert abs(x.mean().item() - rate) < 4 * (rate / n) ** 0.5
    shared = c * (p * q) ** 0.5
    own = [1 - (1 - r) / (1 - shared) for r in (p, q)]
    together_ = shared + (1 - shared) * own[0] * own[1]  # both spike: the shared source, or each its own
    for k in (-6, -3, 0, 3, 6):  # steps
        pre, post = (t.pre[: len(t.pre) - k], t.post[k:]) if k >= 0 else (t.pre[-k:], t.post[:k])
        want = together_ if k * dt == lag else p * q
        assert abs((pre * post).mean().item() - want) < 4 * (want / n) ** 0.5, k
    assert together_ - p * q == pytest.approx(c * (p * (1 - p) * q * (1 - q)) ** 0.5, rel=0.06)


def test_chance_comes_from_the_generator_alone():
    a, b, c = (poisson(20.0, 20.0, 500.0, 3, torch.Generator().manual_seed(s), 0.5) for s in (1, 1, 2))
    assert torch.equal(a.pre, b.pre) and torch.equal(a.post, b.post) and not torch.equal(a.pre, c.pre)


# ---------------------------------------------------------------------------------------------- changes
def test_each_lane_has_the_change_of_its_own_pairs():
    trains = together(pairs(t, 1, 60) for t in (10, -10, 0))
    want = [60 * 0.01 * exp(-0.5), -60 * 0.0105 * exp(-0.5), 60 * 0.01]
    assert changes(pair(), trains).tolist() == pytest.approx(want, rel=1e-12)
    w = torch.tensor([0.2, 0.5, 0.9])
    rule = morrison(lam=0.1, alpha=2.0, mu=0.5)
    want = [6 * 0.2**0.5 * exp(-0.5), -6 * 2 * 0.5 * exp(-0.5), 6 * 0.9**0.5]
    assert changes(rule, trains, w).tolist() == pytest.approx(want, rel=1e-12)
    assert changes(Hebb(), trains).tolist() == [0, 0, 60]  # a rule without traces


RULES = {
    "pair": pair(),
    "nearest": triplet(5e-3, 6e-3, 7e-3, 2e-3, nearest=True),
    "triplet": triplet(5e-3, 6e-3, 7e-3, 2e-3, tau_x=946.0),
    "homeostatic": homeostatic_triplet(tau_hom=500.0),
    "inhibitory": inhibitory(),
    "symmetric": symmetric(),
    "power": morrison(),
}


@pytest.mark.parametrize("name", RULES)
def test_silence_spans_and_lanes_change_nothing(name, monkeypatch):
    rule = RULES[name]
    trains = together([pairs(10, 4, 4), triplets(5, -5, 2, 2), pairs(-7, 30, 9)])
    monkeypatch.setattr(pairing, "QUIET", 10**9)
    whole = changes(rule, trains)
    alone = torch.cat([changes(rule, t) for t in (pairs(10, 4, 4), triplets(5, -5, 2, 2), pairs(-7, 30, 9))])
    assert whole.abs().min() > 1e-5
    assert torch.allclose(alone, whole, rtol=1e-12, atol=0)
    monkeypatch.setattr(pairing, "QUIET", 3)
    assert torch.allclose(changes(rule, trains), whole, rtol=1e-11, atol=0)
    monkeypatch.setattr(pairing, "SPAN", 3 * 100)
    assert torch.allclose(changes(rule, trains), whole, rtol=1e-11, atol=0)
    forgets = SpikeRule(rule.traces, rule.terms, forget=True)  # shown the whole
    assert torch.allclose(changes(forgets, trains), whole, rtol=1e-12, atol=0)


def test_silence_alone_changes_nothing():
    still = Trains(torch.zeros(200, 2, 1), torch.zeros(200, 2, 1), 1.0)
    assert changes(pair(), still).tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------- bad input
ONES, G, NAN = torch.ones(5, 1, 1), torch.Generator(), float("nan")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Trains(ONES * 0.5, ONES, 1.0), "pre: given other numbers than 0 and 1"),
        (lambda: Trains(ONES, ONES[:4], 1.0), r"post: given the shape \[4, 1, 1\], expected \[T, B, N\] like pre"),
        (lambda: Trains(ONES[0], ONES, 1.0), r"pre: given the shape \[1, 1\], expected \[T, B, N\]"),
        (lambda: Trains(ONES, ONES, -1.0), "dt: given -1.0"),
        (lambda: pairs(10, n=-3), "n: given -3"),
        (lambda: pairs(10, rate=0), "rate: given 0"),
        (lambda: pairs(10, dt=0), "dt: given 0"),
        (lambda: pairs(10, rate=500, dt=5), "dt: given 5 ms, two spikes of pre fall into one step"),
        (lambda: triplets(5, 5), "delta_2: given 5 after delta_1 = 5"),
        (lambda: quadruplets(20, delta_t=-5), "delta_t: given -5"),
        (lambda: quadruplets(5), "two spikes of pre"),
        (lambda: bursts(1, every=4000), "every: given 4000 ms, bursts of 4010 ms"),
        (lambda: bursts(50, size=0), "size: given 0"),
        (lambda: poisson(-1.0, 5.0, 100.0, 1, G), "rate_pre: given -1.0 Hz"),
        (lambda: poisson(5.0, 1000.0, 100.0, 1, G), "rate_post: given 1000.0 Hz"),
        (lambda: poisson(5.0, 20.0, 100.0, 1, G, 0.6), "correlation: given 0.6, for these rates 0 to 0.5"),
        (lambda: poisson(5.0, 5.0, 100.0, 0, G), "lanes: given 0"),
        (lambda: poisson(5.0, 5.0, 0.0, 1, G), "duration: given 0"),
        (lambda: together([pairs(10), pairs(10, dt=5)]), "they must share one dt"),
        (lambda: together([]), "protocols: given 0"),
        (lambda: pairs(NAN), "delta_t: given nan, it must be a finite number of ms"),
        (lambda: pairs(10, NAN), "rate: given nan"),
        (lambda: pairs(10, float("inf")), "rate: given inf"),
        (lambda: pairs(10, dt=NAN), "dt: given nan"),
        (lambda: pairs(10, n=2.5), "n: given 2.5, a whole number"),
        (lambda: triplets(5, NAN), "delta_2: given nan"),
        (lambda: quadruplets(NAN), "T: given nan"),
        (lambda: bursts(20, NAN), "delta_t: given nan"),
        (lambda: poisson(5.0, 5.0, NAN, 1, G), "duration: given nan"),
        (lambda: poisson(5.0, 5.0, 9.0, 1, G, 0.1, NAN), "lag: given nan"),
        (lambda: poisson(NAN, 5.0, 9.0, 1, G), "rate_pre: given nan"),
        (lambda: Trains(ONES * NAN, ONES, 1.0), "pre: given other numbers"),
        (
            lambda: changes(pair(), pairs(10), torch.zeros(7)),
            r"w: given the shape \[7\], expected one number or one for each",
        ),
        (lambda: changes(pair(), pairs(10), NAN), "w: given NaN"),
        (lambda: changes(pair(tau_plus=3.0), pairs(10, dt=5)), "tau_plus: given 3.0 ms, less than the step dt = 5 ms"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
