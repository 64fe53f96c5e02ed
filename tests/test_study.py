"""The runner of studies: exit codes, where files go, names, redrawing, and what a stop leaves behind."""

import json
import subprocess
import sys

import pytest

from neurosim import study
from neurosim.study import Mode, load_study, redraw, run_study, studies

TOY = '''"""Is one less than two?"""
from matplotlib.figure import Figure
from neurosim.figures import claim
from neurosim.study import main

SEEDS, METRIC, RATE = 3, "error", 0.5
EXPECTED = 2

def run(mode):
    if mode.data:
        raise {stop}
    rows = [{{"recipe": "a", "seed": s, "quantity": "test", "value": 1.0 + s}} for s in range(mode.seeds)]
    return rows, [claim("first value", rows[0]["value"], "<=", EXPECTED, 0, "arithmetic")]

def draw(rows, manifest):
    fig = Figure()
    fig.subplots().plot([r["value"] for r in rows])
    return fig

if __name__ == "__main__":
    raise SystemExit(main(run, draw))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of studies with `toy` and `other_toy` in it, and an empty working directory."""
    place, work = tmp_path / "studies", tmp_path / "work"
    place.mkdir(), work.mkdir()
    monkeypatch.setattr(study, "FOLDER", place)
    monkeypatch.chdir(work)
    write(place, "toy")
    write(place, "other_toy", 'ValueError("data: no such thing.")')
    (place / "_helper.py").write_text("")
    return place


def write(place, name, stop="KeyboardInterrupt", **changes):
    text = TOY.format(stop=stop)
    for old, new in changes.items():
        text = text.replace(f"{old} = 2", f"{old} = {new}")
    (place / f"{name}.py").write_text(text)


def run_main(name, *args):
    s = load_study(name)
    return study.main(s.run, s.draw, list(args))


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir()} if path.exists() else {}


def test_a_study_is_found_and_loaded(folder):
    assert list(studies()) == ["other_toy", "toy"]
    toy = load_study("toy")
    assert toy.question == "Is one less than two?"
    assert toy.mode() == Mode(seeds=3, out=study.Path("figures"))
    assert toy.mode(quick=True) == Mode(seeds=2, quick=True, out=study.Path("runs"))
    assert toy.mode(full=True).seeds == 20 and toy.mode(full=True, seeds=7).seeds == 7


def test_default_run_writes_to_figures(folder, capsys):
    assert run_main("toy") == 0
    assert (
        set(contents(study.Path("figures"))) == {"toy.png", "toy.csv", "toy.json"} and not study.Path("runs").exists()
    )
    manifest = json.loads(study.Path("figures/toy.json").read_text())
    assert manifest["command"] == "python studies/toy.py" and manifest["seeds"] == [0, 1, 2]
    assert manifest["metric"] == "error" and manifest["seconds"] >= 0 and manifest["device"] == "cpu"
    assert manifest["config"] == {
        "study": "toy", "quick": False, "full": False, "data": None, "rate": 0.5, "expected": 2,
    }  # fmt: skip
    assert manifest["claims"][0]["holds"] is True
    out = capsys.readouterr().out
    assert "first value" in out and "<= 2" in out and "arithmetic" in out and "yes" in out


def test_quick_writes_to_runs_and_out_overrides(folder):
    assert run_main("toy", "--quick") == 0
    assert json.loads(study.Path("runs/toy.json").read_text())["command"] == "python studies/toy.py --quick"
    assert run_main("toy", "--quick", "--seeds", "4", "--out", "elsewhere") == 0
    assert json.loads(study.Path("elsewhere/toy.json").read_text())["seeds"] == [0, 1, 2, 3]
    assert not study.Path("figures").exists()


def test_a_failed_claim_is_exit_1_and_is_written(folder, capsys):
    write(folder, "toy", EXPECTED=0)
    assert run_main("toy") == 1
    assert "NO" in capsys.readouterr().out
    assert json.loads(study.Path("figures/toy.json").read_text())["claims"][0]["holds"] is False
    assert [c["holds"] for c in run_study("toy", Mode(seeds=1))] == [False]


@pytest.mark.parametrize(
    "args, says",
    [
        (["--quick", "--full"], "choose one"),
        (["--seeds", "0"], "--seeds"),
        (["--fast"], "--fast"),
    ],
)
def test_wrong_use_is_exit_2_and_one_sentence(folder, capsys, args, says):
    assert run_main("toy", *args) == 2
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert not study.Path("figures").exists() and not study.Path("runs").exists()


def test_help_shows_the_question(folder, capsys):
    assert run_main("toy", "--help") == 0
    assert "Is one less than two?" in capsys.readouterr().out


def test_unknown_names_offer_the_nearest(folder):
    with pytest.raises(ValueError, match="unknown study 'tpy': did you mean toy?"):
        load_study("tpy")
    with pytest.raises(ValueError, match="unknown study 'qqqq': there are other_toy, toy."):
        run_study("qqqq", Mode())
    with pytest.raises(ValueError, match="unknown figure 'othertoy': did you mean other_toy"):
        redraw("othertoy")


def test_studies_missing_or_incomplete_is_one_sentence(folder, monkeypatch):
    (folder / "empty.py").write_text("def run(mode): ...")
    with pytest.raises(ValueError, match="empty.py has no function draw"):
        load_study("empty")
    monkeypatch.setattr(study, "FOLDER", folder / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere is missing: clone"):
        studies()


def test_redraw_reproduces_the_files_without_running(folder):
    run_main("toy")
    before = contents(study.Path("figures"))
    study.Path("figures/toy.png").unlink()
    text = (folder / "toy.py").read_text()
    (folder / "toy.py").write_text(text.replace("def run(mode):", "def run(mode):\n    raise AssertionError"))
    assert redraw("toy") == study.Path("figures/toy.png")
    assert contents(study.Path("figures")) == before
    with pytest.raises(FileNotFoundError, match="other_toy.csv is missing"):
        redraw("other_toy")


def test_redraw_of_a_comparison(folder, monkeypatch):
    run_main("toy")
    for suffix in (".csv", ".json"):
        study.Path(f"figures/toy{suffix}").rename(f"figures/compare-toy{suffix}")
    text = study.Path("figures/compare-toy.csv").read_text().splitlines()
    body = [line + ",1,10," for line in text[1:]]
    study.Path("figures/compare-toy.csv").write_text("\n".join([text[0] + ",epoch,samples,layer", *body]) + "\n")
    assert redraw("compare-toy").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name, code, says", [("toy", 130, "stopped"), ("other_toy", 2, "data: no such thing.")])
def test_a_stop_or_an_error_leaves_old_files_as_they_were(folder, capsys, name, code, says):
    assert run_main(name) == 0
    before = contents(study.Path("figures"))
    assert run_main(name, "--data", "x") == code
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert contents(study.Path("figures")) == before


def test_a_stop_while_drawing_leaves_old_files_as_they_were(folder, capsys):
    run_main("toy")
    before = contents(study.Path("figures"))
    s = load_study("toy")

    def draw(rows, manifest):
        raise KeyboardInterrupt

    assert study.main(s.run, draw, ["--seeds", "1"]) == 130
    assert contents(study.Path("figures")) == before


def test_a_study_runs_as_a_script(folder):
    done = subprocess.run([sys.executable, folder / "toy.py", "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "first value" in done.stdout and study.Path("runs/toy.png").exists()


def test_the_runner_does_not_load_matplotlib():
    code = "import sys, neurosim.study; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_projects_own_studies_load():
    assert {"linear_feedback_alignment", "perturbation_noise"} <= studies().keys()
    for name in ("linear_feedback_alignment", "perturbation_noise"):
        assert load_study(name).question.splitlines()[0].endswith("?")
