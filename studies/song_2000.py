"""Do the weights of a neuron under additive pair STDP split in two, and does that hold its rate?

1000 Poisson inputs onto one leaky neuron, and a window in which depression outweighs potentiation by 5 %, between hard
bounds 0 and g_max. Reference: Song, Miller & Abbott 2000, Nat Neurosci 3:919, in the variant that simulators ship:

    tau_m dv/dt = E_L - v + g_e (0 - v),    tau_m = 10, tau_e = 5 ms,    E_L = -74, v_threshold = -54, v_reset = -60 mV
    dw = A_plus exp(-Delta t/tau) after, -A_minus exp(Delta t/tau) before;    tau = 20 ms, A_minus = 1.05 A_plus

g_max = 0.01 of the leak, A_plus = 0.01 g_max. In leak units g_L = 1 nS and C = 10 pF make tau_m = 10 ms. Expected: a weight
that is strong makes the neuron fire just after it, and grows: each ends at a bound. A faster input brings more spikes before
which no spike of it stands, so fewer weights stay near g_max, and the rate of the neuron changes little with its input. (With
small steps it falls, from 21 Hz at 10 Hz to 12 Hz at 40 Hz.)

* Bimodality coefficient (skewness^2 + 1) / kurtosis > 5/9 at every input rate, for every neuron.
* The share of weights above 0.8 g_max falls as the input rate rises.
* From the slowest to the fastest input the neuron's rate changes by less than a fifth of what it does with the weights
  frozen that were learned at the slowest.
* 80 % of the weights lie within 20 % of a bound. This is true where steps are small: A_plus = 0.0025 g_max. With the
  variant's own it is not, but at 40 Hz: the share stays near 75 % however long it runs, as single steps of 1 % smear the two
  peaks. Both are in the figure; so is the CV of the output's intervals, about which nothing is claimed.

The weights start between g_max / 2 and g_max, as from between 0 and g_max a neuron at 10 Hz never fires; those of small
steps start where the large ones end. The neurons of all rates and seeds lie in one network, each with 1000 inputs of its own.
dt matters: a pair in the same step potentiates, which lowers the 5 % to 5 % - dt/tau. At 0.1 ms, as in the variant, that
is half a per cent; at 0.5 ms the neuron at 20 Hz fires at 62 Hz instead of 25.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy import sparse

import neurosim as ns
from neurosim.figures import STYLE, claim
from neurosim.rules.stdp import pair
from neurosim.study import Mode, main

SEEDS, SEEDS_FULL = 3, 10
RATES, RATES_QUICK = (10.0, 15.0, 20.0, 40.0), (20.0, 40.0)  # Hz, of the inputs
INPUTS, G_MAX, RATIO = 1000, 0.01, 1.05  # g_max in units of the leak
STEPS, STEPS_SMALL = 0.01, 0.0025  # A_plus / g_max
SECONDS, SECONDS_QUICK, SECONDS_FULL = (
    (500.0, 800.0),
    (100.0, 100.0),
    (1000.0, 1000.0),
)  # with the large and small steps
LAST = 50.0  # s, in which output rates are counted
BINS = 20
SONG = "Song, Miller & Abbott 2000"
BIMODAL = "bimodal: above the coefficient of a uniform distribution"


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    rates = RATES_QUICK if mode.quick else RATES
    seconds = SECONDS_QUICK if mode.quick else SECONDS_FULL if mode.full else SECONDS
    inputs = np.repeat(rates, mode.seeds)  # of each neuron
    w = np.random.default_rng(0).uniform(0.5, 1.0, (len(inputs), INPUTS)) * G_MAX
    rows, claims = [], []
    for seed, (step, span) in enumerate(zip((STEPS, STEPS_SMALL), seconds, strict=True)):
        w, out, cv = simulate(w, inputs, span, seed, step * G_MAX)
        slow = w[: mode.seeds]
        _, fast, _ = simulate(slow, np.full(mode.seeds, rates[-1]), 20.0, seed, None)
        rows += table(step, rates, w / G_MAX, out, cv)
        rows += [row(step, rates[-1], k, "output, frozen", hz) for k, hz in enumerate(fast)]
        claims += claims_of(step, rates, rows)
    return rows, claims


def row(step: float, rate: float, seed: int, quantity: str, value: float, w: float | None = None) -> dict:
    return {"seed": seed, "A_plus": step, "rate": rate, "quantity": quantity, "w": w, "value": float(value)}


# ---------------------------------------------------------------------------------------------- the neurons
def simulate(w: np.ndarray, rates: np.ndarray, seconds: float, seed: int, A_plus: float | None):
    """Weights [neuron, input], output rates (Hz) and CV of intervals over the last LAST of so many s; no A_plus: frozen."""
    net, n = ns.Network(dt=0.1, seed=seed, dtype=np.float32), len(rates)
    x = net.add(n * INPUTS, ns.Poisson(), drive=np.repeat(rates, INPUTS))
    cell = ns.ConductanceLIF(10.0, 1.0, E_L=-74.0, E_e=0.0, v_threshold=-54.0, v_reset=-60.0, refractory=0.0, tau_e=5.0)
    y = net.add(n, cell)
    own = sparse.csc_array((w.ravel(), np.repeat(np.arange(n), INPUTS), np.arange(n * INPUTS + 1)), (n, n * INPUTS))
    rule = None if A_plus is None else pair(A_plus, RATIO * A_plus, 20.0, 20.0)
    q = net.connect(x, y, matrix=own, onto="g_e", rule=rule, w_max=G_MAX)
    last = min(LAST, seconds)
    net.run(1000 * (seconds - last))
    rec = net.run(1000 * last, [ns.Spikes(y)])
    gaps = [np.diff(rec.spikes(y).train(k)) for k in range(n)]
    cv = np.array([g.std() / g.mean() if len(g) > 1 else np.nan for g in gaps])
    return np.minimum(q.w.reshape(n, INPUTS), G_MAX, dtype=float), rec.spikes(y).counts(n)[:n] / last, cv


def coefficient(w: np.ndarray) -> float:
    """(skewness^2 + 1) / kurtosis: 5/9 for a uniform distribution, 1 for two points, 1/3 for a Gaussian."""
    z = (w - w.mean()) / w.std() if w.std() > 0 else np.full(w.shape, np.nan)
    return float(((z**3).mean() ** 2 + 1) / (z**4).mean())


def table(step: float, rates: Sequence[float], w: np.ndarray, out: np.ndarray, cv: np.ndarray) -> list[dict]:
    """What is drawn, of weights in units of g_max."""
    rows, seeds = [], len(out) // len(rates)
    for k, (own, hz, c) in enumerate(zip(w, out, cv, strict=True)):
        rate, seed = rates[k // seeds], k % seeds
        rows += [
            row(step, rate, seed, "output", hz),
            row(step, rate, seed, "CV", c),
            row(step, rate, seed, "near g_max", (own > 0.8).mean()),
            row(step, rate, seed, "near a bound", ((own > 0.8) | (own < 0.2)).mean()),
            row(step, rate, seed, "coefficient", coefficient(own)),
        ]
        counts, edges = np.histogram(own, BINS, (0, 1.001))
        rows += [
            row(step, rate, seed, "histogram", c / own.size, round(e, 3)) for c, e in zip(counts, edges, strict=False)
        ]
    return rows


def values(rows: Sequence[Mapping], step: float, quantity: str, rate: float) -> np.ndarray:
    """By seed."""
    return np.array(
        [r["value"] for r in rows if (r["A_plus"], r["quantity"], r["rate"]) == (step, quantity, rate)], float
    )


def claims_of(step: float, rates: Sequence[float], rows: Sequence[Mapping]) -> list[dict]:
    of, name = lambda quantity, rate: values(rows, step, quantity, rate), f"A_plus = {step:g} g_max"
    claims = [
        claim(f"{name}, {r:g} Hz: coefficient of bimodality", of("coefficient", r).min(), ">=", 5 / 9, 0.0, BIMODAL)
        for r in rates
    ]
    if step == STEPS_SMALL:
        claims += [
            claim(f"{name}, {r:g} Hz: share near a bound", of("near a bound", r).min(), ">=", 0.8, 0.0, SONG)
            for r in (rates if rates == RATES else rates[-1:])  # in the quick form the others have not settled yet
        ]
    top = [of("near g_max", r).mean() for r in reversed(rates)]
    claims.append(claim(f"{name}: share near g_max", top, "ordering", [f"{r:g} Hz" for r in reversed(rates)], 0, SONG))
    slow, fast, frozen = (
        of(q, r).mean() for q, r in (("output", rates[0]), ("output", rates[-1]), ("output, frozen", rates[-1]))
    )
    weak = abs(fast - slow) / (frozen - slow) if frozen > slow > 0 else None
    claims.append(claim(f"{name}: change of the output rate / that with weights frozen", weak, "<=", 0.2, 0, SONG))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    rates = sorted({r["rate"] for r in rows})
    colours = dict(zip(rates, ("#85bff0", "#2171b5", "#e6550d", "#8c1007")[-len(rates) :], strict=True))
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(10, 6), layout="constrained")
        above, below = fig.subfigures(2, 1)
        weights, (top, output, cv) = above.subplots(1, 2), below.subplots(1, 3)
        for ax, step, letter in zip(weights, (STEPS, STEPS_SMALL), "AB", strict=True):
            for rate in rates:
                bars = values(rows, step, "histogram", rate).reshape(-1, BINS)
                share = values(rows, step, "near a bound", rate).mean()
                label = f"input {rate:g} Hz: {100 * share:.0f} % within 20 % of a bound"
                edges, look = np.linspace(0, 1, BINS + 1), {"color": colours[rate]}
                ax.stairs(100 * bars.mean(0), edges, linewidth=1.4, label=label, **look)
                low, high = (100 * np.append(b, b[-1]) for b in (bars.min(0), bars.max(0)))
                ax.fill_between(edges, low, high, step="post", alpha=0.25, lw=0, **look)
            ax.set(xlabel="weight / g$_{max}$", ylabel="weights (%)", xlim=(0, 1), ylim=(0, None))
            ax.set_title(f"{letter}  Weights, A$_+$ = {step:g} g$_{{max}}$")
            ax.legend(loc="upper center", fontsize=8)
        looks = ((STEPS, "#2171b5", "o", "variant's steps"), (STEPS_SMALL, "#8c1007", "s", "small steps"))
        for step, colour, marker, label in looks:
            for ax, quantity, scale in ((top, "near g_max", 100), (output, "output", 1), (cv, "CV", 1)):
                dots(ax, rates, [scale * values(rows, step, quantity, r) for r in rates], colour, marker, label)
            frozen = values(rows, step, "output, frozen", rates[-1])
            label = "as learned at the slowest, frozen" if step == STEPS else None
            output.plot(rates[-1:], [frozen.mean()], "x", color=colour, label=label)
        top.set(ylabel="weights above 0.8 g$_{max}$ (%)", ylim=(0, None), title="C  Fewer strong weights")
        output.set(ylabel="rate of the neuron (Hz)", yscale="log", ylim=(5, 9000), title="D  The rate changes little")
        cv.set(ylabel="CV of the neuron's intervals", ylim=(0, 1.5), title="E  Irregularity")
        for ax in (top, output, cv):
            ax.set_xlabel("rate of each input (Hz)")
            ax.set_xticks(rates)
            ax.legend(fontsize=8)
        fig.supxlabel("Bands and bars: range over neurons (seeds).", fontsize=8)
    return fig


def dots(ax, x: Sequence[float], y: Sequence[np.ndarray], colour: str, marker: str, label: str) -> None:
    mean = np.array([v.mean() for v in y])
    reach = np.abs(np.array([(v.min(), v.max()) for v in y]).T - mean)
    ax.errorbar(x, mean, reach, color=colour, marker=marker, capsize=3, label=label)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
