from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from neurosim.networks.mlp import dense
from neurosim.plasticity import Layer, Rate


def rnn(shape: Sequence[int], outputs: int, hidden: int = 64, tau: float | None = 10.0) -> nn.Sequential:
    n = torch.Size(shape).numel()
    units = Layer(dense(n, hidden, 1.0), Rate(torch.tanh, tau), recurrent=dense(hidden, hidden, 1.0))
    return nn.Sequential(OrderedDict(hidden=units, readout=Layer(dense(hidden, outputs, 1.0))))
