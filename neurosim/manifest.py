"""What a comparison leaves behind: its figure, the rows of its CSV, and the manifest of its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosim.flags import typed
from neurosim.statistics import average

if TYPE_CHECKING:
    from neurosim.cli_compare import Plan

SPIKES = ("spikes_per_sample", "synaptic_operations", "energy_predict")
MOST = 18_000  # rows that a CSV below 1 MB holds


def write(plan: Plan, cells: list[Any], interrupted: bool, seconds: float, folder: Path) -> tuple[dict[str, Any], Path]:
    """The figure with its CSV and JSON; returns what the JSON says, and the path of the figure."""
    from neurosim import figures, recipes
    from neurosim.compare import rows_of
    from neurosim.cost import per_correct
    from neurosim.explain import prepared
    from neurosim.figures_comparison import comparison
    from neurosim.plasticity import synapses
    from neurosim.summary import as_drawn, equivalences, summary

    found = summary(cells, plan.recipes, plan.task.metric)
    net = plan.make_net(plan.task.shape, plan.task.outputs)
    learnable = [n for n in synapses(net) if not n.endswith(".lateral")]
    for r in plan.recipes:
        if r.name in found:
            found[r.name]["prepared"], found[r.name]["as_drawn"] = prepared(r), as_drawn(r, learnable)
            paid = next((c.cost for c in cells if c.recipe == r.name and c.cost), {})
            found[r.name] |= {k: v for k, v in paid.items() if k not in SPIKES} | spikes_of(
                [c.cost for c in cells if c.recipe == r.name]
            )
            right = average(found[r.name]["test"])
            if paid and plan.task.metric == "accuracy" and right > 0:
                found[r.name] |= per_correct(paid, right)
    manifest = {
        "command": typed(),
        "config": {"task": plan.slug, "network": plan.network, "epochs": plan.epochs, "quick": plan.quick, "full": plan.full,
                   "workers": plan.workers, "n_train": cells[0].n_train, "n_test": cells[0].n_test,
                   "tuned": plan.tuned, "fixed": getattr(net, "fixed", ""), "interrupted": interrupted,
                   "found": sum(c.stored for c in cells)},
        "seeds": list(plan.seeds),
        "device": plan.device,
        "seconds": round(seconds, 1),
        "metric": plan.task.metric,
        **({"baselines": baselines} if (baselines := baselines_of(plan)) else {}),
        "recipes": found,
    }  # fmt: skip
    reaches = recipes.REACHES.get((plan.slug, plan.network), {}) if plan.plain and not interrupted else {}
    manifest["claims"] = [
        figures.claim(f"{slug}: mean test {plan.task.metric}", sum(found[slug]["test"]) / len(plan.seeds), ">=", least,
                      source=f"project target, {len(plan.seeds)} seeds")
        for slug, least in reaches.items()
    ]  # fmt: skip
    manifest["claims"] += [] if interrupted else equivalences(cells)
    rows = kept(rows_of(cells), len(plan.seeds))
    png = figures.save(
        plan.name, comparison(rows, manifest), rows, manifest["claims"], found, out=folder, manifest=manifest
    )
    return manifest, png


def spikes_of(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What spikes cost, the mean over seeds: nets that learned differently spike differently."""
    counted = [c for c in costs if all(k in c for k in SPIKES)]
    return {k: average([c[k] for c in counted]) for k in SPIKES} if counted else {}


def baselines_of(plan: Plan) -> dict[str, list[float]]:
    """What the task says others reach on the same test items, n-grams for instance: {name: [a seed]}."""
    if not hasattr(plan.task, "baselines"):
        return {}
    found = [plan.task.baselines(plan.task.split(seed)) for seed in plan.seeds]
    return {n: [f[n] for f in found] for n in found[0]}


def kept(rows: list[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """The rows of the CSV, six digits each. Of many, or of more than ten seeds, less, so that it stays below 1 MB: five

    digits, scores at the epochs where alignment was measured, no losses, the null of other recipes than backprop at the last
    of them; and if that is too much, at fewer and fewer of these epochs, the last among them. What diverged stays.
    """
    told = sorted({r["epoch"] for r in rows if r["quantity"] == "alignment"})
    if (seeds <= 10 and len(rows) <= MOST) or not told:
        return [r | {"value": float(f"{r['value']:.6g}")} for r in rows]

    def wanted(r: dict[str, Any], epochs: set[int]) -> bool:
        if r["quantity"] == "test":
            return r["epoch"] in {0, *told} or not math.isfinite(r["value"])
        if r["quantity"] == "test_loss" or r["epoch"] not in epochs:
            return False
        return not r["quantity"].startswith("null") or r["recipe"] == "backprop" or r["epoch"] == told[-1]

    for every in (1, 2, 4, 8, len(told)):
        left = [r for r in rows if wanted(r, set(told[::-1][::every]))]
        if len(left) <= MOST:
            break
    return [r | {"value": float(f"{r['value']:.5g}")} for r in left]
