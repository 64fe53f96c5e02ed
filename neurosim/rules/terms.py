"""What a spike rule is made of: traces, terms, and how a term depends on the weight. `spike_rule.py` runs them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
        if self.start and self.of not in ("pre", "post"):
            raise ValueError(f"start: given {self.start}, the trace of a third factor, {self.of}, begins at 0")
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
