"""How noisy is credit by perturbation, and why is it worse to disturb weights than nodes?

Reference: Neuromatch NeuroAI course, W2D3 "Microlearning", section 3 (Werfel, Xie & Seung 2005, Neural Comput 17:2699).
In a linear net of M outputs and N inputs with u = W x, delta = -dL/du and g = delta x', one draw of noise gives the
update of one synapse the variance (small noise)

    weight perturbation   g_ij^2 + sum_kl g_kl^2                 1 + M N  times the mean g^2:  O(MN)
    node perturbation     x_j^2 (delta_i^2 + sum_k delta_k^2)    1 + M    times the mean g^2:  O(M)

Expected: these variances, hence log-log slopes of 1 in M and N for weights, 1 in M and 0 in N for nodes (over this grid
1 + M itself has slope .95). And in the course's net at initialisation, on digits, a signal-to-noise ratio (over single
samples and noise) that is lowest for weights, then nodes, then backprop.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.credit import NodePerturbation, WeightPerturbation
from neurosim.figures import STYLE, claim, looks
from neurosim.plasticity import Batch, Layer, Learner, Pass, Recipe, play, returned
from neurosim.rules import Perturbed
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks.images import digits

SIZES, SIGMA = (8, 16, 32, 64), 1e-4  # numbers of outputs and of inputs; noise small enough for the formulas
DRAWS, DRAWS_QUICK, DRAWS_FULL = 300, 100, 4000
COURSE_HIDDEN, COURSE_WEIGHTS, COURSE_SIGMA = 50, 0.1, 0.1  # 784-500-10 there, 64-50-10 here
WP, NP, BP = "weight-perturbation", "node-perturbation", "backprop"

Moments = tuple[dict[str, Tensor], dict[str, Tensor]]  # mean and mean square of the update, by synapse


def squared(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).sum(-1) / 2


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    draws = DRAWS_QUICK if mode.quick else DRAWS_FULL if mode.full else DRAWS
    rows: list[dict] = []
    for seed in range(mode.seeds):
        rows += [row for M in SIZES for N in SIZES for row in linear_net(M, N, draws, seed)]
        rows += course_net(min(2 * draws, 1797), seed)
    slopes = {name: [slope(rows, name, seed) for seed in range(mode.seeds)] for name in (WP, NP)}
    source, claims = "Neuromatch NeuroAI W2D3, section 3", []
    for name, expected in ((WP, (1, 1)), (NP, (1, 0))):
        ratio = np.divide(values(rows, name, "variance"), values(rows, name, "closed form"))
        claims.append(claim(f"{name}: variance / closed form", float(ratio.mean()), "within", 1, 0.05, source))
        for axis, (what, e) in enumerate(zip(("outputs M", "inputs N"), expected, strict=True)):
            got = float(np.mean([s[axis] for s in slopes[name]]))
            claims.append(claim(f"{name}: slope in {what}", got, "within", e, 0.1, source))
    for layer in ("hidden", "readout"):
        got = [float(np.mean(values(rows, name, "SNR", layer))) for name in (WP, NP, BP)]
        claims.append(claim(f"SNR at initialisation, {layer}", got, "ordering", [WP, NP, BP], 0, source))
    return rows, claims


# ---------------------------------------------------------------------------------------------- many draws, cheaply
def node_draws(net: nn.Module, batch: Batch, sigma: float, seed: int) -> Moments:
    """Each sample of the batch has noise of its own: one play gives as many draws."""
    credit = NodePerturbation(sigma)
    (one,) = credit.passes(net, batch, {}, torch.Generator().manual_seed(seed))
    return sample_moments(one)


def backprop_draws(net: nn.Module, batch: Batch) -> Moments:
    trial = play(net, batch)
    return sample_moments(Pass(trial, returned(trial)))


def sample_moments(p: Pass) -> Moments:
    """dW of each sample is credit (x) pre, the rule `Gradient`; its moments without building it for each."""
    mean, square = {}, {}
    for n, r in p.trial.records.items():
        c = p.third["credit"][r.layer]
        mean[n], square[n] = c.T @ r.pre / len(c), (c**2).T @ r.pre**2 / len(c)
    return mean, square


def weight_draws(net: nn.Module, batches: Callable[[int], Batch], draws: int, sigma: float, seed: int) -> Moments:
    """One draw a trial: noise comes from (seed, step)."""
    learner = Learner(net, Recipe(WP, {"*": Perturbed()}, WeightPerturbation(sigma)), batches(0), seed)
    mean = {n: torch.zeros_like(w) for n, w in learner.weights.items()}
    square = {n: torch.zeros_like(w) for n, w in learner.weights.items()}
    with torch.no_grad():
        for learner.steps in range(draws):
            for n, dw in learner.updates(batches(learner.steps)).items():
                mean[n] += dw / draws
                square[n] += dw**2 / draws
    return mean, square


# ---------------------------------------------------------------------------------------------- the linear net
def linear_net(M: int, N: int, draws: int, seed: int) -> list[dict]:
    """One sample, many draws of noise: mean over the synapses of the variance, its closed form, and g^2."""
    own = 10_000 * seed + 100 * M + N  # each net has weights and noise of its own
    g = torch.Generator().manual_seed(own)
    W, x, y = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((M, N), (1, N), (1, M)))
    net = nn.Sequential(Layer(nn.Linear(N, M, bias=False).double()))
    with torch.no_grad():
        net[0].input.weight.copy_(W / N**0.5)
    one, many = Batch(x, y, squared), Batch(x.expand(20 * draws, N), y.expand(20 * draws, M), squared)
    delta = (y - x @ net[0].input.weight.T)[0].detach()
    grad = torch.outer(delta, x[0])
    closed = {
        WP: grad**2 + (grad**2).sum(),
        NP: x**2 * (delta**2 + (delta**2).sum())[:, None],
    }
    drawn = {
        WP: weight_draws(net, lambda step: one, draws, SIGMA, own),
        NP: node_draws(net, many, SIGMA, own),
    }
    rows = []
    for name, (mean, square) in drawn.items():
        variance = square["0.input"] - mean["0.input"] ** 2
        found = {"variance": variance, "closed form": closed[name], "gradient squared": grad**2}
        at = {"recipe": name, "seed": seed, "layer": "", "outputs": M, "inputs": N}
        rows += [{**at, "quantity": q, "value": v.mean().item()} for q, v in found.items()]
    return rows


def slope(rows: Sequence[Mapping], name: str, seed: int) -> tuple[float, float]:
    """a and b of  log(variance / mean g^2) = a log M + b log N + c,  by least squares over the grid."""
    own = [r for r in rows if r["recipe"] == name and r["seed"] == seed]
    sizes = [(r["outputs"], r["inputs"]) for r in own if r["quantity"] == "variance"]
    ratio = np.array(relative(own, name, "variance"))
    a, b, _ = np.linalg.lstsq(np.c_[np.log(sizes), np.ones(len(sizes))], np.log(ratio), rcond=None)[0]
    return float(a), float(b)


def relative(rows: Sequence[Mapping], name: str, quantity: str, **at: int) -> list[float]:
    """A variance in units of the mean g^2 of its net."""
    pairs = zip(values(rows, name, quantity, **at), values(rows, name, "gradient squared", **at), strict=True)
    return [v / g for v, g in pairs]


def values(rows: Sequence[Mapping], name: str, quantity: str, layer: str = "", **at: int) -> list[float]:
    key = {"recipe": name, "quantity": quantity, "layer": layer, **at}
    return [r["value"] for r in rows if all(r[k] == v for k, v in key.items())]


# ---------------------------------------------------------------------------------------------- the course's net
def course_net(draws: int, seed: int) -> list[dict]:
    """SNR = |mean| / std of one synapse's update over random samples and noise, pooled over the synapses of a layer:

    sqrt(sum g^2 / sum variance). The mean of all three is taken to be g, the gradient over all the images: so few draws
    measure the variance, while the mean of so many noisy synapses would drown in it.
    """
    task = digits()
    g = torch.Generator().manual_seed(seed)
    sizes = (64, COURSE_HIDDEN, 10)
    net = nn.Sequential(nn.Flatten(), *[Layer(nn.Linear(a, b, bias=False), torch.sigmoid) for a, b in pairwise(sizes)])
    net.double()
    with torch.no_grad():
        for w in net.parameters():
            w.normal_(0, COURSE_WEIGHTS, generator=g)
    order = torch.randperm(len(task.x), generator=g)
    batch = Batch(task.x[order].double(), torch.nn.functional.one_hot(task.y[order], 10).double(), squared)
    drawn = {
        WP: weight_draws(net, single(batch), draws, COURSE_SIGMA, seed),
        NP: node_draws(net, batch, COURSE_SIGMA, seed),
        BP: backprop_draws(net, batch),
    }
    rows = []
    for name, (mean, square) in drawn.items():
        for n, layer in zip(mean, ("hidden", "readout"), strict=True):
            signal, noise = (drawn[BP][0][n] ** 2).sum(), (square[n] - mean[n] ** 2).sum()
            rows.append(
                {
                    "recipe": name,
                    "seed": seed,
                    "layer": layer,
                    "quantity": "SNR",
                    "value": (signal / noise).sqrt().item(),
                }
            )
    return rows


def single(batch: Batch) -> Callable[[int], Batch]:
    return lambda step: Batch(batch.x[step : step + 1], batch.target[step : step + 1], batch.loss)


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    seeds = len(manifest["seeds"])
    styles = looks([WP, NP, BP])
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12, 4), layout="constrained")
        by_outputs, by_inputs, snr = fig.subplots(1, 3, width_ratios=[1, 1, 0.8])
        for ax, x, other, letter in ((by_outputs, "outputs", "inputs", "A"), (by_inputs, "inputs", "outputs", "B")):
            for name in (WP, NP):
                for size in SIZES:
                    curve(ax, rows, name, x, other, size, styles[name])
            ax.plot([], [], color="black", linestyle=":", label="closed form")
            ax.set(xscale="log", yscale="log", xticks=SIZES, xlabel=f"{x} {'MN'[x == 'inputs']}")
            ax.set_xticks(SIZES, [str(s) for s in SIZES])
            ax.set_xticks([], minor=True)
            ax.set_xlim(SIZES[0] * 0.85, SIZES[-1] * 1.75)
            ax.set_ylabel("variance of one update / mean g²")
            ax.set_title(f"{letter}  Variance against {x}")
        by_outputs.set_ylim(top=3e4)
        by_inputs.sharey(by_outputs)
        by_outputs.legend(loc="upper left")
        for k, name in enumerate((WP, NP, BP)):
            for j, layer in enumerate(("hidden", "readout")):
                found = values(rows, name, "SNR", layer)
                middle, half = interval(found)
                at, look = j + (k - 1) * 0.25, styles[name]
                snr.plot([at + 0.06] * len(found), found, ".", color=look.colour, markersize=3)
                if seeds > 2:
                    snr.plot([at, at], [middle - half, middle + half], color=look.colour)
                snr.plot(at, middle, look.marker, color=look.colour, label=name if j == 0 else None)
        snr.set(yscale="log", xticks=(0, 1), xticklabels=("hidden (64-50)", "readout (50-10)"), xlim=(-0.5, 1.5))
        snr.set_ylabel("signal-to-noise ratio of one update")
        snr.set_title("C  At initialisation, on digits")
        snr.legend(loc="lower right")
        band = "Mean and 95 % t interval over" if seeds > 2 else "Mean over"
        fig.supxlabel(
            f"A, B: linear net, one sample, many draws of noise. C: small dots are seeds. {band} {seeds} seeds.",
            fontsize=8,
        )
    return fig


def curve(ax, rows: Sequence[Mapping], name: str, x: str, other: str, size: int, look) -> None:
    found = [interval(relative(rows, name, "variance", **{x: s, other: size})) for s in SIZES]
    formula = [np.mean(relative(rows, name, "closed form", **{x: s, other: size})) for s in SIZES]
    middle, half = np.array(found).T
    first = size == SIZES[0]
    ax.fill_between(SIZES, middle - half, middle + half, color=look.colour, alpha=0.25, linewidth=0)
    ax.plot(SIZES, middle, color=look.colour, marker=look.marker, linewidth=1, label=name if first else None)
    ax.plot(SIZES, formula, color="black", linestyle=":", linewidth=1)
    if name == WP or x == "inputs" or size == SIZES[-1]:  # the node lines against M lie on each other
        every = name == NP and x == "outputs"
        text = f"any {'MN'[other == 'inputs']}" if every else f"{'MN'[other == 'inputs']} = {size}"
        ax.annotate(text, (SIZES[-1], middle[-1]), (7, 0), textcoords="offset points", va="center", fontsize=7)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
