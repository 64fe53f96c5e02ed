"""The one forward: layers, `play`, and what it leaves behind (records, and drives in the graph to ask for credit).

Sequences are [T, B, ...], always; times are in ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.neurons import Neuron, Rate
from neurosim.synapses import rank, send

Loss = Callable[[Tensor, Tensor], Tensor]


class Unsupported(ValueError):
    """A recipe cannot run on a network; the message is the one-sentence reason."""


# ---------------------------------------------------------------------------------------------- what is seen
@dataclass(frozen=True)
class Batch:
    """What is shown: inputs, targets and broadcast signals. ValueError if dt is not positive."""

    x: Tensor  # [B, *in], or with time first [T, B, *in]
    target: Tensor | None = None
    loss: Loss | None = None  # (output, target) -> [B], summed over time; None = unsupervised
    signals: Mapping[str, Tensor] = field(default_factory=dict)  # broadcast third factors, [B] or [T, B]
    time: bool = False  # is x [T, B, *in]?
    dt: float | None = None  # ms per step

    def __post_init__(self) -> None:
        if self.dt is not None and not self.dt > 0:
            raise ValueError(f"dt: given {self.dt}, a step must be a positive number of ms")

    @property
    def size(self) -> int:
        return self.x.shape[int(self.time)]


class _Late:
    """A dataclass field that may be given as a function, called when the value is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, owner: type) -> Tensor:
        if record is None:
            raise AttributeError(self.name)  # no default
        value = record.__dict__[self.name]
        if not isinstance(value, Tensor):
            value = record.__dict__[self.name] = value()
        return value

    def __set__(self, record: Any, value: Any) -> None:
        record.__dict__[self.name] = value


@dataclass(frozen=True, eq=False)
class Record:
    """What one synapse group saw in one trial. Every tensor is detached; never guess the batch size from one."""

    name: str  # "hidden.input", "hidden.recurrent"
    synapse: nn.Module  # geometry only (stride, groups ...); its values are in `weight`
    weight: Tensor  # [post, *pre]
    pre: Tensor  # [(T,) B, *pre unit]   what arrived
    u: Tensor  # [(T,) B, *post unit]  total input of the post neuron: all its synapses and its bias
    post: Tensor  # [(T,) B, *post unit]  what left
    slope: _Late | Tensor = _Late()  # d post / d v: phi'(v), or the surrogate psi of a spike
    state: Mapping[str, Tensor] = field(default_factory=dict)  # v, a, ... like post
    dt: float | None = None  # ms per step

    @property
    def layer(self) -> str:
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Trial:
    """One play of the net. `inputs`, `outputs` and `weights` are in the graph: ask autograd for credit there."""

    batch: Batch
    records: Mapping[str, Record]  # by synapse; made when first looked at
    output: Tensor
    loss: Tensor | None  # [B]
    inputs: Mapping[str, Tensor | list[Tensor]]  # by layer: u, whole or step by step
    outputs: Mapping[str, Tensor]  # by layer: y as the next layer gets it
    weights: Mapping[str, Tensor]  # by synapse: what it transmitted with
    end: Mapping[str, dict[str, Tensor]]  # by layer: last state, detached, to start the next trial from


# ---------------------------------------------------------------------------------------------- play: the one forward
@dataclass
class _Run:  # what one layer did in one trial
    name: str
    layer: Layer
    pre: dict[str, Any] = field(default_factory=dict)  # by synapse: a tensor, or a list with None where it was silent
    u: Any = None  # a tensor, or a list
    states: list[dict[str, Tensor]] = field(default_factory=list)
    out: Tensor | None = None

    def named(self, synapse: str) -> str:
        return f"{self.name}.{synapse}" if self.name else synapse


@dataclass
class _Tape:
    names: Mapping[Layer, str] = field(default_factory=dict)
    forward: Mapping[str, Tensor] = field(default_factory=dict)
    backward: Mapping[str, Tensor | None] = field(default_factory=dict)
    add: Mapping[str, Tensor] = field(default_factory=dict)
    clamp: Mapping[str, Tensor] = field(default_factory=dict)
    start: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    dt: float | None = None
    runs: dict[str, _Run] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)

    def run(self, layer: Layer, again: bool = False) -> _Run:
        if self.runs is None:  # the net is used outside play: nothing is kept
            return _Run("", layer)
        name = self.names[layer]
        if name not in self.runs:
            self.runs[name] = _Run(name, layer)
        elif not again:
            raise ValueError(f"layer {name!r} ran twice in one trial: use step(s, t, ...) for each run")
        return self.runs[name]

    def send(self, name: str, synapse: nn.Module, x: Tensor) -> Tensor:
        if self.runs is None:
            return send(synapse, x, synapse.weight, synapse.bias)
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


_BLANK = _Tape()
_tape: ContextVar[_Tape] = ContextVar("tape", default=_BLANK)


class Layer(nn.Module):
    """One population of neurons and the synapses that drive it:  u = sum_s W_s x_s + b,  y = neuron(u).

    `input` (and each further synapse, such as `recurrent=nn.Linear(n, n)`, which carries the layer's own output of the
    step before) is a plain `nn.Linear`, `nn.Conv1d` or `nn.Conv2d`; `neuron` is a Neuron, or a function phi for y = phi(u).
    Without memory and recurrence everything is computed at once; else x is [T, B, ...] and only what must step, steps.
    """

    def __init__(self, input: nn.Module, neuron: Any = Rate(), **others: nn.Module) -> None:
        super().__init__()
        for m in (input, *others.values()):
            rank(m)
        self.input = input
        self.neuron: Neuron = neuron if hasattr(neuron, "step") else Rate(neuron)
        self.others = tuple(others)
        for k, m in others.items():
            self.add_module(k, m)

    def forward(self, x: Tensor) -> Tensor:
        tape = _tape.get()
        run = tape.run(self)
        run.pre["input"] = x
        drive = tape.send(run.named("input"), self.input, x)
        if not self.others and not self.neuron.memory:
            run.u = drive
            s = self.neuron.step({}, tape.at(run.name, ..., drive), tape.dt)
            run.out = s["y"] = self.neuron.out(s)
            run.states.append(s)
            return run.out
        s, ys, run.u = self.begin(), [], []
        for t, u in enumerate(drive.unbind(0)):  # unbind: indexing drive[t] would make the backward pass quadratic in T
            s = self._advance(tape, run, s, t, u, dict.fromkeys(self.others, s.get("y")))
            ys.append(s["y"])
        run.out = torch.stack(ys)
        return run.out

    def step(self, s: Mapping[str, Tensor], t: int, **x: Tensor | None) -> dict[str, Tensor]:
        """One instant, for a net with a time loop of its own: x[synapse], None where silent; returns the state with y."""
        tape = _tape.get()
        run = tape.run(self, again=t > 0)
        run.u = [] if t == 0 else run.u
        return self._advance(tape, run, s, t, None, x)

    def begin(self) -> dict[str, Tensor]:
        """The first state: that of `start`, or none."""
        tape = _tape.get()
        return dict(tape.start.get(tape.names.get(self, ""), {}))

    def _advance(
        self, tape: _Tape, run: _Run, s: Mapping[str, Tensor], t: int, u: Tensor | None, x: Mapping[str, Tensor | None]
    ) -> dict[str, Tensor]:
        for k, x_t in x.items():
            run.pre.setdefault(k, []).append(x_t)
            if x_t is not None:
                more = tape.send(run.named(k), getattr(self, k), x_t)
                u = more if u is None else u + more
        if u is None:
            raise ValueError(f"layer {run.name!r}: every synapse is silent at step {t}, its input is unknown")
        if run.u is not None:
            run.u.append(u)
        s = self.neuron.step(s, tape.at(run.name, t, u), tape.dt)
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
    names = {m: n for n, m in net.named_modules() if isinstance(m, Layer)}
    tape = _Tape(names, forward, backward, add, clamp, start, batch.dt, {})
    token = _tape.set(tape)
    try:
        output = net(batch.x)
    finally:
        _tape.reset(token)
    runs = tape.runs or {}
    return Trial(
        batch=batch,
        records=_Records(runs, tape.weights, batch.dt),
        output=output,
        loss=batch.loss(output, batch.target) if batch.loss else None,
        inputs={n: r.u for n, r in runs.items()},
        outputs={n: r.out for n, r in runs.items() if r.out is not None},
        weights=tape.weights,
        end={n: {k: v.detach() for k, v in r.states[-1].items()} for n, r in runs.items() if isinstance(r.u, list)},
    )


class _Records(Mapping[str, Record]):  # a record is made when it is first looked at: most credits read few of them
    def __init__(self, runs: Mapping[str, _Run], weights: Mapping[str, Tensor], dt: float | None) -> None:
        self._runs = {r.named(k): (r, k) for r in runs.values() for k in r.pre if r.named(k) in weights}
        self._weights, self._dt = weights, dt
        self._made: dict[str, Record] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, name: str) -> Record:
        if name not in self._made:
            self._made[name] = _record(name, *self._runs[name], self._weights[name], self._dt)
        return self._made[name]


def _record(name: str, run: _Run, synapse: str, weight: Tensor, dt: float | None) -> Record:
    whole = not isinstance(run.u, list)
    u = (run.u if whole else torch.stack(run.u)).detach()
    states = run.states
    state = {k: (v if whole else torch.stack([s[k] for s in states])).detach() for k, v in states[-1].items()}
    pre = run.pre[synapse]
    if isinstance(pre, list):
        silent = torch.zeros_like(next(x for x in pre if x is not None))
        pre = torch.stack([silent if x is None else x for x in pre])
    module = getattr(run.layer, synapse)
    slope = partial(_slope, run.layer.neuron, state)
    return Record(name, module, weight.detach(), pre.detach(), u, state["y"], slope, state, dt)


def _slope(neuron: Neuron, state: dict[str, Tensor]) -> Tensor:
    """d out / d v, once for the whole trial."""
    with torch.enable_grad():
        v = state["v"].clone().requires_grad_()
        return torch.autograd.grad(neuron.out({**state, "v": v}).sum(), v)[0]


def synapses(net: nn.Module) -> dict[str, nn.Module]:
    """Every synapse group of the net by name: "hidden.input", "hidden.recurrent"."""
    return {
        f"{n}.{k}" if n else k: getattr(m, k)
        for n, m in net.named_modules()
        if isinstance(m, Layer)
        for k in ("input", *m.others)
    }


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
    steps = {k: v if isinstance(v, list) else (v,) for k, v in wanted.items()}
    asked = {id(q): q for qs in steps.values() for q in qs if q.requires_grad}
    if not asked or not trial.loss.requires_grad:
        return {}
    down = torch.full_like(trial.loss, -scale)
    grads = torch.autograd.grad(trial.loss, list(asked.values()), down, retain_graph=keep, allow_unused=True)
    by_id = {i: g for i, g in zip(asked, grads, strict=True) if g is not None}
    found: dict[Any, Tensor] = {}
    for k, qs in steps.items():
        gs = [by_id.get(id(q)) for q in qs]
        if any(g is not None for g in gs):
            known = [torch.zeros_like(q) if g is None else g for g, q in zip(gs, qs, strict=True)]
            found[k] = torch.stack(known) if isinstance(wanted[k], list) else known[0]
    return found
