"""Rules side by side on one synapse, and the companion that keeps spiking neurons at a rate, the same beside every rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Record, Rule, claims, positive, unit_mean
from neurosim.rules.rflo import RFLO


@dataclass(frozen=True)
class Sum:
    """dW = sum_k dW_k: several rules on the same synapse, each with what it reads and a state of its own."""

    rules: tuple[Rule, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(r.reads for r in self.rules))

    def fresh(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left of the state when a new trial begins."""
        parts = [part(state, k) for k in range(len(self.rules))]
        kept = [r.fresh(s) if hasattr(r, "fresh") else s for r, s in zip(self.rules, parts, strict=True)]
        return {f"{k}:{n}": v for k, s in enumerate(kept) for n, v in s.items()}

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        dw = 0.0
        for k, rule in enumerate(self.rules):
            own = part(state, k)
            dw = dw + rule.update(rec, third, own)
            state.update({f"{k}:{n}": v for n, v in own.items()})
        return dw


def part(state: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
    """The entries of rule k."""
    return {n.partition(":")[2]: v for n, v in state.items() if n.startswith(f"{k}:")}


@dataclass(frozen=True)
class FiringRate:
    """dW = c (f0 - f_j) sum_t psi_j[t] p_i[t],   p <- alpha p + x:   a neuron below f0 grows, one above it shrinks.

    f_j: the neuron's mean rate over the batch and its steps, f0 `target`, both in Hz; c `strength`, a Hz and step. In pieces
    (truncation) f_j is that of the piece: a trial whose rate varies is pulled to f0 piece by piece. It is `RFLO` told L = c
    (f0 - f_j): without what returns through the adaptation, up to a factor the gradient of -sum_j (f_j - f0)^2 by e-prop.
    Source: the firing-rate regularisation of Bellec et al. 2020, Nat Commun 11:3625, where it is the square of spikes a ms,
    averaged over a trial of T steps of 1 ms: c = 2e-3 / T.
    """

    neuron: AdaptiveLIF
    target: float = 10.0
    strength: float = 3e-5
    reads: frozenset[str] = claims("pre", "post", "slope", "batch")

    def __post_init__(self) -> None:
        positive(target=self.target, strength=self.strength)

    def fresh(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left of the state when a new trial begins."""
        return {}

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        if rec.dt is None:
            raise ValueError("dt: given None, but a rate in Hz needs Batch(dt=...) in ms per step")
        f = 1000 * unit_mean(rec, rec.post) / rec.dt  # Hz
        L = self.strength * (self.target - f)
        return RFLO(self.neuron).update(rec, {"signal": L}, state)
