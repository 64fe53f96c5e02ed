"""The multilayer perceptron of spiking neurons."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.networks.mlp import dense
from neurosim.plasticity import Layer
from neurosim.spiking import LIF

NEURON = LIF(tau_m=20.0, v_rest=0.0, v_threshold=1.0, v_reset=0.0, tau_syn=5.0)  # v in thresholds above rest
READOUT = 15.0  # sum of an output neuron's weights at first
FIXED = "lateral synapses"  # learn under no rule
GAIN, INHIBITION = 20.0, 10.0  # of a hidden neuron: squared length of its weights at first, sum of its rivals'


class Tally(nn.Module):
    """Spikes of each neuron over the trial, to mean 0 and variance 1 over the neurons:  [T, B, N] -> [B, N]."""

    def forward(self, y: Tensor) -> Tensor:
        return F.layer_norm(y.sum(0), y.shape[-1:])


class Counts(nn.Module):
    """Spikes of each class's population over the trial, a neuron:  [T, B, classes * population] -> [B, classes]."""

    def __init__(self, population: int) -> None:
        super().__init__()
        self.population = population

    def forward(self, y: Tensor) -> Tensor:
        return y.sum(0).unflatten(-1, (-1, self.population)).mean(-1)


def contrast(m: nn.Module, gain: float) -> nn.Module:
    """Each neuron's weights less their mean: it answers to where its input is, not to how much there is. |w|^2 = gain."""
    with torch.no_grad():
        w = m.weight.flatten(1)
        w = w - w.mean(1, keepdim=True)
        m.weight.copy_((w * (gain**0.5 / w.norm(dim=1, keepdim=True))).reshape(m.weight.shape))
    return m


def rivals(synapse: nn.Module, inhibition: float) -> nn.Module:
    """-inhibition / n from every other of the n neurons of the layer; of a convolution, of the place."""
    n = synapse.weight.shape[0]
    m = nn.Linear(n, n, bias=False) if isinstance(synapse, nn.Linear) else nn.Conv2d(n, n, 1, bias=False)
    with torch.no_grad():
        m.weight.copy_((-inhibition / n * (1 - torch.eye(n))).reshape(m.weight.shape))
    return m


def raised(synapse: nn.Module) -> nn.Module:
    """A layer's `threshold` synapse, at first 0: no neuron's threshold is raised."""
    n = synapse.weight.shape[0]
    m = nn.Linear(1, n, bias=False) if isinstance(synapse, nn.Linear) else nn.Conv2d(1, n, 1, bias=False)
    with torch.no_grad():
        m.weight.zero_()
    return m


def even(m: nn.Linear, mean: float, spread: float = 0.1) -> nn.Linear:
    """Weights N(mean, (spread mean)^2): at first all answer alike."""
    with torch.no_grad():
        m.weight.normal_(mean, spread * mean)
    return m


def spiking_mlp(
    shape: Sequence[int],
    outputs: int,
    hidden: Sequence[int] = (300,),
    population: int = 10,
    gain: float = GAIN,
    inhibition: float = INHIBITION,
    neuron: LIF = NEURON,
) -> nn.Sequential:
    """Spike trains in, 0 and 1, [T, B, *shape]; leaky integrate-and-fire layers; a population of neurons for each class.

    Hidden layers inhibit themselves by a synapse `lateral` that no recipe trains; their thresholds can be raised, by the
    synapse `threshold`. The output [B, classes] is a population's mean number of spikes. 64-300-100 for 8x8 digits. Layers
    hidden1, ..., readout. No biases.
    """
    sizes = [torch.Size(shape).numel(), *hidden]
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten(2))
    for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
        synapse = contrast(dense(a, b), gain)
        parts[f"hidden{k}"] = Layer(synapse, neuron, lateral=rivals(synapse, inhibition), threshold=raised(synapse))
    return read_by_populations(parts, sizes[-1], outputs, population, neuron)


def read_by_populations(
    parts: OrderedDict[str, nn.Module], n: int, outputs: int, population: int, neuron: LIF
) -> nn.Sequential:
    """The net of these parts, whose n last neurons are read by so many spiking neurons a class."""
    readout = Layer(even(dense(n, outputs * population), READOUT / n), neuron)
    net = nn.Sequential(OrderedDict([*parts.items(), ("readout", readout), ("counts", Counts(population))]))
    net.fixed = FIXED
    return net
