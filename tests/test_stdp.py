"""Spike rules as data against a brute-force integration: one synapse, one step, one spike at a time, plain floats."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import NoCredit
from neurosim.plasticity import Batch, Layer, Record, Unsupported, play
from neurosim.rules import (
    Power,
    SpikeRule,
    Term,
    Trace,
    inhibitory,
    morrison,
    multiplicative,
    pair,
    symmetric,
    triplet,
    van_rossum,
)
from tests.nets import Given, dense, learner, relative, updates
from tests.test_stdp_reference import record_of, shown, trains

STEPS, LANES = 120, 2


def brute(rule, pre, post, third, dt):
    """dW summed over lanes; decay, then pre spikes (which read the traces before their bump), then post spikes."""
    lanes, n_pre, n_post = pre.shape[1], pre.shape[2], post.shape[2]
    dw = torch.zeros(n_post, n_pre)
    for b in range(lanes):
        for j in range(n_post):
            for i in range(n_pre):
                dw[j, i] += one_synapse(rule, pre[:, b, i].tolist(), post[:, b, j].tolist(), lane(third, b), dt)
    return dw


def lane(third, b):
    return {k: v[:, b].tolist() for k, v in third.items()}


def one_synapse(rule, pre, post, third, dt):
    z, e, w = dict.fromkeys(rule.traces, 0.0), [0.0] * len(rule.terms), 0.0

    def bump(of, s):
        for n, t in rule.traces.items():
            if t.of == of:
                z[n] = (s if s else z[n]) if t.nearest else z[n] + s

    def event(side):
        for k, m in enumerate(rule.terms):
            if m.factors[0] == side:
                e[k] += m.gain * math.prod(z[f] for f in m.factors[1:])

    for t in range(len(pre)):
        for n, trace in rule.traces.items():
            z[n] *= math.exp(-dt / trace.tau)
        for k, m in enumerate(rule.terms):
            e[k] *= math.exp(-dt / m.tau_e) if m.gate else 0.0
        for kind, values in third.items():
            bump(kind, values[t])
        if pre[t]:
            event("pre")
        bump("pre", pre[t])
        if post[t]:
            event("post")
        bump("post", post[t])
        for k, m in enumerate(rule.terms):
            w += e[k] * (z[m.gate] if m.gate in z else third[m.gate][t]) * dt if m.gate else e[k]
    return w


PAIR = (Term(0.01, ("post", "r1")), Term(-0.012, ("pre", "o1")))
TRACES = {"r1": Trace("pre", 17.0), "o1": Trace("post", 34.0)}
TRIPLET = {**TRACES, "r2": Trace("pre", 101.0), "o2": Trace("post", 114.0)}
RULES = {
    "pair": pair(0.01, 0.012, 17.0, 34.0),
    "nearest pair": pair(0.01, 0.012, 17.0, 34.0, nearest=True),
    "triplet": SpikeRule(TRIPLET, (*PAIR, Term(6e-3, ("post", "r1", "o2")), Term(-2e-3, ("pre", "o1", "r2")))),
    "two modulators": SpikeRule(
        TRACES,
        (Term(0.01, ("post", "r1"), "dopamine", 400.0), Term(-0.012, ("pre", "o1"), "acetylcholine", 150.0)),
        forget=True,
    ),
    "two modulators with traces": SpikeRule(
        {**TRACES, "D": Trace("dopamine", 50.0), "A": Trace("acetylcholine", 20.0)},
        (Term(0.01, ("post", "r1"), "D", 400.0), Term(-0.012, ("pre", "o1"), "A", 150.0)),
        forget=True,
    ),
}


def spikes(*shape):
    s = (torch.rand(STEPS, LANES, *shape) < 0.15).double()
    s[::9] = 1  # forced ties of pre and post
    return s


def modulators():
    return {"dopamine": (torch.rand(STEPS, LANES) < 0.05).double(), "acetylcholine": torch.rand(STEPS, LANES) - 0.3}


def net_of(synapse, post):
    net = nn.Sequential(Layer(synapse, Given()))
    net[0].neuron.spikes = post
    return net


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dt", (1.0, 0.5))
def test_dense_equals_a_loop_over_synapses(name, dt):
    pre, post, third = spikes(4), spikes(3), modulators()
    batch = Batch(pre, time=True, dt=dt, signals=third)
    got = updates(net_of(dense(4, 3), post), batch, NoCredit(), RULES[name])
    want = brute(RULES[name], pre, post, third if "mod" in name else {}, dt) / LANES
    assert want.abs().min() > 1e-6
    assert relative(got, {"0.input": want}) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_conv_equals_a_loop_over_synapses_and_places(name):
    pre, post, third = spikes(2, 5, 5), spikes(3, 3, 3), modulators()
    net = net_of(nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), post)
    got = updates(net, Batch(pre, time=True, dt=1.0, signals=third), NoCredit(), RULES[name])["0.input"]
    patches = F.unfold(pre.flatten(0, 1), 3, stride=2, padding=1).reshape(STEPS, LANES, 18, 9)  # each place a lane
    x = patches.permute(0, 1, 3, 2).flatten(1, 2)
    y = post.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
    by_place = {k: v.repeat_interleave(9, 1) for k, v in third.items()}
    want = brute(RULES[name], x, y, by_place if "mod" in name else {}, 1.0) / LANES
    assert relative({"w": got.flatten(1)}, {"w": want}) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_one_step_trials_with_carried_state_are_one_long_trial(name):
    rule = RULES[name]
    rule = SpikeRule(rule.traces, rule.terms)  # eligibility outlives the trial
    lanes = 1 if "mod" in name else LANES
    pre, post, third = spikes(4)[:, :lanes], spikes(3)[:, :lanes], {k: v[:, :lanes] for k, v in modulators().items()}

    def show(net, t):
        net[0].neuron.spikes = post[t]
        return Batch(pre[t], time=True, dt=1.0, signals={k: v[t] for k, v in third.items()})

    net = net_of(dense(4, 3), post)
    L = learner(net, show(net, slice(None)), NoCredit(), rule, lr=0.0)
    whole = L.updates(show(net, slice(None)))
    parts = [L.step(show(net, slice(t, t + 1)))["0.input"] for t in range(STEPS)]
    assert relative({"0.input": sum(parts)}, whole) < 1e-12


def test_a_pair_10_ms_apart_is_exact():
    """tau 20 ms, 10 ms apart: exp(-1/2) = .6065, at any step length; a coincident pair potentiates by A_plus."""
    for dt, gap in ((1.0, 10), (0.1, 100), (2.5, 4)):
        for lag, want in ((gap, 0.01 * math.exp(-0.5)), (-gap, -0.0105 * math.exp(-0.5)), (0, 0.01)):
            pre, post = torch.zeros(300, 1, 1), torch.zeros(300, 1, 1)
            pre[150], post[150 + lag] = 1, 1
            got = updates(net_of(dense(1, 1), post), Batch(pre, time=True, dt=dt), NoCredit(), pair())["0.input"].item()
            assert got == pytest.approx(want, rel=1e-12)


def test_left_over_eligibility_is_not_dropped_silently():
    post, rule = spikes(3), RULES["two modulators"]
    net, batch = net_of(dense(4, 3), post), Batch(spikes(4), time=True, dt=1.0, signals=modulators())
    with pytest.raises(Unsupported, match="one dense lane only"):
        updates(net, batch, NoCredit(), SpikeRule(rule.traces, rule.terms))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Trace("pre", -1.0), "tau: given -1.0"),
        (lambda: Term(1.0, ("r1", "post")), "factors: given"),
        (lambda: Term(1.0, ("post", "r1"), "dopamine", 0.0), "tau_e: given 0.0"),
        (lambda: pair(tau_plus=-20.0), "tau_plus: given -20.0"),
        (lambda: Batch(torch.zeros(1), dt=-1.0), "dt: given -1.0"),
    ],
)
def test_bad_times_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_trace_needs_the_length_of_a_step():
    net, batch = net_of(dense(4, 3), spikes(3)), Batch(spikes(4), time=True)
    with pytest.raises(ValueError, match="Batch\\(dt=...\\)"):
        updates(net, batch, NoCredit(), pair())
    assert play(net, batch).output.shape == (STEPS, LANES, 3)


# ---------------------------------------------------------------------------------------------- messages
def convolved(pre, post):
    synapse = nn.Conv1d(2, 4, 2)
    x, y = (torch.zeros(5, 1, *shape) for shape in (pre, post))
    rec = Record("it", synapse, synapse.weight.detach(), x, u=y, post=y, slope=y, state={}, dt=1.0)
    return pair().update(rec, {}, {})


def gated(tau_e):
    return SpikeRule({"r1": Trace("pre", 20.0)}, (Term(1.0, ("post", "r1"), "DA", tau_e),), forget=True)


DOPAMINE = {"DA": torch.ones(1, 1, 1)}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: morrison(lam=-0.1), "lam: given -0.1"),
        (lambda: morrison(alpha=-1.0), "alpha: given -1.0"),
        (lambda: van_rossum(c_p=-1.0), "c_p: given -1.0"),
        (lambda: van_rossum(c_d=-1.0), "c_d: given -1.0"),
        (lambda: multiplicative(w_max=-1.0), "w_max: given -1.0, the largest weight"),
        (lambda: inhibitory(tau=-5.0), "tau: given -5.0"),
        (lambda: symmetric(tau=0.0), "tau: given 0.0"),
        (lambda: pair(A_plus=float("inf")), "A_plus: given inf, an amplitude is finite"),
        (lambda: Term(float("nan"), ("post", "r1")), "gain: given nan"),
        (lambda: Trace("pre", 20.0, bump=float("nan")), "bump: given nan"),
        (lambda: Power(1.0, w_max=float("nan")), "w_max: given nan"),
        (
            lambda: shown(pair(), trains(1), trains(2), of=(2, 3)),
            r"pre has the shape .*, expected \[T, B, N\] with N = 3",
        ),
        (lambda: shown(pair(), trains(3), trains(1), of=(2, 3)), r"post has the shape .* with N = 2"),
        (lambda: shown(pair(), trains(3)[:0], trains(2)[:0]), r"expected \[T, B, N\] with a step and a lane"),
        (lambda: shown(pair(), trains(3)[:, :0], trains(2)[:, :0]), "with a step and a lane"),
        (lambda: shown(pair(), trains(3).bool(), trains(2).bool()), "pre is of torch.bool, expected the weight's type"),
        (lambda: shown(pair(), trains(3).long(), trains(2)), "pre is of torch.int64"),
        (lambda: shown(pair(), trains(3), trains(2).float()), "post is of torch.float32, .* torch.float64"),
        (lambda: shown(triplet(), trains(3).float(), trains(2).float()), "pre is of torch.float32"),
        (lambda: convolved((3, 7), (4, 6)), r"pre has the shape .*, expected \[T, B, \*unit\] with 2 channels"),
        (lambda: convolved((2, 7), (1, 6)), "post has the shape .* with 4 channels"),
        (lambda: shown(gated(0.5), trains(3), trains(2), third=DOPAMINE), "tau_e: given 0.5 ms, less than the step"),
        (
            lambda: shown(SpikeRule({}, (Term(1.0, ("post", "zz")),)), trains(3), trains(2)),
            "reads 'zz', which is no trace",
        ),
        (
            lambda: shown(SpikeRule(pair().traces, (Term(1.0, ("post", "r1"), gate="DA"),)), trains(3), trains(2)),
            "reads 'DA'",
        ),
    ],
)
def test_bad_input_names_what_the_user_gave(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_state_of_one_lane_is_not_spread_over_two():
    state = {}
    pair().update(record_of(trains(3)[:, :1], trains(2)[:, :1]), {}, state)
    with pytest.raises(ValueError, match="left by 1 lanes cannot start 2"):
        pair().update(record_of(trains(3), trains(2)), {}, state)
