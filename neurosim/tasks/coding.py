"""How a number becomes spikes: rate (Poisson), latency (time to the first spike), or a current that is no spike at all.

    code = PoissonCode(top=1000.0);   x [B, *in] from 0 to 1  ->  code(x, steps, dt, generator) [T, B, *in]

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

    top: float = 1000.0

    def __post_init__(self) -> None:
        positive(top=self.top)

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        return poisson(self.top * x, steps, dt, generator)


@dataclass(frozen=True)
class EvenPoissonCode:
    """As `PoissonCode` with rate = mean x / <x>,  <x> over the sample: every image drives its inputs alike, at `mean` Hz.

    Diehl & Cook's rates suit thin digits; fuller images want fewer spikes a pixel. ValueError for a mean that is not positive.
    """

    mean: float = 10.0

    def __post_init__(self) -> None:
        positive(mean=self.mean)

    def __call__(self, x: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
        level = x.flatten(1).mean(1).clamp(min=1e-12).reshape(-1, *[1] * (x.dim() - 1))
        return poisson(self.mean * x / level, steps, dt, generator)


FEW = 0.05  # spikes a step and unit, below which they are drawn one by one


def poisson(rate: Tensor, steps: int, dt: float, generator: torch.Generator) -> Tensor:
    """rate [B, *in] in Hz -> [T, B, *in] of 0 and 1:  P(1) = 1 - exp(-rate dt), each step for itself.

    Where spikes are few they are drawn as the events of the process, their number and then their times: the same law, and
    less than a tenth of the work.
    """
    expected = rate * dt / 1000
    if expected.mean() >= FEW:
        u = torch.rand(steps, *rate.shape, generator=generator, device=rate.device, dtype=rate.dtype)
        return (u < -torch.expm1(-expected)).to(rate.dtype)
    events = torch.poisson(expected * steps, generator=generator).long().flatten()
    at = torch.repeat_interleave(torch.arange(len(events), device=rate.device), events)
    when = torch.randint(steps, at.shape, generator=generator, device=rate.device)
    y = torch.zeros(steps, *rate.shape, device=rate.device, dtype=rate.dtype)
    y.view(-1)[when * len(events) + at] = 1
    return y


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


CODES = {"poisson": PoissonCode, "even-poisson": EvenPoissonCode, "latency": LatencyCode, "current": CurrentCode}

__all__ = ["CODES", "Code", "CurrentCode", "EvenPoissonCode", "LatencyCode", "PoissonCode"]
