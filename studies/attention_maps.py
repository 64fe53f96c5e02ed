"""Where does a Transformer look before and after it has learned to recall, by each rule?

Associative recall with 12 pairs (`tasks.recall`), two blocks of two heads, 400 updates at the rates of the search. Shown is one
test sequence, the same for all: row t is what token t attends to, the mean over heads. Keys stand at even places, values after
them. What recall needs: in one block values look at the key before them, in the next a key looks at the value that came after
the same key (ringed). All rules start from the same weights, so that "before" is one map for all.

Measured on 500 test sequences: the share of attention that falls on the value sought, from the asked keys, in each block (its
mean over heads); and the share that values give to the key just before. Expected by definition: both as at first where queries
and keys are frozen and nothing below them learns. Expected: backprop's is far above what it was. All else is a finding.

Found (three seeds): under backprop and sign-symmetric feedback values look at the key before them in block 1 (.56, .42 of their
attention; .14 at first), and in block 2 an asked key looks at the value sought (.98, .87; .11 at first). Feedback alignment and
block-local losses put .2 on the value sought in either block, direct feedback looks at few tokens, and at wrong ones.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim.cell import draw_net, reproducible, run_cell
from neurosim.figures import STYLE, claim
from neurosim.networks import transformer
from neurosim.networks.transformer import norm, places
from neurosim.plasticity import Batch, Learner
from neurosim.recipes import recipes_for
from neurosim.study import Mode, main
from neurosim.tasks import NOT_ASKED, recall

METRIC, SEEDS, SEEDS_FULL, EPOCHS, EPOCHS_QUICK, PAIRS = "share of attention", 3, 5, 20, 1, 12
SLUGS = (
    "backprop", "sign-symmetric", "feedback-alignment", "direct-feedback-pooled", "block-local", "frozen",
)  # fmt: skip
SOUGHT, BEFORE, START = "sought", "key before", "before learning"


@torch.no_grad()
def maps(net: nn.Module, batch: Batch) -> list[Tensor]:
    """The mean over heads in each block, [B, T, T]."""
    x = net.embed(batch.x)
    x, found = x + places(len(x), x), []
    for block in net.blocks:
        q, k, _ = block.attention.parts(norm(x))
        found.append(block.attention.attend.map(q, k, block.attention.causal).mean(1))
        x = block(x)
    return found


def shares(a: Tensor, batch: Batch) -> dict[str, float]:
    """a [B, T, T]: the mean share on the values sought by asked keys, and of values on the key before them."""
    symbols, asked = batch.x.argmax(-1), batch.target != NOT_ASKED  # [T, B]
    T = len(symbols)
    same = (symbols[:, None] == symbols[None]) & torch.ones(T, T, dtype=torch.bool).tril(-1)[..., None]  # [T, s, B]
    value_of_same = torch.cat([torch.zeros_like(same[:, :1]), same[:, :-1]], 1)  # the place after it
    on_sought = (a.permute(1, 2, 0) * value_of_same).sum(1)  # [T, B]
    t = torch.arange(1, T, 2)
    return {SOUGHT: on_sought[asked].mean().item(), BEFORE: a[:, t, t - 1].mean().item()}


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    task, rows = recall(PAIRS), []
    known = recipes_for("recall", "transformer")
    for seed in range(mode.seeds):
        (test,) = task.evaluation(task.split(seed), size=task.test_size)
        measured = {START: draw_net(transformer, task, seed)}
        for slug in SLUGS[:2] if mode.quick else SLUGS:
            trained: list[Learner] = []
            with reproducible(seed, torch.float32):
                run_cell(known[slug], transformer, task, seed, EPOCHS_QUICK if mode.quick else EPOCHS, tuning=False,
                         at_end=trained.append)  # fmt: skip
            measured[slug] = trained[0].net
        for slug, net in measured.items():
            for b, a in enumerate(maps(net, test)):
                at = {"recipe": slug, "seed": seed, "epoch": 0 if slug == START else EPOCHS, "layer": f"block {b + 1}"}
                rows += [{**at, "samples": 0, "quantity": q, "value": v} for q, v in shares(a, test).items()]
                if seed == 0:
                    rows += shown(a[0], at)
        if seed == 0:
            rows += sequence(test)
    return rows, claims_of(rows, mode.quick)


def shown(a: Tensor, at: Mapping) -> list[dict]:
    """The map of one sequence; `samples`: T * row + column."""
    return [{**at, "samples": k, "quantity": "map", "value": round(v, 4)} for k, v in enumerate(a.flatten().tolist())]


def sequence(test: Batch) -> list[dict]:
    at = {"recipe": "sequence", "seed": 0, "epoch": 0, "layer": ""}
    told = {"symbol": test.x[:, 0].argmax(-1), "target": test.target[:, 0]}
    return [{**at, "samples": t, "quantity": q, "value": v} for q, x in told.items() for t, v in enumerate(x.tolist())]


def mean_of(rows: Sequence[Mapping], slug: str, block: int, quantity: str) -> float:
    return float(np.mean([r["value"] for r in rows
                          if (r["recipe"], r["layer"], r["quantity"]) == (slug, f"block {block}", quantity)]))  # fmt: skip


def claims_of(rows: Sequence[Mapping], quick: bool) -> list[dict]:
    frozen = "frozen" in {r["recipe"] for r in rows}
    source = "definition: nothing below the readout learns"
    claims = [
        claim(f"frozen, block {b}: share on the {q} as before", abs(mean_of(rows, "frozen", b, q) - mean_of(rows, START, b, q)),
              "<=", 0.0, 1e-6, source)
        for b in (1, 2) for q in (SOUGHT, BEFORE) if frozen
    ]  # fmt: skip
    if quick:
        return claims
    got = [mean_of(rows, START, 2, SOUGHT), mean_of(rows, "backprop", 2, SOUGHT)]
    return [*claims, claim("backprop: block 2 looks at the value sought, less than before", got[1] - got[0], ">=", 0.2, 0,
                           "what recall needs; Olsson et al. 2022")]  # fmt: skip


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    slugs = [s for s in (START, *SLUGS) if any(r["recipe"] == s for r in rows)]
    symbol, target = (
        [int(r["value"]) for r in rows if r["recipe"] == "sequence" and r["quantity"] == q]
        for q in ("symbol", "target")
    )
    T = len(symbol)
    ringed = [(s + 1, t) for t in range(T) if target[t] >= 0 for s in range(t) if symbol[s] == symbol[t]]
    names = [f"k{s + 1}" if t % 2 == 0 else f"v{s - 7}" for t, s in enumerate(symbol)]
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(2.3 * len(slugs) + 0.6, 5.6), layout="constrained")
        axes = fig.subplots(2, len(slugs), sharex=True, sharey=True, squeeze=False)
        for column, slug in zip(axes.T, slugs, strict=True):
            for b, ax in enumerate(column, 1):
                a = [
                    r["value"] for r in rows if (r["recipe"], r["layer"], r["quantity"]) == (slug, f"block {b}", "map")
                ]
                image = ax.imshow(np.array(a).reshape(T, T), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
                ax.scatter(*zip(*ringed, strict=True), s=16, facecolors="none", edgecolors="#c0392b", linewidths=0.6)
                sought, before = (mean_of(rows, slug, b, q) for q in (SOUGHT, BEFORE))
                said = f"on value sought {sought:.2f}\nvalues on key before {before:.2f}"
                ax.text(T - 1, 0, said, fontsize=6.5, ha="right", va="top")
                ax.set_xticks(range(T), names, fontsize=4, rotation=90)
                ax.set_yticks(range(T), names, fontsize=4)
                ax.grid(False)
            column[0].set_title(slug, fontsize=8)
            column[1].set_xlabel("attended token", fontsize=8)
        for b in (1, 2):
            axes[b - 1, 0].set_ylabel(f"block {b}: attending token", fontsize=8)
        fig.colorbar(image, ax=axes, shrink=0.6, label="share of attention (mean of heads)")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
