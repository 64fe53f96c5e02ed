"""A neuron value as the constants that its compiled step needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from neurosim.engine import arrays
from neurosim.escape import SRM0
from neurosim.neurons import AdaptiveLIF, decay
from neurosim.plasticity import Unsupported
from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson, response


class Kind(NamedTuple):
    """A neuron's constants. par: threshold, reset, weight of the drive, then its own; jump: what x grows by at a spike."""

    kind: int
    par: list[float]
    jump: float
    v: float
    x: float
    channels: tuple[tuple[Any, float], ...] = ()  # (key, tau) that it has whatever is connected
    refractory: float = 0.0
    substeps: int = 1


def lif(n: LIF, dt: float) -> Kind:
    a = decay(n.tau_m, dt)
    par = [n.v_threshold, n.v_reset, 1 - a, a, (1 - a) * n.v_rest]
    return Kind(arrays.LIF, par, 0.0, n.v_rest, 0.0, (), n.refractory)


def conductance(n: ConductanceLIF, dt: float) -> Kind:
    par = [n.v_threshold, n.v_reset, 1.0, n.g_L, n.g_L * n.E_L + n.I, n.E_e, n.E_i, dt / n.C]
    channels = ("g_e", n.tau_e), ("g_i", n.tau_i)
    if n.theta_plus:
        if n.nmda:
            raise Unsupported(f"theta_plus: given {n.theta_plus} with nmda = {n.nmda}, the engine has one of the two")
        par += [decay(n.tau_theta, dt)]
        return Kind(arrays.HOMEOSTATIC, par, n.theta_plus, n.E_L, n.theta, channels, n.refractory)
    par += [n.nmda, decay(n.tau_nmda, dt)]
    return Kind(arrays.CONDUCTANCE, par, 0.0, n.E_L, 0.0, channels, n.refractory)


def adex(n: AdEx, dt: float) -> Kind:
    par = [n.v_peak, n.v_reset, 1.0, n.g_L, n.E_L, n.v_T, n.Delta_T, dt / n.C, n.a, dt / n.tau_w]
    return Kind(arrays.ADEX, par, n.b, n.E_L, 0.0, (), n.refractory)


def izhikevich(n: Izhikevich, dt: float) -> Kind:
    par = [30.0, n.c, 1.0, dt / n.substeps, dt * n.a, n.b, 0.04, 5.0, 140.0]
    return Kind(arrays.IZHIKEVICH, par, n.d, n.c, n.b * n.c, substeps=n.substeps)


def adaptive(n: AdaptiveLIF, dt: float) -> Kind:
    alpha, rho = decay(n.tau_m, dt), decay(n.tau_a, dt)
    if not isinstance(n.beta, int | float):
        raise Unsupported("beta: given a tensor, in the engine it is one number a population")
    if n.refractory:
        raise Unsupported(f"refractory: given {n.refractory} ms, in the engine an AdaptiveLIF has none")
    return Kind(
        arrays.ADAPTIVE, [n.threshold, 0.0, 1.0, alpha, rho, n.beta, n.threshold / alpha, 1 / rho], 0.0, 0.0, 0.0
    )


def escape(n: SRM0, dt: float) -> Kind:
    a = decay(n.tau_m, dt)
    par = [-math.inf, n.chi, 1 - a, a, 0.0, n.theta, n.Delta_u, n.rho0 * dt / 1000]
    return Kind(arrays.ESCAPE, par, 0.0, 0.0, 0.0)


KINDS: dict[type, Callable[[Any, float], Kind]] = {
    LIF: lif, ConductanceLIF: conductance, AdEx: adex, Izhikevich: izhikevich, AdaptiveLIF: adaptive,
    SRM0: escape,
    Poisson: lambda n, dt: Kind(arrays.POISSON, [0.0], 0.0, 0.0, 0.0),
}  # fmt: skip


def kind_of(neuron: Any, dt: float) -> Kind:
    make = KINDS.get(type(neuron))
    return make(neuron, dt) if make else Kind(arrays.TRAINS, [0.0], 0.0, 0.0, 0.0)


def factor_of(neuron: Any, tau: float | None, dt: float) -> float:
    """What a channel's value at the start of a step counts by: for LIF and SRM0 the exact solution, for others as it is."""
    if isinstance(neuron, SRM0):
        return neuron.eps0 / neuron.tau_s * response(neuron.tau_m, neuron.tau_s, dt)
    if not isinstance(neuron, LIF):
        return 1.0
    a = decay(neuron.tau_m, dt)
    if tau is None:
        return 1 - a
    return response(neuron.tau_m, tau, dt)
