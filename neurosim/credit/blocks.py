"""Credit that enters a net block by block: it returns within a block, through its attention, and not from one to the next.

    signal at the end x_b of block b = told_b,   credit_l = (d x_b / d u_l)^T told_b   for every layer l of block b

What is told is the readout's error through a fixed random matrix (`BlockFeedback`), or the error of a head of the block's own
(`BlockLocal`). The net keeps its blocks in a ModuleList, "blocks"; the layer before them is told in the same way at its
own output. Between layers of a block credit takes the forward weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.credit.broadcast import error_of, readout_of
from neurosim.credit.feedback import own_step
from neurosim.credit.local import head_record, matrix
from neurosim.plasticity import Pass, claims
from neurosim.record import Batch, Trial, Unsupported
from neurosim.synapses import send
from neurosim.trial import play

BLOCKS = "blocks"  # the ModuleList


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """By name, in order."""
    return {f"{BLOCKS}.{k}": block for k, block in net.get_submodule(BLOCKS).named_children()}


def attention_of(name: str, block: nn.Module) -> nn.Module:
    if not isinstance(getattr(block, "attention", None), nn.Module):
        raise Unsupported(f"{name}: credit through attention needs a block's module `attention`, and this has none")
    return block.attention


def widths(trial: Trial) -> dict[str, int]:
    """Units of the stream at the end of each block, and of each layer in no block but the readout.

    Unsupported for a net without blocks.
    """
    last, found = readout_of(trial), {}
    for r in trial.records.values():
        inside = r.layer.startswith(f"{BLOCKS}.")
        name = ".".join(r.layer.split(".")[:2]) if inside else r.layer
        if r.layer != last and name not in found:
            found[name] = (r.pre if inside else r.post).shape[-1]
    if not any(n.startswith(f"{BLOCKS}.") for n in found):
        raise Unsupported(
            f"credit block by block is for a net with a ModuleList {BLOCKS!r} of blocks, and this has none"
        )
    return found


@contextmanager
def watched(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What each module returns while the net is played."""
    seen: dict[str, Tensor] = {}
    hooks = [m.register_forward_hook(lambda _m, _x, y, n=n: seen.update({n: y})) for n, m in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def returned_within(trial: Trial, ends: dict[str, Tensor], told: dict[str, Tensor]) -> dict[str, Tensor]:
    """credit by layer: of each block what it is told at its end, of other layers at their own output."""
    credit: dict[str, Tensor] = {}
    for b, signal in told.items():
        own = {n: u for n, u in trial.inputs.items() if n == b or n.startswith(f"{b}.")}
        end = ends[b] if b in ends else trial.outputs[b]
        grads = torch.autograd.grad(end, list(own.values()), signal, retain_graph=True, allow_unused=True)
        credit |= {n: g for n, g in zip(own, grads, strict=True) if g is not None}
    return credit


@dataclass(frozen=True)
class BlockFeedback:
    """told_b = B_b e,   e = -dL/d output,   B_b ~ N(0, 1 / outputs) fixed: direct feedback, once for each block.

    `error` says which error is sent: `own_step` (each token its own), or `pooled` over the sequence, told at every token.
    `through_attention`: block b is also told what returns of all that block b + 1 is told, through its attention (d a / d x_b,
    a what that attention adds), and by no other way. Claims are of all synapses: a block's last one needs no transport.
    Source: Nokland 2016, NeurIPS; per block of a Transformer: Launay et al. 2020, NeurIPS ("macro"). Relation to backprop: the
    way from the output to a block's end is replaced by one matrix.
    """

    error: Callable[[Tensor], Tensor] = own_step
    through_attention: bool = False
    reads: frozenset[str] = claims("error", "feedback", "transport")
    gives: frozenset[str] = claims("credit")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        if self.error is not own_step and not trial.batch.time:
            raise Unsupported("pooled errors are summed over a sequence, but this batch has no time")
        y = trial.output
        return {f"direct/{n}": matrix(y.shape[-1], k, y, generator) for n, k in widths(trial).items()}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        blocks = blocks_of(net)
        inner = {f"{b}.attention": attention_of(b, m) for b, m in blocks.items()} if self.through_attention else {}
        with watched({**blocks, **inner}) as ends:
            trial = play(net, batch)
        e, last = error_of(trial), readout_of(trial)
        sent, told = self.error(e), {}
        for n in widths(trial):
            end = ends[n] if n in ends else trial.outputs[n]
            told[n] = (sent @ own[f"direct/{n}"].weight.detach().T).expand_as(end)
        pairs = list(zip(list(blocks)[:-1], list(blocks)[1:], strict=True)) if self.through_attention else []
        for below, above in reversed(pairs):
            a, end = ends[f"{above}.attention"], ends[above]
            (at_a,) = torch.autograd.grad(end, a, told[above], retain_graph=True)
            (back,) = torch.autograd.grad(a, ends[below], at_a, retain_graph=True)
            told[below] = told[below] + back
        credit = {**returned_within(trial, ends, told), last: e}
        yield Pass(replace(trial, loss=None), {"credit": credit})  # no loss: what is no synapse gets no gradient of it


@dataclass(frozen=True)
class BlockLocal:
    """L_b = L(A_b norm(x_b), target);   told_b = -dL_b/d x_b,   A_b: delta rule;   norm as before the readout.

    One linear head per block, no gradient between blocks, backprop inside: the Transformer's `LayerLocal`. Source: Nokland &
    Eidnes 2019, ICML; Belilovsky, Eickenberg & Oyallon 2019, ICML. Relation to backprop: it is that of one block at a time.
    """

    reads: frozenset[str] = claims("error", "feedback", "transport", "lateral")  # the head's norm
    gives: frozenset[str] = claims("credit")

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        y = trial.output
        return {f"head/{n}": matrix(k, y.shape[-1], y, generator) for n, k in widths(trial).items()}

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        if batch.loss is None:
            raise ValueError("batch.loss: given None, but every block follows a loss of its own")
        with watched(blocks_of(net)) as ends:
            trial = play(net, batch)
        heads, credit, told = {}, {}, {}
        for n in widths(trial):
            x, m = (ends[n] if n in ends else trial.outputs[n]).detach().requires_grad_(), own[f"head/{n}"]
            y = F.layer_norm(x, x.shape[-1:])
            z = send(m, y, m.weight.detach())
            loss = batch.loss(z, batch.target).sum()
            told[n], credit[f"head/{n}"] = (-g for g in torch.autograd.grad(loss, (x, z)))
            heads[f"head/{n}"] = head_record(f"head/{n}", m, y, z)
        credit |= {**returned_within(trial, ends, told), readout_of(trial): error_of(trial)}
        yield Pass(replace(trial, records={**trial.records, **heads}, loss=None), {"credit": credit})
