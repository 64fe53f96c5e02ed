"""What a spiking net's answer costs where only spikes cause work, as on neuromorphic chips: spikes, operations, energy.

    synaptic operations = sum over spikes of the synapses that each meets          energy = 0.9 pJ each + 4.6 pJ a MAC

One prediction of the net, per sample. A synapse whose pre side is a train of 0 and 1 is driven by spikes: each spike meets the
weights that lead away from it (none that are exactly 0, none beyond an image's edge), one addition each. All other synapses (a
readout of counts, an image shown as a current, rate units) multiply and accumulate at every step. Neurons' own dynamics,
traces, memory traffic and routing are left out: see ENERGY_NOTE.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurosim.cost import ADD_PJ, MAC_PJ
from neurosim.plasticity import Batch, Record, play, rank
from neurosim.synapses import Others, send
from neurosim.traces import is_train

ENERGY_NOTE = (
    "pJ an answer: 0.9 pJ a synaptic operation, 4.6 pJ a MAC (FP32 in 45 nm, Horowitz 2014), without neurons' dynamics, "
    "memory traffic and routing."
)


def measure(net: nn.Module, batch: Batch, coded: bool = True) -> dict[str, float]:
    """spikes_per_sample (of the net's neurons; its input's only show in the operations), synaptic_operations, and

    energy_predict in pJ, under the keys of the JSON files; {} where no neuron spikes, and the input was not `coded` as spikes
    or currents. Leaves the net's mode.
    """
    if not batch.time or batch.dt is None:
        return {}
    learning = net.training
    with torch.no_grad():
        trial = play(net.eval(), batch)
    net.train(learning)
    spikes, operations, macs, spiking = 0.0, 0.0, 0.0, coded
    for layer in dict.fromkeys(r.layer for r in trial.records.values()):
        y = next(r for r in trial.records.values() if r.layer == layer)
        if in_time(y, y.post) and is_train(y.post):
            spikes, spiking = spikes + float(y.post.sum()), True
    if not spiking:
        return {}
    for n, r in trial.records.items():
        if n.endswith(".threshold"):
            continue  # no transmission: it sets where a neuron fires
        if type(r.synapse) is Others:
            operations += float(r.pre.sum()) * (r.pre.shape[-1] - 1)
            continue
        if in_time(r, r.pre) and is_train(r.pre):
            operations += float(send(r.synapse, r.pre, (r.weight != 0).to(r.pre.dtype)).sum())
        else:
            macs += float(send(r.synapse, torch.ones_like(r.pre), torch.ones_like(r.weight)).sum())
    B = batch.size
    return {
        "spikes_per_sample": spikes / B,
        "synaptic_operations": operations / B,
        "energy_predict": (ADD_PJ * operations + MAC_PJ * macs) / B,
    }


def in_time(r: Record, x: Tensor) -> bool:
    """Is it [T, B, *unit]?"""
    return x.dim() == rank(r.synapse) + 2
