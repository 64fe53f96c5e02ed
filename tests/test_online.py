"""`Online` against the trial of one step, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from neurosim.plasticity import Record, Unsupported
from neurosim.rules import SpikeRule, Term, Trace, pair
from neurosim.rules.online import Online
from tests.engine_nets import RULES, SIGNALS

TWO_POWERS = replace(  # one eligibility, filled in two ways
    RULES["modulated"],
    terms=tuple(
        replace(m, gate=m.gate and "dopamine", tau_e=200.0, weight=w)
        for m in RULES["modulated"].terms
        for w in (None, RULES["multiplicative"].terms[0].weight)
    ),
)
MORE = {
    "two powers": TWO_POWERS,
    "nothing of post": SpikeRule(
        {"r1": Trace("pre", 20.0, start=0.3)}, (Term(-0.01, ("pre", "r1"), "dopamine", 90.0),)
    ),
    "nothing of pre": SpikeRule({"o1": Trace("post", 20.0)}, (Term(-0.01, ("post", "o1")), Term(0.02, ("post",)))),
    "two of one pre side": SpikeRule(
        {"o1": Trace("post", 20.0)},
        (Term(-0.01, ("pre", "o1"), "dopamine", 90.0), Term(0.03, ("post", "pre"), "dopamine", 90.0)),
    ),
    "none of one": SpikeRule(
        {"r1": Trace("pre", 20.0), "o1": Trace("post", 20.0)},
        (Term(0.0, ("post", "r1"), "dopamine", 90.0), Term(0.03, ("post", "r1", "o1"), "dopamine", 90.0)),
    ),
    "at once": SpikeRule({}, (Term(0.01, ("pre", "post"), "dopamine", 30.0), Term(0.02, ("post", "pre")))),
}


@pytest.mark.parametrize(("lanes", "told_to"), ((1, 1), (1, 5), (3, 1), (3, 5)))
@pytest.mark.parametrize("name", [*RULES, *MORE])
def test_a_step_is_a_trial_of_one_step(name, lanes, told_to):
    """60 steps: weights, traces and eligibility as `update` has them, third factors of a lane and of a neuron."""
    rule = replace((RULES | MORE)[name], per_lane=True)
    if any(t.pooled for t in rule.traces.values()):
        rule = replace(rule, traces={n: replace(t, pooled=False) for n, t in rule.traces.items()})
    w, synapse, state = torch.rand(5, 7), nn.Linear(7, 5, bias=False), {}
    w = w.clamp(0.1, 0.9)
    first, online = w.clone(), Online(rule, w.clone(), 0.5, lanes, 0.1, 0.9)
    for t in range(60):
        pre, post = (torch.rand(lanes, 7) < 0.3).double(), (torch.rand(lanes, 5) < 0.3).double()
        told = {n: torch.randn(lanes, told_to) for n in SIGNALS if n in rule.reads}
        rec = Record("s", synapse, w, pre[None], post[None], post[None], post[None], {}, 0.5)
        w = (w + rule.update(rec, {n: m[None] for n, m in told.items()}, state)).clamp(0.1, 0.9)
        online.step(pre, post, told)
        assert (online.weight - w).abs().max() < 1e-12, t
    for n, z in online.traces.items():
        assert (z - state[n]).abs().max() < 1e-12
    for (gate, tau_e), e in online.eligibility.items():
        assert (e - state[f"e_{gate}_{tau_e:g}"]).abs().max() < 1e-12
    assert (w - first).abs().max() > 0.01 and len(online.eligibility) == len(
        {(m.gate, m.tau_e) for m in rule.terms if m.gate}
    )


def test_the_given_weight_is_changed_and_no_bound_is_none():
    w = torch.zeros(2, 3)
    online = Online(pair(0.1, 0.1), w, 1.0)
    for _ in range(3):
        online.step(torch.ones(1, 3), torch.ones(1, 2))
    assert online.weight is w and w.max() > 0.1


def stepped(rule=RULES["modulated"], pre=(1, 3), post=(1, 2), dtype=None, **told):
    """One step of a layer of 3 and 2, of trains of these shapes."""
    third = {n: torch.zeros(shape) for n, shape in told.items()}
    Online(rule, torch.zeros(2, 3), 1.0).step(torch.zeros(pre), torch.zeros(post, dtype=dtype), third)


@pytest.mark.parametrize(("make", "message"), (
    (lambda: Online(pair(), torch.zeros(3), 1.0), r"weight: given \[3\], expected a tensor \[post, pre\]"),
    (lambda: Online(pair(), torch.zeros(3, 2).T, 1.0), "weight: given a view that is not contiguous"),
    (lambda: Online(pair(), torch.zeros(2, 3), 1.0, 0), "lanes: given 0, at least 1"),
    (lambda: Online(pair(), torch.full((2, 3), 0.5), 1.0, 1, 0.0, 0.1), "weight: given 0.5 to 0.5, it must lie within w_min"),
    (lambda: Online(pair(), torch.zeros(2, 3), 1.0, 1, 1.0, 0.0), "w_min: given 1.0, above w_max = 0.0"),
    (lambda: Online(pair(), torch.zeros(2, 3), 50.0), "tau_plus: given .* ms, less than the step dt = 50.0 ms"),
    (lambda: stepped(pre=(1, 2)), r"pre: given \[1, 2\] .*, expected \[1, 3\]"),
    (lambda: stepped(dtype=torch.float32), "post: given .* of torch.float32"),
    (lambda: stepped(dopamine=(1, 1)), "told: 'acetylcholine', which the rule reads, is not among"),
    (lambda: stepped(dopamine=(1,), acetylcholine=(1, 1)), r"dopamine: given the shape \[1\], expected \[1, 1\] or \[1, 2\]"),
))  # fmt: skip
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_it_does_not_run_is_said():
    trace = Trace("pre", 20.0, clock="width")
    with pytest.raises(Unsupported, match="rule: r1 has a time constant that varies"):
        Online(SpikeRule({"r1": trace}, (Term(1.0, ("post", "r1")),)), torch.zeros(2, 3), 1.0)
    with pytest.raises(Unsupported, match="rule: its `forget` clears all at a trial's end"):
        Online(replace(pair(), forget=True), torch.zeros(2, 3), 1.0)
    with pytest.raises(Unsupported, match="rule: r1 is pooled over a batch"):
        Online(SpikeRule({"r1": Trace("pre", 20.0, pooled=True)}, (Term(1.0, ("post", "r1")),)), torch.zeros(2, 3), 1.0)
