"""What determines a cell, as a key: the same key means the same rows.

A key is a hash of the recipe with all its values, the net's builder, the task with its data, the seed, the epochs, the
device, the floating-point type, the versions of neurosim, torch and numpy, and neurosim's own source: a rule that was
edited is run again. Functions and classes count by what they do (their compiled code), not by their name alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import neurosim

PACKAGE = Path(__file__).parent
# Modules (NAME and NAME_...) that only choose, spread, test or show. Recipes and tuned values count by what they are.
AROUND = {
    "bootstrap", "brian", "checkpoint", "cli", "cluster", "explain", "figures", "flags", "generate", "keys", "locality",
    "manifest", "peers", "probes", "recipes", "report", "statistics", "store", "study", "summary", "testing", "tuned", "tuning",
}  # fmt: skip
KNOWN_BY_VERSION = {"torch", "numpy", *sys.stdlib_module_names}
PLAIN = (type(None), bool, int, float, str, tuple, list, dict, set, frozenset, Tensor, np.ndarray)
HELD = (*PLAIN, types.FunctionType, type, partial)


class Job(NamedTuple):
    """A cell to run."""

    recipe: str
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe}, seed {self.seed}"


def cell_keys(
    recipes: Iterable[Any], make_net: Any, task: Any, seeds: Sequence[int], *, epochs: int, device: str
) -> dict[Job, str]:
    """The key of every cell: "RECIPE-seedN-" and 32 hexadecimal digits.

    Raises ValueError for a value that cannot be told from another one (a recipe that holds an open file, say).
    """
    versions = neurosim.__version__, torch.__version__, np.__version__, source()
    settings = epochs, str(device), str(torch.get_default_dtype())
    shared = _hash([*versions, *settings, described(make_net), described(task)])
    keys = {}
    for r in recipes:
        own, name = described(r), re.sub(r"[^\w.-]", "_", r.name)
        for seed in seeds:
            keys[Job(r.name, seed)] = f"{name}-seed{seed}-{_hash([shared, own, seed])}"
    return keys


@cache
def source() -> str:
    """A hash of the source that computes: all of the package but what stands around it."""
    h = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.stem.partition("_")[0] not in AROUND or len(name.parts) > 1:
            h.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return h.hexdigest()[:32]


# ---------------------------------------------------------------------------------------------- what a value is
def described(value: Any, within: tuple[Any, ...] = ()) -> Any:
    """A value as plain lists, text and numbers: the same for the same value, in every process.

    Tensors and arrays become a hash; functions, methods, partials and classes their compiled code with what it refers
    to; other objects their class and their fields. `within`: what is being described, so that a circle ends.
    Raises ValueError for an object without fields whose text is only an address.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if any(v is value for v in within):
        return "again"
    inner = (*within, value)
    if isinstance(value, Mapping):  # in its order: the first pattern that fits wins
        return ["table", [[described(k, inner), described(v, inner)] for k, v in value.items()]]
    if isinstance(value, list | tuple):
        items = [described(v, inner) for v in value]
        return items if type(value) in (list, tuple) else [_class(type(value), inner), items]  # NamedTuple
    if isinstance(value, set | frozenset):
        return ["set", *sorted((described(v, inner) for v in value), key=json.dumps)]
    if isinstance(value, partial):
        return ["partial", *(described(v, inner) for v in (value.func, value.args, value.keywords))]
    if isinstance(value, types.MethodType):
        return ["method", described(value.__self__, inner), described(value.__func__, inner)]
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, type):
        return _class(value, inner)
    if isinstance(value, types.BuiltinFunctionType | types.ModuleType):
        return [getattr(value, "__module__", None), value.__name__]
    if is_dataclass(value):
        state: Any = {f.name: getattr(value, f.name) for f in fields(value)}
    elif hasattr(value, "__dict__"):
        state = vars(value)
    elif " at 0x" not in repr(value):
        state = repr(value)
    else:
        raise ValueError(f"store: {value!r} cannot be told from another such object, run without a store")
    return [_class(type(value), inner), described(state, inner)]


def _array(value: Tensor | np.ndarray) -> list[Any]:
    array = value.detach().cpu().contiguous() if isinstance(value, Tensor) else torch.from_numpy(value.copy())
    digest = hashlib.sha256(array.reshape(-1).view(torch.uint8).numpy()).hexdigest()
    return [str(array.dtype), list(array.shape), digest]


def _function(f: types.FunctionType, within: tuple[Any, ...]) -> list[Any]:
    """Its code, defaults and closure, and the functions and plain constants of its module that it mentions."""
    name = f"{f.__module__}.{f.__qualname__}"
    if _known_by_version(f.__module__):
        return [name]
    cells = [c.cell_contents for c in f.__closure__ or ()]
    names = sorted(_names(f.__code__)) if f.__module__.partition(".")[0] != "neurosim" else []  # that is in `source`
    mine = {n: f.__globals__[n] for n in names if n in f.__globals__}
    for m in [m for m in mine.values() if isinstance(m, types.ModuleType) and not _known_by_version(m.__name__)]:
        mine |= {f"{m.__name__}.{n}": getattr(m, n) for n in names if hasattr(m, n)}
    mine = {n: v for n, v in mine.items() if isinstance(v, HELD) or is_dataclass(v)}
    held = (f.__defaults__, f.__kwdefaults__, cells, mine)
    return [name, _code(f.__code__), *(described(v, within) for v in held)]


def _class(c: type, within: tuple[Any, ...]) -> list[Any]:
    """Its methods and plain constants, and its bases'; what is made by `dataclass` follows from the fields."""
    name = f"{c.__module__}.{c.__qualname__}"
    if _known_by_version(c.__module__):
        return [name]
    held = {}
    for n, v in sorted(vars(c).items()):
        v = v.fget if isinstance(v, property) else getattr(v, "__func__", v)  # of a static or class method
        if isinstance(v, types.FunctionType) and v.__code__.co_filename != "<string>":
            held[n] = described(v, within)
        elif isinstance(v, PLAIN) and not n.startswith("__"):
            held[n] = described(v, within)
    return [name, held, [_class(b, within) for b in c.__bases__]]


def _code(code: types.CodeType) -> list[Any]:
    """Instructions and constants, of inner functions too."""
    constants = [_code(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    return [hashlib.sha256(code.co_code).hexdigest()[:16], list(code.co_names), constants]


def _constant(value: Any) -> str:
    return str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _names(code: types.CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def _known_by_version(module: str | None) -> bool:
    return (module or "builtins").partition(".")[0] in KNOWN_BY_VERSION


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
