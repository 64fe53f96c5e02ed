"""Text: which stretch trains and tests, what a sequence holds, bits by hand, corpora and their errors."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from neurosim.credit import Backprop
from neurosim.networks.recurrent import rnn
from neurosim.plasticity import Gradient, Learner, Recipe
from neurosim.tasks import grammar
from neurosim.tasks.sequences import NOT_ASKED, Answers, Sequences
from neurosim.tasks.text import (
    CHARACTERS,
    OTHER,
    WORDS,
    T,
    Text,
    bits,
    encode,
    from_file,
    from_string,
    proverb,
    reference,
    sentences,
    symbols_of,
    text,
    words,
)

pytestmark = pytest.mark.usefixtures("single_precision")


LENGTH = 777  # of a stretch: room for 6 training sequences at every offset, 7 test sequences


@pytest.fixture(scope="module")
def numbered() -> Text:
    """A text whose symbols are their own places, so that a batch shows where it was taken."""
    return Text("numbered", torch.arange(100 * LENGTH).reshape(100, LENGTH), tuple(map(str, range(100 * LENGTH))))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-hot vectors over 77,700 symbols would fill the memory: show the symbols themselves."""

    def batch(self: Text, stretches: torch.Tensor, index: torch.Tensor, per: int, offset: int = 0) -> torch.Tensor:
        step = torch.arange(T + 1)[:, None]
        return stretches[index // per, index % per * T + offset + step]

    monkeypatch.setattr(Text, "_batch", batch)


@pytest.fixture(scope="module")
def small() -> Text:
    draw = np.random.default_rng(0)
    return from_string("".join(draw.choice(list("abcdefg \n"), 30_000)), CHARACTERS)


# ---------------------------------------------------------------------------------------------- splits
def test_validation_test_and_training_stretches_are_10_9_81_and_disjoint(numbered: Text) -> None:
    fixed = None
    for seed in (0, 1, 7):
        tuning, final = numbered.split(seed, tuning=True), numbered.split(seed)
        train, validation, test, both = (
            set((part[:, 0] // LENGTH).tolist()) for part in (tuning.train, tuning.test, final.test, final.train)
        )
        assert (len(train), len(validation), len(test)) == (81, 10, 9)
        assert train | validation | test == set(range(100))
        assert both == train | validation
        fixed = fixed or validation
        assert validation == fixed
        assert (len(tuning.train_y), len(tuning.test_y)) == (81 * 6, 10 * 7)
        assert (len(final.train_y), len(final.test_y)) == (91 * 6, 9 * 7)
    a, b = (set((numbered.split(seed).test[:, 0] // LENGTH).tolist()) for seed in (0, 1))
    assert a != b


@pytest.mark.usefixtures("plain")
def test_an_epoch_shows_each_training_sequence_once_from_an_offset_of_its_own(numbered: Text) -> None:
    split = numbered.split(3)
    starts = set()
    for epoch in range(12):
        symbols = torch.cat(list(numbered.batches(split, 3, epoch)), 1)
        first = symbols[0]
        assert (symbols == first + torch.arange(T + 1)[:, None]).all()  # in a row
        assert (symbols[0] // LENGTH == symbols[-1] // LENGTH).all()  # within a stretch
        assert set((first // LENGTH).tolist()) == set((split.train[:, 0] // LENGTH).tolist())
        (offset,) = set((first % LENGTH % T).tolist())
        assert len(set(first.tolist())) == len(first) == 91 * 6
        assert torch.equal(symbols, torch.cat(list(numbered.batches(split, 3, epoch)), 1))
        assert (first[1:] < first[:-1]).any()  # shuffled
        starts.add(offset)
    assert len(starts) > 6 and max(starts) <= T - 1


@pytest.mark.usefixtures("plain")
def test_every_test_symbol_that_fits_is_predicted_once(numbered: Text) -> None:
    split = numbered.split(0)
    symbols = torch.cat(list(numbered.evaluation(split, size=10)), 1)
    predicted = symbols[1:].flatten().tolist()
    assert len(set(predicted)) == len(predicted)
    assert sorted(predicted) == sorted(split.test[:, 1 : 7 * T + 1].flatten().tolist())


@pytest.mark.parametrize("length", [T + 1, T + 2, 2 * T - 1, 2 * T, 2 * T + 1, 3 * T - 1, 3 * T, 3 * T + 1])
@pytest.mark.usefixtures("plain")
def test_sequences_stay_within_stretches_of_any_length(length: int) -> None:
    task = Text("numbered", torch.arange(100 * length).reshape(100, length), ("a",))
    split = task.split(0)
    for epoch in range(20):  # an index beyond the stretch would raise
        symbols = torch.cat(list(task.batches(split, 0, epoch)), 1)
        assert symbols.shape == (T + 1, len(split.train_y))
        assert (symbols[0] // length == symbols[-1] // length).all()
    assert torch.cat(list(task.evaluation(split)), 1).shape == (T + 1, len(split.test_y))


def test_limits_cut_both_parts_and_n_grams_see_no_other_stretch(numbered: Text) -> None:
    task = numbered.limited(train=8, test=3)
    split, whole = task.split(0), numbered.split(0)
    assert (len(split.train_y), len(split.test_y), len(split.train)) == (8, 3, 2)
    assert torch.equal(split.train, whole.train[:2])
    assert numbered.limited(test=3).train_limit is None
    with pytest.raises(ValueError, match="train must be a whole number of at least 1, but is 0"):
        numbered.limited(train=0)


# ---------------------------------------------------------------------------------------------- batches, bits
def test_a_batch_is_one_hot_and_its_target_the_next_symbol(small: Text) -> None:
    split = small.split(0)
    batch = next(small.batches(split, 0, 0))
    assert batch.x.shape == (T, 64, small.outputs) and batch.x.dtype == torch.float32
    assert batch.target.shape == (T, 64) and batch.time and batch.dt == 10.0
    assert (batch.x.sum(-1) == 1).all() and (batch.x.amax(-1) == 1).all()
    assert torch.equal(batch.x[1:].argmax(-1), batch.target[:-1])
    column = symbols_of(batch)[:, 5]
    assert any((row.unfold(0, T + 1, 1) == column).all(1).any() for row in split.train)
    assert [b.size for b in small.evaluation(split, size=10)] == [10, 8]
    probe = small.probe(split)
    assert probe.size == 64 and torch.equal(symbols_of(probe)[:, 0], split.train[0, : T + 1].long())


def test_the_fields_and_methods_of_sequences_are_there(small: Text) -> None:
    other = sentences()
    names = "name shape outputs network metric batch_size dt split batches evaluation probe score scores limited data"
    for name in [*names.split(), "baselines"]:
        assert hasattr(small, name) and hasattr(other, name), name
    assert (small.network, small.metric, small.dt) == (other.network, other.metric, other.dt)
    assert isinstance(other, Sequences)


def test_bits_and_loss_by_hand_and_loss_of_pieces_adds_up() -> None:
    torch.manual_seed(0)
    output, target = torch.randn(6, 3, 4, dtype=torch.float64), torch.randint(4, (6, 3))
    target[2, 1] = target[:3, 2] = NOT_ASKED
    for b in range(3):
        asked = [t for t in range(6) if target[t, b] != NOT_ASKED]
        p = [math.exp(output[t, b, target[t, b]]) / sum(map(math.exp, output[t, b])) for t in asked]
        assert bits(output, target)[b].item() == pytest.approx(-sum(map(math.log2, p)) / len(asked), rel=1e-12)
    loss = Answers(6)
    pieces = sum(loss(o, y) for o, y in zip(output.split(2), target.split(2)))
    assert pieces.tolist() == pytest.approx(loss(output, target).tolist(), rel=1e-12)
    asked = torch.tensor([6.0, 5, 3], dtype=torch.float64)
    nats = bits(output, target) * asked / 6 * math.log(2)
    assert nats.tolist() == pytest.approx(loss(output, target).tolist(), rel=1e-12)


def test_who_knows_nothing_pays_log2_V_and_the_score_is_the_mean(small: Text) -> None:
    batch = next(small.evaluation(small.split(0)))
    output = torch.zeros(*batch.target.shape, small.outputs)
    assert small.scores(output, batch.target).tolist() == pytest.approx([math.log2(9)] * batch.size, rel=1e-6)
    output = torch.randn_like(output)
    assert small.score(output, batch.target) == pytest.approx(small.scores(output, batch.target).mean().item())


# ---------------------------------------------------------------------------------------------- corpora
def test_rare_characters_become_one_symbol_and_the_rest_reads_back() -> None:
    whole = "abc\n" * 3000 + "é" * 10 + "ß" * 9 + "漢"
    task = from_string(whole, CHARACTERS)
    assert task.vocabulary == ("\n", "a", "b", "c", "é", OTHER) and task.outputs == 6
    assert task.stretches.dtype == torch.uint8
    read = "".join(task.vocabulary[i] for i in task.stretches.flatten())
    assert read == whole[: len(read)] and len(whole) - len(read) < 100
    vocabulary, numbers = encode(whole, CHARACTERS)
    assert [vocabulary[i] for i in numbers[-11:]] == ["é"] + [OTHER] * 10


def test_no_other_symbol_where_nothing_is_rare() -> None:
    assert from_string("ab" * 6000, CHARACTERS).vocabulary == ("a", "b")


def test_words_are_lower_cased_with_punctuation_and_the_most_frequent_are_kept() -> None:
    assert words("The cat's 2 (two) hats.\n") == ["the", "cat", "'", "s", "2", "(", "two", ")", "hats", "."]
    often = [f"w{i}" for i in range(1000)] * 12
    task = from_string(" ".join([*often, *(f"once{i}" for i in range(50))]), WORDS)
    assert task.outputs == 1001 and set(task.vocabulary) == {*often, OTHER}
    assert task.metric == "bits per word" and task.name.endswith("-word")
    assert [task.vocabulary[i] for i in task.stretches.flatten()[:1200]] == often[:1200]


def test_the_reference_is_that_of_this_python() -> None:
    from pydoc_data.topics import topics

    task = reference()
    assert 300_000 < task.stretches.numel() < 1_000_000 and 80 < task.outputs <= 256
    start = "".join(task.vocabulary[i] for i in task.stretches[0])
    first = topics[min(topics)]
    assert start.startswith(first[: len(start)]) or first.startswith(start)
    assert task.split(0).to("cpu").train.dtype == torch.uint8


def test_text_gives_each_corpus_by_its_name_or_path(tmp_path: Path) -> None:
    path = tmp_path / "tales.txt"
    path.write_text("Once upon a time. " * 3000, encoding="utf-8")
    made = {(c, level): text(c, level) for c in ("grammar", str(path), "proverb") for level in ("char", "word")}
    assert [t.metric for t in made.values()] == ["bits per character", "bits per word"] * 2 + ["accuracy"] * 2
    assert [t.name for t in made.values()] == [
        "text-grammar", "text-grammar-word", "text-tales", "text-tales-word", "text-proverb", "text-proverb",
    ]  # fmt: skip
    assert text().name == "text-grammar"
    assert from_file(path).data()[0].shape == (100, 540)
    with pytest.raises(ValueError, match='level must be "char" or "word", but is \'letter\''):
        text("grammar", "letter")


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    bad, short = tmp_path / "bad.txt", tmp_path / "short.txt"
    bad.write_bytes(b"caf\xc3\xa9 \xe9t\xe9")
    short.write_text("too short", encoding="utf-8")
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match=f"or a UTF-8 file, but there is no file {re.escape(str(path))}"):
            from_file(path)
    with pytest.raises(ValueError, match=r"corpus must be UTF-8 text, but .*bad.txt is not at byte 6\."):
        from_file(bad)
    with pytest.raises(ValueError, match=r"corpus must hold at least 10,100 characters, but .*short.txt has 9\."):
        from_file(short)
    with pytest.raises(ValueError, match=r"corpus must hold at least 10,100 words, but .*short.txt has 2\."):
        from_file(short, WORDS)


# ---------------------------------------------------------------------------------------------- grammar, proverb
def test_grammar_sequences_start_a_sentence_and_are_new_in_every_epoch() -> None:
    task = sentences()
    split = task.split(0)
    a, b = (next(task.batches(split, 0, epoch)) for epoch in (0, 1))
    assert a.x.shape == (T, 64, 18) and not torch.equal(a.target, b.target)
    assert torch.equal(a.x[1:].argmax(-1), a.target[:-1])
    assert {"".join(task.m.symbols[i] for i in column[:4]) for column in symbols_of(a).T} == {"the "}


def test_baselines_of_the_grammar_are_in_their_order_and_near_their_expectation() -> None:
    task = sentences()
    found = task.baselines(task.split(0))
    orders = [f"{n}-gram" for n in range(1, 6)]
    assert list(found) == [*orders, "without memory of the number", "optimum"]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found["optimum"] == pytest.approx(grammar.expected_bits(task.m, task.m.p, T), abs=0.01)
    assert found["without memory of the number"] == pytest.approx(grammar.forgetful_bits(task.m, T), abs=0.01)


def test_baselines_of_random_text_and_of_the_proverb(small: Text) -> None:
    found = small.baselines(small.split(0))
    assert list(found) == [f"{n}-gram" for n in range(1, 6)]
    assert found["1-gram"] == pytest.approx(math.log2(9), abs=0.01)
    assert proverb().baselines(proverb().split(0)) == {}


def test_the_proverb_asks_for_the_doctor_away_only() -> None:
    task = proverb()
    batches = list(task.batches(task.split(0), 0, 0))
    assert len(batches) == 20 and all(b.x.shape == (7, 1, 8) for b in batches)
    assert batches[0].x[:, 0].argmax(-1).tolist() == list(range(7))
    assert batches[0].target[:, 0].tolist() == [NOT_ASKED] * 4 + [5, 6, 7]
    assert len(list(task.evaluation(task.split(0)))) == 1


def test_a_recurrent_net_remembers_the_proverb() -> None:
    task = proverb()
    split = task.split(0)
    torch.manual_seed(0)
    recipe = Recipe("bptt", {"*": Gradient()}, Backprop(), lr=3e-3, optimizer=torch.optim.Adam)
    learner = Learner(rnn(task.shape, task.outputs, hidden=16), recipe, task.probe(split))
    for epoch in range(3):
        for batch in task.batches(split, 0, epoch):
            learner.step(batch)
    (batch,) = task.evaluation(split)
    assert task.score(learner.predict(batch), batch.target) == 1.0
