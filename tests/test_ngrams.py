"""n-grams: probabilities that sum to one, a slow implementation that follows the equation, cases with a known answer."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from neurosim.tasks.ngrams import bits, count, probabilities


def slow(train: list[list[int]], context: tuple[int, ...], a: int, V: int) -> float:
    """p(a | context) by counting anew, from the longest context down. Witten and Bell's equation, read as it stands."""

    def p(c: tuple[int, ...] | None) -> float:
        if c is None:
            return 1 / V
        after = Counter()
        for text in train:
            for i in range(len(text) - len(c)):
                if tuple(text[i : i + len(c)]) == c:
                    after[text[i + len(c)]] += 1
        shorter = p(c[1:] if c else None)
        N, D = sum(after.values()), len(after)
        return (after[a] + D * shorter) / (N + D) if N else shorter

    return p(context)


def drawn(V: int, length: int, B: int, seed: int) -> torch.Tensor:
    """Text with some structure: a symbol repeats or is the last one plus one, or is anything."""
    draw = np.random.default_rng(seed)
    text = draw.integers(V - 1, size=(length, B))  # V - 1 never occurs by itself
    for t in range(1, length):
        kind = draw.integers(3, size=B)
        text[t] = np.where(kind == 0, text[t - 1], np.where(kind == 1, (text[t - 1] + 1) % (V - 1), text[t]))
    return torch.from_numpy(text)


def test_every_probability_is_that_of_the_slow_implementation() -> None:
    V = 5
    train, test = [drawn(V, 40, 2, 0), drawn(V, 25, 1, 1)], drawn(V, 12, 3, 2)
    test[5, 1] = V - 1  # never seen in training
    found = probabilities(count(train, V), test.numpy(), V)
    texts = [column for part in train for column in part.T.tolist()]
    assert len(found) == 5
    for n, p in enumerate(found, 1):
        for b, column in enumerate(test.T.tolist()):
            for t, a in enumerate(column):
                context = tuple(column[max(0, t - n + 1) : t])  # of the sequence only
                assert p[t, b] == pytest.approx(slow(texts, context, a, V), rel=1e-12)
    want = {f"{n}-gram": -np.log2(p[1:]).mean() for n, p in enumerate(found, 1)}
    assert bits(train, test, V) == pytest.approx(want)


@pytest.mark.parametrize("context", [(0, 1, 2, 3), (3, 3, 3, 3), (4, 4, 4, 4), (1, 4, 0, 4), (2,), ()])
def test_probabilities_sum_to_one_after_seen_and_unseen_contexts(context: tuple[int, ...]) -> None:
    V = 5
    tables = count([drawn(V, 300, 2, 3)], V)
    ends = np.array([[*context, a] for a in range(V)]).T
    for p in probabilities(tables, ends, V):
        assert p[-1].sum() == pytest.approx(1, abs=1e-12)
        assert (p[-1] > 0).all()


def test_uniform_symbols_cost_log2_V() -> None:
    V, draw = 8, np.random.default_rng(4)
    train, test = (torch.from_numpy(draw.integers(V, size=size)) for size in ((200_000, 1), (1000, 20)))
    found = bits([train], test, V, orders=2)
    assert found == pytest.approx({"1-gram": 3, "2-gram": 3}, abs=0.002)


def test_a_text_that_repeats_has_the_closed_form() -> None:
    """abab...: p_1(a) = (m + 2/V)/(2 m + 2) with m of each; after b came a, k times and alone: p_2 = (k + p_1)/(k + 1)."""
    V, m = 4, 50
    text = torch.tensor([0, 1] * m)[:, None]
    p_1, p_2 = probabilities(count([text], V, 2), text.numpy(), V)
    one = (m + 2 / V) / (2 * m + 2)
    assert p_1[:, 0] == pytest.approx(one)
    assert p_2[0, 0] == pytest.approx(one)  # nothing before it
    assert p_2[1::2, 0] == pytest.approx((m + one) / (m + 1))
    assert p_2[2::2, 0] == pytest.approx((m - 1 + one) / m)


def test_a_chain_of_first_order_costs_its_entropy() -> None:
    """Stays with probability .9, else goes on: h(.9) bits for two symbols; longer contexts tell no more."""
    draw = np.random.default_rng(5)
    flips = draw.random((2000, 100)) < 0.1
    text = torch.from_numpy(flips.cumsum(0) % 2)
    found = bits([text[:, :80]], text[:, 80:], 2)
    h = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert found["1-gram"] == pytest.approx(1, abs=0.01)
    for n in (2, 3, 4, 5):
        assert found[f"{n}-gram"] == pytest.approx(h, abs=0.02)


def test_grams_do_not_cross_from_one_text_to_the_next() -> None:
    (_, table) = count([torch.tensor([[0, 2], [1, 3]])], 4, 2)  # texts 0 1 and 2 3
    assert table.grams.tolist() == [1, 2 * 4 + 3]
    assert table.contexts.tolist() == [0, 2] and table.N_c.tolist() == [1, 1] and table.D_c.tolist() == [1, 1]


def test_text_shorter_than_the_order_is_no_error() -> None:
    tables = count([torch.tensor([[0], [1]])], 2)
    found = probabilities(tables, np.array([[0], [1]]), 2)
    assert len(found) == 5 and found[1][1, 0] == pytest.approx((1 + 0.5) / 2)
    np.testing.assert_array_equal(found[4], found[1])


def test_so_many_symbols_that_a_gram_has_no_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"orders must be small enough that V \*\* orders < 2 \*\* 63, but is 5"):
        count([torch.zeros(9, 1, dtype=torch.long)], 2**13)
