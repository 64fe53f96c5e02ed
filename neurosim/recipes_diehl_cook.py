"""Recipes of Diehl & Cook's network: who learns between the inputs and the excitatory neurons, and what reads these.

    triplet-stdp         their rule, summed over the batch; each neuron has the class it answers most to, neurons vote
    stdp                 pair STDP instead, nearest spikes, with the same readout
    triplet-stdp-delta   their rule, and a linear readout of spike counts by the delta rule
    regulated            thresholds grow, synapses stay as drawn; neurons vote
    frozen               nothing but a readout by the delta rule: the control
    frozen-labelled      nothing but the classes of neurons

dW and thresholds are summed over a batch, as if its images came at once; the published values otherwise. Excitatory weights
are held in 0 .. 1, then each neuron's scaled to one sum, after each batch; thresholds grow by .05 mV a spike of any image in
it. None of these values is searched; the rate of the delta rule is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torch.optim import SGD, Adam

from neurosim.credit import DeltaRule, Labelled, vote
from neurosim.networks.diehl_cook import EXCITATORY, total_of
from neurosim.plasticity import Batch, Credit, Gradient, Recipe, Rule, forward, steady
from neurosim.recipes_families import Entry, Space, Values
from neurosim.rules import ClassMean, SpikeRule, Threshold, pair
from neurosim.rules.stdp import DIEHL_COOK_RULE

AUTHORS = replace(DIEHL_COOK_RULE, forget=True)
PAIR = replace(pair(A_plus=1e-2, A_minus=1e-4, nearest=True), forget=True)
GROWING = Threshold(0.0, EXCITATORY.theta_plus, EXCITATORY.tau_theta)
SUMMED = ("excitatory.*",)
LABELS = 0.3  # rate of class means: over some thirty batches
READOUT: Space = {"readout": (1e-4, 1e-1)}


def bounded(name: str, weight: Tensor) -> Tensor:
    """Excitatory weights held in 0 .. 1, then each neuron's scaled to one sum."""
    if name != "excitatory.input":
        return weight
    w = weight.clamp(0, 1)
    return w * (total_of(w.shape[1]) / w.sum(1, keepdim=True).clamp(min=1e-12))


def by_activity(
    name: str,
    rule: SpikeRule | None,
    thresholds: Rule | None = GROWING,
    readout: Rule = ClassMean(),
    credit: Credit = Labelled(),
    predict: Callable[[nn.Module, Batch], Tensor] = vote,
) -> Entry:
    """Excitatory synapses by this rule, dW summed; the readout by its own."""

    def make(v: Values, convolutional: bool) -> Recipe:
        by_error = isinstance(readout, Gradient)
        rates = {"readout.*": v["readout"] if by_error else LABELS, "*": 1.0}
        rules = {"excitatory.input": rule, "excitatory.threshold": thresholds, "readout.*": readout, "*": None}
        optimizers = {"readout.*": Adam if by_error else SGD, "*": SGD}
        return Recipe(
            name,
            rules,
            credit,
            rates,
            optimizers,
            SUMMED,
            project=bounded,
            predict=predict,
            schedule=steady,
        )

    return Entry(make, READOUT if isinstance(readout, Gradient) else {}, {"readout": 1e-3})


delta = partial(by_activity, readout=Gradient(), credit=DeltaRule(), predict=forward)
DIEHL_COOK: dict[str, Entry] = {
    "triplet-stdp": by_activity("triplet-stdp", AUTHORS),
    "stdp": by_activity("stdp", PAIR),
    "triplet-stdp-delta": delta("triplet-stdp-delta", AUTHORS),
    "regulated": by_activity("regulated", None),
    "frozen": delta("frozen", None, None),
    "frozen-labelled": by_activity("frozen-labelled", None, None),
}
