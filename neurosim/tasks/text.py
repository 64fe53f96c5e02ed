"""Text: predict the next symbol, a character or a word, from all that came before it in the sequence.

    x[t] = one-hot of symbol t,   target[t] = symbol t + 1,   bits = 1/T sum_t -log2 softmax(output[t])[target[t]]

Corpora: a generated grammar whose least possible bits are known, Python's own language reference, any UTF-8 file, and one
sentence to memorise. `baselines` says what n-grams reach on the same test sequences. A symbol lasts 10 ms.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from neurosim.plasticity import Batch
from neurosim.tasks import grammar, ngrams
from neurosim.tasks.base import ORDER, SPLIT, VALIDATION, _count, _generator
from neurosim.tasks.sequences import NOT_ASKED, Answers, Drawn, Sequences, share_right

T, DT = 100, 10.0  # symbols in a sequence, ms for each
STRETCHES, TENTH = 100, 10
COUNTED = 5  # epochs of the grammar that its n-grams are counted on
PROVERB = ("an", "apple", "a", "day", "keeps", "the", "doctor", "away")


# ---------------------------------------------------------------------------------------------- corpora
def text(corpus: str = "grammar", level: str = "char") -> Sequences | Text:
    """Predict the next symbol of a corpus: "grammar", "reference", "proverb" or the path of a UTF-8 file, by "char" or "word".

    The proverb is by words at either level.
    """
    if level not in ("char", "word"):
        raise ValueError(f'level must be "char" or "word", but is {level!r}.')
    by_word = level == "word"
    if corpus == "grammar":
        return sentences(words=by_word)
    if corpus == "proverb":
        return proverb()
    symbols = WORDS if by_word else CHARACTERS
    return reference(symbols) if corpus == "reference" else from_file(corpus, symbols)


def sentences(words: bool = False) -> Grammar:
    """Sentences of `grammar.english`, drawn anew for every epoch, each sequence from the start of a sentence.

    18 characters, or 21 words. The optimum is .383 bits per character (1.615 per word) at T = 100, and .408 (1.739) for
    who forgets the subject's number at the next noun; by words a 5-gram sees past one such noun and reaches 1.666.
    """
    m = grammar.english(grammar.words if words else tuple)
    V, name = len(m.symbols), "text-grammar-word" if words else "text-grammar"
    metric = WORDS.metric if words else CHARACTERS.metric
    return Grammar(name, partial(grammar.trials, m=m, T=T), (V,), V, Answers(T), bits, DT, metric=metric, m=m)


def proverb() -> Proverb:
    """"An apple a day keeps the doctor away": of 8 words, say "the", "doctor" and "away" when the one before is shown.

    There is nothing to generalise to: the sentence that is tested is the one that is trained, 20 times an epoch, and the
    share of the three that is right shows that it is remembered.
    """  # fmt: skip
    V, sizes = len(PROVERB), {"batch_size": 1, "train_size": 20, "test_size": 1, "validation_size": 1}
    return Proverb("text-proverb", proverb_trials, (V,), V, Answers(3), share_right, DT, **sizes)


def reference(symbols: Symbols | None = None) -> Text:
    """Python's language reference as `help` shows it (`pydoc_data.topics`), its topics by name.

    In Python 3.11 it has 465,000 characters, 100 symbols with "other"; other versions have another text.
    """
    from pydoc_data.topics import topics

    whole = "".join(topics[name] for name in sorted(topics))
    return from_string(whole, symbols or CHARACTERS, "text-reference", "The reference")


def from_file(path: str | Path, symbols: Symbols | None = None) -> Text:
    """Any UTF-8 text. Raises ValueError for a file that is missing, is not UTF-8, or is too short."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"corpus must be grammar, reference, proverb or a UTF-8 file, but there is no file {path}.")
    try:
        whole = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"corpus must be UTF-8 text, but {path} is not at byte {error.start}.") from error
    return from_string(whole, symbols or CHARACTERS, f"text-{path.stem}", str(path))


def from_string(whole: str, symbols: Symbols, name: str = "text-custom", where: str = "it") -> Text:
    """A task of this text. Raises ValueError if it does not fill `STRETCHES` stretches of a sequence each."""
    tokens, least = symbols.cut(whole), STRETCHES * (T + 1)
    if len(tokens) < least:
        raise ValueError(f"corpus must hold at least {least:,} {symbols.name}, but {where} has {len(tokens):,}.")
    vocabulary, numbers = encode(tokens, symbols)
    length = len(numbers) // STRETCHES
    stretches = torch.from_numpy(numbers[: STRETCHES * length].reshape(STRETCHES, length))
    return Text(name + symbols.suffix, stretches, vocabulary, symbols.metric)


# ---------------------------------------------------------------------------------------------- symbols
@dataclass(frozen=True)
class Symbols:
    """How a text is cut into symbols, and which are kept: those that occur often enough, the most frequent `at_most`.

    All others become one more symbol, "other". The whole corpus decides, so that the vocabulary is the same for all seeds.
    """

    name: str
    metric: str
    cut: Callable[[str], Sequence[str]]
    at_least: int
    at_most: int
    suffix: str


OTHER = "<other>"


def words(whole: str) -> list[str]:
    """Lower-cased words and single punctuation marks; white space is not kept."""
    return re.findall(r"\w+|[^\w\s]", whole.lower())


CHARACTERS = Symbols("characters", "bits per character", str, at_least=10, at_most=255, suffix="")
WORDS = Symbols("words", "bits per word", words, at_least=1, at_most=1000, suffix="-word")


def encode(tokens: Sequence[str], symbols: Symbols) -> tuple[tuple[str, ...], np.ndarray]:
    """The vocabulary, sorted, "other" last if there are any; and each token's place in it, in one byte or two."""
    often = [(-n, token) for token, n in Counter(tokens).items() if n >= symbols.at_least]
    kept = sorted(token for _, token in sorted(often)[: symbols.at_most])
    place = {token: i for i, token in enumerate(kept)}
    kind = np.uint8 if len(kept) < 256 else np.int16
    numbers = np.fromiter((place.get(token, len(kept)) for token in tokens), kind, len(tokens))
    return (*kept, *([OTHER] if (numbers == len(kept)).any() else [])), numbers


def bits(output: Tensor, target: Tensor) -> Tensor:
    """1/n sum over the n asked steps of -log2 softmax(output[t])[target[t]]: lower is better. [T, B, K] -> [B]."""
    asked = (target != NOT_ASKED).sum(0)
    return Answers(1)(output, target).double() / asked / math.log(2)


# ---------------------------------------------------------------------------------------------- a corpus as a task
@dataclass(frozen=True, eq=False)
class Passages:
    """The stretches [n, length] one seed trains and tests on; train_y, test_y: numbers of the sequences in them."""

    train: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    train_y: Tensor = field(repr=False)
    test_y: Tensor = field(repr=False)

    def to(self, device: torch.device | str) -> Passages:
        return Passages(*(part.to(device) for part in (self.train, self.test, self.train_y, self.test_y)))


@dataclass(frozen=True, eq=False)
class Text:
    """A corpus in equal stretches. A fixed tenth of them validates and is never tested on, the seed draws a tenth of the
    others for testing, and the rest trains; see `Task` for what a comparison asks.

    A training sequence is T + 1 symbols within a stretch, the first of a stretch at an offset drawn from (seed, epoch).
    """

    name: str
    stretches: Tensor = field(repr=False)  # [STRETCHES, length]
    vocabulary: tuple[str, ...] = field(repr=False)
    metric: str = CHARACTERS.metric
    dt: float = DT
    network: str = "rnn"
    batch_size: int = 64
    train_limit: int | None = None
    test_limit: int | None = None

    @property
    def outputs(self) -> int:
        return len(self.vocabulary)

    @property
    def by_word(self) -> bool:
        return self.metric == WORDS.metric

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.outputs,)

    @property
    def per_train(self) -> int:
        """Training sequences in a stretch: as many as there is room for at every offset, at least one."""
        return max(1, (self.stretches.shape[1] - T) // T)

    @property
    def per_test(self) -> int:
        return (self.stretches.shape[1] - 1) // T

    def limited(self, train: int | None = None, test: int | None = None) -> Text:
        """The same task with at most so many sequences an epoch, and so many to score on."""
        return replace(
            self,
            train_limit=self.train_limit if train is None else _count(train, "train"),
            test_limit=self.test_limit if test is None else _count(test, "test"),
        )

    def split(self, seed: int, tuning: bool = False) -> Passages:
        """The stretches of one seed; tuning=True: "test" on the validation part; False: train on that part too."""
        validation = _generator(VALIDATION).permutation(STRETCHES)[: STRETCHES // TENTH]
        others = _generator(SPLIT, seed).permutation(np.setdiff1d(np.arange(STRETCHES), validation))
        test, train = others[: len(others) // TENTH], others[len(others) // TENTH :]
        test, train = (validation, train) if tuning else (test, np.concatenate([train, validation]))
        n_train, n_test = len(train) * self.per_train, len(test) * self.per_test
        train_y, test_y = torch.arange(n_train)[: self.train_limit], torch.arange(n_test)[: self.test_limit]
        used = train[: -(-len(train_y) // self.per_train)]  # no more than an epoch shows
        return Passages(self.stretches[used], self.stretches[test], train_y, test_y)

    def batches(self, split: Passages, seed: int, epoch: int) -> Iterator[Batch]:
        """The training part once, in an order and from an offset drawn from (seed, epoch)."""
        draw = _generator(ORDER, seed, epoch)
        room = self.stretches.shape[1] - 1 - self.per_train * T
        offset = int(draw.integers(min(T - 1, room) + 1))
        order = torch.from_numpy(draw.permutation(len(split.train_y))).to(split.train.device)
        for index in order.split(self.batch_size):
            yield self._batch(split.train, index, self.per_train, offset)

    def evaluation(self, split: Passages, size: int = 250) -> Iterator[Batch]:
        """Every test sequence once, in order."""
        for index in split.test_y.split(size):
            yield self._batch(split.test, index, self.per_test)

    def probe(self, split: Passages, size: int = 64) -> Batch:
        """The first training sequences, on which updates are held against each other."""
        return self._batch(split.train, split.train_y[:size], self.per_train)

    def score(self, output: Tensor, target: Tensor) -> float:
        """The mean of `scores`: lower is better."""
        return self.scores(output, target).mean().item()

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        return bits(output, target)

    def data(self) -> list[Tensor]:
        """What tells this corpus from another."""
        return [self.stretches]

    def baselines(self, split: Passages) -> dict[str, float]:
        """Bits of n-grams that were counted on the training stretches, on the same test sequences."""
        test = torch.cat([symbols_of(batch) for batch in self.evaluation(split)], 1)
        return ngrams.bits([split.train.T.long()], test, self.outputs)

    def _batch(self, stretches: Tensor, index: Tensor, per: int, offset: int = 0) -> Batch:
        step = torch.arange(T + 1, device=index.device)[:, None]
        symbols = stretches[index // per, index % per * T + offset + step].long()  # [T + 1, B]
        one_hot = torch.eye(self.outputs, device=index.device)
        return Batch(one_hot[symbols[:-1]], symbols[1:], Answers(T), time=True, dt=self.dt)


def symbols_of(batch: Batch) -> Tensor:
    """The T + 1 symbols of a batch again."""
    return torch.cat([batch.x[:1].argmax(-1), batch.target])


# ---------------------------------------------------------------------------------------------- drawn text
def proverb_trials(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.eye(len(PROVERB))[:-1, None].expand(-1, n, -1)
    target = torch.arange(1, len(PROVERB))[:, None].repeat(1, n)
    target[:-3] = NOT_ASKED
    return x, target


@dataclass(frozen=True, eq=False, kw_only=True)
class Grammar(Sequences):
    """Sequences of a machine's text."""

    m: grammar.Machine = field(repr=False)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.m.symbols

    @property
    def by_word(self) -> bool:
        return self.metric == WORDS.metric

    def baselines(self, split: Drawn) -> dict[str, float]:
        """Bits on the same test sequences: n-grams, counted on five epochs; who knows all but the number; who knows all."""
        train = [symbols_of(batch) for e in range(COUNTED) for batch in self.batches(split, split.seed, e)]
        test = torch.cat([symbols_of(batch) for batch in self.evaluation(split)], 1).cpu()
        q = {"without memory of the number": grammar.forgetful(self.m), "optimum": self.m.p}
        known = {name: grammar.measured_bits(self.m, q_n, test).mean().item() for name, q_n in q.items()}
        return ngrams.bits(train, test, self.outputs) | known


@dataclass(frozen=True, eq=False)
class Proverb(Sequences):
    """The one sentence."""

    drawn_anew: ClassVar[bool] = False  # its trials are all the same one
    vocabulary: ClassVar[tuple[str, ...]] = PROVERB
    by_word: ClassVar[bool] = True

    def baselines(self, split: Drawn) -> dict[str, float]:
        return {}
