"""The tasks that come with the package, by name: `TASKS[name](data)` -> Task. Your own data: `Task.from_arrays`."""

from collections.abc import Callable

from neurosim.tasks.base import Split, Task, cross_entropy
from neurosim.tasks.images import digits, fashion, mnist, read_idx
from neurosim.tasks.spikes import SpikeTrains, spike_trains

TASKS: dict[str, Callable[..., Task]] = {"digits": digits, "fashion": fashion, "mnist": mnist}

SPIKING = ("spiking-mlp",)  # networks that are shown spike trains


def shown_to(network: str, task: Task) -> Task:
    """The task as a network of that name is shown it."""
    return spike_trains(task) if network in SPIKING else task


__all__ = ["TASKS", "SpikeTrains", "Split", "Task", "cross_entropy", "digits", "fashion", "mnist", "read_idx", "shown_to",
           "spike_trains"]  # fmt: skip
