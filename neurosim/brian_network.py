"""An engine network printed for Brian2: each population's and projection's code, and the arrays that go with it.

It is the network as it was before its first run: its first potentials, drives and weights. What a projection sends is
a line before the rule's own: I_post += w, then the change of w. Currents of `LIF` and conductances decay by Brian2's own exact
integration; beside an Euler integrator, and for `AdaptiveLIF`, they are multiplied by exp(-dt/tau) once v has read them.
AdEx's w is w_adapt here, w is the synapse's.
Nothing here needs Brian2; `brian.run_network` runs it. Times in ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosim.brian_neurons import NeuronCode, Quantity, neuron_code
from neurosim.brian_rules import SynapseCode, synapse_code
from neurosim.engine.parts import INPUTS, Population, Projection, SpikeTrains
from neurosim.escape import SRM0
from neurosim.record import Unsupported
from neurosim.spiking import LIF, AdEx, ConductanceLIF

if TYPE_CHECKING:
    from neurosim.engine.network import Network

__all__ = ["NetworkCode", "PopulationCode", "ProjectionCode", "network_code"]


@dataclass(frozen=True)
class PopulationCode:
    """`code` and its arrays [n], by variable, with their units; or spikes: the steps and units of an input population."""

    n: int
    code: NeuronCode | None
    values: Mapping[str, tuple[Any, str]]
    steps: Any = ()
    units: Any = ()


@dataclass(frozen=True)
class ProjectionCode:
    """`code` and synapses [S]: pre unit i, post unit j, w, and delays in steps."""

    pre: int  # populations
    post: int
    code: SynapseCode
    i: Any
    j: Any
    w: Any
    axonal: Any
    dendritic: Any
    signals: Mapping[str, float]
    normalise: tuple[float, int] | None  # sum, every so many steps
    bounds: tuple[float, float]  # of w


@dataclass(frozen=True)
class NetworkCode:
    dt: float
    populations: tuple[PopulationCode, ...]
    projections: tuple[ProjectionCode, ...]


def network_code(net: Network, drawn: Mapping[Population, Any] = {}, signals: Mapping[str, float] = {}) -> NetworkCode:
    """The network as Brian2 code. `drawn`: the spikes (time, unit) of Poisson populations; signals: constant modulators, 0 if
    not given. ValueError where a Poisson population's spikes lack, Unsupported, with a reason, for what cannot be printed.
    """
    if net.gate_steps > 1:
        raise Unsupported(
            f"gate_every: given {net.gate_steps * net.dt:g} ms, eligibility is printed for every step alone"
        )
    channels = {p: channels_of(net, p) for p in net.populations}
    populations = tuple(population_code(p, channels[p], net.dt, drawn.get(p)) for p in net.populations)
    projections = []
    for q in net.projections:
        neurons, name = populations[q.post.index].code, channels[q.post][q.onto][0]
        unit = "nS" if q.onto in ("g_e", "g_i") else neurons.drive["u"]
        owned = {n: p for p in (q.pre, q.post) for n in names_of(populations[p.index].code)}
        projections.append(projection_code(q, name, unit, owned, signals))
    return NetworkCode(net.dt, populations, tuple(projections))


# ---------------------------------------------------------------------------------------------- populations
def channels_of(net: Network, p: Population) -> dict[Any, tuple[str, float | None]]:
    """{what a projection adds to: (its variable, its time constant)}; there is one current by time constant."""
    keys = {q.onto: q.tau_syn for q in net.projections if q.post is p}
    return {
        key: (key if isinstance(key, str) else "I" if len(keys) == 1 else f"I_{k}", tau)
        for k, (key, tau) in enumerate(keys.items())
    }


def population_code(
    p: Population, channels: Mapping[Any, tuple[str, float | None]], dt: float, drawn: Any
) -> PopulationCode:
    if isinstance(p.neuron, INPUTS):
        if isinstance(p.neuron, SpikeTrains):
            time, unit = p.neuron.time, p.neuron.unit
        elif drawn is None:
            raise ValueError(f"drawn: given no spikes of {p!r}; record them, Brian2 would draw others")
        else:
            time, unit = drawn
        steps = np.rint(np.asarray(time) / dt).astype(int)
        return PopulationCode(p.n, None, {}, steps, np.asarray(unit, int))
    if isinstance(p.neuron, SRM0):
        raise Unsupported(f"{p!r}: its spikes are drawn, and Brian2 draws numbers of its own; print the neuron alone")
    code = driven(p.neuron, dict(channels.values()))
    unit = code.states["v"]
    values = {"drive": (p.first_drive, "pA" if isinstance(p.neuron, ConductanceLIF) else code.drive["u"])}
    if p.first_v is not None:
        values["v"] = p.first_v, unit
        start = {n: x for n, x in code.start.items() if n != "v"}
        code = replace(code, start={n: "b*v" if n == "r" else x for n, x in start.items()})
    return PopulationCode(p.n, code, values)


def driven(neuron: Any, currents: Mapping[str, float | None]) -> NeuronCode:
    """The neuron's code, its input u the sum of a constant drive and of currents, {name: tau}; tau None lasts one step."""
    if isinstance(neuron, ConductanceLIF):
        code = neuron_code(neuron)
        model = code.model.replace("+ I)/C", "+ I + drive)/C") + "\ndrive : amp (constant)"
        return replace(code, model=model, each_step={})
    exact = isinstance(neuron, LIF)
    code = neuron_code(replace(neuron, tau_syn=None) if exact else neuron)
    code = renamed(code, "w", "w_adapt") if isinstance(neuron, AdEx) else code
    unit = code.drive["u"]
    dimension, fixed = {"mV": "volt", "pA": "amp", "": "1"}[unit], dict(code.namespace)
    lines, after = [f"u = {' + '.join(['drive', *currents])} : {dimension}", f"drive : {dimension} (constant)"], []
    for name, tau in currents.items():
        symbol = f"tau_{name}"
        if tau is not None and exact and tau == neuron.tau_m:  # one symbol if they are equal, else the solution is 0/0
            if neuron.refractory:
                raise Unsupported(
                    f"tau_syn: given {tau} = tau_m, for which Brian2's exact integrator divides 0 by 0 where there is a "
                    "refractory period; change one a little"
                )
            symbol = "tau_m"
        elif tau is not None:
            fixed[symbol] = Quantity(float(tau), "ms")
        if tau is not None and exact:
            lines.append(f"d{name}/dt = -{name}/{symbol} : {dimension}")
        else:
            lines.append(f"{name} : {dimension}")
            after.append(f"{name} = {f'{name}*exp(-dt/{symbol})' if tau is not None else f'0*{name}'}")
    told = {when: text.replace("u(t, i)", "u") for when, text in code.each_step.items()}
    if after:
        told["before_thresholds"] = "\n".join([*filter(None, [told.get("before_thresholds")]), *after])
    model = "\n".join([code.model.replace("u(t, i)", "u"), *lines])
    return replace(code, model=model, each_step=told, namespace=fixed)


def renamed(code: NeuronCode, old: str, new: str) -> NeuronCode:
    """The code with another name for a variable that jumps at resets: Brian2 knows one w only."""
    name = lambda text: re.sub(rf"\b(d?){old}\b", rf"\g<1>{new}", text)  # noqa: E731
    states = {name(n): unit for n, unit in code.states.items()}
    return replace(code, model=name(code.model), reset=name(code.reset), states=states)


def names_of(code: NeuronCode | None) -> set[str]:
    """The variables of a population."""
    found = [] if code is None else re.findall(r"^(?:d(\w+)/dt|(\w+)) [:=]", code.model, re.MULTILINE)
    return {x or y for x, y in found} | {"lastspike"}


# ---------------------------------------------------------------------------------------------- projections
def projection_code(
    q: Projection, channel: str, unit: str, owned: Mapping[str, Population], signals: Mapping[str, float]
) -> ProjectionCode:
    low, high = (x if np.isfinite(x) else None for x in (q.w_min, q.w_max))
    code = SynapseCode("w : 1", "", "") if q.rule is None else synapse_code(q.rule, low, high)
    mine = {*code.namespace, *code.third, *(q.rule.traces if q.rule else ())}
    if twice := sorted(mine & owned.keys()):
        raise Unsupported(
            f"rule: {twice[0]} is a name of the rule and of {owned[twice[0]]!r}, which Brian2 takes for one"
        )
    send = f"{channel}_post += w*{unit}" if unit else f"{channel}_post += w"
    code = replace(code, on_pre="\n".join(filter(None, [send, code.on_pre])))
    i, j = q.pre_index, q.post_index
    each = lambda steps, unit: steps if len(steps) == 1 else steps[unit]  # noqa: E731
    every = None if q.normalise is None else (q.normalise[0], round(q.normalise[1] / q.net.dt))
    return ProjectionCode(
        q.pre.index, q.post.index, code, i, j, q.first_w, each(q.axonal, i), each(q.dendritic, j),
        {n: float(signals.get(n, 0.0)) for n in code.third}, every, (q.w_min, q.w_max),
    )  # fmt: skip
