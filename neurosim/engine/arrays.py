"""The network as the compiled loop sees it: named tuples of flat arrays. `build.py` makes them, `kernel.py` runs them.

One index space for all neurons: population p has the places start[p] .. start[p] + n[p], padded to blocks of BLOCK. A synaptic
current, conductance or trace that decays is kept multiplied by exp(+t / tau), t since the last rebase, so that it needs no
decay at each step: `up` and `down` are tables of exp(+-k dt / tau), one row for each, k = 0 .. rebase.
Floating-point arrays are all of the network's type, float32 or float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
BLOCK = 64  # neurons whose threshold is asked at once

# kinds of population
LIF, CONDUCTANCE, ADEX, IZHIKEVICH, ADAPTIVE, POISSON, TRAINS = range(7)


class Neurons(NamedTuple):
    """Populations [P] and the state of all neurons [places]."""

    kind: Array
    start: Array
    n: Array
    hold: Array  # steps that v is held at its reset after a spike
    substeps: Array
    par: Array  # [P, 12], by kind: see `integrate.py`
    channels: Array  # [P, 2]: its first channel, and one past its last
    driven: Array  # [P]: does its drive differ from neuron to neuron, or from 0?
    drive: Array  # [places] mV or pA, constant
    v: Array
    x: Array  # w of AdEx, r of Izhikevich, a of the adaptive threshold
    current: Array  # scratch
    last: Array  # the step of the last spike
    spikes: Array  # [depth, places]: the neurons of each population that spiked, for the last `depth` steps
    count: Array  # [depth, P]: how many
    train_at: Array  # [P]: where its train goes on
    train_end: Array
    train_step: Array  # all trains: steps
    train_unit: Array  # and units
    chance: Array  # [places]: of a spike in a step, Poisson
    most: Array  # [P]: the largest of them


class Decays(NamedTuple):
    """What decays: rows [R] of `z`, each a channel, a trace or a product of traces."""

    at: Array  # where its row begins
    size: Array
    up: Array  # [R, rebase + 1]
    down: Array  # [R, rebase + 1]
    z: Array
    factor: Array  # [R]: what a channel counts by, where its neuron integrates
    instant: Array  # [R]: a channel that lasts one step


class Projections(NamedTuple):
    """Projections [Q], and all their synapses, sorted by pre and then by post."""

    pre: Array
    post: Array
    dense: Array
    first: Array  # where its synapses begin
    size: Array
    width: Array  # number of post units
    rows: Array  # where its row pointers begin
    targets: Array  # where its targets begin; a dense one has none
    columns: Array  # the same of the incoming ones, -1 without
    incoming: Array  # where its incoming synapses begin
    channel: Array  # the row of `z` its spikes add to
    plastic: Array  # 0 no, 1 one additive group at each event, 2 any rule
    delays_pre: Array  # [Q, 2]: its first delay, and one past its last, in `delays`
    delays_post: Array
    delays: Array  # distinct delays, in steps
    units_pre: Array  # where each unit's delay begins, in delay_pre
    units_post: Array
    delay_pre: Array
    delay_post: Array
    low: Array  # [Q]: w_min
    high: Array
    row: Array  # row pointers, within the projection
    target: Array  # [synapses]: post
    column: Array  # pointers to incoming synapses, within the projection
    source: Array  # [incoming]: pre
    where: Array  # [incoming]: which synapse it is
    w: Array  # [synapses]


class Plasticity(NamedTuple):
    """Rules: for projection q and event e the groups groups[q, e] .. groups[q, e, 1]; a group's terms; what bumps."""

    groups: Array  # [Q, 2, 2]
    far: Array  # [G]: the row of the other side's trace or product; -1 none
    power: Array  # [G]: 0 none, 1 (w / w0)^mu, 2 ((w_max - w) / w0)^mu
    mu: Array
    w0: Array
    w_max: Array
    eligible: Array  # [G]: the row of its eligibility; -1: at once
    terms: Array  # [G, 2]
    gain: Array  # [terms]
    near: Array  # [terms, 2]: its traces of the side that spiked, in near_row
    near_row: Array
    bumps: Array  # [Q, 2, 2]: traces that a spike bumps, in bump_row
    bump_row: Array
    bump: Array
    nearest: Array
    products: Array  # [Q, 2, 2]: products that it changes, in product_row
    product_row: Array
    parts: Array  # [products, 2]: their traces, in part
    part: Array


class Gates(NamedTuple):
    """Eligibility: rows [E] of `e`, one number a synapse, kept multiplied by exp(+t / tau_e); and the signals that read it."""

    projection: Array
    at: Array
    length: Array
    signal: Array  # which of `signals`
    up: Array
    down: Array
    e: Array
    signals: Array  # [S]: values set from outside, and their traces
    of: Array  # [S]: the signal whose trace it is; -1: set from outside
    kept: Array  # [S]: a trace's decay in a step
    grown: Array  # [S]: and its bump


class Recorded(NamedTuple):
    """Buffers that the loop fills."""

    listen: Array  # [P]
    unit: Array  # spikes: place, step
    step: Array
    count: Array  # [1]
    binned: Array  # [P]: steps in a bin, 0 none
    bins: Array  # [P, bins]
    total: Array  # [P]: spikes
    watch: Array  # [K]: places
    what: Array  # [K]: 0 v, 1 x, 2 + row of z
    every: Array  # [1]
    state: Array  # [K, samples]
    samples: Array  # [1]
    since: Array  # [1]: the step at which the run began
    bin_since: Array  # [P]: the step at which its first bin here began
