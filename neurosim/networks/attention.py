"""Attention in exchangeable pieces: how queries q, keys k and values v, [T, B, heads, n], give y [T, B, heads, n].

    Softmax        y_t = sum_s softmax_s(beta k_s.q_t) v_s,   beta = 1 / sqrt(n)
    Linear         y_t = sum_s (phi(k_s).phi(q_t)) v_s,   unnormalised, or divided by sum_s phi(k_s).phi(q_t)
    FastWeights    W_t = W_{t-1} + v_t phi(k_t)^T,   y_t = W_t phi(q_t): a Hebbian synapse that lasts for a sequence
    DeltaWeights   W_t = W_{t-1} + eta (v_t - W_{t-1} phi(k_t)) phi(k_t)^T / |phi(k_t)|^2: the delta rule, which overwrites

Causal sums go over s <= t. FastWeights equals causal, unnormalised Linear. Each is a frozen value, called with (q, k, v,
causal). Sources: Vaswani et al. 2017, NeurIPS; Katharopoulos et al. 2020, ICML; Schlag, Irie & Schmidhuber 2021, ICML.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.networks.mlp import dense
from neurosim.plasticity import Layer


class Attend(Protocol):
    """A frozen value."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """q, k, v [T, B, heads, n] -> [T, B, heads, n]. ValueError where it cannot look ahead and is asked to."""
        ...


def by_place(x: Tensor) -> Tensor:
    """[T, B, heads, n] -> [B, heads, T, n], and back."""
    return x.permute(1, 2, 0, 3)


def in_order(x: Tensor) -> Tensor:
    return x.permute(2, 0, 1, 3)


@dataclass(frozen=True)
class Softmax:
    """y_t = sum_s a_ts v_s,   a_t = softmax_s(beta k_s.q_t);   beta: default 1 / sqrt(n).  Vaswani et al. 2017."""

    beta: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and not self.beta > 0:
            raise ValueError(f"beta: given {self.beta}, the steepness of a softmax is positive")

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k, v = by_place(q), by_place(k), by_place(v)
        return in_order(F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=self.beta))

    def map(self, q: Tensor, k: Tensor, causal: bool) -> Tensor:
        """a [B, heads, T, T]: row t is what token t attends to."""
        q, k = by_place(q), by_place(k)
        u = (q @ k.mT) * (self.beta or q.shape[-1] ** -0.5)
        return (u.masked_fill(later(u), -torch.inf) if causal else u).softmax(-1)


def later(u: Tensor) -> Tensor:
    """[T, T]: does s come after t?"""
    return torch.ones(u.shape[-2:], dtype=torch.bool, device=u.device).triu(1)


def positive(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1, made to sum to 1: features of keys and queries (Schlag et al. 2021). Of one unit always 1."""
    y = torch.where(x > 0, x + 1, x.clamp(max=0).exp())  # elu(x) + 1 is 0 in float32 below -17
    return y / y.sum(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class Linear:
    """y_t = sum_s (phi(k_s).phi(q_t)) v_s;   `normalised`: divided by sum_s phi(k_s).phi(q_t).  Katharopoulos et al. 2020,

    whose phi does not sum to 1: with phi = elu + 1 it is their equation.
    """

    phi: Callable[[Tensor], Tensor] = positive
    normalised: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        a = by_place(self.phi(q)) @ by_place(self.phi(k)).mT
        a = a.masked_fill(later(a), 0.0) if causal else a
        y = a @ by_place(v)
        return in_order(y / a.sum(-1, keepdim=True) if self.normalised else y)


def only_back(causal: bool) -> None:
    if not causal:
        raise ValueError("causal: given False, but fast weights know only what came before")


@dataclass(frozen=True)
class FastWeights:
    """W_t = W_{t-1} + v_t phi(k_t)^T,   y_t = W_t phi(q_t),   W_0 = 0.  Hebbian, [B, heads, n, n]; causal only.

    Sources: Ba et al. 2016, NeurIPS; Schlag et al. 2021.
    """

    phi: Callable[[Tensor], Tensor] = positive

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        only_back(causal)
        q, k, y = self.phi(q), self.phi(k), []
        W = v.new_zeros(*v.shape[1:], k.shape[-1])
        for q_t, k_t, v_t in zip(q.unbind(0), k.unbind(0), v.unbind(0), strict=True):
            W = W + self.change(W, k_t, v_t)
            y.append((W @ q_t[..., None])[..., 0])
        return torch.stack(y)

    def change(self, W: Tensor, k_t: Tensor, v_t: Tensor) -> Tensor:
        return v_t[..., :, None] * k_t[..., None, :]


@dataclass(frozen=True)
class DeltaWeights(FastWeights):
    """W_t = W_{t-1} + eta (v_t - W_{t-1} phi(k_t)) phi(k_t)^T / |phi(k_t)|^2,   y_t = W_t phi(q_t).  Causal only.

    eta = 1: what is now stored under phi(k_t) is exactly v_t. Sources: Widrow & Hoff 1960; Schlag et al. 2021, where eta is
    learned and keys are not divided by |phi(k_t)|^2.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.eta <= 1:
            raise ValueError(f"eta: given {self.eta}, the share that is overwritten lies above 0 and at most at 1")

    def change(self, W: Tensor, k_t: Tensor, v_t: Tensor) -> Tensor:
        k = k_t / (k_t**2).sum(-1, keepdim=True).clamp(min=1e-12)
        return self.eta * (v_t - (W @ k_t[..., None])[..., 0])[..., :, None] * k[..., None, :]


# ---------------------------------------------------------------------------------------------- as a part of a net
class Attention(nn.Module):
    """y = W_o attend(W_q x, W_k x, W_v x), heads side by side. x [T, B, d] -> [T, B, d].

    Four Layers of plain `nn.Linear` without biases, q, k, v and o, so that every synapse is seen by the rules.
    ValueError where the heads do not divide d.
    """

    def __init__(self, d: int, heads: int = 1, attend: Attend = Softmax(), causal: bool = True) -> None:
        super().__init__()
        if heads < 1 or d % heads:
            raise ValueError(f"heads: given {heads}, they share {d} units, which they must divide")
        self.heads, self.attend, self.causal = heads, attend, causal
        self.q, self.k, self.v, self.o = (Layer(dense(d, d, 1.0)) for _ in range(4))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [T, B, heads, d / heads]."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.q, self.k, self.v))
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.attend(*self.parts(x), self.causal).flatten(-2))


# ---------------------------------------------------------------------------------------------- associative memory
def hopfield_update(X: Tensor, xi: Tensor, beta: float) -> Tensor:
    """xi' = X^T softmax(beta X xi).  X [N, d] stored patterns, xi [..., d].  Ramsauer et al. 2021, ICLR.

    Equal to softmax attention of the query xi to keys and values X, with beta for 1 / sqrt(d).
    """
    return (beta * xi @ X.mT).softmax(-1) @ X


def hopfield_energy(X: Tensor, xi: Tensor, beta: float) -> Tensor:
    """E = -lse(beta, X xi) + xi.xi / 2 + log(N) / beta + max |x|^2 / 2,   lse(beta, u) = log(sum exp(beta u)) / beta.  [...]

    Never negative, and never rising under `hopfield_update`. Ramsauer et al. 2021.
    """
    lse = torch.logsumexp(beta * xi @ X.mT, -1) / beta
    log_n = torch.tensor(float(len(X)), dtype=X.dtype, device=X.device).log()
    return -lse + (xi**2).sum(-1) / 2 + log_n / beta + (X**2).sum(-1).max() / 2


class Hopfield(nn.Module):
    """y = V softmax(beta K x): a layer of N patterns that are learned, K [N, d] and V [d, N] Layers of their own.

    With V = K^T it is one step of `hopfield_update`. x [..., d] -> [..., d].
    """

    def __init__(self, d: int, patterns: int, beta: float | None = None) -> None:
        super().__init__()
        self.beta = d**-0.5 if beta is None else beta
        if not self.beta > 0:
            raise ValueError(f"beta: given {beta}, the steepness of a softmax is positive")
        self.keys, self.values = Layer(dense(d, patterns, 1.0)), Layer(dense(patterns, d, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.values((self.beta * self.keys(x)).softmax(-1))
