"""A closed loop inside the compiled one: what the network does to its world, and what the world then shows it.

def step(t, counts, drive, signal, memory):   # numba compiles it
    memory[0] += counts[7] - counts[8]        # the world's own state
    drive[0] = 50.0 if memory[0] > 0 else 5.0
    signal[0] = memory[0] > 10

net.run(1000, environment=Environment(step, every=5, memory=np.zeros(1)))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from neurosim.engine.arrays import Array


@dataclass(frozen=True)
class Environment:
    """step(t, counts, drive, signal, memory), every so many ms; it returns nothing and changes the last three.

    t: ms. counts [places]: spikes of each neuron since the last call. drive [places]: constant inputs, Hz for Poisson, mV or
    pA for others; neuron i of a population p has the place p.place + i. signal [S]: modulators, in the order of
    `net.signal_names`. memory: float64, the caller's own, kept from call to call and from run to run. Written as for numba:
    numbers, loops and these arrays. ends: a place in memory; a run sets it to 0 as it begins, and ends once the step has set
    it to something else (a trial is over). Indices are not checked: one beyond an array's end writes elsewhere, or crashes.
    What a step raises is printed and the run goes on: set `memory[ends]` instead.
    """

    step: Callable[..., None]
    every: float
    memory: Array
    ends: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.step):
            raise ValueError(f"step: given {self.step!r}, it must be a function of t, counts, drive, signal, memory")
        if getattr(self.memory, "dtype", None) != np.float64 or self.memory.ndim != 1:
            raise ValueError(
                f"memory: given {type(self.memory).__name__}, it must be a numpy array of float64 with one axis"
            )
        whole = isinstance(self.ends, int) and not isinstance(self.ends, bool)
        if self.ends is not None and not (whole and 0 <= self.ends < len(self.memory)):
            raise ValueError(f"ends: given {self.ends!r}, memory has the places 0 to {len(self.memory) - 1}")

    @property
    def ended(self) -> bool:
        """Has the step set memory[ends]?  False without ends."""
        return self.ends is not None and bool(self.memory[self.ends])


@lru_cache(maxsize=64)
def compiled_step(step: Callable[..., None], dtype: Any) -> Any:
    """As a function that the loop can call, whatever it is: one compiled loop serves all."""
    from numba import cfunc, types
    from numba.core.errors import NumbaError

    number = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    real, whole = types.Array(number, 1, "C"), types.Array(types.int64, 1, "C")
    form = types.void(types.float64, whole, real, real, types.Array(types.float64, 1, "C"))
    try:
        return cfunc(form)(step)
    except (NumbaError, TypeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"step: numba cannot compile it as a function that returns nothing: {said[:500]}") from error
