"""Rules as tables: rows of what decays, groups of terms, what a spike bumps, eligibility and signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosim.engine import arrays, rules
from neurosim.engine.arrays import Array
from neurosim.neurons import decay

if TYPE_CHECKING:
    from neurosim.engine.network import Network, Projection


class Table:
    """Lists that become arrays; spans remember where each owner's part begins and ends."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def span(self, new: Sequence[Any]) -> tuple[int, int]:
        self.items.extend(new)
        return len(self.items) - len(new), len(self.items)


class Rows:
    """Rows of `z`: what decays."""

    def __init__(self) -> None:
        self.size: list[int] = []
        self.rate: list[float] = []  # 1/tau, 0 for what lasts one step
        self.factor: list[float] = []
        self.start: list[float] = []

    def add(self, size: int, rate: float, factor: float = 1.0, start: float = 0.0) -> int:
        self.size.append(size)
        self.rate.append(rate)
        self.factor.append(factor)
        self.start.append(start)
        return len(self.size) - 1


def powers(rates: Sequence[float], dt: float, rebase: int, dtype: Any) -> tuple[Array, Array]:
    """exp(+-k dt rate), k = 0 .. rebase."""
    x = np.outer(np.asarray(rates, np.float64), np.arange(rebase + 1) * dt).reshape(len(rates), rebase + 1)
    return np.exp(x).astype(dtype), np.exp(-x).astype(dtype)


class Tables:
    """Rules of all projections, as they are collected."""

    def __init__(self) -> None:
        self.groups: list[Any] = []
        self.group: dict[str, list[Any]] = {n: [] for n in ("far", "power", "mu", "w0", "w_max", "eligible", "terms")}
        self.gain, self.near, self.near_row = Table(), [], Table()
        self.bumps, self.bump = [], Table()
        self.products, self.product, self.parts, self.part = [], Table(), [], Table()
        self.eligible: list[tuple[Projection, str]] = []
        self.taus: list[float] = []
        self.signals: dict[str, tuple[int, float, float]] = {}  # of, decay, bump
        self.most = 1

    def filled(self, F: Any, decays: arrays.Decays) -> arrays.Plasticity:
        i, f = (lambda a: np.array(a, np.int64)), (lambda a: np.array(a, F))
        pairs = lambda a: np.array(a, np.int64).reshape(-1, 2)  # noqa: E731
        events = lambda a: np.array(a, np.int64).reshape(-1, 2, 2)  # noqa: E731
        g = self.group
        return arrays.Plasticity(
            events(self.groups), i(g["far"]), i(g["power"]), f(g["mu"]), f(g["w0"]), f(g["w_max"]), i(g["eligible"]),
            pairs(g["terms"]), f(self.gain.items), pairs(self.near), i(self.near_row.items), events(self.bumps),
            i([b[0] for b in self.bump.items]), f([b[1] for b in self.bump.items]),
            np.array([b[2] for b in self.bump.items], bool), events(self.products), i(self.product.items),
            pairs(self.parts), i(self.part.items),
        )  # fmt: skip

    def gates(self, net: Network, dt: float, rebase: int, F: Any) -> arrays.Gates:
        sizes = [q.wiring.size for q, _ in self.eligible]
        at = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        up, down = powers([1 / t for t in self.taus], dt, rebase, F)
        names = list(self.signals)
        of, kept, grown = (np.array([s[k] for s in self.signals.values()]) for k in range(3))
        return arrays.Gates(
            np.array([q.index for q, _ in self.eligible], np.int64), at[:-1], np.array(sizes, np.int64),
            np.array([names.index(n) for _, n in self.eligible], np.int64), up, down, np.zeros(int(at[-1]), F),
            np.zeros(len(names), F), of.astype(np.int64), kept.astype(F), grown.astype(F),
        )  # fmt: skip


def plasticity(net: Network, rows: Rows, found: dict[Any, int]) -> Tables:
    t = Tables()
    for q in net.projections:
        if q.rule is None:
            for spans in (t.groups, t.bumps, t.products):
                spans.append([[0, 0], [0, 0]])
            continue
        c, size = rules.compiled(q.rule), (q.pre.n, q.post.n)
        for n in c.signals:
            z = q.rule.traces.get(n)
            own = (-1, 1.0, 0.0) if z is None else (list(t.signals).index(z.of), decay(z.tau, net.dt), z.bump)
            t.signals.setdefault(n, own)
        for e in range(2):
            for n in c.traces[e]:
                z = q.rule.traces[n]
                found[q.index, n] = rows.add(size[e], 1 / z.tau, start=z.start)  # a first step decays it, as on tensors
            for names in c.products[e]:
                rate = sum(1 / q.rule.traces[n].tau for n in names)
                first = math.prod(q.rule.traces[n].start for n in names)
                found[q.index, names] = rows.add(size[e], rate, start=first)
        own_bumps, own_products, own_groups = [], [], []
        for e in range(2):
            own_bumps.append(t.bump.span([
                (found[q.index, n], q.rule.traces[n].bump, q.rule.traces[n].nearest) for n in c.traces[e]
            ]))  # fmt: skip
            own_products.append(t.product.span([found[q.index, names] for names in c.products[e]]))
            t.parts += [t.part.span([found[q.index, n] for n in names]) for names in c.products[e]]
            own_groups.append((len(t.group["far"]), len(t.group["far"]) + len(c.groups[e])))
            t.most = max(t.most, len(c.groups[e]))
            for g in c.groups[e]:
                add_group(t, q, g, found)
        t.groups.append(own_groups)
        t.bumps.append(own_bumps)
        t.products.append(own_products)
    return t


def add_group(t: Tables, q: Projection, g: rules.Group, found: dict[Any, int]) -> None:
    far = -1 if not g.far else found[q.index, g.far if len(g.far) > 1 else g.far[0]]
    f = g.weight
    power = 0 if f is None else 1 if f.w_max is None else 2
    eligible = -1
    if g.gate is not None:
        eligible = len(t.eligible)
        t.eligible.append((q, g.gate))
        t.taus.append(g.tau_e)
    first = len(t.gain.items)
    for gain, near in g.terms:
        t.gain.span([gain])
        t.near.append(t.near_row.span([found[q.index, n] for n in near]))
    values = (far, power, f.mu if f else 1.0, f.w0 if f else 1.0, (f.w_max or 0.0) if f else 0.0, eligible)
    for name, value in zip(("far", "power", "mu", "w0", "w_max", "eligible"), values, strict=True):
        t.group[name].append(value)
    t.group["terms"].append((first, len(t.gain.items)))
