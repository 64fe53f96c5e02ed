"""The voltage rule against plain floats: one synapse, one step at a time; and the authors' protocol written out once more."""

import math
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.figures import load
from neurosim.plasticity import Batch, Layer, Record, play
from neurosim.rules.clopath import Clopath
from neurosim.study import load_study
from neurosim.testing import check_rule
from tests.nets import dense

STEPS, LANES = 60, 3
HOMEOSTASIS = Clopath(u_ref=60**0.5, tau_bar=100.0)
RULES = {
    "plain": Clopath(),
    "delay": Clopath(delay=3.0),
    "other values": Clopath(2e-4, 1e-4, 20.0, 12.0, 5.0, -65.0, -50.0, 1.5),
    "homeostasis": HOMEOSTASIS,
}


def one_synapse(rule, X, u, dt):
    """dw of one synapse. Exact filters of what is constant over a step, all read before the step's input."""
    steps = round(rule.delay / dt)
    xbar, minus, plus, w = 0.0, [rule.theta_minus], [rule.theta_minus], 0.0
    bar = rule.u_ref
    for t in range(len(X)):
        late = max(0, t - steps)
        factor = (bar / rule.u_ref) ** 2 if rule.u_ref else 1.0
        if X[t]:
            w -= rule.A_LTD * factor * max(0.0, minus[late] - rule.theta_minus)
        up = max(0.0, u[t] - rule.theta_plus) * max(0.0, plus[late] - rule.theta_minus)
        w += rule.A_LTP * xbar * up * dt
        xbar += (X[t] / dt - xbar) * (1 - math.exp(-dt / rule.tau_x))
        minus.append(minus[-1] + (u[t] - minus[-1]) * (1 - math.exp(-dt / rule.tau_minus)))
        plus.append(plus[-1] + (u[t] - plus[-1]) * (1 - math.exp(-dt / rule.tau_plus)))
        if rule.u_ref:
            bar += (u[t] - rule.theta_minus - bar) * (1 - math.exp(-dt / rule.tau_bar))
    return w


def brute(rule, X, u, dt):
    """X [T, B, pre], u [T, B, post] -> dW summed over lanes."""
    return sum(
        torch.tensor([[one_synapse(rule, x.tolist(), v.tolist(), dt) for x in X[:, b].T] for v in u[:, b].T])
        for b in range(X.shape[1])
    )


def spikes(*shape):
    return (torch.rand(STEPS, LANES, *shape) < 0.2).double()


def potentials(*shape):
    return -75 + 40 * torch.rand(STEPS, LANES, *shape) + 80 * (torch.rand(STEPS, LANES, *shape) < 0.1)


def update(rule, synapse, X, u, state=None, dt=1.0):
    nothing = torch.full_like(u, torch.nan)  # the rule reads no post spikes
    rec = Record("a.input", synapse, synapse.weight.detach(), X, nothing, nothing, nothing, {"v": u}, dt)
    return rule.update(rec, {}, {} if state is None else state)


# ---------------------------------------------------------------------------------------------- the rule
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dt", (1.0, 0.5))
def test_dense_equals_a_loop_over_synapses(name, dt):
    X, u = spikes(4), potentials(3)
    want = brute(RULES[name], X, u, dt)
    got = update(RULES[name], dense(4, 3), X, u, dt=dt)
    assert want.abs().min() > 1e-5
    assert (got - want).abs().max() < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_conv_equals_dense_on_its_patches(name):
    X, u = spikes(2, 5, 5), potentials(3, 3, 3)
    got = update(RULES[name], nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), X, u)
    patches = F.unfold(X.flatten(0, 1), 3, stride=2, padding=1).reshape(STEPS, LANES, 18, 9)  # each place a lane
    x, v = patches.permute(0, 1, 3, 2).flatten(1, 2), u.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
    assert (got.flatten(1) - update(RULES[name], dense(18, 3), x, v)).abs().max() < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_chunks_with_carried_state_are_one_long_trial(name):
    lanes = 1 if name == "homeostasis" else LANES  # pooled between trials
    synapse, X, u, state = dense(4, 3), spikes(4)[:, :lanes], potentials(3)[:, :lanes], {}
    whole, cuts = update(RULES[name], synapse, X, u), (0, 1, 2, 3, 5, 20, 21, STEPS)
    parts = [update(RULES[name], synapse, X[a:b], u[a:b], state) for a, b in zip(cuts, cuts[1:])]
    assert (sum(parts) - whole).abs().max() < 1e-14


@pytest.mark.parametrize("name", RULES)
def test_a_batch_is_the_sum_of_its_samples(name):
    synapse, X, u = dense(4, 3), spikes(4), potentials(3)
    singles = [update(RULES[name], synapse, X[:, b : b + 1], u[:, b : b + 1]) for b in range(LANES)]
    assert (sum(singles) - update(RULES[name], synapse, X, u)).abs().max() < 1e-14


def test_spans_of_a_long_trial_are_the_whole(monkeypatch):
    synapse, X, u = dense(4, 3), spikes(4), potentials(3)
    whole = update(RULES["delay"], synapse, X, u)
    monkeypatch.setattr("neurosim.rules.clopath.BLOCK", 7 * LANES * 4)
    assert (update(RULES["delay"], synapse, X, u) - whole).abs().max() < 1e-14


def test_homeostasis_starts_every_lane_of_the_next_trial_from_the_mean():
    synapse, X, u, state = dense(4, 3), spikes(4), potentials(3), {}
    update(HOMEOSTASIS, synapse, X, u, state)
    bar = torch.full((LANES, 3), HOMEOSTASIS.u_ref)
    for v in u:
        bar = bar + (v - HOMEOSTASIS.theta_minus - bar) * (1 - math.exp(-1 / HOMEOSTASIS.tau_bar))
    assert (state["ubar_bar"] - bar.mean(0)).abs().max() < 1e-12 and state["ubar_bar"].shape == (1, 3)


def test_forget_clears_all_but_the_homeostat():
    synapse, X, u, state = dense(4, 3), spikes(4), potentials(3), {}
    rule = replace(RULES["delay"], forget=True)
    first = update(rule, synapse, X, u, state)
    assert not state and (update(rule, synapse, X[:, :2], u[:, :2], state) - first).abs().max() > 1e-6
    assert (update(rule, synapse, X, u, state) - first).abs().max() == 0
    update(replace(HOMEOSTASIS, forget=True), synapse, X, u, state)
    assert set(state) == {"ubar_bar"}


@pytest.mark.parametrize("rule", (*RULES.values(), Clopath(forget=True)), ids=(*RULES, "forget"))
def test_contract(rule):
    check_rule(rule)


@pytest.mark.parametrize("rate", (10.0, 50.0))
def test_a_clamped_potential_in_closed_form(rate):
    """u constant for long: every pre spike adds -A_LTD [u - theta_minus]+ + A_LTP [u - theta_plus]+ [u - theta_minus]+."""
    X = torch.zeros(500 + 10 * round(1000 / rate) + 300, 1, 1)
    X[500 : 500 + 10 * round(1000 / rate) : round(1000 / rate)] = 1
    r = Clopath()
    for u in (-80.0, -60.0, -20.0):
        minus, plus = max(0.0, u - r.theta_minus), max(0.0, u - r.theta_plus)
        want = X.sum().item() * (-r.A_LTD * minus + r.A_LTP * plus * minus)
        got = update(r, dense(1, 1), X, torch.full_like(X, u)).item()
        assert got == pytest.approx(want, abs=1e-12, rel=1e-9)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Clopath(A_LTD=-1.0), "A_LTD: given -1.0"),
        (lambda: Clopath(A_LTP=math.nan), "A_LTP: given nan"),
        (lambda: Clopath(A_LTP=math.inf), "A_LTP: given inf, an amplitude is finite"),
        (lambda: Clopath(theta_minus=math.nan), "theta_minus: given nan, a threshold must be a finite number of mV"),
        (lambda: Clopath(theta_plus=-math.inf), "theta_plus: given -inf"),
        (lambda: Clopath(delay=math.nan), "delay: given nan, it must be a finite number of ms"),
        (lambda: Clopath(delay=math.inf), "delay: given inf"),
        (lambda: Clopath(tau_x=0.0), "tau_x: given 0.0"),
        (lambda: Clopath(tau_bar=-5.0), "tau_bar: given -5.0"),
        (lambda: Clopath(delay=-1.0), "delay: given -1.0"),
        (lambda: Clopath(u_ref=0.0), "u_ref: given 0.0"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_records_are_refused():
    synapse, X, u, state = dense(4, 3), spikes(4), potentials(3), {}
    with pytest.raises(ValueError, match="less than the step dt = 8.0 ms: times are in ms"):
        update(Clopath(), synapse, X, u, dt=8.0)
    with pytest.raises(ValueError, match="Batch\\(dt=...\\)"):
        update(Clopath(), synapse, X, u, dt=None)
    with pytest.raises(ValueError, match="no train of spikes"):
        update(Clopath(), synapse, 2 * X, u)
    with pytest.raises(ValueError, match="expected \\[T, B, N\\]"):
        update(Clopath(), synapse, X[0], u[0])
    update(Clopath(), synapse, X, u, state)
    with pytest.raises(ValueError, match="left by 3 lanes cannot start 2"):
        update(Clopath(), synapse, X[:, :2], u[:, :2], state)
    rec = Record("a.input", synapse, synapse.weight, X, u, u, u, {"a": u}, 1.0)
    with pytest.raises(ValueError, match="state v has none"):
        Clopath().update(rec, {}, {})


def test_it_reads_the_potential_of_a_net_s_neuron():
    net = nn.Sequential(Layer(dense(4, 3), Potential()))
    X = spikes(4)
    rec = play(net, Batch(X, time=True, dt=1.0)).records["0.input"]
    want = brute(Clopath(), X, rec.state["v"], 1.0)
    assert (Clopath().update(rec, {}, {}) - want).abs().max() < 1e-12


class Potential:
    """v = -60 + 20 u: a neuron whose potential is its input."""

    memory = False

    def step(self, s, u, dt):
        return {"v": -60 + 20 * u}

    def out(self, s):
        return (s["v"] > 0).to(s["v"].dtype)


# ---------------------------------------------------------------------------------------------- the study
def pairing(period, lag, groups, every, b=0.0805):
    """The authors' protocol in one loop, Euler steps of 1 ms: dw / w0 (w0 = 0.5)."""
    length = max(5 * period + 11, every)
    pre_at = {g * length + 10 + k * period for g in range(groups) for k in range(5)}
    post_at = {g * length + 10 + lag + k * period for g in range(groups) for k in range(6 if lag < 0 else 5)}
    u, w_ad, z, V_T, since = -70.6, 0.0, 0.0, -50.4, 99  # since: steps since the last spike began
    r, w, minus, plus = 0.0, 0.0, [-70.6] * 4, [-70.6] * 4
    for t in range(3, groups * length):
        if since == 2:
            u, w_ad, z, V_T = -70.6 + 15 + 6.0984, w_ad + b, 400.0, -30.4
        drift = -30 * (u + 70.6) + 60 * math.exp((u - V_T) / 2) - w_ad + z + 1e6 * (t in post_at)
        pull = (4 * (u + 70.6) - w_ad) / 144
        z, V_T, since = z * (1 - 1 / 40), V_T + (-50.4 - V_T) / 50, since + 1
        if since == 2:
            u = 32.862
        else:
            u, w_ad = u + drift / 281, w_ad + pull
            if u > 20:
                u, since = 29.4, 1
        if t in pre_at:
            w -= 14e-5 * max(0.0, minus[-4] + 70.6)
        w += 8e-5 * max(0.0, u + 45.3) * r * max(0.0, plus[-4] + 70.6)
        r += ((t in pre_at) - r) / 15
        minus.append(minus[-1] + (u - minus[-1]) / 10)
        plus.append(plus[-1] + (u - plus[-1]) / 7)
    return w / 0.5


@pytest.fixture
def study():
    load_study("clopath_frequency")
    return sys.modules["studies.clopath_frequency"]


SHORT = 600  # ms between groups: not yet at rest, all the better


@pytest.mark.parametrize("lag", (10, -10))
def test_the_study_equals_a_plain_loop(study, lag):
    cases = [(study.Neuron(), study.authors_trains(rate, lag, SHORT)) for rate in (10, 50)]
    want = [pairing(round(1000 / rate), lag, 15, SHORT) for rate in (10, 50)]
    assert study.changes(study.AS_PUBLISHED, cases) == pytest.approx(want, abs=1e-10)


def test_pairs_at_the_lowest_rate_equal_a_plain_loop(study):
    cases = [(study.Neuron(), study.authors_trains(0.1, lag, SHORT // 2)) for lag in (10, -10)]
    want = [pairing(SHORT // 2, lag, 10, SHORT // 2) for lag in (10, -10)]
    assert study.changes(study.AS_PUBLISHED, cases) == pytest.approx(want, abs=1e-10)


def test_the_plain_loop_gives_what_the_authors_code_gives_and_the_error(study):
    square = []
    for lag in study.LAGS:
        got = [pairing(1000, lag, 10, 1000), *(pairing(round(1000 / rate), lag, 15, 1000) for rate in study.RATES[1:])]
        assert got == pytest.approx(study.TRANSCRIBED[lag], abs=6e-4)
        square += [((d - v) / s) ** 2 for d, v, s in zip(study.DATA[lag], got, study.SEM[lag])]
    assert sum(square) / 10 == pytest.approx(study.E_LOOP, abs=5e-4)


def test_trains_of_the_authors_and_clean_ones(study):
    pre, post = study.authors_trains(50, -10)
    assert len(pre) == 15 * 10_000 - 3 and pre.sum() == 75 and post.sum() == 15 * 6 - 1  # the first is not delivered
    pre, post = study.authors_trains(0.1, 10)
    assert len(pre) == 10 * 50_011 - 3 and pre.sum() == post.sum() == 50
    for rate, pairs in ((0.1, 50), (50, 75)):
        pre, post = study.clean_trains(rate, -10)
        assert pre.sum() == post.sum() == pairs and (pre.nonzero() - post.nonzero() == 10).all()


def test_error_by_hand(study):
    rows = [{"recipe": "a", "quantity": "dw / w0", "data": 1.0, "value": v, "sem": 0.5} for v in (1.0, 2.0)]
    assert study.error(rows, "a") == 2.0


def test_the_figure_shows_the_model_and_the_data_alone(study):
    curve, _ = study.draw(*load("clopath_frequency")).axes
    points = [
        line.get_ydata()
        for line in curve.lines
        if line.get_linestyle() == "None" and line.get_marker() in ("o", "s", "x")
    ]
    assert [list(y) for y in points] == [list(study.DATA[lag]) for lag in study.LAGS]
