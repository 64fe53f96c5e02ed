"""Random feedback local online learning (Murray 2019, eLife 8:e43299), and e-prop on neurons that do not adapt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.neurons import AdaptiveLIF, Rate, decay
from neurosim.plasticity import Record, claims, outer
from neurosim.traces import filtered


@dataclass(frozen=True)
class RFLO:
    """p <- a p + b x,   dW = sum_t (L[t] phi'(v[t])) (x) p[t]:  one trace a presynaptic unit, as its neuron's v filters it.

        Rate:  a = exp(-dt / tau), b = 1 - a  (without tau a = 0: p = x);      AdaptiveLIF:  a = exp(-dt / tau_m), b = 1

    L = signal, the error as it is fed back to the unit (random in the source); x is what arrives at t. Causal; p carries over
    trials, or with `forget` is cleared where a new one begins. Murray's units leak after phi, so that his trace has phi' inside
    and is one a synapse; these leak before it. Relation to backprop: the gradient without what returns
    through recurrent weights, if L is -dL/dy; on `AdaptiveLIF` also without what returns through the adaptation.
    """

    neuron: Rate | AdaptiveLIF
    forget: bool = True
    reads: frozenset[str] = claims("pre", "slope", "signal")

    def fresh(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left of the state when a new trial begins."""
        return {} if self.forget else state

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        n, p = self.neuron, rec.pre
        tau = n.tau if isinstance(n, Rate) else n.tau_m
        if tau is not None:
            a = decay(tau, rec.dt)
            b = 1 - a if isinstance(n, Rate) else 1.0
            p = filtered(b * rec.pre, a, state.get("p", 0.0))[1:]
            state["p"] = p[-1].clone()
        return outer(rec, p, third["signal"] * rec.slope)
