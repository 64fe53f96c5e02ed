"""A learner on disk: all that its learning goes on from. Continued from there it is the same, bit for bit.

A flat table of tensors, so that any format will do:

    net/NAME              parameters and buffers of the net
    synapse/NAME          the weights of the credit's own synapses (feedback, heads, inverses)
    own/NAME              the credit's own tensors (baselines, counters)
    rule/SYNAPSE/NAME     what the synapse's rule remembers
    optimizer/WEIGHT/NAME what its optimiser remembers of a weight
    steps, seed           the source of the noise

`save` writes them with a description of the recipe, as plain tensors that `torch.load(path, weights_only=True)` reads.
The order of batches is the task's, and its own.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from neurosim.plasticity import Learner

FORMAT = "neurosim checkpoint 1"


# ---------------------------------------------------------------------------------------------- tensors
def tensors_of(learner: Learner) -> dict[str, Tensor]:
    """A copy of everything, by the names above. ValueError if an optimiser or a credit keeps what is no tensor."""
    found: dict[str, Any] = {**_net(learner), **_synapses(learner)}
    found |= {f"own/{n}": v for n, v in learner.own.items() if not isinstance(v, nn.Module)}
    found |= {f"rule/{n}/{k}": v for n, state in learner.state.items() for k, v in state.items()}
    for optimizer in learner.optimizers:
        for n, p in learner.weights.items():
            remembered = optimizer.state.get(p, {}).items()
            found |= {f"optimizer/{n}/{k}": v for k, v in remembered if v is not None}
    found |= {"steps": torch.tensor(learner.steps), "seed": torch.tensor(learner.seed)}
    for n, v in found.items():
        if not isinstance(v, Tensor):
            raise ValueError(f"learner: {n} is a {type(v).__name__}, only tensors can be stored")
    return {n: v.detach().clone() for n, v in found.items()}


def put_back(learner: Learner, state: Mapping[str, Tensor]) -> None:
    """Make the learner what it was. ValueError that names the first tensor that does not fit; then nothing is changed."""
    if wrong := misfit(learner, state):
        raise ValueError(f"state: {wrong}")
    with torch.no_grad():
        for n, v in (*_net(learner).items(), *_synapses(learner).items()):
            v.copy_(state[n])
    learner.own = {
        n: v if isinstance(v, nn.Module) else state[f"own/{n}"].detach().clone().to(v.device)
        for n, v in learner.own.items()
    }
    learner.state = {}
    moments: dict[str, dict[str, Tensor]] = {}
    for n, v in state.items():
        kind, _, rest = n.partition("/")
        name, _, k = rest.rpartition("/")
        if kind == "rule":
            learner.state.setdefault(name, {})[k] = v.detach().clone().to(learner.device)
        elif kind == "optimizer":
            moments.setdefault(name, {})[k] = v.detach().clone()
    names = {id(p): n for n, p in learner.weights.items()}
    for optimizer in learner.optimizers:
        order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        remembered = {i: moments[n] for i, n in enumerate(order) if n in moments}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
    learner.steps, learner.seed = int(state["steps"]), int(state["seed"])


def misfit(learner: Learner, state: Mapping[str, Tensor]) -> str:
    """The first tensor that does not fit the learner, in words; "" if all do."""
    own = {f"own/{n}": v for n, v in learner.own.items() if not isinstance(v, nn.Module)}
    counts = {"steps": torch.tensor(0), "seed": torch.tensor(0)}
    fixed = {n: v for n, v in state.items() if not n.startswith(("rule/", "optimizer/"))}  # these come with the steps
    if wrong := _unlike({**_net(learner), **_synapses(learner), **own, **counts}, fixed):
        return wrong
    learning = {"rule": {n for n, rule in learner.rules.items() if rule}, "optimizer": set(learner.weights)}
    for n in state:
        kind, _, rest = n.partition("/")
        if n not in fixed and rest.rpartition("/")[0] not in learning[kind]:
            return f"holds {n} {_kind(state[n])}, which this learner has not"
    return ""


def _unlike(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> str:
    for n, v in here.items():
        if n not in there:
            return f"lacks {n} {_kind(v)}, which this learner has"
        if _kind(there[n]) != _kind(v):
            return f"holds {n} {_kind(there[n])}, which is {_kind(v)} in this learner"
    extra = [n for n in there if n not in here]
    return f"holds {extra[0]} {_kind(there[extra[0]])}, which this learner has not" if extra else ""


def _kind(v: Tensor) -> str:
    return f"{list(v.shape)} {str(v.dtype).removeprefix('torch.')}"


def _net(learner: Learner) -> dict[str, Tensor]:
    return {f"net/{n}": v for n, v in learner.net.state_dict().items()}


def _synapses(learner: Learner) -> dict[str, Tensor]:
    modules = {n: m for n, m in learner.own.items() if isinstance(m, nn.Module)}
    return {f"synapse/{n}.{k}": v for n, m in modules.items() for k, v in m.state_dict().items()}


# ---------------------------------------------------------------------------------------------- files
def save(learner: Learner, path: Path | str, cell: str = "", about: Mapping[str, Any] = {}) -> None:
    """Write it, whole or not at all. `cell` is the key of the cell that ends with it, if it is one's; `about`: see `packed`."""
    write_whole(Path(path), packed(learner, cell, about))


def load(learner: Learner, path: Path | str) -> None:
    """Make the learner go on from the file; it must have the same net and the same recipe, whose rates may differ.

    FileNotFoundError if there is none, ValueError if it is damaged or of another net or recipe; it says what differs.
    """
    content = read(Path(path))
    tensors = content["tensors"]
    net = {n: v for n, v in tensors.items() if n.startswith("net/")}
    if wrong := _unlike(_net(learner), net):
        raise ValueError(f"{path} is a checkpoint of another network: it {wrong}")
    if wrong := _other_recipe(learner, content["recipe"]) or misfit(learner, tensors):
        raise ValueError(f"{path} is a checkpoint of another recipe: it {wrong}")
    put_back(learner, tensors)


def packed(learner: Learner, cell: str = "", about: Mapping[str, Any] = {}) -> bytes:
    """The content of a checkpoint file. `about`: what to say of task and net, in plain words, numbers and lists."""
    content = {"format": FORMAT, "cell": cell, "recipe": description(learner), "about": dict(about)}
    content["tensors"] = tensors_of(learner)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def read(path: Path) -> dict[str, Any]:
    """What `packed` held, on the CPU. FileNotFoundError, or ValueError if it is no whole checkpoint."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: no checkpoint was saved there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut or not its own
        raise ValueError(f"{path} is no checkpoint, or a damaged one: save it again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no {FORMAT!r}: save it again with this version")
    return content


def is_of(path: Path, cell: str) -> bool:
    """Is there a whole checkpoint, of the cell with that key?"""
    try:
        return read(path)["cell"] == cell
    except (FileNotFoundError, ValueError):
        return False


def is_another(path: Path, cell: str) -> bool:
    """Is there a whole checkpoint, but of another cell?"""
    try:
        return read(path)["cell"] != cell
    except (FileNotFoundError, ValueError):
        return False


def description(learner: Learner) -> dict[str, str]:
    """The recipe in words: its name, its credit, the rule of each synapse and the optimiser of each weight."""
    r = learner.recipe
    names = {id(p): n for n, p in learner.weights.items()}
    said = {"recipe": r.name, "credit": _words(r.credit)}
    said |= {f"rule of {n}": _words(rule) for n, rule in learner.rules.items()}
    for optimizer in learner.optimizers:
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            said[f"optimizer of {names[id(p)]}"] = type(optimizer).__name__
    return said


def _other_recipe(learner: Learner, saved: Mapping[str, str]) -> str:
    here = description(learner)
    for what in (*here, *saved):
        if here.get(what) != saved.get(what):
            return f"has {what} {saved.get(what, 'none')}, this learner has {here.get(what, 'none')}"
    return ""


def _words(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then put it in place: it is never seen half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
