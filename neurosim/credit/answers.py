"""Reward for each answer of a sequence: was the symbol that was said the right one, and was that more than expected?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.credit.broadcast import readout_of
from neurosim.credit.feedback import pooled
from neurosim.credit.signals import rate_of
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, Unsupported
from neurosim.trial import play


@dataclass(frozen=True)
class SampledAnswers:
    """c[t] ~ softmax(output[t]),   R[t] = 1 if c[t] = target[t] else 0,   M[t] = R[t] - Rbar where an answer is asked, else 0.

    Rbar <- Rbar + rate (<R> - Rbar), <.> the mean over all answers of a batch; what is read is that before it. Every synapse
    is told the reward M: of its own step (`own_step`), or the sum over the sequence at every step (`pooled`), which also
    reaches steps at which nothing is asked. The last layer is told credit[t] = M[t] (one-hot(c[t]) - softmax(output[t])).
    Sources: Williams 1992, Machine Learning 8:229; Fremaux & Gerstner 2016, Front Neural Circuits 9:85.
    Relation to backprop: at the last layer the mean of the update is that of expected reward's gradient.
    """

    sent: Callable[[Tensor], Tensor] = pooled
    rate: float = 0.1
    reads: frozenset[str] = claims("target", "noise")
    last: frozenset[str] = claims("target", "noise", "lateral")
    gives: frozenset[str] = claims("reward", "credit")

    def __post_init__(self) -> None:
        rate_of(self.rate)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        if not trial.batch.time or trial.output.dim() != 3:
            raise Unsupported(f"answers in time need an output [T, B, symbols], but it is {list(trial.output.shape)}")
        readout_of(trial)
        return {"expected reward": trial.output.new_zeros(())}

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch)
        p, asked = trial.output.softmax(-1), batch.target >= 0
        c = torch.multinomial(p.flatten(0, 1).nan_to_num(1.0), 1, generator=generator)[:, 0].reshape(asked.shape)
        R, Rbar = (c == batch.target).to(p.dtype), own["expected reward"]
        M = (R - Rbar) * asked
        own["expected reward"] = Rbar + self.rate * ((R * asked).sum() / asked.sum().clamp(min=1) - Rbar)
        credit = M[..., None] * (F.one_hot(c, p.shape[-1]).to(p.dtype) - p)
        yield Pass(trial, {"reward": self.sent(M).expand_as(M), "credit": {readout_of(trial): credit}})
