"""What does a right answer cost in spikes, and what in products?  Accuracy against an estimate of energy, all recipes.

Nothing is run: the numbers are those of the committed comparisons of the 8x8 digits, `figures/compare-digits-NETWORK.json`:
the perceptron in rates (mlp, 64-128-64-10), the spiking perceptron (64-300) and the spiking convolutional net, each with its
rate twins (backprop-rate, frozen-rate), and Diehl & Cook's network. Energy of one answer: 4.6 pJ
a multiply-accumulate, 0.9 pJ a synaptic operation, one addition where a spike meets a weight (FP32 in 45 nm, Horowitz 2014).

Caveats, which are printed in the figure as well: arithmetic alone is counted. Memory traffic, which dominates on real hardware,
the neurons' own dynamics, the routing of spikes and what leaks while nothing happens are not. Lateral inhibition from every
neuron to every other is counted synapse by synapse; one inhibitory interneuron would do it with far fewer. Other hardware has
other constants (Loihi 23.6 pJ a synaptic operation, SENECA 2.8: Tang et al. 2023, Front Neurosci 17:1187252).

An addition costs 1 / 5.1 of a MAC, so a spiking net is cheaper than the rate net of its shape only where each synapse sees
fewer than 5.1 spikes an answer. Expected: winner-take-all answers with fewer operations than lateral inhibition alone;
surrogate gradients come within .03 of backprop in the rate net of the same shape. Who lies on the front is a finding.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosim.cost import MAC_PJ
from neurosim.figures import STYLE, claim
from neurosim.statistics import interval
from neurosim.study import Mode, main

METRIC, SEEDS = "accuracy", 5
NETWORKS = {"mlp": "#2a6fbb", "spiking-mlp": "#d1495b", "spiking-cnn": "#2e8b57", "diehl-cook": "#b8860b"}
NEEDED = ("mlp", "spiking-mlp")
NAMED = (
    "backprop", "frozen", "surrogate-bptt", "symmetric-stdp-wta", "reward-stdp", "backprop-rate", "frozen-wta", "softhebb",
    "triplet-stdp", "frozen-rate", "untrained",
)  # fmt: skip
COUNTED = {"operations": "synaptic_operations", "spikes": "spikes_per_sample"}
CAVEAT = "Arithmetic alone: memory traffic, neurons' dynamics, routing and leakage are left out, and dominate on real hardware."


def read(network: str, folder: Path) -> dict[str, dict]:
    """The recipes of a committed comparison; {} where there is none. ValueError where a needed one is missing."""
    path = folder / f"compare-digits-{network}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["recipes"]
    if network in NEEDED:
        raise ValueError(f"{path} is missing: run `neurosim compare digits --network {network} --out {folder}` first")
    return {}


def energy_of(network: str, recipe: str, found: Mapping) -> float:
    """pJ an answer. ValueError for a spiking net's comparison that was made before spikes were counted."""
    if network == "mlp":
        return MAC_PJ * found["macs_predict"]
    if found.get("energy_predict") is None:
        raise ValueError(
            f"{recipe} on {network} says no energy_predict: run `neurosim compare digits --network {network}` again"
        )
    return found["energy_predict"]


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    rows, folder = [], Path(__file__).parent.parent / "figures"
    for network in NETWORKS:
        for recipe, found in read(network, folder).items():
            if found["status"] != "ok":
                continue
            energy = energy_of(network, recipe, found)
            at = {"recipe": recipe, "layer": network, "epoch": 0, "samples": 0}
            rows += [at | {"seed": s, "quantity": "test", "value": v} for s, v in enumerate(found["test"])]
            told = {"energy": energy / 1000} | {q: found.get(key) for q, key in COUNTED.items()}
            rows += [at | {"seed": 0, "quantity": q, "value": float(v)} for q, v in told.items() if v is not None]
    return rows, claims_of(rows)


def value(rows: Sequence[Mapping], network: str, recipe: str, quantity: str) -> float:
    """The mean over seeds; nan for none."""
    got = [float(r["value"]) for r in rows if (r["layer"], r["recipe"], r["quantity"]) == (network, recipe, quantity)]
    return float(np.mean(got)) if got else float("nan")


def points(rows: Sequence[Mapping]) -> list[tuple[str, str, float, float]]:
    """(network, recipe, nJ an answer, accuracy) of all."""
    known = dict.fromkeys((r["layer"], r["recipe"]) for r in rows if r["quantity"] == "energy")
    return [(n, slug, value(rows, n, slug, "energy"), value(rows, n, slug, "test")) for n, slug in known]


def front(found: Sequence[tuple[str, str, float, float]]) -> list[tuple[str, str, float, float]]:
    """Those than which no other is both cheaper and at least as accurate, from the cheapest on."""
    best, on = -1.0, []
    for p in sorted(found, key=lambda p: (p[2], -p[3])):
        if p[3] > best:
            best, on = p[3], [*on, p]
    return on


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    claims, got = [], {(n, slug): (e, a) for n, slug, e, a in points(rows)}
    for network in ("spiking-mlp", "spiking-cnn"):
        if (network, "surrogate-bptt") not in got:
            continue
        pair = [got[network, n][1] for n in ("backprop-rate", "surrogate-bptt")]
        claims.append(claim(f"{network}: surrogate gradients as accurate as backprop in rates, within .03", pair[1], ">=",
                            pair[0], 0.03, "Neftci, Mostafa & Zenke 2019"))  # fmt: skip
        few = [value(rows, network, n, "operations") for n in ("frozen-wta", "frozen")]
        claims.append(claim(f"{network}: fewer operations where the winner takes all", few, "ordering",
                            ["frozen-wta", "frozen"], 0, "by construction"))  # fmt: skip
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    found = points(rows)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.6, 6.4), layout="constrained")
        ax: Axes = fig.subplots()
        for network, colour in NETWORKS.items():
            mine = [p for p in found if p[0] == network]
            for k, (_, slug, energy, accuracy) in enumerate(mine):
                each = [
                    float(r["value"])
                    for r in rows
                    if (r["layer"], r["recipe"], r["quantity"]) == (network, slug, "test")
                ]
                half = interval(each)[1]
                rate = slug.endswith("-rate") or network == "mlp"
                ax.errorbar(energy, accuracy, half if np.isfinite(half) else None, color=colour, marker="s" if rate else "o",
                            markersize=6, markerfacecolor="white" if rate else colour, linestyle="none", elinewidth=0.8,
                            label=f"{network}" if k == 0 else None, alpha=0.9)  # fmt: skip
        line = front(found)
        ax.plot([p[2] for p in line], [p[3] for p in line], "--", color="#444444", linewidth=1, zorder=0, label="front")
        for (_, slug, energy, accuracy), dy in zip(labelled(found), heights(labelled(found)), strict=True):
            ax.annotate(slug, (energy, accuracy), (9, dy), textcoords="offset points", fontsize=7.5, va="center",
                        arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.6})  # fmt: skip
        ax.axhline(0.1, color="#9a9a9a", linestyle=":", linewidth=0.8, label="chance")
        ax.set(xscale="log", xlabel="energy of an answer, nJ (4.6 pJ a MAC, 0.9 pJ a synaptic operation)",
               ylabel="test accuracy, 8x8 digits", ylim=(0, 1.02))  # fmt: skip
        ax.legend(loc="center right", fontsize=8, title="filled: spikes; open: rates", title_fontsize=8)
        ax.set_title("Accuracy against energy: mean and 95 % t interval of five seeds")
        fig.supxlabel(CAVEAT, fontsize=7.5, x=0.01, ha="left")
    return fig


def labelled(found: Sequence[tuple[str, str, float, float]]) -> list[tuple[str, str, float, float]]:
    """What is named in the figure: the front, and the recipes that one looks for."""
    line = {p[:2] for p in front(found)}
    return sorted((p for p in found if p[:2] in line or p[1] in NAMED), key=lambda p: -p[3])


def heights(found: Sequence[tuple[str, str, float, float]]) -> list[float]:
    """By how many points each label is moved, so that those of neighbours do not meet."""
    moved: list[float] = []
    placed: list[tuple[float, float]] = []
    for _, _, energy, accuracy in found:
        x, y = np.log10(energy), accuracy
        at = y
        while any(abs(x - a) < 0.45 and abs(at - b) < 0.022 for a, b in placed):
            at -= 0.004
        placed.append((x, at))
        moved.append((at - y) * 380)
    return moved


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
