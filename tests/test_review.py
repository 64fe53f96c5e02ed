"""What a review found that no test would have noticed, of the new credits, rules and the line-up."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from neurosim.bootstrap import bootstrap
from neurosim.compare import Cell
from neurosim.credit import (
    Autoencoder,
    Backprop,
    BurstCredit,
    ContrastiveDivergence,
    Equilibrium,
    ForwardForward,
    LayerLocal,
    SampledReward,
    TargetPropagation,
)
from neurosim.credit.local import drawn
from neurosim.plasticity import Batch, Gradient, Layer, Unsupported, play
from neurosim.recipes import CONTROLS, line_up
from neurosim.rules import Goodness, Hebb, RewardedHebb, Winners
from neurosim.summary import against
from tests.nets import LINE_UP_BATCH as B
from tests.nets import LINE_UP_CLASSES as K
from tests.nets import ce, dense, learner, net_and_batch, relative


def test_drawn_weights_have_variance_one_over_fan_in():
    for m, fan_in in ((nn.Linear(400, 50, bias=False), 400), (nn.Conv2d(20, 50, 3, bias=False), 180)):
        assert drawn(m, torch.Generator().manual_seed(0)).weight.var().item() == pytest.approx(1 / fan_in, rel=0.05)


def test_an_inverse_follows_the_gradient_of_its_noisy_reconstruction():
    net, batch = net_and_batch(torch.tanh)
    with torch.no_grad():
        net[1].input.bias = nn.Parameter(torch.randn(5))
    credit = TargetPropagation(sigma=0.3, psi=torch.tanh)
    L = learner(net, batch, credit, {"inverse/1.*": Gradient(), "*": None})
    r, g = play(net, batch).records["1.input"], L._generator(0)
    torch.randn(B, 5, generator=g)  # the readout's inverse draws first
    x = r.pre + 0.3 * torch.randn(B, 6, generator=g)
    V = L.own["inverse/1.input"].weight.detach().clone().requires_grad_()
    y = torch.tanh(net[1].input(x)).detach()
    want = -torch.autograd.grad(((x - torch.tanh(y @ V.T)) ** 2).sum() / 2 / B, V)[0]
    assert relative({"V": L.updates(batch)["inverse/1.input"]}, {"V": want}) < 1e-12


class Forked(nn.Module):
    """The hidden layer drives two layers, whose outputs are one after the other in the readout's input."""

    def __init__(self):
        super().__init__()
        self.hidden = Layer(dense(7, 6), torch.sigmoid)
        self.a, self.b = Layer(dense(6, 5), torch.sigmoid), Layer(dense(6, 3), torch.sigmoid)
        self.readout = Layer(dense(8, K))

    def forward(self, x):
        y = self.hidden(x)
        return self.readout(torch.cat([self.a(y), self.b(y)], -1))


def test_targets_from_all_layers_above_add_up():
    net, batch = Forked(), net_and_batch()[1]
    credit = TargetPropagation()
    L = learner(net, batch, credit)

    def told(silenced=None):
        own = {n: drawn_zero(m) if n == silenced else m for n, m in L.own.items()}
        (p,) = credit.passes(net, batch, own, L._generator(0))
        return p.third["credit"]["hidden"]

    whole, a, b = told(), told("inverse/b.input"), told("inverse/a.input")
    assert a.any() and b.any() and relative({"c": whole}, {"c": a + b}) < 1e-10


def drawn_zero(m):
    m = copy.deepcopy(m)
    nn.init.zeros_(m.weight)
    return m


def test_rewarded_hebb_is_gated_sample_by_sample():
    net, batch = net_and_batch()
    r, M = play(net, batch).records["0.input"], torch.linspace(-1, 2, B)
    want = sum(m * torch.outer(y, x) for m, y, x in zip(M, r.post, r.pre))
    assert relative({"W": RewardedHebb().update(r, {"reward": M[:, None]}, {})}, {"W": want}) < 1e-12


def test_at_most_half_of_the_units_win():
    net = nn.Sequential(Layer(dense(3, 6), torch.relu))
    nn.init.constant_(net[0].input.weight, 0.5)
    with torch.no_grad():
        net[0].input.weight += 0.1 * torch.arange(6.0)[:, None]
    r = play(net, Batch(torch.rand(1, 3))).records["0.input"]
    assert Winners(16).update(r, {}, {}).abs().sum(1).bool().tolist() == [False] * 3 + [True] * 3


class TwoEnds(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.short = Layer(dense(7, 6), torch.sigmoid), Layer(dense(7, K))
        self.readout = Layer(dense(6, K))

    def forward(self, x):
        s = self.short(x)
        return self.readout(self.hidden(x)) + s.relu()  # rates that are not negative


def test_bursts_reach_every_layer_that_the_loss_sees():
    net, batch = TwoEnds(), net_and_batch()[1]
    net.short.neuron = type(net.short.neuron)(torch.relu)
    dw = learner(net, batch, BurstCredit()).updates(batch)
    want = learner(net, Batch(batch.x, batch.target, ce), Backprop()).updates(batch)
    assert dw.keys() == want.keys() and relative({"r": dw["readout.input"]}, {"r": want["readout.input"]}) < 0.5


def test_seeds_are_paired_by_number_and_those_of_one_alone_are_left_out():

    def cell(n, s):
        return Cell(n, s, n_train=1000, n_test=500)

    by = {"oja": [cell("oja", s) for s in (0, 1, 2, 4)], "frozen": [cell("frozen", s) for s in (1, 2, 3, 4)]}
    test = {"oja": [9.0, 0.51, 0.62, 0.73], "frozen": [0.5, 0.6, 9.0, 0.7]}
    t, _ = against(by, test, "frozen")["oja"]
    assert t.difference == pytest.approx(0.02)  # of seeds 1, 2 and 4: .01, .02, .03


def test_p_of_the_bootstrap_is_never_zero():

    r = bootstrap([[1.0] * 9] * 3, [[0.0] * 9] * 3, 99, np.random.default_rng(0))
    assert r.p == pytest.approx(2 / 100)


def test_a_control_has_the_values_tuned_for_backprop():
    made = line_up(tuned={"backprop": {"lr": 0.0123}})
    assert all(made[n].lr == made["backprop"].lr == 0.0123 for n in CONTROLS)


# ---------------------------------------------------------------------------------------------- biases, and two ends
PER_LAYER = ((LayerLocal(), Gradient()), (Autoencoder(), Gradient()), (ContrastiveDivergence(), Hebb()))


def biased():
    torch.manual_seed(0)
    return nn.Sequential(*[Layer(nn.Linear(a, b), torch.relu) for a, b in ((7, 6), (6, 5))], Layer(nn.Linear(5, K)))


@pytest.mark.parametrize(
    "credit, rule", ((LayerLocal(), Gradient()), (Autoencoder(), Gradient()), (ContrastiveDivergence(), Hebb()))
)
def test_biases_in_rest_follow_the_gradient_of_the_pass_that_has_a_loss(credit, rule):
    net, batch = biased(), net_and_batch()[1]
    dw = learner(net, batch, credit, {"2.*": Gradient(), "*": rule}, rest=("2.input.bias",)).updates(batch)
    want = -torch.autograd.grad(ce(net(batch.x), batch.target).mean(), net[2].input.bias)[0]
    assert relative({"b": dw["2.input.bias"]}, {"b": want}) < 1e-12


def test_forward_forward_has_no_gradient_for_biases_and_says_so():
    with pytest.raises(Unsupported, match="no gradient reaches 2.input.bias under ForwardForward"):
        learner(biased(), net_and_batch()[1], ForwardForward(labels=K), Goodness(), rest=("2.input.bias",))


def test_a_dream_has_the_biases_of_the_net():
    net, batch = biased(), net_and_batch()[1]
    r = play(net, batch).records["0.input"]
    dream = ContrastiveDivergence.reconstruct(r)
    torch.testing.assert_close(dream.pre, r.post @ r.weight)
    torch.testing.assert_close(dream.post, torch.relu(dream.pre @ r.weight.T + net[0].input.bias))


@pytest.mark.parametrize(
    "credit, rule", ((LayerLocal(), Gradient()), (Autoencoder(), Gradient()), (ContrastiveDivergence(), Hebb()))
)
def test_losses_per_layer_refuse_a_net_whose_loss_sees_two_layers(credit, rule):
    with pytest.raises(Unsupported, match="output is its last layer's"):
        learner(TwoEnds(), net_and_batch()[1], credit, {"readout.*": Gradient(), "*": rule})


def test_a_reward_of_a_net_that_diverged_is_no_crash():
    net, batch = net_and_batch()
    with torch.no_grad():
        net[2].input.weight.fill_(float("nan"))
    L = learner(net, batch, SampledReward(), {"2.*": Gradient(), "*": RewardedHebb()})
    assert L.updates(batch)["2.input"].isnan().all()


def test_a_relaxation_is_the_same_where_gradients_are_off():
    net, batch = net_and_batch(lambda u: u.clamp(0, 1))
    credit = Equilibrium()
    want = credit.predict(net, batch)
    with torch.no_grad():
        assert torch.equal(credit.predict(net, batch), want)
    assert not torch.allclose(want, play(net, batch).output)
