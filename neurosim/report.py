"""The comparison as a table: best first, what is missing or diverged as a word, nothing cut."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from neurosim.manifest import SPIKES
from neurosim.statistics import FEWEST_SEEDS, LOWER_IS_BETTER, average, interval
from neurosim.summary import REFERENCES, Verdict, marked, pairs, ranked, standing, verdicts

CAPTION = (
    "mean ± 95 % interval over seeds, or mean and both values of two; p: paired t over seeds, corrected for overlapping "
    "training sets, Holm over rules; *: real, p < .05; half gap at: samples seen when half the gap from frozen to backprop was "
    "closed; align: cosine with backprop's update by plastic layer, last epoch (k/n: so many seeds have one; of many layers "
    "mean, least and most); s: training seconds a seed"
)
FEW = (
    f"; with fewer than {FEWEST_SEEDS} seeds no p is shown: chance easily makes two or three differences nearly equal, and "
    "so p tiny (the JSON has them)"
)
ASIDE = "; †: control, equal to backprop by construction; ‡: twin, backprop on the very net that another rule needs"
RESAMPLED = "; bootstrap: 95 % interval and p over seeds and test items (from 5,000 draws), Holm over rules"

HEADS = {
    "reads": "reads", "test": "test", "gap": "gap to backprop", "p_gap": "p", "over": "over frozen", "p_over": "p",
    "half": "half gap at", "align": "align", "s": "s", "as_drawn": "stays as drawn",
    "boot_gap": "bootstrap, to backprop", "boot_p_gap": "p", "boot_over": "bootstrap, over frozen", "boot_p_over": "p",
    "macs_per_sample": "MACs a sample", "writes_per_sample": "writes a sample", "energy_per_sample": "pJ a sample",
    "macs_per_correct": "MACs a right answer", "spikes_per_sample": "spikes an answer",
    "synaptic_operations": "synaptic operations", "energy_predict": "pJ an answer",
}  # fmt: skip
MOST_ALIGNED = 6  # layers whose alignment is listed one by one
MAIN, REST = ("test", "gap", "p_gap", "over", "p_over"), ("half", "align", "s")
BOOTSTRAP = ("boot_gap", "boot_p_gap", "boot_over", "boot_p_over")
COSTS = ("macs_per_sample", "writes_per_sample", "energy_per_sample", "macs_per_correct")


def comparison_tables(
    title: str, recipes: Mapping[str, Mapping[str, Any]], metric: str, width: int, fixed: str = ""
) -> list[Table]:
    """The main table from the manifest's `recipes`, best first, twins and controls last.

    What stays as drawn, bootstrap and cost, where the manifest has them, follow in a second table; below 130 columns all
    is in parts, so that nothing is cut. `fixed`: what of the network learns under no rule.
    """
    roles, decided = standing(recipes), verdicts(recipes)
    both = len(roles) == 2
    slugs = ranked({n: r["test"] for n, r in recipes.items()}, metric in LOWER_IS_BETTER)
    lines = {n: _cells(recipes[n], both, decided[n]) for n in slugs}
    wide = [("reads", *MAIN, *REST), ("as_drawn", *BOOTSTRAP, *COSTS), SPIKES]
    always = ("test", "gap", "over", "reads", *REST)
    tables = []
    for columns in wide if width >= 130 else [MAIN, ("reads", *REST), ("as_drawn", *BOOTSTRAP), COSTS, SPIKES]:
        shown = [k for k in columns if k in always or any(line[k] != "-" for line in lines.values())]
        if not shown:
            continue
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1))
        table.add_column("rule", no_wrap=True)
        for k in shown:
            head = f"test {metric}" if k == "test" else headed(HEADS[k], roles)
            table.add_column(
                head, justify="left" if k in ("reads", "as_drawn") else "right", overflow="fold", no_wrap=k == "test"
            )
        for n, after in zip(slugs, (*slugs[1:], ""), strict=True):
            last = marked(n) == n and marked(after) != after
            table.add_row(marked(n), *(lines[n][k] for k in shown), end_section=last)
        tables.append(table)
    caption = (
        headed(CAPTION, roles)
        + ("; of bits and errors less is better" if metric in LOWER_IS_BETTER else "")
        + (f"; {fixed} learn under no rule" if fixed else "")
    )
    caption += FEW if any(_few(r, k) for r in recipes.values() for k in REFERENCES) else ""
    caption += ASIDE if any(marked(n) != n for n in slugs) else ""
    caption += RESAMPLED if any(line[k] != "-" for line in lines.values() for k in BOOTSTRAP) else ""
    if any(line["energy_per_sample"] != "-" for line in lines.values()):
        from neurosim.cost import ENERGY_NOTE

        caption += f". {ENERGY_NOTE}"
    if any(line["energy_predict"] != "-" for line in lines.values()):
        from neurosim.cost_spikes import ENERGY_NOTE as OF_SPIKES

        caption += f" {OF_SPIKES}"
    tables[-1].caption, tables[-1].caption_justify = caption, "left"
    return tables


def headed(text: str, roles: Mapping[str, str]) -> str:
    """The text with the names of what stands for backprop and for frozen here: bptt and reservoir, say."""
    return re.sub("backprop|frozen", lambda found: roles.get(found[0], found[0]), text)


def _few(r: Mapping[str, Any], reference: str) -> bool:
    return pairs(r, reference) < FEWEST_SEEDS


def _cells(r: Mapping[str, Any], both: bool, decided: Verdict) -> dict[str, str]:
    """One line of the table, by column."""
    cells = dict.fromkeys(HEADS, "-") | {k: quantity(r.get(k)) for k in (*COSTS, *SPIKES)}
    if r["status"] != "ok" and not any(v is not None and math.isfinite(v) for v in r["test"]):
        return cells | {"reads": f"{r['status']}: {r['reason']}", "test": r["status"]}
    for column, reference, verdict in (("gap", "backprop", decided.backprop), ("over", "frozen", decided.frozen)):
        if (d := r.get(f"difference_to_{reference}")) and d[0] is not None and math.isfinite(d[0]):
            cells[column] = f"{d[0]:+.3f}" + "*" * bool(verdict)
        if not _few(r, reference):
            cells[f"p_{column}"] = probability(r.get(f"p_vs_{reference}"))
        if b := r.get(f"bootstrap_vs_{reference}"):
            cells[f"boot_{column}"] = f"{b[0]:+.3f}, {b[1]:+.3f}"
            cells[f"boot_p_{column}"] = "-" if _few(r, reference) else probability(b[2])
    return cells | {
        "reads": ", ".join(r["reads"]),
        "as_drawn": r.get("as_drawn") or "-",
        "test": spread(r["test"]) + ("" if r["status"] == "ok" else f" [{r['status']}]"),
        "half": half_gap(r["samples_to_half"]) if both else "-",
        "align": aligned(r["alignment"]),
        "s": f"{average(r['seconds']):.1f}",
    }


def aligned(alignment: Mapping[str, Sequence[float | None]]) -> str:
    """The mean over seeds by plastic layer; of more layers than fit, their mean, least and most."""
    there = {n: v for n, v in alignment.items() if any(x is not None and math.isfinite(x) for x in v)}
    if len(alignment) <= MOST_ALIGNED:
        return " ".join(mean_of_those(v) for v in alignment.values()) or "-"
    means = [average([x for x in v if x is not None and math.isfinite(x)]) for v in there.values()]
    return f"{average(means):.2f} ({min(means):.2f} to {max(means):.2f})" if means else "-"


def quantity(value: float | None) -> str:
    """Three figures and a power of a thousand: 123456 -> 123k, 1.2e7 -> 12M."""
    if value is None or not math.isfinite(value):
        return "-"
    power = min(max(int(math.log10(value) // 3), 0), 4) if value > 0 else 0
    return f"{value / 1000**power:.3g}{('', 'k', 'M', 'G', 'T')[power]}"


def mean_of_those(values: Sequence[float | None]) -> str:
    """The mean, and how many have a value where not all do."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return "-"
    return f"{average(values):.2f}" + ("" if len(finite) == len(values) else f"({len(finite)}/{len(values)})")


def spread(values: Sequence[float | None]) -> str:
    finite = [v for v in values if v is not None and math.isfinite(v)]
    mean, half = interval(finite)
    if len(finite) == 2:  # an interval from two is wider than all that can be
        return f"{mean:.3f} ({min(finite):.3f}, {max(finite):.3f})"
    return f"{mean:.3f}" + (f" ± {half:.3f}" if math.isfinite(half) else "")


def probability(p: float | None) -> str:
    if p is None or math.isnan(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def half_gap(samples: Sequence[int | None]) -> str:
    """Mean over the seeds that got there, and how many did."""
    got = [s for s in samples if s is not None]
    if not got:
        return "not reached"
    mean = f"{sum(got) / len(got):,.0f}"
    return mean if len(got) == len(samples) else f"{mean} ({len(got)}/{len(samples)})"
