"""What does a right answer cost in spikes, and what in products?  Accuracy against an estimate of energy, all recipes.

Nothing is run: the numbers are those of the committed comparisons of the 8x8 digits, `figures/compare-digits-NETWORK.json`:
the perceptron in rates (mlp, 64-128-64-10), the spiking perceptron (64-300) and the spiking convolutional net, each with its
rate twins (backprop-rate, frozen-rate), and Diehl & Cook's network. Energy of one answer: 4.6 pJ
a multiply-accumulate, 0.9 pJ a synaptic operation, one addition where a spike meets a weight (FP32 in 45 nm, Horowitz 2014).

Caveats, the first of which stands in the figure as well: arithmetic alone is counted. Memory traffic, which dominates on real
hardware, the neurons' own dynamics, the routing of spikes and what leaks while nothing happens are not. Lateral inhibition from
every neuron to every other is counted synapse by synapse; one inhibitory interneuron would do it with far fewer. Other hardware
has other constants (Loihi 23.6 pJ a synaptic operation, SENECA 2.8: Tang et al. 2023, Front Neurosci 17:1187252).

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
WIDE = 0.0125  # of a letter, in widths of a panel
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
    nets = [n for n in NETWORKS if any(p[0] == n for p in found)]
    line = front(found)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12.5, 4.6 * ((len(nets) + 1) // 2)), layout="constrained")
        panels: list[Axes] = list(fig.subplots((len(nets) + 1) // 2, 2, sharex=True, sharey=True, squeeze=False).flat)
        lowest = 0.6 * min(1 - p[3] for p in found)
        cheap, dear = min(p[2] for p in found), max(p[2] for p in found)
        for ax, network, letter in zip(panels, nets, "ABCD", strict=False):
            ax.set(xscale="log", yscale="log", xlim=(0.7 * cheap, 2 * dear), ylim=(1.1, lowest))
            ax.scatter([p[2] for p in found], [1 - p[3] for p in found], 12, color="#d0d0d0", zorder=1)
            ax.plot([p[2] for p in line], [1 - p[3] for p in line], "--", color="#222222", drawstyle="steps-post", marker="*",
                    markersize=10, linewidth=1, zorder=4, label="front of all nets")  # fmt: skip
            ax.axhline(0.9, color="#9a9a9a", linestyle=":", linewidth=0.8, label="chance")
            mine = [p for p in found if p[0] == network]
            panel(ax, mine, {p[1]: scores(rows, network, p[1]) for p in mine}, NETWORKS[network])
            ax.set_title(f"{letter}  {network}")
            ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1.0], [".02", ".05", ".1", ".2", ".5", "1"])
            ax.yaxis.set_minor_formatter("")
        panels[0].legend(loc="lower right", fontsize=8, title="filled: spikes; open: rates; grey: the other nets",
                         title_fontsize=8)  # fmt: skip
        for ax in panels[len(nets) :]:
            ax.set_visible(False)
        for ax in panels[::2]:
            ax.set_ylabel("test error, 8x8 digits (mean, 95 % interval)")
        for ax in panels[max(0, len(nets) - 2) : len(nets)]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("energy of an answer, nJ (4.6 pJ a MAC, 0.9 pJ a synaptic operation)")
        fig.supxlabel(CAVEAT, fontsize=8, x=0.01, ha="left")
    return fig


def scores(rows: Sequence[Mapping], network: str, recipe: str) -> list[float]:
    key = network, recipe, "test"
    return [float(r["value"]) for r in rows if (r["layer"], r["recipe"], r["quantity"]) == key]


def panel(
    ax: Axes, found: Sequence[tuple[str, str, float, float]], each: Mapping[str, Sequence[float]], colour: str
) -> None:
    """One net's recipes, all named, the better above."""
    for network, slug, energy, accuracy in found:
        half = interval(each[slug])[1]
        ends = None if not np.isfinite(half) else [[min(half, 0.99 * (1 - accuracy))], [half]]
        rate = slug.endswith("-rate") or network == "mlp"
        ax.errorbar(energy, 1 - accuracy, ends, color=colour, marker="s" if rate else "o", markersize=5, linestyle="none",
                    markerfacecolor="white" if rate else colour, elinewidth=0.8, alpha=0.9)  # fmt: skip
    for (_, slug, energy, accuracy), at in zip(found, places(ax, found), strict=True):
        ax.annotate(slug, (energy, 1 - accuracy), at, textcoords="axes fraction", fontsize=7, va="center",
                    arrowprops={"arrowstyle": "-", "color": "#aaa", "lw": 0.5, "shrinkA": 0, "relpos": (0, 0.5)})  # fmt: skip


def places(ax: Axes, found: Sequence[tuple[str, str, float, float]]) -> list[tuple[float, float]]:
    """Where each name stands, in fractions of the panel: beside its point, below the names and points that are in its way."""
    (x0, x1), (y0, y1) = np.log10(ax.get_xlim()), np.log10(ax.get_ylim())
    at = [((np.log10(e) - x0) / (x1 - x0), (np.log10(1 - a) - y0) / (y1 - y0)) for _, _, e, a in found]
    taken = [(x - 0.008, x + 0.008, y, 0.03) for x, y in at]  # from, to, height, distance to keep
    placed: dict[int, tuple[float, float]] = {}
    for k in sorted(range(len(found)), key=lambda k: -at[k][1]):
        (x, y), long = at[k], WIDE * len(found[k][1])
        x = x + 0.025 if x + 0.025 + long < 1 else x - 0.025 - long
        down = [y - 0.003 * step for step in range(400)]
        tries = [h for h in down if h > 0.015] + [y + 0.003 * step for step in range(400)]
        y = next(h for h in tries if not any(x < b and a < x + long and abs(h - c) < d for a, b, c, d in taken))
        placed[k] = x, y
        taken.append((x, x + long, y, 0.033))
    return [placed[k] for k in range(len(found))]


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
