"""Credit by reward alone: was the sampled answer right, and was that more than expected?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, Unsupported
from neurosim.trial import play


@dataclass(frozen=True)
class SampledReward:
    """c ~ softmax(output),  R = 1 if c = target else 0,   reward M = R - Rbar[target].

    Rbar[k] <- Rbar[k] + rate (<R>_k - Rbar[k]), <.>_k the mean over the batch's samples of class k.
    M is told to every synapse. The last layer is also told credit = M (one-hot(c) - softmax(output)), the way the sampled
    answer would become likelier (REINFORCE). Rbar is the running mean of R for each class of stimulus, before this batch.
    Source: Williams 1992, Machine Learning 8:229; a mean per stimulus: Fremaux, Sprekeler & Gerstner 2010, J Neurosci
    30:13326. Relation to backprop: at the last layer the mean of the update is that of expected reward's gradient.
    """

    rate: float = 0.1
    reads: frozenset[str] = claims("target", "noise")
    last: frozenset[str] = claims("target", "noise", "lateral")  # softmax over the other outputs
    gives: frozenset[str] = claims("reward", "credit")

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate: given {self.rate}, the running mean needs one above 0 and at most 1")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        if trial.output.dim() != 2:
            raise Unsupported(f"a sampled class needs an output [B, classes], but it is {list(trial.output.shape)}")
        return {
            "expected reward": torch.zeros(trial.output.shape[-1], dtype=trial.output.dtype).to(trial.output.device)
        }

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch)
        p, expected = trial.output.softmax(-1), own["expected reward"]
        c = torch.multinomial(p.nan_to_num(1.0), 1, generator=generator)[:, 0]
        R = (c == batch.target).to(p.dtype)
        M = R - expected[batch.target]
        shown = F.one_hot(batch.target, p.shape[-1]).to(p.dtype)  # [B, classes]
        count = shown.sum(0)
        mean = (R @ shown) / count.clamp(min=1)
        own["expected reward"] = torch.where(count > 0, expected + self.rate * (mean - expected), expected)
        chosen = F.one_hot(c, p.shape[-1]).to(p.dtype)
        yield Pass(trial, {"reward": M, "credit": {next(reversed(trial.inputs)): M[:, None] * (chosen - p)}})
