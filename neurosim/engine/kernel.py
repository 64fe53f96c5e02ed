"""The compiled loop over time.

Within a step, in Brian2's order: the neurons are integrated and those above threshold spike and are reset; spikes whose axonal
delay is over arrive at their synapses, act on the post neuron from the next step on, and change weights; post spikes whose
dendritic delay is over change weights; eligibility meets the signals. So pre comes before post, and a trace is read before
its own bump. A weight is sent as it is before the change.
"""

from __future__ import annotations

from typing import Any

from neurosim.engine import arrays, integrate
from neurosim.engine.integrate import RESET, THRESHOLD, compiled
from neurosim.engine.plastic import (
    across,
    across_dense,
    along_dense,
    bumped,
    changed,
    scalar,
    send,
    send_along,
    send_dense,
)  # fmt: skip

LIF, CONDUCTANCE, ADEX, IZHIKEVICH, ADAPTIVE, POISSON, TRAINS = (
    arrays.LIF, arrays.CONDUCTANCE, arrays.ADEX, arrays.IZHIKEVICH, arrays.ADAPTIVE, arrays.POISSON, arrays.TRAINS,
)  # fmt: skip
BLOCK = arrays.BLOCK


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
                v, z[e : e + blocks], z[i : i + blocks], down[first, k], down[first + 1, k], drive, par, flags
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
    for c in range(first, last):
        if row[c].instant:
            at = row[c].at // BLOCK
            z[at : at + blocks] = 0


@compiled
def fired(
    p: int, t: int, slot: int, depth: int, population: Any, par: Any, v: Any, x: Any, last: Any, spikes: Any, count: Any,
    flags: Any,
) -> None:  # fmt: skip
    """The spikes of population p at step t, and their resets; v of neurons that are held goes back to its reset."""
    here, par = population[p], par[p]
    start, n, hold, adaptive = here.start, here.n, here.hold, here.kind == ADAPTIVE
    threshold, reset, jump = par[THRESHOLD], par[RESET], par[11]
    found = 0
    for b in range((n + BLOCK - 1) // BLOCK):
        if flags[b] == 0:
            continue
        for i in range(b * BLOCK, min(b * BLOCK + BLOCK, n)):
            m = start + i
            bound = threshold + par[5] * x[m] if adaptive else threshold
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
    count[slot, p] = found
    old = slot
    for _ in range(1, min(hold, t + 1)):
        old = old - 1 if old > 0 else depth - 1
        for m in range(count[old, p]):
            v[start + spikes[old, start + m]] = reset


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


@compiled
def arrivals(
    q: int, t: int, k: int, depth: int, population: Any, spikes: Any, count: Any, projection: Any, delays: Any,
    delay_pre: Any, rows: Any, targets: Any, weights: Any, event: Any, group: Any, term: Any, near: Any, bump: Any,
    product: Any, part: Any, row: Any, up: Any, down: Any, z: Any, gate: Any, gate_up: Any, e: Any, none: Any, c: Any,
    general: Any,
) -> None:  # fmt: skip
    """All pre spikes of a projection whose delay is over, at their synapses."""
    here = projection[q]
    dense, plastic, first, width, channel = here.dense, here.plastic, here.first, here.width, here.channel
    low, high = here.low, here.high
    w = weights[first : first + here.size]
    g = z[row[channel].at : row[channel].at + width]
    start, many = population[here.pre].start, here.axonal_end - here.axonal > 1
    lone = plastic == 1 and event[q, 0].group < event[q, 0].group_end
    for d in range(here.axonal, here.axonal_end):
        slot = (t - delays[d]) % depth
        for m in range(count[slot, here.pre] if t >= delays[d] else 0):
            unit = int(spikes[slot, start + m])
            if many and delay_pre[here.units_pre + unit] != delays[d]:
                continue
            begin = unit * width if dense else rows[here.rows + unit]
            end = begin + width if dense else rows[here.rows + unit + 1]
            target = targets[here.targets + begin : here.targets + end] if dense == 0 else targets[:0]
            s = up[channel, k]
            if lone:
                i = event[q, 0].group
                x, r = scalar(i, unit, k, group, term, near, row, down, z), group[i].far
                far = z[row[r].at : row[r].at + width]
                if dense:
                    send_dense(w[begin:end], g, s)
                    along_dense(w[begin:end], far, x, low, high)
                else:
                    send_along(w[begin:end], target, g, s, far, x, low, high)
            elif dense:
                send_dense(w[begin:end], g, s)
            else:
                send(w[begin:end], target, g, s)
            if general is not None:
                if plastic == 2:
                    changed(
                        q, 0, unit, begin, k, w, none, target, c, projection, event, group, term, near, row, down, z, gate,
                        gate_up, e,
                    )  # fmt: skip
            if plastic:
                bumped(q, 0, unit, k, event, bump, product, part, row, up, z)


@compiled
def returns(
    q: int, t: int, k: int, depth: int, population: Any, spikes: Any, count: Any, projection: Any, delays: Any,
    delay_post: Any, columns: Any, sources: Any, wheres: Any, weights: Any, event: Any, group: Any, term: Any, near: Any,
    bump: Any, product: Any, part: Any, row: Any, up: Any, down: Any, z: Any, gate: Any, gate_up: Any, e: Any, c: Any,
    general: Any,
) -> None:  # fmt: skip
    """All post spikes of a plastic projection whose delay is over, at their incoming synapses."""
    here = projection[q]
    dense, plastic, first, width = here.dense, here.plastic, here.first, here.width
    low, high = here.low, here.high
    w = weights[first : first + here.size]
    start, many = population[here.post].start, here.dendritic_end - here.dendritic > 1
    lone = plastic == 1 and event[q, 1].group < event[q, 1].group_end
    for d in range(here.dendritic, here.dendritic_end):
        slot = (t - delays[d]) % depth
        for m in range(count[slot, here.post] if t >= delays[d] else 0):
            unit = int(spikes[slot, start + m])
            if many and delay_post[here.units_post + unit] != delays[d]:
                continue
            where, source = wheres[:0], sources[:0]
            if dense == 0:
                begin = here.incoming + columns[here.columns + unit]
                end = here.incoming + columns[here.columns + unit + 1]
                where, source = wheres[begin:end], sources[begin:end]
            if lone:
                i = event[q, 1].group
                x, r = scalar(i, unit, k, group, term, near, row, down, z), group[i].far
                far = z[row[r].at : row[r].at + row[r].size]
                if dense:
                    across_dense(w, width, unit, far, x, low, high)
                else:
                    across(w, where, source, far, x, low, high)
            if general is not None:
                if plastic == 2:
                    changed(
                        q, 1, unit, 0, k, w, where, source, c, projection, event, group, term, near, row, down, z, gate,
                        gate_up, e,
                    )  # fmt: skip
            bumped(q, 1, unit, k, event, bump, product, part, row, up, z)


@compiled
def gated(k: int, dt: Any, projection: Any, weights: Any, gate: Any, down: Any, e: Any, signal: Any) -> None:
    """w <- w + M e dt within bounds, of every term whose signal M is not 0."""
    for m in range(len(signal)):
        if signal[m].of >= 0:
            signal[m].value = signal[m].value * signal[m].kept + signal[m].grown * signal[signal[m].of].value
    for r in range(len(gate)):
        M = signal[gate[r].signal].value
        if M != 0:
            here = projection[gate[r].projection]
            add_within(
                weights[here.first : here.first + here.size], e[gate[r].at : gate[r].at + here.size], M * dt * down[r, k],
                here.low, here.high,
            )  # fmt: skip


@compiled
def add_within(w: Any, e: Any, x: Any, low: Any, high: Any) -> None:
    for s in range(len(w)):
        w[s] = min(max(w[s] + x * e[s], low), high)


@compiled
def scaled(z: Any, x: Any) -> None:
    for i in range(len(z)):
        z[i] *= x


@compiled
def rebased(row: Any, down: Any, z: Any, gate: Any, gate_down: Any, e: Any, last: int) -> None:
    """What is kept multiplied by exp(+t / tau) is brought back to t = 0."""
    for r in range(len(row)):
        if not row[r].instant:
            scaled(z[row[r].at : row[r].at + row[r].size], down[r, last])
    for r in range(len(gate)):
        scaled(e[gate[r].at : gate[r].at + gate[r].size], gate_down[r, last])


@compiled
def noted(
    t: int, k: int, slot: int, population: Any, v: Any, x: Any, spikes: Any, count: Any, row: Any, down: Any, z: Any,
    told: Any, unit: Any, steps: Any, bins: Any, watch: Any, state: Any, at: Any,
) -> None:  # fmt: skip
    """What is recorded of step t."""
    for p in range(len(population)):
        n, start = count[slot, p], population[p].start
        told[p].total += n
        if told[p].bin:
            bins[p, (t - told[p].since) // told[p].bin] += n
        if told[p].listen:
            for m in range(n):
                unit[at[0] + m] = start + spikes[slot, start + m]
                steps[at[0] + m] = t
            at[0] += n
    if len(watch) and (t + 1 - at[3]) % at[2] == 0:
        for m in range(len(watch)):
            what, i = watch[m].what, watch[m].place
            if what == 0:
                state[m, at[1]] = v[i]
            elif what == 1:
                state[m, at[1]] = x[i]
            else:
                state[m, at[1]] = z[row[what - 2].at + i] * down[what - 2, k]
        at[1] += 1


@compiled
def advance(
    steps: int, clock: Any, depth: int, rebase: int, dt: Any, room: int, cells: Any, wires: Any, rules: Any, decays: Any,
    gates: Any, seen: Any, random_state: Any, flags: Any, c: Any, others: Any, general: Any,
) -> int:  # fmt: skip
    """Up to `steps` steps from clock = [t, steps since the last rebase]; fewer where the spikes' buffer might not do.

    others, general: None where all neurons are LIF, and where no rule is of the general kind: then those are not compiled.
    """
    population, par, drive, v2, x2, current, last, chance, spikes, count, train_step, train_unit = cells
    projection, delays, delay_pre, delay_post, rows, targets, columns, sources, wheres, w = wires
    event, group, term, near, bump, product, part = rules
    row, up, down, z2 = decays
    gate, gate_up, gate_down, e, signal = gates
    told, unit, step_of, bins, watch, state, at = seen
    v, x, z = v2.reshape(v2.size), x2.reshape(x2.size), z2.reshape(z2.size)
    for step in range(steps):
        if at[0] + room > len(unit):
            return step
        t, k = clock[0], clock[1]
        if k == rebase:
            rebased(row, down, z, gate, gate_down, e, rebase)
            k = 0
        slot = t % depth
        for p in range(len(population)):
            if population[p].kind == POISSON or population[p].kind == TRAINS:
                given(p, t, slot, population, chance, last, spikes, count, train_step, train_unit, random_state)
            else:
                integrated(p, k, population, par, drive, v2, x2, current, row, down, z2, flags, others)
                fired(p, t, slot, depth, population, par, v, x, last, spikes, count, flags)
        k += 1  # what is kept multiplied by exp(+t / tau): the last step's bumps were one step ago
        for q in range(len(projection)):
            arrivals(
                q, t, k, depth, population, spikes, count, projection, delays, delay_pre, rows, targets, w, event, group,
                term, near, bump, product, part, row, up, down, z, gate, gate_up, e, wheres, c,
                general,
            )  # fmt: skip
        for q in range(len(projection)):
            if projection[q].plastic:
                returns(
                    q, t, k, depth, population, spikes, count, projection, delays, delay_post, columns, sources, wheres,
                    w, event, group, term, near, bump, product, part, row, up, down, z, gate, gate_up, e, c, general,
                )  # fmt: skip
        if len(gate):
            gated(k, dt, projection, w, gate, gate_down, e, signal)
        noted(t, k, slot, population, v, x, spikes, count, row, down, z, told, unit, step_of, bins, watch, state, at)
        clock[0], clock[1] = t + 1, k
    return steps
