"""What a comparison's table shows: means, paired tests against the frozen control and against backprop, samples to half."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neurosim.compare import Cell
from neurosim.plasticity import Recipe
from neurosim.statistics import Paired, holm, interval, paired, samples_to_half


def summary(cells: Sequence[Cell], recipes: Sequence[Recipe]) -> dict[str, dict[str, Any]]:
    """By recipe, in the order given: everything the manifest holds (see the conventions in CONTRIBUTING.md)."""
    by = {r.name: sorted((c for c in cells if c.recipe == r.name), key=lambda c: c.seed) for r in recipes}
    test = {n: [c.final("test") for c in cs] for n, cs in by.items()}
    tests = {reference: against(by, test, reference) for reference in ("frozen", "backprop")}
    ends = [_mean(test.get(n, [])) for n in ("frozen", "backprop")]
    found: dict[str, dict[str, Any]] = {}
    for r in recipes:
        cs = by[r.name]
        if not cs:
            continue
        worst = next((c for c in cs if c.status != "ok"), cs[0])
        layers = list(dict.fromkeys(x["layer"] for c in cs for x in c.rows if x["quantity"] == "alignment"))
        found[r.name] = {
            "reads": sorted(r.reads),
            "test": test[r.name],
            "samples_to_half": [samples_to_half(*_curve(c), *ends) if math.isfinite(sum(ends)) else None for c in cs],
            "alignment": {n: [c.final("alignment", n) for c in cs] for n in layers},
            "seconds": [c.seconds for c in cs],
            "init_hash": [c.init_hash for c in cs],
            "batch_hash": [c.batch_hash for c in cs],
            "status": worst.status,
            "reason": worst.reason,
        }
        for reference, results in tests.items():
            if r.name in results:
                t, p = results[r.name]
                found[r.name][f"p_vs_{reference}"] = p
                found[r.name][f"difference_to_{reference}"] = [t.difference, t.half]
    return found


def against(
    by: Mapping[str, Sequence[Cell]], test: Mapping[str, list[float]], reference: str
) -> dict[str, tuple[Paired, float]]:
    """Paired tests of every recipe against one of them over the seeds they share; p adjusted by Holm over recipes."""
    if not by.get(reference):
        return {}
    base = {c.seed: v for c, v in zip(by[reference], test[reference], strict=True)}
    results = {}
    for n, cs in by.items():
        pairs = [(v, base[c.seed]) for c, v in zip(cs, test[n], strict=True) if c.seed in base]
        if n != reference and pairs:
            a, b = zip(*pairs, strict=True)
            results[n] = paired(a, b, cs[0].n_train, cs[0].n_test)
    adjusted = holm([t.p for t in results.values()])
    return {n: (t, p) for (n, t), p in zip(results.items(), adjusted, strict=True)}


def _curve(c: Cell) -> tuple[list[int], list[float]]:
    rows = [r for r in c.rows if r["quantity"] == "test" and r["epoch"] > 0]
    return [r["samples"] for r in rows], [r["value"] for r in rows]


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return interval(finite)[0] if finite else math.nan
