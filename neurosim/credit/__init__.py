"""Credits: how often to play, and what to tell each synapse. Frozen values; -dL/du unless they say otherwise."""

from neurosim.credit.backprop import Backprop, DeltaRule, NoCredit, Wireless
from neurosim.credit.burst import BurstCredit
from neurosim.credit.equilibrium import Equilibrium
from neurosim.credit.feedback import (
    DirectFeedback,
    FeedbackAlignment,
    KolenPollack,
    SignSymmetric,
    TiedFeedback,
    own_step,
    pooled,
)
from neurosim.credit.local import Autoencoder, LayerLocal
from neurosim.credit.perturbation import NodePerturbation, WeightPerturbation
from neurosim.credit.predictive import FixedPrediction, Predictive, PredictiveErrors
from neurosim.credit.reward import NoisyReward, SampledReward
from neurosim.credit.signals import Critic, MeanReward, RawReward, Shuffled, Signal, Unmodulated
from neurosim.credit.target import TargetPropagation
from neurosim.credit.two_trials import ContrastiveDivergence, ForwardForward

__all__ = [
    "Autoencoder", "Backprop", "BurstCredit", "ContrastiveDivergence", "Critic", "DeltaRule", "DirectFeedback",
    "Equilibrium", "FeedbackAlignment", "FixedPrediction", "ForwardForward", "KolenPollack", "LayerLocal",
    "MeanReward", "NoCredit", "NodePerturbation", "NoisyReward", "Predictive", "PredictiveErrors", "RawReward",
    "SampledReward", "Shuffled", "SignSymmetric", "Signal", "TargetPropagation", "TiedFeedback", "Unmodulated",
    "WeightPerturbation", "Wireless", "own_step", "pooled",
]  # fmt: skip
