"""Eligibility propagation (Bellec et al. 2020, Nat Commun 11:3625): forward traces, no credit through the recurrent spikes.

For `AdaptiveLIF` neurons, with L[t] = signal = -dL/dz[t] (or a broadcast stand-in), psi = slope:

    ev <- alpha ev + x,   e = psi (ev - beta ea),   ea <- rho ea + e,   dW = sum_t L[t] e[t]

x is the presynaptic spike that arrives at t. Two forms of the same sum: `EProp` filters L backward in time at the end of
the trial (memory of a batch of activities, T B N); `EPropOnline` is causal and keeps an eligibility per synapse and lane.
On neurons that do not adapt `RFLO` is causal and keeps a trace per presynaptic unit only.

tau_out: where L[t] is the error of a readout that is leaky itself, y <- kappa y + (1 - kappa) W_out z with
kappa = exp(-dt / tau_out), each spike also bears on later errors: e is replaced by  ebar <- kappa ebar + (1 - kappa) e.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neurosim.neurons import AdaptiveLIF, decay
from neurosim.plasticity import Record, Unsupported, claims, outer, rank
from neurosim.rules.rflo import left_by, on_later
from neurosim.traces import filtered_back


def on(value: Any, like: Tensor) -> Any:
    """A number, or a tensor where and of the type that `like` is."""
    return value.to(like) if isinstance(value, Tensor) else value


def _start(state: Mapping[str, Tensor], key: str, rec: Record, like: Tensor) -> Tensor:
    z = left_by(state, key, rec)
    return z if isinstance(z, Tensor) else torch.zeros_like(like)


@dataclass(frozen=True)
class EProp:
    """dW = sum_t g[t] (x) x[t],   d = psi (L + ga),  g <- d + alpha g,  ga <- rho ga - beta d,  backward in time.

    Equal to `EPropOnline` within a trial; what lies beyond the trial's end is not seen (it reads "future": the trial's rest).
    """

    neuron: AdaptiveLIF
    tau_out: float | None = None
    reads: frozenset[str] = claims("pre", "slope", "signal", "future")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return outer(rec, rec.pre, rec.once(self.g, rec.slope, third["signal"]))

    def g(self, slope: Tensor, L: Tensor, dt: float | None) -> Tensor:
        """The same for every synapse of the layer. [T, B, N]"""
        n, L = self.neuron, on_later(L, self.tau_out, dt)
        alpha, rho, beta = decay(n.tau_m, dt), decay(n.tau_a, dt), on(n.beta, slope)
        if not isinstance(beta, Tensor) and beta == 0:
            return filtered_back(slope * L, alpha)[:-1]
        gs = torch.empty_like(slope)
        last = ga = torch.zeros_like(slope[0])
        for psi, L_t, now in zip(*(reversed(x.unbind(0)) for x in (slope, L, gs)), strict=True):
            d = psi * (L_t + ga)
            last = torch.add(d, last, alpha=alpha, out=now)
            ga = (rho * ga).sub_(beta * d)
        return gs


@dataclass(frozen=True)
class EPropOnline:
    """The causal form: one eligibility per synapse and lane, [B, post, pre]. Dense synapses only. Its memory does not grow with

    T; it takes some fifteen times as long as `EProp` (100 units, batch 64, a CPU: studies/speed_eprop.py).

    State carries over trials, or with `forget` is cleared where a new one begins.
    """

    neuron: AdaptiveLIF
    tau_out: float | None = None
    forget: bool = False
    reads: frozenset[str] = claims("pre", "slope", "signal")

    def fresh(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left of the state when a new trial begins."""
        return {} if self.forget else state

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        if rank(rec.synapse) > 1:
            raise Unsupported(f"{rec.name}: online e-prop keeps an eligibility per synapse, dense only; use EProp")
        n = self.neuron
        alpha, rho = decay(n.tau_m, rec.dt), decay(n.tau_a, rec.dt)
        beta: Any = on(n.beta, rec.slope)[:, None] if isinstance(n.beta, Tensor) else n.beta
        kappa = decay(self.tau_out, rec.dt) if self.tau_out else 0.0
        ev = _start(state, "ev", rec, rec.pre[0][:, None, :])  # [B, 1, pre]: one filter a presynaptic unit
        ea = _start(state, "ea", rec, rec.post[0][:, :, None] * rec.pre[0][:, None, :])  # [B, post, pre]
        ebar = _start(state, "ebar", rec, ea)
        dw = torch.zeros_like(rec.weight)
        for x, L, psi in zip(rec.pre, third["signal"], rec.slope, strict=True):
            ev = alpha * ev + x[:, None, :]
            e = psi[:, :, None] * (ev - beta * ea)
            ea = torch.add(e, ea, alpha=rho)
            ebar = torch.lerp(e, ebar, kappa) if kappa else e
            dw = dw + torch.einsum("bj,bji->ji", L, ebar)
        state.update(ev=ev, ea=ea, **({"ebar": ebar} if kappa else {}))
        return dw
