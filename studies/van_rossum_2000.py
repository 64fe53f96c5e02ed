"""Where depression grows with the weight, do the weights stay together, and where?

    dw = c_p exp(-Delta t/tau)  for post after pre,      dw = -c_d w exp(Delta t/tau)  for pre after post,    tau = 20 ms

Reference: van Rossum, Bi & Turrigiano 2000, J Neurosci 20:8812 (without the noise that they add to each change). Beside it the
additive pair rule of the study `song_2000`, whose weights go to their bounds. Expected, by algebra from the rule:

* Independent Poisson trains of rates rho_x, rho_y: the mean drift c_p rho_x rho_y tau - c_d w rho_x rho_y tau is 0 at
  w = c_p / c_d, and falls with w, so all weights gather there, from wherever they start. In steps of dt potentiation reads its
  trace after the decay and the bump of a coincident spike, depression before: w = c_p / c_d exp(dt/tau), exactly.
* They jitter: with K the window at the fixed point, whose integral is 0, the changes add rho_x rho_y int K^2 per time to the
  variance, and the drift takes 2 c_d rho_x rho_y tau of it:  sd = sqrt(c_p^2 tau / (2 c_d tau)) = c_p / sqrt(2 c_d).
* A neuron that its 1000 plastic inputs drive fires after them: the mean lies higher, at c_p <r1 at post spikes> /
  (c_d <o1 at pre spikes>), measured from its spikes alone without the engine's traces. Started below and above, both end there.
  The weights have one peak (coefficient of bimodality < 5/9) where the additive rule, on the same inputs, makes two (> 5/9).

Independence: the post neurons copy Poisson trains of their own, and 1000 mV lie between their rest and threshold, of which
the plastic weights never make one. The driven neuron, its rates and its steps of 0.1 ms are those of `song_2000`.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import neurosim as ns
from neurosim.figures import STYLE, claim
from neurosim.rules.stdp import pair, van_rossum
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL = 2, 5
TAU, C_D = 20.0, 0.003  # ms
C_P = 0.001  # mV, of the independent trains: c_p / c_d = 1/3 mV
RATE, DT, N_PRE, N_POST = 20.0, 0.5, 500, 10  # Hz, ms
INPUTS, INPUT_RATE, G_MAX, A_PLUS = 1000, 20.0, 0.01, 0.01  # of the driven neuron: Hz, leak units, g_max
GOAL = 0.6  # c_p / c_d of the driven neuron, in units of g_max
SECONDS, SECONDS_QUICK, SECONDS_FULL = (300.0, 200.0), (250.0, 80.0), (1000.0, 1000.0)  # independent, driven
LAST = 20.0  # s, whose spikes are counted
STARTS = {"van Rossum, from below": (0.0, 0.8), "van Rossum, from above": (0.9, 1.0), "additive": (0.5, 1.0)}
RULE, BIMODAL = "the equation of the rule", "5/9 is the coefficient of a uniform distribution"


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    apart, driven = SECONDS_QUICK if mode.quick else SECONDS_FULL if mode.full else SECONDS
    w = np.stack([independent(apart, seed) for seed in range(mode.seeds)])
    goal, sd = C_P / C_D * np.exp(DT / TAU), C_P / np.sqrt(2 * C_D)
    claims = [
        claim("independent: mean weight / (c_p / c_d exp(dt/tau))", w.mean() / goal, "within", 1, 0.01, RULE),
        claim(
            "independent: sd of the weights / (c_p / sqrt(2 c_d))", w.std((1, 2)).mean() / sd, "within", 1, 0.1, RULE
        ),
    ]
    rows = histogram("independent", 0, w / (C_P / C_D), (0.7, 1.3), 60)
    ends = {}
    for k, (name, start) in enumerate(STARTS.items()):
        for seed in range(mode.seeds):
            own, ratio = drive(name, start, driven, seed)
            share = ((own > 0.8) | (own < 0.2)).mean()
            found = {"mean": own.mean(), "coefficient": coefficient(own), "near a bound": share}
            found |= {"predicted": GOAL * ratio} if k < 2 else {}
            rows += [row(name, seed, q, v) for q, v in found.items()] + histogram(name, seed, own, (0, 1.001), 40)
            ends[name, seed] = found
    of = lambda name, q: np.array([f[q] for (n, _), f in ends.items() if n == name])  # noqa: E731
    below, above, additive = STARTS
    for name in (below, above):
        claims.append(
            claim(f"{name}: coefficient of bimodality", of(name, "coefficient").max(), "<=", 5 / 9, 0, BIMODAL)
        )
        off = np.abs(of(name, "mean") / of(name, "predicted") - 1).max()
        claims.append(claim(f"{name}: mean weight, off what its spikes predict", off, "<=", 0, 0.02, RULE))
    apart_by = of(below, "mean").mean() / of(above, "mean").mean()
    claims.append(claim("mean weight, from below / from above", apart_by, "within", 1, 0.03, RULE))
    claims.append(
        claim("additive: coefficient of bimodality", of(additive, "coefficient").min(), ">=", 5 / 9, 0, BIMODAL)
    )
    return rows, claims


def row(rule: str, seed: int, quantity: str, value: float, w: float | None = None) -> dict:
    return {"seed": seed, "rule": rule, "quantity": quantity, "w": w, "value": float(value)}


def histogram(rule: str, seed: int, w: np.ndarray, span: tuple[float, float], bins: int) -> list[dict]:
    counts, edges = np.histogram(w, bins, span)
    middle = (edges[1:] + edges[:-1]) / 2
    return [row(rule, seed, "histogram", c / w.size, round(m, 4)) for c, m in zip(counts, middle, strict=True)]


def coefficient(w: np.ndarray) -> float:
    """(skewness^2 + 1) / kurtosis: 5/9 for a uniform distribution, 1 for two points, 1/3 for a Gaussian."""
    z = (w - w.mean()) / w.std() if w.std() > 0 else np.full(w.shape, np.nan)
    return float(((z**3).mean() ** 2 + 1) / (z**4).mean())


# ---------------------------------------------------------------------------------------------- the neurons
def independent(seconds: float, seed: int) -> np.ndarray:
    """[pre, post] weights (mV) between independent Poisson trains, started between 0 and twice c_p / c_d."""
    net = ns.Network(dt=DT, seed=seed)
    x, source = net.add(N_PRE, ns.Poisson(), drive=RATE), net.add(N_POST, ns.Poisson(), drive=RATE)
    y = net.add(N_POST, ns.LIF(v_rest=0.0, v_threshold=1000.0, v_reset=0.0))
    net.connect(source, y, one_to_one=True, weight=1e6)
    rule = van_rossum(C_P, C_D, TAU, TAU)
    q = net.connect(x, y, weight=lambda g, n: g.uniform(0, 2 * C_P / C_D, n), rule=rule)
    net.run(1000 * seconds)
    return q.w.reshape(N_PRE, N_POST).copy()


def drive(name: str, start: tuple[float, float], seconds: float, seed: int) -> tuple[np.ndarray, float]:
    """Weights (g_max) of a driven neuron, and <r1 at post spikes> / <o1 at pre spikes> of its last spikes, per spike."""
    net = ns.Network(dt=0.1, seed=seed)
    x = net.add(INPUTS, ns.Poisson(), drive=INPUT_RATE)
    cell = ns.ConductanceLIF(10.0, 1.0, E_L=-74.0, E_e=0.0, v_threshold=-54.0, v_reset=-60.0, refractory=0.0, tau_e=5.0)
    y, step = net.add(1, cell), A_PLUS * G_MAX
    rule = pair(step, 1.05 * step, TAU, TAU) if name == "additive" else van_rossum(C_D * GOAL * G_MAX, C_D, TAU, TAU)
    low, high = start
    w = lambda g, n: G_MAX * g.uniform(low, high, n)  # noqa: E731
    q = net.connect(x, y, weight=w, onto="g_e", rule=rule, w_max=G_MAX)
    net.run(1000 * (seconds - LAST))
    rec = net.run(1000 * LAST, [ns.Spikes(x), ns.Spikes(y)])
    return q.w / G_MAX, ratio(rec.spikes(x).time + net.dt, rec.spikes(y).time)


def ratio(pre: np.ndarray, post: np.ndarray) -> float:
    """Sum over pairs of exp(-Delta t/tau), post at or after the arrival of pre, over that of pre after post."""
    after, before = 0.0, 0.0
    for t in post:
        gap = t - pre[np.searchsorted(pre, t - 10 * TAU) : np.searchsorted(pre, t + 10 * TAU)]
        causal = gap > -1e-6  # a pair in one step potentiates
        after, before = after + np.exp(-gap[causal] / TAU).sum(), before + np.exp(gap[~causal] / TAU).sum()
    return float(after / before) if before else float("nan")


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    of = lambda rule, q: [r for r in rows if (r["rule"], r["quantity"]) == (rule, q)]  # noqa: E731
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9, 3.8), layout="constrained")
        apart, together = fig.subplots(1, 2)
        bars = of("independent", "histogram")
        at, share = np.array([r["w"] for r in bars]), 100 * np.array([r["value"] for r in bars])
        apart.step(at, share, where="mid", color="#2171b5", label="simulated")
        mean, sd, width = np.exp(DT / TAU), C_D / np.sqrt(2 * C_D), at[1] - at[0]
        bell = np.exp(-(((at - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
        apart.plot(at, 100 * width * bell, color="black", linestyle="--", label="predicted mean and sd")
        apart.set(xlabel="weight / (c$_p$ / c$_d$)", ylabel="weights (%)", ylim=(0, None))
        apart.set_title("A  Independent Poisson trains")
        for name, colour, style in zip(STARTS, ("#85bff0", "#08306b", "#8c1007"), ("-", ":", "-"), strict=True):
            line = of(name, "histogram")
            at = sorted({r["w"] for r in line})
            each = 100 * np.array([[r["value"] for r in line if r["w"] == w] for w in at])
            together.step(at, each.mean(1), where="mid", color=colour, linestyle=style, label=name)
            together.fill_between(at, each.min(1), each.max(1), step="mid", color=colour, alpha=0.25, lw=0)
        predicted = np.mean([r["value"] for r in rows if r["quantity"] == "predicted"])
        together.axvline(predicted, color="black", linestyle="--", label="mean predicted from spikes")
        together.set(xlabel="weight / g$_{max}$", ylabel="weights (%)", xlim=(0, 1), ylim=(0, None))
        together.set_title("B  A neuron driven by its 1000 plastic inputs")
        for ax in (apart, together):
            ax.legend(fontsize=8)
        fig.supxlabel("Bands: range over seeds.", fontsize=8)
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
