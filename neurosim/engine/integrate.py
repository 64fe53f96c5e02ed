"""One step of each neuron, compiled: the equations, integrators and order of events of `neurons.py` and `spiking.py`.

Arrays are [blocks, BLOCK]. v is moved on, and flags[b] counts the neurons of block b above the threshold: a sum of integers
vectorises where a test does not. `par` of a population begins with threshold, reset and the weight of a constant drive.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from neurosim.engine.arrays import BLOCK


def compiled(function: Any) -> Any:
    """numba's njit for a part of the loop. It is put in where it is called; Python cannot call it, which saves compiling.

    Without counting references (_nrt), which takes longer than a step: nothing here makes an array, there are views only.
    """
    return njit(
        _nrt=False, fastmath={"contract"}, error_model="numpy", forceinline=True, no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)  # fmt: skip


def kept(function: Any) -> Any:
    """numba's njit for the loop as a whole, kept on disk until any file of the engine changes; numba itself looks at the
    function's own file alone."""
    made = njit(cache=True, _nrt=False, fastmath={"contract"}, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(
        function
    )
    file = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        files = sorted(Path(__file__).parent.glob("*.py"))
        file._source_stamp = tuple((f.name, f.stat().st_mtime, f.stat().st_size) for f in files)
    return made


@intrinsic
def fetch(context: Any, x: Any, i: Any) -> Any:
    """Asks the processor to bring x[i] near; nothing waits, and nothing changes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, data = ir.IntType(32), context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        call = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(call, [address, number(0), number(3), number(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return types.void(x, types.intp), code


THRESHOLD, RESET, DRIVE, OWN = 0, 1, 2, 3  # in par; the neuron's own constants follow


@compiled
def series(F: Any) -> Any:
    """What `falls` computes with, as numbers of that type: others would make all of it double."""
    return (
        F(1 / 32), F(2), F(1 / 3628800), F(1 / 362880), F(1 / 40320), F(1 / 5040), F(1 / 720), F(1 / 120), F(1 / 24), F(1 / 6),
        F(1 / 2), F(1),
    )  # fmt: skip


@compiled
def falls(x: Any, c: Any) -> Any:
    """exp(-x) - 1 for x >= 0, to a few units in its last place:  the series at x / 32, then five times m <- m (2 + m).

    It vectorises, where the library's function takes four times as long. From x = 64 on it is -1.
    """
    y = x * c[0]
    y = y if y < c[1] else c[1]
    p = c[3] - y * c[2]
    p = c[4] - y * p
    p = c[5] - y * p
    p = c[6] - y * p
    p = c[7] - y * p
    p = c[8] - y * p
    p = c[9] - y * p
    p = c[10] - y * p
    m = -y * (c[11] - y * p)
    m *= c[1] + m
    m *= c[1] + m
    m *= c[1] + m
    m *= c[1] + m
    m *= c[1] + m
    return m


@compiled
def gather(current: Any, drive: Any, factor: Any) -> None:
    """The constant drive, before the channels."""
    for b in range(current.shape[0]):
        for k in range(BLOCK):
            current[b, k] = factor * drive[b, k]


@compiled
def add(current: Any, g: Any, s: Any) -> None:
    for b in range(current.shape[0]):
        for k in range(BLOCK):
            current[b, k] += s * g[b, k]


@compiled
def lif_one(v: Any, g: Any, s: Any, par: Any, flags: Any) -> None:
    """v <- v_rest + a (v - v_rest) + s g, one channel; par: a, (1 - a) v_rest."""
    threshold, a, base = par[THRESHOLD], par[OWN], par[OWN + 1]
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            new = base + a * v[b, k] + s * g[b, k]
            v[b, k] = new
            above += np.int32(new > threshold)
        flags[b] = above


@compiled
def lif_two(v: Any, g: Any, h: Any, s: Any, r: Any, par: Any, flags: Any) -> None:
    """The same with two channels."""
    threshold, a, base = par[THRESHOLD], par[OWN], par[OWN + 1]
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            new = base + a * v[b, k] + s * g[b, k] + r * h[b, k]
            v[b, k] = new
            above += np.int32(new > threshold)
        flags[b] = above


@compiled
def conductance(v: Any, g_n: Any, g_e: Any, g_i: Any, s_e: Any, s_i: Any, drive: Any, par: Any, flags: Any) -> None:
    """Exponential Euler of C dv/dt = g_L (E_L - v) + g (E_e - v) + g_i (E_i - v) + I, g = (1 - nmda) g_e + nmda g_n.

    par: g_L, g_L E_L + I, E_e, E_i, dt/C, nmda, exp(-dt/tau_nmda).
    """
    threshold, g_L, base, E_e, E_i = par[THRESHOLD], par[OWN], par[OWN + 1], par[OWN + 2], par[OWN + 3]
    per_g, nmda, kept_n, c = par[OWN + 4], par[OWN + 5], par[OWN + 6], series(par.dtype.type)
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            e, i, slow = s_e * g_e[b, k], s_i * g_i[b, k], g_n[b, k]
            g_n[b, k] = e + kept_n * (slow - e)
            e += nmda * (slow - e)
            g = g_L + e + i
            v_inf = (base + drive[b, k] + e * E_e + i * E_i) / g
            new = v[b, k] + (v[b, k] - v_inf) * falls(per_g * g, c)
            v[b, k] = new
            above += np.int32(new > threshold)
        flags[b] = above


@compiled
def homeostatic(v: Any, theta: Any, g_e: Any, g_i: Any, s_e: Any, s_i: Any, drive: Any, par: Any, flags: Any) -> None:
    """The same without nmda, a spike above threshold + theta; par: g_L, g_L E_L + I, E_e, E_i, dt/C, exp(-dt/tau_theta)."""
    threshold, g_L, base, E_e, E_i = par[THRESHOLD], par[OWN], par[OWN + 1], par[OWN + 2], par[OWN + 3]
    per_g, kept_theta, c = par[OWN + 4], par[OWN + 5], series(par.dtype.type)
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            e, i = s_e * g_e[b, k], s_i * g_i[b, k]
            g = g_L + e + i
            v_inf = (base + drive[b, k] + e * E_e + i * E_i) / g
            new = v[b, k] + (v[b, k] - v_inf) * falls(per_g * g, c)
            theta[b, k] = kept_theta * theta[b, k]
            v[b, k] = new
            above += np.int32(new > threshold + theta[b, k])
        flags[b] = above


@compiled
def adex(v: Any, w: Any, current: Any, par: Any, flags: Any) -> None:
    """Forward Euler; par: g_L, E_L, v_T, Delta_T, dt/C, a, dt/tau_w. v of a held neuron stays, its w does not."""
    threshold, g_L, E_L, v_T, Delta_T = par[THRESHOLD], par[OWN], par[OWN + 1], par[OWN + 2], par[OWN + 3]
    per_C, a, per_tau = par[OWN + 4], par[OWN + 5], par[OWN + 6]
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            x = v[b, k]
            upstroke = g_L * Delta_T * math.exp((x - v_T) / Delta_T)
            new = x + per_C * (-g_L * (x - E_L) + upstroke - w[b, k] + current[b, k])
            w[b, k] += per_tau * (a * (x - E_L) - w[b, k])
            v[b, k] = new
            above += np.int32(new > threshold)
        flags[b] = above


@compiled
def izhikevich(v: Any, r: Any, current: Any, substeps: int, par: Any, flags: Any) -> None:
    """Forward Euler in `substeps`, r from the old v if there is one substep, else from the new.

    par: dt/substeps, dt a, b, .04, 5, 140.
    """
    threshold, h, per_a, b_, c2, c1, c0 = (
        par[THRESHOLD], par[OWN], par[OWN + 1], par[OWN + 2], par[OWN + 3], par[OWN + 4], par[OWN + 5],
    )  # fmt: skip
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            old = v[b, k]
            new = old
            for _ in range(substeps):
                new = new + h * (c2 * new * new + c1 * new + c0 - r[b, k] + current[b, k])
            r[b, k] += per_a * (b_ * (old if substeps == 1 else new) - r[b, k])
            v[b, k] = new
            above += np.int32(new > threshold)
        flags[b] = above


@compiled
def adaptive(v: Any, a: Any, current: Any, par: Any, flags: Any) -> None:
    """v <- alpha v + u, a <- rho a, a spike above threshold + beta a; par: alpha, rho, beta. The spike's part is in `fire`."""
    threshold, alpha, rho, beta = par[THRESHOLD], par[OWN], par[OWN + 1], par[OWN + 2]
    for b in range(v.shape[0]):
        above = np.int32(0)
        for k in range(BLOCK):
            v[b, k] = alpha * v[b, k] + current[b, k]
            a[b, k] = rho * a[b, k]
            above += np.int32(v[b, k] > threshold + beta * a[b, k])
        flags[b] = above


@compiled
def random(state: Any) -> float:
    """A number in (0, 1], by xoroshiro128+ (Blackman & Vigna 2018); state: two uint64."""
    s0, s1 = state[0], state[1]
    result = s0 + s1
    s1 ^= s0
    state[0] = ((s0 << np.uint64(24)) | (s0 >> np.uint64(40))) ^ s1 ^ (s1 << np.uint64(16))
    state[1] = (s1 << np.uint64(37)) | (s1 >> np.uint64(27))
    return (np.float64(result >> np.uint64(11)) + 1.0) * (1.0 / 9007199254740992.0)


@compiled
def poisson(chance: Any, most: float, n: int, state: Any, spikes: Any) -> int:
    """Units that spike: gaps are drawn for the largest chance, and a unit is kept with chance / largest. How many."""
    found = 0
    if most <= 0:
        return 0
    per = math.log1p(-most) if most < 1 else -math.inf
    i = -1
    while True:
        i += 1 + int(min(math.log(random(state)) / per, 2.0 * n)) if most < 1 else 1
        if i >= n:
            return found
        if chance[i] >= most or random(state) * most <= chance[i]:
            spikes[found] = i
            found += 1
