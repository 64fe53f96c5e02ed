"""Labels for neurons that learned without: each belongs to the class it answers most to, and a class's neurons vote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.credit.backprop import Wireless
from neurosim.plasticity import Pass, claims, forward
from neurosim.record import Batch
from neurosim.trial import play


@dataclass(frozen=True)
class Labelled(Wireless):
    """credit = one-hot(target) for the readout, nothing for any other layer; played without a graph.

    With the rule `ClassMean` at the readout its weights become each class's mean activity, and `vote` answers by them.
    """

    reads: frozenset[str] = claims("target")
    gives: frozenset[str] = claims("credit")

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        trial = play(net, batch)
        last = next(reversed(trial.inputs))
        label = F.one_hot(batch.target, trial.output.shape[-1]).to(trial.output.dtype)
        yield Pass(trial, {"credit": {last: label}})


def vote(net: nn.Module, batch: Batch) -> Tensor:
    """[B, classes]: the mean activity of the neurons of each class; a neuron's class is that of its largest readout weight.

    A class without neurons gets -1, below any count. Neurons that never answered vote for none. Source: Diehl & Cook 2015,
    Front Comput Neurosci 9:99.
    """
    w = net.get_submodule("readout").input.weight
    found: list[Tensor] = []
    hook = net.get_submodule("readout").register_forward_pre_hook(lambda m, x: found.append(x[0]))
    try:
        forward(net, batch)
    finally:
        hook.remove()
    member = F.one_hot(w.argmax(0), len(w)).to(w.dtype) * (w.amax(0) > 0)[:, None]  # [n, classes]
    size = member.sum(0)
    return torch.where(size > 0, found[0] @ member / size.clamp(min=1), -1.0)


__all__ = ["Labelled", "vote"]
