"""neurosim: brain-inspired learning rules side by side with backpropagation. Read `neurosim.plasticity` first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurosim.engine import BlowUp, Environment, Network, PopulationRate, Spikes, SpikeTrains, State, Weights
    from neurosim.escape import SRM0
    from neurosim.neurons import AdaptiveLIF
    from neurosim.plasticity import (
        Batch,
        Credit,
        Gradient,
        Layer,
        Learner,
        Rate,
        Recipe,
        Record,
        Rule,
        Trial,
        alignment,
        outer,
        play,
    )
    from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson

__version__ = "0.1.0"
__all__ = [
    "AdEx", "AdaptiveLIF", "Batch", "BlowUp", "ConductanceLIF", "Credit", "Environment", "Gradient", "Izhikevich", "LIF",
    "Layer", "Learner", "Network", "Poisson", "PopulationRate", "Rate", "Recipe", "Record", "Rule", "SRM0", "SpikeTrains",
    "Spikes", "State", "Trial", "Weights", "alignment", "outer", "play",
]  # fmt: skip
PLACES = {
    "neurosim.engine": (
        "BlowUp",
        "Environment",
        "Network",
        "PopulationRate",
        "SpikeTrains",
        "Spikes",
        "State",
        "Weights",
    ),
    "neurosim.escape": ("SRM0",),
    "neurosim.neurons": ("AdaptiveLIF",),
    "neurosim.spiking": ("AdEx", "ConductanceLIF", "Izhikevich", "LIF", "Poisson"),
}


def __getattr__(name: str) -> Any:
    """The names above, fetched when first used: so the command line starts at once, and answers Ctrl-C from the start."""
    if name not in __all__:
        raise AttributeError(f"module 'neurosim' has no attribute {name!r}")
    place = next((p for p, names in PLACES.items() if name in names), "neurosim.plasticity")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
