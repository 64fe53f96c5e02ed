"""What `neurosim tune` found, as readable data: what its files hold, and which one a comparison uses.

TASK-NETWORK.json says which values each recipe does best with on the validation part, and the budget they cost;
TASK-NETWORK.csv beside it holds every trial's validation curve. Those in neurosim/tuned_values/ come with the package.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neurosim.checkpoint import write_whole
from neurosim.flags import hint

FORMAT = 1
COMMITTED = Path(__file__).with_name("tuned_values")
STAND_INS = ("fashion", "mnist", "digits")  # whose values serve a task that was not tuned itself, the first there is
SETTINGS = (
    "neurosim",
    "data",
    "task",
    "network",
    "trials",
    "seeds",
    "epochs",
    "n_train",
    "n_validation",
)  # one file has one of each
TEXTS = ("neurosim", "data", "task", "network", "date", "command")
COUNTS = ("trials", "seeds", "epochs", "n_train", "n_validation")
COLUMNS = ["recipe", "trial", "seed", "epoch", "values", "validation"]

Values = Mapping[str, float]
Space = Mapping[str, tuple[float, float]]


def values_for(
    task: str, network: str, path: Path | None = None, known: Mapping[str, Collection[str]] | None = None
) -> dict[str, dict[str, float]]:
    """{recipe: {name: value}} as tuned for the network: from `path`; else the committed file of the task; else of another.

    `known`: the names that each recipe can be given, for refusing others. {} where nothing was tuned for that network.
    Raises FileNotFoundError where `path` is missing, ValueError where a file is damaged, of another format or network,
    or names a recipe or a value that is not known.
    """
    chosen = _file(task, network, path)
    if chosen is None:
        return {}
    content = read(chosen)
    if content["network"] != network:
        raise ValueError(
            f"{chosen} was tuned on the network {content['network']}, not on {network}: give a file of "
            f"`neurosim tune {task} --network {network}`"
        )
    found = {slug: dict(entry["values"]) for slug, entry in content["recipes"].items()}
    for slug, values in found.items() if known is not None else ():
        if slug not in known:
            raise ValueError(f"{chosen} holds values for the unknown recipe {slug!r}: {hint(slug, known)}")
        for name in values:
            if name not in known[slug]:
                raise ValueError(f"{chosen} gives {slug} the unknown value {name!r}: {hint(name, known[slug])}")
    return found


def source(task: str, network: str, path: Path | None = None) -> str:
    """Where `values_for` takes them from: "digits-mlp.json, 2026-11-22, 10 trials of 2 seeds"; "start values" for nowhere."""
    chosen = _file(task, network, path)
    if chosen is None:
        return "start values"
    content = read(chosen)
    return f"{chosen.name}, {content['date']}, {content['trials']} trials of {content['seeds']} seeds"


def read(path: Path, advice: str = "") -> dict[str, Any]:
    """The checked content of a tuning file. `advice`: what to do about a bad one; default: to tune again.

    Raises FileNotFoundError, or ValueError for what is not JSON, of another format, incomplete, or no positive number.
    """
    again = advice or "run `neurosim tune TASK --network NETWORK` again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {again}") from None
    except ValueError as error:  # not JSON, or not text
        raise ValueError(f"{path} is not valid JSON ({error}): {again}") from None
    if not isinstance(content, dict) or "format" not in content:
        raise ValueError(f'{path} is not a tuning file, it has no "format": {again}')
    if not advice and isinstance(content.get("task"), str) and isinstance(content.get("network"), str):
        again = f"run `neurosim tune {content['task']} --network {content['network']}` again"
    if content["format"] != FORMAT:
        given = json.dumps(content["format"])
        raise ValueError(f"{path} was written in tuning format {given}, this neurosim reads {FORMAT}: {again}")
    if lacking := [k for k in (*TEXTS, *COUNTS, "recipes") if k not in content]:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: {again}")
    for k in TEXTS:
        if not isinstance(content[k], str):
            raise ValueError(f"{path}: {k} is {json.dumps(content[k])}, it must be text: {again}")
    for k in COUNTS:
        if not isinstance(content[k], int) or isinstance(content[k], bool) or content[k] < 1:
            raise ValueError(
                f"{path}: {k} is {json.dumps(content[k])}, it must be a whole number of at least 1: {again}"
            )
    if not isinstance(content["recipes"], dict):
        raise ValueError(f"{path}: recipes must be a table, a recipe's name with what was found for it: {again}")
    for slug, entry in content["recipes"].items():
        _check(path, slug, entry, again)
    return content


def _check(path: Path, slug: str, entry: Any, again: str) -> None:
    """One recipe of the file: values, validation, space."""
    lacking = [k for k in ("values", "validation", "space") if not isinstance(entry, dict) or k not in entry]
    if lacking:
        raise ValueError(f"{path}: {slug} lacks {', '.join(lacking)}: {again}")
    if not isinstance(entry["values"], dict) or not isinstance(entry["space"], dict):
        raise ValueError(f"{path}: values and space of {slug} must be tables, a name with a number: {again}")
    for name, value in entry["values"].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            said = json.dumps(value)
            raise ValueError(f"{path}: {name} of {slug} is {said}, it must be a positive, finite number: {again}")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a tuning file as a whole or not at all: recipes by name, a pair of numbers on one line."""
    ordered = {**content, "recipes": dict(sorted(content["recipes"].items()))}
    text = json.dumps(ordered, indent=2, allow_nan=False)
    text = re.sub(r"\[\s+([^\[\]{}\"]+?),\s+([^\[\]{}\"]+?)\s+\]", r"[\1, \2]", text)
    write_whole(path, f"{text}\n".encode())


def _file(task: str, network: str, path: Path | None) -> Path | None:
    """The file to read: the one given; else the committed one of the task; else of another task; else none."""
    if path is not None:
        return path
    for t in (task, *STAND_INS):
        if (COMMITTED / f"{t}-{network}.json").exists():
            return COMMITTED / f"{t}-{network}.json"
    return next((p for p in sorted(COMMITTED.glob("*.json")) if read(p)["network"] == network), None)


# ---------------------------------------------------------------------------------------------- the curves
class Key(NamedTuple):
    """One trial with one seed."""

    recipe: str
    trial: int
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe}, trial {self.trial}, seed {self.seed}"


@dataclass(frozen=True)
class Curve:
    """What it gave: its values as text, and the validation score before training and after each epoch."""

    values: str
    validation: tuple[float, ...]


def text_of(values: Values) -> str:
    """One CSV cell, such as lr=0.001 sigma=0.1, that tells exactly these values."""
    return " ".join(f"{n}={v!r}" for n, v in sorted(values.items()))


def read_curves(path: Path, epochs: int) -> dict[Key, Curve]:
    """The finished jobs in the CSV; {} where there is none. A job that was being written when the run was killed, and a

    half-written last line, are no part of it. Raises ValueError, naming the line, for any other damage.
    """
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]  # the last may be half-written
    if lines and lines[0].strip() != ",".join(COLUMNS):
        raise ValueError(f"{path} is not a tuning's CSV, its first line is {lines[0].strip()!r}: move it away")
    found: dict[Key, tuple[str, list[float]]] = {}
    for number, row in enumerate(csv.reader(lines[1:]), 2):
        try:
            recipe, trial, seed, epoch, values, score = row
            key, value = Key(recipe, int(trial), int(seed)), float(score)
            if int(epoch) == 0:
                found[key] = values, []
            if len(found[key][1]) != int(epoch) or found[key][0] != values:
                raise ValueError
        except (ValueError, KeyError):
            said = ",".join(row)
            raise ValueError(
                f"{path}, line {number}, {said!r}, does not continue what is above it: remove it"
            ) from None
        found[key][1].append(value)
    return {k: Curve(v, tuple(scores)) for k, (v, scores) in found.items() if len(scores) == epochs + 1}


def lines_of(key: Key, curve: Curve) -> str:
    file = io.StringIO(newline="")
    rows = ([*key, epoch, curve.values, value] for epoch, value in enumerate(curve.validation))
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def append(path: Path, key: Key, curve: Curve) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(lines_of(key, curve))


def write_curves(path: Path, curves: Mapping[Key, Curve]) -> None:
    """The CSV with these curves, by recipe, trial and seed, in the place of the old one."""
    text = ",".join(COLUMNS) + "\n" + "".join(lines_of(k, curves[k]) for k in sorted(curves))
    write_whole(path, text.encode())
