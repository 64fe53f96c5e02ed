"""A companion for any rule: each neuron's activity against its own running mean and spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from neurosim.plasticity import Record, Rule, unit_mean


@dataclass(frozen=True)
class NeuronNormalised:
    """rule.update with y* = (y - m) / sqrt(v + epsilon) in the place of y;   m, v: running mean and variance of that neuron.

    m <- m + (<y> - m) / tau,  v <- v + (<(y - m)^2> - v) / tau;  <.> is over batch, time and places, tau counts updates,
    both start at the first update's. No other unit is read, so any rule stays as local as it was; only "batch" is
    added, for m and v come from other samples. The net's forward is left alone. ValueError if tau < 1, or if the rule
    does not read "post". Source: intrinsic plasticity, Turrigiano 2008, Cell 135:422; this form is ours.
    """

    rule: Rule
    tau: float = 50.0
    epsilon: float = 1e-4
    reads: frozenset[str] = field(default=frozenset(), init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tau >= 1:
            raise ValueError(f"tau: given {self.tau}, the running mean needs a time constant of at least 1 update")
        if "post" not in self.rule.reads:
            raise ValueError(f"rule: {type(self.rule).__name__} does not read post, there is nothing to normalise")
        object.__setattr__(self, "reads", self.rule.reads | {"batch"})

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        y = rec.post
        mean = unit_mean(rec, y)
        m = state["m"] + (mean - state["m"]) / self.tau if "m" in state else mean
        spread = unit_mean(rec, (y - m) ** 2)
        v = state["v"] + (spread - state["v"]) / self.tau if "v" in state else spread
        own = {k.removeprefix("rule."): s for k, s in state.items() if k.startswith("rule.")}
        dw = self.rule.update(replace(rec, post=(y - m) / (v + self.epsilon).sqrt()), third, own)
        state.update({"m": m, "v": v, **{f"rule.{k}": s for k, s in own.items()}})
        return dw
