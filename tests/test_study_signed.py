"""The codes of studies/signed_errors.py: by hand, against autograd, and in the mean over draws."""

import math
from types import SimpleNamespace

import pytest
import torch

from neurosim.networks import cnn, mlp
from neurosim.plasticity import Batch, Learner, play, returned
from neurosim.tasks import Task
from neurosim.tasks.base import cross_entropy
from studies import signed_errors as study
from studies.signed_errors import Coded, Poisson, Populations, clipped, exact, moments, one_bit, recipe, rectified
from tests.nets import autograd

UNIT, NOISE = torch.tensor(0.5), torch.Generator().manual_seed(0)


def example(shape=(1, 8, 8), n=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, *shape, generator=g), torch.randint(10, (n,), generator=g), cross_entropy)


def coded(credit, net=None, batch=None):
    batch = batch or example()
    net = net or mlp((1, 8, 8), 10, (16, 12))
    return Learner(net, recipe("it", credit), batch), batch


def test_codes_by_hand():
    e = torch.tensor([[2.0, -0.2, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(exact(e, UNIT, NOISE), e)
    assert clipped(e, UNIT, NOISE)[0].tolist() == [0.5, -0.2, 0.0, -0.5]
    assert rectified(e, UNIT, NOISE, baseline=1.0)[0].tolist() == [2.0, -0.2, 0.0, -0.5]
    assert rectified(e, UNIT, NOISE, baseline=0.0)[0].tolist() == [2.0, 0.0, 0.0, 0.0]
    got = one_bit(e, UNIT, NOISE)  # the mean of 2, .2 and 1; the silent unit is told nothing
    assert torch.allclose(got[0], torch.tensor([1.0, -1.0, 0.0, -1.0]) * 3.2 / 3) and not got[1].any()


def test_poisson_counts_have_the_mean_and_variance_of_counts():
    e = torch.tensor([1.0, -0.3, 0.05, 0.0]).expand(40_000, 4)
    got = Poisson(4)(e, UNIT, torch.Generator().manual_seed(1))
    spikes = got / 0.5 * 4
    assert torch.allclose(spikes, spikes.round()) and (got * e >= 0).all()
    variance = 0.5 * e[0].abs() / 4
    assert torch.allclose(got.mean(0), e[0], atol=4 * (variance.max() / 40_000).sqrt().item())
    assert torch.allclose(got.var(0), variance, rtol=0.05)


@pytest.mark.parametrize("credit", (Coded(exact), Populations(exact)), ids=("coded", "populations"))
@pytest.mark.parametrize("make", (mlp, cnn))
def test_lossless_codes_are_backprop(credit, make):
    learner, batch = coded(credit, make((1, 8, 8), 10))
    true = autograd(learner.net, batch)
    for n, dw in learner.updates(batch).items():
        assert (dw - true[n]).norm() < 1e-12 * true[n].norm(), n


def test_what_is_told_is_coded_at_every_layer_on_the_way():
    """A code that halves: the readout is told half, the layer d below it 2^-(d + 1); without one at the last, 2^-d."""

    def half(e, unit, noise):
        return e / 2

    for credit, first in ((Coded(half), 0.5), (Coded(half, last=exact), 1.0), (Populations(half), 0.5)):
        learner, batch = coded(credit)
        true = autograd(learner.net, batch)
        for n, factor in (("readout", 1.0), ("hidden2", 0.5), ("hidden1", 0.25)):
            n = f"{n}.input"
            assert torch.allclose(learner.updates(batch)[n], first * factor * true[n], rtol=1e-10, atol=0), (credit, n)


def test_populations_carry_nothing_negative_and_their_common_part():
    seen = []

    def watched(q, unit, noise):
        seen.append(q)
        return q

    learner, batch = coded(Populations(watched))
    (one,) = learner.recipe.credit.passes(learner.net, batch, learner.own, NOISE)
    assert len(seen) == 6 and all((q >= 0).all() for q in seen)
    credit, sent = one.third["credit"], one.third["sent"]
    assert torch.equal(sent["readout"], credit["readout"].abs())  # one of the two is silent at the top ...
    assert sent["hidden1"].sum() > 2 * credit["hidden1"].abs().sum()  # ... not below, where they do not cancel


def test_units_are_chosen_on_the_first_batch():
    learner, batch = coded(study.CODES["clipped-90"])
    error = returned(play(learner.net, batch))["credit"]["hidden1"].flatten()
    sizes = sorted(abs(v) for v in error.tolist() if v)
    place = 0.9 * (len(sizes) - 1)
    low = math.floor(place)
    by_hand = sizes[low] + (place - low) * (sizes[low + 1] - sizes[low])
    assert learner.own["unit/hidden1"].item() == pytest.approx(by_hand)


def test_spikes_are_counted():
    learner, batch = coded(Coded(Poisson(1e6)))
    error = returned(play(learner.net, batch))["credit"]
    expected = sum((e.abs().sum() / e[e != 0].abs().mean()).item() for e in error.values()) * 1e6 / batch.size
    assert study.spikes_of(learner, batch) == [pytest.approx(expected, rel=1e-2)]
    assert study.spikes_of(coded(Coded(clipped))[0], batch) == []


def test_moments_do_not_mistake_noise_for_bias():
    g = {"a": torch.tensor([3.0, 4.0])}

    def updates(batch):  # mean g + (1, 0), independent noise of variance 50 in each of the two
        noise = torch.randn(2, generator=torch.Generator().manual_seed(fake.steps)) * 50**0.5
        return {"a": g["a"] + torch.tensor([1.0, 0.0]) + noise}

    fake = SimpleNamespace(updates=updates, steps=0)
    found = [moments(fake, None, g, 10 * k, 10)["a"] for k in range(800)]
    mean = {q: sum(f[q] for f in found) / len(found) for q in found[0]}
    assert mean["variance"] == pytest.approx(100 / 25, rel=0.05)
    assert mean["squared bias"] == pytest.approx(1 / 25, abs=0.05)  # the square of the mean would give .44
    assert mean["mean along the gradient"] == pytest.approx(1 + 3 / 25, abs=0.03)


def test_slope():
    rows = [
        {"quantity": "variance", "layer": "readout", "seed": 0, "rate": r, "value": 3 / r if r > 2 else 99.0}
        for r in (1, 4, 16, 64)
    ]
    assert study.slope(rows, "readout", 0, above=4) == pytest.approx(-1)


def test_rows_tests_claims_and_figure(monkeypatch):
    """A toy of the whole: two seeds, hardly trained; the control holds, and the figure is drawn from rows alone."""
    monkeypatch.setattr(study, "NOISE_RATES", (16, 64))
    monkeypatch.setattr(study, "NAMES", ("backprop", "split", "poisson-4", "frozen"))
    g = torch.Generator().manual_seed(0)
    task = Task.from_arrays(torch.randn(120, 1, 8, 8, generator=g), torch.arange(120) % 10, name="digits")
    rows = [r for s in (0, 1) for name in study.NAMES for r in study.learn(name, task, s, 1)]
    rows += [r for s in (0, 1) for r in study.at_first(task, s, 20)]
    rows += study.tests(rows, 80, 30)
    assert study.of(rows, recipe="split", quantity="difference, against backprop") == [0]
    held = {c["name"]: c["holds"] for c in study.checks(rows, (0, 1), 1 / 30)}
    assert len(held) == 10 and all(h for name, h in held.items() if name.startswith("split"))
    assert len(study.draw(rows, {"seeds": [0, 1]}).axes) == 3
