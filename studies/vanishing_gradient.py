"""How fast does the gradient vanish through time, in the plain network, in leaky units and in the LSTM?

|dL_T / ds_{T-lag}|, root mean square over trials, over that at lag 0: L_T is the loss of the last step of delayed exclusive-or
(T = 70), s what a step hands to the next: y of the plain network (Elman 1990), v of leaky units, (c, y) of the LSTM.

Expected, with W ~ N(0, g^2 / h) and v any vector that does not depend on W:
* A linear plain net: E |W^k v|^2 = g^(2k) |v|^2 (1 + O(k^2 / h)). A linear leaky one, J = a + (1 - a) W:
  E |J^k v|^2 = sum_j C(k, j)^2 a^(2(k-j)) ((1 - a) g)^(2j) |v|^2. Both are held against DRAWS nets.
* A tanh net, by mean field (Poole et al. 2016, NeurIPS; Schoenholz et al. 2017, ICLR): the variance of v goes as
  q <- <x^2> + g^2 E tanh(sqrt(q) z)^2, z ~ N(0, 1), and the squared gradient changes by chi = g^2 E phi'(sqrt(q) z)^2 a step.
  The input <x^2> is that of the task's trials: nothing is fitted.
* The LSTM: along c alone, sigmoid(forget) a step: .73 with the usual forget = 1, .982 with 4.

The textbook: the LSTM's gradient outlasts the plain net's (Hochreiter & Schmidhuber 1997; Pascanu et al. 2013, ICML).

Found (figures/vanishing_gradient.json): the rates of tanh nets of gain .5, 1 and 1.5 are those of mean field to .03 a step. At
the first weights the LSTM with forget = 1 hardly outlasts the plain net: a rate of -.064 against -.086 a step (the difference
is .022 +- .016 over 20 seeds; over the 5 that were planned it was .032 +- .041, not resolved, so read it with care), .002
against .0007 of the gradient left after 69 steps. And that is not the gate's doing, which alone would leave .73^69 = 4e-10:
it is the way through y and the other gates. With forget = 4 the gradient even grows (.033 a step), by that same way. Leaky
units keep .3 of it. Trained, leaky units and both LSTMs solve the task in all 5 seeds; the plain net in none (.51), and its
gradient vanishes in each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.credit import Backprop
from neurosim.figures import STYLE, claim
from neurosim.networks import lstm, rnn
from neurosim.neurons import LSTM, Rate, decay, identity
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, play
from neurosim.recipes_time import Clipped
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import delayed_xor

METRIC = "gradient norm over that at lag 0"
T, UNITS, TAU, GAINS, LR = 70, 64, 10.0, (0.5, 1.0, 1.5), 3e-3
FITTED = (5, 50)  # lags between which the rate is fitted
LINEAR_UNITS, DRAWS, DRAWS_QUICK, LINEAR_LAGS = 512, 400, 60, (1, 5, 10)
EPOCHS, PROBE, DRAWN = 20, 256, 20  # nets that are measured at their first weights
FIRST, TRAINED = "first weights", "trained"
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)  # E f(z), z ~ N(0, 1)
COLOURS = {
    "plain, g = 0.5": "#7fb4f0", "plain, g = 1": "#0b4f9e", "plain, g = 1.5": "#08306b", "leaky": "#1f8a4c",
    "lstm, forget 1": "#e6550d", "lstm, forget 4": "#8c1007",
}  # fmt: skip
TO_TRAIN = ("plain, g = 1", "leaky", "lstm, forget 1", "lstm, forget 4")


def made(name: str, seed: int) -> nn.Module:
    """The network of that name, in float64."""
    torch.manual_seed(seed)
    if name.startswith("lstm"):
        net = lstm((3,), 2, UNITS)
        net.hidden.neuron = LSTM(forget=float(name.split()[-1]))
        return net.double()
    net = rnn((3,), 2, UNITS, TAU if name == "leaky" else None).double()
    if name.startswith("plain"):
        with torch.no_grad():
            net.hidden.recurrent.weight *= float(name.split()[-1])
    return net


def shown(seed: int, size: int = PROBE) -> Batch:
    task = delayed_xor(T)
    batch = task.probe(task.split(seed), size)
    return replace(batch, x=batch.x.double())


# ---------------------------------------------------------------------------------------------- the measure
def gradient_norms(net: nn.Module, batch: Batch) -> Tensor:
    """|dL_T / ds_{T-lag}| over that at lag 0, [T]: root mean squares over the trials.

    With one step's state handed on as new variables, so that c and y of the LSTM count for themselves.
    """
    layer, s, handed = net.hidden, {}, []
    for x in batch.x:
        u = layer.input(x) + (layer.recurrent(s["y"]) if s else 0)
        s = layer.neuron.step(s, u, batch.dt)
        leaky = isinstance(layer.neuron, Rate) and layer.neuron.memory
        s["y"] = layer.neuron.out(s)
        if not leaky:  # of leaky units v alone: y is made of it
            s = {k: v.clone() for k, v in s.items()}
        handed.append([s["v"]] if leaky else [s["y"]] if isinstance(layer.neuron, Rate) else [s["v"], s["y"]])
    loss = batch.loss(net.readout.input(s["y"])[None], batch.target[-1:]).sum()
    flat = [q for qs in handed for q in qs]
    grads = torch.autograd.grad(loss, flat, allow_unused=True)  # lag 0 of an LSTM: the loss does not see c itself
    n = len(handed[0])
    found = [sum(g.square().sum() for g in grads[k : k + n] if g is not None) for k in range(0, len(flat), n)]
    norms = torch.stack(found).sqrt().flip(0)
    return norms / norms[0]


def rate(norms: Sequence[float]) -> float:
    """The slope of the logarithm a step, by least squares between the lags FITTED."""
    first, last = FITTED
    lags = np.arange(first, last + 1)
    return float(np.polyfit(lags, np.log(np.asarray(norms)[lags]), 1)[0])


# ---------------------------------------------------------------------------------------------- what is expected
def mean_field(g: float, drive: Sequence[float]) -> np.ndarray:
    """The norms of a wide tanh net over that at lag 0; drive[t] = <x^2> is the variance of U x."""
    q, chi = 0.0, []
    for d in drive:
        q = d + g**2 * expected(lambda v: np.tanh(v) ** 2, q)
        chi.append(g**2 * expected(lambda v: (1 - np.tanh(v) ** 2) ** 2, q))
    back = np.array(chi[:0:-1])  # the step from t - 1 to t, the last first
    return np.sqrt(np.concatenate([[1.0], np.cumprod(back)]))


def expected(f, q: float) -> float:
    """E f(sqrt(q) z)."""
    return float(WEIGHTS @ f(math.sqrt(q) * NODES) / WEIGHTS.sum())


def linear_square(lag: int, g: float, a: float = 0.0) -> float:
    """E |J^k v|^2 / |v|^2, J = a + (1 - a) W."""
    return sum(math.comb(lag, j) ** 2 * a ** (2 * (lag - j)) * ((1 - a) * g) ** (2 * j) for j in range(lag + 1))


def linear_draw(seed: int, tau: float | None) -> list[float]:
    """|J^k v|^2 / |v|^2 at LINEAR_LAGS in one linear net of gain 1, measured as the others are."""
    torch.manual_seed(10_000 + seed)
    net = rnn((3,), 2, LINEAR_UNITS, tau).double()
    net.hidden.neuron = Rate(identity, tau)
    x = torch.randn(max(LINEAR_LAGS) + 1, 1, 3, dtype=torch.float64)
    norms = gradient_norms(net, Batch(x, torch.zeros(len(x), 1).long(), delayed_xor(T).loss, time=True, dt=1.0))
    return [norms[k].item() ** 2 for k in LINEAR_LAGS]


# ---------------------------------------------------------------------------------------------- the run
def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for tau, name in ((None, "plain"), (TAU, "leaky")):
        for k in range(DRAWS_QUICK if mode.quick else DRAWS):
            for lag, v in zip(LINEAR_LAGS, linear_draw(k, tau), strict=True):
                rows.append(
                    {"recipe": name, "seed": k, "layer": "linear", "quantity": "square", "lag": lag, "value": v}
                )
    for seed in range(mode.seeds if mode.quick else max(mode.seeds, DRAWN)):
        rows += at_first(seed)
    for seed in range(0 if mode.quick else mode.seeds):
        for name in TO_TRAIN:
            rows += trained(made(name, seed), name, seed)
    torch.set_num_threads(threads)
    return rows, claims_of(rows)


def at_first(seed: int) -> list[dict]:
    rows = []
    for name in COLOURS:
        rows += norms_of(made(name, seed), name, FIRST, seed)
        if name.startswith("plain"):
            drive = shown(seed).x.square().mean((1, 2)).tolist()
            rows += as_rows(mean_field(float(name.split()[-1]), drive), name, "mean field", seed)
    return rows


def as_rows(norms: Sequence[float], name: str, when: str, seed: int) -> list[dict]:
    at = {"recipe": name, "seed": seed, "layer": when, "quantity": "norm"}
    return [at | {"lag": k, "value": float(f"{v:.8g}")} for k, v in enumerate(norms)]


def norms_of(net: nn.Module, name: str, when: str, seed: int) -> list[dict]:
    return as_rows(gradient_norms(net, shown(seed)).tolist(), name, when, seed)


def trained(net: nn.Module, name: str, seed: int) -> list[dict]:
    """EPOCHS of BPTT; then the norms, and the accuracy on test trials."""
    task, net = delayed_xor(T), net.float()
    split, recipe = task.split(seed), Recipe("bptt", {"*": Gradient()}, Backprop(), LR, Clipped)
    learner = Learner(net, recipe, task.probe(split), seed)
    for epoch in range(1, EPOCHS + 1):
        for batch in task.batches(split, seed, epoch):
            learner.step(batch)
    with torch.no_grad():
        scores = torch.cat([task.scores(play(net, b).output, b.target) for b in task.evaluation(split)])
    at = {"recipe": name, "seed": seed, "layer": TRAINED, "quantity": "accuracy", "value": scores.mean().item()}
    return [at, *norms_of(net.double(), name, TRAINED, seed)]


# ---------------------------------------------------------------------------------------------- what is claimed
def of(rows: Sequence[Mapping], **key) -> list[float]:
    return [r["value"] for r in rows if all(r.get(k) == v for k, v in key.items())]


def curves(rows: Sequence[Mapping], name: str, when: str) -> np.ndarray:
    """[seeds, lags]"""
    found = of(rows, recipe=name, layer=when, quantity="norm")
    return np.array(found).reshape(-1, T) if found else np.empty((0, T))


def rates(rows: Sequence[Mapping], name: str, when: str) -> list[float]:
    return [rate(c) for c in curves(rows, name, when)]


def below(a: Sequence[float], b: Sequence[float]) -> float:
    """The lower end of the 95 % interval of b - a over seeds; with two or fewer the mean."""
    middle, half = interval(np.subtract(b, a))
    return middle - half if len(a) > 2 else middle


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    claims = []
    for name, a in (("plain", 0.0), ("leaky", decay(TAU, 1.0))):
        for lag in LINEAR_LAGS:
            squares = np.array(of(rows, recipe=name, layer="linear", lag=lag)) / linear_square(lag, 1.0, a)
            middle, half = interval(squares)
            text = f"linear, {name}: mean square at lag {lag} / expectation, within its 95 % interval"
            claims.append(claim(text, middle, "within", 1, half, "closed form"))
    for g in GAINS:
        name = f"plain, g = {g:g}"
        got, want = (float(np.mean(rates(rows, name, when))) for when in (FIRST, "mean field"))
        claims.append(claim(f"{name}: rate of decay a step", got, "within", round(want, 4), 0.05, "mean field"))
    plain, source = rates(rows, "plain, g = 1", FIRST), "Hochreiter & Schmidhuber 1997"
    for name in ("lstm, forget 1", "lstm, forget 4"):
        text = f"first weights: rate of {name} less that of plain, g = 1, lower end over seeds"
        claims.append(claim(text, below(plain, rates(rows, name, FIRST)), ">=", 0, 0, source))
    gate = [math.log(torch.tensor(1.0).sigmoid())] * len(plain)
    text = "first weights: rate of lstm, forget 1 less log .73 (c alone), lower end over seeds"
    claims.append(claim(text, below(gate, rates(rows, "lstm, forget 1", FIRST)), ">=", 0, 0, "measured"))
    if len(curves(rows, "lstm, forget 1", TRAINED)):
        for name in TO_TRAIN[1:]:
            least = min(of(rows, recipe=name, layer=TRAINED, quantity="accuracy"))
            claims.append(claim(f"{name}: accuracy once trained, worst seed", least, ">=", 0.99, 0, "project target"))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    seeds, lags = len(manifest["seeds"]), np.arange(T)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12, 4.2), layout="constrained")
        panels = fig.subplots(1, 3, sharey=True)
        plain = [n for n in COLOURS if n.startswith("plain")]
        for name in plain:
            curve(panels[0], curves(rows, name, FIRST), COLOURS[name], "-", name)
            g = float(name.split()[-1])
            panels[0].plot(lags, g**lags, color=COLOURS[name], linestyle=(0, (1, 1.5)))
            panels[0].plot(lags, np.exp(np.log(curves(rows, name, "mean field")).mean(0)), color=COLOURS[name], ls="--")
        panels[0].plot([], [], color="black", linestyle=(0, (1, 1.5)), label="linear: $g^{lag}$")
        panels[0].plot([], [], color="black", linestyle="--", label="tanh: mean field")
        panels[0].set_title("A  Plain tanh network, first weights")
        panels[0].set_ylabel("gradient norm / that at lag 0")
        names = [n for n in COLOURS if n in TO_TRAIN]
        for ax, when, title in ((panels[1], FIRST, "B  First weights"), (panels[2], TRAINED, "C  Trained by BPTT")):
            for name in names:
                right = of(rows, recipe=name, layer=when, quantity="accuracy")
                label = f"{name} ({np.mean(right):.2f} right)" if right else name
                curve(ax, curves(rows, name, when), COLOURS[name], "-", label, each=when == TRAINED and "plain" in name)
            ax.set_title(title)
        a = decay(TAU, 1.0)
        leaky = [math.sqrt(linear_square(k, 1.0, a)) for k in range(T)]
        panels[1].plot(lags, leaky, color=COLOURS["leaky"], linestyle=(0, (1, 1.5)), label="leaky, linear: closed form")
        for forget, name in ((1.0, "lstm, forget 1"), (4.0, "lstm, forget 4")):
            gate = 1 / (1 + math.exp(-forget))
            panels[1].plot(lags, gate**lags, color=COLOURS[name], linestyle="--", label=f"{gate:.3g}$^{{lag}}$")
        for ax in panels:
            ax.set(yscale="log", ylim=(1e-12, 1e4), xlabel="lag (steps of 1 ms)")
            if ax.lines:  # a quick run trains none
                ax.legend(loc="lower left", fontsize=7)
        drawn = len(curves(rows, "leaky", FIRST))
        bands = f"Geometric mean and its 95 % t interval over {drawn} seeds (C: {seeds}; thin lines are seeds)"
        fig.supxlabel(
            f"{bands}; delayed exclusive-or, T = {T}, {UNITS} units, leaky: tau = {TAU:g} ms.",
            fontsize=8,
        )
    return fig


def curve(ax, found: np.ndarray, colour: str, line: str, label: str, each: bool = False) -> None:
    if not len(found):
        return
    middle, half = np.array([interval(v) for v in np.log(np.maximum(found, 1e-300)).T]).T
    ax.plot(np.arange(T), np.exp(middle), color=colour, linestyle=line, label=label)
    if each:  # some seeds learn and some do not: no band says that
        ax.plot(np.arange(T), found.T, color=colour, linewidth=0.5)
    elif len(found) > 2:
        ax.fill_between(np.arange(T), np.exp(middle - half), np.exp(middle + half), color=colour, alpha=0.2, lw=0)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
