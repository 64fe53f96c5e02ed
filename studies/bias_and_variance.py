"""Each rule's update, split into bias, variance and alignment: does the gap to the true gradient close or widen?

An update dW comes from a minibatch drawn from N samples (with replacement) and from the rule's noise; g is the gradient
over all N on the same weights. Over the synapses of the hidden layers together,

    sampling variance   E |E_noise dW - E dW|^2 / |g|^2       noise variance   E |dW - E_noise dW|^2 / |g|^2
    bias                |E dW - g|^2 / |g|^2                  alignment        cos(E dW, g)
    bias, best scale    min over c of |E dW - c g|^2 / |E dW|^2 = 1 - cos^2: what no learning rate can mend
    variance, own scale both variances over |E dW|^2 instead of |g|^2: it does not depend on a learning rate either

measured against width, depth and batch, at the first weights and after training by the rule itself, each with an exponent
(slope in log-log, fitted seed by seed). Estimates are unbiased, never the square of a mean, which noise makes too large:
|E dW|^2 and (E dW . g)^2 are mean products of different minibatches, and each minibatch is seen twice with new noise, the
difference of the two giving the noise. A rule without noise averages over samples, so its E dW is dW on all N: exact.

Expected. Backprop: no bias, variance ~ 1 / batch. Perturbation: no bias; with credit delta_l and input x_l per sample,

    nodes     noise variance = mean over samples of sum_l |x_l|^2 (n_l sum_k |delta_k|^2 + |delta_l|^2) / batch
    weights   noise variance = P |g_b|^2 + |g_b, hidden|^2,  P hidden weights, g_b the minibatch's gradient of all layers

so ~ number of disturbed units and 1 / batch for nodes; ~ number of weights for weights, one draw a minibatch, and no fall
with the batch but that of |g_b|^2 itself, which is sampling noise. (Werfel, Xie & Seung 2005, Neural Comput 17:2699.)
Feedback alignment: no alignment at first in the first layer, and biased still when trained (Lillicrap et al. 2016, Nat
Commun 7:13276). Sign-symmetric: cos = (2 / pi)^(d/2) at first where d synapses lead back, as sign(W) has cosine
sqrt(2 / pi) with a Gaussian W. Of the others nothing is claimed.

Trained nets have seen the same samples, not come equally far: where a rule or a wide net has, |g| is small and all that
is measured in it large. Rates are those tuned on 64-128-64-10. Equilibrium propagation answers with a settled net, so its
true gradient is that of the settled loss, from its own long relaxation at a tiny nudge; wide and deep nets settle too
slowly to be in this study.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurosim.cell import draw_net
from neurosim.credit import Backprop, Equilibrium, NodePerturbation, WeightPerturbation
from neurosim.figures import STYLE, Look, claim, looks
from neurosim.networks import mlp
from neurosim.plasticity import Batch, Credit, Gradient, Learner, Record, Trial, as_it_is, play, returned
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import TASKS, Split, Task
from neurosim.tasks.base import cross_entropy

BP, FA, SS, NP, WP = "backprop", "feedback-alignment", "sign-symmetric", "node-perturbation", "weight-perturbation"
PC, EP = "predictive-coding", "equilibrium-propagation"
NAMES = (
    BP,
    FA,
    "direct-feedback",
    SS,
    "kolen-pollack",
    "burstprop",
    "target-propagation",
    PC,
    EP,
    "layer-local",
    NP,
    WP,
)
UNBIASED = (BP, NP, WP)
WIDTH, DEPTH, BATCH = 64, 2, 32  # where the others are varied
WIDTHS, DEPTHS, BATCHES = (16, 64, 256), (1, 2, 4), (1, 8, 32, 512)
WIDTHS_QUICK, DEPTHS_QUICK = (16, 64), (1, 2)
SMALL = {EP: (64, 2)}  # no wider and no deeper
ALL, EPOCHS, TRAINING_BATCH = 1000, 3, 64  # samples of the true gradient; training
DRAWS, DRAWS_NOISY, DRAWS_QUICK = (
    8,
    48,
    32,
)  # minibatches without noise, with noise (each seen twice), with noise if quick
SINGLES = 64  # samples at least, where minibatches are smaller than 8
SIGMA = 1e-4  # of perturbations while measured: small enough for the formulas
SLOW, SLOW_SEEDS = (PC, EP), 5  # these relax: no more seeds, and not on 60,000 samples
FASHION_SEEDS, FASHION_ALL, FASHION_EPOCHS, FASHION_BATCH = 2, 60_000, 1, 128
VARIANCE, OWN, BIAS = "variance", "variance, own scale", "bias, best scale"
SETTLED = Equilibrium(beta=1e-3, free=60, nudged=40, rate=0.7)  # relaxed to the end

Rows = Sequence[Mapping[str, Any]]


class Place(NamedTuple):
    """A net and a batch size at which updates are measured."""

    width: int
    depth: int
    batch: int


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    """Digits on the whole grid; Fashion-MNIST, if full, at its centre, against the gradient over all its 60,000 images."""
    noisy = DRAWS_QUICK if mode.quick else DRAWS_NOISY
    nets, rows = grid(WIDTHS_QUICK, DEPTHS_QUICK) if mode.quick else grid(WIDTHS, DEPTHS), []
    digits = replace(TASKS["digits"](mode.data), batch_size=TRAINING_BATCH)
    for seed in range(mode.seeds):
        for name in [n for n in NAMES if n not in SLOW or (seed < SLOW_SEEDS and not mode.quick)]:
            rows += study(name, digits, seed, nets, ALL, EPOCHS, noisy)
    if mode.full:
        fashion, nets = replace(TASKS["fashion"](mode.data), batch_size=FASHION_BATCH), grid((WIDTH,), (DEPTH,))
        for seed in range(min(mode.seeds, FASHION_SEEDS)):
            for name in [n for n in NAMES if n not in SLOW]:
                rows += study(name, fashion, seed, nets, FASHION_ALL, FASHION_EPOCHS, noisy)
    rows += exponents(rows)
    return rows, checks([r for r in rows if r["task"] == "digits"])


def grid(widths: Sequence[int], depths: Sequence[int]) -> dict[tuple[int, int], list[Place]]:
    """By net: the places at which it is measured. Batch sizes are varied at the centre alone."""
    nets = dict.fromkeys([*((w, DEPTH) for w in widths), *((WIDTH, d) for d in depths)])
    return {(w, d): [Place(w, d, b) for b in (BATCHES if (w, d) == (WIDTH, DEPTH) else (BATCH,))] for w, d in nets}


# ---------------------------------------------------------------------------------------------- one recipe, one seed
def study(
    name: str, task: Task, seed: int, nets: Mapping[tuple[int, int], list[Place]], samples: int, epochs: int, noisy: int
) -> list[dict]:
    """Every net of the grid, at the first weights and after training; in double precision."""
    split, recipe, rows = in_double(task.split(seed)), recipes_for("digits", "mlp")[name], []
    everything = Batch(split.inputs(split.train_x[:samples]), split.train_y[:samples], cross_entropy)
    for (width, depth), places in nets.items():
        if width > SMALL.get(name, (width,))[0] or depth > SMALL.get(name, (0, depth))[1]:
            continue
        net = draw_net(partial(mlp, hidden=(width,) * depth), task, seed).double()
        learner = Learner(net, recipe, next(task.batches(split, seed, 0)), seed)
        for epoch in (0, epochs):
            for order in range(epoch):
                for batch in task.batches(split, seed, order):
                    learner.step(batch)
            known = {"task": task.name, "recipe": name, "seed": seed, "epoch": epoch}
            for place, layer, found in measurements(learner, everything, places, noisy):
                at = {**known, "layer": layer, **place._asdict(), "axis": ""}
                rows += [
                    {**at, "quantity": q, "value": float(f"{v:.5g}")} for q, v in found.items() if worth(q, name, layer)
                ]
    return rows


def worth(quantity: str, name: str, layer: str) -> bool:
    """Keeping: of hidden1 the alignment alone, and where a rule may be biased, not what shows that it is not."""
    if quantity in ("noise variance", "mean along the gradient"):
        return layer == "hidden" and name in (NP, WP)
    return (layer == "hidden" or quantity == "alignment") and (name == BP or quantity != "bias, drawn")


def in_double(split: Split) -> Split:
    """The same samples, centred in double precision: what a network sees is then double too."""
    return replace(split, mean=split.mean.double(), scale=split.scale.double())


def measurements(
    learner: Learner, everything: Batch, places: Iterable[Place], noisy: int
) -> Iterator[tuple[Place, str, dict[str, float]]]:
    """What is found at each place, by layer: "hidden", all hidden ones together, and "hidden1"."""
    measured, true = as_measured(learner, everything), true_gradient(learner, everything)
    g, first = flat(true), next(iter(true.values())).numel()
    on_all = flat(over_all(measured, everything))
    for place in places:
        for layer, found in measure(measured, everything, g, on_all, first, place.batch, noisy).items():
            yield place, layer, found
        if learner.recipe.name in UNBIASED and everything.size <= ALL:
            yield place, "hidden", closed_forms(learner, everything, place.batch)[learner.recipe.name]


def as_measured(learner: Learner, example: Batch) -> Learner:
    """The same net and feedback; perturbations are small, so that only their first order counts."""
    credit = learner.recipe.credit
    if not isinstance(credit, NodePerturbation | WeightPerturbation):
        return learner
    return another(learner, replace(credit, sigma=SIGMA), example)


def another(learner: Learner, credit: Credit, example: Batch) -> Learner:
    """A learner with the same net, which is prepared already, and another credit that owns nothing."""
    return Learner(learner.net, replace(learner.recipe, credit=credit, prepare=as_it_is), example, learner.seed)


def true_gradient(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """-dL/dW of the hidden layers, mean over the batch; where the net answers by settling, of the settled loss."""
    if isinstance(learner.recipe.credit, Equilibrium):
        return hidden(another(learner, SETTLED, batch).updates(batch))
    exact = Learner(
        learner.net, replace(learner.recipe, rules={"*": Gradient()}, credit=Backprop(), prepare=as_it_is), batch
    )
    return hidden(over_all(exact, batch))


def over_all(learner: Learner, batch: Batch, size: int = 5000) -> dict[str, Tensor]:
    """The update by a large batch, some samples at a time."""
    total: dict[str, Tensor] = {}
    for x, y in zip(batch.x.split(size), batch.target.split(size), strict=True):
        for n, dw in learner.updates(replace(batch, x=x, target=y)).items():
            total[n] = total.get(n, 0) + dw * (len(x) / batch.size)
    return total


def hidden(updates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the forward synapses below the readout."""
    return {n: dw for n, dw in updates.items() if n.startswith("hidden")}


def flat(updates: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([dw.flatten() for dw in hidden(updates).values()])


# ---------------------------------------------------------------------------------------------- what is measured
def measure(
    learner: Learner, everything: Batch, g: Tensor, on_all: Tensor, first: int, size: int, noisy: int
) -> dict[str, dict[str, float]]:
    """Variances and bias of the update by minibatches of that size, by layer.

    g and `on_all`, the update by all samples, are flat; their `first` weights are hidden1's.
    """
    steps, layers = learner.steps, {"hidden": slice(None), "hidden1": slice(first)}
    generator = torch.Generator().manual_seed(1000 * learner.seed + size)  # the same minibatches for every recipe
    noise = ((len(g) * 1000 + size) * 1000 + steps) * 1000  # from (seed, steps): another one for each net and place

    def update(batch: Batch, moment: int) -> Tensor:
        learner.steps = noise + moment
        return flat(learner.updates(batch))

    some = replace(everything, x=everything.x[:size], target=everything.target[:size])
    twice = not torch.equal(update(some, 0), update(some, 1))
    total, sums = torch.zeros_like(g), {layer: [] for layer in layers}
    for k in range(noisy if twice else max(DRAWS, SINGLES // size)):
        index = torch.randint(everything.size, (size,), generator=generator)
        batch = replace(everything, x=everything.x[index], target=everything.target[index])
        a = update(batch, 2 * k)
        b = update(batch, 2 * k + 1) if twice else a
        total += (a + b) / 2
        for layer, s in layers.items():
            m, d = (a[s] + b[s]) / 2, a[s] - b[s]
            sums[layer].append([(m @ m).item(), (d @ d).item() / 2, (m @ g[s]).item()])
    learner.steps, found = steps, {}
    for layer, s in layers.items():
        norm = (g[s] @ g[s]).item()
        found[layer], drawn = estimates(np.array(sums[layer]), (total[s] @ total[s]).item(), norm)
        if twice:
            found[layer] |= drawn | {OWN: found[layer][VARIANCE]}  # perturbation: E dW = g
        else:
            square, along = (on_all[s] @ on_all[s]).item(), (on_all[s] @ g[s]).item()
            found[layer] |= gap(square, along, along**2, norm) | {"bias, drawn": drawn["bias"]}
            found[layer][OWN] = found[layer][VARIANCE] * norm / square
    return found


def estimates(sums: np.ndarray, total: float, norm: float) -> tuple[dict[str, float], dict[str, float]]:
    """Variances and bias from K minibatches. sums [K, 3]: |m|^2, |a - b|^2 / 2, m . g, where a and b are the updates by one
    minibatch with two draws of noise and m is their mean; total = |sum of m|^2; norm = |g|^2.
    """
    square, noise, along = sums.T
    pairs = len(sums) * (len(sums) - 1)
    expected = (total - square.sum()) / pairs  # |E dW|^2
    sampling = square.mean() - expected - noise.mean() / 2  # m has half the noise of one update
    variances = {"variance": sampling + noise.mean(), "noise variance": noise.mean()}
    along2 = (along.sum() ** 2 - (along**2).sum()) / pairs  # (E dW . g)^2
    return {q: float(v / norm) for q, v in variances.items()}, gap(expected, along.mean(), along2, norm)


def gap(square: float, along: float, along2: float, norm: float) -> dict[str, float]:
    """Bias and alignment from |E dW|^2, E dW . g, its square, and |g|^2."""
    return {
        "bias": square / norm - 2 * along / norm + 1,
        "bias, best scale": 1 - along2 / (square * norm) if square > 0 else math.nan,
        "alignment": along / math.sqrt(square * norm) if square > 0 else math.nan,
        "mean along the gradient": along / norm,
    }


def closed_forms(learner: Learner, batch: Batch, size: int) -> dict[str, dict[str, float]]:
    """By recipe, of the hidden layers together and relative to |g|^2: what the formulas of the module's docstring give,

    and in which units it is a pure number: NP's mean |g_i|^2 / batch over samples i, WP's |g_b|^2 of all layers.
    """
    trial = play(learner.net, batch)
    credit = returned(trial, ("credit",))["credit"]
    x2 = {r.layer: (r.pre**2).flatten(1).sum(1) for r in trial.records.values()}  # [N] each
    d2 = {layer: (c**2).sum(1) for layer, c in credit.items()}
    g2 = {layer: ((credit[layer].T @ r.pre.flatten(1) / batch.size) ** 2).sum() for layer, r in by_layer(trial).items()}
    below = [layer for layer in g2 if layer.startswith("hidden")]

    def sampling(layers: Iterable[str]) -> Tensor:
        """E |g_b - g|^2 of a minibatch: one sample's update in a layer has the square |x|^2 |delta|^2."""
        return sum((x2[layer] * d2[layer]).mean() - g2[layer] for layer in layers) / size

    norm, all_d2 = sum(g2[layer] for layer in below), sum(d2.values())
    n_weights, of_all = sum(w.numel() for w in hidden(trial.weights).values()), sum(g2.values()) + sampling(g2)
    nodes = sum((x2[n] * (credit[n].shape[1] * all_d2 + d2[n])).mean() for n in below) / size
    sample = sum((x2[n] * d2[n]).mean() for n in below) / size
    known = {
        BP: {"variance, closed form": sampling(below)},
        NP: {"noise variance, closed form": nodes, "one sample's square / batch": sample},
        WP: {"noise variance, closed form": n_weights * of_all + norm + sampling(below), "minibatch's square": of_all},
    }
    return {name: {q: (v / norm).item() for q, v in found.items()} for name, found in known.items()}


def by_layer(trial: Trial) -> dict[str, Record]:
    return {r.layer: r for r in trial.records.values()}


# ---------------------------------------------------------------------------------------------- exponents and claims
def of(rows: Rows, **key: Any) -> list[float]:
    """The values of all rows that fit, in their order."""
    return [r["value"] for r in rows if all(r[k] == v for k, v in key.items())]


def along(rows: Rows, axis: str) -> list[Mapping]:
    """The rows that differ from the centre of the grid along one axis alone."""
    centre = {"width": WIDTH, "depth": DEPTH, "batch": BATCH}
    return [r for r in rows if all(r[k] == v for k, v in centre.items() if k != axis)]


def slopes(rows: Rows, x: Callable[[Mapping], float]) -> dict[int, float]:
    """By seed, the exponent a of value ~ x^a by least squares in log-log; for those with two values or more, all positive."""
    points: dict[int, list[tuple[float, float]]] = {}
    for r in rows:
        points.setdefault(r["seed"], []).append((x(r), r["value"]))
    fine = {seed: np.array(p) for seed, p in points.items() if len(p) > 1 and min(v for _, v in p) > 0}
    return {seed: float(np.polyfit(*np.log(p).T, 1)[0]) for seed, p in fine.items()}


def exponents(rows: Rows) -> list[dict]:
    """Of variance and bias in width, depth and batch, one row per seed."""
    groups: dict[tuple, list[Mapping]] = {}
    for r in rows:
        fits = r["quantity"] in (VARIANCE, OWN) or (r["quantity"] == BIAS and r["recipe"] not in UNBIASED)
        if r["layer"] == "hidden" and fits:
            groups.setdefault((r["task"], r["recipe"], r["epoch"], r["quantity"]), []).append(r)
    found = []
    for (task, name, epoch, quantity), own in groups.items():
        for axis in ("width", "depth") if quantity == BIAS else ("width", "depth", "batch"):
            for seed, a in slopes(along(own, axis), itemgetter(axis)).items():
                at = {"task": task, "recipe": name, "seed": seed, "epoch": epoch, "layer": "hidden", "axis": axis}
                at |= {"width": None, "depth": None, "batch": None}
                found.append({**at, "quantity": f"exponent of the {quantity}", "value": float(f"{a:.5g}")})
    return found


def relative(rows: Rows, name: str, quantity: str, unit: str) -> list[dict]:
    """The rows of a quantity, in units of another at the same place."""
    own, units = ([r for r in rows if (r["recipe"], r["quantity"]) == (name, q)] for q in (quantity, unit))
    return [{**r, "value": r["value"] / u["value"]} for r, u in zip(own, units, strict=True)]


def hidden_units(r: Mapping) -> int:
    return r["depth"] * r["width"]


def hidden_weights(r: Mapping) -> int:
    """For the 64 inputs of the digits."""
    return 64 * r["width"] + (r["depth"] - 1) * r["width"] ** 2


def in_errors(rows: Rows, name: str, quantity: str, expected: float, power: int) -> float:
    """How many standard errors the mean is from the expected, each value in units of its own noise, so that none rules."""
    closed = f"{'' if name == BP else 'noise '}variance, closed form"  # the measured one goes up and down with the mean
    own, noise = (np.array(of(rows, recipe=name, quantity=q)) for q in (quantity, closed))
    z = (own - expected) / noise ** (power / 2)
    return float(z.mean() / z.std(ddof=1) * len(z) ** 0.5)


def checks(rows: Rows) -> list[dict]:
    whole = [r for r in rows if r["layer"] == "hidden" and r["width"]]
    first, hidden1 = (
        [r for r in rows if r["layer"] == n and r["width"] and r["epoch"] == 0] for n in ("hidden", "hidden1")
    )
    centre = along(whole, "batch")
    iid, werfel, lillicrap = "mean of independent samples", "Werfel, Xie & Seung 2005", "Lillicrap et al. 2016"

    def exponent(own: Rows, axis: str, x: Callable[[Mapping], float]) -> float:
        return float(np.mean(list(slopes(along(own, axis), x).values())))

    ratio = {
        name: float(np.mean([r["value"] for r in relative(whole, name, q, f"{q}, closed form")]))
        for name, q in ((BP, VARIANCE), (NP, "noise variance"), (WP, "noise variance"))
    }
    bp = [r for r in first if (r["recipe"], r["quantity"]) == (BP, VARIANCE)]
    np_raw = [r for r in first if (r["recipe"], r["quantity"]) == (NP, "noise variance")]
    np_unit = relative(first, NP, "noise variance", "one sample's square / batch")
    wp_unit = relative(first, WP, "noise variance", "minibatch's square")
    batch, errors = itemgetter("batch"), "in standard errors"
    found = [
        claim(f"{BP}: bias by minibatches, {errors}", in_errors(centre, BP, "bias, drawn", 0, 2), "within", 0, 4, iid),
        claim(f"{BP}: variance / closed form", ratio[BP], "within", 1, 0.1, iid),
        claim(f"{BP}: exponent of the variance in batch", exponent(bp, "batch", batch), "within", -1, 0.1, iid),
        claim(f"{NP}: noise variance / closed form", ratio[NP], "within", 1, 0.1, werfel),
        claim(f"{NP}: exponent of the noise in batch", exponent(np_raw, "batch", batch), "within", -1, 0.1, werfel),
        claim(f"{NP}: exponent of noise / mean |g_i|^2 in disturbed hidden units",
              exponent(np_unit, "width", hidden_units), "within", 1, 0.15, werfel),
        claim(f"{WP}: noise variance / closed form", ratio[WP], "within", 1, 0.1, werfel),
        claim(f"{WP}: exponent of noise / |g_b|^2 in batch", exponent(wp_unit, "batch", batch), "within", 0, 0.1, werfel),
        claim(f"{WP}: exponent of noise / |g_b|^2 in weights",
              exponent(wp_unit, "width", hidden_weights), "within", 1, 0.15, werfel),
    ]  # fmt: skip
    for name in (NP, WP):
        mean, bias = (
            in_errors(whole, name, q, e, p) for q, e, p in (("mean along the gradient", 1, 1), ("bias", 0, 2))
        )
        found.append(claim(f"{name}: E dW . g / |g|^2 - 1, {errors}", mean, "within", 0, 4, werfel))
        found.append(claim(f"{name}: bias, {errors}", bias, "within", 0, 4, werfel))
    at_first, stays = of(hidden1, recipe=FA, quantity="alignment"), of(whole, recipe=FA, quantity=BIAS)
    found.append(claim(f"{FA}: alignment of hidden1 at first", float(np.mean(at_first)), "within", 0, 0.1, lillicrap))
    found.append(claim(f"{FA}: bias, best scale, least of all", min(stays), ">=", 0.5, 0, lillicrap))
    for depth in sorted({r["depth"] for r in whole}):
        got = of(along(hidden1, "depth"), recipe=SS, quantity="alignment", depth=depth)
        cosine = (2 / math.pi) ** (depth / 2)
        name = f"{SS}: alignment of hidden1 at first, {depth} hidden layers"
        found.append(claim(name, float(np.mean(got)), "within", cosine, 0.1, "E|w| of a Gaussian"))
    return found


# ---------------------------------------------------------------------------------------------- the figure
AXES = {"width": Look("#2171b5", "o", "-"), "depth": Look("#e6550d", "s", "-"), "batch": Look("#1f8a4c", "^", "-")}


def draw(rows: Rows, manifest: Mapping) -> Figure:
    seeds, fashion = len(manifest["seeds"]), any(r["task"] == "fashion" for r in rows)
    digits = [r for r in rows if r["task"] == "digits"]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(16, 12.5), layout="constrained")
        above, below = fig.subfigures(2, 1, height_ratios=[1.75, 1])
        for axes, trained in zip(above.subplots(2, 5, sharey="col"), (False, True), strict=True):
            own = [r for r in digits if bool(r["epoch"]) == trained and r["layer"] == "hidden"]
            columns = [(OWN, "width"), (OWN, "depth"), (OWN, "batch"), ("alignment", "width"), ("alignment", "depth")]
            for letter, ax, (quantity, axis) in zip("FGHIJ" if trained else "ABCDE", axes, columns, strict=True):
                curves(ax, own, quantity, axis, seeds)
                title = f"{quantity.partition(',')[0].capitalize()}, {'trained' if trained else 'first weights'}"
                ax.set_title(f"{letter}  {title}")
        left, middle, right = below.subplots(1, 3, width_ratios=[1, 0.85, 1])
        widening(left, digits, OWN, NAMES, seeds)
        left.set_title("K  Exponent of the variance: right of 0 it widens")
        widening(middle, digits, BIAS, [n for n in NAMES if n not in UNBIASED], seeds)
        middle.set_title("L  Exponent of the bias, 1 - cos$^2$: right of 0 it widens")
        legend(middle)
        aligned(right, rows, ("digits", "fashion") if fashion else ("digits",))
        right.set_title("M  Alignment of the first hidden layer")
        handles, labels = above.axes[2].get_legend_handles_labels()
        above.legend(handles, labels, loc="outside upper center", ncols=6)
        text = f"Where not varied: {DEPTH} hidden layers of {WIDTH} units, batch {BATCH}; digits. "
        text += (
            f"Bands and bars: mean and 95 % t interval over {seeds} seeds" if seeds > 2 else f"Mean over {seeds} seeds"
        )
        fewer = f" (at most {SLOW_SEEDS} of {', '.join(SLOW)})" if seeds > SLOW_SEEDS else ""
        fig.supxlabel(f"{text}{fewer}. {' and '.join(UNBIASED[1:])} are unbiased: see the claims.", fontsize=8)
    return fig


def curves(ax: Axes, rows: Rows, quantity: str, axis: str, seeds: int) -> None:
    logs = quantity == OWN
    to, back = (np.log, np.exp) if logs else (np.asarray, np.asarray)
    for name, look in looks(NAMES).items():
        own = [r for r in along(rows, axis) if (r["recipe"], r["quantity"]) == (name, quantity)]
        x = sorted({r[axis] for r in own})
        if not own or (not logs and name in (NP, WP)):
            continue
        middle, half = np.array([interval(to(of(own, **{axis: v}))) for v in x]).T
        ax.plot(x, back(middle), color=look.colour, marker=look.marker, linestyle=look.line, label=name, markersize=4)
        if seeds > 2:
            ax.fill_between(x, back(middle - half), back(middle + half), color=look.colour, alpha=0.15, linewidth=0)
    ticks = sorted({r[axis] for r in along(rows, axis)})
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel(
        {"width": "units in each hidden layer", "depth": "hidden layers", "batch": "samples in a batch"}[axis]
    )
    ax.set_ylabel("variance of one update / |E dW|$^2$" if logs else "cosine of E dW with g, hidden layers")
    if logs:
        ax.set_yscale("log")
    else:
        ax.axhline(0, color="black", linewidth=0.9)


def widening(ax: Axes, rows: Rows, quantity: str, names: Sequence[str], seeds: int) -> None:
    """Exponents with their intervals: open at first, filled when trained."""
    own = [r for r in rows if r["quantity"] == f"exponent of the {quantity}"]
    for y, name in enumerate(names):
        for k, (axis, look) in enumerate(AXES.items()):
            for trained in (False, True):
                found = [r["value"] for r in own if (r["recipe"], r["axis"], bool(r["epoch"])) == (name, axis, trained)]
                dot(ax, found, y + 0.24 * (k - 1) + 0.1 * trained, look, trained, seeds)
    ax.axvline(0, color="black", linewidth=0.9)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    powers = "width$^a$, depth$^a$"
    ax.set_xlabel(
        f"exponent a of {'variance' if quantity == OWN else 'bias'} ~ {powers}{', batch$^a$' * (quantity == OWN)}"
    )


def legend(ax: Axes) -> None:
    """That of K and L."""
    for axis, look in AXES.items():
        ax.plot([], [], look.marker, color=look.colour, label=f"in {axis}")
    ax.plot([], [], "o", color="black", markerfacecolor="white", label="open: first weights")
    ax.legend(fontsize=7, loc="upper right")


def dot(ax: Axes, values: Sequence[float], y: float, look: Look, full: bool, seeds: int) -> None:
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return
    middle, half = interval(values)
    if seeds > 2 and len(values) > 1:
        ax.plot([middle - half, middle + half], [y, y], color=look.colour, linewidth=1)
    ax.plot(middle, y, look.marker, color=look.colour, markerfacecolor=look.colour if full else "white", markersize=4)


def aligned(ax: Axes, rows: Rows, tasks: Sequence[str]) -> None:
    """At the centre of the grid; without the perturbations, whose alignment is 1."""
    names, styles = [n for n in NAMES if n not in (NP, WP)], looks(NAMES)
    own = [r for r in along(rows, "") if (r["layer"], r["quantity"]) == ("hidden1", "alignment")]
    for y, name in enumerate(names):
        for k, task in enumerate(tasks):
            look = styles[name]._replace(marker="os"[k])
            for trained in (False, True):
                found = [r["value"] for r in own if (r["recipe"], r["task"], bool(r["epoch"])) == (name, task, trained)]
                dot(ax, found, y + 0.3 * (k - 0.5) * (len(tasks) > 1) + 0.1 * trained, look, trained, len(found))
    for k, task in enumerate(tasks):
        ax.plot(
            [],
            [],
            "os"[k],
            color="black",
            label={"digits": "digits", "fashion": f"Fashion-MNIST, {FASHION_SEEDS} seeds"}[task],
        )
    ax.plot([], [], "o", color="black", markerfacecolor="white", label="open: first weights")
    ax.axvline(0, color="black", linewidth=0.9)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("cosine of E dW with g")
    ax.legend(fontsize=7)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
