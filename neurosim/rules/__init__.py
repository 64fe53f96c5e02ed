"""Rules: what one synapse does with what it sees and is told. Frozen values; each update is its equation.

`ALL` lists one value of every rule; one contract test runs over it. To ship a rule: its file, and one line here.
"""

from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Rule
from neurosim.rules.bcm import BCM
from neurosim.rules.competitive import SoftHebb, Winners
from neurosim.rules.eprop import EProp, EPropOnline
from neurosim.rules.goodness import Goodness
from neurosim.rules.gradient import Gradient, Perturbed
from neurosim.rules.hebbian import Hebb, Oja, Sanger
from neurosim.rules.normalised import NeuronNormalised
from neurosim.rules.reward import RewardedHebb
from neurosim.rules.stdp import SpikeRule, Term, Trace, pair

ALL: dict[str, Rule] = {
    "gradient": Gradient(),
    "perturbed": Perturbed(),
    "hebb": Hebb(),
    "oja": Oja(),
    "sanger": Sanger(),
    "bcm": BCM(),
    "softhebb": SoftHebb(),
    "winner-take-all": Winners(1),
    "k-winners": Winners(3),
    "goodness": Goodness(),
    "rewarded-hebb": RewardedHebb(),
    "neuron-normalised": NeuronNormalised(Hebb()),
    "stdp": pair(),
    "eprop": EProp(AdaptiveLIF(beta=0.1, tau_a=200.0)),
    "eprop-online": EPropOnline(AdaptiveLIF(beta=0.1, tau_a=200.0)),
}

__all__ = [
    "ALL", "BCM", "EProp", "EPropOnline", "Goodness", "Gradient", "Hebb", "NeuronNormalised", "Oja", "Perturbed",
    "RewardedHebb", "Sanger", "SoftHebb", "SpikeRule", "Term", "Trace", "Winners", "pair",
]  # fmt: skip
