"""10 to 1,000 labels: who needs how many?

Every recipe of the line-up (without twins and controls) learns from the first n = 10, 30, ... 1,000 labelled training
images of the seed: one of each class, then the rest at random, so each set holds the smaller ones. The n images are
shown in shuffled passes, one after the other, cut into batches of 32: the number of steps and of images shown is the same
for every n. The score is the accuracy on the seed's test part. Net: the mlp, hidden layers of 128 and 64. Two regimes:

    labelled     all layers learn, at the same time, from the n labelled images
    all images   hidden layers learn first, with the readout's rule off, on batches of all training images, whose labels
                 are taken away (every target is class 0); then they stay, and the readout alone learns from the n
                 labelled images. Each part has as many steps as the other regime; all else is the recipe's own.

The second is for recipes whose hidden layers are blind to labels, and that is measured: their updates on a batch must stay
the same, bit by bit, when its labels go (`blind_to_labels`). It is the setting where local rules should shine. In both,
pixels are centred and scaled by all training images, which takes no labels, so that nothing else differs.

Rates are those of the line-up, tuned with all labels and more steps. Steps are few and equal: a recipe that learns slowly
may lack steps, not labels. Where the hidden layers are trained one after the other, each has a third of the steps.

"Labels to half": where the accuracy, interpolated in log n, has closed half the gap between frozen with 10 labels and
backprop with 1,000 (means over seeds). Nearest neighbour: the class of the nearest labelled image by its pixels, a
reference without a net. Tests: paired over seeds with the Nadeau-Bengio correction, against frozen and backprop at the
same n, Holm-adjusted over recipes and regimes at that n. The training size in it is that of the set the n are drawn from.

Expected by definition: all recipes see the same images and labels; more labels help backprop; a readout on frozen
features is above chance with 10 labels. Who needs how many is a finding, not a claim. --full adds Fashion-MNIST.
"""

import copy
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from neurosim.cell import draw_net, evaluate, fingerprint
from neurosim.cluster import in_processes
from neurosim.credit import Autoencoder, ContrastiveDivergence
from neurosim.figures import STYLE, Look, claim, looks
from neurosim.keys import Job
from neurosim.networks import mlp
from neurosim.plasticity import Batch, Learner, Recipe, Unsupported, as_it_is, match
from neurosim.recipes import CONTROLS, TWINS, recipes_for
from neurosim.statistics import FEWEST_SEEDS, holm, interval, paired
from neurosim.study import Mode, main
from neurosim.summary import FAMILIES
from neurosim.tasks import TASKS
from neurosim.tasks.base import Split, Task, cross_entropy

METRIC = "accuracy"
LABELS, LABELS_QUICK = (10, 30, 100, 300, 1000), (10, 100, 1000)
STEPS, STEPS_QUICK, BATCH = 200, 30, 32
FASHION_SEEDS = 5  # with --full, which gives all its seeds to the digits
LABELLED, ALL = "labelled", "all images"
NEIGHBOUR = "nearest-neighbour"

Line = tuple[str, str]  # recipe, regime
Learned = tuple[list[dict], dict[int, str]]  # rows; by n, a hash of the images and labels shown


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    labels, steps = (LABELS_QUICK, STEPS_QUICK) if mode.quick else (LABELS, STEPS)
    few = min(mode.seeds, FASHION_SEEDS) if mode.full else 0
    parts = [
        part_of(name, mode.data, range(seeds), labels, steps)
        for name, seeds in (("digits", mode.seeds), ("fashion", few))
        if seeds
    ]
    return [row for rows, _ in parts for row in rows], [c for _, claims in parts for c in claims]


def part_of(
    name: str, data: Path | None, seeds: Sequence[int], labels: Sequence[int], steps: int
) -> tuple[list[dict], list[dict]]:
    """Rows and claims of one task."""
    recipes = line_up(name, steps)
    jobs = [Job(r, seed) for r in recipes for seed in seeds]
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)  # where the processes find this module
    learned = dict(in_processes(partial(learn, recipes, name, data, labels, steps), jobs, os.cpu_count() or 1))
    rows = [row for job in jobs for row in learned[job][0]]
    rows += [row for seed in seeds for row in nearest_neighbour(name, data, seed, labels)]
    scores, task = scores_of(rows, name), task_of(name, data)
    different = {(job.seed, n, h) for job in jobs for n, h in learned[job][1].items()}
    chance, n_test = 1 / task.outputs, len(task.split(0).test_y)
    guessing = chance + 3 * math.sqrt(chance * (1 - chance) / n_test)
    rising = scores["backprop", LABELLED].mean(1).tolist()
    floor = float(scores["frozen", LABELLED][0].min())
    return rows + to_half(scores, name, labels) + tests(scores, task, labels), [
        claim(f"{name}: different sets of images and labels, a seed and n", len(different) / len(labels) / len(seeds),
              "within", 1, 0, "definition: the same for all recipes"),
        claim(f"{name}: backprop's accuracy", rising, "ordering", [f"{n:,} labels" for n in labels], 0,
              "more labels, same steps"),
        claim(f"{name}: frozen with {labels[0]} labels, worst seed", floor, ">=", guessing, 0,
              "chance + 3 standard errors of guessing"),
    ]  # fmt: skip


def line_up(task: str, steps: int) -> dict[str, Recipe]:
    """All recipes but twins and controls; layers that take turns have a third of the steps each, at most."""
    found = {n: r for n, r in recipes_for(task, "mlp").items() if n not in TWINS + CONTROLS}
    for n, r in found.items():
        if isinstance(r.credit, Autoencoder | ContrastiveDivergence):
            turn = max(1, min(r.credit.updates, steps // 3))
            found[n] = replace(r, credit=replace(r.credit, updates=turn))
    return found


# ---------------------------------------------------------------------------------------------- one recipe, one seed
@cache
def task_of(name: str, data: Path | None) -> Task:
    """Read once by each process."""
    return TASKS[name](data)


def learn(
    recipes: Mapping[str, Recipe], name: str, data: Path | None, labels: Sequence[int], steps: int, job: Job
) -> Learned:
    """Test accuracy by n and regime. A recipe that cannot run on the net has rows of nan with the reason."""
    torch.set_num_threads(1)
    task, recipe, seed = task_of(name, data), recipes[job.recipe], job.seed
    split = in_order(task.split(seed), task.outputs)
    example = shown(split, torch.arange(BATCH))
    rows: list[dict] = []
    hashes: dict[int, str] = {}

    def note(regime: str, n: int, value: float, reason: str = "") -> None:
        at = {"recipe": recipe.name, "seed": seed, "task": name, "regime": regime, "labels": n}
        rows.append({**at, "quantity": "test", "value": value, "reason": reason})

    def taught(net: nn.Module, recipe: Recipe, batches: Sequence[Batch]) -> Learner:
        learner = Learner(net, recipe, example, seed)
        for batch in batches:
            learner.step(batch)
        return learner

    try:
        blind = blind_to_labels(Learner(draw_net(mlp, task, seed), recipe, example, seed), example)
    except Unsupported as reason:
        for n in labels:
            note(LABELLED, n, math.nan, str(reason))
        return rows, hashes
    everything = [unlabelled(shown(split, index)) for index in stream(len(split.train_y), steps, seed)]
    hidden = taught(draw_net(mlp, task, seed), hidden_only(recipe), everything).net if blind else None
    for n in labels:
        batches = [shown(split, index) for index in stream(n, steps, seed)]
        hashes[n] = fingerprint(t for b in batches for t in (b.target, b.x.sum()))
        note(LABELLED, n, evaluate(taught(draw_net(mlp, task, seed), recipe, batches), task, split)[0])
        if hidden is not None:
            note(ALL, n, evaluate(taught(copy.deepcopy(hidden), readout_only(recipe), batches), task, split)[0])
    return rows, hashes


def in_order(split: Split, classes: int) -> Split:
    """The split with its training part in the order in which labels are given out: one image of each class, then the rest.

    The seed has shuffled it already, so its first n are nested random sets.
    """
    first = torch.stack([(split.train_y == k).nonzero()[0, 0] for k in range(classes)])
    rest = torch.ones(len(split.train_y), dtype=torch.bool)
    rest[first] = False
    order = torch.cat([first, rest.nonzero()[:, 0]])
    return replace(split, train_x=split.train_x[order], train_y=split.train_y[order])


def stream(n: int, steps: int, seed: int) -> Tensor:
    """Indices below n, [steps, BATCH]: shuffled passes over n images, one after the other, cut into equal batches."""
    g = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(n, generator=g) for _ in range(math.ceil(steps * BATCH / n))]
    return torch.cat(passes)[: steps * BATCH].reshape(steps, BATCH)


def shown(split: Split, index: Tensor) -> Batch:
    return Batch(split.inputs(split.train_x[index]), split.train_y[index], cross_entropy)


def unlabelled(batch: Batch) -> Batch:
    """The same images; every target is class 0."""
    return replace(batch, target=torch.zeros_like(batch.target))


def blind_to_labels(learner: Learner, batch: Batch) -> bool:
    """Does it learn below the readout, and by updates that stay the same, bit by bit, whatever the labels are?"""
    true, none = (
        {n: d for n, d in learner.updates(b).items() if not n.startswith("readout.")}
        for b in (batch, unlabelled(batch))
    )
    return bool(true) and true.keys() == none.keys() and all(torch.equal(d, none[n]) for n, d in true.items())


def hidden_only(recipe: Recipe) -> Recipe:
    """Its readout does not learn."""
    return replace(recipe, rules={"readout.*": None} | {p: r for p, r in recipe.rules.items() if p != "readout.*"})


def readout_only(recipe: Recipe) -> Recipe:
    """Nothing but its readout learns, on a net that was prepared before."""
    return replace(recipe, rules={"readout.*": match(recipe.rules, "readout.input"), "*": None}, prepare=as_it_is)


def nearest_neighbour(name: str, data: Path | None, seed: int, labels: Sequence[int]) -> list[dict]:
    """The class of the nearest of the n labelled images, by Euclidean distance of pixels."""
    task = task_of(name, data)
    split = in_order(task.split(seed), task.outputs)
    x, test = (split.inputs(part).flatten(1) for part in (split.train_x[: labels[-1]], split.test_x))
    distance = torch.cdist(test, x)
    at = {"recipe": NEIGHBOUR, "seed": seed, "task": name, "regime": LABELLED, "quantity": "test"}
    right = {n: split.train_y[distance[:, :n].argmin(1)] == split.test_y for n in labels}
    return [at | {"labels": n, "value": r.double().mean().item()} for n, r in right.items()]


# ---------------------------------------------------------------------------------------------- what the rows say
def scores_of(rows: Sequence[Mapping], task: str) -> dict[Line, np.ndarray]:
    """Accuracies [n, seed] by recipe and regime, both in rising order."""
    found: dict[Line, dict[int, dict[int, float]]] = {}
    for r in rows:
        if r["quantity"] == "test" and r["task"] == task:
            found.setdefault((r["recipe"], r["regime"]), {}).setdefault(r["labels"], {})[r["seed"]] = float(r["value"])
    return {line: np.array([[by[n][s] for s in sorted(by[n])] for n in sorted(by)]) for line, by in found.items()}


def crossing(labels: Sequence[int], scores: Sequence[float], level: float) -> float:
    """The n at which scores first reach the level; labels[0] where they begin above it, nan if never.

    score(n) = s_i + (s_{i+1} - s_i) (log n - log n_i) / (log n_{i+1} - log n_i)   between two n that were measured.
    """
    if scores[0] >= level:
        return float(labels[0])
    for n, more, s, t in zip(labels, labels[1:], scores, scores[1:], strict=False):
        if t >= level:
            return math.exp(math.log(n) + (level - s) / (t - s) * math.log(more / n))
    return math.nan


def half_the_gap(scores: Mapping[Line, np.ndarray]) -> float:
    return float(scores["frozen", LABELLED][0].mean() + scores["backprop", LABELLED][-1].mean()) / 2


def to_half(scores: Mapping[Line, np.ndarray], task: str, labels: Sequence[int]) -> list[dict]:
    """Rows "labels to half" by recipe and regime: of the mean over seeds, without a seed, and of each seed."""
    level, found = half_the_gap(scores), []
    for (recipe, regime), values in scores.items():
        at = {"recipe": recipe, "task": task, "regime": regime, "quantity": "labels to half"}
        found.append(at | {"value": crossing(labels, values.mean(1), level)})
        found += [at | {"seed": seed, "value": crossing(labels, own, level)} for seed, own in enumerate(values.T)]
    return found


def tests(scores: Mapping[Line, np.ndarray], task: Task, labels: Sequence[int]) -> list[dict]:
    """Rows "difference to R", "half width of the difference to R", "p vs R" for R frozen and backprop, at each n."""
    n_test = len(task.split(0).test_y)
    n_train = len(task.x) if task.test_x is not None else len(task.x) - task.validation_size - n_test
    found = []
    for i, n in enumerate(labels):
        for reference in ("frozen", "backprop"):
            base = reference, LABELLED
            compared = {x: v[i] for x, v in scores.items() if x not in (base, (NEIGHBOUR, LABELLED))}
            results = [paired(own, scores[base][i], n_train, n_test) for own in compared.values()]
            for (recipe, regime), t, p in zip(compared, results, holm([t.p for t in results]), strict=True):
                at = {"recipe": recipe, "task": task.name, "regime": regime, "labels": n}
                found.append(at | {"quantity": f"difference to {reference}", "value": t.difference})
                found.append(at | {"quantity": f"half width of the difference to {reference}", "value": t.half})
                found.append(at | {"quantity": f"p vs {reference}", "value": p})
    return found


# ---------------------------------------------------------------------------------------------- the figure
PANELS = (
    ("A  The error is sent back, or settles", ("error feedback", "energy and prediction"), LABELLED),
    ("B  Perturbation, reward, losses of the layer", ("perturbation and reward", "losses of the layer"), LABELLED),
    ("C  Blind to labels below the readout:\nall learn from the n images", ("Hebbian", "pre-training"), LABELLED),
    ("D  Blind to labels below the readout:\nhidden layers learn from all images", ("Hebbian", "pre-training"), ALL),
)


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    """Per task: accuracy against labels by family and regime, and labels to half with the tests beside it."""
    tasks = list(dict.fromkeys(str(r["task"]) for r in rows))
    styles = {**looks({str(r["recipe"]) for r in rows} - {NEIGHBOUR}), NEIGHBOUR: Look("#b03060", "", (0, (1, 2)))}
    config = manifest["config"]
    steps = config["steps_quick" if config["quick"] else "steps"]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(16, 8.2 * len(tasks)), layout="constrained")
        for task, part in zip(tasks, np.atleast_1d(fig.subfigures(len(tasks), 1)), strict=True):
            own, scores = [r for r in rows if r["task"] == task], scores_of(rows, task)
            labels = sorted({r["labels"] for r in own if r["quantity"] == "test"})
            left, right = part.subfigures(1, 2, width_ratios=[1.45, 1])
            axes = left.subplots(2, 2, sharex=True, sharey=True)
            for ax, (title, families, regime) in zip(axes.flat, PANELS, strict=True):
                names = [recipe for family in families for recipe in FAMILIES[family] if recipe != "backprop"]
                curves = [(recipe, regime) for recipe in names] + [
                    (r, LABELLED) for r in ("backprop", "frozen", NEIGHBOUR)
                ]
                accuracy(ax, labels, {line: scores[line] for line in curves if line in scores}, styles)
                ax.set_title(title)
                ax.set_ylabel("test accuracy" if ax in axes[:, 0] else "")
                ax.set_xlabel("labelled images n" if ax in axes[1] else "")
            half_panel(*right.subplots(1, 2, width_ratios=[1, 0.42], sharey=True), own, scores, labels, styles)
            seeds = scores["backprop", LABELLED].shape[1]
            band = "mean and 95 % t interval" if seeds > 2 else "mean"
            part.suptitle(f"{task}, mlp, {steps} steps of {BATCH} images whatever n: {band} over {seeds} seeds",
                          fontsize=12, fontweight="bold", x=0.01, ha="left")  # fmt: skip
    return fig


def accuracy(ax: Axes, labels: Sequence[int], scores: Mapping[Line, np.ndarray], styles: Mapping[str, Look]) -> None:
    for (recipe, _), values in scores.items():
        look, (middle, half) = styles[recipe], np.array([interval(v) for v in values]).T
        ax.plot(labels, middle, color=look.colour, linestyle=look.line, marker=look.marker, markersize=4, label=recipe)
        if values.shape[1] > 2:
            alpha = 0.15 if recipe in ("backprop", "frozen") else 0.07
            ax.fill_between(labels, middle - half, middle + half, color=look.colour, alpha=alpha, linewidth=0)
    ax.set(xscale="log", ylim=(0, 1.02))
    ax.set_xticks(labels, [f"{n:,}" for n in labels])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, handlelength=3)


def half_panel(
    dots: Axes, words: Axes, rows: Sequence[Mapping], scores: Mapping[Line, np.ndarray], labels: Sequence[int],
    styles: Mapping[str, Look],
) -> None:  # fmt: skip
    """One line per recipe and regime, fewest labels on top; the signs of the tests at each n beside it."""
    level, marks = half_the_gap(scores), signs(rows)
    mean = {line: crossing(labels, v.mean(1), level) for line, v in scores.items()}
    order = sorted(mean, key=lambda x: (math.isnan(mean[x]), mean[x] or 0, -scores[x].mean(1)[-1]), reverse=True)
    for y, (recipe, regime) in enumerate(order):
        look, values = styles[recipe], scores[recipe, regime]
        seeds = [crossing(labels, own, level) for own in values.T]
        dots.plot(seeds, [y - 0.3] * len(seeds), ".", color=look.colour, markersize=2.5)
        if math.isnan(mean[recipe, regime]):
            why = (
                "did not run" if np.isnan(values).any() else f"not reached: {values[-1].mean():.2f} with {labels[-1]:,}"
            )
            dots.text(labels[0], y, why, fontsize=7.5, va="center", color="#606060")
        else:
            middle, half = interval(np.log(seeds))
            if len(seeds) > 2 and half > 0:
                dots.plot(np.exp([middle - half, middle + half]), [y, y], color=look.colour)
            face = "white" if regime == ALL else look.colour
            dots.plot(
                mean[recipe, regime], y, look.marker or "s", color=look.colour, markerfacecolor=face, markersize=6
            )
        for x, reference in enumerate(("frozen", "backprop")):
            text = marks.get((recipe, regime, reference), "")
            words.text(x, y, text, fontsize=8, va="center", family="DejaVu Sans Mono")
    for x, reference in enumerate(("frozen", "backprop")):
        words.text(x, len(order) - 0.3, f"to {reference}", fontsize=8, fontweight="bold", va="bottom")
    words.set(xlim=(-0.05, 2))
    words.set_axis_off()
    dots.set_yticks(range(len(order)), [f"{n}, all images" if regime == ALL else n for n, regime in order], fontsize=8)
    dots.set(xscale="log", ylim=(-0.8, len(order) - 0.3), xlim=(labels[0] * 0.85, labels[-1] * 1.15))
    dots.set_xticks(labels, [f"≤ {n}" if n == labels[0] else f"{n:,}" for n in labels])
    dots.xaxis.set_minor_locator(NullLocator())
    dots.grid(axis="y", visible=False)
    dots.set_title(f"E  Labels to half the gap: accuracy {level:.2f}")
    few = "" if scores["backprop", LABELLED].shape[1] >= FEWEST_SEEDS else f" (with {FEWEST_SEEDS} seeds or more)"
    dots.set_xlabel(
        "labelled images n (small dots: seeds; interval: if all seeds reach it; open: all images)\n"
        f"right: + above, − below, · not resolved at n = {', '.join(f'{n:,}' for n in labels)},\n"
        f"Holm-adjusted p < .05{few}"
    )


def signs(rows: Sequence[Mapping]) -> dict[tuple[str, str, str], str]:
    """(recipe, regime, reference) -> one sign for each n: + above, − below (Holm-adjusted p < .05), · not resolved."""
    found = {(r["recipe"], r["regime"], r["labels"], r["quantity"]): r["value"] for r in rows if r.get("labels")}
    enough = len({r["seed"] for r in rows if r["quantity"] == "test"}) >= FEWEST_SEEDS
    text: dict[tuple[str, str, str], str] = {}
    for (recipe, regime, n, quantity), p in found.items():
        if quantity.startswith("p vs "):
            reference = quantity.removeprefix("p vs ")
            above = found[recipe, regime, n, f"difference to {reference}"] > 0
            mark = "·" if not (p < 0.05 and enough) else "+" if above else "−"
            text[recipe, regime, reference] = text.get((recipe, regime, reference), "") + mark
    return text


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
