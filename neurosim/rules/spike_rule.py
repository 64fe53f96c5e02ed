"""Spike-timing rules are data: named exponential traces, and terms that multiply them at an event.

    dW = sum over terms and steps   f(w) * gain * (post-side factors) (x) (pre-side factors)

`stdp.py` and `homeostasis.py` hold the rules that are made of this. The same value is run three ways: here on tensors
[T, B, N] (dense or conv; w is that of the trial's start throughout), event by event in `engine/`, and printed as Brian2
equations by `brian.py`.

A term that names a `gate` does not act at once: it fills an eligibility of its own, e <- exp(-dt/tau_e) e + gain * factors,
and dW = sum_t gate[t] e[t] dt. Within a trial no tensor of shape [B, post, pre] is made for it (`eligibility.py`): only what
is left of it at the end, and carried to the next trial, has that shape.

Timing, obeyed everywhere: decays are exact, exp(-dt/tau); within a step, decay, then pre spikes, then post spikes; a trace
is read before its own bump; so a coincident pair potentiates. All times in ms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from neurosim.plasticity import Record, Unsupported, rank
from neurosim.rules.eligibility import Factors, changed, grown, read, read_decaying
from neurosim.rules.spike_sides import Part, Seen, Weighted, end, path, spanned, total
from neurosim.rules.terms import Power, Term, Trace
from neurosim.rules.trains import carried, check_told, check_trains, decay_of, varying
from neurosim.synapses import outer_at, outer_by_patches
from neurosim.traces import BLOCK, filtered_back, filtered_nearest, filtered_varying

__all__ = ["Power", "SpikeRule", "Term", "Trace"]

Sides = Mapping[str, Mapping[str, Tensor]]  # activity by name, of "pre" and of "post"
Decays = Mapping[str, float | Tensor]
Product = tuple[str, tuple[str, ...], Power | None]  # event, factors of the large side, f(w)
# f(w), factors of pre, event, the trace that is all of pre: gains, and factors of post
Shared = Mapping[tuple[Power | None, tuple[str, ...], str, str | None], list[tuple[float, tuple[str, ...]]]]


@dataclass(frozen=True)
class SpikeRule:
    """A spike-timing rule as data; pair, triplet, homeostatic and modulated STDP are values of it.

    Reads [T, B, N] trains of 0 and 1; needs Batch.dt. Eligibility left at the end of a trial is carried to the next for
    one lane (B = 1, dense); for more lanes it is W-shaped per lane: Unsupported, unless `forget` says that the trial's end
    clears all but pooled traces, or `per_lane` that as much may be kept of a dense layer, [B, post, pre].
    """

    traces: Mapping[str, Trace]
    terms: tuple[Term, ...]
    forget: bool = False
    source: str = ""  # author, year, equations
    per_lane: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.terms, tuple) and all(isinstance(m, Term) for m in self.terms)):
            raise ValueError(f"terms: given {type(self.terms).__name__}, it must be a tuple of Term: (Term(...),)")
        for n, t in self.traces.items():
            if t.clock in self.traces:
                raise ValueError(f"clock: given {t.clock!r} for {n}, a trace; it must be a third factor")

    @cached_property
    def reads(self) -> frozenset[str]:
        named = {n for m in self.terms for n in (*m.factors, m.gate) if n and n not in self.traces}
        flags = {
            "future": self.forget,  # it waits for the trial's end, which clears all
            "weight": any(m.weight for m in self.terms),
            "batch": any(t.pooled for t in self.traces.values()),
        }
        clocks = {t.clock for t in self.traces.values() if t.clock}
        return frozenset(
            named | clocks | {t.of for t in self.traces.values()} | {k for k, true in flags.items() if true}
        )

    def scaled(self, factor: float) -> SpikeRule:
        """The same rule with every gain times a factor: a rate of learning."""
        return replace(self, terms=tuple(replace(m, gain=m.gain * factor) for m in self.terms))

    @torch.no_grad()
    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        check_trains(rec, self.reads)
        check_told(rec, self._told, third, self.traces)
        kept = {n: state[n] for n in state if not self.forget or (n in self.traces and self.traces[n].pooled)}
        z, T = self._start(rec, kept), rec.pre.shape[0]
        told = {n: v.broadcast_to(T, *v.shape[v.dim() - rec.post.dim() + 1 :]) for n, v in third.items()}
        sides = {"pre": {"pre": rec.pre}, "post": {"post": rec.post, **told}}
        decays = {
            n: decay_of(t.parameter or n, t.tau, rec.dt)
            if t.clock is None
            else varying(rec, t.parameter or n, t.of, t.tau, told[t.clock])
            for n, t in self.traces.items()
        }
        dw = []
        if self._eligibilities:
            ends = dict(z)
            seen = {side: self._seen(activity, ends, decays, self._paths) for side, activity in sides.items()}
            dw = [self._gated(rec, shared, seen, z, kept) for shared in self._eligibilities]
            self._end(sides, ends, decays, self.traces.keys() - self._paths)
        if self._at_once or not self._eligibilities:
            dw.append(self._ungated(rec, sides, z, decays))
        else:
            z = ends
        lasting = {n: x.clone() if T > 1 else x for n, x in z.items() if self.traces[n].pooled or not self.forget}
        state.update(kept | {n: x.mean(0, keepdim=True) if self.traces[n].pooled else x for n, x in lasting.items()})
        return reduce(add, dw)

    @cached_property
    def _told(self) -> tuple[str, ...]:
        """The third factors it reads."""
        of = (f for t in self.traces.values() for f in (t.of, t.clock))
        named = (*(f for m in self.terms for f in (*m.factors, m.gate)), *of)
        return tuple(dict.fromkeys(f for f in named if f not in (None, "pre", "post", *self.traces)))

    # ------------------------------------------------------------------------------------------ traces
    def _start(self, rec: Record, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each trace before the first step, [B, *unit] or, of a third factor, whatever its shape is (absent)."""
        found = {}
        for name, t in self.traces.items():
            of = {"pre": rec.pre, "post": rec.post}.get(t.of)
            if of is None:
                found |= {name: kept[name]} if name in kept else {}
                continue
            z = kept[name] if name in kept else torch.full_like(of[0], t.start)
            z = carried(rec, z, of.shape[1], "SpikeRule", t.pooled)
            found[name] = z.expand_as(of[0]) if t.pooled else z
        return found

    def _seen(
        self, activity: Mapping[str, Tensor], z: dict[str, Tensor], decays: Decays, read: Collection[str | None]
    ) -> Seen:
        """The traces of that activity that are read, over its span; z becomes their end."""
        paths = {}
        for n, t in self.traces.items():
            if t.of in activity and n in read:
                if t.nearest and not t.clock and t.of in ("pre", "post"):
                    paths[n] = filtered_nearest(activity[t.of], decays[n], z.get(n, 0.0), t.bump)
                else:
                    run = filtered_varying if t.clock else filtered_nearest if t.nearest else path
                    paths[n] = run(
                        self._bumps(n, activity[t.of]), decays[n], z.get(n, 0.0), *((t.nearest,) if t.clock else ())
                    )
                z[n] = paths[n][-1]
        return Seen(self.traces, activity, paths, decays)

    def _end(self, sides: Sides, z: dict[str, Tensor], decays: Decays, names: Collection[str]) -> None:
        """z becomes the end of those traces, of which nobody needs more in this trial."""
        for n in names:
            of = self.traces[n].of
            z[n] = end(self._bumps(n, sides["pre" if of == "pre" else "post"][of]), decays[n], z.get(n, 0.0))

    def _bumps(self, name: str, x: Tensor) -> Tensor:
        return x if self.traces[name].bump == 1 else x * self.traces[name].bump

    # ------------------------------------------------------------------------------------------ terms that act at once
    @cached_property
    def _at_once(self) -> tuple[Term, ...]:
        return tuple(m for m in self.terms if m.gate is None)

    def _ungated(self, rec: Record, sides: Sides, z: dict[str, Tensor], decays: Decays) -> Tensor:
        """dW of the terms without gate, span by span; z becomes the end of the traces."""
        small, large = ("pre", "post") if rec.pre.numel() < rec.post.numel() else ("post", "pre")
        read = {f for m in self._at_once for f in m.factors if f != self._lone(m, large)}
        read |= {n for n, t in self.traces.items() if t.nearest or t.clock}
        dw: dict[Power | None, Tensor] = {None: torch.zeros_like(rec.weight)}  # by f(w)
        for s in spans(0, len(rec.pre), sides[small][small]):
            few = self._seen({n: x[s] for n, x in sides[small].items()}, z, spanned(decays, s), read)
            products, at_start = self._small_sides(few, small, large)
            for f, n, x in at_start:
                dw[f] = dw.get(f, 0) + outer_by_patches(rec, **{small: x, large: z[n]})
            self._end(
                {side: {n: x[s] for n, x in some.items()} for side, some in sides.items()},
                z,
                decays,
                self.traces.keys() - read,
            )
            for t in spans(s.start, s.stop, sides[large][large]):
                many = self._seen({n: x[t] for n, x in sides[large].items()}, z, spanned(decays, t), read)
                spikes = sides[large][large][t]
                at_spikes = outer_at(rec, large, spikes) if any(large in names for _, names, _ in products) else None
                for (event, names, f), (gain, x) in products.items():
                    x, others = x[t.start - s.start : t.stop - s.start], tuple(n for n in names if n != large)
                    c, y = many.product(others, event, spikes) if others else (1.0, None)
                    if large in names:
                        d = at_spikes(x, y)
                    else:
                        d = outer_by_patches(rec, **{small: x, large: torch.ones_like(spikes) if y is None else y})
                    dw[f] = dw.get(f, 0) + gain * c * d
        return sum((f(rec.weight) * d for f, d in dw.items() if f), dw[None])

    def sides(self, m: Term) -> dict[str, tuple[str, ...]]:
        """A term's factors of pre, and the others: of post, and what is told."""
        of = {f: self.traces[f].of if f in self.traces else f for f in m.factors}
        pre = tuple(f for f in m.factors if of[f] == "pre")
        return {"pre": pre, "post": tuple(f for f in m.factors if of[f] != "pre")}

    def _lone(self, m: Term, side: str) -> str | None:
        """The all-to-all trace that is all of that side of a term at once, if it is so."""
        names = self.sides(m)[side]
        t = self.traces.get(names[0]) if len(names) == 1 else None
        return names[0] if t is not None and t.of == side and not t.nearest and not t.clock else None

    def _small_sides(
        self, seen: Seen, small: str, large: str
    ) -> tuple[dict[Product, Weighted], list[tuple[Power | None, str, Tensor]]]:
        """The small side of each product that is needed; and by trace, what meets what the trace starts from.

        Terms without gate that share event, the large side's factors and f(w) are one product. Where the large side is a
        trace alone, z[t] = a z[t-1] + s[t], the small side p is filtered backward instead, g[t] = p[t] + a g[t+1], and
        meets the spikes s, as those of other terms do:
            read after its bump     sum_t p[t] z[t]      =  a g[0] z[-1]  +  sum_t g[t] s[t]
            read before it          sum_t p[t] a z[t-1]  =  a g[0] z[-1]  +  sum_t a g[t+1] s[t]
        """
        parts: dict[Product, list[Part]] = {}
        lone: dict[Product, list[Part]] = {}
        for m in self._at_once:
            if m.gain:
                event, sides = m.factors[0], self.sides(m)
                c, x = seen.read(sides[small], event)
                group = lone if self._lone(m, large) else parts
                part = m.gain * c, x or [torch.ones_like(seen.activity[small])]
                group.setdefault((event, sides[large], m.weight), []).append(part)
        at_start = []
        for (event, (name,), f), some in lone.items():
            a, (gain, p) = seen.decays[name], total(some)
            g = filtered_back(p, a)
            c, met = (a, g[1:]) if seen.before(name, event) else (1.0, g[:-1])
            at_start.append((f, name, gain * a * g[0]))
            parts.setdefault((large, (large,), f), []).append((gain * c * self.traces[name].bump, [met]))
        return {key: total(some) for key, some in parts.items()}, at_start

    # ------------------------------------------------------------------------------------------ eligibility
    @cached_property
    def _eligibilities(self) -> Mapping[tuple[str, float], Shared]:
        """The terms of each, which share gate and tau_e; in it, those that share x and f(w)."""
        found: dict[tuple[str, float], dict] = {}
        for m in self.terms:
            if m.gate is not None:
                shared, sides = found.setdefault((m.gate, m.tau_e), {}), self.sides(m)
                key = m.weight, sides["pre"], m.factors[0], self._lone(m, "pre")
                if m.gain:
                    shared.setdefault(key, []).append((m.gain, sides["post"]))
        return {key: shared for key, shared in found.items() if shared}

    @cached_property
    def _paths(self) -> frozenset[str]:
        """Traces that gated terms need at every step, or that are no plain filter."""
        named = {f for m in self.terms if m.gate for f in (*m.factors, m.gate) if f != self._lone(m, "pre")}
        return frozenset(named | {n for n, t in self.traces.items() if t.nearest or t.clock})

    def _gated(
        self,
        rec: Record,
        shared: tuple[str, float],
        seen: Mapping[str, Seen],
        z: Mapping[str, Tensor],
        kept: dict[str, Tensor],
    ) -> Tensor:
        """dW of the terms that share an eligibility, and what an earlier trial left of it; see `eligibility.py`."""
        (gate, tau_e), post = shared, seen["post"]
        a, T, B = decay_of("tau_e", tau_e, rec.dt), *rec.pre.shape[:2]
        M = (post.z[gate][1:] if gate in post.z else post.activity[gate]) * rec.dt
        M = M.expand(T, B, *M.shape[2:]) if M.dim() == rec.post.dim() else M.expand_as(rec.post)
        products: dict[Power | None, list[Factors]] = {}
        for (f, names, event, lone), some in self._eligibilities[shared].items():
            c, y = post.total(some, event, rec.post)
            if lone:
                made = Factors(c * y, rec.pre, post.decays[lone], self.traces[lone].bump, z[lone])
            else:
                d, x = seen["pre"].product(names, event, rec.pre)
                made = Factors(c * d * y, x)
            products.setdefault(f, []).append(made)
        if self.forget:
            return changed(rec, products, M, a)
        if rank(rec.synapse) > 1 or (B > 1 and not self.per_lane):
            raise Unsupported(
                f"{rec.name}: the eligibility left at a trial's end is weight-shaped per lane and is carried for one "
                "dense lane only; use B = 1, or SpikeRule(..., forget=True) if the trial's end clears it, or, dense, "
                "SpikeRule(..., per_lane=True), which keeps [B, post, pre]"
            )
        key = f"e_{gate}_{tau_e:g}"
        old = carried(rec, kept[key], B, "SpikeRule", False) if key in kept else None
        kept[key] = grown(rec, products, old, a)
        if T == 1:
            return read(kept[key], M[0])
        dw = changed(rec, products, M, a)
        return dw if old is None else dw + read_decaying(old, M, a)


def spans(start: int, stop: int, of: Tensor) -> Iterator[slice]:
    """Spans of steps so short that what is worked on stays in the cache."""
    k = max(1, BLOCK // of[0].numel())
    for t in range(start, stop, k):
        yield slice(t, min(t + k, stop))
