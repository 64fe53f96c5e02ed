"""The eligibility of terms that share gate and tau_e: what they leave behind, and what their gate makes of it.

    e[t] = a e[t-1] + P[t],     a = exp(-dt/tau_e),     P[t] = sum over terms of f(w) y[t] (x) x[t]
    dW = sum_t M[t] e[t] dt

In a trial of T steps from e0 on, filtering e forward in time equals filtering M backward against the bare product:

    dW   =  sum_t a^(t+1) M[t] dt e0  +  sum_t g[t] P[t],       g[t] = M[t] dt + a g[t+1]
    e_T  =  a^T e0  +  sum_t a^(T-1-t) P[t]

which are two matmuls, however long the trial. e0 and e_T are [B, post, pre], the only tensors of that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.plasticity import Record, outer
from neurosim.rules.spike_sides import ages, back


@dataclass(frozen=True, eq=False)
class Factors:
    """y[t] (x) x[t]; or, with a start, y[t] (x) z[t], where z[t] = a z[t-1] + bump x[t] from there on.

    z is never made: with p = y times a weight, filtered backward, q[t] = p[t] + a q[t+1],

        sum_t p[t] z[t]  =  a q[0] start  +  sum_t bump q[t] x[t]
    """

    y: Tensor  # [T, B, *post unit]
    x: Tensor  # [T, B, *pre unit]
    a: float = 0.0
    bump: float = 1.0
    start: Tensor | None = None  # [B, *pre unit]


Products = Mapping[Callable[[Tensor], Tensor] | None, Sequence[Factors]]  # by f(w); None = 1


def changed(rec: Record, products: Products, M: Tensor, a: float) -> Tensor:
    """sum_t g[t] P[t], M [T, B, *post unit] or [T, B, 1, ...]: dW of a trial that starts without eligibility."""
    g = back(M, a)
    return sum(by(rec, f, outer(rec, met(some), weighed(some, g))) for f, some in products.items())


def grown(rec: Record, products: Products, e: Tensor | None, a: float) -> Tensor:
    """a^T e + sum_t a^(T-1-t) P[t], [B, post, pre], of a dense layer."""
    T = rec.pre.shape[0]
    age, decayed = (ages(T, a, rec.pre).flip(0).reshape(-1, 1, 1) if T > 1 else None), a**T
    for f, some in products.items():
        y, x = weighed(some, age).permute(1, 2, 0), met(some).transpose(0, 1)  # [B, post, steps], [B, steps, pre]
        if e is not None and f is None:
            e = torch.baddbmm(e, y, x, beta=decayed)
        else:
            d = by(rec, f, torch.bmm(y, x))
            e = d if e is None else torch.add(d, e, alpha=decayed)
        decayed = 1.0  # once
    return e


def weighed(products: Sequence[Factors], weight: Tensor | None) -> Tensor:
    """Post sides times a weight [T, ...], in the order of `met`."""
    at: dict[int, Tensor] = {}
    starts = []
    for p in products:
        y = p.y if weight is None else p.y * weight
        if p.start is not None:
            y = back(y, p.a)
            starts.append(p.a * y[:1])
            y = y if p.bump == 1 else p.bump * y
        at[id(p.x)] = at[id(p.x)] + y if id(p.x) in at else y
    sides = (*at.values(), *starts)
    return torch.cat(sides) if len(sides) > 1 else sides[0]


def met(products: Sequence[Factors]) -> Tensor:
    """Pre sides, each once, and then what traces start from, on the axis of time."""
    found = {id(p.x): p.x for p in products}
    starts = [p.start[None] for p in products if p.start is not None]
    return torch.cat((*found.values(), *starts)) if len(found) + len(starts) > 1 else products[0].x


def read(e: Tensor, m: Tensor) -> Tensor:
    """sum_b m[b] e[b], m [B, post], or [B, 1] where all neurons are told the same."""
    if e.shape[0] == 1:
        return m.T * e[0]
    if m.shape[1] == 1:
        return (m.T @ e.flatten(1)).view_as(e[0])
    return torch.bmm(m.T[:, None], e.transpose(0, 1))[:, 0]  # neuron by neuron


def read_decaying(e: Tensor, M: Tensor, a: float) -> Tensor:
    """sum_t a^(t+1) M[t] e."""
    T, B = M.shape[:2]
    return read(e, (a * ages(T, a, M) @ M.reshape(T, -1)).view(B, -1))


def by(rec: Record, f: Callable[[Tensor], Tensor] | None, d: Tensor) -> Tensor:
    return d if f is None else f(rec.weight) * d
