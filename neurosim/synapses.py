"""Synapse geometry: how activity goes through a weight, and how pre and post factors come back onto it.

This is the only code that knows layer types. Everything else says `outer(rec, pre, post)` and is right for dense,
convolutional, recurrent and attention weights alike. Shapes: a sample's units have `rank(synapse)` axes (1 for
`nn.Linear`, [C, L] for `nn.Conv1d`, [C, H, W] for `nn.Conv2d`); in front of them stand B, or T and B.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vjp


class HasWeight(Protocol):
    """What `outer` and `units` need of a record: the synapse's geometry and its weight."""

    @property
    def synapse(self) -> nn.Module: ...
    @property
    def weight(self) -> Tensor: ...


class Others(nn.Module):
    """u_i = w sum_{j != i} x_j: one weight from every other unit of the layer. As an n x n matrix, but n sums; no rule."""

    bias = None

    def __init__(self, w: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1), float(w)))


_RANK: dict[type, int] = {nn.Linear: 1, nn.Conv1d: 2, nn.Conv2d: 3, Others: 1}


def rank(synapse: nn.Module) -> int:
    """Number of axes of one sample's units: 1 for dense, 2 for Conv1d, 3 for Conv2d. ValueError for other types."""
    try:
        return _RANK[type(synapse)]
    except KeyError:
        raise ValueError(
            f"synapse: given {type(synapse).__name__}, allowed are Linear, Conv1d, Conv2d, Others"
        ) from None


def send(synapse: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """u = W x + b: [..., *pre] -> [..., *post], with the weight given, not the synapse's own."""
    r = rank(synapse)
    if type(synapse) is Others:
        return (x.sum(-1, keepdim=True) - x) * weight[0]
    if r == 1:
        return send_events(x, weight, bias) if sparse(x, weight) else F.linear(x, weight, bias)
    if x.dim() == r + 1:
        return synapse._conv_forward(x, weight, bias)
    u = synapse._conv_forward(x.reshape(-1, *x.shape[-r:]), weight, bias)  # time and batch on one axis
    return u.reshape(*x.shape[:-r], *u.shape[1:])


MUCH, RARE = 1 << 21, 0.05  # products from which it pays to look for zeros; share of inputs that are not
by_products: ContextVar[bool] = ContextVar("by_products", default=False)  # never by events: what costs are counted by


def sparse(x: Tensor, weight: Tensor) -> bool:
    """Is it faster to visit what is not 0?  On a CPU, where nothing is to be differentiated and there is much to do."""
    if torch.is_grad_enabled() or type(x) is not Tensor or x.requires_grad or by_products.get():
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.numel() * len(weight) < MUCH:
        return False
    return len(weight) >= WIDE and int(x.count_nonzero()) < RARE * x.numel()


def send_events(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b as a sum over the few events of x, each with its column of W: [..., pre] -> [..., post]. No gradient."""
    n = x.shape[-1]
    found = torch.from_numpy((x.numpy() != 0).reshape(-1).nonzero()[0])
    rows = found // n
    counts = torch.bincount(rows, minlength=x.numel() // n)
    size = x.reshape(-1).index_select(0, found)
    ways = weight.T.contiguous() if len(found) > len(weight) else weight.T
    u = F.embedding_bag(found - rows * n, ways, counts.cumsum(0) - counts, mode="sum", per_sample_weights=size)
    u = u.view(*x.shape[:-1], -1)
    return u if bias is None else u + bias


def outer(rec: HasWeight, pre: Tensor, post: Tensor) -> Tensor:
    """dW = sum over batch, time and places of post (x) pre.

    pre  [..., *pre unit],  post  [..., *post unit]  ->  like rec.weight.  Dense is one matmul, conv one
    `convolution_backward`; any other padding goes through the reference.
    """
    m = rec.synapse
    r = rank(m)
    if type(m) is Others:
        raise ValueError("synapse: given Others, whose one weight learns by no rule, give it None")
    if r == 1:
        post, pre = post.flatten(0, -2), pre.flatten(0, -2)
        if sparse(post, pre.T):
            return summed(events(post), pre, post)
        return summed(events(pre), post, pre).T if sparse(pre, post.T) else post.T @ pre
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        return outer_by_vjp(rec, pre, post)
    weight_of = torch.nn.grad.conv1d_weight if r == 2 else torch.nn.grad.conv2d_weight
    pre, post = pre.reshape(-1, *pre.shape[-r:]), post.reshape(-1, *post.shape[-r:])
    return weight_of(pre, rec.weight.shape, post, m.stride, m.padding, m.dilation, m.groups)


FEW, WIDE = 0.1, 64  # outer_at visits the spikes alone where so few spike and the other side has so many units


def outer_at(rec: HasWeight, side: str, spikes: Tensor) -> Callable[[Tensor, Tensor | None], Tensor]:
    """(x, factor) -> `outer` of spikes * factor on that side, "pre" or "post", and x on the other.

    spikes [..., *unit] of 0 and 1, factor like them (None: 1). For several products at the same spikes: a dense layer's are
    found once, and dW of a neuron is a weighted sum of the rows of x at which it fires.
    """
    seldom = not by_products.get() and spikes.sum() <= FEW * spikes.numel()
    if rank(rec.synapse) > 1 or spikes.is_cuda or min(rec.weight.shape) < WIDE or not seldom:
        other = "post" if side == "pre" else "pre"
        return lambda x, factor: outer_by_patches(
            rec, **{side: spikes if factor is None else spikes * factor, other: x}
        )
    find = events(spikes)

    def at_spikes(x: Tensor, factor: Tensor | None) -> Tensor:
        sums = summed(find, x, factor)
        return sums if side == "post" else sums.T  # [units of this side, units of the other]

    return at_spikes


Events = tuple[Tensor, Tensor, Tensor]  # where they are in the flat tensor, in which row, where each unit's begin


def events(x: Tensor) -> Events:
    """What is not 0 in x [..., n], unit by unit. By numpy, whose nonzero and radix sort take half of torch's time."""
    n = x.shape[-1]
    found = (x.numpy() != 0).reshape(-1).nonzero()[0]
    rows = found // n
    unit = (found - rows * n).astype("int16" if n < 1 << 15 else "int64")
    by_unit = unit.argsort(kind="stable")
    row, at = torch.from_numpy(rows.take(by_unit)), torch.from_numpy(found.take(by_unit))
    counts = torch.bincount(torch.from_numpy(unit), minlength=n)
    return at, row, counts.cumsum(0) - counts


def summed(found: Events, x: Tensor, factor: Tensor | None) -> Tensor:
    """[n, units of x]: the sum of the rows of x at each unit's events, each times the factor there."""
    at, row, first = found
    weights = None if factor is None else factor.reshape(-1).index_select(0, at)
    return F.embedding_bag(row, x.reshape(-1, x.shape[-1]), first, mode="sum", per_sample_weights=weights)


def outer_by_patches(rec: HasWeight, pre: Tensor, post: Tensor) -> Tensor:
    """`outer`, a convolution as a matmul of every place's neighbourhood of pre, [samples, fan-in, places], with post.

    On a CPU several times faster than `convolution_backward` where pre has few channels; where the convolution is not a plain
    one (dilated, grouped, padded by more than zeros) it is `outer`.
    """
    m, r = rec.synapse, rank(rec.synapse)
    if r == 1 or m.padding_mode != "zeros" or isinstance(m.padding, str) or {*m.dilation, m.groups} != {1}:
        return outer(rec, pre, post)
    x = F.pad(pre.reshape(-1, *pre.shape[-r:]), [p for q in reversed(m.padding) for p in (q, q)])
    for d, (size, step) in enumerate(zip(m.kernel_size, m.stride, strict=True)):
        x = x.unfold(2 + d, size, step)  # [samples, C, *places, *window]
    x = x.permute(0, 1, *range(1 + r, 2 * r), *range(2, 1 + r)).flatten(1, r).flatten(2)
    y = post.reshape(-1, *post.shape[-r:]).flatten(2)
    return (x @ y.mT).sum(0).T.reshape(rec.weight.shape)


def outer_by_vjp(rec: HasWeight, pre: Tensor, post: Tensor) -> Tensor:
    """The reference of `outer`: the vector-Jacobian product of `send` in the weight. Any synapse, slower."""
    return vjp(lambda w: send(rec.synapse, pre, w), torch.zeros_like(rec.weight))[1](post)[0]


def units(rec: HasWeight, y: Tensor) -> Tensor:
    """[..., *post unit] -> [M, post]: every sample, step and place is a row. For Gram matrices, softmax, top-k."""
    return y.movedim(-rank(rec.synapse), -1).flatten(0, -2)


def column(rec: HasWeight, value: Tensor) -> Tensor:
    """[post] -> [post, 1, ...], to stand against the weight."""
    return value.reshape(-1, *[1] * (rec.weight.dim() - 1))


def per_unit(rec: HasWeight, y: Tensor) -> Tensor:
    """sum over batch, time and places of y, to stand against the weight; the partner of `outer` in a decay term."""
    return column(rec, units(rec, y).sum(0))


def unit_mean(rec: HasWeight, y: Tensor) -> Tensor:
    """Mean over batch, time and places of y, shaped to stand against post."""
    return units(rec, y).mean(0).reshape(-1, *[1] * (rank(rec.synapse) - 1))


def broadcast(rec: HasWeight, value: Tensor) -> Tensor:
    """A third factor [B] or [T, B] (or a single number) made to stand against post [(T,) B, *unit]."""
    return value.reshape(*value.shape, *[1] * rank(rec.synapse)) if value.dim() else value


def mirror(synapse: nn.Module) -> nn.Module:
    """A synapse that leads back, [..., *post unit] -> [..., *pre unit], over the same neighbourhoods.

    For decoders and inverses. ValueError for a convolution that is strided, dilated, grouped or padded otherwise than
    by zeros: the way back over its places is no convolution of the same kind.
    """
    w = synapse.weight
    if rank(synapse) == 1:
        back: nn.Module = nn.Linear(w.shape[0], w.shape[1], bias=False, device=w.device, dtype=w.dtype)
    else:
        plain = (set(synapse.stride), set(synapse.dilation), synapse.groups, synapse.padding_mode) == (
            {1},
            {1},
            1,
            "zeros",
        )
        if not plain or isinstance(synapse.padding, str):
            raise ValueError(
                "synapse: given a strided, dilated, grouped or otherwise padded convolution, it has no mirror"
            )
        padding = tuple(k - 1 - p for k, p in zip(synapse.kernel_size, synapse.padding, strict=True))
        if min(padding) < 0:
            raise ValueError("synapse: given a convolution padded by more than its size, it has no mirror")
        back = type(synapse)(
            w.shape[0], w.shape[1], synapse.kernel_size, padding=padding, bias=False, device=w.device, dtype=w.dtype
        )
    return back
