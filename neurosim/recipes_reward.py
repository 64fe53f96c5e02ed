"""Recipes that learn by reward, beside the line-up: `--rules three-factor`, and all that the spiking network has.

Each stands beside its frozen control, which is rewarded in the same way at its readout alone, and its unmodulated twin,
whose hidden layers do what they do without reward (M = 1):

    reward-hebb                 reward-hebb-unmodulated, reward-shuffled; reward-frozen      (reward-hebb is in the line-up)
    acetylcholine-hebb          reward-hebb;                              acetylcholine-frozen
    reward-node-perturbation    reward-node-perturbation-unmodulated;     reward-node-perturbation-frozen
    reward-stdp (spiking)       reward-stdp-unmodulated, reward-shuffled; frozen

The twin of node perturbation is told M = 1 everywhere, since there is nothing in its noise without M. `reward-shuffled` is
told the M of another sample, in all layers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor
from torch.optim import SGD, Adam

from neurosim.credit import Backprop, Critic, MeanReward, NoisyReward, SampledReward, Shuffled, Signal, Unmodulated
from neurosim.plasticity import Credit, Gradient, Recipe, Rule
from neurosim.prepare import lengths, steadied, unit_rows
from neurosim.recipes_families import HIDDEN_RATE, RATE, READOUT_RATE, Entry, Values, by_local_rule
from neurosim.rules import Hebb, RewardedHebb, SpikeRule, pair
from neurosim.rules.reward import Gated

ANSWER = {"answer": (1e-4, 3e-2)}  # rate of a rewarded readout


# ---------------------------------------------------------------------------------------------- sampled answers
def sampled(name: str, rule: Rule | None, credit: Credit = SampledReward(), follows: str = "") -> Entry:
    """As reward-hebb: hidden layers by this rule, the readout by REINFORCE."""

    def make(v: Values, convolutional: bool) -> Recipe:
        return by_local_rule(name, rule, v.get("lr", 0.0), credit=credit, readout=v["answer"], project=unit_rows)

    searched, start = (HIDDEN_RATE, {"lr": 1e-4}) if rule else ({}, {})
    return Entry(make, {**searched, **ANSWER}, {**start, "answer": READOUT_RATE}, follows)


def acetylcholine(name: str, hidden: Rule | None, v: Values, convolutional: bool) -> Recipe:
    """The learning rate of every layer is gated by uncertainty: dW = ACh[k] (reward-hebb's), ACh[k] = 1 - Rbar[k]."""
    recipe = by_local_rule(
        name,
        hidden,
        v["lr"],
        credit=SampledReward(),
        readout=v["answer"],
        project=unit_rows,
    )
    return replace(recipe, rules={**recipe.rules, "readout.*": Gated(Gradient(), "credit", "acetylcholine")})


# ---------------------------------------------------------------------------------------------- node perturbation
def perturbed(name: str, signal: Signal, hidden: Rule | None = Gradient(), follows: str = "") -> Entry:
    """Noise on all inputs, and the prediction error of the disturbed trial; Adam, as node-perturbation has it.

    All nets start `steadied`: a readout that starts at 0 explores all answers alike.
    """

    def make(v: Values, convolutional: bool) -> Recipe:
        credit = NoisyReward(v["sigma"], signal)
        return Recipe(
            name, {"readout.*": Gradient(), "*": hidden}, credit, lr=v["lr"], optimizer=Adam, prepare=steadied
        )

    return Entry(make, {**RATE, "sigma": (0.05, 2.0)}, {"lr": 3e-3, "sigma": 0.5}, follows)


PREDICTION = Critic(rate=0.1, gamma=0.0)  # a trial is one step: delta = R - V(x)

THREE_FACTOR: dict[str, Entry] = {
    "reward-hebb-unmodulated": sampled("reward-hebb-unmodulated", Hebb()),
    "acetylcholine-hebb": Entry(
        partial(acetylcholine, "acetylcholine-hebb", Gated(RewardedHebb(), "reward", "acetylcholine")),
        {**HIDDEN_RATE, **ANSWER},
        {"lr": 1e-4, "answer": READOUT_RATE},
    ),
    "acetylcholine-frozen": Entry(
        partial(acetylcholine, "acetylcholine-frozen", None),
        ANSWER,
        {"lr": 0.0, "answer": READOUT_RATE},
        "acetylcholine-hebb",
    ),
    "reward-frozen": sampled("reward-frozen", None),
    "reward-shuffled": sampled(
        "reward-shuffled", RewardedHebb(), SampledReward(signal=Shuffled(MeanReward())), follows="reward-hebb"
    ),
    "reward-node-perturbation": perturbed("reward-node-perturbation", PREDICTION),
    "reward-node-perturbation-unmodulated": perturbed(
        "reward-node-perturbation-unmodulated", Unmodulated(), follows="reward-node-perturbation"
    ),
    "reward-node-perturbation-frozen": perturbed("reward-node-perturbation-frozen", PREDICTION, None),
}


# ---------------------------------------------------------------------------------------------- spikes
LENGTH = 60.0**0.5  # of a hidden neuron's incoming weights, as the network draws them


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


def contrasted(name: str, weight: Tensor) -> Tensor:
    """In hidden layers w_i less its mean, at the mean length of what is drawn (synaptic scaling, neuron-local)."""
    if name.startswith("readout."):
        return weight
    w = weight - weight.mean(1, keepdim=True)
    return w * (LENGTH / lengths(w).clamp(min=1e-12))


def spiking(name: str, hidden: SpikeRule | None, signal: Signal | None = None, follows: str = "") -> Entry:
    """c ~ softmax(counts); hidden synapses read M, those of an output neuron M (1 if its class was chosen, else 0, less p)."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules: dict[str, Rule | None] = {"readout.input": tagged("credit"), "*.input": hidden, "*.lateral": None}
        rates = {"readout.*": v["answer"], "*": v.get("lr", 0.0)}
        optimizers = {"readout.*": Adam, "*": SGD}
        return Recipe(name, rules, SampledReward(signal=signal), rates, optimizers, project=contrasted)

    searched, start = ({"lr": (1e-4, 1.0)}, {"lr": 1e-2}) if hidden else ({}, {})
    return Entry(make, {**searched, "answer": (1e-4, 1e-2)}, {**start, "answer": 1e-3}, follows)


def by_surrogate(v: Values, convolutional: bool) -> Recipe:
    rules = {"*.input": Gradient(), "*.lateral": None}
    return Recipe("surrogate-bptt", rules, Backprop(), v["lr"], Adam)


SPIKING: dict[str, Entry] = {
    "surrogate-bptt": Entry(by_surrogate, {"lr": (1e-3, 0.1)}, {"lr": 2e-2}),
    "reward-stdp": spiking("reward-stdp", tagged("reward")),
    "reward-stdp-unmodulated": spiking("reward-stdp-unmodulated", at_once()),
    "reward-shuffled": spiking("reward-shuffled", tagged("reward"), Shuffled(MeanReward()), follows="reward-stdp"),
    "frozen": spiking("frozen", None),
}
