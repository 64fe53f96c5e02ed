"""Credit by two equilibria: equilibrium propagation, a net that settles once free and twice nudged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, Unsupported, positive
from neurosim.trial import play, synapses

State = dict[str, Tensor]
Goal = Callable[[State, Trial], Iterable[Tensor]]


def static_only(trial: Trial, who: str) -> None:
    """Unsupported unless every layer computes at once: a relaxation needs one input per unit, not one per step."""
    if stepped := [n for n, u in trial.inputs.items() if isinstance(u, list)]:
        raise Unsupported(f"{who} relaxes a static net, but layer {stepped[0]!r} steps through time")


@torch.enable_grad()  # it needs the pull, wherever it is called
def relax(net: nn.Module, batch: Batch, goal: Goal, x: State, steps: int, rate: float, box: Any = None) -> State:
    """x <- x + rate (goal(x) - x), `steps` times, kept within `box` (low, high); x[layer] replaces the layer's input.

    goal = x - dE/dx, layer by layer in the order of x, so this is descent of E with step size `rate`.
    """
    weights = {n: m.weight.detach() for n, m in synapses(net).items()}
    for _ in range(steps):
        x = {n: v.requires_grad_() for n, v in x.items()}
        goals = goal(x, play(net, batch, clamp=x, forward=weights))
        with torch.no_grad():
            x = {n: torch.lerp(v, g, rate) for (n, v), g in zip(x.items(), goals, strict=True)}
            if box:
                x = {n: v.clamp_(*box) for n, v in x.items()}
    return {n: v.detach() for n, v in x.items()}


def pull(x: State, ends: Iterable[Tensor], weights: Iterable[Tensor], keep: bool = False) -> list[Tensor]:
    """d/dx of sum weights . ends, the weights held fixed; 0 where no end depends on an x."""
    pairs = [(q, w) for q, w in zip(ends, weights, strict=True) if q.requires_grad]
    qs, ws = [q for q, _ in pairs], [w for _, w in pairs]
    grads = torch.autograd.grad(qs, list(x.values()), ws, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for v, g in zip(x.values(), grads, strict=True)]


def twice(v: Tensor | None, axis: int) -> Tensor | None:
    """The batch two times over."""
    return None if v is None else torch.cat([v, v], min(axis, v.dim() - 1))


@dataclass(frozen=True)
class Equilibrium:
    """E = sum_l |x_l|^2 / 2 - phi(x_l) . u_l  + beta L;   dW = (1 / 2 beta) ([y y'](beta) - [y y'](-beta)), rule `Hebb`.

    Two nudged equilibria around one free one; the synapse is told nothing but which of them it is in (gain +-1/2 beta).
    As beta -> 0 and with steps enough to settle it is the gradient of the settled loss, with error O(beta^2); fewer
    steps only come near it. `box` keeps the states within bounds, as in the original.
    Source: Scellier & Bengio 2017, Front Comput Neurosci 11:24; symmetric nudging: Laborieux et al.
    2021, Front Neurosci 15:633674. Relation to backprop: gradient of the same loss in a net with feedback.
    """

    beta: float = 0.1
    free: int = 20
    nudged: int = 6
    rate: float = 0.5
    box: tuple[float, float] | None = (0.0, 1.0)
    reads: frozenset[str] = claims("error", "transport")
    gives: frozenset[str] = claims()

    def __post_init__(self) -> None:
        if self.beta == 0:
            raise ValueError("beta: given 0, the nudge must differ from none")
        positive(free=self.free, nudged=self.nudged, rate=self.rate)

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        static_only(trial, "equilibrium propagation")
        return {}

    def goal(self, beta: Tensor | None) -> Goal:
        """x - dE/dx = d/dx (y . u) - beta dL/dx, where u is held fixed for y's part and y for u's; beta [B] or none."""

        def g(x: State, trial: Trial) -> Iterable[Tensor]:
            u, y = list(trial.inputs.values()), [trial.outputs[n] for n in trial.inputs]
            ends, weights = [*y, *u], [v.detach() for v in (*u, *y)]
            if beta is not None:
                ends, weights = [*ends, trial.loss], [*weights, -beta]
            return pull(x, ends, weights)

        return g

    def settle(self, net: nn.Module, batch: Batch) -> State:
        """The free equilibrium, from the forward activity."""
        with torch.no_grad():
            x = {n: u.clamp(*self.box) if self.box else u for n, u in play(net, batch).inputs.items()}
        return relax(net, replace(batch, loss=None), self.goal(None), x, self.free, self.rate, self.box)

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        x0, axis = self.settle(net, batch), int(batch.time)
        both = replace(batch, x=twice(batch.x, axis), target=twice(batch.target, axis))  # the two nudges side by side
        one = torch.full((batch.size,), self.beta, dtype=batch.x.dtype, device=batch.x.device)
        goal = self.goal(torch.cat([one, -one]))
        x = relax(net, both, goal, {n: twice(v, axis) for n, v in x0.items()}, self.nudged, self.rate, self.box)
        for k, sign in enumerate((1.0, -1.0)):
            mine = {n: v.narrow(axis, k * batch.size, batch.size) for n, v in x.items()}
            with torch.no_grad():
                trial = play(net, batch, clamp=mine)
            yield Pass(trial, gain=sign / (2 * self.beta))

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """The output of the free equilibrium."""
        x = self.settle(net, batch)
        with torch.no_grad():
            return play(net, batch, clamp=x).output
