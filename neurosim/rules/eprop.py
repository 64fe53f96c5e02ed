"""Eligibility propagation (Bellec et al. 2020, Nat Commun 11:3625): forward traces, no credit through the recurrent spikes.

For `AdaptiveLIF` neurons, with L[t] = signal = -dL/dz[t] (or a broadcast stand-in), psi = slope:

    ev <- alpha ev + x,   e = psi (ev - beta ea),   ea <- rho ea + e,   dW = sum_t L[t] e[t]

x is the presynaptic spike that arrives at t. Two forms of the same sum: `EProp` filters L backward in time at the end of
the trial (memory of a batch of activities, T B N); `EPropOnline` is causal and keeps an eligibility per synapse and lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neurosim.neurons import AdaptiveLIF, decay
from neurosim.plasticity import Record, Unsupported, claims, outer, rank


def _start(state: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
    return state[key] if key in state else torch.zeros_like(like)


@dataclass(frozen=True)
class EProp:
    """dW = sum_t g[t] (x) x[t],   d = psi (L + ga),  g <- d + alpha g,  ga <- rho ga - beta d,  backward in time.

    Equal to `EPropOnline` within a trial; what lies beyond the trial's end is not seen (it reads "future": the trial's rest).
    """

    neuron: AdaptiveLIF
    reads: frozenset[str] = claims("pre", "slope", "signal", "future")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        n = self.neuron
        alpha, rho = decay(n.tau_m, rec.dt), decay(n.tau_a, rec.dt)
        g = ga = torch.zeros_like(rec.slope[0])
        gs: list[Tensor] = []
        for L, psi in zip(third["signal"].flip(0), rec.slope.flip(0), strict=True):
            d = psi * (L + ga)
            g, ga = d + alpha * g, rho * ga - n.beta * d
            gs.append(g)
        return outer(rec, rec.pre, torch.stack(gs[::-1]))


@dataclass(frozen=True)
class EPropOnline:
    """The causal form: one eligibility per synapse and lane, [B, post, pre]. Dense synapses only. State carries over trials."""

    neuron: AdaptiveLIF
    reads: frozenset[str] = claims("pre", "slope", "signal")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        if rank(rec.synapse) > 1:
            raise Unsupported(f"{rec.name}: online e-prop keeps an eligibility per synapse, dense only; use EProp")
        n = self.neuron
        alpha, rho = decay(n.tau_m, rec.dt), decay(n.tau_a, rec.dt)
        beta: Any = n.beta[:, None] if isinstance(n.beta, Tensor) else n.beta
        ev = _start(state, "ev", rec.pre[0][:, None, :])  # [B, 1, pre]: one filter a presynaptic unit
        ea = _start(state, "ea", rec.post[0][:, :, None] * rec.pre[0][:, None, :])  # [B, post, pre]
        dw = torch.zeros_like(rec.weight)
        for x, L, psi in zip(rec.pre, third["signal"], rec.slope, strict=True):
            ev = alpha * ev + x[:, None, :]
            e = psi[:, :, None] * (ev - beta * ea)
            ea = rho * ea + e
            dw = dw + torch.einsum("bj,bji->ji", L, e)
        state.update(ev=ev, ea=ea)
        return dw
