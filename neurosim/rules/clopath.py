"""Voltage-based STDP: the post neuron's membrane potential, not its spikes, decides between LTD and LTP.

Source: Clopath, Buesing, Vasilaki & Gerstner 2010, Nat Neurosci 13:344, eqs 1 to 3; the authors' code is ModelDB 144566.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.plasticity import Record, outer
from neurosim.rules.trains import carried, check_trains, decay_of
from neurosim.traces import BLOCK, filtered


@dataclass(frozen=True)
class Clopath:
    """dw/dt = -A_LTD (ubar_bar/u_ref)^2 X [ubar_minus - theta_minus]+ + A_LTP xbar [u - theta_plus]+ [ubar_plus - theta_minus]+

        tau_x dxbar/dt = X - xbar,    tau_minus dubar_minus/dt = u - ubar_minus,    tau_plus dubar_plus/dt = u - ubar_plus
        tau_bar dubar_bar/dt = (u - theta_minus) - ubar_bar

    X is the pre train (a sum of delta functions, per ms), u the post neuron's potential `state["v"]` in mV; its spikes are
    not read, so v must show them. A_LTD in 1/mV, A_LTP in 1/mV^2, tau and `delay` in ms, theta and u_ref in mV. Defaults:
    visual cortex. At first xbar = 0 and ubar = theta_minus, the resting potential in the published sets.

    The filters are exact for what is constant over a step (u; a spike's X is 1/dt in its step). They are read as they were
    when the step began, so without its spikes, and `delay` ms earlier: where v shows a spike over several steps, as long as
    that and a step more, or each spike potentiates by itself (the authors: 3 ms for a spike of 2 ms at dt = 1 ms).
    Without u_ref the factor (ubar_bar/u_ref)^2 is 1 (pairing experiments). With it (published: u_ref^2 = 60 mV^2) it is 1 at
    first; as in `homeostatic_triplet` every lane runs its own ubar_bar and the next trial starts from their mean, so it
    reads "batch". All else lasts from trial to trial in its lane, or with `forget` is cleared at a trial's end.
    ValueError for a negative amplitude, u_ref or time constant that is not positive, or a step longer than it.
    """

    A_LTD: float = 14e-5
    A_LTP: float = 8e-5
    tau_x: float = 15.0
    tau_minus: float = 10.0
    tau_plus: float = 7.0
    theta_minus: float = -70.6
    theta_plus: float = -45.3
    delay: float = 0.0
    u_ref: float | None = None
    tau_bar: float = 1000.0
    forget: bool = False

    def __post_init__(self) -> None:
        for name in ("A_LTD", "A_LTP"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}: given {getattr(self, name)}, an amplitude is finite and not negative: the sign is in the term"
                )
        for name in ("tau_x", "tau_minus", "tau_plus", "tau_bar"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name}: given {getattr(self, name)}, a time constant must be a positive number of ms"
                )
        if not 0 <= self.delay < float("inf"):
            raise ValueError(f"delay: given {self.delay}, it must be a finite number of ms, not negative")
        for name in ("theta_minus", "theta_plus"):
            if not abs(getattr(self, name)) < float("inf"):
                raise ValueError(f"{name}: given {getattr(self, name)}, a threshold must be a finite number of mV")
        if self.u_ref is not None and not self.u_ref > 0:
            raise ValueError(
                f"u_ref: given {self.u_ref}, it must be a positive number of mV, or None for no homeostasis"
            )

    @property
    def reads(self) -> frozenset[str]:
        more = {"batch": self.u_ref is not None, "future": self.forget}
        return frozenset({"pre", "state"} | {k for k, true in more.items() if true})

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        check_trains(rec, {"pre"})
        u = potential(rec)
        a = {n: decay_of(n, getattr(self, n), rec.dt) for n in ("tau_x", "tau_minus", "tau_plus", "tau_bar")}
        s = {k: v for k, v in state.items() if k == "ubar_bar" or not self.forget}
        dw = torch.zeros_like(rec.weight)
        k = max(1, BLOCK // max(rec.pre[0].numel(), u[0].numel()))
        for t in range(0, len(u), k):  # what is worked on stays in the cache
            dw = dw + self._span(rec, rec.pre[t : t + k], u[t : t + k], a, s)
        if self.u_ref is not None:
            s["ubar_bar"] = s["ubar_bar"].mean(0, keepdim=True)
        state.update({k: v for k, v in s.items() if k == "ubar_bar" or not self.forget})
        return dw

    def _span(self, rec: Record, X: Tensor, u: Tensor, a: Mapping[str, float], s: dict[str, Tensor]) -> Tensor:
        """dW over a span; a: decays by name of the time constant; s becomes its end."""
        dt = float(rec.dt or 0.0)  # it is there: the decays needed it
        xbar = low_passed(rec, s, "xbar", X / dt, a["tau_x"], 0.0)
        ubar_minus = self._delayed(rec, s, "ubar_minus", u, a["tau_minus"], dt)
        ubar_plus = self._delayed(rec, s, "ubar_plus", u, a["tau_plus"], dt)
        A_LTD: Tensor | float = self.A_LTD
        if self.u_ref is not None:
            ubar_bar = low_passed(rec, s, "ubar_bar", u - self.theta_minus, a["tau_bar"], self.u_ref)
            A_LTD = self.A_LTD * (ubar_bar / self.u_ref) ** 2
        depression = A_LTD * (ubar_minus - self.theta_minus).clamp(min=0)
        potentiation = self.A_LTP * (u - self.theta_plus).clamp(min=0) * (ubar_plus - self.theta_minus).clamp(min=0)
        return outer(rec, xbar, potentiation * dt) - outer(rec, X, depression)

    def _delayed(self, rec: Record, s: dict[str, Tensor], name: str, u: Tensor, a: float, dt: float) -> Tensor:
        """u low-passed, as it was `delay` before each step began; the last `delay` of it is kept in s."""
        now = low_passed(rec, s, name, u, a, self.theta_minus)
        steps = round(self.delay / dt)
        if not steps:
            return now
        late = f"{name} within delay"
        whole = torch.cat([s.get(late, now.new_full((steps, *now.shape[1:]), self.theta_minus)), now])
        s[late] = whole[len(now) :]
        return whole[: len(now)]


def low_passed(rec: Record, s: dict[str, Tensor], name: str, x: Tensor, a: float, start: float) -> Tensor:
    """x low-passed, z <- a z + (1 - a) x, as z was when each step began; s[name] becomes its end."""
    z = carried(rec, s.get(name, torch.full_like(x[0], start)), len(x[0]), "Clopath", name == "ubar_bar")
    run = filtered((1 - a) * x, a, z)
    s[name] = run[-1].clone()
    return run[:-1]


def potential(rec: Record) -> Tensor:
    """The post neuron's v in mV [T, B, *unit]. ValueError where its neuron has none."""
    v = rec.state.get("v")
    if v is None or v.shape != rec.post.shape:
        given = "none" if v is None else f"the shape {list(v.shape)}"
        raise ValueError(
            f"{rec.name}: the post neuron's state v has {given}, expected a potential in mV like post, "
            f"[T, B, N] = {list(rec.post.shape)}"
        )
    return v
