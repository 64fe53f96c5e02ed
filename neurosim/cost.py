"""What learning costs: multiply-accumulates and memory traffic of one training step, by phase, and of one prediction.

Nothing is derived from a recipe's description: one real `Learner.step` is run on a copy of the learner, every tensor
operation of it is seen, and its work is read off the shapes of its operands. So any recipe on any net can be measured.

**What is counted.** `macs`: one per product in matrix products and convolutions (places of zero padding included), as is
usual; elementwise arithmetic (activations, slopes, traces, the optimiser) is no MAC and shows in the traffic only.
`reads`, `writes`: elements of the tensors that an operation takes and makes, in place too, each once (a cache that never
misses); views move nothing. All are per sample: the sum over the batch divided by its size, so that what is done once a
batch (applying dW) is shared by its samples and a larger batch makes it cheaper. With time, a sample is a whole sequence.

**Which phase.** The first of these that is true of an operation:

    relaxation   it runs within a function that settles activity (SETTLING: `relax`), be it a play or a pull
    update       it makes the gradient of a weight: `outer`, the kernel's part of a convolution's backward pass, a matrix
                 product in a backward pass whose result goes to a weight and that does not read this weight
    feedback     it runs in any other part of a backward pass
    forward      it runs within a `play` of the net (with its loss)
    feedback     it runs within the credit's `passes`: feedback matrices, errors, noise, what is told to the synapses
    update       all else of a step: the rules, the sum over passes, the optimiser, `project`

**The implementation is measured**, not the least work that an algorithm needs. Known to be avoidable: where credit returns
through other weights B (feedback alignment, sign-symmetric, Kolen-Pollack), the forward pass also sends x through B, from
the second layer on; Kolen-Pollack makes the same outer product for W and for B; direct feedback also tells the layer
that the loss sees, which does not use it; bursts send x through Y only to find the way back; a relaxation computes
the first layer's input anew at each step, although the data that drive it do not change. Predictive coding in errors and
with fixed predictions settle in loops of their own, not in `relax`: their plays are forward, their returns feedback.
Recipes that train one layer after the other (rbm, autoencoder) cost differently in each stage: the learner is measured
in the stage it is in.
"""

from __future__ import annotations

import copy
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neurosim.credit.equilibrium import relax
from neurosim.plasticity import Batch, Learner
from neurosim.synapses import by_products, outer
from neurosim.trial import play

MULTIPLY_PJ = 3.7  # FP32 multiplication, 45 nm; Horowitz 2014, ISSCC: "Computing's energy problem"
ADD_PJ = 0.9  # FP32 addition, 45 nm; the same source
MAC_PJ = MULTIPLY_PJ + ADD_PJ  # 4.6 pJ
ENERGY_NOTE = (
    "Energy is that of FP32 multiply-accumulates in 45 nm (4.6 pJ each, Horowitz 2014); "
    "arithmetic-only estimates omit memory traffic, which dominates on real hardware."
)
SETTLING = (relax,)  # functions in which everything is relaxation


class Uncounted(ValueError):
    """The net runs an operation whose products nobody sees."""


# ---------------------------------------------------------------------------------------------- the ledger
@dataclass(frozen=True)
class Count:
    """Work per sample: multiply-accumulates, elements read, elements written."""

    macs: float = 0.0
    reads: float = 0.0
    writes: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(self.macs + other.macs, self.reads + other.reads, self.writes + other.writes)

    @property
    def energy(self) -> float:
        """pJ per sample of the arithmetic alone: see ENERGY_NOTE, which belongs under every table of it."""
        return self.macs * MAC_PJ


@dataclass(frozen=True)
class Ledger:
    """The cost of one training step by phase, and of one prediction; all per sample."""

    forward: Count
    feedback: Count
    relaxation: Count
    update: Count
    predict: Count

    @property
    def total(self) -> Count:
        """The four phases of a training step."""
        return self.forward + self.feedback + self.relaxation + self.update

    @property
    def energy(self) -> float:
        """pJ per sample of a training step: see ENERGY_NOTE."""
        return self.total.energy


def measure(learner: Learner, batch: Batch) -> Ledger:
    """The ledger of `learner.step(batch)` and `learner.predict(batch)`. Leaves the learner and all random states as they are.

    It is the copy's second step that is counted: at the first one optimisers make their memory. The prediction is that of
    evaluation mode. ValueError for a net with fused operations (attention, LSTM), whose products nobody sees.
    """
    on_gpu = [learner.device] if learner.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu):
        twin = copy.deepcopy(learner)
        twin.step(batch)
        token = by_products.set(True)  # what is counted does not depend on how many inputs are 0
        try:
            with _Meter(twin) as training:
                twin.step(batch)
            twin.net.eval()
            with _Meter(twin) as prediction:
                twin.predict(batch)
        finally:
            by_products.reset(token)
    answer = prediction.counts(batch.size)
    return Ledger(**training.counts(batch.size), predict=sum(answer.values(), Count()))


def per_correct(paid: Mapping[str, float], accuracy: float) -> dict[str, float]:
    """What a correct answer costs: what `row` says of one prediction, divided by the accuracy.

    accuracy in (0, 1]; ValueError otherwise. The energy in pJ, of arithmetic alone (ENERGY_NOTE).
    """
    if not 0 < accuracy <= 1:
        raise ValueError(f"accuracy: given {accuracy}, it must be a fraction of correct answers above 0 and up to 1")
    macs = paid["macs_predict"] / accuracy
    return {"macs_per_correct": macs, "energy_per_correct": MAC_PJ * macs}


def row(ledger: Ledger) -> dict[str, float]:
    """The ledger under the keys of the JSON files. reads and writes are all memory traffic, not of weights alone."""
    return {
        "macs_per_sample": ledger.total.macs,
        "reads_per_sample": ledger.total.reads,
        "writes_per_sample": ledger.total.writes,
        "energy_per_sample": ledger.energy,  # pJ
        "macs_forward": ledger.forward.macs,
        "macs_feedback": ledger.feedback.macs,
        "macs_relaxation": ledger.relaxation.macs,
        "macs_update": ledger.update.macs,
        "macs_predict": ledger.predict.macs,
    }


# ---------------------------------------------------------------------------------------------- the work of one operation
_NO_TRAFFIC = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
_READS_SHAPE_ONLY = {
    "zeros_like",
    "ones_like",
    "full_like",
    "rand_like",
    "randn_like",
    "new_zeros",
    "new_ones",
    "new_full",
}
_FUSED = ("attention", "conv", "cdist", "gru", "lstm", "matmul", "rnn", "trilinear")  # many products in one operation
_OVERWRITES = {"zero_", "fill_", "copy_", "normal_", "uniform_", "bernoulli_", "exponential_", "random_"}


def _macs(func: Any, given: Mapping[str, Any], out: Any) -> float:
    """Products of a matrix product or convolution; 0 for others. ValueError for a fused operation that is not known."""
    name = func.overloadpacket.__name__
    if name in ("mm", "bmm"):  # [.., m, k] [.., k, n]
        return out.numel() * given["self"].shape[-1]
    if name in ("addmm", "baddbmm"):
        return out.numel() * (given["mat1"] if name == "addmm" else given["batch1"]).shape[-1]
    if name in ("mv", "dot", "vdot"):
        return given["self"].numel()
    if name == "addmv":
        return given["mat"].numel()
    if name == "convolution":  # transposed: each input, not each output, meets a kernel
        places = given["input"] if given["transposed"] else out
        return places.numel() * given["weight"][0].numel()
    if name == "linear" or any(part in name for part in _FUSED):
        raise Uncounted(f"learner: its net runs {func}, whose products are not counted; write it as products with @")
    return 0.0


def _traffic(func: Any, given: Mapping[str, Any], out: Any) -> tuple[float, float]:
    """Elements read and written."""
    name = func.overloadpacket.__name__
    if func.is_view or name in _NO_TRAFFIC:
        return 0.0, 0.0
    changed = {a.name: a.kwarg_only for a in func._schema.arguments if a.alias_info and a.alias_info.is_write}
    unread = {k for k, is_out in changed.items() if is_out or name in _OVERWRITES}
    read = [] if name in _READS_SHAPE_ONLY else [v for k, v in given.items() if k not in unread]
    return _elements(read), _elements([given[k] for k in changed if k in given] if changed else out)


def _elements(tree: Any) -> float:
    return sum(t.numel() for t in tree_leaves(tree) if isinstance(t, Tensor))


def _work(func: Any, given: Mapping[str, Any], out: Any) -> Iterator[tuple[bool | None, Count]]:
    """(is it a weight's gradient? None = look at who asks, its work); two parts for the backward pass of a convolution."""
    if func.overloadpacket.__name__ != "convolution_backward":
        yield None, Count(_macs(func, given, out), *_traffic(func, given, out))
        return
    g, x, w = given["grad_output"], given["input"], given["weight"]
    macs = (x if given["transposed"] else g).numel() * prod(w.shape[1:])
    for to_kernel, made, with_ in ((False, out[0], w), (True, out[1], x)):
        if made is not None and given["output_mask"][to_kernel]:
            yield to_kernel, Count(macs, g.numel() + with_.numel(), made.numel())
    if given["output_mask"][2]:
        yield True, Count(0.0, g.numel(), out[2].numel())  # the bias


# ---------------------------------------------------------------------------------------------- who asks for it
class _Meter(TorchDispatchMode):
    """Sees every operation while it is entered, and books its work on the phase it belongs to."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.sums = {phase: Count() for phase in ("forward", "feedback", "relaxation", "update")}
        self._passes = inspect.unwrap(type(learner.recipe.credit).passes).__code__
        modules = [m for m in (learner.net, *learner.own.values()) if isinstance(m, nn.Module)]
        self._weights = {id(p): _memory(p) for m in modules for p in m.parameters()}
        self._thread = threading.get_ident()

    def counts(self, samples: int) -> dict[str, Count]:
        """By phase, per sample."""
        return {k: Count(c.macs / samples, c.reads / samples, c.writes / samples) for k, c in self.sums.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.namespace == "aten":
            names = [a.name for a in func._schema.arguments]
            given = dict(zip(names, args, strict=False)) | (kwargs or {})
            for to_weight, work in _work(func, given, out):
                phase = self._phase(to_weight, given)
                self.sums[phase] = self.sums[phase] + work
        return out

    def _phase(self, to_weight: bool | None, given: Mapping[str, Any]) -> str:
        running = self._running()
        if any(inspect.unwrap(f).__code__ in running for f in SETTLING):
            return "relaxation"
        if to_weight or outer.__code__ in running:
            return "update"
        if torch._C._current_graph_task_id() != -1:  # a backward pass is under way
            return "update" if to_weight is None and self._makes_weight_gradient(given) else "feedback"
        if play.__code__ in running:
            return "forward"
        return "feedback" if self._passes in running else "update"

    def _running(self) -> set[CodeType]:
        """The functions under way in the thread that learns (on a GPU a backward pass has a thread of its own)."""
        frame, running = sys._current_frames()[self._thread], set()
        while frame is not None:
            running.add(frame.f_code)
            frame = frame.f_back
        return running

    def _makes_weight_gradient(self, given: Mapping[str, Any]) -> bool:
        """Is this the product, of the two that a matrix product's backward pass has, whose result goes to a weight?"""
        node = torch._C._current_autograd_node()
        leaves = [id(_leaf(edge)) for edge in node.next_functions]
        goes_to = {self._weights[p] for p in leaves if p in self._weights}
        return bool(goes_to) and not any(_memory(t) in goes_to for t in tree_leaves(given) if isinstance(t, Tensor))


_RESHAPING = (
    "Permute",
    "TBackward",
    "Transpose",
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Expand",
    "Squeeze",
    "Unsqueeze",
)


def _leaf(edge: tuple[Any, int]) -> Tensor | None:
    """The leaf that a gradient goes to without further arithmetic, or None."""
    node = edge[0]
    while node is not None and node.name().startswith(_RESHAPING):
        node = node.next_functions[0][0]
    return getattr(node, "variable", None)


def _memory(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()
