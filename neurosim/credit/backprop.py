"""Credit by the error itself: backpropagation, its cuts, the delta rule; and no credit at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.plasticity import RETURNED, Pass, claims
from neurosim.record import Batch, Trial, Unsupported
from neurosim.trial import play, synapses


class Wireless:
    """A credit that owns nothing."""

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Backprop(Wireless):
    """credit_l = phi'(u_l) * (W_{l+1}^T credit_{l+1}): it returns through the synapses' own weights.

    `cut` is a pattern of synapses through which none returns: "*.recurrent" makes it e-prop and RFLO. `steps`: a sequence
    is played in pieces of so many steps, each started from the last one's end, and no credit passes from one to another:
    truncated backpropagation through time; 1 is what can be done online. Its loss is the sum of those of the pieces.
    Source: Rumelhart, Hinton & Williams 1986, Nature 323:533; pieces: Williams & Peng 1990, Neural Comput 2:490.
    Relation to backprop: it is backprop, or with pieces its part within them.
    """

    cut: str = ""
    steps: int | None = None
    reads: frozenset[str] = claims("error", "transport")
    gives: frozenset[str] = claims("credit", "signal")

    def back(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        """The weights that credit returns through, by synapse; those not named use their own."""
        return {}

    def ways(self, net: nn.Module, own: dict[str, Any]) -> dict[str, Tensor | None]:
        """`back`, with what is cut."""
        cut = {n: None for n in synapses(net) if fnmatchcase(n, self.cut)} if self.cut else {}
        return {**self.back(net, own), **cut}

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        in_pieces(trial.batch, self.steps)
        return {}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        for trial in trials(net, batch, self.ways(net, own), self.steps):
            yield Pass(trial, {"credit": RETURNED, "signal": RETURNED}, goes_on=bool(trial.start))


def trials(
    net: nn.Module, batch: Batch, backward: Mapping[str, Tensor | None], steps: int | None = None
) -> Iterable[Trial]:
    """One play of the batch; or of its pieces (`in_pieces`), one after the other, each started from the last one's end."""
    start: Mapping[str, Mapping[str, Tensor]] = {}
    for piece in in_pieces(batch, steps):
        trial = play(net, piece, backward=backward, start=start)
        start = trial.end
        yield trial


def in_pieces(batch: Batch, steps: int | None) -> list[Batch]:
    """The batch cut in time into pieces of so many steps; the whole, if None.

    ValueError for steps < 1; Unsupported where the pieces have no targets of their own, [T, B].
    """
    if steps is None:
        return [batch]
    if steps < 1:
        raise ValueError(f"steps: given {steps}, a piece has at least 1")
    x, target = batch.x, batch.target
    if not batch.time or target is None or target.shape[:2] != x.shape[:2]:
        raise Unsupported("a sequence is played in pieces, but this batch has no target at each step, [T, B]")
    return [
        replace(
            batch,
            x=x[at],
            target=target[at],
            signals={n: v[at] if v.dim() > 1 else v for n, v in batch.signals.items()},
        )
        for at in (slice(k, k + steps) for k in range(0, len(x), steps))
    ]


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
