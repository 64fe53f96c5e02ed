"""The multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from neurosim.plasticity import Layer, Rate


def dense(n_pre: int, n_post: int, gain: float = 2.0) -> nn.Linear:
    """Weights [post, pre] ~ N(0, gain / n_pre) and no bias: every parameter is a synapse. gain 2 keeps ReLUs alive."""
    m = nn.Linear(n_pre, n_post, bias=False)
    nn.init.normal_(m.weight, std=(gain / n_pre) ** 0.5)
    return m


def mlp(
    shape: Sequence[int],
    outputs: int,
    hidden: Sequence[int] = (128, 64),
    phi: Callable[[Tensor], Tensor] = torch.relu,
) -> nn.Sequential:
    """y_l = phi(W_l y_{l-1}), a linear readout: 64-128-64-10 for 8x8 digits. No biases.

    shape of one input, number of outputs. Layers hidden1, hidden2, ..., readout.
    """
    sizes = [torch.Size(shape).numel(), *hidden]
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
        parts[f"hidden{k}"] = Layer(dense(a, b), Rate(phi))
    parts["readout"] = Layer(dense(sizes[-1], outputs, gain=1.0))
    return nn.Sequential(parts)
