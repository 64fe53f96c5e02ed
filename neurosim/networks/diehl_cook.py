"""Diehl & Cook's network on tensors, for comparisons; `neurosim/diehl_cook.py` has it in the engine, online at every spike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurosim.networks.spiking_mlp import FIXED, raised
from neurosim.plasticity import Layer
from neurosim.spiking import ConductanceLIF
from neurosim.synapses import Others

EXCITATORY = ConductanceLIF(
    C=100.0, g_L=1.0, E_L=-65.0, E_e=0.0, E_i=-100.0, v_threshold=-72.0, theta=20.0, theta_plus=0.05, tau_theta=1e7,
    v_reset=-65.0, refractory=5.0, tau_e=1.0, tau_i=2.0,
)  # fmt: skip
TO_EXCITATORY = 17.0  # nS
SUM, INPUTS = 78.0, 784  # of the incoming weights, at so many inputs
FEWEST = 256  # inputs; with fewer each weighs more, so that the sum is not less than theirs at so many


def total_of(inputs: int) -> float:
    """The sum of a neuron's incoming weights."""
    return SUM * max(inputs, FEWEST) / INPUTS


class Total(nn.Module):
    """Spikes of each neuron over the trial:  [T, B, N] -> [B, N]."""

    def forward(self, y: Tensor) -> Tensor:
        return y.sum(0)


def diehl_cook(shape: Sequence[int], outputs: int, n: int = 400) -> nn.Sequential:
    """Spike trains in, [T, B, *shape]; n excitatory neurons, n inhibitory, thresholds that grow; a linear readout of counts.

    784-400 for 28x28 images. Of the inhibitory neurons, one to one, each answers each spike of its partner with one of its own,
    in the same step, and no other (`tests/test_diehl_cook_net.py`): so they are not integrated, and a spike inhibits all others
    from the next step on, by the synapse `lateral`, that no recipe trains. Layers excitatory (input, lateral, threshold),
    readout. ValueError for n < 2.
    Source: Diehl & Cook 2015, Front Comput Neurosci 9:99.
    """
    if n < 2:
        raise ValueError(f"n: given {n}, neurons compete from 2 on")
    inputs = torch.Size(shape).numel()
    onto, readout = nn.Linear(inputs, n, bias=False), nn.Linear(n, outputs, bias=False)
    with torch.no_grad():
        onto.weight.uniform_(0.003, 0.303)
        onto.weight.mul_(total_of(inputs) / onto.weight.sum(1, keepdim=True))
        readout.weight.zero_()
    cells = Layer(onto, EXCITATORY, lateral=Others(-TO_EXCITATORY), threshold=raised(onto))
    cells.threshold.weight.data.fill_(EXCITATORY.theta)
    parts = OrderedDict(flatten=nn.Flatten(2), excitatory=cells, total=Total(), readout=Layer(readout))
    net = nn.Sequential(parts)
    net.fixed = FIXED
    return net
