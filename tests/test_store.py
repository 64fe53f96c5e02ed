"""Finished cells on disk: what survives, what is noticed, what is run again."""

import json
import math
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neurosim import checkpoint, cli
from neurosim import compare as comparing
from neurosim.compare import Cell, run_cells
from neurosim.keys import Job, cell_keys
from neurosim.networks import mlp
from neurosim.plasticity import claims
from neurosim.recipes import RECIPES, by_local_rule
from neurosim.store import Store, alone
from neurosim.tasks import Task

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(120, 1, 8, 8)), RNG.integers(0, 3, 120)


pytestmark = pytest.mark.usefixtures("single_precision")


def blobs(x=X, y=Y, **how):
    return Task.from_arrays(x, y, validation_size=12, test_size=30, **how)


def small(shape, outputs):
    return mlp(shape, outputs, hidden=(10, 8))


BACKPROP = RECIPES["backprop"]
THREE = [RECIPES[n] for n in ("backprop", "node-perturbation", "frozen")]


# ---------------------------------------------------------------------------------------------- cells on disk
ODD = [0.1 + 0.2, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1 / 3, 1e308, 0.0]


def odd_cell():
    rows = [{"recipe": "x/é", "seed": 3, "epoch": k, "samples": 10 * k, "layer": "a", "quantity": "test", "value": v}
            for k, v in enumerate(ODD)]  # fmt: skip
    return Cell("x/é", 3, rows, "diverged", "one 'reason', \"quoted\"\nin two lines", 0.1, "ab", "cd", 7, 8, [1.0, 0.0, 1 / 7],
                {"macs": 1e300})  # fmt: skip


def bits(cell):
    return [struct.pack("<d", v) for v in [r["value"] for r in cell.rows] + cell.each + list(cell.cost.values())]


def test_a_cell_comes_back_bit_for_bit(tmp_path):
    store, cell = Store(tmp_path / "deep/.cells"), odd_cell()
    assert store.find("k") is None
    store.keep("k", replace(cell, stored=True))
    back = store.find("k")
    assert bits(back) == bits(cell) and not back.stored
    assert [list(r.items())[:-1] for r in back.rows] == [list(r.items())[:-1] for r in cell.rows]  # order of keys too
    assert replace(back, rows=[]) == replace(cell, rows=[])
    assert [type(v) for v in back.rows[0].values()] == [type(v) for v in cell.rows[0].values()]
    assert [p.name for p in store.folder.iterdir()] == ["k.json"]
    assert Store(store.folder, fresh=True).find("k") is None


def test_a_damaged_file_is_noticed_wherever_it_was_cut_or_changed(tmp_path):
    store = Store(tmp_path)
    store.keep("k", odd_cell())
    path = store.path("k")
    whole = path.read_bytes()
    digit = whole.index(b"0.333333333333333") + 5
    damaged = [whole[:n] for n in (0, 1, 80, len(whole) // 2, len(whole) - 1)]
    damaged += [
        whole[:digit] + b"4" + whole[digit + 1 :],
        b"[1]",
        b"3",
        b"{}",
        b"\xff\xfe",
        whole.replace(b'"seed"', b'"sead"'),
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="is damaged or half written, its cell is run again") as said:
            assert store.find("k") is None
        assert len(said) == 1 and str(path) in str(said[0].message)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.keep("k", odd_cell())
    before = store.path("k").read_bytes()

    def full(*a):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        store.keep("k", replace(odd_cell(), reason="new"))
    assert store.path("k").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


# ---------------------------------------------------------------------------------------------- only what is missing
@pytest.fixture
def ran(monkeypatch):
    """The cells that were really run, in order."""
    done, run_cell = [], comparing.run_cell

    def told(recipe, make_net, task, seed, *a, **k):
        done.append((recipe.name, seed))
        return run_cell(recipe, make_net, task, seed, *a, **k)

    monkeypatch.setattr(comparing, "run_cell", told)
    return done


def all_of(cells):
    return {
        (c.recipe, c.seed): (c.rows, c.each, c.status, c.reason, c.init_hash, c.batch_hash, c.n_test) for c in cells
    }


def test_only_what_is_missing_is_run(tmp_path, ran):
    store, how = Store(tmp_path), dict(epochs=2, seeds=(0, 1))
    plain = all_of(run_cells(THREE, small, blobs(), **how))
    ran.clear()
    first = run_cells(THREE, small, blobs(), **how, store=store)
    begun = [next(first) for _ in range(4)]
    first.close()
    assert len(list(tmp_path.iterdir())) == len(ran) == 4  # each was there before it was given
    ran.clear()
    rest = list(run_cells(THREE, small, blobs(), **how, store=store))
    assert [c.stored for c in rest] == [True] * 4 + [False] * 2
    assert ran == [("frozen", 0), ("frozen", 1)] and all_of(rest) == plain and all_of(begun).items() <= plain.items()
    ran.clear()
    assert all_of(run_cells(THREE, small, blobs(), **how, store=store)) == plain and not ran
    more = list(run_cells(THREE, small, blobs(), epochs=2, seeds=range(3), store=store))
    assert ran == [(r.name, 2) for r in THREE] and len(more) == 9
    ran.clear()
    list(run_cells(THREE, small, blobs(), **how, store=Store(tmp_path, fresh=True)))
    assert len(ran) == 6


def test_a_damaged_cell_alone_is_run_again(tmp_path, ran):
    store, how = Store(tmp_path), dict(epochs=1, seeds=(0, 1))
    plain = all_of(run_cells(THREE, small, blobs(), **how, store=store))
    ran.clear()
    (path,) = tmp_path.glob("frozen-seed1-*")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="damaged"):
        assert all_of(run_cells(THREE, small, blobs(), **how, store=store)) == plain
    assert ran == [("frozen", 1)]
    assert all(c.stored for c in run_cells(THREE, small, blobs(), **how, store=store))


def test_failures_are_kept_with_their_reasons(tmp_path, ran):
    bad = [replace(BACKPROP, name="exploding", optimizer=torch.optim.SGD, lr=1e18),
           by_local_rule("impossible", Wants(), 0.1)]  # fmt: skip
    plain = list(run_cells(bad, small, blobs(), epochs=1, seeds=(0,), store=Store(tmp_path)))
    again = list(run_cells(bad, small, blobs(), epochs=1, seeds=(0,), store=Store(tmp_path)))
    assert len(ran) == 2 and [c.status for c in again] == ["diverged", "unsupported"]
    assert [c.reason for c in again] == [c.reason for c in plain] and "dopamine" in again[1].reason
    assert repr(again[0].rows) == repr(plain[0].rows)


@dataclass(frozen=True)
class Wants:
    """Reads a third factor that nobody gives."""

    reads: frozenset = claims("pre", "dopamine")

    def update(self, rec, third, state):
        raise AssertionError("never reached")


def test_the_score_of_every_test_item(tmp_path):
    """From the task's `scores`, against a count over the net's answers; none is made up for a task without."""
    (cell,) = run_cells(
        [BACKPROP], small, blobs(), epochs=1, seeds=(0,), checkpoints=lambda job: tmp_path / f"{job}.pt"
    )
    task, split = blobs(), blobs().split(0)
    learner = comparing.Learner(small(task.shape, 3), BACKPROP, next(task.batches(split, 0, 0)))
    checkpoint.load(learner, tmp_path / "backprop, seed 0.pt")
    answers = [learner.net(split.inputs(x[None])).argmax().item() for x in split.test_x]
    assert cell.each == [float(a == y) for a, y in zip(answers, split.test_y.tolist())] and 0 < sum(cell.each) < 30
    assert cell.final("test") == pytest.approx(np.mean(cell.each))

    class Silent:
        """A task that scores, but says nothing of single items."""

        def __getattr__(self, name):
            if name == "scores":
                raise AttributeError(name)
            return getattr(task, name)

    (cell,) = run_cells([BACKPROP], small, Silent(), epochs=1, seeds=(0,))
    assert cell.each == [] and math.isfinite(cell.final("test"))


def test_a_stored_cell_without_its_checkpoint_is_run_again(tmp_path, ran):
    store, nets = Store(tmp_path / "cells"), tmp_path
    how = dict(seeds=(0,), store=store, checkpoints=lambda job: nets / f"{job.recipe}-{job.seed}.pt")
    plain = all_of(run_cells(THREE, small, blobs(), epochs=1, **how))
    assert sorted(p.name for p in nets.glob("*.pt")) == ["backprop-0.pt", "frozen-0.pt", "node-perturbation-0.pt"]
    ran.clear()
    (nets / "frozen-0.pt").unlink()
    (nets / "backprop-0.pt").write_bytes(b"half")
    assert all_of(run_cells(THREE, small, blobs(), epochs=1, **how)) == plain
    assert ran == [("backprop", 0), ("frozen", 0)]
    ran.clear()
    with pytest.raises(ValueError, match="backprop-0.pt is a checkpoint of another run or network: move it away"):
        list(run_cells(THREE[:1], small, blobs(), epochs=2, **how))  # it would replace the shorter run's network
    assert ran == []
    content = checkpoint.read(nets / "backprop-0.pt")
    assert content["cell"] == cell_keys(THREE, small, blobs(), [0], epochs=1, device="cpu")[Job("backprop", 0)]


def test_the_random_state_and_threads_around_do_not_matter(monkeypatch):
    """A net that draws while it learns gives the same rows wherever in a run its cell stands."""

    def noisy(shape, outputs):
        parts = OrderedDict(small(shape, outputs).named_children())
        last = parts.popitem()
        return torch.nn.Sequential(OrderedDict([*parts.items(), ("dropout", torch.nn.Dropout(0.5)), last]))

    alone_ = all_of(run_cells([BACKPROP], noisy, blobs(), epochs=1, seeds=(1,)))
    torch.manual_seed(99)
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    later = all_of(run_cells([RECIPES["frozen"], BACKPROP], noisy, blobs(), epochs=1, seeds=(0, 1)))
    assert later["backprop", 1] == alone_["backprop", 1]
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == 2


# ---------------------------------------------------------------------------------------------- one run at a time
def take(folder, ready):
    with alone(folder, "figure"):
        ready.set()
        signal.pause()


@pytest.mark.skipif(os.name != "posix", reason="locks of files as POSIX has them")
def test_a_second_run_is_refused_and_a_dead_one_taken_over(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=take, args=(tmp_path, ready), daemon=True)
    other.start()
    assert ready.wait(60)
    lock = tmp_path / ".figure.lock"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"held by process {other.pid} on {socket.gethostname()}") as error:
            with alone(tmp_path, "figure"):
                raise AssertionError("both hold it")
        assert str(lock) in str(error.value) and "--out" in str(error.value) and "\n" not in str(error.value)
    with alone(tmp_path, "another"):
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert json.loads(lock.read_text())["process"] == other.pid  # it had no time to clean up
    with alone(tmp_path, "figure"):
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert not lock.exists()


def test_the_lock_of_another_host_is_respected(tmp_path):
    lock = tmp_path / ".figure.lock"
    lock.write_text(json.dumps({"process": 12, "host": "elsewhere.example"}))
    with pytest.raises(ValueError, match="held by process 12 on elsewhere.example.*delete .*.figure.lock"):
        with alone(tmp_path, "figure"):
            raise AssertionError("taken")
    lock.unlink()
    with alone(tmp_path, "figure"):
        pass


# ---------------------------------------------------------------------------------------------- the command
ARGS = [
    "compare",
    "digits",
    "--rules",
    "backprop,frozen",
    "--seeds",
    "2",
    "--epochs",
    "1",
    "--workers",
    "1",
    "--out",
    "here",
]


def run(*argv):
    with pytest.raises(SystemExit) as done:
        cli.main([str(a) for a in argv])
    return done.value.code


def test_the_command_again_says_what_it_found(tmp_path, monkeypatch, capsys, ran):
    monkeypatch.chdir(tmp_path)
    assert run(*ARGS) == 0
    assert "finished before" not in capsys.readouterr().out and len(ran) == 4
    csv = (tmp_path / "here/compare-digits-mlp.csv").read_bytes()
    cells = sorted((tmp_path / "here/.cells").glob("*.json"))
    assert len(cells) == 4
    cells[0].unlink()
    cells[3].write_bytes(cells[3].read_bytes()[:2000])
    assert run(*ARGS, "--checkpoints", "nets") == 0
    shown = capsys.readouterr()
    assert shown.err == f"neurosim: here/.cells/{cells[3].name} is damaged or half written, its cell is run again\n"
    assert len(ran) == 8  # the two others have no checkpoint
    assert sorted(os.listdir("nets")) == [f"digits-mlp-{n}-seed{s}.pt" for n in ("backprop", "frozen") for s in (0, 1)]
    cells[1].unlink()
    assert run(*ARGS, "--checkpoints", "nets") == 0
    assert "3 of 4 cells were finished before, in here/.cells" in " ".join(capsys.readouterr().out.split())
    assert len(ran) == 9 and (tmp_path / "here/compare-digits-mlp.csv").read_bytes() == csv
    assert json.loads((tmp_path / "here/compare-digits-mlp.json").read_text())["config"]["found"] == 3
    assert run(*ARGS, "--fresh") == 0
    assert len(ran) == 13 and (tmp_path / "here/compare-digits-mlp.csv").read_bytes() == csv
    assert not (tmp_path / "runs").exists() and not list((tmp_path / "here").glob(".*.lock"))


def test_two_runs_into_one_folder(tmp_path, monkeypatch, capsys, ran):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with alone(tmp_path / "here", "compare-digits-mlp"):
        assert run(*ARGS) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and f"process {os.getpid()}" in shown.err and not ran and shown.out == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_killed_at_random_moments_the_table_is_the_same(tmp_path):
    script = [sys.executable, str(ROOT / "tests/kill_and_resume.py"), "--kills", "2", "--folder", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
