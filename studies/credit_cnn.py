"""Does a rule teach the filters of a convolutional net, or only the classifier above them?

The whole line-up on Fashion-MNIST with LeNet (network cnn: filters 6 and 16 of 5x5, dense layers 120 and 84, readout),
the same first weights and batches for every recipe. Random filters with a trained classifier go far on images
(Jarrett, Kavukcuoglu, Ranzato & LeCun 2009, ICCV; Saxe et al. 2011, ICML), so a good accuracy alone says little about
credit that crosses convolutions. There are two floors:

    frozen               filters and dense layers stay as drawn; the readout learns by the delta rule
    frozen-convolutions  filters stay as drawn; dense layers and readout learn by backprop, at backprop's rate and from
                         the same prepared net: the two differ in nothing but the filters' learning

A recipe is shown to teach filters where it really exceeds the second floor (or where it differs from its own net with
frozen filters, which is not run here: a recipe below that floor may still gain from its filters).

By default 6,000 training images twice and 2,000 test images, --full all 60,000 once and 10,000, so that no recipe but the
fastest is near its best: this compares early learning at equal numbers of images. Five seeds: with fewer no difference
is called real. With --full the recipes in SLOW (together half of all the time) have the same data, epochs and rates but
SLOW_SEEDS seeds, hence no interval and no verdict. About 90 minutes of one core; finished cells are kept.

Tests: paired over seeds with the Nadeau-Bengio correction, Holm-adjusted over recipes, against both floors and backprop.
Alignment is the cosine of a layer's update with backprop's on the same weights and batch; its null deals credit to the
samples at random. Expected by definition: the same batches and first weights for all; backprop aligned with itself, and
so the dense layers above frozen filters, whose filters have no update; backprop as accurate as the same net trained by
torch alone (`plain_torch`), and with all data above .85; feedback alignment tied to W as accurate as backprop. The other
control, predictive coding in one step, equals backprop up to rounding alone, which hundreds of steps magnify. Which recipe
exceeds which floor is a finding.
"""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurosim.cell import Cell, draw_net
from neurosim.compare import rows_of, run_cells
from neurosim.figures import STYLE, Look, claim, looks
from neurosim.figures_rows import Aligned, draw_alignment_map, draw_scores, order
from neurosim.networks import cnn
from neurosim.plasticity import Gradient, Recipe
from neurosim.recipes import recipes_for
from neurosim.statistics import FEWEST_SEEDS, interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.summary import against, resampled
from neurosim.tasks import TASKS
from neurosim.tasks.base import Task

METRIC, SEEDS, SEEDS_FULL, EPOCHS = "accuracy", 5, 5, 2
EPOCHS_FULL = 1
TRAIN, TEST = 6_000, 2_000  # images; all of them with --full
TRAIN_QUICK, TEST_QUICK, EPOCHS_QUICK = 640, 200, 1
SLOW, SLOW_SEEDS = ("predictive-coding", "equilibrium-propagation"), 1  # with --full
FLOOR, TIED = "frozen-convolutions", "feedback-alignment-tied"
REFERENCES = ("frozen", FLOOR, "backprop")
LAYERS = ("conv1", "conv2", "hidden1", "hidden2", "readout")


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    task = TASKS["fashion"](mode.data)
    if not mode.full:
        task = task.limited(TRAIN_QUICK if mode.quick else TRAIN, TEST_QUICK if mode.quick else TEST)
    epochs = EPOCHS_QUICK if mode.quick else EPOCHS_FULL if mode.full else EPOCHS
    recipes = line_up()
    few = min(mode.seeds, SLOW_SEEDS) if mode.full else mode.seeds
    parts = [
        ([r for r in recipes if r.name not in SLOW], mode.seeds),
        ([r for r in recipes if r.name in SLOW], few),
    ]
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    same = {"epochs": epochs, "workers": os.cpu_count() or 1, "store": store}
    cells = [cell for some, seeds in parts for cell in run_cells(some, cnn, task, seeds=range(seeds), **same)]
    names = [r.name for r in recipes]
    cells.sort(key=lambda c: (names.index(c.recipe), c.seed))
    backprop = next(r for r in recipes if r.name == "backprop")
    plain = [plain_torch(task, seed, epochs, float(backprop.lr)) for seed in range(mode.seeds)]
    rows = rows_of(cells) + tests(cells) + [why(c) for c in cells if c.status != "ok"]
    rows += [
        {"recipe": "backprop", "seed": s, "epoch": epochs, "quantity": "test of plain torch", "value": v}
        for s, v in enumerate(plain)
    ]
    return rows, claims_of(cells, plain, mode.full)


def line_up() -> list[Recipe]:
    """Every recipe for LeNet on Fashion-MNIST, and backprop below which the filters are frozen."""
    recipes = recipes_for("fashion", "cnn")
    floor = replace(recipes["backprop"], name=FLOOR, rules={"conv*": None, "*": Gradient()})
    return [*recipes.values(), floor]


def claims_of(cells: Sequence[Cell], plain: Sequence[float], full: bool) -> list[dict]:
    ok = [c for c in cells if c.status == "ok"]
    base = {c.seed: c for c in cells if c.recipe == "backprop"}
    floor, tied = ([c for c in cells if c.recipe == n] for n in (FLOOR, TIED))
    batches = sum(c.batch_hash != base[c.seed].batch_hash for c in ok)
    weights = sum(c.init_hash != base[c.seed].init_hash for c in cells)
    itself = [c.final("alignment", n) for c in base.values() for n in LAYERS]
    dense = [c.final("alignment", n) for c in floor for n in LAYERS if not n.startswith("conv")]
    moved = sum(r["quantity"] == "alignment" and r["layer"].startswith("conv") for c in floor for r in c.rows)
    apart = [abs(c.final("test") - plain[s]) for s, c in base.items()]
    control = [abs(c.final("test") - base[c.seed].final("test")) for c in tied] or [math.nan]
    definition, item = "definition", 1 / base[0].n_test
    claims = [
        claim("cells with other batches than backprop (hashes)", batches, "<=", 0, 0, definition),
        claim("cells with other first weights than backprop (hashes)", weights, "<=", 0, 0, definition),
        claim("alignment of backprop with itself, least layer and seed", float(np.min(itself)), "within", 1, 1e-3, definition),
        claim(f"{FLOOR}: alignment of its dense layers, least", float(np.min(dense)), "within", 1, 1e-3, definition),
        claim(f"{FLOOR}: updates of filters", moved, "<=", 0, 0, definition),
        claim(
            "backprop: accuracy apart from plain torch, worst seed", float(np.max(apart)), "<=", 0.01, 0,
            "the same net, weights, batches and rate, trained by torch alone",
        ),
        claim(f"{TIED}: accuracy apart from backprop, worst seed", float(np.max(control)), "<=", item, 1e-9, "one test item"),
    ]  # fmt: skip
    if full:
        mean = float(np.mean([c.final("test") for c in base.values()]))
        claims.append(
            claim("backprop: accuracy", mean, ">=", 0.85, 0, "plain torch training of the same net reaches it")
        )
    return claims


# ---------------------------------------------------------------------------------------------- what is compared
def plain_torch(task: Task, seed: int, epochs: int, lr: float) -> float:
    """Test accuracy of backprop's net, written out here and trained by autograd and torch.optim.Adam.

    No layer, trial, record, credit or learner is used: from the package come the first weights, the batches and the
    test images. The activity of every hidden layer is normalised over its units and the readout starts at 0, as in
    the recipe (`prepare.steadied`).
    """
    drawn = draw_net(cnn, task, seed).parameters()
    weights = [w.detach().clone().requires_grad_() for w in drawn]
    with torch.no_grad():
        weights[-1].zero_()

    def normal(y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[1:])

    def net(x: Tensor) -> Tensor:
        conv1, conv2, hidden1, hidden2, readout = weights
        y = F.avg_pool2d(normal(F.conv2d(x, conv1, padding=2).relu()), 2)
        y = F.avg_pool2d(normal(F.conv2d(y, conv2).relu()), 2).flatten(1)
        y = normal(F.linear(y, hidden1).relu())
        return F.linear(normal(F.linear(y, hidden2).relu()), readout)

    split, optimizer = task.split(seed), torch.optim.Adam(weights, lr)
    for epoch in range(epochs):
        for batch in task.batches(split, seed, epoch):
            optimizer.zero_grad()
            F.cross_entropy(net(batch.x), batch.target).backward()
            optimizer.step()
    with torch.no_grad():
        right = [net(b.x).argmax(1) == b.target for b in task.evaluation(split)]
    return torch.cat(right).double().mean().item()


def tests(cells: Sequence[Cell]) -> list[dict]:
    """Rows "difference to R", "half width of the difference to R", "p vs R" and "bootstrap p vs R", R the references."""
    by: dict[str, list[Cell]] = {}
    for c in cells:
        by.setdefault(c.recipe, []).append(c)
    scores = {n: [c.final("test") for c in cs] for n, cs in by.items()}
    found = []
    for reference in REFERENCES:
        for recipe, (t, p) in against(by, scores, reference).items():
            found += [
                {"recipe": recipe, "quantity": f"difference to {reference}", "value": t.difference},
                {"recipe": recipe, "quantity": f"half width of the difference to {reference}", "value": t.half},
                {"recipe": recipe, "quantity": f"p vs {reference}", "value": p},
            ]
        for recipe, (_, p) in resampled(by, reference).items():
            found.append({"recipe": recipe, "quantity": f"bootstrap p vs {reference}", "value": p})
    return found


def why(c: Cell) -> dict:
    return {"recipe": c.recipe, "seed": c.seed, "quantity": c.status, "value": math.nan, "reason": c.reason}


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    """One line per recipe: final accuracy against both floors, which differences are real, alignment by layer."""
    last = max(r["epoch"] for r in rows if r["quantity"] == "test")
    final: dict[str, list[float]] = {}
    for r in rows:
        if r["quantity"] == "test" and r["epoch"] == last and math.isfinite(r["value"]):
            final.setdefault(r["recipe"], []).append(r["value"])
    styles = {**looks(final), FLOOR: Look("#b03060", "D", "-.")}
    slugs = order(final, METRIC)
    notes = notes_of(rows, final, manifest)
    with matplotlib.rc_context(STYLE):
        height = 0.24 * len(slugs) + 1.5
        fig = Figure(figsize=(14, height + 0.17 * len(notes)), layout="constrained")
        scores, words, layers = fig.subplots(1, 3, width_ratios=[1, 1, 0.62])
        draw_scores(scores, final, styles, METRIC)
        scores.set_title("A  Final test accuracy against both floors")
        if FLOOR in final:
            middle, half = interval(final[FLOOR])
            look = styles[FLOOR]
            scores.axvline(middle, color=look.colour, linestyle=look.line, linewidth=1, zorder=1)
            if math.isfinite(half):
                scores.axvspan(middle - half, middle + half, color=look.colour, alpha=0.2, linewidth=0, zorder=0)
        scores.set_xlabel(
            "test accuracy after the last epoch (mean, 95 % t interval; small dots: seeds)\n"
            f"dashed: frozen, dash-dot: {FLOOR}, solid: backprop"
        )
        verdicts(words, rows, slugs)
        draw_alignment_map(layers, final, LAYERS, aligned(rows), METRIC)
        layers.set_title("C  Alignment with backprop")
        seen = max(r["samples"] for r in rows if r["quantity"] == "test")
        fig.suptitle(
            f"Fashion-MNIST, LeNet: {seen:,} images shown, {max(map(len, final.values()))} seeds",
            fontsize=12, fontweight="bold", x=0.01, ha="left",
        )  # fmt: skip
        fig.supxlabel("\n".join(notes), fontsize=8, x=0.01, ha="left")
    return fig


def verdicts(ax: Axes, rows: Sequence[Mapping], slugs: Sequence[str]) -> None:
    """The mean difference to each reference, bold where it is real, with the half width of its 95 % interval."""
    told = {
        (r["recipe"], r["quantity"]): r["value"] for r in rows if " vs " in r["quantity"] or " to " in r["quantity"]
    }
    seeds = {
        slug: sum(r["recipe"] == slug and r["quantity"] == "test" and r["epoch"] == 0 for r in rows) for slug in slugs
    }
    for k, reference in enumerate(REFERENCES):
        head = f"to {reference.replace('convolutions', 'filters')}"
        ax.text(k, len(slugs) - 0.35, head, fontsize=8, fontweight="bold", va="bottom")
        for y, slug in enumerate(slugs):
            difference = told.get((slug, f"difference to {reference}"), math.nan)
            half = told.get((slug, f"half width of the difference to {reference}"), math.nan)
            real = told.get((slug, f"p vs {reference}"), math.nan) < 0.05 and seeds[slug] >= FEWEST_SEEDS
            text = "–" if math.isnan(difference) else f"{difference:+.3f}"
            text += f" ± {half:.3f}" if math.isfinite(half) else ""
            look = {"fontweight": "bold"} if real else {"color": "#8a8a8a"}
            ax.text(k, y, text + (" real" if real else ""), fontsize=8, va="center", **look)
    ax.set(xlim=(-0.05, len(REFERENCES)), ylim=(-0.7, len(slugs) - 0.3))
    ax.set_title("B  Difference in accuracy", pad=14)
    ax.set_axis_off()


def aligned(rows: Sequence[Mapping]) -> dict[tuple[str, str], Aligned]:
    """By recipe and layer, at its last epoch: the mean over seeds of the cosine, the median of the ends of its null."""
    kinds = ("alignment", "null_low", "null_high")
    last: dict[str, int] = {}
    for r in rows:
        if r["quantity"] == "alignment":
            last[r["recipe"]] = max(last.get(r["recipe"], 0), r["epoch"])
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for r in rows:
        if r["quantity"] in kinds and r["epoch"] == last.get(r["recipe"]) and math.isfinite(r["value"]):
            found.setdefault((r["recipe"], r["layer"]), {k: [] for k in kinds})[r["quantity"]].append(r["value"])
    return {
        key: Aligned(float(np.mean(v["alignment"])), float(np.median(v["null_low"])), float(np.median(v["null_high"])))
        for key, v in found.items()
        if all(v.values())
    }


def notes_of(rows: Sequence[Mapping], final: Mapping[str, Sequence[float]], manifest: Mapping) -> list[str]:
    most = max(map(len, final.values()))
    said = [
        f"B: mean difference over seeds ± half its 95 % interval. real: Holm-adjusted p < .05 in the paired, corrected t "
        f"test{'' if most >= FEWEST_SEEDS else f', with at least {FEWEST_SEEDS} seeds'}; grey: these seeds cannot tell, "
        "which does not mean equal.",
        "C: cosine of the update with backprop's, last epoch. In brackets and on white: inside the 95 % range of that "
        "cosine when credit is dealt to the samples at random; ↓ below it; – does not learn, or its update is 0.",
    ]
    fewer = {slug: len(v) for slug, v in final.items() if len(v) < most}
    if fewer:
        said.append("Fewer seeds: " + ", ".join(f"{slug} {n}" for slug, n in fewer.items()) + ".")
    said += dict.fromkeys(f"{r['recipe']}: {r['quantity']}. {r['reason']}" for r in rows if r.get("reason"))
    return [line for text in said for line in textwrap.wrap(text, 200, subsequent_indent="    ")]


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
