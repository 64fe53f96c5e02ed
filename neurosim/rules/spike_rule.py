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

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurosim.neurons import decay
from neurosim.plasticity import Record, Unsupported, column, outer, rank, units
from neurosim.traces import backward_trace, nearest_trace, trace

BLOCK = 1 << 19  # numbers of a layer's activity that are worked on at once: they fit in the cache


@dataclass(frozen=True)
class Trace:
    """dz/dt = -z / tau, z <- z + bump at a spike (or, `nearest`: z <- bump); z = start at first.

    of: "pre", "post", or a third factor (z then grows by bump times its value). It lasts from one trial to the next in
    every lane; `pooled`: the next trial starts in all lanes from the mean over this one's, whatever the batch's size.
    """

    of: str
    tau: float  # ms
    nearest: bool = False
    parameter: str = ""  # the name of tau, for modulators: "tau_plus"
    bump: float = 1.0
    start: float = 0.0
    pooled: bool = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            name = self.parameter or "tau"
            raise ValueError(f"{name}: given {self.tau}, a trace's time constant must be a positive number of ms")


@dataclass(frozen=True)
class Power:
    """f(w) = (w / w0)^mu, or ((w_max - w) / w0)^mu where w_max is given; 0 where the base is negative."""

    mu: float
    w0: float = 1.0
    w_max: float | None = None

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise ValueError(f"mu: given {self.mu}, the exponent of a weight must not be negative")
        if not self.w0 > 0:
            raise ValueError(f"w0: given {self.w0}, the unit of a weight must be positive")

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

    def __post_init__(self) -> None:
        if self.factors[:1] not in (("pre",), ("post",)):
            raise ValueError(f"factors: given {self.factors}, the first must be the event, 'pre' or 'post'")
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

    @property
    def reads(self) -> frozenset[str]:
        named = {n for m in self.terms for n in (*m.factors, m.gate) if n and n not in self.traces}
        flags = {
            "future": self.forget,  # it waits for the trial's end, which clears all
            "weight": any(m.weight for m in self.terms),
            "batch": any(t.pooled for t in self.traces.values()),
        }
        return frozenset(named | {t.of for t in self.traces.values()} | {k for k, true in flags.items() if true})

    def scaled(self, factor: float) -> SpikeRule:
        """The same rule with every gain times a factor: a rate of learning."""
        return replace(self, terms=tuple(replace(m, gain=m.gain * factor) for m in self.terms))

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        check_trains(rec, self.reads)
        kept = {n: state[n] for n in state if not self.forget or (n in self.traces and self.traces[n].pooled)}
        z = self._start(rec, kept)
        dw = torch.zeros_like(rec.weight)
        for seen in self._blocks(rec, third):
            after, before = self._run_traces(rec, seen, z)
            for (_, _, weight), (pre, post) in self._products(seen, after, before).items():
                product = outer(rec, pre, post)
                dw = dw + (weight(rec.weight) * product if weight else product)
            for i, m in enumerate(self.terms):
                if m.gate is not None:
                    dw = dw + self._gated(rec, i, m, seen, after, before, kept)
        lasting = {n: x for n, x in z.items() if self.traces[n].pooled or not self.forget}
        state.update(kept | {n: x.mean(0, keepdim=True) if self.traces[n].pooled else x for n, x in lasting.items()})
        return dw

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
            if len(z) not in (1, len(of[0])):
                raise ValueError(
                    f"{rec.name}: a trace left by {len(z)} lanes cannot start {len(of[0])}: keep the batch's size, or "
                    "use SpikeRule(..., forget=True) if the trial's end clears it"
                )
            found[name] = z.expand_as(of[0])
        return found

    def _blocks(self, rec: Record, third: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Spans of the trial, so that what is worked on stays in the cache; the whole where a gate filters backward."""
        T = len(rec.pre)
        most = max(rec.pre[0].numel(), rec.post[0].numel())
        k = T if any(m.gate for m in self.terms) else max(1, min(T, BLOCK // most))
        told = {n: v.broadcast_to(T, *v.shape[v.dim() - rec.post.dim() + 1 :]) for n, v in third.items()}
        for t in range(0, T, k):
            yield {"pre": rec.pre[t : t + k], "post": rec.post[t : t + k], **{n: v[t : t + k] for n, v in told.items()}}

    def _run_traces(
        self, rec: Record, seen: Mapping[str, Tensor], z: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every trace over a span, after and before its bump; z becomes its end."""
        after, before = {}, {}
        for name, t in self.traces.items():
            if rec.dt is not None and t.tau < rec.dt:
                raise ValueError(
                    f"{t.parameter or name}: given {t.tau} ms, less than the step dt = {rec.dt} ms: times are in ms"
                )
            run = nearest_trace if t.nearest else trace
            after[name], before[name] = run(seen[t.of] * t.bump, decay(t.tau, rec.dt), z.get(name))
            z[name] = after[name][-1]
        return after, before

    # ------------------------------------------------------------------------------------------ terms
    def _products(
        self, seen: Mapping[str, Tensor], after: Mapping[str, Tensor], before: Mapping[str, Tensor]
    ) -> dict[tuple[str, tuple[str, ...], Power | None], tuple[Tensor, Tensor]]:
        """(pre, post) for each product that is needed: terms without gate that share the other side's factor are one.

        At post spikes the pre side is shared (r1 of A2_plus and A3_plus), at pre spikes the post side.
        """
        found: dict[tuple[str, tuple[str, ...], Power | None], tuple[Tensor, Tensor]] = {}
        for m in self.terms:
            if m.gate is not None:
                continue
            event = m.factors[0]
            sides = self._sides(m)
            shared = sides["pre" if event == "post" else "post"]
            key = event, shared, m.weight
            pre, post = (self._factor(sides[s], s, event, seen, after, before) for s in ("pre", "post"))
            if key in found:
                pre, post = (found[key][0], found[key][1] + m.gain * post) if event == "post" else (
                    found[key][0] + m.gain * pre, found[key][1]
                )  # fmt: skip
            else:
                pre, post = (pre, m.gain * post) if event == "post" else (m.gain * pre, post)
            found[key] = pre, post
        return found

    def _sides(self, m: Term) -> dict[str, tuple[str, ...]]:
        of = {f: self.traces[f].of if f in self.traces else f for f in m.factors}
        pre = tuple(f for f in m.factors if of[f] == "pre")
        return {"pre": pre, "post": tuple(f for f in m.factors if of[f] != "pre")}

    def _factor(
        self,
        names: tuple[str, ...],
        side: str,
        event: str,
        seen: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        before: Mapping[str, Tensor],
    ) -> Tensor:
        """The product of one side's factors; ones where there are none."""
        product: Tensor | None = None
        for f in names:
            of = self.traces[f].of if f in self.traces else f
            if f not in self.traces:
                v = seen[f]
            elif of in ("pre", "post") and not (of == "pre" and event == "post"):
                v = before[f]  # own bump not yet seen; at a pre spike the post spikes of this step are still to come
            else:
                v = after[f]
            product = v if product is None else product * v
        return torch.ones_like(seen[side]) if product is None else product.expand_as(seen[side])

    # ------------------------------------------------------------------------------------------ eligibility
    def _gated(
        self,
        rec: Record,
        i: int,
        m: Term,
        seen: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        before: Mapping[str, Tensor],
        kept: dict[str, Tensor],
    ) -> Tensor:
        """sum_t M[t] e[t] = sum_t (M filtered backward)[t] product[t], and what an earlier trial left of e."""
        sides, event, gate = self._sides(m), m.factors[0], str(m.gate)
        pre = self._factor(sides["pre"], "pre", event, seen, after, before)
        post = m.gain * self._factor(sides["post"], "post", event, seen, after, before)
        a = decay(m.tau_e, rec.dt)
        M = ((after[gate] if gate in after else seen[gate]) * rec.dt).expand_as(rec.post)
        dw = outer(rec, pre, post * backward_trace(M, a))
        f = m.weight(rec.weight) if m.weight else 1.0
        if self.forget:
            return f * dw
        if rank(rec.synapse) > 1 or rec.pre.shape[1] > 1:
            raise Unsupported(
                f"{rec.name}: the eligibility left at a trial's end is weight-shaped per lane and is carried for one "
                "dense lane only; use B = 1, or SpikeRule(..., forget=True) if the trial's end clears it"
            )
        T, key = len(M), f"e{i}"
        age = a ** torch.arange(T, dtype=M.dtype, device=M.device).reshape(-1, *[1] * (M.dim() - 1))
        old = kept.get(key, torch.zeros_like(rec.weight))
        kept[key] = a**T * old + f * outer(rec, pre, post * age.flip(0))
        return f * dw + column(rec, units(rec, M * age * a).sum(0)) * old


def check_trains(rec: Record, reads: Collection[str]) -> None:
    """ValueError unless pre and post are trains [T, B, *unit], of 0 and 1 where they are read.

    Values are looked at on the CPU alone: a GPU would have to wait for the answer.
    """
    r = rank(rec.synapse)
    axes = "[T, B, N]" if r == 1 else "[T, B, *unit]"
    for name, x in (("pre", rec.pre), ("post", rec.post)):
        if x.dim() != r + 2:
            raise ValueError(
                f"{rec.name}: {name} has the shape {list(x.shape)}, expected {axes}: use Batch(time=True, dt=...)"
            )
        if name in reads and x.device.type == "cpu" and not is_train(x):
            raise ValueError(f"{rec.name}: {name} is no train of spikes, it holds other numbers than 0 and 1")
    if rec.pre.shape[:2] != rec.post.shape[:2]:
        raise ValueError(
            f"{rec.name}: pre {list(rec.pre.shape)} and post {list(rec.post.shape)} differ in T or B, expected {axes}"
        )


def is_train(x: Tensor) -> bool:
    """Is every number 0 or 1?"""
    return bool(((x == 0) | (x == 1)).all())
