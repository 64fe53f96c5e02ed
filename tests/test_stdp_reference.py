"""Spike rules against sums over spike pairs and triplets: no traces, no steps, plain floats, from the published equations.

Pfister & Gerstner 2006: a post spike at s changes w by sum over pre u <= s of exp(-(s - u)/tau_plus) times
(A2_plus + A3_plus sum over post s' < s of exp(-(s - s')/tau_y)); a pre spike at u by minus the sum over post s < u of
exp(-(u - s)/tau_minus) times (A2_minus + A3_minus sum over pre u' < u of exp(-(u - u')/tau_x)). Nearest: the last alone.
"""

import dataclasses
from math import exp

import pytest
import torch
from torch import nn

from neurosim.credit import NoCredit
from neurosim.plasticity import Batch, Layer, Record
from neurosim.rules.homeostasis import homeostatic_triplet
from neurosim.rules.stdp import inhibitory, morrison, multiplicative, pair, symmetric, triplet, van_rossum
from tests.nets import Given, dense, learner, relative, updates

STEPS, LANES, TAU_P, TAU_M, TAU_X, TAU_Y = 90, 2, 17.0, 34.0, 101.0, 114.0  # steps of 1 ms


def seen(at, spikes, tau, nearest=False, now=False):
    """What a spike at this time has before it: all spikes of the other train, or the nearest; `now` counts a coincident one."""
    ages = [at - t for t in spikes if t < at or (now and t == at)]
    if nearest:
        return exp(-min(ages) / tau) if ages else 0.0
    return sum(exp(-age / tau) for age in ages)


def by_triplets(A2p, A3p, A2m, A3m, nearest):
    def dw(pre, post, w):
        up = sum(seen(s, pre, TAU_P, nearest, now=True) * (A2p + A3p * seen(s, post, TAU_Y, nearest)) for s in post)
        down = sum(seen(u, post, TAU_M, nearest) * (A2m + A3m * seen(u, pre, TAU_X, nearest)) for u in pre)
        return up - down

    return dw


def by_pairs(up, down, nearest=False):
    """up(w), down(w): the amplitudes at a weight."""

    def dw(pre, post, w):
        after = sum(seen(s, pre, TAU_P, nearest, now=True) for s in post)
        return up(w) * after - down(w) * sum(seen(u, post, TAU_M, nearest) for u in pre)

    return dw


def vogels(pre, post, w):
    """eta = .01, rho0 = 5 Hz: every pair of any order, minus alpha at each pre spike."""
    both = sum(exp(-abs(s - u) / TAU_P) for s in post for u in pre)
    return 0.01 * (both - 2 * 0.005 * TAU_P * len(pre))


def window_of_both_orders(pre, post, w):
    return 0.01 * sum(exp(-abs(s - u) / TAU_P) for s in post for u in pre)


def zenke(pre, post, w):
    """A3_plus = .006, rho0 = 5 Hz, tau_hom = 200 ms, times counted from the trial's start; rates per ms."""
    dw = by_triplets(0.0, 6e-3, 0.0, 0.0, False)(pre, post, w)
    for u in pre:
        rbar = 0.005 * exp(-u / 200.0) + seen(u, post, 200.0) / 200.0
        dw -= 6e-3 * TAU_P * TAU_Y * rbar**2 / (TAU_M * 0.005) * seen(u, post, TAU_M)
    return dw


TAUS = {"tau_plus": TAU_P, "tau_minus": TAU_M}
FULL = {**TAUS, "tau_x": TAU_X, "tau_y": TAU_Y}
RULES = {
    "pair": (pair(0.01, 0.012, **TAUS), by_pairs(lambda w: 0.01, lambda w: 0.012)),
    "pair nearest": (pair(0.01, 0.012, **TAUS, nearest=True), by_pairs(lambda w: 0.01, lambda w: 0.012, True)),
    "triplet full": (triplet(5e-3, 6e-3, 7e-3, 2e-3, **FULL), by_triplets(5e-3, 6e-3, 7e-3, 2e-3, False)),
    "triplet minimal": (triplet(0.0, 6e-3, 7e-3, 0.0, **FULL), by_triplets(0.0, 6e-3, 7e-3, 0.0, False)),
    "triplet full nearest": (
        triplet(5e-3, 6e-3, 7e-3, 2e-3, **FULL, nearest=True),
        by_triplets(5e-3, 6e-3, 7e-3, 2e-3, True),
    ),
    "triplet minimal nearest": (
        triplet(0.0, 6e-3, 7e-3, 0.0, **FULL, nearest=True),
        by_triplets(0.0, 6e-3, 7e-3, 0.0, True),
    ),
    "inhibitory": (inhibitory(0.01, 5.0, TAU_P), vogels),
    "symmetric": (symmetric(0.01, TAU_P), window_of_both_orders),
    "homeostatic": (homeostatic_triplet(6e-3, 5.0, TAU_P, TAU_M, TAU_Y, 200.0), zenke),
    "multiplicative": (
        multiplicative(0.01, 0.012, **TAUS, w_max=1.5, mu=0.5),
        by_pairs(lambda w: 0.01 * ((1.5 - w) / 1.5) ** 0.5, lambda w: 0.012 * (w / 1.5) ** 0.5),
    ),
    "morrison": (
        morrison(0.1, 1.1, 0.4, 0.8, **TAUS),
        by_pairs(lambda w: 0.1 * 0.8**0.6 * w**0.4, lambda w: 0.1 * 1.1 * w),
    ),
    "van Rossum": (van_rossum(1.0, 0.3, **TAUS), by_pairs(lambda w: 1.0, lambda w: 0.3 * w)),
}
every_rule = pytest.mark.parametrize("name", RULES)


def trains(*unit):
    s = (torch.rand(STEPS, LANES, *unit) < 0.12).double()
    s[10::20] = 1  # forced coincidences of pre and post
    return s


def times(train):
    """Step k ends k + 1 ms after the start."""
    return [float(k + 1) for k, spike in enumerate(train.tolist()) if spike]


def net_of(synapse, post):
    nn.init.uniform_(synapse.weight, 0.1, 1.2)
    net = nn.Sequential(Layer(synapse, Given()))
    net[0].neuron.spikes = post
    return net


def enumerated(dw, pre, post, weight):
    """[post, pre], summed over lanes."""
    return torch.tensor(
        [
            [sum(dw(times(pre[:, b, i]), times(post[:, b, j]), weight[j, i].item()) for b in range(pre.shape[1]))
             for i in range(pre.shape[2])]
            for j in range(post.shape[2])
        ]
    )  # fmt: skip


def finer(train, parts):
    """The same spike times in steps that are `parts` times shorter."""
    x = torch.zeros(len(train) * parts, *train.shape[1:])
    x[parts - 1 :: parts] = train
    return x


@every_rule
@pytest.mark.parametrize("parts", (1, 2, 10))
def test_dense_equals_the_sums_at_any_dt(name, parts):
    rule, dw = RULES[name]
    pre, post = trains(3), trains(2)
    net = net_of(dense(3, 2), finer(post, parts))
    got = updates(net, Batch(finer(pre, parts), time=True, dt=1 / parts), NoCredit(), rule)["0.input"] * LANES
    want = enumerated(dw, pre, post, net[0].input.weight)
    assert want.abs().min() > 1e-4
    assert relative({"w": got}, {"w": want}) < 1e-12


@every_rule
def test_conv_equals_the_sums_over_places(name):
    rule, dw = RULES[name]
    pre, post = trains(1, 3, 3), trains(2, 2, 2)
    net = net_of(nn.Conv2d(1, 2, 2, bias=False), post)
    weight = net[0].input.weight
    got = updates(net, Batch(pre, time=True, dt=1.0), NoCredit(), rule)["0.input"] * LANES
    want = torch.zeros_like(weight)
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):  # the places; each sees four inputs
        here = enumerated(dw, pre[:, :, 0, y : y + 2, x : x + 2].flatten(2), post[:, :, :, y, x], weight.flatten(1))
        want += here.reshape(2, 1, 2, 2)
    assert relative({"w": got}, {"w": want}) < 1e-12


@every_rule
def test_a_trial_in_chunks_is_the_whole_trial(name):
    rule, _ = RULES[name]
    lanes = 1 if name == "homeostatic" else LANES  # its rbar is the mean of the lanes from one trial to the next
    pre, post = trains(3)[:, :lanes], trains(2)[:, :lanes]
    net = net_of(dense(3, 2), post)

    def show(start, stop):
        net[0].neuron.spikes = post[start:stop]
        return Batch(pre[start:stop], time=True, dt=1.0)

    batch = show(0, STEPS)
    L = learner(net, batch, NoCredit(), rule, lr=0.0)
    whole = L.updates(batch)
    parts = [L.step(show(a, b))["0.input"] for a, b in ((0, 11), (11, 12), (12, 60), (60, STEPS))]  # 11: a coincidence
    assert relative({"0.input": sum(parts)}, whole) < 1e-12


@every_rule
def test_a_batch_is_the_sum_of_its_lanes(name):
    rule, _ = RULES[name]
    pre, post = trains(3), trains(2)
    net = net_of(dense(3, 2), post)
    whole = updates(net, Batch(pre, time=True, dt=1.0), NoCredit(), rule)["0.input"] * LANES
    singles = 0
    for b in range(LANES):
        net[0].neuron.spikes = post[:, b : b + 1]
        singles = singles + updates(net, Batch(pre[:, b : b + 1], time=True, dt=1.0), NoCredit(), rule)["0.input"]
    assert relative({"w": whole}, {"w": singles}) < 1e-12


# ---------------------------------------------------------------------------------------------- bad input
def record_of(pre, post, dt=1.0, of=None):
    """of: the synapse's (post, pre), by default as many as there are."""
    n_post, n_pre = of or (post.shape[-1], pre.shape[-1])
    synapse = nn.Linear(n_pre, n_post, bias=False)
    return Record("it", synapse, torch.ones(n_post, n_pre), pre, u=post, post=post, slope=post, state={}, dt=dt)


def shown(rule, pre, post, dt=1.0, of=None, third={}):
    return rule.update(record_of(pre, post, dt, of), third, {})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: pair(tau_plus=0.0), "tau_plus: given 0.0, .* positive number of ms"),
        (lambda: triplet(tau_y=-1.0), "tau_y: given -1.0, .* positive number of ms"),
        (lambda: homeostatic_triplet(tau_hom=-1.0), "tau_hom: given -1.0, .* positive number of ms"),
        (lambda: homeostatic_triplet(tau_hom=0.0), "tau_hom: given 0.0, .* positive number of ms"),
        (lambda: pair(A_plus=-0.1), "A_plus: given -0.1, an amplitude is not negative"),
        (lambda: triplet(A3_minus=-0.1), "A3_minus: given -0.1, an amplitude is not negative"),
        (lambda: symmetric(A=-0.1), "A: given -0.1, an amplitude is not negative"),
        (lambda: inhibitory(eta=-0.1), "eta: given -0.1, an amplitude is not negative"),
        (lambda: homeostatic_triplet(A3_plus=-0.1), "A3_plus: given -0.1, an amplitude is not negative"),
        (lambda: shown(pair(tau_minus=0.5), trains(3), trains(2)), "tau_minus: given 0.5 ms, .* dt = 1.0 ms.* in ms"),
        (lambda: shown(pair(), trains(3) * 0.5, trains(2)), "pre is no train of spikes.* 0 and 1"),
        (lambda: shown(pair(), trains(3), trains(2) + 1), "post is no train of spikes.* 0 and 1"),
        (lambda: shown(pair(), trains(3), trains(2)[:-1]), r"post \[89, 2, 2\] differ in T or B, expected \[T, B, N\]"),
        (lambda: shown(pair(), trains(3)[:, :1], trains(2)), r"pre \[90, 1, 3\] .* differ in T or B, .*\[T, B, N\]"),
        (lambda: shown(pair(), trains(3)[:, 0], trains(2)), r"pre has the shape \[90, 3\], expected \[T, B, N\]"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tau_plus, tau_minus", [(20.0, 20.0), (17.0, 34.0)])
def test_van_rossum_rests_where_its_published_values_say(tau_plus, tau_minus):
    """Over every lag once, as independent trains are: c_p tau_plus = c_d w tau_minus, with c_p = 1 and c_d = .003.

    By the trapezoid rule: of a coincident pair, which potentiates, half is potentiation and half depression.
    """
    pre, post = torch.zeros(801, 1, 1, dtype=torch.float64), torch.eye(801, dtype=torch.float64)[:, None]
    pre[400] = 1
    rest = tau_plus / (0.003 * tau_minus)
    for w, want in ((rest, 0.0), (0.5 * rest, 0.5 * tau_plus), (2 * rest, -tau_plus)):
        rec = record_of(pre, post)
        rec = dataclasses.replace(rec, weight=torch.full((801, 1), w, dtype=torch.float64))
        whole = van_rossum(tau_plus=tau_plus, tau_minus=tau_minus).update(rec, {}, {}).sum().item()
        assert whole - (1 + 0.003 * w) / 2 == pytest.approx(want, abs=0.01)
