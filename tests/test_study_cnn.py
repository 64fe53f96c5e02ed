"""The line-up on LeNet: what the second floor is, the reference in plain torch, the claims, and a run that resumes."""

import math
import sys
from dataclasses import dataclass, replace

import pytest
import torch

from neurosim import figures
from neurosim.cell import Cell, draw_net, run_cell
from neurosim.credit import Backprop
from neurosim.networks import cnn
from neurosim.plasticity import Learner, Recipe, claims
from neurosim.study import Mode, load_study
from neurosim.tasks import Task

load_study("credit_cnn")
study = sys.modules["studies.credit_cnn"]


@dataclass(frozen=True)
class ReadsDopamine:
    reads: frozenset = claims("dopamine")

    def update(self, rec, third, state):
        raise AssertionError


@pytest.fixture
def task():
    """Ten patterns in noise, in the shape of the images."""
    g = torch.Generator().manual_seed(0)
    pattern, noise = torch.randn(10, 1, 28, 28, generator=g), torch.randn(240, 1, 28, 28, generator=g)
    y = torch.arange(240) % 10
    x = pattern[y] + 2 * noise
    return Task.from_arrays(
        x, y, test_x=x[:60].clone(), test_y=y[:60], name="fashion", validation_size=20, network="cnn"
    )


def named(name):
    return next(r for r in study.line_up() if r.name == name)


def test_the_second_floor_is_backprop_without_filters(task) -> None:
    batch = next(task.batches(task.split(0), 0, 0))
    learners = [Learner(draw_net(cnn, task, 0), named(n), batch, 0) for n in ("backprop", study.FLOOR)]
    drawn = {n: p.detach().clone() for n, p in draw_net(cnn, task, 0).named_parameters()}
    for _ in range(2):  # the readout starts at 0, so the first step moves nothing below it
        both = [learner.step(batch) for learner in learners]
    assert set(both[0]) - set(both[1]) == {"conv1.input", "conv2.input"}
    whole, floor = (dict(learner.net.named_parameters()) for learner in learners)
    for n, p in floor.items():
        if n.startswith("conv"):
            assert torch.equal(p, drawn[n]) and not torch.equal(whole[n], drawn[n])
    assert (
        learners[0].recipe.lr == learners[1].recipe.lr
        and learners[0].optimizers[0].defaults == learners[1].optimizers[0].defaults
    )


def test_plain_torch_and_the_learner_end_alike(task) -> None:
    backprop = named("backprop")
    ours = run_cell(backprop, cnn, task, 1, 2).final("test")
    assert study.plain_torch(task, 1, 2, backprop.lr) == pytest.approx(ours, abs=1e-9)
    assert ours > 0.3  # it learns: chance is .1
    assert study.plain_torch(task, 1, 2, 0.0) < 0.3


def cells() -> list[Cell]:
    """Made up: two seeds of backprop, the second floor, the tied control."""

    def one(recipe, seed, score):
        at = {"recipe": recipe, "seed": seed, "epoch": 1, "samples": 10}
        layers = study.LAYERS[2:] if recipe == study.FLOOR else study.LAYERS
        rows = [{**at, "layer": n, "quantity": "alignment", "value": 1.0} for n in layers]
        rows.append({**at, "layer": "", "quantity": "test", "value": score})
        return Cell(recipe, seed, rows, init_hash=f"i{seed}", batch_hash=f"b{seed}", n_train=100, n_test=100)

    return [
        one(r, s, v + s / 100) for r, v in (("backprop", 0.8), (study.FLOOR, 0.75), (study.TIED, 0.8)) for s in (0, 1)
    ]


def held(some, plain=(0.8, 0.81), full=False) -> list[bool]:
    return [c["holds"] for c in study.claims_of(some, plain, full)]


def test_claims_hold_and_each_can_fail() -> None:
    assert held(cells()) == [True] * 7 and held(cells(), full=True) == [True] * 7 + [False]  # .805 < .85
    other = cells()
    other[3] = replace(other[3], batch_hash="b0")
    assert held(other) == [False] + [True] * 6
    other[3] = replace(cells()[3], init_hash="i0")
    assert held(other) == [True, False] + [True] * 5
    other = cells()
    other[0].rows[0]["value"] = 0.9
    assert held(other).index(False) == 2
    other = cells()
    other[2].rows[-2]["value"] = math.nan  # no update in the readout
    assert not held(other)[3]
    other = cells()
    other[2].rows.append({**other[2].rows[0], "layer": "conv1"})
    assert held(other).index(False) == 4
    assert held(cells(), plain=(0.8, 0.83)).index(False) == 5
    other = cells()
    other[4].rows[-1]["value"] = 0.82
    assert held(other).index(False) == 6
    assert not held(cells()[:4])[6]  # without the control it does not hold


def test_a_run_its_figure_and_what_a_second_run_finds(task, tmp_path, monkeypatch) -> None:
    few = [named(n) for n in ("backprop", "frozen", study.FLOOR, study.TIED)]
    odd = Recipe("odd", {"*": ReadsDopamine()}, Backprop())
    monkeypatch.setattr(study, "line_up", lambda: [*few, odd])
    monkeypatch.setitem(study.TASKS, "fashion", lambda data: task)
    monkeypatch.setattr(study.os, "cpu_count", lambda: 1)
    mode = Mode(seeds=2, quick=True, out=tmp_path)
    rows, made = study.run(mode)
    assert all(c["holds"] for c in made)
    assert len(list((tmp_path / ".cells").glob("*.json"))) == 10
    assert [r["reason"] for r in rows if r["recipe"] == "odd" and r.get("reason")][0].count("dopamine") == 1
    difference = {r["recipe"]: r["value"] for r in rows if r["quantity"] == f"difference to {study.FLOOR}"}
    final = {
        n: [r["value"] for r in rows if r["recipe"] == n and r["quantity"] == "test" and r["epoch"] == 1]
        for n in difference
    }
    floor = [r["value"] for r in rows if r["recipe"] == study.FLOOR and r["quantity"] == "test" and r["epoch"] == 1]
    assert difference["backprop"] == pytest.approx(
        sum(a - b for a, b in zip(final["backprop"], floor, strict=True)) / 2
    )

    def never(*args, **kwargs):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr("neurosim.compare.run_cell", never)
    assert str(study.run(mode)[0]) == str(rows)  # as text, since nan is not equal to itself

    manifest = {"config": {"quick": True}, "seeds": [0, 1]}
    figures.save("toy", study.draw(rows, manifest), rows, out=tmp_path, manifest=manifest)
    figure = study.draw(*figures.load("toy", tmp_path))
    scores, words, _ = figure.axes
    assert {label.get_text().rstrip(" †") for label in scores.get_yticklabels()} == {r.name for r in few}
    assert not any("real" in text.get_text() for text in words.texts)  # two seeds
    assert "odd: unsupported" in figure.get_supxlabel()


def test_slow_recipes_have_fewer_seeds_with_full_alone(task, tmp_path, monkeypatch) -> None:
    asked = []

    def run_cells(some, net, task, *, seeds, **how):
        asked.extend((r.name, len(seeds)) for r in some)
        return [replace(c, seed=c.seed) for c in cells() if c.recipe in [r.name for r in some]]

    monkeypatch.setattr(study, "run_cells", run_cells)
    monkeypatch.setattr(study, "plain_torch", lambda *args: 0.8)
    monkeypatch.setitem(study.TASKS, "fashion", lambda data: task)
    for full, slow in ((True, study.SLOW_SEEDS), (False, 2)):
        asked.clear()
        study.run(Mode(seeds=2, full=full, out=tmp_path))
        assert {name: n for name, n in asked if n != 2} == ({s: slow for s in study.SLOW} if full else {})
        assert len(asked) == len(study.line_up())
