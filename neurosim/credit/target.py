"""Credit as targets: each layer is told which activity would have been better, through learned inverses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.equilibrium import static_only
from neurosim.credit.local import drawn, mirrored
from neurosim.neurons import identity
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Record, Trial, positive
from neurosim.synapses import send
from neurosim.trial import play, returned, synapses


def down(trial: Trial, sent: Tensor, value: Tensor) -> dict[str, Tensor]:
    """A value at `sent`, back to the layers that sent it, by the transposed Jacobian of what lies between.

    Where `sent` is what arrived at a synapse, that is pooling and reshaping alone.
    """
    below = {n: y for n, y in trial.outputs.items() if y is not trial.output}
    grads = torch.autograd.grad(sent, list(below.values()), value, retain_graph=True, allow_unused=True)
    return {n: g for n, g in zip(below, grads, strict=True) if g is not None}


def add(to: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for n, v in more.items():
        to[n] = to[n] + v if n in to else v


@dataclass(frozen=True)
class TargetPropagation:
    """y~_L = y_L - eta dL/dy_L,   y~_{l-1} = y_{l-1} + g_l(y~_l) - g_l(y_l),   credit_l = phi'(u_l) (y~_l - y_l) / eta.

    g_l(y) = psi(V_l y) learns to invert layer l: V_l follows -d/dV |x - g_l(f_l(x))|^2 / 2 at x = x_l + xi, xi ~ N(0, sigma^2).
    Targets reach the readout's input by an inverse too, no weight is transported. Between layers (pooling, flattening)
    a target goes back by the transposed Jacobian, which is fixed wiring. Convolutions need stride 1.
    Source: Lee, Zhang, Fischer & Bengio 2015, ECML; without transport at the top: Bartunov et al. 2018, NeurIPS.
    Relation to backprop: inverses instead of transposes, so Gauss-Newton-like (Meulemans et al. 2020).
    """

    eta: float = 0.1
    sigma: float = 0.1
    psi: Callable[[Tensor], Tensor] = identity
    reads: frozenset[str] = claims("error", "feedback", "noise")
    last: frozenset[str] = claims("error")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        positive(eta=self.eta, sigma=self.sigma)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        static_only(trial, "target propagation")
        above = [n for n, x in trial.arrived.items() if x.requires_grad]  # the first layer's input needs no target
        return {f"inverse/{n}": drawn(mirrored(trial, n, "target propagation"), generator) for n in above}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))
        delta = dict(returned(trial, ("signal",))["signal"])  # (y~ - y) / eta by layer, first of the last alone
        credit: dict[str, Tensor] = {}
        records = dict(trial.records)
        for layer in reversed(list(trial.inputs)):
            if layer not in delta:  # nothing above it was told anything
                continue
            of_layer = [r for r in trial.records.values() if r.layer == layer]
            for r in of_layer:
                credit[layer] = r.slope * delta[layer]
                if f"inverse/{r.name}" in own:
                    m = own[f"inverse/{r.name}"]
                    better, as_is = (self.inverse(m, y) for y in (r.post + self.eta * delta[layer], r.post))
                    add(delta, down(trial, trial.arrived[r.name], (better - as_is) / self.eta))
                    b = f"inverse/{r.name}"
                    records[b], credit[b] = self.reconstruction(net, r, m, generator)
        yield Pass(replace(trial, records=records), {"credit": credit})

    def inverse(self, m: nn.Module, y: Tensor) -> Tensor:
        return self.psi(send(m, y, m.weight.detach()))

    def reconstruction(
        self, net: nn.Module, r: Record, m: nn.Module, generator: torch.Generator
    ) -> tuple[Record, Tensor]:
        """The inverse's record near the activity, and its credit -d/dz |x - psi(z)|^2 / 2."""
        neuron = net.get_submodule(r.layer).neuron
        xi = torch.randn(r.pre.shape, generator=generator, device=r.pre.device, dtype=r.pre.dtype)
        x = r.pre + self.sigma * xi
        with torch.no_grad():
            y = neuron.out(neuron.step({}, send(r.synapse, x, r.weight, r.synapse.bias), r.dt))
        z = send(m, y, m.weight.detach()).requires_grad_()
        loss = ((x - self.psi(z)) ** 2).sum() / 2
        credit = -torch.autograd.grad(loss, z)[0]
        z = z.detach()
        return Record(
            f"inverse/{r.name}", m, m.weight.detach(), y, z, self.psi(z), torch.ones_like(z), {}, r.dt
        ), credit
