"""Saving and loading a figure's three files, claims, and what the comparison figure shows."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from neurosim import figures
from neurosim.figures_comparison import comparison

CORE = (
    "backprop feedback-alignment sign-symmetric kolen-pollack direct-feedback node-perturbation predictive-coding "
    "equilibrium-propagation oja sanger bcm softhebb frozen"
).split()
FINAL = {"backprop": (0.95, 0.96, 0.97), "bcm": (0.86, 0.88, 0.93), "frozen": (0.85, 0.88, 0.88)}


def make_rows(final: dict = FINAL, layers: tuple = ("hidden", "readout"), epochs: int = 4) -> list[dict]:
    """Scores that rise in a straight line from .1 to `final` (one value per seed); made-up alignments."""
    rows = []
    for number, (recipe, ends) in enumerate(final.items()):
        for seed, end in enumerate(ends):
            for epoch in range(epochs + 1):
                at = {"recipe": recipe, "seed": seed, "epoch": epoch, "samples": 1297 * epoch}
                score = 0.1 + (end - 0.1) * epoch / epochs
                rows.append({**at, "layer": "", "quantity": "test", "value": score})
                rows.append({**at, "layer": "", "quantity": "train_loss", "value": 2.3 - score})
                for layer in layers:
                    cosine = 1.0 if recipe == "backprop" else 0.5 * epoch / epochs + 0.01 * (seed - 1) - 0.03 * number
                    rows.append({**at, "layer": layer, "quantity": "alignment", "value": cosine})
                    rows.append({**at, "layer": layer, "quantity": "null_low", "value": -0.2 - 0.1 * seed})
                    rows.append({**at, "layer": layer, "quantity": "null_high", "value": 0.2 + 0.1 * seed})
    return rows


def make_manifest(recipes: dict | None = None) -> dict:
    recipes = recipes or {
        "backprop": {"status": "ok", "p_vs_frozen": 0.01},
        "bcm": {"status": "ok", "p_vs_frozen": 0.4},
        "frozen": {"status": "ok", "p_vs_frozen": None},
    }
    return {"metric": "accuracy", "config": {"task": "digits", "network": "mlp"}, "recipes": recipes}


def strict(path: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def lines(fig: Figure) -> list[tuple]:
    return [
        (line.get_label(), to_hex(line.get_color()), np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for ax in fig.axes
        for line in ax.lines
    ]


# ---------------------------------------------------------------------------------------------- files


def test_importing_the_package_leaves_matplotlib_out_and_figures_leaves_pyplot_out() -> None:
    code = (
        "import sys, neurosim; assert 'matplotlib' not in sys.modules, 'import neurosim loads matplotlib'; "
        "import neurosim.figures_comparison as f; f.comparison([], {}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_global_state_is_untouched(tmp_path: Path) -> None:
    before = matplotlib.rcParams.copy()
    figures.save("a", comparison(make_rows(), make_manifest()), make_rows(), out=tmp_path)
    assert matplotlib.rcParams.copy() == before


def test_round_trip(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["value"] = np.float32(0.1)  # not a float64 with a short decimal form
    claims = [figures.claim("one", 0.96, ">=", 0.95)]
    manifest = {**make_manifest(), "command": "neurosim compare digits", "seeds": [0, 1, 2], "device": "cpu"}
    path = figures.save(
        "a", Figure(), rows, claims, {"bcm": {"test": (np.float64(0.5),)}}, out=tmp_path, manifest=manifest
    )

    assert path == tmp_path / "a.png"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.json", "a.png"]
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 1_000_000
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "recipe,seed,epoch,samples,layer,quantity,value"
    loaded, saved = figures.load("a", tmp_path)
    assert loaded == rows
    assert type(loaded[0]["seed"]) is int and type(loaded[0]["value"]) is float
    assert list(saved) == (
        "command config seeds versions device hardware seconds metric recipes claims".split()
    )  # the order of the conventions
    assert saved["command"] == "neurosim compare digits" and saved["seconds"] is None
    assert saved["recipes"] == {"bcm": {"test": [0.5]}} and saved["claims"] == claims
    assert saved["versions"]["numpy"] == np.__version__ and saved["hardware"]["cores"] >= 1
    assert set(saved["versions"]) == {"python", "numpy", "torch", "neurosim"}


def test_saving_a_loaded_figure_again_keeps_where_it_was_made(tmp_path: Path) -> None:
    manifest = {**make_manifest(), "versions": {"torch": "1.0"}, "claims": [figures.claim("c", 1, "<=", 2)]}
    figures.save("a", Figure(), make_rows(), out=tmp_path, manifest=manifest)
    first = strict(tmp_path / "a.json")
    rows, loaded = figures.load("a", tmp_path)
    figures.save("a", Figure(), rows, out=tmp_path, manifest=loaded)
    assert strict(tmp_path / "a.json") == first
    assert first["versions"] == {"torch": "1.0"} and first["recipes"] == manifest["recipes"] and first["claims"]


def test_other_columns_follow_and_names_stay_text(tmp_path: Path) -> None:
    rows = [{"dt": 5, "value": 0.25, "layer": "0", "recipe": "nan"}, {"value": None, "recipe": "x", "note": "a, b"}]
    figures.save("window", Figure(), rows, out=tmp_path)
    with (tmp_path / "window.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["recipe", "layer", "value", "dt", "note"]
    loaded, _ = figures.load("window", tmp_path)
    assert loaded[0] == {"recipe": "nan", "layer": "0", "value": 0.25, "dt": 5, "note": ""}
    assert loaded[1] == {"recipe": "x", "layer": "", "value": "", "dt": "", "note": "a, b"}


def test_nan_is_null_in_the_json_and_nan_in_the_csv(tmp_path: Path) -> None:
    rows = [{"recipe": "a", "value": math.nan}, {"recipe": "b", "value": math.inf}]
    recipes = {"a": {"test": [0.5, math.nan], "p_vs_frozen": np.float64("nan"), "alignment": {"h": np.array([np.inf])}}}
    claims = [figures.claim("c", math.nan, ">=", 0.9)]
    figures.save("a", Figure(), rows, claims, recipes, out=tmp_path, manifest={"seconds": math.nan})
    saved = strict(tmp_path / "a.json")
    assert saved["recipes"]["a"] == {"test": [0.5, None], "p_vs_frozen": None, "alignment": {"h": [None]}}
    assert saved["seconds"] is None and saved["claims"][0]["got"] is None and saved["claims"][0]["holds"] is False
    values = [row["value"] for row in figures.load("a", tmp_path)[0]]
    assert math.isnan(values[0]) and values[1] == math.inf


def test_a_failure_while_drawing_or_writing_the_png_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.save("a", Figure(), make_rows(), out=tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def half_a_png(path: Path, content: bytes) -> int:
        if ".png" in path.name:
            write(path, content[: len(content) // 2])
            raise OSError("No space left on device")
        return write(path, content)

    def half_drawn(self: Figure, file: object, **options: object) -> None:
        file.write(b"\x89PNG")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "write_bytes", half_a_png)
        figures.save("a", Figure(), [], out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Figure, "savefig", half_drawn)
        figures.save("a", Figure(), [], out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_crowded_figure_is_saved_coarser(tmp_path: Path) -> None:
    fig = Figure(figsize=(6, 6), dpi=150)
    fig.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((900, 900)))  # noise does not compress
    assert figures.save("noise", fig, [], out=tmp_path).stat().st_size < 1_000_000


def test_missing_or_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.csv is missing: run"):
        figures.load("a", tmp_path)
    figures.save("a", Figure(), [], out=tmp_path)
    (tmp_path / "a.json").write_text('{"command":')
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        figures.load("a", tmp_path)
    (tmp_path / "a.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.json is missing"):
        figures.load("a", tmp_path)


@pytest.mark.parametrize(
    ("got", "relation", "expected", "tolerance", "holds"),
    [
        (0.96, ">=", 0.955, 0.0, True),
        (0.954, ">=", 0.955, 0.0, False),
        (0.954, ">=", 0.955, 0.002, True),
        (3.0, "<=", 3.0, 0.0, True),
        (3.1, "<=", 3.0, 0.05, False),
        (3.1, "<=", 3.0, 0.2, True),
        (1.5, "within", 1.0, 0.5, True),
        (0.4, "within", 1.0, 0.5, False),
        (1.6, "within", 1.0, 0.5, False),
        ([1, 2, 2], "ordering", ["a", "b", "c"], 0.0, True),
        ([1, 3, 2], "ordering", ["a", "b", "c"], 0.0, False),
        ([1, 3, 2.5], "ordering", ["a", "b", "c"], 0.5, True),
        ([1, math.nan, 2], "ordering", ["a", "b", "c"], 9.0, False),
        ([math.nan], "ordering", ["a"], 0.0, False),
        (math.nan, ">=", -1.0, 9.0, False),
        (math.nan, "<=", 1.0, 9.0, False),
        (None, "within", 1.0, 9.0, False),
    ],
)
def test_claims(got: object, relation: str, expected: object, tolerance: float, holds: bool) -> None:
    made = figures.claim("name", got, relation, expected, tolerance, "Someone 2001")
    assert set(made) == {"name", "expected", "relation", "tolerance", "got", "source", "holds"}
    assert made["holds"] is holds and made["source"] == "Someone 2001"


def test_claims_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="relation is \">\"|relation is '>'"):
        figures.claim("name", 1.0, ">", 0.0)
    with pytest.raises(ValueError, match="got has 1 values and expected 2"):
        figures.claim("name", [1.0], "ordering", ["a", "b"])
