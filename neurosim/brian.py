"""Brian2, the independent reference of spike-timing rules and neurons: what they do there, and their code for it.

    synapse_code(rule), script(rule)     the rule as model, on_pre, on_post ...; a whole program to paste (`brian_rules.py`)
    run_rule(rule, pre, post, w, dt)     the change of w that Brian2 finds, in its runtime or as C++
    neuron_code(neuron)                  the neuron as equations, threshold, reset ... (`brian_neurons.py`)
    run_neuron(neuron, u, dt)            its spikes and states as Brian2 finds them
    network_code(net)                    an engine network, with its wiring, weights and inputs (`brian_network.py`)
    run_network(net, duration)           its spikes and last weights as Brian2 finds them

Printing needs no Brian2; running leaves its device, preferences and clock as they were. Times in ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurosim.brian_network import NetworkCode, network_code
from neurosim.brian_neurons import NeuronCode, Quantity, neuron_code
from neurosim.brian_rules import SynapseCode, script, synapse_code
from neurosim.neurons import Neuron
from neurosim.rules.spike_rule import SpikeRule
from neurosim.rules.trains import decay_of
from neurosim.traces import is_train

if TYPE_CHECKING:
    from neurosim.engine import Network, Population, Projection

__all__ = [
    "NetworkCode", "NetworkRun", "NeuronCode", "Quantity", "Run", "SynapseCode", "network", "network_code", "neuron_code",
    "run_network", "run_neuron", "run_rule", "script", "synapse_code",
]  # fmt: skip


@contextmanager
def device(standalone: bool) -> Iterator[Any]:
    """brian2, with its runtime device or a C++ one that builds in a folder of its own; the former device comes back."""
    import brian2
    from brian2.devices.device import get_device, reset_device, set_device

    if not standalone:
        set_device("runtime")
        try:
            yield brian2
        finally:
            reset_device()
        return
    if "cpp_standalone" in type(get_device()).__module__:
        raise ValueError("standalone: given True, but Brian2 is in C++ standalone mode already and has one such device")
    with TemporaryDirectory(prefix="neurosim_brian_") as folder:
        set_device("cpp_standalone", directory=folder, with_output=False)
        own = get_device()
        try:
            yield brian2
        finally:
            own.reinit()
            reset_device()


def quantities(brian2: Any, namespace: Mapping[str, Quantity]) -> dict[str, Any]:
    return {n: q.value * getattr(brian2, q.unit) if q.unit else q.value for n, q in namespace.items()}


def check_shapes(pre: Tensor, post: Tensor, w: Tensor, dt: float) -> None:
    if pre.dim() != 2 or post.dim() != 2 or len(pre) != len(post):
        raise ValueError(f"pre, post: given {list(pre.shape)} and {list(post.shape)}, expected [T, N] of the same T")
    for name, x in (("pre", pre), ("post", post)):
        if not is_train(x):
            raise ValueError(f"{name}: given no train of spikes, it holds other numbers than 0 and 1")
    shapes = [[post.shape[1], pre.shape[1]], *([[pre.shape[1]]] if pre.shape[1] == post.shape[1] else [])]
    if list(w.shape) not in shapes:
        raise ValueError(f"w: given the shape {list(w.shape)}, allowed are {' or '.join(map(str, shapes))}")
    if not dt > 0:
        raise ValueError(f"dt: given {dt}, a step must be a positive number of ms")


def check_steps(rule: SpikeRule, dt: float) -> None:
    """ValueError where a time constant is shorter than a step, as on tensors."""
    for n, z in rule.traces.items():
        decay_of(z.parameter or n, z.tau, dt)
    for m in rule.terms:
        if m.gate is not None:
            decay_of("tau_e", m.tau_e, dt)


def run_rule(
    rule: SpikeRule,
    pre: Tensor,
    post: Tensor,
    w: Tensor,
    dt: float,
    third: Mapping[str, Tensor] = {},
    w_min: float | None = None,
    w_max: float | None = None,
    standalone: bool = False,
) -> Tensor:
    """The change of w under trains of 0 and 1, pre [T, N], post [T, M], as Brian2 finds it.

    w [M, N] is all-to-all, w [N] one-to-one (M = N). `third` are modulators, [T] or [T, M]. `standalone` builds and runs C++.
    ValueError for shapes that do not fit, a step above a time constant, modulators that lack; Unsupported where it
    cannot be printed.
    """
    check_shapes(pre, post, w, dt)
    check_steps(rule, dt)
    code = synapse_code(rule, w_min, w_max)
    if lacking := set(code.third) - set(third):
        raise ValueError(f"third: given {sorted(third)}, but the rule reads {sorted(lacking)[0]}")
    with device(standalone) as b:
        clock, step = b.Clock(dt * b.ms), dt * b.ms  # one clock for all: the order within a step is that of their slots
        ns = quantities(b, code.namespace)
        for n in code.third:
            M = third[n].double().reshape(len(pre), -1).expand(-1, post.shape[1])
            ns[n] = b.TimedArray(M.numpy(), dt=step)
        groups = []
        for x in (pre, post):
            t, i = x.nonzero().T.numpy()
            groups.append(b.SpikeGeneratorGroup(x.shape[1], i, t * step, clock=clock))
        S = b.Synapses(
            *groups, code.model, on_pre=code.on_pre, on_post=code.on_post, method=code.method, namespace=ns, clock=clock
        )
        j, i = torch.ones(w.shape).nonzero().T.numpy()[[0, -1]]
        S.connect(i=i, j=j)
        S.w = w.double().flatten().numpy()
        for n, x in code.start.items():
            getattr(S, n).set_item(slice(None), x, namespace={})
        for when, text in (("before", code.before), ("after", code.after)):
            if text:
                S.run_regularly(text, when=f"{when}_synapses", clock=clock)
        b.Network(*groups, S).run(len(pre) * step, namespace={})
        return torch.tensor(S.w[:]).reshape(w.shape) - w


class Run(NamedTuple):
    """What a neuron did: y [T, N], and its states as of after each step, before the reset, {name: [T, N]}."""

    y: Tensor
    states: dict[str, Tensor]


def run_neuron(neuron: Neuron, u: Any, dt: float, standalone: bool = False) -> Run:
    """`scan` in Brian2: a neuron's answer to u [T, N] (or the pair (u_e, u_i), see `ConductanceLIF`), in its units.

    Unsupported where the neuron cannot be printed. Poisson draws numbers of Brian2's own.
    """
    code = neuron_code(neuron)
    parts = u if isinstance(u, tuple) else (u,) if len(code.drive) == 1 else (u.clamp(min=0), (-u).clamp(min=0))
    if len(parts) != len(code.drive) or any(p.dim() != 2 for p in parts) or not dt > 0:
        given = [list(p.shape) for p in parts]
        raise ValueError(
            f"u, dt: given the shapes {given} and {dt}, expected {len(code.drive)} of [T, N], and dt > 0 in ms"
        )
    with device(standalone) as b:
        clock, step = b.Clock(dt * b.ms), dt * b.ms  # one clock for all: the order within a step is that of their slots
        ns = quantities(b, code.namespace)
        for (n, unit), p in zip(code.drive.items(), parts, strict=True):
            ns[n] = b.TimedArray(p.detach().double().numpy() * (getattr(b, unit) if unit else 1), dt=step)
        T, N = parts[0].shape
        events = {k: getattr(code, k) for k in ("threshold", "reset") if getattr(code, k)}
        held = {"refractory": ns[code.refractory]} if code.refractory else {}
        G = b.NeuronGroup(N, code.model, method=code.method, namespace=ns, clock=clock, **events, **held)
        for n, x in code.start.items():
            getattr(G, n).set_item(slice(None), x, namespace={})
        for when, text in code.each_step.items():
            G.run_regularly(text, when=when, clock=clock)
        seen = b.StateMonitor(G, list(code.states), record=True, when="after_thresholds", clock=clock)
        spikes = b.SpikeMonitor(G) if code.threshold else None
        b.Network(G, seen, *([spikes] if spikes is not None else [])).run(T * step, namespace={})
        units = {n: float(getattr(b, unit)) if unit else 1.0 for n, unit in code.states.items()}
        states = {n: torch.tensor(getattr(seen, f"{n}_")).T / units[n] for n in units}
        if spikes is None:
            return Run(states.pop("y"), states)
        y = torch.zeros(T, N, dtype=torch.float64)
        y[(torch.tensor(spikes.t_[:]) / float(step)).round().long(), torch.tensor(spikes.i[:]).long()] = 1
        return Run(y, states)


# ---------------------------------------------------------------------------------------------- a network
class NetworkRun(NamedTuple):
    """Spikes (times [spikes] ms, units [spikes]) by population that is no input, last weights [synapses] by projection."""

    spikes: dict[Population, tuple[np.ndarray, np.ndarray]]
    w: dict[Projection, np.ndarray]


def run_network(
    net: Network,
    duration: float,
    drawn: Mapping[Population, Any] = {},
    signals: Mapping[str, float] = {},
    standalone: bool = False,
) -> NetworkRun:
    """`duration` ms of an engine network from its beginning, whatever it has run since, as Brian2 finds them.

    drawn: the spikes (time, unit) of its Poisson populations, as a `Recording` has them. signals: constant modulators.
    ValueError and Unsupported as of `network_code`.
    """
    code = network_code(net, drawn, signals)
    with device(standalone) as b:
        whole, groups, synapses = network(b, code)
        seen = {p: b.SpikeMonitor(groups[p.index]) for p in net.populations if code.populations[p.index].code}
        whole.add(*seen.values())
        whole.run(duration * b.ms, namespace={})
        step = code.dt * 1e-3
        spikes = {p: (np.rint(m.t_[:] / step) * code.dt, np.array(m.i[:])) for p, m in seen.items()}
        w = [np.zeros(0) if s is None else np.array(s.w[:]) for s in synapses]
        return NetworkRun(spikes, dict(zip(net.projections, w, strict=True)))


def network(b: Any, code: NetworkCode) -> tuple[Any, list[Any], list[Any]]:
    """(Brian2 network, a group by population, Synapses by projection or None where there are none), on the present device;
    b: brian2."""
    clock, step = b.Clock(code.dt * b.ms), code.dt * b.ms  # one clock for all, as in run_rule
    whole, groups, synapses = b.Network(), [], []
    for p in code.populations:
        if p.code is None:
            groups.append(b.SpikeGeneratorGroup(p.n, p.units, p.steps * step, clock=clock))
            continue
        ns = quantities(b, p.code.namespace)
        held = {"refractory": ns[p.code.refractory]} if p.code.refractory else {}
        G = b.NeuronGroup(
            p.n, p.code.model, method=p.code.method, threshold=p.code.threshold, reset=p.code.reset, namespace=ns,
            clock=clock, **held,
        )  # fmt: skip
        for n, (x, unit) in p.values.items():
            setattr(G, n, x * (getattr(b, unit) if unit else 1))
        for n, text in p.code.start.items():
            getattr(G, n).set_item(slice(None), text, namespace={})
        for when, text in p.code.each_step.items():
            G.run_regularly(text, when=when, clock=clock)
        groups.append(G)
    for q in code.projections:
        if not len(q.i):
            synapses.append(None)
            continue
        ns = quantities(b, q.code.namespace)
        for n, x in q.signals.items():
            ns[n] = b.TimedArray(np.full((1, code.populations[q.post].n), x), dt=step)  # its last row goes on
        S = b.Synapses(
            groups[q.pre], groups[q.post], q.code.model, on_pre=q.code.on_pre, on_post=q.code.on_post or None,
            method=q.code.method, namespace=ns, clock=clock,
        )  # fmt: skip
        S.connect(i=q.i, j=q.j)
        S.w = q.w
        S.pre.delay = q.axonal * step
        if q.code.on_post:
            S.post.delay = q.dendritic * step
        for n, text in q.code.start.items():
            getattr(S, n).set_item(slice(None), text, namespace={})
        for when, text in (("before", q.code.before), ("after", q.code.after)):
            if text:
                S.run_regularly(text, when=f"{when}_synapses", clock=clock)
        if q.normalise:
            whole.add(normalised(b, S, q.j, *q.normalise, q.bounds, clock))
        synapses.append(S)
    whole.add(*groups, *(S for S in synapses if S is not None))
    return whole, groups, synapses


def normalised(b: Any, S: Any, j: np.ndarray, total: float, every: int, bounds: tuple[float, float], clock: Any) -> Any:
    """An operation that scales each post unit's weights to their sum at the end of every so many steps, then clips them."""

    def scale(t: Any) -> None:
        if (round(float(t / clock.dt)) + 1) % every == 0:
            w = S.w[:]
            sums = np.bincount(j, w)[j]
            S.w = np.clip(w * np.divide(total, sums, out=np.ones_like(w), where=sums > 0), *bounds)

    return b.NetworkOperation(scale, clock=clock, when="end")
