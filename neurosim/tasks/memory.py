"""Tasks that ask for memory: delayed exclusive-or, store and recall, the accumulation of evidence."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from neurosim.tasks.sequences import NOT_ASKED, Answers, Sequences

CUE, ANSWER = 10, 10  # steps


# ---------------------------------------------------------------------------------------------- delayed exclusive-or
def xor_trials(n: int, generator: torch.Generator, T: int, noise: float) -> tuple[Tensor, Tensor]:
    a, b = torch.randint(2, (2, n), generator=generator)
    x = noise * torch.randn(T, n, 3, generator=generator)
    x[:CUE, :, 0] += 2.0 * a - 1
    second = T - ANSWER - 2 * CUE
    x[second : second + CUE, :, 1] += 2.0 * b - 1
    x[-ANSWER:, :, 2] += 1
    target = torch.full((T, n), NOT_ASKED)
    target[-ANSWER:] = a ^ b
    return x, target


def delayed_xor(delay: int = 70, noise: float = 0.5) -> Sequences:
    return Sequences("delayed-xor", partial(xor_trials, T=delay, noise=noise), (3,), 2, Answers(ANSWER))
