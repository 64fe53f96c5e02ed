"""What a recipe may change in a spiking net before it learns: who reads the spikes, who may fire, or no spikes at all."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from neurosim.networks.spiking_mlp import Tally
from neurosim.neurons import FirstToFire, Rate
from neurosim.plasticity import Layer
from neurosim.prepare import to_unit_variance

RIVALRY = 1000.0  # sum of a neuron's rivals where the first to fire keeps the others from it, in thresholds


def before_readout(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts of the net up to its readout."""
    parts = list(net.named_children())
    return parts[: [n for n, _ in parts].index("readout")]


def linear(net: nn.Module) -> Layer:
    """One linear unit a class, weights 0, in the place of a readout's population."""
    pre, classes = net.readout.input.weight.shape[1], len(net.readout.input.weight) // net.counts.population
    m = nn.Linear(pre, classes, bias=False)
    with torch.no_grad():
        m.weight.zero_()
    return Layer(m)


def counted(net: nn.Module) -> nn.Module:
    """readout: one linear unit a class, at first 0, on the last hidden layer's spikes over the trial, brought to mean 0 and
    variance 1 over its neurons, sample by sample"""
    return nn.Sequential(OrderedDict([*before_readout(net), ("tally", Tally()), ("readout", linear(net))]))


def competing(net: nn.Module) -> nn.Module:
    """in hidden layers of the neurons that reach threshold in one step one alone fires, and inhibits the others strongly;
    readout: one linear unit a class, at first 0, on normalised spike counts"""
    for _, m in before_readout(net):
        if isinstance(m, Layer):
            m.neuron = FirstToFire(m.neuron)
            with torch.no_grad():
                m.lateral.weight.mul_(RIVALRY / -m.lateral.weight.sum(1).flatten()[0])
    return counted(net)


class Mean(nn.Module):
    """Mean over the trial:  [T, B, ...] -> [B, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


def in_rates(net: nn.Module) -> nn.Module:
    """no spikes: hidden units [u]+ without inhibition, weights as drawn, driven by the mean of the input's spikes, activity
    brought to mean 0 and variance 1 over units; readout: one linear unit a class, at first 0"""
    parts: OrderedDict[str, nn.Module] = OrderedDict(mean=Mean())
    for n, m in before_readout(net):
        if isinstance(m, Layer):
            parts[n] = Layer(m.input, Rate(torch.relu))
            parts[n].register_forward_hook(to_unit_variance)
        else:
            parts[n] = nn.Flatten() if isinstance(m, nn.Flatten) else m
    return nn.Sequential(OrderedDict([*parts.items(), ("readout", linear(net))]))
