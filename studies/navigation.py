"""Does acetylcholine, which depresses where nothing was found, help an animal to find a reward that has moved?

An agent runs in a square arena of side 4, 15 s a trial at most, from its centre. Where it is, 121 place cells say (a grid of
spacing sigma = 0.4), and 40 action neurons, each for one direction, say where it goes (Brzosko et al. 2017, eLife 6:e27756):

    place cell i spikes in a ms with the probability 0.4 exp(-|x - x_i|^2 / sigma^2)
    action neurons: SRM0 with escape noise; lateral weights -300/N + 100 f / sum f, f = exp(20 cos(theta_j - theta_k)), none
    onto itself: one bump of activity, a direction
    step of a ms: a = 1/N sum_j rho_j a_j,  |a_j| = 0.08, rho_j: spikes a ms, filtered by (exp(-t/50) - exp(-t/20)) / 30

STDP from place cells onto action neurons is symmetric, W = exp(-|dt| / 10 ms), and has two readers. While acetylcholine is
there, dw = -0.002 W, at once. Every W also leaves eligibility, de/dt = -e / 2 s + W; when the reward is found, the trial's
weights are written anew as those it began with + 0.01 e (dopamine turns all of it into potentiation). Bounds 1 and 3, start 2.
A reward ends the trial 300 ms later, place cells silent meanwhile. It lies at (1.5, 1.5) in trials 1 to 20, then at
(-1.5, -1.5). Between trials all activity is at rest.

Conditions: with acetylcholine, without (weights change by reward alone), and frozen, where chance alone finds it.

Expected: the first place is learned alike with and without. Then acetylcholine unlearns what no longer pays: fewer visits to
the old place, and the new one is found by more. The paper prints no numbers of its curves; claimed is the order, with
95 % intervals (Wilson) that do not overlap, at trials 30 and 40.

Found (figures/navigation.*, 200 runs each): so it is; at trial 40 98 % find the new place with acetylcholine and 62 % without,
5 and 61 % still visit the old one. ONE CLAIM FAILS: both learn the first place within six trials, but not quite alike, 99 and
87 % find it at trial 20; without acetylcholine a wrong habit of the first trials stays.

As published, but: filters and traces decay exactly (the published program steps by 1 - 1/tau), an action neuron's chance of
a spike is 1 - exp(-rho dt), not rho dt, and a place cell's spike arrives a ms later. Each run is a replica of one network with
numbers of its own; arena, place cells and movement are compiled into the loop.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import cos, exp, log1p, pi, sin
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy import sparse
from scipy.stats import binomtest

import neurosim as ns
from neurosim.figures import STYLE, claim
from neurosim.rules import SpikeRule, Term, Trace
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL, WORKERS = 100, 200, 2  # runs of each condition
TRIALS, MOVED, LONGEST, AFTER = 40, 20, 15_000.0, 300.0  # trials, trials before the reward moves, ms, ms
GRID, SPACING, EDGE, RATE = 11, 0.4, 2.0, 400.0  # place cells a side, arena units, arena units, Hz
ACTIONS, STRIDE, BOUNCE, RADIUS = 40, 0.08, 0.01, 0.3
GOAL, NARROW, INHIBIT, EXCITE = 1.5, 20.0, -300.0, 100.0
W_MIN, W_FIRST, W_MAX, TAU, TAU_E, ETA_DA, ETA_ACH = 1.0, 2.0, 3.0, 10.0, 2000.0, 0.01, 0.002
SLOW, FAST = 50.0, 20.0  # ms, of the actions' filter
WITH, WITHOUT, FROZEN = "acetylcholine", "no acetylcholine", "frozen"
BRZOSKO = "Brzosko et al. 2017"
METRIC = "trials in which the reward was found"

# memory: place of the first action neuron, x, y, the reward's x and y (the old place is the opposite one), has it moved?,
# ms at which the trial began, ms of the reward (-1: not found), visits to the old place, is it there now?, is the trial over?
FIRST, X, Y, TO_X, TO_Y, HAS_MOVED, BEGAN, FOUND, VISITS, INSIDE, OVER, FILTERS = range(12)
KEPT_SLOW, KEPT_FAST = exp(-1 / SLOW), exp(-1 / FAST)
EAST, NORTH = (tuple(STRIDE * f(2 * pi * (j + 1) / ACTIONS) for j in range(ACTIONS)) for f in (sin, cos))


def rule() -> SpikeRule:
    traces = {"r1": Trace("pre", TAU), "o1": Trace("post", TAU)}
    pairs = ("post", "r1"), ("pre", "o1")
    tag = [Term(1.0, p, "dopamine", TAU_E) for p in pairs]
    online = [Term(-ETA_ACH, (*p, "acetylcholine")) for p in pairs]
    return SpikeRule(traces, (*tag, *online), source=BRZOSKO)


def arena(t, counts, drive, signal, memory):
    """A ms in the arena: the action neurons' spikes move the agent, the place cells' rates follow."""
    go_x, go_y, at = 0.0, 0.0, int(memory[FIRST])
    for j in range(ACTIONS):
        slow, fast = FILTERS + j, FILTERS + ACTIONS + j
        memory[slow] = memory[slow] * KEPT_SLOW + counts[at + j]
        memory[fast] = memory[fast] * KEPT_FAST + counts[at + j]
        rho = (memory[slow] - memory[fast]) / (SLOW - FAST)
        go_x += rho * EAST[j] / ACTIONS
        go_y += rho * NORTH[j] / ACTIONS
    x, y = memory[X] + go_x, memory[Y] + go_y
    if x <= -EDGE:
        x += BOUNCE
    elif x >= EDGE:
        x -= BOUNCE
    elif y <= -EDGE:
        y += BOUNCE
    elif y >= EDGE:
        y -= BOUNCE
    memory[X], memory[Y] = x, y
    if memory[FOUND] < 0 and (x - memory[TO_X]) ** 2 + (y - memory[TO_Y]) ** 2 <= RADIUS**2:
        memory[FOUND] = t - memory[BEGAN]
    there = (x + memory[TO_X]) ** 2 + (y + memory[TO_Y]) ** 2 <= RADIUS**2
    if memory[HAS_MOVED] > 0 and there and memory[INSIDE] == 0:
        memory[VISITS] += 1
    memory[INSIDE] = there
    for b in range(GRID):
        row = 0.0
        if memory[FOUND] < 0:
            row = RATE / 1000 * exp(-(((y + EDGE - b * SPACING) / SPACING) ** 2))
        for a in range(GRID):
            drive[b * GRID + a] = row
    for a in range(GRID):
        column = exp(-(((x + EDGE - a * SPACING) / SPACING) ** 2))
        for b in range(GRID):
            drive[b * GRID + a] = -1000 * log1p(-drive[b * GRID + a] * column)
    memory[OVER] = t - memory[BEGAN] >= LONGEST or (memory[FOUND] >= 0 and t - memory[BEGAN] >= memory[FOUND] + AFTER)


def inward() -> np.ndarray:
    """[actions, places]: does the synapse exist? A place cell at a wall has none onto actions that lead out."""
    side = np.round(np.arange(GRID) * SPACING - EDGE, 9)
    x, y = np.tile(side, GRID), np.repeat(side, GRID)
    out = np.multiply.outer(np.array(EAST), x * (abs(x) == EDGE)) > 1e-12
    return ~(out | (np.multiply.outer(np.array(NORTH), y * (abs(y) == EDGE)) > 1e-12))


def network(seed: int = 0) -> ns.Network:
    net = ns.Network(dt=1.0, seed=seed)
    places, actions = net.add(GRID**2, ns.Poisson(), name="places"), net.add(ACTIONS, ns.SRM0(), name="actions")
    matrix = sparse.csc_array(np.where(inward(), W_FIRST, 0.0))
    net.connect(places, actions, matrix=matrix, rule=rule(), w_min=W_MIN, w_max=W_MAX)
    theta = 2 * pi * np.arange(ACTIONS) / ACTIONS
    f = np.exp(NARROW * np.cos(theta[:, None] - theta)) * (1 - np.eye(ACTIONS))
    lateral = (INHIBIT / ACTIONS + EXCITE * f / f.sum(1, keepdims=True)) * (1 - np.eye(ACTIONS))
    net.connect(actions, actions, matrix=sparse.csc_array(lateral))
    return net


def live(net: ns.Network, condition: str) -> list[dict[str, Any]]:
    """40 trials of one agent, as rows."""
    memory, q, rows = np.zeros(FILTERS + 2 * ACTIONS), net.projections[0], []
    memory[FIRST] = net.populations[1].place
    world = ns.Environment(arena, every=1.0, memory=memory, ends=OVER)
    side = (np.arange(GRID) * SPACING - EDGE) / SPACING
    for trial in range(1, TRIALS + 1):
        goal = GOAL if trial <= MOVED else -GOAL
        memory[X:] = 0
        memory[[TO_X, TO_Y, HAS_MOVED, BEGAN, FOUND]] = goal, goal, trial > MOVED, net.t, -1
        net.rest()
        net.populations[0].drive = -1000 * np.log1p(-RATE / 1000 * np.exp(-np.add.outer(side**2, side**2))).ravel()
        net.signal(acetylcholine=float(condition == WITH), dopamine=0.0)
        first = q.w.copy()
        net.run(LONGEST, environment=world)
        found = memory[FOUND] >= 0
        if condition == FROZEN:
            q.w[:] = first
        elif found:
            q.w[:] = first
            net.signal(acetylcholine=0.0, dopamine=ETA_DA / net.dt)  # w <- w + 0.01 e, within bounds, in one step
            net.run(net.dt)
        rows += [row(n, v, condition, trial) for n, v in (
            ("found", found), ("s to the reward", memory[FOUND] / 1000 if found else LONGEST / 1000),
            ("visits to the old place", memory[VISITS]),
        )]  # fmt: skip
    return rows


def row(quantity: str, value: float, condition: str, at: float | None = None) -> dict[str, Any]:
    return {"recipe": condition, "quantity": quantity, "value": float(value), "at": at}


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    net, cells = network(), []
    agents = net.replicas(1 + 2 * mode.seeds + max(2, mode.seeds // 5))
    live(agents.pop(), WITH) if not mode.quick else agents.pop()  # compiles
    jobs = [c for _ in range(mode.seeds) for c in (WITH, WITHOUT)]
    jobs += [FROZEN] * (len(agents) - len(jobs))  # the floor is flat: fewer do
    start, spent = time.perf_counter(), {}

    def one(agent: ns.Network, condition: str) -> list[dict]:
        found = live(agent, condition)
        if condition != FROZEN:
            spent["s"] = time.perf_counter() - start
        return found

    with ThreadPoolExecutor(WORKERS) as pool:  # the compiled loop holds no lock
        cells = list(pool.map(one, agents, jobs))
    rows = summed([r for found in cells for r in found])
    rows.append(row(f"wall seconds of {2 * mode.seeds} runs", spent["s"], WITH))
    return rows, [] if mode.quick else claims_of(rows, 2 * mode.seeds)


QUARTILES = {
    "s to the reward, 1st quartile": 0.25,
    "s to the reward, median": 0.5,
    "s to the reward, 3rd quartile": 0.75,
}


def summed(rows: Sequence[Mapping]) -> list[dict]:
    """All runs of a condition, trial by trial: how many there are, how many of them found it, how long, ..."""
    out, of = [], {}
    for r in rows:
        of.setdefault((r["recipe"], r["at"]), {}).setdefault(r["quantity"], []).append(r["value"])
    for (condition, trial), x in of.items():
        out.append(row("runs", len(x["found"]), condition, trial))
        out += [row(n, np.count_nonzero(x[n]), condition, trial) for n in ("found", "visits to the old place")]
        out += [row(n, np.quantile(x["s to the reward"], q), condition, trial) for n, q in QUARTILES.items()]
    return out


def value(rows: Sequence[Mapping], quantity: str, condition: str, trial: int) -> float:
    return next(r["value"] for r in rows if (r["quantity"], r["recipe"], r["at"]) == (quantity, condition, trial))


def share(rows: Sequence[Mapping], quantity: str, condition: str, trial: int) -> tuple[float, float, float]:
    """Of the runs in which it happened: share, and its Wilson interval."""
    k, n = (int(value(rows, q, condition, trial)) for q in (quantity, "runs"))
    low, high = binomtest(k, n).proportion_ci(0.95, "wilson")
    return k / n, low, high


def claims_of(rows: Sequence[Mapping], runs: int) -> list[dict]:
    found, visits = "found", "visits to the old place"
    out, of = [], {c: share(rows, found, c, MOVED) for c in COLOURS}
    for name in (WITH, WITHOUT):
        out.append(claim(f"share that find the first place, trial {MOVED}: top of the interval if frozen, bottom {name}",
                         [of[FROZEN][2], of[name][1]], "ordering", [FROZEN, name], 0, BRZOSKO))  # fmt: skip
    shared = min(of[WITH][2], of[WITHOUT][2]) - max(of[WITH][1], of[WITHOUT][1])
    out.append(claim(f"overlap of the two intervals, first place, trial {MOVED}", shared, ">=", 0.0, 0,
                     f"learned alike, {BRZOSKO}"))  # fmt: skip
    for trial in (30, 40):
        without, by = share(rows, found, WITHOUT, trial), share(rows, found, WITH, trial)
        out.append(claim(f"share that find the new place, trial {trial}: top of the interval without, bottom with",
                         [without[2], by[1]], "ordering", [WITHOUT, WITH], 0, BRZOSKO))  # fmt: skip
        without, by = share(rows, visits, WITHOUT, trial), share(rows, visits, WITH, trial)
        out.append(claim(f"share that visit the old place, trial {trial}: top of the interval with, bottom without",
                         [by[2], without[1]], "ordering", [WITH, WITHOUT], 0, BRZOSKO))  # fmt: skip
    quantity = f"wall seconds of {runs} runs"
    seconds = next(r["value"] for r in rows if r["quantity"] == quantity)
    return [*out, claim(f"s on the clock for 200 runs, two threads, from {runs}", seconds * 200 / runs, "<=", 300.0, 0,
                        "project target for 200 runs")]  # fmt: skip


# ---------------------------------------------------------------------------------------------- the figure
COLOURS = {WITH: "#6a3d9a", WITHOUT: "#e08214", FROZEN: "#7a7a7a"}


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    trials, runs = range(1, TRIALS + 1), {c: value(rows, "runs", c, 1) for c in COLOURS}
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(11, 3.9), layout="constrained")
        success, latency, old = fig.subplots(1, 3)
        for condition, colour in COLOURS.items():
            label = f"{condition} ({runs[condition]:.0f} runs)"
            for ax, quantity in ((success, "found"), (old, "visits to the old place")):
                mean, low, high = zip(*[share(rows, quantity, condition, t) for t in trials], strict=True)
                ax.plot(trials, mean, color=colour, label=label)
                ax.fill_between(trials, low, high, color=colour, alpha=0.25, lw=0)
            low, middle, high = ([value(rows, q, condition, t) for t in trials] for q in QUARTILES)
            latency.plot(trials, middle, color=colour)
            latency.fill_between(trials, low, high, color=colour, alpha=0.2, lw=0)
        for ax in (success, latency, old):
            ax.axvline(MOVED + 0.5, color="black", lw=0.8, ls=":")
            ax.set(xlabel="trial (dotted: the reward moves)", xlim=(1, TRIALS), ylim=(0, None))
        success.set(ylabel="share of runs that find the reward", ylim=(0, 1.02))
        success.set_title("A  Found within 15 s (band: 95 %)")
        latency.set(ylabel="s to the reward (15: not found)")
        latency.set_title("B  How long (median, quartiles)")
        old.set(ylabel="share of runs that enter it", xlim=(MOVED + 1, TRIALS), ylim=(0, 1.02))
        old.set_title("C  The old place (band: 95 %)")
        old.set_xticks(range(MOVED + 1, TRIALS + 1, 3))
        fig.legend(*success.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
