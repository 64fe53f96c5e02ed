"""distal_reward: its closed form, the world's rules and controls on their own, and the loop as a whole, briefly."""

import math
import sys

import numpy as np
import pytest

import neurosim as ns
from neurosim.study import load_study

load_study("distal_reward")
distal = sys.modules["studies.distal_reward"]


def test_one_pairing_and_one_reward_have_a_closed_form():
    """int 0.1 c0 exp(-t/tau_c) d0 exp(-(t - D)/tau_d) dt from D on, by the trapezium rule on a fine grid."""
    for delay in (10.0, 700.0):
        t = np.linspace(delay, delay + 6000, 600_001)
        integral = np.trapezoid(0.1 * np.exp(-t / distal.TAU_C) * 0.5 * np.exp(-(t - delay) / distal.TAU_D), t)
        assert distal.closed_form(delay) == pytest.approx(integral, rel=1e-7)
    got, total = distal.one_synapse(300.0, 1.0, 10.0)
    assert got == pytest.approx(total, rel=1e-10) and abs(got / distal.closed_form(300.0) - 1) > 0.01


def told(memory, spikes, until=4000):
    """The world alone, at each ms: when it released dopamine. spikes: {ms: units}."""
    counts, drive, signal, released = np.zeros(1100, int), np.zeros(1100), np.zeros(2), []
    for t in range(1, until):
        counts[:] = 0
        for unit in spikes.get(t, ()):
            counts[unit] = 1
        distal.world(float(t), counts, drive, signal, memory)
        if signal[0] > 0.5:
            released.append(t)
    return released, drive


def memory_of(seed=0, condition=distal.REWARDED, rewards=()):
    made = distal.network(seed, condition, rewards)
    return made, made.memory, int(made.memory[1]), int(made.memory[2])


def test_a_reward_follows_n2_within_20_ms_of_n1_and_nothing_else():
    _, memory, n1, n2 = memory_of()
    released, drive = told(memory, {100: [n1], 121: [n2], 300: [n2], 400: [n1, n2], 600: [n1 + 1], 605: [n2]})
    assert released == [] and memory[4] == 0
    assert abs(drive[:800].mean()) < 0.5 and drive.max() < 6.5 and drive.min() > -6.5 and drive[800:832].max() == 0
    assert drive[832:1032].std() == pytest.approx(13 / math.sqrt(12), rel=0.2)
    _, memory, n1, n2 = memory_of()
    released, _ = told(memory, {100: [n1], 120: [n2], 121: [n2], 500: [n1], 501: [n2]})
    assert len(released) == 2 == memory[4] and 1120 <= min(released) <= 3120 and 1120 <= max(released) <= 3502


def test_unrelated_rewards_come_at_their_times_whatever_the_spikes():
    _, memory, n1, n2 = memory_of(condition=distal.UNRELATED, rewards=[50.0, 777.0])
    released, _ = told(memory, {100: [n1], 110: [n2]})
    assert released == [50, 777] and memory[4] == 1


def test_the_network_is_as_published():
    made, *_ = memory_of(seed=3)
    net, (ee, ei) = made.net, made.plastic
    out = np.bincount(ee.pre_index, minlength=800) + np.bincount(ei.pre_index, minlength=800)
    assert set(out) == {100} and set(np.bincount(net.projections[2].pre_index)) == {100}
    assert (ee.pre_index != ee.post_index).all() and ee.w[0] == 0 and (ee.w[1:] == 1).all() and (ei.w == 1).all()
    assert ee.post_index[0] == made.memory[2] and (net.projections[2].w == -1).all()


def test_a_seed_is_its_life_and_frozen_weights_stay():
    rows = [distal.live(5, distal.REWARDED, 36)[0] for _ in range(2)]
    plain = [[r for r in found if "seconds" not in r["quantity"]] for found in rows]
    assert plain[0] == plain[1]
    made = distal.network(5, distal.FROZEN)
    made.net.run(2000, environment=ns.Environment(distal.world, every=1.0, memory=made.memory))
    assert made.plastic[0].w[0] == 0 and (made.plastic[0].w[1:] == 1).all()


def test_a_fault_fails_its_claim():
    row, seeds = distal.row, range(2)
    rows = [
        row("chosen weight (mV)", w, c, k, 1)
        for k in seeds
        for c, w in ((distal.REWARDED, 3.9), (distal.UNRELATED, 1.0))
    ]
    rows += [row("rewards earned", n, c, k, 1) for k in seeds for c, n in ((distal.REWARDED, 200), (distal.FROZEN, 80))]
    rows += [row("share near the cap", 0.02, distal.REWARDED, k) for k in seeds]
    rows += [row("wall seconds of all seeds", 100.0, distal.REWARDED)]
    assert all(c["holds"] for c in distal.claims_of(rows))
    faults = [("chosen weight (mV)", distal.REWARDED, 0.5), ("rewards earned", distal.REWARDED, 90),
              ("share near the cap", distal.REWARDED, 0.3), ("wall seconds of all seeds", distal.REWARDED, 200.0)]  # fmt: skip
    for quantity, condition, value in faults:
        hit = [{**r, "value": value} if (r["quantity"], r["recipe"]) == (quantity, condition) else r for r in rows]
        assert not all(c["holds"] for c in distal.claims_of(hit)), quantity
