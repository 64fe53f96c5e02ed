"""The compiled loop over time.

Within a step, in Brian2's order: signals' traces are renewed; the neurons are integrated and those above threshold spike and
are reset; spikes whose axonal delay is over arrive at their synapses, act on the post neuron from the next step on, and change
weights; post spikes whose dendritic delay is over change weights; eligibility meets the signals. So pre comes before post, and
a trace is read before its own bump. A weight is sent as it is before the change.
"""

from __future__ import annotations

import math
from typing import Any

from neurosim.engine.arrays import POISSON, TRAINS
from neurosim.engine.fire import fired, given, integrated
from neurosim.engine.integrate import compiled, kept
from neurosim.engine.spread import arrivals, awaited, clocked, gated, heard, rebased, returns

FULL = 1e13  # exp(30): what is kept multiplied by more is brought back, where a time constant varies


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
    if len(watch) and (t + 1) % at[2] == 0:
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
def met(
    environment: Any, t: int, dt: Any, population: Any, drive: Any, chance: Any, signal: Any, levels: Any, tally: Any,
    memory: Any,
) -> None:  # fmt: skip
    """The environment's turn; what it changes is taken over."""
    for m in range(len(signal)):
        levels[m] = signal[m].value
    environment(float(t) * dt, tally, drive, levels, memory)
    for m in range(len(signal)):
        if signal[m].of < 0:
            signal[m].value = levels[m]
    tally[:] = 0
    for p in range(len(population)):
        if population[p].kind == POISSON:
            most = chance[0] * 0
            for i in range(population[p].start, population[p].start + population[p].n):
                chance[i] = -math.expm1(-drive[i] * dt / 1000)
                most = max(most, chance[i])
            population[p].most = most
        else:
            population[p].driven = 1


@kept
def advance(
    steps: int, clock: Any, depth: int, rebase: int, gate_steps: int, dt: float, room: int, cells: Any, wires: Any,
    rules: Any, decays: Any, gates: Any, seen: Any, random_state: Any, flags: Any, c: Any, others: Any, inputs: Any,
    dense: Any, general: Any, varying: Any, environment: Any, every: int, levels: Any, tally: Any, memory: Any,
    ends: int,
) -> int:  # fmt: skip
    """Up to `steps` steps from clock = [t, steps since the last rebase]; fewer where the spikes' buffer might not do.

    gate_steps: how many from one meeting of eligibility and signals to the next.
    None where a network has no such thing, which is then not compiled: others (neurons that are not LIF), inputs, dense
    (projections), general (rules that are more than one additive group at each event; they alone have gates), varying
    (time constants).
    environment: None or a function, called every so many steps; tally: spikes since its last turn; the loop ends once
    memory[ends] is set, if ends is not -1.
    """
    population, par, drive, v2, x2, current, last, held, chance, spikes, count, train_step, train_unit = cells
    projection, delays, delay_pre, delay_post, rows, targets, columns, sources, wheres, w = wires
    event, group, term, near, bump, product, part = rules
    row, up, down, z2, of_clocks, part_of_clocks = decays
    gate, gate_up, gate_down, e, signal = gates
    told, unit, step_of, bins, watch, state, at = seen
    v, x, z = v2.reshape(v2.size), x2.reshape(x2.size), z2.reshape(z2.size)
    for step in range(steps):
        if at[0] + room > len(unit):
            return step
        t, k = clock[0], clock[1]
        full = k == rebase
        if varying is not None:
            for m in range(len(of_clocks)):
                full |= up[of_clocks[m].row, k] > FULL
        if full:
            rebased(row, down, z, gate, gate_down, e, k, general)
            k = 0
        slot = t % depth
        if general is not None:
            heard(signal)
        for p in range(len(population)):
            if population[p].kind == POISSON or population[p].kind == TRAINS:
                if inputs is not None:
                    given(p, t, slot, population, chance, last, spikes, count, train_step, train_unit, random_state)
            else:
                integrated(p, k, population, par, drive, v2, x2, current, row, down, z2, flags, others)
                fired(
                    p, t, slot, population, par, v, x, last, held, spikes, count, flags, row, z, random_state, others
                )  # fmt: skip
        k += 1  # what is kept multiplied by exp(+t / tau): the last step's bumps were one step ago
        if varying is not None:
            clocked(k, dt, of_clocks, part_of_clocks, signal, up, down)
        for q in range(len(projection)):
            if projection[q].plastic:
                awaited(q, slot, depth, t, population, spikes, count, projection, delays, columns, sources, wheres)
        for q in range(len(projection)):
            arrivals(
                q, t, slot, k, depth, population, spikes, count, projection, delays, delay_pre, rows, targets, w, event, group,
                term, near, bump, product, part, row, up, down, z, gate, gate_up, e, wheres, c,
                signal, dense, general,
            )  # fmt: skip
        for q in range(len(projection)):
            if projection[q].plastic:
                returns(
                    q, t, slot, k, depth, population, spikes, count, projection, delays, delay_post, columns, sources, wheres,
                    w, event, group, term, near, bump, product, part, row, up, down, z, gate, gate_up, e, c,
                    signal, dense, general,
                )  # fmt: skip
        if general is not None:
            if (t + 1) % gate_steps == 0:
                gated(k, dt * gate_steps, projection, w, gate, gate_down, e, signal, c)
        noted(t, k, slot, population, v, x, spikes, count, row, down, z, told, unit, step_of, bins, watch, state, at)
        if environment is not None:
            for p in range(len(population)):
                for m in range(count[slot, p]):
                    tally[population[p].start + spikes[slot, population[p].start + m]] += 1
            if (t + 1) % every == 0:
                met(
                    environment, t + 1, dt, population, drive.reshape(drive.size), chance, signal, levels, tally, memory
                )
        clock[0], clock[1] = t + 1, k
        if environment is not None:
            if ends >= 0 and memory[ends] != 0:
                return step + 1
    return steps
