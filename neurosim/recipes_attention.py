"""Recipes for the Transformer: how credit reaches queries, keys, values and the layers beside them.

                                   told                                                  returns
    backprop                       the error                                             everywhere
    feedback-alignment, sign-symmetric, kolen-pollack                                    everywhere, by other weights
    direct-feedback-own            each token's own error, at every projection           nowhere
    direct-feedback-pooled         the sequence's summed error, at every projection      nowhere
    direct-feedback-block-own, -block-pooled    the same, at the end of each block       within the block
    layer-local, block-local       a head's error, of every projection or every block    nowhere; within the block
    node-perturbation              one number a sequence                                 -
    predictive-coding              the error                                             everywhere, while activity settles
    hebb, oja, bcm, softhebb       nothing; hebbian-qk, hebbian-vo: Oja's rule on queries and keys, or values and outputs
    reward-hebb, -qk, -vo          the rewards of a sequence's answers, at every token   -
    frozen-qk, frozen-embeddings   as backprop, but these synapses stay as drawn
    frozen                         nothing learns but the readout; reward-frozen: the same by reward

Norms have no weights and places are fixed sines, so that nothing but synapses learns. Embeddings learn as other synapses
do under an error; under Hebbian rules and by reward they stay as drawn. Errors go with Adam, Hebbian rules with plain SGD and
rows kept at length 1; their readout, by the delta rule, has the rate found for the frozen control's.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch.optim import SGD, Adam

from neurosim.credit import (
    Backprop,
    BlockFeedback,
    BlockLocal,
    DirectFeedback,
    FeedbackAlignment,
    KolenPollack,
    LayerLocal,
    NodePerturbation,
    PredictiveErrors,
    SampledAnswers,
    SignSymmetric,
    pooled,
)
from neurosim.plasticity import Credit, Gradient, Recipe, Rule
from neurosim.prepare import unit_rows
from neurosim.recipes_families import DECAYING, RATE, Entry, Values, by_error, with_value
from neurosim.rules import BCM, Hebb, Oja, RewardedHebb, SoftHebb

READOUT = {"readout": (1e-4, 1.0)}
HIDDEN = {"lr": (1e-7, 1e-2)}
QUERIES_KEYS, VALUES_OUTPUTS = ("*.q.*", "*.k.*"), ("*.v.*", "*.o.*")
HIDDEN_SYNAPSES = ("blocks.*",)


def frozen_part(name: str, patterns: tuple[str, ...]) -> Entry:
    """As backprop, at a rate of its own, but these synapses stay as drawn."""

    def make(v: Values, convolutional: bool) -> Recipe:
        rules: Mapping[str, Rule | None] = {**dict.fromkeys(patterns), "*": Gradient()}
        return Recipe(name, rules, Backprop(), lr=v["lr"], optimizer=Adam)

    return Entry(make, RATE, {"lr": 1e-3})


def by_rule(
    name: str, rule: Rule | None, patterns: tuple[str, ...] = HIDDEN_SYNAPSES, credit: Credit | None = None
) -> Entry:
    """Synapses of blocks by a local rule, with plain SGD, rows kept at length 1; the readout alone sees an error or reward."""
    own = "answer" if credit else "readout"  # its rate: shared with the frozen control, or searched

    def make(v: Values, convolutional: bool) -> Recipe:
        rules = {"readout.*": Gradient(), **(dict.fromkeys(patterns, rule) if rule else {})}
        return Recipe(
            name,
            rules,
            credit or Backprop(),
            lr={"readout.*": v[own], "*": v.get("lr", 0.0)},
            optimizer={"readout.*": Adam, "*": SGD},
            project=unit_rows if rule else None,
        )

    searched = {**(HIDDEN if rule else {}), **({} if rule and not credit else {own: READOUT["readout"]})}
    return Entry(make, searched, {"lr": 1e-5, own: 1e-2})


ATTENTION: dict[str, Entry] = {
    "backprop": by_error("backprop", Backprop(), 1e-3),
    "feedback-alignment": by_error("feedback-alignment", FeedbackAlignment(), 1e-3),
    "sign-symmetric": by_error("sign-symmetric", SignSymmetric(), 1e-3),
    "kolen-pollack": by_error("kolen-pollack", KolenPollack(), 1e-3, DECAYING),
    "direct-feedback-own": by_error("direct-feedback-own", DirectFeedback(), 1e-3),
    "direct-feedback-pooled": by_error("direct-feedback-pooled", DirectFeedback(pooled), 1e-3),
    "direct-feedback-block-own": by_error("direct-feedback-block-own", BlockFeedback(), 1e-3),
    "direct-feedback-block-pooled": by_error("direct-feedback-block-pooled", BlockFeedback(pooled), 1e-3),
    "layer-local": by_error("layer-local", LayerLocal(), 1e-3),
    "block-local": by_error("block-local", BlockLocal(), 1e-3),
    "node-perturbation": with_value(
        "node-perturbation", NodePerturbation, Gradient(), {**RATE, "sigma": (1e-3, 0.3)}, {"lr": 1e-3, "sigma": 0.03}
    ),
    "predictive-coding": by_error("predictive-coding", PredictiveErrors(0.1, steps=10, rate=0.2), 1e-3),
    "hebb": by_rule("hebb", Hebb()),
    "oja": by_rule("oja", Oja()),
    "bcm": by_rule("bcm", BCM()),
    "softhebb": by_rule("softhebb", SoftHebb(0.3, 0.5)),
    "hebbian-qk": by_rule("hebbian-qk", Oja(), QUERIES_KEYS),
    "hebbian-vo": by_rule("hebbian-vo", Oja(), VALUES_OUTPUTS),
    "reward-hebb": by_rule("reward-hebb", RewardedHebb(), credit=SampledAnswers()),
    "reward-qk": by_rule("reward-qk", RewardedHebb(), QUERIES_KEYS, SampledAnswers()),
    "reward-vo": by_rule("reward-vo", RewardedHebb(), VALUES_OUTPUTS, SampledAnswers()),
    "reward-frozen": by_rule("reward-frozen", None, credit=SampledAnswers()),
    "frozen-qk": frozen_part("frozen-qk", QUERIES_KEYS),
    "frozen-embeddings": frozen_part("frozen-embeddings", ("embed.*",)),
    "frozen": by_rule("frozen", None),
}
