"""What a spike does at a projection's synapses, compiled: it is sent, and it changes weights; each at once.

The other side's trace of a term is `far`, one number a synapse; what the term reads of the neuron that spiked is `near`, one
number a spike. So a spike costs one scalar times one gathered trace at each of its synapses. Rows are kept multiplied by
exp(+t / tau): see `arrays.py`.
"""

from __future__ import annotations

from typing import Any

from neurosim.engine.integrate import compiled, inlined


@inlined
def scalar(rules: Any, decays: Any, group: int, unit: int, k: int) -> Any:
    """sum over the group's terms of gain * near traces, times the decay of the far row."""
    z, down = decays.z, decays.down
    total = z.dtype.type(0)
    for m in range(rules.terms[group, 0], rules.terms[group, 1]):
        x = rules.gain[m]
        for j in range(rules.near[m, 0], rules.near[m, 1]):
            r = rules.near_row[j]
            x *= z[decays.at[r] + unit] * down[r, k]
        total += x
    far = rules.far[group]
    return total if far < 0 else total * down[far, k]


@compiled
def depends(w: Any, power: int, mu: Any, w0: Any, w_max: Any) -> Any:
    """f(w) = (w / w0)^mu or ((w_max - w) / w0)^mu, 0 below 0."""
    base = (w if power == 1 else w_max - w) / w0
    if base <= 0:
        return base * 0 if mu > 0 else base * 0 + 1
    return base if mu == 1 else base**mu


@inlined
def bump(q: int, event: int, unit: int, rules: Any, decays: Any, k: int) -> None:
    """The traces of a neuron that spiked, and the products they are in."""
    z, at = decays.z, decays.at
    for j in range(rules.bumps[q, event, 0], rules.bumps[q, event, 1]):
        r = rules.bump_row[j]
        new = rules.bump[j] * decays.up[r, k]
        z[at[r] + unit] = new if rules.nearest[j] else z[at[r] + unit] + new
    for j in range(rules.products[q, event, 0], rules.products[q, event, 1]):
        x = z.dtype.type(1)
        for m in range(rules.parts[j, 0], rules.parts[j, 1]):
            x *= z[at[rules.part[m]] + unit]
        z[at[rules.product_row[j]] + unit] = x


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
        s = where[m]
        w[s] = min(max(w[s] + c * far[source[m]], low), high)


@compiled
def across_dense(w: Any, unit: int, far: Any, c: Any, low: Any, high: Any) -> None:
    """w [pre, post]: a column of it."""
    for i in range(w.shape[0]):
        w[i, unit] = min(max(w[i, unit] + c * far[i], low), high)


@inlined
def changed(
    q: int, event: int, unit: int, begin: int, w: Any, where: Any, other: Any, links: Any, k: int, c: Any
) -> None:
    """Any rule: w <- w + sum over groups of c far f(w), within bounds; a group with a gate fills its eligibility instead.

    w: the projection's; its synapses are begin, begin + 1, ... at a pre spike, `where` at a post spike; other: the units at
    their other end.
    """
    projections, rules, decays, gates = links
    low, high, z = projections.low[q], projections.high[q], decays.z
    first, last = rules.groups[q, event, 0], rules.groups[q, event, 1]
    for g in range(first, last):
        c[g - first] = scalar(rules, decays, g, unit, k)
    width, dense = projections.width[q], projections.dense[q]
    for m in range((width if event == 0 else len(w) // width) if dense else len(other)):
        if event == 0:
            s = begin + m
        else:
            s = m * width + unit if dense else where[m]
        j = m if dense else other[m]
        x = w[s]
        total = x
        for g in range(first, last):
            d = c[g - first]
            if rules.far[g] >= 0:
                d *= z[decays.at[rules.far[g]] + j]
            if rules.power[g] != 0:
                d *= depends(x, rules.power[g], rules.mu[g], rules.w0[g], rules.w_max[g])
            e = rules.eligible[g]
            if e < 0:
                total += d
            else:
                gates.e[gates.at[e] + s] += d * gates.up[e, k]
        w[s] = min(max(total, low), high)
