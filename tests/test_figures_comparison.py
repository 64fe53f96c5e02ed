"""What the comparison figure shows."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from neurosim import figures
from neurosim.figures_comparison import comparison
from neurosim.recipes import CONTROLS, LINE_UP, TWINS
from neurosim.recipes_attention import ATTENTION
from neurosim.recipes_diehl_cook import DIEHL_COOK
from neurosim.recipes_spiking import SPIKING as SPIKING_LINE_UP
from neurosim.recipes_time import MADE, recurrent
from neurosim.summary import FAMILIES
from tests.test_figures import CORE, FINAL, lines, make_manifest, make_rows


def panel(fig: Figure, label: str) -> Axes:
    return next(ax for ax in fig.axes if ax.get_label() == label)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def five_seeds(middle: dict[str, float], step: float = 0.002) -> dict[str, tuple]:
    return {slug: tuple(mean + step * k for k in range(-2, 3)) for slug, mean in middle.items()}


def recipes_of(final: dict[str, tuple], real: tuple[str, ...] = (), half: float = 0.01) -> dict:
    """The manifest's recipes: differences of the means, p = .01 for `real`, .4 for the others, to both references."""
    found: dict = {}
    for slug, values in final.items():
        found[slug] = {"status": "ok", "test": list(values)}
        for reference in ("frozen", "backprop"):
            if slug != reference and reference in final:
                d = float(np.mean(values) - np.mean(final[reference]))
                found[slug][f"difference_to_{reference}"] = [d, half]
                found[slug][f"p_vs_{reference}"] = 0.01 if slug in real else 0.4
    return found


# ---------------------------------------------------------------------------------------------- looks
def lab(colour: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour, D65."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_recipe_has_its_own_look() -> None:
    styles = figures.looks(LINE_UP)
    in_time = set(SPIKING_LINE_UP).union(DIEHL_COOK, ATTENTION, *(recurrent("delayed-xor", n) for n in MADE))
    assert set(figures.LOOKS) == set(LINE_UP) | in_time and list(styles)[0] == "backprop"
    assert len({s.colour for s in figures.looks(figures.LOOKS).values()}) == len(figures.LOOKS)
    assert styles["backprop"].colour == "#000000" and styles["frozen"].line == "--"
    assert list(figures.looks(CORE))[-1] == "frozen"
    assert figures.looks(["oja"])["oja"] == styles["oja"]
    assert figures.looks(["mine", "its", "oja"]) == figures.looks(["its", "oja", "mine"])
    assert len(set(figures.looks([f"own-{i}" for i in range(12)]).values())) == 12


@pytest.mark.parametrize("family", FAMILIES)
def test_lines_of_a_panel_are_told_apart(family: str) -> None:
    """By marker alone, and by colour alone: at least 12 apart in L*a*b*, where 2.3 is just noticeable."""
    styles = figures.looks(FAMILIES[family])
    assert len({s.marker for s in styles.values()}) == len(styles)
    for a, b in combinations(styles.values(), 2):
        assert np.linalg.norm(lab(a.colour) - lab(b.colour)) > 12, (a, b)


# ---------------------------------------------------------------------------------------------- panels
def test_panels_and_labels() -> None:
    fig = comparison(make_rows(), make_manifest())
    assert [ax.get_label() for ax in fig.axes] == [
        "error feedback", "Hebbian", "controls and twins", "scores", "verdicts", "map", "words",
        "alignment hidden", "alignment readout", "key",
    ]  # fmt: skip
    curves, hidden = panel(fig, "error feedback"), panel(fig, "alignment hidden")
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("training samples seen", "test accuracy")
    assert curves.get_legend().get_title().get_text() == "A  Learning curves: error feedback"
    assert panel(fig, "scores").get_xlabel().startswith("final test accuracy")
    assert hidden.get_title("left") == "D  hidden"
    assert "cosine with backprop (1)" in hidden.get_ylabel() and hidden.get_xlabel() == "training samples seen"
    assert fig.get_suptitle() == "digits, mlp: 3 seeds, mean and 95 % t interval"
    key = panel(fig, "key").get_legend().get_texts()
    assert [text.get_text() for text in key] == ["backprop", "bcm", "frozen", "shuffled credit, 95 %"]


def test_families_have_a_panel_each_with_the_references_in_it() -> None:
    final = five_seeds({"backprop": 0.96, "oja": 0.9, "bcm": 0.91, "frozen": 0.88, "mine": 0.92, TWINS[0]: 0.95})
    fig = comparison(make_rows(final), make_manifest(recipes_of(final)))
    drawn = {ax.get_label(): [line.get_label() for line in ax.lines] for ax in fig.axes[:4]}
    assert drawn == {
        "error feedback": ["_frozen", "backprop"],
        "Hebbian": ["_frozen", "_backprop", "oja", "bcm"],
        "controls and twins": ["_backprop", "frozen", TWINS[0]],
        "others": ["_frozen", "_backprop", "mine"],
    }
    named = [text.get_text() for text in panel(fig, "controls and twins").get_legend().get_texts()]
    assert named == ["frozen", f"{TWINS[0]} ‡"]
    assert len({ax.get_ylim() for ax in fig.axes[:4]}) == len({ax.get_xlim() for ax in fig.axes[:4]}) == 1


def test_curves_and_bands_by_hand() -> None:
    fig = comparison(make_rows(), make_manifest())
    bcm = next(line for line in panel(fig, "Hebbian").lines if line.get_label() == "bcm")
    assert list(bcm.get_xdata()) == [0, 1297, 2594, 3891, 5188]
    assert bcm.get_ydata()[[0, -1]] == pytest.approx([0.1, 0.89])  # (.86 + .88 + .93) / 3
    band = panel(fig, "error feedback").collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 5188, 1].min() == pytest.approx(0.96 - 0.02484138, abs=1e-7)  # s = .01,
    assert band[band[:, 0] == 5188, 1].max() == pytest.approx(0.96 + 0.02484138, abs=1e-7)  # t(2, .975) / sqrt(3)


def test_final_scores_floor_and_ceiling() -> None:
    final = panel(comparison(make_rows(), make_manifest()), "scores")
    assert [label.get_text() for label in final.get_yticklabels()] == ["frozen", "bcm", "backprop"]  # upwards
    by_label = {line.get_label(): line for line in final.lines}
    assert by_label["frozen"].get_xdata() == pytest.approx([0.87, 0.87]) and by_label["frozen"].get_linestyle() == "--"
    assert by_label["backprop"].get_xdata() == pytest.approx([0.96, 0.96])
    floor = final.patches[0].get_extents().transformed(final.transData.inverted())
    # d = (-.02, .01, .01): s = .0173205, half width 4.302653 s / sqrt(3) = .04302653
    assert (floor.x0, floor.x1) == pytest.approx((0.87 - 0.04302653, 0.87 + 0.04302653), abs=1e-6)
    seeds = [sorted(line.get_xdata()) for line in final.lines if line.get_label() == "_seeds"]
    assert seeds == [pytest.approx(sorted(FINAL[slug])) for slug in ("frozen", "bcm", "backprop")]
    low, high = final.get_xlim()
    assert 0.77 < low < 0.79 and 0.985 < high < 0.99  # bcm's interval, .89 ± .09, and backprop's, .96 ± .025
    third = final.transData.transform([(0.9, 0), (0.99, 0), (0, 0)])[:, 0]  # .9 is half way from 0 to .99
    assert third[0] - third[2] == pytest.approx(third[1] - third[0])


def test_lower_is_better_for_errors() -> None:
    final = panel(comparison(make_rows(), {**make_manifest(), "metric": "error"}), "scores")
    assert [label.get_text() for label in final.get_yticklabels()] == ["backprop", "bcm", "frozen"]


def test_twins_and_controls_stand_below_a_line() -> None:
    final = five_seeds({"backprop": 0.96, CONTROLS[0]: 0.96, "frozen": 0.88, TWINS[0]: 0.97})
    scores = panel(comparison(make_rows(final), make_manifest(recipes_of(final))), "scores")
    upwards = [label.get_text() for label in scores.get_yticklabels()]
    assert upwards == [f"{CONTROLS[0]} †", f"{TWINS[0]} ‡", "frozen", "backprop"]
    (line,) = (line for line in scores.lines if line.get_label() == "_aside")
    assert list(line.get_ydata()) == [1.5, 1.5]


# ---------------------------------------------------------------------------------------------- what is real
def test_real_differences_are_said_in_words() -> None:
    final = five_seeds({"backprop": 0.96, "bcm": 0.91, "frozen": 0.88})
    fig = comparison(make_rows(final), make_manifest(recipes_of(final, real=("backprop",))))
    rows = {text.get_text(): text for text in panel(fig, "verdicts").texts}
    assert rows["+0.080 real"].get_fontweight() == "bold"
    assert rows["+0.030 not resolved"].get_fontweight() != "bold"  # bcm to frozen
    assert "-0.050 not resolved" in rows and "-0.080 not resolved" in rows  # bcm, frozen to backprop
    assert {text.get_position()[1] for text in rows.values() if text.get_text().endswith("real")} == {2.0}  # on top
    # t interval by hand: s = .00316228, t(4, .975) = 2.776445, over sqrt(5)
    assert "0.960 ± 0.004" in rows and "0.910 ± 0.004" in rows


def test_the_smallest_difference_that_would_be_found_is_said() -> None:
    """Half width .01 of 5 seeds: t(4, .975) = 2.776445, nc for power .8 = 3.7611 (scipy's noncentral t)."""
    final = five_seeds({"backprop": 0.96, "bcm": 0.91, "frozen": 0.88})
    fig = comparison(make_rows(final), make_manifest(recipes_of(final)))
    said = " ".join(" ".join(texts(panel(fig, "words"))).split())
    assert "With 5 seeds a true difference is found in 4 of 5 such experiments" in said
    assert f"to frozen {0.01 * 3.7611 / 2.776445:.3f} in a single test" in said and "first step of 2" in said
    assert "which does not mean equal" in said


def test_two_seeds_call_nothing_real() -> None:
    final = {slug: values[:2] for slug, values in five_seeds({"backprop": 0.96, "frozen": 0.88}).items()}
    fig = comparison(make_rows(final), make_manifest(recipes_of(final, real=("backprop",))))
    rows = texts(panel(fig, "verdicts"))
    assert "+0.080" in rows and not any("real" in text or "resolved" in text for text in rows)
    assert "with fewer than 5 seeds no difference is called real" in " ".join(texts(panel(fig, "words")))
    assert fig.get_suptitle().endswith("2 seeds, mean (95 % t interval in B only)")


# ---------------------------------------------------------------------------------------------- alignment
def test_the_map_holds_each_cosine_against_its_own_null() -> None:
    """Nulls of bcm: -.4 to -.2 over seeds, median -.3, up to .3; its last cosines .44 to .50 in one layer, made .2, -.6."""
    rows = make_rows(layers=("a", "b", "c"))
    for row in rows:
        if row["recipe"] == "bcm" and row["quantity"] == "alignment" and row["layer"] != "a":
            row["value"] = (0.2 if row["layer"] == "b" else -0.6) if row["epoch"] == 4 else 0.9
        if row["recipe"] == "frozen" and row["quantity"] == "alignment" and row["layer"] == "a":
            row["value"] = math.nan
    ax = panel(comparison(rows, make_manifest()), "map")
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert [shown[x, 1] for x in range(3)] == [".47", "(.20)", "-.60↓"]  # from below: frozen, bcm, backprop
    assert shown[0, 2] == "1.00" and shown[0, 0] == "–"
    cells = np.ma.filled(ax.collections[0].get_array().reshape(3, 3), math.nan)
    assert cells[1] == pytest.approx([0.47, math.nan, -0.6], nan_ok=True)


def test_alignment_panels_show_the_null_band() -> None:
    hidden = panel(comparison(make_rows(), make_manifest()), "alignment hidden")
    null = next(c for c in hidden.collections if c.get_label() == "_null").get_paths()[0].vertices
    assert (null[:, 1].min(), null[:, 1].max()) == pytest.approx((-0.3, 0.3))  # the median of .2, .3 and .4
    bcm = next(line for line in hidden.lines if line.get_label() == "bcm")
    assert bcm.get_ydata()[-1] == pytest.approx(0.47)
    assert hidden.get_ylim() == pytest.approx((-0.45, 1.05))


def test_only_the_eight_that_move_most_are_drawn_over_training() -> None:
    final = five_seeds(dict.fromkeys(CORE, 0.9))
    rows = make_rows(final)
    still = dict(zip(CORE, range(13), strict=True))  # the k-th recipe in this order ends k / 20 higher than it began
    for row in rows:
        if row["quantity"] == "alignment":
            row["value"] = 0.1 + still[row["recipe"]] / 20 * row["epoch"] / 4
    fig = comparison(rows, make_manifest(recipes_of(final)))
    drawn = {line.get_label() for line in panel(fig, "alignment hidden").lines if line.get_label() in still}
    assert drawn == set(CORE[5:])
    assert panel(fig, "key").get_legend().get_title().get_text() == "the 8 that change most"


# ---------------------------------------------------------------------------------------------- files, failures
def test_redrawn_from_files_it_is_the_same_figure(tmp_path: Path) -> None:
    final = five_seeds({"backprop": 0.96, "bcm": 0.91, "frozen": 0.88})
    rows, manifest = make_rows(final), make_manifest(recipes_of(final, real=("bcm",)))
    rows[0]["value"], rows[8]["value"] = np.float32(0.1), None
    manifest["recipes"]["bcm"] |= {"difference_to_backprop": [math.nan, math.nan], "p_vs_backprop": math.nan}
    fig = comparison(rows, manifest)
    path = figures.save("a", fig, rows, out=tmp_path, manifest=manifest)
    again = comparison(*figures.load("a", tmp_path))
    assert len(lines(fig)) == len(lines(again)) > 15
    for drawn, redrawn in zip(lines(fig), lines(again), strict=True):
        assert drawn[:2] == redrawn[:2]
        assert np.array_equal(drawn[2], redrawn[2]) and np.array_equal(drawn[3], redrawn[3])
    assert figures.save("b", again, rows, out=tmp_path).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["compare-digits-mlp"])
def test_the_committed_figure_is_redrawn_from_its_files(name: str) -> None:
    rows, manifest = figures.load(name, Path(__file__).parents[1] / "figures")
    fig = comparison(rows, manifest)
    upwards = [label.get_text().split()[0] for label in panel(fig, "scores").get_yticklabels()]
    assert set(upwards) == set(manifest["recipes"])
    said = texts(panel(fig, "verdicts"))
    for slug, entry in manifest["recipes"].items():
        if "difference_to_frozen" in entry:
            assert any(text.startswith(f"{entry['difference_to_frozen'][0]:+.3f} ") for text in said), slug


def test_diverged_and_unsupported_recipes_are_named_with_their_reason() -> None:
    rows = [r for r in make_rows() if not (r["recipe"] == "bcm" and r["seed"] == 1 and r["epoch"] > 2)]
    for row in rows:
        if row["recipe"] == "bcm" and row["seed"] == 1 and row["epoch"] == 2:
            row["value"] = math.nan
    recipes = make_manifest()["recipes"]
    recipes["bcm"] = {"status": "diverged", "reason": "NaN in hidden at epoch 2 of seed 1."}
    recipes["equilibrium-propagation"] = {"status": "unsupported", "reason": "It needs a static net."}
    fig = comparison(rows, make_manifest(recipes))
    assert fig.get_supxlabel().splitlines() == [
        "bcm: diverged, 2 seeds finished. NaN in hidden at epoch 2 of seed 1.",
        "equilibrium-propagation: unsupported, no final score. It needs a static net.",
    ]
    bcm = next(line for line in panel(fig, "Hebbian").lines if line.get_label() == "bcm")
    assert bcm.get_ydata()[-1] == pytest.approx((0.86 + 0.93) / 2)
    assert [label.get_text() for label in panel(fig, "scores").get_yticklabels()] == ["frozen", "bcm", "backprop"]


def test_one_seed_without_frozen_or_layers(tmp_path: Path) -> None:
    rows = make_rows({"backprop": (0.95,), "own rule": (math.nan,)}, layers=())
    fig = comparison(rows, {"recipes": {"own rule": {"status": "diverged", "reason": None}}})
    assert [ax.get_label() for ax in fig.axes][-3:] == ["scores", "verdicts", "words"]
    assert fig.get_suptitle() == "1 seed"
    assert [label.get_text() for label in panel(fig, "scores").get_yticklabels()] == ["backprop"]
    assert not panel(fig, "error feedback").collections  # one seed has no band
    figures.save("a", fig, rows, out=tmp_path)


LAYERS = (("hidden1", "hidden2", "readout"), ("conv1", "conv2", "hidden1", "hidden2", "readout"))


@pytest.mark.parametrize(
    "slugs, layers", [(CORE, LAYERS[0]), (list(LINE_UP), LAYERS[1])], ids=("core, mlp", "all, cnn")
)
def test_nothing_is_cut_and_nothing_overlaps(slugs: list, layers: tuple, tmp_path: Path) -> None:
    final = five_seeds({slug: 0.8 + 0.006 * i for i, slug in enumerate(slugs)})
    recipes = recipes_of(final, real=tuple(slugs[::2]))
    recipes["bcm"] |= {"status": "diverged", "reason": "the weights became NaN " * 20}
    rows = make_rows(final, layers, epochs=12)
    fig = comparison(rows, make_manifest(recipes))
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer, whole = canvas.get_renderer(), fig.bbox
    drawn = [ax.get_tightbbox(renderer) for ax in fig.axes if ax.get_label() not in ("verdicts", "words", "key")]
    drawn += [text.get_window_extent(renderer) for text in (fig._suptitle, fig._supxlabel)]
    drawn += [text.get_window_extent(renderer) for text in panel(fig, "words").texts]
    drawn += [text.get_window_extent(renderer) for text in panel(fig, "verdicts").texts]
    drawn += [panel(fig, "key").get_legend().get_window_extent(renderer)]
    for box in drawn:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    assert not [(a, b) for a, b in combinations(drawn, 2) if a.overlaps(b)]
    inside = [text.get_window_extent(renderer) for text in panel(fig, "map").texts]
    assert not any(a.overlaps(b) for a, b in combinations(inside, 2))
    for axis in [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis) if ax.axison]:
        labels = [t.get_window_extent(renderer) for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
        low, high = sorted(axis.get_view_interval())
        shown = [b for b, at in zip(labels, axis.get_ticklocs(), strict=False) if low <= at <= high]
        assert not any(a.overlaps(b) for a, b in combinations(shown, 2))
    assert figures.save("a", fig, rows, out=tmp_path).stat().st_size < 1_000_000
