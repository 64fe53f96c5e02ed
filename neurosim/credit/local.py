"""Credit made inside a layer: a loss of its own through a head of its own, and nothing from the layers above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Record, Trial, Unsupported
from neurosim.synapses import mirror, send
from neurosim.trial import improvement, play, synapses


def hidden(trial: Trial) -> list[str]:
    """The layers below the last, in order; Unsupported where a layer steps through time."""
    if stepped := [n for n, u in trial.inputs.items() if isinstance(u, list)]:
        raise Unsupported(f"a loss per layer is for static nets, but layer {stepped[0]!r} steps through time")
    return list(trial.inputs)[:-1]


def below(trial: Trial) -> list[str]:
    """As `hidden`, of a net whose output is its last layer's; Unsupported where the loss may see another layer too."""
    layers = hidden(trial)
    if trial.outputs[list(trial.inputs)[-1]] is not trial.output:
        raise Unsupported(
            "a loss per layer needs a net whose output is its last layer's, and this one adds to it or changes it"
        )
    return layers


def mirrored(trial: Trial, name: str, who: str) -> nn.Module:
    """`mirror` of the synapse, or Unsupported."""
    try:
        return mirror(trial.records[name].synapse)
    except ValueError as reason:
        raise Unsupported(f"{who}: {name}: {reason}") from None


def drawn(m: nn.Module, generator: torch.Generator) -> nn.Module:
    """W ~ N(0, 1 / fan-in)."""
    with torch.no_grad():
        m.weight.normal_(0, m.weight[0].numel() ** -0.5, generator=generator)
    return m


def matrix(pre: int, post: int, like: Tensor, generator: torch.Generator) -> nn.Module:
    """A drawn `nn.Linear` from so many units to so many, where and of the type that `like` is."""
    return drawn(nn.Linear(pre, post, bias=False, device=like.device, dtype=like.dtype), generator)


def head_record(name: str, m: nn.Module, pre: Tensor, z: Tensor) -> Record:
    """What a head's synapse saw: z = A pre, linear."""
    pre, z = pre.detach(), z.detach()
    return Record(name, m, m.weight.detach(), pre, z, z, torch.ones_like(z), {}, None)


def told(trial: Trial, losses: Mapping[str, Tensor], heads: Mapping[str, Record], z: Mapping[str, Tensor]) -> Pass:
    """-d(losses)/du to each layer and -d(losses)/dz to each head; the trial's own loss reaches its last layer."""
    records = {**trial.records, **heads}
    own = trial.loss if trial.loss is not None else 0.0
    whole = replace(trial, records=records, loss=own + sum(losses.values()))
    wanted = {("u", n): u for n, u in trial.inputs.items()} | {("z", n): v for n, v in z.items()}
    credit = {n: c for (_, n), c in improvement(whole, wanted).items()}
    return Pass(whole, {"credit": credit})


@dataclass(frozen=True)
class LayerLocal:
    """L_l = L(A_l y_l, target);   credit_l = -dL_l/du_l = phi'(u_l) * (A_l^T e_l),   e_l = -dL_l/d(A_l y_l);  A_l: delta rule.

    One linear head A_l per hidden layer, no gradient between layers. The head's weights serve in both directions: weight
    transport, but only within a layer's own head. Source: Mostafa, Ramesh & Cauwenberghs 2018, Front Neurosci 12:608;
    Nokland & Eidnes 2019, ICML. Relation to backprop: it is backprop of a net of one hidden layer, layer by layer.
    """

    reads: frozenset[str] = claims("error", "feedback")
    gives: frozenset[str] = claims("credit")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        lead, heads = 1 + trial.batch.time, {}
        for n in below(trial):
            y = trial.outputs[n]
            heads[f"head/{n}"] = matrix(y.shape[lead:].numel(), trial.output.shape[-1], y, generator)
        return heads

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))  # nothing returns through a synapse
        if batch.loss is None:
            raise ValueError("batch.loss: given None, but every layer follows a loss of its own")
        losses, heads, zs = {}, {}, {}
        for n in hidden(trial):
            m, y = own[f"head/{n}"], trial.outputs[n].flatten(1 + batch.time)
            zs[f"head/{n}"] = z = send(m, y, m.weight.detach()).requires_grad_()
            heads[f"head/{n}"] = head_record(f"head/{n}", m, y, z)
            losses[n] = batch.loss(z, batch.target)
        yield told(trial, losses, heads, zs)


def at_least_one(updates: int) -> None:
    """ValueError unless each layer's turn has an update."""
    if not updates >= 1:
        raise ValueError(f"updates: given {updates}, each layer must learn for at least 1")


def its_turn(layers: list[str], own: dict[str, Any], updates: int) -> str | None:
    """The hidden layer whose turn it is: each learns for so many updates, then stays; None when all have. Counts on."""
    k = int(own["updates"]) // updates
    own["updates"] = own["updates"] + 1
    return layers[k] if k < len(layers) else None


@dataclass(frozen=True)
class Autoencoder:
    """x^ = V_l y_l,   L_l = |x_l - x^|^2 / 2;   credit_l = phi'(u_l) * V_l^T (x_l - x^);   V_l: delta rule.

    x_l is what arrives at the layer. Layer-wise pre-training: each hidden layer learns for `updates` updates, then is fixed
    and the next begins; the target reaches the last layer alone. Source: Bengio, Lamblin, Popovici & Larochelle 2007,
    NeurIPS. Relation to backprop: it is that of a one-layer autoencoder; it knows nothing of the task.
    """

    updates: int = 400
    reads: frozenset[str] = claims("feedback")
    last: frozenset[str] = claims("error")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        at_least_one(self.updates)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        layers = below(trial)
        names = [n for n, r in trial.records.items() if r.layer in layers]
        made = {f"decoder/{n}": drawn(mirrored(trial, n, "an autoencoder's decoder"), generator) for n in names}
        return {**made, "updates": torch.zeros((), dtype=torch.long)}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))
        now = its_turn(hidden(trial), own, self.updates)
        losses, heads, zs = {}, {}, {}
        for n, r in trial.records.items():
            if r.layer == now:
                m, y = own[f"decoder/{n}"], trial.outputs[now]
                zs[f"decoder/{n}"] = z = send(m, y, m.weight.detach())
                heads[f"decoder/{n}"] = head_record(f"decoder/{n}", m, y, z)
                losses[n] = ((r.pre - z) ** 2).flatten(1).sum(1) / 2
        yield told(trial, losses, heads, zs)
