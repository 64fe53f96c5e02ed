"""Is triplet STDP, on average, the BCM rule?

Independent Poisson trains of rates rho_x, rho_y (Hz); all-to-all triplet STDP, the minimal sets of visual cortex and
hippocampus. Reference: Pfister & Gerstner 2006, J Neurosci 26:9673:

    d<w>/dt = rho_x rho_y (A2_plus tau_plus - A2_minus tau_minus) + A3_plus tau_plus tau_y rho_x rho_y^2        (drift)
    theta = (A2_minus tau_minus - A2_plus tau_plus) / (A3_plus tau_plus tau_y)

Expected: theta = 19.2 and 5.4 Hz; the simulated drift at rho_x = 10 Hz, rho_y = 5, 10, 30 Hz within 3 standard errors and
3 % of the formula. Near theta potentiation and depression cancel: there 3 % of the depression, as for hippocampus at 5 Hz.

On a grid of steps dt a spike has probability p = rho dt, and a trace with decay a = exp(-dt/tau) has the mean p / (1 - a) after
its bump and p a / (1 - a) before. Pre spikes come before post spikes within a step, so post spikes read r1 after, all else
reads before. x and y are independent of what they read, so the expectation per step is exactly (`in_steps`)

    p_y p_x / (1 - a_plus) (A2_plus + A3_plus p_y a_y / (1 - a_y)) - p_x p_y a_minus / (1 - a_minus) A2_minus

At dt = 1 ms potentiation is larger than the formula's by 2.5 %; the simulation must show that too, within 3 standard errors.

How it is simulated: every pre train meets every post train, in every lane; traces start at their means, which by the same
independence makes the first step as good as any; the numbers of spikes of each unit, whose means are known, are control
variates with coefficients fixed beforehand, so there is no bias. The standard error is that of a two-way table (pre x
post units).

The sliding threshold: in homeostatic triplet STDP (Zenke et al. 2013) theta = rbar^2 / rho0. A neuron fires at 3, 6 and 1.5 Hz:
theta follows with tau_hom, and the drift changes its sign where theta passes the rate; BCM on the rates does the same
(`bcm_from_triplet`). But in spikes the post spike that depresses is itself in rbar, as 1 / tau_hom: the threshold met is
(rbar + 1/tau_hom)^2 / rho0. The drift must be 0 where that is the rate, within 5 % (left out: the spread of rbar between
lanes, +0.3 % at tau_hom = 5 s, and the spikes of the trial before, -0.7 %), but for the 4 % that steps of 1 ms make.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.figures import STYLE, claim
from neurosim.plasticity import Record
from neurosim.rules import PFISTER_GERSTNER, SpikeRule, bcm_from_triplet, homeostatic_triplet, triplet
from neurosim.rules.homeostasis import drift
from neurosim.study import Mode, main
from neurosim.tasks.pairing import poisson

SEEDS, SEEDS_FULL = 4, 20
SETS = ("cortex-minimal", "hippocampus-minimal")
THETA = (19.2, 5.4)  # Hz
RHO_X, RHO_Y = 10.0, (5.0, 10.0, 30.0)
UNITS, LANES, SPAN = 32, 32, 2000  # units of each post rate (three times as many pre); steps at once
COARSE = (4.0, 2.0, 1.0)  # ms
RHO0, STEPS_OF_RATE, PHASES = 3.0, (3.0, 6.0, 1.5), (1.0, 3.0, 4.0)  # Hz, and for how many tau_hom
TRIAL = 500.0  # ms
SERIES = ("rate", "theta", "theta of BCM", "drift", "drift of BCM")
PG, ZENKE = "Pfister & Gerstner 2006", "Zenke et al. 2013"


def in_steps(rule: SpikeRule, rho_x: float, rho_y: float, dt: float) -> float:
    """The exact expectation of dw per second on a grid, all-to-all pair and triplet terms."""
    p = {"pre": rho_x * dt / 1000, "post": rho_y * dt / 1000}
    whole = 0.0
    for m in rule.terms:
        event, value = m.factors[0], m.gain * p[m.factors[0]]
        for f in m.factors[1:]:
            of, a = rule.traces[f].of, math.exp(-dt / rule.traces[f].tau)
            value *= p[of] / (1 - a) * (1.0 if (event, of) == ("post", "pre") else a)
        whole += value
    return whole * 1000 / dt


# ---------------------------------------------------------------------------------------------- drift by simulation
def simulate(rules: Mapping[str, SpikeRule], dt: float, seconds: float, seed: int) -> dict[tuple[str, float], tuple]:
    """(mean drift per s, its standard error) by rule and post rate."""
    g, each, time = torch.Generator().manual_seed(seed), len(RHO_Y) * UNITS, LANES * seconds
    rates = {"pre": torch.full((each,), RHO_X), "post": torch.tensor(RHO_Y).repeat_interleave(UNITS)}

    def start(rule: SpikeRule) -> dict[str, Tensor]:  # every trace at its mean
        means = {n: rates[t.of] * dt / 1000 / (1 - math.exp(-dt / t.tau)) for n, t in rule.traces.items()}
        return {n: z.expand(LANES, -1) for n, z in means.items()}

    states, dw = {n: start(rule) for n, rule in rules.items()}, dict.fromkeys(rules, torch.zeros(each, each))
    seen = dict.fromkeys(rates, torch.zeros(each))  # rates, as they were
    for _ in range(spans := math.ceil(seconds * 1000 / dt / SPAN)):
        trains = [poisson(RHO_X, rho_y, seconds * 1000 / spans, LANES * UNITS, g, dt=dt) for rho_y in RHO_Y]
        x = {k: torch.cat([getattr(t, k).reshape(-1, LANES, UNITS) for t in trains], 2) for k in rates}
        seen = {k: seen[k] + x[k].sum((0, 1)) / time for k in rates}
        dw = {n: dw[n] + update(rule, x["pre"], x["post"], dt, states[n]) / time for n, rule in rules.items()}
    found = {}
    for name, rule in rules.items():
        k = drift(rule)
        for i, rho_y in enumerate(RHO_Y):
            of = slice(i * UNITS, (i + 1) * UNITS)
            by_x, by_y = k(1.0, rho_y), RHO_X * (k.a + 2 * k.b * rho_y)  # d drift / d rho
            luck = by_x * (seen["pre"] - RHO_X) + by_y * (seen["post"][of, None] - rho_y)
            found[name, rho_y] = crossed((dw[name][of] - luck).double())
    return found


def update(rule: SpikeRule, pre: Tensor, post: Tensor, dt: float, state: dict) -> Tensor:
    """dW [post, pre], summed over lanes."""
    n, m = pre.shape[-1], post.shape[-1]
    synapse = nn.Linear(n, m, bias=False, device="meta")  # geometry only
    rec = Record("synapse", synapse, torch.zeros(m, n), pre, u=post, post=post, slope=post, state={}, dt=dt)
    return rule.update(rec, {}, state)


def crossed(x: Tensor) -> tuple[float, float]:
    """Mean and standard error of a table x[i, j] = mean + row_i + column_j + rest: rows and columns are random too."""
    R, C = x.shape
    rows, columns, mean = x.mean(1), x.mean(0), x.mean()
    rest = ((x - rows[:, None] - columns + mean) ** 2).sum() / ((R - 1) * (C - 1))
    square = (C * rows.var() + R * columns.var() - rest).clamp(min=rest) / (R * C)
    return mean.item(), square.sqrt().item()


def pooled(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean over seeds, and its standard error from theirs."""
    means, errors = zip(*parts, strict=True)
    return float(np.mean(means)), math.sqrt(sum(e * e for e in errors)) / len(errors)


# ---------------------------------------------------------------------------------------------- the sliding threshold
def rate_at(t: float, tau: float) -> tuple[float, float]:
    """(rate, expected rbar) at t ms: rbar goes to the rate with tau, from rho0."""
    rbar = RHO0
    for rate, phase in zip(STEPS_OF_RATE, PHASES, strict=True):
        length = phase * tau
        if t < length or (rate, phase) == (STEPS_OF_RATE[-1], PHASES[-1]):
            return rate, rate + (rbar - rate) * math.exp(-t / tau)
        t, rbar = t - length, rate + (rbar - rate) * math.exp(-phase)
    raise AssertionError


def slide(tau: float, lanes: int, units: int, seed: int) -> list[dict]:
    """SERIES by trial: thetas at its end, drifts (per s) over it."""
    rule = homeostatic_triplet(rho0=RHO0, tau_hom=tau)
    bcm, g, spikes, rates = bcm_from_triplet(rule, TRIAL), torch.Generator().manual_seed(seed), {}, {}
    synapse, rows = nn.Linear(1, 1, bias=False, device="meta"), []
    for k in range(round(sum(PHASES) * tau / TRIAL)):
        rate, _ = rate_at(k * TRIAL, tau)
        t = poisson(RHO_X, rate, TRIAL, lanes * units, g)
        dw = update(rule, t.pre.reshape(-1, lanes, units), t.post.reshape(-1, lanes, units), 1.0, spikes)
        x, y = torch.full((1, 1), RHO_X), torch.full((1, 1), rate)
        rec = Record("synapse", synapse, torch.zeros(1, 1), x, u=y, post=y, slope=y, state={}, dt=None)
        by_rate = bcm.update(rec, {}, rates).item()
        rbar = spikes["rbar"].mean().item()
        values = (rate, rbar**2 / RHO0, rates["m"].item() ** 2 / RHO0, dw.mean().item() / lanes / TRIAL * 1000, by_rate)
        place = {"recipe": "homeostatic", "seed": seed, "t": (k + 1) * TRIAL / tau}
        rows += [place | {"quantity": q, "value": v} for q, v in zip(SERIES, values, strict=True)]
    return rows


def crossings() -> list[float]:
    """When theta = rbar^2 / rho0 passes the rate after each of its steps, in tau_hom: by hand."""
    found, start, rbar = [], 0.0, RHO0
    for rate, phase in zip(STEPS_OF_RATE, PHASES, strict=True):
        if rate != STEPS_OF_RATE[0]:
            found.append(start + math.log((rbar - rate) / (math.sqrt(RHO0 * rate) - rate)))
        rbar, start = rate + (rbar - rate) * math.exp(-phase), start + phase
    return found


def zero(rows: Sequence[Mapping], phase: int, tau: float) -> float:
    """The threshold met by spikes, (rbar + 1/tau_hom)^2 / rho0, at which the drift is 0, over the rate, in a phase.

    In it the drift is a line over that threshold: fitted where the threshold is below twice the rate.
    """
    (ts, ds), rbar = series(rows, "drift"), np.sqrt(RHO0 * series(rows, "theta")[1])
    middle = (rbar + np.array([RHO0, *rbar[:-1]])) / 2
    met, rate = (middle + 1000 / tau) ** 2 / RHO0, STEPS_OF_RATE[phase]
    start = sum(PHASES[:phase])
    at = (ts > start + 1e-9) & (ts < start + PHASES[phase] + 1e-9) & (met < 2 * rate)
    slope, level = np.polyfit(met[at], ds[at], 1)
    return float(-level / slope / rate)


def series(rows: Sequence[Mapping], quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """(t, mean over seeds)."""
    at: dict[float, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["quantity"]) == ("homeostatic", quantity):
            at.setdefault(r["t"], []).append(r["value"])
    return np.array(list(at)), np.array([np.mean(v) for v in at.values()])


# ---------------------------------------------------------------------------------------------- the study
def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    dt, seconds = 0.05, 1.0
    rules = {n: PFISTER_GERSTNER[n].rule() for n in SETS}
    rows = points(rules, dt, seconds, mode.seeds)
    potentiation = {"potentiation": replace(triplet(), terms=triplet().terms[:1])}
    for step in COARSE:
        rows += points({**potentiation, "cortex-minimal": triplet()}, step, 4.0, mode.seeds)
    tau = 5000.0 if mode.quick else 10_000.0
    rows += [r for seed in range(1 if mode.quick else 2) for r in slide(tau, 32, 64, seed)]
    return rows, [*checks(rows, dt), *sliding(rows, tau)]


def points(rules: Mapping[str, SpikeRule], dt: float, seconds: float, seeds: int) -> list[dict]:
    found = [simulate(rules, dt, seconds, seed) for seed in range(seeds)]
    rows = []
    for name, rule in rules.items():
        for rho_y in RHO_Y:
            mean, error = pooled([f[name, rho_y] for f in found])
            place = {"recipe": name, "dt": dt, "rho_y": rho_y, "se": error, "quantity": "drift"}
            exact = {"formula": drift(rule)(RHO_X, rho_y), "in_steps": in_steps(rule, RHO_X, rho_y, dt)}
            rows.append(place | exact | {"value": mean})
    return rows


def pick(rows: Sequence[Mapping], recipe: str, dt: float) -> list[Mapping]:
    return [r for r in rows if r["recipe"] == recipe and r.get("dt") == dt]


def checks(rows: Sequence[Mapping], dt: float) -> list[dict]:
    claims = []
    for name, theta in zip(SETS, THETA, strict=True):
        k = drift(PFISTER_GERSTNER[name].rule())
        claims.append(claim(f"{name}: theta (Hz)", k.theta, "within", theta, 0.05, PG))
        for r in pick(rows, name, dt):
            near = abs(r["rho_y"] - k.theta) < 0.2 * k.theta
            scale = abs(k.a) * RHO_X * r["rho_y"] if near else abs(r["formula"])
            what = f"{name}, {r['rho_y']:g} Hz, dt {dt:g} ms: drift"
            of = "depression" if near else "formula"
            off = r["value"] - r["formula"]
            claims.append(claim(f"{what} - formula, of {of}", off / scale, "within", 0, 0.03, PG))
            claims.append(claim(f"{what} - formula, in s.e.", off / r["se"], "within", 0, 3, PG))
    exact = "expectation in steps, see the docstring"
    for r in pick(rows, "potentiation", 1.0):
        what, formula = f"dt 1 ms, {r['rho_y']:g} Hz: potentiation / formula", r["formula"]
        claims.append(claim(f"{what}, exact", r["in_steps"] / formula, "within", 1.025, 0.001, exact))
        claims.append(claim(f"{what}, simulated", r["value"] / formula, "within", 1.025, 0.02, exact))
    for step, name in product(COARSE, ("potentiation", SETS[0])):
        worst = max(abs(r["value"] - r["in_steps"]) / r["se"] for r in pick(rows, name, step))
        claims.append(claim(f"dt {step:g} ms, {name}: from exact, worst rate, in s.e.", worst, "<=", 3, 0, exact))
    return claims


def sliding(rows: Sequence[Mapping], tau: float) -> list[dict]:
    ts, theta = series(rows, "theta")
    want = np.array([rate_at(t * tau - 1e-6, tau)[1] ** 2 / RHO0 for t in ts])
    by_rate = series(rows, "theta of BCM")[1]
    largest = float(abs(series(rows, "drift of BCM")[1]).max())
    apart = float(np.sqrt(np.mean((series(rows, "drift")[1] - series(rows, "drift of BCM")[1]) ** 2)))
    off, off_by_rate = (float(np.sqrt(np.mean((x / want - 1) ** 2))) for x in (theta, by_rate))
    claims = [
        claim("theta against rbar^2 / rho0, rbar by hand, relative r.m.s.", off, "<=", 0.03, 0, ZENKE),
        claim("theta of BCM against the same", off_by_rate, "<=", 0.05, 0, ZENKE),
        claim("drift - BCM's, r.m.s. / largest", apart / largest, "<=", 0.1, 0, "bcm_from_triplet"),
    ]
    (_, ds), (_, rates) = series(rows, "drift"), series(rows, "rate")
    clear = abs(by_rate / rates - 1) > 0.25
    same = float(np.mean(np.sign(ds[clear]) == np.sign(rates - by_rate)[clear]))
    claims.append(claim("sign of the drift is that of rate - theta, where 25 % apart", same, ">=", 0.95, 0, ZENKE))
    ups = replace(triplet(), terms=triplet().terms[:1]), replace(triplet(), terms=triplet().terms[1:])
    longer = [in_steps(rule, 1.0, 1.0, 1.0) / drift(rule)(1.0, 1.0) for rule in ups]  # of up and down, by dt = 1 ms
    for k in (1, 2):
        name = f"step to {STEPS_OF_RATE[k]:g} Hz: threshold met at zero drift / rate"
        source = "(rbar + 1/tau_hom)^2 / rho0 = rate, both sides in steps"
        claims.append(claim(name, zero(rows, k, tau), "within", longer[0] / longer[1], 0.05, source))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
BLUE, ORANGE, GREY = "#2171b5", "#c2410c", "#555555"


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    fine = min(r["dt"] for r in rows if r["recipe"] == SETS[0])
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.6, 6.8), layout="constrained")
        (rate, step), (theta, sign) = fig.subplots(2, 2)
        for name, colour, marker in zip(SETS, (BLUE, ORANGE), "os", strict=True):
            k, own = drift(PFISTER_GERSTNER[name].rule()), pick(rows, name, fine)
            y = np.linspace(0, 32, 200)
            rate.plot(y, [1000 * k(RHO_X, v) for v in y], color=colour, label=f"{name}: formula")
            at, found, error = ([1000 * r[c] for r in own] for c in ("rho_y", "value", "se"))
            at, label = [x / 1000 for x in at], f"{name}: simulated, dt {fine:g} ms"
            bars(rate, at, found, error, colour, marker, label, 10 if marker == "o" else 5)
            rate.axvline(k.theta, color=colour, linestyle=":", ymax=0.22, label=f"$\\theta$ = {k.theta:.1f} Hz")
        rate.axhline(0, color="#9a9a9a", linewidth=0.8)
        rate.set(xlabel="post rate $\\rho_y$ (Hz)", ylabel="drift of the weight (10$^{-3}$ per s)")
        rate.set_title("A  Drift under Poisson trains, $\\rho_x$ = 10 Hz")
        rate.legend(loc="upper left", fontsize=8)
        grid = np.linspace(0.05, 4.4, 60)
        only = replace(triplet(), terms=triplet().terms[:1])
        for rho_y, colour, marker in zip(RHO_Y, (BLUE, GREY, ORANGE), "o^s", strict=True):
            own = [r for r in rows if r["recipe"] == "potentiation" and r["rho_y"] == rho_y]
            at = np.array([r["dt"] for r in own]) + 0.06 * (RHO_Y.index(rho_y) - 1)
            ratio, error = (100 * np.array([r[c] / r["formula"] for r in own]) for c in ("value", "se"))
            bars(step, at, ratio - 100, error, colour, marker, f"simulated, $\\rho_y$ = {rho_y:g} Hz")
        exact = [100 * in_steps(only, 10, 10, d) / drift(only)(10, 10) - 100 for d in grid]
        step.plot(grid, exact, color="black", label="exact expectation in steps")
        step.set(xlabel="step dt (ms)", ylabel="potentiation above the formula (%)")
        step.set_title("B  Long steps potentiate more")
        step.legend(loc="upper left", fontsize=8)
        line(theta, rows, "rate", "black", ":", "rate of the neuron")
        line(theta, rows, "theta", BLUE, "-", "$\\theta$ of the spikes, rbar$^2/\\rho_0$")
        line(theta, rows, "theta of BCM", ORANGE, "--", "$\\theta$ of BCM on the rates")
        theta.set(xlabel="time / $\\tau_{hom}$", ylabel="rate (Hz)", ylim=(0, 17))
        theta.set_title("C  The threshold slides")
        theta.legend(loc="upper left", fontsize=8)
        line(sign, rows, "drift", BLUE, "-", "spikes, by trial")
        line(sign, rows, "drift of BCM", ORANGE, "--", "BCM on the rates")
        sign.axhline(0, color="#9a9a9a", linewidth=0.8)
        for at, label in zip(crossings(), ("$\\theta$ = rate", None), strict=True):
            sign.axvline(at, color=GREY, linestyle=":", linewidth=1, label=label)
        sign.set(xlabel="time / $\\tau_{hom}$", ylabel="drift of the weight (10$^{-3}$ per s)")
        sign.set_title("D  Its sign follows")
        sign.legend(loc="lower right", fontsize=8)
        note = "C, D: homeostatic triplet STDP, $\\rho_0$ = 3 Hz, dt 1 ms, trials of 0.5 s."
        fig.supxlabel(f"Bars: 3 standard errors. {note}", fontsize=8)
    return fig


def bars(ax, x, mean, error, colour: str, marker: str, label: str, hollow: float | None = None) -> None:
    """hollow: the size of a hollow marker, for points that lie on each other."""
    style = {"color": colour, "marker": marker, "linestyle": "", "capsize": 3, "label": label}
    style |= {} if hollow is None else {"markersize": hollow, "markerfacecolor": "none", "zorder": 3}
    ax.errorbar(x, mean, 3 * np.array(error), **style)


def line(ax, rows: Sequence[Mapping], quantity: str, colour: str, style: str, label: str) -> None:
    t, values = series(rows, quantity)
    middle = t[0] / 2 if "drift" in quantity else 0.0  # of the trial
    if quantity == "rate":  # constant over each trial, which ends at t
        t, values = np.array([0.0, *t]), np.array([values[0], *values])
    steps = "steps-pre" if quantity == "rate" else "default"
    y = 1000 * values if middle else values
    ax.plot(t - middle, y, color=colour, linestyle=style, label=label, drawstyle=steps)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
