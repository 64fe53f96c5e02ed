"""The command line: compare, study, check, figure, list, explain.  Exit 0 done, 1 a claim failed or a run diverged,
2 wrong use (one line, no traceback), 130 interrupted."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from rich.console import Console

INTERRUPTED = 130


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known; else a usage error with the nearest valid ones."""
    known = list(dict.fromkeys(known))
    if name in known:
        return name
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
    raise click.UsageError(f"unknown {kind} {name!r}: {hint}")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="neurosim")
def cli() -> None:
    """Brain-inspired learning rules side by side with backpropagation."""


def options(*names: str) -> Callable[[Any], Any]:
    """The flags that the commands share."""
    path = click.Path(path_type=Path, file_okay=False)
    flags = {
        "network": click.option("--network", help="mlp, cnn; default: the task's"),
        "rules": click.option("--rules", default=None, help="core (default), all, or SLUG,SLUG,..."),
        "seeds": click.option("--seeds", type=click.IntRange(1), help="repetitions (default 5; 2 quick, 20 full)"),
        "epochs": click.option("--epochs", type=click.IntRange(1), help="passes over the training data"),
        "device": click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        "data": click.option("--data", type=path, help="folder of IDX files (or set NEUROSIM_DATA)"),
        "out": click.option("--out", type=path, help="where to write; default figures/, or runs/ for --quick"),
        "json": click.option("--json", "as_json", is_flag=True, help="print the manifest instead of the table"),
        "quick": click.option("--quick", is_flag=True, help="2 seeds, small: the shape of the result"),
        "full": click.option("--full", is_flag=True, help="20 seeds"),
        "workers": click.option("--workers", type=click.IntRange(1), help="processes (default: one a core)"),
    }

    def add(f: Any) -> Any:
        for n in reversed(names):
            f = flags[n](f)
        return f

    return add


# ---------------------------------------------------------------------------------------------- compare
@cli.command()
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
    from neurosim.tasks import TASKS

    both_sizes(quick, full)
    make_task = TASKS[nearest("task", task, TASKS)]
    if network:
        nearest("network", network, NETWORKS)
    line_up(rules, "mlp")  # a wrong name is told before data are read
    shown = make_task(data)
    plain = not (rules or seeds or epochs or quick or data) and network in (None, shown.network)
    network, device = network or shown.network, usable(device)
    chosen = line_up(rules, network)
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
    found = comparing.summary(cells, chosen)
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


class Interrupted(click.ClickException):
    exit_code = INTERRUPTED


def line_up(rules: str | None, network: str) -> list[Any]:
    """The recipes named by --rules, with the rates of the network: core and its twins, all, or slugs."""
    from neurosim.recipes import recipes_for

    known = recipes_for(network)
    if rules in (None, "core", "all"):
        return list(known.values())
    return [known[nearest("rule", slug.strip(), known)] for slug in dict.fromkeys(str(rules).split(","))]


def usable(device: str) -> str:
    """auto -> cuda where there is one."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: torch sees no CUDA device here, use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def typed() -> str:
    """The command as it was typed."""
    return "neurosim " + " ".join(sys.argv[1:])


def both_sizes(quick: bool, full: bool) -> None:
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")


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


# ---------------------------------------------------------------------------------------------- the other commands
@cli.command()
@click.argument("name")
@options("seeds", "data", "out", "quick", "full")
def study(name: str, seeds: int | None, data: Path | None, out: Path | None, quick: bool, full: bool) -> int:
    """Run the study NAME: one question, one figure, its claims checked."""
    from neurosim import study as running

    both_sizes(quick, full)
    nearest("study", name, running.studies())
    mode = running.load_study(name).mode(quick, full, seeds, out, data)
    claims = running.run_study(name, mode, typed())
    running.show(claims)
    click.echo(f"written: {mode.out / name}.png, .csv and .json")
    return int(not all(c["holds"] for c in claims))


@cli.command()
@click.argument("names", nargs=-1)
@options("data", "quick")
def check(names: Sequence[str], data: Path | None, quick: bool) -> int:
    """Run studies (default: all but the timing ones) into runs/ and see whether every claim holds."""
    from neurosim import study as running

    known = running.studies()
    chosen = [nearest("study", n, known) for n in names] or [n for n in known if not n.startswith("speed_")]
    failed = []
    for n in chosen:
        claims = running.run_study(n, running.load_study(n).mode(quick, out=Path("runs"), data=data), typed())
        click.echo(n)
        running.show(claims)
        failed += [n] if not all(c["holds"] for c in claims) else []
    click.echo(
        f"{len(chosen) - len(failed)} of {len(chosen)} hold" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return int(bool(failed))


@cli.command()
@click.argument("name")
@options("out")
def figure(name: str, out: Path | None) -> int:
    """Draw the figure NAME again from its CSV and JSON, without running anything."""
    from neurosim import study as running

    folder = out or Path("figures")
    nearest("figure", name, sorted(p.stem for p in folder.glob("*.json")))
    click.echo(f"written: {running.redraw(name, folder)}")
    return 0


@cli.command("list")
@click.argument("kind", type=click.Choice(["rules", "recipes", "tasks", "networks", "studies"]))
def list_(kind: str) -> int:
    """List rules, recipes, tasks, networks or studies."""
    from neurosim.report import catalogue

    for n, line in catalogue(kind).items():
        click.echo(f"{n:26s} {line}".rstrip())
    return 0


@cli.command()
@click.argument("name")
@options("network")
def explain(name: str, network: str | None) -> int:
    """A recipe's or a rule's equation, what it reads, its relation to backprop, its source."""
    from neurosim import report
    from neurosim.networks import NETWORKS
    from neurosim.recipes import recipes_for
    from neurosim.rules import ALL

    known = recipes_for(nearest("network", network or "mlp", NETWORKS))
    nearest("recipe or rule", name, [*known, *ALL])
    click.echo(report.explain_recipe(known[name]) if name in known else report.explain_rule(ALL[name]))
    return 0


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point: every user error is one line on stderr."""
    try:
        code = cli.main(argv, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"neurosim: {' '.join(error.format_message().split())}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("neurosim: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        click.echo(f"neurosim: {error}", err=True)
        sys.exit(2)
    sys.exit(code or 0)
