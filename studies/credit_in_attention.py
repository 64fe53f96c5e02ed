"""Which credit teaches attention, and does direct feedback fail for want of the way through the next block's attention?

Associative recall (`tasks.recall`: 8 keys, 8 values, asked at every key that came before) on a Transformer, 64 units, 2
heads, trained 400 updates of 32 sequences by rules that bring credit to its projections in different ways, at the rates of
the search at 12 pairs and 2 blocks. The number of pairs (6, 12, 24) and of blocks (1, 2, 4) are varied one at a time. Recall
needs two steps, to join a value to the key before it, and to find that key again: so one block cannot do it by attention
alone. Who only counts the values shown so far is right in .47, .38 and .33 of the questions of 6, 12 and 24 pairs: that, not
1 / 8, is what shows that keys are used.

The hypothesis: direct feedback fails because the first block gets no credit through the second one's attention, by which alone
the tokens of a pair bear on the answer (their own error is none: nothing is asked of a value). To try it, the first block is
given exactly that way, beside its own direct feedback, and nothing else of backprop (`direct-feedback-through`).

Expected by definition: the same first weights and batches for all; a frozen net ends below backprop. All else is a finding.

Found (three seeds): with two blocks or more backprop and sign-symmetric feedback recall whatever the number of pairs, and
backprop with queries and keys as drawn .95 to .88; with one block nobody exceeds who counts values. Of all others block-local
losses alone exceed it at every number of pairs, by .04 to .11, feedback alignment at 6 (.52). The hypothesis is wrong: with the
way through the second attention direct feedback ends where it ended without (its own error .34 and .34, pooled .34 and .34),
and the first block's queries and keys are no better aligned for it. A block's own loss tells queries and keys of block 2 what
backprop does (cosine .95), and yet block 1 does not learn what they need.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from neurosim.compare import last_scores, other_hashes, rows_of, run_cells
from neurosim.credit import BlockFeedback, pooled
from neurosim.figures import STYLE, claim, looks
from neurosim.networks import transformer
from neurosim.plasticity import Recipe
from neurosim.recipes import recipes_for
from neurosim.statistics import interval
from neurosim.store import Store
from neurosim.study import Mode, main
from neurosim.tasks import recall

METRIC, SEEDS, SEEDS_FULL, EPOCHS, EPOCHS_FULL, EPOCHS_QUICK = "accuracy", 3, 5, 20, 150, 1
PAIRS, BLOCKS, P, N = (6, 12, 24), (1, 2, 4), 12, 2
SLUGS = (
    "backprop", "sign-symmetric", "feedback-alignment", "direct-feedback-pooled", "direct-feedback-block-own",
    "direct-feedback-block-pooled", "layer-local", "block-local", "frozen-qk", "frozen",
)  # fmt: skip
BLOCK, BLOCK_POOLED = "direct-feedback-block-own", "direct-feedback-block-pooled"
THROUGH, THROUGH_POOLED = "direct-feedback-through", "direct-feedback-through-pooled"
ALIGNED = ("feedback-alignment", BLOCK_POOLED, THROUGH_POOLED, "block-local")
PROJECTIONS = ("q", "k", "v", "o")
CHANCE, KEY_BLIND = 1 / 8, "most frequent value so far"


def line_up() -> list[Recipe]:
    """Those of the comparison, and block feedback with the way through the next attention, at the rates of block feedback."""
    known = recipes_for("recall", "transformer")
    through = [
        replace(known[BLOCK], name=THROUGH, credit=BlockFeedback(through_attention=True)),
        replace(known[BLOCK_POOLED], name=THROUGH_POOLED, credit=BlockFeedback(pooled, through_attention=True)),
    ]
    return [known[n] for n in SLUGS] + through


def places(mode: Mode) -> list[tuple[int, int]]:
    """(pairs, blocks) of each comparison: a cross."""
    if mode.quick:
        return [(P, N)]
    return list(dict.fromkeys([(pairs, N) for pairs in PAIRS] + [(P, blocks) for blocks in BLOCKS]))


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    store = Store((Path("runs") if mode.out == Path("figures") else mode.out) / ".cells")
    epochs = EPOCHS_QUICK if mode.quick else EPOCHS_FULL if mode.full else EPOCHS
    rows, hashes = [], []
    for pairs, blocks in places(mode):
        cells = list(
            run_cells(line_up(), partial(transformer, blocks=blocks), recall(pairs), epochs=epochs, seeds=range(mode.seeds),
                      workers=os.cpu_count() or 1, store=store)
        )  # fmt: skip
        hashes.append(cells)
        place = f"pairs {pairs}, blocks {blocks}"
        task = recall(pairs)
        rows += [{"recipe": KEY_BLIND, "seed": seed, "epoch": 0, "samples": 0, "layer": place, "quantity": "baseline",
                  "value": task.baselines(task.split(seed))[KEY_BLIND]} for seed in range(mode.seeds)]  # fmt: skip
        for r in rows_of(cells):
            if r["quantity"] == "test":
                rows.append({**r, "layer": place})
            elif r["quantity"] == "alignment" and (pairs, blocks) == (P, N) and r["recipe"] in ALIGNED:
                rows.append(r)
    return rows, claims_of(rows, hashes, mode.quick)


def final(rows: Sequence[Mapping]) -> dict[tuple[str, int, int], list[float]]:
    """By recipe, pairs and blocks: the last test score of each seed."""
    found: dict[tuple[str, int, int], list[float]] = {}
    for (recipe, place), values in last_scores(rows).items():
        pairs, blocks = (int(part.split()[1]) for part in place.split(", "))
        found[recipe, pairs, blocks] = values
    return found


def claims_of(rows: Sequence[Mapping], hashes: Sequence[Sequence], quick: bool) -> list[dict]:
    claims = []
    for what in ("init_hash", "batch_hash"):
        others = other_hashes(hashes, what)
        claims.append(claim(f"recipes with another {what} than the first's, over all places", others, "<=", 0))
    if quick:
        return claims
    mean = {key: float(np.mean(v)) for key, v in final(rows).items()}
    source = "project target: >= .99 at 12 pairs, 2 blocks, 400 updates"
    for slug in ("backprop", "sign-symmetric"):
        claims.append(claim(f"{slug}: accuracy at {P} pairs, {N} blocks", mean[slug, P, N], ">=", 0.99, 0, source))
    got = [mean[slug, P, N] for slug in ("frozen", "backprop")]
    return [*claims, claim("credit helps", got, "ordering", ["frozen", "backprop"], 0, "definition of learning")]


# ---------------------------------------------------------------------------------------------- the figure
def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    ends = final(rows)
    look = looks({slug for slug, _, _ in ends})
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(13.0, 7.4), layout="constrained")
        upper, lower = fig.subfigures(2, 1, height_ratios=(1.1, 1.0))
        ax, bx = upper.subplots(1, 2, sharey=True)
        for axis, at, where, title in (
            (ax, {(s, p): v for (s, p, b), v in ends.items() if b == N}, "pairs in a sequence", f"A  {N} blocks"),
            (bx, {(s, b): v for (s, p, b), v in ends.items() if p == P}, "blocks", f"B  {P} pairs"),
        ):  # fmt: skip
            against(axis, at, look)
            blind = {(KEY_BLIND, k): v for k, v in key_blind(rows, by_pairs=axis is ax).items()}
            axis.plot([k for _, k in sorted(blind)], [np.mean(blind[b]) for b in sorted(blind)], color="#c0392b", linestyle=":",
                      linewidth=1, label=KEY_BLIND)  # fmt: skip
            axis.set(xlabel=where, title=title)
        ax.set_ylabel("test accuracy at keys seen before")
        bx.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
        aligned(lower, [r for r in rows if r["quantity"] == "alignment"], look)
    return fig


def key_blind(rows: Sequence[Mapping], by_pairs: bool) -> dict[int, list[float]]:
    """What is right without knowing keys, by pairs (of N blocks) or by blocks (of P pairs)."""
    found: dict[int, list[float]] = {}
    for r in rows:
        if r["quantity"] == "baseline":
            pairs, blocks = (int(part.split()[1]) for part in r["layer"].split(", "))
            if (blocks if by_pairs else pairs) == (N if by_pairs else P):
                found.setdefault(pairs if by_pairs else blocks, []).append(r["value"])
    return found


def against(ax: Axes, at: Mapping[tuple[str, int], list[float]], look: Mapping) -> None:
    for k, (slug, how) in enumerate(look.items()):
        xs = sorted({x for s, x in at if s == slug})
        if not xs:
            continue
        mean, half = np.array(
            [interval(at[slug, x]) if len(at[slug, x]) > 2 else (np.mean(at[slug, x]), np.nan) for x in xs]
        ).T
        where = np.array(xs) * (1 + 0.012 * (k - len(look) / 2))  # side by side
        ax.errorbar(where, mean, half, color=how.colour, linestyle=how.line, marker=how.marker, markersize=4, label=slug,
                    linewidth=1.2, elinewidth=0.7, capsize=0)  # fmt: skip
    ax.axhline(CHANCE, color="#9a9a9a", linewidth=0.8, linestyle=":", label="chance")
    ax.set_xscale("log", base=2)
    xs = sorted({x for _, x in at})
    ax.set_xticks(xs, [str(x) for x in xs])
    ax.set_ylim(0, 1.03)


def aligned(fig, rows: Sequence[Mapping], look: Mapping) -> None:
    """C to F: cosine with backprop's update by projection, over training; the mean over seeds and blocks' own lines."""
    axes = fig.subplots(1, len(PROJECTIONS), sharey=True)
    for ax, projection, letter in zip(axes, PROJECTIONS, "CDEF", strict=True):
        for block, line in ((0, "-"), (1, "--")):
            layer = f"blocks.{block}.attention.{projection}"
            for slug in ALIGNED:
                by: dict[int, list[float]] = {}
                for r in rows:
                    if r["recipe"] == slug and r["layer"] == layer:
                        by.setdefault(int(r["samples"]), []).append(r["value"])
                if by:
                    xs = sorted(by)
                    ax.plot(xs, [np.nanmean(by[x]) for x in xs], line, color=look[slug].colour, marker=".", linewidth=1.2,
                            label=f"{slug}, block {block + 1}")  # fmt: skip
        ax.axhline(0, color="#9a9a9a", linewidth=0.8)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set(xlabel="training sequences", ylim=(-0.6, 1.03), title=f"{letter}  {projection}")
    axes[0].set_ylabel("cosine with backprop's update")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
