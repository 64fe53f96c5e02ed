"""Does a rule that teaches a perceptron also teach a convolutional, a recurrent net and a Transformer?

The 8x8 digits, whole to the perceptron (mlp) and the convolutional net (cnn), row by row to the recurrent net (rnn) and to the
Transformer, in which each row is a token; the class is asked at the last row. The same rules on all, with Adam: backprop; the
error back through fixed random weights (feedback alignment; through recurrence and attention too); straight to every layer,
each step its own (own) or the trial's sum at every step (pooled; on mlp and cnn there is one step, and they are one); Oja's
rule on hidden synapses, with plain SGD and rows kept at length 1; frozen hidden synapses. The readout follows its own error in
all, and in Oja's net at the rate found for frozen.

Each rule's rate is the best of four (`RATES`) on the validation part, one seed, `SEARCHED` epochs; then `EPOCHS` epochs on five
other splits. Expected by definition: the same first weights and batches for all rules of a net; frozen
nets end below backprop. Expected from the comparisons of each net alone: on the perceptron all errors come close to backprop;
Launay et al. 2020 (NeurIPS): direct feedback fails where attention must carry credit. All else is a finding.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from neurosim.cell import reproducible, run_cell
from neurosim.compare import last_scores, other_hashes, rows_of, run_cells
from neurosim.credit import Backprop, DirectFeedback, FeedbackAlignment, pooled
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
BACKPROP, FROZEN, OJA, POOLED = "backprop", "frozen", "oja", "direct-feedback-pooled"
CREDITS: dict[str, Credit] = {
    BACKPROP: Backprop(),
    "feedback-alignment": FeedbackAlignment(),
    "direct-feedback-own": DirectFeedback(),
    POOLED: DirectFeedback(pooled),
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
    """Where there is one step, pooled errors are each step's own."""
    return [n for n in (*CREDITS, FROZEN, OJA) if n != POOLED or net in ("rnn", "transformer")]


def best_rate(name: str, net: str, quick: bool, readout: float) -> tuple[float, list[dict]]:
    """The rate with the highest validation score; and all scores as rows."""
    task, rows = shown_to(net, digits()), []
    for lr in (HEBBIAN if name == OJA else RATES)[: 1 if quick else None]:
        with reproducible(0, torch.float32):
            cell = run_cell(
                recipe(name, net, lr, readout), NETS[net], task, 0, EPOCHS_QUICK if quick else SEARCHED, tuning=True
            )
        rows.append({"recipe": name, "seed": 0, "epoch": SEARCHED, "samples": 0, "layer": f"{net}, lr {lr:g}",
                     "quantity": "validation", "value": cell.final("test")})  # fmt: skip
    top = max(rows, key=lambda r: -1.0 if np.isnan(r["value"]) else r["value"])
    return float(top["layer"].rpartition(" ")[2]), rows


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    rows, hashes = [], []
    for net in NETS:
        recipes, lr = [], 0.0
        for name in names_for(net):  # frozen is the one before Oja
            readout = lr
            lr, searched = best_rate(name, net, mode.quick, readout)
            rows += searched
            recipes.append(recipe(name, net, lr, readout))
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
        fig = Figure(figsize=(10.0, 4.6), layout="constrained")
        ax = fig.subplots()
        for k, (name, how) in enumerate(look.items()):
            shift = 0.11 * (k - (len(look) - 1) / 2)
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
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
