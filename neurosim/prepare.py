"""What a recipe may change in the net before it learns (`Recipe.prepare`), in its loss, and after a step (`project`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.plasticity import Layer, Rate, rank, synapses


def to_unit_variance(layer: nn.Module, x: Any, y: Tensor) -> Tensor:
    """(y - mean(y)) / sd(y) over the units of one sample (and step): no parameters, no memory, no other sample."""
    return F.layer_norm(y, y.shape[-rank(layer.input) :])


def after_hidden(net: nn.Module, hook: Callable[[nn.Module, Any, Tensor], Tensor]) -> nn.Module:
    """What leaves each layer but the readout goes through the hook."""
    for n, m in net.named_modules():
        if isinstance(m, Layer) and n.rpartition(".")[2] != "readout":
            m.register_forward_hook(hook)
    return net


def normalised(net: nn.Module) -> nn.Module:
    """activity of each hidden layer brought to mean 0 and variance 1 over its units, sample by sample"""
    return after_hidden(net, to_unit_variance)


def quiet(net: nn.Module, gain: float) -> nn.Module:
    """as normalised; first weights of hidden layers scaled by a gain below 1: a first dream is smaller than what it answers"""
    with torch.no_grad():
        for n, m in synapses(net).items():
            if not n.startswith("readout."):
                m.weight.mul_(gain)
    return normalised(net)


def hard_sigmoid(v: Tensor) -> Tensor:
    return v.clamp(0, 1)


def bounded(net: nn.Module, gain: float) -> nn.Module:
    """activation clamp(u, 0, 1) in every layer, first weights scaled by a gain"""
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, Layer):
                m.neuron = Rate(hard_sigmoid)
                m.input.weight.mul_(gain)
    return net


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """|output - one-hot(target)|^2 / 2, [B]."""
    return ((output - F.one_hot(target, output.shape[-1])) ** 2).flatten(1).sum(1) / 2


def steadied(net: nn.Module) -> nn.Module:
    """activity of each hidden layer brought to mean 0 and variance 1 over its units, sample by sample; readout starts at 0"""
    net = normalised(net)
    with torch.no_grad():
        for n, m in synapses(net).items():
            if n.startswith("readout."):
                m.weight.zero_()
    return net


def to_unit_length(layer: nn.Module, x: Any, y: Tensor) -> Tensor:
    """y / sqrt(mean y^2) over the units of one sample: the next layer sees the direction of y, not its size."""
    units = tuple(range(-rank(layer.input), 0))
    return y / ((y**2).mean(units, keepdim=True) + 1e-8).sqrt()


def unit_length(net: nn.Module) -> nn.Module:
    """activity of each hidden layer passed on at length 1 (root mean square over its units), sample by sample"""
    return after_hidden(net, to_unit_length)


def unit_rows(name: str, weight: Tensor) -> Tensor:
    """w_i / |w_i| in hidden layers: each neuron scales its incoming weights to length 1 (synaptic scaling, neuron-local)."""
    if name.startswith("readout.") or "/" in name:
        return weight
    return weight / lengths(weight).clamp(min=1e-12)


def lengths(weight: Tensor) -> Tensor:
    """|w_i| of each neuron's incoming weights, to stand against the weight."""
    return weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
