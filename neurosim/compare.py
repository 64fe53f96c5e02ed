"""The comparison: the same initial weights, the same batches in the same order, one recipe beside the other.

A cell (`cell.py`) is one recipe with one seed. `compare` runs the cells and returns tidy rows; `run_cells` gives them as
they end, from wherever they run (`cluster.py`), and keeps them (`store.py`), so that a run can be killed and started
again; `summary.py` turns cells into what a table shows. This file knows no concrete network or task.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from neurosim import checkpoint, cluster
from neurosim.cell import Cell, MakeNet, Row, TaskLike, draw_net, reproducible, run_cell, shuffled_credit, unsupported
from neurosim.keys import Job, cell_keys, source
from neurosim.plasticity import Learner, Recipe

if TYPE_CHECKING:
    from neurosim.store import Store

__all__ = [
    "Cell", "Job", "MakeNet", "Row", "TaskLike", "Work", "compare", "draw_net", "rows_of", "run_cell", "run_cells",
    "last_scores", "other_hashes", "shuffled_credit", "unsupported",
]  # fmt: skip


def run_cells(
    recipes: Sequence[Recipe],
    make_net: MakeNet,
    task: TaskLike,
    *,
    epochs: int,
    seeds: Iterable[int],
    device: str = "cpu",
    workers: int = 1,
    dask: str | None = None,
    store: Store | None = None,
    checkpoints: Callable[[Job], Path] | None = None,
    about: Mapping[str, Any] = {},
) -> Iterator[Cell]:
    """The cells as they end: first those in the `store`, then the others, each kept there before it is given.

    They run one after the other, in `workers` processes, or on the Dask cluster whose scheduler is at the address
    `dask`; each with one thread and a random state of its own, so that the rows are the same everywhere. The trained
    net of a cell is saved as `checkpoints(job)`; a stored cell whose checkpoint is not there is run again;
    `about`: what a checkpoint says of task and net, in words and numbers.
    ValueError, at once, for equal names or seeds, epochs < 1, workers < 1.
    """
    seeds = list(seeds)
    _check(recipes, seeds, epochs, workers)
    keys = cell_keys(recipes, make_net, task, seeds, epochs=epochs, device=device) if store or checkpoints else {}
    shared = make_net, task, epochs, device, torch.get_default_dtype(), source()
    work = Work({r.name: r for r in recipes}, *shared, keys if checkpoints else {}, about)
    jobs = [Job(r.name, seed) for r in recipes for seed in seeds]
    return _cells(work, jobs, keys, workers, dask, store, checkpoints)


def _check(recipes: Sequence[Recipe], seeds: Sequence[int], epochs: int, workers: int) -> None:
    for what, values in (("recipes", [r.name for r in recipes]), ("seeds", seeds)):
        if twice := [v for k, v in enumerate(values) if v in values[:k]]:
            raise ValueError(f"{what}: {twice[0]!r} is given twice, each must differ from the others")
    for what, number in (("epochs", epochs), ("workers", workers)):
        if number < 1:
            raise ValueError(f"{what}: given {number}, it must be at least 1")


def _cells(
    work: Work,
    jobs: Sequence[Job],
    keys: Mapping[Job, str],
    workers: int,
    dask: str | None,
    store: Store | None,
    checkpoints: Callable[[Job], Path] | None,
) -> Iterator[Cell]:
    if other := [p for job in jobs if checkpoints and checkpoint.is_another(p := checkpoints(job), keys[job])]:
        raise ValueError(
            f"{other[0]} is a checkpoint of another run or network: move it away, or give checkpoints another folder"
        )
    missing = []
    for job in jobs:
        cell = store.find(keys[job]) if store else None
        if cell and checkpoints and cell.status != "unsupported" and not checkpoint.is_of(checkpoints(job), keys[job]):
            cell = None
        if cell:
            yield replace(cell, stored=True)
        else:
            missing.append(job)
    if dask and missing:
        running = cluster.on_dask(work, missing, dask)
    elif workers > 1:
        running = cluster.in_processes(work, missing, workers)
    else:
        running = ((job, work(job)) for job in missing)
    with closing(running):  # when the reader stops half way, what runs is ended
        for job, (cell, network) in running:
            if checkpoints and network:
                checkpoint.write_whole(checkpoints(job), network)
            if store:
                store.keep(keys[job], cell)
            yield cell


_one_at_a_time = threading.Lock()  # a Dask worker may have several threads, but torch has one random state


@dataclass(frozen=True)
class Work:
    """What all cells of a comparison have in common; called with a job, wherever that may be, it runs the cell."""

    recipes: Mapping[str, Recipe]
    make_net: MakeNet
    task: TaskLike
    epochs: int
    device: str
    dtype: torch.dtype
    source: str  # of the neurosim that began the comparison
    checkpoints: Mapping[Job, str]  # the key of each cell whose network is wanted
    about: Mapping[str, Any] = field(default_factory=dict)  # what a checkpoint says of task and net

    def __call__(self, job: Job) -> tuple[Cell, bytes]:
        """The cell, and its network as a checkpoint file holds it, if that is wanted."""
        if source() != self.source:
            raise ValueError(
                f"{job}: its worker runs another neurosim than the one that began this run: install the same there, or, "
                "if it was edited meanwhile, start again"
            )
        networks: list[bytes] = []

        def pack(learner: Learner) -> None:
            if job in self.checkpoints:
                networks.append(checkpoint.packed(learner, self.checkpoints[job], self.about))

        with _one_at_a_time, reproducible(job.seed, self.dtype):
            cell = run_cell(
                self.recipes[job.recipe], self.make_net, self.task, job.seed, self.epochs, self.device, at_end=pack
            )
        return cell, networks[0] if networks else b""


def compare(
    recipes: Sequence[Recipe],
    make_net: MakeNet,
    task: TaskLike,
    *,
    epochs: int,
    seeds: Iterable[int],
    device: str = "cpu",
    workers: int = 1,
    store: Store | None = None,
) -> list[Row]:
    """Tidy rows (recipe, seed, epoch, samples, layer, quantity, value) of every recipe with every seed.

    Quantities: `test` (the task's score), `test_loss`, and by layer `alignment`, `null_low`, `null_high`. A recipe that
    cannot run on the net, or whose loss is not finite, is a row with value nan and a warning that says why.
    """
    cells = list(
        run_cells(recipes, make_net, task, epochs=epochs, seeds=seeds, device=device, workers=workers, store=store)
    )
    for why in dict.fromkeys(f"{c.recipe}: {c.status}, {c.reason}" for c in cells if c.status != "ok"):
        warnings.warn(why, stacklevel=2)
    return rows_of(cells)


def rows_of(cells: Iterable[Cell]) -> list[Row]:
    """The rows of all cells; an unsupported one has a single row of nan."""
    blank = {"epoch": 0, "samples": 0, "layer": "", "quantity": "test", "value": math.nan}
    return [r for c in cells for r in (c.rows or [{"recipe": c.recipe, "seed": c.seed, **blank}])]


def last_scores(rows: Iterable[Row]) -> dict[tuple[str, str], list[float]]:
    """By recipe and layer (in studies: the place), the last test score of each seed."""
    last: dict[tuple[str, str, int], tuple[int, float]] = {}
    for r in rows:
        key = (r["recipe"], r["layer"], r["seed"])
        if r["quantity"] == "test" and r["epoch"] >= last.get(key, (-1, 0.0))[0]:
            last[key] = r["epoch"], r["value"]
    found: dict[tuple[str, str], list[float]] = {}
    for (recipe, layer, _), (_, value) in last.items():
        found.setdefault((recipe, layer), []).append(value)
    return found


def other_hashes(comparisons: Iterable[Sequence[Cell]], what: str) -> int:
    """In how many cells, over all comparisons, `what` (init_hash, batch_hash) differs from the others' of its seed."""
    others = 0
    for cells in comparisons:
        by_seed: dict[int, set[str]] = {}
        for c in cells:
            if c.status == "ok":
                by_seed.setdefault(c.seed, set()).add(getattr(c, what))
        others += sum(len(found) - 1 for found in by_seed.values())
    return others
