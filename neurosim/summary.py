"""What a comparison's table shows: means, tests against the frozen control and against backprop, verdicts, controls.

`python -m neurosim.summary A.json B.json` lists the verdicts in which two comparisons differ.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from neurosim.bootstrap import Resampled, bootstrap
from neurosim.plasticity import match
from neurosim.recipes import CONTROLS, TWINS
from neurosim.statistics import FEWEST_SEEDS, LOWER_IS_BETTER, Paired, average, holm, paired, samples_to_half

if TYPE_CHECKING:
    from neurosim.compare import Cell
    from neurosim.plasticity import Recipe

REFERENCES = ("frozen", "backprop")  # roles, after those that have them most
STANDING = {"frozen": ("frozen", "reservoir"), "backprop": ("backprop", "bptt", "surrogate-bptt")}
DRAWS = 5000
LEVEL = 0.05
T = TypeVar("T", Paired, Resampled)

FAMILIES = {
    "error feedback": (
        "backprop", "sign-symmetric", "feedback-alignment", "kolen-pollack", "direct-feedback", "burstprop",
        "target-propagation",
    ),
    "energy and prediction": ("predictive-coding", "equilibrium-propagation"),
    "through time": ("bptt", "surrogate-bptt", "tbptt-10"),
    "e-prop and RFLO": ("eprop", "eprop-random", "eprop-adaptive", "rflo"),
    "direct feedback": (
        "direct-feedback-own", "direct-feedback-pooled", "direct-feedback-block-own", "direct-feedback-block-pooled",
    ),
    "perturbation and reward": ("node-perturbation", "weight-perturbation", "reward-hebb", "miconi"),
    "reward by spikes": ("reward-stdp", "reward-stdp-unmodulated", "reward-shuffled"),
    "losses of the layer": ("layer-local", "block-local", "forward-forward"),
    "Hebbian": ("hebb", "oja", "sanger", "bcm", "softhebb", "hard-wta", "k-wta"),
    "spike timing": ("stdp", "triplet-stdp", "homeostatic-triplet", "symmetric-stdp-wta",
                     "triplet-stdp-delta"),
    "some projections": ("hebbian-qk", "hebbian-vo", "reward-qk", "reward-vo"),
    "some stay as drawn": ("frozen-qk", "frozen-embeddings", "reward-frozen"),
    "pre-training": ("rbm", "autoencoder"),
    "controls and twins": ("frozen", "reservoir", "regulated", "frozen-wta", "frozen-rate", "frozen-labelled",
                           "untrained", "backprop-rate",
                           *CONTROLS, *TWINS),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- of cells
def standing(names: Iterable[str]) -> dict[str, str]:
    """By role, the recipe that has it: {"frozen": "reservoir", "backprop": "bptt"} on a recurrent network. Absent for none."""
    there = set(names)
    found = {role: next((n for n in slugs if n in there), None) for role, slugs in STANDING.items()}
    return {role: n for role, n in found.items() if n}


def summary(cells: Sequence[Cell], recipes: Sequence[Recipe], metric: str = "accuracy") -> dict[str, dict[str, Any]]:
    """By recipe, in the order given: everything the manifest holds (see the conventions in CONTRIBUTING.md).

    p values are adjusted by Holm over recipes: `p_vs_...` of the corrected paired t test, and the third of
    `bootstrap_vs_...`: [low, high, p], which is absent where a cell does not hold the score of every test item.
    """
    by = {r.name: sorted((c for c in cells if c.recipe == r.name), key=lambda c: c.seed) for r in recipes}
    test = {n: [c.final("test") for c in cs] for n, cs in by.items()}
    roles = standing(n for n, cs in by.items() if cs)
    tests = {role: against(by, test, roles.get(role, "")) for role in REFERENCES}
    draws = {role: resampled(by, roles.get(role, "")) for role in REFERENCES}
    sign = -1 if metric in LOWER_IS_BETTER else 1  # half of the gap is closed from below
    ends = [sign * average(test.get(roles.get(role, ""), [])) for role in REFERENCES]
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
            "samples_to_half": [
                samples_to_half(*_curve(c, sign), *ends) if math.isfinite(sum(ends)) else None for c in cs
            ],
            "alignment": {n: [c.final("alignment", n) for c in cs] for n in layers},
            "seconds": [c.seconds for c in cs],
            "init_hash": [c.init_hash for c in cs],
            "batch_hash": [c.batch_hash for c in cs],
            "status": worst.status,
            "reason": worst.reason,
        }
        for reference in REFERENCES:
            if r.name in tests[reference]:
                t, p = tests[reference][r.name]
                found[r.name][f"p_vs_{reference}"] = p
                found[r.name][f"difference_to_{reference}"] = [t.difference, t.half]
                shared = {c.seed for c in by[roles[reference]]}
                found[r.name][f"seeds_with_{reference}"] = sum(c.seed in shared for c in cs)
            if r.name in draws[reference]:
                b, p = draws[reference][r.name]
                found[r.name][f"bootstrap_vs_{reference}"] = [b.low, b.high, p]
    return found


def as_drawn(recipe: Recipe, names: Sequence[str]) -> str:
    """Which of the net's synapses have no rule, in words: "embed", "*.q, *.k", "all but readout"; "" for none.

    `names`: all its synapses, such as "blocks.0.attention.q.input"; what lacks a rule in every block is said once.
    """
    short = {n: re.sub(r"^blocks\.\d+\.(attention\.)?", "*.", n.removesuffix(".input")) for n in names}
    short |= {n: "thresholds" for n in names if n.endswith(".threshold")}
    stays = [n for n in names if match(recipe.rules, n) is None]
    if stays == list(names):
        return "all"
    if stays == [n for n in names if not n.startswith("readout.")]:
        return "all but readout"
    whole = {s for s in short.values() if all(n in stays for n in names if short[n] == s)}
    return ", ".join(dict.fromkeys(short[n] if short[n] in whole else n.removesuffix(".input") for n in stays))


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
            results[n] = paired(a, b, cs[0].n_seen or cs[0].n_train, cs[0].n_test)
    return _adjusted(results, lambda t: t.p)


def resampled(by: Mapping[str, Sequence[Cell]], reference: str) -> dict[str, tuple[Resampled, float]]:
    """As `against`, by the bootstrap over seeds and test items. Every pair is drawn alike, from a generator of its own."""
    base = {c.seed: c for c in by.get(reference, [])}
    results = {}
    for n, cs in by.items():
        pairs = [(_items(c), _items(base[c.seed])) for c in cs if c.seed in base]
        if n != reference and pairs and all(len(a) and len(b) for a, b in pairs):
            a, b = zip(*pairs, strict=True)
            results[n] = bootstrap(a, b, DRAWS, np.random.default_rng(0))
    return _adjusted(results, lambda r: r.p)


def _adjusted(results: Mapping[str, T], p: Callable[[T], float]) -> dict[str, tuple[T, float]]:
    adjusted = holm([p(r) for r in results.values()])
    return {n: (r, math.nan if q is None else q) for (n, r), q in zip(results.items(), adjusted, strict=True)}


def equivalences(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Claims that each control present ends within one test item of backprop on every seed: |a - b| n_test <= 1.

    `got` is the largest difference over seeds, in test items; NaN, which does not hold, where a seed of the control
    diverged or backprop did not run. Without backprop there is nothing to claim.
    """
    from neurosim.figures import claim

    base = {c.seed: c.final("test") for c in cells if c.recipe == "backprop"}
    claims = []
    for control in CONTROLS:
        apart = [
            abs(c.final("test") - base.get(c.seed, math.nan)) * (c.n_test or math.nan)
            for c in cells
            if c.recipe == control
        ]
        if base and apart:
            worst = math.nan if any(map(math.isnan, apart)) else round(max(apart), 6)
            name = f"{control} ends as backprop does: test items apart, worst of {len(apart)} seeds"
            claims.append(claim(name, worst, "within", 0.0, 1.0, source="known equivalence"))
    return claims


def _items(c: Cell) -> Sequence[float]:
    return c.each if c.status == "ok" else ()


def _curve(c: Cell, sign: int = 1) -> tuple[list[int], list[float]]:
    rows = [r for r in c.rows if r["quantity"] == "test" and r["epoch"] > 0]
    return [r["samples"] for r in rows], [sign * r["value"] for r in rows]


# ---------------------------------------------------------------------------------------------- of manifests
class Verdict(NamedTuple):
    """1 if the recipe's score is really higher than the reference's, -1 if really lower, 0 if that is not resolved."""

    frozen: int
    backprop: int


def verdicts(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
    """What a manifest's `recipes` decide: the sign of the difference where the Holm-adjusted p of the t test is < .05.

    0, not resolved, also where there was no test or fewer than five seeds.
    """
    return {n: Verdict(*(_verdict(entry, reference) for reference in REFERENCES)) for n, entry in found.items()}


def pairs(entry: Mapping[str, Any], reference: str) -> int:
    """How many seeds the recipe shares with the reference."""
    return entry.get(f"seeds_with_{reference}", len(entry.get("test") or []))


def _verdict(entry: Mapping[str, Any], reference: str) -> int:
    p, (difference, _) = entry.get(f"p_vs_{reference}"), entry.get(f"difference_to_{reference}") or (None, None)
    if p is None or difference is None or not p < LEVEL or pairs(entry, reference) < FEWEST_SEEDS:
        return 0
    return (difference > 0) - (difference < 0)


def disagreements(
    a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]], names: tuple[str, str] = ("A", "B")
) -> list[str]:
    """One line for each verdict in which two manifests' `recipes` differ, and for each recipe that only one has."""
    words = {1: "higher", -1: "lower", 0: "not resolved"}
    of_a, of_b = verdicts(a), verdicts(b)
    lines = []
    for n in dict.fromkeys((*of_a, *of_b)):
        if n not in of_a or n not in of_b:
            lines.append(f"{n}: only in {names[n not in of_a]}")
            continue
        for reference, x, y in zip(REFERENCES, of_a[n], of_b[n], strict=True):
            if x != y:
                p, q = (said_p(of[n].get(f"p_vs_{reference}")) for of in (a, b))
                lines.append(f"{n} against {reference}: {words[x]} in {names[0]} ({p}), {words[y]} in {names[1]} ({q})")
    return lines


def said_p(p: float | None) -> str:
    return "no test" if p is None else f"p {p:.2g}"


def ranked(scores: Mapping[str, Sequence[float | None]], lower_is_better: bool = False) -> list[str]:
    """Best mean first, recipes without a score after them; twins and then controls last."""

    def place(n: str) -> tuple[int, bool, float]:
        mean = average(scores[n])
        group = 2 if n in CONTROLS else 1 if n in TWINS else 0
        return group, math.isnan(mean), mean if lower_is_better else -mean

    return sorted(scores, key=place)


def marked(slug: str) -> str:
    """The name as tables and figures show it: † a control, ‡ a twin."""
    return slug + (" †" if slug in CONTROLS else " ‡" if slug in TWINS else "")


def main(paths: Sequence[str]) -> int:
    """Compare two manifests; 0 if all verdicts agree, 1 if not, 2 for wrong use."""
    try:
        if len(paths) != 2:
            raise ValueError(f"given {len(paths)} files, two manifests are compared: A.json B.json")
        a, b = (_recipes(Path(p)) for p in paths)
    except (ValueError, FileNotFoundError) as error:
        print(f"summary: {error}", file=sys.stderr)
        return 2
    lines = disagreements(a, b, (paths[0], paths[1]))
    print("\n".join(lines) or f"the same verdicts on all {len(a)} recipes")
    return 1 if lines else 0


def _recipes(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the .json beside a comparison's figure.")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["recipes"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a comparison's manifest ({error!r}): give the .json beside its figure."
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
