"""Spike-timing rules are data: named exponential traces, and terms that multiply them at an event.

    dW = sum over terms and steps   f(w) * gain * (post-side factors) (x) (pre-side factors)

`stdp.py` and `homeostasis.py` hold the rules that are made of this. The same value is run three ways: here on tensors
[T, B, N] (dense or conv; w is that of the trial's start throughout), event by event in `engine/`, and printed as Brian2
equations by `brian.py`.

A term that names a `gate` does not act at once: it fills an eligibility of its own, e <- exp(-dt/tau_e) e + gain * factors,
and dW = sum_t gate[t] e[t] dt. No tensor of shape [B, post, pre] is made for it: filtering the eligibility forward in
time equals filtering the gate backward against the bare product.

Timing, obeyed everywhere: decays are exact, exp(-dt/tau); within a step, decay, then pre spikes, then post spikes; a trace
is read before its own bump; so a coincident pair potentiates. All times in ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurosim.plasticity import Record, Unsupported, column, outer, rank, units
from neurosim.rules.spike_sides import Part, Seen, Weighted, spanned, total
from neurosim.rules.trains import carried, check_trains, decay_of, varying
from neurosim.synapses import outer_at, outer_by_patches
from neurosim.traces import BLOCK, filtered, filtered_back, filtered_end, filtered_nearest, filtered_varying

Product = tuple[str, tuple[str, ...], "Power | None"]  # event, factors of the large side, f(w)


@dataclass(frozen=True)
class Trace:
    """dz/dt = -z / tau, z <- z + bump at a spike (or, `nearest`: z <- bump); z = start at first.

    of: "pre", "post", or a third factor (z then grows by bump times its value). It lasts from one trial to the next in
    every lane; `pooled`: the next trial starts in all lanes from the mean over this one's, whatever the batch's size.
    clock: a third factor that tau is multiplied by at each step, z <- z exp(-dt / (tau clock)).
    """

    of: str
    tau: float  # ms
    nearest: bool = False
    parameter: str = ""  # the name of tau, for modulators: "tau_plus"
    bump: float = 1.0
    start: float = 0.0
    pooled: bool = False
    clock: str | None = None

    def __post_init__(self) -> None:
        if not self.tau > 0:
            name = self.parameter or "tau"
            raise ValueError(f"{name}: given {self.tau}, a trace's time constant must be a positive number of ms")
        for name, value in (("bump", self.bump), ("start", self.start)):
            if not abs(value) < float("inf"):
                raise ValueError(f"{name}: given {value}, it must be a finite number")


@dataclass(frozen=True)
class Power:
    """f(w) = (w / w0)^mu, or ((w_max - w) / w0)^mu where w_max is given. A negative base counts as 0 (0^0 = 1)."""

    mu: float
    w0: float = 1.0
    w_max: float | None = None

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise ValueError(f"mu: given {self.mu}, the exponent of a weight must not be negative")
        if not self.w0 > 0:
            raise ValueError(f"w0: given {self.w0}, the unit of a weight must be positive")
        if self.w_max is not None and not self.w_max > 0:
            raise ValueError(f"w_max: given {self.w_max}, the largest weight must be positive")

    def __call__(self, w: Tensor) -> Tensor:
        base = w if self.w_max is None else self.w_max - w
        return (base / self.w0).clamp(min=0) ** self.mu


@dataclass(frozen=True)
class Term:
    """gain * factors[0] * factors[1] * ...: the first is the event ("pre" or "post"), the others name traces."""

    gain: float  # the sign is here: positive potentiates
    factors: tuple[str, ...]  # ("post", "r1", "o2")
    gate: str | None = None  # the modulator (or a trace of it) that turns eligibility into change; None = at once
    tau_e: float = 1000.0  # ms, of this term's eligibility
    parameter: str = ""  # the name of the amplitude, for modulators: "A3_plus"
    weight: Power | None = None  # f(w); None = additive
    scales: tuple[
        tuple[str, float], ...
    ] = ()  # other parameters that gain is proportional to, and their power, for modulators

    def __post_init__(self) -> None:
        if self.factors[:1] not in (("pre",), ("post",)):
            raise ValueError(f"factors: given {self.factors}, the first must be the event, 'pre' or 'post'")
        if not abs(self.gain) < float("inf"):
            raise ValueError(f"gain: given {self.gain}, it must be a finite number")
        if not self.tau_e > 0:
            raise ValueError(
                f"tau_e: given {self.tau_e}, an eligibility's time constant must be a positive number of ms"
            )


@dataclass(frozen=True)
class SpikeRule:
    """A spike-timing rule as data; pair, triplet, homeostatic and modulated STDP are values of it.

    Reads [T, B, N] trains of 0 and 1; needs Batch.dt. Eligibility left at the end of a trial is carried to the next for
    one lane (B = 1, dense); for more lanes it is W-shaped per lane: Unsupported, unless `forget` says that the trial's end
    clears all but pooled traces.
    """

    traces: Mapping[str, Trace]
    terms: tuple[Term, ...]
    forget: bool = False
    source: str = ""  # author, year, equations

    def __post_init__(self) -> None:
        if not (isinstance(self.terms, tuple) and all(isinstance(m, Term) for m in self.terms)):
            raise ValueError(f"terms: given {type(self.terms).__name__}, it must be a tuple of Term: (Term(...),)")

    @property
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
        self._check_told(rec, third)
        kept = {n: state[n] for n in state if not self.forget or (n in self.traces and self.traces[n].pooled)}
        z, T = self._start(rec, kept), len(rec.pre)
        told = {n: v.broadcast_to(T, *v.shape[v.dim() - rec.post.dim() + 1 :]) for n, v in third.items()}
        sides = {"pre": {"pre": rec.pre}, "post": {"post": rec.post, **told}}
        small, large = ("pre", "post") if rec.pre[0].numel() < rec.post[0].numel() else ("post", "pre")
        decays = {
            n: decay_of(t.parameter or n, t.tau, rec.dt)
            if t.clock is None
            else varying(rec, t.parameter or n, t.of, t.tau, told[t.clock])
            for n, t in self.traces.items()
        }
        read = {f for m in self.terms for f in (*m.factors, m.gate) if f != self._lone(m, large)}
        read |= {n for n, t in self.traces.items() if t.nearest or t.clock}
        dw: dict[Power | None, Tensor] = {None: torch.zeros_like(rec.weight)}  # by f(w)
        for s in self._spans(0, T, sides[small][small]):
            few = self._seen({n: x[s] for n, x in sides[small].items()}, z, spanned(decays, s), read)
            products, at_start = self._small_sides(few, small, large)
            for f, n, x in at_start:
                dw[f] = dw.get(f, 0) + outer_by_patches(rec, **{small: x, large: z[n]})
            for n in self.traces.keys() - read:  # nobody needs more of them in this trial
                x = self._bumps(n, (sides["pre"] | sides["post"])[self.traces[n].of][s])
                z[n] = filtered_end(x, decays[n], z.get(n, 0.0))
            for t in self._spans(s.start, s.stop, sides[large][large]):
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
        for i, m in enumerate(self.terms):
            if m.gate is not None:  # then the one span is the whole trial
                dw[None] = dw[None] + self._gated(rec, i, m, {small: few, large: many}, kept)
        lasting = {n: x.clone() for n, x in z.items() if self.traces[n].pooled or not self.forget}
        state.update(kept | {n: x.mean(0, keepdim=True) if self.traces[n].pooled else x for n, x in lasting.items()})
        return sum((f(rec.weight) * d for f, d in dw.items() if f), dw[None])

    def _check_told(self, rec: Record, third: Mapping[str, Tensor]) -> None:
        there = {"pre", "post", *self.traces, *third}
        of = (f for t in self.traces.values() for f in (t.of, t.clock))
        for f in (*(f for m in self.terms for f in (*m.factors, m.gate)), *of):
            if f is not None and f not in there:
                known = ", ".join(sorted(there))
                raise ValueError(
                    f"{rec.name}: the rule reads {f!r}, which is no trace of it and is not told; there is {known}"
                )

    # ------------------------------------------------------------------------------------------ traces
    def _start(self, rec: Record, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each trace before the first step, [B, *unit] or, of a third factor, whatever its shape is (absent)."""
        found = {}
        for name, t in self.traces.items():
            of = {"pre": rec.pre, "post": rec.post}.get(t.of)
            if of is None:
                found |= {name: kept[name]} if name in kept else {}
                continue
            z = kept.get(name, torch.full_like(of[0], t.start))
            found[name] = carried(rec, z, len(of[0]), "SpikeRule", t.pooled).expand_as(of[0])
        return found

    def _spans(self, start: int, stop: int, of: Tensor) -> Iterator[slice]:
        """Spans so short that what is worked on stays in the cache; the whole where a gate filters backward."""
        k = stop - start if any(m.gate for m in self.terms) else max(1, BLOCK // of[0].numel())
        for t in range(start, stop, k):
            yield slice(t, min(t + k, stop))

    def _seen(
        self, activity: Mapping[str, Tensor], z: dict[str, Tensor], decays: Mapping[str, float], read: set[str | None]
    ) -> Seen:
        """The traces of that activity that are read, over its span; z becomes their end."""
        paths = {}
        for n, t in self.traces.items():
            if t.of in activity and n in read:
                run = filtered_varying if t.clock else filtered_nearest if t.nearest else filtered
                paths[n] = run(
                    self._bumps(n, activity[t.of]), decays[n], z.get(n, 0.0), *((t.nearest,) if t.clock else ())
                )
                z[n] = paths[n][-1]
        return Seen(self.traces, activity, paths, decays)

    def _bumps(self, name: str, x: Tensor) -> Tensor:
        return x if self.traces[name].bump == 1 else x * self.traces[name].bump

    # ------------------------------------------------------------------------------------------ terms
    def _sides(self, m: Term) -> dict[str, tuple[str, ...]]:
        of = {f: self.traces[f].of if f in self.traces else f for f in m.factors}
        pre = tuple(f for f in m.factors if of[f] == "pre")
        return {"pre": pre, "post": tuple(f for f in m.factors if of[f] != "pre")}

    def _lone(self, m: Term, side: str) -> str | None:
        """The all-to-all trace that is all of that side of a term at once, if it is so."""
        names = self._sides(m)[side]
        t = self.traces.get(names[0]) if len(names) == 1 and m.gate is None else None
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
        for m in self.terms:
            if m.gate is None and m.gain:
                event, sides = m.factors[0], self._sides(m)
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
    def _gated(self, rec: Record, i: int, m: Term, seen: Mapping[str, Seen], kept: dict[str, Tensor]) -> Tensor:
        """sum_t M[t] e[t] = sum_t (M filtered backward)[t] product[t], and what an earlier trial left of e."""
        sides, event, gate, post = self._sides(m), m.factors[0], str(m.gate), seen["post"]
        (c, x), (d, y) = (seen[n].product(sides[n], event, of) for n, of in (("pre", rec.pre), ("post", rec.post)))
        y = m.gain * c * d * y
        a = decay_of("tau_e", m.tau_e, rec.dt)
        M = ((post.z[gate][1:] if gate in post.z else post.activity[gate]) * rec.dt).expand_as(rec.post)
        f = m.weight(rec.weight) if m.weight else 1.0
        dw = f * outer(rec, x, y * filtered_back(M, a)[:-1])
        if self.forget:
            return dw
        if rank(rec.synapse) > 1 or rec.pre.shape[1] > 1:
            raise Unsupported(
                f"{rec.name}: the eligibility left at a trial's end is weight-shaped per lane and is carried for one "
                "dense lane only; use B = 1, or SpikeRule(..., forget=True) if the trial's end clears it"
            )
        T, key = len(M), f"e{i}"
        age = a ** torch.arange(T, dtype=M.dtype, device=M.device).reshape(-1, *[1] * (M.dim() - 1))
        old = kept.get(key, torch.zeros_like(rec.weight))
        kept[key] = a**T * old + f * outer(rec, x, y * age.flip(0))
        return dw + column(rec, units(rec, M * age * a).sum(0)) * old
