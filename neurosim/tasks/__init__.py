"""The tasks that come with the package, by name: `TASKS[name](data)` -> Task. Your own data: `Task.from_arrays`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurosim.tasks.base import Split, Task, cross_entropy
from neurosim.tasks.coding import CODES, EvenPoissonCode
from neurosim.tasks.images import digits, fashion, mnist, read_idx
from neurosim.tasks.masked import Masked, masked_text
from neurosim.tasks.memory import delayed_xor, evidence, store_recall
from neurosim.tasks.recall import induction, recall
from neurosim.tasks.rows import Rows, rows
from neurosim.tasks.sequences import NOT_ASKED, Answers, Sequences
from neurosim.tasks.spikes import SpikeTrains, spike_trains
from neurosim.tasks.text import text

STORED: dict[str, Callable[..., Task]] = {"digits": digits, "fashion": fashion, "mnist": mnist}  # read from files
DELAYED = {"delayed-xor": delayed_xor, "store-recall": store_recall, "evidence": evidence}  # drawn; they have a delay
FOUND = {"recall": recall, "induction": induction}  # drawn; what is asked is to be found in the sequence
TASKS: dict[str, Callable[..., Any]] = {**STORED, **DELAYED, **FOUND, "text": text, "masked-text": masked_text}

SPIKING = ("spiking-mlp", "spiking-cnn", "diehl-cook")  # networks that are shown spike trains
CODED = ("spiking-mlp", "spiking-cnn")  # of them those that may be shown another code
IN_TIME = ("rnn", "lstm", "lsnn", "transformer")  # networks that are shown sequences


def task_of(
    name: str, data: Path | None = None, delay: int | None = None, corpus: str | None = None, level: str | None = None
) -> Any:
    """The task of that name. ValueError for a delay, corpus or level where it has none."""
    texts = ("text", "masked-text")
    for flag, value, those in (("delay", delay, DELAYED), ("corpus", corpus, texts), ("level", level, texts)):
        if value is not None and name not in those:
            raise ValueError(f"{flag}: given {value!r}, but {name} has none, only {' and '.join(those)}")
    if name in DELAYED:
        return DELAYED[name]() if delay is None else DELAYED[name](delay)
    if name in FOUND:
        return FOUND[name]()
    return TASKS[name](corpus or "grammar", level or "char") if name in texts else TASKS[name](data)


def for_network(network: str, name: str) -> None:
    """ValueError for a task, by name, that this network cannot be shown."""
    if name == "masked-text" and network != "transformer":
        raise ValueError(
            f"network: given {network!r}, but masked-text is read from both sides, by the transformer alone"
        )


def shown_to(network: str, task: Any, patch: int | None = None, code: str | None = None) -> Any:
    """The task as a network of that name is shown it: images row by row or patch by patch, or as spike trains.

    code: a name in `CODES`, with its usual values, for networks that spike. ValueError if it cannot be.
    """
    if code is not None and network not in CODED:
        raise ValueError(f"code: given {code!r}, but {network} is not shown spikes by choice; {', '.join(CODED)} are")
    for_network(network, "masked-text" if isinstance(task, Masked) else "")
    if patch is not None and not (isinstance(task, Task) and network in IN_TIME):
        raise ValueError(
            f"patch: given {patch}, but {task.name} on {network} is not cut; images on {', '.join(IN_TIME)} are"
        )
    if not isinstance(task, Task):
        if network not in IN_TIME:
            raise ValueError(
                f"network: given {network!r}, but {task.name} is made of sequences, for {', '.join(IN_TIME)}"
            )
        return task
    if network == "lsnn":
        return rows(task, repeat=5, dt=1.0, patch=patch)
    if network in IN_TIME:
        return rows(task, patch=patch)
    if network not in SPIKING:
        return task
    steps, usual = 30, CODES["poisson"]()
    if network == "diehl-cook":  # its published trial, and rates at which few inputs drive it as many do
        steps, usual = 250, EvenPoissonCode(30.0 if math.prod(task.shape) < 256 else 10.0)
    return spike_trains(task, steps, code=usual if code is None else CODES[code]())


__all__ = [
    "Answers", "Masked", "NOT_ASKED", "Rows", "Sequences", "SpikeTrains", "Split", "TASKS", "Task", "cross_entropy",
    "delayed_xor", "digits", "evidence", "fashion", "for_network", "induction", "masked_text", "mnist", "read_idx", "recall",
    "rows", "shown_to", "spike_trains", "store_recall", "task_of", "text",
]  # fmt: skip
