"""A network as a file: its values as JSON, its arrays as they are, in one .npz without pickle. It goes on bit for bit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from neurosim.engine.arguments import MOST
from neurosim.engine.arrays import Array
from neurosim.engine.network import Network
from neurosim.engine.parts import Projection, SpikeTrains
from neurosim.engine.wiring import Wiring
from neurosim.escape import SRM0
from neurosim.neurons import AdaptiveLIF
from neurosim.rules.spike_rule import Power, SpikeRule, Term, Trace
from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson

FORMAT = "neurosim network 2"
VALUES = {c.__name__: c for c in (
    AdEx, AdaptiveLIF, ConductanceLIF, Izhikevich, LIF, Poisson, SRM0, SpikeTrains, Power, SpikeRule, Term, Trace,
)}  # fmt: skip


def written(x: Any) -> Any:
    """Frozen values as JSON: a dataclass is {"is": its name, its fields}."""
    if is_dataclass(x):
        if type(x).__name__ not in VALUES:
            raise ValueError(f"network: it holds a {type(x).__name__}, which is not written to files")
        return {"is": type(x).__name__} | {f.name: written(getattr(x, f.name)) for f in fields(x) if f.init}
    if isinstance(x, Mapping):
        return {k: written(v) for k, v in x.items()}
    if isinstance(x, tuple | list):
        return [written(v) for v in x]
    return x.tolist() if isinstance(x, np.ndarray | np.generic) else x


def read(x: Any) -> Any:
    if isinstance(x, dict):
        values = {k: read(v) for k, v in x.items() if k != "is"}
        return VALUES[x["is"]](**values) if "is" in x else values
    return tuple(read(v) for v in x) if isinstance(x, list) else x


def states(net: Network) -> dict[str, Array]:
    """All that changes in a run, by name."""
    ready = net.made()
    found = {"clock": ready.clock, "random_state": ready.random_state, "z": ready.decays.z, "w": ready.wires.w}
    found["tally"] = ready.tally
    found |= {"eligibility": ready.gates.e, "signal": ready.gates.signal["value"]}
    for name in ("drive", "v", "x", "last", "held", "chance", "spikes", "count"):
        found[name] = getattr(ready.cells, name)
    if len(ready.decays.clocked):
        found |= {"up": ready.decays.up, "down": ready.decays.down}
    return found | {n: ready.cells.population[n] for n in ("train_at", "most", "driven", "held_first", "held_count")}


def save(net: Network, path: Path) -> None:
    arrays = {f"state {n}": x for n, x in states(net).items()}
    for q in net.projections:
        arrays |= {f"row {q.index}": q.wiring.row, f"target {q.index}": q.wiring.target}
        arrays[f"first w {q.index}"] = q.first_w
        arrays |= {f"axonal {q.index}": q.axonal, f"dendritic {q.index}": q.dendritic}
    for p in net.populations:
        arrays[f"first drive {p.index}"] = p.first_drive
        if p.first_v is not None:
            arrays[f"first v {p.index}"] = p.first_v
    spec = {
        "format": FORMAT, "dt": net.dt, "seed": net.seed, "dtype": np.dtype(net.dtype).name, "gate_steps": net.gate_steps,
        "generator": net.generator.bit_generator.state, "lineage": net.lineage,
        "populations": [{"n": p.n, "neuron": written(p.neuron), "name": p.name} for p in net.populations],
        "projections": [
            {
                "pre": q.pre.index, "post": q.post.index, "dense": q.wiring.dense, "onto": q.onto, "tau_syn": q.tau_syn,
                "rule": written(q.rule), "w_min": q.w_min, "w_max": q.w_max, "normalise": q.normalise,
            }
            for q in net.projections
        ],
    }  # fmt: skip
    if path.is_dir():
        raise ValueError(f"path: {path} is a folder, give a file")
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        np.savez_compressed(file, spec=np.array(json.dumps(written(spec))), **arrays)
    unfinished.replace(path)


def load(path: Path) -> Network:
    """ValueError where the file is none of this format, or not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {n: file[n] for n in file.files}
            spec = json.loads(str(held["spec"]))
    except FileNotFoundError:
        raise
    except (KeyError, ValueError, OSError, EOFError, AttributeError, TypeError, BadZipFile, zlib.error):
        raise ValueError(f"path: {path} is no {FORMAT!r}, it cannot be read") from None
    if spec.get("format") != FORMAT:
        raise ValueError(f"path: {path} is no {FORMAT!r}, it says {spec.get('format')!r}")
    try:
        return restored(spec, held)
    except (KeyError, TypeError) as error:
        raise ValueError(f"path: {path} is not whole, it lacks {error}") from None


def restored(spec: dict[str, Any], held: dict[str, Array]) -> Network:
    net = Network(spec["dt"], spec["seed"], spec["dtype"], spec["dt"] * spec["gate_steps"])
    for k, p in enumerate(spec["populations"]):
        net.add(p["n"], read(p["neuron"]), held[f"first drive {k}"], held.get(f"first v {k}"), p["name"])
    for k, q in enumerate(spec["projections"]):
        pre, post = net.populations[q["pre"]], net.populations[q["post"]]
        wiring = Wiring(pre.n, post.n, q["dense"], held[f"row {k}"], held[f"target {k}"], None)
        check_wiring(wiring, held[f"first w {k}"], held[f"axonal {k}"], held[f"dendritic {k}"], k)
        normalise = None if q["normalise"] is None else tuple(q["normalise"])
        net.projections.append(
            Projection(
                net,
                k,
                pre,
                post,
                wiring,
                held[f"first w {k}"],
                q["onto"],
                q["tau_syn"],
                held[f"axonal {k}"],
                held[f"dendritic {k}"],
                read(q["rule"]),
                q["w_min"],
                q["w_max"],
                normalise,
            )  # fmt: skip
        )
    net.generator.bit_generator.state, net.lineage = spec["generator"], tuple(spec.get("lineage", ()))
    for name, x in states(net).items():
        if held[f"state {name}"].shape != x.shape:
            raise ValueError(
                f"path: its state {name!r} has the shape {held[f'state {name}'].shape}, expected {x.shape}"
            )
        x[...] = held[f"state {name}"]
    check_places(net)
    return net


def check_wiring(wiring: Wiring, first_w: Array, axonal: Array, dendritic: Array, k: int) -> None:
    """ValueError for a wiring that leads out of its populations: files are sent, and the compiled loop does not look."""
    row, target = wiring.row, wiring.target
    if first_w.shape != (wiring.size,):
        raise ValueError(f"path: projection {k} has {first_w.shape} first weights for {wiring.size} synapses")
    for name, delays, n, least in (("axonal", axonal, wiring.n_pre, 1), ("dendritic", dendritic, wiring.n_post, 0)):
        if delays.shape not in ((1,), (n,)) or not least <= delays.min() <= delays.max() <= MOST:
            raise ValueError(f"path: the {name} delays of projection {k} are none")
    if wiring.dense:
        return
    whole = row.shape == (wiring.n_pre + 1,) and row[0] == 0 and row[-1] == len(target) and (np.diff(row) >= 0).all()
    if not whole or (len(target) and not 0 <= int(target.min()) <= int(target.max()) < wiring.n_post):
        raise ValueError(f"path: the synapses of projection {k} lead to units that there are not")


def check_places(net: Network) -> None:
    """The same for units that spiked."""
    ready = net.made()
    cells, n = ready.cells, ready.cells.population["n"]
    wide = np.repeat(n, np.diff([*cells.population["start"], cells.last.size]))
    held, first = cells.population["held_count"], cells.population["held_first"]
    fine = (cells.count >= 0).all() and (cells.count <= n).all() and (held >= 0).all() and (held <= n).all()
    fine &= (first >= 0).all() and (first < n).all() and (cells.held < cells.last.size).all()
    fine &= (cells.spikes >= 0).all() and (cells.spikes < wide).all() and 0 <= ready.clock[1] <= ready.rebase
    if not fine or ready.clock[0] < 0 or (cells.population["train_at"] < 0).any():
        raise ValueError("path: units spiked that there are not")
