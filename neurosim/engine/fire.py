"""One step of a population, compiled: it is integrated, and some of it spikes; or its spikes are given."""

from __future__ import annotations

import math
from typing import Any

from neurosim.engine import integrate
from neurosim.engine.arrays import ADAPTIVE, ADEX, BLOCK, CONDUCTANCE, ESCAPE, HOMEOSTATIC, IZHIKEVICH, LIF, POISSON
from neurosim.engine.integrate import RESET, THRESHOLD, compiled, random


@compiled
def integrated(
    p: int, k: int, population: Any, par: Any, drive: Any, v: Any, x: Any, current: Any, row: Any, down: Any, z: Any,
    flags: Any, others: Any,
) -> None:  # fmt: skip
    """Population p over one step; flags: how many of each block are above threshold. v, x, z are [blocks, BLOCK]."""
    here, par = population[p], par[p]
    start, blocks = here.start // BLOCK, (here.n + BLOCK - 1) // BLOCK
    v, x = v[start : start + blocks], x[start : start + blocks]
    current, drive = current[start : start + blocks], drive[start : start + blocks]
    first, last = here.channel, here.channel_end
    if others is not None:
        if here.kind == CONDUCTANCE:
            e, i = row[first].at // BLOCK, row[first + 1].at // BLOCK
            integrate.conductance(
                v, x, z[e : e + blocks], z[i : i + blocks], down[first, k], down[first + 1, k], drive, par, flags
            )
            return
        if here.kind == HOMEOSTATIC:
            e, i = row[first].at // BLOCK, row[first + 1].at // BLOCK
            integrate.homeostatic(
                v, x, z[e : e + blocks], z[i : i + blocks], down[first, k], down[first + 1, k], drive, par, flags
            )
            return
    plain = here.kind == LIF and here.driven == 0
    if plain and last - first == 1:
        at = row[first].at // BLOCK
        integrate.lif_one(v, z[at : at + blocks], row[first].factor * down[first, k], par, flags)
    elif plain and last - first == 2:
        at, to = row[first].at // BLOCK, row[first + 1].at // BLOCK
        s, r = row[first].factor * down[first, k], row[first + 1].factor * down[first + 1, k]
        integrate.lif_two(v, z[at : at + blocks], z[to : to + blocks], s, r, par, flags)
    else:
        integrate.gather(current, drive, par[integrate.DRIVE])
        for c in range(first, last):
            at = row[c].at // BLOCK
            integrate.add(current, z[at : at + blocks], row[c].factor * down[c, k])
        if here.kind == LIF:
            integrate.lif_one(v, current, par.dtype.type(1), par, flags)
        if others is not None:
            if here.kind == ADEX:
                integrate.adex(v, x, current, par, flags)
            elif here.kind == IZHIKEVICH:
                integrate.izhikevich(v, x, current, here.substeps, par, flags)
            elif here.kind == ADAPTIVE:
                integrate.adaptive(v, x, current, par, flags)
            elif here.kind == ESCAPE:
                integrate.lif_one(v, current, par.dtype.type(1), par, flags)  # its threshold, -inf, lets all be asked
    for c in range(first, last):
        if row[c].instant:
            at = row[c].at // BLOCK
            z[at : at + blocks] = 0


@compiled
def fired(
    p: int, t: int, slot: int, population: Any, par: Any, v: Any, x: Any, last: Any, held: Any, spikes: Any, count: Any,
    flags: Any, row: Any, z: Any, random_state: Any, others: Any,
) -> None:  # fmt: skip
    """The spikes of population p at step t, and their resets; v of neurons that are held goes back to its reset."""
    here, par = population[p], par[p]
    start, n, hold, adaptive = here.start, here.n, here.hold, here.kind == ADAPTIVE
    threshold, reset, jump = par[THRESHOLD], par[RESET], par[11]
    first, many = here.held_first, here.held_count  # a ring: held[start + first], ... , in the order of their spikes
    while many > 0 and t - last[held[start + first]] >= hold:
        first, many = (first + 1 if first + 1 < n else 0), many - 1
    for m in range(many):
        at = first + m
        v[held[start + (at if at < n else at - n)]] = reset
    found = 0
    for b in range((n + BLOCK - 1) // BLOCK):
        if flags[b] == 0:
            continue
        for i in range(b * BLOCK, min(b * BLOCK + BLOCK, n)):
            m = start + i
            bound = threshold + par[5] * x[m] if adaptive else threshold
            if others is not None:
                if here.kind == HOMEOSTATIC:
                    bound = threshold + x[m]
                if here.kind == ESCAPE:  # rho dt > -log U, U uniform: a threshold that is drawn
                    drawn = math.log(-math.log(random(random_state)) / par[7])
                    bound = par.dtype.type(par[5] + par[6] * drawn)
            if v[m] > bound and t - last[m] >= hold:
                spikes[slot, start + found] = i
                found += 1
                last[m] = t
                if adaptive:
                    v[m] -= par[6]
                    x[m] += par[7]
                else:
                    v[m] = reset
                    x[m] += jump
                if others is not None:
                    if here.kind == ESCAPE:  # the input of before is forgotten
                        for c in range(here.channel, here.channel_end):
                            z[row[c].at + i] = 0
                if hold > 1:
                    at = first + many
                    held[start + (at if at < n else at - n)] = m
                    many += 1
    count[slot, p] = found
    population[p].held_first, population[p].held_count = first, many


@compiled
def given(
    p: int, t: int, slot: int, population: Any, chance: Any, last: Any, spikes: Any, count: Any, train_step: Any,
    train_unit: Any, random_state: Any,
) -> None:  # fmt: skip
    """The spikes of an input population."""
    here = population[p]
    start, n = here.start, here.n
    into = spikes[slot, start : start + n]
    if here.kind == POISSON:
        found = integrate.poisson(chance[start : start + n], here.most, n, random_state, into)
    else:
        at, found = here.train_at, 0
        while at < here.train_end and train_step[at] <= t:
            if train_step[at] == t:
                into[found] = train_unit[at]
                found += 1
            at += 1
        population[p].train_at = at
    for m in range(found):
        last[start + into[m]] = t
    count[slot, p] = found
