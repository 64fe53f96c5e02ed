"""How a number becomes spikes: rate (Poisson), latency (time to the first spike), or a current that is no spike at all.

    code = PoissonCode(top=500.0);   x [B, *in] from 0 to 1  ->  code(x, steps, dt, generator) [T, B, *in]

Every code is a frozen value; only the Poisson code draws from the generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from neurosim.record import positive


@runtime_checkable
class Code(Protocol):
    """What `SpikeTrains` asks of a code."""

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        """x [B, *in] from 0 to 1 -> [T, B, *in] in so many steps of dt ms."""
        ...


@dataclass(frozen=True)
class PoissonCode:
    """P(y[t] = 1) = 1 - exp(-rate dt),   rate = top x in Hz: a Poisson process seen in steps (Adrian & Zotterman 1926).

    ValueError for a top that is not positive.
    """

    top: float = 500.0

    def __post_init__(self) -> None:
        positive(top=self.top)

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        p = -torch.expm1(-self.top * x * dt / 1000)
        u = torch.rand(steps, *p.shape, generator=generator, device=p.device, dtype=p.dtype)
        return (u < p).to(p.dtype)


@dataclass(frozen=True)
class LatencyCode:
    """One spike at t = tau ln(x / (x - theta)) ms, none where x <= theta: when a leaky neuron that is driven by x from rest

    meets its threshold theta (tau dv/dt = x - v). The brightest come first (Thorpe, Delorme & Van Rullen 2001, Neural Networks
    14:715). Spikes beyond the trial are lost. tau in ms, theta as x. ValueError unless 0 < theta < 1 and tau is positive.
    """

    tau: float = 20.0
    theta: float = 0.2

    def __post_init__(self) -> None:
        positive(tau=self.tau)
        if not 0 < self.theta < 1:
            raise ValueError(f"theta: given {self.theta}, it must lie between 0 and 1, as x does")

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        t = -self.tau * torch.log1p(-self.theta / x.clamp(min=1e-12))  # nan and inf where x <= theta
        step = torch.where(x > self.theta, t / dt, math.inf).floor()
        return (torch.arange(steps, device=x.device).reshape(-1, *[1] * x.dim()) == step).to(x.dtype)


@dataclass(frozen=True)
class CurrentCode:
    """y[t] = gain x at every step: a direct current into the first layer, whose neurons make the first spikes.

    ValueError for a gain that is not positive.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        positive(gain=self.gain)

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        return (self.gain * x).expand(steps, *x.shape)


CODES = {"poisson": PoissonCode, "latency": LatencyCode, "current": CurrentCode}

__all__ = ["CODES", "Code", "CurrentCode", "LatencyCode", "PoissonCode"]
