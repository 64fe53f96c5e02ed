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

Through the memory of a leaky readout (lsnn) credit returns in bptt, tbptt-K and the three e-props; rflo and direct feedback are
told the error of the step as it is. On rate units eprop-random is rflo in another way, by autograd with the recurrent path cut.
eprop-adaptive alone has weight decay, on all its weights. All that follows an error, and every readout, uses Adam on a gradient
clipped to length 1, over hidden and readout weights together where both follow an error.

On spiking units every hidden synapse that learns has one companion, `FiringRate`, the same value beside every rule; `regulated`
has nothing but it. Its weight against the rule is not the same: beside an error it goes through Adam with it, beside STDP
through plain SGD, where it is small, and in pieces it sees the rate of the piece.
"""

from __future__ import annotations

from collections.abc import Callable
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
from neurosim.plasticity import Credit, Gradient, Recipe, Rule
from neurosim.prepare import unit_rows
from neurosim.recipes_families import READOUT_RATE, Entry, Space, Values
from neurosim.rules import RFLO, EProp, FiringRate, Miconi, Oja, Sum, pair, triplet

RATE: Space = {"lr": (3e-4, 3e-2)}
LONGEST = 1.0  # of a gradient
PULSES = 40.0  # Hz: three a unit in 70 ms, as 3 Hz gives in the second that a trial has in the source
DECAY = 0.1  # of weights and feedback weights, a unit of rate


class Clipped(Adam):
    """Adam on g min(1, 1 / |g|), |g| over all its weights."""

    def step(self, closure: Any = None) -> Any:
        torch.nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], LONGEST)
        return super().step(closure)


class ClippedDecaying(Clipped, AdamW):
    """The same with weight decay (Kolen and Pollack's, which both ways share)."""


# ---------------------------------------------------------------------------------------------- one network's families
Beside = Callable[[Rule], Rule]  # what goes with the rule of a hidden synapse


def alone(rule: Rule) -> Rule:
    return rule


def learned(
    name: str,
    hidden: Rule | None,
    readout: Rule,
    credit: Credit,
    lr: float,
    beside: Beside = alone,
    optimizer: Callable[..., Any] = Clipped,
) -> Entry:
    """Every hidden synapse by one rule, the readout by another, at one rate."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules = {"readout.*": readout, "hidden.*": beside(hidden) if hidden else None}
        return Recipe(name, rules, credit, lr=v["lr"], optimizer=optimizer)

    return Entry(make, RATE, {"lr": lr})


def rewarded(
    name: str, rule: Rule, credit: Callable[[Values], Credit], space: Space, start: Values, beside: Beside = alone
) -> Entry:
    """Every synapse by one rule, by reward alone."""

    def make(v: Values, convolutional: bool) -> Recipe:
        return Recipe(name, {"readout.*": rule, "hidden.*": beside(rule)}, credit(v), lr=v["lr"], optimizer=Clipped)

    return Entry(make, {"lr": (1e-4, 1e-2), **space}, {"lr": 1e-3, **start})


def perturbed(v: Values) -> Credit:
    return NoisyReward(v["sigma"], MeanReward(), minus_loss)


def pulsed(v: Values) -> Credit:
    return PulsedReward(signal=MeanReward(), outcome=minus_loss, rate=PULSES, amplitude=v["amplitude"])


def by_activity(name: str, rule: Rule | None, readout: Rule, lr: float, beside: Beside = alone) -> Entry:
    """Recurrent weights by activity alone, with plain SGD, rows kept at length 1; input weights stay; reservoir's readout."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules = {"readout.*": readout, "hidden.recurrent": beside(rule) if rule else None, "hidden.input": None}
        rates, optimizers = {"readout.*": v["readout"], "*": v.get("lr", 0.0)}, {"readout.*": Clipped, "*": SGD}
        return Recipe(name, rules, Broadcast(), lr=rates, optimizer=optimizers, project=unit_rows if rule else None)

    if rule is None:
        return Entry(make, {"readout": (1e-3, 1e-1)}, {"readout": 1e-2})
    return Entry(make, {"lr": (1e-6, 1e-1)}, {"lr": lr, "readout": READOUT_RATE})


SIGMA: tuple[Space, Values] = {"sigma": (0.03, 1.0)}, {"sigma": 0.2}
AMPLITUDE: tuple[Space, Values] = {"amplitude": (1.0, 30.0)}, {"amplitude": 10.0}


def truncated(steps: int, lr: float, beside: Beside = alone) -> Entry:
    return learned(f"tbptt-{steps}", Gradient(), Gradient(), Backprop(steps=steps), lr, beside)


# ---------------------------------------------------------------------------------------------- rate units
def rate_units(units: Rate, out: Rate) -> dict[str, Entry]:
    """Recipes for the rnn, whose hidden neurons are `units` and whose readout is `out`."""
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 3e-3),
        "tbptt-10": truncated(10, 3e-3),
        "eprop": learned("eprop", RFLO(units), RFLO(out), SymmetricBroadcast(), 3e-3),
        "eprop-random": learned("eprop-random", Gradient(), Gradient(), FeedbackAlignment(cut="*.recurrent"), 3e-3),
        "eprop-adaptive": learned(
            "eprop-adaptive",
            RFLO(units),
            RFLO(out),
            LearnedBroadcast(),
            3e-3,
            optimizer=partial(ClippedDecaying, weight_decay=DECAY),
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
def memory_cells(units: Any, out: Rate) -> dict[str, Entry]:
    """Recipes for the lstm."""
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 3e-3),
        "tbptt-10": truncated(10, 3e-3),
        "eprop": learned("eprop", Gradient(), Gradient(), Backprop(cut="*.recurrent"), 3e-3),
        "eprop-random": learned("eprop-random", Gradient(), Gradient(), FeedbackAlignment(cut="*.recurrent"), 3e-3),
        "node-perturbation": rewarded("node-perturbation", Gradient(), perturbed, *SIGMA),
        "reservoir": by_activity("reservoir", None, RFLO(out), 0.0),
    }


# ---------------------------------------------------------------------------------------------- spiking units
TARGET, STRENGTH = 20.0, 1e-4  # of the companion: Hz, and a Hz


def spiking_units(units: AdaptiveLIF, out: Rate) -> dict[str, Entry]:
    """Recipes for the lsnn."""
    companion = FiringRate(units, TARGET, STRENGTH)

    def kept_at_rate(rule: Rule) -> Rule:
        return Sum((rule, companion))

    def by(name: str, hidden: Rule, credit: Credit, optimizer: Callable[..., Any] = Clipped) -> Entry:
        return learned(name, hidden, RFLO(out), credit, 5e-3, kept_at_rate, optimizer)

    decaying = partial(ClippedDecaying, weight_decay=DECAY)
    eprop = EProp(units, out.tau)
    return {
        "bptt": learned("bptt", Gradient(), Gradient(), Backprop(), 5e-3, kept_at_rate),
        "tbptt-10": truncated(10, 5e-3, kept_at_rate),
        "eprop": by("eprop", eprop, SymmetricBroadcast()),
        "eprop-random": by("eprop-random", eprop, Broadcast()),
        "eprop-adaptive": by("eprop-adaptive", eprop, LearnedBroadcast(), decaying),
        "rflo": by("rflo", RFLO(units), Broadcast()),
        "direct-feedback-own": by("direct-feedback-own", RFLO(Rate()), Broadcast()),
        "direct-feedback-pooled": by("direct-feedback-pooled", RFLO(Rate()), Broadcast(pooled)),
        "node-perturbation": rewarded("node-perturbation", Gradient(), perturbed, *SIGMA, kept_at_rate),
        "miconi": rewarded("miconi", Miconi(), pulsed, *AMPLITUDE, kept_at_rate),
        "stdp": by_activity(
            "stdp", replace(pair(A_plus=1.0, A_minus=1.05), forget=True), RFLO(out), 1e-4, kept_at_rate
        ),
        "triplet-stdp": by_activity("triplet-stdp", replace(triplet(), forget=True), RFLO(out), 1e-2, kept_at_rate),
        "regulated": learned("regulated", companion, RFLO(out), Broadcast(), 5e-3),
        "reservoir": by_activity("reservoir", None, RFLO(out), 0.0),
    }


# ---------------------------------------------------------------------------------------------- by network
MADE: dict[str, Callable[[Any, Any], dict[str, Entry]]] = {
    "rnn": rate_units, "lstm": memory_cells, "lsnn": spiking_units,
}  # fmt: skip


def recurrent(task: str, network: str) -> dict[str, Entry]:
    """All that can be compared on a recurrent network, which says itself what its neurons are."""
    with torch.random.fork_rng(devices=[]):
        net = network_for(task, network)((1,), 1)
    return MADE[network](net.hidden.neuron, net.readout.neuron)
