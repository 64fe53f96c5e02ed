"""n-gram baselines: what can be predicted of a text from its last n - 1 symbols, without any network.

Interpolated, smoothed as Witten and Bell 1991, IEEE Trans Inf Theory 37:1085 (method C), over V symbols:

    p_n(a | c) = (N(c a) + D(c) p_{n-1}(a | c')) / (N(c) + D(c)),   p_0 = 1 / V

c: the n - 1 symbols before a; c' is c without its oldest; N(c a): how often a came after c in training, N(c) = sum_a N(c a);
D(c): how many different symbols did. A context that never came passes on p_{n-1}. At the beginning of a sequence, where
fewer than n - 1 symbols precede, all of them are the context: nothing is known that a network has not been shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

ORDERS = 5


@dataclass(frozen=True, eq=False)
class Table:
    """Counts of one order: `grams` sorted codes of c a, N_ca of each; `contexts` sorted codes of c, N_c and D_c of each."""

    grams: np.ndarray = field(repr=False)
    N_ca: np.ndarray = field(repr=False)
    contexts: np.ndarray = field(repr=False)
    N_c: np.ndarray = field(repr=False)
    D_c: np.ndarray = field(repr=False)


def bits(train: Iterable[Tensor], test: Tensor, V: int, orders: int = ORDERS) -> dict[str, float]:
    """{"1-gram": bits, ...}: mean of -log2 p_n over all symbols of the test sequences but the first of each.

    train: texts [length, B], each counted by itself; test [1 + T, B]; of whole numbers 0..V-1.
    """
    tables = count(train, V, orders)
    p = probabilities(tables, test.cpu().numpy(), V)
    return {f"{n}-gram": float(-np.log2(p_n[1:]).mean()) for n, p_n in enumerate(p, 1)}


def count(train: Iterable[Tensor], V: int, orders: int = ORDERS) -> list[Table]:
    """The tables of orders 1, 2, ... A gram lies within one text."""
    if V**orders >= 2**63:
        raise ValueError(f"orders must be small enough that V ** orders < 2 ** 63, but is {orders} with V = {V}.")
    texts = [text.cpu().numpy() for text in train]
    tables = []
    for n in range(1, orders + 1):
        grams, N_ca = np.unique(np.concatenate([codes(text, n, V).ravel() for text in texts]), return_counts=True)
        contexts, first, D_c = np.unique(grams // V, return_index=True, return_counts=True)
        N_c = np.add.reduceat(N_ca, first) if len(first) else first
        tables.append(Table(grams, N_ca, contexts, N_c, D_c))
    return tables


def probabilities(tables: list[Table], text: np.ndarray, V: int) -> list[np.ndarray]:
    """p_n of each symbol of texts [length, B] after those before it, for n = 1, 2, ...: each [length, B]."""
    p, found = np.full(text.shape, 1.0 / V), []
    for n, table in enumerate(tables, 1):
        p = p.copy()  # where fewer than n - 1 symbols precede it stays p_{n-1}
        if len(text) >= n:
            gram = codes(text, n, V)
            N_ca = look_up(table.grams, table.N_ca, gram)
            N_c, D_c = (look_up(table.contexts, values, gram // V) for values in (table.N_c, table.D_c))
            came = N_c > 0
            shorter = p[n - 1 :]
            p[n - 1 :] = np.where(came, (N_ca + D_c * shorter) / np.where(came, N_c + D_c, 1), shorter)
        found.append(p)
    return found


def codes(text: np.ndarray, n: int, V: int) -> np.ndarray:
    """One number for each n symbols in a row: [length, B] -> [length - n + 1, B], newest symbol last."""
    length = max(len(text) - n + 1, 0)
    code = np.zeros((length, *text.shape[1:]), dtype=np.int64)
    for i in range(n):
        code = code * V + text[i : i + length]
    return code


def look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 where there is none; keys sorted."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
