"""The command line: compare, tune, study, check, figure, list, explain, generate.

Exit 0 done, 1 a claim failed or a run diverged, 2 wrong use (one line, no traceback), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from neurosim.cli_compare import compare
from neurosim.cli_tune import tune
from neurosim.flags import INTERRUPTED, both_sizes, nearest, options, typed


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="neurosim")
def cli() -> None:
    """Brain-inspired learning rules side by side with backpropagation."""


cli.add_command(compare)
cli.add_command(tune)


@cli.command()
@click.argument("name")
@options("seeds", "data", "out", "quick", "full")
def study(name: str, seeds: int | None, data: Path | None, out: Path | None, quick: bool, full: bool) -> int:
    """Run the study NAME: one question, one figure, its claims checked."""
    from neurosim import study as running
    from neurosim.store import alone

    both_sizes(quick, full)
    nearest("study", name, running.studies())
    mode = running.load_study(name).mode(quick, full, seeds, out, data)
    mode.out.mkdir(parents=True, exist_ok=True)
    with alone(mode.out, name):
        claims = running.run_study(name, mode, typed())
    running.show(claims)
    click.echo(f"written: {mode.out / name}.png, .csv and .json")
    return int(not all(c["holds"] for c in claims))


@cli.command()
@click.argument("names", nargs=-1)
@options("data", "full")
def check(names: Sequence[str], data: Path | None, full: bool) -> int:
    """Run studies in their quick form (default: all but the timing ones) into runs/: does every claim hold?"""
    from neurosim import study as running
    from neurosim.store import alone

    known = running.studies()
    chosen = [nearest("study", n, known) for n in names] or [n for n in known if not n.startswith("speed_")]
    failed, runs = [], Path("runs")
    runs.mkdir(exist_ok=True)
    for n in chosen:
        with alone(runs, n):
            claims = running.run_study(n, running.load_study(n).mode(not full, full, out=runs, data=data), typed())
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
@options("network")
def list_(kind: str, network: str | None) -> int:
    """List rules, recipes, tasks, networks or studies; recipes of one network with --network."""
    from neurosim.explain import catalogue
    from neurosim.networks import NETWORKS

    if network and kind != "recipes":
        raise click.UsageError(f"--network: given with {kind}, but recipes alone are a network's")
    for n, line in catalogue(kind, nearest("network", network, NETWORKS) if network else None).items():
        click.echo(f"{n:26s} {line}".rstrip())
    return 0


@cli.command()
@click.argument("name")
@options("network")
@click.option("--brian2", is_flag=True, help="A spike rule as a Brian2 program, to paste and run.")
def explain(name: str, network: str | None, brian2: bool) -> int:
    """A recipe's or a rule's equation, what it reads, its relation to backprop, its source."""
    from neurosim import explain as explaining
    from neurosim.networks import NETWORKS
    from neurosim.recipes import every_recipe_for
    from neurosim.rules import ALL

    if network:
        nearest("network", network, NETWORKS)
    order = dict.fromkeys([*explaining.NETWORKS, *NETWORKS])  # as `list recipes` says
    having = {net: r[name] for net in order if name in (r := every_recipe_for("digits", net, None, [name]))}
    if name not in ALL and not having:
        nearest("recipe or rule", name, [*(n for net in NETWORKS for n in every_recipe_for("digits", net)), *ALL])
    if network and network not in having:
        where = (
            f"is for {', '.join(having)}, not for {network}" if having else "is a rule, explain it without --network"
        )
        raise click.UsageError(f"--network: {name!r} {where}")
    if brian2:
        from neurosim.brian import script
        from neurosim.rules import SpikeRule

        spiking = {n: r for n, r in ALL.items() if isinstance(r, SpikeRule)}
        click.echo(script(spiking[nearest("spike rule", name, spiking)]))
        return 0
    if not having:
        click.echo(explaining.explain_rule(ALL[name]))
        return 0
    shown = network or next(iter(having))
    click.echo(explaining.explain_recipe(having[shown]))
    others = [net for net in having if net != shown]
    also = f"; it is also for {', '.join(others)}: --network NAME" if others and not network else ""
    click.echo(f"network  as on {shown}, with the values for digits{also}")
    return 0


@cli.command()
@click.option("--checkpoint", type=click.Path(path_type=Path, dir_okay=False), required=True, help="of compare text")
@click.option("--prompt", required=True, help="how the text begins")
@click.option("--length", type=click.IntRange(1), default=200, help="symbols to say (default 200)")
@click.option("--temperature", type=click.FloatRange(0), default=1.0, help="0: always the likeliest symbol (default 1)")
@click.option("--seed", type=int, default=0, help="of what is drawn (default 0)")
def generate(checkpoint: Path, prompt: str, length: int, temperature: float, seed: int) -> int:
    """Go on with a text, symbol by symbol, by a net that `compare text --checkpoints DIR` has trained."""
    import torch

    from neurosim.generate import speaker

    who = speaker(checkpoint)
    said = who.says(prompt, length, temperature, torch.Generator().manual_seed(seed))
    click.echo(f"{prompt}{' ' if who.by_word else ''}{said}")
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
