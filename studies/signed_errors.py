"""Backprop's error, clipped, one-bit, in two populations or in Poisson spikes: what survives?

The error goes back through the forward weights, but at every layer it passes through a code, and what the layer learns
from is what arrived: credit_l = code(phi'(u_l) * W_{l+1}^T credit_{l+1}). The unit of a layer is fixed beforehand, from
the sizes |e| of its errors that are not 0 on the first training batch. All codes learn at backprop's tuned rate, by Adam.

    clipped-90, -50   within +-unit, the 90 % or 50 % quantile of |e|
    one-bit           sign(e), times the mean |e| of that sample and layer
    rectified-1, -0   one population whose rate cannot fall below 0: max(e, -b), b the mean |e|, or 0: e+ alone
    ...-hidden        the same in the hidden layers only; the readout knows its own error
    split             two populations p - m = e, all >= 0, through excitatory and inhibitory weights W = W+ - W-, all >= 0:
                      p_l = phi' (W+^T p + W-^T m),  m_l = phi' (W-^T p + W+^T m). Nothing is lost: a control.
    poisson-R         N+ ~ Poisson(R e+ / unit), N- likewise, unit the mean |e|; what arrives is (N+ - N-) unit / R
    split-poisson-R   the same of p and m, which do not inhibit each other and so carry what they have in common, too

Expected: split learns as backprop does. Poisson codes are right in the mean at every depth, since all else on the way back
is linear. At the readout the variance of their update is  sum_samples |x|^2 sum_i |e_i| unit / R: a slope of -1 in R. Below
it is steeper at small R, where noisy errors from above cost spikes of their own, and tends to -1. One bit of a Gaussian
error has cosine sqrt(2 / pi) = .80 with it: so in the hidden layers at first, whose errors are sums over many Gaussian
weights; not at the readout, whose error is one large number and nine small ones. No accuracy is claimed.

At the readout the errors of the ten classes sum to 0. Codes that upset this balance push all outputs one way, sample after
sample: hence the -hidden codes beside them, which tell what the code does to the hidden layers alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.cell import draw_net, evaluate
from neurosim.figures import STYLE, Look, claim
from neurosim.networks import mlp
from neurosim.plasticity import Batch, Learner, Pass, Recipe, Trial, alignment, claims, play, returned
from neurosim.recipes import recipes_for
from neurosim.statistics import holm, interval, paired
from neurosim.study import Mode, main
from neurosim.tasks import TASKS, Split, Task
from neurosim.trial import improvement, synapses

METRIC = "accuracy"
EPOCHS, EPOCHS_QUICK = 25, 4
FASHION_SEEDS, FASHION_EPOCHS, FASHION_BATCH = 2, 1, 256
RATES = (64, 16, 4, 1)  # spikes for an error of the mean size
NOISE_RATES, DRAWS, DRAWS_QUICK = (1, 4, 16, 64, 256, 1024), 200, 60
NOISE_SEEDS = 5  # at most
STEEP = 16  # from this rate on the hidden layers' variance should have its slope

Code = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # (error, unit of its layer, noise) -> what arrives
Rows = Sequence[Mapping[str, Any]]


# ---------------------------------------------------------------------------------------------- the codes
def exact(e: Tensor, unit: Tensor, noise: torch.Generator) -> Tensor:
    return e


def clipped(e: Tensor, unit: Tensor, noise: torch.Generator) -> Tensor:
    return e.clamp(-unit, unit)


def one_bit(e: Tensor, unit: Tensor, noise: torch.Generator) -> Tensor:
    """sign(e) mean|e|, the mean over those units of the sample whose error is not 0."""
    told = (e != 0).sum(-1, keepdim=True).clamp(min=1)
    return e.sign() * e.abs().sum(-1, keepdim=True) / told


def rectified(e: Tensor, unit: Tensor, noise: torch.Generator, baseline: float) -> Tensor:
    """max(0, b + e) - b: a rate around the spontaneous one, b = baseline * unit."""
    return torch.maximum(e, -baseline * unit)


@dataclass(frozen=True)
class Poisson:
    """(N+ - N-) unit / rate,  N+- ~ Poisson(rate max(+-e, 0) / unit): one of the two is always silent."""

    rate: float

    def __call__(self, e: Tensor, unit: Tensor, noise: torch.Generator) -> Tensor:
        return e.sign() * torch.poisson(e.abs() * (self.rate / unit), generator=noise) * (unit / self.rate)


@dataclass(frozen=True)
class Coded:
    """credit_l = code(phi'(u_l) * W_{l+1}^T credit_{l+1}): backprop with a code at every layer of a chain of layers.

    `sent` is the size of what each unit sent back, in which spikes are counted.
    """

    code: Code
    unit: Callable[[Tensor], Tensor] = torch.mean  # of the sizes of a layer's first errors
    last: Code | None = None  # the last layer's, where it differs
    reads: frozenset[str] = claims("error", "transport", "noise")
    gives: frozenset[str] = claims("credit", "sent")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        return {f"unit/{n}": self.unit(e[e != 0].abs()) for n, e in returned(trial, ("credit",))["credit"].items()}

    def at(self, above: str | None) -> Code:
        return self.code if above or self.last is None else self.last

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial, credit = play(net, batch), {}
        for layer, above in downwards(trial):
            e = (
                back(trial, layer, above, credit[above])
                if above
                else improvement(trial, {"e": trial.inputs[layer]})["e"]
            )
            credit[layer] = self.at(above)(e, own[f"unit/{layer}"], generator)
        yield Pass(trial, {"credit": credit, "sent": {n: e.abs() for n, e in credit.items()}})


@dataclass(frozen=True)
class Populations(Coded):
    """credit_l = p_l - m_l,  p_l = code(phi' * (W+^T p + W-^T m)),  m_l = code(phi' * (W-^T p + W+^T m)),  phi' >= 0."""

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        weights = {n: m.weight.detach() for n, m in synapses(net).items()}
        excite = play(net, batch, backward={n: w.clamp(min=0) for n, w in weights.items()})
        inhibit = play(net, batch, backward={n: (-w).clamp(min=0) for n, w in weights.items()})
        p, m = {}, {}
        for layer, above in downwards(excite):
            if above:
                plus, minus = (partial(back, trial, layer, above) for trial in (excite, inhibit))
                both = plus(p[above]) + minus(m[above]), minus(p[above]) + plus(m[above])
            else:
                e = improvement(excite, {"e": excite.inputs[layer]})["e"]
                both = e.clamp(min=0), (-e).clamp(min=0)
            p[layer], m[layer] = (self.at(above)(q, own[f"unit/{layer}"], generator) for q in both)
        yield Pass(excite, {"credit": {n: p[n] - m[n] for n in p}, "sent": {n: p[n] + m[n] for n in p}})


def downwards(trial: Trial) -> Iterator[tuple[str, str | None]]:
    """The layers from the last to the first, each with the one above it."""
    layers = list(reversed(trial.inputs))
    return zip(layers, [None, *layers], strict=False)


def back(trial: Trial, layer: str, above: str, e: Tensor) -> Tensor:
    """phi'(u_layer) * (W_above^T e), W the weights that the trial's credit returns through."""
    return torch.autograd.grad(trial.inputs[above], trial.inputs[layer], e, retain_graph=True)[0]


CODES: dict[str, Coded] = {
    "split": Populations(exact),
    "clipped-90": Coded(clipped, partial(torch.quantile, q=0.9)),
    "clipped-50": Coded(clipped, partial(torch.quantile, q=0.5)),
    "one-bit": Coded(one_bit),
    "one-bit-hidden": Coded(one_bit, last=exact),
    "rectified-1": Coded(partial(rectified, baseline=1.0)),
    "rectified-0": Coded(partial(rectified, baseline=0.0)),
    "rectified-0-hidden": Coded(partial(rectified, baseline=0.0), last=exact),
    **{f"poisson-{r}": Coded(Poisson(r)) for r in RATES},
    "split-poisson-16": Populations(Poisson(16)),
}
NAMES = ("backprop", *CODES, "frozen")


def recipe(name: str, credit: Coded | None = None) -> Recipe:
    """Backprop's recipe with a code; "frozen" is the control that all comparisons share, with its own readout rate."""
    line_up = recipes_for("digits", "mlp")
    credit = credit or CODES.get(name)
    return replace(line_up["backprop"], name=name, credit=credit) if credit else line_up[name]


# ---------------------------------------------------------------------------------------------- what is measured
def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    digits, rows = TASKS["digits"](mode.data), []
    for seed in range(mode.seeds):
        rows += [r for name in NAMES for r in learn(name, digits, seed, EPOCHS_QUICK if mode.quick else EPOCHS)]
        if seed < NOISE_SEEDS:
            rows += at_first(digits, seed, DRAWS_QUICK if mode.quick else DRAWS)
    if mode.full:
        fashion = replace(TASKS["fashion"](mode.data), batch_size=FASHION_BATCH)
        for seed in range(FASHION_SEEDS):
            rows += [r for name in NAMES for r in learn(name, fashion, seed, FASHION_EPOCHS)]
    split = digits.split(0)
    rows += tests(rows, len(split.train_y), len(split.test_y))
    return rows, checks(rows, range(min(mode.seeds, NOISE_SEEDS)), 1 / len(split.test_y))


def row(task: str, name: str, seed: int | None, quantity: str, value: float, layer: str = "", **at: Any) -> dict:
    at = {"epoch": 0, "samples": 0, "rate": None} | at
    value = float(f"{value:.6g}")
    return {"task": task, "recipe": name, "seed": seed, **at, "layer": layer, "quantity": quantity, "value": value}


def in_double(split: Split) -> Split:
    """The same samples, centred in double precision: what a network sees is then double too."""
    return replace(split, mean=split.mean.double(), scale=split.scale.double())


def learn(name: str, task: Task, seed: int, epochs: int) -> list[dict]:
    """One net, before and after training: its score, alignment with the exact gradient, spikes.

    In double precision, so that two ways to the same update stay together.
    """
    split = in_double(task.split(seed))
    probe, example = task.probe(split), next(task.batches(split, seed, 0))
    learner = Learner(draw_net(mlp, task, seed).double(), recipe(name), example, seed)
    rows: list[dict] = []
    for epoch in (0, epochs):
        for order in range(epoch):
            for batch in task.batches(split, seed, order):
                learner.step(batch)
        note = partial(row, task.name, name, seed, epoch=epoch, samples=epoch * len(split.train_y))
        rows.append(note("test", evaluate(learner, task, split)[0]))
        rows += [note("alignment", c.item(), n.removesuffix(".input")) for n, c in alignment(learner, probe).items()]
        rows += [note("spikes per sample", spikes) for spikes in spikes_of(learner, probe)]
        if name == "split":
            rows.append(note("relative difference of updates", difference(learner, probe)))
    return rows


def spikes_of(learner: Learner, batch: Batch) -> list[float]:
    """[mean number of spikes, in all layers, that carry the error of one sample back]; none for codes without spikes."""
    credit = learner.recipe.credit
    if not (isinstance(credit, Coded) and isinstance(credit.code, Poisson)):
        return []
    (one,) = credit.passes(learner.net, batch, dict(learner.own), torch.Generator().manual_seed(learner.seed))
    sent = sum((s.sum() / learner.own[f"unit/{n}"]).item() for n, s in one.third["sent"].items())
    return [sent * credit.code.rate / batch.size]


def gradient(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Backprop's mean dW by synapse."""
    trial = play(net, batch)
    return improvement(trial, trial.weights, 1 / batch.size)


def difference(learner: Learner, batch: Batch) -> float:
    """max over synapses of |dW - g| / |g|, g backprop's."""
    true = gradient(learner.net, batch)
    return max(((dw - true[n]).norm() / true[n].norm()).item() for n, dw in learner.updates(batch).items())


def at_first(task: Task, seed: int, draws: int) -> list[dict]:
    """At the first weights: mean and variance of the Poisson codes' updates of one batch, and what one bit keeps."""
    split = in_double(task.split(seed))
    net, probe = draw_net(mlp, task, seed).double(), task.probe(split)
    true, trial = gradient(net, probe), play(net, probe)
    credit, rows = returned(trial, ("credit",))["credit"], []
    for n, e in credit.items():
        kept = torch.cosine_similarity(e, one_bit(e, e, torch.Generator()), -1).mean().item()
        rows.append(row(task.name, "one-bit", seed, "cosine of the code with its error", kept, n))
    x, e = trial.records["readout.input"].pre, credit["readout"]
    cost = ((x**2).sum(1) * e.abs().sum(1)).sum() / probe.size**2 / (true["readout.input"] ** 2).sum()
    for rate in NOISE_RATES:
        learner = Learner(net, recipe(f"poisson-{rate}", Coded(Poisson(rate))), probe, seed)
        note = partial(row, task.name, learner.recipe.name, seed, rate=rate)
        for n, found in moments(learner, probe, true, rate * draws, draws).items():
            rows += [note(q, v, n.removesuffix(".input")) for q, v in found.items()]
        rows.append(note("variance, closed form", (cost * learner.own["unit/readout"] / rate).item(), "readout"))
    return rows


def moments(
    learner: Learner, batch: Batch, true: Mapping[str, Tensor], first: int, draws: int
) -> dict[str, dict[str, float]]:
    """By synapse, over draws of noise: variance and squared bias of dW relative to |g|^2, and E dW . g / |g|^2.

    Unbiased: |E dW|^2 is the mean product of two different draws; the square of the mean would be too large by the noise.
    """
    total, square = {n: torch.zeros_like(g) for n, g in true.items()}, dict.fromkeys(true, 0.0)
    for learner.steps in range(first, first + draws):  # noise comes from (seed, steps)
        for n, dw in learner.updates(batch).items():
            total[n] += dw
            square[n] += (dw**2).sum().item()
    found = {}
    for n, g in true.items():
        size = (g**2).sum().item()
        product = ((total[n] ** 2).sum().item() - square[n]) / (draws * (draws - 1)) / size
        along = (total[n] * g).sum().item() / draws / size
        variance = square[n] / draws / size - product
        found[n] = {"variance": variance, "squared bias": product - 2 * along + 1, "mean along the gradient": along}
    return found


# ---------------------------------------------------------------------------------------------- what is claimed
def of(rows: Rows, **key: Any) -> list[float]:
    """The values of all rows that fit, in their order."""
    return [r["value"] for r in rows if all(r[k] == v for k, v in key.items())]


def final(rows: Rows, name: str, quantity: str, task: str = "digits", layer: str = "") -> list[float]:
    """One value per seed, after training."""
    return [r["value"] for r in rows if r["epoch"]
            and (r["task"], r["recipe"], r["quantity"], r["layer"]) == (task, name, quantity, layer)]  # fmt: skip


def tests(rows: Rows, n_train: int, n_test: int) -> list[dict]:
    """Paired tests of the final accuracies against backprop and frozen, Holm-adjusted over the codes."""
    found, scores = [], {n: final(rows, n, "test") for n in NAMES}
    for other in ("backprop", "frozen"):
        names = [n for n in NAMES if n != other]
        results = [paired(scores[n], scores[other], n_train, n_test) for n in names]
        for name, result, p in zip(names, results, holm([r.p for r in results]), strict=True):
            values = {"difference": result.difference, "half width of it": result.half, "p": p}
            found += [row("digits", name, None, f"{q}, against {other}", v) for q, v in values.items()]
    return found


def slope(rows: Rows, layer: str, seed: int, above: float) -> float:
    """Of log variance in log rate, for one seed, by least squares."""
    own = [(r["rate"], r["value"]) for r in rows if (r["quantity"], r["layer"], r["seed"]) == ("variance", layer, seed)]
    x, y = np.log([pair for pair in own if pair[0] >= above]).T
    return float(np.polyfit(x, y, 1)[0])


def standard_errors(rows: Rows, quantity: str, expected: float, power: int) -> float:
    """How far the mean over seeds, rates and layers is from the expected; noise falls as rate^(-power / 2)."""
    z = np.array([(r["value"] - expected) * r["rate"] ** (power / 2) for r in rows if r["quantity"] == quantity])
    return float(z.mean() / z.std(ddof=1) * len(z) ** 0.5)


def checks(rows: Rows, seeds: Iterable[int], item: float) -> list[dict]:
    apart = np.abs(np.subtract(final(rows, "split", "test"), final(rows, "backprop", "test"))).max()
    updates = max(of(rows, quantity="relative difference of updates"))
    measured, closed = (of(rows, quantity=f"variance{q}", layer="readout") for q in ("", ", closed form"))
    ratio = float(np.divide(measured, closed).mean())
    along = standard_errors(rows, "mean along the gradient", 1, 1)
    bias = standard_errors(rows, "squared bias", 0, 2)
    linear, counts, gauss = "W = W+ - W-, e = e+ - e-", "a Poisson count's variance is its mean", "E|z|, z ~ N(0, 1)"
    found = [
        claim("split: final accuracy from backprop's, worst seed", apart, "<=", item, 1e-9, linear),
        claim("split: updates from backprop's, relative, worst", updates, "<=", 1e-6, 0, linear),
        claim("poisson: variance at the readout / closed form", ratio, "within", 1, 0.03, counts),
        claim("poisson: E dW . g / |g|^2 - 1, in standard errors", along, "within", 0, 4, "unbiased"),
        claim("poisson: |E dW - g|^2, in standard errors", bias, "within", 0, 4, "unbiased"),
    ]
    for layer, above, tolerance in (("readout", 1, 0.03), ("hidden2", STEEP, 0.1), ("hidden1", STEEP, 0.1)):
        got = float(np.mean([slope(rows, layer, seed, above) for seed in seeds]))
        found.append(claim(f"poisson: slope in R from {above} on, {layer}", got, "within", -1, tolerance, counts))
    for layer in ("hidden2", "hidden1"):
        got = float(np.mean(of(rows, quantity="cosine of the code with its error", layer=layer)))
        found.append(claim(f"one-bit: cosine at first, {layer}", got, "within", math.sqrt(2 / math.pi), 0.02, gauss))
    return found


# ---------------------------------------------------------------------------------------------- the figure
LOOKS = {
    "backprop": Look("#000000", "o", "-"),
    "split": Look("#6a3d9a", "v", "--"),
    "clipped-90": Look("#08306b", "s", "-"),
    "clipped-50": Look("#2171b5", "^", "-"),
    "one-bit": Look("#00a0c6", "D", "-"),
    "one-bit-hidden": Look("#85bff0", "D", "-"),
    "rectified-1": Look("#8c1007", "P", "-."),
    "rectified-0": Look("#e6550d", "X", "-."),
    "rectified-0-hidden": Look("#f5a81c", "X", "-."),
    "poisson-64": Look("#00441b", "p", ":"),
    "poisson-16": Look("#1f8a4c", "p", ":"),
    "poisson-4": Look("#66b83f", "p", ":"),
    "poisson-1": Look("#a8bf1d", "p", ":"),
    "split-poisson-16": Look("#cc79a7", "h", ":"),
    "frozen": Look("#7f7f7f", "d", "--"),
}
TICKS = (2, 3, 5, 10, 20, 50, 100)  # % error
LAYERS = {
    "readout": Look("#000000", "o", "-"),
    "hidden2": Look("#2171b5", "s", "-"),
    "hidden1": Look("#e6550d", "^", "-"),
}


def draw(rows: Rows, manifest: Mapping) -> Figure:
    fashion, seeds = any(r["task"] == "fashion" for r in rows), len(manifest["seeds"])
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(16 if fashion else 13, 4.8), layout="constrained")
        axes = list(fig.subplots(1, 4 if fashion else 3))
        axes[0].set_title("A  Digits, after training")
        accuracies(axes[0], rows, "digits")
        if fashion:
            axes[1].set_title(f"B  Fashion-MNIST, {FASHION_EPOCHS} epoch, {FASHION_SEEDS} seeds")
            accuracies(axes[1], rows, "fashion")
        axes[-2].set_title(f"{'BC'[fashion]}  First hidden layer's updates, digits")
        alignments(axes[-2], rows)
        for ax in axes[:-1]:
            ax.set_yticks(range(len(NAMES)), NAMES if ax is axes[0] else [""] * len(NAMES))
            ax.set_ylim(len(NAMES) - 0.4, -0.6)
        axes[-1].set_title(f"{'CD'[fashion]}  Noise of Poisson codes at first, digits")
        variances(axes[-1], rows, seeds)
        band = "mean and 95 % t interval" if seeds > 2 else "mean"
        note = "* differs from backprop (p < .05, paired, Holm). Spikes: per sample, to carry credit back, at first to at last."
        note += f" {band.capitalize()} over {seeds} seeds (noise: {min(seeds, NOISE_SEEDS)}); small dots are seeds."
        fig.supxlabel(note, fontsize=8)
    return fig


def accuracies(ax: Axes, rows: Rows, task: str) -> None:
    for k, name in enumerate(NAMES):
        scores, look = 100 - 100 * np.array(final(rows, name, "test", task)), LOOKS[name]
        middle, half = interval(scores)
        ax.plot(scores, [k + 0.28] * len(scores), ".", color=look.colour, markersize=3)
        point(ax, scores, k, look)
        if name in ("backprop", "frozen"):
            ax.axvline(middle, color=look.colour, linestyle=look.line, linewidth=0.9)
            if len(scores) > 2:
                ax.axvspan(middle - half, middle + half, color=look.colour, alpha=0.12, linewidth=0)
        p = of(rows, task=task, recipe=name, quantity="p, against backprop")
        if p and p[0] < 0.05:
            ax.annotate("*", (middle, k), (0, 1), textcoords="offset points", ha="center", fontsize=11)
        if spikes := final(rows, name, "spikes per sample", task):
            first = np.mean(of(rows, task=task, recipe=name, quantity="spikes per sample", epoch=0))
            text = f"{first:,.0f} to {np.mean(spikes):,.0f} spikes"
            ax.annotate(text, (0.98, k), xycoords=("axes fraction", "data"), va="center", ha="right", fontsize=7)
    ax.set_xscale("log")
    ax.set_xticks(TICKS, [str(t) for t in TICKS])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("error on the test part (%)")


def point(ax: Axes, values: Sequence[float], y: float, look: Look, full: bool = True) -> None:
    middle, half = interval(values)
    if len(values) > 2:
        ax.plot([middle - half, middle + half], [y, y], color=look.colour)
    ax.plot(middle, y, look.marker, color=look.colour, markerfacecolor=look.colour if full else "white")


def alignments(ax: Axes, rows: Rows) -> None:
    for k, name in enumerate(NAMES):
        key = {"recipe": name, "quantity": "alignment", "layer": "hidden1"}
        first, last = of(rows, task="digits", epoch=0, **key), final(rows, name, "alignment", layer="hidden1")
        for values, shift in ((first, -0.15), (last, 0.15)):
            if moved := [v for v in values if not math.isnan(v)]:
                point(ax, moved, k + shift, LOOKS[name], full=values is last)
        if still := sum(map(math.isnan, last)):
            text = f"trained: no spike\nin {still} of {len(last)} seeds"
            ax.annotate(text, (0.02, k), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    ax.plot([], [], "ko", markerfacecolor="white", label="first weights")
    ax.plot([], [], "ko", label="trained")
    ax.axvline(0, color="black", linewidth=0.9)
    ax.set(xlabel="cosine of one update with the exact gradient (batch of 128)", xlim=(-1.05, 1.05))
    ax.legend(loc="upper left")


def variances(ax: Axes, rows: Rows, seeds: int) -> None:
    for layer, look in LAYERS.items():
        found = [interval(np.log(of(rows, quantity="variance", layer=layer, rate=r))) for r in NOISE_RATES]
        middle, half = np.array(found).T
        ax.plot(NOISE_RATES, np.exp(middle), color=look.colour, marker=look.marker, label=layer)
        if seeds > 2:
            low, high = np.exp(middle - half), np.exp(middle + half)
            ax.fill_between(NOISE_RATES, low, high, color=look.colour, alpha=0.2, linewidth=0)
    closed = [np.exp(np.mean(np.log(of(rows, quantity="variance, closed form", rate=r)))) for r in NOISE_RATES]
    ax.plot(NOISE_RATES, closed, color="#f5a81c", linestyle=":", linewidth=2.2, label="readout, closed form")
    ax.set(xscale="log", yscale="log", xlabel="spikes for an error of the mean size, R", ylim=(None, 2))
    ax.set_ylabel("variance of one update / |g|$^2$ (batch of 128)")
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
