"""The study of labels needed: nested sets, equal steps, labels that cannot leak, and the numbers drawn from the rows."""

import math
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from neurosim import figures
from neurosim.cell import draw_net
from neurosim.credit import Backprop
from neurosim.keys import Job
from neurosim.networks import mlp
from neurosim.plasticity import Learner, Recipe, claims
from neurosim.recipes import recipes_for
from neurosim.study import load_study
from neurosim.tasks import TASKS

load_study("sample_efficiency")
study = sys.modules["studies.sample_efficiency"]


@dataclass(frozen=True)
class ReadsDopamine:
    reads: frozenset = claims("dopamine")

    def update(self, rec, third, state):
        raise AssertionError


@pytest.fixture
def task():
    study.task_of.cache_clear()  # the floating-point type of the tests
    yield study.task_of("digits", None)
    study.task_of.cache_clear()


def test_the_first_labels_are_one_of_each_class_and_all_images_stay(task) -> None:
    before = task.split(3)
    after = study.in_order(before, 10)
    assert sorted(after.train_y[:10].tolist()) == list(range(10))
    key = lambda x, y: sorted((int(label), *image.flatten().tolist()) for image, label in zip(x, y, strict=True))  # noqa: E731
    assert key(after.train_x, after.train_y) == key(before.train_x, before.train_y)
    for label in range(10):  # the one chosen is the first that the seed's shuffle put there
        at = next(i for i, y in enumerate(before.train_y.tolist()) if y == label)
        assert torch.equal(after.train_x[label], before.train_x[at])


@pytest.mark.parametrize("n", [10, 30, 1000])
def test_the_stream_shows_all_images_equally_often_in_equal_batches(n) -> None:
    index = study.stream(n, 200, seed=1)
    assert index.shape == (200, study.BATCH)
    shown = index.flatten().tolist()
    for start in range(0, len(shown) - n + 1, n):
        assert sorted(shown[start : start + n]) == list(range(n))
    assert shown[:n] != list(range(n)) and study.stream(n, 200, seed=2).flatten().tolist() != shown


def test_who_is_blind_to_labels_is_measured(task) -> None:
    batch = study.shown(task.split(0), torch.arange(32))
    found = set()
    for name, recipe in recipes_for("digits", "mlp").items():
        if study.blind_to_labels(Learner(draw_net(mlp, task, 0), recipe, batch, 0), batch):
            found.add(name)
    assert found == {"hebb", "oja", "sanger", "bcm", "softhebb", "hard-wta", "k-wta", "rbm", "autoencoder"}


def test_each_part_of_the_second_regime_moves_its_own_layers_alone(task) -> None:
    split = task.split(0)
    batch = study.shown(split, torch.arange(32))
    recipe = recipes_for("digits", "mlp")["oja"]
    net = draw_net(mlp, task, 0)
    drawn = {n: p.detach().clone() for n, p in net.named_parameters()}
    Learner(net, study.hidden_only(recipe), batch, 0).step(study.unlabelled(batch))
    hidden = {n: p.detach().clone() for n, p in net.named_parameters()}
    Learner(net, study.readout_only(recipe), batch, 0).step(batch)
    for n, p in net.named_parameters():
        of_readout = n.startswith("readout.")
        assert torch.equal(hidden[n], drawn[n]) == of_readout
        assert torch.equal(p, hidden[n]) == (not of_readout)


def test_layers_that_take_turns_have_a_third_of_the_steps() -> None:
    found = study.line_up("digits", 60)
    assert found["rbm"].credit.updates == found["autoencoder"].credit.updates == 20
    assert not found.keys() & {"backprop-bounded", "backprop-forward-forward", "feedback-alignment-tied"}


def test_backprop_as_plain_torch_on_the_same_stream(task) -> None:
    recipes = {"backprop": recipes_for("digits", "mlp")["backprop"]}
    rows, _ = study.learn(recipes, "digits", None, (10, 30), 6, Job("backprop", 1))
    split = task.split(1)
    chosen: list[int] = []  # a loop of its own: one image of each class, then the rest in the split's order
    for label in range(10):
        chosen.append(split.train_y.tolist().index(label))
    chosen += [i for i in range(len(split.train_y)) if i not in chosen]
    x, y = (split.train_x[chosen] - split.mean) / split.scale, split.train_y[chosen]
    for n, row in zip((10, 30), rows, strict=True):
        weights = [w.detach().clone().requires_grad_() for w in draw_net(mlp, task, 1).parameters()]
        optimizer = torch.optim.Adam(weights, recipes["backprop"].lr)

        def net(x, weights=weights):
            hidden = F.linear(F.linear(x.flatten(1), weights[0]).relu(), weights[1]).relu()
            return F.linear(hidden, weights[2])

        for index in study.stream(n, 6, 1):
            optimizer.zero_grad()
            F.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
        test = (split.test_x - split.mean) / split.scale
        right = (net(test).argmax(1) == split.test_y).double().mean().item()
        assert (row["regime"], row["labels"], row["value"]) == ("labelled", n, pytest.approx(right, abs=1e-12))


def test_rows_of_both_regimes_and_hashes_of_what_was_shown(task) -> None:
    recipes = study.line_up("digits", 4)
    rows, hashes = study.learn(recipes, "digits", None, (10, 30), 4, Job("softhebb", 0))
    assert {(r["regime"], r["labels"]) for r in rows} == {(a, n) for a in ("labelled", "all images") for n in (10, 30)}
    others, same = study.learn(recipes, "digits", None, (10, 30), 4, Job("frozen", 0))
    assert same == hashes and {r["regime"] for r in others} == {"labelled"}
    assert study.learn(recipes, "digits", None, (10, 30), 4, Job("frozen", 1))[1] != hashes


def test_a_recipe_that_cannot_run_is_rows_with_a_reason(task) -> None:
    recipes = {"odd": Recipe("odd", {"*": ReadsDopamine()}, Backprop())}
    rows, hashes = study.learn(recipes, "digits", None, (10, 30), 4, Job("odd", 0))
    assert len(rows) == 2 and not hashes
    assert all(math.isnan(r["value"]) and "dopamine" in r["reason"] for r in rows)


def test_nearest_neighbour_by_a_loop(task) -> None:
    rows = study.nearest_neighbour("digits", None, 0, (10, 30))
    split = task.split(0)
    first = study.in_order(split, 10)
    right = 0
    for image, label in zip(split.test_x[:500].numpy(), split.test_y.tolist(), strict=True):
        distances = [((image - other) ** 2).sum() for other in first.train_x[:30].numpy()]
        right += int(first.train_y[int(np.argmin(distances))]) == label
    assert rows[1]["value"] == pytest.approx(right / 500, abs=0.003)  # ties


def test_crossing_by_hand() -> None:
    labels = (10, 100, 1000)
    assert study.crossing(labels, (0.2, 0.6, 0.8), 0.4) == pytest.approx(math.sqrt(1000))  # half way in log n
    assert study.crossing(labels, (0.2, 0.6, 0.8), 0.8) == pytest.approx(1000)
    assert study.crossing(labels, (0.5, 0.6, 0.8), 0.4) == 10
    assert math.isnan(study.crossing(labels, (0.2, 0.6, 0.8), 0.9))


def made_up(seeds: int = 5) -> list[dict]:
    """oja far above frozen at n = 100 alone; backprop above all."""
    levels = {"frozen": (0.4, 0.6), "oja": (0.4, 0.7), "backprop": (0.5, 0.9), study.NEIGHBOUR: (0.5, 0.8)}
    g = np.random.default_rng(0)
    return [
        {"recipe": recipe, "seed": s, "task": "digits", "regime": "labelled", "labels": n, "quantity": "test",
         "value": float(level + g.normal(0, 0.004)), "reason": ""}
        for recipe, both in levels.items() for n, level in zip((10, 100), both, strict=True) for s in range(seeds)
    ]  # fmt: skip


def test_paired_tests_by_hand(task) -> None:
    rows = made_up()
    scores = study.scores_of(rows, "digits")
    found = {(r["recipe"], r["labels"], r["quantity"]): r["value"] for r in study.tests(scores, task, (10, 100))}
    p = []
    for recipe in ("oja", "backprop"):
        d = scores[recipe, "labelled"][1] - scores["frozen", "labelled"][1]
        t = d.mean() / math.sqrt((1 / 5 + 500 / 1000) * d.var(ddof=1))  # 1,000 of 1,500 images are left to learn from
        p.append(2 * stats.t.sf(abs(t), 4))
    high, low = max(p), min(p)
    expected = [max(2 * low, high) if q == high else 2 * low for q in p]  # Holm over two
    assert found["oja", 100, "p vs frozen"] == pytest.approx(expected[0])
    assert found["backprop", 100, "p vs frozen"] == pytest.approx(expected[1])
    assert not any(key[0] == study.NEIGHBOUR for key in found)


def test_half_the_gap_and_the_figure_from_its_files(task, tmp_path) -> None:
    rows = made_up()
    scores = study.scores_of(rows, "digits")
    rows += study.to_half(scores, "digits", (10, 100)) + study.tests(scores, task, (10, 100))
    assert study.half_the_gap(scores) == pytest.approx((0.4 + 0.9) / 2, abs=0.01)
    manifest = {"config": {"quick": False, "steps": 4}, "seeds": list(range(5))}
    figures.save("toy", study.draw(rows, manifest), rows, out=tmp_path, manifest=manifest)
    again, manifest = figures.load("toy", tmp_path)
    marks = study.signs(again)
    assert marks["oja", "labelled", "frozen"] == "·+" and marks["oja", "labelled", "backprop"] == "−−"
    figure = study.draw(again, manifest)
    dots = next(
        ax for part in figure.subfigs for side in part.subfigs for ax in side.axes if ax.get_title("left")[:1] == "E"
    )
    names = [label.get_text() for label in dots.get_yticklabels()]
    assert names[-1] == study.NEIGHBOUR or names[-1] == "backprop"
    assert names[0] == "frozen"  # never reaches .65
    assert any("not reached: 0.60" in text.get_text() for text in dots.texts)


def test_few_seeds_call_nothing_real(task) -> None:
    rows = made_up(seeds=3)
    rows += study.tests(study.scores_of(rows, "digits"), task, (10, 100))
    assert set("".join(study.signs(rows).values())) == {"·"}


def test_the_line_up_is_that_of_the_task() -> None:
    assert set(study.PANELS[0][1]) <= set(study.FAMILIES) and set(TASKS) >= {"digits", "fashion"}
    shown = {recipe for _, families, _ in study.PANELS for family in families for recipe in study.FAMILIES[family]}
    assert shown | {"frozen"} >= set(study.line_up("digits", 60))  # no recipe is left out of the figure
