"""Credit by prediction errors: predictive coding in values, in errors, and with fixed predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.backprop import Wireless
from neurosim.credit.equilibrium import State, pull, relax, static_only
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, positive
from neurosim.trial import play, returned


@dataclass(frozen=True)
class Predictive:
    """E = sum_l |x_l - u_l|^2 / 2 + precision L, relaxed in the values x_l;   credit_l = (x_l - u_l) / precision.

    `precision` is the output's against the hidden layers'. Source: Rao & Ballard 1999; Whittington & Bogacz 2017, Neural
    Comput 29:1229. Relation to backprop: approached as precision -> 0 (error of order precision), not equal at 1.
    """

    precision: float = 1.0
    steps: int = 20
    rate: float = 0.2
    reads: frozenset[str] = claims("error", "transport")
    shown: frozenset[str] = claims("error", "transport")  # in the relaxed activity, told or not
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        positive(precision=self.precision, steps=self.steps, rate=self.rate)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        static_only(trial, "predictive coding in values")
        return {}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        def goal(x: State, trial: Trial) -> Iterable[Tensor]:
            """x - dE/dx = u + d/dx (e . u) - precision dL/dx, where e = x - u is held fixed."""
            u = [v.detach() for v in trial.inputs.values()]
            with torch.no_grad():
                e = [v - p for v, p in zip(x.values(), u, strict=True)]
            top = torch.full_like(trial.loss, -self.precision)
            down = pull(x, [*trial.inputs.values(), trial.loss], [*e, top])
            return [p + g for p, g in zip(u, down, strict=True)]

        with torch.no_grad():
            x = dict(play(net, batch).inputs)
        x = relax(net, batch, goal, x, self.steps, self.rate)
        with torch.no_grad():
            trial = play(net, batch, clamp=x)
        yield Pass(trial, {"credit": {n: (x[n] - u) / self.precision for n, u in trial.inputs.items()}})


@dataclass(frozen=True)
class PredictiveErrors(Wireless):
    """The same energy in the errors e_l = x_l - u_l, which are added to the inputs;   credit_l = e_l / precision.

    e <- (1 - rate) e + rate precision (-dL/du at the disturbed activity). Any net, recurrent ones too, and far faster
    to settle. Source: Whittington & Bogacz 2017 in other variables; one step: Song, Lukasiewicz, Xu & Bogacz 2020, NeurIPS.
    Relation to backprop: one step of rate 1 from e = 0 is backprop, but for pre, which e has moved by order precision.
    """

    precision: float = 1.0
    steps: int = 20
    rate: float = 0.5
    reads: frozenset[str] = claims("error", "transport")
    shown: frozenset[str] = claims("error", "transport")  # in the relaxed activity, told or not
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        positive(precision=self.precision, steps=self.steps, rate=self.rate)

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        with torch.no_grad():
            e = {r.layer: torch.zeros_like(r.u) for r in play(net, batch).records.values()}
        for _ in range(self.steps):
            down = returned(play(net, batch, add=e), ("credit",))["credit"]
            e = {n: (1 - self.rate) * v + self.rate * self.precision * down.get(n, 0 * v) for n, v in e.items()}
        with torch.no_grad():
            trial = play(net, batch, add=e)
        yield Pass(trial, {"credit": {n: v / self.precision for n, v in e.items()}})


@dataclass(frozen=True)
class FixedPrediction:
    """e_l <- sum_k (du_k/dx_l)^T e_k - dL/dx_l, the predictions u held at their forward values;   credit_l = e_l.

    k runs over the layers that l drives, so skips are right too; as many steps as layers are deep. Source: Millidge,
    Tschantz & Buckley 2022, Neural Comput 34:1329. Relation to backprop: equal.
    """

    steps: int = 10
    reads: frozenset[str] = claims("error", "transport")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        positive(steps=self.steps)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        static_only(trial, "predictive coding with fixed predictions")
        return {}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        with torch.no_grad():
            x = dict(play(net, batch).inputs)
        x = {n: v.requires_grad_() for n, v in x.items()}
        trial = play(net, batch, clamp=x)  # every layer a leaf: u_k depends on the x that drive it, and on no others
        ends = [*trial.inputs.values(), trial.loss]
        e = [torch.zeros_like(v) for v in x.values()]
        for _ in range(self.steps):
            e = pull(x, ends, [*e, torch.full_like(trial.loss, -1.0)], keep=True)
        yield Pass(trial, {"credit": dict(zip(x, e, strict=True))})
