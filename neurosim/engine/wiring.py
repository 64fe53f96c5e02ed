"""Who is connected with whom: synapses sorted by pre and then by post, and an index of the incoming ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from neurosim.engine.arrays import Array


class Wiring(NamedTuple):
    """Synapses [S] of pre [n_pre] onto post [n_post]. Dense ones need no lists: synapse i n_post + j leads from i to j."""

    n_pre: int
    n_post: int
    dense: bool
    row: Array  # [n_pre + 1]: where the synapses of a pre unit begin; empty where dense
    target: Array  # [S]: post
    weight: Array | None  # [S], where the matrix has them

    @property
    def size(self) -> int:
        return self.n_pre * self.n_post if self.dense else len(self.target)

    def incoming(self) -> tuple[Array, Array, Array]:
        """(where those of a post unit begin [n_post + 1], their pre units [S], which synapses they are [S])."""
        where = np.argsort(self.target, kind="stable").astype(np.uint32)
        source = np.repeat(np.arange(self.n_pre, dtype=self.target.dtype), np.diff(self.row))[where]
        return np.concatenate([[0], np.bincount(self.target, minlength=self.n_post).cumsum()]), source, where


def index_type(*sizes: int) -> Any:
    return np.uint16 if max(sizes) <= 1 << 16 else np.uint32


def from_rows(n_pre: int, n_post: int, target: Array, row: Array, weight: Array | None = None) -> Wiring:
    return Wiring(n_pre, n_post, False, row.astype(np.int64), target.astype(index_type(n_pre, n_post)), weight)


def all_to_all(n_pre: int, n_post: int, autapses: bool) -> Wiring:
    if autapses:
        return Wiring(n_pre, n_post, True, np.zeros(0, np.int64), np.zeros(0, index_type(n_pre, n_post)), None)
    target = np.tile(np.arange(n_post), (n_pre, 1))[~np.eye(n_pre, n_post, dtype=bool)]
    return from_rows(n_pre, n_post, target, np.arange(n_pre + 1) * (n_post - 1))


def one_to_one(n_pre: int, n_post: int) -> Wiring:
    if n_pre != n_post:
        raise ValueError(f"one_to_one: given populations of {n_pre} and {n_post}, they must be of one size")
    return from_rows(n_pre, n_post, np.arange(n_post), np.arange(n_pre + 1))


def by_probability(n_pre: int, n_post: int, p: float, autapses: bool, g: np.random.Generator) -> Wiring:
    if not (isinstance(p, float | int | np.number) and 0 < p <= 1):
        raise ValueError(f"probability: given {p!r}, it must lie in (0, 1]")
    counts, targets = np.zeros(n_pre, np.int64), []
    for i in range(n_pre):  # row by row, so that no [pre, post] table is made
        hit = g.random(n_post, dtype=np.float32) < p
        if not autapses:
            hit[i] = False
        targets.append(hit.nonzero()[0].astype(index_type(n_pre, n_post)))
        counts[i] = len(targets[-1])
    return from_rows(n_pre, n_post, np.concatenate(targets), np.concatenate([[0], counts.cumsum()]))


def by_fan_in(n_pre: int, n_post: int, k: int, autapses: bool, g: np.random.Generator) -> Wiring:
    """Each post unit has k different pre units."""
    allowed = n_pre - (not autapses)
    if isinstance(k, bool) or not (isinstance(k, int | np.integer) and 0 < k <= allowed):
        raise ValueError(f"fan_in: given {k}, it must be a whole number from 1 to {allowed}, the units there are")
    source = np.empty((n_post, k), index_type(n_pre, n_post))
    for j in range(n_post):
        source[j] = g.choice(allowed, k, replace=False)
    if not autapses:
        source += source >= np.arange(n_post)[:, None]
    post = np.repeat(np.arange(n_post), k)
    order = source.ravel().argsort(kind="stable")
    row = np.concatenate([[0], np.bincount(source.ravel(), minlength=n_pre).cumsum()])
    return from_rows(n_pre, n_post, post[order], row)


def explicit(matrix: Any, n_pre: int, n_post: int) -> Wiring:
    """scipy.sparse [post, pre]; its entries are the weights."""
    if not issparse(matrix):
        raise ValueError(f"matrix: given {type(matrix).__name__}, it must be a scipy.sparse array [post, pre]")
    if matrix.shape != (n_post, n_pre):
        raise ValueError(f"matrix: given the shape {list(matrix.shape)}, expected [post, pre] = [{n_post}, {n_pre}]")
    m = matrix.tocsc(copy=True)  # the caller's stays as it is
    m.sort_indices()
    return from_rows(n_pre, n_post, m.indices, m.indptr, m.data)
