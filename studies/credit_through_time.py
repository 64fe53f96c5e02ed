"""How far back does each rule carry credit, and where does it break?

Delayed exclusive-or (two cues of +-1, then: were they different?) on the rate network, trained by rules that carry credit
through time in different ways, from nothing (the reservoir) to backpropagation. The trial's length T and the number of
units N are varied one at a time around T = 70 and N = 64, or with --full together: T in 70, 150, 300 steps of 1 ms (a unit
forgets with tau = 10 ms; only recurrent activity lasts) and N in 32, 64, 128.

All rules start from the same weights and see the same trials, for the ten epochs (300 updates) and at the rates of the search
at T = 70, N = 64 on validation trials: what a rule loses with delay is also what its rate loses. Expected by definition: the
same first weights and batches for all. Expected from Bellec et al. 2020 and Murray 2019: what filters through a unit's own
memory (e-prop, RFLO) learns at T = 70 as backpropagation does. The source of the task's form: `neurosim.tasks.memory`. Where
each rule breaks is a finding. Found, five seeds: at T = 150 BPTT, direct feedback and RFLO learn (1.00, .98, .96), the
reservoir gets .93, and symmetric e-prop, at the fast rate that was best at 70, learns in two seeds of five; at 300 BPTT
learns in two of five seeds within 300 updates and its mean falls below the reservoir's (.71, .81; a claim fails), while
random feedback at slower rates goes on (.92, .97). A reservoir whose readout has the rate that is best for it is a strong
control at every delay. Learning by reward is at chance throughout.
"""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosim.compare import last_scores, other_hashes, rows_of, run_cells
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import rnn
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.tasks import delayed_xor

METRIC, SEEDS, SEEDS_FULL, EPOCHS, EPOCHS_QUICK = "accuracy", 5, 5, 10, 1
DELAYS, UNITS = (70, 150, 300), (32, 64, 128)
T, N = 70, 64
SLUGS = (
    "bptt", "tbptt-10", "eprop", "rflo", "direct-feedback-own", "node-perturbation", "miconi", "oja", "reservoir",
)  # fmt: skip
QUICK_SLUGS, QUICK_DELAYS, TRAIN_QUICK, TEST_QUICK = ("bptt", "rflo", "reservoir"), (70, 150), 320, 100
LEARNED, CHANCE = 0.99, 0.5


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    slugs = QUICK_SLUGS if mode.quick else SLUGS
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    rows, hashes = [], []
    for delay, units in places(mode):
        task = delayed_xor(delay)
        task = task.limited(TRAIN_QUICK, TEST_QUICK) if mode.quick else task
        recipes = [r for n, r in recipes_for("delayed-xor", "rnn").items() if n in slugs]
        cells = list(
            run_cells(
                recipes,
                partial(rnn, hidden=units),
                task,
                epochs=EPOCHS_QUICK if mode.quick else EPOCHS,
                seeds=range(mode.seeds),
                workers=os.cpu_count() or 1,
                store=store,
            )  # fmt: skip
        )
        hashes.append((delay, units, cells))
        rows += [{**r, "layer": f"T {delay}, N {units}"} for r in rows_of(cells) if r["quantity"] == "test"]
    return rows, claims_of(rows, hashes, mode.quick)


def places(mode: Mode) -> list[tuple[int, int]]:
    """(T, N) of each comparison: a cross, or with --full the whole grid."""
    if mode.quick:
        return [(delay, N) for delay in QUICK_DELAYS]
    if mode.full:
        return [(delay, units) for delay in DELAYS for units in UNITS]
    return list(dict.fromkeys([(delay, N) for delay in DELAYS] + [(T, units) for units in UNITS]))


def final(rows: Sequence[Mapping]) -> dict[tuple[str, int, int], list[float]]:
    """By recipe, T and N: the last test score of each seed."""
    found: dict[tuple[str, int, int], list[float]] = {}
    for (recipe, place), values in last_scores(rows).items():
        delay, units = (int(part.split()[1]) for part in place.split(", "))
        found[recipe, delay, units] = values
    return found


def claims_of(rows: Sequence[Mapping], hashes: Sequence[tuple], quick: bool) -> list[dict]:
    claims = []
    for what in ("init_hash", "batch_hash"):
        others = other_hashes([cells for _, _, cells in hashes], what)
        claims.append(
            claim(f"recipes with another {what} than the first's, over all places and seeds", others, "<=", 0)
        )
    if quick:
        return []
    ends = final(rows)
    mean = {key: sum(v) / len(v) for key, v in ends.items()}
    source = "project target, 5 seeds; Bellec et al. 2020, Murray 2019: e-prop and RFLO learn such delays"
    for slug in ("bptt", "eprop", "rflo"):
        claims.append(claim(f"{slug}: accuracy at T 70, N 64", mean[slug, T, N], ">=", LEARNED, 0, source))
    order = ("reservoir", "bptt")
    for delay in DELAYS:
        got = [mean[slug, delay, N] for slug in order]
        claims.append(claim(f"T {delay}: credit helps", got, "ordering", list(order), 0, "definition of learning"))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    """Accuracy against T at N = 64, and against N; with --full one panel for each N, and one for each T."""
    ends = final(rows)
    sizes = sorted({units for _, _, units in ends})
    delays = sorted({delay for _, delay, _ in ends})
    whole = {(delay, units) for _, delay, units in ends} == {(d, u) for d in delays for u in sizes}
    against_t = [u for u in sizes if whole or u == N]
    against_n = [d for d in delays if (whole or d == T) and len(sizes) > 1]
    panels = len(against_t) + len(against_n)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(3.3 * panels + 2.4, 3.9), layout="constrained")
        axes = fig.subplots(1, panels, sharey=True, squeeze=False)[0]
        styles = looks({slug for slug, _, _ in ends})
        for k, units in enumerate(against_t):
            lines(axes[k], {s: {d: ends[s, d, units] for d in delays if (s, d, units) in ends} for s in styles}, styles)
            axes[k].set(xlabel="length of a trial T (ms)", title=f"{'ABCDEF'[k]}  {units} units")
        for k, delay in enumerate(against_n, len(against_t)):
            lines(axes[k], {s: {u: ends[s, delay, u] for u in sizes if (s, delay, u) in ends} for s in styles}, styles)
            axes[k].set(xlabel="number of units N", title=f"{'ABCDEF'[k]}  T = {delay} ms")
        axes[0].set_ylabel("final test accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside right center", handlelength=3)
        seeds = max(map(len, ends.values()))
        note = f"{seeds} seeds, mean and 95 % t interval" if seeds > 2 else f"{seeds} seeds, mean"
        fig.suptitle(f"Delayed exclusive-or on the rate network: {note}; dotted: chance", x=0.01, ha="left")
    return fig


def lines(ax: Axes, curves: Mapping[str, Mapping[int, Sequence[float]]], styles: Mapping) -> None:
    """Mean and interval over seeds, a little apart in x so that no bar hides another."""
    ax.axhline(CHANCE, color="#9a9a9a", linewidth=0.8, linestyle=":")
    for i, (slug, points) in enumerate(curves.items()):
        if not points:
            continue
        look, shift = styles[slug], 1.025 ** (i - len(curves) / 2)
        x = [v * shift for v in points]
        spread = [interval(v) if len(v) > 2 else (sum(v) / len(v), math.nan) for v in points.values()]
        mean, half = zip(*spread, strict=True)
        ax.errorbar(x, mean, [0 if math.isnan(h) else h for h in half], color=look.colour, marker=look.marker,
                    linestyle=look.line, elinewidth=0.8, label=slug)  # fmt: skip
    ax.set_xscale("log")
    ticks = sorted({v for points in curves.values() for v in points})
    ax.set_xticks(ticks, [str(v) for v in ticks])
    ax.minorticks_off()
    ax.set_ylim(0.3, 1.04)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
