"""Credit that returns another way than through the forward weights: fixed, signed, learned or direct feedback."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.backprop import Backprop
from neurosim.plasticity import Pass, claims, improvement
from neurosim.record import Batch, Trial
from neurosim.synapses import rank
from neurosim.trial import play, returned, synapses


@dataclass(frozen=True)
class FeedbackAlignment(Backprop):
    """credit_l = phi'(u_l) * (B_{l+1}^T credit_{l+1}): it returns through fixed random B ~ N(0, 1 / fan-in), shaped like W.

    Source: Lillicrap et al. 2016, Nat Commun 7:13276. Relation to backprop: equal where B = W; else the forward weights
    turn towards B, so that credit comes within 90 degrees of the gradient.
    """

    reads: frozenset[str] = claims("error", "feedback")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        def fresh(name: str) -> nn.Module:
            m = copy.deepcopy(trial.records[name].synapse)
            m.bias = None
            with torch.no_grad():
                fan_in = m.weight[0].numel()  # not W's own scale: W may start at zero
                m.weight.normal_(0, fan_in**-0.5, generator=generator)
            return m

        return {f"feedback/{n}": fresh(n) for n in trial.records}

    def back(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        return {n: own[f"feedback/{n}"].weight for n in synapses(net)}


@dataclass(frozen=True)
class TiedFeedback(Backprop):
    """As feedback alignment with B copied from W at every step: a control that must equal backprop.

    Credit takes the way of the feedback weights, whose values are the forward ones. Source: the limit B = W of Lillicrap et
    al. 2016. Relation to backprop: equal.
    """

    def back(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        return {n: m.weight.detach().clone() for n, m in synapses(net).items()}


@dataclass(frozen=True)
class SignSymmetric(Backprop):
    """As feedback alignment with B = sign(W) mean|W|: the sign of each weight is carried back, not its size.

    Source: Liao, Leibo & Poggio 2016, AAAI; Xiao et al. 2019, ICLR. Relation to backprop: same signs, so nearly aligned.
    """

    reads: frozenset[str] = claims("error", "transport")

    def back(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        with torch.no_grad():
            return {n: m.weight.sign() * m.weight.abs().mean() for n, m in synapses(net).items()}


@dataclass(frozen=True)
class KolenPollack(FeedbackAlignment):
    """As feedback alignment, but B learns by the same update and decay as W:  W - B -> (1 - lambda)^t (W - B).

    B is a synapse with a record and a rule of its own: pre and credit are those of W. The decay is the optimiser's
    weight decay, on both. Source: Kolen & Pollack 1994; Akrout et al. 2019, NeurIPS. Relation to backprop: becomes it.
    """

    gives: frozenset[str] = claims("credit")

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=self.back(net, own))
        credit = dict(returned(trial, ("credit",))["credit"])
        records = dict(trial.records)
        for n, r in trial.records.items():
            b = f"feedback/{n}"
            records[b] = replace(r, name=b, synapse=own[b], weight=own[b].weight.detach())
            if r.layer in credit:
                credit[b] = credit[r.layer]
        yield Pass(replace(trial, records=records), {"credit": credit})


def own_step(e: Tensor) -> Tensor:
    """Each step and sample gets its own error."""
    return e


def pooled(e: Tensor) -> Tensor:
    """The error summed over the sequence, [T, B, out] -> [B, out], told at every step."""
    return e.sum(0)


@dataclass(frozen=True)
class DirectFeedback:
    """signal_l = B_l e,  credit_l = phi'(u_l) * (B_l e),  e = -dL/d output: straight to every layer by fixed random B_l.

    `error` says which error is sent: `own_step`, or `pooled` over the sequence. The layer the loss sees keeps its own.
    Source: Nokland 2016, NeurIPS. Relation to backprop: the product of the later Jacobians is replaced by one matrix.
    """

    error: Callable[[Tensor], Tensor] = own_step
    reads: frozenset[str] = claims("error", "feedback")
    gives: frozenset[str] = claims("credit", "signal")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        out = trial.output.shape[-1]
        feedback: dict[str, Any] = {}
        for layer in {r.layer: None for r in trial.records.values()}:
            r = next(r for r in trial.records.values() if r.layer == layer)
            y = r.post
            m = nn.Linear(out, y.shape[-rank(r.synapse) :].numel(), bias=False, device=y.device, dtype=y.dtype)
            with torch.no_grad():
                m.weight.normal_(0, out**-0.5, generator=generator)
            feedback[f"direct/{layer}"] = m
        return feedback

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch, backward=dict.fromkeys(synapses(net)))  # nothing returns through a synapse ...
        kinds = improvement(trial, {"e": trial.output} | {("u", n): u for n, u in trial.inputs.items()})
        e = self.error(kinds["e"])
        signal, credit = {}, {}
        for r in trial.records.values():
            b = (e @ own[f"direct/{r.layer}"].weight.detach().T).reshape(
                *e.shape[:-1], *r.post.shape[-rank(r.synapse) :]
            )
            signal[r.layer] = b = b.expand_as(r.post)  # one error of a trial is told at every step
            credit[r.layer] = kinds.get(("u", r.layer), b * r.slope)  # ... so only the last layer has credit of its own
        yield Pass(trial, {"signal": signal, "credit": credit})
