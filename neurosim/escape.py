"""A neuron whose spikes are drawn: the spike response model with escape noise. The contract is in `neurons.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.neurons import decay
from neurosim.record import positive
from neurosim.spiking import STEEPEST, drawn, length, noise, response

__all__ = ["SRM0"]


@dataclass(frozen=True)
class SRM0:
    """Spike response model with escape noise; t_hat: its last spike.

        v(t) = sum over spikes t_j > t_hat of w_j eps(t - t_j) + chi exp(-(t - t_hat) / tau_m)
        eps(s) = eps0 (exp(-s/tau_m) - exp(-s/tau_s)) / (tau_m - tau_s)
        y = 1 with probability 1 - exp(-rho dt),   rho = rho0 exp((v - theta) / Delta_u)

    So a spike sets v to chi and forgets the input of before. Run as tau_m dv/dt = -v + I, tau_s dI/dt = -I,
    I <- I + eps0 / tau_s u, exactly. v (from rest), theta, Delta_u and chi in mV, eps0 in mV ms, rho0 in Hz, times in ms; u,
    the sum of weights, is a pure number. Its noise is a hash of (seed, step, unit), as that of `Poisson`: the same in every
    trial, and in every layer of that seed; in the engine it is drawn anew. State: v, I, step,
    noise, dt. The surrogate is that of the mean: d y / d v = d/dv (1 - exp(-rho dt)). ValueError for a constant that is not
    positive, or chi not below theta.
    Source: Gerstner & Kistler 2002, Spiking Neuron Models, ch. 4 and 5; these values: Brzosko et al. 2017, eLife 6:e27756.
    """

    tau_m: float = 20.0
    tau_s: float = 5.0
    eps0: float = 20.0
    chi: float = -5.0
    theta: float = 16.0
    Delta_u: float = 2.0
    rho0: float = 60.0
    seed: int = 0
    memory: bool = True

    def __post_init__(self) -> None:
        positive(tau_m=self.tau_m, tau_s=self.tau_s, eps0=self.eps0, Delta_u=self.Delta_u, rho0=self.rho0)
        if not self.chi < self.theta:
            raise ValueError(f"chi: given {self.chi}, it must lie below theta = {self.theta}")

    def step(self, s: Mapping[str, Tensor], u: Tensor, dt: float | None) -> dict[str, Tensor]:
        dt = length(dt)
        z = s["y"].detach() if "y" in s else torch.zeros_like(u)  # no credit through the reset
        v, I = (s[k] if k in s else torch.zeros_like(u) for k in ("v", "I"))
        v, I = v * (1 - z) + self.chi * z, I * (1 - z) + self.eps0 / self.tau_s * u
        return {
            "v": decay(self.tau_m, dt) * v + response(self.tau_m, self.tau_s, dt) * I,
            "I": decay(self.tau_s, dt) * I,
            "dt": torch.full_like(u, dt),
            **noise(self.seed, s, u),
        }

    def out(self, s: Mapping[str, Tensor]) -> Tensor:
        rho = self.rho0 * torch.exp(((s["v"] - self.theta) / self.Delta_u).clamp(max=STEEPEST))
        return drawn(s["noise"], -torch.expm1(-rho * s["dt"] / 1000))
