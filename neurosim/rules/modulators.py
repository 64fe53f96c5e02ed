"""What is there of a neuromodulator, and how much of its receptors it occupies.

concentration   dc/dt = -(c - tonic) / tau,  c <- c + amount at a release            [uM], tau in ms
receptor        h = c^n / (EC50^n + c^n)                                             Hill 1910, J Physiol 40:iv; 0 .. 1
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from neurosim.neurons import decay


@dataclass(frozen=True)
class Modulator:
    """dc/dt = -(c - tonic) / tau,  c <- c + amount at a release.  tonic in uM, tau in ms."""

    name: str
    tonic: float = 0.0
    tau: float = 200.0

    def __post_init__(self) -> None:
        if not 0 <= self.tonic < float("inf"):
            raise ValueError(f"tonic: given {self.tonic}, a concentration is 0 uM or more")
        if not self.tau > 0:
            raise ValueError(f"tau: given {self.tau}, a clearance time constant must be a positive number of ms")

    def concentration(self, release: Tensor, dt: float, start: float | None = None) -> Tensor:
        """release [T, ...], uM at each step -> c [T, ...], each after its release. ValueError for a negative c."""
        release = torch.as_tensor(release, dtype=None if isinstance(release, Tensor) else torch.get_default_dtype())
        if release.dim() == 0:
            raise ValueError(f"release: given {float(release)}, expected uM at each step, [T, ...]")
        a, above = decay(self.tau, dt), (self.tonic if start is None else start) - self.tonic
        c = torch.empty_like(release)
        for t, x in enumerate(release):
            above = a * above + x
            c[t] = above
        return checked(self.name, c + self.tonic)


def checked(name: str, c: Tensor) -> Tensor:
    if not bool((c >= 0).all()):
        raise ValueError(f"{name}: given {float(c.min()):g} uM, a concentration is 0 uM or more")
    return c


@dataclass(frozen=True)
class Receptor:
    """h = c^n / (EC50^n + c^n).  EC50 in uM; None is unknown. covered: lowest and highest dose (uM) of the data."""

    name: str
    modulator: str
    EC50: float | None = None
    n: float = 1.0
    covered: tuple[float, float] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not self.modulator:
            raise ValueError(
                f"modulator: given {self.modulator!r}, the receptor {self.name} must name what binds to it"
            )
        if self.EC50 is not None and not 0 < self.EC50 < float("inf"):
            raise ValueError(f"EC50: given {self.EC50}, the dose of half effect must be a positive number of uM")
        if not 0 < self.n < float("inf"):
            raise ValueError(f"n: given {self.n}, a Hill exponent must be positive")

    def occupied(self, c: Tensor) -> Tensor:
        """c in uM -> 0 .. 1. ValueError for a negative c or an unknown EC50; a warning, once, outside the data's doses."""
        checked(self.modulator, c)
        if self.EC50 is None:
            raise ValueError(f"EC50: the dose-response of {self.name} is not known, give Receptor(..., EC50=...) in uM")
        if self.covered is not None:
            used, (low, high) = c[c > 0], self.covered
            if used.numel() and not (low <= float(used.min()) and float(used.max()) <= high):
                warn_once(
                    f"{self.name}: a dose outside {low:g} to {high:g} uM of {self.modulator}, which its data cover"
                )
        x = (c / self.EC50) ** self.n
        return torch.where(torch.isinf(x), torch.ones_like(x), x / (1 + x))


_warned: set[str] = set()


def warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, stacklevel=4)
