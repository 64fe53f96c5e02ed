"""What the comparison figure shows."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from neurosim import figures
from neurosim.figures_comparison import comparison
from tests.test_figures import CORE, FINAL, lines, make_manifest, make_rows


def test_every_core_recipe_has_its_own_look() -> None:
    styles = figures.looks(CORE)
    assert list(styles)[0] == "backprop" and list(styles)[-1] == "frozen"
    assert len({s.colour for s in styles.values()}) == len({s.marker for s in styles.values()}) == 13
    assert styles["backprop"].colour == "#000000" and styles["frozen"].line == "--"
    assert figures.looks(["oja"])["oja"] == styles["oja"]
    assert figures.looks(["rflo", "eprop", "oja"]) == figures.looks(["eprop", "oja", "rflo"])
    assert len(set(figures.looks([f"own-{i}" for i in range(12)]).values())) == 12


def test_panels_and_labels() -> None:
    fig = comparison(make_rows(), make_manifest())
    curves, final, hidden, readout = fig.axes
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("training samples seen", "test accuracy")
    assert final.get_xlabel().startswith("final test accuracy")
    assert hidden.get_title("left").endswith("hidden") and readout.get_title("left").endswith("readout")
    assert "cosine with backprop (1)" in hidden.get_ylabel() and hidden.get_xlabel() == "training samples seen"
    assert fig.get_suptitle() == "digits, mlp: 3 seeds, mean and 95 % t interval"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "backprop",
        "bcm",
        "frozen",
        "shuffled credit, 95 %",
    ]


def test_curves_and_bands_by_hand() -> None:
    curves = comparison(make_rows(), make_manifest()).axes[0]
    bcm = next(line for line in curves.lines if line.get_label() == "bcm")
    assert list(bcm.get_xdata()) == [0, 1297, 2594, 3891, 5188]
    assert bcm.get_ydata()[[0, -1]] == pytest.approx([0.1, 0.89])  # (.86 + .88 + .93) / 3
    band = curves.collections[0].get_paths()[0].vertices  # backprop: s = .01, t(2, .975) / sqrt(3) = 2.484138
    assert band[band[:, 0] == 5188, 1].min() == pytest.approx(0.96 - 0.02484138, abs=1e-7)
    assert band[band[:, 0] == 5188, 1].max() == pytest.approx(0.96 + 0.02484138, abs=1e-7)


def test_final_scores_floor_and_ceiling() -> None:
    final = comparison(make_rows(), make_manifest()).axes[1]
    assert [label.get_text() for label in final.get_yticklabels()] == ["frozen", "bcm", "backprop"]  # upwards
    by_label = {line.get_label(): line for line in final.lines}
    assert by_label["frozen"].get_xdata() == pytest.approx([0.87, 0.87]) and by_label["frozen"].get_linestyle() == "--"
    assert by_label["backprop"].get_xdata() == pytest.approx([0.96, 0.96])
    floor = final.patches[0].get_extents().transformed(final.transData.inverted())
    # d = (-.02, .01, .01): s = .0173205, half width 4.302653 s / sqrt(3) = .04302653
    assert (floor.x0, floor.x1) == pytest.approx((0.87 - 0.04302653, 0.87 + 0.04302653), abs=1e-6)
    assert "0.960 ± 0.025 *" in [text.get_text() for text in final.texts]
    assert to_hex(by_label["_backprop"].get_markerfacecolor()) == "#000000"  # p = .01
    assert by_label["_bcm"].get_markerfacecolor() == "white"  # p = .4
    seeds = [sorted(line.get_xdata()) for line in final.lines if line.get_label() == "_seeds"]
    assert seeds == [pytest.approx(sorted(FINAL[slug])) for slug in ("frozen", "bcm", "backprop")]
    low, high = final.get_xlim()
    assert 0.75 < low < 0.80 and 0.985 < high < 1.01  # bcm's interval, .89 ± .09, and backprop's, .96 ± .025


def test_lower_is_better_for_errors() -> None:
    final = comparison(make_rows(), {**make_manifest(), "metric": "error"}).axes[1]
    assert [label.get_text() for label in final.get_yticklabels()] == ["backprop", "bcm", "frozen"]


def test_alignment_panels_show_the_null_band() -> None:
    hidden = comparison(make_rows(), make_manifest()).axes[2]
    null = next(c for c in hidden.collections if c.get_label() == "_null").get_paths()[0].vertices
    assert (null[:, 1].min(), null[:, 1].max()) == pytest.approx((-0.3, 0.3))  # the median of .2, .3 and .4
    bcm = next(line for line in hidden.lines if line.get_label() == "bcm")
    assert bcm.get_ydata()[-1] == pytest.approx(0.47)
    assert hidden.get_ylim() == pytest.approx((-0.45, 1.05))


def test_redrawn_from_files_it_is_the_same_figure(tmp_path: Path) -> None:
    rows, manifest = make_rows(), make_manifest()
    rows[0]["value"], rows[8]["value"] = np.float32(0.1), None
    fig = comparison(rows, manifest)
    path = figures.save("a", fig, rows, out=tmp_path, manifest=manifest)
    again = comparison(*figures.load("a", tmp_path))
    assert len(lines(fig)) == len(lines(again)) > 15
    for drawn, redrawn in zip(lines(fig), lines(again), strict=True):
        assert drawn[:2] == redrawn[:2]
        assert np.array_equal(drawn[2], redrawn[2]) and np.array_equal(drawn[3], redrawn[3])
    assert figures.save("b", again, rows, out=tmp_path).read_bytes() == path.read_bytes()


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
    bcm = next(line for line in fig.axes[0].lines if line.get_label() == "bcm")
    assert bcm.get_ydata()[-1] == pytest.approx((0.86 + 0.93) / 2)
    assert [label.get_text() for label in fig.axes[1].get_yticklabels()] == ["frozen", "bcm", "backprop"]


def test_one_seed_without_frozen_or_layers(tmp_path: Path) -> None:
    rows = make_rows({"backprop": (0.95,), "own rule": (math.nan,)}, layers=())
    fig = comparison(rows, {"recipes": {"own rule": {"status": "diverged", "reason": None}}})
    assert len(fig.axes) == 2 and fig.get_suptitle() == "1 seed"
    assert [label.get_text() for label in fig.axes[1].get_yticklabels()] == ["backprop"]
    assert not fig.axes[0].collections  # one seed has no band
    figures.save("a", fig, rows, out=tmp_path)


@pytest.mark.parametrize(
    "layers", [("hidden1", "hidden2", "readout"), ("conv1", "conv2", "hidden1", "hidden2", "readout")]
)
def test_nothing_is_cut_and_nothing_overlaps(layers: tuple) -> None:
    final = {slug: (0.88 + 0.006 * i, 0.885 + 0.006 * i, 0.893 + 0.006 * i) for i, slug in enumerate(CORE)}
    recipes = {slug: {"status": "ok", "p_vs_frozen": 0.01} for slug in CORE}
    recipes["bcm"] = {"status": "diverged", "reason": "the weights became NaN " * 20}
    fig = comparison(make_rows(final, layers), make_manifest(recipes))
    assert len(fig.axes) == 2 + len(layers)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer, whole = canvas.get_renderer(), fig.bbox
    drawn = [ax.get_tightbbox(renderer) for ax in fig.axes]
    drawn += [text.get_window_extent(renderer) for text in (fig._suptitle, fig._supxlabel)]
    drawn += [fig.legends[0].get_window_extent(renderer)]
    for box in drawn:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    assert not any(a.overlaps(b) for a, b in combinations(drawn, 2))
    for axis in [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]:
        labels = [t.get_window_extent(renderer) for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
        low, high = sorted(axis.get_view_interval())
        shown = [b for b, at in zip(labels, axis.get_ticklocs(), strict=False) if low <= at <= high]
        assert not any(a.overlaps(b) for a, b in combinations(shown, 2))
