"""The middle of a comparison's figure, one line per recipe: final scores, which differences are real, alignment."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from neurosim.figures import Look
from neurosim.statistics import FEWEST_SEEDS, LOWER_IS_BETTER, detectable, interval
from neurosim.summary import CONTROLS, REFERENCES, TWINS, marked, pairs, ranked, standing, verdicts

Recipes = Mapping[str, Mapping[str, Any]]  # the manifest's
FAINT = "#8a8a8a"
WRAP = 225  # characters of a line under the panels
ACCURACIES = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)  # ticks
COLUMNS = (0.02, 0.34, 0.68)  # where the columns of text begin


class Aligned(NamedTuple):
    """One recipe's update in one layer at the last epoch: mean cosine with backprop's, and the ends of its null."""

    cosine: float
    low: float
    high: float

    @property
    def chance(self) -> bool:
        return self.low <= self.cosine <= self.high


def order(final: Mapping[str, Sequence[float]], metric: str) -> list[str]:
    """The recipes from the lowest line to the highest: best on top, twins and controls at the bottom."""
    return ranked({n: values for n, values in final.items() if values}, metric in LOWER_IS_BETTER)[::-1]


def draw_scores(ax: Axes, final: Mapping[str, list[float]], styles: Mapping[str, Look], metric: str) -> None:
    """Mean and interval of each recipe, every seed as a dot, frozen's interval as a band."""
    slugs = order(final, metric)
    scores = {slug: interval(final[slug]) for slug in slugs}
    roles = standing(scores)
    for role in REFERENCES[::-1]:
        if role in roles:
            slug = roles[role]
            (mean, half), look = scores[slug], styles[slug]
            ax.axvline(mean, color=look.colour, linestyle=look.line, linewidth=1, zorder=1, label=slug)
            if role == "frozen" and math.isfinite(half):
                ax.axvspan(mean - half, mean + half, color=look.colour, alpha=0.2, linewidth=0, zorder=0)
    for y, (slug, (mean, half)) in enumerate(scores.items()):
        look = styles[slug]
        ax.plot(final[slug], [y - 0.3] * len(final[slug]), ".", color=look.colour, markersize=3, alpha=0.8,
                label="_seeds")  # fmt: skip
        if math.isfinite(half):
            ax.plot([mean - half, mean + half], [y, y], color=look.colour, linewidth=1.6, label="_interval")
        ax.plot(mean, y, look.marker, color=look.colour, markersize=6, label=f"_{slug}")
    ax.set_yticks(range(len(slugs)), [marked(slug) for slug in slugs])
    _rows_axis(ax, slugs)
    ax.tick_params(axis="y", length=0)
    _hold(ax, scores, [v for slug in slugs for v in final[slug]], metric)
    lines = {"frozen": "dashed", "backprop": "solid"}
    marks = ", ".join(f"{line}: {roles[role]}" for role, line in lines.items() if role in roles)
    ax.set_xlabel(f"final test {metric} (small dots: seeds{f'; {marks}' if marks else ''})")
    ax.set_title(f"B  Final test {metric}")


def _hold(ax: Axes, scores: Mapping[str, tuple[float, float]], seeds: Sequence[float], metric: str) -> None:
    """The axis holds every seed; an interval much wider than their range (two seeds) runs off it."""
    if not seeds:
        return
    to, back = stretch(metric, seeds)
    ends = [v for mean, half in scores.values() for v in (mean - half, mean + half) if math.isfinite(v)]
    low, high = float(to(min(seeds))), float(to(max(seeds)))
    if span := high - low:
        wide = [float(to(v)) for v in (*seeds, *ends)]
        low, high = max(min(wide), low - 0.6 * span), min(max(wide), high + 0.6 * span)
    if to is not identity:
        ax.set_xscale("function", functions=(to, back))
        ax.xaxis.set_major_locator(FixedLocator(apart(ACCURACIES, to, 0.09 * (high - low))))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda a, _: f"{a:g}"))
    if span:
        ax.set_xlim(back(low - 0.05 * span), back(high + 0.05 * span))


def identity(v: Any) -> Any:
    return v


def apart(ticks: Sequence[float], to: Callable[[Any], Any], least: float) -> list[float]:
    """Of the ticks, the best first, those that stand so far from the next."""
    chosen: list[float] = []
    for v in sorted(ticks, reverse=True):
        if not chosen or to(chosen[-1]) - to(v) >= least:
            chosen.append(v)
    return chosen[::-1]


def stretch(metric: str, final: Sequence[float]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Good accuracies apart: where most final ones exceed .8, axes are linear in -log(1 - accuracy); and the way back."""
    if metric != "accuracy" or not final or float(np.median(final)) <= 0.8:
        return identity, identity
    return lambda a: -np.log10(1 - np.minimum(a, 0.999)), lambda y: 1 - 10.0**-y


def draw_verdicts(ax: Axes, final: Mapping[str, list[float]], recipes: Recipes, metric: str) -> None:
    """Mean ± half width, then the difference to frozen and to backprop and whether it is real, in words."""
    slugs, decided = order(final, metric), verdicts(recipes)
    roles = {r: r for r in REFERENCES} | standing(final)
    heads = ("mean ± 95 %", *(f"to {roles[r]}" for r in REFERENCES))
    for x, head in zip(COLUMNS, heads, strict=True):
        ax.text(x, len(slugs) - 0.35, head, fontsize=8, fontweight="bold", va="bottom", in_layout=False)
    for y, slug in enumerate(slugs):
        mean, half = interval(final[slug])
        ax.text(
            COLUMNS[0], y, f"{mean:.3f}" + (f" ± {half:.3f}" if math.isfinite(half) else ""), fontsize=8, va="center"
        )
        for x, reference in zip(COLUMNS[1:], REFERENCES, strict=True):
            text, real = _verdict(slug, recipes.get(slug, {}), reference, decided)
            weight, colour = ("bold", "black") if real else ("normal", FAINT)
            ax.text(x, y, text, fontsize=8, va="center", in_layout=False, fontweight=weight, color=colour)
    _rows_axis(ax, slugs)
    ax.set_xlim(0, 1)
    ax.set_axis_off()


def _verdict(slug: str, entry: Mapping[str, Any], reference: str, decided: Mapping[str, Any]) -> tuple[str, bool]:
    difference, _ = _difference(entry, reference)
    if math.isnan(difference):
        return "–", False
    if pairs(entry, reference) < FEWEST_SEEDS:
        return f"{difference:+.3f}", False
    real = getattr(decided[slug], reference) != 0
    return f"{difference:+.3f} {'real' if real else 'not resolved'}", real


def draw_alignment_map(
    ax: Axes,
    final: Mapping[str, list[float]],
    layers: Sequence[str],
    aligned: Mapping[tuple[str, str], Aligned],
    metric: str,
) -> None:
    """Cosine with backprop's update by recipe and layer at the last epoch; white and in brackets inside the null."""
    slugs = order(final, metric)
    shown = np.full((len(slugs), len(layers)), np.nan)
    for y, slug in enumerate(slugs):
        for x, layer in enumerate(layers):
            a = aligned.get((slug, layer))
            text, colour = "–", FAINT
            if a and a.chance:
                text = f"({_short(a.cosine)})"
            elif a:
                shown[y, x] = a.cosine
                text = _short(a.cosine) + "↓" * (a.cosine < a.low)
                colour = "white" if abs(a.cosine) > 0.6 else "black"
            ax.text(x, y, text, fontsize=7, ha="center", va="center", color=colour, in_layout=False)
    edges = np.arange(len(layers) + 1) - 0.5, np.arange(len(slugs) + 1) - 0.5
    ax.pcolormesh(
        *edges, np.ma.masked_invalid(shown), cmap="RdBu", vmin=-1.2, vmax=1.2, edgecolors="white", linewidth=1
    )
    ax.set_xticks(range(len(layers)), layers, fontsize=7.5)
    if max(map(len, layers)) > 8:
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    ax.tick_params(axis="x", length=0)
    _rows_axis(ax, slugs)
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.set_title("C  Alignment")
    ax.set_xlabel("layer")


def _short(cosine: float) -> str:
    text = f"{cosine:.2f}"
    return "0" if float(text) == 0 else text.replace("0.", ".")


def _rows_axis(ax: Axes, slugs: Sequence[str]) -> None:
    """All panels of lines: the same height for the same recipe; a line above the twins and controls."""
    ax.set_ylim(-0.7, max(len(slugs), 1) - 0.3)
    ax.grid(axis="y", visible=False)
    aside = sum(slug in CONTROLS or slug in TWINS for slug in slugs)
    if 0 < aside < len(slugs):
        ax.axhline(aside - 0.5, color="#b0b0b0", linewidth=0.6, zorder=0.5, label="_aside")


def said_baselines(manifest: Mapping[str, Any]) -> str:
    """ "1-gram 3.577, 2-gram 1.547 ..."; "" where there are none."""
    found = manifest.get("baselines") or {}
    return ", ".join(f"{n} {sum(v) / len(v):.3f}" for n, v in found.items())


def explanations(final: Mapping[str, Sequence[float]], recipes: Recipes, layers: Sequence[str]) -> list[str]:
    """The lines under the panels: what the words mean, what so many seeds can resolve, what the marks are."""
    seeds = max((len(entry.get("test") or []) for entry in recipes.values()), default=0)
    halves = {reference: _halves(recipes, reference) for reference in REFERENCES}
    roles = standing(final)
    tested = {reference: h for reference, h in halves.items() if h and reference in roles}
    references = [f"{line} {roles[k]}" for k, line in (("backprop", "solid"), ("frozen", "dashed")) if k in roles]
    said = [f"A: thin lines in the other panels: {', '.join(references)}."] * bool(references)
    if tested and seeds < FEWEST_SEEDS:
        said.append(
            f"B: with fewer than {FEWEST_SEEDS} seeds no difference is called real; the JSON holds the p values."
        )
    elif tested:
        said.append(
            "B: differences are means over seeds, each seed with its own split, the same for all. real: p < .05 in the "
            "paired t test corrected for overlapping training sets, Holm-adjusted over recipes. not resolved: "
            "these seeds cannot tell, which does not mean equal."
        )
        parts = []
        for reference, h in tested.items():
            one, first = (detectable(float(np.median(h)), seeds, alpha) for alpha in (0.05, 0.05 / len(h)))
            parts.append(f"to {reference} {one:.3f} in a single test and {first:.3f} at Holm's first step of {len(h)}")
        said.append(f"With {seeds} seeds a true difference is found in 4 of 5 such experiments (for a recipe of median "
                    f"spread) from this size on: {'; '.join(parts)}.")  # fmt: skip
    shown = [slug for slug in final if slug in CONTROLS or slug in TWINS]
    said += ["† control: equal to backprop by construction."] * any(slug in CONTROLS for slug in shown)
    said += ["‡ twin: backprop on the very net and loss that another recipe needs."] * any(
        slug in TWINS for slug in shown
    )
    if layers:
        said.append(
            "C and below: cosine of the recipe's update with backprop's on the same weights and batch; C: at the last epoch. "
            "In brackets and on white: inside the 95 % range of that cosine when credit is dealt to the samples at random; "
            "↓ below that range; – no update, or none with a cosine."
        )
    return [line for text in said for line in textwrap.wrap(text, WRAP, subsequent_indent="    ")]


def _halves(recipes: Recipes, reference: str) -> list[float]:
    return [h for _, h in (_difference(entry, reference) for entry in recipes.values()) if math.isfinite(h)]


def _difference(entry: Mapping[str, Any], reference: str) -> tuple[float, float]:
    """(mean, half width), NaN for what is missing: the JSON holds null where the run held NaN."""
    mean, half = entry.get(f"difference_to_{reference}") or (None, None)
    return math.nan if mean is None else mean, math.nan if half is None else half
