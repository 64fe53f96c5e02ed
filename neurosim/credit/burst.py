"""Credit by bursts: a neuron's events carry activity up, the share of them that are bursts carries credit down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.equilibrium import static_only
from neurosim.credit.feedback import FeedbackAlignment
from neurosim.credit.target import add, down
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, Unsupported, positive
from neurosim.synapses import send
from neurosim.trial import play, returned, synapses


def difference(d: Tensor, a: Tensor) -> Tensor:
    """sigmoid(a + d) - sigmoid(a), without the rounding error of that difference: d may be far smaller than a."""
    high, low = torch.maximum(a, a + d), torch.minimum(a, a + d)
    return -d.sign() * torch.expm1(-d.abs()) * high.sigmoid() * (-low).sigmoid()


@dataclass(frozen=True)
class BurstCredit:
    """p = sigmoid(gain h (Y^T b)),   p- = sigmoid(gain h (Y^T b-)),   h = phi'(u) / e;   credit = (p - p-) e = b - b-.

    e = y is the event rate, b = p e the burst rate, b- = p- e what it would be without a teacher; Y is fixed, random and
    shaped like W. At the last layer b- = 1/2 and b = 1/2 + clip(-dL/du, -1/2, 1/2). Event rates must not be negative: phi
    is a rectified unit, a sigmoid ...; a silent neuron has no burst and no credit. The layers' credit shrinks by gain / 4
    for each on the way. Source: Payeur, Guerguiev, Zenke, Richards & Naud 2021, Nat Neurosci 24:1010 (rate form).
    Relation to backprop: that of feedback alignment for small b - b-, of backprop where Y = W.
    """

    gain: float = 1.0
    reads: frozenset[str] = claims("error", "feedback")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        positive(gain=self.gain)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        static_only(trial, "burst-dependent plasticity")
        for n, y in list(trial.outputs.items())[:-1]:
            if (y < 0).any():
                raise Unsupported(
                    f"burst-dependent plasticity: the activity of {n} is an event rate, it must not be negative"
                )
        return FeedbackAlignment().wire(trial, generator)

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))
        tops = returned(trial, ("credit",))["credit"]  # of the layers that the loss sees
        apical: dict[str, Tensor] = {}  # [2, B, *unit]: Y^T (b - b-) and Y^T b-, summed over the layers above
        credit: dict[str, Tensor] = {}
        for layer in reversed(list(trial.inputs)):
            of_layer = [r for r in trial.records.values() if r.layer == layer]
            if layer not in tops and layer not in apical:  # nothing above it
                continue
            if layer in tops:
                more, still = tops[layer].clamp(-0.5, 0.5), torch.full_like(tops[layer], 0.5)
            else:
                e, h = of_layer[0].post, of_layer[0].slope / of_layer[0].post.where(of_layer[0].post > 0, torch.inf)
                up, rest = self.gain * h * apical[layer]
                more, still = e * difference(up, rest), e * rest.sigmoid()
            credit[layer] = more
            for r in of_layer:
                if trial.arrived[r.name].requires_grad:
                    y = own[f"feedback/{r.name}"]
                    sent = send(y, trial.arrived[r.name], y.weight.detach())  # so that the way back is Y^T
                    ups = [down(trial, sent, b) for b in (more, still)]
                    add(apical, {n: torch.stack([up[n] for up in ups]) for n in ups[0]})
        yield Pass(trial, {"credit": credit})
