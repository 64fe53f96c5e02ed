"""Processes and Dask workers: the same rows as alone, and what dies on the way is done again."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from neurosim import cli, cluster
from neurosim.compare import run_cells
from neurosim.networks import mlp
from neurosim.recipes import RECIPES
from neurosim.store import Store
from neurosim.tasks import Task

ROOT = Path(__file__).parent.parent
RECIPES_RUN = [RECIPES[n] for n in ("backprop", "node-perturbation")]

posix = pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason='Dask is not installed: pip install "neurosim[cluster]"'
)


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    return Task.from_arrays(rng.normal(size=(3, 1, 8, 8))[y], y, validation_size=12, test_size=30)


def die_once(marks, job):
    """The process of job 2 is killed when it does it first."""
    mark = Path(marks) / f"{job}-{len(list(Path(marks).glob(f'{job}-*')))}"
    mark.touch()
    if job == 2 and mark.name == "2-0":
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def die_always(marks, job):
    (Path(marks) / f"{job}-{os.getpid()}").touch()
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def refuse(job):
    raise FileNotFoundError(f"there is no data for job {job}")


def pid_then_wait(folder, job):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def alive(pid):
    """Does it run still? A zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, patience=20):
    end = time.monotonic() + patience
    while any(alive(p) for p in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(p) for p in pids)


# ---------------------------------------------------------------------------------------------- processes
@posix
def test_the_job_of_a_killed_process_is_done_again(tmp_path):
    with pytest.warns(UserWarning, match="2: its process .* was killed by signal 9.*run again") as said:
        done = dict(cluster.in_processes(partial(die_once, tmp_path), range(5), 2))
    assert done == {k: k * k for k in range(5)} and len(said) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "0-0",
        "1-0",
        "2-0",
        "2-1",
        "3-0",
        "4-0",
    ]  # no other one twice


@posix
def test_a_job_that_kills_every_process_is_given_up_and_named(tmp_path):
    done = {}
    with (
        pytest.warns(UserWarning),
        pytest.raises(ChildProcessError, match="2: its process .* signal 9.*, 3 times") as error,
    ):
        for job, result in cluster.in_processes(partial(die_always, tmp_path), range(5), 2):
            done[job] = result
    assert done == {0: 0, 1: 1, 3: 9, 4: 16} and "\n" not in str(error.value)
    assert len(list(tmp_path.glob("2-*"))) == 3


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(FileNotFoundError, match="no data for job 0") as error:
        list(cluster.in_processes(refuse, [0], 1))
    assert "in refuse" in "".join(error.value.__notes__)  # where it came from


def test_what_cannot_be_sent_is_said_in_one_sentence():
    with pytest.raises(ValueError, match="workers: what runs in other processes must be picklable") as error:
        list(cluster.in_processes(lambda job: job, [0], 2))
    assert "\n" not in str(error.value)


@posix
def test_no_process_is_left_when_the_run_is_killed(tmp_path):
    code = (
        "import sys; from functools import partial; from tests import test_cluster as t; "
        "list(t.cluster.in_processes(partial(t.pid_then_wait, sys.argv[1]), range(2), 2))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    p = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=env)
    end = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    pids = [int(f.name) for f in tmp_path.iterdir()]
    assert len(pids) == 2 and all(map(alive, pids))
    p.kill()
    p.wait()
    assert gone(pids)


def test_rows_are_the_same_in_processes_and_precision_goes_with_them(blobs, tmp_path):
    how = dict(epochs=1, seeds=(0,))
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        alone = {c.recipe: c.rows for c in run_cells(RECIPES_RUN, mlp, blobs, **how)}
        spread = run_cells(RECIPES_RUN, mlp, blobs, **how, workers=2, store=Store(tmp_path))
        assert {c.recipe: c.rows for c in spread} == alone
    assert len(list(tmp_path.glob("*.json"))) == 4


# ---------------------------------------------------------------------------------------------- Dask
def run(*argv):
    with pytest.raises(SystemExit) as done:
        cli.main([str(a) for a in argv])
    return done.value.code


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def small_run(address):
    return ["compare", "digits", "--rules", "frozen", "--seeds", "1", "--epochs", "1", "--dask", address]


@needs_dask
@pytest.mark.parametrize("address", ("tcp://127.0.0.1:{}", "127.0.0.1:{}", "nonsense"))
def test_a_dead_address_is_said_within_seconds(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    address, start = address.format(free_port()), time.monotonic()
    assert run(*small_run(address)) == 2
    shown = capsys.readouterr()
    assert f"--dask {address}: no Dask scheduler answers there" in shown.err and shown.err.count("\n") == 1
    assert time.monotonic() - start < 30


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(*small_run("tcp://127.0.0.1:9")) == 2
    shown = capsys.readouterr()
    assert 'pip install "neurosim[cluster]"' in shown.err and shown.err.count("\n") == 1


@pytest.fixture
def dask(tmp_path):
    """The address of a scheduler, and a function that starts a worker there; all are ended afterwards."""
    address, begun = f"tcp://127.0.0.1:{free_port()}", []
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    quiet = dict(cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def begin(*argv):
        begun.append(subprocess.Popen([sys.executable, "-m", "dask", *argv], **quiet))
        return begun[-1]

    scheduler = begin("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address, partial(begin, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"), scheduler
    for p in reversed(begun):
        p.kill()
        p.wait()


@needs_dask
@posix
@pytest.mark.slow
def test_the_cells_of_a_killed_dask_worker_are_run_by_the_other(dask, blobs, tmp_path):
    address, begin_worker, _ = dask
    workers = [begin_worker(), begin_worker()]
    torch.set_default_dtype(torch.float32)
    how = dict(epochs=2, seeds=range(6))
    alone = {(c.recipe, c.seed): (c.rows, c.each) for c in run_cells(RECIPES_RUN, mlp, blobs, **how)}
    store, nets = Store(tmp_path / "cells"), lambda job: tmp_path / f"{job}.pt"
    cells = []
    for cell in run_cells(RECIPES_RUN, mlp, blobs, **how, dask=address, store=store, checkpoints=nets):
        cells.append(cell)
        if len(cells) == 2:
            workers[0].kill()
            workers[0].wait()
    assert {(c.recipe, c.seed): (c.rows, c.each) for c in cells} == alone and len(cells) == 12
    assert len(list(store.folder.glob("*.json"))) == len(list(tmp_path.glob("*.pt"))) == 12
    assert workers[1].poll() is None


def slowly(job):
    time.sleep(0.5)
    return job * job


@needs_dask
@posix
@pytest.mark.slow
def test_a_scheduler_without_workers_and_one_that_goes_away(dask, monkeypatch):
    address, begin_worker, scheduler = dask
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    with pytest.raises(ConnectionError, match="has no workers: start some with `dask worker tcp://") as error:
        list(cluster.on_dask(slowly, range(4), address))
    assert "\n" not in str(error.value)
    begin_worker()
    monkeypatch.setattr(cluster, "CONNECT", 30.0)  # the worker is still importing
    done = []
    with pytest.raises(ConnectionError, match="went away; 3 cells are missing, the others are kept") as error:
        for job, result in cluster.on_dask(slowly, range(4), address):
            done.append((job, result))
            scheduler.kill()
    assert len(done) == 1 and "\n" not in str(error.value)
