"""The figure of a comparison: learning curves by family, final scores and what is real about them, alignment.

Drawn from rows and manifest alone, so `comparison(*figures.load(name))` redraws it without running again.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from neurosim.figures import STYLE, Look, looks
from neurosim.figures_rows import (
    ACCURACIES,
    Aligned,
    draw_alignment_map,
    draw_scores,
    draw_verdicts,
    explanations,
    identity,
    said_baselines,
    stretch,
)
from neurosim.statistics import LOWER_IS_BETTER, interval
from neurosim.summary import FAMILIES, marked, standing

ALIGNMENT = ("alignment", "null_low", "null_high")
DPI = 125  # the PNG of thirty recipes stays below its limit
MOST_CURVES = 8  # lines in a panel of alignment over training

Run = dict[float, dict[Any, float]]  # samples -> seed -> value
Runs = dict[tuple[str, str, str], Run]  # (quantity, layer, recipe) -> run


def comparison(rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any]) -> Figure:
    """Recipes side by side on one task: learning curves, final scores against the frozen floor, alignment per layer.

    A, one panel a family: the running test score, with backprop and frozen as thin lines in each. B: the final scores,
    and in words which differences to frozen and backprop are real. C: alignment at the last epoch by recipe and layer.
    Below: alignment over training of the recipes in which it changes most.

    Rows by `quantity`: "test", the running test score (epoch 0 is before training); and, per layer, "alignment", the
    cosine of the recipe's update with backprop's on the same weights and batch, with "null_low" and "null_high", the
    2.5 % and 97.5 % points of that cosine when credit is shuffled. C holds each cosine against the recipe's own null;
    the grey band over training is their median over the seeds of backprop (over all recipes where it is not shown).
    Other quantities are not drawn. From the manifest: metric; config's task and network; of each recipe test,
    p_vs_... (Holm-adjusted), difference_to_..., status and reason.
    Lines are means over seeds, with 95 % t intervals from three seeds on. The final score is that of a recipe's last
    epoch. Values that are not finite are skipped, and a recipe whose status is not "ok" is named with its reason
    below the panels.
    """
    recipes, config = manifest.get("recipes") or {}, manifest.get("config") or {}
    metric = str(manifest.get("metric") or "score")
    runs = _runs(rows)
    measured = [k for k, run in runs.items() if any(run.values())]
    layers = list(dict.fromkeys(layer for quantity, layer, _ in measured if quantity == "alignment"))
    styles = looks(recipe for (_, _, recipe), run in runs.items() if any(run.values()))
    final = {slug: _final(runs["test", "", slug]) for slug in styles if ("test", "", slug) in runs}
    families = _families(styles)
    across = math.ceil(len(families) / math.ceil(len(families) / 4))
    down = math.ceil(len(families) / across)
    per_row = math.ceil(len(layers) / math.ceil(len(layers) / 5)) if layers else 1
    below = math.ceil(len(layers) / per_row)
    notes, said = _notes(recipes, final), explanations(final, recipes, layers)
    if told := said_baselines(manifest):
        said.append(f"A: dotted: {told}, on the same test items, mean over seeds.")
    heights = [3.0 * down, max(2.0, 0.24 * len(final) + 1.0), 0.15 * len(said) + 0.1, 2.4 * below]  # inches

    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.02, hspace=0.02)
        wide = 13 + max(0.0, 0.5 * (len(layers) - 8))
        fig = Figure(figsize=(wide, sum(heights) + 0.5 + 0.16 * len(notes)), dpi=DPI, layout=layout)
        bands = fig.add_gridspec(4 if layers else 3, 1, height_ratios=heights[: 4 if layers else 3])

        first: Axes | None = None
        grid = bands[0].subgridspec(down, across)
        for i, (family, slugs) in enumerate(families.items()):
            ax = fig.add_subplot(grid[divmod(i, across)], sharex=first, sharey=first, label=family)
            first = first or ax
            _draw_family(ax, runs, {slug: styles[slug] for slug in slugs}, styles)
            draw_baselines(ax, manifest, named=i == 0)
            _legend_above(ax, f"A  Learning curves: {family}" if i == 0 else family)
            ax.set_ylabel(f"test {metric}" if i % across == 0 else "")
            ax.set_xlabel("training samples seen" if i + across >= len(families) else "")
            ax.tick_params(labelleft=i % across == 0, labelbottom=i + across >= len(families))
        if first:
            _samples_axis(first, runs, "test")
            _score_axis(first, metric, runs, [v for values in final.values() for v in values])

        widths = [4.6, 4.6, max(1.6, 0.5 * len(layers))] if layers else [4.6, 4.6]
        line = bands[1].subgridspec(1, len(widths), width_ratios=widths)
        draw_scores(fig.add_subplot(line[0], label="scores"), final, styles, metric)
        draw_verdicts(fig.add_subplot(line[1], label="verdicts"), final, recipes, metric)
        if layers:
            aligned = _aligned(runs, styles, layers)
            draw_alignment_map(fig.add_subplot(line[2], label="map"), final, layers, aligned, metric)
        words = fig.add_subplot(bands[2], label="words")
        words.set_axis_off()
        words.text(0, 1, "\n".join(said), fontsize=7.5, va="top", transform=words.transAxes).set_in_layout(False)

        if layers:
            grid = bands[3].subgridspec(below, per_row + 1, width_ratios=[1] * per_row + [0.18 * per_row + 0.25])
            values = [v for key, run in runs.items() if key[0] in ALIGNMENT for by in run.values() for v in by.values()]
            moving = _moving(runs, styles, layers)
            for i, layer in enumerate(layers):
                ax = fig.add_subplot(grid[divmod(i, per_row)], label=f"alignment {layer}")
                _draw_alignment(ax, runs, moving, set(styles), layer)
                ax.set_title(f"{_letter(i)}  {layer}")
                ax.set_ylabel("update alignment:\ncosine with backprop (1)" if i % per_row == 0 else "")
                ax.set_ylim(max(-1.05, min(values, default=-1.0) - 0.05), 1.05)
                ax.tick_params(labelleft=i % per_row == 0)
            key = fig.add_subplot(grid[0, per_row], label="key")
            key.set_axis_off()
            handles: list[Line2D | Patch] = [_handle(slug, look) for slug, look in moving.items()]
            handles.append(Patch(color="#d0d0d0", label="shuffled credit, 95 %"))
            title = "recipe" if len(moving) == len(styles) else f"the {len(moving)} that change most"
            key.legend(handles=handles, loc="upper left", handlelength=3.2, title=title, alignment="left", fontsize=8)

        seeds = len({seed for run in runs.values() for by in run.values() for seed in by})
        title = ", ".join(str(config[key]) for key in ("task", "network") if config.get(key))
        spread = {1: "1 seed", 2: "2 seeds, mean (95 % t interval in B only)"}.get(
            seeds, f"{seeds} seeds, mean and 95 % t interval"
        )
        fig.suptitle(f"{title}: {spread}" if title else spread, fontsize=12, fontweight="bold", x=0.01, ha="left")
        if notes:
            fig.supxlabel("\n".join(notes), fontsize=8, x=0.01, ha="left")
    return fig


def _letter(i: int) -> str:
    """D, E, ... for the panels after A, B and C; none beyond Z."""
    return chr(ord("D") + i) if i < 23 else ""


def _families(styles: Mapping[str, Look]) -> dict[str, list[str]]:
    """The recipes shown, by family; those of no family in panels of eight."""
    found = {family: [slug for slug in styles if slug in slugs] for family, slugs in FAMILIES.items()}
    others = [slug for slug in styles if not any(slug in slugs for slugs in FAMILIES.values())]
    found |= {"others" + f" {i // 8 + 1}" * (len(others) > 8): others[i : i + 8] for i in range(0, len(others), 8)}
    return {family: slugs for family, slugs in found.items() if slugs} or {"none": []}


def _handle(slug: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, label=slug)


def _legend_above(ax: Axes, title: str) -> None:
    handles, labels = ax.get_legend_handles_labels()
    columns = 1 if max(map(len, labels), default=0) > 20 else 2
    bold = {"weight": "bold", "size": 9.5}
    texts = [marked(slug) for slug in labels]
    ax.legend(
        handles, texts, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, fontsize=7.5, handlelength=3,
        columnspacing=1, labelspacing=0.3, borderpad=0, title=title, title_fontproperties=bold, alignment="left",
    )  # fmt: skip


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


def _score_axis(ax: Axes, metric: str, runs: Runs, final: Sequence[float]) -> None:
    """Accuracies as in `stretch`, errors and bits on a log axis, all others as they are."""
    values = [v for key, run in runs.items() if key[0] == "test" for by in run.values() for v in by.values()]
    low, high = min(values, default=0.0), max(values, default=0.0)
    to, back = stretch(metric, final)
    if to is not identity:
        ax.set_yscale("function", functions=(to, back))
        bottom, top = to(low), to(min(high, 0.999))
        ax.set_ylim(back(bottom - 0.03 * (top - bottom)), back(top + 0.03 * (top - bottom)))
        ax.yaxis.set_major_locator(FixedLocator(ACCURACIES))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:.2f}"))
    elif metric in LOWER_IS_BETTER and low > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def draw_baselines(ax: Axes, manifest: Mapping[str, Any], named: bool) -> None:
    """What others reach on the same test items, as dotted lines with their names in the first panel."""
    for k, (name, values) in enumerate((manifest.get("baselines") or {}).items()):
        y = float(np.mean(values))
        ax.axhline(y, color="#9a9a9a", linewidth=0.7, linestyle=":", label=f"_{name}", zorder=0.5)
        if named:
            at, where = (0.01 + 0.145 * (k % 7), y), ("axes fraction", "data")
            ax.annotate(name, at, xycoords=where, fontsize=6, color="#6a6a6a", va="bottom")


def _draw_family(ax: Axes, runs: Runs, family: Mapping[str, Look], styles: Mapping[str, Look]) -> None:
    """The family's curves over those of backprop and frozen, which every panel shows as thin lines."""
    for slug in standing(styles).values():
        points = [(x, np.mean(list(by.values()))) for x, by in sorted(runs.get(("test", "", slug), {}).items()) if by]
        if slug not in family and points:
            look = styles[slug]
            ax.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.line, linewidth=0.7, alpha=0.7,
                    label=f"_{slug}")  # fmt: skip
    for i, (slug, look) in enumerate(family.items()):
        _line(ax, runs.get(("test", "", slug), {}), look, 0.24 * i / len(family), slug, 0.15)


def _aligned(runs: Runs, slugs: Iterable[str], layers: Sequence[str]) -> dict[tuple[str, str], Aligned]:
    """By recipe and layer, at the last epoch that has a value: the mean over seeds of the cosine, the median of its null."""
    found = {}
    for slug in slugs:
        for layer in layers:
            at = {x: by for x, by in runs.get(("alignment", layer, slug), {}).items() if by}
            if at:
                low, high = (runs.get((q, layer, slug), {}).get(max(at)) or {0: math.nan} for q in ALIGNMENT[1:])
                null = [float(np.median(list(by.values()))) for by in (low, high)]
                found[slug, layer] = Aligned(float(np.mean(list(at[max(at)].values()))), *null)
    return found


def _moving(runs: Runs, styles: Mapping[str, Look], layers: Sequence[str]) -> dict[str, Look]:
    """The recipes whose mean alignment changes most between two epochs, in some layer; all where they are few."""

    def change(slug: str) -> float:
        means = [
            [np.mean(list(by.values())) for by in runs.get(("alignment", layer, slug), {}).values() if by]
            for layer in layers
        ]
        return max((float(np.ptp(m)) for m in means if m), default=-1.0)

    most = sorted((slug for slug in styles if change(slug) >= 0), key=change, reverse=True)[:MOST_CURVES]
    return {slug: look for slug, look in styles.items() if slug in most}


def _draw_alignment(ax: Axes, runs: Runs, styles: Mapping[str, Look], all_slugs: set[str], layer: str) -> None:
    _samples_axis(ax, runs, "alignment")
    ax.set_xlabel("training samples seen")
    edges = []
    true = standing(all_slugs).get("backprop", "")
    whose = {true} if ("null_low", layer, true) in runs else all_slugs
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
