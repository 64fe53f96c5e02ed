"""How well does each rule's update point along the true gradient, layer by layer, over training; what would chance give?

cos(dW, -dL/dW) of every recipe's update with backprop's on the recipe's own weights, on one fixed batch of training
samples, at steps spread evenly in their logarithm: most of the alignment is won or lost early. Two kinds of chance:

    own chance        the recipe's update, computed with the targets dealt to the wrong samples, against the true
                      gradient. Where a rule sees no target it is the alignment itself. It may lie far below 0: once a
                      net knows its samples, wrong targets ask it to unlearn them.
    shuffled credit   backprop's update with its credit dealt to the wrong samples, against backprop's own. Its mean over
                      all deals is (mean credit) (x) (mean pre): what samples have in common. In hidden1, whose inputs
                      are centred, that is nothing and the band lies around 0; in hidden2, whose inputs are ReLUs' and
                      positive, its cosine with the gradient is about a half, and a rule must know W to come by it. So it
                      is chance in hidden1; in hidden2 feedback alignment is not asked to reach it, and does not.

Noise makes the update of perturbation and reward rules a random draw: theirs is the mean cosine of single draws.
Equilibrium propagation answers with a settled net, so its true gradient is that of the settled loss: taken here from
its own long relaxation at a tiny nudge. Its cosine with the gradient of the forward pass stands beside it.

Expected: 1 for backprop; feedback alignment starts near 0 (random B) and ends above its start and above chance, as W
turns towards B (Lillicrap et al. 2016, Nat Commun 7:13276); Kolen-Pollack, whose B follows W, ends above it (Akrout et
al. 2019, NeurIPS). With Gaussian weights sign(W) has cosine sqrt(2 / pi) with W, so sign-symmetric feedback starts at
(2 / pi)^(d/2) where credit has come down through d synapses. Perturbation points uphill on average, if only a little in
a single draw. Hebbian rules see no error and no W: between 0 and shuffled credit (whose band in hidden2 need not hold 0).

Reported, not claimed: does the final alignment rank the recipes as the final test accuracy does? On digits after 6 epochs
it does (Spearman .80 in hidden1, .83 in hidden2). But most of that is the gap between those above and below .3: beyond a
cosine of .35 the error hardly falls further, and forward-forward and SoftHebb, at 0, do better than frozen features,
node perturbation, at .1, worse.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from neurosim.cell import draw_net, evaluate, held_against_backprop
from neurosim.credit import Equilibrium
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import NETWORKS
from neurosim.plasticity import Batch, Learner, Recipe, as_it_is, cosine, improvement, play
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import TASKS, Task

METRIC = "accuracy"
NETWORK = "mlp"
FEEDBACK = ("backprop", "feedback-alignment", "sign-symmetric", "kolen-pollack", "direct-feedback", "burstprop")
OTHER_ERRORS = ("predictive-coding", "equilibrium-propagation", "target-propagation", "layer-local", "forward-forward")
NO_ERRORS = ("node-perturbation", "weight-perturbation", "reward-hebb", "softhebb", "oja")
HEBBIAN, PERTURBED = ("softhebb", "oja"), ("node-perturbation", "weight-perturbation")
EPOCHS, EPOCHS_QUICK = 6, 3  # of the digits
FASHION_SEEDS, FASHION_BATCH = 2, 64  # Fashion-MNIST is seen once
STEPS, STEPS_QUICK = (0, 1, 3, 10, 30, 100, 400), (0, 30)  # and after the last one
PROBE, DEALS, DRAWS = 500, 6, 8  # samples held against the gradient; deals of the targets; draws of noise

FA, BP, KP, SS, EP = "feedback-alignment", "backprop", "kolen-pollack", "sign-symmetric", "equilibrium-propagation"
HIDDEN = ("hidden1", "hidden2")
NEAR_0 = 0.15  # cosine of two fixed random directions through ten outputs, over a few seeds


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    epochs, steps = (EPOCHS_QUICK, STEPS_QUICK) if mode.quick else (EPOCHS, STEPS)
    rows = study(TASKS["digits"](mode.data), epochs, steps, mode.seeds)
    if mode.full:
        fashion = replace(TASKS["fashion"](mode.data), batch_size=FASHION_BATCH)
        rows += study(fashion, 1, steps, min(mode.seeds, FASHION_SEEDS))
    return rows, [c for task in tasks_of(rows) for c in claims_of([r for r in rows if r["task"] == task], task)]


def study(task: Task, epochs: int, steps: Sequence[int], seeds: int) -> list[dict]:
    known = recipes_for(task.name, NETWORK)
    wanted = [known[slug] for slug in (*FEEDBACK, *OTHER_ERRORS, *NO_ERRORS, "frozen") if slug in known]
    rows = [row for seed in range(seeds) for recipe in wanted for row in follow(recipe, task, seed, epochs, steps)]
    return rows + [row for seed in range(seeds) for row in ranks(rows, task.name, seed)]


# ---------------------------------------------------------------------------------------------- one recipe, one seed
def follow(recipe: Recipe, task: Task, seed: int, epochs: int, steps: Sequence[int]) -> list[dict]:
    """Train, and hold the update against the gradient on the way; in the end score on the test part."""
    split = task.split(seed)
    learner = Learner(draw_net(NETWORKS[NETWORK], task, seed), recipe, next(task.batches(split, seed, 0)), seed)
    probe, rows, samples = task.probe(split, PROBE), [], 0

    def note(quantity: str, value: float, layer: str = "") -> None:
        at = {"task": task.name, "recipe": recipe.name, "seed": seed, "samples": samples}
        rows.append({**at, "layer": layer, "quantity": quantity, "value": value})

    def measure() -> None:
        for layer, values in alignments(learner, probe, seed).items():
            for quantity, value in values.items():
                note(quantity, value, layer)

    for step, batch in enumerate(stream(task, split, seed, epochs)):
        if step in steps:
            measure()
        learner.step(batch)
        samples += batch.size
    measure()
    note("test", evaluate(learner, task, split)[0])
    return rows


def stream(task: Task, split, seed: int, epochs: int) -> Iterator[Batch]:
    for epoch in range(epochs):
        yield from task.batches(split, seed, epoch)


def alignments(learner: Learner, probe: Batch, seed: int) -> dict[str, dict[str, float]]:
    """By layer: `alignment`, `null_low` and `null_high` (shuffled credit), `own_null`, and `settled` where it settles."""
    found = held_against_backprop(learner, probe, seed)
    trial = play(learner.net, learner._batch(probe))
    true = improvement(trial, {n: w for n, w in trial.weights.items() if n.removesuffix(".input") in found})
    if "noise" in learner.recipe.credit.reads:
        put(found, "alignment", drawn(learner, probe, true))
    if isinstance(learner.recipe.credit, Equilibrium):
        true = settled_gradient(learner, probe)
        dw = learner.updates(probe)
        put(found, "settled", {n: cosine(dw[n].double(), g).item() for n, g in true.items()})
    put(found, "own_null", own_chance(learner, probe, true, seed))
    return found


def put(found: dict[str, dict[str, float]], quantity: str, by_synapse: Mapping[str, float]) -> None:
    for n, value in by_synapse.items():
        found[n.removesuffix(".input")][quantity] = value


def drawn(learner: Learner, probe: Batch, true: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean cosine of single updates over DRAWS draws of their noise, which comes from (seed, steps done)."""
    now, cosines = learner.steps, []
    for learner.steps in range(now, now + DRAWS):
        dw = learner.updates(probe)
        cosines.append({n: cosine(dw[n], g).item() for n, g in true.items()})
    learner.steps = now
    return {n: float(np.mean([c[n] for c in cosines])) for n in true}


def own_chance(learner: Learner, probe: Batch, true: Mapping[str, Tensor], seed: int) -> dict[str, float]:
    """The mean cosine with `true` of the recipe's updates for targets dealt to the samples at random, DEALS times."""
    g, now, cosines = torch.Generator().manual_seed(seed), learner.steps, []
    for learner.steps in range(now, now + DEALS):  # noise, where there is any, is drawn anew
        dw = learner.updates(replace(probe, target=probe.target[torch.randperm(probe.size, generator=g)]))
        cosines.append({n: cosine(dw[n].to(w.dtype), w).item() for n, w in true.items()})
    learner.steps = now
    return {n: float(np.mean([c[n] for c in cosines])) for n in true}


def settled_gradient(learner: Learner, probe: Batch) -> dict[str, Tensor]:
    """-dL/dW of the loss at the free equilibrium: symmetric nudges as small as doubles allow, relaxed to the end.

    `feedback_alters_activity` and this study's test hold it against autograd through the relaxation.
    """
    exact = replace(learner.recipe, credit=Equilibrium(beta=1e-3, free=100, nudged=50, rate=0.7), prepare=as_it_is)
    double = replace(probe, x=probe.x.double())
    return Learner(copy.deepcopy(learner.net).double(), exact, double).updates(double)


# ---------------------------------------------------------------------------------------------- over the recipes
def ranks(rows: Sequence[Mapping], task: str, seed: int) -> list[dict]:
    """Spearman's rank correlation, over the recipes whose hidden layers learn, of final alignment and test accuracy."""
    mine = [r for r in rows if (r["task"], r["seed"]) == (task, seed)]
    slugs = [r["recipe"] for r in mine if r["quantity"] == "test" and r["recipe"] != "frozen"]
    score = [final(mine, slug, "test", "") for slug in slugs]
    found = []
    for layer in (*HIDDEN, "mean"):
        cosines = [np.mean([final(mine, s, own_quantity(s), h) for h in HIDDEN if layer in (h, "mean")]) for s in slugs]
        value = float(spearmanr(cosines, score, nan_policy="omit").statistic)
        at = {"task": task, "recipe": "all", "seed": seed, "samples": mine[-1]["samples"]}
        found.append({**at, "layer": layer, "quantity": "rank_correlation", "value": value})
    return found


def own_quantity(slug: str) -> str:
    return "settled" if slug == EP else "alignment"


def final(rows: Sequence[Mapping], slug: str, quantity: str, layer: str) -> float:
    got = [r["value"] for r in rows if (r["recipe"], r["quantity"], r["layer"]) == (slug, quantity, layer)]
    return got[-1] if got else math.nan


def over_seeds(rows: Sequence[Mapping], slug: str, quantity: str, layer: str) -> dict[int, list[float]]:
    """By samples seen, one value per seed."""
    at: dict[int, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["quantity"], r["layer"]) == (slug, quantity, layer):
            at.setdefault(r["samples"], []).append(r["value"])
    return at


def curve_of(rows: Sequence[Mapping], slug: str, quantity: str, layer: str) -> list[float]:
    """Mean over the seeds, from the first step to the last; seeds without a gradient have no cosine and are left out."""
    return [float(np.nanmean(v)) for v in over_seeds(rows, slug, quantity, layer).values()]


def tasks_of(rows: Sequence[Mapping]) -> list[str]:
    return list(dict.fromkeys(r["task"] for r in rows))


def recipes_of(rows: Sequence[Mapping]) -> set[str]:
    return {r["recipe"] for r in rows}


def claims_of(rows: Sequence[Mapping], task: str) -> list[dict]:
    there, found, lillicrap = recipes_of(rows), [], "Lillicrap et al. 2016"

    def at(when: int, slug: str, layer: str, quantity: str = "alignment") -> float:
        return curve_of(rows, slug, quantity, layer)[when]

    def add(name: str, *terms: Any) -> None:
        found.append(claim(f"{task}: {name}", *terms))

    start, end = 0, -1
    worst = max(abs(1 - r["value"]) for r in rows if r["recipe"] == BP and r["quantity"] == "alignment")
    add("backprop: |1 - cosine|, all layers, steps and seeds", worst, "<=", 0, 1e-5, "definition")
    for d, layer in enumerate(HIDDEN[::-1], 1):
        first, last, own = at(start, FA, layer), at(end, FA, layer), at(end, FA, layer, "own_null")
        add(f"{FA} at the start, {layer}", first, "within", 0, NEAR_0, "random B")
        add(f"{FA}, end - start, {layer}", last - first, ">=", 0, 0, lillicrap)
        add(f"{FA}, end - its own chance, {layer}", last - own, ">=", 0, 0, lillicrap)
        if layer == "hidden1":
            chance = at(end, FA, layer, "null_high")
            add(f"{FA}, end - 97.5 % of shuffled credit, {layer}", last - chance, ">=", 0, 0, lillicrap)
        add(f"end, {layer}", [last, at(end, KP, layer)], "ordering", [FA, KP], 0, "Akrout et al. 2019")
        signs, gaussian = at(start, SS, layer), (2 / math.pi) ** (d / 2)
        add(f"start, {layer}", [first, signs], "ordering", [FA, SS], 0, "Xiao et al. 2019")
        add(f"{SS} at the start, {layer}", signs, "within", gaussian, 0.08, "(2 / pi)^(d/2)")
        for slug in sorted(there.intersection(HEBBIAN)):
            low, high = at(end, slug, layer, "null_low"), at(end, slug, layer, "null_high")
            value, own = at(end, slug, layer), at(end, slug, layer, "own_null")
            beyond = max(min(low, 0.0) - value, value - max(high, 0.0), 0.0)  # 0: what knows no W has
            add(f"{slug} at the end, beyond 0 and 95 % of shuffled credit, {layer}", beyond, "<=", 0, 0.05, "no error")
            add(f"{slug} at the end, minus its own chance, {layer}", value - own, "within", 0, 1e-5, "no target")
        for slug in sorted(there.intersection(PERTURBED)):
            mean = float(np.mean(curve_of(rows, slug, "alignment", layer)))
            add(f"{slug}, mean over steps, {layer}", mean, ">=", 0, 0, "Werfel et al. 2005")
        if EP in there:
            pair, names = [at(end, EP, layer), at(end, EP, layer, "settled")], ["forward loss", "settled loss"]
            add(f"{EP} at the end, {layer}, with the", pair, "ordering", names, 0, "Scellier & Bengio 2017")
    return found


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    tasks, there = tasks_of(rows), recipes_of(rows)
    style = looks(s for s in (*FEEDBACK, *OTHER_ERRORS, *NO_ERRORS, "frozen") if s in there)
    groups = {
        "A  Errors sent back": FEEDBACK,
        "B  Relaxation, inverses, local losses": OTHER_ERRORS,
        "C  Trial and error, reward, Hebb": NO_ERRORS,
    }
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(14, 2.9 * 2 * len(tasks) + 1.6), layout="constrained")
        axes = fig.subplots(2 * len(tasks), 4, squeeze=False)
        for i, (task, layer) in enumerate((t, h) for t in tasks for h in HIDDEN):
            mine = [r for r in rows if r["task"] == task]
            for ax, (title, slugs) in zip(axes[i], groups.items(), strict=False):
                panel(ax, mine, [s for s in slugs if s in there], layer, style)
                ax.set_title(title if i == 0 else "")
            scatter(axes[i][3], mine, layer, style)
            axes[i][0].set_ylabel(f"{task}, {layer}\ncosine with the true gradient")
        axes[0][3].set_title("D  Does it predict success?")
        for ax in axes[-1][:3]:
            ax.set_xlabel("training samples seen")
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2, fontsize=8)
        axes[-1][3].set_xlabel("final cosine of this layer")
        seeds = {t: len({r["seed"] for r in rows if r["task"] == t}) for t in tasks}
        fig.supxlabel(
            f"Net {NETWORK}; {', '.join(f'{t} {n} seeds' for t, n in seeds.items())}; mean and 95 % t interval (from 3 "
            "seeds on). Grey: 95 % of backprop's update with shuffled credit. Thin dotted lines: own chance, the "
            "recipe's update\nwith targets dealt to the wrong samples. D: marks as in A to C; dashed: "
            "frozen hidden layers; Spearman's rank correlation over the recipes, mean over seeds.",
            fontsize=8,
        )
    return fig


def panel(ax, rows: Sequence[Mapping], slugs: Sequence[str], layer: str, style: Mapping) -> None:
    at = list(over_seeds(rows, BP, "alignment", layer))
    low, high = (np.mean([curve_of(rows, s, q, layer) for s in slugs], axis=0) for q in ("null_low", "null_high"))
    ax.fill_between(at, low, high, color="#9a9a9a", alpha=0.3, linewidth=0, label="shuffled credit")
    for slug in slugs:
        look = style[slug]
        ax.plot(at, curve_of(rows, slug, "own_null", layer), color=look.colour, linestyle=":", linewidth=0.9, alpha=0.8)
        values = list(over_seeds(rows, slug, own_quantity(slug), layer).values())
        middle, half = np.array([interval(v) for v in values]).T
        if len(values[0]) > 2:
            ax.fill_between(at, middle - half, middle + half, color=look.colour, alpha=0.18, linewidth=0)
        name = f"{slug}, settled loss" if slug == EP else slug
        ax.plot(at, middle, color=look.colour, linestyle=look.line, marker=look.marker, markersize=4, label=name)
        if slug == EP:
            forward = curve_of(rows, slug, "alignment", layer)
            ax.plot(at, forward, color=look.colour, linewidth=0.9, linestyle="--", label="the same, forward loss")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xscale("symlog", linthresh=32, linscale=0.4)
    ax.set_xticks(ticks := [0, *(10**k for k in range(2, 6) if 10**k <= at[-1])], [f"{n:,}" for n in ticks])
    ax.set(xlim=(0, at[-1] * 1.1), ylim=(-0.8, 1.05))


def scatter(ax, rows: Sequence[Mapping], layer: str, style: Mapping) -> None:
    """Final cosine of a layer against the final test error, a mark for each recipe."""
    for slug, look in style.items():
        scores = one(over_seeds(rows, slug, "test", ""))
        error, spread = interval([100 * (1 - v) for v in scores])
        if slug == "frozen":
            ax.axhline(error, color=look.colour, linestyle="--", linewidth=1)
            continue
        final, half = interval(one(over_seeds(rows, slug, own_quantity(slug), layer)))
        bars = (min(spread, 0.9 * error), half) if len(scores) > 2 else (None, None)
        ax.errorbar(final, error, *bars, color=look.colour, marker=look.marker, elinewidth=0.8)
    rho, half = interval(found := one(over_seeds(rows, "all", "rank_correlation", layer)))
    text = f"rank correlation with\naccuracy: {rho:.2f}" + f" ± {half:.2f}" * (len(found) > 2)
    ax.text(0.98, 0.97, text, transform=ax.transAxes, ha="right", va="top", fontsize=8)
    ax.set(yscale="log", ylabel="final test error (%)", xlim=(-0.15, 1.08))
    ax.set_yticks(ticks := [1, 2, 5, 10, 20, 50, 100], [str(n) for n in ticks])
    ax.set_yticks([], minor=True)
    ax.set_ylim(1.5, 100)


def one(by_samples: Mapping[int, list[float]]) -> list[float]:
    """The values of the last step, one per seed."""
    return list(by_samples.values())[-1]


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
