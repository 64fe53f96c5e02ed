"""What a table says: bootstrap beside the t test, verdicts, controls, and the table itself."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from neurosim import report
from neurosim.compare import Cell
from neurosim.recipes import CONTROLS, LINE_UP, RECIPES, TWINS
from neurosim.recipes_attention import ATTENTION
from neurosim.recipes_diehl_cook import DIEHL_COOK
from neurosim.recipes_spiking import SPIKING
from neurosim.recipes_time import MADE, recurrent
from neurosim.summary import (
    FAMILIES,
    REFERENCES,
    Verdict,
    disagreements,
    equivalences,
    main,
    marked,
    ranked,
    summary,
    verdicts,
)

N = 500


def cell(recipe: str, seed: int, items: np.ndarray | float, status: str = "ok") -> Cell:
    """A finished cell: from the score of every item, or from the final score alone."""
    known = isinstance(items, np.ndarray)
    score = float(items.mean()) if known else items
    row = {"recipe": recipe, "seed": seed, "epoch": 1, "samples": 9, "layer": "", "quantity": "test", "value": score}
    each = items.tolist() if known else []
    return Cell(recipe, seed, [row], status=status, n_train=1297, n_test=N, each=each)


def right(rate: float, generator: np.random.Generator) -> np.ndarray:
    return (generator.random(N) < rate).astype(float)


@pytest.fixture
def three() -> list[Cell]:
    generator = np.random.default_rng(0)
    rates = {"backprop": 0.97, "oja": 0.92, "frozen": 0.915}
    return [cell(n, s, right(p, generator)) for n, p in rates.items() for s in range(6)]


def of(cells: list[Cell]) -> dict:
    return summary(cells, [RECIPES[n] for n in ("backprop", "oja", "frozen")])


# ---------------------------------------------------------------------------------------------- bootstrap
def test_the_bootstrap_stands_beside_the_t_test_adjusted(three: list[Cell]) -> None:
    """oja against backprop: all pairs resampled item by item, in a plain loop; Holm over two tests by hand."""
    found, generator = of(three), np.random.default_rng(1)
    by = {n: np.array([c.each for c in three if c.recipe == n]) for n in ("backprop", "oja", "frozen")}

    def loop(n: str) -> np.ndarray:
        d, means = by[n] - by["backprop"], []
        for _ in range(3000):
            seeds = generator.integers(6, size=6)
            means.append(np.mean([d[s][generator.integers(N, size=N)].mean() for s in seeds]))
        return np.array(means)

    low, high, p = found["oja"]["bootstrap_vs_backprop"]
    assert (low, high) == pytest.approx(np.quantile(loop("oja"), (0.025, 0.975)), abs=0.002)
    assert p == pytest.approx(2 * 2 / 5001)  # no draw reaches 0; twice, for the two recipes that are tested
    assert "bootstrap_vs_backprop" not in found["backprop"] and "bootstrap_vs_frozen" not in found["frozen"]
    assert found["oja"]["bootstrap_vs_frozen"][2] > 0.05 > found["backprop"]["bootstrap_vs_frozen"][2]
    assert of(three) == found  # its draws are its own


def test_without_every_items_score_there_is_no_bootstrap(three: list[Cell]) -> None:
    lacking = [c if (c.recipe, c.seed) != ("oja", 3) else cell("oja", 3, 0.92) for c in three]
    found = of(lacking)
    assert "bootstrap_vs_frozen" not in found["oja"] and "p_vs_frozen" in found["oja"]
    assert found["backprop"]["bootstrap_vs_frozen"][2] == pytest.approx(2 / 5001)  # Holm counts the tests made
    diverged = [c if (c.recipe, c.seed) != ("oja", 3) else cell("oja", 3, np.ones(N), "diverged") for c in three]
    assert "bootstrap_vs_frozen" not in of(diverged)["oja"]


# ---------------------------------------------------------------------------------------------- controls
def test_controls_must_end_within_one_item() -> None:
    tied, one_step = CONTROLS
    base = [0.97, 0.984, 0.966]
    near = [0.97, 0.986, 0.964]  # one item of 500 is .002, up or down
    far = [0.97, 0.984, 0.962]
    scores = {"backprop": base, tied: near, one_step: far}
    cells = [cell(n, s, v) for n, values in scores.items() for s, v in enumerate(values)]
    first, second = equivalences(cells)
    assert first["name"].startswith(tied) and first["holds"] and first["got"] == 1 and first["relation"] == "within"
    assert second["name"].startswith(one_step) and not second["holds"] and second["got"] == 2
    assert "3 seeds" in first["name"] and first["tolerance"] == 1 and first["source"]


def test_a_control_that_diverged_does_not_hold_and_without_backprop_nothing_is_claimed() -> None:
    tied = CONTROLS[0]
    cells = [cell("backprop", 0, 0.97), cell("backprop", 1, 0.97), cell(tied, 0, 0.97)]
    (claim,) = equivalences([*cells, cell(tied, 1, 0.97, "diverged")])
    assert math.isnan(claim["got"]) and not claim["holds"]
    (claim,) = equivalences([cells[0], cells[2], cell(tied, 1, 0.97)])  # a seed that backprop lacks
    assert not claim["holds"]
    assert equivalences(cells[2:]) == [] and equivalences(cells[:2]) == []


# ---------------------------------------------------------------------------------------------- verdicts
def entry(frozen: tuple, backprop: tuple = (None, None), seeds: int = 5) -> dict:
    """(difference, p) to each reference, as a manifest has them."""
    found: dict = {"test": [0.9] * seeds}
    for reference, (difference, p) in zip(REFERENCES, (frozen, backprop), strict=True):
        found |= {f"difference_to_{reference}": [difference, 0.01], f"p_vs_{reference}": p}
    return found


def test_verdicts_are_sign_and_p() -> None:
    found = {
        "better": entry((0.04, 0.049), (-0.02, 0.001)),
        "edge": entry((0.04, 0.05), (0.02, 0.06)),
        "few": entry((0.04, 0.0), (-0.02, 0.0), seeds=4),
        "diverged": entry((None, None), (math.nan, math.nan)),
        "bare": {"test": [0.9] * 5},
    }
    zero = Verdict(0, 0)
    assert verdicts(found) == {"better": Verdict(1, -1), "edge": zero, "few": zero, "diverged": zero, "bare": zero}


def test_a_difference_of_nothing_is_no_verdict() -> None:
    assert verdicts({"same": entry((0.0, 0.0))})["same"] == Verdict(0, 0)


def test_verdicts_of_made_up_cells(three: list[Cell]) -> None:
    """backprop is .055 above frozen, oja .005; t by hand, Holm over two."""
    found = of(three)
    by = {n: np.array([c.final("test") for c in three if c.recipe == n]) for n in ("backprop", "oja", "frozen")}

    def p(n: str) -> float:
        d = by[n] - by["frozen"]
        return 2 * stats.t.sf(abs(d.mean()) / math.sqrt((1 / 6 + N / 1297) * d.var(ddof=1)), 5)

    assert 2 * p("backprop") < 0.05 < p("oja")
    assert verdicts(found)["backprop"] == Verdict(1, 0) and verdicts(found)["oja"].frozen == 0
    assert found["backprop"]["p_vs_frozen"] == pytest.approx(2 * p("backprop"))


def test_disagreements_are_listed() -> None:
    a = {"x": entry((0.04, 0.01), (0.01, 0.9)), "y": entry((0.04, 0.01)), "gone": entry((0.04, 0.01))}
    b = {"x": entry((-0.04, 0.01), (0.01, 0.8)), "y": entry((0.04, 0.2)), "new": entry((0.04, 0.01))}
    assert disagreements(a, b) == [
        "x against frozen: higher in A (p 0.01), lower in B (p 0.01)",
        "y against frozen: higher in A (p 0.01), not resolved in B (p 0.2)",
        "gone: only in A",
        "new: only in B",
    ]
    assert disagreements(a, a) == []


def test_two_manifests_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files = {"a": {"recipes": {"x": entry((0.04, 0.01))}}, "b": {"recipes": {"x": entry((0.04, 0.2))}}, "c": [1]}
    path = {name: str(tmp_path / f"{name}.json") for name in (*files, "none")}
    for name, content in files.items():
        Path(path[name]).write_text(json.dumps(content))
    assert main([path["a"], path["a"]]) == 0
    assert capsys.readouterr().out == "the same verdicts on all 1 recipes\n"
    assert main([path["a"], path["c"]]) == main([path["a"], path["none"]]) == main([path["a"]]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "c.json is not a comparison's manifest" in said[0] and "none.json is missing" in said[1]
    command = [sys.executable, "-m", "neurosim.summary", path["a"], path["b"]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout == f"x against frozen: higher in {path['a']} (p 0.01), not resolved in {path['b']} (p 0.2)\n"


# ---------------------------------------------------------------------------------------------- order and families
def test_every_recipe_has_one_family() -> None:
    members = [slug for slugs in FAMILIES.values() for slug in slugs]
    known = set(LINE_UP).union(SPIKING, DIEHL_COOK, ATTENTION, *(recurrent("delayed-xor", n) for n in MADE))
    assert len(members) == len(set(members)) and set(members) == known


def test_best_first_twins_and_controls_last() -> None:
    scores = {
        "oja": [0.9, None],
        "frozen": [0.8],
        TWINS[0]: [0.99],
        CONTROLS[0]: [0.98],
        "bcm": [math.nan],
        "sanger": [1],
    }
    assert ranked(scores) == ["sanger", "oja", "frozen", "bcm", TWINS[0], CONTROLS[0]]
    assert ranked(scores, lower_is_better=True)[:3] == ["frozen", "oja", "sanger"]
    assert (marked("oja"), marked(TWINS[0]), marked(CONTROLS[0])) == ("oja", f"{TWINS[0]} ‡", f"{CONTROLS[0]} †")


# ---------------------------------------------------------------------------------------------- the table
def shown(found: dict, width: int, metric: str = "accuracy") -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), force_terminal=False)
    for table in report.comparison_tables("title", found, metric, width):
        console.print(table)
    return console.export_text()


def line_of(text: str, slug: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(slug + " "))


def full_table() -> dict:
    cells = [
        cell(n, s, right(0.9 + 0.003 * i, np.random.default_rng(100 * i + s)))
        for i, n in enumerate(LINE_UP)
        for s in range(5)
    ]
    return summary(cells, list(RECIPES.values()))


def test_of_two_seeds_the_table_shows_both_and_no_p() -> None:
    draw = np.random.default_rng(0)
    cells = [cell(n, s, right(m, draw)) for n, m in (("bptt", 0.9), ("reservoir", 0.5)) for s in range(2)]
    found = summary(cells, [replace(RECIPES["backprop"], name="bptt"), replace(RECIPES["frozen"], name="reservoir")])
    a, b = sorted(found["bptt"]["test"])
    text = shown(found, 150)
    assert f"{(a + b) / 2:.3f} ({a:.3f}, {b:.3f})" in line_of(text, "bptt")
    assert "gap to bptt" in text and "over reservoir" in text and "backprop" not in text and "frozen" not in text
    assert not [line for line in text.splitlines() if "rule" in line.split()[:1] and "p" in line.split()]


@pytest.mark.parametrize("width", (80, 100, 150))
def test_the_table_of_the_whole_line_up_is_not_cut(width: int) -> None:
    costs = {"macs_per_sample": 123456.0, "writes_per_sample": 1.2e7, "energy_per_sample": 567.0}
    found = {n: r | costs for n, r in full_table().items()}
    text = shown(found, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and "…" not in text
    tables = 2 if width == 150 else 4
    for n in LINE_UP:  # a whole line each, in every part
        assert sum(line.strip().startswith(marked(n) + " ") for line in lines) == tables, n
    for said in ("123k", "12M", "567", "MACs", "writes", "pJ", "Horowitz"):
        assert said in text
    first = next(i for i, line in enumerate(lines) if "rule" in line.split()[:1])
    order = [line.split()[0] for line in lines[first + 2 :] if line.split() and line.split()[0] in LINE_UP][
        : len(LINE_UP)
    ]
    assert set(order[-4:]) == {*CONTROLS, *TWINS}
    means = [np.mean(found[n]["test"]) for n in order[:-4]]
    assert means == sorted(means, reverse=True)


def test_real_differences_carry_a_star(three: list[Cell]) -> None:
    found = of(three)
    text, decided = shown(found, 150), verdicts(found)
    assert decided["backprop"].frozen == 1 and decided["oja"].frozen == 0
    gain = {n: f"{found[n]['difference_to_frozen'][0]:+.3f}" for n in ("backprop", "oja")}
    assert f"{gain['backprop']}* " in line_of(text, "backprop")
    assert f"{gain['oja']} " in line_of(text, "oja") and decided["oja"].backprop == -1
    assert line_of(text, "oja").count("*") == 1
    assert "real, p < .05" in text.replace("\n", " ")


def test_with_two_seeds_no_p_is_shown(three: list[Cell]) -> None:
    """Two seeds whose differences are nearly equal: p < .001, a star it does not get."""
    scores = {"backprop": (0.97, 0.972), "oja": (0.92, 0.93), "frozen": (0.9, 0.902)}
    found = of([cell(n, s, v) for n, values in scores.items() for s, v in enumerate(values)])
    assert found["backprop"]["p_vs_frozen"] < 0.001  # the manifest keeps it
    text = shown(found, 150)
    assert "<.001" not in text and "*" not in line_of(text, "backprop") and "+0.070" in line_of(text, "backprop")
    assert "fewer than 5 seeds no p is shown" in " ".join(text.split())
    assert "fewer than 5" not in shown(of(three), 150)


def test_a_recipe_that_did_not_run_says_why(three: list[Cell]) -> None:
    cells = [c for c in three if c.recipe != "oja"] + [
        Cell("oja", s, status="unsupported", reason="It cannot.", n_train=1297, n_test=N) for s in (0, 1)
    ]
    text = shown(of(cells), 150)
    assert "unsupported" in line_of(text, "oja") and "It cannot." in text


def test_quantities_have_three_figures() -> None:
    numbers = {0.0: "0", 0.5: "0.5", 999.0: "999", 1000.0: "1k", 123456.0: "123k", 1.2e7: "12M", 3.45e9: "3.45G"}
    assert {v: report.quantity(v) for v in numbers} == numbers
    assert report.quantity(None) == report.quantity(math.nan) == "-"


def test_a_layer_that_no_seed_has_a_cosine_of_is_a_dash() -> None:
    assert report.aligned({"a": [None, math.nan], "b": [0.25, None], "c": [1.0, 0.5]}) == "- 0.25(1/2) 0.75"
