"""Credit by trial and error: disturb the inputs or the weights, and see whether the loss falls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.credit.backprop import Wireless
from neurosim.plasticity import Pass, broadcast, claims
from neurosim.record import Batch
from neurosim.trial import play, synapses


def gaussian(like: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    return sigma * torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class NodePerturbation(Wireless):
    """credit = (L - L_noisy) xi / sigma^2,  xi ~ N(0, sigma^2) on every unit's input: its mean is -dL/du.

    One number a sample, broadcast to all; the undisturbed trial is the baseline. Its variance grows with the number of
    units. Source: Werfel, Xie & Seung 2005, Neural Comput 17:2699. Relation to backprop: the same in the mean.
    """

    sigma: float = 1e-3
    reads: frozenset[str] = claims("loss", "noise")
    gives: frozenset[str] = claims("credit")

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma: given {self.sigma}, the noise needs a positive standard deviation")

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        clean = play(net, batch)
        xi = {n: gaussian(whole(u), self.sigma, generator) for n, u in clean.inputs.items()}
        noisy = play(net, batch, add=xi)
        if clean.loss is None:
            raise ValueError("batch.loss: given None, but perturbation compares losses")
        better = (clean.loss - noisy.loss) / self.sigma**2
        by_layer = {r.layer: r for r in clean.records.values()}
        yield Pass(clean, {"credit": {n: broadcast(by_layer[n], better) * z for n, z in xi.items()}})


def whole(u: Tensor | list[Tensor]) -> Tensor:
    """A layer's input, all steps in one tensor."""
    return torch.stack(u) if isinstance(u, list) else u


@dataclass(frozen=True)
class WeightPerturbation(Wireless):
    """reward = (L - L_noisy) / sigma^2, noise = xi like W,  xi ~ N(0, sigma^2), one draw a batch; rule `Perturbed`.

    Source: Jabri & Flower 1992. Relation to backprop: the same in the mean; variance grows with the number of weights.
    """

    sigma: float = 1e-3
    reads: frozenset[str] = claims("loss", "noise")
    gives: frozenset[str] = claims("reward", "noise")

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma: given {self.sigma}, the noise needs a positive standard deviation")

    @torch.no_grad()
    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        clean, weights = play(net, batch), {n: m.weight for n, m in synapses(net).items()}
        xi = {n: gaussian(w, self.sigma, generator) for n, w in weights.items()}
        noisy = play(net, batch, forward={n: weights[n] + xi[n] for n in weights})
        yield Pass(clean, {"reward": (clean.loss - noisy.loss) / self.sigma**2, "noise": xi})
