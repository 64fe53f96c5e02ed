"""The figure of a comparison: learning curves, final scores against the frozen floor, alignment per layer.

Drawn from rows and manifest alone, so `comparison(*figures.load(name))` redraws it without running again.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from neurosim.figures import LOWER_IS_BETTER, STYLE, Look, looks
from neurosim.statistics import interval

ALIGNMENT = ("alignment", "null_low", "null_high")

Run = dict[float, dict[Any, float]]  # samples -> seed -> value
Runs = dict[tuple[str, str, str], Run]  # (quantity, layer, recipe) -> run


def comparison(rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any]) -> Figure:
    """Recipes side by side on one task: learning curves, final scores against the frozen floor, alignment per layer.

    Rows by `quantity`: "test", the running test score (epoch 0 is before training); and, per layer, "alignment", the
    cosine of the recipe's update with backprop's on the same weights and batch, with "null_low" and "null_high", the
    2.5 % and 97.5 % points of that cosine when credit is shuffled. The grey band is their median over the seeds of
    backprop (over all recipes where it is not shown); each recipe's own null is in the rows. Other quantities are not
    drawn. From the manifest: metric; config's task and network; each recipe's p_vs_frozen (Holm-adjusted), status and
    reason.
    Lines are means over seeds, with 95 % t intervals from three seeds on. The final score is that of a recipe's last
    epoch. Values that are not finite are skipped, and a recipe whose status is not "ok" is named with its reason
    below the panels.
    """
    recipes, config = manifest.get("recipes") or {}, manifest.get("config") or {}
    metric = str(manifest.get("metric") or "score")
    runs = _runs(rows)
    layers = list(dict.fromkeys(layer for quantity, layer, _ in runs if quantity == "alignment"))
    styles = looks(recipe for (_, _, recipe), run in runs.items() if any(run.values()))
    final = {slug: _final(runs["test", "", slug]) for slug in styles if ("test", "", slug) in runs}
    per_row = math.ceil(len(layers) / math.ceil(len(layers) / 5)) if layers else 1
    below = math.ceil(len(layers) / per_row)
    above = max(3.0, 0.27 * len(final) + 1.2)  # inches
    notes = _notes(recipes, final)

    with matplotlib.rc_context(STYLE):
        height = above + 2.6 * below + 0.6 + 0.16 * len(notes)
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.02, hspace=0.02)
        fig = Figure(figsize=(13, height), layout=layout)
        halves = fig.add_gridspec(2 if layers else 1, 1, height_ratios=[above, 2.6 * below] if layers else None)
        top = halves[0].subgridspec(1, 2, width_ratios=[1, 1.05])
        curves, bars = fig.add_subplot(top[0]), fig.add_subplot(top[1])
        _draw_curves(curves, runs, styles, metric)
        _draw_final(bars, final, styles, recipes, metric)
        if layers:
            grid = halves[1].subgridspec(below, per_row)
            values = [v for key, run in runs.items() if key[0] in ALIGNMENT for by in run.values() for v in by.values()]
            for i, layer in enumerate(layers):
                ax = fig.add_subplot(grid[divmod(i, per_row)])
                _draw_alignment(ax, runs, styles, layer)
                ax.set_title(f"{chr(ord('C') + i)}  {layer}")
                ax.set_ylabel("update alignment:\ncosine with backprop (1)" if i % per_row == 0 else "")
                ax.set_ylim(max(-1.05, min(values, default=-1.0) - 0.05), 1.05)
                ax.tick_params(labelleft=i % per_row == 0)
        handles: list[Line2D | Patch] = [
            Line2D([], [], color=s.colour, marker=s.marker, linestyle=s.line, label=slug) for slug, s in styles.items()
        ]
        if layers:
            handles.append(Patch(color="#d0d0d0", label="shuffled credit, 95 %"))
        fig.legend(handles=handles, loc="outside right upper", handlelength=3.2, title="recipe", alignment="left")
        seeds = len({seed for run in runs.values() for by in run.values() for seed in by})
        title = ", ".join(str(config[key]) for key in ("task", "network") if config.get(key))
        spread = {1: "1 seed", 2: "2 seeds, mean (95 % t interval in B only)"}.get(
            seeds, f"{seeds} seeds, mean and 95 % t interval"
        )
        fig.suptitle(f"{title}: {spread}" if title else spread, fontsize=12, fontweight="bold", x=0.01, ha="left")
        if notes:
            fig.supxlabel("\n".join(notes), fontsize=8, x=0.01, ha="left")
    return fig


def _runs(rows: Sequence[Mapping[str, Any]]) -> Runs:
    """The finite values of the quantities that are drawn."""
    runs: Runs = {}
    for row in rows:
        if row["quantity"] in ("test", "alignment", "null_low", "null_high"):
            run = runs.setdefault((row["quantity"], str(row.get("layer") or ""), row["recipe"]), {})
            at = run.setdefault(row["samples"], {})  # a point without a finite value stays, empty
            value = math.nan if row["value"] in (None, "") else float(row["value"])
            if math.isfinite(value):
                at[row["seed"]] = value
    return runs


def _final(run: Run) -> list[float]:
    return list(run[max(run)].values())


def _notes(recipes: Mapping[str, Mapping[str, Any]], final: Mapping[str, list[float]]) -> list[str]:
    """Lines that name every recipe that did not run through, why, and how many of its seeds are drawn."""
    notes = []
    for slug, entry in recipes.items():
        status = entry.get("status", "ok")
        if status != "ok":
            seeds = f", {len(final[slug])} seeds finished" if final.get(slug) else ", no final score"
            notes += textwrap.wrap(
                f"{slug}: {status}{seeds}. {entry.get('reason') or ''}", 170, subsequent_indent="    "
            )
    return notes


def _line(ax: Axes, run: Run, look: Look, start: float, label: str, band: float) -> None:
    """Mean over seeds against samples seen; its interval where three seeds or more are left (with two it is 13 standard
    errors wide and hides the lines); markers at a few points, shifted from recipe to recipe so that none hide.
    """
    points = [
        (x, *(interval(list(by.values())) if len(by) > 2 else (np.mean(list(by.values())), math.nan)))
        for x, by in sorted(run.items())
        if by
    ]
    if not points:
        return
    x, mean, half = np.array(points, dtype=float).T
    if np.isfinite(half).any():
        ax.fill_between(x, mean - half, mean + half, color=look.colour, alpha=band, linewidth=0)
    ax.plot(
        x, mean, color=look.colour, linestyle=look.line, marker=look.marker, markevery=(start, 0.24), label=label,
        markeredgecolor="white", markeredgewidth=0.4,
    )  # fmt: skip


def _samples_axis(ax: Axes, runs: Runs, quantity: str) -> None:
    """Samples seen on a log axis that begins with 0, in its own short linear piece before the first epoch's end."""
    seen = sorted({x for key, run in runs.items() if key[0] == quantity for x in run if x > 0})
    if seen and seen[-1] > 8 * seen[0]:
        ax.set_xscale("symlog", linthresh=seen[0], linscale=0.25)
        decades = [d * 10**e for e in range(12) for d in (1, 2, 5) if seen[0] <= d * 10**e <= seen[-1] * 1.02]
        ax.xaxis.set_major_locator(FixedLocator([0, *decades]))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_xlabel("training samples seen")


def _score_axis(ax: Axes, metric: str, low: float, high: float) -> None:
    """Good accuracies apart: the axis is linear in -log(1 - accuracy) once some recipe exceeds .8."""
    if metric == "accuracy" and high > 0.8:
        forward = lambda a: -np.log10(1 - np.minimum(a, 0.999))  # noqa: E731
        ax.set_yscale("function", functions=(forward, lambda y: 1 - 10.0**-y))
        high = min(high, 0.998)
        top, bottom = forward(high), forward(low)
        ax.set_ylim(1 - 10.0 ** -(bottom - 0.03 * (top - bottom)), 1 - 10.0 ** -(top + 0.03 * (top - bottom)))
        ax.yaxis.set_major_locator(FixedLocator([0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:.2f}"))
    elif metric == "error" and low > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def _draw_curves(ax: Axes, runs: Runs, styles: Mapping[str, Look], metric: str) -> None:
    _samples_axis(ax, runs, "test")
    for i, (slug, look) in enumerate(styles.items()):
        _line(ax, runs.get(("test", "", slug), {}), look, 0.24 * i / len(styles), slug, 0.15)
    values = [v for key, run in runs.items() if key[0] == "test" for by in run.values() for v in by.values()]
    if values:
        _score_axis(ax, metric, min(values), max(values))
    ax.set_ylabel(f"test {metric}")
    ax.set_title("A  Learning curves")


def _draw_final(
    ax: Axes, final: Mapping[str, list[float]], styles: Mapping[str, Look], recipes: Mapping[str, Any], metric: str
) -> None:
    """One line per recipe, best on top: mean and interval, every seed as a dot, mean ± half width in figures.

    The axis holds every seed; an interval much wider than their range (two seeds) runs off it.
    """
    scores = {slug: (*interval(values), values) for slug, values in final.items() if values}
    best_last = sorted(scores, key=lambda slug: scores[slug][0], reverse=metric in LOWER_IS_BETTER)
    for slug in ("backprop", "frozen"):
        if slug in scores:
            mean, half, _ = scores[slug]
            ax.axvline(mean, color=styles[slug].colour, linestyle=styles[slug].line, linewidth=1, zorder=1, label=slug)
            if slug == "frozen" and math.isfinite(half):
                ax.axvspan(mean - half, mean + half, color=styles[slug].colour, alpha=0.2, linewidth=0, zorder=0)
    for y, slug in enumerate(best_last):
        (mean, half, values), look = scores[slug], styles[slug]
        p = recipes.get(slug, {}).get("p_vs_frozen")
        differs = p is not None and p < 0.05
        ax.plot(values, [y - 0.27] * len(values), ".", color=look.colour, markersize=3, alpha=0.8, label="_seeds")
        if math.isfinite(half):
            ax.plot([mean - half, mean + half], [y, y], color=look.colour, linewidth=1.6, label="_interval")
        face = look.colour if differs else "white"
        ax.plot(mean, y, look.marker, color=look.colour, markerfacecolor=face, markersize=6.5, label=f"_{slug}")
        text = f"{mean:.3f}" + (f" ± {half:.3f}" if math.isfinite(half) else "") + (" *" if differs else "")
        ax.text(1.01, y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.set_yticks(range(len(best_last)), best_last)
    ax.set_ylim(-0.7, len(best_last) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    seeds = [v for _, _, values in scores.values() for v in values]
    if seeds and (span := max(seeds) - min(seeds)) > 0:
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, min(seeds) - 0.6 * span), min(high, max(seeds) + 0.6 * span))
    tested = "; filled and *: differs from frozen, Holm-adjusted p < .05" if "frozen" in scores else ""
    ax.set_xlabel(f"final test {metric}\n(small dots: seeds{tested})")
    marks = [text for slug, text in (("frozen", "dashed: frozen"), ("backprop", "solid: backprop")) if slug in scores]
    ax.set_title(f"B  Final test {metric}" + (f" ({', '.join(marks)})" if marks else ""))


def _draw_alignment(ax: Axes, runs: Runs, styles: Mapping[str, Look], layer: str) -> None:
    _samples_axis(ax, runs, "alignment")
    edges = []
    whose = {"backprop"} if ("null_low", layer, "backprop") in runs else set(styles)
    for quantity in ("null_low", "null_high"):
        pooled: dict[float, list[float]] = {}
        for key, run in runs.items():
            if key[:2] == (quantity, layer) and key[2] in whose:
                for x, by in run.items():
                    pooled.setdefault(x, []).extend(by.values())
        edges.append({x: float(np.median(values)) for x, values in pooled.items() if values})
    seen = sorted(edges[0].keys() & edges[1].keys())
    if seen:
        low, high = ([edge[x] for x in seen] for edge in edges)
        ax.fill_between(seen, low, high, color="#d0d0d0", linewidth=0, zorder=0, label="_null")
    ax.axhline(0, color="#9a9a9a", linewidth=0.6, zorder=1)
    for i, (slug, look) in enumerate(styles.items()):
        _line(ax, runs.get(("alignment", layer, slug), {}), look, 0.24 * i / len(styles), slug, 0.1)
