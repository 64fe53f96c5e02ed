"""Learning signals that are broadcast: the readout's error of each step, told to every layer, not differentiated in time.

    L_l[t] = B_l^T e[t],   e = -dL/d output:   signal of layer l;   the readout is told e itself

What L bears on is the rule's affair: `RFLO` and `EProp` filter it through the neuron's memory, without which it is direct
feedback. Source: Bellec et al. 2020, Nat Commun 11:3625 (symmetric, random and adaptive e-prop).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.backprop import in_pieces, trials
from neurosim.credit.feedback import own_step
from neurosim.plasticity import Pass, Record, claims
from neurosim.record import Batch, Trial, Unsupported, positive


def readout_of(trial: Trial) -> str:
    """The layer whose y is the output. Unsupported where it is none's."""
    for layer, y in trial.outputs.items():
        if y is trial.output:
            return layer
    raise Unsupported("an error is broadcast to the layers, but the net's output is no layer's: end it with a readout")


def error_of(trial: Trial) -> Tensor:
    """e = -dL/d output, like the output."""
    if trial.batch.loss is None:
        raise ValueError("batch.loss: given None, but an error is how it changes with the output")
    output = trial.output.detach().requires_grad_()
    with torch.enable_grad():
        loss = trial.batch.loss(output, trial.batch.target).sum()
    return -torch.autograd.grad(loss, output)[0]


@dataclass(frozen=True)
class Broadcast:
    """L_l[t] = B_l^T e[t] with fixed random B_l ~ N(0, scale^2), [outputs, n_l].  Random e-prop, RFLO, direct feedback.

    scale: default 1 / sqrt(n_l), a readout's own; what is added to the rule, as the rate's regularisation is, counts less
    beside more.

    `error` says which error is sent: `own_step`, or `pooled` over the sequence. `steps`: the sequence is played in pieces of
    so many steps; with 1 and a causal rule nothing is kept but the state. Relation to backprop: see the rule.
    """

    error: Callable[[Tensor], Tensor] = own_step
    steps: int | None = None
    scale: float | None = None
    reads: frozenset[str] = claims("error", "feedback")
    gives: frozenset[str] = claims("signal")

    def __post_init__(self) -> None:
        if self.scale is not None:
            positive(scale=self.scale)
        if self.steps is not None and self.error is not own_step:
            raise ValueError(
                f"steps: given {self.steps}, but an error that is not each step's own needs the whole trial"
            )

    def layers(self, trial: Trial) -> dict[str, Record]:
        """A record of each layer but the readout."""
        last = readout_of(trial)
        return {r.layer: r for r in trial.records.values() if r.layer != last}

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        in_pieces(trial.batch, self.steps)
        feedback: dict[str, Any] = {}
        for layer, r in self.layers(trial).items():
            n = r.post.shape[-1]
            if r.post.dim() != 2 + trial.batch.time:
                raise Unsupported(
                    f"{layer}: an error is broadcast to dense layers, but this one's units have several axes"
                )
            m = nn.Linear(n, trial.output.shape[-1], bias=False, device=r.post.device, dtype=r.post.dtype)
            with torch.no_grad():
                m.weight.normal_(0, self.scale or n**-0.5, generator=generator)
            feedback[f"feedback/{layer}"] = m
        return feedback

    def way(self, trial: Trial, layer: str, own: Mapping[str, Any]) -> Tensor:
        """B_l, [outputs, n_l]."""
        return own[f"feedback/{layer}"].weight

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        for trial in trials(net, batch, {}, self.steps):
            e, last = error_of(trial), readout_of(trial)
            sent = self.error(e)
            signal = {n: (sent @ self.way(trial, n, own)).expand_as(r.post) for n, r in self.layers(trial).items()}
            told = {**signal, **self.mirrored(trial, e), last: e}
            yield Pass(self.seen(trial, own), {"signal": told}, goes_on=bool(trial.start))

    def seen(self, trial: Trial, own: Mapping[str, Any]) -> Trial:
        return trial

    def mirrored(self, trial: Trial, e: Tensor) -> dict[str, Tensor]:
        return {}


def before(trial: Trial) -> tuple[str, str]:
    """The readout's synapse, and the layer whose output it carries. Unsupported where another layer is there."""
    last = readout_of(trial)
    layers = list(dict.fromkeys(r.layer for r in trial.records.values() if r.layer != last))
    synapse, *others = (n for n, r in trial.records.items() if r.layer == last)
    if others or len(layers) != 1 or trial.arrived[synapse] is not trial.outputs[layers[0]]:
        raise Unsupported(
            "the readout's weights lead back to the layer before it alone: one hidden layer is told, no more"
        )
    return synapse, layers[0]


@dataclass(frozen=True)
class SymmetricBroadcast(Broadcast):
    """As `Broadcast` with B = W_out, the readout's own weights: symmetric e-prop. One hidden layer."""

    reads: frozenset[str] = claims("error", "transport")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        in_pieces(trial.batch, self.steps)
        before(trial)
        return {}

    def way(self, trial: Trial, layer: str, own: Mapping[str, Any]) -> Tensor:
        return trial.weights[before(trial)[0]]


@dataclass(frozen=True)
class LearnedBroadcast(Broadcast):
    """As `Broadcast`, but B learns by the update and the decay of W_out:  W - B -> (1 - lambda)^t (W - B). One hidden layer.

    B is a synapse with the record, the signal and the rule of the readout. The decay is the optimiser's, on both. Source:
    Kolen & Pollack 1994; adaptive e-prop, Bellec et al. 2020.
    """

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        synapse, layer = before(trial)
        return {f"feedback/{synapse}": super().wire(trial, generator)[f"feedback/{layer}"]}

    def way(self, trial: Trial, layer: str, own: Mapping[str, Any]) -> Tensor:
        return own[f"feedback/{before(trial)[0]}"].weight

    def seen(self, trial: Trial, own: Mapping[str, Any]) -> Trial:
        n = before(trial)[0]
        b, r = f"feedback/{n}", trial.records[n]
        mirror = replace(r, name=b, synapse=own[b], weight=own[b].weight.detach())
        return replace(trial, records={**trial.records, b: mirror})

    def mirrored(self, trial: Trial, e: Tensor) -> dict[str, Tensor]:
        return {f"feedback/{before(trial)[0]}": e}
