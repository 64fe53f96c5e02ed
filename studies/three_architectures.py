"""Does a rule that teaches a perceptron also teach a convolutional, a recurrent net and a Transformer?

The 8x8 digits, whole to the perceptron (mlp) and the convolutional net (cnn), row by row to the recurrent net (rnn) and to the
Transformer, in which each row is a token; the class is asked at the last row. The same rules on all, with Adam: backprop; the
error back through weights of the right signs (sign-symmetric) or fixed random ones (feedback alignment), through recurrence and
attention too; straight to every layer, each step its own (own) or the trial's sum at every step (pooled; on mlp and cnn there
is one step, and they are one); a loss at every layer (layer-local; not on rnn, whose one layer steps through time); noise and
one number (node perturbation, sigma .03); Oja's rule on hidden synapses, with plain SGD and rows kept at length 1; frozen
hidden synapses. The readout follows its own error in all, and in Oja's net at the rate found for frozen.

Each rule's rate is the best of four (`RATES`) on the validation part, one seed, `SEARCHED` epochs; then `EPOCHS` epochs on five
splits, of which the validation part is no part. Expected by definition: the same first weights and batches for all rules of a
net; frozen nets end below backprop. Expected from the comparisons of each net alone: on the perceptron all errors come close to
backprop; Launay et al. 2020 (NeurIPS): direct feedback fails where attention must carry credit. All else is a finding.

Found (five seeds): on the perceptron every error, returned or not, does as well as backprop (.963 to .973); on filters and
through time returned errors still do (.979, .980, .964; .963, .962, .948), direct feedback and layers' own losses nearly
(.95, .97). In the Transformer returned errors alone learn (.90, .91, .88): layers' own losses end at .78, direct feedback
below the frozen net (.58 and .33; .74), as Launay et al. found. Node perturbation falls behind from net to net (.92, .83,
.77, .53), with depth and steps. Oja's rule is as good as frozen synapses everywhere.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from neurosim.cell import reproducible, run_cell
from neurosim.cluster import in_processes
from neurosim.compare import last_scores, other_hashes, rows_of, run_cells
from neurosim.credit import (
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    LayerLocal,
    NodePerturbation,
    SignSymmetric,
    pooled,
)
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import cnn, mlp, rnn, transformer
from neurosim.plasticity import Credit, Gradient, Recipe, Rule
from neurosim.prepare import steadied, unit_rows
from neurosim.rules import Oja
from neurosim.statistics import interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.tasks import digits, shown_to

METRIC, SEEDS, SEEDS_FULL, EPOCHS, EPOCHS_QUICK, SEARCHED = "accuracy", 5, 20, 15, 1, 8
RATES, HEBBIAN = (3e-4, 1e-3, 3e-3, 1e-2), (1e-6, 1e-5, 1e-4, 1e-3)
NETS = {"mlp": mlp, "cnn": cnn, "rnn": partial(rnn, hidden=128), "transformer": partial(transformer, d=32)}
BACKPROP, FROZEN, OJA, POOLED, LOCAL = "backprop", "frozen", "oja", "direct-feedback-pooled", "layer-local"
CREDITS: dict[str, Credit] = {
    BACKPROP: Backprop(),
    "sign-symmetric": SignSymmetric(),
    "feedback-alignment": FeedbackAlignment(),
    "direct-feedback-own": DirectFeedback(),
    POOLED: DirectFeedback(pooled),
    LOCAL: LayerLocal(),
    "node-perturbation": NodePerturbation(0.03),
}
CHANCE = 0.1


def recipe(name: str, net: str, lr: float, readout: float = 0.0) -> Recipe:
    """The rule at this rate, Oja's readout at another; cnn's start `steadied`, as in every comparison of them."""
    prepare = {"prepare": steadied} if net == "cnn" else {}
    if name in CREDITS:
        return Recipe(name, {"*": Gradient()}, CREDITS[name], lr=lr, optimizer=torch.optim.Adam, **prepare)
    hidden: dict[str, Rule | None] = {"embed.*": None, "*": Oja()} if name == OJA else {}
    rules = {
        "readout.*": Gradient(),
        **(hidden if net == "transformer" else {k: v for k, v in hidden.items() if k == "*"}),
    }
    rates = {"readout.*": readout if name == OJA else lr, "*": lr}
    optimizers = {"readout.*": torch.optim.Adam, "*": torch.optim.SGD}
    project = unit_rows if name == OJA else None
    return Recipe(name, rules, Backprop(), lr=rates, optimizer=optimizers, project=project, **prepare)


def names_for(net: str) -> list[str]:
    """Where there is one step, pooled errors are each step's own; a layer's own loss is for layers that do not step."""
    missing = {"mlp": (POOLED,), "cnn": (POOLED,), "rnn": (LOCAL,)}.get(net, ())
    return [n for n in (*CREDITS, FROZEN, OJA) if n not in missing]


@dataclass(frozen=True)
class Trial:
    """One rate of a rule on a net, tried on the validation part."""

    net: str
    rule: str
    lr: float
    readout: float = 0.0


def tried(quick: bool, t: Trial) -> float:
    """The validation score."""
    torch.set_num_threads(1)
    with reproducible(0, torch.float32):
        task = shown_to(t.net, digits())
        epochs = EPOCHS_QUICK if quick else SEARCHED
        cell = run_cell(recipe(t.rule, t.net, t.lr, t.readout), NETS[t.net], task, 0, epochs, tuning=True)
    return cell.final("test")


def best_rates(trials: Sequence[Trial], quick: bool) -> tuple[dict[tuple[str, str], float], list[dict]]:
    """By net and rule the rate with the highest score, the smaller of equal ones; and all scores as rows."""
    found = dict(in_processes(partial(tried, quick), trials, os.cpu_count() or 1))
    best: dict[tuple[str, str], float] = {}
    for t in sorted(trials, key=lambda t: (-found[t] if np.isfinite(found[t]) else 2.0, t.lr)):
        best.setdefault((t.net, t.rule), t.lr)
    rows = [{"recipe": t.rule, "seed": 0, "epoch": SEARCHED, "samples": 0, "layer": f"{t.net}, lr {t.lr:g}",
             "quantity": "validation", "value": found[t]} for t in trials]  # fmt: skip
    return best, rows


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    few = 1 if mode.quick else None
    best, rows = best_rates(
        [Trial(net, n, lr) for net in NETS for n in names_for(net) if n != OJA for lr in RATES[:few]], mode.quick
    )
    ojas, more = best_rates(
        [Trial(net, OJA, lr, best[net, FROZEN]) for net in NETS for lr in HEBBIAN[:few]], mode.quick
    )
    best, rows, hashes = best | ojas, rows + more, []
    for net in NETS:
        recipes = [recipe(n, net, best[net, n], best[net, FROZEN]) for n in names_for(net)]
        cells = list(
            run_cells(recipes, NETS[net], shown_to(net, digits()), epochs=EPOCHS_QUICK if mode.quick else EPOCHS,
                      seeds=range(mode.seeds), workers=os.cpu_count() or 1, store=store)
        )  # fmt: skip
        hashes.append(cells)
        rows += [{**r, "layer": net} for r in rows_of(cells) if r["quantity"] == "test"]
    return rows, claims_of(rows, hashes, mode.quick)


def claims_of(rows: Sequence[Mapping], hashes: Sequence[Sequence], quick: bool) -> list[dict]:
    claims = []
    for what in ("init_hash", "batch_hash"):
        others = other_hashes(hashes, what)
        claims.append(claim(f"rules with another {what} than the first's, over all nets", others, "<=", 0))
    if quick:
        return claims
    mean = {key: float(np.mean(v)) for key, v in last_scores(rows).items()}
    for net in NETS:
        got = [mean[n, net] for n in (FROZEN, BACKPROP)]
        claims.append(claim(f"{net}: credit helps", got, "ordering", [FROZEN, BACKPROP], 0, "definition of learning"))
    for name in ("feedback-alignment", "direct-feedback-own"):
        got = mean[BACKPROP, "mlp"] - mean[name, "mlp"]
        claims.append(claim(f"mlp: backprop less {name}", got, "<=", 0.02, 0, "compare digits, 20 seeds: .005"))
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    ends = last_scores(rows)
    look = looks({name for name, _ in ends})
    nets = [n for n in NETS if any(net == n for _, net in ends)]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12.0, 5.0), layout="constrained")
        ax = fig.subplots()
        for k, (name, how) in enumerate(look.items()):
            shift = 0.09 * (k - (len(look) - 1) / 2)
            for j, net in enumerate(nets):
                if (name, net) not in ends:
                    continue
                values = ends[name, net]
                mean, half = interval(values) if len(values) > 2 else (float(np.mean(values)), np.nan)
                ax.plot([j + shift] * len(values), values, ".", color=how.colour, markersize=3, alpha=0.6)
                ax.errorbar(j + shift, mean, half, color=how.colour, marker=how.marker, markersize=7, capsize=2,
                            linewidth=1.0, label=name if net == nets[-1] else None)  # fmt: skip
        for j, net in enumerate(nets):
            floor = float(np.mean(ends[FROZEN, net]))
            ax.plot([j - 0.42, j + 0.42], [floor] * 2, color=look[FROZEN].colour, linestyle="--", linewidth=0.8)
        ax.axhline(CHANCE, color="#9a9a9a", linestyle=":", linewidth=0.8, label="chance")
        ax.set_xticks(
            range(len(nets)), [f"{n}\n{'rows in time' if n in ('rnn', 'transformer') else 'whole image'}" for n in nets]
        )
        ax.set_yscale("function", functions=(lambda a: -np.log10(1.02 - np.minimum(a, 1.0)), lambda y: 1.02 - 10.0**-y))
        ax.set_yticks([0.1, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
        ax.set_ylim(0.05, 1.0)
        ax.set(
            ylabel="test accuracy (dots: seeds; dashed: frozen)", title="Digits: the same rules in four architectures"
        )
        ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
        if LOCAL in look and "rnn" in nets:
            ax.annotate("no layer-local", (nets.index("rnn"), 0.16), fontsize=7, color="#6a6a6a", ha="center")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
