"""Spike-timing rules are data: named exponential traces, and terms that multiply them at an event.

    dW = sum over terms and steps   gain * (post-side factors) (x) (pre-side factors)

A term that names a `gate` does not act at once: it fills an eligibility of its own, e <- exp(-dt/tau_e) e + gain * factors,
and dW = sum_t gate[t] e[t] dt. No tensor of shape [B, post, pre] is made for it: filtering the eligibility forward in
time equals filtering the gate backward against the bare product.

Timing, obeyed everywhere: within a step, decay, then pre spikes, then post spikes; a trace is read before its own bump;
so a coincident pair potentiates. All times in ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.neurons import decay
from neurosim.plasticity import Record, Unsupported, column, outer, rank, units
from neurosim.traces import backward_trace, nearest_trace, trace


@dataclass(frozen=True)
class Trace:
    """z <- exp(-dt/tau) z, and + the spike (or, `nearest`: set to it). `of`: "pre", "post", or a third factor."""

    of: str
    tau: float  # ms
    nearest: bool = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise ValueError(f"tau: given {self.tau}, a trace's time constant must be a positive number of ms")


@dataclass(frozen=True)
class Term:
    """gain * factors[0] * factors[1] * ...: the first is the event ("pre" or "post"), the others name traces."""

    gain: float  # the sign is here: positive potentiates
    factors: tuple[str, ...]  # ("post", "r1", "o2")
    gate: str | None = None  # the modulator (or a trace of it) that turns eligibility into change; None = at once
    tau_e: float = 1000.0  # ms, of this term's eligibility

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

    Reads [T, B, ...] spikes; needs Batch.dt. Eligibility left at the end of a trial is carried to the next for one lane
    (B = 1, dense); for more lanes it is W-shaped per lane: Unsupported, unless `forget` says that the trial's end clears all.
    """

    traces: Mapping[str, Trace]
    terms: tuple[Term, ...]
    forget: bool = False

    @property
    def reads(self) -> frozenset[str]:
        named = {n for m in self.terms for n in (*m.factors, m.gate) if n and n not in self.traces}
        waits = {"future"} if self.forget else set()  # for the trial's end, which clears all
        return frozenset(named | {t.of for t in self.traces.values()} | waits)

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        state = {} if self.forget else state
        seen = {"pre": rec.pre, "post": rec.post, **third}
        after, before = self._run_traces(rec, seen, state)
        dw = torch.zeros_like(rec.weight)
        for i, m in enumerate(self.terms):
            pre, post = self._product(rec, m, seen, after, before)
            if m.gate is None:
                dw = dw + outer(rec, pre, post)
                continue
            a = decay(m.tau_e, rec.dt)
            M = ((after[m.gate] if m.gate in after else seen[m.gate]) * rec.dt).expand_as(rec.post)
            dw = dw + outer(rec, pre, post * backward_trace(M, a))  # sum_t M e = sum_t (M filtered backward) product
            dw = dw + self._carried(rec, f"e{i}", pre, post, M, a, state)
        return dw

    def _run_traces(
        self, rec: Record, seen: Mapping[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        after, before = {}, {}
        for name, t in self.traces.items():
            run = nearest_trace if t.nearest else trace
            after[name], before[name] = run(seen[t.of], decay(t.tau, rec.dt), state.get(name))
        state.update({name: z[-1] for name, z in after.items()})
        return after, before

    def _product(
        self, rec: Record, m: Term, seen: Mapping[str, Tensor], after: dict[str, Tensor], before: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        event = m.factors[0]
        pre, post = torch.ones_like(rec.pre), torch.ones_like(rec.post) * m.gain
        for f in m.factors:
            of = self.traces[f].of if f in self.traces else f
            if f not in self.traces:
                v = seen[f]
            elif of in ("pre", "post") and not (of == "pre" and event == "post"):
                v = before[f]  # own bump not yet seen; at a pre spike the post spikes of this step are still to come
            else:
                v = after[f]
            pre, post = (pre * v, post) if of == "pre" else (pre, post * v)
        return pre, post

    def _carried(
        self, rec: Record, key: str, pre: Tensor, post: Tensor, M: Tensor, a: float, state: dict[str, Tensor]
    ) -> Tensor | float:
        # eligibility left over from the last trial, and for the next one
        if self.forget:
            return 0.0
        if rank(rec.synapse) > 1 or rec.pre.shape[1] > 1:
            raise Unsupported(
                f"{rec.name}: the eligibility left at a trial's end is weight-shaped per lane and is carried for one "
                "dense lane only; use B = 1, or SpikeRule(..., forget=True) if the trial's end clears it"
            )
        T = len(M)
        age = a ** torch.arange(T, dtype=M.dtype, device=M.device).reshape(-1, *[1] * (M.dim() - 1))
        old = state.get(key, torch.zeros_like(rec.weight))
        state[key] = a**T * old + outer(rec, pre, post * age.flip(0))
        return column(rec, units(rec, M * age * a).sum(0)) * old


def pair(
    A_plus: float = 0.01,
    A_minus: float = 0.0105,
    tau_plus: float = 20.0,
    tau_minus: float = 20.0,
    nearest: bool = False,
) -> SpikeRule:
    """dw = A_plus exp(-dt/tau_plus) for post after pre, -A_minus exp(dt/tau_minus) for pre after post.

    All-to-all, or `nearest` spikes only. Times in ms. Source: Song, Miller & Abbott 2000, Nat Neurosci 3:919.
    """
    return SpikeRule(
        {"r1": Trace("pre", tau_plus, nearest), "o1": Trace("post", tau_minus, nearest)},
        (Term(A_plus, ("post", "r1")), Term(-A_minus, ("pre", "o1"))),
    )
