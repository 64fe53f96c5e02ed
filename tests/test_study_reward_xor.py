"""reward_xor: the engine against the published equations in numpy, spike by spike; its world, criterion and claims alone."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

import neurosim as ns
from neurosim.study import load_study

load_study("reward_xor")
xor = sys.modules["studies.reward_xor"]


def lived(condition, epochs, seed=3):
    """A run of the engine, its spikes at each ms [ms, unit], and the weights (mV) before and after, [post, pre]."""
    made = xor.network(seed, condition, epochs)
    weights = lambda: [q.to_dense() / xor.UNIT for q in made.plastic]  # noqa: E731
    first, ms = weights(), epochs * 4 * 500
    rec = made.net.run(
        ms,
        [ns.Spikes(p) for p in made.populations],
        environment=ns.Environment(xor.world, every=0.5, memory=made.memory),
    )
    trains = []
    for p in made.populations:
        s, train = rec.spikes(p), np.zeros((ms, p.n))
        assert (np.asarray(s.time) % 1 == 0).all()  # at even steps only
        train[np.asarray(s.time, int), s.unit] = 1
        trains.append(train)
    return made, trains, first, weights()


def published(rule, inputs, order, w1, w2, halves=False):
    """Florian 2007 as written, one ms at a time, dense; returns the output's spikes, and the weights at the end.

    halves: what a pre spike does is clipped before what a post spike of that ms does.
    """
    sign = np.repeat([1.0, -1.0], 30)
    low1, high1 = np.where(sign > 0, 0.0, -5.0), np.where(sign > 0, 5.0, 0.0)
    a, az, gamma = math.exp(-1 / 20), math.exp(-1 / 25), {"MSTDP": 0.1, "MSTDPET": 0.625}[rule]
    u, u_out, f, f_out = np.full(60, -70.0), np.full(1, -70.0), np.zeros(60), np.zeros(1)
    plus1, minus1, plus2, minus2 = np.zeros(60), np.zeros(60), np.zeros(60), np.zeros(1)
    z1, z2, spikes = np.zeros_like(w1), np.zeros_like(w2), []
    for t, x in enumerate(inputs):
        spikes.append(f_out[0])
        plus1, minus1 = a * plus1 + x, a * minus1 - f
        plus2, minus2 = a * plus2 + f, a * minus2 - f_out
        pre1, pre2 = np.outer(minus1 + f, x), np.outer(minus2 + f_out, f)  # of earlier ms
        zeta1, zeta2 = np.outer(f, plus1) + np.outer(minus1, x), np.outer(f_out, plus2) + np.outer(minus2, f)
        z1, z2 = az * z1 + zeta1 / 25, az * z2 + zeta2 / 25
        r = f_out[0] * (1 if order[t // 500] in (1, 2) else -1)
        u, u_out = -70 + a * (u + 70) + w1 @ x, -70 + a * (u_out + 70) + w2 @ f
        if halves:
            w1, w2 = np.clip(w1 + gamma * r * pre1, low1, high1), np.clip(w2 + gamma * r * pre2, 0, 5)
            zeta1, zeta2 = zeta1 - pre1, zeta2 - pre2
        w1 = np.clip(w1 + gamma * r * (z1 if rule == "MSTDPET" else zeta1), low1, high1)
        w2 = np.clip(w2 + gamma * r * (z2 if rule == "MSTDPET" else zeta2), 0, 5)
        f, f_out = (u > -54).astype(float), (u_out > -54).astype(float)
        u, u_out = np.where(f > 0, -70, u), np.where(f_out > 0, -70, u_out)
    return np.array(spikes), w1, w2


@pytest.mark.parametrize("rule", ["MSTDP", "MSTDPET"])
def test_the_engine_runs_the_published_equations(rule):
    epochs = 3
    made, (exc, inh, _, out), first, last = lived(rule, epochs)
    inputs, order = np.hstack([exc, inh]), made.memory[5 : 5 + epochs * 4]
    given = rule, inputs, order, np.hstack(first[:2]), first[2]
    spikes, w1, w2 = published(*given, halves=rule == "MSTDP")
    assert out.sum() > 50 and (out[:, 0] == spikes).all()
    moved = [np.abs(x - y).max() for x, y in zip(first, last, strict=True)]
    assert min(moved) > 0.3  # mV, from each of the three kinds of neurons
    # what is left of `now` 1 ms later, 6e-6 of a pairing, is all that differs
    assert np.abs(np.hstack(last[:2]) - w1).max() < 2e-5 and np.abs(last[2] - w2).max() < 2e-5
    if rule == "MSTDP":  # a pair within 1 ms at a bound: the engine clips after either event, the paper after both
        _, w1, w2 = published(*given)
        assert (np.abs(np.hstack(last[:2]) - w1) > 2e-5).mean() < 0.01 and (np.abs(last[2] - w2) > 2e-5).mean() < 0.05


def test_the_frozen_twin_sees_the_same_and_keeps_its_weights():
    made, trains, first, last = lived("frozen", 1)
    other, learning, start, _ = lived("MSTDPET", 1)
    assert all((x == y).all() for x, y in zip(first, last, strict=True))
    assert all((x == y).all() for x, y in zip(first, start, strict=True))
    assert all((x == y).all() for x, y in zip(trains[:2], learning[:2], strict=True))
    assert (made.memory[5:49] == other.memory[5:49]).all()


def test_inputs_fire_at_40_hz_where_their_bit_is_1():
    made, (exc, inh, _, out), _, _ = lived("frozen", 3)
    order = made.memory[5:17].astype(int)
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3]
    for train in (exc, inh):
        rate = train.reshape(12, 500, 2, 15).mean((1, 3)) * 1000  # [presentation, bit]
        bits = np.stack([order // 2, order % 2], 1)
        shown = rate[bits == 1].mean()
        assert (rate[1:][bits[1:] == 0] < 3).all()  # the first ms of a presentation may belong to the one before
        assert shown == pytest.approx(40, abs=4 * 1000 * math.sqrt(0.04 * 0.96 / (12 * 500 * 15)))
    counts = made.memory[5 + int(made.memory[4]) :][:12]
    assert (counts == out.reshape(12, 500).sum(1)).all() and counts.sum() > 20


def test_a_spike_of_the_output_is_rewarded_by_the_pattern_that_is_shown():
    memory = np.concatenate([[7, 0, 0, 1, 4], [0, 1, 2, 3], np.zeros(4)])
    counts, drive, signal = np.zeros(8, int), np.zeros(64), np.zeros(1)

    def told(ms, fired, reward=1):
        counts[7], memory[3] = fired, reward
        xor.world(ms + 0.5, counts, drive, signal, memory)  # after the even step of that ms
        return signal[0]

    assert [told(ms, 1) for ms in (0, 499, 500, 1499, 1500, 1999)] == [-1, -1, 1, 1, -1, -1]
    assert told(700, 0) == 0 == told(700, 1, reward=0)
    assert memory[9:].tolist() == [2, 2, 1, 2]


def test_learned_is_both_odd_patterns_above_both_even_ones():
    rates = np.array([[0, 30, 40, 20], [0, 30, 10, 20], [0, 20, 40, 20], [35, 40, 30, 0]], float)
    assert xor.learned(rates).tolist() == [True, False, False, False]


def made_up(learned, kept):
    return [
        xor.row(q, v, c, k)
        for c in learned
        for q, given in (("learned", learned[c]), ("share of retests kept", kept[c]))
        for k, v in enumerate(given)
    ]


def test_claims_can_fail():
    names = ("MSTDP", "MSTDPET", "frozen")
    good = dict(zip(names, ([1] * 20, [1] * 19 + [0], [0] * 20), strict=True))
    kept = dict(zip(names, ([0.4] * 20, [0.9] * 20, [0.0] * 20), strict=True))
    assert all(c["holds"] for c in xor.claims_of(made_up(good, kept)))
    bad = dict(zip(names, ([1] * 17 + [0] * 3, [1] * 16 + [0] * 4, [1] * 18 + [0] * 2), strict=True))
    worse = {**kept, "MSTDP": [0.95] * 20}
    assert not any(c["holds"] for c in xor.claims_of(made_up(bad, worse)))


def test_the_band_leaves_out_half_a_per_cent_below():
    for n, p in ((20, 0.991), (20, 0.982), (100, 0.982)):
        fewest = round(n * (p - xor.band(n, p)))
        mass = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(fewest))
        assert mass < 0.005 <= mass + stats.binom.pmf(fewest, n, p)
