"""The estimators and closed forms of studies/bias_and_variance.py, against enumeration and brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neurosim.networks import mlp
from neurosim.plasticity import Batch, Learner, as_it_is
from neurosim.recipes import recipes_for
from neurosim.tasks import Task
from neurosim.tasks.base import cross_entropy
from studies import bias_and_variance as study
from studies.bias_and_variance import BP, EP, FA, NP, WP

N = 6  # samples, few enough to enumerate


def few(n=N):
    g = torch.Generator().manual_seed(0)
    return Batch(torch.randn(n, 1, 3, 3, generator=g), torch.arange(n) % 4, cross_entropy)


def learner(name, batch=None, hidden=(5, 4)):
    recipe = replace(recipes_for("digits", "mlp")[name], prepare=as_it_is)
    learner = Learner(mlp((1, 3, 3), 4, hidden), recipe, batch or few())
    return study.as_measured(learner, batch or few())


def one(batch, i):
    return replace(batch, x=batch.x[i : i + 1], target=batch.target[i : i + 1])


def on_all(learner, batch):
    return study.flat(learner.updates(batch))


def by_samples(net, batch):
    """-dL_i/dW of each sample by plain autograd, flat: [N, all weights], and how many of them are the hidden layers'."""
    found = []
    for x, y in zip(batch.x, batch.target):
        grads = torch.autograd.grad(F.cross_entropy(net(x[None]), y[None]), list(net.parameters()))
        found.append(-torch.cat([g.flatten() for g in grads]))
    return torch.stack(found), sum(p.numel() for n, p in net.named_parameters() if "hidden" in n)


# ---------------------------------------------------------------------------------------------- estimators
def test_estimates_are_right_in_the_mean_however_few_the_draws():
    """E dW = (2, 1), g = (1, 0); the minibatch adds variance 9 + 9, the noise 25 + 25. Three minibatches each time."""
    rng, many = np.random.default_rng(0), []
    for _ in range(8_000):
        s = rng.normal(size=(3, 2)) * 3 + (2, 1)
        a, b = (s + rng.normal(size=(3, 2)) * 5 for _ in range(2))
        m = (a + b) / 2
        sums = np.c_[(m**2).sum(1), ((a - b) ** 2).sum(1) / 2, m[:, 0]]
        variances, gap = study.estimates(sums, (m.sum(0) ** 2).sum(), 1.0)
        many.append([variances["variance"], variances["noise variance"], gap["bias"], gap["mean along the gradient"]])
    apart = np.abs(np.mean(many, 0) - [68, 50, 2, 2])  # bias: 1 + 1; the square of the mean would give 2 + 43 / 3
    assert (apart < [3, 3, 1.5, 0.15]).all(), apart


def test_gap_by_hand():
    """E dW = (3, 4), g = (2, 0): cosine .6, best scale c = 1.5 of g ... leaves 1 - .36 of |E dW|^2."""
    found = study.gap(25, 6, 36, 4)
    assert found["alignment"] == pytest.approx(0.6) and found["bias, best scale"] == pytest.approx(0.64)
    assert found["bias"] == pytest.approx((1 + 16) / 4) and found["mean along the gradient"] == pytest.approx(1.5)
    assert np.isnan(study.gap(-0.1, 0.2, 0.1, 1)["alignment"])  # a square estimated below 0 has no direction


# ---------------------------------------------------------------------------------------------- measured on a net
@pytest.mark.parametrize("name", (BP, FA))
def test_a_deterministic_rule_against_all_minibatches_of_two(name, monkeypatch):
    """All 36 minibatches of two give mean and variance exactly; the study draws from them."""
    batch = few()
    it = learner(name)
    singles = torch.stack([study.flat(it.updates(one(batch, i))) for i in range(N)])
    pairs = torch.stack([(singles[i] + singles[j]) / 2 for i, j in product(range(N), repeat=2)])
    mean = pairs.mean(0)
    variance = ((pairs - mean) ** 2).sum(1).mean()
    each, hidden = by_samples(it.net, batch)
    g = each[:, :hidden].mean(0)
    assert torch.allclose(study.flat(study.true_gradient(it, batch)), g)
    monkeypatch.setattr(study, "DRAWS", 600)
    found = study.measure(it, batch, g, on_all(it, batch), 45, 2, 0)
    assert found["hidden"]["variance"] == pytest.approx((variance / (g @ g)).item(), rel=0.1)
    assert found["hidden"]["variance, own scale"] == pytest.approx((variance / (mean @ mean)).item(), rel=0.1)
    assert found["hidden"]["noise variance"] == 0
    assert found["hidden"]["bias"] == pytest.approx(((mean - g) @ (mean - g) / (g @ g)).item(), abs=1e-12)
    assert found["hidden"]["bias, drawn"] == pytest.approx(found["hidden"]["bias"], rel=0.15, abs=0.15)
    cosine = torch.cosine_similarity(mean[:45], g[:45], 0).item()  # 9 x 5 weights of the first layer
    assert found["hidden1"]["alignment"] == pytest.approx(cosine)


def test_closed_forms_against_enumeration_and_brute_force():
    batch = few()
    it = learner(BP)
    each, hidden = by_samples(it.net, batch)
    g = each.mean(0)
    norm = (g[:hidden] ** 2).sum()
    found = study.closed_forms(it, batch, 1)
    sampling = ((each - g)[:, :hidden] ** 2).sum(1).mean() / norm
    assert found[BP]["variance, closed form"] == pytest.approx(sampling.item())
    assert study.closed_forms(it, batch, 7)[BP]["variance, closed form"] == pytest.approx(sampling.item() / 7)
    draw = torch.Generator().manual_seed(1)
    xi = torch.randn(20_000, each.shape[1], generator=draw)  # weight perturbation to first order: (g_i . xi) xi
    noise = sum((((xi @ e)[:, None] * xi[:, :hidden] - e[:hidden]) ** 2).sum(1).mean() for e in each) / N / norm
    assert found[WP]["noise variance, closed form"] == pytest.approx(noise.item(), rel=0.05)
    assert found[WP]["minibatch's square"] == pytest.approx(((each**2).sum(1).mean() / norm).item())
    assert found[NP]["one sample's square / batch"] == pytest.approx(
        ((each[:, :hidden] ** 2).sum(1).mean() / norm).item()
    )


@pytest.mark.parametrize("name", (NP, WP))
def test_perturbation_has_the_noise_of_its_closed_form_and_no_bias(name):
    it, batch = learner(name), few()
    g = study.flat(study.true_gradient(it, batch))
    found = study.measure(it, batch, g, on_all(it, batch), 45, 2, 800)["hidden"]
    closed = study.closed_forms(it, batch, 2)[name]["noise variance, closed form"]
    assert found["noise variance"] == pytest.approx(closed, rel=0.15) and found["variance"] > found["noise variance"]
    assert found["mean along the gradient"] == pytest.approx(1, abs=4 * (closed / 1600) ** 0.5)
    assert abs(found["bias"]) < 4 * closed / 800  # below what the noise of a naive square of the mean would make it
    assert found["variance, own scale"] == found["variance"]


def test_noise_is_drawn_anew_for_each_place_and_the_learner_stays_as_it_was():
    it, batch = learner(NP), few()
    g = study.flat(study.true_gradient(it, batch))
    it.steps, weights = 3, [w.clone() for w in it.net.parameters()]
    a, b = (
        study.measure(it, batch, g, on_all(it, batch), 45, 2, 4),
        study.measure(it, batch, g, on_all(it, batch), 45, 2, 4),
    )
    assert a == b and it.steps == 3 and all(torch.equal(v, w) for v, w in zip(weights, it.net.parameters()))


def test_an_equilibrium_is_held_against_the_gradient_of_the_settled_loss():
    batch = few()
    recipe = recipes_for("digits", "mlp")[EP]
    it = Learner(mlp((1, 3, 3), 4, (5, 4)), recipe, batch)
    g = study.flat(study.true_gradient(it, batch))
    w, probe = it.net.hidden1.input.weight, torch.randn(5, 9)

    def settled_loss(step):
        w.data += step * probe
        output = study.SETTLED.predict(it.net, replace(batch, loss=recipe.loss))
        w.data -= step * probe
        return recipe.loss(output, batch.target).mean().item()

    slope = (settled_loss(1e-5) - settled_loss(-1e-5)) / 2e-5
    assert -(g[:45] @ probe.flatten()).item() == pytest.approx(slope, rel=2e-3)
    once = study.flat(it.updates(batch))[:45] @ probe.flatten()  # the recipe's own, few steps and a large nudge, is not
    assert abs(once.item() + slope) > 0.02 * abs(slope)


# ---------------------------------------------------------------------------------------------- exponents and the whole
def place(width=study.WIDTH, depth=study.DEPTH, batch=study.BATCH, seed=0, value=1.0):
    return {"width": width, "depth": depth, "batch": batch, "seed": seed, "value": value}


def test_exponents_by_hand():
    rows = [place(width=w, seed=s, value=3 * w ** (s - 1.5)) for w in (16, 64, 256) for s in (0, 1, 2)]
    rows += [place(width=w, seed=3, value=v) for w, v in ((16, 1.0), (64, -0.1))]  # not positive: no logarithm
    assert study.slopes(rows, lambda r: r["width"]) == pytest.approx({0: -1.5, 1: -0.5, 2: 0.5})
    mixed = [place(), place(width=16), place(depth=1), place(width=16, batch=1)]
    assert study.along(mixed, "width") == mixed[:2] and study.along(mixed, "depth") == [mixed[0], mixed[2]]


def test_grid_varies_batches_at_the_centre_alone():
    nets = study.grid((16, study.WIDTH), (1, study.DEPTH))
    assert list(nets) == [(16, study.DEPTH), (study.WIDTH, study.DEPTH), (study.WIDTH, 1)]
    assert [len(p) for p in nets.values()] == [1, len(study.BATCHES), 1]


def test_rows_exponents_claims_and_figure():
    """A toy of the whole: few samples, small nets, two seeds; every claim is made and the figure drawn from rows alone."""
    g = torch.Generator().manual_seed(0)
    task = Task.from_arrays(torch.randn(90, 1, 8, 8, generator=g), torch.arange(90) % 10, name="digits", batch_size=32)
    nets = study.grid((16, study.WIDTH), (1, study.DEPTH))
    names = (BP, FA, study.SS, NP, WP)
    rows = [r for s in (0, 1) for n in names for r in study.study(n, task, s, nets, 60, 1, 6)]
    rows += study.exponents(rows)
    batch = [r["value"] for r in rows if r["quantity"] == "exponent of the variance" and r["axis"] == "batch"]
    assert len(batch) == 2 * 2 * len(names) and min(batch) > -1.3
    claims = {c["name"]: c for c in study.checks(rows)}
    assert len(claims) == 17 and all(np.isfinite(c["got"]) for c in claims.values())
    assert claims["backprop: exponent of the variance in batch"]["got"] == pytest.approx(-1, abs=0.25)
    assert len(study.draw(rows, {"seeds": [0, 1]}).axes) == 13
