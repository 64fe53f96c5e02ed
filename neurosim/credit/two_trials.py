"""Credit by two trials whose gains have opposite sign: forward-forward (real and false data), contrastive divergence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.credit.backprop import Wireless
from neurosim.credit.equilibrium import twice
from neurosim.credit.local import at_least_one, below, hidden, its_turn
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Record, Trial, Unsupported
from neurosim.synapses import send
from neurosim.trial import improvement, play, synapses


def written(x: Tensor, label: Tensor, labels: int, ink: float) -> Tensor:
    """The label over the first pixels: x [B, *in] with its first `labels` numbers replaced by ink one-hot(label)."""
    flat = x.flatten(1).clone()
    flat[:, :labels] = ink * F.one_hot(label, labels).to(x.dtype)
    return flat.reshape(x.shape)


@dataclass(frozen=True)
class ForwardForward(Wireless):
    """reward = +1 for images with their true label written over the first pixels, -1 with a false one;  rule `Goodness`.

    Both halves are one doubled batch; false labels are drawn from all others. The answer is the label that, written
    over the image, has the largest sum over the hidden layers of g = mean y^2. Source: Hinton 2022, arXiv 2212.13345.
    Relation to backprop: none; nothing returns, and each layer follows the gradient of its own goodness.
    """

    labels: int = 10
    ink: float = 3.0  # of the label's pixel; the inputs have standard deviation 1
    reads: frozenset[str] = claims("target", "noise")
    shown: frozenset[str] = claims("target", "noise")  # in the label that is written
    gives: frozenset[str] = claims("reward")

    def __post_init__(self) -> None:
        if not self.labels >= 2:
            raise ValueError(f"labels: given {self.labels}, at least two classes are needed for a false label")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        hidden(trial)
        if trial.batch.x[0].numel() < self.labels:
            raise Unsupported(
                f"forward-forward writes {self.labels} pixels, but the input has {trial.batch.x[0].numel()}"
            )
        return {}

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        true = batch.target
        off = torch.randint(1, self.labels, true.shape, generator=generator, device=true.device)
        label = torch.cat([true, (true + off) % self.labels])
        x = written(twice(batch.x, 0), label, self.labels, self.ink)
        trial = play(net, replace(batch, x=x, target=label, loss=None))
        reward = torch.ones(len(x), dtype=x.dtype, device=x.device)
        reward[len(true) :] = -1
        yield Pass(trial, {"reward": reward})

    @torch.no_grad()
    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """Goodness of each label, [B, labels]: that many trials, side by side."""
        B, K = batch.size, self.labels
        label = torch.arange(K, device=batch.x.device).repeat_interleave(B)
        x = batch.x.repeat(K, *[1] * (batch.x.dim() - 1))
        trial = play(net, replace(batch, x=written(x, label, K, self.ink), target=None, loss=None))
        g = sum((trial.outputs[n] ** 2).flatten(1).mean(1) for n in hidden(trial))
        return torch.as_tensor(g).reshape(K, B).T


@dataclass(frozen=True)
class ContrastiveDivergence(Wireless):
    """dW = <h0 (x) v0> - <h1 (x) v1>,   h0 ~ max(0, u + sqrt(sigmoid(u)) xi),  v1 = W^T h0,  h1 = phi(W v1);   rule `Hebb`.

    One step of Gibbs sampling (CD-1) of a restricted Boltzmann machine with linear visible and rectified hidden units,
    v0 being what arrives; two passes with gain +1 and -1. Layer-wise pre-training: each hidden layer learns for `updates`
    updates, then is fixed and the next begins; the target reaches the last layer alone. Source: Hinton 2002, Neural Comput
    14:1771; rectified units: Nair & Hinton 2010, ICML. Relation to backprop: none; it knows nothing of the task.
    """

    updates: int = 400
    reads: frozenset[str] = claims("transport", "noise")
    shown: frozenset[str] = claims("transport", "noise")  # in what is dreamt
    last: frozenset[str] = claims("error")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        at_least_one(self.updates)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        below(trial)
        return {"updates": torch.zeros((), dtype=torch.long)}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))
        layers = hidden(trial)
        now, last = its_turn(layers, own, self.updates), next(reversed(trial.inputs))
        records: dict[str, Record] = {n: r for n, r in trial.records.items() if r.layer not in layers}
        credit = improvement(trial, {last: trial.inputs[last]}) if trial.loss is not None else {}
        with torch.no_grad():
            for n, r in trial.records.items():
                if r.layer == now:
                    xi = torch.randn(r.u.shape, generator=generator, device=r.u.device, dtype=r.u.dtype)
                    records[n] = replace(r, post=(r.u + r.u.sigmoid().sqrt() * xi).relu())
            dreamt = {n: self.reconstruct(r) for n, r in records.items() if r.layer == now}
        yield Pass(replace(trial, records=records), {"credit": credit})
        if dreamt:
            yield Pass(replace(trial, records=dreamt, loss=None), gain=-1.0)

    @staticmethod
    def reconstruct(r: Record) -> Record:
        """The record of the net's dream: pre = W^T h0, post = phi(W pre)."""
        v = torch.func.vjp(lambda x: send(r.synapse, x, r.weight), r.pre)[1](r.post)[0]
        u = send(r.synapse, v, r.weight, r.synapse.bias)
        return replace(r, pre=v, u=u, post=u.relu())
