"""`neurosim compare`: run the cells of a comparison, show its table, write its figure."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from neurosim.flags import Interrupted, both_sizes, line_up, nearest, options, typed, usable


@click.command()
@click.argument("task")
@options("network", "rules", "seeds", "epochs", "device", "data", "out", "json", "quick", "full", "workers")
def compare(
    task: str,
    network: str | None,
    rules: str | None,
    seeds: int | None,
    epochs: int | None,
    device: str,
    data: Path | None,
    out: Path | None,
    as_json: bool,
    quick: bool,
    full: bool,
    workers: int | None,
) -> int:
    """Compare learning rules on TASK (digits, fashion, mnist): the same first weights, the same batches."""
    from neurosim import compare as comparing
    from neurosim import figures, recipes, report
    from neurosim.figures_comparison import comparison
    from neurosim.networks import NETWORKS
    from neurosim.study import show
    from neurosim.summary import summary
    from neurosim.tasks import TASKS

    both_sizes(quick, full)
    make_task = TASKS[nearest("task", task, TASKS)]
    if network:
        nearest("network", network, NETWORKS)
    line_up(rules, task, "mlp")  # a wrong name is told before data are read
    shown = make_task(data)
    plain = not (rules or seeds or epochs or quick or data) and network in (None, shown.network)
    network, device = network or shown.network, usable(device)
    chosen = line_up(rules, task, network)
    if quick:
        train, test, quick_epochs = recipes.QUICK[task]
        shown, epochs = shown.limited(train, test), epochs or quick_epochs
    epochs = epochs or recipes.EPOCHS[task]
    seeds = seeds or (2 if quick else 20 if full else 5)
    workers = workers or (1 if device == "cuda" else min(os.cpu_count() or 1, len(chosen) * seeds))
    name, folder = f"compare-{task}-{network}", out or Path("figures" if plain else "runs")

    folder.mkdir(parents=True, exist_ok=True)  # before hours are spent
    start = time.perf_counter()
    running = comparing.run_cells(
        chosen, NETWORKS[network], shown, epochs=epochs, seeds=range(seeds), device=device, workers=workers
    )
    cells, interrupted = collect(running, len(chosen) * seeds, name)
    if not cells:
        raise Interrupted(f"{name}: interrupted before a cell was finished, nothing was written")
    if interrupted and out is None:
        folder = Path("runs")  # a part never replaces a whole
    cells.sort(key=lambda c: ([r.name for r in chosen].index(c.recipe), c.seed))
    found = summary(cells, chosen)
    for r in chosen:
        if r.name in found:
            found[r.name]["prepared"] = report.prepared(r)
    manifest = {
        "command": typed(),
        "config": {"task": task, "network": network, "epochs": epochs, "quick": quick, "workers": workers,
                   "n_train": cells[0].n_train, "n_test": cells[0].n_test, "interrupted": interrupted},
        "seeds": list(range(seeds)),
        "device": device,
        "seconds": round(time.perf_counter() - start, 1),
        "metric": shown.metric,
        "recipes": found,
    }  # fmt: skip
    reaches = recipes.REACHES.get((task, network), {}) if plain and not interrupted else {}
    claims = [
        figures.claim(f"{slug}: mean test {shown.metric}", sum(found[slug]["test"]) / seeds, ">=", least,
                      source="project target, 5 seeds")
        for slug, least in reaches.items()
    ]  # fmt: skip
    rows = comparing.rows_of(cells)
    png = figures.save(name, comparison(rows, manifest), rows, claims, found, out=folder, manifest=manifest)
    manifest["claims"] = claims
    if as_json:
        click.echo(json.dumps(json.loads(png.with_suffix(".json").read_text()), indent=2))
    else:
        console = Console() if sys.stdout.isatty() else Console(width=150)
        title = f"{task}, {network}: {seeds} seeds, {epochs} epochs of {cells[0].n_train:,}, {cells[0].n_test:,} tested"
        for table in report.comparison_tables(title, found, shown.metric, console.width):
            console.print(table)
        if claims:
            show(claims, console)
    files = f"{png.with_suffix('')}.png, .csv and .json"
    if interrupted:
        raise Interrupted(f"{name}: interrupted; {len(cells)} of {len(chosen) * seeds} cells were finished, in {files}")
    click.echo(f"written: {files} ({manifest['seconds']:.0f} s)", err=as_json)
    return int(any(c.status == "diverged" for c in cells) or not all(c["holds"] for c in claims))


def collect(running: Iterable[Any], total: int, name: str) -> tuple[list[Any], bool]:
    """All that finishes, with time left on stderr where that is a terminal; and whether Ctrl-C ended it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done: list[Any] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        job = bar.add_task(name, total=total)
        try:
            for cell in running:
                done.append(cell)
                bar.update(job, advance=1, description=f"{name}  {cell.recipe}")
        except KeyboardInterrupt:
            return done, True
    return done, False
