"""What a spike does at a projection's synapses, compiled: it is sent, and it changes weights; each at once.

The other side's trace of a term is `far`, one number a synapse; what the term reads of the neuron that spiked is `near`, one
number a spike. So a spike costs one scalar times one gathered trace at each of its synapses. Rows are kept multiplied by
exp(+t / tau): see `arrays.py`.
"""

from __future__ import annotations

from typing import Any

from neurosim.engine.integrate import compiled, fetch


@compiled
def scalar(
    g: int, unit: int, k: int, group: Any, term: Any, near: Any, row: Any, down: Any, z: Any, signal: Any
) -> Any:
    """sum over the group's terms of gain * near traces * signals, times the decay of the far row. signal: None, or read."""
    total = z.dtype.type(0)
    for m in range(group[g].term, group[g].term_end):
        x = term[m].gain
        for j in range(term[m].near, term[m].factor):
            r = near[j]
            x *= z[row[r].at + unit] * down[r, k]
        if signal is not None:
            for j in range(term[m].factor, term[m].factor_end):
                x *= z.dtype.type(signal[near[j]].value)
        total += x
    far = group[g].far
    return total if far < 0 else total * down[far, k]


@compiled
def depends(w: Any, power: int, mu: Any, w0: Any, w_max: Any) -> Any:
    """f(w) = (w / w0)^mu or ((w_max - w) / w0)^mu, 0 below 0."""
    base = (w if power == 1 else w_max - w) / w0
    if base <= 0:
        return base * 0 if mu > 0 else base * 0 + 1
    return base if mu == 1 else base**mu


@compiled
def bumped(
    q: int, side: int, unit: int, k: int, event: Any, bump: Any, product: Any, part: Any, row: Any, up: Any, z: Any
) -> None:
    """The traces of a neuron that spiked, and the products they are in."""
    here = event[q, side]
    for j in range(here.bump, here.bump_end):
        r = bump[j].row
        new, i = bump[j].by * up[r, k], row[r].at + unit
        z[i] = new if bump[j].nearest else z[i] + new
    for j in range(here.product, here.product_end):
        x = z.dtype.type(1)
        for m in range(product[j].part, product[j].part_end):
            x *= z[row[part[m]].at + unit]
        z[row[product[j].row].at + unit] = x


@compiled
def send(w: Any, target: Any, g: Any, up: Any) -> None:
    """g <- g + w at the synapses of one neuron."""
    for s in range(len(w)):
        g[target[s]] += w[s] * up


@compiled
def send_dense(w: Any, g: Any, up: Any) -> None:
    for j in range(len(w)):
        g[j] += w[j] * up


@compiled
def along(w: Any, target: Any, far: Any, c: Any, low: Any, high: Any) -> None:
    """w <- w + c far at the synapses of one pre neuron, within bounds."""
    for s in range(len(w)):
        w[s] = min(max(w[s] + c * far[target[s]], low), high)


@compiled
def send_along(w: Any, target: Any, g: Any, up: Any, far: Any, c: Any, low: Any, high: Any) -> None:
    """`send` and `along` in one go."""
    for s in range(len(w)):
        j, x = target[s], w[s]
        g[j] += x * up
        w[s] = min(max(x + c * far[j], low), high)


@compiled
def along_dense(w: Any, far: Any, c: Any, low: Any, high: Any) -> None:
    for j in range(len(w)):
        w[j] = min(max(w[j] + c * far[j], low), high)


@compiled
def across(w: Any, where: Any, source: Any, far: Any, c: Any, low: Any, high: Any) -> None:
    """The same at the incoming synapses of one post neuron."""
    for m in range(len(where)):
        fetch(w, int(where[m]))
    for m in range(len(where)):
        s = where[m]
        w[s] = min(max(w[s] + c * far[source[m]], low), high)


@compiled
def across_dense(w: Any, width: int, unit: int, far: Any, c: Any, low: Any, high: Any) -> None:
    """w [pre * width]: a column of it."""
    for i in range(len(far)):
        s = i * width + unit
        w[s] = min(max(w[s] + c * far[i], low), high)


@compiled
def changed(
    q: int, side: int, unit: int, begin: int, k: int, w: Any, where: Any, other: Any, c: Any, projection: Any, event: Any,
    group: Any, term: Any, near: Any, row: Any, down: Any, z: Any, gate: Any, gate_up: Any, e: Any, signal: Any,
) -> None:  # fmt: skip
    """Any rule: w <- w + sum over groups of c far f(w), within bounds; a group with a gate fills its eligibility instead.

    w: the projection's; its synapses are begin, begin + 1, ... at a pre spike, `where` at a post spike; other: the units at
    their other end.
    """
    low, high, width, dense = projection[q].low, projection[q].high, projection[q].width, projection[q].dense
    first, last = event[q, side].group, event[q, side].group_end
    for g in range(first, last):
        c[g - first] = scalar(g, unit, k, group, term, near, row, down, z, signal)
    for m in range((width if side == 0 else len(w) // width) if dense else len(other)):
        if side == 0:
            s = begin + m
        else:
            s = m * width + unit if dense else int(where[m])
        j = m if dense else int(other[m])
        x = w[s]
        total = x
        for g in range(first, last):
            d = c[g - first]
            if group[g].far >= 0:
                d *= z[row[group[g].far].at + j]
            if group[g].power != 0:
                d *= depends(x, group[g].power, group[g].mu, group[g].w0, group[g].w_max)
            r = group[g].eligible
            if r < 0:
                total += d
            else:
                e[gate[r].at + s] += d * gate_up[r, k]
        w[s] = min(max(total, low), high)
