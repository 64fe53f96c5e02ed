"""Event-driven, plastic spiking networks on the CPU: weights change at every spike. Begin with `network.py`."""

from neurosim.engine.environment import Environment
from neurosim.engine.network import Network
from neurosim.engine.parts import Population, Projection, SpikeTrains
from neurosim.engine.record import BlowUp, PopulationRate, Recording, Spikes, State, Weights

__all__ = [
    "BlowUp", "Environment", "Network", "Population", "PopulationRate", "Projection", "Recording", "SpikeTrains", "Spikes",
    "State", "Weights",
]  # fmt: skip
