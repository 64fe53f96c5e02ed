"""Rules: what one synapse does with what it sees and is told. Frozen values; each update is its equation.

`ALL` lists one value of every rule; one contract test runs over it. To ship a rule: its file, and one line here.
"""

import torch

from neurosim.neurons import AdaptiveLIF, Rate
from neurosim.plasticity import Rule
from neurosim.rules.bcm import BCM
from neurosim.rules.clopath import Clopath
from neurosim.rules.companions import FiringRate, Sum
from neurosim.rules.competitive import ClassMean, SoftHebb, Winners
from neurosim.rules.eprop import EProp, EPropOnline
from neurosim.rules.goodness import Goodness
from neurosim.rules.gradient import Gradient, Perturbed
from neurosim.rules.hebbian import Hebb, Oja, Sanger
from neurosim.rules.homeostasis import Threshold, bcm_from_triplet, homeostatic_triplet
from neurosim.rules.miconi import Miconi
from neurosim.rules.normalised import NeuronNormalised
from neurosim.rules.reward import Gated, RewardedHebb
from neurosim.rules.rflo import RFLO
from neurosim.rules.spike_rule import Power, SpikeRule, Term, Trace
from neurosim.rules.stdp import (
    PFISTER_GERSTNER,
    inhibitory,
    morrison,
    multiplicative,
    pair,
    symmetric,
    triplet,
    van_rossum,
)
from neurosim.rules.trace_rule import TraceRule

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
    "class-mean": ClassMean(),
    "goodness": Goodness(),
    "rewarded-hebb": RewardedHebb(),
    "neuron-normalised": NeuronNormalised(Hebb()),
    "stdp": pair(),
    "stdp-nearest": pair(nearest=True),
    "stdp-multiplicative": multiplicative(),
    "stdp-van-rossum": van_rossum(0.01),
    "stdp-morrison": morrison(),
    "stdp-symmetric": symmetric(),
    "stdp-inhibitory": inhibitory(),
    "triplet-full": PFISTER_GERSTNER["cortex-full"].rule(),
    "triplet": triplet(),
    "triplet-full-nearest": PFISTER_GERSTNER["cortex-full-nearest"].rule(),
    "triplet-nearest": PFISTER_GERSTNER["cortex-minimal-nearest"].rule(),
    "homeostatic-triplet": homeostatic_triplet(),
    "clopath": Clopath(),
    "trace": TraceRule(),
    "eprop": EProp(AdaptiveLIF(beta=0.1, tau_a=200.0)),
    "eprop-online": EPropOnline(AdaptiveLIF(beta=0.1, tau_a=200.0)),
    "rflo": RFLO(Rate(torch.tanh, tau=10.0)),
    "rflo-spiking": RFLO(AdaptiveLIF()),
    "miconi": Miconi(),
    "threshold": Threshold(),
    "firing-rate": FiringRate(AdaptiveLIF()),
    "hebb-at-a-rate": Sum((Hebb(), FiringRate(AdaptiveLIF()))),
}

__all__ = [
    "ALL", "BCM", "ClassMean", "Clopath", "EProp", "EPropOnline", "FiringRate", "Gated", "Goodness", "Gradient", "Hebb",
    "Miconi", "NeuronNormalised", "Oja", "PFISTER_GERSTNER", "Perturbed", "Power", "RFLO", "RewardedHebb", "Sanger",
    "SoftHebb", "SpikeRule", "Sum", "Term", "Threshold", "Trace", "TraceRule", "Winners", "bcm_from_triplet",
    "homeostatic_triplet", "inhibitory", "morrison", "multiplicative", "pair", "symmetric", "triplet", "van_rossum",
]  # fmt: skip
