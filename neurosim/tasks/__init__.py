"""The tasks that come with the package, by name: `TASKS[name](data)` -> Task. Your own data: `Task.from_arrays`."""

from collections.abc import Callable

from neurosim.tasks.base import Split, Task, cross_entropy
from neurosim.tasks.images import digits, fashion, mnist, read_idx

TASKS: dict[str, Callable[..., Task]] = {"digits": digits, "fashion": fashion, "mnist": mnist}

__all__ = ["TASKS", "Split", "Task", "cross_entropy", "digits", "fashion", "mnist", "read_idx"]
