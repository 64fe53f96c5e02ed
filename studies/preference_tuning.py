"""Can a scalar preference, told to all synapses as dopamine is, turn what a trained Transformer says?

A Transformer of 64 units and 2 blocks learns the grammar's text by backprop, 400 updates of 64 sequences. Then it speaks: each
update 32 texts of 48 characters, sampled from its own outputs, and each text as a whole is given one number,

    R = share of its nouns that are dogs  -  beta KL,      KL = <log p(c[t]) - log p0(c[t])>_t,      M = R - Rbar

p0: the net as it was (Ouyang et al. 2022, NeurIPS, have the same penalty); Rbar a running mean, rate .1; a text without nouns
has a share of .25. No text is shown to it any more. The grammar has as many dogs as cats, cows and hens. What M does:

    policy gradient          dW = M d/dW sum_t log p(c[t])    by backprop through all layers (Williams 1992, REINFORCE)
    feedback alignment       the same error M (one-hot(c) - p), brought down by fixed random weights
    direct feedback to blocks    that error, summed over the text, told to every token of a block by one random matrix a block;
                             within the block by its own weights (direct-feedback-block-pooled in the comparisons)
    three-factor readout     dW = M (one-hot(c) - p) (x) pre  at the readout alone: post, pre, and dopamine as a third factor
    three-factor             that, and M y (x) x in all blocks (Hebbian, gated; rows kept at the length they had)
    shuffled                 policy gradient, M dealt to other texts of the batch: a control

All begin with the same net, and say the same at first. Rates: the best of four each on another net, by R at the end.
Measured on 128 texts: dogs among all their nouns; nouns in a text; the share of characters before a text's first that the
grammar does not allow there; KL in bits a character.

Expected: the readout's update of the three-factor rule is the policy gradient's (cosine 1, from equations); the share of dogs
rises under policy gradient, which keeps to the grammar, and stays under shuffled reward. All else is a finding.

Found (three seeds): dopamine at the readout alone does it: after 10 updates .98 of the nouns are dogs (.29 before), after 100
all, and the texts keep to the grammar as long as before (.84, .83), at .21 bits a character from the net as it was. Policy
gradient through all layers gets there a little later (.99), makes more mistakes (.74) and chose the lowest of its rates.
Hebbian changes in the blocks (cosine with policy gradient's -.18 to .01) add nothing: the smallest rate was best. The same
error by random feedback ruins the language before it finds a dog (.02 and .04; texts of "dog" without words, or without
nouns), at 5 to 6 bits. Shuffled reward wanders: .54 dogs on average in texts that break off early (.31), so that claim fails.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import SGD, Adam

from neurosim.cell import reproducible, run_cell
from neurosim.cluster import in_processes
from neurosim.credit import Backprop, BlockFeedback, FeedbackAlignment, pooled
from neurosim.figures import STYLE, banded, claim
from neurosim.generate import generate
from neurosim.networks import transformer
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, cosine
from neurosim.prepare import lengths
from neurosim.recipes import recipes_for
from neurosim.rules import Gated, RewardedHebb
from neurosim.study import Mode, main
from neurosim.tasks import Answers, grammar, text

METRIC, SEEDS, SEEDS_FULL = "share of dogs among the nouns", 3, 5
EPOCHS, EPOCHS_QUICK, UPDATES, UPDATES_QUICK = 20, 1, 100, 2
TEXTS, LENGTH, TESTED, BETA, MEAN, EVERY = 32, 48, 128, 0.1, 0.1, 10
WANTED, SEARCHED = "dog", 10**6  # the noun; the seed of the net that rates are searched on
BLOCKS = "direct feedback to blocks"
GRADIENT, SHUFFLED, READOUT, THREE = "policy gradient", "shuffled", "three-factor readout", "three-factor"
RATES = {  # four of each
    GRADIENT: (1e-4, 3e-4, 1e-3, 3e-3), "feedback alignment": (1e-4, 3e-4, 1e-3, 3e-3),
    BLOCKS: (1e-4, 3e-4, 1e-3, 3e-3), READOUT: (1e-3, 3e-3, 1e-2, 3e-2), THREE: (1e-7, 1e-6, 1e-5, 1e-4),
}  # fmt: skip
COLOURS = {GRADIENT: "#000000", "feedback alignment": "#2a6fbb", BLOCKS: "#8e44ad", READOUT: "#d1495b",
           THREE: "#e8871e", SHUFFLED: "#8a8a8a"}  # fmt: skip
TASK = text("grammar")


@dataclass(frozen=True)
class Job:
    """One fine-tuning."""

    rule: str
    seed: int
    rate: float
    readout: float = 0.0  # of three-factor: found for the readout alone


def recipe(job: Job, net: nn.Module) -> Recipe:
    """How M, in the loss or as the third factor "reward", changes the weights."""
    all_by_error = {"*": Gradient()}
    if job.rule in (
        READOUT,
        THREE,
    ):  # the error is that of what was said, whatever it was worth; M comes as a third factor
        rules = {
            "readout.*": Gated(Gradient(), "credit", "reward"),
            **({"blocks.*": RewardedHebb()} if job.rule == THREE else {}),
        }
        rates = {"readout.*": job.readout if job.rule == THREE else job.rate, "*": job.rate}
        how, project = {"readout.*": Adam, "*": SGD}, as_long_as_in(net) if job.rule == THREE else None
        return Recipe(job.rule, rules, Backprop(), lr=rates, optimizer=how, loss=Answers(LENGTH), project=project)
    credits = {"feedback alignment": FeedbackAlignment(), BLOCKS: BlockFeedback(pooled)}
    return Recipe(job.rule, all_by_error, credits.get(job.rule, Backprop()), lr=job.rate, optimizer=Adam)


def as_long_as_in(net: nn.Module) -> Callable[[str, Tensor], Tensor]:
    """Rows of the blocks' weights are kept at the length they have in the net now."""
    now = {n: lengths(p).clone() for n, p in net.named_parameters() if n.startswith("blocks.")}

    def project(name: str, weight: Tensor) -> Tensor:
        key = name if name in now else f"{name}.weight"
        return weight * now[key] / lengths(weight).clamp(min=1e-12) if key in now else weight

    return project


# ---------------------------------------------------------------------------------------------- speech and its reward
@torch.no_grad()
def speak(net: nn.Module, n: int, g: torch.Generator) -> Tensor:
    """n texts from the start of a sentence, [1 + LENGTH, n] of symbols."""
    first = torch.full((1, n), TASK.vocabulary.index("t"))
    return torch.cat([first, generate(net, first, LENGTH, generator=g)])


def share_of_dogs(said: Tensor) -> Tensor:
    """Of each text the share of its nouns that are dogs; .25, as of the grammar's, where it has none. [n]."""
    found = []
    for column in said.T.tolist():
        whole = words(column)
        counts = {noun: whole.count(noun) for noun in grammar.NOUNS}
        total = sum(counts.values())
        found.append(counts[WANTED] / total if total else 0.25)
    return torch.tensor(found)


def nouns(said: Tensor) -> tuple[float, float]:
    """Dogs among all nouns of all texts, nan for none; and nouns in a text."""
    whole = [words(column) for column in said.T.tolist()]
    counts = {noun: sum(text.count(noun) for text in whole) for noun in grammar.NOUNS}
    total = sum(counts.values())
    return counts[WANTED] / total if total else float("nan"), total / len(whole)


def allowed(said: Tensor) -> float:
    """The share of characters that come before their text's first that the grammar does not allow there."""
    m, ok = TASK.m, 0
    for column in said.T.tolist():
        s = m.start
        for a in column:
            if m.p[s, a] == 0:
                break
            s, ok = int(m.to[s, a]), ok + 1
    return ok / said.numel()


@torch.no_grad()
def log_p(net: nn.Module, said: Tensor) -> Tensor:
    """log p(c[t]) of what was said, in nats, [LENGTH, n]."""
    x = torch.eye(len(TASK.vocabulary))[said[:-1]]
    return net(x).log_softmax(-1).gather(2, said[1:, :, None])[..., 0]


def heard(said: Tensor, M: Tensor) -> Batch:
    """The texts as a batch whose loss is -M sum_t log p(c[t]) / LENGTH, and which tells M as a third factor."""
    x = torch.eye(len(TASK.vocabulary))[said[:-1]]
    loss = Answers(LENGTH)
    return Batch(x, said[1:], lambda u, c: M * loss(u, c), signals={"reward": M}, time=True, dt=TASK.dt)


# ---------------------------------------------------------------------------------------------- learning
def trained(seed: int, epochs: int) -> dict[str, Tensor]:
    """The weights of a net that has learned the grammar by backprop."""
    nets: list[Learner] = []
    backprop = recipes_for("text", "transformer")["backprop"]
    with reproducible(seed, torch.float32):
        run_cell(replace(backprop, lr=1e-3), transformer, TASK, seed, epochs, tuning=True, at_end=nets.append)
    return nets[0].net.state_dict()


def measured(net: nn.Module, old: nn.Module, seed: int) -> tuple[dict[str, float], Tensor]:
    """On texts that nothing is learned from."""
    said = speak(net, TESTED, torch.Generator().manual_seed(10_000 + seed))
    kl = (log_p(net, said) - log_p(old, said)).mean().item() / np.log(2)
    dogs, many = nouns(said)
    return {"dogs": dogs, "nouns": many, "allowed": allowed(said), "KL": kl}, said


def worth(net: nn.Module, old: nn.Module, said: Tensor) -> Tensor:
    """R of each text, [n]."""
    return share_of_dogs(said) - BETA * (log_p(net, said) - log_p(old, said)).mean(0)


def tune(weights: Mapping[int, Mapping[str, Tensor]], updates: int, job: Job) -> list[dict]:
    """Rows of one fine-tuning: what is measured before it, at every tenth update, and some words at its ends."""
    torch.set_num_threads(1)
    net, old = (transformer(TASK.shape, TASK.outputs) for _ in range(2))
    for n in (net, old):
        n.load_state_dict(weights[job.seed])
    g = torch.Generator().manual_seed(job.seed)
    learner, mean, rows = None, None, []
    for update in range(updates + 1):
        if update % EVERY == 0 or update == updates:
            found, said = measured(net, old, job.seed)
            at = {"recipe": job.rule, "seed": job.seed, "epoch": update, "samples": update * TEXTS}
            rows += [{**at, "layer": "", "quantity": q, "value": v} for q, v in found.items()]
            if update in (0, updates):
                rows.append({**at, "layer": words(said[:, 0].tolist()), "quantity": "said", "value": 0.0})
        said = speak(net, TEXTS, g)
        R = worth(net, old, said)
        mean = R.mean() if mean is None else mean
        M = R - mean
        mean = mean + MEAN * (R.mean() - mean)
        if job.rule == SHUFFLED:
            M = M[torch.randperm(TEXTS, generator=g)]
        batch = heard(said, M)
        learner = learner or Learner(net, recipe(job, net), batch, job.seed)
        if update == 0 and job.rule in (READOUT, THREE):
            rows += held_against(learner, batch, at)
        if update < updates:
            learner.step(batch)
            if not all(p.isfinite().all() for p in net.parameters()):
                lost = {**at, "epoch": updates, "samples": updates * TEXTS, "layer": "", "value": float("nan")}
                return [*rows, *({**lost, "quantity": q} for q in found)]
    return rows


def held_against(learner: Learner, batch: Batch, at: Mapping) -> list[dict]:
    """The cosine of each synapse's first update with that of policy gradient."""
    true = Learner(learner.net, recipe(Job(GRADIENT, 0, 1e-3), learner.net), batch).updates(batch)
    return [
        {**at, "layer": n.removesuffix(".input"), "quantity": "cosine", "value": cosine(d, true[n]).item()}
        for n, d in learner.updates(batch).items()
    ]


def words(symbols: Sequence[int]) -> str:
    return "".join(TASK.vocabulary[k] for k in symbols)


# ---------------------------------------------------------------------------------------------- the study
def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    epochs, updates = (EPOCHS_QUICK, UPDATES_QUICK) if mode.quick else (EPOCHS, UPDATES)
    seeds, workers = [*range(mode.seeds), *([] if mode.quick else [SEARCHED])], os.cpu_count() or 1
    weights = dict(in_processes(partial(trained, epochs=epochs), seeds, workers))
    rates, rows = {rule: tried[1] for rule, tried in RATES.items()}, []
    work = partial(tune, weights, updates)
    if not mode.quick:
        for rules in ([r for r in RATES if r != THREE], [THREE]):  # its readout's rate is the readout's own
            jobs = [Job(rule, SEARCHED, rate, rates[READOUT]) for rule in rules for rate in RATES[rule]]
            reached = {job: last(found, "dogs") - BETA * np.log(2) * last(found, "KL")
                       for job, found in in_processes(work, jobs, workers)}  # fmt: skip
            for rule in rules:
                rates[rule] = max((job for job in jobs if job.rule == rule), key=lambda j: (reached[j], -j.rate)).rate
        rows += [blank(rule, rate) for rule, rate in rates.items()]
    jobs = [
        Job(rule, s, rates.get(rule, rates[GRADIENT]), rates[READOUT]) for rule in COLOURS for s in range(mode.seeds)
    ]
    found = dict(in_processes(work, jobs, workers))
    rows += [r for job in jobs for r in found[job]]
    return rows, claims_of(rows, mode.quick)


def blank(rule: str, rate: float) -> dict:
    return {"recipe": rule, "seed": SEARCHED, "epoch": 0, "samples": 0, "layer": "", "quantity": "rate", "value": rate}


def last(rows: Sequence[Mapping], quantity: str) -> float:
    value = [r["value"] for r in rows if r["quantity"] == quantity][-1]
    return value if np.isfinite(value) else -np.inf if quantity == "dogs" else np.inf


def by_update(rows: Sequence[Mapping], rule: str, quantity: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["quantity"]) == (rule, quantity):
            found.setdefault(int(r["epoch"]), []).append(float(r["value"]))
    return dict(sorted(found.items()))


def ends(rows: Sequence[Mapping], rule: str, quantity: str) -> tuple[float, float]:
    """The mean over seeds before and after."""
    found = list(by_update(rows, rule, quantity).values())
    return float(np.mean(found[0])), float(np.mean(found[-1]))


def claims_of(rows: Sequence[Mapping], quick: bool) -> list[dict]:
    same = [v for r in rows if r["quantity"] == "cosine" and r["layer"] == "readout" for v in [r["value"]]]
    claims = [
        claim("three-factor rule at the readout: least cosine with policy gradient's update", min(same), ">=", 1.0, 1e-5,
              "M (one-hot(c) - p) (x) pre is both"),
        claim("rules that say something else at first", len({ends(rows, rule, "dogs")[0] for rule in COLOURS}) - 1, "<=", 0),
    ]  # fmt: skip
    if quick:
        return claims
    before, after = ends(rows, GRADIENT, "dogs")
    shuffled, (language, kept) = ends(rows, SHUFFLED, "dogs"), ends(rows, GRADIENT, "allowed")
    return [
        *claims,
        claim("policy gradient: dogs more than before", after - before, ">=", 0.2, 0, "the gradient; Williams 1992"),
        claim("shuffled reward: dogs as before", shuffled[1] - shuffled[0], "within", 0.0, 0.1, "nothing is told"),
        claim("policy gradient: characters before the first mistake, more than before", kept - language, ">=", -0.1, 0,
              "beta KL; no published number"),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12.6, 6.6), layout="constrained")
        upper, lower = fig.subfigures(2, 1, height_ratios=(1.0, 0.62))
        ax, bx, cx = upper.subplots(1, 3, width_ratios=(1.1, 1, 1))
        for rule in COLOURS:
            curve(ax, rows, rule)
        ax.axhline(0.25, color="#9a9a9a", linewidth=0.8, linestyle=":", label="the grammar")
        ax.set(xlabel="updates", ylabel="share of dogs among the nouns", title="A  What was rewarded", ylim=(0, 1.02))
        ax.legend(fontsize=7.5)
        for rule, colour in COLOURS.items():
            dogs, kl = (list(by_update(rows, rule, q).values()) for q in ("dogs", "KL"))
            bx.plot([np.mean(k) for k in kl], [np.mean(d) for d in dogs], color=colour, marker=".", linewidth=1)
            bx.plot(kl[-1], dogs[-1], "o", color=colour, markersize=4, markerfacecolor="white")
        bx.set_xscale("symlog", linthresh=0.01)
        bx.set(xlabel="KL from the net as it was (bits a character)", ylabel="share of dogs", ylim=(0, 1.02),
               title="B  What it cost (rings: seeds at the end)")  # fmt: skip
        labels = list(COLOURS)
        for k, rule in enumerate(labels):
            values = list(by_update(rows, rule, "allowed").values())
            cx.plot(values[0], [k + 0.15] * len(values[0]), "|", color="#9a9a9a", markersize=9)
            cx.plot(values[-1], [k] * len(values[-1]), "o", color=COLOURS[rule], markersize=5)
        cx.set_yticks(range(len(labels)), labels)
        cx.set(xlabel="share of characters before a text's first mistake\n(grey: before tuning)", xlim=(-0.02, 1.02),
               title="C  Is it still language?")  # fmt: skip
        told = lower.subplots()
        told.set_axis_off()
        told.set_title("D  One text of each, before and after (same random numbers)", loc="left")
        said = {
            (r["recipe"], int(r["epoch"])): str(r["layer"])
            for r in rows
            if r["quantity"] == "said" and int(r["seed"]) == 0
        }
        lines = [("before", said[GRADIENT, 0], "#000000")]
        lines += [(rule, said[rule, max(e for n, e in said if n == rule)], COLOURS[rule]) for rule in COLOURS]
        for k, (rule, words_, colour) in enumerate(lines):
            y = 0.9 - 0.135 * k
            told.text(0.0, y, rule, fontsize=8.5, color=colour, va="top")
            told.text(0.17, y, words_, fontsize=8.5, family="monospace", va="top")
    return fig


def curve(ax: Axes, rows: Sequence[Mapping], rule: str) -> None:
    style = "--" if rule == SHUFFLED else "-"
    banded(ax, by_update(rows, rule, "dogs"), 0.12, {"color": COLOURS[rule], "label": rule, "linestyle": style})


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
