"""Spiking neurons: leaky and adaptive integrate-and-fire, Izhikevich's model, Poisson. The contract is in `neurons.py`.

Within a step: what the last step's spike does (reset, jump), then the integration over dt, then y. The state holds v as it
was when it met the threshold, so `slope` (d y / d v) is the surrogate's at every spike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurosim.neurons import apart, decay, surrogate_spike
from neurosim.record import positive

__all__ = ["AdEx", "ConductanceLIF", "Izhikevich", "LIF", "Poisson"]

STEEPEST = 60.0  # exp(60) = 1e26 is far above any peak, and float32 still holds it


# ---------------------------------------------------------------------------------------------- integrate-and-fire
def length(dt: float | None) -> float:
    """dt in ms. ValueError where it is missing or not positive."""
    if dt is None:
        raise ValueError("dt: given None, but a spiking neuron needs Batch(dt=...) in ms per step")
    if not dt > 0:
        raise ValueError(f"dt: given {dt}, a step must be a positive number of ms")
    return dt


def steps_of(period: float, dt: float) -> int:
    """A period in whole steps; a rest is cut off, as in Brian2."""
    return int(period / dt + 1e-3)


def reset(
    s: Mapping[str, Tensor], u: Tensor, v_rest: float, v_reset: float, refractory: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """v as a step begins, and with a refractory period {"since": steps since the last spike}. No credit through the reset."""
    if "y" not in s:
        v = s["v"] if "v" in s else torch.full_like(u, v_rest)
        if not refractory:
            return v, {}
        return v, {"since": s["since"] + 1 if "since" in s else torch.full_like(u, refractory + 1)}
    z = s["y"].detach()
    v = torch.lerp(s["v"], z.new_full((), v_reset), z)
    if not refractory:
        return v, {}
    return v, {"since": torch.lerp(s["since"] + 1, z.new_ones(()), z)}


def moved(v: Tensor, new: Tensor, held: Mapping[str, Tensor], refractory: int) -> Tensor:
    """new, but v for refractory - 1 steps after the first."""
    if not held:
        return new
    return torch.lerp(v, new, (held["since"] - (refractory - 1)).clamp(0, 1))  # exact: 0 or 1


def below_threshold(neuron: Any, theta: float = 0.0) -> None:
    if not neuron.v_reset < neuron.v_threshold + theta:
        what = "v_threshold + theta" if theta else "v_threshold"
        raise ValueError(f"v_reset: given {neuron.v_reset}, it must lie below {what} = {neuron.v_threshold + theta}")
    not_negative(neuron)


def not_negative(neuron: Any) -> None:
    if not neuron.refractory >= 0:
        raise ValueError(f"refractory: given {neuron.refractory}, it must not be negative")


def response(tau_m: float, tau_syn: float, dt: float) -> float:
    """v after a step, of a current 1 at its start:  tau_syn (exp(-dt/tau_m) - exp(-dt/tau_syn)) / (tau_m - tau_syn),

    from v = 0; dt/tau_m exp(-dt/tau_m) where they are equal, and without cancellation where they nearly are.
    """
    x = dt * (1 / tau_syn - 1 / tau_m)
    return decay(tau_syn, dt) * dt / tau_m * (math.expm1(x) / x if x else 1.0)


@dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire, current synapses.

        tau_m dv/dt = v_rest - v + I,     v > v_threshold:  y = 1, v <- v_reset, held there for `refractory`
        without tau_syn  I = u;           with it  tau_syn dI/dt = -I,  I <- I + u

    Integrated exactly over a step, I without tau_syn being constant in it. v, I, u in mV (u is a drive, or what incoming
    spikes add to I), times in ms. State: v, I, with `refractory` since (steps since the last spike), and theta where a layer
    gives one, by which the threshold is raised throughout the trial, in mV.
    """

    tau_m: float = 20.0
    v_rest: float = -65.0
    v_threshold: float = -50.0
    v_reset: float = -65.0
    refractory: float = 0.0
    tau_syn: float | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        positive(tau_m=self.tau_m, **({} if self.tau_syn is None else {"tau_syn": self.tau_syn}))
        below_threshold(self)

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        dt = length(dt)
        refractory = steps_of(self.refractory, dt)
        v, held = reset(s, u, self.v_rest, self.v_reset, refractory)
        a, kept = decay(self.tau_m, dt), {"theta": s["theta"]} if "theta" in s else {}
        if self.tau_syn is None:
            drive = (1 - a) * u
        else:
            b, I = decay(self.tau_syn, dt), s["I"] + u if "I" in s else u
            drive = I * response(self.tau_m, self.tau_syn, dt)
            kept["I"] = b * I
        new = self.v_rest + a * (v - self.v_rest) + drive
        return {"v": moved(v, new, held, refractory), **held, **kept}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        above = s["v"] - self.v_threshold - s["theta"] if "theta" in s else s["v"] - self.v_threshold
        return surrogate_spike(above, scale=self.v_threshold - min(self.v_rest, self.v_reset))


@dataclass(frozen=True)
class ConductanceLIF:
    """Leaky integrate-and-fire, conductance synapses.

        C dv/dt = g_L (E_L - v) + g (E_e - v) + g_i (E_i - v) + I,     v > v_threshold:  y = 1, v <- v_reset, held
        tau_e dg_e/dt = -g_e,  g_e <- g_e + u_e,      tau_i dg_i/dt = -g_i,  g_i <- g_i + u_i
        g = (1 - nmda) g_e + nmda g_n,      tau_nmda dg_n/dt = g_e - g_n
        with theta_plus  v > v_threshold + theta,  at a spike theta <- theta + theta_plus,  tau_theta dtheta/dt = -theta

    Exponential Euler: exact in v, and in g_n, for the conductances at the start of the step. nmda: the slow share of
    excitation, 0 .. 1, default none. theta_plus: by how much each spike raises the neuron's own threshold, which at first is
    v_threshold + theta (Diehl & Cook 2015, Front Comput Neurosci 9:99). C in pF, g and u in nS, v, E and theta in mV, I in pA,
    times in ms. u is the pair (u_e, u_i); a single tensor is split by its sign. In a layer each synapse's is, if there are
    several (and then no credit is told at u: rules that read it learn nothing there). State: v, g_e, g_i, since, g_n where
    there is nmda, theta where there is theta_plus or a layer gives what it starts from.
    """

    C: float = 200.0
    g_L: float = 10.0
    E_L: float = -60.0
    E_e: float = 0.0
    E_i: float = -80.0
    v_threshold: float = -50.0
    v_reset: float = -60.0
    refractory: float = 5.0
    tau_e: float = 5.0
    tau_i: float = 10.0
    I: float = 0.0
    nmda: float = 0.0
    tau_nmda: float = 100.0
    theta_plus: float = 0.0
    tau_theta: float = 1e7
    theta: float = 0.0
    memory: bool = True
    conductances: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(
            C=self.C, g_L=self.g_L, tau_e=self.tau_e, tau_i=self.tau_i, tau_nmda=self.tau_nmda, tau_theta=self.tau_theta
        )
        if not self.theta_plus >= 0:
            raise ValueError(
                f"theta_plus: given {self.theta_plus}, a spike raises the threshold, or leaves it: at least 0"
            )
        if not 0 <= self.nmda <= 1:
            raise ValueError(f"nmda: given {self.nmda}, the slow share of excitation lies in 0 .. 1")
        if self.theta and not self.theta_plus:
            raise ValueError(
                f"theta: given {self.theta}, but without theta_plus the threshold is v_threshold, and stays"
            )
        below_threshold(self, self.theta)

    def step(self, s: Mapping[str, Tensor], u: Any, dt: float | None) -> dict[str, Tensor]:
        u_e, u_i = u if isinstance(u, tuple) else apart([u])
        dt = length(dt)
        refractory = steps_of(self.refractory, dt)
        v, held = reset(s, u_e, self.E_L, self.v_reset, refractory)
        g_e, g_i = (s[k] + x if k in s else x for k, x in (("g_e", u_e), ("g_i", u_i)))
        left = {"g_e": decay(self.tau_e, dt) * g_e, "g_i": decay(self.tau_i, dt) * g_i}
        if self.nmda:
            g_n, b = s["g_n"] if "g_n" in s else torch.zeros_like(g_e), decay(self.tau_nmda, dt)
            left["g_n"] = b * g_n + (1 - b) * g_e
            g_e = (1 - self.nmda) * g_e + self.nmda * g_n
        if self.theta_plus or "theta" in s:
            theta = s["theta"] if "theta" in s else torch.full_like(u_e, self.theta)
            theta = torch.add(theta, s["y"].detach(), alpha=self.theta_plus) if "y" in s else theta
            left["theta"] = decay(self.tau_theta, dt) * theta
        g = g_e + g_i + self.g_L
        drive = self.E_i * g_i + (self.g_L * self.E_L + self.I)
        v_inf = (torch.add(drive, g_e, alpha=self.E_e) if self.E_e else drive) / g
        new = torch.lerp(v_inf, v, torch.exp(g * (-dt / self.C)))
        return {"v": moved(v, new, held, refractory), **held, **left}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        above = s["v"] - self.v_threshold - s.get("theta", 0.0)
        return surrogate_spike(above, scale=self.v_threshold + self.theta - self.v_reset)


@dataclass(frozen=True)
class AdEx:
    """Adaptive exponential integrate-and-fire (Brette & Gerstner 2005, J Neurophysiol 94:3637).

        C dv/dt = -g_L (v - E_L) + g_L Delta_T exp((v - v_T) / Delta_T) - w + u,     tau_w dw/dt = a (v - E_L) - w
        v > v_peak:  y = 1, v <- v_reset (held for `refractory`), w <- w + b

    Forward Euler: dt of 0.1 ms or less. C in pF, g_L and a in nS, v in mV, w, b and u in pA, times in ms. State: v, w, since.
    """

    C: float = 281.0
    g_L: float = 30.0
    E_L: float = -70.6
    v_T: float = -50.4
    Delta_T: float = 2.0
    tau_w: float = 144.0
    a: float = 4.0
    b: float = 80.5
    v_reset: float = -70.6
    v_peak: float = 0.0
    refractory: float = 0.0
    memory: bool = True

    def __post_init__(self) -> None:
        positive(C=self.C, g_L=self.g_L, Delta_T=self.Delta_T, tau_w=self.tau_w)
        if not self.v_reset < self.v_peak:
            raise ValueError(f"v_reset: given {self.v_reset}, it must lie below v_peak = {self.v_peak}")
        not_negative(self)

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        dt = length(dt)
        refractory = steps_of(self.refractory, dt)
        v, held = reset(s, u, self.E_L, self.v_reset, refractory)
        w = s["w"] + self.b * s["y"].detach() if "y" in s else s.get("w", torch.zeros_like(u))
        steep = ((v - self.v_T) / self.Delta_T).clamp(max=STEEPEST)
        upstroke = self.g_L * self.Delta_T * torch.exp(steep)
        new = v + dt * (-self.g_L * (v - self.E_L) + upstroke - w + u) / self.C
        w = w + dt * (self.a * (v - self.E_L) - w) / self.tau_w
        return {"v": moved(v, new, held, refractory), "w": w, **held}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return surrogate_spike((s["v"] - self.v_peak) / (self.v_peak - self.v_T))


@dataclass(frozen=True)
class Izhikevich:
    """Izhikevich's simple model (2003, IEEE Trans Neural Netw 14:1569); his u is `r` here, his I is u.

        dv/dt = 0.04 v^2 + 5 v + 140 - r + u,     dr/dt = a (b v - r),     v > 30:  y = 1, v <- c, r <- r + d

    Forward Euler, v in `substeps` parts of a step (2 in his programs, at dt = 1 ms), r after v where there are several.
    v and r in mV, times in ms. State: v, r.
    """

    a: float = 0.02
    b: float = 0.2
    c: float = -65.0
    d: float = 8.0
    substeps: int = 1
    memory: bool = True

    def __post_init__(self) -> None:
        if not self.substeps >= 1:
            raise ValueError(f"substeps: given {self.substeps}, at least 1")
        for name in ("a", "b", "c", "d"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"{name}: given {getattr(self, name)}, it must be a finite number")

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        dt = length(dt)
        z = s["y"].detach() if "y" in s else torch.zeros_like(u)
        v = s["v"] * (1 - z) + self.c * z if "v" in s else torch.full_like(u, self.c)
        r = s["r"] + self.d * z if "r" in s else self.b * v
        h, old = dt / self.substeps, v
        for _ in range(self.substeps):
            v = v + h * (0.04 * v**2 + 5 * v + 140 - r + u)
        return {"v": v, "r": r + dt * self.a * (self.b * (old if self.substeps == 1 else v) - r)}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return surrogate_spike((s["v"] - 30) / 30)


# ---------------------------------------------------------------------------------------------- chance
@dataclass(frozen=True)
class Poisson:
    """y = 1 with probability v = 1 - exp(-u dt), u >= 0 the rate in Hz: a Poisson process seen in steps.

    Its noise is a hash of (seed, step, unit), so that the step is pure: the same state and rate give the same spike. State:
    v, step (int64: a float would stop at 2^24), noise. The surrogate is the straight-through: d y / d v = 1.
    """

    seed: int = 0
    memory: bool = True

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        dt = length(dt)
        return {"v": -torch.expm1(-u * dt / 1000), **noise(self.seed, s, u)}

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        return drawn(s["noise"], s["v"])


def noise(seed: int, s: Mapping[str, Tensor], u: Tensor) -> dict[str, Tensor]:
    """The states `step` and `noise` at the next step of a neuron whose spikes are drawn."""
    now = s["step"].long() + 1 if "step" in s else torch.zeros_like(u, dtype=torch.int64)
    unit = torch.arange(u.numel(), device=u.device).reshape(u.shape)
    return {"step": now, "noise": uniform(seed, now, unit).to(u.dtype)}


def drawn(noise: Tensor, p: Tensor) -> Tensor:
    """1 with probability p, else 0; its derivative is that of p, the straight-through."""
    return (noise < p.detach()).to(p.dtype) + (p - p.detach())


def uniform(seed: int, step: Tensor, unit: Tensor) -> Tensor:
    """A number in [0, 1) for each (seed, step, unit): SplitMix64 (Steele, Lea & Flood 2014), on any device. float64."""
    x = unit * -7046029254386353131  # odd constants; int64 wraps around
    for word in (step * 0 + seed, step):
        x = x + word * -4417276706812531889 + 1442695040888963407
        x = (x ^ (x >> 30 & (1 << 34) - 1)) * -4658895280553007687
        x = (x ^ (x >> 27 & (1 << 37) - 1)) * -7723592293110705685
        x = x ^ (x >> 31 & (1 << 33) - 1)
    return (x >> 11 & (1 << 53) - 1).double() * 2.0**-53
