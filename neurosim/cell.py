"""One cell of a comparison: one recipe trained with one seed, scored and held against backprop as it goes.

Everything it does follows from its arguments. This file knows no concrete network or task.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neurosim import cost, cost_spikes
from neurosim.plasticity import Batch, Learner, Recipe, Unsupported, alignment, cosine, outer, play, rank, returned

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
    each: list[float] = field(repr=False, default_factory=list)  # the last score of every test item, if the task tells
    cost: dict[str, float] = field(default_factory=dict)
    n_seen: int = 0  # different training samples: n_train, or epochs times that where each epoch is drawn anew
    stored: bool = field(default=False, compare=False)  # was it found, not run?

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
    recipe: Recipe,
    make_net: MakeNet,
    task: TaskLike,
    seed: int,
    epochs: int,
    device: str = "cpu",
    tuning: bool = False,
    at_end: Callable[[Learner], Any] = lambda learner: None,
) -> Cell:
    """Train one recipe with one seed, scored before training and after each epoch. `at_end` is shown the learner."""
    split = task.split(seed, tuning).to(device)
    net = draw_net(make_net, task, seed).to(device)
    n = len(split.train_y)
    seen = n * epochs if getattr(task, "drawn_anew", False) else n
    known = {"recipe": recipe.name, "seed": seed, "n_train": n, "n_seen": seen, "n_test": len(split.test_y)}
    init = fingerprint(p for _, p in sorted(net.named_parameters()))
    example = next(task.batches(split, seed, 0))
    try:
        learner = Learner(net, recipe, example, seed)
        learner.updates(example)
    except Unsupported as reason:
        return Cell(**known, status="unsupported", reason=str(reason), init_hash=init)
    paid = {} if tuning else measured_cost(learner, example)
    probe = task.probe(split)
    rows: list[Row] = []
    each: list[float] = []
    shown, batches, seconds = 0, hashlib.sha256(), 0.0

    def note(epoch: int, quantity: str, value: float, layer: str = "") -> None:
        at = {"recipe": recipe.name, "seed": seed, "epoch": epoch, "samples": shown}
        rows.append({**at, "layer": layer, "quantity": quantity, "value": value})

    def measure(epoch: int) -> bool:
        score, loss, each[:] = evaluate(learner, task, split)
        note(epoch, "test", score)
        note(epoch, "test_loss", loss)
        if not tuning and (epoch in (1, 2, 3, 5) or epoch % 10 == 0 or epoch == epochs):
            for layer, values in held_against_backprop(learner, probe, seed).items():
                for quantity, value in values.items():
                    note(epoch, quantity, value, layer)
        return math.isfinite(loss)

    measure(0)
    for epoch in range(1, epochs + 1):
        start, seen = time.perf_counter(), []
        learner.done((epoch - 1) / epochs)
        for batch in task.batches(split, seed, epoch - 1):
            learner.step(batch)
            shown += batch.size
            seen += [batch.target, batch.x.sum()]  # on the device: nothing waits
        batches.update(fingerprint(seen).encode())  # here it waits, once an epoch
        seconds += time.perf_counter() - start
        if not measure(epoch):
            at_end(learner)
            rows[:] = [r | {"value": math.nan} if r["epoch"] == epoch else r for r in rows]
            return Cell(**known, rows=rows, status="diverged", reason=f"its loss was not finite after epoch {epoch}",
                        seconds=seconds, init_hash=init, cost=paid)  # fmt: skip
    at_end(learner)
    paid |= (
        {} if tuning else cost_spikes.measure(learner.net, probe, hasattr(task, "code"))
    )  # as it answers now that it has learned
    ends = {"init_hash": init, "batch_hash": batches.hexdigest()[:16], "each": each, "cost": paid}
    return Cell(**known, rows=rows, seconds=seconds, **ends)


def measured_cost(learner: Learner, example: Batch) -> dict[str, float]:
    """The row of `cost.py`; {} for a net with operations whose products are not counted."""
    try:
        return cost.row(cost.measure(learner, example))
    except cost.Uncounted:
        return {}


@contextmanager
def reproducible(seed: int, dtype: torch.dtype) -> Iterator[None]:
    """Random state of its own, one thread, this default dtype; all as before when it ends."""
    with torch.random.fork_rng(devices=[]):
        threads, before = torch.get_num_threads(), torch.get_default_dtype()
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # sums over several threads differ in their last bits
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(before)


def evaluate(learner: Learner, task: TaskLike, split: Any) -> tuple[float, float, list[float]]:
    """Score and mean loss on the test part, nan where the output is not finite; each item's score, if the task tells it."""
    outputs, targets, losses = [], [], []
    learning = learner.net.training
    learner.net.eval()  # dropout and the like are for learning
    for batch in task.evaluation(split):
        outputs.append(learner.predict(batch))
        targets.append(batch.target)
        losses.append((learner.recipe.loss or batch.loss)(outputs[-1], batch.target))
    learner.net.train(learning)
    loss = torch.cat(losses).mean().item()
    if not math.isfinite(loss):
        return math.nan, loss, []
    output, target = (torch.cat(parts, samples_axis(parts[-1], batch)) for parts in (outputs, targets))
    each = task.scores(output, target).tolist() if hasattr(task, "scores") else []
    return task.score(output, target), loss, each


def samples_axis(values: Tensor, batch: Batch) -> int:
    """Where the samples of outputs or targets stand: 1 where each step has one, [T, B, ...]."""
    return int(batch.time and values.dim() > 1 and values.shape[:2] == batch.x.shape[:2])


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
    null = {}
    for n in names:
        r = trial.records[n]
        axis = r.post.dim() - rank(r.synapse) - 1  # of samples: a readout may have no time where hidden layers do
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
