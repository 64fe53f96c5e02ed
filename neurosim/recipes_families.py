"""How recipes are made: an `Entry` of a line-up, and the families that most belong to. The line-up is in `recipes.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from neurosim.credit import DeltaRule, Equilibrium
from neurosim.plasticity import Credit, Gradient, Recipe, Rule, as_it_is, forward
from neurosim.prepare import bounded, normalised, squared_error, steadied

Values = Mapping[str, float]  # "lr" and at most one more
Space = Mapping[str, tuple[float, float]]  # of each value: (low, high), searched on a logarithmic scale


@dataclass(frozen=True)
class Entry:
    """One line of the line-up: how the recipe is made, and which of its values are searched where."""

    make: Callable[[Values, bool], Recipe]  # (values, is the net convolutional?)
    space: Space
    start: Values  # where nothing was tuned, and the first trial of a search
    follows: str = ""  # it shares the values of that recipe, and is not searched

    def recipe(self, values: Values, convolutional: bool) -> Recipe:
        return self.make({"readout": READOUT_RATE, **self.start, **values}, convolutional)


# ---------------------------------------------------------------------------------------------- families
DECAYING = partial(AdamW, weight_decay=0.1)
RATE = {"lr": (1e-4, 3e-2)}
HIDDEN_RATE = {"lr": (1e-6, 0.1)}
READOUT_RATE = 5e-3
FILTERS = 1e-2  # of a hidden rate, for a filter's: it is used at some hundred places


def by_error(name: str, credit: Credit, lr: float, optimizer: Callable[..., Any] = Adam, follows: str = "") -> Entry:
    """Error credit on all layers, with Adam. Convolutional nets start `steadied`: without it fixed random feedback barely

    moves a filter. Backprop starts so too, so that the nets compared are the same.
    """

    def make(v: Values, convolutional: bool) -> Recipe:
        start = steadied if convolutional else as_it_is
        return Recipe(name, {"*": Gradient()}, credit, lr=v["lr"], optimizer=optimizer, prepare=start)

    return Entry(make, RATE, {"lr": lr}, follows)


def with_value(
    name: str, credit: Callable[[float], Credit], rule: Rule, space: Space, start: Values, optimizer: Any = Adam
) -> Entry:
    """As `by_error`, with one more value searched, of the credit."""
    second = next(k for k in space if k != "lr")

    def make(v: Values, convolutional: bool) -> Recipe:
        first = steadied if convolutional else as_it_is
        return Recipe(name, {"*": rule}, credit(v[second]), lr=v["lr"], optimizer=optimizer, prepare=first)

    return Entry(make, space, start)


def by_energy(name: str, rule: Rule, credit: Callable[[bool], Credit], lr: float) -> Entry:
    """Bounded activity and squared error: equilibrium propagation needs them, its twin shares them."""

    def make(v: Values, convolutional: bool) -> Recipe:
        how = credit(convolutional)
        answer: Callable[..., Tensor] = how.predict if isinstance(how, Equilibrium) else forward
        start = partial(bounded, gain=0.5)
        return Recipe(name, {"*": rule}, how, v["lr"], Adam, loss=squared_error, prepare=start, predict=answer)

    return Entry(make, RATE, {"lr": lr})


def by_local_rule(
    name: str,
    rule: Rule | None,
    hidden: float,
    *,
    credit: Credit = DeltaRule(),
    readout: float = READOUT_RATE,
    filters: float = FILTERS,
    optimizer: Callable[..., Any] = SGD,
    project: Callable[[str, Tensor], Tensor] | None = None,
    prepare: Callable[[nn.Module], nn.Module] = normalised,
) -> Recipe:
    """Hidden layers learn by a local rule at this rate, or not at all; the readout by the delta rule."""
    rates = {"readout.*": readout, "conv*": filters * hidden, "decoder/conv*": filters * hidden, "*": hidden}
    rules = {"readout.*": Gradient(), "*": rule}
    optimizers = {"readout.*": Adam, "*": optimizer}
    return Recipe(name, rules, credit, lr=rates, optimizer=optimizers, prepare=prepare, project=project)


def hebbian(
    name: str,
    rule: Callable[[Values], Rule],
    lr: float,
    space: Space = {},
    start: Values = {},
    project: Callable[[str, Tensor], Tensor] | None = None,
) -> Entry:
    """A Hebbian rule in the hidden layers, with plain SGD."""

    def make(v: Values, convolutional: bool) -> Recipe:
        return by_local_rule(name, rule(v), v["lr"], readout=v["readout"], project=project)

    return Entry(make, {**HIDDEN_RATE, **space}, {"lr": lr, **start})
