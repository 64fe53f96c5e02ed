"""What users give, checked: one sentence that names the argument, what was given, what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurosim.engine.arrays import Array
from neurosim.engine.wiring import Wiring
from neurosim.escape import SRM0
from neurosim.rules.spike_rule import SpikeRule
from neurosim.spiking import LIF, ConductanceLIF


def numbers(name: str, value: Any) -> Array:
    try:
        return np.asarray(float if isinstance(value, str) else value, np.float64)  # "5" is no number
    except (TypeError, ValueError):
        raise ValueError(f"{name}: given {value!r}, expected a number or an array of numbers") from None


def number(name: str, value: Any) -> float:
    """Of what must be one number; NaN, which lies within no bounds, where it is several."""
    x = numbers(name, value)
    return math.nan if x.ndim else float(x)


def count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: given {value!r}, it must be a whole number, {least} or more")
    return int(value)


def per_unit(name: str, value: Any, n: int) -> Array:
    x = numbers(name, value)
    if x.shape not in ((), (n,)):
        raise ValueError(f"{name}: given the shape {list(x.shape)}, expected a number or one for each of {n} units")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: given NaN or inf, expected finite numbers")
    return np.broadcast_to(x, n).copy()


def weights_of(value: Any, wiring: Wiring, low: float, high: float, dtype: Any) -> Array:
    """One for each synapse; one number takes no room, and is read-only."""
    x = numbers("weight", value)
    if x.shape not in ((), (wiring.size,)):
        raise ValueError(
            f"weight: given the shape {list(x.shape)}, expected a number or one for each of {wiring.size} synapses"
        )
    if not np.isfinite(x).all():
        raise ValueError("weight: given NaN or inf, expected finite numbers")
    if x.size and x.max() > high:
        raise ValueError(f"w_max: given {high}, it must not lie below the initial weight {x.max():g}")
    if x.size and x.min() < low:
        raise ValueError(f"w_min: given {low}, it must not lie above the initial weight {x.min():g}")
    return np.array(x, dtype) if x.ndim else np.broadcast_to(x.astype(dtype), wiring.size)


MOST = 1_000_000  # steps of a delay: spikes are kept as long


def steps(name: str, value: Any, n: int, dt: float, least: int) -> Array:
    """Delays in steps, to the nearest, one number or one a unit."""
    x = per_unit(name, value, n)
    if x.min() < least * dt * (1 - 1e-6):
        allowed = f"at least dt = {dt} ms" if least else "0 ms or more"
        raise ValueError(f"{name}: given {x.min():g} ms, it must be {allowed}")
    if x.max() > MOST * dt:
        raise ValueError(f"{name}: given {x.max():g} ms, it must be at most {MOST:,} steps, {MOST * dt:g} ms")
    found = np.rint(x / dt).astype(np.int64)
    return found if np.ndim(value) else found[:1]


def normalising(value: Any, dt: float) -> tuple[float, float] | None:
    if value is None:
        return None
    x = numbers("normalise", value)
    if x.shape != (2,) or not (np.isfinite(x).all() and x[0] > 0):
        raise ValueError(f"normalise: given {value!r}, expected (sum, every ms) with a positive sum")
    whole("normalise", x[1], dt, 1)
    return float(x[0]), float(x[1])


def whole(name: str, value: float, dt: float, least: int = 0) -> int:
    """A time in whole steps. ValueError where it is none, or too short."""
    if not 0 <= number(name, value) < math.inf:
        raise ValueError(f"{name}: given {value!r} ms, it must be {least * dt:g} or more")
    n = round(value / dt)
    if abs(n * dt - value) > 1e-6 * max(dt, value) or n < least:
        raise ValueError(
            f"{name}: given {value} ms, it must be a whole number of steps of dt = {dt} ms, at least {least}"
        )
    return n


def channel_of(neuron: Any, tau_syn: float | None, onto: str | None, dt: float) -> tuple[Any, float | None]:
    """(key, tau) of the current or conductance that a projection adds to; tau None: it lasts one step."""
    if isinstance(neuron, ConductanceLIF):
        if onto not in ("g_e", "g_i"):
            raise ValueError(f"onto: given {onto!r}, a conductance synapse acts on 'g_e' or 'g_i'")
        tau = neuron.tau_e if onto == "g_e" else neuron.tau_i
        if tau_syn not in (None, tau):
            raise ValueError(f"tau_syn: given {tau_syn} ms, that of {onto} is the neuron's, {tau} ms")
        return onto, tau
    if onto is not None:
        raise ValueError(f"onto: given {onto!r}, only synapses onto ConductanceLIF choose what they act on")
    if isinstance(neuron, SRM0):
        if tau_syn not in (None, neuron.tau_s):
            raise ValueError(f"tau_syn: given {tau_syn} ms, that of SRM0 is the neuron's tau_s, {neuron.tau_s} ms")
        return neuron.tau_s, neuron.tau_s
    tau = neuron.tau_syn if tau_syn is None and isinstance(neuron, LIF) else tau_syn
    if tau is not None and not number("tau_syn", tau) >= dt:
        raise ValueError(f"tau_syn: given {tau} ms, it must be at least dt = {dt} ms: times are in ms")
    return tau, tau


def check_rule(rule: SpikeRule, dt: float) -> None:
    from neurosim.engine.rules import compiled

    if not isinstance(rule, SpikeRule):
        raise ValueError(f"rule: given {type(rule).__name__}, the engine runs spike rules, as pair() or triplet()")

    taus: dict[str, float] = {t.parameter or n: t.tau for n, t in rule.traces.items()}
    taus |= {"tau_e": min((m.tau_e for m in rule.terms if m.gate is not None), default=np.inf)}
    for name, tau in taus.items():
        if tau < dt:
            raise ValueError(f"{name}: given {tau} ms, less than the step dt = {dt} ms: times are in ms")
    compiled(rule)
