"""Run a study: one question, one reference, one figure. Shared by studies/NAME.py and `neurosim study|check|figure`.

A study is a flat script studies/NAME.py. Its docstring states the question, the reference and what is expected; it has

    run(mode) -> (rows, claims)          tidy rows as in `figures.COLUMNS`, and `figures.claim` values
    draw(rows, manifest) -> Figure       from those alone, so that a figure can be redrawn without running again

and ends with `if __name__ == "__main__": raise SystemExit(main(run, draw))`. Its constants in capitals (numbers, text,
tuples) are its settings: the manifest lists them. Three have a meaning here: SEEDS and SEEDS_FULL, the numbers of seeds
where they are not the usual 5 and 20, and METRIC, the manifest's metric.
"""

import difflib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

FOLDER = Path(__file__).resolve().parents[1] / "studies"  # beside the package, in a clone installed with pip -e
DONE, FAILED, WRONG_USE, STOPPED = 0, 1, 2, 130  # exit codes

Rows = list[dict[str, Any]]
Claims = list[dict[str, Any]]


@dataclass(frozen=True)
class Mode:
    """How large a study is run, and where its files go."""

    seeds: int = 5
    quick: bool = False  # enough to see the shape
    full: bool = False  # the published size
    out: Path = Path("figures")
    data: Path | None = None  # the user's folder of data files

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}: a study needs at least 1.")
        if self.quick and self.full:
            raise ValueError("quick and full are both set: choose one.")


@dataclass(frozen=True)
class Study:
    """A study script, loaded: its two functions, its docstring and its constants in capitals."""

    name: str
    question: str
    run: Callable[[Mode], tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]]
    draw: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Any]
    constants: dict[str, Any] = field(default_factory=dict)

    def mode(
        self,
        quick: bool = False,
        full: bool = False,
        seeds: int | None = None,
        out: Path | None = None,
        data: Path | None = None,
    ) -> Mode:
        """The mode that the flags ask for: 2 seeds into runs/ if quick, 20 or SEEDS_FULL if full, else the study's own into
        figures/.

        Raises ValueError for seeds < 1 or quick together with full.
        """
        usual = self.constants.get("SEEDS", 5)
        if quick or full:
            usual = 2 if quick else self.constants.get("SEEDS_FULL", 20)
        out = Path("runs" if quick else "figures") if out is None else Path(out)
        return Mode(usual if seeds is None else seeds, quick, full, out, None if data is None else Path(data))


# ---------------------------------------------------------------------------------------------- finding studies


def studies() -> dict[str, Path]:
    """The scripts by name. FileNotFoundError where the package was installed without them."""
    if not FOLDER.is_dir():
        raise FileNotFoundError(f"{FOLDER} is missing: clone the repository and install it with `pip install -e .`.")
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if not path.stem.startswith("_")}


def load_study(name: str) -> Study:
    """Import studies/NAME.py. ValueError, with the nearest names, for an unknown one, or if it lacks run or draw."""
    known = studies()
    if name not in known:
        raise ValueError(unknown("study", name, known))
    spec = importlib.util.spec_from_file_location(f"studies.{name}", known[name])
    assert spec and spec.loader  # a .py file that exists has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return _study(module)


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence for a name that does not exist: the nearest valid ones, or all of them if none is near."""
    names = sorted(valid)
    if near := difflib.get_close_matches(name, names):
        return f"unknown {kind} {name!r}: did you mean {' or '.join(near)}?"
    return f"unknown {kind} {name!r}: there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}."


def _study(module: ModuleType) -> Study:
    path = Path(str(module.__file__))
    if lacking := [f for f in ("run", "draw") if not callable(getattr(module, f, None))]:
        raise ValueError(f"{path} has no function {lacking[0]}: a study needs run(mode) and draw(rows, manifest).")
    plain = (str, int, float, tuple)
    constants = {k: v for k, v in vars(module).items() if k.isupper() and isinstance(v, plain)}
    return Study(path.stem, (module.__doc__ or "").strip(), module.run, module.draw, constants)


# ---------------------------------------------------------------------------------------------- running and redrawing


def run_study(name: str, mode: Mode, command: str | None = None) -> Claims:
    """Run studies/NAME.py, write NAME.png, .csv and .json into mode.out, and return its claims.

    `command` is what the manifest says was typed. Errors as for `load_study`; whatever the study raises comes through,
    and the files of an earlier run then stay as they were.
    """
    return _execute(load_study(name), mode, command or f"neurosim study {name}")


def _execute(study: Study, mode: Mode, command: str) -> Claims:
    from neurosim import figures

    start = time.perf_counter()
    rows, claims = study.run(mode)
    settings = {k.lower(): v for k, v in study.constants.items() if k not in ("SEEDS", "SEEDS_FULL", "METRIC")}
    manifest = {
        "command": command,
        "config": {**settings, "study": study.name, "quick": mode.quick, "full": mode.full, "data": mode.data},
        "seeds": list(range(mode.seeds)),
        "device": "cpu",
        "seconds": round(time.perf_counter() - start, 1),
        "metric": study.constants.get("METRIC"),
        "claims": [dict(c) for c in claims],
    }
    figures.save(study.name, study.draw(rows, manifest), rows, claims, out=mode.out, manifest=manifest)
    return manifest["claims"]


def redraw(name: str, out: Path = Path("figures")) -> Path:
    """Draw the figure of a study or comparison again from out/NAME.csv and .json, without running; returns the PNG.

    Raises ValueError, with the nearest names, if it is neither; FileNotFoundError for a study that was not run yet.
    """
    from neurosim import figures
    from neurosim.figures_comparison import comparison

    out = Path(out)
    scripts = studies() if FOLDER.is_dir() else {}
    saved = {path.stem for path in out.glob("*.json")}
    if name not in scripts and name not in saved:
        raise ValueError(unknown("figure", name, saved.union(scripts)))
    rows, manifest = figures.load(name, out)
    draw = load_study(name).draw if name in scripts else comparison
    return figures.save(name, draw(rows, manifest), rows, out=out, manifest=manifest)


# ---------------------------------------------------------------------------------------------- the command line


def show(claims: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print the claims as a table."""
    if not claims:
        (console or Console()).print("no claims here: the form without --quick checks them")
        return
    table = Table()
    for column in ("claim", "expected", "got", "holds", "source"):
        table.add_column(column, overflow="fold")
    for c in claims:
        holds = "[green]yes[/]" if c["holds"] else "[bold red]NO[/]"
        table.add_row(escape(c["name"]), _expected(c), _short(c["got"]), holds, escape(c.get("source", "")))
    (console or Console()).print(table)


def _expected(c: Mapping[str, Any]) -> str:
    if c["relation"] == "ordering":
        return " < ".join(c["expected"])
    tolerance = f" ± {_short(c['tolerance'])}" if c["tolerance"] else ""
    return f"{'' if c['relation'] == 'within' else c['relation'] + ' '}{_short(c['expected'])}{tolerance}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    return "none" if value is None else f"{value:.3g}" if isinstance(value, int | float) else str(value)


def main(
    run: Callable[[Mode], Any], draw: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Any], args: Any = None
) -> int:
    """A study script's command line; returns the exit code: 0, 1 if a claim failed, 2 for wrong use, 130 for Ctrl-C.

    `run` and `draw` are the script's own functions; `args` (the command line by default) is a list of strings.
    """
    study = replace(_study(sys.modules[run.__module__]), run=run, draw=draw)
    command = click.Command(study.name, params=options(), help=study.question.replace("\n\n", "\n\n\b\n"))
    typed = sys.argv[1:] if args is None else list(args)
    try:
        with command.make_context(study.name, typed.copy()) as context:
            mode = study.mode(**context.params)
            claims = _execute(study, mode, " ".join(["python", f"studies/{study.name}.py", *typed]))
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except (ValueError, FileNotFoundError) as error:
        print(f"{study.name}: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print(f"\n{study.name}: stopped; nothing was written, earlier files are as they were.", file=sys.stderr)
        return STOPPED
    show(claims)
    print(f"written: {mode.out / study.name}.png, .csv, .json")
    return DONE if all(c["holds"] for c in claims) else FAILED


def options() -> list[click.Parameter]:
    """The flags of a study; their values are the arguments of `Study.mode`."""
    folder = click.Path(file_okay=False, path_type=Path)
    return [
        click.Option(["--quick"], is_flag=True, help="Two seeds and a small size, into runs/."),
        click.Option(["--full"], is_flag=True, help="Twenty seeds and the published size."),
        click.Option(["--seeds"], type=click.IntRange(min=1), help="Number of seeds."),
        click.Option(["--out"], type=folder, help="Folder of the PNG, CSV and JSON."),
        click.Option(["--data"], type=folder, help="Folder of your data files."),
    ]
