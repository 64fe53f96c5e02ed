"""The search: what it tries, what it stores, that it never sees the test part; and every bad file in one sentence."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam

from neurosim import cli, recipes, tuned, tuning
from neurosim.compare import Cell
from neurosim.credit import Backprop
from neurosim.networks import mlp
from neurosim.plasticity import Gradient, Recipe
from neurosim.store import alone
from neurosim.tasks import Task, digits
from neurosim.tuned import read, read_curves, source, values_for
from neurosim.tuning import best, edge, plan, proposals, search

EPOCHS = 2


@pytest.fixture(autouse=True)
def single_precision(exact_and_seeded, tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Line:
    """A line of a line-up: Adam or SGD on all layers."""

    name: str
    space: dict
    start: dict
    optimizer: object = Adam
    follows: str = ""

    def recipe(self, values, convolutional):
        lr = {**self.start, **values}["lr"]
        return Recipe(self.name, {"*": Gradient()}, Backprop(), lr=lr, optimizer=self.optimizer)


LINES = {
    "adam": Line("adam", {"lr": (1e-4, 1e-1)}, {"lr": 1e-3}),
    "sgd": Line("sgd", {"lr": (1e-3, 10.0), "unused": (1.0, 2.0)}, {"lr": 1e-2, "unused": 1.5}, SGD),
    "fixed": Line("fixed", {}, {"lr": 1e-3}),
}


def small(shape, outputs):
    return mlp(shape, outputs, hidden=(8,))


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping Gaussian clouds, with a test set of their own."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    x = (rng.normal(size=(3, 1, 4, 4))[y] + 1.5 * rng.normal(size=(150, 1, 4, 4))).astype(np.float32)
    return Task.from_arrays(x[:100], y[:100], name="blobs", validation_size=40, test_x=x[100:], test_y=y[100:])


def tuned_on(task, path, lines=LINES, trials=3, seeds=2, workers=1):
    """What the search gives: the CSV's text, and the best of each recipe."""
    jobs = plan(lines, "blobs", "mlp", False, trials, seeds)
    list(search(jobs, small, task, path, epochs=EPOCHS, workers=workers))
    curves = read_curves(path, EPOCHS)
    return path.read_text(), {n: best(e, [j for j in jobs if j.key.recipe == n], curves) for n, e in lines.items()}


# ---------------------------------------------------------------------------------------------- what is tried
def test_the_first_trial_is_the_start_and_the_others_lie_in_the_space():
    space = {"lr": (1e-4, 3e-2), "sigma": (0.01, 1.0)}
    tried = proposals(space, {"lr": 2e-3, "sigma": 0.1, "other": 7.0}, 12, "a")
    assert len(tried) == 12 and tried[0] == {"lr": 2e-3, "sigma": 0.1}
    assert all(space[n][0] * 0.99 <= v <= space[n][1] * 1.01 for t in tried[1:] for n, v in t.items())
    assert len({t["lr"] for t in tried}) == len({t["sigma"] for t in tried}) == 12


def test_trials_are_drawn_from_their_key_alone_and_fewer_are_the_first_of_more():
    space, start = {"lr": (1e-6, 1.0)}, {"lr": 1e-3}
    twelve = proposals(space, start, 12, "digits mlp oja 0")
    np.random.seed(5)
    assert proposals(space, start, 12, "digits mlp oja 0") == twelve
    assert proposals(space, start, 5, "digits mlp oja 0") == twelve[:5]
    assert proposals(space, start, 12, "digits mlp bcm 0")[1:] != twelve[1:]


@pytest.mark.parametrize("names", (("lr",), ("lr", "sigma")))
def test_trials_are_spread_evenly_over_the_logarithm(names):
    """Of any 8 successive points in base 2, one lies in each eighth (circularly shifted); independent draws leave gaps."""
    for key in "abcdefgh":
        tried = proposals(dict.fromkeys(names, (1e-4, 1.0)), dict.fromkeys(names, 1e-2), 12, key)[1:]
        u = np.sort([math.log10(t[names[0]]) / 4 + 1 for t in tried])
        gaps = np.diff(np.append(u, u[0] + 1))
        assert gaps.max() < 0.13, key
    assert np.diff(np.sort(np.random.default_rng(0).random(11))).max() > 0.13


def test_every_recipe_of_the_line_up_has_the_same_number_of_trials():
    lines = {n: e for n, e in recipes.LINE_UP.items() if not e.follows}
    for convolutional in (False, True):
        jobs = plan(lines, "digits", "mlp", convolutional, 3, 2)
        per = {n: sum(j.key.recipe == n for j in jobs) for n in lines}
        assert per == {n: 6 if e.space else 2 for n, e in lines.items()}
        assert all(j.recipe.name == j.key.recipe for j in jobs)
    assert all(1 <= len(e.space) <= 2 and e.space.keys() <= e.start.keys() for e in lines.values())


def test_the_best_value_of_a_known_score_is_found(monkeypatch, tmp_path, blobs):
    """score = -(log10 lr - log10 .02)^2 over four decades: twelve trials come within half the largest gap, 1/4 decade."""

    def known(recipe, make_net, task, seed, epochs, device, tuning):
        assert tuning
        value = -((math.log10(recipe.lr) - math.log10(0.02)) ** 2)
        rows = [{"epoch": e, "quantity": "test", "value": value} for e in range(epochs + 1)]
        return Cell(recipe.name, seed, rows)

    monkeypatch.setattr(tuning, "run_cell", known)
    _, found = tuned_on(blobs, tmp_path / "a.csv", {"adam": Line("adam", {"lr": (1e-4, 1.0)}, {"lr": 1e-3})}, 12)
    assert abs(math.log10(found["adam"].values["lr"] / 0.02)) < 0.26
    assert found["adam"].at_start == pytest.approx(-(math.log10(20) ** 2), abs=1e-5)
    assert found["adam"].edges == () and found["adam"].mean > found["adam"].at_start


@pytest.mark.parametrize(
    "value, side", [(1e-4, "low"), (1.4e-4, "low"), (1e-5, "low"), (1e-2, ""), (0.8, "high"), (3.0, "high")]
)
def test_the_edge_is_the_outer_tenth(value, side):
    assert edge(value, (1e-4, 1.0)) == side


# ---------------------------------------------------------------------------------------------- what is chosen
def curves_of(jobs, scores):
    """scores[trial][seed], the last of two epochs."""
    return {j.key: tuned.Curve(tuned.text_of(j.values), (0.9, 0.1, scores[j.key.trial][j.key.seed])) for j in jobs}


def test_the_highest_mean_wins_the_first_of_equal_ones_and_never_a_diverged_trial():
    line = LINES["adam"]
    jobs = plan({"adam": line}, "blobs", "mlp", False, 4, 2)
    values = [j.values for j in jobs[::2]]
    got = best(line, jobs, curves_of(jobs, [(0.5, 0.6), (0.7, 0.8), (0.8, 0.7), (0.99, math.nan)]))
    assert got.values == values[1] and got.validation == (0.7, 0.8)
    assert (got.mean, got.at_start, got.diverged) == (0.75, 0.55, 1)
    assert best(line, jobs, curves_of(jobs, [(math.nan, 0.6)] * 4)) is None
    some = curves_of(jobs, [(0.5, 0.6)] * 4)
    assert best(line, jobs, some).values == line.start
    del some[jobs[-1].key]
    assert best(line, jobs, some) is None  # a search that is not finished chooses nothing


def test_a_diverged_trial_counts_and_has_score_nan(blobs, tmp_path):
    wild = Line("wild", {"lr": (1e17, 1e18)}, {"lr": 1e-2}, SGD)
    text, found = tuned_on(blobs, tmp_path / "a.csv", {"wild": wild}, trials=2)
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 2 * 2 * (EPOCHS + 1)
    assert {r["validation"] for r in rows if r["trial"] == "1" and r["epoch"] == str(EPOCHS)} == {"nan"}
    assert found["wild"].values == {"lr": 1e-2} and found["wild"].diverged == 1


# ---------------------------------------------------------------------------------------------- the test part
def test_poisoned_test_samples_change_nothing(blobs, tmp_path):
    clean, poisoned = tmp_path / "clean.csv", tmp_path / "poisoned.csv"
    bad = replace(blobs, test_x=torch.full_like(blobs.test_x, math.nan), test_y=blobs.test_y.flip(0))
    assert tuned_on(bad, poisoned) == tuned_on(blobs, clean)


def test_poisoned_validation_labels_change_the_result(blobs, tmp_path):
    class Poisoned(Task):
        def split(self, seed, tuning=False):
            got = super().split(seed, tuning)
            return replace(got, test_y=(got.test_y + 1) % 3)

    bad = Poisoned(**vars(blobs))
    assert tuned_on(bad, tmp_path / "poisoned.csv") != tuned_on(blobs, tmp_path / "clean.csv")


def test_digits_are_scored_on_the_validation_part_only(tmp_path):
    """Where a seed draws its test part from the same samples: no other part is even asked for."""
    asked = []

    class Watched(Task):
        def split(self, seed, tuning=False):
            asked.append(tuning)
            return super().split(seed, tuning)

    task = Watched(**vars(digits().limited(64)))
    tuned_on(task, tmp_path / "a.csv", {"adam": LINES["adam"]}, trials=2, seeds=1)
    assert asked == [True, True]


# ---------------------------------------------------------------------------------------------- resume
def test_killed_at_any_moment_the_csv_ends_the_same(blobs, tmp_path, monkeypatch):
    whole, found = tuned_on(blobs, tmp_path / "whole.csv")
    ran = []
    once = tuning.run_cell

    def counted(recipe, *others, tuning):
        ran.append(recipe.name)
        return once(recipe, *others, tuning=tuning)

    monkeypatch.setattr(tuning, "run_cell", counted)
    path = tmp_path / "killed.csv"
    for at in np.random.default_rng(3).integers(0, len(whole), 10):
        path.write_text(whole[:at])
        kept = len(read_curves(path, EPOCHS))
        ran.clear()
        assert tuned_on(blobs, path) == (whole, found)
        assert len(ran) == len(read_curves(path, EPOCHS)) - kept  # only what was missing
    ran.clear()
    assert tuned_on(blobs, path) == (whole, found) and not ran


@pytest.mark.slow
def test_one_line_up_in_processes_gives_the_same(blobs, tmp_path):
    lines = {"adam": recipes.LINE_UP["backprop"], "np": recipes.LINE_UP["node-perturbation"]}
    alone = tuned_on(blobs, tmp_path / "alone.csv", lines, trials=2, seeds=1)
    assert tuned_on(blobs, tmp_path / "spread.csv", lines, trials=2, seeds=1, workers=2) == alone


def test_another_space_is_searched_anew_and_other_recipes_stay(blobs, tmp_path):
    path = tmp_path / "a.csv"
    before, _ = tuned_on(blobs, path)
    other = {"adam": replace(LINES["adam"], space={"lr": (1e-3, 1e-2)})}
    after, found = tuned_on(blobs, path, other)
    sgd = re.compile("^sgd.*$", re.M)
    assert sgd.findall(after) == sgd.findall(before)
    assert after.count("adam,") == before.count("adam,") and after != before
    assert 1e-3 <= found["adam"].values["lr"] <= 1e-2


def test_a_damaged_csv_is_told_by_its_line(blobs, tmp_path):
    path = tmp_path / "a.csv"
    text, _ = tuned_on(blobs, path)
    path.write_text(text.replace("adam,0,1,1,", "adam,0,1,7,"))
    with pytest.raises(ValueError, match=r"a\.csv, line 6, 'adam,0,1,7,.*remove it"):
        read_curves(path, EPOCHS)
    path.write_text("recipe;trial\n")
    with pytest.raises(ValueError, match="not a tuning's CSV"):
        read_curves(path, EPOCHS)


# ---------------------------------------------------------------------------------------------- the files
GOOD = {
    "format": 1, "neurosim": "0.1.0", "data": "8b3b", "task": "digits", "network": "mlp", "date": "2026-11-22", "command": "",
    "trials": 10, "seeds": 2, "epochs": 15, "n_train": 1000, "n_validation": 297,
    "recipes": {"oja": {"values": {"lr": 3e-4}, "validation": 0.9, "space": {"lr": [1e-6, 1.0]}}},
}  # fmt: skip
KNOWN = {"oja": ["lr"], "bcm": ["lr", "tau"]}


def given(**values):
    return {"recipes": {"oja": {**GOOD["recipes"]["oja"], "values": values}}}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.json"
    tuned.write(path, GOOD)
    assert read(path) == GOOD and '"lr": [1e-06, 1.0]' in path.read_text()
    assert values_for("digits", "mlp", path, KNOWN) == {"oja": {"lr": 3e-4}}
    assert source("digits", "mlp", path) == "a.json, 2026-11-22, 10 trials of 2 seeds"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": 2}, "written in tuning format 2, this neurosim reads 1: run `neurosim tune digits --network mlp` again"),
        ({"format": None}, "format null"),
        ({"network": "cnn"}, "tuned on the network cnn, not on mlp"),
        ({"trials": 0}, "trials is 0"),
        ({"date": 3}, "date is 3"),
        ({"recipes": []}, "recipes must be a table"),
        ({"recipes": {"oja": {}}}, "oja lacks values, validation, space"),
        ({"recipes": {"oja": 1}}, "oja lacks values"),
        (given(lr=-1.0), "lr of oja is -1.0, it must be a positive, finite number"),
        (given(lr=0), "lr of oja is 0,"),
        (given(lr=math.inf), "lr of oja is Infinity"),
        (given(lr=math.nan), "lr of oja is NaN"),
        (given(lr=True), "lr of oja is true"),
        (given(lr="0.1"), 'lr of oja is "0.1"'),
        (given(tua=1.0), "gives oja the unknown value 'tua'"),
        ({"recipes": {"ojaa": GOOD["recipes"]["oja"]}}, "unknown recipe 'ojaa': did you mean oja"),
    ],
)  # fmt: skip
def test_a_bad_tuning_file_is_one_sentence(change, said, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ValueError) as error:
        values_for("digits", "mlp", path, KNOWN)
    assert said in str(error.value) and "mine.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, said", [("{", "not valid JSON"), ("[]", "not a tuning file"), ("{}", 'has no "format"')]
)
def test_what_is_no_tuning_file_is_one_sentence(text, said, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        values_for("digits", "mlp", path)
    path.write_text(json.dumps({k: v for k, v in GOOD.items() if k not in ("task", "recipes")}))
    with pytest.raises(ValueError, match="lacks task, recipes: run `neurosim tune TASK"):
        values_for("digits", "mlp", path)
    with pytest.raises(FileNotFoundError, match="nowhere.json is missing"):
        values_for("digits", "mlp", tmp_path / "nowhere.json")


def test_another_task_of_the_same_network_stands_in(tmp_path, monkeypatch):
    monkeypatch.setattr(tuned, "COMMITTED", tmp_path)
    assert values_for("mnist", "cnn") == {} and source("mnist", "cnn") == "start values"

    def committed(task, network, lr):
        tuned.write(tmp_path / f"{task}-{network}.json", {**GOOD, "task": task, "network": network, **given(lr=lr)})

    committed("digits", "spiking-mlp", 0.1)
    assert values_for("digits", "mlp") == {}
    committed("digits", "mlp", 0.2)
    committed("digits", "cnn", 0.3)
    committed("fashion", "cnn", 0.4)
    committed("text", "rnn", 0.5)
    found = {(t, n): values_for(t, n)["oja"]["lr"] for t, n in (
        ("digits", "mlp"), ("fashion", "mlp"), ("mnist", "cnn"), ("digits", "cnn"), ("recall", "rnn")
    )}  # fmt: skip
    assert list(found.values()) == [0.2, 0.2, 0.4, 0.3, 0.5]
    assert source("mnist", "cnn").startswith("fashion-cnn.json, ")


def test_the_committed_values_are_readable_and_known():
    for path in tuned.COMMITTED.glob("*.json"):
        content = read(path)
        assert path.name == f"{content['task']}-{content['network']}.json"
        names = {n: e.space for n, e in recipes.entries_for(content["network"]).items()}
        assert values_for(content["task"], content["network"], None, names)
        curves = read_curves(path.with_suffix(".csv"), content["epochs"])
        assert {k.recipe for k in curves} >= content["recipes"].keys()


# ---------------------------------------------------------------------------------------------- the command
SMALL = ["digits", "--network", "mlp", "--trials", "2", "--seeds", "1", "--epochs", "1", "--workers", "1"]


@pytest.fixture
def line_up(monkeypatch):
    lines = {**LINES, "follower": replace(LINES["fixed"], name="follower", follows="adam")}
    monkeypatch.setattr(recipes, "LINE_UP", lines)
    monkeypatch.setattr(recipes, "CORE", {"adam": None})


def run(*argv):
    with pytest.raises(SystemExit) as done:
        cli.main([str(a) for a in argv])
    return done.value.code


@pytest.mark.parametrize("what", ("neurosim", "data"))
def test_curves_of_another_version_or_other_data_are_not_gone_on_with(what, line_up, capsys):
    assert run("tune", *SMALL, "--limit", "100") == 0
    path = Path("runs/digits-mlp.json")
    path.write_text(path.read_text().replace(f'"{what}": "', f'"{what}": "0'))
    before = path.read_text(), Path("runs/digits-mlp.csv").read_text()
    capsys.readouterr()
    assert run("tune", *SMALL, "--limit", "100") == 2
    assert what in capsys.readouterr().err
    assert before == (path.read_text(), Path("runs/digits-mlp.csv").read_text())


def test_tune_writes_two_files_and_a_table(line_up, capsys):
    assert run("tune", *SMALL, "--limit", "100") == 0
    out = capsys.readouterr().out
    assert "adam" in out and "at start" in out and "written: runs/digits-mlp.json and .csv" in out
    content = read(Path("runs/digits-mlp.json"))
    assert content["neurosim"] and len(content["data"]) == 16
    assert {k: content[k] for k in tuned.SETTINGS[2:]} == {
        "task": "digits", "network": "mlp", "trials": 2, "seeds": 1, "epochs": 1, "n_train": 100, "n_validation": 297
    }  # fmt: skip
    assert list(content["recipes"]) == ["adam", "fixed", "sgd"] and content["recipes"]["fixed"]["values"] == {}
    rows = list(csv.DictReader(Path("runs/digits-mlp.csv").open()))
    assert len(rows) == (2 + 2 + 1) * 2
    ends = {t: float(r["validation"]) for r in rows for t in [(r["recipe"], r["trial"])] if r["epoch"] == "1"}
    for slug, entry in content["recipes"].items():
        assert entry["validation"] == max(v for (n, _), v in ends.items() if n == slug)


def test_rules_merges_and_refuses_other_settings(line_up, capsys, monkeypatch):
    assert run("tune", *SMALL, "--rules", "adam") == 0
    first = read(Path("runs/digits-mlp.json"))
    assert list(first["recipes"]) == ["adam"]
    assert run("tune", *SMALL, "--rules", "fixed") == 0
    both = read(Path("runs/digits-mlp.json"))
    assert list(both["recipes"]) == ["adam", "fixed"] and both["recipes"]["adam"] == first["recipes"]["adam"]
    before = {p: p.read_bytes() for p in Path("runs").glob("digits*")}
    capsys.readouterr()
    for flags, said in (
        (["--trials", "3"], "was tuned with trials 2, but this is trials 3"),
        (["--epochs", "2"], "epochs 1, but this is epochs 2"),
        (["--limit", "50"], "n_train 1000, but this is n_train 50"),
    ):
        assert run("tune", *SMALL, "--rules", "sgd", *flags) == 2
        error = capsys.readouterr().err
        assert said in error and "--out" in error and error.count("\n") == 1
    assert {p: p.read_bytes() for p in Path("runs").glob("digits*")} == before
    monkeypatch.setattr(tuning, "run_cell", lambda *a, **k: pytest.fail("all is stored"))
    assert run("tune", *SMALL, "--rules", "adam,fixed") == 0
    assert {p: p.read_bytes() for p in Path("runs").glob("*.csv")}.items() <= before.items()


def test_again_forgets_the_recipes_named(line_up, monkeypatch):
    assert run("tune", *SMALL, "--rules", "adam,fixed") == 0
    ran, once = [], tuning.run_cell
    monkeypatch.setattr(tuning, "run_cell", lambda recipe, *a, **k: ran.append(recipe.name) or once(recipe, *a, **k))
    before = Path("runs/digits-mlp.csv").read_bytes()
    assert run("tune", *SMALL, "--rules", "fixed", "--again") == 0
    assert ran == ["fixed"] and Path("runs/digits-mlp.csv").read_bytes() == before


@pytest.mark.parametrize(
    "argv, said",
    [
        (["digts"], "unknown task 'digts': did you mean digits"),
        (["digits", "--network", "ccn"], "unknown network 'ccn': did you mean cnn"),
        (["digits", "--rules", "adm"], "unknown rule 'adm': did you mean adam"),
        (["digits", "--rules", "follower"], "follower has the values of adam: tune that"),
        (["digits", "--trials", "0"], "--trials"),
        (["digits", "--seeds", "-1"], "--seeds"),
        (["digits", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(line_up, argv, said, capsys):
    assert run("tune", *argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("runs").exists()


def test_fewer_than_one_trial_or_seed_is_refused():
    with pytest.raises(ValueError, match="trials is 0"):
        proposals({"lr": (1.0, 2.0)}, {"lr": 1.0}, 0, "")
    with pytest.raises(ValueError, match="seeds is 0"):
        plan(LINES, "blobs", "mlp", False, 1, 0)
    with pytest.raises(ValueError, match="lr is searched from 0.0 to 2.0"):
        proposals({"lr": (0.0, 2.0)}, {"lr": 1.0}, 2, "")


def test_a_file_in_the_way_stays(line_up, capsys):
    Path("runs").mkdir()
    path = Path("runs/digits-mlp.json")
    path.write_text(json.dumps({**GOOD, "format": 2}))
    before = path.read_bytes()
    assert run("tune", *SMALL) == 2
    assert "written in tuning format 2" in (error := capsys.readouterr().err) and "move it away" in error
    assert path.read_bytes() == before
    path.rename("runs/digits-mlp.csv")
    assert run("tune", *SMALL) == 2
    assert "lies there without its digits-mlp.json" in capsys.readouterr().err


def test_two_tunings_do_not_write_one_file(line_up, capsys):
    Path("runs").mkdir()
    with alone(Path("runs"), "digits-mlp"):
        assert run("tune", *SMALL, "--rules", "fixed") == 2
        error = capsys.readouterr().err
        assert "digits-mlp" in error and error.count("\n") == 1 and not Path("runs/digits-mlp.csv").exists()
    assert run("tune", *SMALL, "--rules", "fixed") == 0


def test_all_diverged_ends_with_1_and_chooses_nothing(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "LINE_UP", {"wild": Line("wild", {"lr": (1e17, 1e18)}, {"lr": 1e18}, SGD)})
    assert run("tune", *SMALL) == 1
    assert "every trial diverged" in capsys.readouterr().out and read(Path("runs/digits-mlp.json"))["recipes"] == {}


def test_what_a_network_does_not_support_is_said(monkeypatch, capsys):
    entry = recipes.LINE_UP["backprop"]
    lost = Line("lost", {"lr": (1e-3, 1e-2)}, {"lr": 1e-3})
    monkeypatch.setattr(Line, "recipe", lambda s, v, c: Recipe("lost", {"conv9": Gradient()}, Backprop(), lr=v["lr"]))
    monkeypatch.setattr(recipes, "LINE_UP", {"lost": lost, "backprop": entry})
    assert run("tune", *SMALL) == 0
    assert "unsupported: lost: no synapse matches 'conv9'" in capsys.readouterr().out
    assert list(read(Path("runs/digits-mlp.json"))["recipes"]) == ["backprop"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT and SIGKILL")
@pytest.mark.parametrize("sent", (signal.SIGINT, signal.SIGKILL))
def test_ended_by_a_signal_it_goes_on_where_it_was(sent, tmp_path):
    argv = [sys.executable, "-c", "from neurosim.cli import main; main()", "tune", "digits", "--rules", "backprop",
            "--trials", "400", "--seeds", "1", "--epochs", "1", "--limit", "320", "--workers", "2"]  # fmt: skip
    p = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    path = tmp_path / "runs/digits-mlp.csv"
    for _ in range(600):
        if path.exists() and path.read_text().count("\n") > 5:
            break
        time.sleep(0.1)
    (os.killpg if sent == signal.SIGINT else os.kill)(p.pid, sent)
    _, err = p.communicate(timeout=60)
    assert p.returncode == (130 if sent == signal.SIGINT else -9)
    if sent == signal.SIGINT:  # a worker whose parent was killed may say what it likes
        assert "Traceback" not in err
        assert "interrupted with" in err and "goes on from there" in err
    with pytest.raises(ProcessLookupError):  # no worker is left behind
        for _ in range(100):
            os.killpg(p.pid, 0)
            time.sleep(0.1)
    kept = read_curves(path, 1)
    assert len(kept) >= 2 and all(k.trial < 400 for k in kept)
    assert {k: kept[k].values for k in kept} == {
        j.key: tuned.text_of(j.values)
        for j in plan({"backprop": recipes.LINE_UP["backprop"]}, "digits", "mlp", False, 400, 1)
        if j.key in kept
    }


def test_of_equal_ends_the_better_curve_wins():
    """What learned sooner; where lower is better, what fell sooner."""
    entry = recipes.LINE_UP["oja"]
    jobs = tuning.plan({"oja": entry}, "digits", "mlp", False, 3, 1)
    curves = {j.key: tuned.Curve(j.said, (0.1, middle, 0.9)) for j, middle in zip(jobs, (0.5, 0.8, 0.8), strict=True)}
    assert tuning.best(entry, jobs, curves).values == jobs[1].values
    assert tuning.best(entry, jobs, curves, lower=True).values == jobs[0].values
