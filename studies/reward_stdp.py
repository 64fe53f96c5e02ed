"""What can spikes, a memory of coincidences and a reward learn of the 8x8 digits?

R-STDP: a coincidence of pre and post spike leaves an eligibility that decays over 500 ms, M = R - Rbar turns it into change at
the trial's end (Fremaux, Sprekeler & Gerstner 2010). Ten spiking neurons a class answer; the class is drawn from their counts,
and R = 1 if it is right. A hidden neuron's synapses are told M alone, one number for all; those of an answering neuron M (1 if
its class was drawn, else 0, less its probability), Williams' rule. Poisson inputs, 30 ms; `spiking_mlp` with its 300 hidden
neurons, and without: inputs straight onto the answering neurons. The same first weights and spikes for all of a net:

    reward-stdp       M of its own answer, in all layers
    reward-raw        M = R: no expectation is taken off
    reward-shuffled   M of another sample
    reward-frozen     with hidden neurons: only the answering neurons learn
    untrained         nothing learns

Rates are those of `neurosim tune digits --network spiking-mlp` (validation part), found for reward-frozen and reward-stdp
with hidden neurons; the others use the same. Expected: R-STDP far above chance, its shuffled and untrained twins at chance; in
hidden layers less is learned without an expectation (Fremaux et al.: what a rule does without reward drives it then). Whether
hidden synapses gain from a number that all are told is a finding.

Found (five seeds): straight onto the answering neurons .81, with hidden neurons .75; hidden synapses gain nothing, they do
better as drawn (.79). Raw reward drives hidden synapses astray (.45) and does no harm where there are none (.85). Shuffled and
untrained twins stay at chance (.09 to .11).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosim.compare import rows_of, run_cells
from neurosim.credit import RawReward
from neurosim.figures import STYLE, banded, claim, looks
from neurosim.networks import spiking_mlp
from neurosim.plasticity import Recipe
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.tasks import digits, shown_to

METRIC, SEEDS, SEEDS_FULL, EPOCHS, EPOCHS_QUICK = "accuracy", 5, 20, 20, 2
NETS = {"no hidden layer": partial(spiking_mlp, hidden=()), "300 hidden neurons": spiking_mlp}
SLUGS = ("reward-stdp", "reward-raw", "reward-shuffled", "reward-frozen", "untrained")
CHANCE, NEAR, WIDE = 0.1, 0.05, 0.4


def recipes(net: str) -> list[Recipe]:
    known = recipes_for("digits", "spiking-mlp")
    raw = replace(
        known["reward-stdp"], name="reward-raw", credit=replace(known["reward-stdp"].credit, signal=RawReward())
    )
    found = [(known | {"reward-raw": raw})[n] for n in SLUGS]
    return found if net != "no hidden layer" else [r for r in found if r.name != "reward-frozen"]


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    task, rows = shown_to("spiking-mlp", digits()), []
    task = task.limited(320, 100) if mode.quick else task
    for net, make in NETS.items():
        cells = list(
            run_cells(
                recipes(net), make, task, epochs=EPOCHS_QUICK if mode.quick else EPOCHS, seeds=range(mode.seeds),
                workers=min(os.cpu_count() or 1, 2), store=Store(Path("runs") / ".cells", False),
            )
        )  # fmt: skip
        rows += [r | {"layer": net} for r in rows_of(cells) if r["quantity"] == "test"]
    return rows, claims_of(rows, mode.quick)


def last(rows: Sequence[Mapping], net: str, recipe: str) -> list[float]:
    """By seed, the accuracy at the end."""
    mine = sorted((r for r in rows if (r["layer"], r["recipe"]) == (net, recipe)), key=lambda r: int(r["epoch"]))
    return list({int(r["seed"]): float(r["value"]) for r in mine}.values())


def claims_of(rows: Sequence[Mapping], quick: bool) -> list[dict]:
    if quick:
        return []
    claims = []
    for net in NETS:
        got = {n: float(np.mean(last(rows, net, n))) for n in SLUGS if last(rows, net, n)}
        claims.append(
            claim(f"{net}: R-STDP far above chance", got["reward-stdp"], ">=", CHANCE + WIDE, 0, "project target")
        )
        for n in ("reward-shuffled", "untrained"):
            claims.append(claim(f"{net}: {n} at chance", got[n], "within", CHANCE, NEAR, "its reward is of no use"))
        if "reward-frozen" in got:
            pair = [got["reward-raw"], got["reward-stdp"]]
            claims.append(claim(f"{net}: more is learned where what is expected is taken off", pair, "ordering",
                                ["reward-raw", "reward-stdp"], 0, "Fremaux, Sprekeler & Gerstner 2010"))  # fmt: skip
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    styles = looks(SLUGS)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.6, 4.2), layout="constrained")
        axes: Sequence[Axes] = fig.subplots(1, 2, sharey=True)
        for ax, net, letter in zip(axes, NETS, "AB", strict=True):
            for slug in SLUGS:
                by: dict[int, list[float]] = {}
                for r in rows:
                    if (r["layer"], r["recipe"]) == (net, slug):
                        by.setdefault(int(r["epoch"]), []).append(float(r["value"]))
                if by:
                    end = interval(last(rows, net, slug))[0]
                    how = {"color": styles[slug].colour, "marker": styles[slug].marker, "markersize": 3,
                           "linestyle": styles[slug].line, "label": f"{slug}: {end:.3f}"}  # fmt: skip
                    banded(ax, by, 0.15, how)
            ax.axhline(CHANCE, color="#9a9a9a", linestyle=":", linewidth=0.8, label="chance")
            ax.set(xlabel="epochs of 1,297 samples", title=f"{letter}  {net}", ylim=(0, 1))
            ax.legend(fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 0.11))
        axes[0].set_ylabel("test accuracy, 8x8 digits")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
