"""Drift of triplet rules by hand, the BCM rule they are on average, and the running rate that slides the threshold."""

import math

import pytest
import torch
from torch import nn

from neurosim.plasticity import Record
from neurosim.rules import (
    BCM,
    PFISTER_GERSTNER,
    Power,
    SpikeRule,
    Term,
    Trace,
    bcm_from_triplet,
    homeostatic_triplet,
    inhibitory,
    pair,
    triplet,
)
from neurosim.rules.homeostasis import drift
from tests.nets import dense

ALL_TO_ALL = [n for n, s in PFISTER_GERSTNER.items() if not s.nearest]
TAU_PLUS, TAU_MINUS = 0.0168, 0.0337  # s


def record(synapse, pre, post, dt=None):
    none = torch.full_like(post, torch.nan)
    return Record("a.input", synapse, synapse.weight.detach(), pre, none, post, none, {}, dt)


def update(rule, pre, post, state, dt=1.0):
    return rule.update(record(dense(pre.shape[-1], post.shape[-1]), pre, post, dt), {}, state)


def spikes(*shape, p=0.05):
    return (torch.rand(*shape) < p).double()


# ---------------------------------------------------------------------------------------------- drift
@pytest.mark.parametrize("name", ALL_TO_ALL)
def test_drift_by_hand(name):
    s = PFISTER_GERSTNER[name]
    tau_x, tau_y = s.tau_x / 1000, s.tau_y / 1000
    k = drift(s.rule())
    assert k.a == pytest.approx(s.A2_plus * TAU_PLUS - s.A2_minus * TAU_MINUS, rel=1e-12)
    assert k.b == pytest.approx(s.A3_plus * TAU_PLUS * tau_y, rel=1e-12)
    assert k.c == pytest.approx(s.A3_minus * TAU_MINUS * tau_x, rel=1e-12, abs=0)
    assert k.d == 0
    x, y = 7.0, 13.0
    want = k.a * x * y + k.b * x * y * y - k.c * x * x * y
    assert k(x, y) == pytest.approx(want, rel=1e-12)


def test_thresholds():
    assert drift(triplet()).theta == pytest.approx(19.2, abs=0.05)
    assert drift(PFISTER_GERSTNER["hippocampus-minimal"].rule()).theta == pytest.approx(5.4, abs=0.05)


def test_numbers_of_visual_cortex():
    """A3_plus tau_plus tau_y = 6.5e-3 x 16.8 ms x 114 ms = 1.244880e-5 s^2; A2_minus tau_minus = 2.3927e-4 s."""
    k = drift(triplet())
    assert k.b == pytest.approx(1.24488e-5, rel=1e-12) and k.a == pytest.approx(-2.3927e-4, rel=1e-12)
    assert k(10, 30) == pytest.approx(10 * 30 * (1.24488e-5 * 30 - 2.3927e-4), rel=1e-12)  # per second


def test_pair_drift():
    k = drift(pair(0.01, 0.012, 20.0, 30.0))
    assert k == pytest.approx((0.01 * 0.020 - 0.012 * 0.030, 0, 0, 0), rel=1e-12)


def test_homeostatic_drift_is_bcm_with_a_sliding_threshold():
    k = drift(homeostatic_triplet(A3_plus=5e-3, rho0=4.0, tau_plus=15.0, tau_minus=30.0, tau_y=100.0))
    b = 5e-3 * 0.015 * 0.1
    for x, r, rbar in ((10.0, 6.0, 3.0), (2.0, 1.0, 5.0)):
        assert k(x, r, rbar) == pytest.approx(b * x * r * (r - rbar**2 / 4.0), rel=1e-12)
    assert k(10.0, 4.0, 4.0) == pytest.approx(0, abs=1e-18) and k(10, 3.9, 3.9) > 0 > k(10, 4.1, 4.1)


@pytest.mark.parametrize(
    "rule",
    [
        triplet(nearest=True),
        inhibitory(),
        pair(depression=Power(1.0)),
        SpikeRule({"r1": Trace("pre", 20.0)}, (Term(1.0, ("post", "r1"), gate="dopamine"),), forget=True),
        SpikeRule({"D": Trace("dopamine", 20.0)}, (Term(1.0, ("post", "D")),)),
    ],
    ids=("nearest", "spike without trace", "weight", "gated", "modulator"),
)
def test_drift_refuses_other_terms(rule):
    with pytest.raises(ValueError, match="none of additive all-to-all pair and triplet STDP"):
        drift(rule)


# ---------------------------------------------------------------------------------------------- BCM
def test_a_triplet_rule_s_bcm_has_the_same_drift():
    for name in ("cortex-minimal", "hippocampus-minimal"):
        rule = PFISTER_GERSTNER[name].rule()
        x, y = torch.tensor([[3.0, 10.0]]), torch.tensor([[2.0, 5.0, 30.0]])  # Hz
        got = bcm_from_triplet(rule).update(record(dense(2, 3), x, y), {}, {})
        want = [[drift(rule)(a, b) for a in (3.0, 10.0)] for b in (2.0, 5.0, 30.0)]
        assert got.flatten().tolist() == pytest.approx(sum(want, []), rel=1e-12)


def test_a_homeostatic_rule_s_bcm_slides_as_rbar_does():
    """theta = m^2 / rho0, m a running mean of y over tau_hom, counted in updates."""
    rule, y, m = bcm_from_triplet(homeostatic_triplet(rho0=3.0, tau_hom=10_000.0), 500.0), (3.0, 6.0, 1.5), 3.0
    b, state = 6.5e-3 * 0.0168 * 0.114, {}
    assert rule.tau == 20
    for rate in y * 3:
        got = rule.update(record(dense(1, 1), torch.tensor([[10.0]]), torch.tensor([[rate]])), {}, state)
        m += (rate - m) / 20
        assert got.item() == pytest.approx(b * 10 * rate * (rate - m * m / 3.0), rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("start", (0.5, 2.0, 8.0))
def test_rho0_is_a_stable_rate(start):
    """r = w x: weights follow the rule, the threshold follows the rate, and r comes to rest at rho0."""
    rule, state, x = bcm_from_triplet(homeostatic_triplet(rho0=3.0, tau_hom=2000.0), 1000.0), {}, 10.0
    synapse, w = dense(1, 1), torch.tensor([[start / x]])
    rates = []
    for _ in range(1500):
        r = (w * x).clamp(min=0)
        w = w + 10.0 * rule.update(record(synapse, torch.full((1, 1), x), r), {}, state)
        rates.append(r.item())
    assert abs(rates[20] - 3.0) > 0.01
    assert rates[-300:] == pytest.approx([3.0] * 300, abs=1e-6)


def test_bcm_refusals():
    with pytest.raises(ValueError, match="A3_plus > 0 and A3_minus = 0"):
        bcm_from_triplet(PFISTER_GERSTNER["cortex-full"].rule())
    with pytest.raises(ValueError, match="A3_plus > 0 and A3_minus = 0"):
        bcm_from_triplet(pair())
    with pytest.raises(ValueError, match="none of additive all-to-all"):
        bcm_from_triplet(triplet(nearest=True))
    rule = homeostatic_triplet()
    with pytest.raises(ValueError, match="no BCM form"):
        bcm_from_triplet(SpikeRule(rule.traces, (*rule.terms, Term(1e-3, ("post", "r1")))))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: homeostatic_triplet(rho0=0.0), "rho0: given 0.0"),
        (lambda: homeostatic_triplet(A3_plus=-1.0), "A3_plus: given -1.0"),
        (lambda: homeostatic_triplet(tau_hom=-1.0), "tau_hom: given -1.0|positive"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------------------------------------- the running rate
def plain(pre, post, dt, A3_plus, rho0, tau_plus, tau_minus, tau_y, tau_hom, rbar):
    """(dw, rbar at the end) of one synapse, one spike at a time; times in ms, rates in Hz."""
    r1 = o1 = o2 = w = 0.0
    for x, y in zip(pre, post):
        r1, o1, o2, rbar = (
            z * math.exp(-dt / tau) for z, tau in ((r1, tau_plus), (o1, tau_minus), (o2, tau_y), (rbar, tau_hom))
        )
        if x:
            A2_minus = A3_plus * (tau_plus / 1000) * (tau_y / 1000) * rbar**2 / (tau_minus / 1000) / rho0
            w -= A2_minus * o1
            r1 += 1
        if y:
            w += A3_plus * r1 * o2
            o1, o2, rbar = o1 + 1, o2 + 1, rbar + 1 / (tau_hom / 1000)
    return w, rbar


VALUES = (6.5e-3, 3.0, 16.8, 33.7, 114.0, 2000.0)


@pytest.mark.parametrize("dt", (1.0, 0.5))
def test_dw_and_rbar_equal_plain_floats(dt):
    pre, post, state = spikes(400, 1, 2), spikes(400, 1, 3), {}
    dw = update(homeostatic_triplet(*VALUES), pre, post, state, dt)
    for i in range(2):
        for j in range(3):
            w, rbar = plain(pre[:, 0, i].tolist(), post[:, 0, j].tolist(), dt, *VALUES, rbar=VALUES[1])
            assert dw[j, i].item() == pytest.approx(w, rel=1e-11)
            assert state["rbar"][0, j].item() == pytest.approx(rbar, rel=1e-12)


def test_rbar_starts_at_rho0_and_fades_in_silence():
    state = {}
    update(homeostatic_triplet(rho0=5.0, tau_hom=1000.0), torch.zeros(300, 2, 1), torch.zeros(300, 2, 1), state)
    assert state["rbar"].item() == pytest.approx(5.0 * math.exp(-0.3), rel=1e-12)


def test_rbar_is_a_rate_in_hz():
    """A regular train of 10 Hz, for 10 tau_hom: rbar is 10 f(q), q = 100 ms / tau_hom, just after a spike; its mean is 10."""

    def f(q):
        return q / (1 - math.exp(-q))

    for dt, tau_hom in ((2.0, 500.0), (5.0, 1000.0)):
        period, rule, state, seen = round(100 / dt), homeostatic_triplet(tau_hom=tau_hom), {}, []
        post = torch.zeros(period * round(tau_hom / 10), 1, 1)
        post[period - 1 :: period] = 1
        update(rule, torch.zeros_like(post), post, state, dt)
        for y in post[: period // 2], post[period // 2 : period]:
            update(rule, torch.zeros_like(y), y, state, dt)
            seen.append(state["rbar"].item())
        low, high = 10 * f(100 / tau_hom) * math.exp(-50 / tau_hom), 10 * f(100 / tau_hom)  # mid-period, after a spike
        assert seen == pytest.approx([low, high], rel=1e-4)


def test_whole_is_chunked_for_one_lane():
    rule, pre, post, whole, state = homeostatic_triplet(*VALUES), spikes(200, 1, 4), spikes(200, 1, 3), {}, {}
    once = update(rule, pre, post, whole)
    parts = [update(rule, pre[a:b], post[a:b], state) for a, b in ((0, 1), (1, 70), (70, 71), (71, 200))]
    assert (sum(parts) - once).abs().max() < 1e-15
    assert all(torch.allclose(state[k], whole[k], 1e-12) for k in whole)


def test_the_next_trial_starts_from_the_mean_over_lanes():
    rule, pre, post, state = homeostatic_triplet(*VALUES), spikes(150, 3, 1), spikes(150, 3, 1), {}
    update(rule, pre, post, state)
    ends = [plain(pre[:, b, 0].tolist(), post[:, b, 0].tolist(), 1.0, *VALUES, rbar=3.0)[1] for b in range(3)]
    assert len(set(ends)) == 3 and state["rbar"].item() == pytest.approx(sum(ends) / 3, rel=1e-12)
    silent = torch.zeros(1, 3, 1)
    update(rule, silent, silent, state)
    assert state["rbar"].item() == pytest.approx(sum(ends) / 3 * math.exp(-1 / 2000), rel=1e-12)


def test_batches_may_differ_in_size_where_the_trial_s_end_clears_the_rest():
    rule, state = homeostatic_triplet(*VALUES), {}
    rule = SpikeRule(rule.traces, rule.terms, forget=True)
    update(rule, spikes(50, 4, 2), spikes(50, 4, 3), state)
    assert set(state) == {"rbar"} and state["rbar"].shape == (1, 3)
    before, (pre, post) = state["rbar"][0, 0].item(), (spikes(50, 2, 2), spikes(50, 2, 3))
    update(rule, pre, post, state)
    ends = [plain([0] * 50, post[:, b, 0].tolist(), 1.0, *VALUES, rbar=before)[1] for b in range(2)]
    assert state["rbar"][0, 0].item() == pytest.approx(sum(ends) / 2, rel=1e-12)


def test_what_has_no_threshold_says_so_and_the_order_of_factors_does_not_matter():
    with pytest.raises(ValueError, match="theta: the rule has no threshold"):
        _ = drift(homeostatic_triplet()).theta
    rule = triplet()
    turned = SpikeRule(rule.traces, tuple(Term(m.gain, (m.factors[0], *m.factors[:0:-1])) for m in rule.terms))
    assert drift(turned) == drift(rule) and drift(turned).b > 0
    for duration in (0.0, -5.0):
        with pytest.raises(ValueError, match="duration: given"):
            bcm_from_triplet(homeostatic_triplet(), duration)


def test_the_two_forms_start_from_one_threshold():
    """At 9 Hz from rbar = rho0 = 3 Hz both potentiate first."""
    rule = homeostatic_triplet()
    bcm = bcm_from_triplet(rule)
    rec = record_at(10.0, 9.0)
    assert bcm.update(rec, {}, {}).item() == pytest.approx(
        drift(rule)(10.0, 9.0, 3.0 + (9.0 - 3.0) / bcm.tau), rel=1e-5
    )
    assert bcm.update(rec, {}, {}).item() > 0 and drift(rule)(10.0, 9.0, 3.0) > 0
    for start in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="start: given"):
            BCM(start=start)


def record_at(x, y):
    pre, post = torch.full((1, 1), x), torch.full((1, 1), y)
    return Record(
        "it", nn.Linear(1, 1, bias=False), torch.ones(1, 1), pre, u=post, post=post, slope=post, state={}, dt=None
    )


def test_the_threshold_met_holds_the_spike_that_depresses():
    """Poisson trains at r = rho0, rbar by lane: a spike s ago, weighted with o1, adds exp(-s/tau)/tau to an rbar of mean r
    and variance r/(2 tau). On average that is r^2 + r/(2 tau) + 2 r/tau f + f2/tau^2, with f = tau/(tau + tau_minus) and
    f2 = tau/(tau + 2 tau_minus), where the formula of <dw> has r^2. tau_hom = 200 ms, so that 1/tau = 5 Hz is large.
    """
    r, tau, dt = 3.0, 200.0, 0.5
    rule = homeostatic_triplet(rho0=r, tau_hom=tau)
    own = {n: Trace(t.of, t.tau, bump=t.bump, start=t.start) for n, t in rule.traces.items()}
    down, state = SpikeRule(own, rule.terms[1:]), {}
    for steps in (2000, 8000):  # the first, to rest
        pre, post = spikes(steps, 8, 60, p=10 * dt / 1000), spikes(steps, 8, 60, p=r * dt / 1000)
        dw = update(down, pre, post, state, dt).mean().item() / 8 / (steps * dt / 1000)
    threshold = -dw / (drift(rule).b * 10 * r)
    k, f, f2 = 1000 / tau, tau / (tau + 33.7), tau / (tau + 2 * 33.7)
    assert threshold == pytest.approx((r**2 + r * k / 2 + 2 * r * k * f + k**2 * f2) / r, rel=0.05)  # 20; of <dw>: 3
