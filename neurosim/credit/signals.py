"""Reward signals: what is told of a reward R, as a third factor M. Frozen values, used in one way by every credit:

    memory = signal.begin(batch, outputs)                        what it remembers at first, one tensor
    M, memory = signal.of(R, batch, memory, generator)           R [B], or [T, B] where rewards come in the course of a trial

M is like R; it is read from the memory as it was before this batch (a Critic in time learns on the way). All randomness is
from the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from neurosim.plasticity import claims
from neurosim.record import Batch


class Signal(Protocol):
    """A frozen value: M from R, and what it learns of R."""

    @property
    def reads(self) -> frozenset[str]:
        """What M depends on: "target" (R itself does), "noise", "batch" (other samples)."""
        ...

    def begin(self, batch: Batch, outputs: int) -> Tensor: ...
    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...


def rate_of(rate: float) -> None:
    if not 0 < rate <= 1:
        raise ValueError(f"rate: given {rate}, the running mean needs one above 0 and at most 1")


def nothing(batch: Batch) -> Tensor:
    """Of a signal without memory."""
    return torch.zeros(0, device=batch.x.device)


@dataclass(frozen=True)
class RawReward:
    """M = R: the reward as it comes. Its mean is not 0, and drives what a rule does without reward (Fremaux et al. 2010)."""

    reads: frozenset[str] = claims("target")

    def begin(self, batch: Batch, outputs: int) -> Tensor:
        return nothing(batch)

    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return R, memory


@dataclass(frozen=True)
class Unmodulated:
    """M = 1, whatever the reward: the twin that shows what the third factor does."""

    reads: frozenset[str] = claims()

    def begin(self, batch: Batch, outputs: int) -> Tensor:
        return nothing(batch)

    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.ones_like(R), memory


def running(R: Tensor, k: Tensor, Rbar: Tensor, rate: float) -> Tensor:
    """Rbar[k] <- Rbar[k] + rate (<R>_k - Rbar[k]), <.>_k the mean over the batch's samples of class k. R [B], k [B]."""
    shown = F.one_hot(k, len(Rbar)).to(R.dtype)  # [B, classes]
    count = shown.sum(0)
    mean = (R @ shown) / count.clamp(min=1)
    return torch.where(count > 0, Rbar + rate * (mean - Rbar), Rbar)


@dataclass(frozen=True)
class MeanReward:
    """M = R - Rbar[k],   Rbar[k] <- Rbar[k] + rate (<R>_k - Rbar[k]),   k the class of stimulus, or one for all.

    Surprise: the mean of M vanishes, for each class of its own where `by_class`. Source: Fremaux, Sprekeler & Gerstner
    2010, J Neurosci 30:13326. In time R [T, B] is summed over the trial: one mean for it, taken off at the last step.
    """

    rate: float = 0.1
    by_class: bool = True
    reads: frozenset[str] = claims("target")

    def __post_init__(self) -> None:
        rate_of(self.rate)

    def begin(self, batch: Batch, outputs: int) -> Tensor:
        return torch.zeros(outputs if self.by_class else 1, dtype=batch.x.dtype, device=batch.x.device)

    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        Rbar = memory
        whole = R if R.dim() == 1 else R.sum(0)
        k = batch.target if self.by_class else torch.zeros(len(whole), dtype=torch.int64, device=R.device)
        new = running(whole, k, Rbar, self.rate)
        if R.dim() == 1:
            return R - Rbar[k], new
        return torch.cat([R[:-1], R[-1:] - Rbar[k]]), new


def stimulus(batch: Batch) -> Tensor:
    """phi(s) = [1, x] / sqrt(1 + n): all n inputs and a constant, of length about 1 where inputs have variance 1.

    [B, n + 1], or [T, B, n + 1] in time.
    """
    x = batch.x.flatten(1 + batch.time)
    return F.pad(x, (1, 0), value=1.0) / (1 + x.shape[-1]) ** 0.5


def constant(batch: Batch) -> Tensor:
    """phi(s) = 1: nothing is known of the state."""
    lead = batch.x.shape[: 1 + batch.time]
    return torch.ones(*lead, 1, dtype=batch.x.dtype, device=batch.x.device)


@dataclass(frozen=True)
class Critic:
    """M = delta = R + gamma V(s') - V(s),   V(s) = w . phi(s),   w <- w + rate <delta phi(s)>,   V = 0 after the end.

    Temporal-difference error of a linear critic that learns from it, TD(0), the mean over the batch; as dopamine's
    prediction error: it moves from the reward to what predicts it. A trial without time is one step, delta = R - V(x). In
    time R is [T, B] and delta[t], of s = s[t] and s' = s[t + 1], stands at t; w learns step by step, from the batch's mean:
    so it also depends on the step after and on other samples, which `reads`, of trials without time, does not say.
    phi: a function of the batch.
    Source: Sutton 1988, Mach Learn 3:9; Schultz, Dayan & Montague 1997, Science 275:1593.
    """

    rate: float = 0.1
    gamma: float = 0.9
    phi: Callable[[Batch], Tensor] = stimulus
    reads: frozenset[str] = claims("target")

    def __post_init__(self) -> None:
        rate_of(self.rate)
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma: given {self.gamma}, a discount lies in 0 .. 1")

    def begin(self, batch: Batch, outputs: int) -> Tensor:
        return torch.zeros_like(self.phi(batch)[(0,) * (1 + batch.time)])

    def step(self, R: Tensor, phi: Tensor, after: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """delta [B] and the next w; phi, after: features of s and s', [B, F], None after the end."""
        delta = R - phi @ w if after is None else R + self.gamma * (after @ w) - phi @ w
        return delta, w + self.rate * (delta @ phi) / len(delta)

    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        phi, w = self.phi(batch), memory
        if R.shape != phi.shape[:-1]:
            axes = "[T, B]" if batch.time else "[B]"
            raise ValueError(
                f"R: given the shape {list(R.shape)}, expected {axes} = {list(phi.shape[:-1])}, as the batch is"
            )
        if R.dim() == 1:
            return self.step(R, phi, None, w)
        delta = torch.empty_like(R)
        for t, r in enumerate(R):
            delta[t], w = self.step(r, phi[t], phi[t + 1] if t + 1 < len(R) else None, w)
        return delta, w


@dataclass(frozen=True)
class Shuffled:
    """M'[b] = M[b + k], k drawn from 1 .. B - 1, the batch a circle: the control in which as much is told, but of no use.

    Never a sample's own M, which would be 1/B of the true update in the mean. Alone in its batch a sample is told 0.
    """

    signal: Signal

    @property
    def reads(self) -> frozenset[str]:
        return self.signal.reads | {"batch", "noise"}

    def begin(self, batch: Batch, outputs: int) -> Tensor:
        return self.signal.begin(batch, outputs)

    def of(self, R: Tensor, batch: Batch, memory: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        M, memory = self.signal.of(R, batch, memory, generator)
        if M.shape[-1] == 1:
            return torch.zeros_like(M), memory
        k = int(torch.randint(1, M.shape[-1], (), generator=generator, device=M.device))
        return M.roll(-k, -1), memory
