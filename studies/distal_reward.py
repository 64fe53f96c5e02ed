"""Can a reward that comes seconds later find the synapse that earned it, among 80,000?

1,000 spiking neurons, 800 excitatory; every pairing leaves an eligibility c, and dopamine d reads it (Izhikevich 2007, Cereb
Cortex 17:2443):

    post spike: c <- c + trace of pre,   pre arrival: c <- c - 1.5 trace of post,   dc/dt = -c / tau_c
    dd/dt = -d / tau_d,  d <- d + 0.5 at a reward;      every 10 ms:  s <- s + (0.002 + d) c,  within 0 .. 4 mV

A trace is set to 0.1 by its spike and falls by 0.95 a ms; tau_c = 995, tau_d = 199.5 ms. When neuron n2 fires within 20 ms
after n1, a reward follows 1 to 3 s later; all other spikes in between leave eligibility too. The synapse from n1 to n2 starts
at 0, all others at 1 mV.

One synapse, one pairing of eligibility c0, and a reward at a delay D have a closed form: ds/dt = 100/s c d gives

    Delta s = 100/s c0 d0 exp(-D/tau_c) tau_c tau_d / (tau_c + tau_d),

to which steps of dt converge (three of them, extrapolated to dt = 0, within 1e-6), and every 10 ms a geometric sum.

Expected of the network, within the hour (3,600 s of 1 ms steps): the chosen synapse comes near 4 mV, though few others do,
and n1 and n2 earn more rewards. Controls: the same rewards at times that have nothing to do with the spikes (those another
seed earned: `unrelated`), and the weights frozen, which earn what chance brings. As published: neurons, delays of 1 ms, 100
synapses out of each neuron, I to E alone and fixed at -1 mV, noise 13 (U - 0.5) to every neuron at every ms. The network with
its world is one compiled loop.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import exp, log
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numba import njit
from scipy import sparse

import neurosim as ns
from neurosim.figures import STYLE, claim
from neurosim.rules import SpikeRule, Term, Trace
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL = 5, 5
SECONDS, SECONDS_QUICK, PIECES, WORKERS = 3600, 120, 36, 2
E, I, OUT, W_MAX, FIRST = 800, 200, 100, 4.0, 1.0  # neurons, synapses out of each, mV
TAU, TAU_C, TAU_D = -1 / log(0.95), -10 / log(0.99), -1 / log(0.995)  # ms
STEP, DEPRESSION, REWARD, TONIC, EVERY = 0.1, 1.5, 0.5, 0.002, 10.0  # EVERY in ms
WITHIN, EARLIEST, LATEST, NOISE = 20.0, 1000.0, 3000.0, 13.0  # ms, ms, ms, mV
REWARDED, UNRELATED, FROZEN = "rewarded", "unrelated rewards", "frozen"
DELAYS = (10.0, 100.0, 300.0, 1000.0, 2000.0, 4000.0)  # ms
IZHIKEVICH = "Izhikevich 2007"
PENDING, SLOTS = 8, 64  # where memory keeps times of rewards to come, and how many


def rule(tau_d: float = TAU_D) -> SpikeRule:
    """ds = M c EVERY every 10 ms, so c is counted a tenth as large."""
    traces = {"r1": Trace("pre", TAU, True, bump=STEP), "o1": Trace("post", TAU, True, bump=STEP)}
    up, down = Term(1 / EVERY, ("post", "r1"), "D", TAU_C), Term(-DEPRESSION / EVERY, ("pre", "o1"), "D", TAU_C)
    return SpikeRule(traces | {"D": Trace("dopamine", tau_d, bump=REWARD)}, (up, down), source=IZHIKEVICH)


# ---------------------------------------------------------------------------------------------- its world
@njit
def uniform(bits):
    """A number in [0, 1) by xorshift64* (Vigna 2016); bits: one uint64."""
    x = bits[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    bits[0] = x
    return np.float64((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


def world(t, counts, drive, signal, memory):
    """Noise to all; rewards that n2 after n1 earned, or (memory[6] = 1) those that are written in memory.

    memory: bits of the random numbers, n1, n2, last spike of n1, rewards earned, tonic release, are they given?, the place of
    the first inhibitory neuron, times of rewards to come.
    """
    bits = memory[:1].view(np.uint64)
    for i in range(E):
        drive[i] = NOISE * (uniform(bits) - 0.5)
    for i in range(int(memory[7]), int(memory[7]) + I):
        drive[i] = NOISE * (uniform(bits) - 0.5)
    if counts[int(memory[2])] > 0 and 0 < t - memory[3] <= WITHIN:
        if memory[6] == 0:
            memory[PENDING + int(memory[4]) % SLOTS] = t + EARLIEST + (LATEST - EARLIEST) * uniform(bits)
        memory[4] += 1
        memory[3] = -np.inf
    if counts[int(memory[1])] > 0:
        memory[3] = t
    signal[0] = memory[5]
    for k in range(PENDING, len(memory)):
        if 0 < memory[k] <= t:
            signal[0] += 1
            memory[k] = 0


class Made(NamedTuple):
    net: ns.Network
    plastic: tuple
    chosen: int  # its place among the weights of the first
    memory: np.ndarray


def network(seed: int, condition: str, rewards: Sequence[float] = ()) -> Made:
    """rewards: ms, where they are unrelated."""
    net = ns.Network(dt=1.0, seed=seed, dtype=np.float32, gate_every=EVERY)
    exc = net.add(E, ns.Izhikevich(a=0.02, d=8.0, substeps=2), name="E")
    inh = net.add(I, ns.Izhikevich(a=0.1, d=2.0, substeps=2), name="I")
    g = net.generator
    onto = np.stack([g.choice(E + I - 1, OUT, replace=False) for _ in range(E)])
    onto += onto >= np.arange(E)[:, None]  # not onto itself
    pre, back = np.repeat(np.arange(E), OUT), np.stack([g.choice(E, OUT, replace=False) for _ in range(I)])
    out = sparse.csc_array((np.full(E * OUT, FIRST), (onto.ravel(), pre)), shape=(E + I, E))
    learns = {} if condition == FROZEN else {"rule": rule(), "w_max": W_MAX}
    plastic = net.connect(exc, exc, matrix=out[:E], **learns), net.connect(exc, inh, matrix=out[E:], **learns)
    inhibition = sparse.csc_array((np.full(I * OUT, -1.0), (back.ravel(), np.repeat(np.arange(I), OUT))), shape=(E, I))
    net.connect(inh, exc, matrix=inhibition)
    n1, n2 = 0, int(plastic[0].wiring.target[0])
    plastic[0].w[0] = 0.0
    memory = np.zeros(PENDING + max(SLOTS, len(rewards)))
    memory[:1].view(np.uint64)[0] = np.random.SeedSequence([seed, 5]).generate_state(1, np.uint64)[0] | np.uint64(1)
    memory[1:8] = n1, n2, -np.inf, 0, TONIC / REWARD * -np.expm1(-1 / TAU_D), condition == UNRELATED, inh.place
    memory[PENDING : PENDING + len(rewards)] = rewards
    return Made(net, plastic, 0, memory)


def row(quantity: str, value: float, condition: str = "", seed: int = 0, at: float | None = None) -> dict:
    return {"recipe": condition, "seed": seed, "quantity": quantity, "value": float(value), "at": at}


def live(seed: int, condition: str, seconds: int, rewards: Sequence[float] = ()) -> tuple[list[dict], list[float]]:
    """An hour: rows, and when rewards came (ms)."""
    start, cpu = time.perf_counter(), time.thread_time()
    made = network(seed, condition, rewards)
    world_of, rows, came, q = ns.Environment(world, every=1.0, memory=made.memory), [], [], made.plastic[0]
    for _ in range(PIECES):
        before, piece = made.memory[4], 1000 * seconds // PIECES
        rec = made.net.run(piece, environment=world_of)
        earned, t = made.memory[4] - before, made.net.t / 1000
        came += list(np.linspace(made.net.t - piece, made.net.t, int(earned), endpoint=False) + 1)
        rows.append(row("chosen weight (mV)", q.w[made.chosen], condition, seed, t))
        rows.append(row("rewards earned", earned, condition, seed, t))
    w = np.concatenate([p.w for p in made.plastic])
    for low in np.arange(0, W_MAX, 0.1):
        inside = (w >= low) & (w < low + 0.1 if low < W_MAX - 0.15 else w <= W_MAX)
        rows.append(row("share of weights", inside.mean(), condition, seed, round(low, 1)))
    rows.append(row("share near the cap", (w > 0.975 * W_MAX).mean(), condition, seed))
    rows.append(row("excitatory rate (Hz)", rec.mean_rate(made.net.populations[0]), condition, seed))
    rows.append(row("wall seconds", time.perf_counter() - start, condition, seed))
    rows.append(row("CPU seconds", time.thread_time() - cpu, condition, seed))
    return rows, came


# ---------------------------------------------------------------------------------------------- one synapse
def one_synapse(delay: float, dt: float, every: float) -> tuple[float, float]:
    """Delta s of one pairing (c0 = 1, 0.1 a ms) and one reward (d0 = 0.5) so much later, run in the engine in float64; and the
    geometric sum that it is: the times at which eligibility meets dopamine, one by one."""
    net = ns.Network(dt=dt, gate_every=every)
    pre, post, force = (
        net.add(1, ns.SpikeTrains([0], [0.0])),
        net.add(1, ns.LIF()),
        net.add(1, ns.SpikeTrains([0], [0.0])),
    )
    net.connect(force, post, weight=1e9, delay_axonal=10 - 2 * dt)
    traces = {"r1": Trace("pre", 1e12), "D": Trace("dopamine", TAU_D, bump=REWARD)}  # r1 is 1, whenever it spiked
    q = net.connect(pre, post, weight=0.0, rule=SpikeRule(traces, (Term(0.1, ("post", "r1"), "D", TAU_C),)), w_max=1e3)
    paired = net.run(10, [ns.Spikes(post)]).spikes(post).time[0]
    given, end = paired + delay, 12_000.0 + delay
    net.run(given - net.t)
    net.signal(dopamine=1.0)
    net.run(dt)
    net.signal(dopamine=0.0)
    net.run(end - net.t)
    met = np.arange(every - dt, end, every)
    met = met[met > given - dt / 2]
    terms = REWARD * np.exp(-(met - given) / TAU_D) * np.exp(-(met - paired) / TAU_C)
    return float(q.w[0]), 0.1 * every * float(terms.sum())


def closed_form(delay: float) -> float:
    return 0.1 * REWARD * exp(-delay / TAU_C) * TAU_C * TAU_D / (TAU_C + TAU_D)


def single() -> tuple[list[dict], list[dict]]:
    rows, off, off_sum = [], [], []
    for delay in DELAYS:
        coarse, half, quarter = (one_synapse(delay, dt, dt)[0] for dt in (1.0, 0.5, 0.25))
        got, (published, total) = (8 * quarter - 6 * half + coarse) / 3, one_synapse(delay, 1.0, EVERY)
        rows += [row("Delta s, dt to 0 (mV)", got, at=delay), row("Delta s, every 10 ms (mV)", published, at=delay)]
        off.append(abs(got / closed_form(delay) - 1))
        off_sum.append(abs(published / total - 1))
    return rows, [
        claim("one synapse: Delta s off the closed form, dt to 0", max(off), "<=", 1e-6, 0, "the closed form"),
        claim("one synapse: Delta s off the geometric sum, every 10 ms", max(off_sum), "<=", 1e-6, 0, "the sum"),
    ]


# ---------------------------------------------------------------------------------------------- all of it
def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    seconds, seeds = SECONDS_QUICK if mode.quick else SECONDS, range(mode.seeds)
    rows, claims = single()
    live(0, REWARDED, PIECES)  # compiles
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:  # the compiled loop holds no lock
        hours = list(pool.map(lambda k: live(k, REWARDED, seconds), seeds))
        rows.append(row("wall seconds of all seeds", time.perf_counter() - start, REWARDED))
        others = [hours[(k + 1) % len(hours)][1] for k in seeds]
        unrelated = list(pool.map(lambda k: live(k, UNRELATED, seconds, others[k]), seeds))
        frozen = list(pool.map(lambda k: live(k, FROZEN, seconds), seeds))
    rows += [r for found, _ in (*hours, *unrelated, *frozen) for r in found]
    return rows, claims if mode.quick else claims + claims_of(rows)


def values(rows: Sequence[Mapping], quantity: str, condition: str, seed: int | None = None) -> list[float]:
    return [
        r["value"] for r in rows
        if (r["quantity"], r["recipe"]) == (quantity, condition) and seed in (None, r["seed"])
    ]  # fmt: skip


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    seeds = sorted({r["seed"] for r in rows})
    peak = {c: [max(values(rows, "chosen weight (mV)", c, k)) for k in seeds] for c in (REWARDED, UNRELATED)}
    earned = {c: sum(values(rows, "rewards earned", c)) / len(seeds) for c in (FROZEN, REWARDED)}
    share = values(rows, "share near the cap", REWARDED)
    return [
        claim("the chosen synapse's highest weight within the hour (mV), worst seed", min(peak[REWARDED]), ">=",
              0.9 * W_MAX, 0, IZHIKEVICH),
        claim("share of synapses within 0.1 mV of the cap at the end, largest", max(share), "<=", 0.05, 0,
              "a few per cent, in an independent run"),
        claim("the chosen synapse's highest weight (mV), mean", [float(np.mean(peak[c])) for c in (UNRELATED, REWARDED)],
              "ordering", [UNRELATED, REWARDED], 0, "the reward must be its own"),
        claim("rewards an hour, with learning / with weights frozen", earned[REWARDED] / earned[FROZEN], ">=", 1.5, 0,
              "what it learns earns"),
        claim("s on the clock for all seeds, two threads", values(rows, "wall seconds of all seeds", REWARDED)[0], "<=",
              180.0, 0, "project target"),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- the figure
COLOURS = {REWARDED: "#8c1007", UNRELATED: "#2171b5", FROZEN: "#7a7a7a"}


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    seeds = sorted({r["seed"] for r in rows if r["recipe"]})
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(10, 6.4), layout="constrained")
        (climb, spread), (form, reward) = fig.subplots(2, 2)
        for condition in (UNRELATED, REWARDED):
            for k in seeds:
                at, w = course(rows, "chosen weight (mV)", condition, k)
                climb.plot(at / 60, w, color=COLOURS[condition], lw=1, alpha=0.8, label=None if k else condition)
        climb.axhline(W_MAX, color="black", lw=0.8, ls=":")
        climb.set(xlabel="biological time (min)", ylabel="weight from n1 to n2 (mV)", ylim=(-0.1, 1.12 * W_MAX))
        climb.set_title("A  The chosen synapse, each seed")
        for condition in (UNRELATED, REWARDED):
            low, share = (
                np.array(x) for x in zip(*[course(rows, "share of weights", condition, k) for k in seeds], strict=True)
            )
            middle = low[0] + 0.05
            spread.plot(middle, share.mean(0), color=COLOURS[condition], label=condition)
            spread.fill_between(middle, share.min(0), share.max(0), color=COLOURS[condition], alpha=0.2, lw=0)
        ends = [values(rows, "chosen weight (mV)", REWARDED, k)[-1] for k in seeds]
        spread.plot(ends, [1.6e-4] * len(ends), "v", color=COLOURS[REWARDED], label="the chosen one, each seed")
        spread.set(
            xlabel="weight at the end (mV)", ylabel="share of synapses, bins of 0.1 mV", yscale="log", ylim=(1e-4, 1)
        )
        spread.set_title("B  All 80,000 (band: least and most over seeds)")
        delays = np.linspace(0, max(DELAYS), 200)
        form.plot(delays / 1000, [closed_form(d) for d in delays], color="black", lw=1, label="closed form")
        for name, marker in (("Delta s, dt to 0 (mV)", "o"), ("Delta s, every 10 ms (mV)", "x")):
            at, w = course(rows, name, "", 0)
            form.plot(at / 1000, w, marker, color="#8c1007", label=name.removesuffix(" (mV)").replace("Delta s", "Δs"))
        form.set(xlabel="delay of the reward (s)", ylabel="Δs of one pairing (mV)", ylim=(0, None))
        form.set_title("C  One synapse, c$_0$ = 1, d$_0$ = 0.5")
        for condition in (FROZEN, REWARDED):
            at, each = (
                np.array(x) for x in zip(*[course(rows, "rewards earned", condition, k) for k in seeds], strict=True)
            )
            minutes = np.diff(at[0], prepend=0) / 60
            reward.plot(at[0] / 60, (each / minutes).mean(0), color=COLOURS[condition], label=condition)
            low, high = (each / minutes).min(0), (each / minutes).max(0)
            reward.fill_between(at[0] / 60, low, high, color=COLOURS[condition], alpha=0.2, lw=0)
        reward.set(xlabel="biological time (min)", ylabel="rewards earned a minute", ylim=(0, None))
        reward.set_title("D  What it earns (band: least and most over seeds)")
        for ax in (climb, spread, form, reward):
            ax.legend(fontsize=8)
    return fig


def course(rows: Sequence[Mapping], quantity: str, condition: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    found = [
        (r["at"], r["value"]) for r in rows
        if (r["quantity"], r["recipe"] or "", r["seed"]) == (quantity, condition, seed)
    ]  # fmt: skip
    return tuple(np.array(found, float).T)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
