"""Recipes that learn by reward, beside the line-up: `--rules three-factor`. Those of spiking nets: `recipes_spiking.py`.

Each stands beside its frozen control, which is rewarded in the same way at its readout alone, and its unmodulated twin,
whose hidden layers do what they do without reward (M = 1):

    reward-hebb                 reward-hebb-unmodulated, reward-shuffled; reward-frozen      (reward-hebb is in the line-up)
    acetylcholine-hebb          reward-hebb;                              acetylcholine-frozen
    reward-node-perturbation    reward-node-perturbation-unmodulated;     reward-node-perturbation-frozen

The twin of node perturbation is told M = 1 everywhere, since there is nothing in its noise without M. `reward-shuffled` is
told the M of another sample, in all layers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from neurosim.credit import Critic, MeanReward, NoisyReward, SampledReward, Shuffled, Signal, Unmodulated
from neurosim.plasticity import Credit, Gradient, Recipe, Rule
from neurosim.prepare import steadied, unit_rows
from neurosim.recipes_families import HIDDEN_RATE, RATE, READOUT_RATE, Entry, Values, by_local_rule
from neurosim.rules import Hebb, RewardedHebb
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
