"""How far does feedback move activity in predictive coding and equilibrium propagation, and what does that cost?

Both let the error change the neurons' activity, and read the update from the changed activity. Credit is exact only
where the change is small, and a small change is slow to settle and easily lost in noise. Measured per layer:

    change     |y* - y| / |y|: predictive coding's relaxed activity y* against the forward one, equilibrium propagation's
               nudged activity against the free one (and the free one against the forward one, which needs no error)
    deviation  of the update from the true gradient: relative error and 1 - cosine over all weights. The gradient is of
               the loss after a forward pass; for equilibrium propagation of the loss at the free equilibrium, by autograd
               through a long unrolled relaxation

Expected, small tanh nets in double precision, relaxed to the end: predictive coding's change and relative error are
proportional to the precision of the output (Whittington & Bogacz 2017, Neural Comput 29:1229; Millidge et al. 2022);
equilibrium propagation's change to beta, its relative error to beta where it nudges one way, either way (Scellier & Bengio
2017, Front Comput Neurosci 11:24), to beta^2 where it nudges both ways (Laborieux et al. 2021, Front Neurosci 15:633674).
1 - cosine has twice these exponents: an error e at a right angle to the gradient turns it by e.

What it costs: test accuracy of nets trained a few epochs at each setting, at the recipes' own rates (predictive coding
at backprop's, whose updates it approaches), on digits (Fashion-MNIST too with --full), beside the change at the first step
and after training, and the plays of the net that an
update needs, those of a relaxation with a way back. Equilibrium propagation needs bounded activity and squared error, so
backprop on that very net (backprop-bounded) stands beside it. Predictive coding at small precision, relaxed long, has
backprop's updates, so its accuracy must be backprop's to within a point, which is all that 500 test digits resolve.

Measured beside it, on digits: over three decades of precision, and from 3 to 30 steps, predictive coding's accuracy
stays within a point of backprop's, though its update is off by .2 to .85. For equilibrium propagation the small nudge, whose
update is nearer to the gradient, trains far worse (.78 at beta .03, .96 at .3): output units that sit at the lower
bound of their activity get no gradient, and only a nudge that is large enough wakes them; backprop-bounded loses the same
classes (.82). One-sided nudges are worst, as Laborieux et al. found. What is left of the change at small beta after training
is no feedback: 12 steps do not settle the free state, which drifts on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.cell import draw_net, evaluate
from neurosim.credit import Equilibrium, Predictive
from neurosim.credit.equilibrium import relax
from neurosim.figures import LOOKS, STYLE, claim
from neurosim.networks import NETWORKS
from neurosim.plasticity import (
    Batch,
    Credit,
    Gradient,
    Layer,
    Learner,
    Pass,
    Recipe,
    Rule,
    identity,
    improvement,
    play,
    synapses,
)
from neurosim.recipes import recipes_for
from neurosim.rules import Hebb
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import TASKS, Task

METRIC = "accuracy"
SIZES, GAIN, SAMPLES = (8, 10, 7, 4), 0.4, 12  # the small nets, their weights' sd in 1 / sqrt(fan-in), their batch
PRECISIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
BETAS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SETTLED, RATE = 150, 0.5  # steps to the end of a relaxation
STEPS, FEW = (1, 2, 4, 8, 16, 32, 64), (1e-3, 0.1)  # or not so far, at these precision and beta
FITTED = 3  # points at the small end that a slope is fitted to
NETWORK = "mlp"
EPOCHS, EPOCHS_QUICK, PROBE = 3, 1, 200
FASHION_SEEDS, FASHION_BATCH = 2, 128

BP, PC, EP, ONE = "backprop", "predictive-coding", "equilibrium-propagation", "one-sided"
BOUNDED, FROZEN = "backprop-bounded", "frozen"
LAYERS = ("hidden1", "hidden2", "readout")
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class OneSided(Equilibrium):
    """dW = ([y y'](beta) - [y y'](0)) / beta: one nudged equilibrium against the free one; beta may be negative.

    Source: Scellier & Bengio 2017. Its error is O(beta), of the sign of beta.
    """

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        x0 = self.settle(net, batch)
        beta = torch.full((batch.size,), self.beta, dtype=batch.x.dtype)
        x = relax(net, batch, self.goal(beta), x0, self.nudged, self.rate, self.box)
        for state, gain in ((x, 1 / self.beta), (x0, -1 / self.beta)):
            with torch.no_grad():
                trial = play(net, batch, clamp=state)
            yield Pass(trial, gain=gain)


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    rows = [row for seed in range(mode.seeds) for row in small_net(seed)]
    tasks = [(TASKS["digits"](mode.data), EPOCHS_QUICK if mode.quick else EPOCHS, mode.seeds)]
    if mode.full:
        fashion = replace(TASKS["fashion"](mode.data), batch_size=FASHION_BATCH)
        tasks.append((fashion, 1, min(mode.seeds, FASHION_SEEDS)))
    for task, epochs, seeds in tasks:
        for seed in range(seeds):
            rows += [row for s in settings(task) for row in learn(s, task, seed, epochs)]
    return rows, claims_of(rows)


# ---------------------------------------------------------------------------------------------- both measures
def one_update(net: nn.Module, credit: Credit, rule: Rule, batch: Batch) -> tuple[dict[str, Tensor], list[Pass]]:
    """The update as a Learner makes it, and the trials that it was read from."""
    passes = list(credit.passes(net, batch, {}, torch.Generator()))
    dw: dict[str, Tensor] = {}
    for p in passes:
        for n, r in p.trial.records.items():
            told = {k: by_layer[r.layer] for k, by_layer in p.third.items()}
            dw[n] = dw.get(n, 0) + p.gain * rule.update(r, told, {}) / batch.size
    return dw, passes


def changes(net: nn.Module, credit: Credit, batch: Batch, passes: Sequence[Pass]) -> dict[tuple[str, str], float]:
    """{(quantity, layer): |y* - y| / |y|} over the whole batch."""
    forward, moved = play(net, batch).outputs, passes[0].trial.outputs
    if not isinstance(credit, Equilibrium):
        return {("change", n): distance(moved[n], y) for n, y in forward.items()}
    free = play(net, batch, clamp=credit.settle(net, batch)).outputs
    nudged = {("change", n): distance(moved[n], y) for n, y in free.items()}
    return nudged | {("free_change", n): distance(free[n], y) for n, y in forward.items()}


def distance(moved: Tensor, rest: Tensor) -> float:
    return ((moved - rest).norm() / rest.norm()).item()


def deviation(dw: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
    """|dW - g| / |g| and 1 - cosine = |dW / |dW| - g / |g||^2 / 2, which rounding does not spoil, over all weights."""
    a, g = (torch.cat([table[n].flatten() for n in true]) for table in (dw, true))
    turned = (a / a.norm() - g / g.norm()).square().sum() / 2
    return {("relative_error", ""): distance(a, g), ("one_minus_cosine", ""): turned.item()}


def true_gradient(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """-dL/dW of the loss after a forward pass."""
    trial = play(net, batch)
    return improvement(trial, trial.weights, 1 / batch.size)


def settled_gradient(net: nn.Module, batch: Batch, credit: Equilibrium, steps: int) -> dict[str, Tensor]:
    """-dL/dW of the loss at the free equilibrium of a chain of layers, by autograd through its relaxation: no nudge.

    x <- x + rate (d/dx [sum_l phi(x_l) . W_l phi(x_{l-1})] - x), the descent of the same energy, written anew.
    """
    W = [m.weight.detach().clone().requires_grad_() for m in synapses(net).values()]
    phi = [m.neuron.phi for m in net.modules() if isinstance(m, Layer)]
    with torch.no_grad():
        x = list(play(net, batch).inputs.values())
        x = [v.clamp(*credit.box) if credit.box else v for v in x]
    x = [v.requires_grad_() for v in x]
    for _ in range(steps):
        y = [batch.x.flatten(1), *(f(v) for f, v in zip(phi, x, strict=True))]
        harmony = sum((post * (pre @ w.T)).sum() for pre, w, post in zip(y, W, y[1:], strict=False))
        goal = torch.autograd.grad(harmony, x, create_graph=True)
        x = [torch.lerp(v, g, credit.rate) for v, g in zip(x, goal, strict=True)]
        x = [v.clamp(*credit.box) if credit.box else v for v in x]
    down = torch.autograd.grad(-batch.loss(phi[-1](x[-1]), batch.target).mean(), W)
    return dict(zip(synapses(net), down, strict=True))


# ---------------------------------------------------------------------------------------------- in theory
def small_net(seed: int) -> list[dict]:
    """A tanh net, a linear readout, squared error; all exact."""
    g = torch.Generator().manual_seed(seed)
    net = nn.Sequential()
    for name, a, b in zip(LAYERS, SIZES, SIZES[1:], strict=False):
        layer = Layer(nn.Linear(a, b, bias=False).double(), torch.tanh if name != "readout" else identity)
        nn.init.normal_(layer.input.weight, std=GAIN / a**0.5, generator=g)
        net.add_module(name, layer)
    x, y = (torch.randn(SAMPLES, n, generator=g, dtype=torch.float64) for n in (SIZES[0], SIZES[-1]))
    batch, rows = Batch(x, y, squared), []
    backprop = true_gradient(net, batch)
    settled = settled_gradient(net, batch, Equilibrium(free=SETTLED, rate=RATE, box=None), SETTLED)

    def measure(name: str, strength: float, steps: int) -> None:
        if name == PC:
            credit, rule, true = Predictive(strength, steps, RATE), Gradient(), backprop
        else:
            kind = Equilibrium if name == EP else OneSided
            credit, rule, true = kind(strength, steps, steps, RATE, box=None), Hebb(), settled
        dw, passes = one_update(net, credit, rule, batch)
        found = changes(net, credit, batch, passes) | deviation(dw, true)
        at = {"task": "small net", "recipe": name, "seed": seed, "strength": strength, "steps": steps}
        rows.extend({**at, "layer": n, "quantity": q, "value": v} for (q, n), v in found.items())

    for precision in PRECISIONS:
        measure(PC, precision, SETTLED)
    for beta in BETAS:
        measure(EP, beta, SETTLED)
        measure(ONE, beta, SETTLED)
        measure(ONE, -beta, SETTLED)
    for steps in STEPS:
        measure(PC, FEW[0], steps)
        measure(EP, FEW[1], steps)
    return rows


def squared(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).sum(-1) / 2


# ---------------------------------------------------------------------------------------------- in practice
class Setting(NamedTuple):
    """A recipe with another strength (precision, beta) or other steps (of predictive coding; free, nudged)."""

    name: str
    strength: float
    steps: int | str
    recipe: Recipe


def settings(task: Task) -> list[Setting]:
    known = recipes_for(task.name, NETWORK)

    def predictive(precision: float, steps: int) -> Setting:
        credit = replace(known[PC].credit, precision=precision, steps=steps)
        return Setting(PC, precision, steps, replace(known[PC], credit=credit, lr=known[BP].lr))

    def equilibrium(beta: float, free: int, nudged: int, name: str = EP) -> Setting:
        kind, usual = Equilibrium if name == EP else OneSided, known[EP].credit
        credit = kind(beta, free, nudged, usual.rate, usual.box)
        recipe = replace(known[EP], credit=credit, predict=credit.predict)
        return Setting(name, beta, f"{free}+{nudged}", recipe)

    usual = [Setting(n, 0, "", known[n]) for n in (BP, BOUNDED, FROZEN)]
    found = [predictive(p, 10) for p in (0.01, 1.0, 10.0)]
    found += [equilibrium(beta, 12, 4) for beta in (0.03, 0.3, 1.0)]
    if task.name == "digits":
        found += [predictive(1.0, 3), predictive(0.01, 30), equilibrium(0.3, 4, 2)]
        found += [equilibrium(0.3, 12, 4, ONE), equilibrium(-0.3, 12, 4, ONE)]
    return usual + found


def learn(setting: Setting, task: Task, seed: int, epochs: int) -> list[dict]:
    """Train; the change of activity before and after, the deviation before, the plays of an update, the test score."""
    split, recipe = task.split(seed), setting.recipe
    probe = task.probe(split, PROBE)
    learner = Learner(draw_net(NETWORKS[NETWORK], task, seed), recipe, probe, seed)
    credit, rule = recipe.credit, next(iter(recipe.rules.values()))
    probe = replace(probe, loss=recipe.loss or probe.loss)
    at = {"task": task.name, "recipe": setting.name, "seed": seed, "strength": setting.strength, "steps": setting.steps}
    rows, samples = [], 0

    def note(found: Mapping[tuple[str, str], float]) -> None:
        here = {**at, "samples": samples}
        rows.extend({**here, "layer": n, "quantity": q, "value": v} for (q, n), v in found.items())

    def moved() -> dict[str, Tensor]:
        dw, passes = one_update(learner.net, credit, rule, probe)
        note(changes(learner.net, credit, probe, passes))
        return dw

    if setting.strength:
        settles = isinstance(credit, Equilibrium)
        true = settled_gradient(learner.net, probe, credit, 60) if settles else true_gradient(learner.net, probe)
        note(deviation(moved(), true))
    if setting.name != FROZEN:
        note({("plays", ""): plays(learner, probe)})
    for epoch in range(epochs):
        for batch in task.batches(split, seed, epoch):
            learner.step(batch)
            samples += batch.size
    if setting.strength:
        moved()
    note({("test", ""): evaluate(learner, task, split)[0]})
    return rows


def plays(learner: Learner, batch: Batch) -> float:
    """How often an update plays the net, in batches; two nudges side by side are two."""
    shown: list[int] = []
    hook = learner.net.register_forward_pre_hook(lambda net, args: shown.append(len(args[0])))
    learner.updates(batch)
    hook.remove()
    return sum(shown) / batch.size


# ---------------------------------------------------------------------------------------------- claims
def values(rows: Rows, name: str, quantity: str, layer: str = "", **at: Any) -> list[float]:
    """One per seed, in their order."""
    key = {"recipe": name, "quantity": quantity, "layer": layer, **at}
    return [r["value"] for r in rows if all(r.get(k) == v for k, v in key.items())]


def slope(rows: Rows, name: str, quantity: str, layer: str = "", sign: int = 1) -> float:
    """Mean over the seeds of the least-squares slope of log value against log strength, at the small end."""
    strengths = (PRECISIONS if name == PC else BETAS)[:FITTED]
    at = {"task": "small net", "steps": SETTLED}
    curves = [values(rows, name, quantity, layer, strength=sign * s, **at) for s in strengths]
    return float(np.mean(np.polyfit(np.log(strengths), np.log(curves), 1)[0]))


def claims_of(rows: Rows) -> list[dict]:
    exact, found = "small net: ", []
    for name, source in ((PC, "Whittington & Bogacz 2017"), (EP, "Scellier & Bengio 2017")):
        for layer in LAYERS:
            got = slope(rows, name, "change", layer)
            found.append(claim(f"{exact}{name}, slope of the change, {layer}", got, "within", 1, 0.05, source))
    kinds = (
        (PC, 1, 1, "", "Whittington & Bogacz 2017"),
        (ONE, 1, 1, ", beta > 0", "Scellier & Bengio 2017"),
        (ONE, -1, 1, ", beta < 0", "Scellier & Bengio 2017"),
        (EP, 1, 2, "", "Laborieux et al. 2021"),
    )
    for name, sign, expected, note, source in kinds:
        got = slope(rows, name, "relative_error", sign=sign)
        found.append(claim(f"{exact}{name}, slope of the error{note}", got, "within", expected, 0.05, source))
        got = slope(rows, name, "one_minus_cosine", sign=sign)
        found.append(claim(f"{exact}{name}, slope of 1 - cosine{note}", got, "within", 2 * expected, 0.1, source))
    small = values(rows, PC, "test", task="digits", strength=0.01, steps=30)
    off = float(np.mean(small) - np.mean(values(rows, BP, "test", task="digits")))
    name = f"digits: accuracy, {PC} (precision .01, 30 steps) - backprop"
    return [*found, claim(name, off, "within", 0, 0.01, "Whittington & Bogacz 2017")]


def tasks_of(rows: Rows) -> list[str]:
    return list(dict.fromkeys(r["task"] for r in rows if r["task"] != "small net"))


# ---------------------------------------------------------------------------------------------- the figure
LINES = {"hidden1": "-", "hidden2": "--", "readout": ":"}
KINDS = {  # (recipe, sign of strength): name, colour, marker, line
    (PC, 1): (PC, LOOKS[PC].colour, "P", "-"),
    (EP, 1): (EP, LOOKS[EP].colour, "X", "-"),
    (ONE, 1): ("one-sided, beta > 0", "#6a3d9a", "^", "--"),
    (ONE, -1): ("one-sided, beta < 0", "#cc79a7", "v", ":"),
}
USUAL = (SETTLED, 10, "12+4")  # steps: to the end, the recipes' own
STRENGTH = "precision of the output, or |beta|"


def draw(rows: Rows, manifest: Mapping) -> Figure:
    tasks, small = tasks_of(rows), [r for r in rows if r["task"] == "small net"]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(13, 4.1 * (1 + len(tasks)) + 0.5), layout="constrained")
        axes = fig.subplots(1 + len(tasks), 3, squeeze=False)
        activity(axes[0][0], [small])
        axes[0][0].set_title("A  Feedback moves activity: small nets, settled")
        for kind in KINDS:
            curve(axes[0][1], by_strength(small, kind, "relative_error"), kind)
        for top, power in ((0.05, 1), (0.002, 2)):
            axes[0][1].plot(PRECISIONS[1:4], [top * (p / 0.1) ** power for p in PRECISIONS[1:4]], "k-", linewidth=0.7)
            axes[0][1].text(0.11, top, f"slope {power}", fontsize=7, va="center")
        axes[0][1].set(xscale="log", yscale="log", xlabel=STRENGTH, ylabel="relative error of the update")
        axes[0][1].set_title("B  The update's error: small nets, settled")
        for kind, strength in zip(((PC, 1), (EP, 1)), FEW, strict=True):
            found = {n: values(small, kind[0], "relative_error", strength=strength, steps=n) for n in STEPS}
            curve(axes[0][2], found, kind, f"{kind[0]}, {'beta' if kind[0] == EP else 'precision'} {strength:g}")
        axes[0][2].set(xscale="log", yscale="log", xlabel="steps of relaxation", ylabel="relative error of the update")
        axes[0][2].set_xticks(STEPS, [str(n) for n in STEPS])
        axes[0][2].set_title("C  The update's error: relaxation cut short")
        for row, task in zip(axes[1:], tasks, strict=True):
            mine = [r for r in rows if r["task"] == task]
            activity(row[0], [[r for r in mine if (r["samples"] > 0) == late] for late in (False, True)])
            row[0].set_title(f"D  Activity: {task}, {NETWORK}")
            accuracy(row[1], mine)
            row[1].set_title(f"E  Accuracy against strength: {task}, {NETWORK}")
            cost(row[2], mine)
            row[2].set_title(f"F  Accuracy against compute: {task}, {NETWORK}")
        for ax in (*axes[0], *axes[1]):
            ax.legend(fontsize=7)
        seeds = {t: len({r["seed"] for r in rows if r["task"] == t}) for t in ("small net", *tasks)}
        fig.supxlabel(
            f"Mean and 95 % t interval (from 3 seeds on; A to D of the logarithm); seeds: "
            f"{', '.join(f'{t} {n}' for t, n in seeds.items())}. A, D, grey: free against forward activity in "
            f"{EP}, without a nudge.\nD: pale at the first step, full after training. E at the recipes' own steps; "
            "F: all settings, with their steps (free + nudged).",
            fontsize=8,
        )
    return fig


def activity(ax, times: Sequence[Rows]) -> None:
    """Change against strength by layer, pale before training if there are two times."""
    for rows, alpha in zip(times, (1.0,) if len(times) == 1 else (0.35, 1.0), strict=True):
        for kind in ((PC, 1), (EP, 1)):
            for layer, line in LINES.items():
                label = f"{kind[0]}, {layer}" if alpha == 1 else ""
                curve(ax, by_strength(rows, kind, "change", layer), kind, label, line, alpha)
        for layer, line in LINES.items():
            free = by_strength(rows, (EP, 1), "free_change", layer)
            ax.axhline(
                np.mean(list(free.values())), color="#9a9a9a", linestyle=line, linewidth=1, alpha=alpha, zorder=1
            )
    ax.set(xscale="log", yscale="log", xlabel=STRENGTH, ylabel="relative change of activity |y* - y| / |y|")


def accuracy(ax, rows: Rows) -> None:
    for kind in KINDS:
        if found := by_strength(rows, kind, "test"):
            curve(ax, {s: [100 * v for v in vs] for s, vs in found.items()}, kind, log=False)
    floors(ax, rows)
    ax.set(xscale="log", xlabel=STRENGTH, ylabel="test accuracy (%)")


def cost(ax, rows: Rows) -> None:
    """Every setting; those with the same steps, and so the same plays, have one label."""
    for kind in KINDS:
        work, scores = by_setting(rows, kind, "plays"), by_setting(rows, kind, "test")
        for steps in dict.fromkeys(steps for _, steps in scores):
            found = {key: [100 * v for v in vs] for key, vs in scores.items() if key[1] == steps}
            for key, vs in found.items():
                curve(ax, {float(np.mean(work[key])): vs}, kind, "", log=False)
            edge = (min if kind[0] == PC else max)(float(np.mean(vs)) for vs in found.values())
            offset, side = {PC: ((0, -13), "center"), EP: ((0, 6), "center"), ONE: ((-5, -3), "right")}[kind[0]]
            look = {"ha": side, "fontsize": 7, "color": KINDS[kind][1], "textcoords": "offset points"}
            ax.annotate(f"{steps} steps", (float(np.mean(work[key])), edge), offset, **look)
    floors(ax, rows)
    ax.margins(y=0.12)
    ax.set(xscale="log", xlabel="plays of the net for one update (in batches)", ylabel="test accuracy (%)")
    ax.set_xticks(ticks := [1, 2, 5, 10, 20, 50], [str(n) for n in ticks])
    ax.set_xticks([], minor=True)


def floors(ax, rows: Rows) -> None:
    for name in (BP, BOUNDED, FROZEN):
        look = LOOKS.get(name, LOOKS[EP])
        middle = 100 * np.mean(values(rows, name, "test"))
        ax.axhline(middle, color=look.colour, linestyle="--" if name == FROZEN else "-.", linewidth=1, label=name)


def curve(
    ax, at: Mapping[float, list[float]], kind: tuple, label: str | None = None, line: str = "", alpha=1.0, log=True
) -> None:
    name, colour, marker, usual = KINDS[kind]
    there, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    middle, half = np.array([interval(there(v)) for v in at.values()]).T
    ax.plot(list(at), back(middle), color=colour, marker=marker, linestyle=line or usual, alpha=alpha,
            label=name if label is None else label)  # fmt: skip
    if len(next(iter(at.values()))) > 2:
        low, high = back(middle - half), back(middle + half)
        ax.vlines(list(at), low, high, color=colour, alpha=alpha, linewidth=1)
        ax.fill_between(list(at), low, high, color=colour, alpha=0.15 * alpha, linewidth=0)


def by_setting(rows: Rows, kind: tuple[str, int], quantity: str, layer: str = "") -> dict[tuple, list[float]]:
    """{(|strength|, steps): one value per seed}, rising."""
    name, sign = kind
    at: dict[tuple, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["quantity"], r["layer"]) == (name, quantity, layer) and sign * r["strength"] > 0:
            at.setdefault((abs(r["strength"]), r["steps"]), []).append(r["value"])
    return dict(sorted(at.items(), key=lambda item: item[0][0]))


def by_strength(rows: Rows, kind: tuple[str, int], quantity: str, layer: str = "") -> dict[float, list[float]]:
    """The same at the usual steps."""
    return {s: v for (s, steps), v in by_setting(rows, kind, quantity, layer).items() if steps in USUAL}


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
