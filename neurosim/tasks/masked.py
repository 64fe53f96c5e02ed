"""Masked text: some symbols of a text are hidden, and are to be told from what stands left and right of them.

    x[t] = one-hot of symbol t, or of the mask;   target[t] = symbol t where it is hidden, else NOT_ASKED

A task that a text sets itself, without labels, to learn features from (the cloze of Taylor 1953, Journalism Quarterly 30:415,
as in Devlin et al. 2019, NAACL); what they are worth is read from them afterwards (`studies/masked_text.py`). For a
Transformer that is not causal: see `networks.OF_TASK`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neurosim.plasticity import Batch
from neurosim.tasks.base import ORDER, SPLIT
from neurosim.tasks.sequences import NOT_ASKED, Answers, stream
from neurosim.tasks.text import bits, text

SHARE = 0.15  # of the symbols of a sequence (Devlin et al. 2019)
HIDING = 0x6D61736B  # the stream that draws what is hidden
COUNTED = 5  # epochs that the neighbours are counted on


@dataclass(frozen=True, eq=False)
class Masked:
    """The text of `of` with `share` of each sequence hidden: the same sequences, splits and vocabulary, one more symbol.

    What is hidden is drawn from (seed, epoch) in training, the same number in every sequence; in tests by one fixed draw.
    Score: bits of each hidden symbol.
    """

    of: Any  # a task of text
    share: float = SHARE

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share: given {self.share}, but it is a part of a sequence, between 0 and 1")

    @property
    def name(self) -> str:
        return f"masked-{self.of.name}"

    @property
    def outputs(self) -> int:
        return self.of.outputs

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.of.outputs + 1,)

    @property
    def metric(self) -> str:
        return f"bits per hidden {self.of.metric.rpartition(' ')[2]}"

    @property
    def network(self) -> str:
        return "transformer"

    @property
    def dt(self) -> float:
        return self.of.dt

    @property
    def drawn_anew(self) -> bool:
        return getattr(self.of, "drawn_anew", False)

    def limited(self, train: int | None = None, test: int | None = None) -> Masked:
        return replace(self, of=self.of.limited(train, test))

    def split(self, seed: int, tuning: bool = False) -> Any:
        return self.of.split(seed, tuning)

    def batches(self, split: Any, seed: int, epoch: int) -> Iterator[Batch]:
        yield from self._hidden(self.of.batches(split, seed, epoch), (HIDING, ORDER, seed, epoch))

    def evaluation(self, split: Any, size: int = 250) -> Iterator[Batch]:
        yield from self._hidden(self.of.evaluation(split, size), (HIDING, SPLIT))

    def probe(self, split: Any, size: int = 64) -> Batch:
        return next(self._hidden([self.of.probe(split, size)], (HIDING,)))

    def _hidden(self, batches: Iterable[Batch], key: tuple[int, ...]) -> Iterator[Batch]:
        generator = stream(*key)
        return (self.hide(batch, generator) for batch in batches)

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch of the text with some symbols hidden. x [T, B, V] -> x [T, B, V + 1], target [T, B]."""
        T, B, V = batch.x.shape
        n = max(1, round(self.share * T))
        order = torch.rand(T, B, generator=generator).argsort(0).to(batch.x.device)
        hidden = order < n  # as many in each sequence
        symbols = batch.x.argmax(-1)
        x = F.one_hot(torch.where(hidden, V, symbols), V + 1).to(batch.x.dtype)
        return replace(batch, x=x, target=torch.where(hidden, symbols, NOT_ASKED), loss=Answers(n))

    def score(self, output: Tensor, target: Tensor) -> float:
        return self.scores(output, target).mean().item()

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        return bits(output, target)

    def data(self) -> list[Tensor]:
        return [*self.of.data(), torch.tensor(self.share)]

    def baselines(self, split: Any) -> dict[str, float]:
        """Bits on the same hidden symbols by their frequency, and by the symbols (or masks) left and right of them.

        Counted on five epochs; log2 of (n(left, c, right) + p(c)) / (n(left, right) + 1), p(c) the frequency.
        """
        V = self.outputs
        seed = getattr(split, "seed", 0)
        trained = [neighbours(batch) for epoch in range(COUNTED) for batch in self.batches(split, seed, epoch)]
        between, c = (torch.cat(parts) for parts in zip(*trained, strict=True))
        p = torch.bincount(c, minlength=V) + 1.0
        p = (p / p.sum()).double()
        asked_between, asked = (
            torch.cat(parts) for parts in zip(*map(neighbours, self.evaluation(split)), strict=True)
        )
        both = counts_of(between * V + c, asked_between * V + asked)
        q = (both + p[asked]) / (counts_of(between, asked_between) + 1)
        return {"frequency": -p[asked].log2().mean().item(), "both neighbours": -q.log2().mean().item()}


def counts_of(seen: Tensor, asked: Tensor) -> Tensor:
    """How often each of `asked` is among `seen`, whole numbers both, however large: as asked."""
    values, n = seen.unique(return_counts=True)
    at = torch.searchsorted(values, asked).clamp(max=len(values) - 1)
    return torch.where(values[at] == asked, n[at], 0).double()


def neighbours(batch: Batch) -> tuple[Tensor, Tensor]:
    """A number for the symbols left and right of each hidden one, V + 1 beyond the ends; and the hidden one. [n], [n]."""
    shown = batch.x.argmax(-1).cpu()  # V is the mask
    V, target = batch.x.shape[-1] - 1, batch.target.cpu()
    edge = torch.full_like(shown[:1], V + 1)
    left, right = torch.cat([edge, shown[:-1]]), torch.cat([shown[1:], edge])
    asked = target != NOT_ASKED
    return (left * (V + 2) + right)[asked], target[asked]


def masked_text(corpus: str = "grammar", level: str = "char", share: float = SHARE) -> Masked:
    """Tell the 15 % of a text (corpus and level as in `text`) that are hidden, from what stands on both sides.

    ValueError for the proverb, which has 8 words.
    """
    if corpus == "proverb":
        raise ValueError(
            "corpus: given 'proverb', but masked-text wants more than one sentence: grammar, reference or a file"
        )
    return Masked(text(corpus, level), share)


def shown_whole(batch: Batch) -> Tensor:
    """The x of a masked task with nothing hidden: [T, B, V] -> [T, B, V + 1]."""
    return F.pad(batch.x, (0, 1))


__all__: list[str] = ["Masked", "masked_text", "neighbours", "shown_whole"]
