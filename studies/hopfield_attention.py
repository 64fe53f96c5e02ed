"""Is attention the retrieval of a Hopfield network, and how many patterns does it hold?

Ramsauer et al. 2021 (ICLR): the update xi <- X^T softmax(beta X xi) of a network that stores the patterns X is softmax
attention with queries xi and keys and values X; its energy never rises, and it holds a number of random patterns that grows
exponentially with their dimension d.

A  The energy over updates from random states, at several beta. Expected: it never rises, exactly.
B  Patterns of d bits, +-1, a tenth of a query's flipped: the share of patterns that one update brings back whole, against
   how many are stored, at beta = 1 / sqrt(d), attention's own, and at 1. Beside it the nearest stored pattern, which no
   retrieval can beat, and the classical network (Hopfield 1982, W = X^T X / d without its diagonal, updated until it stays),
   which holds about .138 d (Amit, Gutfreund & Sompolinsky 1985).
C  The load at which half of the patterns come back, against d. Expected: it grows faster than d; the classical one's as d.

Found: with beta = 1 one update brings back all of 4,096 patterns of 64 bits, and at 32 bits nearly as many as the nearest
pattern does (.89 against .95); at 16, where many patterns differ in a few bits, it mixes them (.23 against .58). Attention's
own beta is softer and holds 51, 231 and 2,290 patterns at d = 16, 32, 64; the classical network some 5, 7 and 12.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from neurosim.figures import STYLE, claim
from neurosim.networks.attention import hopfield_energy, hopfield_update
from neurosim.statistics import interval
from neurosim.study import Mode, main

METRIC = "share of patterns retrieved"
DIMENSIONS, LOADS, FLIPPED, HALF = (16, 32, 64), tuple(2**k for k in range(1, 13)), 0.1, 0.5
STEPS, STARTS, BETAS, SETTLED = 12, 50, (0.05, 0.2, 1.0), 50
PROBES, NEAR = 256, 1e-12  # patterns of a memory that are asked for, at most
CLASSICAL, OWN, STEEP, NEAREST = "classical", "beta = 1/sqrt(d)", "beta = 1", "nearest pattern"
LOOKS = {NEAREST: ("#bbbbbb", "D"), CLASSICAL: ("#8c564b", "s"), OWN: ("#1f77b4", "o"), STEEP: ("#111111", "^")}


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    loads = LOADS[:7] if mode.quick else LOADS
    rows = []
    for seed in range(mode.seeds):
        g = torch.Generator().manual_seed(seed)
        rows += identity(g, seed) + energies(g, seed)
        rows += [r for d in DIMENSIONS for n in loads for r in retrieved(d, n, g, seed)]
    return rows, claims_of(rows, mode.quick)


def row(recipe: str, seed: int, epoch: int, layer: str, quantity: str, value: float) -> dict:
    """`epoch`: patterns stored, or updates done."""
    return {
        "recipe": recipe,
        "seed": seed,
        "epoch": epoch,
        "samples": 0,
        "layer": layer,
        "quantity": quantity,
        "value": value,
    }


def identity(g: torch.Generator, seed: int) -> list[dict]:
    """The largest |update - torch's attention|."""
    X, xi = (torch.randn(n, 16, generator=g, dtype=torch.float64) for n in (40, 30))
    theirs = F.scaled_dot_product_attention(xi[None], X[None], X[None])[0]
    apart = (hopfield_update(X, xi, 16**-0.5) - theirs).abs().max().item()
    return [row(OWN, seed, 1, "", "apart", apart)]


def energies(g: torch.Generator, seed: int) -> list[dict]:
    """The mean energy after each update, and the largest rise of any state's."""
    rows, X = [], torch.randn(30, 16, generator=g, dtype=torch.float64)
    for beta in BETAS:
        xi = 2 * torch.randn(STARTS, 16, generator=g, dtype=torch.float64)
        E = [hopfield_energy(X, xi, beta)]
        for _ in range(STEPS):
            xi = hopfield_update(X, xi, beta)
            E.append(hopfield_energy(X, xi, beta))
        rise = torch.stack(E).diff(dim=0).max().item()
        rows += [row(f"beta = {beta:g}", seed, k, "", "energy", e.mean().item()) for k, e in enumerate(E)]
        rows.append(row(f"beta = {beta:g}", seed, STEPS, "", "rise", rise))
    return rows


def settled(X: Tensor, xi: Tensor) -> Tensor:
    """The classical network: s <- sign(W s), all units at once, W = X^T X / d less its diagonal."""
    W = X.T @ X / X.shape[1]
    W.fill_diagonal_(0.0)
    for _ in range(SETTLED):
        u = xi @ W
        new = torch.where(u == 0, xi, u.sign())
        if torch.equal(new, xi):
            break
        xi = new
    return xi


def retrieved(d: int, n: int, g: torch.Generator, seed: int) -> list[dict]:
    X = torch.randint(2, (n, d), generator=g).double() * 2 - 1
    asked = X[:PROBES]
    query = torch.where(torch.rand(asked.shape, generator=g) < FLIPPED, -asked, asked)
    found = {
        CLASSICAL: settled(X, query),
        OWN: hopfield_update(X, query, d**-0.5),
        STEEP: hopfield_update(X, query, 1.0),
        NEAREST: X[(query @ X.T).argmax(1)],
    }
    return [
        row(name, seed, n, f"d {d}", "retrieved", (y.sign() == asked).all(1).double().mean().item())
        for name, y in found.items()
    ]


def capacity(rows: Sequence[Mapping], name: str, d: int) -> float:
    """The load at which the mean share crosses `HALF`, interpolated in log load; the largest tried where it never does."""
    share = {n: np.mean(v) for n, v in by_load(rows, name, d).items()}
    loads = sorted(share)
    for a, b in zip(loads, loads[1:], strict=False):
        if share[a] >= HALF > share[b]:
            f = (share[a] - HALF) / (share[a] - share[b])
            return math.exp(math.log(a) + f * (math.log(b) - math.log(a)))
    return float(loads[-1] if share[loads[-1]] >= HALF else loads[0])


def by_load(rows: Sequence[Mapping], name: str, d: int) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for r in rows:
        if r["quantity"] == "retrieved" and r["recipe"] == name and r["layer"] == f"d {d}":
            found.setdefault(int(r["epoch"]), []).append(r["value"])
    return found


def claims_of(rows: Sequence[Mapping], quick: bool) -> list[dict]:
    def largest(quantity: str) -> float:
        return max(r["value"] for r in rows if r["quantity"] == quantity)

    source = "Ramsauer et al. 2021"
    claims = [
        claim("largest |Hopfield update - attention|, beta = 1/sqrt(d)", largest("apart"), "<=", 0.0, NEAR, source),
        claim("largest rise of the energy in an update", largest("rise"), "<=", 0.0, NEAR, source),
    ]
    if quick:
        return claims
    low, middle, high = DIMENSIONS
    own = [capacity(rows, OWN, d) for d in DIMENSIONS]
    classical = [capacity(rows, CLASSICAL, d) for d in DIMENSIONS]
    full = np.mean(by_load(rows, STEEP, high)[LOADS[-1]])
    return [
        *claims,
        claim(f"beta = 1, d {high}: share of {LOADS[-1]:,} patterns retrieved", full, ">=", 0.99, 0, source),
        claim("attention's beta: load at half, over d", [c / d for c, d in zip(own, DIMENSIONS, strict=True)], "ordering",
              [f"d {d}" for d in DIMENSIONS], 0, f"{source}: faster than d"),
        claim(f"classical, d {high}: load at half, over d", classical[-1] / high, "within", 0.138, 0.08,
              "Amit et al. 1985, of large d and of bits almost right"),
    ]  # fmt: skip


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(12.0, 3.6), layout="constrained")
        ax, bx, cx = fig.subplots(1, 3)
        for k, beta in enumerate(BETAS):
            of = [r for r in rows if r["recipe"] == f"beta = {beta:g}" and r["quantity"] == "energy"]
            steps = sorted({int(r["epoch"]) for r in of})
            ax.plot(steps, [np.mean([r["value"] for r in of if r["epoch"] == s]) for s in steps], marker="o", markersize=3,
                    color=("#1f77b4", "#2ca02c", "#111111")[k], label=f"beta = {beta:g}")  # fmt: skip
        ax.set(xlabel="updates", ylabel="energy (mean over states)", title="A  Energy never rises")
        ax.legend(fontsize=8)
        d = DIMENSIONS[1]
        for name, (colour, marker) in LOOKS.items():
            shares = by_load(rows, name, d)
            x = sorted(shares)
            mean, half = np.array([interval(shares[n]) for n in x]).T
            bx.plot(x, mean, color=colour, marker=marker, markersize=4, label=name)
            bx.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
        bx.axvline(0.138 * d, color="#9a9a9a", linestyle=":", linewidth=1)
        bx.text(0.138 * d, 0.02, " .138 d", color="#6a6a6a", fontsize=8, rotation=90, va="bottom", ha="right")
        bx.set_ylim(-0.03, 1.05)
        bx.set_xscale("log", base=2)
        bx.set(
            xlabel="patterns stored", ylabel="share retrieved whole", title=f"B  Retrieval, d = {d}, a tenth flipped"
        )
        for name, (colour, marker) in LOOKS.items():
            cx.plot(DIMENSIONS, [capacity(rows, name, d) for d in DIMENSIONS], color=colour, marker=marker, label=name)
        largest = max(int(r["epoch"]) for r in rows if r["quantity"] == "retrieved")
        cx.axhline(largest, color="#9a9a9a", linewidth=0.8, linestyle="--", label="most that were tried")
        cx.set_xscale("log", base=2)
        cx.set_yscale("log", base=2)
        cx.set_xticks(DIMENSIONS, [str(d) for d in DIMENSIONS])
        cx.set(xlabel="dimension d", ylabel="load at which half come back", title="C  Capacity")
        cx.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5), title="B and C")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
