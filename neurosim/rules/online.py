"""A spike rule step by step, its weights changed at each: for a loop in which the reward is known as one goes.

    online = Online(rule, weight, dt=1.0, lanes=B)   # weight [post, pre]
    for ...:
        online.step(pre, post, {"reward": R})        # pre [B, pre], post [B, post], R [B, 1] or [B, post]

is w <- w + rule.update(one step) at each step, within bounds (`tests/test_online.py`); but weights, traces and eligibility are
buffers that are changed in place, what a step does is laid out once, and trains are not looked at: they must be of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite, prod
from operator import mul

import torch
from torch import Tensor

from neurosim.plasticity import Unsupported
from neurosim.rules.eligibility import read
from neurosim.rules.spike_rule import SpikeRule
from neurosim.rules.spike_sides import before
from neurosim.rules.terms import Power
from neurosim.rules.trains import decay_of

Part = tuple[Tensor, list[tuple[float, Sequence[str]]]]  # where to put a sum of gain * factors


@dataclass(frozen=True)
class Products:
    """P = sum over its terms of (post side) (x) (pre side), a matmul of Y [B, post, terms] and X [B, terms, pre].

    Without gate w <- w + f(w) sum_b P; with it e <- a e + f(w) P, w <- w + sum_b M e dt.
    """

    Y: Tensor
    X: Tensor
    e: Tensor | None  # [B, post, pre]
    a: float  # 1 where another of these has let e decay
    weight: Power | None


class Online:
    """A dense layer under a rule, B lanes; dW is summed over lanes. Times in ms.

    weight [post, pre] is changed in place. `traces`: {name: [B, unit]}, `eligibility`: {(gate, tau_e): [B, post, pre]}, views.
    Trains are of 0 and 1; what third factors and weights a rule reads is as for `SpikeRule`. ValueError for a shape that does
    not fit and for what is not told; Unsupported for traces that are pooled or whose time constant varies, and for `forget`.
    """

    def __init__(
        self,
        rule: SpikeRule,
        weight: Tensor,
        dt: float,
        lanes: int = 1,
        w_min: float = -float("inf"),
        w_max: float = float("inf"),
    ) -> None:
        for n, t in rule.traces.items():
            if t.pooled or t.clock:
                what = "is pooled over a batch" if t.pooled else "has a time constant that varies"
                raise Unsupported(f"rule: {n} {what}, which `Online` does not run; use rule.update")
        if rule.forget:
            raise Unsupported(
                "rule: its `forget` clears all at a trial's end, which `Online` does not know; use rule.update"
            )
        if weight.dim() != 2 or not weight.is_contiguous():
            what = list(weight.shape) if weight.dim() != 2 else "a view that is not contiguous"
            raise ValueError(f"weight: given {what}, expected a tensor [post, pre]")
        if lanes < 1:
            raise ValueError(f"lanes: given {lanes}, at least 1")
        if not w_min <= w_max:
            raise ValueError(f"w_min: given {w_min}, above w_max = {w_max}")
        if weight.numel() and not w_min <= float(weight.min()) <= float(weight.max()) <= w_max:
            raise ValueError(
                f"weight: given {float(weight.min()):g} to {float(weight.max()):g}, it must lie within w_min = {w_min} and "
                f"w_max = {w_max}"
            )
        self.rule, self.weight, self.dt, self.lanes, self.bounds = rule, weight, dt, lanes, (w_min, w_max)
        self._bounded = isfinite(w_min) or isfinite(w_max)
        self.units = {"pre": weight.shape[1], "post": weight.shape[0]}
        new = lambda *shape: torch.zeros(lanes, *shape, dtype=weight.dtype, device=weight.device)  # noqa: E731
        self.traces = {n: new(self.units.get(t.of, weight.shape[0])).fill_(t.start) for n, t in rule.traces.items()}
        self._decays = {n: decay_of(t.parameter or n, t.tau, dt) for n, t in rule.traces.items()}
        self._of: dict[str, list[tuple[str, str]]] = {"pre": [], "post": [], "told": []}
        for n, t in rule.traces.items():
            self._of[t.of if t.of in self.units else "told"].append((n, t.of))
        self.eligibility: dict[tuple[str, float], Tensor] = {}
        self._products: list[Products] = []
        self._parts: dict[str, list[Part]] = {"pre": [], "post": []}  # by event
        for (gate, tau_e, f), some in self._shared().items():
            a, key, flat = 1.0, (gate, tau_e), lanes == 1 and gate is not None  # one lane: matrices, which is faster
            if gate is not None and key not in self.eligibility:
                self.eligibility[key], a = new(*weight.shape), decay_of("tau_e", tau_e, dt)
            Y, X = new(len(some), weight.shape[0]), new(len(some), weight.shape[1])
            sides = [x[0] if flat else x for x in (Y.transpose(-2, -1), X, self.eligibility.get(key, Y))]
            self._products.append(Products(sides[0], sides[1], None if gate is None else sides[2], a, f))
            for k, ((event, of_pre), of_post) in enumerate(some.items()):
                self._parts[event].append((X[:, k], [(1.0, of_pre)]))
                scaled = [(gain * self._decayed(event, (*of_pre, *names)), names) for gain, names in of_post]
                self._parts[event].append((Y[:, k], scaled))
        self._gates = [  # and how each is added to w
            (gate, e, e[0] if lanes == 1 else e.view(lanes, -1).T) for (gate, _), e in self.eligibility.items()
        ]
        self._now = dict(self.traces)  # factors by name
        self._needed = sorted(rule.reads - {"pre", "post", "weight", "future"})

    def _decayed(self, event: str, names: Sequence[str]) -> float:
        """What the traces that are read before their bump have decayed by."""
        traces = self.rule.traces
        return prod(self._decays[n] for n in names if n in traces and before(traces[n].of, event))

    def _shared(self) -> dict[tuple, dict[tuple, list[tuple[float, tuple[str, ...]]]]]:
        """(gate, tau_e, f(w)): (event, factors of pre): gains, and factors of post."""
        found: dict[tuple, dict] = {}
        for m in self.rule.terms:
            sides = self.rule.sides(m)
            some = found.setdefault((m.gate, m.tau_e if m.gate else 0.0, m.weight), {})
            some.setdefault((m.factors[0], sides["pre"]), []).append((m.gain, sides["post"]))
        return found

    @torch.no_grad()
    def step(self, pre: Tensor, post: Tensor, told: Mapping[str, Tensor] = {}) -> None:
        """One step of dt: pre [B, pre], post [B, post] of 0 and 1, told {name: [B, 1] or [B, post]}."""
        self._check(pre, post, told)
        now = self._now  # a trace that is read before its bump is that of the last step, its decay is in the gain
        now.update(told, pre=pre, post=post)
        for n, of in self._of["told"]:
            self._move(n, told[of])
        for into, parts in self._parts["pre"]:
            put(into, parts, now)
        for n, _ in self._of["pre"]:
            self._move(n, pre)
        for into, parts in self._parts["post"]:
            put(into, parts, now)
        self._change(told)
        for n, _ in self._of["post"]:
            self._move(n, post)

    def _move(self, name: str, x: Tensor) -> None:
        """z <- a z + bump x."""
        t, z = self.rule.traces[name], self.traces[name]
        if t.nearest:
            torch.where(x > 0, t.bump * x, self._decays[name] * z, out=z)
        elif t.bump == 1 and x.shape == z.shape:
            torch.add(x, z, alpha=self._decays[name], out=z)
        else:
            z.mul_(self._decays[name]).add_(x, alpha=t.bump)

    def _change(self, told: Mapping[str, Tensor]) -> None:
        w, at_once = self.weight, []
        for p in self._products:
            if p.e is None:
                P = p.Y.transpose(0, 1).flatten(1) @ p.X.flatten(0, 1)  # over lanes and terms
                at_once.append(P if p.weight is None else p.weight(w) * P)
            elif p.weight is not None:
                p.e.mul_(p.a).add_(p.weight(w) * (p.Y @ p.X))
            elif p.e.dim() == 2:
                p.e.addmm_(p.Y, p.X, beta=p.a)
            else:
                p.e.baddbmm_(p.Y, p.X, beta=p.a)
        for gate, e, flat in self._gates:
            M = self.traces[gate] if gate in self.traces else told[gate]
            if self.lanes == 1 and M.numel() == 1 and M.device.type == "cpu":  # a GPU would have to wait
                w.add_(flat, alpha=M.item() * self.dt)
            elif self.lanes == 1:
                w.addcmul_(flat, M.T, value=self.dt)
            elif M.shape[1] == 1:
                w.view(-1).addmv_(flat, M[:, 0], alpha=self.dt)
            else:
                w.add_(read(e, M), alpha=self.dt)
        for P in at_once:
            w.add_(P)
        if self._bounded:
            w.clamp_(*self.bounds)

    def _check(self, pre: Tensor, post: Tensor, told: Mapping[str, Tensor]) -> None:
        for name, x in (("pre", pre), ("post", post)):
            if x.shape != (self.lanes, self.units[name]) or x.dtype != self.weight.dtype:
                raise ValueError(
                    f"{name}: given {list(x.shape)} of {x.dtype}, expected {[self.lanes, self.units[name]]} of "
                    f"{self.weight.dtype}"
                )
        for n in self._needed:
            if n not in told:
                raise ValueError(f"told: {n!r}, which the rule reads, is not among {sorted(told)}")
            if told[n].shape not in ((self.lanes, 1), (self.lanes, self.units["post"])):
                raise ValueError(
                    f"{n}: given the shape {list(told[n].shape)}, expected [{self.lanes}, 1] or "
                    f"{[self.lanes, self.units['post']]}"
                )


def put(into: Tensor, parts: Sequence[tuple[float, Sequence[str]]], now: Mapping[str, Tensor]) -> None:
    """into <- the sum of gain * factors."""
    (gain, names), *rest = parts
    x = reduce(mul, [now[n] for n in names]) if names else None
    if x is None:
        into.fill_(gain)
    elif gain == 1:
        into.copy_(x)
    else:
        into.zero_().add_(x, alpha=gain)
    for gain, names in rest:
        into.add_(reduce(mul, [now[n] for n in names]) if names else 1.0, alpha=gain)
