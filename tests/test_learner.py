"""The Learner: pure updates, steps, rates and optimisers by pattern, refusals."""

import copy

import pytest
import torch

from neurosim.credit import (
    Backprop,
    DeltaRule,
    NodePerturbation,
)
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Gradient, Learner, Recipe, Unsupported, synapses
from neurosim.rules import EProp
from tests.nets import (
    cases,
    learner,
)


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
