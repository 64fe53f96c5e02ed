"""Networks made of `Layer`s, by name: `NETWORKS[name](shape of one input, number of outputs)` -> nn.Module.

Your own: any nn.Module whose synapses are in Layers, the last one called "readout".
"""

from collections.abc import Callable

from torch import nn

from neurosim.networks.cnn import cnn
from neurosim.networks.mlp import mlp
from neurosim.networks.spiking_mlp import spiking_mlp

NETWORKS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn": cnn, "spiking-mlp": spiking_mlp}

__all__ = ["NETWORKS", "cnn", "mlp", "spiking_mlp"]
