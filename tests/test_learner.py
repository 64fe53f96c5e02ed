"""The Learner: pure updates, steps, rates and optimisers by pattern, refusals."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from neurosim.credit import Backprop, DeltaRule, DirectFeedback, KolenPollack, NodePerturbation
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe, Unsupported, synapses
from neurosim.rules import EProp
from tests.nets import B, cases, ce, learner


def test_updates_change_nothing_and_noise_comes_from_seed_and_step():
    net, batch = cases()["mlp"]
    L = learner(net, batch, NodePerturbation(0.1), seed=3)
    before = copy.deepcopy(net.state_dict())
    a, b = L.updates(batch), L.updates(batch)
    assert all(torch.equal(a[n], b[n]) for n in a) and all(
        torch.equal(v, before[n]) for n, v in net.state_dict().items()
    )
    L.step(batch)
    assert any(not torch.equal(v, before[n]) for n, v in net.state_dict().items())
    other = learner(net, batch, NodePerturbation(0.1), seed=4)
    first, second = L.updates(batch), other.updates(batch)
    assert all(not torch.equal(first[n], second[n]) for n in a)


def test_a_step_goes_the_way_of_the_update():
    net, batch = cases()["mlp"]
    L = learner(net, batch, Backprop(), lr=0.5)
    before = {n: m.weight.detach().clone() for n, m in synapses(net).items()}
    dw = L.step(batch)
    for n, m in synapses(net).items():
        torch.testing.assert_close(m.weight.detach(), before[n] + 0.5 * dw[n])


def test_rates_optimisers_and_projection_by_pattern():
    net, batch = cases()["mlp"]
    recipe = Recipe(
        "test",
        {"1.*": None, "*": Gradient()},
        Backprop(),
        lr={"0.*": 0.5, "*": 0.1},
        optimizer={"0.*": torch.optim.SGD, "*": torch.optim.Adam},
        project=lambda n, w: w.clamp(-0.3, 0.3) if n == "0.input" else w,
    )
    L = Learner(net, recipe, batch)
    before = {n: m.weight.detach().clone() for n, m in synapses(net).items()}
    dw = L.step(batch)
    W = {n: m.weight.detach() for n, m in synapses(net).items()}
    assert set(dw) == {"0.input", "2.input"}
    torch.testing.assert_close(W["0.input"], (before["0.input"] + 0.5 * dw["0.input"]).clamp(-0.3, 0.3))
    assert torch.equal(W["1.input"], before["1.input"])
    torch.testing.assert_close(
        (W["2.input"] - before["2.input"]).abs(), torch.full_like(W["2.input"], 0.1), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"*": EProp(AdaptiveLIF())}, "reads signal, but DeltaRule gives credit"),
        ({"nothing.*": Gradient()}, "no synapse matches 'nothing"),
    ],
)
def test_learner_refuses_what_cannot_be(rules, message):
    net, batch = cases()["mlp"]
    with pytest.raises(Unsupported, match=message):
        Learner(net, Recipe("test", rules, DeltaRule()), batch)


def biased():
    return nn.Sequential(Layer(nn.Linear(6, 7), torch.tanh), Layer(nn.Linear(7, 3)))


@pytest.mark.parametrize("credit", (NodePerturbation(), DirectFeedback()))
def test_rest_that_no_gradient_reaches_is_refused(credit):
    batch = Batch(torch.randn(B, 6), torch.randint(3, (B,)), ce)
    with pytest.raises(Unsupported, match="no gradient reaches .*bias"):
        learner(biased(), batch, credit, rest=("*.bias",))


def test_rest_never_moves_a_synapse_twice():
    batch = Batch(torch.randn(B, 6), torch.randint(3, (B,)), ce)
    net = biased()
    L = learner(net, batch, Backprop(), lr=0.1, rest=("*",))
    before = net[0].input.weight.detach().clone()
    dw = L.step(batch)
    torch.testing.assert_close(net[0].input.weight.detach(), before + 0.1 * dw["0.input"])
    assert set(dw) == {"0.input", "1.input", "0.input.bias", "1.input.bias"}


def test_feedback_goes_at_the_rate_of_the_synapse_it_mirrors():
    net, batch = cases()["mlp"]
    L = learner(net, batch, KolenPollack(), lr={"2.*": 0.1, "*": 0.2})
    rate = {id(p): g["lr"] for o in L.optimizers for g in o.param_groups for p in g["params"]}
    assert rate[id(L.own["feedback/2.input"].weight)] == rate[id(net[2].input.weight)] == 0.1
    L = learner(net, batch, KolenPollack(), lr={"feedback/*": 0.5, "*": 0.2})
    rate = {id(p): g["lr"] for o in L.optimizers for g in o.param_groups for p in g["params"]}
    assert rate[id(L.own["feedback/2.input"].weight)] == 0.5


def test_tied_weights_and_silent_synapses_are_refused():
    shared = nn.Linear(6, 6, bias=False)
    net, batch = (
        nn.Sequential(Layer(shared, torch.tanh), Layer(shared)),
        Batch(torch.randn(B, 6), torch.randint(6, (B,)), ce),
    )
    with pytest.raises(Unsupported, match="shares its weight"):
        learner(net, batch, Backprop())
    net, batch = cases()["rnn"]
    with pytest.raises(ValueError, match="hidden.recurrent is silent"):
        learner(net, replace(batch, x=batch.x[:1], target=batch.target[:1]), Backprop())
