"""What is shown (`Batch`), what one synapse group saw (`Record`) and what one play of the net left behind (`Trial`).

Sequences are [T, B, ...], always; times are in ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


class Unsupported(ValueError):
    """A recipe cannot run on a network; the message is the one-sentence reason."""


def positive(**given: float) -> None:
    """ValueError that names the first parameter that is not positive."""
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"{name}: given {value}, it must be positive")


@dataclass(frozen=True)
class Batch:
    """What is shown: inputs, targets and broadcast signals. ValueError if dt is not positive."""

    x: Tensor  # [B, *in], or with time first [T, B, *in]
    target: Tensor | None = None
    loss: Loss | None = None  # (output, target) -> [B], summed over time; None = unsupervised
    signals: Mapping[str, Tensor] = field(default_factory=dict)  # broadcast third factors, [B] or [T, B]
    time: bool = False  # is x [T, B, *in]?
    dt: float | None = None  # ms per step

    def __post_init__(self) -> None:
        if self.dt is not None and not self.dt > 0:
            raise ValueError(f"dt: given {self.dt}, a step must be a positive number of ms")

    @property
    def size(self) -> int:
        return self.x.shape[int(self.time)]


class _Late:
    """A dataclass field that may be given as a function, called when the value is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, owner: type) -> Any:
        if record is None:
            raise AttributeError(self.name)  # no default
        value = record.__dict__[self.name]
        if isinstance(value, partial):
            value = record.__dict__[self.name] = value()
        return value

    def __set__(self, record: Any, value: Any) -> None:
        record.__dict__[self.name] = value


@dataclass(frozen=True, eq=False)
class Record:
    """What one synapse group saw in one trial. Every tensor is detached; never guess the batch size from one."""

    name: str  # "hidden.input", "hidden.recurrent"
    synapse: nn.Module  # geometry only (stride, groups ...); its values are in `weight`
    weight: Tensor  # [post, *pre]
    pre: Tensor  # [(T,) B, *pre unit]   what arrived
    u: _Late | Tensor = _Late()  # [(T,) B, *post unit]  total input of the post neuron: all its synapses and its bias
    post: _Late | Tensor = _Late()  # [(T,) B, *post unit]  what left
    slope: _Late | Tensor = _Late()  # d post / d v: phi'(v), or the surrogate psi of a spike
    state: _Late | Mapping[str, Tensor] = _Late()  # v, a, ... like post
    dt: float | None = None  # ms per step
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)  # see `once`

    def once(self, make: Callable[..., Tensor], *told: Tensor) -> Tensor:
        """make(*told, dt), worked out once for all synapses of the layer in this trial: of tensors that they have in common."""
        key = make, *map(id, told)
        if key not in self.kept:
            self.kept[key] = make(*told, self.dt), told  # kept, so that their ids stay their own
        return self.kept[key][0]

    @property
    def layer(self) -> str:
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Trial:
    """One play of the net. `inputs`, `outputs` and `weights` are in the graph: ask autograd for credit there."""

    batch: Batch
    records: Mapping[str, Record]  # by synapse; made when first looked at
    output: Tensor
    loss: Tensor | None  # [B]
    inputs: Mapping[str, Tensor | list[Tensor]]  # by layer: u, whole or step by step
    outputs: Mapping[str, Tensor]  # by layer: y as it leaves the neurons
    arrived: Mapping[str, Any]  # by synapse: pre, in the graph
    weights: Mapping[str, Tensor]  # by synapse: what it transmitted with
    end: Mapping[str, dict[str, Tensor]]  # by layer: last state, detached, to start the next trial from
    start: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)  # that it was started from
