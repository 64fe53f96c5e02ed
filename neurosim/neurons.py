"""Neurons: state' = step(state, u, dt), y = out(state). Frozen values; one equation each, in its docstring.

Times in ms, potentials in mV. A neuron is given to a `Layer`, or to `scan` for its answer to a drive alone. The state is a
dict of tensors shaped like u, empty at the start; every step sets v, and the caller adds y = out(state).
Here are rate units and the adaptive LIF of e-prop; the other spiking neurons are in `spiking.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from neurosim.record import positive


class Neuron(Protocol):
    """A frozen value: state' = step(state, u, dt), y = out(state). `memory` says whether the state lasts."""

    @property
    def memory(self) -> bool: ...
    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        """One instant: reads the last state (which may be empty) and sets at least v."""
        ...

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        """y, elementwise in v."""
        ...


def identity(v: Tensor) -> Tensor:
    return v


@dataclass(frozen=True)
class Rate:
    """v <- a v + (1 - a) u,  y = phi(v);   a = exp(-dt / tau), or 0 without tau (ms). ValueError if tau is not positive."""

    phi: Callable[[Tensor], Tensor] = identity
    tau: float | None = None

    def __post_init__(self) -> None:
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"tau: given {self.tau}, a time constant must be a positive number of ms")

    @property
    def memory(self) -> bool:
        return self.tau is not None

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        if self.tau is None:
            return {"v": u}
        a = decay(self.tau, dt)
        return {"v": torch.lerp(u, s["v"], a) if "v" in s else (1 - a) * u}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return self.phi(s["v"])


# ---------------------------------------------------------------------------------------------- rate units
@dataclass(frozen=True)
class ThresholdLinear:
    """phi(v) = gain max(0, v - threshold). For `Rate(ThresholdLinear(...), tau)`."""

    gain: float = 1.0
    threshold: float = 0.0

    def __call__(self, v: Tensor) -> Tensor:
        return self.gain * (v - self.threshold).clamp(min=0)


@dataclass(frozen=True)
class Sigmoid:
    """phi(v) = y_max / (1 + exp(-gain (v - threshold))). For `Rate(Sigmoid(...), tau)`."""

    gain: float = 1.0
    threshold: float = 0.0
    y_max: float = 1.0

    def __call__(self, v: Tensor) -> Tensor:
        return self.y_max * (self.gain * (v - self.threshold)).sigmoid()


def decay(tau: float, dt: float | None) -> float:
    """exp(-dt / tau), exact. tau and dt in ms; ValueError where one is missing, not positive, or tau < dt."""
    if dt is None:
        raise ValueError(
            "dt: given None, but a neuron or trace with a time constant needs Batch(dt=...) in ms per step"
        )
    if not tau > 0:
        raise ValueError(f"tau: given {tau}, a time constant must be a positive number of ms")
    if not 0 < dt <= tau:
        allowed = (
            f"less than the step dt = {dt} ms: times are in ms" if dt > 0 else f"at a step dt = {dt} ms, not positive"
        )
        raise ValueError(f"tau: given {tau} ms, {allowed}")
    return math.exp(-dt / tau)


def surrogate_spike(x: Tensor, height: float = 0.3, scale: float = 1.0) -> Tensor:
    """H(x), with psi = height max(0, 1 - |x / scale|) as its derivative in x / scale (Bellec et al. 2020), written as a

    straight-through.
    """
    if not (x.requires_grad and torch.is_grad_enabled()):
        return x.sign().clamp_(min=0)  # faster than a comparison, whose result is of another type
    x = x / scale
    psi = height * (1 - x.detach().abs()).clamp(min=0)
    return (x.detach() > 0).to(x.dtype) + psi * (x - x.detach())


def apart(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """(excitation, inhibition), both at least 0, of several synapses: each one's drive by its sign."""
    excited = inhibited = None
    for u in parts:
        e = u.clamp(min=0)
        excited, inhibited = (e, e - u) if excited is None else (excited + e, inhibited + (e - u))
    return excited, inhibited


@dataclass(frozen=True)
class AdaptiveLIF:
    """Leaky integrate-and-fire with an adaptive threshold, reset by subtraction (Bellec et al. 2020, eqs 6-8).

        v <- alpha v + u - threshold z,   a <- rho a + z,   z = H((v - threshold - beta a) / threshold)
        alpha = exp(-dt / tau_m),  rho = exp(-dt / tau_a)

    beta = 0 is the plain LIF; beta may be a tensor, one number a unit. u and v share the unit of `threshold`, times in ms.
    For `refractory` ms, in whole steps, after a spike z = 0, and so is its slope; v goes on. State: v, a, and with
    `refractory` rest (steps of it that are left) and free (1 if there are none).
    """

    tau_m: float = 20.0
    threshold: float = 0.6
    tau_a: float = 2000.0
    beta: float | Tensor = 0.0
    refractory: float = 0.0
    memory: bool = True

    def __post_init__(self) -> None:
        positive(tau_m=self.tau_m, tau_a=self.tau_a, threshold=self.threshold)
        if not self.refractory >= 0:
            raise ValueError(f"refractory: given {self.refractory} ms, it must not be negative")

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        if not s:
            rested = {"free": torch.full_like(u, 1.0), "rest": torch.zeros_like(u)} if self.refractory else {}
            return {"v": u, "a": u * 0, **rested}
        z = s["y"]
        v = torch.add(u, s["v"], alpha=decay(self.tau_m, dt)).sub(z.detach(), alpha=self.threshold)
        # no credit through the reset
        held = {}
        if self.refractory:
            whole = int(self.refractory / dt + 1e-3)  # steps; no spike comes while some are left
            rest = torch.add((s["rest"] - 1).clamp_(min=0), z.detach(), alpha=whole)
            held = {"rest": rest, "free": (rest < 1).to(u.dtype)}
        return {"v": v, "a": torch.add(z, s["a"], alpha=decay(self.tau_a, dt)), **held}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        beta = self.beta.to(s["v"]) if isinstance(self.beta, Tensor) else self.beta
        z = surrogate_spike((s["v"] - self.threshold - beta * s["a"]) / self.threshold)
        return z * s["free"] if self.refractory else z


@dataclass(frozen=True)
class FirstToFire:
    """Of the neurons that reach threshold in one step, the one furthest above it fires alone: y_i = H(x_i) [x_i = max_j x_j].

    x = v - threshold; the others of a layer, of a place in a convolution, stay where they are (equals fire together). With
    strong lateral inhibition it is winner-take-all: the first to fire keeps the others from it. `neuron`: a spiking one
    whose threshold is constant, or given by its layer. State: the neuron's, and first (1 for the one that may fire).
    """

    neuron: Any
    memory: bool = True

    @property
    def v_threshold(self) -> float:
        return self.neuron.v_threshold

    @property
    def conductances(self) -> bool:
        return getattr(self.neuron, "conductances", False)

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        new = self.neuron.step(s, u, dt)
        x = (new["v"] - new["theta"] if "theta" in new else new["v"]).detach()
        return {**new, "first": (x >= x.amax(1, keepdim=True)).to(x.dtype)}  # [B, *unit]: axis 1 is that of the kinds

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return self.neuron.out(s) * s["first"]


@dataclass(frozen=True)
class LSTM:
    """c <- sigmoid(f + forget) c + sigmoid(i) tanh(g),   y = sigmoid(o) tanh(c),   u = (i, f, g, o).

    Four inputs a unit, u [..., 4 n] -> y [..., n]. Sources: Hochreiter & Schmidhuber 1997, Neural Comput 9:1735; the forget
    gate, open at first: Gers, Schmidhuber & Cummins 2000, Neural Comput 12:2451. State: v = c, o.
    """

    forget: float = 1.0
    memory: bool = True

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        i, f, g, o = u.chunk(4, -1)
        new = i.sigmoid() * g.tanh()
        return {"v": (f + self.forget).sigmoid() * s["v"] + new if "v" in s else new, "o": o.sigmoid()}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return s["o"] * s["v"].tanh()


# ---------------------------------------------------------------------------------------------- a run
def scan(
    neuron: Neuron, u: Any, dt: float | None = None, start: Mapping[str, Tensor] = {}
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """A neuron's answer to u [T, B, N] (a tuple of such for `ConductanceLIF`): y [T, B, N], its states {name: [T, B, N]},

    and the last state, to go on from: scan(n, u) is scan(n, u[:k]) and then scan(n, u[k:], start=end).
    ValueError where u has no time axis before the others.
    """
    parts = u if isinstance(u, tuple) else (u,)
    for p in parts:
        if p.dim() < 2 or len(p) < 1:
            raise ValueError(f"u: given the shape {list(p.shape)}, expected [T, B, N] with at least one step")
    s: dict[str, Tensor] = dict(start)
    run: list[dict[str, Tensor]] = []
    for x in zip(*(p.unbind(0) for p in parts), strict=True):
        s = neuron.step(s, x if isinstance(u, tuple) else x[0], dt)
        s["y"] = neuron.out(s)
        run.append(s)
    states = {k: torch.stack([r[k] for r in run]) for k in s}
    return states["y"], states, s
