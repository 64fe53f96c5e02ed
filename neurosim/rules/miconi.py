"""Reward-modulated Hebbian learning from exploratory perturbations (Miconi 2017, eLife 6:e20899)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from neurosim.plasticity import Record, claims, outer
from neurosim.traces import filtered


@dataclass(frozen=True)
class Miconi:
    """e = sum_t (r[t] (x[t] - xbar[t]))^3,   xbar[t+1] = a xbar[t] + (1 - a) x[t],   dW = M e at the trial's end.

    x: the post neuron's excitation v, r: what arrives at the synapse; M: the trial's reward less what is expected. The cube
    makes a perturbation, brief and large, count for more than the relaxation after it; a `excitation` (.05: xbar is nearly
    the x of the step before). Source: Miconi 2017 (his programs also
    multiply by the mean error, clip each step to 3e-4, and let recurrent weights alone learn).
    """

    excitation: float = 0.05
    per_step: ClassVar[bool] = True  # changes from one step of 1 ms to the next are what it reads
    reads: frozenset[str] = claims("pre", "state", "reward", "future")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        if rec.dt is None:
            raise ValueError("dt: given None, but changes from step to step need Batch(dt=...) in ms per step")
        x, a = rec.state["v"], self.excitation
        xbar = filtered((1 - a) * x[:-1], a, x[0]) if len(x) > 1 else x  # xbar[0] = x[0]
        M = (third["reward"] * rec.dt).sum(0)
        return outer(rec, rec.pre**3, M * (x - xbar) ** 3)
