"""The one forward: layers, `play`, and what it leaves behind (records, and drives in the graph to ask for credit).

Sequences are [T, B, ...], always; times are in ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.neurons import Neuron, Rate, apart
from neurosim.record import Batch, Record, Trial
from neurosim.synapses import rank, send

SPAN = 1 << 17  # numbers of a layer's activity that are differentiated at once: they fit in the cache


class _Run:
    """What one layer did in one trial. Plain slots: this is the inner loop of everything."""

    __slots__ = ("kept", "layer", "name", "named", "out", "pre", "states", "u")

    def __init__(self, layer: Layer, name: str, named: Mapping[str, str]) -> None:
        self.layer, self.name, self.named = layer, name, named
        self.pre: dict[str, Any] = {}  # by synapse: a tensor, or a list with None where it was silent
        self.u: Any = None  # a tensor, or a list
        self.states: list[dict[str, Tensor]] = []
        self.out: Tensor | None = None
        self.kept: dict[Any, Any] = {}  # what records of several synapses have in common, once it is asked for


class _Tape:
    """The tables of one trial, and what is kept of it."""

    __slots__ = ("add", "backward", "clamp", "dt", "forward", "names", "runs", "sites", "start", "weights")

    def __init__(
        self, names: Names, forward: Any, backward: Any, add: Any, clamp: Any, start: Any, dt: float | None
    ) -> None:
        self.names, self.forward, self.backward, self.add = names, forward, backward, add
        self.clamp, self.start, self.dt = clamp, start, dt
        self.runs: dict[str, _Run] = {}
        self.weights: dict[str, Tensor] = {}  # by synapse
        self.sites: dict[str, tuple[_Run, str]] = {}  # by synapse

    def run(self, layer: Layer, again: bool = False) -> _Run:
        name, named = self.names[layer]
        run = self.runs.get(name)
        if run is None:
            run = self.runs[name] = _Run(layer, name, named)
        elif not again:
            raise ValueError(f"layer {name!r} ran twice in one trial: use step(s, t, ...) for each run")
        return run

    def send(self, run: _Run, k: str, x: Tensor) -> Tensor:
        synapse, name = getattr(run.layer, k), run.named[k]
        self.sites[name] = run, k
        w = self.weights[name] = self.forward.get(name, synapse.weight)
        if name not in self.backward:
            return send(synapse, x, w, synapse.bias)
        u, b = send(synapse, x.detach(), w, synapse.bias), self.backward[name]  # forward through w, back through b
        if b is None or not x.requires_grad:
            return u
        back = send(synapse, x, b.detach())
        return u + (back - back.detach())

    def at(self, layer: str, t: Any, u: Tensor) -> Tensor:
        if layer in self.clamp:
            u = self.clamp[layer][t]
        return u + self.add[layer][t] if layer in self.add else u


class _Blank(_Tape):
    """For a net that is used outside play: nothing is kept."""

    def run(self, layer: Layer, again: bool = False) -> _Run:
        return _Run(layer, "", dict.fromkeys(("input", *layer.others), ""))

    def send(self, run: _Run, k: str, x: Tensor) -> Tensor:
        synapse = getattr(run.layer, k)
        return send(synapse, x, synapse.weight, synapse.bias)


Names = Mapping["Layer", tuple[str, Mapping[str, str]]]  # a layer's name, and its synapses' by attribute
_tape: ContextVar[_Tape] = ContextVar("tape", default=_Blank({}, {}, {}, {}, {}, {}, None))  # noqa: B039


class Layer(nn.Module):
    """One population of neurons and the synapses that drive it:  u = sum_s W_s x_s + b,  y = neuron(u).

    `input` (and each further synapse, such as `recurrent=nn.Linear(n, n)`, which carries the layer's own output of the
    step before) is a plain `nn.Linear`, `nn.Conv1d` or `nn.Conv2d`; `neuron` is a Neuron, or a function phi for y = phi(u).
    A synapse called `threshold`, from one unit that is always 1 (nn.Linear(1, n), or nn.Conv2d(1, C, 1)), is no drive: its
    weight is by how much each neuron's threshold is raised, state theta of a spiking neuron (see `spiking.py`).
    Without memory and recurrence everything is computed at once; else x is [T, B, ...] and only what must step, steps.
    ValueError for a threshold of a neuron that has none.
    """

    def __init__(self, input: nn.Module, neuron: Any = Rate(), **others: nn.Module) -> None:
        super().__init__()
        for m in (input, *others.values()):
            rank(m)
        self.input = input
        self.neuron: Neuron = neuron if hasattr(neuron, "step") else Rate(neuron)
        self.others = tuple(others)
        self.back = tuple(k for k in others if k != "threshold")  # what carries the layer's own output
        if self.back != self.others and not hasattr(self.neuron, "v_threshold"):
            raise ValueError(f"threshold: given to {type(self.neuron).__name__}, which has no v_threshold to be raised")
        if self.back != self.others and others["threshold"].weight.shape[1] != 1:
            shape = list(others["threshold"].weight.shape)
            raise ValueError(f"threshold: given the weight {shape}, it comes from one unit: [neurons, 1]")
        for k, m in others.items():
            self.add_module(k, m)

    def forward(self, x: Tensor) -> Tensor:
        tape = _tape.get()
        run = tape.run(self)
        run.pre["input"] = x
        drive = tape.send(run, "input", x)
        neuron = self.neuron
        if not self.others and not neuron.memory:
            run.u = drive
            s = neuron.step({}, tape.at(run.name, ..., drive), tape.dt)
            run.out = s["y"] = neuron.out(s)
            run.states.append(s)
            return run.out
        s, ys, run.u = self._first(tape, run, drive), [], []
        for t, u in enumerate(drive.unbind(0)):  # unbind: indexing drive[t] would make the backward pass quadratic in T
            s = self._advance(tape, run, s, t, u, dict.fromkeys(self.back, s.get("y")))
            ys.append(s["y"])
        run.out = torch.stack(ys)
        return run.out

    def step(self, s: Mapping[str, Tensor], t: int, **x: Tensor | None) -> dict[str, Tensor]:
        """One instant, for a net with a time loop of its own: x[synapse], None where silent; returns the state with y."""
        tape = _tape.get()
        run = tape.run(self, again=t > 0)
        run.u = [] if t == 0 else run.u
        return self._advance(tape, run, s, t, None, x)

    def _first(self, tape: _Tape, run: _Run, drive: Tensor) -> dict[str, Tensor]:
        """The first state, theta [B, *unit] in it where there are thresholds: from the unit that is always 1."""
        s = self.begin()
        if self.back != self.others:
            axis = drive.dim() - rank(self.input)
            one = drive.new_ones(()).expand(*drive.shape[:axis], 1, *drive.shape[axis + 1 :])
            run.pre["threshold"] = one
            theta = tape.send(run, "threshold", one[0])
            s.setdefault("theta", theta)  # where a trial goes on, it is as that one left it
        return s

    def begin(self) -> dict[str, Tensor]:
        """The first state: that of `start`, or none."""
        tape = _tape.get()
        return dict(tape.start.get(tape.names[self][0], {})) if tape.start else {}

    def _advance(
        self, tape: _Tape, run: _Run, s: Mapping[str, Tensor], t: int, u: Tensor | None, x: Mapping[str, Tensor | None]
    ) -> dict[str, Tensor]:
        parts = [] if u is None else [u]
        for k, x_t in x.items():
            run.pre.setdefault(k, []).append(x_t)
            if x_t is not None:
                more = tape.send(run, k, x_t)
                parts.append(more)
                u = more if u is None else u + more
        if u is None:
            raise ValueError(f"layer {run.name!r}: every synapse is silent at step {t}, its input is unknown")
        if run.u is not None:
            run.u.append(u)
        drive: Any = tape.at(run.name, t, u)
        if len(parts) > 1 and drive is u and getattr(self.neuron, "conductances", False):
            drive = apart(parts)
        s = self.neuron.step(s, drive, tape.dt)
        s["y"] = self.neuron.out(s)
        run.states.append(s)
        return s


def play(
    net: nn.Module,
    batch: Batch,
    *,
    forward: Mapping[str, Tensor] = {},
    backward: Mapping[str, Tensor | None] = {},
    add: Mapping[str, Tensor] = {},
    clamp: Mapping[str, Tensor] = {},
    start: Mapping[str, Mapping[str, Tensor]] = {},
) -> Trial:
    """Run the net on the batch. Five optional tables say what is different this time:

    forward[synapse]   the weight it transmits with                                 (weight perturbation)
    backward[synapse]  the weight credit returns through, None = none returns       (feedback alignment, e-prop)
    add[layer]         what is added to its input                                   (node perturbation, prediction errors)
    clamp[layer]       what replaces its input                                      (relaxation, teacher forcing)
    start[layer]       its first state: another trial's `end`                       (truncation, endless streams)
    """
    tape = _Tape(_known(net), forward, backward, add, clamp, start, batch.dt)
    token = _tape.set(tape)
    try:
        output = net(batch.x)
    finally:
        _tape.reset(token)
    runs = tape.runs
    return Trial(
        batch,
        _Records(tape.sites, tape.weights, batch.dt),
        output,
        batch.loss(output, batch.target) if batch.loss else None,
        {n: r.u for n, r in runs.items()},
        {n: r.out for n, r in runs.items() if r.out is not None},
        {n: run.pre[k] for n, (run, k) in tape.sites.items()},
        tape.weights,
        {n: {k: v.detach() for k, v in r.states[-1].items()} for n, r in runs.items() if type(r.u) is list},
        start,
    )


def _known(net: nn.Module) -> Names:
    """The names of the net's layers. A flat net keeps them, for as long as it has the same children."""
    children = list(net._modules.items())
    kept = net.__dict__.get("_layer_names")
    if kept and kept[0] == children:
        return kept[1]
    names = _names(net)
    if all(type(m) is Layer or not m._modules for _, m in children if m is not None):
        net.__dict__["_layer_names"] = children, names
    return names


def _names(net: nn.Module) -> Names:
    return {
        m: (n, {k: f"{n}.{k}" if n else k for k in ("input", *m.others)})
        for n, m in net.named_modules()
        if isinstance(m, Layer)
    }


class _Records(Mapping[str, Record]):  # a record is made when it is first looked at: most credits read few of them
    def __init__(self, sites: Mapping[str, tuple[_Run, str]], weights: Mapping[str, Tensor], dt: float | None) -> None:
        self._sites, self._weights, self._dt = sites, weights, dt
        self._made: dict[str, Record] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, name: str) -> Record:
        if name not in self._made:
            self._made[name] = _record(name, *self._sites[name], self._weights[name], self._dt)
        return self._made[name]


def _record(name: str, run: _Run, synapse: str, weight: Tensor, dt: float | None) -> Record:
    pre = run.pre[synapse]
    if type(pre) is list:
        silent = torch.zeros_like(next(x for x in pre if x is not None))
        pre = torch.stack([silent if x is None else x for x in pre])
    late = partial(_whole, run, "u"), partial(_whole, run, "y"), partial(_slope, run), partial(_state, run)
    return Record(name, getattr(run.layer, synapse), weight.detach(), pre.detach(), *late, dt, run.kept)


def _whole(run: _Run, k: str) -> Tensor:
    """u, or one state variable, of the whole trial."""
    if k not in run.kept:
        steps = type(run.u) is list
        values = (run.u if steps else [run.u]) if k == "u" else [s[k] for s in run.states]
        if k == "y" and run.out is not None:
            run.kept[k] = run.out.detach()
        else:
            run.kept[k] = (torch.stack(values) if steps else values[0]).detach()
    return run.kept[k]


def _state(run: _Run) -> dict[str, Tensor]:
    return {k: _whole(run, k) for k in run.states[-1]}


def _slope(run: _Run) -> Tensor:
    """d out / d v, once for the whole trial."""
    if "slope" not in run.kept:
        if type(run.u) is not list:
            run.kept["slope"] = _derivative(run.layer.neuron, _state(run))
        else:
            k = max(1, SPAN // max(1, run.states[0]["v"].numel()))
            spans = (run.states[t : t + k] for t in range(0, len(run.states), k))
            stacked = ({n: torch.stack([s[n] for s in span]) for n in span[-1]} for span in spans)
            run.kept["slope"] = torch.cat([_derivative(run.layer.neuron, s) for s in stacked])
    return run.kept["slope"]


def _derivative(neuron: Neuron, s: Mapping[str, Tensor]) -> Tensor:
    with torch.enable_grad():
        v = s["v"].detach().requires_grad_()
        y = neuron.out({**{k: z.detach() for k, z in s.items()}, "v": v})
        return torch.autograd.grad(y.sum(), v)[0]


def returned(trial: Trial, kinds: Iterable[str] = ("credit", "signal")) -> dict[str, dict[str, Tensor]]:
    """{"credit": {layer: -dL/du}, "signal": {layer: -dL/dy}} in one backward pass; absent where nothing returns."""
    at = {"credit": trial.inputs, "signal": trial.outputs}
    found = improvement(trial, {(kind, n): v for kind in kinds for n, v in at[kind].items()})
    return {kind: {n: g for (k, n), g in found.items() if k == kind} for kind in kinds}


def improvement(
    trial: Trial, wanted: Mapping[Any, Tensor | list[Tensor]], scale: float = 1.0, keep: bool = True
) -> dict[Any, Tensor]:
    """-scale dL/dq for each wanted q of the trial, in one backward pass; absent where nothing returns.

    keep=False frees the trial's graph on the way: faster, and nothing more can be asked of it.
    """
    if trial.loss is None:
        raise ValueError("batch.loss: given None, but credit is the direction in which a loss falls")
    steps = {k: v if type(v) is list else [v] for k, v in wanted.items()}
    asked = {id(q): q for qs in steps.values() for q in qs if q.requires_grad}
    if not asked or not trial.loss.requires_grad:
        return {}
    down = torch.full_like(trial.loss, -scale)
    grads = torch.autograd.grad(trial.loss, tuple(asked.values()), down, retain_graph=keep, allow_unused=True)
    by_id = dict(zip(asked, grads, strict=True))
    found: dict[Any, Tensor] = {}
    for k, qs in steps.items():
        gs = [by_id.get(id(q)) for q in qs]
        if type(wanted[k]) is not list:
            if gs[0] is not None:
                found[k] = gs[0]
        elif any(g is not None for g in gs):
            found[k] = torch.stack([torch.zeros_like(q) if g is None else g for g, q in zip(gs, qs, strict=True)])
    return found


def synapses(net: nn.Module) -> dict[str, nn.Module]:
    """Every synapse group of the net by name: "hidden.input", "hidden.recurrent"."""
    return {name: getattr(m, k) for m, (_, named) in _names(net).items() for k, name in named.items()}
