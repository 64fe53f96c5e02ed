"""The study speed_modulated: what it compares, claims and figure, without the peer; eligibility lane by lane."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from neurosim import figures
from neurosim.plasticity import Record, Unsupported
from neurosim.rules import Power, SpikeRule, Term, Trace
from neurosim.study import Mode, load_study

study = load_study("speed_modulated")
globals_of = study.run.__globals__


def of(name):
    return globals_of[name]


def trains(steps, lanes, n):
    return (torch.rand(steps, lanes, n) < 0.2).double()


def in_trials(rule, pre, post, third, lengths, weight):
    """The sum of dW over trials, the state carried from each to the next."""
    synapse, state, dw = nn.Linear(pre.shape[2], post.shape[2], bias=False), {}, 0
    some = zip(*(x.split(lengths) for x in (pre, post, *third.values())), strict=True)
    for x, y, *told in some:
        rec = Record("s", synapse, weight, x, y, y, y, {}, dt=1.0)
        dw = dw + rule.update(rec, dict(zip(third, told, strict=True)), state)
    return dw, state


# ---------------------------------------------------------------------------------------------- the comparison
@pytest.mark.parametrize("window", (1, 25))
def test_the_rule_is_the_peers(window, monkeypatch):
    """BindsNET's step, written out with a tensor [B, post, pre]."""
    monkeypatch.setitem(globals_of, "PRE", 5)
    monkeypatch.setitem(globals_of, "POST", 4)
    pre, post, reward = trains(100, 3, 5), trains(100, 3, 4), torch.randn(100, 3, 1)
    x, y, z, want = torch.zeros(3, 5), torch.zeros(3, 4), torch.zeros(3, 4, 5), torch.zeros(4, 5)
    for s, o, R in zip(pre, post, reward, strict=True):
        x = x * math.exp(-1 / of("TAU")) + of("A_PLUS") * s
        y = y * math.exp(-1 / of("TAU")) - of("A_MINUS") * o
        point = o[:, :, None] * x[:, None] + y[:, :, None] * s[:, None]
        z = z * math.exp(-1 / of("TAU_E")) + point / of("TAU_E")
        want = want + of("NU") * (R[..., None] * z).sum(0)
    seconds, got = of("ours")(window, pre, post, reward)
    assert seconds > 0 and (got - want).norm() / want.norm() < 1e-12


def test_both_sides_are_given_the_stated_trains():
    pre, post, reward = of("given")(50, 16, 0)
    assert (pre.shape, post.shape, reward.shape) == ((50, 16, 784), (50, 16, 100), (50, 16, 1))
    assert pre.mean().item() == pytest.approx(of("RATE"), rel=0.05)
    assert reward.std().item() == pytest.approx(1, abs=0.1)


def made_up(speeds):
    """Rows in which ours does speeds[window] steps a second and the peer 1 or, once, 100."""
    rows = []
    for batch in (1, 16):
        for seed, peer in enumerate((1.0, 1.0, 100.0)):
            at = {"seed": seed, "layer": batch}
            rows += [at | {"recipe": str(k), "quantity": of("SPEED"), "value": v} for k, v in speeds.items()]
            rows.append(at | {"recipe": "BindsNET", "quantity": of("SPEED"), "value": peer})
            rows.append(at | {"recipe": "1", "quantity": of("APART"), "value": 1e-6 if seed else 1e-3})
    return rows


def test_the_claims_hold_the_ratio_of_medians_and_the_worst_difference():
    rows = made_up({1: 3.5, 50: 15.0})
    holds = {c["name"]: (c["got"], c["holds"]) for c in of("claims_of")(rows)}
    assert holds["batch 1, weights written every 50 steps: ratio of medians"] == (15.0, True)
    assert holds["batch 16, weights written every 50 steps: ratio of medians"] == (15.0, False)
    assert holds["batch 1, weights written every 1 steps: ratio of medians"] == (3.5, True)
    assert holds["batch 16, weights written every 1 steps: ratio of medians"] == (3.5, False)
    assert holds["batch 1: relative difference of the weights"] == (1e-3, False)
    assert len(holds) == 6 and study.draw(rows, {}).axes


def test_the_peer_must_be_named_and_must_start(monkeypatch):
    with pytest.raises(ValueError, match="--peer-python: not given"):
        study.run(Mode(seeds=1))
    monkeypatch.setitem(globals_of, "PEER_PYTHON", sys.executable)
    monkeypatch.setitem(globals_of, "peer_program", "print('no such module')")
    with pytest.raises(ValueError, match="cannot import BindsNET's MSTDPET"):
        study.run(Mode(seeds=1))


# ---------------------------------------------------------------------------------------------- eligibility lane by lane
told = {"gate": "DA", "tau_e": 40.0}
RULES = {
    "pair": of("rule"),
    "triplet, weights, bumps": SpikeRule(
        {"r1": Trace("pre", 17.0, bump=1.5, start=0.3), "r2": Trace("pre", 60.0), "o1": Trace("post", 34.0)},
        (
            Term(0.01, ("post", "r1"), **told),
            Term(0.02, ("post", "r1", "o1"), weight=Power(0.5), **told),
            Term(-0.02, ("pre", "o1", "r2"), **told),
            Term(0.03, ("post", "r2"), gate="5HT", tau_e=90.0),
            Term(0.01, ("post", "r1")),
        ),
        per_lane=True,
    ),
    "nearest, a trace of the gate": SpikeRule(
        {"r1": Trace("pre", 17.0, nearest=True), "d": Trace("DA", 30.0)},
        (Term(0.01, ("post", "r1"), gate="d", tau_e=40.0),),
        per_lane=True,
    ),
}


@pytest.mark.parametrize("neurons", (1, 4), ids=("one gate", "a gate a neuron"))
@pytest.mark.parametrize("name", RULES)
def test_lanes_are_carried_each_on_its_own(name, neurons):
    """In trials of any lengths, the sum of what each lane alone gives in one long trial, which rules with B = 1 know."""
    pre, post, weight = trains(150, 3, 5), trains(150, 3, 4), torch.rand(4, 5)
    third = {k: torch.randn(150, 3, neurons) for k in ("DA", "5HT", "reward")}
    lengths = (1, 1, 26, 1, 70, 51)
    got, state = in_trials(RULES[name], pre, post, third, lengths, weight)
    alone = replace(RULES[name], per_lane=False)
    lanes = [[x[:, b : b + 1] for x in (pre, post, *third.values())] for b in range(3)]
    want = sum(in_trials(alone, x, y, dict(zip(third, c, strict=True)), 150, weight)[0] for x, y, *c in lanes)
    assert want.abs().min() > 1e-6
    assert (got - want).norm() / want.norm() < 1e-12
    with pytest.raises(ValueError, match="left by 3 lanes cannot start 2"):
        x, y = trains(2, 2, 5), trains(2, 2, 4)
        rec = Record("s", nn.Linear(5, 4, bias=False), weight, x, y, y, y, {}, dt=1.0)
        RULES[name].update(rec, {k: v[:2, :2] for k, v in third.items()}, state)


def test_an_update_leaves_the_state_it_was_given_as_it_was():
    pre, post, third = trains(3, 2, 5), trains(3, 2, 4), {"reward": torch.randn(3, 2, 1)}
    synapse, state = nn.Linear(5, 4, bias=False), {}
    for t in range(3):
        rec = Record("s", synapse, torch.zeros(4, 5), *(x[t : t + 1] for x in (pre, post, post, post)), {}, dt=1.0)
        before = {k: v.clone() for k, v in state.items()}
        again = dict(state)
        first, second = (
            of("rule").update(rec, {"reward": third["reward"][t : t + 1]}, s) for s in (dict(state), state)
        )
        assert torch.equal(first, second) and all(torch.equal(again[k], v) for k, v in before.items())


def test_a_convolution_has_no_eligibility_of_that_shape():
    x, y = torch.zeros(2, 2, 1, 4, 4), torch.zeros(2, 2, 3, 3, 3)
    synapse = nn.Conv2d(1, 3, 2, bias=False)
    rec = Record("s", synapse, synapse.weight.detach(), x, y, y, y, {}, dt=1.0)
    with pytest.raises(Unsupported, match=r"use B = 1, or .*forget=True.*per_lane=True"):
        of("rule").update(rec, {"reward": torch.zeros(2, 2, 1, 1, 1)}, {})


def test_the_committed_figure_is_drawn_again_from_its_files():
    rows, manifest = figures.load("speed_modulated", Path(__file__).parents[1] / "figures")
    again = {c["name"]: c["got"] for c in globals_of["claims_of"](rows)}
    assert again == pytest.approx({c["name"]: c["got"] for c in manifest["claims"]}, abs=0.006)
    assert study.draw(rows, manifest).axes
