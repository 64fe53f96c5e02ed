"""Credit by the error itself: backpropagation, its cuts, the delta rule; and no credit at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.plasticity import RETURNED, Pass, claims
from neurosim.record import Batch, Trial
from neurosim.trial import play, synapses


class Wireless:
    """A credit that owns nothing."""

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Backprop(Wireless):
    """credit_l = phi'(u_l) * (W_{l+1}^T credit_{l+1}): it returns through the synapses' own weights.

    `cut` is a pattern of synapses through which none returns: "*.recurrent" makes it e-prop and RFLO.
    Source: Rumelhart, Hinton & Williams 1986, Nature 323:533. Relation to backprop: it is backprop.
    """

    cut: str = ""
    reads: frozenset[str] = claims("error", "transport")
    gives: frozenset[str] = claims("credit", "signal")

    def back(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        """The weights that credit returns through, by synapse; those not named use their own."""
        return {}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        back = self.back(net, own)
        if self.cut:
            back |= {n: None for n in synapses(net) if fnmatchcase(n, self.cut)}
        yield Pass(play(net, batch, backward=back), {"credit": RETURNED, "signal": RETURNED})


@dataclass(frozen=True)
class DeltaRule(Wireless):
    """credit = -dL/du at the layer that the loss sees, none elsewhere: nothing returns through a synapse.

    It trains a readout on features that learn by themselves (Hebbian recipes) or not at all (the frozen control).
    Source: Widrow & Hoff 1960. Relation to backprop: its last layer.
    """

    reads: frozenset[str] = claims("error")
    gives: frozenset[str] = claims("credit")

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        yield Pass(play(net, batch, backward=dict.fromkeys(synapses(net))), {"credit": RETURNED})


@dataclass(frozen=True)
class NoCredit(Wireless):
    """Unsupervised: play once, tell nothing."""

    reads: frozenset[str] = claims()
    gives: frozenset[str] = claims()

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        with torch.no_grad():
            trial = play(net, batch)
        yield Pass(trial)
