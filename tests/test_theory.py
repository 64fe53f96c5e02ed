"""What theory says of the credits: which become backprop, how noisy perturbation is, what feedback aligns."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import (
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    FixedPrediction,
    NodePerturbation,
    Predictive,
    PredictiveErrors,
    WeightPerturbation,
)
from neurosim.plasticity import Batch, Layer, Unsupported, play
from neurosim.rules import Perturbed
from studies.linear_feedback_alignment import least_error
from tests.nets import autograd, cases, cosines, dense, learner, mlp, mse, relative, updates

NEAR = 1e-12


def slopes(errors, factor):
    return [math.log(a / b) / math.log(factor) for a, b in pairwise(errors)]


# ---------------------------------------------------------------------------------------------- predictive coding
def settled_by_gradient_descent(net, batch, precision, steps=1500, rate=0.2):
    """Predictive coding's equilibrium of a tanh mlp: its energy written out, descended by autograd. dW / precision."""
    W = [net[k].input.weight.detach().clone().requires_grad_() for k in range(3)]
    h0 = batch.x @ W[0].T
    h1 = torch.tanh(h0) @ W[1].T
    x = [v.detach().clone() for v in (h0, h1, torch.tanh(h1) @ W[2].T)]

    def energy(x):
        u = [batch.x @ W[0].T, torch.tanh(x[0]) @ W[1].T, torch.tanh(x[1]) @ W[2].T]
        return (
            sum(((a - b) ** 2).sum() / 2 for a, b in zip(x, u, strict=True)) + precision * mse(x[2], batch.target).sum()
        )

    for _ in range(steps):
        x = [v.detach().requires_grad_() for v in x]
        x = [v - rate * g for v, g in zip(x, torch.autograd.grad(energy(x), x), strict=True)]
    grads = torch.autograd.grad(energy([v.detach() for v in x]), W)
    return {f"{k}.input": -g / precision / batch.size for k, g in enumerate(grads)}


def regression():
    torch.manual_seed(1)
    return mlp(6, 7, 5, 3), Batch(torch.randn(5, 6), torch.randn(5, 3), mse)


def test_predictive_coding_descends_its_energy():
    net, batch = regression()
    want = settled_by_gradient_descent(net, batch, 1.0)
    assert relative(updates(net, batch, Predictive(1.0, steps=1500, rate=0.2)), want) < 1e-9


def test_predictive_coding_becomes_backprop_with_slope_1_in_the_precision():
    net, batch = cases()["mlp"]
    true = autograd(net, batch)
    errors = [relative(updates(net, batch, Predictive(p, 1000, 0.2)), true) for p in (1.0, 0.1, 0.01, 0.001)]
    assert slopes(errors, 10)[-1] == pytest.approx(1, abs=0.02), errors
    assert errors[-1] < 5e-3


def test_plain_predictive_coding_at_precision_1_is_not_backprop():
    net, batch = regression()
    true = autograd(net, batch)
    for steps in (20, 1500):  # a short relaxation is as far off as the equilibrium
        assert 0.2 < relative(updates(net, batch, Predictive(1.0, steps, 0.2)), true) < 3


@pytest.mark.parametrize("name", ("mlp", "conv"))
def test_the_error_form_has_the_same_equilibrium_as_the_value_form(name):
    net, batch = cases()[name]
    values = updates(net, batch, Predictive(0.5, 1500, 0.2))
    errors = updates(net, batch, PredictiveErrors(0.5, 300, 0.3))
    assert relative(errors, values) < 1e-9
    assert relative(errors, autograd(net, batch)) > 0.01  # and neither is backprop


@pytest.mark.parametrize("name", ("conv", "rnn", "attention"))
def test_the_error_form_becomes_backprop_with_slope_1(name):
    net, batch = cases()[name]
    true = autograd(net, batch)
    errors = [relative(updates(net, batch, PredictiveErrors(p, 30, 0.5)), true) for p in (1e-3, 1e-4, 1e-5)]
    assert slopes(errors, 10)[-1] == pytest.approx(1, abs=0.02), errors


@pytest.mark.parametrize("name", ("mlp", "conv", "rnn", "attention"))
def test_one_step_of_the_error_form_is_backprop(name):
    """Its credit is backprop's; pre is read in the disturbed trial, so the update is off by the order of precision."""
    net, batch = cases()[name]
    assert relative(updates(net, batch, PredictiveErrors(1e-8, 1, 1.0)), autograd(net, batch)) < 1e-6


@pytest.mark.parametrize("name", ("mlp", "conv"))
def test_fixed_predictions_are_backprop(name):
    net, batch = cases()[name]
    true = autograd(net, batch)
    assert relative(updates(net, batch, FixedPrediction()), true) < NEAR
    too_few = updates(net, batch, FixedPrediction(steps=2))  # the first layer has not heard of the error yet
    assert too_few["0.input"].norm() == 0 and relative(too_few, true) == pytest.approx(1)


def test_value_forms_say_why_they_cannot_run_in_time():
    net, batch = cases()["rnn"]
    for credit in (Predictive(), FixedPrediction()):
        with pytest.raises(Unsupported, match="static net, but layer 'hidden' steps"):
            learner(net, batch, credit)


# ---------------------------------------------------------------------------------------------- perturbation
def weight_draws(net, batch, draws, sigma, seed=0):
    """The updates of many steps on one batch: {synapse: [draws, *weight]}."""
    L, found = learner(net, batch, WeightPerturbation(sigma), Perturbed(), seed), {}
    for L.steps in range(draws):
        for n, d in L.updates(batch).items():
            found.setdefault(n, []).append(d)
    return {n: torch.stack(ds) for n, ds in found.items()}


@pytest.mark.parametrize("name, draws", [("mlp", 3000), ("rnn", 1000)])
def test_weight_perturbation_is_backprop_in_the_mean(name, draws):
    net, batch = cases()[name]
    true = autograd(net, batch)
    mean = {n: d.mean(0) for n, d in weight_draws(net, batch, draws, 1e-4).items()}
    all_mean, all_true = (torch.cat([d[n].flatten() for n in true]) for d in (mean, true))
    expected = (1 + (all_true.numel() + 1) / draws) ** -0.5  # signal g, and noise of variance |g|^2 / draws an entry
    assert F.cosine_similarity(all_mean, all_true, 0).item() == pytest.approx(expected, abs=0.04)
    assert expected > 0.9
    assert (all_mean @ all_true / all_true.norm() ** 2).item() == pytest.approx(1, abs=0.15)  # its size too
    assert min(cosines(mean, true).values()) > 0.5


def linear_net(M, N, seed=0):
    torch.manual_seed(seed)
    net, batch = nn.Sequential(Layer(dense(N, M))), Batch(torch.randn(1, N), torch.randn(1, M), mse)
    delta = (batch.target - net(batch.x))[0].detach()
    return net, batch, delta, batch.x[0]


def node_draws(net, batch, draws, sigma):
    """One step for each draw, through the learner as a user would: [draws, M, N]."""
    L = learner(net, batch, NodePerturbation(sigma))
    found = []
    for L.steps in range(draws):
        found.append(L.updates(batch)["0.input"])
    return torch.stack(found)


DRAWS = 3000


@pytest.mark.parametrize("kind", ("weight", "node"))
def test_perturbation_variance_closed_form(kind):
    """Var_WP = g_ij^2 + sum g^2 and Var_NP = x_j^2 (delta_i^2 + sum delta^2), synapse by synapse."""
    net, batch, delta, x = linear_net(2, 3)  # so few that leaving out the synapse's own term would show
    want = torch.empty(2, 3)
    for i in range(2):
        for j in range(3):
            if kind == "weight":
                want[i, j] = (delta[i] * x[j]) ** 2 + sum((d * y) ** 2 for d in delta for y in x)
            else:
                want[i, j] = x[j] ** 2 * (delta[i] ** 2 + sum(d**2 for d in delta))
    draws = (
        weight_draws(net, batch, DRAWS, 1e-5)["0.input"] if kind == "weight" else node_draws(net, batch, DRAWS, 1e-5)
    )
    got = draws.var(0)
    # four standard errors: a sum of products of two normals has a kurtosis of at most that of z^2, which is 15
    torch.testing.assert_close(got, want, rtol=4 * ((15 - 1) / DRAWS) ** 0.5, atol=0)
    assert (got.sum() / want.sum()).item() == pytest.approx(1, abs=0.1)


def test_perturbation_variance_grows_with_synapses_or_with_units():
    """Log-log slopes over M, N = 4 and 32 of the variance in units of the mean g^2: O(M N) and O(M)."""
    weight, node = {}, {}
    for M, N in ((4, 32), (32, 32), (32, 4)):
        net, batch, delta, x = linear_net(M, N)
        g2 = torch.outer(delta, x).pow(2).mean()
        many = replace(batch, x=batch.x.expand(DRAWS, N), target=batch.target.expand(DRAWS, M))
        (one,) = NodePerturbation(1e-5).passes(net, many, {}, torch.Generator().manual_seed(0))
        weight[M, N] = (weight_draws(net, batch, 600, 1e-5)["0.input"].var(0).mean() / g2).item()
        node[M, N] = ((one.third["credit"]["0"].var(0)[:, None] * x**2).mean() / g2).item()

    def slope(found, small):
        return math.log(found[32, 32] / found[small]) / math.log(8)

    assert slope(weight, (4, 32)) == pytest.approx(1, abs=0.1)
    assert slope(weight, (32, 4)) == pytest.approx(1, abs=0.1)
    assert slope(node, (4, 32)) == pytest.approx(math.log(33 / 5) / math.log(8), abs=0.06)  # (1 + M): .91
    assert slope(node, (32, 4)) == pytest.approx(0, abs=0.06)


# ---------------------------------------------------------------------------------------------- feedback
def test_linear_feedback_alignment_30_20_10():
    """Lillicrap et al. 2016: W turns to B, credit comes within 45 degrees, the error vanishes.

    No readout on the first features could do that: least squares on 20,000 samples finds the bound of `least_error`.
    """
    T, B = torch.empty(10, 30).uniform_(-1, 1), torch.empty(10, 20).uniform_(-0.5, 0.5)
    x = torch.randn(100, 30)
    test = Batch(x, x @ T.T, mse)
    first = nn.Sequential(Layer(dense(30, 20)), Layer(dense(20, 10)))
    for p in first.parameters():
        nn.init.uniform_(p, -0.01, 0.01)
    deep = learner(first, test, FeedbackAlignment(), lr=1e-3)
    deep.own["feedback/1.input"].weight.data.copy_(B)
    many = torch.randn(20000, 30)
    y, features = many @ T.T, first[0](many).detach()
    left = y - features @ torch.linalg.lstsq(features, y).solution
    least = least_error(T, first[0].input.weight.detach())
    assert least == pytest.approx((left.square().sum() / y.square().sum()).item(), rel=0.02)

    def angles():
        W = deep.net[1].input.weight.detach()
        e = test.target - deep.net(x).detach()
        return F.cosine_similarity(e @ W, e @ B).acos().rad2deg()

    def error(L):
        return (mse(L.net(x), test.target).mean() / mse(0 * test.target, test.target).mean()).item()

    assert angles().mean().item() == pytest.approx(90, abs=10)
    assert error(deep) > least
    for _ in range(2000):
        seen = torch.randn(1, 30)
        deep.step(Batch(seen, seen @ T.T, mse))
    assert angles().mean().item() < 45
    assert (angles() < 90).all()  # e^T W B^T e > 0 for every sample
    assert error(deep) < 0.1 * least
    assert error(deep) < 0.01


def test_direct_feedback_through_the_product_of_the_weights_is_backprop():
    """In a deep linear net dW_l = (W_L ... W_{l+1})^T e h^T: put that product in B_l, and it is exact."""
    torch.manual_seed(3)
    widths = (6, 9, 8, 7, 4)
    net = nn.Sequential(*[Layer(dense(a, b)) for a, b in pairwise(widths)])
    batch = Batch(torch.randn(5, 6), torch.randn(5, 4), mse)
    L = learner(net, batch, DirectFeedback())
    W, h, want = [m.input.weight.detach() for m in net], batch.x, {}
    e = batch.target - batch.x @ (W[3] @ W[2] @ W[1] @ W[0]).T
    products = [(W[3] @ W[2] @ W[1]).T, (W[3] @ W[2]).T, W[3].T, torch.eye(4)]
    for l, P in enumerate(products):
        want[f"{l}.input"] = P @ e.T @ h / 5
        h = h @ W[l].T
        L.own[f"direct/{l}"].weight.data.copy_(P)
    assert relative(L.updates(batch), want) < NEAR
    assert relative(want, autograd(net, batch)) < NEAR
    random = learner(net, batch, DirectFeedback()).updates(batch)
    assert relative(random, want) > 0.5


def test_perturbation_is_noisier_than_backprop_in_the_order_of_theory():
    """Signal-to-noise over draws in one net: WP < NP < BP, here with BP's noise from the choice of the sample."""
    torch.manual_seed(4)
    M = N = 12
    net, T = nn.Sequential(Layer(dense(N, M))), torch.randn(M, N)
    x = torch.randn(4000, N)
    batch = Batch(x, x @ T.T, mse)
    trial = play(net, batch)
    true = autograd(net, batch)["0.input"]
    per_sample = {"backprop": batch.target - trial.output.detach()}
    (one,) = NodePerturbation(1e-5).passes(net, batch, {}, torch.Generator().manual_seed(0))
    per_sample["node"] = one.third["credit"]["0"]
    L = learner(net, batch, WeightPerturbation(1e-5), Perturbed())
    singles = []
    for L.steps in range(1500):
        singles.append(L.updates(Batch(x[L.steps, None], batch.target[L.steps, None], mse))["0.input"])
    draws = {k: c[:, :, None] * x[:, None, :] for k, c in per_sample.items()} | {"weight": torch.stack(singles)}
    snr = {k: (true.norm() / d.var(0).sum().sqrt()).item() for k, d in draws.items()}
    assert 2 * snr["weight"] < snr["node"] < snr["backprop"] / 2, snr
    assert relative(updates(net, batch, Backprop()), {"0.input": draws["backprop"].mean(0)}) < NEAR
