"""How fast must a neuron sense its own rate, for a recurrent network with triplet STDP to stay stable?

A balanced network whose E to E synapses follow triplet STDP with a homeostatic depression, `homeostatic_triplet`:

    post spike: dw = A3_plus r1 o2,      pre spike: dw = -A2_minus(t) o1,      A2_minus(t) ~ A3_plus rbar(t)^2 / kappa

rbar is the neuron's rate over the last tau_hom, kappa = 3 Hz its target and first value. Reference: Zenke, Hennequin & Gerstner
2013, PLoS Comput Biol 9:e1003330: the detector has to act within seconds to minutes. Expected: at eta = 1 (it scales A3_plus)
stable for tau_hom <= 10 s; some tau_hom <= 300 s blows up; the critical tau_hom, not published as a number, falls as eta rises.
Blown up, as published: a mean excitatory rate outside 0.1 .. 60 Hz (20 kappa) after a filter of 100 ms.

Found at the published size, eta = 1: 3 s is stable for 300 s, at 4.5 Hz; 300 s runs away at 17 s and crosses 60 Hz at 87 s.
TWO CLAIMS FAIL, both of the small network by that criterion. At eta = 1 none of its runs crosses 60 Hz, but all with tau_hom >=
10 s run away: after 41 to 56 s (10 s), 16 to 22 s (30 s), 11 to 18 s (300 s) a cluster of up to 20 % of the neurons fires at
200 Hz, the limit of its refractory period, and inhibition silences the others, a mean of 14 to 37 Hz. Nothing ends it: there
one post spike adds A3_plus r1 o2 = 6.5e-3 * 3.4 * 22.8, half of w_max, whatever a pre spike takes. So critical by 60 Hz is
beyond 300 s at eta 1 and 4, 17 s at 16. A second criterion, ours, 1 % of the neurons above 100 Hz in a second, sees clusters:
critical are 5.5 s at eta = 1 (between 3 and 10 s), 1.7 s at 4, below 0.3 s at 16. Tried beside, small, tau_hom 100 s: rbar
first at each neuron's own rate, or half of excitation slow (`nmda=0.5`): clusters too.

As published: A3_plus, time constants, weights in units of the leak (0.16 from outside and E to I, 1 from I, w_max 1), 4 E to 1
I, 2500 outer Poisson units, synapses from E, I and outside 1000 : 250 : 125, tau_m of I 10 ms. Chosen: tau_m of E 20 ms, E_L =
v_reset = -70, threshold -50, E_e = 0, E_i = -80 mV, tau_ampa 5, tau_gaba 10, refractory 5, dt 0.2 ms, a fixed number of
synapses, weights held in the first second. Not as published: AMPA alone and, to be near 3 Hz and out of unison without NMDA,
w_EE 0.1 for 0.16, outer units at 44 Hz for 2 and onto I too, and a current into E, set to 3 Hz without plasticity. The small
network has as many and as strong synapses onto each neuron, from a tenth of the neurons.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import neurosim as ns
from neurosim.engine.parts import Population, Projection
from neurosim.figures import STYLE, claim
from neurosim.rules.homeostasis import homeostatic_triplet
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL = 3, 3
ETA, ETA_QUICK = (1.0, 4.0, 16.0), (1.0, 4.0)
TAU_HOM, TAU_HOM_QUICK = (0.3, 1.0, 3.0, 10.0, 30.0, 300.0), (3.0, 300.0)  # s
SECONDS, SECONDS_QUICK, SETTLE, STATIC = 60, 20, 1, 5  # s
PUBLISHED_ETA, PUBLISHED_TAU_HOM, PUBLISHED_SECONDS = 1.0, (3.0, 300.0), 300  # s, s: stable, and run away
KAPPA, LOWEST, HIGHEST, FILTER, BIN = 3.0, 0.1, 60.0, 100.0, 5.0  # Hz, Hz, Hz, ms, ms
FAST, SHARE = 100.0, 0.01  # Hz in a second, and the share of neurons above it that we call a runaway
A3_PLUS, W_EE, W, W_I, W_MAX = 6.5e-3, 0.1, 0.16, 1.0, 1.0  # weights in units of the leak
OUTER, OUTSIDE, G_L, FANO = 2500, 44.0, 10.0, 10.0  # units, Hz, nS; at most, without plasticity
FAN_IN, FAN_IN_I, FAN_IN_OUTER, DT, WORKERS = 1000, 250, 125, 0.2, 2  # ms, threads
ABOVE, BELOW = 1, -1  # what a run that blew up ended with
CRITERIA = ("blew up", "ran away")  # the published one, ours
BOUNDS = (f"a mean of {HIGHEST:g} Hz", f"{SHARE:.0%} above {FAST:g} Hz")
ZENKE = "Zenke, Hennequin & Gerstner 2013"
MEASURED = f"{ZENKE}: its direction; the boundary itself is measured here, not published"


class Size(NamedTuple):
    name: str
    excitatory: int  # a fourth as many are inhibitory
    drive: float  # pA into each excitatory neuron


SMALL, PUBLISHED = Size("small", 2000, 400.0), Size("published size", 20_000, 320.0)


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    etas, taus, seconds = (ETA_QUICK, TAU_HOM_QUICK, SECONDS_QUICK) if mode.quick else (ETA, TAU_HOM, SECONDS)
    seeds = range(mode.seeds)
    rows = [r for seed in seeds for r in background(SMALL, seed)]
    if mode.full:  # alone, as its time is a result
        rows += background(PUBLISHED, 0)
        for tau in PUBLISHED_TAU_HOM:
            rows += life(PUBLISHED, PUBLISHED_ETA, tau, 0, PUBLISHED_SECONDS)
    cells = [(SMALL, eta, tau, seed, seconds) for eta in etas for tau in taus for seed in seeds]
    with ThreadPoolExecutor(WORKERS) as pool:  # the compiled loop holds no lock
        rows += [r for found in pool.map(lambda cell: life(*cell), cells) for r in found]
    for gone, eta, seed in product(CRITERIA, etas, seeds):
        rows.append(row("critical", seed, eta, 0, seconds, gone, critical(rows, gone, eta, seed, taus)))
    return rows, claims_of(rows, etas, taus, seconds)


def network(size: Size, eta: float, tau_hom: float, seed: int) -> tuple[ns.Network, Population, Projection]:
    """The network, its excitatory neurons and their synapses; tau_hom in s; eta = 0: static."""
    net = ns.Network(dt=DT, seed=seed, dtype=np.float32)
    n, unit = size.excitatory, G_L  # nS for a weight of 1
    v = lambda m: net.generator.uniform(-70, -58, m)  # noqa: E731
    exc = net.add(n, cell(20.0), v=v(n), drive=size.drive, name="E")
    inh = net.add(n // 4, cell(10.0), v=v(n // 4), name="I")
    outside = net.add(OUTER, ns.Poisson(), drive=OUTSIDE)
    rule = homeostatic_triplet(A3_plus=A3_PLUS * eta * unit, rho0=KAPPA, tau_hom=1000 * tau_hom) if eta else None
    ee = net.connect(exc, exc, fan_in=FAN_IN, weight=W_EE * unit, onto="g_e", rule=rule, w_max=W_MAX * unit)
    net.connect(exc, inh, fan_in=FAN_IN, weight=W * unit, onto="g_e")
    for post in (exc, inh):
        net.connect(inh, post, fan_in=FAN_IN_I, weight=W_I * unit, onto="g_i")
        net.connect(outside, post, fan_in=FAN_IN_OUTER, weight=W * unit, onto="g_e")
    return net, exc, ee


def cell(tau_m: float) -> ns.ConductanceLIF:
    return ns.ConductanceLIF(
        C=G_L * tau_m, g_L=G_L, E_L=-70.0, E_e=0.0, E_i=-80.0, v_threshold=-50.0, v_reset=-70.0, refractory=5.0,
        tau_e=5.0, tau_i=10.0,
    )  # fmt: skip


def background(size: Size, seed: int) -> list[dict]:
    """Rate and synchrony of the excitatory neurons where nothing learns."""
    net, exc, _ = network(size, 0, 0, seed)
    net.run(1000.0 * SETTLE)
    rates = net.run(1000.0 * STATIC, [ns.PopulationRate(exc, bin=BIN)]).rate(exc)
    at = (size.name, seed, 0, 0, STATIC)
    return [row(*at, "rate without plasticity", rates.mean()), row(*at, "Fano without plasticity", fano(rates, exc.n))]


def life(size: Size, eta: float, tau_hom: float, seed: int, seconds: int) -> list[dict]:
    """Rows of one run: when and to where it blew up (or `seconds`, 0), its course and end, what it cost."""
    wall, cpu = time.perf_counter(), time.thread_time()
    net, exc, ee = network(size, eta, tau_hom, seed)
    at, rows, recent, level, away = (size.name, seed, eta, tau_hom), [], [], KAPPA, []
    settle(net, ee)
    for t in range(seconds):
        rates, counts = second(net, exc)
        levels = filtered(rates, level)
        level, recent = levels[-1], [*recent[-9:], rates]
        away += [t + 1] if np.mean(counts > FAST) > SHARE else []
        rows.append(row(*at, t + 1, "rate", rates.mean()))
        if t % 5 == 4:
            rows.append(row(*at, t + 1, "weight", ee.w.mean() / G_L))
        if t % 10 == 9 and size is PUBLISHED:  # a second of it may take half a minute
            say(*at, {"s": t + 1, "rate": rates.mean(), "CPU seconds": time.thread_time() - cpu})
        if len(gone := np.flatnonzero((levels > HIGHEST) | (levels < LOWEST))):
            end, way = t + (gone[0] + 1) * BIN / 1000, ABOVE if levels[gone[0]] > HIGHEST else BELOW
            break
    else:
        end, way = seconds, 0
    recent = np.concatenate(recent)
    found = {"life": end, "blew up": way, "ran away": way != 0 or away != [], "away after": min([*away, end])}
    found |= {"last 10 s: rate": recent.mean(), "last 10 s: Fano": fano(recent, exc.n)}
    found |= {"last second: share silent": np.mean(counts == 0), "last second: share > 100 Hz": np.mean(counts > FAST)}
    found |= {"wall seconds": time.perf_counter() - wall, "CPU seconds": time.thread_time() - cpu}
    rows += [row(*at, end, quantity, value) for quantity, value in found.items()]
    say(*at, found)
    return rows


def say(size: str, seed: int, eta: float, tau_hom: float, found: Mapping[str, float]) -> None:
    what = ", ".join(f"{name} {x:.3g}" for name, x in found.items())
    print(f"{size}, eta {eta:g}, tau_hom {tau_hom:g} s, seed {seed}: {what}", file=sys.stderr, flush=True)


def settle(net: ns.Network, ee: Projection) -> None:
    """Leave the random first potentials behind, with the weights held (put back every 10 ms)."""
    first = ee.w.copy()
    net.run(1000.0 * SETTLE, each=(10.0, lambda net: np.copyto(ee.w, first)))


def second(net: ns.Network, exc: Population) -> tuple[np.ndarray, np.ndarray]:
    """Hz in each bin of the next second; spikes of each neuron."""
    rec = net.run(1000, [ns.PopulationRate(exc, bin=BIN), ns.Spikes(exc)])
    return rec.rate(exc), rec.spikes(exc).counts(exc.n)


def filtered(rates: Sequence[float], level: float) -> np.ndarray:
    """level <- level + (rate - level) (1 - exp(-BIN / FILTER)), at each bin."""
    levels = []
    for rate in rates:
        level += (rate - level) * -np.expm1(-BIN / FILTER)
        levels.append(level)
    return np.array(levels)


def fano(rates: np.ndarray, n: int) -> float:
    """Variance over mean of the number of spikes of n neurons in a bin; 1 where they are independent Poisson."""
    counts = rates * n * BIN / 1000
    return float(counts.var() / counts.mean()) if counts.any() else 0.0


def row(size: str, seed: int, eta: float, tau_hom: float, t: float, quantity: str, value: float) -> dict:
    value = float(f"{value:.5g}")
    return {"layer": size, "seed": seed, "quantity": quantity, "value": value, "eta": eta, "tau_hom": tau_hom, "t": t}


def values(rows: Sequence[Mapping], quantity: str, size: str = SMALL.name, **at: float) -> list[float]:
    return [
        r["value"] for r in rows
        if (r["quantity"], r["layer"]) == (quantity, size) and all(r[k] == v for k, v in at.items())
    ]  # fmt: skip


def critical(rows: Sequence[Mapping], gone: str, eta: float, seed: int, taus: Sequence[float]) -> float:
    """s: the geometric mean of the largest tau_hom up to which all are stable and the next; gone: one of CRITERIA.

    Where none is stable, the least of the grid, which is above it; where all are, the largest, which is below it.
    """
    left = [any(values(rows, gone, eta=eta, seed=seed, tau_hom=tau)) for tau in taus]
    grid, stable = [taus[0], *taus, taus[-1]], left.index(True) if True in left else len(taus)
    return float(np.sqrt(grid[stable] * grid[stable + 1]))


def claims_of(rows: Sequence[Mapping], etas: Sequence[float], taus: Sequence[float], seconds: int) -> list[dict]:
    lives = [x for tau in taus if tau <= 10 for x in values(rows, "life", eta=1.0, tau_hom=tau)]
    crossed = [x for tau in taus if tau <= 300 for x in values(rows, "blew up", eta=1.0, tau_hom=tau)].count(ABOVE)
    found = []
    for size in (SMALL.name, PUBLISHED.name):
        if rates := values(rows, "rate without plasticity", size):
            worst = max(values(rows, "Fano without plasticity", size))
            name, alone = f"{size}: E rate without plasticity (Hz)", "1 of independent neurons; chosen"
            found.append(claim(name, np.mean(rates), "within", KAPPA, 1.0, f"{ZENKE}: kappa"))
            found.append(claim(f"{size}: Fano factor in {BIN:g} ms", worst, "<=", FANO, 0, alone))
    found += [
        claim(f"eta = 1, tau_hom <= 10 s: shortest life (s of {seconds})", min(lives), ">=", seconds, 0, ZENKE),
        claim("eta = 1, tau_hom <= 300 s: runs that cross 60 Hz", crossed, ">=", 1, 0, ZENKE),
    ]
    for gone, bound in zip(CRITERIA, BOUNDS, strict=True):
        least = [min(values(rows, gone, "critical", eta=eta)) for eta in sorted(etas)]  # to there all seeds are stable
        falls = min(slow / fast for slow, fast in zip(least, least[1:], strict=False))
        name = f"critical tau_hom, by {bound}, over that of the next larger eta, least"
        found.append(claim(name, falls, ">=", 2, 0, MEASURED))
    for tau, way in zip(PUBLISHED_TAU_HOM, (0, ABOVE), strict=True):
        if got := values(rows, "blew up", PUBLISHED.name, tau_hom=tau):
            what = "crosses 60 Hz" if way else "leaves 0.1 .. 60 Hz"
            name = f"published size, tau_hom = {tau:g} s: {what} within {PUBLISHED_SECONDS} s"
            found.append(claim(name, got[0], "within", way, 0, MEASURED))
    return found


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    plain = [r for r in rows if (r["quantity"], r["layer"]) == ("life", SMALL.name)]
    etas, taus = (sorted({r[k] for r in plain}) for k in ("eta", "tau_hom"))
    large = sorted({r["tau_hom"] for r in rows if (r["quantity"], r["layer"]) == ("life", PUBLISHED.name)})
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(13.5 if large else 9.6, 4.4), layout="constrained")
        panels = fig.subplots(1, 3 if large else 2)
        grid(fig, panels[0], rows, etas, taus)
        courses(panels[1], rows, SMALL.name, etas[0], taus, "B  2,500 neurons")
        if large:
            courses(panels[2], rows, PUBLISHED.name, PUBLISHED_ETA, large, "C  25,000 neurons, seed 0")
    return fig


def grid(fig, ax, rows: Sequence[Mapping], etas: Sequence[float], taus: Sequence[float]) -> None:
    """Where runs ended, and the boundary by the published criterion."""
    plain = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for eta, tau in ((eta, tau) for eta in etas for tau in taus):
        of = lambda q: np.array(values(rows, q, eta=eta, tau_hom=tau))  # noqa: B023, E731
        rate, silent, gone = of("last 10 s: rate"), of("last second: share silent"), of("blew up") != 0
        dots = ax.scatter(eta, tau, 130, rate.mean(), edgecolor="#404040", cmap="YlOrRd", norm=LogNorm(KAPPA, HIGHEST))
        label = f"{rate.min():.3g} .. {rate.max():.3g} Hz\n{100 * silent.mean():.0f} % silent"
        if gone.any():
            label = f"{gone.sum()} of {len(gone)} left\nat {np.median(of('life')[gone]):.3g} s"
        ax.annotate(label, (eta, tau), (10, 0), textcoords="offset points", fontsize=7.5, va="center", bbox=plain)
    for quantity, bound, line, colour in zip(CRITERIA, BOUNDS, ("^-", "v--"), ("black", "#2171b5"), strict=True):
        found = np.array([values(rows, quantity, "critical", eta=eta) for eta in etas])
        found = np.where(found == taus[-1], 2 * found, found)  # beyond the grid
        ax.plot(etas, found.min(1), line, color=colour, label=f"critical τ$_{{hom}}$, by {bound}; band: seeds")
        ax.fill_between(etas, found.min(1), found.max(1), color=colour, alpha=0.15, lw=0)
    ax.set(xscale="log", yscale="log", xlim=(etas[0] / 1.6, etas[-1] * 4.5), ylim=(taus[0] / 2, taus[-1] * 7))
    ax.set(xlabel="learning rate η", ylabel="time constant of the rate detector τ$_{hom}$ (s)")
    for axis, at in ((ax.xaxis, etas), (ax.yaxis, taus)):
        axis.set_ticks(at, [f"{x:g}" for x in at])
        axis.set_ticks([], minor=True)
    bar = fig.colorbar(dots, ax=ax, label="mean excitatory rate at the end (Hz)", ticks=[3, 10, 30, 60])
    bar.ax.set_yticklabels(["3", "10", "30", "60"])
    bar.ax.set_yticks([], minor=True)
    ax.set_title("A  2,500 neurons, last 10 s, range of seeds")
    ax.legend(loc="upper left", fontsize=8)


def courses(ax, rows: Sequence[Mapping], size: str, eta: float, taus: Sequence[float], title: str) -> None:
    """A line for each seed; a cross where it left 0.1 .. 60 Hz."""
    for tau, colour in zip(taus, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(taus))), strict=True):
        label = f"τ$_{{hom}}$ = {tau:g} s"
        if size == PUBLISHED.name:
            wall, cpu = (values(rows, f"{q} seconds", size, tau_hom=tau)[0] / 60 for q in ("wall", "CPU"))
            label += f": {wall:.0f} min of computing ({cpu:.0f} of CPU)"
        for seed, gone in enumerate(values(rows, "blew up", size, eta=eta, tau_hom=tau)):
            at = {"layer": size, "quantity": "rate", "seed": seed, "eta": eta, "tau_hom": tau}
            t, rate = zip(*((r["t"], r["value"]) for r in rows if all(r[k] == v for k, v in at.items())), strict=True)
            ax.plot(t, rate, color=colour, label=None if seed else label, linewidth=0.9)
            if gone:
                ax.plot(t[-1], rate[-1], "x", color=colour, markersize=7, markeredgewidth=2)
    ax.hlines((LOWEST, HIGHEST), *ax.get_xlim(), color="#8c1007", linestyle=":")
    right = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 8, "color": "#8c1007"}
    ax.text(1, HIGHEST, "blown up (20 κ)", **right)
    ax.set(yscale="log", ylim=(0.07, 500), xlabel="biological time (s)", ylabel="mean excitatory rate, 1 s bins (Hz)")
    ax.set_yticks([0.1, 1, 3, 10, 60], ["0.1", "1", "3", "10", "60"])
    ax.set_title(f"{title}, η = {eta:g}")
    ax.legend(loc="upper left", fontsize=8, ncols=1 if size == PUBLISHED.name else 2)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
