"""Credit by reward alone: was the answer right, and was that more than expected?  Reward signals are in `signals.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.credit.perturbation import gaussian
from neurosim.credit.signals import MeanReward, Signal, rate_of, running
from neurosim.plasticity import Pass, broadcast, claims
from neurosim.record import Batch, Trial, Unsupported
from neurosim.trial import play


def classes(trial: Trial) -> Tensor:
    """0 for each class. Unsupported where the output is no class."""
    if trial.output.dim() != 2:
        raise Unsupported(f"a sampled class needs an output [B, classes], but it is {list(trial.output.shape)}")
    return outputs(trial)


def outputs(trial: Trial) -> Tensor:
    """0 for each output."""
    return torch.zeros(trial.output.shape[-1], dtype=trial.output.dtype).to(trial.output.device)


@dataclass(frozen=True)
class SampledReward:
    """c ~ softmax(output),  R = 1 if c = target else 0,   reward M = R - Rbar[target], or what `signal` makes of R.

    Rbar[k] <- Rbar[k] + rate (<R>_k - Rbar[k]), <.>_k the mean over the batch's samples of class k; what is read is that
    before this batch. acetylcholine = 1 - Rbar[target]: uncertainty, near 0 where the answer is known.
    M is told to every synapse. The last layer is also told credit = M (one-hot(c) - softmax(output)), the way the sampled
    answer would become likelier (REINFORCE).
    Source: Williams 1992, Machine Learning 8:229; a mean per stimulus: Fremaux, Sprekeler & Gerstner 2010, J Neurosci
    30:13326; acetylcholine and uncertainty: Yu & Dayan 2005, Neuron 46:681.
    Relation to backprop: at the last layer the mean of the update is that of expected reward's gradient.
    """

    rate: float = 0.1
    signal: Signal | None = None
    gives: frozenset[str] = claims("reward", "credit", "acetylcholine")

    def __post_init__(self) -> None:
        rate_of(self.rate)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"target", "noise"}) | (self.signal.reads if self.signal else frozenset())

    @property
    def last(self) -> frozenset[str]:
        return self.reads | {"lateral"}  # softmax over the other outputs

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        own = {"expected reward": classes(trial)}
        return own | ({"signal": self.signal.begin(trial.batch, trial.output.shape[-1])} if self.signal else {})

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch)
        p, Rbar = trial.output.softmax(-1), own["expected reward"]
        c = torch.multinomial(p.nan_to_num(1.0), 1, generator=generator)[:, 0]
        R = (c == batch.target).to(p.dtype)
        M, acetylcholine = R - Rbar[batch.target], 1 - Rbar[batch.target]
        own["expected reward"] = running(R, batch.target, Rbar, self.rate)
        if self.signal:
            M, own["signal"] = self.signal.of(R, batch, own["signal"], generator)
        chosen = F.one_hot(c, p.shape[-1]).to(p.dtype)
        last, credit = next(reversed(trial.inputs)), M[:, None] * (chosen - p)
        if batch.time:
            units = trial.outputs[last].shape[-1] // p.shape[-1]  # a population for each class
            credit, M = at_the_end(credit.repeat_interleave(units, -1), trial), at_the_end(M, trial)
        yield Pass(trial, {"reward": M, "credit": {last: credit}, "acetylcholine": acetylcholine})


@dataclass(frozen=True)
class NoisyReward:
    """u <- u + xi,  xi ~ N(0, sigma^2);   R = 1 if the answer of this trial is right, else 0;   reward M, by `signal`.

    Every layer's input is disturbed, and the disturbed trial is all there is: its answer is the largest output (of equal
    ones any), or `outcome` says what R is: `minus_loss`, for instance. M is told to every synapse, in time at the trial's
    last step (M / dt), and credit = M xi / sigma^2.
    Source: Williams 1992, Machine Learning 8:229; with a prediction error: Fiete & Seung 2006, Phys Rev Lett 97:048104.
    Relation to backprop: the mean of credit (x) pre is the gradient of this noisy net's expected reward, if M's
    expectation is of the stimulus alone.
    """

    sigma: float = 0.1
    signal: Signal = MeanReward()
    outcome: Callable[[Trial, torch.Generator], Tensor] | None = None
    gives: frozenset[str] = claims("reward", "credit")

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma: given {self.sigma}, the noise needs a positive standard deviation")

    @property
    def reads(self) -> frozenset[str]:
        return self.signal.reads | {"noise"} | ({"loss"} if self.outcome else set())

    @property
    def last(self) -> frozenset[str]:
        return self.reads | ({"lateral"} if "target" in self.reads else set())  # which output is the largest

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        of = classes if self.outcome is None else outputs
        own = {"signal": self.signal.begin(trial.batch, len(of(trial)))}
        lead = 1 + trial.batch.time
        return own | {f"noise/{r.layer}": torch.zeros_like(r.u[(0,) * lead]) for r in trial.records.values()}

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        lead = batch.x.shape[: 1 + batch.time]
        layers = {n.removeprefix("noise/"): u for n, u in own.items() if n.startswith("noise/")}
        xi = {n: self.disturbance(u.expand(*lead, *u.shape), batch, generator) for n, u in layers.items()}
        trial = play(net, batch, add=xi)
        R = self.outcome(trial, generator) if self.outcome else right(trial.output, batch.target, generator)
        M, own["signal"] = self.signal.of(R, of_one_class(batch), own["signal"], generator)
        by_layer = {r.layer: r for r in trial.records.values()}
        credit = {n: broadcast(by_layer[n], M) * z / self.sigma**2 for n, z in xi.items()}
        yield Pass(trial, {"reward": at_the_end(M, trial) if batch.time else M, "credit": credit})

    def disturbance(self, like: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """xi, like a layer's input."""
        return gaussian(like, self.sigma, generator)


@dataclass(frozen=True)
class PulsedReward(NoisyReward):
    """As `NoisyReward`, but xi is seldom: uniform in +-amplitude with probability `rate` dt / 1000 a unit and step, else 0.

    rate in Hz; its variance sigma^2 = p amplitude^2 / 3 has no field of its own (`sigma` is not used). For the rule `Miconi`,
    which needs M alone. Source: Miconi 2017, eLife 6:e20899.
    """

    rate: float = 3.0
    amplitude: float = 0.5

    def disturbance(self, like: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        u, at = (torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype) for _ in range(2))
        return self.amplitude * (2 * u - 1) * (at < self.rate * (batch.dt or 1.0) / 1000)


def minus_loss(trial: Trial, generator: torch.Generator) -> Tensor:
    """R = -L of each sample."""
    return -trial.loss


def of_one_class(batch: Batch) -> Batch:
    """The batch with one class a sample: of targets in time [T, B] the largest, which is the one of a trial that has one."""
    target = batch.target
    in_time = batch.time and target is not None and target.shape[:2] == batch.x.shape[:2]
    return replace(batch, target=target.amax(0)) if in_time else batch


def right(output: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """1 where the largest output is that of the target, of equal ones any, else 0. [B]"""
    largest = (output == output.amax(-1, keepdim=True)).to(output.dtype)
    c = torch.multinomial(largest.nan_to_num(1.0), 1, generator=generator)[:, 0]
    return (c == target).to(output.dtype)


def at_the_end(M: Tensor, trial: Trial) -> Tensor:
    """[B, ...] -> [T, B, ...]: M / dt at the last step, so that it is M in all."""
    pulse = M.new_zeros(len(trial.batch.x), *M.shape)
    pulse[-1] = M / (trial.batch.dt or 1.0)
    return pulse
