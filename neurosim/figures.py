"""Figures in the house style, and the files beside them: NAME.png, NAME.csv (tidy rows), NAME.json (manifest).

A figure is drawn from its rows and manifest alone, so that it can be redrawn without running again.
This is the package's only importer of matplotlib. It draws on Figure objects: matplotlib's global state stays as it is.
"""

import csv
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neurosim.statistics import interval

COLUMNS = ("recipe", "seed", "epoch", "samples", "layer", "quantity", "value")
TEXT = {"recipe", "layer", "quantity"}  # never read back as numbers, even a layer named "0"
MANIFEST = ("command", "config", "seeds", "versions", "device", "hardware", "seconds", "metric", "recipes", "claims")
PNG_BYTES = 1_000_000

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "savefig.dpi": "figure",
}


class Look(NamedTuple):
    """How a recipe is drawn in every figure."""

    colour: str
    marker: str
    line: Any  # a matplotlib line style


DASHDOT, DOTTED = (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1))
DASHED, LONG = (0, (4, 1.5)), (0, (9, 2))
# Families by hue and line: feedback blue and solid, energy red and perturbation orange, the layer's own loss purple,
# Hebbian green and dotted, pre-training brown, controls and twins grey and pink. No two recipes share a colour, and
# within a family lightness and marker differ, so a panel of one family also reads without colour.
LOOKS = {
    "backprop": Look("#000000", "o", "-"),
    "sign-symmetric": Look("#08306b", "s", "-"),
    "feedback-alignment": Look("#2171b5", "^", "-"),
    "kolen-pollack": Look("#00a0c6", "D", "-"),
    "direct-feedback": Look("#85bff0", "v", "-"),
    "burstprop": Look("#5b4bd6", "X", "-"),
    "target-propagation": Look("#0f6e78", "P", "-"),
    "predictive-coding": Look("#8c1007", "P", DASHDOT),
    "equilibrium-propagation": Look("#e6550d", "X", DASHDOT),
    "node-perturbation": Look("#f5a81c", "<", DASHDOT),
    "weight-perturbation": Look("#a3560a", ">", DASHDOT),
    "reward-hebb": Look("#d62f5f", "*", DASHDOT),
    "layer-local": Look("#54278f", "s", DASHED),
    "forward-forward": Look("#a778d8", "^", DASHED),
    "hebb": Look("#0c3b3b", "o", DOTTED),
    "oja": Look("#00441b", ">", DOTTED),
    "sanger": Look("#1f8a4c", "p", DOTTED),
    "bcm": Look("#66b83f", "h", DOTTED),
    "softhebb": Look("#a8bf1d", "*", DOTTED),
    "hard-wta": Look("#19c08a", "s", DOTTED),
    "k-wta": Look("#6b6f00", "D", DOTTED),
    "bptt": Look("#1a1a1a", "o", "-"),
    "surrogate-bptt": Look("#4d4d4d", "^", "-"),
    "tbptt-10": Look("#8a8a8a", "s", "-"),
    "eprop": Look("#0b4f9e", "s", "-"),
    "eprop-random": Look("#3f9fd8", "^", "-"),
    "eprop-adaptive": Look("#00c0b0", "D", "-"),
    "rflo": Look("#9cc4f5", "v", "-"),
    "direct-feedback-own": Look("#3d1a78", "X", DASHED),
    "direct-feedback-pooled": Look("#b58ae0", "P", DASHED),
    "direct-feedback-block-own": Look("#7d3fc4", "s", DASHED),
    "direct-feedback-block-pooled": Look("#d7bdf2", "D", DASHED),
    "block-local": Look("#8233a8", "o", DASHED),
    "hebbian-qk": Look("#2c6e49", "<", DOTTED),
    "hebbian-vo": Look("#7fc97f", ">", DOTTED),
    "reward-qk": Look("#b0123b", "^", DASHDOT),
    "reward-vo": Look("#f08fa8", "v", DASHDOT),
    "frozen-qk": Look("#4a4a4a", "P", "--"),
    "frozen-embeddings": Look("#b5a642", "X", "--"),
    "reward-frozen": Look("#c9a0a8", "o", "--"),
    "miconi": Look("#7a0f3a", "s", DASHDOT),
    "stdp": Look("#2fd06a", "^", DOTTED),
    "triplet-stdp": Look("#d6d94a", "v", DOTTED),
    "homeostatic-triplet": Look("#d4620a", "D", DOTTED),
    "symmetric-stdp-wta": Look("#c2179a", "*", DOTTED),
    "triplet-stdp-delta": Look("#8f9d1a", "P", DOTTED),
    "reward-stdp": Look("#e2243f", "o", DASHDOT),
    "reward-stdp-unmodulated": Look("#6d1f2c", "s", DASHDOT),
    "reward-shuffled": Look("#f0a58f", "v", DASHDOT),
    "rbm": Look("#6b3a2a", "o", LONG),
    "autoencoder": Look("#c08a6a", "v", LONG),
    "frozen": Look("#7f7f7f", "d", "--"),
    "reservoir": Look("#9c8f6a", "D", "--"),
    "regulated": Look("#e08aa0", "v", "--"),
    "frozen-wta": Look("#4fb0b5", "*", "--"),
    "frozen-labelled": Look("#a08a3c", "<", "--"),
    "frozen-rate": Look("#3b7d3a", "X", "--"),
    "untrained": Look("#d9d2c5", ".", "--"),
    "backprop-bounded": Look("#7a1f5c", "o", "--"),
    "backprop-rate": Look("#2b2b6b", "h", "--"),
    "backprop-forward-forward": Look("#cc79a7", "^", "--"),
    "feedback-alignment-tied": Look("#3f4a5a", "s", "--"),
    "predictive-coding-one-step": Look("#a9b4c4", "P", "--"),
}
OTHER_COLOURS = (
    "#6a3d9a", "#cc79a6", "#8c564b", "#b39ddb", "#5f5f7f", "#17a398", "#9acd32", "#e9967a", "#4682b4", "#bc8f00", "#708238",
)  # fmt: skip
OTHER_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def looks(slugs: Iterable[str]) -> dict[str, Look]:
    """The look of every slug, in the order of LOOKS; those not listed there follow by name, in purples and browns."""
    wanted = set(slugs)
    others = sorted(wanted - LOOKS.keys())
    found = {slug: look for slug, look in LOOKS.items() if slug in wanted}
    for i, slug in enumerate(others):
        colour, marker = OTHER_COLOURS[i % len(OTHER_COLOURS)], OTHER_MARKERS[i % len(OTHER_MARKERS)]
        found[slug] = Look(colour, marker, (0, (5, 1, 1, 1, 1, 1)))
    return found


# ---------------------------------------------------------------------------------------------- files


def banded(ax: Any, by: Mapping[float, Sequence[float]], alpha: float, line: Mapping[str, Any]) -> None:
    """The mean of `by[x]` over seeds against x, in order; a 95 % t band where three seeds or more are there.

    line: how `ax.plot` draws it; it must name a color.
    """
    if not by:
        return
    x = np.array(sorted(by))
    mean, half = np.array([interval(by[k]) if len(by[k]) > 2 else (np.mean(by[k]), np.nan) for k in x]).T
    ax.plot(x, mean, **line)
    if np.isfinite(half).any():
        ax.fill_between(x, mean - half, mean + half, color=line["color"], alpha=alpha, linewidth=0)


def claim(name: str, got: Any, relation: str, expected: Any, tolerance: float = 0.0, source: str = "") -> dict:
    """One checkable statement about a result, as the manifest lists it, with `holds` computed:

        "within"    |got - expected| <= tolerance
        ">="        got >= expected - tolerance
        "<="        got <= expected + tolerance
        "ordering"  got[i+1] >= got[i] - tolerance for all i: `expected` lists the names from lowest to highest,
                    `got` their values in that same order

    A claim on None or NaN does not hold. `source` says where the expected value was published.
    Raises ValueError for another relation, or an ordering whose two lists differ in length.
    """
    values = [math.nan if v is None else float(v) for v in (got if relation == "ordering" else [got])]
    if relation == "within":
        holds = abs(values[0] - expected) <= tolerance
    elif relation == ">=":
        holds = values[0] >= expected - tolerance
    elif relation == "<=":
        holds = values[0] <= expected + tolerance
    elif relation == "ordering":
        if len(values) != len(expected):
            raise ValueError(f"got has {len(values)} values and expected {len(expected)} names: ordering pairs them.")
        ordered = all(b >= a - tolerance for a, b in zip(values, values[1:], strict=False))
        holds = ordered and not any(math.isnan(v) for v in values)
    else:
        raise ValueError(f'relation is {relation!r}: it must be "within", ">=", "<=" or "ordering".')
    keys = {"name": name, "expected": expected, "relation": relation, "tolerance": tolerance, "got": got}
    return {**keys, "source": source, "holds": bool(holds)}


def provenance() -> dict[str, dict[str, Any]]:
    """Where a result was made: {"versions": {python, numpy, torch, neurosim}, "hardware": {cpu, cores}}."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("numpy", "torch", "neurosim"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor() or platform.machine()
    return {"versions": versions, "hardware": {"cpu": cpu, "cores": os.cpu_count()}}


def save(
    name: str,
    fig: Figure,
    rows: Sequence[Mapping[str, Any]],
    claims: Iterable[Mapping[str, Any]] = (),
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    out: Path = Path("figures"),
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write NAME.csv, NAME.json and NAME.png (under 1 MB) into `out`, and return the path of the PNG.

    `manifest` holds what the caller knows: command, config, seeds, device, seconds, metric (missing ones become
    null). Versions and hardware are those of this process unless `manifest` has them, as it does when a loaded
    figure is saved again; `recipes` and `claims` then default to the loaded ones too. A number that is not finite
    becomes null in the JSON and "nan" or "inf" in the CSV; None is an empty cell there.
    All three files are written under temporary names before the first is put in place: old files survive a failure.
    """
    known = {**provenance(), **(manifest or {})}
    known["claims"] = list(claims) or known.get("claims", [])
    known["recipes"] = recipes if recipes is not None else known.get("recipes", {})
    whole = {key: known.pop(key, None) for key in MANIFEST} | known
    contents = {
        ".png": _png(fig),
        ".csv": _csv(rows).encode(),
        ".json": (json.dumps(_plain(whole, strict=True), indent=1, allow_nan=False) + "\n").encode(),
    }
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    temporary = {suffix: out / f".{name}{suffix}.{os.getpid()}.tmp" for suffix in contents}
    try:
        for suffix, content in contents.items():
            temporary[suffix].write_bytes(content)
        for suffix, path in temporary.items():
            os.replace(path, out / f"{name}{suffix}")
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return out / f"{name}.png"


def load(name: str, out: Path = Path("figures")) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and manifest of a saved figure. Numbers come back as numbers; recipe, layer and quantity stay text.

    Raises FileNotFoundError if NAME.csv or NAME.json is missing, ValueError if the JSON is damaged.
    """
    paths = [Path(out) / f"{name}{suffix}" for suffix in (".csv", ".json")]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run the comparison or study that writes it first.")
    with paths[0].open(newline="", encoding="utf-8") as file:
        rows = [{k: v if k in TEXT else _number(v) for k, v in row.items()} for row in csv.DictReader(file)]
    try:
        return rows, json.loads(paths[1].read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{paths[1]} is not valid JSON ({error}): run what wrote it again.") from None


def _png(fig: Figure) -> bytes:
    """The figure as PNG, at the largest of a few resolutions that stays below the size limit."""
    FigureCanvasAgg(fig)
    with matplotlib.rc_context(STYLE):
        for dpi in (fig.dpi, 100, 72):
            file = io.BytesIO()
            fig.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
            if file.tell() < PNG_BYTES:
                return file.getvalue()
    raise ValueError(f"fig makes a PNG of {file.tell()} bytes at 72 dpi: draw fewer points or make it smaller.")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row)) or list(COLUMNS)
    columns = [c for c in COLUMNS if c in keys] + [k for k in keys if k not in COLUMNS]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row, strict=False) for row in rows)
    return file.getvalue()


def _plain(value: Any, strict: bool) -> Any:
    """Numpy and torch values, mappings and sequences as Python's own; if strict, a non-finite number as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(v, strict) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, strict) for v in value]
    if hasattr(value, "tolist"):  # arrays, tensors and numpy's scalars
        return _plain(value.tolist(), strict)
    if isinstance(value, float) and strict and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
