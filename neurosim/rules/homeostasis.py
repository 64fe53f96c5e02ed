"""Triplet STDP whose depression follows the neuron's own rate, the BCM rule that triplet STDP is on average; thresholds.

For independent Poisson trains of rates rho_x, rho_y, all-to-all (Pfister & Gerstner 2006):

    d<w>/dt = rho_x rho_y (A2_plus tau_plus - A2_minus tau_minus)
              + A3_plus tau_plus tau_y rho_x rho_y^2 - A3_minus tau_minus tau_x rho_x^2 rho_y

Times in ms, rates in Hz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from neurosim.plasticity import Record, column, unit_mean
from neurosim.record import positive
from neurosim.rules.bcm import BCM
from neurosim.rules.spike_rule import SpikeRule, Term, Trace
from neurosim.rules.stdp import amplitudes


def homeostatic_triplet(
    A3_plus: float = 6.5e-3,
    rho0: float = 3.0,
    tau_plus: float = 16.8,
    tau_minus: float = 33.7,
    tau_y: float = 114.0,
    tau_hom: float = 10_000.0,
) -> SpikeRule:
    """post spike: dw = A3_plus r1 o2;   pre spike: dw = -A2_minus(t) o1,
    A2_minus(t) = A3_plus tau_plus tau_y rbar(t)^2 / (tau_minus rho0).

    rbar (Hz) is the neuron's running rate: d rbar/dt = -rbar / tau_hom, rbar <- rbar + 1000 / tau_hom at its spikes, rho0
    at first. So <dw> = A3_plus tau_plus tau_y r_pre r (r - rbar^2 / rho0): BCM with a sliding threshold, at rest at rho0.
    Over a batch every lane runs its own rbar from a common start, and the next trial starts from their mean (`pooled`): what
    slides is the neuron's rate over all lanes, with tau_hom counted in each lane's time. <dw> holds up to
    O(1 / (tau_hom rho0)): rbar holds the very spike that depresses, so the threshold it meets is (rbar + 1/tau_hom)^2 / rho0,
    7 % higher at 3 Hz and 10 s.
    Source: Zenke, Hennequin & Gerstner 2013, PLoS Comput Biol 9:e1003330.
    """
    amplitudes({"A3_plus": A3_plus})
    if not rho0 > 0:
        raise ValueError(f"rho0: given {rho0}, the rate to hold must be a positive number of Hz")
    for name, tau in (("tau_minus", tau_minus), ("tau_hom", tau_hom)):
        Trace("post", tau, parameter=name)  # says so where it is not positive, before it divides
    A2_minus = A3_plus * tau_plus * tau_y / (tau_minus * rho0) / 1000  # at rbar = 1 Hz
    return SpikeRule(
        {
            "r1": Trace("pre", tau_plus, parameter="tau_plus"),
            "o1": Trace("post", tau_minus, parameter="tau_minus"),
            "o2": Trace("post", tau_y, parameter="tau_y"),
            "rbar": Trace("post", tau_hom, parameter="tau_hom", bump=1000 / tau_hom, start=rho0, pooled=True),
        },
        (
            Term(A3_plus, ("post", "r1", "o2"), parameter="A3_plus"),
            Term(-A2_minus, ("pre", "o1", "rbar", "rbar"), parameter="A2_minus", scales=(("rho0", -1.0),)),
        ),
        source="Zenke, Hennequin & Gerstner 2013, PLoS Comput Biol 9:e1003330",
    )


@dataclass(frozen=True)
class Threshold:
    """dtheta_i = step sum_t (y_i[t] - f0 dt) - theta_i T dt / tau:   above the rate f0 a neuron becomes harder to excite.

    On a layer's `threshold` synapse, whose one pre unit is always 1; of a convolution y_i is the mean over places. f0 `target`
    in Hz; 0: thresholds only grow, by `step` a spike. Without tau (ms) they do not decay. Sources: Querlioz, Bichler, Dollfus &
    Gamrat 2013, IEEE Trans Nanotechnol 12:288; growth and decay: Diehl & Cook 2015, Front Comput Neurosci 9:99. ValueError for
    a target that is negative, a tau that is not positive.
    """

    target: float = 10.0
    step: float = 1.0
    tau: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.target < float("inf"):
            raise ValueError(f"target: given {self.target}, a rate is a number of Hz from 0 on")
        positive(step=self.step, **({} if self.tau is None else {"tau": self.tau}))

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"post"} if self.tau is None else {"post", "weight"})

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        if rec.dt is None:
            raise ValueError("dt: given None, but a rate in Hz needs Batch(dt=...) in ms per step")
        T, B = rec.post.shape[:2]
        off = unit_mean(rec, rec.post).flatten() - self.target * rec.dt / 1000
        grown = (T * B * self.step) * column(rec, off).expand_as(rec.weight)
        return grown if self.tau is None else grown - (T * B * rec.dt / self.tau) * rec.weight


class Drift(NamedTuple):
    """d<w>/dt (per s) = a rho_x rho_y + b rho_x rho_y^2 - c rho_x^2 rho_y - d rho_x rho_y rbar^2, rates in Hz.

    d holds up to O(1 / (tau_hom rho0)), as rbar holds the spike that depresses: see `homeostatic_triplet`.
    """

    a: float
    b: float
    c: float
    d: float

    def __call__(self, rho_x: float, rho_y: float, rbar: float = 0.0) -> float:
        return rho_x * rho_y * (self.a + self.b * rho_y - self.c * rho_x - self.d * rbar**2)

    @property
    def theta(self) -> float:
        """The rate above which rho_y potentiates, Hz. ValueError for a rule whose threshold is no number (c or d not 0)."""
        if self.c or self.d or not self.b:
            raise ValueError("theta: the rule has no threshold that is one number, its drift is not a + b rho_y")
        return -self.a / self.b


def drift(rule: SpikeRule) -> Drift:
    """The mean drift of a pair, triplet or homeostatic rule (all-to-all, additive, ungated) under independent Poisson trains.

    ValueError for a rule with other terms.
    """
    coefficients = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}
    for m in rule.terms:
        # a trace of rate rho is bump tau rho on average; the trace that sets the threshold is rbar^2 = rbar^2
        other = {"pre": "post", "post": "pre"}[m.factors[0]]
        kinds = [rule.traces[f].of if f in rule.traces and not rule.traces[f].pooled else "rate" for f in m.factors[1:]]
        kinds.sort(key=lambda of: (of == "rate", of != other))
        shape = {
            ("post", ("pre",)): ("a", 1), ("pre", ("post",)): ("a", 1), ("post", ("pre", "post")): ("b", 1),
            ("pre", ("post", "pre")): ("c", -1), ("pre", ("post", "rate", "rate")): ("d", -1),
        }.get((m.factors[0], tuple(kinds)))  # fmt: skip
        nearest = any(t.nearest for t in rule.traces.values())
        if shape is None or nearest or m.weight or m.gate:
            raise ValueError(f"rule: its term {m.factors} is none of additive all-to-all pair and triplet STDP")
        area = m.gain
        for f in m.factors[1:]:
            area *= 1.0 if rule.traces[f].pooled else rule.traces[f].bump * rule.traces[f].tau / 1000
        coefficients[shape[0]] += shape[1] * area
    return Drift(**coefficients)


def bcm_from_triplet(rule: SpikeRule, duration: float = 1000.0) -> BCM:
    """The rate rule that a triplet rule is on average: dW = gain y (y - theta) (x) x per second, x and y in Hz.

        theta = (A2_minus tau_minus - A2_plus tau_plus) / (A3_plus tau_plus tau_y),         gain = A3_plus tau_plus tau_y
        homeostatic:  theta = <y>^2 / rho0, sliding with tau_hom, counted in updates of `duration` ms; both start
        from rbar = rho0. It holds up to O(1 / (tau_hom rho0)), as the drift: see `homeostatic_triplet`.

    ValueError for a duration that is not positive, and for a rule with A3_minus > 0, which BCM does not have, or without
    A3_plus.
    """
    positive(duration=duration)
    k = drift(rule)
    if not k.b > 0 or k.c:
        raise ValueError("rule: BCM is triplet STDP with A3_plus > 0 and A3_minus = 0")
    if not k.d:
        return BCM(theta=k.theta, gain=k.b)
    if k.a:
        raise ValueError("rule: a homeostatic rule with pair terms has no BCM form here")
    tau_hom = next(t.tau for t in rule.traces.values() if t.pooled)
    return BCM(tau=max(1.0, tau_hom / duration), rho0=k.b / k.d, p=1.0, q=2.0, gain=k.b, start=k.b / k.d)
