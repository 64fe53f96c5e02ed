"""How much of backpropagation's gradient through time does e-prop keep, and is it what it says it is?

What it says (Bellec et al. 2020, Nat Commun 11:3625): e-prop's sum of learning signal times eligibility trace is the exact
gradient of a network whose recurrent spikes carry no credit. A spiking network (LIF, and half of it adaptive) on delayed
exclusive-or; all in float64.

A  Each synapse's dW from the traces, filtered backward and online, told by the readout's weights or by random ones, against
   autograd through a loop written here with nothing of the package, its recurrent spikes detached.
   Expected: the identity, to 1e-10 of the largest dW. Beside it the whole gradient, which differs.
B  The cosine of the hidden layer's gradient in pieces of k steps (truncated BPTT) with the whole one, at the first weights and
   once BPTT has learned the task, and e-prop's beside it. Expected: 1 at k = T. Measured: where e-prop lies among them.
C  The same cosine over training, each rule on the network that it trains itself, beside the companion that keeps firing rates
   (`FiringRate`). Null: e-prop's error dealt to other trials at random, DEALS times. Expected: symmetric e-prop above it over
   training, and random feedback above 0 once the readout's weights have turned.

Found: at the first weights neither keeps anything: the whole gradient is that of paths through many spikes, and e-prop's cosine
with it is .01, within chance. Training makes the neurons' own memory matter: .69 on nets trained by BPTT (pieces of 20 steps
.16), .6 on its own, .5 with random feedback, .09 for pieces of 10 steps, which do not learn the task (.64 right; e-prop .99,
random .97 after 10 epochs). The null is wide: its mean is near .05, but 97.5 % of it reaches .5, since a trial's error differs
from another's mostly in sign; so the claim is of means over training (a first form, above the 97.5 % at every epoch, fails:
at epoch 0 in most seeds, and by its interval at epoch 2). Without the companion and at a rate of 5e-3, as first tried, BPTT
itself lost the task again in 3 of 5 seeds, and no cosine was told from its null.
Pieces count from the trial's start, so what k steps see of the second cue is not monotonic in
k: with 35 the last piece holds it, with 50 it does not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.credit import Backprop
from neurosim.credit.broadcast import Broadcast, SymmetricBroadcast, error_of
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import lsnn
from neurosim.networks.recurrent import adaptive_lif
from neurosim.neurons import AdaptiveLIF, Rate
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, play
from neurosim.recipes_time import Clipped
from neurosim.rules import RFLO, EProp, EPropOnline, FiringRate, Sum
from neurosim.statistics import interval
from neurosim.study import Mode, main
from neurosim.tasks import delayed_xor

METRIC = "cosine with BPTT"
T, UNITS, TAU_OUT, LR = 70, 64, 20.0, 2e-3
TARGET, STRENGTH = 20.0, 1e-4  # of the companion in training: Hz, and a Hz
PIECES = (1, 2, 5, 10, 20, 35, 50, 70)  # steps
EPOCHS, EPOCHS_QUICK, CHECKED, CHECKED_QUICK = 10, 1, (0, 1, 2, 4, 7, 10), (0, 1)
PROBE, PROBE_QUICK, DEALS, SHOWN, QUICK_TRIALS = (
    128,
    24,
    20,
    120,
    160,
)  # trials that are measured on, random deals, synapses drawn in A
HIDDEN = ("hidden.input", "hidden.recurrent")
NEAR = 1e-10
SYMMETRIC, RANDOM, BPTT, TEN, NULL = "eprop", "eprop-random", "bptt", "tbptt-10", "dealt"

Neurons = {"LIF": partial(adaptive_lif, UNITS, adaptive=0.0), "ALIF": partial(adaptive_lif, UNITS)}


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [row for seed in range(mode.seeds) for kind in Neurons for row in identity(kind, seed)]
    size = PROBE_QUICK if mode.quick else PROBE
    for seed in range(mode.seeds):
        rows += pieces_at(fresh(seed), probe(seed, size), seed, "first weights")
        for name in (BPTT, SYMMETRIC, RANDOM) if mode.quick else (BPTT, TEN, SYMMETRIC, RANDOM):
            rows += trained(name, seed, mode.quick)
    torch.set_num_threads(threads)
    return rows, claims_of(rows)


# ---------------------------------------------------------------------------------------------- networks, trials, recipes
def fresh(seed: int, kind: str = "ALIF") -> nn.Module:
    torch.manual_seed(seed)
    return lsnn((3,), 2, UNITS, Neurons[kind](), TAU_OUT).double()


def in_float64(batch: Batch) -> Batch:
    return replace(batch, x=batch.x.double())


def probe(seed: int, size: int) -> Batch:
    return in_float64(delayed_xor(T).probe(delayed_xor(T).split(seed), size))


def recipe(name: str, neuron: AdaptiveLIF) -> Recipe:
    """The rule alone: what is compared."""
    if name in (BPTT, TEN):
        return Recipe(name, {"*": Gradient()}, Backprop(steps=10 if name == TEN else None), LR, Clipped)
    credit = Broadcast() if name == RANDOM else SymmetricBroadcast()
    rules = {"hidden.*": EProp(neuron, TAU_OUT), "readout.*": RFLO(Rate(tau=TAU_OUT))}
    return Recipe(name, rules, credit, LR, Clipped)


def kept_at_rate(r: Recipe, neuron: AdaptiveLIF) -> Recipe:
    """The same beside the companion that all spiking recipes train with: without it some of these nets fall silent."""
    bare, companion = r.rules.get("hidden.*", Gradient()), FiringRate(neuron, TARGET, STRENGTH)
    return replace(r, rules={"hidden.*": Sum((bare, companion)), "readout.*": r.rules.get("readout.*", Gradient())})


def hidden(dw: Mapping[str, Tensor]) -> Tensor:
    """The hidden layer's synapses in one vector."""
    return torch.cat([dw[n].flatten() for n in HIDDEN])


def updates(net: nn.Module, r: Recipe, batch: Batch, seed: int = 0) -> Tensor:
    return hidden(Learner(net, r, batch, seed).updates(batch))


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a, b, 0).item()


# ---------------------------------------------------------------------------------------------- A: the identity
def by_autograd(net: nn.Module, batch: Batch, back: Tensor | None = None, cut: bool = True) -> Tensor:
    """The hidden dW of sum_t e[t] . y[t], y <- kappa y + (1 - kappa) back z, by autograd through a plain loop.

    e is the output's own error, so with back = the readout's weights it is -dL/dW. cut: no credit through recurrent spikes.
    """
    U, W, V = (w.weight for w in (net.hidden.input, net.hidden.recurrent, net.readout.input))
    back, n = (V if back is None else back), net.hidden.neuron
    alpha, rho, kappa = (math.exp(-batch.dt / tau) for tau in (n.tau_m, n.tau_a, TAU_OUT))
    e = error_of(play(net, batch))
    v = a = z = torch.zeros(batch.size, len(W), dtype=batch.x.dtype)
    y, gain = v.new_zeros(batch.size, len(V)), torch.zeros(())
    for x, e_t in zip(batch.x, e, strict=True):
        v = alpha * v + x @ U.T + (z.detach() if cut else z) @ W.T - n.threshold * z.detach()
        a = rho * a + z
        over = (v - n.threshold - n.beta * a) / n.threshold
        psi = 0.3 * (1 - over.detach().abs()).clamp(min=0)
        z = (over.detach() > 0).to(v.dtype) + psi * (over - over.detach())
        y = kappa * y + (1 - kappa) * z @ back.T
        gain = gain + (e_t * y).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(gain / batch.size, (U, W))])


def identity(kind: str, seed: int) -> list[dict]:
    """Largest |dW - autograd's| over the largest |dW|, in every form; and some synapses of each kind to be drawn."""
    net, batch = fresh(seed, kind), probe(seed, 16)
    n, rows, at = net.hidden.neuron, [], {"seed": seed, "layer": kind}
    for name in (SYMMETRIC, RANDOM):
        r = recipe(name, n)
        online = replace(r, rules={"hidden.*": EPropOnline(n, TAU_OUT, forget=True), "readout.*": None})
        back = Learner(net, r, batch, seed).own["feedback/hidden"].weight.detach() if name == RANDOM else None
        want = by_autograd(net, batch, back)
        for form, given in (("filtered", r), ("online", online)):
            got = updates(net, given, batch, seed)
            error = ((got - want).abs().max() / want.abs().max()).item()
            rows.append(at | {"recipe": name, "form": form, "quantity": "largest relative error", "value": error})
        if name == SYMMETRIC:
            got, whole = updates(net, r, batch), by_autograd(net, batch, cut=False)
            rows.append(at | {"recipe": name, "form": "", "quantity": "cosine with BPTT", "value": cosine(got, whole)})
            some = torch.randperm(len(got), generator=torch.Generator().manual_seed(seed))[:SHOWN]
            for k, i in enumerate(some.tolist() if seed < 2 else ()):
                for what, v in (("traces", got), ("recurrent spikes cut", want), ("whole", whole)):
                    rows.append(
                        at | {"recipe": name, "quantity": what, "value": (v[i] / v.abs().max()).item(), "synapse": k}
                    )
    return rows


# ---------------------------------------------------------------------------------------------- B, C: beside BPTT
def pieces_at(net: nn.Module, batch: Batch, seed: int, when: str) -> list[dict]:
    """Cosines of truncated gradients and of e-prop with the whole gradient, on these weights."""
    whole = updates(net, recipe(BPTT, net.hidden.neuron), batch)
    rows, at = [], {"seed": seed, "layer": when, "quantity": "cosine by steps"}
    for k in PIECES:
        dw = updates(net, Recipe("pieces", {"*": Gradient()}, Backprop(steps=k)), batch)
        rows.append(at | {"recipe": "pieces", "steps": k, "value": cosine(dw, whole)})
    dw = updates(net, recipe(SYMMETRIC, net.hidden.neuron), batch)
    return rows + [at | {"recipe": SYMMETRIC, "value": cosine(dw, whole)}]


def measured(learner: Learner, batch: Batch, name: str, seed: int) -> dict[str, float]:
    """On the learner's own weights: its cosine with the whole gradient, what dealt credit reaches, and accuracy."""
    net = learner.net
    whole, n = updates(net, recipe(BPTT, net.hidden.neuron), batch), net.hidden.neuron
    found = {"cosine": cosine(updates(net, recipe(name, n), batch, seed), whole)}
    if name == SYMMETRIC:
        g = torch.Generator().manual_seed(seed)
        deals = [torch.randperm(batch.size, generator=g) for _ in range(DEALS)]
        dealt = [cosine(dw, whole) for dw in told_others(net, n, batch, deals)]
        found |= {"dealt": float(np.mean(dealt)), "dealt, 97.5 %": float(np.quantile(dealt, 0.975))}
    task = delayed_xor(T)
    tests = [in_float64(b) for b in task.evaluation(task.split(seed))]
    scores = torch.cat([task.scores(learner.predict(b), b.target) for b in tests])
    return found | {"accuracy": scores.mean().item()}


def told_others(net: nn.Module, neuron: AdaptiveLIF, batch: Batch, deals: Sequence[Tensor]) -> list[Tensor]:
    """Symmetric e-prop's dW where each trial is told the error of another, for each deal of the trials."""
    with torch.no_grad():
        trial, rule = play(net, batch), EProp(neuron, TAU_OUT)
    signal = error_of(trial) @ net.readout.input.weight.detach()
    return [
        hidden({n: rule.update(trial.records[n], {"signal": signal[:, deal]}, {}) / batch.size for n in HIDDEN})
        for deal in deals
    ]


def trained(name: str, seed: int, quick: bool) -> list[dict]:
    """Train by the rule; measure at the checkpoints."""
    task, net = delayed_xor(T).limited(train=QUICK_TRIALS if quick else None), fresh(seed)
    split, shown, rows = task.split(seed), probe(seed, PROBE_QUICK if quick else PROBE), []
    learner = Learner(net, kept_at_rate(recipe(name, net.hidden.neuron), net.hidden.neuron), shown, seed)
    checked = CHECKED_QUICK if quick else CHECKED
    for epoch in range((EPOCHS_QUICK if quick else EPOCHS) + 1):
        for batch in task.batches(split, seed, epoch) if epoch else ():
            learner.step(in_float64(batch))
        if epoch in checked:
            at = {"recipe": name, "seed": seed, "epoch": epoch, "layer": "hidden"}
            rows += [at | {"quantity": q, "value": v} for q, v in measured(learner, shown, name, seed).items()]
    return rows + (pieces_at(net, shown, seed, "trained by BPTT") if name == BPTT else [])


# ---------------------------------------------------------------------------------------------- what is claimed
def of(rows: Sequence[Mapping], **key) -> list[float]:
    """The values of the rows with these entries, in the order of the seeds."""
    return [r["value"] for r in rows if all(r.get(k) == v for k, v in key.items())]


def gap(a: Sequence[float], b: Sequence[float]) -> float:
    """The lower end of the 95 % interval of a - b over seeds; with two or fewer seeds the mean."""
    middle, half = interval(np.subtract(a, b))
    return middle - half if len(a) > 2 else middle


def over_training(rows: Sequence[Mapping], name: str, quantity: str) -> list[float]:
    """The mean over the checkpoints after the first, by seed."""
    found = [r for r in rows if (r["recipe"], r["quantity"]) == (name, quantity) and r.get("epoch")]
    return [float(np.mean([r["value"] for r in found if r["seed"] == k])) for k in sorted({r["seed"] for r in found})]


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    source, claims = "Bellec et al. 2020", []
    for kind in Neurons:
        for name in (SYMMETRIC, RANDOM):
            worst = max(of(rows, quantity="largest relative error", layer=kind, recipe=name))
            text = f"{kind}, {name}: largest |dW - autograd| / largest |dW|, filtered and online"
            claims.append(claim(text, worst, "<=", NEAR, 0, source))
        kept = max(of(rows, quantity="cosine with BPTT", layer=kind))
        claims.append(claim(f"{kind}: e-prop is not BPTT, largest cosine", kept, "<=", 1 - 1e-6, 0, "a control"))
    for when in ("first weights", "trained by BPTT"):
        short = max(1 - v for v in of(rows, layer=when, recipe="pieces", steps=T))
        claims.append(claim(f"{when}: 1 - cosine of pieces of T steps", short, "<=", NEAR, 0, "by definition"))
    if max(r.get("epoch") or 0 for r in rows) < EPOCHS:
        return claims  # a quick run trains too little
    eprop, dealt = over_training(rows, SYMMETRIC, "cosine"), over_training(rows, SYMMETRIC, "dealt")
    text = "e-prop's cosine less that of dealt credit, mean over training, lower end over seeds"
    claims.append(claim(text, gap(eprop, dealt), ">=", 0, 0, "the null"))
    random = over_training(rows, RANDOM, "cosine")
    text = "random feedback: cosine, mean over training, lower end over seeds"
    claims.append(claim(text, gap(random, [0.0] * len(random)), ">=", 0, 0, "Bellec et al. 2020"))
    return claims


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    seeds = len(manifest["seeds"])
    look = looks([SYMMETRIC, RANDOM, BPTT, TEN, "reservoir"])
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12, 4.1), layout="constrained")
        scatter, pieces, over = fig.subplots(1, 3)
        for kind, marker in (("LIF", "o"), ("ALIF", "^")):
            x = of(rows, layer=kind, quantity="traces")
            whole, cut = of(rows, layer=kind, quantity="whole"), of(rows, layer=kind, quantity="recurrent spikes cut")
            colour = "#e6550d" if kind == "LIF" else "#f5a81c"
            scatter.plot(x, whole, marker, ms=3, color=colour, alpha=0.6, label=f"whole gradient, {kind}")
            scatter.plot(x, cut, marker, ms=3, color=look[SYMMETRIC].colour if kind == "LIF" else look[RANDOM].colour,
                         label=f"recurrent spikes cut, {kind}")  # fmt: skip
        scatter.axline((0, 0), slope=1, color="#888888", lw=0.8, zorder=0)
        worst = max(of(rows, quantity="largest relative error"))
        scatter.set(xlabel="dW by e-prop's traces / largest", ylabel="dW by autograd / largest", ylim=(-1.15, 1.7))
        scatter.set_title("A  One synapse, one dot (first weights)")
        scatter.annotate(
            f"largest error of the cut one: {worst:.0e}", (0.97, 0.04), xycoords="axes fraction", ha="right"
        )
        scatter.legend(loc="upper left", fontsize=8)
        for when, colour in (("first weights", "#9a9a9a"), ("trained by BPTT", "#000000")):
            band(pieces, PIECES, [of(rows, layer=when, recipe="pieces", steps=k) for k in PIECES], colour, "-", "o",
                 f"pieces of k steps, {when}", seeds)  # fmt: skip
            found, first = of(rows, layer=when, recipe=SYMMETRIC), when == "first weights"
            band(pieces, (PIECES[0], T), [found, found], "#7fb4f0" if first else look[SYMMETRIC].colour,
                 "--" if first else "-", None, f"e-prop, {when}", seeds)  # fmt: skip
        pieces.set(xscale="log", xlabel="steps of a piece, k (ms)", ylabel="cosine with BPTT, hidden layer")
        pieces.set_xticks(PIECES, [str(k) for k in PIECES])
        pieces.set_xticks([], minor=True)
        pieces.set_title("B  Truncated in time, or across neurons")
        pieces.set_ylim(-0.05, 1.45)
        pieces.set_yticks(np.linspace(0, 1, 6))
        pieces.legend(loc="upper left", fontsize=8)
        epochs = sorted({r["epoch"] for r in rows if r.get("epoch") not in (None, "")})
        for name in [n for n in (SYMMETRIC, TEN, RANDOM) if of(rows, recipe=n, layer="hidden", quantity="cosine")]:
            values = [of(rows, recipe=name, layer="hidden", quantity="cosine", epoch=t) for t in epochs]
            label = {SYMMETRIC: "e-prop, the readout's weights", RANDOM: "e-prop, random weights", TEN: "tbptt-10"}
            band(over, epochs, values, look[name].colour, look[name].line, look[name].marker, label[name], seeds)
        grey = look["reservoir"]
        middle = [np.mean(of(rows, layer="hidden", quantity="dealt", epoch=t)) for t in epochs]
        over.plot(epochs, middle, color=grey.colour, linestyle=(0, (1, 1.5)), label="null: mean of dealt credits")
        null = [of(rows, layer="hidden", quantity="dealt, 97.5 %", epoch=t) for t in epochs]
        band(over, epochs, null, grey.colour, grey.line, None, "null: 97.5 % of dealt credits", seeds)
        over.set(xlabel="epochs of 960 trials", ylabel="cosine with BPTT, hidden layer")
        over.set_title("C  Each on the network it trains")
        over.set_ylim(top=1.15)
        over.legend(loc="upper left", fontsize=8)
        bands = f"mean and 95 % t interval over {seeds} seeds" if seeds > 2 else f"mean over {seeds} seeds"
        text = f"Delayed exclusive-or, T = {T} ms, {UNITS} units (B, C: half adapt). {SHOWN} synapses of 2 seeds in A; {bands}."
        fig.supxlabel(text, fontsize=8)
    return fig


def band(ax, x, values: Sequence[Sequence[float]], colour, line, marker, label, seeds: int) -> None:
    middle, half = np.array([interval(v) for v in values]).T
    ax.plot(x, middle, color=colour, linestyle=line, marker=marker, label=label)
    if seeds > 2:
        ax.fill_between(x, middle - half, middle + half, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
