"""Credits: how often to play, and what to tell each synapse. Frozen values; -dL/du unless they say otherwise."""

from neurosim.credit.backprop import Backprop, DeltaRule, NoCredit, Wireless
from neurosim.credit.equilibrium import Equilibrium
from neurosim.credit.feedback import DirectFeedback, FeedbackAlignment, KolenPollack, SignSymmetric, own_step, pooled
from neurosim.credit.perturbation import NodePerturbation, WeightPerturbation
from neurosim.credit.predictive import FixedPrediction, Predictive, PredictiveErrors

__all__ = [
    "Backprop", "DeltaRule", "DirectFeedback", "Equilibrium", "FeedbackAlignment", "FixedPrediction", "KolenPollack",
    "NoCredit", "NodePerturbation", "Predictive", "PredictiveErrors", "SignSymmetric", "WeightPerturbation",
    "Wireless", "own_step", "pooled",
]  # fmt: skip
