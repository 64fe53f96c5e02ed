"""The convolutional network of spiking neurons."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.networks.cnn import conv
from neurosim.networks.spiking_mlp import (
    GAIN,
    INHIBITION,
    NEURON,
    contrast,
    raised,
    read_by_populations,
    rivals,
)
from neurosim.plasticity import Layer
from neurosim.spiking import LIF

FILTERS = (16, 32)


class Pool(nn.Module):
    """1 where any of 2 x 2 neurons spikes, the largest of rates:  [..., C, H, W] -> [..., C, H // 2, W // 2]."""

    def forward(self, y: Tensor) -> Tensor:
        z = F.max_pool2d(y.flatten(0, -4), 2)
        return z.reshape(*y.shape[:-3], *z.shape[-3:])


def spiking_cnn(
    shape: Sequence[int],
    outputs: int,
    filters: Sequence[int] = FILTERS,
    population: int = 10,
    gain: float = GAIN,
    inhibition: float = INHIBITION,
    neuron: LIF = NEURON,
) -> nn.Sequential:
    """Spike trains in, [T, B, C, H, W]; convolutions of integrate-and-fire neurons, each pooled; a population for each class.

    From 20x20 on filters of 5x5, below it of 3x3, of 16 and 32 kinds. The neurons of a place, one of each kind, inhibit each
    other by a synapse `lateral` that no recipe trains; a kind's threshold can be raised, by the synapse `threshold`. The
    output [B, classes] is a population's mean number of spikes. Layers conv1, conv2, readout. No biases.
    ValueError for anything but images.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ValueError(f"shape: given {tuple(shape)}, a spiking-cnn takes images [C, H, W] of at least 8 x 8")
    channels, height, width = shape
    size, padding = (5, 2) if min(height, width) >= 20 else (3, 1)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for k, (a, b) in enumerate(zip((channels, *filters), filters, strict=False), 1):
        synapse = contrast(conv(a, b, size, padding), gain)
        parts[f"conv{k}"] = Layer(synapse, neuron, lateral=rivals(synapse, inhibition), threshold=raised(synapse))
        parts[f"pool{k}"] = Pool()
        height, width = height // 2, width // 2
    parts["flatten"] = nn.Flatten(2)
    return read_by_populations(parts, filters[-1] * height * width, outputs, population, neuron)
