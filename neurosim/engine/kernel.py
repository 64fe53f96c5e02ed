"""The compiled loop over time.

Within a step, in Brian2's order: the neurons are integrated and those above threshold spike and are reset; spikes whose axonal
delay is over arrive at their synapses, act on the post neuron from the next step on, and change weights; post spikes whose
dendritic delay is over change weights; eligibility meets the signals. So pre comes before post, and a trace is read before
its own bump. A weight is sent as it is before the change.
"""

from __future__ import annotations

from typing import Any

from neurosim.engine import arrays, integrate, plastic
from neurosim.engine.integrate import RESET, THRESHOLD, compiled, inlined

LIF, CONDUCTANCE, ADEX, IZHIKEVICH, ADAPTIVE, POISSON, TRAINS = (
    arrays.LIF, arrays.CONDUCTANCE, arrays.ADEX, arrays.IZHIKEVICH, arrays.ADAPTIVE, arrays.POISSON, arrays.TRAINS,
)  # fmt: skip
BLOCK = arrays.BLOCK


@inlined
def integrated(p: int, cells: Any, decays: Any, k: int, flags: Any) -> None:
    """Population p over one step; flags: how many of each block are above threshold."""
    start, kind, par = cells.start[p], cells.kind[p], cells.par[p]
    blocks = (cells.n[p] + BLOCK - 1) // BLOCK
    stop = start + blocks * BLOCK
    v, x = cells.v[start:stop].reshape(blocks, BLOCK), cells.x[start:stop].reshape(blocks, BLOCK)
    current, drive = cells.current[start:stop].reshape(blocks, BLOCK), cells.drive[start:stop].reshape(blocks, BLOCK)
    z, at, first, last = decays.z, decays.at, cells.channels[p, 0], cells.channels[p, 1]
    if kind == CONDUCTANCE:
        e, i = z[at[first] : at[first] + blocks * BLOCK], z[at[first + 1] : at[first + 1] + blocks * BLOCK]
        integrate.conductance(
            v, e.reshape(blocks, BLOCK), i.reshape(blocks, BLOCK), decays.down[first, k], decays.down[first + 1, k],
            drive, par, flags,
        )  # fmt: skip
        return
    if kind == LIF and not cells.driven[p] and last - first == 1:
        g = z[at[first] : at[first] + blocks * BLOCK].reshape(blocks, BLOCK)
        integrate.lif_one(v, g, decays.factor[first] * decays.down[first, k], par, flags)
    elif kind == LIF and not cells.driven[p] and last - first == 2:
        g = z[at[first] : at[first] + blocks * BLOCK].reshape(blocks, BLOCK)
        h = z[at[first + 1] : at[first + 1] + blocks * BLOCK].reshape(blocks, BLOCK)
        s, r = decays.factor[first] * decays.down[first, k], decays.factor[first + 1] * decays.down[first + 1, k]
        integrate.lif_two(v, g, h, s, r, par, flags)
    else:
        integrate.gather(current, drive, par[integrate.DRIVE])
        for c in range(first, last):
            g = z[at[c] : at[c] + blocks * BLOCK].reshape(blocks, BLOCK)
            integrate.add(current, g, decays.factor[c] * decays.down[c, k])
        if kind == LIF:
            integrate.lif_one(v, current, par.dtype.type(1), par, flags)
        elif kind == ADEX:
            integrate.adex(v, x, current, par, flags)
        elif kind == IZHIKEVICH:
            integrate.izhikevich(v, x, current, cells.substeps[p], par, flags)
        else:
            integrate.adaptive(v, x, current, par, flags)
    for c in range(first, last):
        if decays.instant[c]:
            z[at[c] : at[c] + blocks * BLOCK] = 0


@inlined
def fired(p: int, cells: Any, t: int, depth: int, flags: Any) -> None:
    """The spikes of population p at step t, and their resets; v of neurons that are held goes back to its reset."""
    start, kind, par, hold = cells.start[p], cells.kind[p], cells.par[p], cells.hold[p]
    v, x, last, n = cells.v, cells.x, cells.last, cells.n[p]
    slot = t % depth
    found = 0
    threshold, reset = par[THRESHOLD], par[RESET]
    spikes = cells.spikes[slot, start : start + n]
    for b in range((n + BLOCK - 1) // BLOCK):
        if flags[b] == 0:
            continue
        for i in range(b * BLOCK, min(b * BLOCK + BLOCK, n)):
            m = start + i
            bound = threshold + par[5] * x[m] if kind == ADAPTIVE else threshold
            if v[m] > bound and t - last[m] >= hold:
                spikes[found] = i
                found += 1
                last[m] = t
                if kind == ADAPTIVE:
                    v[m] -= par[6]
                    x[m] += par[7]
                else:
                    v[m] = reset
                    x[m] += par[11]
    cells.count[slot, p] = found
    for back in range(1, hold):
        if t - back < 0:
            break
        old = (t - back) % depth
        for m in range(cells.count[old, p]):
            v[start + cells.spikes[old, start + m]] = reset


@inlined
def given(p: int, cells: Any, t: int, depth: int, random_state: Any) -> None:
    """The spikes of an input population."""
    start, n, slot = cells.start[p], cells.n[p], t % depth
    spikes = cells.spikes[slot, start : start + n]
    if cells.kind[p] == POISSON:
        found = integrate.poisson(cells.chance[start : start + n], cells.most[p], n, random_state, spikes)
    else:
        at, found = cells.train_at[p], 0
        while at < cells.train_end[p] and cells.train_step[at] <= t:
            if cells.train_step[at] == t:
                spikes[found] = cells.train_unit[at]
                found += 1
            at += 1
        cells.train_at[p] = at
    for m in range(found):
        cells.last[start + spikes[m]] = t
    cells.count[slot, p] = found


@inlined
def arrive(q: int, unit: int, links: Any, k: int, c: Any) -> None:
    """A spike of the pre unit at its synapses."""
    projections, rules, decays, _ = links
    z, at = decays.z, decays.at
    first, width = projections.first[q], projections.width[q]
    w = projections.w[first : first + projections.size[q]]
    row, dense = projections.channel[q], projections.dense[q]
    g, up = z[at[row] : at[row] + width], decays.up[row, k]
    if dense:
        begin = unit * width
        here = w[begin : begin + width]
        target = projections.target[:0]
    else:
        begin = projections.row[projections.rows[q] + unit]
        end = projections.row[projections.rows[q] + unit + 1]
        here, base = w[begin:end], projections.targets[q]
        target = projections.target[base + begin : base + end]
    low, high = projections.low[q], projections.high[q]
    if projections.plastic[q] == 1:
        group = rules.groups[q, 0, 0]
        if group == rules.groups[q, 0, 1]:
            x, far = z[0] * 0, z[:0]
        else:
            x, r = plastic.scalar(rules, decays, group, unit, k), rules.far[group]
            far = z[at[r] : at[r] + width]
        if dense:
            plastic.send_dense(here, g, up)
            if len(far):
                plastic.along_dense(here, far, x, low, high)
        elif len(far):
            plastic.send_along(here, target, g, up, far, x, low, high)
        else:
            plastic.send(here, target, g, up)
    else:
        if dense:
            plastic.send_dense(here, g, up)
        else:
            plastic.send(here, target, g, up)
        if projections.plastic[q] == 2:
            plastic.changed(q, 0, unit, begin, w, projections.where[:0], target, links, k, c)
    if projections.plastic[q]:
        plastic.bump(q, 0, unit, rules, decays, k)


@inlined
def back(q: int, unit: int, links: Any, k: int, c: Any) -> None:
    """A spike of the post unit at its incoming synapses."""
    projections, rules, decays, _ = links
    z, at, dense = decays.z, decays.at, projections.dense[q]
    first = projections.first[q]
    w = projections.w[first : first + projections.size[q]]
    where, source = projections.where[:0], projections.source[:0]
    if not dense:
        base = projections.columns[q]
        begin = projections.incoming[q] + projections.column[base + unit]
        end = projections.incoming[q] + projections.column[base + unit + 1]
        where, source = projections.where[begin:end], projections.source[begin:end]
    if projections.plastic[q] == 1:
        group = rules.groups[q, 1, 0]
        if group < rules.groups[q, 1, 1]:
            x, r = plastic.scalar(rules, decays, group, unit, k), rules.far[group]
            far = z[at[r] : at[r] + decays.size[r]]
            if dense:
                width = projections.width[q]
                full = w.reshape(len(w) // width, width)
                plastic.across_dense(full, unit, far, x, projections.low[q], projections.high[q])
            else:
                plastic.across(w, where, source, far, x, projections.low[q], projections.high[q])
    else:
        plastic.changed(q, 1, unit, 0, w, where, source, links, k, c)
    plastic.bump(q, 1, unit, rules, decays, k)


@inlined
def spikes_due(q: int, event: int, cells: Any, links: Any, t: int, depth: int, k: int, c: Any) -> None:
    """All spikes of one side of a projection whose delay is over."""
    projections = links[0]
    p = projections.pre[q] if event == 0 else projections.post[q]
    span = projections.delays_pre[q] if event == 0 else projections.delays_post[q]
    each = projections.delay_pre if event == 0 else projections.delay_post
    many, start = span[1] - span[0] > 1, cells.start[p]
    unit_at = projections.units_pre[q] if event == 0 else projections.units_post[q]
    for d in range(span[0], span[1]):
        delay = projections.delays[d]
        if t - delay < 0:
            continue
        slot = (t - delay) % depth
        for m in range(cells.count[slot, p]):
            unit = cells.spikes[slot, start + m]
            if many and each[unit_at + unit] != delay:
                continue
            if event == 0:
                arrive(q, unit, links, k, c)
            else:
                back(q, unit, links, k, c)


@inlined
def gated(links: Any, k: int, dt: Any) -> None:
    """w <- w + M e dt within bounds, of every term whose signal M is not 0."""
    projections, _, _, gates = links
    for m in range(len(gates.signals)):
        of = gates.of[m]
        if of >= 0:
            gates.signals[m] = gates.signals[m] * gates.kept[m] + gates.grown[m] * gates.signals[of]
    for r in range(len(gates.projection)):
        M = gates.signals[gates.signal[r]]
        if M != 0:
            q, x = gates.projection[r], M * dt * gates.down[r, k]
            first, size = projections.first[q], projections.size[q]
            w, e = projections.w[first : first + size], gates.e[gates.at[r] : gates.at[r] + size]
            low, high = projections.low[q], projections.high[q]
            for s in range(size):
                w[s] = min(max(w[s] + x * e[s], low), high)


@inlined
def rebased(decays: Any, gates: Any, last: int) -> None:
    """What is kept multiplied by exp(+t / tau) is brought back to t = 0."""
    for r in range(len(decays.at)):
        if not decays.instant[r]:
            z, x = decays.z[decays.at[r] : decays.at[r] + decays.size[r]], decays.down[r, last]
            for i in range(len(z)):
                z[i] *= x
    for r in range(len(gates.at)):
        e, x = gates.e[gates.at[r] : gates.at[r] + gates.length[r]], gates.down[r, last]
        for i in range(len(e)):
            e[i] *= x


@inlined
def noted(cells: Any, decays: Any, seen: Any, t: int, k: int, depth: int) -> None:
    """What is recorded of step t."""
    slot = t % depth
    for p in range(len(cells.n)):
        n, start = cells.count[slot, p], cells.start[p]
        seen.total[p] += n
        if seen.binned[p]:
            seen.bins[p, (t - seen.bin_since[p]) // seen.binned[p]] += n
        if seen.listen[p]:
            at = seen.count[0]
            for m in range(n):
                seen.unit[at + m] = start + cells.spikes[slot, start + m]
                seen.step[at + m] = t
            seen.count[0] = at + n
    if len(seen.watch) and (t + 1 - seen.since[0]) % seen.every[0] == 0:
        at = seen.samples[0]
        for m in range(len(seen.watch)):
            what, i = seen.what[m], seen.watch[m]
            if what == 0:
                seen.state[m, at] = cells.v[i]
            elif what == 1:
                seen.state[m, at] = cells.x[i]
            else:
                r = what - 2
                seen.state[m, at] = decays.z[decays.at[r] + i] * decays.down[r, k]
        seen.samples[0] = at + 1


@compiled
def advance(
    steps: int, clock: Any, depth: int, rebase: int, dt: Any, room: int, cells: Any, projections: Any, rules: Any,
    decays: Any, gates: Any, seen: Any, random_state: Any, flags: Any, c: Any,
) -> int:  # fmt: skip
    """Up to `steps` steps from clock = [t, steps since the last rebase]; fewer where the spikes' buffer might not do."""
    links = (projections, rules, decays, gates)
    for step in range(steps):
        if seen.count[0] + room > len(seen.unit):
            return step
        t, k = clock[0], clock[1]
        if k == rebase:
            rebased(decays, gates, rebase)
            k = 0
        # what is kept multiplied by exp(+t / tau) is read at k: the last step's bumps were at k - 1
        k += 1
        for p in range(len(cells.kind)):
            if cells.kind[p] == POISSON or cells.kind[p] == TRAINS:
                given(p, cells, t, depth, random_state)
            else:
                integrated(p, cells, decays, k - 1, flags)
                fired(p, cells, t, depth, flags)
        for q in range(len(projections.pre)):
            spikes_due(q, 0, cells, links, t, depth, k, c)
        for q in range(len(projections.pre)):
            if projections.plastic[q]:
                spikes_due(q, 1, cells, links, t, depth, k, c)
        gated(links, k, dt)
        noted(cells, decays, seen, t, k, depth)
        clock[0], clock[1] = t + 1, k
    return steps
