"""What the commands print: the comparison as a table, claims as a table, and a recipe or rule explained."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich import box
from rich.table import Table

from neurosim.plasticity import Recipe, Rule
from neurosim.statistics import interval

CAPTION = (
    "mean ± 95 % interval over seeds; p: paired t over seeds, corrected for overlapping training sets, Holm over rules; "
    "half gap at: samples seen when half the gap from frozen to backprop was closed; align: cosine with backprop's update "
    "by plastic layer, last epoch (k/n: so many seeds have one); s: training seconds a seed"
)


def comparison_tables(title: str, recipes: Mapping[str, Mapping[str, Any]], metric: str, width: int) -> list[Table]:
    """The main table from the manifest's `recipes`; below 130 columns in two halves, so that nothing is cut."""
    heads = ("reads", f"test {metric}", "gap to backprop", "p", "over frozen", "p", "half gap at", "align", "s")
    lines = {n: _cells(n, r, {"backprop", "frozen"} <= recipes.keys()) for n, r in recipes.items()}
    halves = [range(9)] if width >= 130 else [(1, 2, 3, 4, 5), (0, 6, 7, 8)]
    tables = []
    for columns in halves:
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1))
        table.add_column("rule", no_wrap=True)
        for k in columns:
            table.add_column(heads[k], justify="left" if k == 0 else "right", overflow="fold")
        for n, line in lines.items():
            table.add_row(n, *(line[k] for k in columns))
        tables.append(table)
    tables[-1].caption, tables[-1].caption_justify = CAPTION, "left"
    return tables


def _cells(name: str, r: Mapping[str, Any], both: bool) -> list[str]:
    if r["status"] != "ok" and not any(map(math.isfinite, r["test"])):
        return [f"{r['status']}: {r['reason']}", r["status"], *["-"] * 7]
    gap, over = r.get("difference_to_backprop"), r.get("difference_to_frozen")
    return [
        ", ".join(r["reads"]),
        spread(r["test"]) + ("" if r["status"] == "ok" else f" [{r['status']}]"),
        f"{gap[0]:+.3f}" if gap else "-",
        probability(r.get("p_vs_backprop")),
        f"{over[0]:+.3f}" if over else "-",
        probability(r.get("p_vs_frozen")),
        half_gap(r["samples_to_half"]) if both else "-",
        " ".join(mean_of_those(v) for v in r["alignment"].values()) or "-",
        f"{average(r['seconds']):.1f}",
    ]


def average(values: Sequence[float]) -> float:
    """Mean of those that are finite; nan for none."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    return interval(finite)[0] if finite else math.nan


def mean_of_those(values: Sequence[float]) -> str:
    """The mean, and how many have a value where not all do."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    return f"{average(values):.2f}" + ("" if len(finite) == len(values) else f"({len(finite)}/{len(values)})")


def spread(values: Sequence[float]) -> str:
    finite = [v for v in values if math.isfinite(v)]
    mean, half = interval(finite)
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


def name_of(f: Any) -> str:
    """A function, class or partial as a reader would call it."""
    if isinstance(f, partial):
        args = ", ".join(f"{k}={v}" for k, v in f.keywords.items())
        return f"{name_of(f.func)}({args})"
    return getattr(f, "__name__", type(f).__name__)


def prepared(recipe: Recipe) -> str:
    """What `prepare` changed in the net, in words; "" for nothing."""
    f = recipe.prepare
    doc = (inspect.getdoc(f.func if isinstance(f, partial) else f) or "").strip()
    args = ", ".join(f"{k} {v}" for k, v in f.keywords.items()) if isinstance(f, partial) else ""
    return f"{doc} ({args})" if doc and args else doc


def explain_rule(rule: Rule) -> str:
    """Equation, source and what it reads."""
    value = "" if repr(rule) == f"{type(rule).__name__}()" else f"\nvalue    {rule!r}"
    return f"{type(rule).__name__}\n\n{inspect.getdoc(type(rule))}\n\nreads    {', '.join(sorted(rule.reads))}{value}"


def explain_recipe(recipe: Recipe) -> str:
    """Equations, what is read, how it relates to backprop, the source; and every choice the recipe made."""
    lines = [recipe.name, "", f"credit   {recipe.credit!r}", _indent(recipe.credit)]
    for pattern, rule in recipe.rules.items():
        lines += ["", f"rule     {pattern}: {rule!r}" if rule else f"rule     {pattern}: none, frozen"]
        lines += [_indent(rule)] if rule else []
    lines += [
        "",
        f"reads    {', '.join(sorted(recipe.reads))}",
        f"optimiser {table_of(recipe.optimizer, name_of)}",
        f"rate     {table_of(recipe.lr, str)}",
        f"loss     {name_of(recipe.loss) if recipe.loss else 'the task’s'}",
        f"prepared {prepared(recipe) or 'nothing: the net as it is'}",
        f"answers  {'after settling' if name_of(recipe.predict) != 'forward' else 'from one forward trial'}",
    ]
    return "\n".join(lines)


def catalogue(kind: str) -> dict[str, str]:
    """All rules, recipes, tasks, networks or studies, each with its first line."""
    from neurosim import networks, recipes, rules, study, tasks

    def first(thing: Any) -> str:
        return (inspect.getdoc(thing) or "").partition("\n")[0]

    return {
        "rules": lambda: {n: first(type(r)) for n, r in rules.ALL.items()},
        "recipes": lambda: {n: one_line(r) for n, r in recipes.RECIPES.items()},
        "tasks": lambda: {n: first(f) for n, f in tasks.TASKS.items()},
        "networks": lambda: {n: first(f) for n, f in networks.NETWORKS.items()},
        "studies": lambda: {n: study.load_study(n).question.partition("\n")[0] for n in study.studies()},
    }[kind]()


def one_line(recipe: Recipe) -> str:
    """Which rules under which credit."""
    rules = ", ".join(f"{p}: {type(r).__name__ if r else 'frozen'}" for p, r in recipe.rules.items())
    return f"{type(recipe.credit).__name__} ({rules})"


def table_of(value: Any, show: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {show(v)}" for k, v in value.items())
    return show(value)


def _indent(value: Any) -> str:
    return "\n".join(f"         {line}" for line in (inspect.getdoc(type(value)) or "").splitlines())
