"""Networks made of `Layer`s, by name: `NETWORKS[name](shape of one input, number of outputs)` -> nn.Module.

Your own: any nn.Module whose synapses are in Layers, the last one called "readout".
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from neurosim.networks.cnn import cnn
from neurosim.networks.diehl_cook import diehl_cook
from neurosim.networks.mlp import mlp
from neurosim.networks.recurrent import EVIDENCE, lsnn, lstm, rnn
from neurosim.networks.spiking_cnn import spiking_cnn
from neurosim.networks.spiking_mlp import spiking_mlp
from neurosim.networks.transformer import transformer

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp, "cnn": cnn, "rnn": rnn, "lstm": lstm, "lsnn": lsnn, "spiking-mlp": spiking_mlp,
    "spiking-cnn": spiking_cnn, "diehl-cook": diehl_cook,
    "transformer": transformer,
}  # fmt: skip
OF_TASK: dict[tuple[str, str], Callable[..., nn.Module]] = {  # where a task wants other sizes or neurons
    ("text", "rnn"): partial(rnn, hidden=128, tau=None),
    ("text", "lstm"): partial(lstm, hidden=128),
    ("text", "transformer"): partial(transformer, d=128, heads=4),
    ("masked-text", "transformer"): partial(transformer, d=128, heads=4, causal=False),
    ("evidence", "lsnn"): partial(lsnn, neuron=EVIDENCE),
}


def network_for(task: str, network: str) -> Callable[..., nn.Module]:
    """The network of that name, as that task has it."""
    return OF_TASK.get((task, network), NETWORKS[network])


__all__ = [
    "NETWORKS", "cnn", "diehl_cook", "lsnn", "lstm", "mlp", "network_for", "rnn", "spiking_cnn", "spiking_mlp", "transformer",
]  # fmt: skip
