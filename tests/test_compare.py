"""The harness: same weights and batches for all, same seed same rows, failures are rows, and the numbers of the table."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from neurosim.compare import Cell, compare, draw_net, run_cell, run_cells, shuffled_credit, unsupported
from neurosim.networks import cnn, mlp
from neurosim.plasticity import Learner, claims
from neurosim.recipes import CONVOLUTIONAL, CORE, RECIPES, by_local_rule
from neurosim.summary import summary
from neurosim.tasks import Task, digits

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def blobs():
    """Three Gaussian clouds in 8 x 8 pixels: learned in one epoch."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 260)
    x = rng.normal(size=(3, 1, 8, 8))[y] + 0.7 * rng.normal(size=(260, 1, 8, 8))
    return Task.from_arrays(x, y, name="blobs", validation_size=30, test_size=70)


def small(shape, outputs):
    return mlp(shape, outputs, hidden=(16, 12))


def exploding():
    return replace(CORE["backprop"], name="exploding", optimizer=torch.optim.SGD, lr=1e18)


@pytest.mark.parametrize("make_net, recipes", ((small, RECIPES), (cnn, CONVOLUTIONAL)), ids=("mlp", "cnn"))
def test_every_recipe_runs_and_sees_the_same(blobs, make_net, recipes):
    cells = [run_cell(r, make_net, blobs, seed=1, epochs=1) for r in recipes.values()]
    assert {c.recipe: c.status for c in cells} == dict.fromkeys(RECIPES, "ok")
    assert len({c.init_hash for c in cells}) == 1 and len({c.batch_hash for c in cells}) == 1
    other = run_cell(CORE["frozen"], make_net, blobs, seed=2, epochs=1)
    assert other.init_hash != cells[0].init_hash and other.batch_hash != cells[0].batch_hash
    for c in cells:
        epochs = [r["epoch"] for r in c.rows if r["quantity"] == "test"]
        assert epochs == [0, 1] and {r["samples"] for r in c.rows if r["epoch"] == 1} == {190}


def test_same_seed_same_rows(blobs):
    recipes = [CORE[n] for n in ("backprop", "node-perturbation", "softhebb", "equilibrium-propagation")]
    again = [compare(recipes, small, blobs, epochs=2, seeds=(3,)) for _ in range(2)]
    assert again[0] == again[1]
    assert compare(recipes, small, blobs, epochs=2, seeds=(4,)) != again[0]


def test_worker_processes_give_the_same_rows(blobs):
    recipes = [CORE["backprop"], CORE["node-perturbation"]]
    alone = {(c.recipe, c.seed): c.rows for c in run_cells(recipes, small, blobs, epochs=1, seeds=(0, 1))}
    spread = {(c.recipe, c.seed): c.rows for c in run_cells(recipes, small, blobs, epochs=1, seeds=(0, 1), workers=2)}
    assert spread == alone


@pytest.mark.parametrize(
    "how, said",
    [
        (dict(epochs=0, seeds=(0,)), "epochs: given 0, it must be at least 1"),
        (dict(epochs=1, seeds=(0,), workers=0), "workers: given 0, it must be at least 1"),
        (dict(epochs=1, seeds=(3, 4, 3)), "seeds: 3 is given twice"),
        (dict(epochs=1, seeds=(0,), recipes=2 * [CORE["oja"]]), "recipes: 'oja' is given twice"),
    ],
)
def test_wrong_use_is_told_before_anything_runs(how, said, blobs):
    recipes = how.pop("recipes", [CORE["oja"]])
    with pytest.raises(ValueError, match=said):
        run_cells(recipes, small, blobs, **how)


def test_backprop_is_aligned_with_itself_and_the_null_is_not(blobs):
    cell = run_cell(CORE["backprop"], small, blobs, seed=0, epochs=1)
    by = {}
    for r in cell.rows:
        by.setdefault(r["quantity"], []).append(r["value"])
    assert by["alignment"] == pytest.approx([1.0] * len(by["alignment"]), abs=1e-5)
    assert len(by["alignment"]) == 2 * 3  # epochs 0 and 1, three layers
    assert all(lo <= hi < 0.9 for lo, hi in zip(by["null_low"], by["null_high"]))


def test_the_null_is_credit_given_to_the_wrong_samples(blobs):
    """For a linear one-layer net the null has a closed form: cos of e' x with e[perm]' x."""
    split = blobs.split(0)
    probe = blobs.probe(split, 40)
    net = nn.Sequential(nn.Flatten(), mlp((1, 8, 8), 3, hidden=()).readout)
    L = Learner(net, replace(CORE["backprop"]), probe)
    null = shuffled_credit(L, probe, torch.Generator().manual_seed(5), ["1.input"])["1.input"]
    x = probe.x.flatten(1)
    e = nn.functional.one_hot(probe.target, 3) - (x @ net[1].input.weight.T).softmax(1)
    g = torch.Generator().manual_seed(5)
    order = torch.randperm(40, generator=g)
    want = nn.functional.cosine_similarity((e.T @ x).flatten(), (e[order].T @ x).flatten(), 0)
    torch.testing.assert_close(null[0], want.detach())


def test_frozen_hidden_weights_never_move(blobs):
    split = blobs.split(0)
    example = next(blobs.batches(split, 0, 0))
    L = Learner(draw_net(small, blobs, 0), CORE["frozen"], example)
    before = {n: p.detach().clone() for n, p in L.net.named_parameters()}
    for batch in blobs.batches(split, 0, 0):
        L.step(batch)
    moved = {n for n, p in L.net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"readout.input.weight"}


def test_divergence_is_a_row_not_a_crash(blobs):
    recipes = [CORE["backprop"], CORE["frozen"], exploding()]
    cells = list(run_cells(recipes, small, blobs, epochs=2, seeds=(0, 1)))
    bad = [c for c in cells if c.recipe == "exploding"]
    assert [c.status for c in bad] == ["diverged", "diverged"] and "not finite" in bad[0].reason
    last = [r["value"] for r in bad[0].rows if r["quantity"] == "test"][-1]
    assert math.isnan(last)
    found = summary(cells, recipes)
    assert found["exploding"]["status"] == "diverged" and math.isnan(found["exploding"]["test"][0])
    assert found["backprop"]["status"] == "ok" and math.isfinite(found["frozen"]["p_vs_backprop"])


@dataclass(frozen=True)
class Wants:
    """Reads a third factor that nobody gives."""

    reads: frozenset = claims("pre", "dopamine")

    def update(self, rec, third, state):
        raise AssertionError("never reached")


def test_an_unsupported_cell_is_a_row_with_its_reason(blobs):
    recipe = by_local_rule("impossible", Wants(), 0.1)
    with pytest.warns(UserWarning, match="impossible: unsupported, .*reads dopamine") as said:
        rows = compare([recipe], small, blobs, epochs=1, seeds=(0, 1))
    assert len(said) == 1 and len(rows) == 2 and all(math.isnan(r["value"]) for r in rows)
    (cell,) = run_cells([recipe], small, blobs, epochs=1, seeds=(0,))
    assert cell.status == "unsupported" and "reads dopamine" in cell.reason and "\n" not in cell.reason
    net, example = small((1, 8, 8), 3), next(blobs.batches(blobs.split(0), 0, 0))
    assert unsupported(recipe, net, example) == cell.reason
    assert unsupported(CORE["backprop"], net, example) is None


def test_a_net_without_a_layer_called_readout_is_told_so(blobs):
    def unnamed(shape, outputs):
        return nn.Sequential(nn.Flatten(), mlp(shape, outputs, hidden=()).readout)

    (cell,) = run_cells([CORE["bcm"]], unnamed, blobs, epochs=1, seeds=(0,))
    assert cell.status == "unsupported" and "no synapse matches 'readout.*'" in cell.reason


def made_up(name, scores, curve=(0.2, 0.9)):
    rows = [
        {"recipe": name, "seed": s, "epoch": e, "samples": 100 * e, "layer": "", "quantity": "test", "value": v}
        for s, last in enumerate(scores)
        for e, v in enumerate((*curve, last))
    ]
    return [Cell(name, s, [r for r in rows if r["seed"] == s], n_train=1000, n_test=500) for s in range(len(scores))]


def test_summary_numbers_by_hand():
    a, b, f = [0.97, 0.98, 0.96, 0.97], [0.95, 0.96, 0.95, 0.93], [0.88, 0.89, 0.90, 0.87]
    recipes = [CORE[n] for n in ("backprop", "oja", "frozen")]
    cells = made_up("backprop", a) + made_up("oja", b, (0.2, 0.93)) + made_up("frozen", f, (0.2, 0.3))
    found = summary(cells, recipes)
    d = np.subtract(b, a)
    t = d.mean() / np.sqrt((1 / 4 + 500 / 1000) * d.var(ddof=1))
    p = 2 * stats.t.sf(abs(t), 3)
    d0 = np.subtract(f, a)
    p0 = 2 * stats.t.sf(abs(d0.mean() / np.sqrt((1 / 4 + 500 / 1000) * d0.var(ddof=1))), 3)
    assert found["oja"]["p_vs_backprop"] == pytest.approx(max(p, 2 * p0) if p > p0 else 2 * p)
    assert found["oja"]["difference_to_backprop"][0] == pytest.approx(d.mean())
    assert "p_vs_backprop" not in found["backprop"] and "p_vs_frozen" not in found["frozen"]
    # half way from .885 to .970 is .9275: oja has it at epoch 1 (.93), backprop only at epoch 2
    assert found["oja"]["samples_to_half"] == [100] * 4
    assert found["backprop"]["samples_to_half"] == [200] * 4
    assert found["frozen"]["samples_to_half"] == [None] * 4
    assert found["oja"]["reads"] == sorted({"pre", "post", "weight"})


def test_nothing_is_chosen_on_the_test_part():
    """The validation images of the tuning split are never among the tested ones."""
    task = digits()
    tuned_on = {x.numpy().tobytes() for s in range(3) for x in task.split(s, tuning=True).test_x}
    for s in range(3):
        tested = [x.numpy().tobytes() for x in task.split(s).test_x]
        assert not tuned_on.intersection(tested) and len(tested) == 500
