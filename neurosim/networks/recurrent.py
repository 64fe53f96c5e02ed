"""Recurrent networks: leaky rate units, the long short-term memory, and adaptive spiking units. x is [T, B, *shape]."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from neurosim.networks.mlp import dense
from neurosim.neurons import LSTM, AdaptiveLIF
from neurosim.plasticity import Layer, Rate

TAU = 10.0  # ms
TAU_OUT = 20.0  # ms


def flat(*parts: tuple[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict([("flatten", nn.Flatten(2)), *parts]))


def rnn(shape: Sequence[int], outputs: int, hidden: int = 64, tau: float | None = TAU) -> nn.Sequential:
    """v <- a v + (1 - a)(U x + W s),   s = tanh(v),   y = V s,   a = exp(-dt / tau): leaky units, tau in ms.

    Without tau a = 0: s = tanh(U x + W s), the network of Elman 1990, Cogn Sci 14:179; with n inputs and n outputs it has
    (2 n + h) h parameters. No biases; U ~ N(0, 1/n), W ~ N(0, 1/h), V ~ N(0, 1/h). Layers hidden, readout.
    """
    n = torch.Size(shape).numel()
    units = Layer(dense(n, hidden, 1.0), Rate(torch.tanh, tau), recurrent=dense(hidden, hidden, 1.0))
    return flat(("hidden", units), ("readout", Layer(dense(hidden, outputs, 1.0))))


def lstm(shape: Sequence[int], outputs: int, hidden: int = 64) -> nn.Sequential:
    """Long short-term memory (`neurons.LSTM`), its four gates driven by the input and by its own output; a linear readout.

    No biases but the forget gate's constant 1. Layers hidden (input [4 h, n], recurrent [4 h, h]), readout.
    """
    n = torch.Size(shape).numel()
    units = Layer(dense(n, 4 * hidden, 1.0), LSTM(), recurrent=dense(hidden, 4 * hidden, 1.0))
    return flat(("hidden", units), ("readout", Layer(dense(hidden, outputs, 1.0))))


def adaptive_lif(
    hidden: int = 100,
    adaptive: float = 0.5,
    tau_a: float = 200.0,
    beta: float = 0.15,
    tau_m: float = 20.0,
    refractory: float = 0.0,
) -> AdaptiveLIF:
    """The neurons of `lsnn`: the last `adaptive` share of so many units adapts by beta. Times in ms."""
    few = round(adaptive * hidden)
    betas = torch.cat([torch.zeros(hidden - few), torch.full((few,), beta)])
    return AdaptiveLIF(tau_m=tau_m, tau_a=tau_a, beta=betas, refractory=refractory)


# That of the evidence task of Bellec et al. 2020: beta = 1.7 (1 - exp(-1/2000)) / (1 - exp(-1/20)).
EVIDENCE = replace(adaptive_lif(100, tau_a=2000.0, beta=0.01742, refractory=5.0), threshold=0.6)


def lsnn(
    shape: Sequence[int],
    outputs: int,
    hidden: int = 100,
    neuron: AdaptiveLIF | None = None,
    tau_out: float = TAU_OUT,
    gain: float = 1.0,
) -> nn.Sequential:
    """Leaky and adaptive integrate-and-fire units (`AdaptiveLIF`), a leaky readout  y <- kappa y + (1 - kappa) V z.

    neuron: default `adaptive_lif(hidden)`, of which half adapt; times in ms. No biases; no unit sends to itself at first.
    Source: Bellec et al. 2020, Nat Commun 11:3625. Layers hidden, readout.
    """
    n = torch.Size(shape).numel()
    units = Layer(dense(n, hidden, gain), neuron or adaptive_lif(hidden), recurrent=dense(hidden, hidden, gain))
    with torch.no_grad():
        units.recurrent.weight.fill_diagonal_(0.0)
    return flat(("hidden", units), ("readout", Layer(dense(hidden, outputs, 1.0), Rate(tau=tau_out))))
