"""What the commands share: their flags, and one line with the nearest names for a wrong one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

INTERRUPTED = 130
GROUPS = ("all", "core", "three-factor")  # of --rules


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is known; else a usage error with the nearest valid ones."""
    known = list(dict.fromkeys(known))
    if name in known:
        return name
    raise click.UsageError(f"unknown {kind} {name!r}: {hint(name, known)}")


def hint(name: str, known: Collection[str]) -> str:
    """The known names nearest to a wrong one, or all if none is near."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"


def options(*names: str) -> Callable[[Any], Any]:
    """The flags that the commands share."""
    path = click.Path(path_type=Path, file_okay=False)
    flags = {
        "network": click.option(
            "--network",
            help="mlp, cnn, rnn, lstm, lsnn, spiking-mlp, spiking-cnn, diehl-cook, transformer; default: the task's",
        ),
        "rules": click.option(
            "--rules",
            default=None,
            help="all (default), core, three-factor or SLUG, or several: A,B,... (tbptt-K for any K)",
        ),
        "limit": click.option(
            "--limit", type=click.IntRange(2), help="learn from so many samples at most, test on 2,000 at most"
        ),
        "seeds": click.option("--seeds", type=click.IntRange(1), help="repetitions (default 5; 2 quick, 20 full)"),
        "epochs": click.option("--epochs", type=click.IntRange(1), help="passes over the training data"),
        "device": click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        "data": click.option("--data", type=path, help="folder of IDX files (or set NEUROSIM_DATA)"),
        "out": click.option("--out", type=path, help="where to write; default figures/, or runs/ for --quick"),
        "json": click.option("--json", "as_json", is_flag=True, help="print the manifest instead of the table"),
        "quick": click.option("--quick", is_flag=True, help="2 seeds, small: the shape of the result"),
        "full": click.option("--full", is_flag=True, help="20 seeds; of recall also 3,000 updates instead of 400"),
        "workers": click.option("--workers", type=click.IntRange(1), help="processes (default: one a core)"),
        "dask": click.option("--dask", metavar="ADDRESS", help="run on the Dask cluster whose scheduler is there"),
        "fresh": click.option("--fresh", is_flag=True, help="run every cell, also those finished in an earlier run"),
        "tuned": click.option(
            "--tuned", type=click.Path(path_type=Path, dir_okay=False), help="values found by `neurosim tune`"
        ),
        "first_seed": click.option("--first-seed", type=click.IntRange(0), default=0, help="seeds N, N + 1, ..."),
        "delay": click.option(
            "--delay", type=int, help="of delayed-xor, store-recall, evidence: see `neurosim list tasks`"
        ),
        "corpus": click.option(
            "--corpus", help="of text and masked-text: grammar (default), reference, proverb, or a UTF-8 file"
        ),
        "level": click.option(
            "--level", type=click.Choice(["char", "word"]), help="of text and masked-text: what a symbol is"
        ),
        "patch": click.option(
            "--patch",
            type=int,
            help="images in time or as tokens: squares of so many pixels a side, which must divide theirs",
        ),
        "code": click.option(
            "--code",
            type=click.Choice(["poisson", "latency", "current"]),
            help="images on networks that spike: rates, time to the first spike, or a current",
        ),
        "checkpoints": click.option(
            "--checkpoints", type=path, help="save trained nets there, TASK-NETWORK-RECIPE-seedN.pt"
        ),
    }

    def add(f: Any) -> Any:
        for n in reversed(names):
            f = flags[n](f)
        return f

    return add


class Interrupted(click.ClickException):
    exit_code = INTERRUPTED


def line_up(rules: str | None, task: str, network: str, tuned: Path | None = None) -> list[Any]:
    """The recipes named by --rules, with the values tuned for the network, each once.

    rules: all, core (with its twin), three-factor (what learns by reward), a slug, or several of these.
    """
    found = {r.name: r for slug in asked_for(rules) for r in named(slug, task, network, tuned)}
    return list(found.values())


def asked_for(rules: str | None) -> list[str]:
    """The names in --rules, each once; all where it is not given."""
    return list(
        dict.fromkeys(slug.strip() for slug in ("all" if rules is None else rules.removesuffix(",")).split(","))
    )


def named(slug: str, task: str, network: str, tuned: Path | None) -> list[Any]:
    """Of one name of --rules, the recipes."""
    from neurosim.networks import NETWORKS
    from neurosim.recipes import CORE, every_recipe_for, recipes_for, three_factor_for

    known = every_recipe_for(task, network, tuned, [slug])
    if slug == "all" or (slug == "core" and not CORE.keys() <= known.keys()):  # a line-up of its own
        return list(recipes_for(task, network, tuned).values())
    if slug == "three-factor":
        if rewarded := three_factor_for(task, network, tuned):
            return list(rewarded.values())
        raise click.UsageError(f"--rules: given three-factor, but none on {network} learns by reward")
    if slug == "core":
        return [known[n] for n in (*CORE, "backprop-bounded")]
    if slug not in known and (others := [n for n in NETWORKS if slug in every_recipe_for(task, n, None, [slug])]):
        where = ", ".join(others)
        raise click.UsageError(
            f"rule {slug!r} is for {where}, not for {network}: see neurosim list recipes --network {network}"
        )
    return [known[nearest("rule", slug, [*known, *GROUPS])]]


def usable(device: str) -> str:
    """auto -> cuda where there is one."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: torch sees no CUDA device here, use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def typed() -> str:
    """The command as it was typed."""
    return "neurosim " + " ".join(sys.argv[1:])


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """What is worth saying, without where in the code it was said."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *where: click.echo(
            f"neurosim: {' '.join(str(message).split())}", err=True
        )
        yield


def both_sizes(quick: bool, full: bool) -> None:
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")
