"""Diehl & Cook's network on tensors, for comparisons; `neurosim/diehl_cook.py` has it in the engine, online at every spike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurosim.networks.spiking_mlp import raised
from neurosim.plasticity import Layer
from neurosim.spiking import ConductanceLIF

EXCITATORY = ConductanceLIF(
    C=100.0, g_L=1.0, E_L=-65.0, E_e=0.0, E_i=-100.0, v_threshold=-72.0, theta=20.0, theta_plus=0.05, tau_theta=1e7,
    v_reset=-65.0, refractory=5.0, tau_e=1.0, tau_i=2.0,
)  # fmt: skip
INHIBITORY = ConductanceLIF(
    C=10.0,
    g_L=1.0,
    E_L=-60.0,
    E_e=0.0,
    E_i=-85.0,
    v_threshold=-40.0,
    v_reset=-45.0,
    refractory=2.0,
    tau_e=1.0,
    tau_i=2.0,
)
TO_INHIBITORY, TO_EXCITATORY = 10.4, 17.0  # nS
SUM, INPUTS = 78.0, 784  # of the incoming weights, at so many inputs
FEWEST = 256  # inputs; with fewer each weighs more, so that the sum is not less than theirs at so many


def total_of(inputs: int) -> float:
    """The sum of a neuron's incoming weights."""
    return SUM * max(inputs, FEWEST) / INPUTS


class DiehlCookNet(nn.Module):
    """x [T, B, *shape] of 0 and 1 -> n excitatory neurons, n inhibitory ones -> what a linear readout makes of their counts.

    Layers excitatory (input, lateral, threshold), inhibitory (input, its one partner), readout. ValueError for n < 2.
    """

    fixed = "the inhibitory neurons' synapses, to and fro,"

    def __init__(self, inputs: int, outputs: int, n: int) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n: given {n}, neurons compete from 2 on")
        onto, own, others = (nn.Linear(k, n, bias=False) for k in (inputs, n, n))
        with torch.no_grad():
            onto.weight.uniform_(0.003, 0.303)
            onto.weight.mul_(total_of(inputs) / onto.weight.sum(1, keepdim=True))
            own.weight.copy_(TO_INHIBITORY * torch.eye(n))
            others.weight.copy_(-TO_EXCITATORY * (1 - torch.eye(n)))
        self.excitatory = Layer(onto, EXCITATORY, lateral=others, threshold=raised(onto))
        self.excitatory.threshold.weight.data.fill_(EXCITATORY.theta)
        self.inhibitory = Layer(own, INHIBITORY)
        self.readout = Layer(nn.Linear(n, outputs, bias=False))
        nn.init.zeros_(self.readout.input.weight)

    def forward(self, x: Tensor) -> Tensor:
        drive, cell = self.excitatory.received(x.flatten(2))
        partner: dict[str, Tensor] = {}
        counts = torch.zeros_like(drive[0])
        for t, u in enumerate(drive):
            cell = self.excitatory.step(cell, t, u, lateral=partner.get("y"))
            partner = self.inhibitory.step(partner, t, input=cell["y"])
            counts = counts + cell["y"]
        return self.readout(counts)


def diehl_cook(shape: Sequence[int], outputs: int, n: int = 400) -> DiehlCookNet:
    """Spike trains in, [T, B, *shape]; n excitatory neurons and n inhibitory ones, thresholds that grow, counts read out.

    784-400 for 28x28 images. As Diehl & Cook 2015 (Front Comput Neurosci 9:99), but a step's inhibition is taken off its
    excitation before both become conductances.
    """
    return DiehlCookNet(torch.Size(shape).numel(), outputs, n)
