"""How many pairs does a synapse hold that is written once, by Hebb's rule or by the delta rule, and how many does attention?

A sequence shows N pairs of a key and a value; then every key is asked again. Three forms of one layer (`networks.attention`):
Hebbian fast weights, W <- W + v k^T; the delta rule, W <- W + (v - W k) k^T / |k|^2; softmax attention, which keeps all pairs.
Keys are random, of n entries +-1 (of length 1 for fast weights, of length sqrt(n) for attention); values ~ N(0, 1).

A  The squared error of what is read, over that of a zero answer, against N. Expected of Hebb: (N - 1) / n, since two random
   keys overlap by 1 / n in the mean square: past N = n + 1 it is worse than no answer (Amari 1972, IEEE Trans Comput 21:1197;
   Schlag, Irie & Schmidhuber 2021, ICML: the capacity is the dimension).
B  The number of pairs up to which nine in ten answers are nearer to their own value than to any other, against n: a coarser
   question. Expected of Hebb: an answer has noise of variance N / n in each of n entries, another value lies sqrt(2 n) away, so
   N log N = n^2 / 4, the number of weights rather than their dimension. Attention's grows faster (Ramsauer et al. 2021).
C  n / 4 keys, each given a new value R times: the error of the last. Expected: the delta rule overwrites, Hebb adds up, and
   attention answers with their mean.

Found: as expected. The delta rule errs less than Hebb at every load, and where values change it alone keeps up (error .20 after
eight, Hebb 8.8); but it holds fewer pairs in B: each write takes from what older pairs left, Hebb keeps all alike. A first form
of B expected capacity in proportion to n, which its own theory does not say.
"""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy.optimize import brentq
from torch import Tensor

from neurosim.figures import STYLE, claim
from neurosim.networks.attention import DeltaWeights, FastWeights, Softmax
from neurosim.statistics import interval
from neurosim.study import Mode, main

METRIC = "relative error"
DIMENSIONS, DIMENSIONS_QUICK, SHOWN = (8, 16, 32, 64), (8, 16), 32
LOADS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
REPEATS, LANES, ENOUGH = (1, 2, 4, 8), 48, 0.9
HEBB, DELTA, ATTENTION = "Hebbian fast weights", "delta rule", "softmax attention"
LOOKS = {HEBB: ("#8c564b", "s"), DELTA: ("#1f77b4", "o"), ATTENTION: ("#111111", "^")}


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    rows = []
    for seed in range(mode.seeds):
        g = torch.Generator().manual_seed(seed)
        for n in DIMENSIONS_QUICK if mode.quick else DIMENSIONS:
            for N in LOADS:
                keys, values = signs(N, n, g), torch.randn(N, LANES, n, generator=g, dtype=torch.float64)
                for name, read in READERS.items():
                    rows += scored(name, seed, N, f"n {n}", read(keys, values, keys), values)
        rows += overwritten(SHOWN, g, seed)
    return rows, [] if mode.quick else claims_of(rows)


def signs(N: int, n: int, g: torch.Generator) -> Tensor:
    """[N, LANES, n] of +-1."""
    return torch.randint(2, (N, LANES, n), generator=g).double() * 2 - 1


# ---------------------------------------------------------------------------------------------- writing and reading
def by_weights(form: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Written in order, then read without writing: a key and a value of zero change nothing."""

    def read(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        k, v = (torch.cat([x, torch.zeros_like(asked)])[:, :, None] for x in (keys, values))
        q = torch.cat([torch.zeros_like(keys), asked])[:, :, None]
        return form(q, k, v, True)[len(keys) :, :, 0]

    return read


def by_attention(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
    return Softmax()(asked[:, :, None], keys[:, :, None], values[:, :, None], False)[:, :, 0]


READERS = {HEBB: by_weights(FastWeights(unit)), DELTA: by_weights(DeltaWeights(unit)), ATTENTION: by_attention}


def scored(name: str, seed: int, N: int, layer: str, y: Tensor, values: Tensor) -> list[dict]:
    """y, values [N, LANES, n]: the relative squared error, and the share of answers nearest to their own value."""
    error = ((y - values) ** 2).sum() / (values**2).sum()
    apart = torch.cdist(y.transpose(0, 1), values.transpose(0, 1))  # [LANES, N, N]
    own = (apart.argmin(-1) == torch.arange(len(y))).double().mean()
    at = {"recipe": name, "seed": seed, "epoch": N, "samples": 0, "layer": layer}
    return [{**at, "quantity": "error", "value": error.item()}, {**at, "quantity": "nearest", "value": own.item()}]


def overwritten(n: int, g: torch.Generator, seed: int) -> list[dict]:
    """The relative error of the value each key was given last; epoch: how many it was given."""
    keys, rows = signs(n // 4, n, g), []
    for R in REPEATS:
        values = torch.randn(R, len(keys), LANES, n, generator=g, dtype=torch.float64)
        for name, read in READERS.items():
            y = read(keys.repeat(R, 1, 1), values.flatten(0, 1), keys)
            error = ((y - values[-1]) ** 2).sum() / (values[-1] ** 2).sum()
            rows.append({"recipe": name, "seed": seed, "epoch": R, "samples": 0, "layer": "overwritten", "quantity": "error",
                         "value": error.item()})  # fmt: skip
    return rows


# ---------------------------------------------------------------------------------------------- what is claimed
def found(rows: Sequence[Mapping], name: str, layer: str, quantity: str) -> dict[int, list[float]]:
    by: dict[int, list[float]] = {}
    for r in rows:
        if (r["recipe"], r["layer"], r["quantity"]) == (name, layer, quantity):
            by.setdefault(int(r["epoch"]), []).append(r["value"])
    return by


def capacity(rows: Sequence[Mapping], name: str, n: int) -> float:
    """The largest load with `ENOUGH` answers nearest to their own value, at it and at all below."""
    held = 1
    for N, shares in sorted(found(rows, name, f"n {n}", "nearest").items()):
        if np.mean(shares) < ENOUGH:
            break
        held = N
    return float(held)


def held_in_theory(n: int) -> float:
    """N of N log N = n^2 / 4."""
    return brentq(lambda N: N * np.log(N) - n**2 / 4, 1.0, n**2)


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    source = "Schlag et al. 2021; two random keys overlap by 1 / n"
    off = max(
        abs(np.mean(errors) / ((N - 1) / n) - 1)
        for n in DIMENSIONS
        for N, errors in found(rows, HEBB, f"n {n}", "error").items()
    )
    gain = min(
        np.mean(found(rows, HEBB, f"n {n}", "error")[N]) - np.mean(found(rows, DELTA, f"n {n}", "error")[N])
        for n in DIMENSIONS
        for N in LOADS
    )
    held = {name: [capacity(rows, name, n) for n in DIMENSIONS] for name in LOOKS}
    theory = [held_in_theory(n) for n in DIMENSIONS]
    ours, expected = (np.polyfit(np.log(DIMENSIONS), np.log(v), 1)[0] for v in (held[HEBB], theory))
    last = max(REPEATS)
    changed = [np.mean(found(rows, name, "overwritten", "error")[last]) for name in (DELTA, ATTENTION, HEBB)]
    return [
        claim("Hebb: error against (N - 1) / n, largest relative difference", off, "<=", 0.0, 0.15, source),
        claim("the delta rule's error never above Hebb's: least difference", gain, ">=", 0.0, 0, source),
        claim("Hebb: exponent of capacity against n", ours, "within", expected, 0.35, "N log N = n^2 / 4"),
        claim("softmax attention holds most at n 64", held[ATTENTION][-1] / held[HEBB][-1], ">=", 2.0, 0,
              "Ramsauer et al. 2021"),
        claim(f"{last} values a key: error of the last", changed, "ordering", [DELTA, ATTENTION, HEBB], 0, source),
    ]  # fmt: skip


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12.0, 3.6), layout="constrained")
        ax, bx, cx = fig.subplots(1, 3)
        dims = sorted({int(r["layer"].split()[1]) for r in rows if r["layer"].startswith("n ")})
        n = SHOWN if SHOWN in dims else dims[-1]
        for name, (colour, marker) in LOOKS.items():
            for axis, layer in ((ax, f"n {n}"), (cx, "overwritten")):
                by = found(rows, name, layer, "error")
                x = sorted(by)
                mean, half = np.array([interval(by[k]) for k in x]).T
                axis.plot(x, mean, color=colour, marker=marker, markersize=4, label=name)
                axis.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
            bx.plot(dims, [capacity(rows, name, d) for d in dims], color=colour, marker=marker)
        x = np.array(LOADS)
        ax.plot(x, (x - 1) / n, color="#c0392b", linestyle=":", label="theory of Hebb")
        ax.axhline(1.0, color="#9a9a9a", linewidth=0.8, linestyle="--", label="a zero answer")
        bx.plot(dims, [held_in_theory(d) for d in dims], color="#c0392b", linestyle=":")
        bx.axhline(LOADS[-1], color="#9a9a9a", linewidth=0.8, linestyle="--")
        bx.text(dims[0], LOADS[-1] * 0.92, "most that were tried", fontsize=8, color="#6a6a6a", va="top")
        for axis in (ax, bx, cx):
            axis.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_ylim(1e-3, 30)
        bx.set_yscale("log", base=2)
        bx.set_xticks(dims, [str(d) for d in dims])
        ax.set(xlabel="pairs stored, N", ylabel="squared error / that of zero", title=f"A  Written once, n = {n}")
        bx.set(xlabel="dimension n", ylabel="pairs held (nine in ten right)", title="B  Capacity")
        cx.set(xlabel="values given to each key", ylabel="squared error of the last", title="C  Written anew")
        cx.legend(*ax.get_legend_handles_labels(), fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
