"""The comparison: the same initial weights, the same batches in the same order, one recipe beside the other.

A cell is one recipe with one seed. `compare` runs the cells and returns tidy rows; `summary.py` turns cells into what a
table shows.
This file knows no concrete network or task.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neurosim.plasticity import Batch, Learner, Recipe, Unsupported, alignment, cosine, outer, play, returned

MakeNet = Callable[[Sequence[int], int], nn.Module]  # (shape of one input, number of outputs) -> net
Row = dict[str, Any]  # recipe, seed, epoch, samples, layer, quantity, value

SHUFFLES = 20


class TaskLike(Protocol):
    """What a comparison asks of a task: see `neurosim.tasks.Task`."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def outputs(self) -> int: ...
    def split(self, seed: int, tuning: bool = False) -> Any: ...
    def batches(self, split: Any, seed: int, epoch: int) -> Iterator[Batch]: ...
    def evaluation(self, split: Any) -> Iterator[Batch]: ...
    def probe(self, split: Any) -> Batch: ...
    def score(self, output: Tensor, target: Tensor) -> float: ...


@dataclass(frozen=True)
class Cell:
    """What one recipe did with one seed. A diverged or unsupported cell is a result with a reason, not a crash."""

    recipe: str
    seed: int
    rows: list[Row] = field(repr=False, default_factory=list)
    status: str = "ok"  # "ok", "diverged", "unsupported"
    reason: str = ""
    seconds: float = 0.0  # training only
    init_hash: str = ""  # of the weights as drawn, before `prepare`
    batch_hash: str = ""
    n_train: int = 0
    n_test: int = 0

    def final(self, quantity: str, layer: str = "") -> float:
        """Its last value of a quantity; nan for none."""
        got = [r["value"] for r in self.rows if r["quantity"] == quantity and r["layer"] == layer]
        return got[-1] if got and self.status == "ok" else math.nan


# ---------------------------------------------------------------------------------------------- one cell
def draw_net(make_net: MakeNet, task: TaskLike, seed: int) -> nn.Module:
    """The net with the weights that the seed draws; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_net(task.shape, task.outputs)


def unsupported(recipe: Recipe, net: nn.Module, example: Batch) -> str | None:
    """Why the recipe cannot run on the net, in one sentence; None if it can. The net may be changed by `prepare`."""
    try:
        Learner(net, recipe, example).updates(example)
    except Unsupported as reason:
        return str(reason)
    return None


def run_cell(
    recipe: Recipe, make_net: MakeNet, task: TaskLike, seed: int, epochs: int, device: str = "cpu", tuning: bool = False
) -> Cell:
    """Train one recipe with one seed, scored before training and after each epoch."""
    split = task.split(seed, tuning).to(device)
    net = draw_net(make_net, task, seed).to(device)
    known = {"recipe": recipe.name, "seed": seed, "n_train": len(split.train_y), "n_test": len(split.test_y)}
    init = fingerprint(p for _, p in sorted(net.named_parameters()))
    example = next(task.batches(split, seed, 0))
    try:
        learner = Learner(net, recipe, example, seed)
        learner.updates(example)
    except Unsupported as reason:
        return Cell(**known, status="unsupported", reason=str(reason), init_hash=init)
    probe = task.probe(split)
    rows: list[Row] = []
    shown, batches, seconds = 0, hashlib.sha256(), 0.0

    def note(epoch: int, quantity: str, value: float, layer: str = "") -> None:
        at = {"recipe": recipe.name, "seed": seed, "epoch": epoch, "samples": shown}
        rows.append({**at, "layer": layer, "quantity": quantity, "value": value})

    def measure(epoch: int) -> bool:
        score, loss = evaluate(learner, task, split)
        note(epoch, "test", score)
        note(epoch, "test_loss", loss)
        if epoch <= 10 or epoch % 5 == 0 or epoch == epochs:
            for layer, values in held_against_backprop(learner, probe, seed).items():
                for quantity, value in values.items():
                    note(epoch, quantity, value, layer)
        return math.isfinite(loss)

    fine = measure(0)
    for epoch in range(1, epochs + 1):
        start, seen = time.perf_counter(), []
        for batch in task.batches(split, seed, epoch - 1):
            learner.step(batch)
            shown += batch.size
            seen += [batch.target, batch.x.sum()]  # on the device: nothing waits
        batches.update(fingerprint(seen).encode())  # here it waits, once an epoch
        seconds += time.perf_counter() - start
        fine = measure(epoch)
        if not fine:
            rows[:] = [r | {"value": math.nan} if r["epoch"] == epoch else r for r in rows]
            return Cell(**known, rows=rows, status="diverged", reason=f"its loss was not finite after epoch {epoch}",
                        seconds=seconds, init_hash=init)  # fmt: skip
    return Cell(**known, rows=rows, seconds=seconds, init_hash=init, batch_hash=batches.hexdigest()[:16])


def evaluate(learner: Learner, task: TaskLike, split: Any) -> tuple[float, float]:
    """Score and mean loss on the test part; nan where the output is not finite."""
    outputs, targets, losses = [], [], []
    learning = learner.net.training
    learner.net.eval()  # dropout and the like are for learning
    for batch in task.evaluation(split):
        outputs.append(learner.predict(batch))
        targets.append(batch.target)
        losses.append((learner.recipe.loss or batch.loss)(outputs[-1], batch.target))
    learner.net.train(learning)
    loss = torch.cat(losses).mean().item()
    return (task.score(torch.cat(outputs), torch.cat(targets)) if math.isfinite(loss) else math.nan), loss


def held_against_backprop(learner: Learner, probe: Batch, seed: int) -> dict[str, dict[str, float]]:
    """By layer: the cosine of its update with backprop's, and the 2.5 and 97.5 % of it under shuffled credit."""
    cos = alignment(learner, probe)
    null = shuffled_credit(learner, probe, torch.Generator().manual_seed(seed), list(cos))
    found = {}
    for n, c in cos.items():
        low, high = torch.quantile(null[n], torch.tensor([0.025, 0.975], device=c.device, dtype=c.dtype)).tolist()
        found[n.removesuffix(".input")] = {"alignment": c.item(), "null_low": low, "null_high": high}
    return found


def shuffled_credit(learner: Learner, batch: Batch, generator: torch.Generator, names: list[str]) -> dict[str, Tensor]:
    """cos(backprop's dW, dW with credit dealt to the samples at random) by synapse, [SHUFFLES]: backprop's null."""
    trial = play(learner.net, learner._batch(batch))
    credit = returned(trial, ("credit",))["credit"]
    orders = [torch.randperm(batch.size, generator=generator).to(batch.x.device) for _ in range(SHUFFLES)]
    axis, null = int(batch.time), {}
    for n in names:
        r = trial.records[n]
        true = outer(r, r.pre, credit[r.layer])
        null[n] = torch.stack(
            [cosine(true, outer(r, r.pre, credit[r.layer].index_select(axis, order))) for order in orders]
        )
    return null


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """A hash of the tensors' values, for proving that two recipes saw the same."""
    h = hashlib.sha256()
    for t in tensors:
        h.update(t.detach().cpu().numpy().tobytes())
    return h.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------- all cells
def run_cells(
    recipes: Sequence[Recipe],
    make_net: MakeNet,
    task: TaskLike,
    *,
    epochs: int,
    seeds: Iterable[int],
    device: str = "cpu",
    workers: int = 1,
) -> Iterator[Cell]:
    """The cells as they end. With workers > 1 each runs in a process of its own with one thread."""
    seeds = list(seeds)
    jobs = [(r, seed) for r in recipes for seed in seeds]
    if workers <= 1:
        yield from (run_cell(r, make_net, task, seed, epochs, device) for r, seed in jobs)
        return
    shared = partial(run_cell, make_net=make_net, task=task, epochs=epochs, device=device)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker, (shared,))
    try:
        for done in as_completed([pool.submit(_work, r, seed) for r, seed in jobs]):
            yield done.result()
    finally:  # also when the reader stops half way: what has not begun is not begun, what runs is ended
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


_shared: Callable[..., Cell]


def _begin_worker(shared: Callable[..., Cell]) -> None:
    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)


def _work(recipe: Recipe, seed: int) -> Cell:
    return _shared(recipe, seed=seed)


def compare(
    recipes: Sequence[Recipe],
    make_net: MakeNet,
    task: TaskLike,
    *,
    epochs: int,
    seeds: Iterable[int],
    device: str = "cpu",
    workers: int = 1,
) -> list[Row]:
    """Tidy rows (recipe, seed, epoch, samples, layer, quantity, value) of every recipe with every seed.

    Quantities: `test` (the task's score), `test_loss`, and by layer `alignment`, `null_low`, `null_high`. A recipe that
    cannot run on the net, or whose loss is not finite, is a row with value nan.
    """
    cells = run_cells(recipes, make_net, task, epochs=epochs, seeds=seeds, device=device, workers=workers)
    return rows_of(cells)


def rows_of(cells: Iterable[Cell]) -> list[Row]:
    """The rows of all cells; an unsupported one has a single row of nan."""
    blank = {"epoch": 0, "samples": 0, "layer": "", "quantity": "test", "value": math.nan}
    return [r for c in cells for r in (c.rows or [{"recipe": c.recipe, "seed": c.seed, **blank}])]
