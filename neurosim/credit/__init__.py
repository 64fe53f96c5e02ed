"""Credits: how often to play, and what to tell each synapse. Frozen values; -dL/du unless they say otherwise."""

from neurosim.credit.answers import SampledAnswers
from neurosim.credit.backprop import Backprop, DeltaRule, NoCredit, Wireless
from neurosim.credit.blocks import BlockFeedback, BlockLocal
from neurosim.credit.broadcast import Broadcast, LearnedBroadcast, SymmetricBroadcast
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
from neurosim.credit.labels import Labelled, vote
from neurosim.credit.local import Autoencoder, LayerLocal
from neurosim.credit.perturbation import NodePerturbation, WeightPerturbation
from neurosim.credit.predictive import FixedPrediction, Predictive, PredictiveErrors
from neurosim.credit.reward import NoisyReward, PulsedReward, SampledReward, minus_loss
from neurosim.credit.signals import Critic, MeanReward, RawReward, Shuffled, Signal, Unmodulated
from neurosim.credit.target import TargetPropagation
from neurosim.credit.two_trials import ContrastiveDivergence, ForwardForward

__all__ = [
    "Autoencoder", "Backprop", "BlockFeedback", "BlockLocal", "Broadcast", "BurstCredit", "ContrastiveDivergence",
    "Critic", "DeltaRule", "DirectFeedback", "Equilibrium", "FeedbackAlignment", "FixedPrediction", "ForwardForward",
    "KolenPollack", "Labelled", "LayerLocal", "LearnedBroadcast", "MeanReward", "NoCredit", "NodePerturbation", "NoisyReward",
    "Predictive", "PredictiveErrors", "PulsedReward", "RawReward", "SampledAnswers", "SampledReward", "Shuffled",
    "SignSymmetric", "Signal", "SymmetricBroadcast", "TargetPropagation", "TiedFeedback", "Unmodulated",
    "WeightPerturbation", "Wireless", "minus_loss", "own_step", "pooled", "vote",
]  # fmt: skip
