"""Does a fixed random feedback teach a hidden layer?

A linear 30-20-10 net learns a random linear map y = T x online, from x ~ N(0, 1). Credit reaches the hidden layer as
B^T e with a fixed random B instead of W^T e. Reference: Lillicrap, Cownden, Tweed & Akerman 2016, Nat Commun 7:13276;
T ~ U(-1, 1), both forward matrices ~ U(-.01, .01), B ~ U(-.5, .5), rate 1e-3, 10 seeds.

Expected: W turns towards B, so that the angle between the two credits starts near 90 degrees and falls well below 45
within some thousand samples; learning goes on wherever e^T W B^T e > 0; the error goes to 0.

Control: could a readout do it alone, on the hidden features as they are at first? These see 20 of 30 input directions,
so even the best readout leaves an error |T P|^2 / |T|^2, P the projector off these directions (`least_error`): exact
for each seed's T and first weights, about a third on average. Feedback alignment must end well below it in every seed:
its hidden layer has then learned. (The bound is of the expected error; learners are measured on 200 held-out samples.)

Measured beside it: backprop itself starts later here, as its credit passes through forward weights that are almost 0
at first; after 2,000 samples it has 9 % of the error left (after 3,000, 1.05 %), feedback alignment .06 %. The
reference gives no number for backprop, so none is claimed.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.credit import Backprop, FeedbackAlignment
from neurosim.figures import STYLE, claim, looks
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe, play, returned
from neurosim.statistics import interval
from neurosim.study import Mode, main

SEEDS, METRIC = 10, "error"
INPUTS, HIDDEN, OUTPUTS, RATE = 30, 20, 10, 1e-3
T_RANGE, W_RANGE, B_RANGE = 1.0, 0.01, 0.5  # uniform in +- these
SAMPLES, EVERY, HELD_OUT = 2000, 50, 200
SETTLED = 500  # samples after which "after the start" begins

RECIPES = [
    Recipe("feedback-alignment", {"*": Gradient()}, FeedbackAlignment(), lr=RATE),
    Recipe("backprop", {"*": Gradient()}, Backprop(), lr=RATE),
]


def squared(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).sum(-1) / 2


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    rows = [row for seed in range(mode.seeds) for recipe in RECIPES for row in learn(recipe, seed)]
    fa, start = "feedback-alignment", 0
    source = "Lillicrap et al. 2016"
    positive = [mean(rows, fa, "positive", n) for n in range(SETTLED, SAMPLES + 1, EVERY)]
    error, least = of_seeds(rows, fa, "error", SAMPLES), of_seeds(rows, fa, "least error", start)
    worst = max(e / bound for e, bound in zip(error, least, strict=True))
    return rows, [
        claim("angle at the start (degrees)", mean(rows, fa, "angle", start), "within", 90, 10, source),
        claim(f"angle after {SAMPLES} samples (degrees)", mean(rows, fa, "angle", SAMPLES), "<=", 45, 0, source),
        claim("error left, feedback alignment", float(np.mean(error)), "<=", 0.01, 0, source),
        claim(
            "error left / best readout's on the first features, worst seed", worst, "<=", 0.1, 0, "20 of 30 directions"
        ),
        claim(f"share of e'WB'e > 0 after {SETTLED} samples", float(np.mean(positive)), ">=", 1, 0.01, source),
    ]


def learn(recipe: Recipe, seed: int) -> list[dict]:
    """One run. The same seed gives every recipe the same T, first weights, feedback and samples."""
    g = torch.Generator().manual_seed(seed)
    T = uniform(T_RANGE, OUTPUTS, INPUTS, generator=g)
    W0 = uniform(W_RANGE, HIDDEN, INPUTS, generator=g)
    W = uniform(W_RANGE, OUTPUTS, HIDDEN, generator=g)
    B = uniform(B_RANGE, OUTPUTS, HIDDEN, generator=g)
    net = nn.Sequential(Layer(nn.Linear(INPUTS, HIDDEN, bias=False)), Layer(nn.Linear(HIDDEN, OUTPUTS, bias=False)))
    x, seen = torch.randn(HELD_OUT, INPUTS, generator=g), torch.randn(SAMPLES, 1, INPUTS, generator=g)
    test = Batch(x, x @ T.T, squared)
    learner = Learner(net, recipe, test, seed)
    with torch.no_grad():
        net[0].input.weight.copy_(W0)
        net[1].input.weight.copy_(W)
        if "feedback/1.input" in learner.own:
            learner.own["feedback/1.input"].weight.copy_(B)
    start = {"recipe": recipe.name, "seed": seed, "samples": 0}
    rows: list[dict] = [start | {"quantity": "least error", "value": least_error(T, W0)}]
    for n in range(SAMPLES + 1):
        if n % EVERY == 0:
            found = measure(net, test, B) if recipe.name == "feedback-alignment" else {}
            found["error"] = play(net, test).loss.mean().item() / squared(torch.zeros(()), test.target).mean().item()
            rows += [
                {"recipe": recipe.name, "seed": seed, "samples": n, "quantity": q, "value": v} for q, v in found.items()
            ]
        if n < SAMPLES:
            learner.step(Batch(seen[n], seen[n] @ T.T, squared))
    return rows


def least_error(T: Tensor, W0: Tensor) -> float:
    """The least expected error of any readout R on the fixed features W0 x, relative to that of no output.

    For x ~ N(0, 1):  E |T x - R W0 x|^2 = |T - R W0|^2, the squared Frobenius norm. R W0 can be any matrix whose rows
    lie in the row space of W0; the nearest to T is T W0^+ W0, so what is left is |T P|^2 / |T|^2, P = 1 - W0^+ W0.
    T: (outputs, inputs), W0: (hidden, inputs).
    """
    T, W0 = T.double(), W0.double()
    left = T - T @ torch.linalg.pinv(W0) @ W0
    return (left.square().sum() / T.square().sum()).item()


def measure(net: nn.Module, test: Batch, B: Tensor) -> dict[str, float]:
    """Of the hidden layer's credit through B and through W, on held-out samples: the mean angle, and how often their
    product e^T W B^T e is positive.
    """
    through_w = returned(play(net, test))["credit"]["0"]
    through_b = returned(play(net, test, backward={"1.input": B}))["credit"]["0"]
    cosine = torch.cosine_similarity(through_w, through_b, 1).clamp(-1, 1)
    return {"angle": cosine.acos().rad2deg().mean().item(), "positive": (cosine > 0).double().mean().item()}


def uniform(half: float, *shape: int, generator: torch.Generator) -> Tensor:
    return half * (2 * torch.rand(*shape, generator=generator) - 1)


def of_seeds(rows: Sequence[Mapping], recipe: str, quantity: str, samples: int) -> list[float]:
    """One value per seed, in their order."""
    key = (recipe, quantity, samples)
    return [r["value"] for r in rows if (r["recipe"], r["quantity"], r["samples"]) == key]


def mean(rows: Sequence[Mapping], recipe: str, quantity: str, samples: int) -> float:
    """Over the seeds."""
    return float(np.mean(of_seeds(rows, recipe, quantity, samples)))


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    seeds = len(manifest["seeds"])
    band = f"mean and 95 % t interval over {seeds} seeds" if seeds > 2 else f"mean over {seeds} seed(s)"
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9, 3.6), layout="constrained")
        angle, error = fig.subplots(1, 2)
        line(angle, rows, "feedback-alignment", "angle", log=False)
        angle.axhline(0, color="black", label="backprop (0 by definition)")
        for degrees in (45, 90):
            angle.axhline(degrees, color="#9a9a9a", linewidth=0.8, linestyle=":")
        angle.set(ylim=(-4, 110), yticks=range(0, 91, 15), xlabel="training samples seen")
        angle.set_ylabel("angle between B$^T$e and W$^T$e\nat the hidden layer (degrees)")
        angle.set_title("A  Credit turns towards backprop's")
        angle.legend(loc="upper right")
        for recipe in ("feedback-alignment", "backprop"):
            line(error, rows, recipe, "error", log=True)
        middle, half = interval(np.log(of_seeds(rows, "feedback-alignment", "least error", 0)))
        fixed = looks(["frozen"])["frozen"]
        error.axhline(
            np.exp(middle), color=fixed.colour, linestyle=fixed.line, label="best readout on the fixed first features"
        )
        if seeds > 2:
            error.axhspan(np.exp(middle - half), np.exp(middle + half), color=fixed.colour, alpha=0.2, linewidth=0)
        error.set(yscale="log", xlabel="training samples seen", ylabel="squared error / that of no output")
        error.set_title("B  Error on held-out samples")
        error.legend(loc="lower left")
        fig.supxlabel(f"Linear 30-20-10 net, online, rate {RATE:g}; {band} (B: of the logarithm).", fontsize=8)
    return fig


def line(ax, rows: Sequence[Mapping], recipe: str, quantity: str, log: bool) -> None:
    look = looks([recipe])[recipe]
    at: dict[int, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["quantity"]) == (recipe, quantity):
            at.setdefault(r["samples"], []).append(np.log(r["value"]) if log else r["value"])
    middle, half = np.array([interval(values) for values in at.values()]).T
    shape = np.exp if log else np.asarray
    ax.plot(list(at), shape(middle), color=look.colour, linestyle=look.line, label=recipe)
    if len(next(iter(at.values()))) > 2:
        ax.fill_between(list(at), shape(middle - half), shape(middle + half), color=look.colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
