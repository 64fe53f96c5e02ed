"""Does plastic inhibition bring a network of excitatory and inhibitory neurons to a low rate and out of step?

8000 excitatory and 2000 inhibitory conductance neurons, each pair connected with 2 %; only inhibitory synapses onto
excitatory neurons learn, from 0. Reference: Vogels, Sprekeler, Zenke, Clopath & Gerstner 2011, Science 334:1569:

    pre spike: dw = eta (o1 - alpha),    post spike: dw = eta r1,    alpha = 2 rho0 tau,    tau = 20 ms, rho0 = 3 Hz

w_EE = w_EI = 0.3 nS, w_II = 3 nS, 200 pA into every neuron. Expected after learning:

* The network is out of step: the variance of the population rate in 5 ms bins falls more than 5 times, and so does its ratio
  to the mean, which a mere fall of the rate would leave as it is. Single neurons are irregular: CV of intervals near 1.
* What the rule sets to alpha, on average over synapses, is the number of post spikes around a pre spike, each counted as
  exp(-|Delta t|/tau). Counted here from the spikes alone, without the engine's traces, it is alpha within 5 %. Between
  independent neurons it is 2 tau times the post rate, so that the rate is rho0: "3 Hz +- 20 %" is expected.
* THE PUBLISHED NETWORK MISSES THAT, and one claim fails: its rate is near 3.9 Hz (a Brian2 program of 2000 such neurons: 3.8
  Hz). A neuron has 40 inhibitory synapses, so strong that it fires when they happen to be silent: connected pairs are held at
  alpha, but pairs without a synapse, which nothing holds there, have at least 10 % more, and so is the rate.
* So with more and weaker synapses, which make a pair more independent, the rate must come to rho0 +- 20 %: 8 %, with a fourth
  of each weight and of eta. There it does.

eta = 0.2, then 0.05: the demonstration that simulators ship has 0.01, of which `--full` adds 100 s. `--quick`: 2000 neurons,
with as many synapses each, so that more of them are shared and the network is more in step.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import neurosim as ns
from neurosim.engine.record import Raster
from neurosim.figures import STYLE, claim
from neurosim.rules.stdp import inhibitory
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL = 2, 3
N, N_QUICK, SYNAPSES = 10_000, 2000, 200  # neurons, mean synapses onto each
W_E, W_II, DRIVE = 0.3, 3.0, 200.0  # nS, nS, pA
RHO0, TAU = 3.0, 20.0  # Hz, ms
PUBLISHED, WEAKER = "published", "4 times as many, as weak"
MORE = ((PUBLISHED, 1), (WEAKER, 4))  # times as many synapses, each so many times weaker
BEFORE = 0.5  # s
PHASES, PHASES_QUICK = ((0.2, 10.0), (0.05, 25.0)), ((0.2, 20.0),)  # eta, s
PHASES_FULL = (*PHASES, (0.01, 100.0))
LAST = 10.0  # s, measured after learning
BIN, SHOWN, UNITS = 5.0, 300.0, 80  # ms, ms and units of the raster
OBSERVED = 400  # excitatory neurons whose pairs are counted
VOGELS, BY_RULE = "Vogels et al. 2011", "the equation of the rule: its mean change is 0"


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    n, phases = (N_QUICK, PHASES_QUICK) if mode.quick else (N, PHASES_FULL if mode.full else PHASES)
    rows = [r for name, k in MORE for seed in range(mode.seeds) for r in learn(name, n, k, phases, seed)]
    return rows, claims_of(rows)


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    of = lambda name, q: np.mean([r["value"] for r in rows if (r["network"], r["quantity"]) == (name, q)])  # noqa: E731
    fall, fall_ratio = (of(PUBLISHED, f"{q}, before") / of(PUBLISHED, f"{q}, after") for q in ("variance", "ratio"))
    apart = [of(name, "pairs, unconnected") for name in (WEAKER, PUBLISHED)]
    return [
        claim(f"{PUBLISHED}: fall of the variance of the population rate", fall, ">=", 5, 0, VOGELS),
        claim(f"{PUBLISHED}: fall of variance / mean of the population rate", fall_ratio, ">=", 5, 0, VOGELS),
        claim(f"{PUBLISHED}: CV of intervals", of(PUBLISHED, "CV, after"), ">=", 0.8, 0, "1 of a Poisson process"),
        *(claim(f"{name}: pairs / alpha", of(name, "pairs"), "within", 1, 0.05, BY_RULE) for name, _ in MORE),
        claim(f"{PUBLISHED}: pairs / alpha without a synapse", apart[1], ">=", 1.1, 0, "its rate is above rho0"),
        claim("pairs / alpha without a synapse", apart, "ordering", [WEAKER, PUBLISHED], 0, "weaker, more independent"),
        *(
            claim(f"{name}: mean excitatory rate (Hz)", of(name, "mean, after"), "within", RHO0, 0.2 * RHO0, VOGELS)
            for name, _ in MORE
        ),
    ]


# ---------------------------------------------------------------------------------------------- the network
def network(n: int, k: int, eta: float, w, seed: int):
    """The network, its two populations and its plastic projection, whose weights are w (eta = 0: frozen)."""
    net, n_e, p = ns.Network(dt=0.1, seed=seed, dtype=np.float32), n * 4 // 5, k * SYNAPSES / n
    cell = ns.ConductanceLIF(C=200.0, g_L=10.0, E_L=-60.0, E_i=-80.0, tau_e=5.0, tau_i=10.0, refractory=5.0)
    exc, inh = (net.add(m, cell, drive=DRIVE, v=net.generator.uniform(-60, -50, m)) for m in (n_e, n - n_e))
    for post in (exc, inh):
        net.connect(exc, post, probability=p, weight=W_E / k, onto="g_e")
    net.connect(inh, inh, probability=p, weight=W_II / k, onto="g_i")
    rule = inhibitory(eta / k, RHO0, TAU) if eta else None
    return net, exc, inh, net.connect(inh, exc, probability=p, weight=w, onto="g_i", rule=rule, w_max=100.0)


def learn(name: str, n: int, k: int, phases: Sequence[tuple[float, float]], seed: int) -> list[dict]:
    """Frozen at first, then all phases: the same wiring, weights handed on; measured are the first and the end."""
    rows, w, begin = [], 0.0, -BEFORE

    def row(quantity: str, value: float, at: float | None = None, unit: int | None = None) -> None:
        rows.append(
            {"network": name, "seed": seed, "quantity": quantity, "at": at, "unit": unit, "value": float(value)}
        )

    for eta, seconds in ((0.0, BEFORE), *phases):
        net, exc, inh, ie = network(n, k, eta, w, seed)
        last = min(LAST, 0.8 * seconds)
        early = net.run(1000 * (seconds - last), [ns.PopulationRate(exc, bin=BIN)]).rate(exc)
        rec = net.run(1000 * last, [ns.Spikes(exc), ns.Spikes(inh), ns.PopulationRate(exc, bin=BIN)])
        late, spikes, when = rec.rate(exc), rec.spikes(exc), "after" if eta else "before"
        if not eta or (eta, seconds) == phases[-1]:
            found = {"mean": late.mean(), "variance": late.var(), "ratio": late.var() / late.mean()}
            for quantity, value in (found | {"CV": irregularity(spikes)}).items():
                row(f"{quantity}, {when}", value)
            for t, unit in raster(spikes) if (name, seed) == (PUBLISHED, 0) else ():
                row(f"spike, {when}", 1, t, unit)
        for i, r in enumerate(np.concatenate([early, late])[: int(2 * seconds) * 100].reshape(-1, 100).mean(1)):
            row("rate", r, begin + (i + 0.5) / 2)  # of half a second
        begin, w = begin + seconds, np.clip(ie.w.astype(float), 0, 100)
    joined = np.zeros((exc.n, inh.n), bool)
    joined[ie.post_index, ie.pre_index] = True
    for quantity, which in (("pairs", joined), ("pairs, unconnected", ~joined)):  # in alpha
        row(quantity, pairs(spikes, rec.spikes(inh), which[:OBSERVED]) / (2 * RHO0 * TAU / 1000))
    return rows


# ---------------------------------------------------------------------------------------------- what its spikes say
def pairs(post: Raster, pre: Raster, which: np.ndarray) -> float:
    """The sum of exp(-|Delta t|/tau) over post spikes around a pre spike, averaged over those of some pairs [post, pre].

    In bins of 1 ms: y, x [steps, units] count spikes, y is filtered with exp(-|Delta t|/tau).
    """
    start, seen = min(post.time.min(), pre.time.min()), post.unit < OBSERVED
    steps = int(max(post.time.max(), pre.time.max()) - start) + 1
    y, x = np.zeros((steps, OBSERVED), np.float32), np.zeros((steps, which.shape[1]), np.float32)
    np.add.at(y, ((post.time[seen] - start).astype(int), post.unit[seen]), 1)
    np.add.at(x, ((pre.time - start).astype(int), pre.unit), 1)
    kernel = np.exp(-np.abs(np.arange(-200, 201)) / TAU)
    around = np.stack([np.convolve(c, kernel, "same")[:steps] for c in y.T], 1).astype(np.float32)
    return float((around.T @ x)[which].sum() / (which * x.sum(0)).sum())


def irregularity(spikes: Raster, least: int = 10) -> float:
    """The mean CV of intervals, over units of so many intervals; 0 for regular, 1 for Poisson spikes."""
    order = np.lexsort((spikes.time, spikes.unit))
    unit, gap = spikes.unit[order], np.diff(spikes.time[order])
    of = np.where(unit[1:] == unit[:-1], unit[1:], -1) + 1  # 0: between units
    many, sums, squares = (np.bincount(of, x)[1:] for x in (np.ones(len(gap)), gap, gap**2))
    many, sums, squares = (x[many >= least] for x in (many, sums, squares))
    return float(np.mean(np.sqrt(np.maximum(squares / many - (sums / many) ** 2, 0)) / (sums / many)))


def raster(spikes: Raster) -> list[tuple[float, int]]:
    """(ms, unit) of some units' last spikes."""
    time, unit = spikes.raster()
    shown = (unit < UNITS) & (time >= time.max() - SHOWN)
    return [(round(t - time.max() + SHOWN, 1), u) for t, u in zip(time[shown], unit[shown], strict=True)]


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    of = lambda name, q: [r for r in rows if (r["network"], r["quantity"]) == (name, q)]  # noqa: E731
    one = lambda name, q: np.mean([r["value"] for r in of(name, q)])  # noqa: E731
    colours = {PUBLISHED: "#8c1007", WEAKER: "#2171b5"}
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(10, 6.2), layout="constrained")
        top, bottom = fig.subfigures(2, 1)
        for ax, when, letter in zip(top.subplots(1, 2), ("before", "after"), "AB", strict=True):
            spikes = of(PUBLISHED, f"spike, {when}")
            ax.plot([r["at"] for r in spikes], [r["unit"] for r in spikes], "|", color="black", markersize=3)
            ax.set(xlabel="time (ms)", ylabel="excitatory neuron", xlim=(0, SHOWN), ylim=(-1, UNITS))
            rate, cv = (one(PUBLISHED, f"{q}, {when}") for q in ("mean", "CV"))
            ax.set_title(f"{letter}  {when.capitalize()} learning, published: {rate:.1f} Hz, CV {cv:.2f}")
            ax.grid(False)
        rate, change, why = bottom.subplots(1, 3)
        rate.axhspan(0.8 * RHO0, 1.2 * RHO0, color="#9a9a9a", alpha=0.3, lw=0, label="ρ$_0$ ± 20 %")
        for name, colour in colours.items():
            at = sorted({r["at"] for r in of(name, "rate")})
            each = np.array([[r["value"] for r in of(name, "rate") if r["at"] == t] for t in at])
            rate.plot(at, each.mean(1), color=colour, label=name)
            rate.fill_between(at, each.min(1), each.max(1), color=colour, alpha=0.25, lw=0)
        rate.set(xlabel="time of learning (s)", ylabel="mean excitatory rate (Hz)", yscale="log")
        rate.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        rate.set_yticks([], minor=True)
        rate.set_title("C  The rate falls")
        for k, (name, colour) in enumerate(colours.items()):
            x = np.arange(2) + 0.36 * (k - 0.5)
            for when, shade in (("before", 0.35), ("after", 1.0)):
                bars = [one(name, f"{q}, {when}") for q in ("variance", "ratio")]
                change.plot(x, bars, "_", color=colour, alpha=shade, markersize=22, markeredgewidth=4)
                change.plot([], [], "_", color="black", alpha=shade, markeredgewidth=4, label=None if k else when)
            bars = [one(name, q) / (RHO0 if "mean" in q else 1) for q in ("pairs", "pairs, unconnected", "mean, after")]
            why.bar(np.arange(3) + 0.36 * (k - 0.5), bars, 0.34, color=colour, label=name)
        change.set_xticks(range(2), ["variance\n(Hz²)", "variance / mean\n(Hz)"])
        change.set(ylabel="population rate, 5 ms bins", yscale="log", xlim=(-0.6, 1.6))
        change.set_title("D  Synchrony falls")
        why.axhline(1, color="black", lw=0.8)
        why.set_xticks(range(3), ["pairs / α,\nconnected", "pairs / α,\nnot connected", "rate / ρ$_0$"])
        why.set(ylabel="ratio", ylim=(0, 1.75))
        why.set_title("E  Why above ρ$_0$")
        for ax in (rate, change, why):
            ax.legend(fontsize=8)
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
