"""The network as the compiled loop sees it: tables, one record a population, projection, group of terms, ..., and flat arrays.

One index space for all neurons: population p has the places start .. start + n, padded to blocks of BLOCK. A synaptic current,
conductance or trace that decays is a row of `z`, kept multiplied by exp(+t / tau), t since the last rebase, so that it needs
no decay at each step: `up` and `down` are tables of exp(+-k dt / tau), one row for each, k = 0 .. rebase. Floating-point
numbers are all of the network's type, float32 or float64.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BLOCK = 64  # neurons whose threshold is asked at once
LINE, LARGE_PAGE = 64, 1 << 21  # bytes

# kinds of population
LIF, CONDUCTANCE, ADEX, IZHIKEVICH, ADAPTIVE, ESCAPE, HOMEOSTATIC, POISSON, TRAINS = range(9)

# fields that are whole numbers, and fields of the network's type
POPULATION = (
    ("kind", "start", "n", "hold", "substeps", "channel", "channel_end", "driven", "train_at", "train_end",
     "held_first", "held_count"), ("most",)
)  # fmt: skip
ROW = (("at", "size", "instant"), ("factor",))  # of z; factor: what a channel counts by where its neuron integrates
PROJECTION = (
    (
        "pre", "post", "dense", "width",  # width: number of post units
        "first", "size", "rows", "targets", "columns", "incoming",  # where its parts of the flat arrays begin
        "channel", "plastic",  # the row its spikes add to; 0 static, 1 one additive group at each event, 2 any rule
        "axonal", "axonal_end", "dendritic", "dendritic_end", "units_pre", "units_post",  # in delays, delay_pre, delay_post
    ),
    ("low", "high"),
)  # fmt: skip
EVENT = (("group", "group_end", "bump", "bump_end", "product", "product_end"), ())  # [projection, pre or post spike]
GROUP = (
    ("far", "power", "eligible", "term", "term_end"),
    ("mu", "w0", "w_max"),
)  # power: 1 (w/w0)^mu, 2 ((w_max-w)/w0)^mu
TERM = (("near", "factor", "factor_end"), ("gain",))  # in `near`: rows from near to factor, signals from there on
BUMP = (("row", "nearest"), ("by",))
PRODUCT = (("row", "part", "part_end"), ())
GATE = (("projection", "at", "size", "signal"), ())
SIGNAL = (("of",), ("value", "kept", "grown"))  # of: the signal whose trace it is; -1: set from outside
CLOCKED = (("row", "part", "part_end"), ("rate",))  # a row whose decay varies: rate is that of its parts that do not
PART = (("signal",), ("rate",))  # of a clocked row: a trace, its tau multiplied by the signal
WATCH = (("place", "what"), ())  # what: 0 v, 1 x, 2 + row of z
TOLD = (
    ("listen", "bin", "since", "total"),
    (),
)  # of a population: record spikes? steps in a bin, where the first began


def table(fields: tuple[tuple[str, ...], tuple[str, ...]], F: Any, length: int) -> Array:
    return np.zeros(length, np.dtype([(n, np.int64) for n in fields[0]] + [(n, F) for n in fields[1]], align=True))


def joined(parts: list[Array], dtype: Any) -> Array:
    """Arrays one after the other; large ones in memory of large pages, where the system has them: a post spike reaches into
    a page of its own at each of its synapses, and the processor remembers the places of few."""
    n = sum(len(x) for x in parts)
    size = n * np.dtype(dtype).itemsize
    if size < 2 * LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.concatenate(parts, dtype=dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.concatenate(parts, out=np.frombuffer(memory, dtype))


def aligned(x: Array) -> Array:
    """A copy that begins with a line of the cache: how fast the neurons are is not left to chance."""
    memory = np.empty(x.nbytes + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    y = memory[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


class Cells(NamedTuple):
    """The state of all neurons. Potentials and drive are [blocks, BLOCK]; `spikes` [depth, places] and `count` [depth, P]
    hold who spiked in the last steps."""

    population: Array
    par: Array  # [P, 12]: see `integrate.py`
    drive: Array
    v: Array
    x: Array  # g_n or theta of ConductanceLIF, w of AdEx, r of Izhikevich, a of the adaptive threshold
    current: Array  # scratch
    last: Array  # [places]: the step of the last spike
    held: Array  # [places]: a ring of each population's places that spiked and are not free yet
    chance: Array  # [places]: of a spike in a step, Poisson
    spikes: Array
    count: Array
    train_step: Array
    train_unit: Array


class Decays(NamedTuple):
    row: Array
    up: Array  # [R, rebase + 1]
    down: Array
    z: Array  # [blocks, BLOCK]
    clocked: Array  # rows whose `up` and `down` are written step by step
    part: Array


class Wires(NamedTuple):
    """All synapses, sorted by projection, pre and post."""

    projection: Array
    delays: Array  # distinct ones of each projection, in steps
    delay_pre: Array  # each unit's, where they differ
    delay_post: Array
    row: Array  # pointers to the synapses of a pre unit, within the projection
    target: Array  # post unit of a synapse
    column: Array  # pointers to the incoming synapses of a post unit
    source: Array  # pre unit of an incoming synapse
    where: Array  # and which synapse it is
    w: Array


class Rules(NamedTuple):
    event: Array
    group: Array
    term: Array
    near: Array  # rows, and places in `signal`
    bump: Array
    product: Array
    part: Array  # rows


class Gates(NamedTuple):
    """Eligibility, one number a synapse, kept multiplied by exp(+t / tau_e); and the signals that read it."""

    gate: Array
    up: Array
    down: Array
    e: Array
    signal: Array


class Seen(NamedTuple):
    """Buffers that the loop fills: spikes (place, step), bins [P, bins], states [watched, samples]."""

    told: Array
    unit: Array
    step: Array
    bins: Array
    watch: Array
    state: Array
    at: Array  # [3]: spikes so far, samples so far, steps between samples
