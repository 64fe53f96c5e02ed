"""Recipes of the spiking networks: surrogate gradients, spike-timing rules, reward.

All share batches and first weights; what reads the hidden spikes, and so says "learned", is one of two:

    counted     one linear unit a class on normalised spike counts: by the recipe's error, or by the delta rule (frozen's)
    population  ten spiking neurons a class, as the network is drawn: by reward alone

    surrogate-bptt, eprop, eprop-random, direct-feedback    errors, Adam; e-prop is BPTT in which no credit returns through
                                                            lateral synapses: with one hidden layer that is all it cuts; with
                                                            two, credit still comes to the first through the second's memory
    stdp, triplet-stdp, homeostatic-triplet                 hidden synapses by activity, thresholds too: each neuron to 50 Hz
    symmetric-stdp-wta                                      the same where the first to fire keeps the others from it
    frozen, regulated, frozen-wta                           controls: as drawn; thresholds alone; as drawn, winner takes all
    reward-stdp                                             R-STDP in all layers, with an eligibility of 500 ms
    reward-stdp-unmodulated, reward-shuffled                twins: hidden layers without M; M of another sample
    reward-frozen, untrained                                the readout alone learns by reward; nothing learns
    backprop-rate, frozen-rate                              no spikes: rate units of the same shape and weights

Weights are written after each batch; a hidden neuron's weights have mean 0 and the length they are drawn with (synaptic
scaling, neuron-local), where activity alone or reward moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam

from neurosim.credit import (
    Backprop,
    DeltaRule,
    DirectFeedback,
    FeedbackAlignment,
    MeanReward,
    NoCredit,
    SampledReward,
    Shuffled,
    Signal,
)
from neurosim.networks.spiking_mlp import GAIN
from neurosim.plasticity import Credit, Gradient, Recipe, Rule, falling
from neurosim.prepare import lengths
from neurosim.prepare_spiking import competing, counted, in_rates
from neurosim.recipes_families import Entry, Space, Values
from neurosim.rules import SpikeRule, Threshold, homeostatic_triplet, pair, symmetric, triplet

READOUT = 1e-2  # of the delta rule on counts, where its search starts
KEPT, WINNERS = Threshold(50.0), Threshold(10.0)  # Hz, of hidden neurons; of those that compete, of which few may fire
RATE: Space = {"lr": (3e-4, 3e-2)}
ACTIVITY: Space = {"lr": (1e-4, 1.0), "theta": (1e-2, 1.0)}  # theta: of thresholds, in thresholds a spike too many
ANSWER: Space = {"answer": (1e-4, 1e-2)}
Prepare = Callable[[nn.Module], nn.Module]


def contrasted(name: str, weight: Tensor) -> Tensor:
    """In hidden layers w_i less its mean, at the length that it is drawn with (synaptic scaling, neuron-local)."""
    if name.startswith("readout.") or not name.endswith(".input"):
        return weight
    w = weight - weight.flatten(1).mean(1).reshape(-1, *[1] * (weight.dim() - 1))
    return w * (GAIN**0.5 / lengths(w).clamp(min=1e-12))


# ---------------------------------------------------------------------------------------------- by an error
def by_error(name: str, credit: Credit, lr: float = 3e-3, prepare: Prepare = counted) -> Entry:
    """Every synapse but lateral ones and thresholds, with Adam."""

    def make(v: Values, convolutional: bool) -> Recipe:
        return Recipe(
            name,
            {"*.input": Gradient(), "*": None},
            credit,
            v["lr"],
            Adam,
            prepare=prepare,
            schedule=falling,
        )

    return Entry(make, RATE, {"lr": lr})


# ---------------------------------------------------------------------------------------------- by activity
def by_activity(
    name: str,
    rule: SpikeRule | None,
    lr: float = 0.0,
    thresholds: Threshold | None = KEPT,
    prepare: Prepare = counted,
    space: Space = ACTIVITY,
) -> Entry:
    """Hidden synapses by this rule, thresholds by theirs, plain SGD; the readout by the delta rule, at frozen's rate."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules: dict[str, Rule | None] = {"readout.*": Gradient(), "*.input": rule, "*.threshold": thresholds, "*": None}
        rates = {"readout.*": v["readout"], "*.threshold": v.get("theta", 0.0), "*": v.get("lr", 0.0)}
        optimizers: dict[str, Any] = {"readout.*": Adam, "*": SGD}
        project = contrasted if rule else None
        there = {n: r for n, r in rules.items() if prepare is not in_rates or n in ("readout.*", "*")}
        return Recipe(name, there, DeltaRule(), rates, optimizers, project=project, prepare=prepare, schedule=falling)

    return Entry(make, space, {"readout": READOUT, "theta": 0.1, "lr": lr})


def cleared(rule: SpikeRule) -> SpikeRule:
    """The trial's end clears all its traces: samples do not follow one another."""
    return replace(rule, forget=True)


# ---------------------------------------------------------------------------------------------- by reward
def tagged(gate: str, tau_e: float = 500.0) -> SpikeRule:
    """post spike: e <- e + r1;   de/dt = -e / tau_e,   dW = M e at the trial's end, which clears all.  tau_plus = 20 ms.

    Potentiation alone, as for post after pre; the sign of what remains is M's. Source: Fremaux, Sprekeler & Gerstner 2010.
    """
    window = pair(A_plus=1.0, A_minus=0.0)
    terms = tuple(replace(m, gate=gate, tau_e=tau_e) for m in window.terms if m.gain)
    return replace(window, traces={"r1": window.traces["r1"]}, terms=terms, forget=True)


def at_once() -> SpikeRule:
    """Without eligibility, and M = 1: post spike: dW = r1."""
    window = tagged("reward")
    return replace(window, terms=tuple(replace(m, gate=None) for m in window.terms))


def by_reward(name: str, hidden: SpikeRule | None, signal: Signal | None = None, follows: str = "") -> Entry:
    """c ~ softmax(counts); hidden synapses read M, those of an output neuron M (1 if its class was chosen, else 0, less p),

    at the rate found for reward-frozen.
    """

    def make(v: Values, convolutional: bool) -> Recipe:
        rules: dict[str, Rule | None] = {"readout.input": tagged("credit"), "*.input": hidden, "*": None}
        rates, optimizers = {"readout.*": v["answer"], "*": v.get("lr", 0.0)}, {"readout.*": Adam, "*": SGD}
        return Recipe(
            name, rules, SampledReward(signal=signal), rates, optimizers, project=contrasted, schedule=falling
        )

    return Entry(make, {"lr": (1e-5, 1.0)} if hidden else ANSWER, {"lr": 1e-3, "answer": 1e-3}, follows)


def untrained(v: Values, convolutional: bool) -> Recipe:
    return Recipe("untrained", {"*": None}, NoCredit())


# ---------------------------------------------------------------------------------------------- all of them
FROZEN: Space = {"readout": (1e-3, 1e-1)}
SPIKING: dict[str, Entry] = {
    "surrogate-bptt": by_error("surrogate-bptt", Backprop()),
    "eprop": by_error("eprop", Backprop(cut="*.lateral")),
    "eprop-random": by_error("eprop-random", FeedbackAlignment(cut="*.lateral")),
    "direct-feedback": by_error("direct-feedback", DirectFeedback()),
    "stdp": by_activity("stdp", cleared(pair(A_plus=1.0, A_minus=1.05)), 1e-3),
    "triplet-stdp": by_activity("triplet-stdp", cleared(triplet()), 1e-2),
    "homeostatic-triplet": by_activity(
        "homeostatic-triplet", cleared(homeostatic_triplet(rho0=KEPT.target, tau_hom=1000.0)), 1e-2
    ),
    "symmetric-stdp-wta": by_activity("symmetric-stdp-wta", cleared(symmetric(1.0)), 0.1, WINNERS, competing),
    "reward-stdp": by_reward("reward-stdp", tagged("reward")),
    "reward-stdp-unmodulated": by_reward("reward-stdp-unmodulated", at_once()),
    "reward-shuffled": by_reward("reward-shuffled", tagged("reward"), Shuffled(MeanReward()), follows="reward-stdp"),
    "reward-frozen": by_reward("reward-frozen", None),
    "frozen": by_activity("frozen", None, thresholds=None, space=FROZEN),
    "regulated": by_activity("regulated", None, space={"theta": ACTIVITY["theta"]}),
    "frozen-wta": by_activity("frozen-wta", None, 0.0, None, competing, {}),
    "untrained": Entry(untrained, {}, {}),
    "backprop-rate": by_error("backprop-rate", Backprop(), 3e-3, in_rates),
    "frozen-rate": by_activity("frozen-rate", None, 0.0, None, in_rates, FROZEN),
}
REWARDED = (
    "surrogate-bptt", "reward-stdp", "reward-stdp-unmodulated", "reward-shuffled", "reward-frozen", "untrained",
)  # fmt: skip
# of which the readout learns by reward, and what they are held against

__all__ = ["REWARDED", "SPIKING", "at_once", "cleared", "contrasted", "tagged"]
