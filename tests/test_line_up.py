"""The rules of the whole line-up against plain loops and known ends, and what rules and credits refuse."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from neurosim.credit import (
    Autoencoder,
    BurstCredit,
    ContrastiveDivergence,
    ForwardForward,
    LayerLocal,
    SampledReward,
    TargetPropagation,
)
from neurosim.networks import cnn, mlp
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe, Unsupported, play, synapses
from neurosim.prepare import quiet, unit_rows
from neurosim.rules import Goodness, Hebb, NeuronNormalised, RewardedHebb, Winners
from tests.nets import LINE_UP_BATCH as B
from tests.nets import ce, learner, net_and_batch, relative, rnn


# ---------------------------------------------------------------------------------------------- rules
def seen(net, batch, i=0):
    return play(net, batch).records[f"{i}.input"]


def test_winners_move_towards_the_input_alone():
    net, batch = net_and_batch()
    r = seen(net, batch)
    for k in (1, 2):
        want = torch.zeros_like(r.weight)
        for x, u in zip(r.pre, r.u):
            for i in sorted(range(6), key=lambda i: -u[i])[:k]:
                if u[i] > 0:
                    want[i] += x - r.weight[i]
        assert relative({"W": Winners(k).update(r, {}, {})}, {"W": want}) < 1e-12


def test_hard_winners_become_the_means_of_what_they_win():
    """Two tight clusters, two units: each unit ends at the mean of one."""
    torch.manual_seed(0)
    centres = torch.tensor([[3.0, 0.2, 0.0], [0.0, 0.3, 3.0]])
    net = nn.Sequential(Layer(nn.Linear(3, 2, bias=False)))
    with torch.no_grad():
        net[0].input.weight.copy_(torch.tensor([[1.0, 0.0, 0.5], [0.5, 0.0, 1.0]]))
    L = learner(net, Batch(torch.randn(2, 3)), NoneSuch(), Winners(1), lr=0.1)
    for _ in range(300):
        which = torch.randint(2, (32,))
        L.step(Batch(centres[which] + 0.01 * torch.randn(32, 3)))
    torch.testing.assert_close(net[0].input.weight.detach(), centres, atol=0.02, rtol=0)


def NoneSuch():
    from neurosim.credit import NoCredit

    return NoCredit()


def test_a_normalised_rule_reads_each_neuron_against_its_own_past():
    net, batch = net_and_batch(torch.tanh)
    rule, state = NeuronNormalised(Hebb(), tau=4.0, epsilon=0.0), {}
    m = v = None
    for t in range(3):
        r = seen(net, replace(batch, x=batch.x + t))
        dw = rule.update(r, {}, state)
        y = r.post
        m = y.mean(0) if m is None else m + (y.mean(0) - m) / 4
        s = ((y - m) ** 2).mean(0)
        v = s if v is None else v + (s - v) / 4
        want = sum(torch.outer((yi - m) / v.sqrt(), xi) for yi, xi in zip(y, r.pre))
        assert relative({"W": dw}, {"W": want}) < 1e-12
    with pytest.raises(ValueError, match="rule: Gradient does not read post"):
        NeuronNormalised(Gradient())


def test_unit_rows_scales_each_hidden_neurons_own_weights():
    w = torch.randn(3, 2, 2, 2)
    torch.testing.assert_close(unit_rows("conv1.input", w).flatten(1).norm(dim=1), torch.ones(3))
    assert unit_rows("readout.input", w) is w and unit_rows("feedback/conv1.input", w) is w


def test_quiet_scales_the_hidden_first_weights_alone():
    net = mlp((1, 4, 4), 3)
    before = {n: m.weight.detach().clone() for n, m in synapses(net).items()}
    after = {n: m.weight.detach() for n, m in synapses(quiet(net, 0.5)).items()}
    for n, w in before.items():
        torch.testing.assert_close(after[n], w if n == "readout.input" else w / 2, rtol=0, atol=0)


def test_hebb_with_unit_rows_ends_at_the_leading_eigenvector():
    torch.manual_seed(0)
    C = torch.diag(torch.tensor([4.0, 1.0, 0.5]))
    net = nn.Sequential(Layer(nn.Linear(3, 2, bias=False)))
    L = learner(net, Batch(torch.randn(2, 3)), NoneSuch(), Hebb(), lr=0.01, project=unit_rows)
    for _ in range(1500):
        L.step(Batch(torch.randn(32, 3) @ C.sqrt()))
    assert (net[0].input.weight.detach()[:, 0].abs() > 0.995).all()


# ---------------------------------------------------------------------------------------------- what they refuse
@pytest.mark.parametrize(
    "credit, rule",
    [(LayerLocal(), Gradient()), (Autoencoder(), Gradient()), (TargetPropagation(), Gradient()), (BurstCredit(), Gradient()),
     (ContrastiveDivergence(), {"readout.*": Gradient(), "*": Hebb()}), (ForwardForward(labels=2), Goodness()),
     (SampledReward(), {"readout.*": Gradient(), "*": RewardedHebb()})],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_nets_that_step_through_time_are_refused_with_a_reason(credit, rule):
    batch = Batch(torch.rand(4, B, 3), torch.randint(2, (B,)), lambda o, y: ce(o[-1], y), time=True, dt=1.0)
    with pytest.raises(Unsupported, match="static|steps through time|\\[B, classes\\]"):
        learner(rnn(), batch, credit, rule)


@pytest.mark.parametrize("make, sentence", [
    (lambda: Winners(0), "k: given 0"), (lambda: NeuronNormalised(Hebb(), tau=0.5), "tau: given 0.5"),
    (lambda: Autoencoder(updates=0), "updates: given 0"), (lambda: ContrastiveDivergence(updates=0), "updates: given 0"),
    (lambda: TargetPropagation(eta=0), "eta: given 0"), (lambda: BurstCredit(gain=-1), "gain: given -1"),
    (lambda: SampledReward(rate=0), "rate: given 0"),
])  # fmt: skip
def test_wrong_values_are_named(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_every_recipe_learns_something_on_both_nets():
    """Five updates on each net: finite, and weights move, for all of the line-up."""
    from neurosim.networks import mlp as perceptron
    from neurosim.recipes import line_up

    torch.manual_seed(0)
    batch = Batch(torch.randn(8, 1, 8, 8), torch.randint(10, (8,)), ce)
    for convolutional, make in ((False, perceptron), (True, cnn)):
        for name, recipe in line_up(convolutional).items():
            net = make((1, 8, 8), 10).double()
            L = Learner(net, recipe, batch)
            before = copy.deepcopy({n: w.detach() for n, w in L.weights.items()})
            for _ in range(5):
                L.step(batch)
            moved = [n for n, w in L.weights.items() if not torch.equal(w, before[n])]
            assert all(w.isfinite().all() for w in L.weights.values()), name
            assert moved and (name == "frozen") == (moved == ["readout.input"]), (name, moved)
            assert isinstance(recipe, Recipe) and L.predict(batch).shape == (8, 10)
