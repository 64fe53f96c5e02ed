"""Tasks that ask for attention: associative recall and induction. What is to be found differs from sequence to sequence.

Symbols are one-hot, [T, B, symbols]; a target stands where an answer is asked, NOT_ASKED elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from neurosim.tasks.sequences import NOT_ASKED, Answers, Drawn, Sequences, share_right

BATCH, UPDATES = 32, 20  # of an epoch


def whole_number(least: int, **given: int) -> None:
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: given {value!r}, it must be a whole number of at least {least}")


# ---------------------------------------------------------------------------------------------- associative recall
def recall_trials(
    n: int, generator: torch.Generator, pairs: int, keys: int, values: int, repeats: int | None = None
) -> tuple[Tensor, Tensor]:
    """x [2 pairs, n, keys + values]: key, value, key, value ...; target [2 pairs, n] at each key that occurred before."""
    stored = torch.randint(values, (n, keys), generator=generator)  # each sequence's own table
    shown = (
        with_replacement(n, generator, pairs, keys) if repeats is None else repeated(n, generator, pairs, keys, repeats)
    )
    told = stored.gather(1, shown.T).T  # [pairs, n]
    symbols = torch.stack([shown, keys + told], 1).flatten(0, 1)
    target = torch.full_like(symbols, NOT_ASKED)
    target[::2] = torch.where(again(shown, keys), told, NOT_ASKED)
    return F.one_hot(symbols, keys + values).float(), target


def with_replacement(n: int, generator: torch.Generator, pairs: int, keys: int) -> Tensor:
    """Keys drawn alike, [pairs, n]; where all of few pairs differ, the last is the first again."""
    shown = torch.randint(keys, (pairs, n), generator=generator)
    shown[-1] = torch.where(again(shown, keys).any(0), shown[-1], shown[0])
    return shown


def repeated(n: int, generator: torch.Generator, pairs: int, keys: int, repeats: int) -> Tensor:
    """So many of the pairs, at places drawn alike, show a key that was shown before, any of these alike; [pairs, n]."""
    order = torch.rand(n, keys, generator=generator).argsort(1).T  # the keys in the order in which they are new
    later = torch.rand(pairs - 1, n, generator=generator).argsort(0).argsort(0) < repeats
    new = torch.cat([torch.ones(1, n, dtype=torch.bool), ~later])
    known = new.cumsum(0)
    old = (torch.rand(pairs, n, generator=generator) * known).long()
    return order.gather(0, torch.where(new, known - 1, old))


def again(shown: Tensor, keys: int) -> Tensor:
    """Did the key occur before? [pairs, n]"""
    return F.one_hot(shown, keys).cumsum(0).gather(2, shown[..., None])[..., 0] > 1


@dataclass(frozen=True, eq=False)
class Recall(Sequences):
    """Associative recall, with what can be reached without it."""

    def baselines(self, split: Drawn) -> dict[str, float]:
        """The score on the test sequences of who knows values, but no keys."""
        batches = list(self.evaluation(split))
        x, target = torch.cat([b.x for b in batches], 1), torch.cat([b.target for b in batches], 1)
        return {"most frequent value so far": self.scores(most_frequent(x, self.outputs), target).mean().item()}


def most_frequent(x: Tensor, values: int) -> Tensor:
    """How often each value was shown so far, as an output [T, B, values]; of equal ones the latest counts more."""
    shown = x[..., -values:].cumsum(0)
    t = torch.arange(1, len(x) + 1, device=x.device, dtype=x.dtype)[:, None, None]
    return shown + (x[..., -values:] * t).cummax(0).values / (2 * len(x))


def recall(pairs: int = 12, keys: int = 8, values: int = 8, repeats: int | None = None) -> Recall:
    """Pairs of a key and a value, keys coming again and again: which value belongs to this one?

    Every sequence draws a value for each key, and shows `pairs` pairs, their keys drawn with replacement; at each key that
    occurred before, its value is asked, while the key is shown. `repeats`: in every sequence exactly so many of the pairs
    repeat a key; without it their number is drawn. Chance is 1 / values; but the answer is among the values already shown, and
    who says the most frequent of these, whatever the key, is right more often (`Recall.baselines`): .38 of 12 pairs. Where all
    keys of few pairs differ, the last is made the first again, so that one is asked. The loss is summed over what is asked and
    divided by `pairs`, of which some half are asked. After Ba et al. 2016, NeurIPS, and Schlag et al. 2021, ICML. ValueError
    for what is no whole number, and for repeats that so many pairs and keys cannot have.
    """
    whole_number(1, keys=keys)
    whole_number(2, values=values, pairs=pairs)
    if repeats is not None:
        whole_number(1, repeats=repeats)
        if not max(1, pairs - keys) <= repeats < pairs:
            least = max(1, pairs - keys)
            raise ValueError(
                f"repeats: given {repeats}, but of {pairs} pairs with {keys} keys {least} to {pairs - 1} repeat one"
            )
    make = partial(recall_trials, pairs=pairs, keys=keys, values=values, repeats=repeats)
    size = keys + values
    return Recall(
        "recall", make, (size,), values, Answers(pairs), share_right,
        network="transformer", batch_size=BATCH, train_size=BATCH * UPDATES,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- induction
def induction_trials(n: int, generator: torch.Generator, length: int, symbols: int) -> tuple[Tensor, Tensor]:
    """x [2 length, n, symbols], target [2 length, n] in the second half, where the next symbol follows from the first."""
    first = torch.rand(n, symbols, generator=generator).argsort(1)[:, :length]  # without replacement
    start = torch.randint(length, (n, 1), generator=generator)
    at = (start + torch.arange(length + 1)) % length  # [n, length + 1], a circle
    again = first.gather(1, at)
    target = torch.full((2 * length, n), NOT_ASKED)
    target[length:] = torch.where(
        at[:, :-1] == length - 1, NOT_ASKED, again[:, 1:]
    ).T  # what followed the last is unknown
    return F.one_hot(torch.cat([first, again[:, :-1]], 1).T, symbols).float(), target


def induction(length: int = 12, symbols: int = 16) -> Sequences:
    """A row of different symbols, then the same from another place on, round in a circle: which comes next?

    `length` of `symbols` symbols, drawn without replacement; the second time the row begins at a place that each sequence
    draws, so that where a symbol stands tells nothing: it must be found, and what followed it then be said. Asked at every
    symbol of the second row but that which was the last. Chance is 1 / symbols, 1 / length for who knows what was shown.
    After the induction heads of Olsson et al. 2022, Transformer Circuits Thread.
    """
    whole_number(2, length=length)
    whole_number(length, symbols=symbols)
    make = partial(induction_trials, length=length, symbols=symbols)
    return Sequences(
        "induction", make, (symbols,), symbols, Answers(length - 1), share_right,
        network="transformer", batch_size=BATCH, train_size=BATCH * UPDATES,
    )  # fmt: skip
