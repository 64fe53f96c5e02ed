"""The grammar: its entropy against enumeration, closed forms and samples; agreement, against a parser of its own."""

import itertools
import math
import re

import pytest
import torch

from neurosim.credit import Backprop
from neurosim.networks.recurrent import rnn
from neurosim.plasticity import Gradient, Learner, Recipe
from neurosim.tasks import ngrams
from neurosim.tasks.grammar import (
    Machine,
    english,
    entropy_rate,
    expected_bits,
    forgetful,
    forgetful_bits,
    machine,
    measured_bits,
    sample,
    states,
    stationary,
    transitions,
    words,
)
from neurosim.tasks.text import sentences

NOUN, VERB = "(?:cat|cow|dog|hen)", "(?:see|like|hear|fear)"
SENTENCE = re.compile(
    rf"the {NOUN}(s?)(?: (?:near|with) the {NOUN}s?)* (?:{VERB}(s?) the {NOUN}s?)((?: and {VERB}s? the {NOUN}s?)*)\."
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small() -> Machine:
    """Two nodes, strings of unequal length, a trie that shares letters."""
    return machine(
        {"x": [("ab", 0.3, "x"), ("ac", 0.2, "y"), ("b", 0.5, "y")], "y": [("a", 0.9, "x"), ("cc", 0.1, "y")]}, "x"
    )


def chance(m: Machine, string: tuple[int, ...]) -> float:
    """The probability of a string from the start, one symbol after the other."""
    s, p = m.start, 1.0
    for a in string:
        p *= m.p[s, a].item()
        if p == 0:
            return 0.0
        s = int(m.to[s, a])
    return p


def joined(m: Machine, text: torch.Tensor) -> list[str]:
    return ["".join(m.symbols[a] for a in column) for column in text.T.tolist()]


# ---------------------------------------------------------------------------------------------- entropy
def test_expected_bits_are_those_of_all_strings_enumerated() -> None:
    m, T = small(), 8

    def entropy(length: int) -> float:  # of strings: no state, no recursion over t
        p = [chance(m, string) for string in itertools.product(range(3), repeat=length)]
        assert sum(p) == pytest.approx(1, abs=1e-12)
        return -sum(x * math.log2(x) for x in p if x)

    assert expected_bits(m, m.p, T) == pytest.approx((entropy(T + 1) - entropy(1)) / T, abs=1e-12)


def test_entropy_rate_of_the_golden_mean_machine() -> None:
    """After a 1 comes a 0, else both are equally likely: 2/3 bit a symbol, two thirds of the time in the first state."""
    m = machine({"free": [("0", 0.5, "free"), ("1", 0.5, "bound")], "bound": [("0", 1.0, "free")]}, "free")
    assert entropy_rate(m) == pytest.approx(2 / 3, abs=1e-14)
    assert stationary(m).tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-14)


@pytest.mark.parametrize("m", [small(), english(), english(words, 0.3, 0.8)], ids=["small", "letters", "words"])
def test_stationary_shares_stay_and_the_rate_is_the_limit_of_long_texts(m: Machine) -> None:
    pi = stationary(m)
    assert (pi @ transitions(m) - pi).abs().max() < 1e-14
    assert pi.sum().item() == pytest.approx(1, abs=1e-12) and (pi > -1e-15).all()
    short, long = expected_bits(m, m.p, 2000), expected_bits(m, m.p, 4000)
    assert 2 * long - short == pytest.approx(entropy_rate(m), abs=2e-6)  # what the start adds falls as 1/T


@pytest.mark.parametrize(("modify", "join"), [(0.6, 0.6), (0.2, 0.0), (0.0, 0.5)])
def test_entropy_and_the_worth_of_memory_from_counts_of_a_sentence(modify: float, join: float) -> None:
    """Bits and letters of a sentence by the expected numbers of its phrases; the forgetful pays one bit for each verb that
    follows another noun than the subject."""

    def h(p: float) -> float:
        return -sum(x * math.log2(x) for x in (p, 1 - p) if x)

    phrases, clauses = modify / (1 - modify), 1 / (1 - join)
    bits = 3 + 4 * phrases + h(modify) * (phrases + 1) + (2 + 3 + h(join)) * clauses
    letters = 4 + 4.5 + phrases * 13.5 + clauses * (4.25 + 5 + 3.5) + 2 + 5 * (clauses - 1)
    far = modify + clauses - 1
    m = english(modify=modify, join=join)
    assert entropy_rate(m) == pytest.approx(bits / letters, abs=1e-12)
    pi = stationary(m)
    paid = -(pi[:, None] * torch.where(m.p > 0, m.p * forgetful(m).log2(), 0.0)).sum().item()
    assert paid == pytest.approx((bits + far) / letters, abs=1e-12)


def test_expected_bits_within_the_standard_error_of_samples() -> None:
    m, T = english(), 60
    text = sample(m, 4000, T + 1, seeded(0))
    for q, expected in ((m.p, expected_bits(m, m.p, T)), (forgetful(m), forgetful_bits(m, T))):
        each = measured_bits(m, q, text)
        error = each.std().item() / math.sqrt(len(each))
        assert error < 0.002
        assert each.mean().item() == pytest.approx(expected, abs=3 * error)


def test_figures_that_the_docstring_states() -> None:
    m, w = english(), english(words)
    found = [f(x) for x in (m, w) for f in (lambda x: expected_bits(x, x.p, 100), lambda x: forgetful_bits(x, 100))]
    assert found == pytest.approx([0.383, 0.408, 1.615, 1.739], abs=5e-4)
    assert (len(m.symbols), len(w.symbols)) == (18, 21)


# ---------------------------------------------------------------------------------------------- agreement
def test_every_verb_agrees_with_the_first_noun() -> None:
    m = english()
    whole, agreeing = 0, 0
    for string in joined(m, sample(m, 300, 400, seeded(1))):
        assert string.startswith("the ")
        for sentence in string.split(". ")[:-1]:  # the last one is cut
            match = SENTENCE.fullmatch(sentence + ".")
            assert match, sentence
            noun, verb, more = match.groups()
            verbs = [verb, *re.findall(rf"and {VERB}(s?) ", more)]
            assert all(bool(v) != bool(noun) for v in verbs), sentence
            whole, agreeing = whole + 1, agreeing + len(verbs)
    assert whole > 1000 and agreeing > 2000


def test_distractors_have_either_number() -> None:
    string = " ".join(joined(english(), sample(english(), 50, 400, seeded(2))))
    other = re.findall(rf"the {NOUN}(s?) (?:near|with) the {NOUN}(s?) ", string)
    share = sum(a == b for a, b in other) / len(other)
    assert len(other) > 150 and abs(share - 0.5) < 4 * 0.5 / math.sqrt(len(other))


def test_the_forgetful_pay_one_bit_at_each_verb_after_another_noun() -> None:
    """Found in the text by a regular expression: the letter after the stem tells the number."""
    m, T = english(), 150
    text = sample(m, 200, T + 1, seeded(3))
    extra = T * (measured_bits(m, forgetful(m), text) - measured_bits(m, m.p, text))
    far = rf"(?:(?:near|with) the {NOUN}s? |and )(?={VERB}[s ])"
    found = [len(re.findall(far, string)) for string in joined(m, text)]
    assert sum(found) > 500
    assert extra.tolist() == pytest.approx(found, abs=1e-9)


def test_no_n_gram_is_better_than_the_optimum_and_short_ones_not_than_the_forgetful() -> None:
    m = english()
    train, test = (sample(m, n, 101, seeded(seed)) for n, seed in ((3000, 4), (500, 5)))
    optimum, forgets = (measured_bits(m, q, test).mean().item() for q in (m.p, forgetful(m)))
    found = ngrams.bits([train], test, len(m.symbols))
    assert optimum < forgets < min(found.values())


# ---------------------------------------------------------------------------------------------- the machine
def test_samples_have_the_probabilities_of_the_strings() -> None:
    m, n = small(), 40000
    codes = sample(m, n, 4, seeded(6)).T
    got = {tuple(row): 0 for row in itertools.product(range(3), repeat=4)}
    for row in codes.tolist():
        got[tuple(row)] += 1
    for string, times in got.items():
        p = chance(m, string)
        assert abs(times / n - p) <= 4 * math.sqrt(p * (1 - p) / n), string


def test_states_are_found_again_by_reading() -> None:
    m = english()
    text = sample(m, 20, 80, seeded(7))
    s = states(m, text)
    assert (s[0] == m.start).all() and (m.p[s, text] > 0).all()
    assert (m.to[s, text][:-1] == s[1:]).all()
    for t, i in ((10, 0), (79, 19)):  # the place of a state holds what came since its node
        _, since = m.places[int(s[t, i])]
        assert tuple(m.symbols[a] for a in text[t - len(since) : t, i]) == since


def test_samples_come_from_the_generator_alone() -> None:
    m = english()
    assert torch.equal(sample(m, 5, 50, seeded(8)), sample(m, 5, 50, seeded(8)))
    assert not torch.equal(sample(m, 5, 50, seeded(8)), sample(m, 5, 50, seeded(9)))


def test_words_and_letters_are_of_the_same_language() -> None:
    w = english(words)
    text = sample(w, 50, 60, seeded(10))
    for column in text.T.tolist():
        string = " ".join(w.symbols[a] for a in column).replace(" .", ".")
        assert all(SENTENCE.fullmatch(s + ".") for s in string.split(". ")[:-1])


def test_a_node_whose_next_state_would_be_open_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes must not hold a string that begins with another, as 'ab' at 'x'"):
        machine({"x": [("a", 0.5, "x"), ("ab", 0.5, "x")]}, "x")
    with pytest.raises(ValueError, match="as 'a' at 'x'"):
        machine({"x": [("ab", 0.5, "x"), ("a", 0.5, "x")]}, "x")
    with pytest.raises(ValueError, match="join must be a probability of at least 0 and below 1, but is 1"):
        english(join=1)


# ---------------------------------------------------------------------------------------------- it can be learned
def learned(hidden: int, epochs: int) -> tuple[float, dict[str, float]]:
    """Bits of a recurrent net after so many epochs of backpropagation through time, and the baselines."""
    task = sentences()
    split = task.split(0)
    torch.manual_seed(0)
    recipe = Recipe("bptt", {"*": Gradient()}, Backprop(), lr=3e-3, optimizer=torch.optim.Adam)
    learner = Learner(rnn(task.shape, task.outputs, hidden, tau=None), recipe, task.probe(split))
    for epoch in range(epochs):
        for batch in task.batches(split, 0, epoch):
            learner.step(batch)
    each = [task.scores(learner.predict(batch), batch.target) for batch in task.evaluation(split)]
    return torch.cat(each).mean().item(), task.baselines(split)


def test_sixty_steps_beat_the_2_gram() -> None:
    got, known = learned(hidden=64, epochs=3)
    assert known["optimum"] < got < known["2-gram"]


@pytest.mark.slow
def test_a_recurrent_net_comes_to_remember_the_number() -> None:
    got, known = learned(hidden=128, epochs=36)
    assert known["optimum"] < got < (known["optimum"] + known["without memory of the number"]) / 2
