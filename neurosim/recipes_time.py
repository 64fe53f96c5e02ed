"""Recipes for recurrent networks: how credit is carried through time, from none at all to backpropagation.

                            through recurrent weights   through a neuron's own memory   error by
    bptt, tbptt-K           yes (within K steps)        yes (within K steps)            the readout's weights
    eprop                   no                          yes                             the readout's weights
    eprop-random            no                          yes                             fixed random weights
    eprop-adaptive          no                          yes                             weights that learn as the readout's do
    rflo                    no                          yes, but not through adaptation fixed random weights
    direct-feedback-own     no                          no                              fixed random weights, each step's own
    direct-feedback-pooled  no                          no                              the same, the trial's sum at every step
    node-perturbation       (reward)                    (reward)                        one number a trial, less its mean
    miconi                  (reward)                    (reward)                        the same
    oja, stdp, triplet-stdp recurrent weights by activity alone, a learned readout
    reservoir               nothing learns but the readout: the frozen control

Through the memory of a leaky readout (lsnn) credit returns in all of them: what they differ in is the hidden layer. On rate
units eprop-random is rflo in another way, by autograd with the recurrent path cut. eprop-adaptive alone has weight decay, on
readout and feedback. All that follows an error, and every readout, uses Adam on a gradient clipped to length 1, each synapse
group's own; all rates fall linearly over the epochs, to 1 / epochs in the last. What follows an error has two rates, of hidden
layer and readout; what learns by reward one, the readout's being `FASTER` times it; readouts of what learns by activity alone,
and beside `regulated`, have the rate that was found for the reservoir's.

On spiking units every hidden synapse that learns has one companion, `FiringRate`, of one strength, that of its source (for 70
steps, but on evidence). It goes through Adam with the rule, and is as strong beside it as the rule's own gradient lets it be:
at first weights on delayed-xor the rule is .01 of it (tbptt-10, which sees the rates of its pieces), .04 (symmetric and
adaptive e-prop, whose feedback is ten times weaker than the random), .3 to 1.5 (bptt, random e-prop, rflo, direct feedback), 44
(node-perturbation) and 370 (miconi). Beside STDP it goes through plain SGD at rate 1, whatever the rule's rate is, and rows are
kept at length 1. `regulated` has nothing but it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW

from neurosim.credit import (
    Backprop,
    Broadcast,
    FeedbackAlignment,
    LearnedBroadcast,
    MeanReward,
    NoisyReward,
    PulsedReward,
    SymmetricBroadcast,
    minus_loss,
    pooled,
)
from neurosim.networks import network_for
from neurosim.neurons import AdaptiveLIF, Rate
from neurosim.plasticity import Credit, Gradient, Recipe, Rule, falling
from neurosim.prepare import unit_rows
from neurosim.recipes_families import Entry, Space, Values
from neurosim.rules import RFLO, EProp, FiringRate, Miconi, Oja, Sum, pair, triplet

RATE: Space = {"lr": (3e-4, 3e-2)}
READOUT_RATE: Space = {"readout": (1e-3, 1.0)}
FASTER = 30.0  # as the readout's start is beside the hidden layer's
CONTROL_RATE: Space = {"readout": (1e-2, 1e2)}  # of a readout alone, which nothing else moves: it profits from more
READOUT = 1e-1  # where its search starts: the signal of a far cue is weak, weights that read it are large
LONGEST = 1.0  # of a gradient
PULSES = 40.0  # Hz: three a unit in 70 ms, as 3 Hz gives in the second that a trial has in the source
DECAY = 0.1  # of readout and feedback weights, a unit of rate


class Clipped(Adam):
    """Adam on g min(1, 1 / |g|), each synapse group's own: one that explodes does not stop the others."""

    def step(self, closure: Any = None) -> Any:
        for p in (p for g in self.param_groups for p in g["params"]):
            torch.nn.utils.clip_grad_norm_(p, LONGEST)
        return super().step(closure)


class ClippedDecaying(Clipped, AdamW):
    """The same with weight decay (Kolen and Pollack's, which both ways share)."""


# ---------------------------------------------------------------------------------------------- one network's families
Beside = Callable[[Rule, float], Rule]  # what goes with the rule of a hidden synapse, whose rate is 1 / so much


def alone(rule: Rule, lr: float = 1.0) -> Rule:
    return rule


def learned(
    name: str,
    hidden: Rule,
    readout: Rule,
    credit: Credit,
    lr: float,
    beside: Beside = alone,
    last: Callable[..., Any] = Clipped,
) -> Entry:
    """Hidden synapses by one rule at one rate, the readout by another at its own; `last`: the readout's optimiser."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules = {"readout.*": readout, "hidden.*": beside(hidden, 1.0)}
        rates, optimizers = {"readout.*": v["readout"], "*": v["lr"]}, {"readout.*": last, "*": Clipped}
        return Recipe(name, rules, credit, lr=rates, optimizer=optimizers, schedule=falling)

    return Entry(make, RATE | READOUT_RATE, {"lr": lr, "readout": READOUT})


def rewarded(
    name: str, rule: Rule, credit: Callable[[Values], Credit], space: Space, start: Values, beside: Beside = alone
) -> Entry:
    """Every synapse by one rule, by reward alone; the readout's rate is `FASTER` times that of the hidden layer."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rates = {"readout.*": FASTER * v["lr"], "*": v["lr"]}
        return Recipe(
            name,
            {"readout.*": rule, "hidden.*": beside(rule, 1.0)},
            credit(v),
            lr=rates,
            optimizer=Clipped,
            schedule=falling,
        )

    return Entry(make, {"lr": (1e-4, 1e-2), **space}, {"lr": 1e-3, **start})


def perturbed(v: Values) -> Credit:
    return NoisyReward(v["sigma"], MeanReward(), minus_loss)


def pulsed(v: Values) -> Credit:
    return PulsedReward(signal=MeanReward(), outcome=minus_loss, rate=PULSES, amplitude=v["amplitude"])


def by_activity(name: str, rule: Rule | None, readout: Rule, lr: float, beside: Beside = alone) -> Entry:
    """Recurrent weights by activity alone, with plain SGD, rows kept at length 1; input weights stay; reservoir's readout."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules = {
            "readout.*": readout,
            "hidden.recurrent": beside(rule, v["lr"]) if rule else None,
            "hidden.input": None,
        }
        rates, optimizers = {"readout.*": v["readout"], "*": v.get("lr", 0.0)}, {"readout.*": Clipped, "*": SGD}
        return Recipe(
            name,
            rules,
            Broadcast(),
            lr=rates,
            optimizer=optimizers,
            project=unit_rows if rule else None,
            schedule=falling,
        )

    if rule is None:
        return Entry(make, CONTROL_RATE, {"readout": READOUT})
    return Entry(make, {"lr": (1e-6, 1e-1)}, {"lr": lr, "readout": READOUT})


SIGMA: tuple[Space, Values] = {"sigma": (0.03, 1.0)}, {"sigma": 0.2}
AMPLITUDE: tuple[Space, Values] = {"amplitude": (1.0, 30.0)}, {"amplitude": 10.0}


def truncated(pieces: Iterable[int], lr: float, beside: Beside = alone) -> dict[str, Entry]:
    """tbptt-K for each K. What is not of `PIECES` has the values of the first that is."""
    found = {f"tbptt-{k}": learned(f"tbptt-{k}", Gradient(), Gradient(), Backprop(steps=k), lr, beside) for k in pieces}
    return {n: e if n in TRUNCATED else replace(e, follows=TRUNCATED[0]) for n, e in found.items()}


PIECES = (10,)  # steps, in the line-up
TRUNCATED = tuple(f"tbptt-{k}" for k in PIECES)


def asked_pieces(slugs: Iterable[str]) -> tuple[int, ...]:
    """K of each tbptt-K, those of the line-up first."""
    found = (re.fullmatch(r"tbptt-([1-9]\d*)", slug) for slug in slugs)
    return tuple(dict.fromkeys((*PIECES, *(int(m[1]) for m in found if m))))


# ---------------------------------------------------------------------------------------------- rate units
def rate_units(units: Rate, out: Rate, task: str = "", pieces: Iterable[int] = PIECES) -> dict[str, Entry]:
    """Recipes for the rnn, whose hidden neurons are `units` and whose readout is `out`."""
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 3e-3),
        **truncated(pieces, 3e-3),
        "eprop": learned("eprop", RFLO(units), RFLO(out), SymmetricBroadcast(), 3e-3),
        "eprop-random": learned("eprop-random", Gradient(), Gradient(), FeedbackAlignment(cut="*.recurrent"), 3e-3),
        "eprop-adaptive": learned(
            "eprop-adaptive",
            RFLO(units),
            RFLO(out),
            LearnedBroadcast(),
            3e-3,
            last=partial(ClippedDecaying, weight_decay=DECAY),
        ),
        "rflo": learned("rflo", RFLO(units), RFLO(out), Broadcast(), 3e-3),
        "direct-feedback-own": learned("direct-feedback-own", RFLO(Rate()), RFLO(out), Broadcast(), 1e-3),
        "direct-feedback-pooled": learned("direct-feedback-pooled", RFLO(Rate()), RFLO(out), Broadcast(pooled), 1e-3),
        "node-perturbation": rewarded("node-perturbation", Gradient(), perturbed, *SIGMA),
        "miconi": rewarded("miconi", Miconi(), pulsed, *AMPLITUDE),
        "oja": by_activity("oja", Oja(), RFLO(out), 1e-4),
        "reservoir": by_activity("reservoir", None, RFLO(out), 0.0),
    }


# ---------------------------------------------------------------------------------------------- long short-term memory
def memory_cells(units: Any, out: Rate, task: str = "", pieces: Iterable[int] = PIECES) -> dict[str, Entry]:
    """Recipes for the lstm."""
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 3e-3),
        **truncated(pieces, 3e-3),
        "eprop": learned("eprop", Gradient(), Gradient(), Backprop(cut="*.recurrent"), 3e-3),
        "eprop-random": learned("eprop-random", Gradient(), Gradient(), FeedbackAlignment(cut="*.recurrent"), 3e-3),
        "node-perturbation": rewarded("node-perturbation", Gradient(), perturbed, *SIGMA),
        "reservoir": by_activity("reservoir", None, RFLO(out), 0.0),
    }


# ---------------------------------------------------------------------------------------------- spiking units
KEPT = {"evidence": (10.0, 2250)}  # by task: Hz, and the steps of a trial; as published
KEPT_ELSE = 20.0, 70


def spiking_units(units: AdaptiveLIF, out: Rate, task: str = "", pieces: Iterable[int] = PIECES) -> dict[str, Entry]:
    """Recipes for the lsnn."""
    target, T = KEPT.get(task, KEPT_ELSE)
    companion = FiringRate(units, target, 2e-3 / T)

    def kept_at_rate(rule: Rule, lr: float) -> Rule:
        return Sum((rule, replace(companion, strength=companion.strength / lr)))

    def by(name: str, hidden: Rule, credit: Credit, last: Callable[..., Any] = Clipped) -> Entry:
        return learned(name, hidden, RFLO(out), credit, 5e-3, kept_at_rate, last)

    decaying = partial(ClippedDecaying, weight_decay=DECAY)
    direct, sent = RFLO(Rate(), out.tau), Broadcast(scale=1.0)  # as in the source of the companion's proportion
    eprop = EProp(units, out.tau)
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 5e-3, kept_at_rate),
        **truncated(pieces, 5e-3, kept_at_rate),
        "eprop": by("eprop", eprop, SymmetricBroadcast()),
        "eprop-random": by("eprop-random", eprop, sent),
        "eprop-adaptive": by("eprop-adaptive", eprop, LearnedBroadcast(), decaying),
        "rflo": by("rflo", RFLO(units, out.tau), sent),
        "direct-feedback-own": by("direct-feedback-own", direct, sent),
        "direct-feedback-pooled": by("direct-feedback-pooled", direct, replace(sent, error=pooled)),
        "node-perturbation": rewarded("node-perturbation", Gradient(), perturbed, *SIGMA, kept_at_rate),
        "miconi": rewarded("miconi", Miconi(), pulsed, *AMPLITUDE, kept_at_rate),
        "stdp": by_activity(
            "stdp", replace(pair(A_plus=1.0, A_minus=1.05), forget=True), RFLO(out), 1e-4, kept_at_rate
        ),
        "triplet-stdp": by_activity("triplet-stdp", replace(triplet(), forget=True), RFLO(out), 1e-2, kept_at_rate),
        "regulated": replace(learned("regulated", companion, RFLO(out), Broadcast(), 5e-3), space=RATE),
        "reservoir": by_activity("reservoir", None, RFLO(out), 0.0),
    }


# ---------------------------------------------------------------------------------------------- by network
MADE: dict[str, Callable[[Any, Any, str, Iterable[int]], dict[str, Entry]]] = {
    "rnn": rate_units, "lstm": memory_cells, "lsnn": spiking_units,
}  # fmt: skip


def recurrent(task: str, network: str, asked: Iterable[str] = ()) -> dict[str, Entry]:
    """All that can be compared on a recurrent network, which says itself what its neurons are; and each tbptt-K asked for."""
    with torch.random.fork_rng(devices=[]):
        net = network_for(task, network)((1,), 1)
    return MADE[network](net.hidden.neuron, net.readout.neuron, task, asked_pieces(asked))
