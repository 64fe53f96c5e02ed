"""The alignment study: its chance levels, its gradient of the settled loss, its rank correlation, its claims."""

from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from neurosim.cell import draw_net
from neurosim.networks import mlp
from neurosim.plasticity import Learner, cosine
from neurosim.recipes import recipes_for
from neurosim.study import Mode
from neurosim.tasks import digits
from studies import alignment as study
from studies.feedback_alters_activity import deviation, settled_gradient

TASK = digits().limited(train=96, test=50)


def learner(slug, size=60):
    """A recipe on the digits' mlp, and a probe."""
    split = TASK.split(0)
    probe = TASK.probe(split, size)
    return Learner(draw_net(mlp, TASK, 0), recipes_for("digits", "mlp")[slug], probe, 0), probe


def gradient(L, probe):
    """-dL/dW by autograd on the mean loss, by synapse."""
    weights = {n.removesuffix(".weight"): p for n, p in L.net.named_parameters()}
    grads = torch.autograd.grad(-L._batch(probe).loss(L.net(probe.x), probe.target).mean(), list(weights.values()))
    return dict(zip(weights, grads, strict=True))


def test_backprop_is_aligned_and_chance_is_not():
    L, probe = learner("backprop")
    for values in study.alignments(L, probe, 0).values():
        assert values["alignment"] == pytest.approx(1)
        assert values["own_null"] < 0.9 and values["null_low"] < values["null_high"] < 1


def test_own_chance_deals_targets():
    """Where all targets are the same, dealing them changes nothing; a rule that sees none has its alignment for chance."""
    L, probe = learner("backprop")
    same = replace(probe, target=torch.full_like(probe.target, 3))
    true = gradient(L, same)
    assert list(study.own_chance(L, same, true, 0).values()) == pytest.approx([1.0, 1.0, 1.0])
    assert max(study.own_chance(L, probe, gradient(L, probe), 0).values()) < 0.9
    L, probe = learner("oja")
    found = study.alignments(L, probe, 0)
    for layer in study.HIDDEN:
        assert found[layer]["own_null"] == pytest.approx(found[layer]["alignment"], abs=1e-12)
        assert found[layer]["alignment"] != pytest.approx(0, abs=1e-6)


def test_shuffled_credit_keeps_what_samples_have_in_common():
    """Centred inputs leave nothing in hidden1; ReLU activity, which is positive, does in hidden2."""
    L, probe = learner("backprop", 96)
    found = study.alignments(L, probe, 0)
    assert found["hidden1"]["null_low"] < 0 < found["hidden1"]["null_high"]
    assert found["hidden2"]["null_low"] > 0.2


def test_draws_are_averaged_and_leave_the_learner_as_it_was():
    L, probe = learner("node-perturbation")
    true = gradient(L, probe)
    got, by_hand = study.drawn(L, probe, true), []
    assert L.steps == 0
    for L.steps in range(study.DRAWS):
        dw = L.updates(probe)
        by_hand.append(cosine(dw["hidden2.input"], true["hidden2.input"]).item())
    assert got["hidden2.input"] == pytest.approx(sum(by_hand) / study.DRAWS)
    assert max(by_hand) - min(by_hand) > 1e-3


def test_settled_gradient_is_autograd_through_the_relaxation():
    """Its tiny nudges against no nudge at all, on the recipe's own bounded net."""
    L, probe = learner(study.EP)
    credit = replace(L.recipe.credit, rate=0.5)
    true = settled_gradient(L.net, L._batch(probe), credit, 200)
    found = deviation(study.settled_gradient(L, probe), true)
    assert found["one_minus_cosine", ""] < 1e-3
    assert deviation(gradient(L, probe), true)["one_minus_cosine", ""] > 1e-2  # the forward loss has another


def test_rank_correlation_by_hand():
    """Four recipes ranked 1 2 3 4 by accuracy and 1 2 4 3 by hidden1: 1 - 6 * 2 / (4 * 15) = .8; hidden2 reversed."""
    rows = []
    for slug, test, first, second in (
        ("a", 0.1, 0.1, 0.9), ("b", 0.2, 0.2, 0.8), ("c", 0.3, 0.7, 0.3), ("d", 0.4, 0.5, 0.1), ("frozen", 0.9, 0, 0)
    ):  # fmt: skip
        at = {"task": "t", "recipe": slug, "seed": 0, "samples": 32}
        rows.append({**at, "layer": "", "quantity": "test", "value": test})
        if slug != "frozen":
            rows += [
                {**at, "layer": layer, "quantity": "alignment", "value": v}
                for layer, v in zip(study.HIDDEN, (first, second), strict=True)
            ]
    found = {r["layer"]: r["value"] for r in study.ranks(rows, "t", 0)}
    assert found["hidden1"] == pytest.approx(0.8)
    assert found["hidden2"] == pytest.approx(-1)


def made_up(good):
    """Rows of two steps and three seeds in which every claim holds, or none does."""
    table = {  # recipe: (start, end) if good, if not
        study.BP: ((1, 1), (0.9, 1)),
        study.FA: ((0, 0.5), (0.6, 0.1)),
        study.KP: ((0, 0.7), (0.6, 0.0)),
        "oja": ((0, 0), (0.5, 0.5)),
        "node-perturbation": ((0.1, 0.1), (-0.1, -0.1)),
        study.EP: ((0.5, 0.2), (0.5, 0.9)),
    }
    rows = []
    for layer, signs in zip(study.HIDDEN, (0.637, 0.798), strict=True):
        for slug, cosines in {**table, study.SS: ((signs, signs), (0.3, 0.3))}.items():
            for seed in range(3):
                for samples, value in zip((0, 32), cosines[not good], strict=True):
                    own = value if slug == "oja" and good else 0.2
                    found = {"alignment": value, "null_low": -0.1, "null_high": 0.1 + 0.2 * (not good), "own_null": own}
                    if slug == study.EP:
                        found["settled"] = 0.8
                    at = {"task": "t", "recipe": slug, "seed": seed, "samples": samples, "layer": layer}
                    rows += [{**at, "quantity": q, "value": v} for q, v in found.items()]
    return rows


def test_every_claim_holds_or_fails_with_its_rows():
    good, bad = (study.claims_of(made_up(g), "t") for g in (True, False))
    assert len(good) == len(bad) == 22
    assert [c["name"] for c in good if not c["holds"]] == []
    assert [c["name"] for c in bad if c["holds"]] == []


def test_a_tiny_run_makes_rows_claims_and_a_figure(monkeypatch):
    torch.set_default_dtype(torch.float32)  # as outside the tests
    monkeypatch.setattr(study, "EPOCHS_QUICK", 1)
    monkeypatch.setattr(study, "PROBE", 48)
    monkeypatch.setattr(study, "OTHER_ERRORS", ("predictive-coding",))  # the others settle for seconds
    monkeypatch.setitem(study.TASKS, "digits", lambda data: TASK)
    rows, claims = study.run(Mode(seeds=1, quick=True))
    assert {r["task"] for r in rows} == {"digits"}
    assert {"alignment", "null_low", "null_high", "own_null", "test", "rank_correlation"} <= {
        r["quantity"] for r in rows
    }
    assert claims[0]["holds"]  # backprop's cosine with itself
    assert isinstance(study.draw(rows, {}), Figure)
