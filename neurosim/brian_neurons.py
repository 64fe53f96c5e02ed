"""Neurons printed as Brian2 code: the same equations, integrator and order of events as in `neurons.py` and `spiking.py`.

Their step reads u[t] in the step itself; in Brian2 u is a TimedArray u(t, i). What jumps with u (a conductance) jumps as a
step begins. Values in a namespace carry their unit, so nothing here needs Brian2; `brian.run_neuron` runs the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neurosim.escape import SRM0
from neurosim.neurons import AdaptiveLIF, Neuron, Rate, Sigmoid, ThresholdLinear, identity
from neurosim.record import Unsupported
from neurosim.spiking import LIF, STEEPEST, AdEx, ConductanceLIF, Izhikevich, Poisson

__all__ = ["NeuronCode", "Quantity", "neuron_code"]


class Quantity(NamedTuple):
    """A number and its unit as Brian2 writes it: 16.8*ms."""

    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value!r}*{self.unit}" if self.unit else repr(self.value)


@dataclass(frozen=True)
class NeuronCode:
    """What a `NeuronGroup` is made of, as strings. Where `threshold` is empty the output is the variable y."""

    model: str
    method: str  # Brian2's name of the integrator that the neuron uses: exact, exponential_euler, euler
    threshold: str = ""
    reset: str = ""
    refractory: str = ""  # the name of its parameter
    start: Mapping[str, str] = field(default_factory=dict)  # first values, as expressions
    each_step: Mapping[str, str] = field(default_factory=dict)  # run_regularly(text, when=key)
    namespace: Mapping[str, Quantity] = field(default_factory=dict)
    drive: Mapping[str, str] = field(default_factory=dict)  # its TimedArrays and their units, [T, N]
    states: Mapping[str, str] = field(default_factory=dict)  # what is recorded, and its unit in the package


def constants(neuron: Any, **units: str) -> dict[str, Quantity]:
    return {n: Quantity(float(getattr(neuron, n)), unit) for n, unit in units.items()}


def held(neuron: Any) -> tuple[str, str, dict[str, Quantity]]:
    """The flag of v's equation, the parameter and its value for a refractory period; nothing where it is 0."""
    if not neuron.refractory:
        return "", "", {}
    return " (unless refractory)", "refractory", constants(neuron, refractory="ms")


def neuron_code(neuron: Neuron) -> NeuronCode:
    """The neuron as Brian2 code. Unsupported, with a reason, where there is none."""
    for kind, printed in PRINTED.items():
        if isinstance(neuron, kind):
            return printed(neuron)
    known = ", ".join(k.__name__ for k in PRINTED)
    raise Unsupported(f"neuron: given {type(neuron).__name__}, which has no Brian2 form; there is one of {known}")


def lif(n: LIF) -> NeuronCode:
    flag, hold, fixed = held(n)
    fixed = constants(n, tau_m="ms", v_rest="mV", v_threshold="mV", v_reset="mV") | fixed
    model, jump, states = f"dv/dt = (v_rest - v + u(t, i))/tau_m : volt{flag}", {}, {"v": "mV"}
    if n.tau_syn is not None:
        tau = "tau_m" if n.tau_syn == n.tau_m else "tau_syn"  # one symbol if they are equal, else the solution is 0/0
        if tau == "tau_m" and hold:
            raise Unsupported(
                f"tau_syn: given {n.tau_syn} = tau_m, for which Brian2's exact integrator divides 0 by 0 where there is a "
                "refractory period; change one a little"
            )
        fixed[tau] = Quantity(float(n.tau_syn), "ms")
        model = f"dv/dt = (v_rest - v + I)/tau_m : volt{flag}\ndI/dt = -I/{tau} : volt"
        jump, states = {"before_groups": "I += u(t, i)"}, {"v": "mV", "I": "mV"}
    return NeuronCode(
        model, "exact", "v > v_threshold", "v = v_reset", hold, {"v": "v_rest"}, jump, fixed, {"u": "mV"}, states
    )


def conductance_lif(n: ConductanceLIF) -> NeuronCode:
    flag, hold, fixed = held(n)
    g = "(g_e + nmda*(g_n - g_e))" if n.nmda else "g_e"
    model = f"""dv/dt = (g_L*(E_L - v) + {g}*(E_e - v) + g_i*(E_i - v) + I)/C : volt{flag}
dg_e/dt = -g_e/tau_e : siemens
dg_i/dt = -g_i/tau_i : siemens"""
    fixed |= constants(
        n,
        C="pF",
        g_L="nS",
        E_L="mV",
        E_e="mV",
        E_i="mV",
        v_threshold="mV",
        v_reset="mV",
        tau_e="ms",
        tau_i="ms",
        I="pA",
    )
    if n.nmda:
        model += "\ndg_n/dt = (g_e - g_n)/tau_nmda : siemens"
        fixed |= constants(n, nmda="", tau_nmda="ms")
    start, spike, reset = {"v": "E_L"}, "v > v_threshold", "v = v_reset"
    if n.theta_plus:
        model += "\ndtheta/dt = -theta/tau_theta : volt"
        spike, reset, start = (
            "v > v_threshold + theta",
            "v = v_reset\ntheta += theta_plus",
            start | {"theta": f"{n.theta!r}*mV"},
        )
        fixed |= constants(n, theta_plus="mV", tau_theta="ms")
    return NeuronCode(
        model, "exponential_euler", spike, reset, hold, start,
        {"before_groups": "g_e += u_e(t, i)\ng_i += u_i(t, i)"}, fixed, {"u_e": "nS", "u_i": "nS"},
        {"v": "mV", "g_e": "nS", "g_i": "nS"} | ({"g_n": "nS"} if n.nmda else {}) | ({"theta": "mV"} if n.theta_plus else {}),
    )  # fmt: skip


def adaptive_lif(n: AdaptiveLIF) -> NeuronCode:
    if isinstance(n.beta, Tensor):
        raise Unsupported(
            "beta: given a tensor, but Brian2 code is printed for one number; print the neurons one by one"
        )
    if n.refractory:
        raise Unsupported(
            f"refractory: given {n.refractory} ms, but Brian2 code is printed for an AdaptiveLIF without it"
        )
    model = "dv/dt = -v/tau_m : 1\nda/dt = -a/tau_a : 1\nz : 1"  # z: did it spike in the last step?
    step = {"before_thresholds": "v += u(t, i) - threshold*z\na += z\nz = 0"}
    fixed = constants(n, tau_m="ms", threshold="", tau_a="ms", beta="")
    return NeuronCode(
        model, "exact", "v - threshold - beta*a > 0", "z = 1", "", {}, step, fixed, {"u": ""}, {"v": "", "a": ""}
    )


def adex(n: AdEx) -> NeuronCode:
    flag, hold, fixed = held(n)
    upstroke = f"g_L*Delta_T*exp(clip((v - v_T)/Delta_T, -inf, {STEEPEST:g}))"
    model = f"""dv/dt = (-g_L*(v - E_L) + {upstroke} - w + u(t, i))/C : volt{flag}
dw/dt = (a*(v - E_L) - w)/tau_w : amp"""
    fixed |= constants(
        n, C="pF", g_L="nS", E_L="mV", v_T="mV", Delta_T="mV", tau_w="ms", a="nS", b="pA", v_reset="mV", v_peak="mV"
    )
    return NeuronCode(
        model, "euler", "v > v_peak", "v = v_reset\nw += b", hold, {"v": "E_L"}, {}, fixed, {"u": "pA"},
        {"v": "mV", "w": "pA"},
    )  # fmt: skip


def izhikevich(n: Izhikevich) -> NeuronCode:
    model, step = "dv/dt = (0.04*v**2 + 5*v + 140 - r + u(t, i))/ms : 1\ndr/dt = a*(b*v - r)/ms : 1", {}
    if n.substeps > 1:  # his own scheme is none of Brian2's
        part = f"v += dt/ms/{n.substeps}*(0.04*v**2 + 5*v + 140 - r + u(t, i))\n"
        model, step = "v : 1\nr : 1", {"before_thresholds": part * n.substeps + "r += dt/ms*a*(b*v - r)"}
    return NeuronCode(
        model, "euler", "v > 30", "v = c\nr += d", "", {"v": "c", "r": "b*c"}, step, constants(n, a="", b="", c="", d=""),
        {"u": ""}, {"v": "", "r": ""},
    )  # fmt: skip


def rate(n: Rate) -> NeuronCode:
    known = {identity: "v", torch.tanh: "tanh(v)", torch.relu: "clip(v, 0, inf)", torch.sigmoid: "1/(1 + exp(-v))"}
    if isinstance(n.phi, ThresholdLinear):
        y, fixed = "gain*clip(v - threshold, 0, inf)", constants(n.phi, gain="", threshold="")
    elif isinstance(n.phi, Sigmoid):
        y, fixed = "y_max/(1 + exp(-gain*(v - threshold)))", constants(n.phi, gain="", threshold="", y_max="")
    elif n.phi in known:
        y, fixed = known[n.phi], {}
    else:
        raise Unsupported(
            f"phi: given {n.phi}, whose formula is not known; there is ThresholdLinear, Sigmoid, tanh, relu, sigmoid, identity"
        )
    if n.tau is None:
        v = "v = u(t, i) : 1"
    else:
        v, fixed = "dv/dt = (u(t, i) - v)/tau : 1", {**fixed, "tau": Quantity(float(n.tau), "ms")}
    return NeuronCode(f"{v}\ny = {y} : 1", "exact", namespace=fixed, drive={"u": ""}, states={"v": "", "y": ""})


def poisson(n: Poisson) -> NeuronCode:
    model = "v = 1 - exp(-u(t, i)*dt) : 1"
    return NeuronCode(model, "exact", "rand() < v", drive={"u": "Hz"}, states={"v": ""})


def srm0(n: SRM0) -> NeuronCode:
    fixed = constants(n, tau_m="ms", tau_s="ms", chi="mV", theta="mV", Delta_u="mV", rho0="Hz")
    fixed["J"] = Quantity(n.eps0 / n.tau_s, "mV")
    model = "dv/dt = (I - v)/tau_m : volt\ndI/dt = -I/tau_s : volt"
    drawn = f"rand() < 1 - exp(-rho0*dt*exp(clip((v - theta)/Delta_u, -inf, {STEEPEST:g})))"
    return NeuronCode(
        model, "exact", drawn, "v = chi\nI = 0*mV", "", {}, {"before_groups": "I += u(t, i)*J"}, fixed, {"u": ""},
        {"v": "mV", "I": "mV"},
    )  # fmt: skip


PRINTED: Mapping[type, Callable[[Any], NeuronCode]] = {
    LIF: lif, ConductanceLIF: conductance_lif, AdaptiveLIF: adaptive_lif, AdEx: adex, Izhikevich: izhikevich, Rate: rate,
    Poisson: poisson, SRM0: srm0,
}  # fmt: skip
