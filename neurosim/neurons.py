"""Neurons: state' = step(state, u, dt), y = out(state). Frozen values; one equation each, in its docstring.

Times are in ms. A neuron is given to a `Layer`; the state is a dict of tensors shaped like u, and is empty at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


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
        return {"v": a * s["v"] + (1 - a) * u if "v" in s else (1 - a) * u}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return self.phi(s["v"])


def decay(tau: float, dt: float | None) -> float:
    """exp(-dt / tau), exact. tau and dt in ms; ValueError where dt is missing or tau is not positive."""
    if dt is None:
        raise ValueError(
            "dt: given None, but a neuron or trace with a time constant needs Batch(dt=...) in ms per step"
        )
    if not tau > 0:
        raise ValueError(f"tau: given {tau}, a time constant must be a positive number of ms")
    return 2.718281828459045 ** (-dt / tau)


def surrogate_spike(x: Tensor, height: float = 0.3) -> Tensor:
    """H(x), with psi = height max(0, 1 - |x|) as its derivative (Bellec et al. 2020), written as a straight-through."""
    psi = height * (1 - x.detach().abs()).clamp(min=0)
    return (x.detach() > 0).to(x.dtype) + psi * (x - x.detach())


@dataclass(frozen=True)
class AdaptiveLIF:
    """Leaky integrate-and-fire with an adaptive threshold, reset by subtraction (Bellec et al. 2020, eqs 6-8).

        v <- alpha v + u - threshold z,   a <- rho a + z,   z = H((v - threshold - beta a) / threshold)
        alpha = exp(-dt / tau_m),  rho = exp(-dt / tau_a)

    beta = 0 is the plain LIF; beta may be a tensor, one number a unit. u and v share the unit of `threshold`, tau in ms.
    """

    tau_m: float = 20.0
    threshold: float = 0.6
    tau_a: float = 2000.0
    beta: float | Tensor = 0.0
    memory: bool = True

    def __post_init__(self) -> None:
        for name in ("tau_m", "tau_a", "threshold"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: given {getattr(self, name)}, it must be positive")

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        if not s:
            return {"v": u, "a": u * 0}
        z = s["y"]
        v = decay(self.tau_m, dt) * s["v"] + u - self.threshold * z.detach()  # no credit through the reset
        return {"v": v, "a": decay(self.tau_a, dt) * s["a"] + z}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return surrogate_spike((s["v"] - self.threshold - self.beta * s["a"]) / self.threshold)
