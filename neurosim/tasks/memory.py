"""Tasks that ask for memory: delayed exclusive-or, store and recall, the accumulation of evidence. Steps of 1 ms."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from neurosim.tasks.sequences import NOT_ASKED, Answers, Sequences

CUE, ANSWER = 10, 10  # steps of delayed exclusive-or
BLOCK = 10  # steps of store and recall


def sign(bit: Tensor) -> Tensor:
    """0, 1 -> -1, 1."""
    return 2.0 * bit - 1.0


# ---------------------------------------------------------------------------------------------- delayed exclusive-or
def xor_trials(n: int, generator: torch.Generator, T: int, cue: float, noise: float) -> tuple[Tensor, Tensor]:
    """x [T, n, 3], target [T, n] in the last ANSWER steps."""
    first, second = torch.randint(2, (2, n), generator=generator)
    x = noise * torch.randn(T, n, 3, generator=generator)
    at = T - ANSWER - 2 * CUE
    x[:CUE, :, 0] += cue * sign(first)
    x[at : at + CUE, :, 1] += cue * sign(second)
    x[-ANSWER:, :, 2] += 1.0
    target = torch.full((T, n), NOT_ASKED)
    target[-ANSWER:] = first ^ second
    return x, target


def delayed_xor(delay: int = 70, cue: float = 0.4, noise: float = 0.1) -> Sequences:
    """Two cues of +-1 far apart, then: were they different?  The first must be kept, and the two combined not linearly.

    A trial of T = `delay` steps: the first cue (input 0) in steps 0 to 9, the second (input 1) in steps T - 30 to T - 21, a
    gap, and the answer asked in the last ten, while input 2 is 1. Cues are +-`cue`; all inputs have white noise.
    """
    if isinstance(delay, bool) or not isinstance(delay, int) or delay < 2 * (CUE + ANSWER):
        least = 2 * (CUE + ANSWER)
        raise ValueError(
            f"delay: given {delay!r}, a trial has at least {least} steps of 1 ms, a whole number: its length"
        )
    make = partial(xor_trials, T=delay, cue=cue, noise=noise)
    return Sequences("delayed-xor", make, (3,), 2, Answers(ANSWER), batch_size=32, train_size=960)


# ---------------------------------------------------------------------------------------------- store and recall
def recall_trials(n: int, generator: torch.Generator, blocks: int, noise: float) -> tuple[Tensor, Tensor]:
    """x [T, n, 3], target [T, n] in the block of recall."""
    T, trial = blocks * BLOCK, torch.arange(n)
    value = torch.randint(2, (blocks, n), generator=generator)
    store = torch.randint(blocks // 2, (n,), generator=generator)
    recall = torch.randint(blocks // 2, blocks, (n,), generator=generator)
    told = torch.zeros(blocks, n, 3)
    told[:, :, 0] = sign(value)
    told[store, trial, 1] = 1.0
    told[recall, trial, 2] = 1.0
    told[recall, trial, 0] = 0.0
    target = torch.full((blocks, n), NOT_ASKED)
    target[recall, trial] = value[store, trial]
    x = told.repeat_interleave(BLOCK, 0) + noise * torch.randn(T, n, 3, generator=generator)
    return x, target.repeat_interleave(BLOCK, 0)


def store_recall(delay: int = 100, noise: float = 0.3) -> Sequences:
    """A stream of +-1, one of which is to be stored and, when asked, recalled; the others are distractors.

    A trial of `delay` steps in blocks of ten. Input 0: a value a block; input 1 is 1 in the block to store, one of the first
    half; input 2 in the block of recall, one of the second half, in which no value is shown and the stored one is asked.
    After store-recall of Bellec et al. 2018, NeurIPS; here one pair a trial.
    """
    if isinstance(delay, bool) or not isinstance(delay, int) or delay < 2 * BLOCK or delay % (2 * BLOCK):
        raise ValueError(f"delay: given {delay!r}, a trial has a multiple of {2 * BLOCK} steps")
    make = partial(recall_trials, blocks=delay // BLOCK, noise=noise)
    return Sequences("store-recall", make, (3,), 2, Answers(BLOCK), batch_size=32, train_size=960)


# ---------------------------------------------------------------------------------------------- evidence
CUES, CUE_MS, PAUSE_MS, RECALL_MS, POPULATION = 7, 100, 50, 150, 10
P_SPIKE = 0.04  # a step, of a neuron whose population is shown


def evidence_trials(n: int, generator: torch.Generator, delay: int) -> tuple[Tensor, Tensor]:
    """x [T, n, 40] of 0 and 1, target [T, n] in the last RECALL_MS steps."""
    cues = CUES * (CUE_MS + PAUSE_MS)
    T = cues + delay + RECALL_MS
    likely = torch.where(torch.rand(n, generator=generator) < 0.5, 0.3, 0.7)
    right = (torch.rand(CUES, n, generator=generator) < likely).long()
    p = torch.zeros(T, n, 4)
    for k, side in enumerate(right):
        start = k * (PAUSE_MS + CUE_MS) + PAUSE_MS
        p[start : start + CUE_MS, torch.arange(n), side] = P_SPIKE
    p[-RECALL_MS:, :, 2] = P_SPIKE
    p[:, :, 3] = P_SPIKE / 4
    x = torch.rand(T, n, 4, POPULATION, generator=generator) < p[..., None]
    target = torch.full((T, n), NOT_ASKED)
    target[-RECALL_MS:] = (right.sum(0) > CUES // 2).long()
    return x.flatten(2), target


def evidence(delay: int = 1050) -> Sequences:
    """On which side were more of seven cues?  Asked `delay` ms after the last.  Accumulation and memory.

    Forty inputs that spike, in populations of ten: left, right, recall, background. Cues of 100 ms, 50 ms of silence before
    each, right with probability .3 or .7, drawn for the trial; spikes with probability .04 a ms, background .01; 150 ms of
    recall, in which the answer is asked. Source: Bellec et al. 2020, Nat
    Commun 11:3625, after Morcos & Harvey 2016; a step is 1 ms.
    """
    if isinstance(delay, bool) or not isinstance(delay, int) or delay < 0:
        raise ValueError(f"delay: given {delay!r}, it must be a whole number of ms, at least 0")
    make = partial(evidence_trials, delay=delay)
    loss = Answers(RECALL_MS)
    return Sequences("evidence", make, (4 * POPULATION,), 2, loss, network="lsnn", batch_size=64, train_size=640)
