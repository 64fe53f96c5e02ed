"""The commands as a user types them: files, exit codes, one-line errors, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from neurosim import cli, figures

SMALL = ["--rules", "backprop,bcm,frozen", "--seeds", "2", "--epochs", "1", "--workers", "1"]


def run(*argv):
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as done:
        cli.main([str(a) for a in argv])
    return done.value.code


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_compare_writes_three_files_and_a_table(tmp_path, capsys):
    assert run("compare", "digits", *SMALL) == 0
    shown = capsys.readouterr()
    assert "backprop" in shown.out and "frozen" in shown.out and "written: runs/compare-digits-mlp" in shown.out
    assert shown.err == ""  # no progress where there is no terminal
    rows, manifest = figures.load("compare-digits-mlp", tmp_path / "runs")
    assert {r["recipe"] for r in rows} == {"backprop", "bcm", "frozen"}
    assert manifest["metric"] == "accuracy" and manifest["seeds"] == [0, 1] and manifest["device"] == "cpu"
    found = manifest["recipes"]
    assert list(found) == ["backprop", "bcm", "frozen"]
    for key in (
        "reads",
        "test",
        "samples_to_half",
        "alignment",
        "seconds",
        "init_hash",
        "batch_hash",
        "prepared",
        "status",
    ):
        assert all(key in r for r in found.values()), key
    for key in ("init_hash", "batch_hash"):
        assert len({tuple(r[key]) for r in found.values()}) == 1 and len(set(found["bcm"][key])) == 2
    assert "mean 0 and variance 1" in found["bcm"]["prepared"] and found["backprop"]["prepared"] == ""
    assert {r["layer"] for r in rows if r["quantity"] == "alignment" and r["recipe"] == "bcm"} == {
        "hidden1", "hidden2", "readout",
    }  # fmt: skip
    assert os.path.getsize(tmp_path / "runs/compare-digits-mlp.png") < 1_000_000


def test_json_on_stdout_and_redrawing_without_running(tmp_path, capsys):
    assert run("compare", "digits", *SMALL, "--json", "--out", "here") == 0
    assert json.loads(capsys.readouterr().out)["recipes"]["frozen"]["status"] == "ok"
    png = tmp_path / "here/compare-digits-mlp.png"
    before, csv = png.read_bytes(), (tmp_path / "here/compare-digits-mlp.csv").read_bytes()
    png.unlink()
    assert run("figure", "compare-digits-mlp", "--out", "here") == 0
    assert png.read_bytes() == before and (tmp_path / "here/compare-digits-mlp.csv").read_bytes() == csv


@pytest.mark.parametrize(
    "argv, said",
    [
        (["compare", "digts"], "unknown task 'digts': did you mean digits"),
        (["compare", "digits", "--rules", "backprop,okja"], "unknown rule 'okja': did you mean oja"),
        (["compare", "digits", "--network", "ccn"], "unknown network 'ccn': did you mean cnn"),
        (["compare", "digits", "--seeds", "0"], "--seeds"),
        (["compare", "digits", "--quick", "--full"], "exclude each other"),
        (["compare", "digits", "--dask", "tcp://127.0.0.1:9", "--workers", "2"], "exclude each other"),
        (["compare", "digits", "--workers", "0"], "--workers"),
        (["compare", "fashion", "--data", "nowhere"], "nowhere"),
        (["compare"], "TASK"),
        (["conpare", "digits"], "conpare"),
        (["explain", "backprob"], "did you mean backprop"),
        (["figure", "compare-digits"], "compare-digits"),
        (["study", "linear_feedback_alinment"], "did you mean linear_feedback_alignment"),
        (["check", "nothing_like_it"], "unknown study"),
        (["list", "rule"], "rule"),
        (["compare", "digits", "--rules", "oja,zzqpt"], "there are"),  # nothing is near
        (["compare", "digits", "--rules", ""], "unknown rule ''"),
        (
            ["compare", "digits", "--network", "diehl-cook", "--rules", "stdp,three-factor"],
            "none on diehl-cook learns by reward",
        ),
        (["compare", "digits", "--limit", "0"], "--limit"),
        (["explain", "bptt", "--network", "mlp"], "is for rnn, lsnn, lstm, not for mlp"),
        (
            [
                "compare",
                "digits",
                "--network",
                "spiking-mlp",
                "--code",
                "current",
                "--rules",
                "stdp",
                "--epochs",
                "1",
                "--seeds",
                "1",
                "--limit",
                "64",
                "--workers",
                "1",
            ],
            "nothing could run, no figure was written (stdp: ",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(argv, said, capsys):
    assert run(*argv) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and "Traceback" not in shown.err and shown.out == ""
    assert not [p for p in Path().rglob("*") if p.suffix in (".png", ".csv", ".json") and ".cells" not in p.parts]


def test_limit_cuts_what_is_learned_and_groups_mix_with_names(tmp_path, capsys):
    start = ["compare", "digits", "--epochs", "1", "--seeds", "2", "--workers", "1"]
    assert run(*start, "--rules", "oja,three-factor,oja", "--limit", "60") == 0
    assert "2 seeds, 1 epoch of 60, 500 tested" in " ".join(capsys.readouterr().out.split())
    _, manifest = figures.load("compare-digits-mlp", tmp_path / "runs")
    found = manifest["recipes"]
    assert manifest["config"]["n_train"] == 60 and [*found][0] == "oja" and len(found) > 5
    assert {"reward-hebb", "frozen"} <= found.keys()  # of the group


def test_explain_says_of_which_network(capsys):
    assert run("explain", "stdp") == 0
    assert (
        "as on spiking-mlp, with the values for digits; it is also for diehl-cook, lsnn, spiking-cnn"
        in capsys.readouterr().out
    )
    assert run("explain", "stdp", "--network", "diehl-cook") == 0
    assert capsys.readouterr().out.rstrip().endswith("network  as on diehl-cook, with the values for digits")


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "neurosim", "list", "networks"], capture_output=True, text=True)
    assert done.returncode == 0 and "spiking-cnn" in done.stdout


def test_no_cuda_is_said_in_one_line(capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    assert run("compare", "digits", "--device", "cuda") == 2
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ("rules", "recipes", "tasks", "networks", "studies"))
def test_list(kind, capsys):
    assert run("list", kind) == 0
    out = capsys.readouterr().out
    assert {"rules": "oja", "recipes": "kolen-pollack", "tasks": "fashion", "networks": "cnn",
            "studies": "linear_feedback_alignment"}[kind] in out  # fmt: skip


@pytest.mark.parametrize("name", [*__import__("neurosim.recipes").recipes.RECIPES, "stdp", "eprop", "perturbed"])
def test_explain_gives_equation_reads_relation_and_source(name, capsys):
    assert run("explain", name) == 0
    out = capsys.readouterr().out
    assert "=" in out and "reads" in out
    if name in __import__("neurosim.recipes").recipes.RECIPES:
        assert "Source:" in out and "Relation to backprop" in out and "rate" in out and "prepared" in out


def test_a_diverged_run_ends_with_1(monkeypatch, capsys):
    from dataclasses import replace

    import torch

    from neurosim import recipes

    bad = replace(recipes.CORE["backprop"], name="exploding", optimizer=torch.optim.SGD, lr=1e18)
    monkeypatch.setitem(recipes.LINE_UP, "exploding", recipes.Entry(lambda values, convolutional: bad, {}, {}))
    assert (
        run("compare", "digits", "--rules", "exploding,frozen", "--seeds", "1", "--epochs", "1", "--workers", "1") == 1
    )
    assert "diverged" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_keeps_what_was_finished(tmp_path):
    """Interrupted once the first cell is done: files hold it, the message says so, no worker is left behind."""
    watch = tmp_path / "watch.py"
    watch.write_text(
        "import sys\n"
        "from neurosim import cli, compare\n"
        "work = compare.run_cells\n"
        "def told(*a, **k):\n"
        "    for cell in work(*a, **k):\n"
        "        print('cell', cell.recipe, flush=True)\n"
        "        yield cell\n"
        "compare.run_cells = told\n"
        "if __name__ == '__main__':\n"
        "    cli.main(sys.argv[1:])\n"
    )
    argv = [sys.executable, str(watch), "compare", "digits", "--rules", "frozen,equilibrium-propagation",
            "--seeds", "3", "--epochs", "8", "--workers", "2"]  # fmt: skip
    p = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background shell would have it ignored
    )
    assert p.stdout.readline().startswith("cell frozen")
    time.sleep(0.3)
    os.killpg(p.pid, signal.SIGINT)  # as a terminal does, to all of them
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and "Traceback" not in err
    assert "interrupted" in err and "cells were finished" in err and "runs/compare-digits-mlp" in err
    rows, manifest = figures.load("compare-digits-mlp", tmp_path / "runs")
    assert manifest["config"]["interrupted"] is True and any(r["recipe"] == "frozen" for r in rows)
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.killpg(p.pid, 0)
            time.sleep(0.1)
