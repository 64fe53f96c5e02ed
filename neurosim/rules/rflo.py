"""Random feedback local online learning (Murray 2019, eLife 8:e43299), and e-prop on neurons that do not adapt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.neurons import AdaptiveLIF, Rate, decay
from neurosim.plasticity import Record, outer
from neurosim.traces import filtered, filtered_back


def on_later(L: Tensor, tau_out: float | None, dt: float | None) -> Tensor:
    """(1 - kappa) sum_s kappa^s L[t + s], kappa = exp(-dt / tau_out): the errors that a spike at t bears on through a readout

    that leaks, y <- kappa y + (1 - kappa) W_out z. L itself without tau_out. [T, B, N], to the trial's end.
    """
    if tau_out is None:
        return L
    kappa = decay(tau_out, dt)
    return (1 - kappa) * filtered_back(L, kappa)[:-1]


@dataclass(frozen=True)
class RFLO:
    """p <- a p + b x,   dW = sum_t (L[t] phi'(v[t])) (x) p[t]:  one trace a presynaptic unit, as its neuron's v filters it.

        Rate:  a = exp(-dt / tau), b = 1 - a  (without tau a = 0: p = x);      AdaptiveLIF:  a = exp(-dt / tau_m), b = 1

    L = signal, the error as it is fed back to the unit (random in the source); x is what arrives at t. Causal; p carries over
    trials, or with `forget` is cleared where a new one begins. Murray's units leak after phi, so that his trace has phi' inside
    and is one a synapse; these leak before it. tau_out (ms): where L is the error of a readout that leaks itself, later errors
    count too (`on_later`), known at the trial's end. ValueError where a trace left by so many trials meets another number.
    Relation to backprop: the gradient without what returns through recurrent weights, if L is -dL/dy; on `AdaptiveLIF` also
    without what returns through the adaptation.
    """

    neuron: Rate | AdaptiveLIF
    tau_out: float | None = None
    forget: bool = True

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"pre", "slope", "signal"} | ({"future"} if self.tau_out else set()))

    def fresh(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left of the state when a new trial begins."""
        return {} if self.forget else state

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        n, p = self.neuron, rec.pre
        tau = n.tau if isinstance(n, Rate) else n.tau_m
        if tau is not None:
            a = decay(tau, rec.dt)
            b = 1 - a if isinstance(n, Rate) else 1.0
            p = filtered(b * rec.pre, a, left_by(state, "p", rec))[1:]
            state["p"] = p[-1].clone()
        L = third["signal"] if self.tau_out is None else rec.once(self.later, third["signal"])
        return outer(rec, p, L * rec.slope)

    def later(self, L: Tensor, dt: float | None) -> Tensor:
        """The same for every synapse of the layer."""
        return on_later(L, self.tau_out, dt)


def left_by(state: Mapping[str, Tensor], key: str, rec: Record) -> Tensor | float:
    """A trace [B, ...] that goes on, 0 at first. ValueError where it is of another number of trials."""
    z, now = state.get(key), rec.pre.shape[1]
    if z is not None and len(z) != now:
        raise ValueError(
            f"{rec.name}: a trace left by {len(z)} trials cannot go on in {now}: keep the batch's size, or let the rule forget"
        )
    return 0.0 if z is None else z
