"""Does STDP in batches, whose weights change after each batch, reach what it reaches one image at a time?

Two spiking nets that learn without names, new for each batch size, the same images in the same order:

    Diehl & Cook, Fashion-MNIST    `networks.diehl_cook`, 784-200, triplet-stdp and growing thresholds, 2,000 images once; a
                                   neuron's class from training images, neurons vote on 1,000 test images
    winner takes all, digits       `networks.spiking_mlp`, symmetric-stdp-wta, ten epochs, a linear readout by the delta rule

each with dW and thresholds summed over the batch (a batch of n changes as much as n images alone), and averaged (as much as
one). Beside the first the engine, in which weights change at every spike; it differs in more than that (an order of its own,
images that answer with fewer than five spikes are shown again, labels are from all images, thresholds decay in a rest of 150
ms). It runs at dt = .5 ms, where inhibition takes two steps, 1 ms as on tensors. Batches of 1, 4, 16, 64; at 1 sum and mean are
one.
Class means are over the same number of images; Adam's rate at the digits' readout grows with the root of the batch's size.

Expected: summed, small batches do as well as single images, and large ones worse, since the neurons that win at first all grow
at once before a threshold can stop them; averaged, a large batch learns too little in the same number of images. All else is a
finding.

Found (three seeds): summed, every size reaches what single images reach (.62 to .64, and .92), large ones too, which was not
expected; averaged, accuracy falls with the batch (.62, .48, .38, .33; .92, .92, .83, .75). The engine comes to .55: its
neurons' classes count what they answered from the first image on, when nothing was learned; those on tensors forget that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosim.cell import reproducible, run_cell
from neurosim.cluster import in_processes
from neurosim.diehl_cook import MEAN, DiehlCook, assign, rates_of, vote
from neurosim.figures import STYLE, banded, claim
from neurosim.networks import diehl_cook, spiking_mlp
from neurosim.plasticity import Recipe
from neurosim.recipes import recipes_for
from neurosim.recipes_diehl_cook import DIEHL_COOK
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import digits, fashion, shown_to

METRIC, SEEDS, SEEDS_FULL = "accuracy", 3, 5
SIZES, SIZES_QUICK, N, SHOWN, TESTED, EPOCHS = (1, 4, 16, 64), (4, 64), 200, 2000, 1000, 10
IMAGES, WINNERS, ONLINE = "Diehl & Cook, Fashion-MNIST", "winner takes all, digits", "engine"
HOW = {"sum": "#2a6fbb", "mean": "#d1495b"}
USUAL = 32  # images of a batch for which the digits' rates, and those of class means, are


@dataclass(frozen=True)
class Job:
    net: str
    how: str
    batch: int
    seed: int


def scaled(recipe: Recipe, factors: Mapping[str, float]) -> Recipe:
    """Its rates times a factor, by pattern of synapses."""
    return replace(recipe, lr={p: rate * factors.get(p, factors["*"]) for p, rate in recipe.lr.items()})


def images(folder: Path | None, quick: bool, job: Job) -> float:
    shown, tested = (64, 50) if quick else (SHOWN, TESTED)
    task = fashion(folder).limited(shown, tested)
    if job.how == ONLINE:
        return online(task, job.seed)
    task = replace(shown_to("diehl-cook", task), batch_size=job.batch)
    recipe = DIEHL_COOK["triplet-stdp"].recipe({}, False)
    recipe = recipe if job.how == "sum" else replace(recipe, sums=())
    recipe = scaled(recipe, {"*": 1.0, "readout.*": job.batch / USUAL})
    return last(run_cell(recipe, partial(diehl_cook, n=N), task, job.seed, epochs=1, tuning=False))


def online(task: object, seed: int) -> float:
    """Of the engine's network, whose weights change at every spike."""
    split = task.split(seed)
    x, y = split.train_x.flatten(1).numpy(), split.train_y.numpy()
    order = np.random.default_rng(seed).permutation(len(x))
    model = DiehlCook(x.shape[1], N, seed, shown=250.0)
    counts = model.learn(rates_of(x[order], MEAN))
    labels = assign(counts, y[order], 10)
    right = vote(model.respond(rates_of(split.test_x.flatten(1).numpy(), MEAN)), labels, 10) == split.test_y.numpy()
    return float(right.mean())


def winners(folder: Path | None, quick: bool, job: Job) -> float:
    task = digits(folder)
    task = task.limited(128, 100) if quick else task
    recipe = recipes_for("digits", "spiking-mlp")["symmetric-stdp-wta"]
    change = (job.batch if job.how == "sum" else 1) / USUAL
    # rates were found for the mean over a batch of USUAL: summed over one image they are a USUAL-th
    recipe = scaled(recipe, {"*": change if job.how == "sum" else 1 / USUAL, "readout.*": (job.batch / USUAL) ** 0.5})
    task = replace(shown_to("spiking-mlp", task), batch_size=job.batch)
    return last(run_cell(recipe, spiking_mlp, task, job.seed, 2 if quick else EPOCHS))


def last(cell: object) -> float:
    return cell.final("test")


def live(folder: Path | None, quick: bool, job: Job) -> float:
    with reproducible(job.seed, torch.float32):
        return (images if job.net == IMAGES else winners)(folder, quick, job)


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    sizes = SIZES_QUICK if mode.quick else SIZES
    jobs = [Job(net, how, b, s) for s in range(mode.seeds) for net in (IMAGES, WINNERS) for how in HOW for b in sizes
            if b > 1 or how == "sum"]  # fmt: skip
    jobs += [Job(IMAGES, ONLINE, 1, s) for s in range(mode.seeds)]
    found = dict(in_processes(partial(live, mode.data, mode.quick), jobs, os.cpu_count() or 1))
    rows = [{"recipe": j.how, "seed": j.seed, "layer": j.net, "epoch": j.batch, "quantity": "test", "value": found[j]}
            for j in jobs]  # fmt: skip
    rows += [r | {"recipe": "mean"} for r in rows if r["epoch"] == 1 and r["recipe"] == "sum"]  # they are one
    return rows, claims_of(rows, mode.quick)


def scores(rows: Sequence[Mapping], net: str, how: str, batch: int) -> list[float]:
    key = net, how, batch
    return [float(r["value"]) for r in rows if (r["layer"], r["recipe"], int(r["epoch"])) == key]


def claims_of(rows: Sequence[Mapping], quick: bool) -> list[dict]:
    if quick:
        return []
    claims = []
    for net in (IMAGES, WINNERS):
        got = {(how, b): float(np.mean(scores(rows, net, how, b))) for how in HOW for b in SIZES}
        claims.append(claim(f"{net}: batches of 4, summed, reach single images, within .03", got["sum", 4], ">=",
                            got["sum", 1], 0.03, "expected"))  # fmt: skip
        claims.append(claim(f"{net}: batches of 64, summed, do worse than single images, by .03", got["sum", 64], "<=",
                            got["sum", 1] - 0.03, 0, "expected"))  # fmt: skip
        claims.append(claim(f"{net}: batches of 64, averaged, learn less than single images", [got["mean", 64], got["mean", 1]],
                            "ordering", ["mean of 64", "single"], 0, "expected"))  # fmt: skip
    engine = float(np.mean(scores(rows, IMAGES, ONLINE, 1)))
    single = float(np.mean(scores(rows, IMAGES, "sum", 1)))
    claims.append(claim(f"{IMAGES}: after each image as well as at every spike, within .05", single, ">=", engine, 0.05,
                        "expected"))  # fmt: skip
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 4.0), layout="constrained")
        axes: Sequence[Axes] = fig.subplots(1, 2)
        for ax, net, letter in zip(axes, (IMAGES, WINNERS), "AB", strict=True):
            sizes = sorted({int(r["epoch"]) for r in rows if r["layer"] == net and r["recipe"] in HOW})
            for how, colour in HOW.items():
                by = {b: scores(rows, net, how, b) for b in sizes if scores(rows, net, how, b)}
                banded(ax, by, 0.15, {"color": colour, "marker": "o", "label": f"{how} over the batch"})
            if at := scores(rows, net, ONLINE, 1):
                mean, half = interval(at)
                ax.axhline(mean, color="#444444", linestyle="--", label="engine: at every spike")
                if np.isfinite(half):
                    ax.axhspan(mean - half, mean + half, color="#444444", alpha=0.1, linewidth=0)
            ax.axhline(0.1, color="#9a9a9a", linestyle=":", linewidth=0.8, label="chance")
            ax.set_xscale("log", base=2)
            ax.set_xticks(sizes, [str(b) for b in sizes])
            ax.set(xlabel="images in a batch", ylabel="test accuracy", ylim=(0, 1), title=f"{letter}  {net}")
            ax.legend(fontsize=7.5)
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
