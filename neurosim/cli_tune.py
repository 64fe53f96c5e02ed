"""`neurosim tune`: search each recipe's values on the validation part, with the same budget for all."""

from __future__ import annotations

import datetime
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from neurosim.flags import Interrupted, asked_for, nearest, options, typed, usable

TRAIN = {"fashion": 5000, "mnist": 5000}  # samples to learn from where --limit does not say; other tasks: all
VALIDATION = 2000  # images at most to score on


@click.command()
@click.argument("task")
@options("network")
@click.option("--rules", help="core, all (default), three-factor, a SLUG, or several of these")
@click.option("--trials", type=click.IntRange(1), default=12, help="points searched for every recipe (default 12)")
@click.option("--seeds", type=click.IntRange(1), default=2, help="repetitions of each trial (default 2)")
@click.option(
    "--epochs", type=click.IntRange(1), help="passes over the training data (default: half of a comparison's)"
)
@click.option("--limit", type=click.IntRange(2), help="learn from so many samples (default: digits all, else 5,000)")
@options("device", "data", "delay", "corpus", "level")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"), help="default runs/")
@click.option("--again", is_flag=True, help="forget what is stored of these recipes")
@options("workers")
def tune(
    task: str,
    network: str | None,
    rules: str | None,
    trials: int,
    seeds: int,
    epochs: int | None,
    limit: int | None,
    device: str,
    data: Path | None,
    delay: int | None,
    corpus: str | None,
    level: str | None,
    out: Path,
    again: bool,
    workers: int | None,
) -> int:
    """Search the learning rate, and at most one more value, of each recipe on the validation part of TASK.

    Writes TASK-NETWORK.json, which recipes load, and every trial's validation curve in TASK-NETWORK.csv. What is stored
    there is not run again: started anew, a tuning goes on where it was interrupted. --rules adds to what is there.
    """
    from neurosim import __version__, recipes, tuned, tuning
    from neurosim.cell import fingerprint
    from neurosim.cli_compare import collect
    from neurosim.networks import NETWORKS, network_for
    from neurosim.statistics import LOWER_IS_BETTER
    from neurosim.store import alone
    from neurosim.tasks import TASKS, shown_to, task_of

    nearest("task", task, TASKS)
    if network:
        nearest("network", network, NETWORKS)
        entries_of(rules, network, task)  # a wrong name is told before data are read
    shown = task_of(task, data, delay, corpus, level).limited(limit or TRAIN.get(task), VALIDATION)
    network, device = network or shown.network, usable(device)
    shown, entries = shown_to(network, shown), entries_of(rules, network, task)
    epochs = epochs or max(1, recipes.epochs_for(task, network) // 2)
    split = shown.split(0, tuning=True)
    settings = {
        "neurosim": __version__, "data": fingerprint(shown.data()), "task": task, "network": network,
        "trials": trials, "seeds": seeds, "epochs": epochs,
        "n_train": len(split.train_y), "n_validation": len(split.test_y),
    }  # fmt: skip

    def planned(of: Mapping[str, Any], shared: Mapping[str, float]) -> list[Any]:
        return tuning.plan(of, task, network, network == "cnn", trials, seeds, shared=shared)

    control = {slug: e for slug, e in entries.items() if slug in recipes.FROZEN}  # first: others share its readout
    workers = workers or (1 if device == "cuda" else os.cpu_count() or 1)

    out.mkdir(parents=True, exist_ok=True)
    path, curves_path = out / f"{task}-{network}.json", out / f"{task}-{network}.csv"
    with alone(out, path.stem):
        content = begun(path, curves_path, settings)
        stored = tuned.read_curves(curves_path, epochs)
        if again:
            stored = {k: c for k, c in stored.items() if k.recipe not in entries}
            tuned.write_curves(curves_path, stored)

        def known() -> dict[str, float]:
            return recipes.shared({n: e["values"] for n, e in content["recipes"].items()})

        others = {slug: e for slug, e in entries.items() if slug not in control}
        total = sum(len(tuning.left(planned(part, known()), stored)) for part in (control, others))
        cells, interrupted, unsupported, found = [], False, {}, {}
        for part in (control, others):
            if interrupted or not part:
                continue
            jobs = planned(part, known())
            to_do = len(tuning.left(jobs, stored))
            running = tuning.search(
                jobs, network_for(task, network), shown, curves_path, epochs=epochs, device=device, workers=workers
            )
            try:
                some, interrupted = collect(running, to_do, f"tune {task} {network}")
            finally:
                running.close()  # ends the worker processes
            cells += some
            unsupported |= {c.recipe: c.reason for c in some if c.status == "unsupported"}
            curves = tuned.read_curves(curves_path, epochs)
            lower = shown.metric in LOWER_IS_BETTER
            found |= {slug: tuning.best(entry, [j for j in jobs if j.key.recipe == slug], curves, lower)
                      for slug, entry in part.items() if slug not in unsupported}  # fmt: skip
            for slug in found.keys() & part.keys():
                if got := found[slug]:
                    space = {n: list(ends) for n, ends in entries[slug].space.items()}
                    content["recipes"][slug] = {"values": got.values, "validation": got.mean, "space": space}
                elif not interrupted:  # every trial diverged: there is no best
                    content["recipes"].pop(slug, None)
            rest = content["recipes"].keys() - entries.keys()
            rest = {slug: e for slug, e in recipes.entries_for(network, task).items() if slug in rest}
            for slug in tuning.beside_others(planned(rest, known()), curves):
                del content["recipes"][slug]
                click.echo(
                    f"{slug}: its values were found beside another readout than the control's: tune it again", err=True
                )
            tuned.write(path, content)
        found = {slug: found[slug] for slug in entries if slug in found}
    if interrupted:
        raise Interrupted(
            f"{task}-{network}: interrupted with {len(cells)} of {total} runs finished, in {curves_path}; "
            f"the same command goes on from there"
        )
    console = Console() if sys.stdout.isatty() else Console(width=130)
    title = f"{task}, {network}: {trials} trials of {seeds} seeds, {epochs} epochs of {settings['n_train']:,}, " \
            f"{settings['n_validation']:,} validate"  # fmt: skip
    console.print(table(title, found, unsupported))
    click.echo(f"written: {path} and .csv")
    return int(any(got is None for got in found.values()))


def entries_of(rules: str | None, network: str, task: str) -> dict[str, Any]:
    """The lines named by --rules, each a group or a slug, of what can be tuned on that network, each once."""
    return {name: e for slug in asked_for(rules) for name, e in named(slug, network, task).items()}


def named(slug: str, network: str, task: str) -> dict[str, Any]:
    """Of one name of --rules, the lines, without those that share another's values."""
    from neurosim import recipes

    own = lambda lines: {name: e for name, e in lines.items() if not e.follows}  # noqa: E731
    if slug == "three-factor":
        return own(recipes.three_factor_of(network, task))
    if slug == "all" or (slug == "core" and recipes.own_line_up(network, task) is not None):
        return own(recipes.line_up_of(network, task))
    known = recipes.entries_for(network, task, [slug])
    if slug == "core":
        return {name: known[name] for name in recipes.CORE}
    slug = nearest("rule", slug, known)
    if known[slug].follows:
        raise click.UsageError(f"{slug} has the values of {known[slug].follows}: tune that")
    return {slug: known[slug]}


def begun(path: Path, curves_path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The file to go on with; a new one where there is none. ValueError for one with other settings."""
    from neurosim import tuned

    today = datetime.date.today().isoformat()
    now = {"format": tuned.FORMAT, **settings, "date": today, "command": typed()}
    way = "move it away, or give --out another folder"
    if not path.exists():
        if curves_path.exists():
            raise ValueError(f"{curves_path} lies there without its {path.name}, which has its settings: {way}")
        tuned.write(path, {**now, "recipes": {}})
    there = tuned.read(path, way)
    if other := [k for k in tuned.SETTINGS if there[k] != settings[k]]:
        said = ", ".join(f"{k} {there[k]}" for k in other)
        asked = ", ".join(f"{k} {settings[k]}" for k in other)
        raise ValueError(f"{path} was tuned with {said}, but this is {asked}: {way}")
    return {**now, "recipes": there["recipes"]}


def table(title: str, found: Mapping[str, Any], unsupported: Mapping[str, str]) -> Table:
    """The best of each recipe, beside its start values."""
    from neurosim.tuning import spread

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    shown.caption = (
        "± standard deviation over seeds; at start: the score of the first trial, the recipe's start values; "
        "edge: the best lies at that end of what was searched, better may lie beyond"
    )
    for head in ("recipe", "best values", "validation", "at start", "edge", "diverged trials"):
        shown.add_column(head, justify="left" if head in ("recipe", "best values", "edge") else "right")
    for slug, got in found.items():
        if got is None:
            shown.add_row(slug, "every trial diverged")
            continue
        values = ", ".join(f"{n} {v:g}" for n, v in got.values.items())
        sd = spread(got.validation)
        score = f"{got.mean:.3f}" + (f" ± {sd:.3f}" if math.isfinite(sd) else "")
        start = f"{got.at_start:.3f}" if math.isfinite(got.at_start) else "diverged"
        shown.add_row(slug, values, score, start, ", ".join(got.edges), str(got.diverged) if got.diverged else "")
    for slug, reason in unsupported.items():
        shown.add_row(slug, f"unsupported: {reason}")
    return shown
