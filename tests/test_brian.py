"""Rules against Brian2: the same trains, the two sides written by different people. Neurons: test_brian_neurons.py."""

import gc
import math
import sys
import tempfile
from dataclasses import replace

import pytest
import torch
from torch import nn

from neurosim.brian import neuron_code, run_neuron, run_rule, script, synapse_code
from neurosim.neurons import scan
from neurosim.plasticity import Record, Unsupported
from neurosim.rules import ALL, PFISTER_GERSTNER, Power, SpikeRule, Term, Trace, multiplicative, pair, triplet
from neurosim.rules.modulation import Gain, Receptor, Tag, Width, reading, told
from neurosim.spiking import LIF

brian2 = pytest.importorskip("brian2")

TRACES = {"r1": Trace("pre", 17.0), "o1": Trace("post", 34.0)}
GATED = {
    "two modulators": SpikeRule(
        TRACES,
        (
            Term(0.01, ("post", "r1"), "dopamine", 400.0),
            Term(-0.012, ("pre", "o1"), "acetylcholine", 150.0),
            Term(0.002, ("pre", "dopamine")),
        ),
    ),
    "traces as gates": SpikeRule(
        {
            **TRACES,
            "slow": Trace("post", 60.0, bump=0.5, start=2.0),
            "D": Trace("dopamine", 50.0, bump=0.3),
            "A": Trace("acetylcholine", 20.0, nearest=True),
        },
        (
            Term(0.01, ("post", "r1"), "D", 400.0),
            Term(-0.012, ("pre", "o1"), "A", 150.0),
            Term(0.01, ("post", "r1"), "slow", 90.0),
        ),
    ),
}
SHIPPED = {n: r for n, r in ALL.items() if isinstance(r, SpikeRule)}
SETS = {n: s.rule() for n, s in PFISTER_GERSTNER.items() if s.rule() not in SHIPPED.values()}
WEIGHTED = {n: r for n, r in SHIPPED.items() if "weight" in r.reads}
ADDITIVE = {n: r for n, r in (SHIPPED | SETS | GATED).items() if n not in WEIGHTED}
T, DT = 400, 0.5


@pytest.fixture(autouse=True, scope="module")
def nothing_old_to_collect():
    """Brian2 collects garbage at every run, which takes longer than the run where much is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def numpy_target():
    before, dt = brian2.prefs.codegen.target, brian2.defaultclock.dt
    brian2.prefs.codegen.target = "numpy"
    yield
    brian2.prefs.codegen.target, brian2.defaultclock.dt = before, dt


# ---------------------------------------------------------------------------------------------- trains
def poisson(n, rate=60.0, steps=T, dt=DT):
    return (torch.rand(steps, n) < rate * dt / 1000).double()


def by_hand(*steps):
    x = torch.zeros(T, 1)
    x[list(steps)] = 1
    return x


def pre_trains():
    """Five lanes: Poisson; ties with every post lane in the first step, in the last and between; one spike after another."""
    return torch.cat([poisson(3), by_hand(0, 50, 51, 52, 200, T - 1), by_hand(*range(0, T, 7))], 1)


def post_trains():
    return torch.cat([poisson(2), by_hand(0, 50, 52, 120, 200, 201, T - 1), by_hand(*range(0, T, 5))], 1)


def modulators(rule):
    return {n: (torch.rand(T, 4) < 0.2) * torch.rand(T, 4) for n in synapse_code(rule).third}


def on_tensors(rule, pre, post, w, dt=DT, third={}, state=None):
    """dW of one lane [T, N], by the package."""
    synapse = nn.Linear(w.shape[1], w.shape[0], bias=False)
    rec = Record("s", synapse, w, pre[:, None], post[:, None], post[:, None], torch.ones(()), {}, dt)
    return rule.update(rec, {n: m[:, None] for n, m in third.items()}, {} if state is None else state)


def off(got, want):
    """The largest relative error of a synapse."""
    assert want.abs().min() > 1e-9
    return ((got - want) / want).abs().max().item()


# ---------------------------------------------------------------------------------------------- rules
def test_every_rule_is_compared():
    assert len(SHIPPED) >= 12 and len(WEIGHTED) >= 3
    assert len(ADDITIVE) + len(WEIGHTED) == len(SHIPPED) + len(SETS) + len(GATED)
    assert all(s.rule() in (SHIPPED | SETS).values() for s in PFISTER_GERSTNER.values()) and len(PFISTER_GERSTNER) == 8


@pytest.mark.parametrize("name", ADDITIVE)
def test_an_additive_rule_changes_w_as_in_brian(name):
    rule, pre, post = ADDITIVE[name], pre_trains(), post_trains()
    third = modulators(rule)
    want = on_tensors(rule, pre, post, torch.zeros(4, 5), third=third)
    assert off(run_rule(rule, pre, post, torch.zeros(4, 5), DT, third), want) < 1e-12


def test_a_rule_that_reads_two_modulators_is_brians_eligibility():
    """Gains at the spikes and tags after them: every synapse's own de/dt in Brian2."""
    m1, beta = Receptor("M1", "acetylcholine", EC50=0.2, n=2.0), Receptor("beta", "noradrenaline", EC50=1.0)
    effects = (Gain(m1, "A3_plus", -2.0), Gain(beta, "A3_plus", 3.0), Gain(beta, "A2_minus", 0.5),
               Tag(m1, "A2_minus", 60.0, 0.05), Tag(beta, "A3_plus", 150.0, -0.02),
               Width(m1, "tau_plus", 0.8), Width(beta, "tau_minus", -0.5))  # fmt: skip
    rule, pre, post = reading(triplet(), effects), pre_trains(), post_trains()
    c = {n: (torch.rand(T, 1) < 0.1) * torch.rand(T, 1) for n in ("acetylcholine", "noradrenaline")}
    third = told(triplet(), effects, c)
    want = on_tensors(replace(rule, forget=True), pre, post, torch.zeros(4, 5), third=third)
    assert (
        off(run_rule(rule, pre, post, torch.zeros(4, 5), DT, {n: x.expand(T, 4) for n, x in third.items()}), want)
        < 1e-10
    )


@pytest.mark.parametrize("name", WEIGHTED)
def test_the_gap_of_a_weight_dependent_rule_halves_with_its_rate(name):
    """Weights are frozen within a trial on tensors and move in Brian2: dW differs in second order of the rate."""
    pre, post, w = pre_trains(), post_trains(), 0.3 + 0.4 * torch.rand(4, 5)
    gaps = []
    for rate in (1e-2, 5e-3):
        rule = WEIGHTED[name].scaled(rate)
        want = on_tensors(rule, pre, post, w)
        gaps.append(((run_rule(rule, pre, post, w, DT) - want).norm() / want.norm()).item())
    assert gaps[0] > 1e-6
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("name", WEIGHTED)
def test_one_step_trials_of_a_weight_dependent_rule_are_brian(name):
    """With the weights updated after each step the forms are equal, where pre and post do not spike in the same step."""
    rule, w, state = WEIGHTED[name], 0.3 + 0.4 * torch.rand(2, 2), {}
    pre, post = poisson(2, steps=200), poisson(2, 90.0, steps=200)
    pre[1::2], post[::2] = 0, 0
    now = w
    for t in range(200):
        now = now + on_tensors(rule, pre[t : t + 1], post[t : t + 1], now, state=state)
    assert off(run_rule(rule, pre, post, w, DT), now - w) < 1e-12


def test_one_to_one_is_the_diagonal_of_all_to_all():
    rule, pre, post = triplet(), poisson(4, dt=0.1), poisson(4, dt=0.1)
    pre[::40] = post[::40] = 1
    want = on_tensors(rule, pre, post, torch.zeros(4, 4), dt=0.1).diagonal()
    assert off(run_rule(rule, pre, post, torch.zeros(4), 0.1), want) < 1e-12


def test_pairs_in_brian_are_the_window_and_a_tie_potentiates():
    lags = (0, 20, -20)  # steps of .5 ms
    pre, post = torch.zeros(60, 3), torch.zeros(60, 3)
    for k, lag in enumerate(lags):
        pre[30, k] = post[30 + lag, k] = 1
    got = run_rule(pair(), pre, post, torch.zeros(3), 0.5)
    assert got.tolist() == pytest.approx([0.01, 0.01 * math.exp(-0.5), -0.0105 * math.exp(-0.5)], rel=1e-12)


def test_bounds_clip_w_at_every_spike():
    pre, post = torch.zeros(6, 2), torch.zeros(6, 2)
    pre[[1, 3]], post[[2, 4]] = 1, 1  # up .1, down .2, up .1 and more
    rule = SpikeRule({"r1": Trace("pre", 1e9), "o1": Trace("post", 1e9)}, pair(0.1, 0.2).terms)
    got = run_rule(rule, pre, post, torch.tensor([0.95, 0.05]), 1.0, w_min=0.0, w_max=1.0)
    # .95 -> 1 -> .8 -> 1,  .05 -> .15 -> 0 -> .2
    assert got.tolist() == pytest.approx([0.05, 0.15], abs=1e-8)


# ---------------------------------------------------------------------------------------------- printed
def test_triplet_is_printed_as_it_is_published():
    code = synapse_code(triplet(A2_plus=5e-3, A3_minus=1e-3), w_min=0.0, w_max=1.0)
    assert code.on_pre.split("\n") == ["w = clip(w - A2_minus*o1 - A3_minus*o1*r2, w_min, w_max)", "r1 += 1", "r2 += 1"]
    assert code.on_post.split("\n") == ["w = clip(w + A2_plus*r1 + A3_plus*r1*o2, w_min, w_max)", "o1 += 1", "o2 += 1"]
    assert code.model.split("\n")[1] == "dr1/dt = -r1/tau_plus : 1 (event-driven)"
    assert str(code.namespace["tau_plus"]) == "16.8*ms" and code.namespace["A3_plus"].value == 6.5e-3
    weighted = synapse_code(multiplicative(w_max=2.0, mu=0.5))
    assert weighted.on_post.startswith("w += A_plus*clip((w_max - w)/w0, 0, inf)**mu*r1\n")


def test_printing_needs_no_brian(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "brian2", None)
    assert "tau_plus = 16.8*ms" in script(triplet())
    assert neuron_code(LIF()).model == "dv/dt = (v_rest - v + u(t, i))/tau_m : volt"
    with pytest.raises(ImportError):
        run_rule(pair(), torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(1), 1.0)


@pytest.mark.parametrize("rule", (triplet(), ALL["homeostatic-triplet"], *GATED.values()))
def test_a_script_runs_as_it_is(rule):
    text = script(rule)
    assert "run(1*second)\n" in text and '# set_device("cpp_standalone"' in text
    found = {}
    exec(text.replace("1*second", "50*ms").replace("rates=20*Hz", "rates=200*Hz"), found)
    assert (found["synapses"].w[:] != 0.5).any() or "dopamine" in text  # the modulator comes after 500 ms


@pytest.mark.parametrize(
    "terms, traces, message",
    [
        ((Term(1.0, ("post", "pre")),), TRACES, "two events"),
        ((Term(1.0, ("post", "r1"), "post"),), TRACES, "gate: given 'post'"),
        ((Term(1.0, ("post", "r1"), "r1"),), TRACES, "gate: given 'r1'"),
        ((Term(1.0, ("post", "w")),), {"w": Trace("pre", 20.0)}, "the name 'w'"),
        ((Term(1.0, ("post", "r 1")),), {"r 1": Trace("pre", 20.0)}, "the name 'r 1'"),
        ((Term(1.0, ("post", "r1"), parameter="r1"),), TRACES, "r1 names two things"),
    ],
)
def test_what_cannot_be_printed_says_why(terms, traces, message):
    with pytest.raises(Unsupported, match=message):
        synapse_code(SpikeRule(traces, terms))


def test_constants_that_differ_have_names_that_differ():
    terms = tuple(Term(0.01, ("post", "r1"), weight=Power(mu), parameter="A_plus") for mu in (0.5, 2.0))
    code = synapse_code(SpikeRule(TRACES, terms))
    assert code.on_post.startswith("w += A_plus*clip(w, 0, inf)**mu*r1 + A_plus*clip(w, 0, inf)**mu_2*r1\n")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pre": torch.zeros(3, 2)}, "pre, post: given"),
        ({"post": torch.full((4, 2), 0.5)}, "post: given no train"),
        ({"w": torch.zeros(2, 3)}, "w: given the shape"),
        ({"dt": 0.0}, "dt: given 0.0"),
        ({"dt": 25.0}, "tau_plus: given 20.0 ms, less than the step dt = 25.0 ms"),
        (
            {"rule": SpikeRule(TRACES, (Term(1.0, ("post", "r1"), "DA", 0.5),))},
            "tau_e: given 0.5 ms, less than the step",
        ),
        ({"rule": GATED["two modulators"]}, "third: given"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    right = {"rule": pair(), "pre": torch.zeros(4, 2), "post": torch.zeros(4, 2), "w": torch.zeros(2), "dt": 1.0}
    with pytest.raises(ValueError, match=message):
        run_rule(**(right | change))


# ---------------------------------------------------------------------------------------------- Brian2 itself
def state_of_brian():
    devices = sys.modules["brian2.devices.device"]  # the package has a proxy of that name
    return brian2.prefs.as_file, devices.get_device(), len(devices.previous_devices), float(brian2.defaultclock.dt)


def test_brian_is_left_as_it_was():
    brian2.defaultclock.dt = 0.25 * brian2.ms
    before = state_of_brian()
    run_rule(pair(), torch.ones(4, 1), torch.ones(4, 1), torch.zeros(1), 1.0)
    run_neuron(LIF(), torch.ones(4, 1), 1.0)
    assert state_of_brian() == before


@pytest.mark.slow
def test_triplet_in_cpp_standalone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pre, post = pre_trains(), post_trains()
    want, before = on_tensors(triplet(), pre, post, torch.zeros(4, 5)), state_of_brian()
    for _ in range(2):
        assert off(run_rule(triplet(), pre, post, torch.zeros(4, 5), DT, standalone=True), want) < 1e-12
    neuron, u = LIF(refractory=2.3), 25 + 20 * torch.randn(200, 3)
    found = run_neuron(neuron, u, DT, standalone=True)
    y, states, _ = scan(neuron, u[:, None], DT)
    assert torch.equal(found.y, y[:, 0]) and y.sum() > 5
    assert (found.states["v"] - states["v"][:, 0]).abs().max() < 1e-10
    assert state_of_brian() == before
    assert not list(tmp_path.glob("neurosim_brian_*"))  # Brian2 keeps its log until it ends
    assert run_rule(pair(), torch.ones(4, 1), torch.ones(4, 1), torch.zeros(1), 1.0) > 0  # the runtime still works
