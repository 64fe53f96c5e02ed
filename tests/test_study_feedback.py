"""The study of how feedback moves activity: its reference gradient, its one-sided nudge, its measures, its slopes."""

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from neurosim.credit import Equilibrium
from neurosim.neurons import identity
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe
from neurosim.rules import Hebb
from neurosim.study import Mode
from studies import feedback_alters_activity as study


def chain(*sizes, phi=torch.tanh, gain=0.4):
    """Layers of a chain, the last one linear where phi is tanh; a batch of six with squared error."""
    net = nn.Sequential()
    for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layer = Layer(nn.Linear(a, b, bias=False), phi if phi is not torch.tanh or k < len(sizes) - 2 else identity)
        nn.init.normal_(layer.input.weight, std=gain / a**0.5)
        net.add_module(f"layer{k}", layer)
    return net, Batch(torch.randn(6, sizes[0]), torch.randn(6, sizes[-1]), study.squared)


def settled_loss(net, batch, x2):
    """The loss of the two-layer chain (tanh, linear) at its free equilibrium, found by hand-written fixed-point steps."""
    W1, W2 = (layer.input.weight.detach() for layer in net)
    x1 = batch.x @ W1.T
    for _ in range(400):
        y1 = x1.tanh()
        x1 = 0.5 * x1 + 0.5 * (1 - y1**2) * (batch.x @ W1.T + x2 @ W2)
        x2 = 0.5 * x2 + 0.5 * (x1.tanh() @ W2.T)
    return ((x2 - batch.target) ** 2).sum(-1).mean() / 2


def test_settled_gradient_is_the_slope_of_the_settled_loss():
    """Against finite differences of a relaxation written out for two layers."""
    net, batch = chain(4, 5, 3)
    found = study.settled_gradient(net, batch, Equilibrium(free=1, rate=0.5, box=None), 200)
    start, h = torch.zeros(6, 3), 1e-6
    for n, layer in zip(found, net, strict=True):
        w = layer.input.weight.data
        for i, j in ((0, 0), (2, 3)):
            w[i, j] += h
            above = settled_loss(net, batch, start)
            w[i, j] -= 2 * h
            below = settled_loss(net, batch, start)
            w[i, j] += h
            assert found[n][i, j].item() == pytest.approx(-((above - below) / (2 * h)).item(), rel=1e-5)


def test_settled_gradient_within_a_box():
    """Bounded activity, clamped states: tiny symmetric nudges around the same equilibrium find the same gradient."""
    net, batch = chain(4, 6, 5, 3, phi=lambda v: v.clamp(0, 1), gain=0.8)
    credit = Equilibrium(beta=1e-6, free=400, nudged=400, rate=0.5)
    nudged, _ = study.one_update(net, credit, Hebb(), batch)
    true = study.settled_gradient(net, batch, credit, 400)
    assert max(g.norm() for g in true.values()) > 1e-2
    assert study.deviation(nudged, true)["relative_error", ""] < 1e-4


def test_one_update_is_the_learners():
    net, batch = chain(4, 5, 3)
    for credit, rule in (
        (study.Predictive(0.3, 5, 0.2), Gradient()),
        (Equilibrium(0.2, 9, 4), Hebb()),
        (study.OneSided(-0.2, 9, 4), Hebb()),
    ):
        want = Learner(net, Recipe("any", {"*": rule}, credit), batch).updates(batch)
        dw, _ = study.one_update(net, credit, rule, batch)
        for n in want:
            torch.testing.assert_close(dw[n], want[n])


def test_two_one_sided_nudges_make_the_symmetric_one():
    """(f(b) - f(0)) / b and (f(0) - f(-b)) / b have the mean (f(b) - f(-b)) / 2b."""
    net, batch = chain(4, 5, 3)
    up, down, both = (
        study.one_update(net, kind(beta, 20, 7, 0.5, None), Hebb(), batch)[0]
        for kind, beta in ((study.OneSided, 0.2), (study.OneSided, -0.2), (Equilibrium, 0.2))
    )
    for n in both:
        torch.testing.assert_close((up[n] + down[n]) / 2, both[n])
        assert not torch.allclose(up[n], both[n], rtol=1e-3)


def test_deviation_of_a_known_pair():
    """A right-angled error of a tenth: cosine 1 / sqrt(1.01), spread over two synapses; nothing where they agree."""
    true = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    dw = {"a": torch.tensor([3.0, 0.5]), "b": torch.tensor([[4.0]])}
    found = study.deviation(dw, true)
    assert found["relative_error", ""] == pytest.approx(0.1)
    assert found["one_minus_cosine", ""] == pytest.approx(1 - 1 / math.sqrt(1.01))
    assert max(study.deviation(true, true).values()) < 1e-15


def test_change_of_predictive_coding_by_hand():
    """One step from the forward activity moves the last layer only, by rate * precision * (target - output)."""
    net, batch = chain(4, 5, 3)
    credit = study.Predictive(precision=0.5, steps=1, rate=0.2)
    _, passes = study.one_update(net, credit, Gradient(), batch)
    found = study.changes(net, credit, batch, passes)
    output = net(batch.x)
    want = 0.2 * 0.5 * (batch.target - output).norm() / output.norm()
    assert found["change", "layer1"] == pytest.approx(want.item())
    assert found["change", "layer0"] == 0


def test_plays_are_counted_in_batches():
    net, batch = chain(4, 5, 3)
    for credit, rule, want in (
        (study.Predictive(1.0, 7, 0.2), Gradient(), 1 + 7 + 1),
        (Equilibrium(0.2, 9, 4), Hebb(), 1 + 9 + 2 * 4 + 2),
        (study.OneSided(0.2, 9, 4), Hebb(), 1 + 9 + 4 + 2),
    ):
        assert study.plays(Learner(net, Recipe("any", {"*": rule}, credit), batch), batch) == want


def test_every_claim_holds_or_fails_with_its_rows():
    """Rows with the slopes of theory hold every claim, rows with a slope of 0 and a lost accuracy hold none."""

    def rows(power, accuracy):
        made = []
        for seed in range(3):
            small = [(study.PC, p, 1) for p in study.PRECISIONS]
            small += [(study.EP, b, 2) for b in study.BETAS]
            small += [(study.ONE, s * b, 1) for b in study.BETAS for s in (1, -1)]
            for name, strength, order in small:
                found = {("change", layer): abs(strength) ** power for layer in study.LAYERS}
                found |= {("free_change", layer): 0.3 for layer in study.LAYERS}
                found |= {("relative_error", ""): abs(strength) ** (power * order)}
                found |= {("one_minus_cosine", ""): abs(strength) ** (2 * power * order)}
                at = {"task": "small net", "recipe": name, "seed": seed, "strength": strength, "steps": study.SETTLED}
                made += [{**at, "layer": n, "quantity": q, "value": v} for (q, n), v in found.items()]
            for name, steps in (
                (study.PC, 30),
                (study.PC, 10),
                (study.BP, ""),
                (study.BOUNDED, ""),
                (study.FROZEN, ""),
            ):
                test = accuracy if name == study.PC else 0.9
                at = {"task": "digits", "recipe": name, "seed": seed, "strength": 0.01 if name == study.PC else 0}
                at |= {"steps": steps, "samples": 32, "layer": ""}
                made += [{**at, "quantity": "test", "value": test}, {**at, "quantity": "plays", "value": 12.0}]
        return made

    assert all(c["holds"] for c in study.claims_of(rows(1, 0.9)))
    assert not any(c["holds"] for c in study.claims_of(rows(0, 0.8)))


def test_a_tiny_run_makes_rows_claims_and_a_figure(monkeypatch):
    torch.set_default_dtype(torch.float32)  # as outside the tests
    monkeypatch.setattr(study, "EPOCHS_QUICK", 1)
    monkeypatch.setattr(study, "SETTLED", 20)
    monkeypatch.setattr(study, "USUAL", (20, 10, "12+4"))
    monkeypatch.setitem(study.TASKS, "digits", lambda data: study_task())
    rows, claims = study.run(Mode(seeds=1, quick=True))
    assert {r["quantity"] for r in rows} >= {
        "change",
        "free_change",
        "relative_error",
        "one_minus_cosine",
        "test",
        "plays",
    }
    assert {r["task"] for r in rows} == {"small net", "digits"}
    assert len(claims) == 15
    assert isinstance(study.draw(rows, {}), Figure)


def study_task():
    from neurosim.tasks import digits

    return digits().limited(train=64, test=50)
