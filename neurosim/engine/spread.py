"""Spikes that arrive at the synapses of a projection, from either side, and what signals do there; compiled."""

from __future__ import annotations

import math
from typing import Any

from neurosim.engine.integrate import compiled, fetch
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

FAR = 1 << 19  # synapses: 3 MB and more are not where the next row is at once


@compiled
def row_fetched(q: int, unit: int, projection: Any, rows: Any, targets: Any, w: Any) -> None:
    """The synapses of a pre unit that is soon to come."""
    here = projection[q]
    for s in range(rows[here.rows + unit], rows[here.rows + unit + 1], 16):
        fetch(w, s)
        fetch(targets, here.targets + s)


@compiled
def arrivals(
    q: int, t: int, now: int, k: int, depth: int, population: Any, spikes: Any, count: Any, projection: Any, delays: Any,
    delay_pre: Any, rows: Any, targets: Any, weights: Any, event: Any, group: Any, term: Any, near: Any, bump: Any,
    product: Any, part: Any, row: Any, up: Any, down: Any, z: Any, gate: Any, gate_up: Any, e: Any, none: Any, c: Any,
    signal: Any, dense: Any, general: Any,
) -> None:  # fmt: skip
    """All pre spikes of a projection whose delay is over, at their synapses. now: the row of `spikes` of step t."""
    here = projection[q]
    plastic, first, width, channel = here.plastic, here.first, here.width, here.channel
    low, high = here.low, here.high
    w = weights[first : first + here.size]
    g = z[row[channel].at : row[channel].at + width]
    start, many = population[here.pre].start, here.axonal_end - here.axonal > 1
    lone = plastic == 1 and event[q, 0].group < event[q, 0].group_end
    for d in range(here.axonal, here.axonal_end):
        slot = now - delays[d] if now >= delays[d] else now - delays[d] + depth
        for m in range(count[slot, here.pre] if t >= delays[d] else 0):
            unit = int(spikes[slot, start + m])
            if many and delay_pre[here.units_pre + unit] != delays[d]:
                continue
            begin, target = unit * width, targets[:0]
            if here.dense == 0:
                begin, end = rows[here.rows + unit], rows[here.rows + unit + 1]
                target = targets[here.targets + begin : here.targets + end]
                if here.size > FAR and m + 1 < count[slot, here.pre]:
                    row_fetched(q, int(spikes[slot, start + m + 1]), projection, rows, targets, w)
            own, s = w[begin : begin + len(target)], up[channel, k]
            if lone:
                i = event[q, 0].group
                x, r = scalar(i, unit, k, group, term, near, row, down, z, None), group[i].far
                far = z[row[r].at : row[r].at + width]
                send_along(own, target, g, s, far, x, low, high)
                if dense is not None:
                    if here.dense:
                        send_dense(w[begin : begin + width], g, s)
                        along_dense(w[begin : begin + width], far, x, low, high)
            else:
                send(own, target, g, s)
                if dense is not None:
                    if here.dense:
                        send_dense(w[begin : begin + width], g, s)
            if general is not None:
                if plastic == 2:
                    changed(
                        q, 0, unit, begin, k, w, none, target, c, projection, event, group, term, near, row, down, z, gate,
                        gate_up, e, signal,
                    )  # fmt: skip
            if plastic:
                bumped(q, 0, unit, k, event, bump, product, part, row, up, z)
        soon = slot + 1 if slot + 1 < depth else 0  # these arrive in the next step
        for m in range(count[soon, here.pre] if here.dense == 0 and t >= delays[d] else 0):
            row_fetched(q, int(spikes[soon, start + m]), projection, rows, targets, w)


@compiled
def awaited(
    q: int, now: int, depth: int, t: int, population: Any, spikes: Any, count: Any, projection: Any, delays: Any, columns: Any,
    sources: Any, wheres: Any,
) -> None:  # fmt: skip
    """The lists that `returns` will need in this step."""
    here = projection[q]
    start = population[here.post].start
    for d in range(here.dendritic, here.dendritic_end):
        slot = now - delays[d] if now >= delays[d] else now - delays[d] + depth
        for m in range(count[slot, here.post] if here.dense == 0 and t >= delays[d] else 0):
            unit = int(spikes[slot, start + m])
            begin, end = columns[here.columns + unit], columns[here.columns + unit + 1]
            for s in range(here.incoming + begin, here.incoming + end, 16):
                fetch(wheres, s)
                fetch(sources, s)


@compiled
def returns(
    q: int, t: int, now: int, k: int, depth: int, population: Any, spikes: Any, count: Any, projection: Any, delays: Any,
    delay_post: Any, columns: Any, sources: Any, wheres: Any, weights: Any, event: Any, group: Any, term: Any, near: Any,
    bump: Any, product: Any, part: Any, row: Any, up: Any, down: Any, z: Any, gate: Any, gate_up: Any, e: Any, c: Any,
    signal: Any, dense: Any, general: Any,
) -> None:  # fmt: skip
    """All post spikes of a plastic projection whose delay is over, at their incoming synapses."""
    here = projection[q]
    plastic, first, width = here.plastic, here.first, here.width
    low, high = here.low, here.high
    w = weights[first : first + here.size]
    start, many = population[here.post].start, here.dendritic_end - here.dendritic > 1
    lone = plastic == 1 and event[q, 1].group < event[q, 1].group_end
    for d in range(here.dendritic, here.dendritic_end):
        slot = now - delays[d] if now >= delays[d] else now - delays[d] + depth
        for m in range(count[slot, here.post] if t >= delays[d] else 0):
            unit = int(spikes[slot, start + m])
            if many and delay_post[here.units_post + unit] != delays[d]:
                continue
            where, source = wheres[:0], sources[:0]
            if here.dense == 0:
                begin = here.incoming + columns[here.columns + unit]
                end = here.incoming + columns[here.columns + unit + 1]
                where, source = wheres[begin:end], sources[begin:end]
            if lone:
                i = event[q, 1].group
                x, r = scalar(i, unit, k, group, term, near, row, down, z, None), group[i].far
                far = z[row[r].at : row[r].at + row[r].size]
                across(w, where, source, far, x, low, high)
                if dense is not None:
                    if here.dense:
                        across_dense(w, width, unit, far, x, low, high)
            if general is not None:
                if plastic == 2:
                    changed(
                        q, 1, unit, 0, k, w, where, source, c, projection, event, group, term, near, row, down, z, gate,
                        gate_up, e, signal,
                    )  # fmt: skip
            bumped(q, 1, unit, k, event, bump, product, part, row, up, z)


@compiled
def heard(signal: Any) -> None:
    """Traces of signals, over one step: z <- exp(-dt/tau) z + bump M."""
    for m in range(len(signal)):
        if signal[m].of >= 0:
            signal[m].value = signal[m].value * signal[m].kept + signal[m].grown * signal[signal[m].of].value


@compiled
def clocked(k: int, dt: Any, rows: Any, part: Any, signal: Any, up: Any, down: Any) -> None:
    """`up` and `down` of the rows whose decay varies, exp(+-integral dt / (tau clock)).

    tau clock is at least dt: what an environment sets may be anything.
    """
    for m in range(len(rows)):
        r, rate = rows[m].row, rows[m].rate
        for j in range(rows[m].part, rows[m].part_end):
            slow, fast = signal[part[j].signal].value, part[j].rate
            rate += fast / slow if slow > fast * dt else 1 / dt
        x = math.exp(rate * dt)
        up[r, k] = up[r, k - 1] * x
        down[r, k] = down[r, k - 1] / x


@compiled
def gated(k: int, dt: Any, projection: Any, weights: Any, gate: Any, down: Any, e: Any, signal: Any, x: Any) -> None:
    """w <- w + M e dt within bounds, of every term whose signal M is not 0."""
    r = 0
    while r < len(gate):  # a projection's gates stand together, and its bounds hold for their sum
        first, active, lone = r, 0, r
        here = projection[gate[r].projection]
        while r < len(gate) and gate[r].projection == gate[first].projection:
            x[r] = signal[gate[r].signal].value * dt * down[r, k]
            if x[r] != 0:
                active, lone = active + 1, r
            r += 1
        w = weights[here.first : here.first + here.size]
        if active == 1:
            add_within(w, e[gate[lone].at : gate[lone].at + here.size], x[lone], here.low, here.high)
        elif active > 1:
            for s in range(here.size):
                total = w[s]
                for m in range(first, r):
                    total += x[m] * e[gate[m].at + s]
                w[s] = min(max(total, here.low), here.high)


@compiled
def add_within(w: Any, e: Any, x: Any, low: Any, high: Any) -> None:
    for s in range(len(w)):
        w[s] = min(max(w[s] + x * e[s], low), high)


@compiled
def scaled(z: Any, x: Any) -> None:
    for i in range(len(z)):
        z[i] *= x


@compiled
def rebased(row: Any, down: Any, z: Any, gate: Any, gate_down: Any, e: Any, last: int, general: Any) -> None:
    """What is kept multiplied by exp(+t / tau) is brought back to t = 0."""
    for r in range(len(row)):
        if not row[r].instant:
            scaled(z[row[r].at : row[r].at + row[r].size], down[r, last])
    if general is not None:
        for r in range(len(gate)):
            scaled(e[gate[r].at : gate[r].at + gate[r].size], gate_down[r, last])
