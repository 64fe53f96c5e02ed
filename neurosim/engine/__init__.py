"""Event-driven, plastic spiking networks on the CPU: weights change at every spike. Begin with `network.py`."""

from neurosim.engine.network import Network, Population, Projection, SpikeTrains
from neurosim.engine.record import BlowUp, PopulationRate, Recording, Spikes, State, Weights

__all__ = [
    "BlowUp", "Network", "Population", "Projection", "PopulationRate", "Recording", "SpikeTrains", "Spikes", "State", "Weights",
]  # fmt: skip
