"""The Transformer: pre-norm blocks of attention and a two-layer perceptron, every weight a synapse. x is [T, B, n]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.networks.attention import Attend, Attention, Softmax
from neurosim.networks.mlp import dense
from neurosim.plasticity import Layer, Rate

D, BLOCKS, HEADS = 64, 2, 2


def places(T: int, like: Tensor) -> Tensor:
    """Sines and cosines of t / 10000^(2 i / d), [T, 1, d]: what tells one place in a sequence from another; never learned.

    Vaswani et al. 2017.
    """
    d = like.shape[-1]
    t = torch.arange(T, dtype=like.dtype, device=like.device)[:, None]
    w = torch.exp(torch.arange(0, d, 2, dtype=like.dtype, device=like.device) * (-math.log(1e4) / d))
    return torch.stack([(t * w).sin(), (t * w).cos()], -1).flatten(1)[:, None, :d]


class Block(nn.Module):
    """x <- x + attention(norm(x)),   x <- x + W_down gelu(W_up norm(x));   norm(x) = (x - mean) / sd over the units.

    Pre-norm (Xiong et al. 2020, ICML); norms have no weights. Layers attention.q, .k, .v, .o, up [f d, d], down [d, f d].
    """

    def __init__(self, d: int, attention: nn.Module, wider: int = 4) -> None:
        super().__init__()
        self.attention = attention
        self.up, self.down = Layer(dense(d, wider * d, 1.0), Rate(F.gelu)), Layer(dense(wider * d, d, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(norm(x))
        return x + self.down(self.up(norm(x)))


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


class Transformer(nn.Module):
    """x [T, B, *shape] -> embed -> + places -> blocks -> norm -> readout [T, B, outputs]."""

    fixed = "norms (without weights) and places (sines)"  # what a table says of them

    def __init__(self, n: int, outputs: int, d: int, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.embed = Layer(dense(n, d, float(n)))  # N(0, 1): a symbol must not drown in the sines of its place
        self.blocks = nn.ModuleList(blocks)
        self.readout = Layer(dense(d, outputs, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x.flatten(2))
        y = y + places(len(y), y)
        for block in self.blocks:
            y = block(y)
        return self.readout(norm(y))


def transformer(
    shape: Sequence[int],
    outputs: int,
    d: int = D,
    blocks: int = BLOCKS,
    heads: int = HEADS,
    attend: Attend = Softmax(),
    causal: bool = True,
    memory: Callable[[int], nn.Module] | None = None,
) -> Transformer:
    """A Transformer whose only parameters are synapses: no biases, norms without weights, places as sines.

    Of tokens with `shape` each, to so many outputs at each; d units, so many blocks; `memory(d)`: a module in the place of
    attention in the last block, such as a `Hopfield`. Layers embed, blocks.K.attention.q .k .v .o, blocks.K.up, .down,
    readout; weights N(0, 1 / fan-in), of embed N(0, 1). ValueError for fewer than one block or heads that do not divide d.
    """
    if blocks < 1:
        raise ValueError(f"blocks: given {blocks}, there must be at least 1")
    n = math.prod(shape)
    made = [Block(d, Attention(d, heads, attend, causal)) for _ in range(blocks)]
    if memory is not None:
        made[-1] = Block(d, memory(d))
    return Transformer(n, outputs, d, made)
