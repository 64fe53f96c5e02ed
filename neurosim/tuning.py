"""The search for each recipe's values: the same number of trials for all, scored on the validation part alone.

Trial 0 is the recipe's start values, so that tuning never ends below the guess (on validation). The others are spread
evenly over the logarithm of its space. A trial is run with every seed; what ends is appended to a CSV (recipe, trial,
seed, epoch, values, validation), and what stands there is not run again.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from neurosim.cell import Cell, MakeNet, TaskLike, reproducible, run_cell
from neurosim.cluster import in_processes
from neurosim.plasticity import Recipe
from neurosim.tuned import Curve, Key, Space, Values, append, read_curves, text_of, write_curves

EDGE = 0.1  # of the space's logarithm, at either end


class EntryLike(Protocol):
    """What the search asks of a line of the line-up: see `neurosim.recipes.Entry`."""

    @property
    def space(self) -> Space: ...
    @property
    def start(self) -> Values: ...
    def recipe(self, values: Values, convolutional: bool) -> Recipe: ...


@dataclass(frozen=True)
class Job:
    """One trial with one seed."""

    key: Key
    values: Values
    recipe: Recipe = field(repr=False)
    shared: Values = field(default_factory=dict)  # found before, for a recipe that has them in common with others

    @property
    def said(self) -> str:
        """What it was run with: a curve of other values is not its own."""
        return text_of({**self.shared, **self.values})


@dataclass(frozen=True)
class Best:
    """The best trial of a recipe: its last validation score by seed, and what to know before trusting it."""

    values: dict[str, float]
    validation: tuple[float, ...]  # by seed
    at_start: float  # mean validation score of the start values
    edges: tuple[str, ...]  # "lr low": the best lies at the lower end of the space, more may lie beyond it
    diverged: int  # trials

    @property
    def mean(self) -> float:
        return mean(self.validation)


# ---------------------------------------------------------------------------------------------- which values
def proposals(space: Space, start: Values, trials: int, key: str) -> list[dict[str, float]]:
    """The values of each trial, [trials]: first those of `start`, then

        value = low (high / low)^u,      u = Halton sequence (bases 2, 3) + a random shift, modulo 1

    (Halton 1960; shift: Cranley & Patterson 1976), drawn from `key` and rounded to three digits. They fill the space more
    evenly than independent draws, and fewer trials are the first of more. An empty space has one trial.
    Raises ValueError for fewer than 1 trial, and for a space that is no range of positive numbers.
    """
    from scipy.stats import qmc  # here, since worker processes start without it sooner

    if trials < 1:
        raise ValueError(f"trials is {trials}: a search needs at least 1")
    names = sorted(space)
    for n in names:
        low, high = space[n]
        if not 0 < low < high < math.inf:
            raise ValueError(f"space: {n} is searched from {low} to {high}, but it must be 0 < low < high")
    first = {n: float(start[n]) for n in names}
    if not names:
        return [first]
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    shift = np.random.default_rng(seed).random(len(names))
    low, high = np.array([space[n] for n in names], dtype=float).T
    u = (qmc.Halton(len(names), scramble=False).random(trials - 1) + shift) % 1
    drawn = low * (high / low) ** u  # [trials - 1, names]
    return [first] + [{n: float(f"{v:.3g}") for n, v in zip(names, row, strict=True)} for row in drawn]


def plan(
    entries: Mapping[str, EntryLike],
    task: str,
    network: str,
    convolutional: bool,
    trials: int,
    seeds: int,
    draw: int = 0,
    shared: Values = {},
) -> list[Job]:
    """Every job of a tuning: each recipe with each of its trials and each seed. `draw` numbers the search itself.

    `shared`: values that recipes have in common and that were found before.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}: a search needs at least 1")
    jobs = []
    for slug, entry in entries.items():
        tried = proposals(entry.space, entry.start, trials, f"{task} {network} {slug} {draw}")
        for number, values in enumerate(tried):
            recipe = entry.recipe({**shared, **values}, convolutional)
            own = {n: v for n, v in shared.items() if shares(entry, {n: v}, shared, values, convolutional)}
            jobs += [Job(Key(slug, number, seed), values, recipe, own) for seed in range(seeds)]
    return jobs


def shares(entry: EntryLike, one: Values, shared: Values, values: Values, convolutional: bool = False) -> bool:
    """Do the rates of its recipe follow from this one of the shared values, which it does not search itself?"""
    twice = {n: 2.0 * v for n, v in one.items()}
    a, b = (entry.recipe({**shared, **x, **values}, convolutional) for x in (one, twice))
    return a.lr != b.lr


def best(entry: EntryLike, jobs: Sequence[Job], curves: Mapping[Key, Curve], lower: bool = False) -> Best | None:
    """Of one recipe's jobs, the trial with the highest mean validation score over seeds at the last epoch.

    The lowest, if `lower` is better. Of equal ones that with the best mean over the epochs, then the first. A trial that
    diverged with any seed has score nan and is never the best. None where a job is still missing or all diverged.
    """
    if any(j.key not in curves for j in jobs):
        return None
    scores: dict[int, list[float]] = {}
    whole: dict[int, list[float]] = {}
    for j in jobs:
        scores.setdefault(j.key.trial, []).append(curves[j.key].validation[-1])
        whole.setdefault(j.key.trial, []).extend(curves[j.key].validation)
    fine = [t for t, s in sorted(scores.items()) if math.isfinite(mean(s))]
    if not fine:
        return None
    top = (min if lower else max)(fine, key=lambda t: (mean(scores[t]), mean(whole[t])))  # the first of equal ones
    values = dict(next(j.values for j in jobs if j.key.trial == top))
    edges = tuple(f"{n} {side}" for n, v in values.items() if (side := edge(v, entry.space[n])))
    return Best(values, tuple(scores[top]), mean(scores[0]), edges, len(scores) - len(fine))


def mean(scores: Sequence[float]) -> float:
    """Rounded, so that equal means compare as equal."""
    return round(sum(scores) / len(scores), 9)


def spread(scores: Sequence[float]) -> float:
    """Standard deviation over seeds; nan for one."""
    return statistics.stdev(scores) if len(scores) > 1 else math.nan


def edge(value: float, ends: tuple[float, float]) -> str:
    """Which end, low or high, if the value lies in the outer tenth of the space (of its logarithm) or beyond it; else ""."""
    u = math.log(value / ends[0]) / math.log(ends[1] / ends[0])
    return "low" if u < EDGE else "high" if u > 1 - EDGE else ""


# ---------------------------------------------------------------------------------------------- running
def search(
    jobs: Sequence[Job],
    make_net: MakeNet,
    task: TaskLike,
    path: Path,
    *,
    epochs: int,
    device: str = "cpu",
    workers: int = 1,
) -> Iterator[Cell]:
    """Run the jobs that the CSV at `path` does not hold yet; each cell is given once its curve is stored there."""
    curves = usable(jobs, read_curves(path, epochs))
    write_curves(path, curves)
    to_do = {j.key: j for j in left(jobs, curves)}
    recipes = {key: j.recipe for key, j in to_do.items()}
    work = Work(recipes, make_net, task, epochs, device, torch.get_default_dtype())
    running = in_processes(work, list(to_do), workers) if workers > 1 else ((key, work(key)) for key in to_do)
    for key, cell in running:
        if cell.status != "unsupported":
            append(path, key, Curve(to_do[key].said, validation_of(cell, epochs)))
        yield cell
    write_curves(path, read_curves(path, epochs))  # in order


def usable(jobs: Sequence[Job], curves: Mapping[Key, Curve]) -> dict[Key, Curve]:
    """Without those of these jobs' recipes that have other values: their space was changed since."""
    wanted = {j.key: j.said for j in jobs}
    recipes = {j.key.recipe for j in jobs}
    return {k: c for k, c in curves.items() if k.recipe not in recipes or wanted.get(k) == c.values}


def left(jobs: Sequence[Job], curves: Mapping[Key, Curve]) -> list[Job]:
    """The jobs still to run."""
    there = usable(jobs, curves)
    return [j for j in jobs if j.key not in there]


def beside_others(jobs: Sequence[Job], curves: Mapping[Key, Curve]) -> list[str]:
    """Recipes with a curve that was run beside other shared values than those of these jobs."""
    stale = (j.key.recipe for j in jobs if j.shared and j.key in curves and curves[j.key].values != j.said)
    return list(dict.fromkeys(stale))


@dataclass(frozen=True)
class Work:
    """What all jobs have in common; called with a job's key, in whichever process, it trains and scores for tuning."""

    recipes: Mapping[Key, Recipe]
    make_net: MakeNet
    task: TaskLike
    epochs: int
    device: str
    dtype: torch.dtype

    def __call__(self, key: Key) -> Cell:
        with reproducible(key.seed, self.dtype):
            return run_cell(
                self.recipes[key], self.make_net, self.task, key.seed, self.epochs, self.device, tuning=True
            )


def validation_of(cell: Cell, epochs: int) -> tuple[float, ...]:
    """Its score on what it was scored on, by epoch, [epochs + 1]; nan from where it diverged."""
    by_epoch = {r["epoch"]: round(r["value"], 6) for r in cell.rows if r["quantity"] == "test"}
    return tuple(by_epoch.get(e, math.nan) for e in range(epochs + 1))
