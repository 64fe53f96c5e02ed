"""`neurosim compare`: run the cells of a comparison, show its table, write its figure."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from neurosim.flags import Interrupted, both_sizes, line_up, nearest, options, usable, warnings_in_one_line

TESTED = 2000  # samples at most, where --limit cuts those to learn from


@dataclass(frozen=True)
class Plan:
    """What was asked for, every default filled in."""

    task: Any  # already at its size
    asked: str  # the task's name as it was given
    slug: str  # of the task, and what else was asked of it
    make_net: Any
    network: str
    recipes: list[Any]
    epochs: int
    seeds: range
    device: str
    workers: int | None  # None on a cluster
    dask: str | None
    quick: bool
    full: bool
    plain: bool  # the default comparison or --full, whose figures are committed
    folder: Path
    cells: Path  # where finished cells are kept
    fresh: bool
    checkpoints: Path | None
    tuned: str  # where the recipes' values come from

    @property
    def name(self) -> str:
        start = f"-from{self.seeds.start}" if self.seeds.start else ""
        return f"compare-{self.slug}-{self.network}{'-full' if self.full else ''}{start}"

    @property
    def total(self) -> int:
        return len(self.recipes) * len(self.seeds)

    def checkpoint(self, job: Any) -> Path:
        assert self.checkpoints is not None
        return self.checkpoints / f"{self.slug}-{self.network}-{job.recipe}-seed{job.seed}.pt"


@click.command()
@click.argument("task")
@options(
    "network", "rules", "seeds", "epochs", "limit", "device", "data", "out", "json", "quick", "full", "workers", "dask",
    "fresh", "checkpoints", "tuned", "first_seed", "delay", "corpus", "level", "patch", "code",
)  # fmt: skip
def compare(
    task: str,
    network: str | None,
    rules: str | None,
    seeds: int | None,
    epochs: int | None,
    limit: int | None,
    device: str,
    data: Path | None,
    out: Path | None,
    as_json: bool,
    quick: bool,
    full: bool,
    workers: int | None,
    dask: str | None,
    fresh: bool,
    checkpoints: Path | None,
    tuned: Path | None,
    first_seed: int,
    delay: int | None,
    corpus: str | None,
    level: str | None,
    patch: int | None,
    code: str | None,
) -> int:
    """Compare learning rules on TASK: the same first weights, the same batches.

    Images (digits, fashion, mnist) on any network; delayed-xor, store-recall, evidence, text, recall and induction on recurrent
    ones and on the transformer; masked-text on the transformer.

    Finished cells (a rule, a seed) are kept in runs/.cells, or DIR/.cells with --out DIR: a run that was stopped or
    killed and is started again does only what is missing.
    """
    from neurosim.networks import NETWORKS, network_for
    from neurosim.recipes import epochs_for, quick_for
    from neurosim.store import alone
    from neurosim.tasks import TASKS, for_network, shown_to, task_of
    from neurosim.tuned import source

    both_sizes(quick, full)
    if dask and workers:
        raise click.UsageError("--dask and --workers exclude each other: a cluster has workers of its own")
    nearest("task", task, TASKS)
    if network:
        for_network(nearest("network", network, NETWORKS), task)
        line_up(rules, task, network)  # a wrong name is told before data are read
    shown = task_of(task, data, delay, corpus, level)
    own = any(v is not None for v in (delay, corpus, level, patch, code))  # of the task
    plain = not (rules is not None or seeds or epochs or limit or quick or data or tuned or first_seed or own)
    network = network or shown.network
    usual = plain and network == shown.network
    shown = shown_to(network, shown, patch, code)
    cut = delay if delay is not None else f"patch-{patch}" if patch else code
    slug = f"{task}-{cut}" if cut is not None else shown.name if own else task
    chosen = line_up(rules, task, network, tuned)
    if quick:
        train, test, quick_epochs = quick_for(task, network)
        shown, epochs = shown.limited(train, test), epochs or quick_epochs
    if limit:
        shown = shown.limited(limit, None if quick else TESTED)
    epochs = epochs or epochs_for(task, network, full)
    seeds = seeds or (2 if quick else 20 if full else 5)
    device = usable(device)
    if not dask:
        workers = workers or (1 if device == "cuda" else min(os.cpu_count() or 1, len(chosen) * seeds))
    folder = out or Path("figures" if usual else "runs")
    cells = (out or Path("runs")) / ".cells"
    ours = range(first_seed, first_seed + seeds)
    plan = Plan(
        shown, task, slug, network_for(task, network), network, chosen, epochs, ours, device, workers, dask,
        quick, full, plain, folder, cells, fresh, checkpoints, source(task, network, tuned),
    )  # fmt: skip
    for needed in (folder, cells, checkpoints):
        if needed:
            needed.mkdir(parents=True, exist_ok=True)  # before hours are spent
    with alone(folder, plan.name), warnings_in_one_line():
        return carry_out(plan, out is None, as_json)


def carry_out(plan: Plan, into_runs: bool, as_json: bool) -> int:
    """Run it, write it, show it; exit code 1 if a recipe diverged or a claim failed. A part goes to runs/, if it may."""
    from neurosim.manifest import write

    start = time.perf_counter()
    cells, interrupted = collect(run(plan), plan.total, plan.name)
    if not cells:
        raise Interrupted(f"{plan.name}: interrupted before a cell was finished, nothing was written")
    folder = Path("runs") if interrupted and into_runs else plan.folder  # a part never replaces a whole
    if all(c.status == "unsupported" for c in cells) and not interrupted:
        why = "; ".join(dict.fromkeys(f"{c.recipe}: {c.reason}" for c in cells))
        raise click.UsageError(f"{plan.name}: nothing could run, no figure was written ({why})")
    order = [r.name for r in plan.recipes]
    cells.sort(key=lambda c: (order.index(c.recipe), c.seed))
    manifest, png = write(plan, cells, interrupted, time.perf_counter() - start, folder)
    show(plan, manifest, png, as_json)
    files = f"{png.with_suffix('')}.png, .csv and .json"
    found = manifest["config"]["found"]
    before = f"; {found} of {plan.total} cells were finished before, in {plan.cells}" if found else ""
    if interrupted:
        raise Interrupted(
            f"{plan.name}: interrupted; {len(cells)} of {plan.total} cells were finished, in {files}{before}"
        )
    click.echo(f"written: {files} ({manifest['seconds']:.0f} s{before})", err=as_json)
    return int(any(c.status == "diverged" for c in cells) or not all(c["holds"] for c in manifest["claims"]))


def run(plan: Plan) -> Iterator[Any]:
    """The cells as they end; those that were kept come first."""
    from neurosim import compare as comparing
    from neurosim.store import Store

    return comparing.run_cells(
        plan.recipes,
        plan.make_net,
        plan.task,
        epochs=plan.epochs,
        seeds=plan.seeds,
        device=plan.device,
        workers=plan.workers or 1,
        dask=plan.dask,
        store=Store(plan.cells, plan.fresh),
        checkpoints=plan.checkpoint if plan.checkpoints else None,
        about=about(plan),
    )


def about(plan: Plan) -> dict[str, Any]:
    """What a checkpoint says beside its tensors, for `neurosim generate`."""
    said = {
        "network": plan.network,
        "task": plan.asked,
        "shape": list(plan.task.shape),
        "outputs": plan.task.outputs,
        "dt": getattr(plan.task, "dt", None),
    }
    symbols = getattr(plan.task, "vocabulary", None)
    return said | ({"symbols": list(symbols), "by_word": plan.task.by_word} if symbols else {})


def collect(running: Iterator[Any], total: int, name: str) -> tuple[list[Any], bool]:
    """All that finishes, with time left on stderr where that is a terminal; and whether Ctrl-C ended it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done: list[Any] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    try:
        with closing(running), bar:
            job = bar.add_task(name, total=total)
            for cell in running:
                done.append(cell)
                bar.update(job, advance=1, description=f"{name}  {cell.recipe}")
    except KeyboardInterrupt:
        return done, True
    return done, False


def show(plan: Plan, manifest: dict[str, Any], png: Path, as_json: bool) -> None:
    """The table and the claims, or the JSON as it was written."""
    from neurosim import report
    from neurosim.study import show as show_claims

    if as_json:
        click.echo(json.dumps(json.loads(png.with_suffix(".json").read_text()), indent=2))
        return
    console = Console() if sys.stdout.isatty() else Console(width=150)
    sizes = f"{manifest['config']['n_train']:,}, {manifest['config']['n_test']:,} tested"
    counts = f"{counted(len(plan.seeds), 'seed')}, {counted(plan.epochs, 'epoch')}"
    title = f"{plan.slug}, {plan.network}: {counts} of {sizes}"
    fixed = manifest["config"]["fixed"]
    for table in report.comparison_tables(title, manifest["recipes"], plan.task.metric, console.width, fixed):
        console.print(table)
    if "baselines" in manifest:
        from neurosim.figures_rows import said_baselines

        console.print(f"on the same test items: {said_baselines(manifest)} ({plan.task.metric})\n")
    if manifest["claims"]:
        show_claims(manifest["claims"], console)


def counted(n: int, thing: str) -> str:
    return f"{n} {thing}" + "s" * (n != 1)
