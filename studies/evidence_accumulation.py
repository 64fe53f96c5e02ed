"""Can random e-prop learn to accumulate evidence over a second's delay, where a reservoir cannot?

The task of Bellec et al. 2020 (Nat Commun 11:3625): seven cues of 100 ms left or right, a delay of 1,050 ms, then: on which
side were more? Their network: 50 leaky and 50 adaptive units (tau_a 2,000 ms, refractory 5 ms), a readout with tau 20 ms.
Published: e-prop with random feedback stops, at a validation error below .07 (64 trials, then 512), within 200 to 500
iterations of 32 or 64 trials, Adam 5e-3, firing rates kept near 10 Hz. Its optimiser is the published one here, at a constant
rate and without clipping; in the comparisons gradients are clipped and rates fall, and with that the error stays at .08 to
.11 after 500 iterations of two seeds. Beside it on the very same trials a reservoir, whose readout alone learns, with the
clipped and falling Adam: on an easier cue task a reservoir reached .034, so without it the result would say nothing.

By default a short version (delay 150 ms, `EPOCHS` of ten iterations); --full the published timing, two seeds, 500 iterations
of 64 trials: an hour on two cores. The error is that of 512 test trials, the same after every tenth iteration. "Reached" is as
published the first of these below .07; nothing else is chosen on them, and the mean of the last five is shown beside it.

Found: one seed of two is below .07, after 430 iterations; the other's least error is .086, so that claim fails (a third, in a
trial on validation data, got .052 after 360). Reservoirs end at .26 to .38 and never come near. Without clipping and at
a constant rate the error jumps by .1 from one measurement to the next.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch.optim import Adam

from neurosim.compare import rows_of, run_cells
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import network_for
from neurosim.plasticity import Recipe, steady
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.tasks import Sequences, evidence

METRIC, SEEDS, SEEDS_FULL = "error", 3, 2
PUBLISHED, DELAY, BOUND = 1050, 150, 0.07
EPOCHS, EPOCHS_FULL, EPOCHS_QUICK = 15, 50, 1
RATE, LAST, MARGIN = 5e-3, 5, 0.02
ITERATIONS = 10  # of an epoch
RESERVOIRS, READOUT_RATES = ("reservoir", "reservoir, ten times the rate"), (1e-2, 1e-1)


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    epochs = EPOCHS_QUICK if mode.quick else EPOCHS_FULL if mode.full else EPOCHS
    seeds = 1 if mode.quick else mode.seeds
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    cells = run_cells(
        line_up(), network_for("evidence", "lsnn"), task_of(mode), epochs=epochs, seeds=range(seeds),
        workers=os.cpu_count() or 1, store=store,
    )  # fmt: skip
    rows = [{**r, "value": 1 - r["value"]} for r in rows_of(cells) if r["quantity"] == "test"]
    return rows, [] if mode.quick else claims_of(rows, mode.full)


def task_of(mode: Mode) -> Sequences:
    if mode.quick:
        return replace(evidence(0).limited(16, 16), batch_size=8)
    return replace(evidence(PUBLISHED if mode.full else DELAY), test_size=512)


def line_up() -> list[Recipe]:
    """E-prop as published; the reservoir's readout at two rates, of which the better counts. Nothing is tuned here."""
    known = recipes_for("evidence", "lsnn")
    twins = zip(RESERVOIRS, READOUT_RATES, strict=True)
    published = replace(known["eprop-random"], lr=RATE, optimizer=Adam, schedule=steady)
    return [published, *(replace(known["reservoir"], name=n, lr=r) for n, r in twins)]


def ended(rows: Sequence[Mapping], recipe: str) -> list[float]:
    """The mean error of each seed over its last `LAST` measurements."""
    by: dict[int, list[tuple[int, float]]] = {}
    for r in rows:
        if r["recipe"] == recipe:
            by.setdefault(r["seed"], []).append((r["epoch"], r["value"]))
    return [float(np.mean([v for _, v in sorted(pairs)[-LAST:]])) for pairs in by.values()]


def reached_at(rows: Sequence[Mapping], recipe: str) -> list[float]:
    """Of each seed the first iteration with an error below `BOUND`; infinite for none."""
    first: dict[int, float] = {}
    for r in rows:
        if r["recipe"] == recipe:
            at = r["epoch"] * ITERATIONS if r["value"] < BOUND else math.inf
            first[r["seed"]] = min(first.get(r["seed"], math.inf), at)
    return list(first.values())


def claims_of(rows: Sequence[Mapping], full: bool) -> list[dict]:
    reached, floor = ended(rows, "eprop-random"), [e for n in RESERVOIRS for e in ended(rows, n)]
    source = "Bellec et al. 2020 and its program: validation error < .07 within 200 to 500 iterations"
    worst, best = float(np.max(reached)), float(np.min(floor))  # nan where a seed diverged
    claims = [
        claim(
            "error at the end: the reservoirs' best seed less e-prop's worst",
            best - worst,
            ">=",
            MARGIN,
            0,
            "the control",
        )
    ]
    if full:
        slowest = max(reached_at(rows, "eprop-random"))
        claims += [
            claim(
                "random e-prop: iterations to an error below .07, slower seed",
                slowest if math.isfinite(slowest) else math.nan,
                "<=",
                EPOCHS_FULL * ITERATIONS,
                0,
                source,
            ),
            claim(
                "reservoirs: seeds that reached an error below .07",
                sum(math.isfinite(k) for n in RESERVOIRS for k in reached_at(rows, n)),
                "<=",
                0,
                0,
                "the control",
            ),
        ]
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    """Error against iterations, each seed thin, their mean thick with its interval."""
    curves: dict[str, dict[int, dict[int, float]]] = {}
    for r in rows:
        curves.setdefault(r["recipe"], {}).setdefault(int(r["epoch"]) * ITERATIONS, {})[r["seed"]] = r["value"]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(6.6, 4.0), layout="constrained")
        ax = fig.subplots()
        for slug, look in looks(curves).items():
            x = sorted(curves[slug])
            seeds = sorted({s for by in curves[slug].values() for s in by})
            for s in seeds:
                ax.plot(x, [curves[slug][k].get(s, np.nan) for k in x], color=look.colour, linewidth=0.5, alpha=0.6)
            means = [list(curves[slug][k].values()) for k in x]
            ax.plot(x, [np.mean(v) for v in means], color=look.colour, linestyle=look.line, linewidth=1.8, label=slug)
            if len(seeds) > 2:
                mean, half = np.array([interval(v) for v in means]).T
                ax.fill_between(x, mean - half, mean + half, color=look.colour, alpha=0.15, linewidth=0)
        ax.axhline(BOUND, color="#c0392b", linewidth=0.8, linestyle="--", label="published: below .07")
        ax.axhline(0.5, color="#9a9a9a", linewidth=0.8, linestyle=":", label="chance")
        ax.set(
            xlabel="iterations (64 trials each)",
            ylabel="test error (share of trials)",
            ylim=(0, max(0.62, 0.03 + max(r["value"] for r in rows))),
        )
        ax.legend(loc="upper right", fontsize=8)
        config = manifest["config"]
        delay = config["published"] if config["full"] else 0 if config["quick"] else config["delay"]
        count = len({r["seed"] for r in rows})
        ax.set_title(f"Evidence accumulation, delay {delay} ms: {count} seeds (thin) and their mean")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
