"""Stimulation protocols: trains of one pre and one post neuron in each lane, and what a rule makes of them.

    trains = together([pairs(10.0), pairs(-10.0)])         # two synapses, one protocol each
    changes(rule, trains)                                  # [2], the change of each synapse's weight

Delta t = t_post - t_pre, times in ms, rates in Hz. A spike time that is no multiple of dt is rounded to the nearest step, each
spike for itself (halves up); ValueError where two spikes of one train fall into one step. The first spike is in step 0, the
last in step T - 1. Decays are exact, so a protocol whose times are all multiples of a long dt needs no shorter one: 60 pairs
at 0.1 Hz with Delta t = 10 ms last 590 s, 59,002 steps of 10 ms. But dt must not exceed any time constant of the rule.
Trains take 4 bytes a step, lane and side (torch's default dtype); `changes` computes in float64, skipping long silences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.plasticity import Record, Rule
from neurosim.traces import is_train

__all__ = ["Trains", "bursts", "changes", "frequency", "pairs", "poisson", "quadruplets", "together", "triplets"]

SPAN = 1 << 21  # numbers of a train that are shown to a rule at once, in float64
QUIET = 64  # steps without a spike that are not shown: it costs less to begin a new span


@dataclass(frozen=True, eq=False)
class Trains:
    """pre and post [T, B, 1] of 0 and 1, dt in ms: B lanes, one synapse each. ValueError for anything else."""

    pre: Tensor
    post: Tensor
    dt: float

    def __post_init__(self) -> None:
        step_of(self.dt)
        for name, x in (("pre", self.pre), ("post", self.post)):
            if not isinstance(x, Tensor):
                raise ValueError(f"{name}: given {type(x).__name__}, expected a tensor [T, B, N]: torch.as_tensor(...)")
            if x.dim() != 3 or x.shape[2] != 1 or not x.numel():
                raise ValueError(
                    f"{name}: given the shape {list(x.shape)}, expected [T, B, N] with N = 1 neuron in each of B lanes"
                )
            if not is_train(x):
                raise ValueError(f"{name}: given other numbers than 0 and 1, a train of spikes has only these")
        if self.pre.shape != self.post.shape:
            raise ValueError(
                f"post: given the shape {list(self.post.shape)}, expected [T, B, N] like pre, {list(self.pre.shape)}"
            )

    @property
    def lanes(self) -> int:
        return self.pre.shape[1]

    @property
    def duration(self) -> float:
        """ms."""
        return len(self.pre) * self.dt


# ---------------------------------------------------------------------------------------------- protocols
def pairs(delta_t: float, rate: float = 1.0, n: int = 60, dt: float = 1.0) -> Trains:
    """n pairs at a constant rate (Hz), post delta_t after pre (before it where negative). One lane."""
    finite(delta_t=delta_t)
    return repeated([0.0], [delta_t], rate, n, dt)


def frequency(rate: float, delta_t: float = 10.0, n: int = 60, dt: float = 1.0) -> Trains:
    """Uninterrupted pairs at a rate (Hz): the protocol to which Pfister & Gerstner 2006 fitted Sjoestroem et al. 2001.

    The experiment itself was made of `bursts`. One lane.
    """
    return pairs(delta_t, rate, n, dt)


def triplets(delta_1: float, delta_2: float, rate: float = 1.0, n: int = 60, dt: float = 1.0) -> Trains:
    """n triplets at a rate (Hz), named by Delta t of the first and of the second pair in them. One lane.

    (5, -15) is pre-post-pre: post 5 ms after the first pre and 15 ms before the second; (-5, 15) is post-pre-post.
    ValueError where the two have not opposite signs. Source: Wang, Gerkin, Nauen & Bi 2005, Nat Neurosci 8:187.
    """
    finite(delta_1=delta_1, delta_2=delta_2)
    if not delta_1 * delta_2 < 0:
        raise ValueError(
            f"delta_2: given {delta_2} after delta_1 = {delta_1}, the two must have opposite signs: (5, -5) is "
            "pre-post-pre, (-5, 5) post-pre-post"
        )
    if delta_1 > 0:
        return repeated([0.0, delta_1 - delta_2], [delta_1], rate, n, dt)
    return repeated([0.0], [delta_1, delta_2], rate, n, dt)


def quadruplets(T: float, delta_t: float = 5.0, rate: float = 1.0, n: int = 60, dt: float = 1.0) -> Trains:
    """n times a pair pre -> post and a pair post -> pre, |Delta t| = delta_t in both. One lane.

    T (ms) = centre of pre -> post - centre of post -> pre: T > 0 is post-pre first. ValueError where delta_t is not
    positive. Source: Wang et al. 2005.
    """
    finite(T=T, delta_t=delta_t)
    if not delta_t > 0:
        raise ValueError(f"delta_t: given {delta_t}, a quadruplet has pairs of both orders: a positive number of ms")
    half = delta_t / 2
    return repeated([T - half, half], [T + half, -half], rate, n, dt)


def bursts(
    rate: float, delta_t: float = 10.0, n: int = 15, size: int = 5, every: float = 10_000.0, dt: float = 1.0
) -> Trains:
    """n bursts of `size` pairs at a rate (Hz), one burst every `every` ms. One lane. ValueError where bursts overlap.

    Its companion at the lowest rate is `pairs(delta_t, 0.1, 50)`. Source: Sjoestroem, Turrigiano & Nelson 2001, Neuron 32:1149.
    """
    count("size", size)
    finite(delta_t=delta_t, every=every)
    period = period_of(rate)
    length = (size - 1) * period + abs(delta_t)
    if not length < every:
        raise ValueError(f"every: given {every} ms, bursts of {length:g} ms must not overlap")
    pre = [k * period for k in range(size)]
    return repeated(pre, [t + delta_t for t in pre], 1000 / every, n, dt)


def poisson(
    rate_pre: float,
    rate_post: float,
    duration: float,
    lanes: int,
    generator: torch.Generator,
    correlation: float = 0.0,
    lag: float = 0.0,
    dt: float = 1.0,
) -> Trains:
    """Independent lanes of Poisson trains (Hz) over a duration (ms), pre and post correlated by a shared source.

    In every step a train has a spike with probability p = rate dt, as one of two sources gives it: a shared one of rate
    s = correlation sqrt(rate_pre rate_post), whose spikes are in both, in post `lag` ms later; and its own, for the rest.
    The covariance of the two trains, at that lag, is correlation times the root of the product of their variances, up to
    terms of order p. ValueError where s exceeds one of the rates, or a rate exceeds one spike a step.
    """
    finite(duration=duration, lag=lag)
    steps, shift = round(duration / step_of(dt)), step(lag, dt)
    count("lanes", lanes)
    count("duration", steps)
    for name, rate in (("rate_pre", rate_pre), ("rate_post", rate_post)):
        if not 0 <= rate * dt / 1000 < 1:
            raise ValueError(f"{name}: given {rate} Hz, allowed are 0 to less than one spike a step, {1000 / dt:g} Hz")
    s = correlation * math.sqrt(rate_pre * rate_post)
    if not 0 <= s <= min(rate_pre, rate_post):
        most = math.sqrt(min(rate_pre, rate_post) / max(rate_pre, rate_post)) if rate_pre and rate_post else 0.0
        raise ValueError(f"correlation: given {correlation}, for these rates 0 to {most:.3g} are allowed")

    def chance(T: int, p: float) -> Tensor:
        return torch.empty(T, lanes, 1).bernoulli_(p, generator=generator)

    shared = s * dt / 1000
    trains = []
    for rate in (rate_pre, rate_post):
        p = rate * dt / 1000
        trains.append(chance(steps, (p - shared) / (1 - shared)))
    if s:
        source = chance(steps + abs(shift), shared)
        early, late = source[abs(shift) :], source[:steps]  # late[t] is early[t - |shift|]
        for x, sent in zip(trains, (early, late) if shift >= 0 else (late, early), strict=True):
            torch.maximum(x, sent, out=x)
    return Trains(trains[0], trains[1], dt)


def together(protocols: Iterable[Trains]) -> Trains:
    """Protocols side by side in lanes, in their order; the shorter ones are silent at the end. ValueError for several dt."""
    given = list(protocols)
    steps = {t.dt for t in given}
    if len(steps) != 1:
        raise ValueError(f"protocols: given {len(given)} with dt = {sorted(steps)} ms, they must share one dt")
    T = max(len(t.pre) for t in given)

    def side_by_side(parts: Sequence[Tensor]) -> Tensor:
        whole = parts[0].new_zeros(T, sum(p.shape[1] for p in parts), 1)
        lane = 0
        for p in parts:
            whole[: len(p), lane : lane + p.shape[1]] = p
            lane += p.shape[1]
        return whole

    return Trains(side_by_side([t.pre for t in given]), side_by_side([t.post for t in given]), steps.pop())


# ---------------------------------------------------------------------------------------------- spike times
def repeated(pre: Sequence[float], post: Sequence[float], rate: float, n: int, dt: float) -> Trains:
    """n times, at a rate (Hz), spikes at these times (ms). Only differences matter: the first is moved to step 0."""
    count("n", n)
    first, period = min(*pre, *post), period_of(rate)
    times = [[k * period + t - first for k in range(n) for t in of] for of in (pre, post)]
    T = 1 + max(step(t, dt) for of in times for t in of)
    return Trains(train(times[0], T, dt, "pre"), train(times[1], T, dt, "post"), dt)


def train(times: Sequence[float], T: int, dt: float, name: str) -> Tensor:
    """[T, 1, 1] with 1 in the step of each time (ms)."""
    at = [step(t, dt) for t in times]
    if len(set(at)) < len(at):
        raise ValueError(f"dt: given {dt} ms, two spikes of {name} fall into one step: take a shorter one")
    x = torch.zeros(T, 1, 1)
    x[at] = 1
    return x


def step(time: float, dt: float) -> int:
    """The step nearest to a time (ms), halves up; times that are halves but for rounding errors too."""
    return math.floor(time / step_of(dt) + 0.5 + 1e-9)


def step_of(dt: float) -> float:
    if not 0 < dt < math.inf:
        raise ValueError(f"dt: given {dt}, a step must be a positive number of ms")
    return dt


def finite(**times: float) -> None:
    for name, time in times.items():
        if not abs(time) < math.inf:
            raise ValueError(f"{name}: given {time}, it must be a finite number of ms")


def period_of(rate: float) -> float:
    """ms."""
    if not 0 < rate < math.inf:
        raise ValueError(f"rate: given {rate}, it must be a positive number of Hz")
    return 1000 / rate


def count(name: str, n: int) -> None:
    if not n >= 1 or n % 1:
        raise ValueError(f"{name}: given {n}, a whole number, at least 1")


# ---------------------------------------------------------------------------------------------- weight changes
def changes(rule: Rule, trains: Trains, w: float | Tensor = 0.5) -> Tensor:
    """The change [B] (float64) that a rule makes in the weight of each lane's own synapse, from w at first (or w [B]).

    The weight that the rule sees is w throughout. Trains are shown in spans, the rule's state carried from one to the
    next: long ones, and those of a rule of `traces` between long silences, over which its traces decay at once, exactly.
    A rule that forgets at a trial's end is shown the whole.
    """
    if not hasattr(rule, "update"):
        raise ValueError(
            f"rule: given {type(rule).__name__}, it must be a rule, as pair() or a published set's .rule()"
        )
    if not isinstance(trains, Trains):
        raise ValueError(f"trains: given {type(trains).__name__}, it must be Trains(pre, post, dt)")
    B = trains.lanes
    weight = torch.as_tensor(w, dtype=torch.float64, device=trains.pre.device)
    if list(weight.shape) not in ([], [1], [B]):
        given = list(weight.shape)
        raise ValueError(f"w: given the shape {given}, expected one number or one for each of {B} lanes")
    if not weight.isfinite().all():
        raise ValueError("w: given NaN or an infinite weight, weights must be finite")
    weight = weight.expand(B).reshape(B, 1, 1)
    traces: Mapping[str, Any] = getattr(rule, "traces", {})
    state: dict[str, Any] = {}
    dw, shown = torch.zeros_like(weight), 0
    for start, stop in [(0, len(trains.pre))] if getattr(rule, "forget", False) else spans(trains, bool(traces)):
        silence = (start - shown) * trains.dt
        state |= {n: state[n] * math.exp(-silence / t.tau) for n, t in traces.items() if n in state}
        pre, post = (x[start:stop].double().reshape(-1, 1, B, 1) for x in (trains.pre, trains.post))  # [t, 1, B, 1]
        rec = lanes_of_one_synapse(weight, pre, post, trains.dt)
        dw, shown = dw + rule.update(rec, {}, state), stop
    return dw.flatten()


def lanes_of_one_synapse(
    weight: Tensor, pre: Tensor, post: Tensor, dt: float, state: Mapping[str, Tensor] = {}
) -> Record:
    """What B synapses [B, 1, 1] saw, each of a lane and a neuron of its own: pre and post [T, 1, B, 1].

    The lanes are the channels of a grouped convolution of size 1, so `outer` keeps them apart.
    """
    B = len(weight)
    synapse = nn.Conv1d(B, B, 1, groups=B, bias=False, device="meta")  # geometry only
    return Record("synapse", synapse, weight, pre, u=post, post=post, slope=post, state=state, dt=dt)


def spans(trains: Trains, skip: bool) -> Iterator[tuple[int, int]]:
    """(first step, end) of the parts to be shown: SPAN numbers at most, and if `skip`, without silences of over QUIET steps."""
    T, most = len(trains.pre), max(1, SPAN // trains.lanes)
    parts = [(0, T)]
    if skip:
        spikes = ((trains.pre + trains.post).sum((1, 2)) > 0).nonzero().flatten()
        cut = (spikes.diff() > QUIET).nonzero().flatten()
        last = spikes[cut].tolist() + spikes[-1:].tolist()
        parts = list(zip([0] + spikes[cut + 1].tolist(), [t + 1 for t in last] or [T], strict=True))
    for start, stop in parts:
        for t in range(start, stop, most):
            yield t, min(t + most, stop)
