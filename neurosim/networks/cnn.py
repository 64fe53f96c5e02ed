"""The convolutional network, after LeNet-5 (LeCun et al. 1998, Proc IEEE 86:2278)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from neurosim.networks.mlp import dense
from neurosim.plasticity import Layer, Rate


def conv(n_pre: int, n_post: int, size: int, padding: int) -> nn.Conv2d:
    """Filters [post, pre, size, size] ~ N(0, 2 / fan-in), no bias."""
    m = nn.Conv2d(n_pre, n_post, size, padding=padding, bias=False)
    nn.init.normal_(m.weight, std=(2.0 / (n_pre * size * size)) ** 0.5)
    return m


def cnn(shape: Sequence[int], outputs: int, phi: Callable[[Tensor], Tensor] = torch.relu) -> nn.Sequential:
    """Two convolutions with average pooling, dense layers, a linear readout. No biases.

    shape [C, H, W] of one input, number of outputs. From 20x20 on the classic sizes: 6 and 16 filters of 5x5 (150 and
    2,400 weights for one channel of 28x28), then 120 and 84 units. Below it 8 and 16 filters of 3x3, then 64 units.
    Layers conv1, conv2, hidden1, ..., readout. ValueError for anything but images.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ValueError(f"shape: given {tuple(shape)}, a cnn takes images [C, H, W] of at least 8 x 8")
    channels, height, width = shape
    big = min(height, width) >= 20
    filters, size, padding, hidden = ((6, 16), 5, (2, 0), (120, 84)) if big else ((8, 16), 3, (1, 1), (64,))
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for k, (a, b) in enumerate(((channels, filters[0]), filters), 1):
        parts[f"conv{k}"] = Layer(conv(a, b, size, padding[k - 1]), Rate(phi))
        parts[f"pool{k}"] = nn.AvgPool2d(2)
        height, width = ((n + 2 * padding[k - 1] - size + 1) // 2 for n in (height, width))
    parts["flatten"] = nn.Flatten()
    sizes = [filters[1] * height * width, *hidden]
    for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
        parts[f"hidden{k}"] = Layer(dense(a, b), Rate(phi))
    parts["readout"] = Layer(dense(sizes[-1], outputs, gain=1.0))
    return nn.Sequential(parts)
