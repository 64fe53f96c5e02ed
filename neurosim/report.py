"""What the commands print: the comparison as a table, claims as a table, and a recipe or rule explained."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich import box
from rich.table import Table

from neurosim.manifest import SPIKES
from neurosim.plasticity import Recipe, Rule
from neurosim.rules import Power, SpikeRule
from neurosim.statistics import FEWEST_SEEDS, LOWER_IS_BETTER, average, interval
from neurosim.summary import REFERENCES, Verdict, marked, pairs, ranked, standing, verdicts

CAPTION = (
    "mean ± 95 % interval over seeds; p: paired t over seeds, corrected for overlapping training sets, Holm over rules; "
    "*: real, p < .05; half gap at: samples seen when half the gap from frozen to backprop was closed; align: cosine with "
    "backprop's update by plastic layer, last epoch (k/n: so many seeds have one; of many layers mean, least and most); "
    "s: training seconds a seed"
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
ANSWERS = {"forward": "from one forward trial", "vote": "from one forward trial: neurons vote, each for its class"}
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
    both, decided = len(standing(recipes)) == 2, verdicts(recipes)
    slugs = ranked({n: r["test"] for n, r in recipes.items()}, metric in LOWER_IS_BETTER)
    lines = {n: _cells(recipes[n], both, decided[n]) for n in slugs}
    wide = [("reads", *MAIN, *REST), ("as_drawn", *BOOTSTRAP, *COSTS), SPIKES]
    always = (*MAIN, "reads", *REST)
    tables = []
    for columns in wide if width >= 130 else [MAIN, ("reads", *REST), ("as_drawn", *BOOTSTRAP), COSTS, SPIKES]:
        shown = [k for k in columns if k in always or any(line[k] != "-" for line in lines.values())]
        if not shown:
            continue
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1))
        table.add_column("rule", no_wrap=True)
        for k in shown:
            head = f"test {metric}" if k == "test" else HEADS[k]
            table.add_column(head, justify="left" if k in ("reads", "as_drawn") else "right", overflow="fold")
        for n, after in zip(slugs, (*slugs[1:], ""), strict=True):
            last = marked(n) == n and marked(after) != after
            table.add_row(marked(n), *(lines[n][k] for k in shown), end_section=last)
        tables.append(table)
    caption = (
        CAPTION
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
    return f"{average(values):.2f}" + ("" if len(finite) == len(values) else f"({len(finite)}/{len(values)})")


def spread(values: Sequence[float | None]) -> str:
    finite = [v for v in values if v is not None and math.isfinite(v)]
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
    if isinstance(rule, SpikeRule):
        return explain_spike_rule(rule)
    value = "" if repr(rule) == f"{type(rule).__name__}()" else f"\nvalue    {rule!r}"
    return f"{type(rule).__name__}\n\n{inspect.getdoc(type(rule))}\n\nreads    {', '.join(sorted(rule.reads))}{value}"


def explain_spike_rule(rule: SpikeRule) -> str:
    """What happens at pre and at post spikes, and its traces, written out from the data."""
    lines = [*spike_equations(rule), ""]
    for name, t in rule.traces.items():
        bump = f"{name} <- {t.bump:g}" if t.nearest else f"{name} <- {name} + {t.bump:g}"
        start = f", {t.start:g} at first" if t.start else ""
        lines.append(f"{t.of} spike:  {bump};  d{name}/dt = -{name}/{t.parameter or 'tau'}, {t.tau:g} ms{start}")
    lines += ["", *dict.fromkeys(f"{m.parameter} = {abs(m.gain):g}" for m in rule.terms if m.parameter)]
    pairing = {t.nearest for t in rule.traces.values() if t.of in ("pre", "post")}
    lines.append(
        {(True,): "nearest spikes only", (False,): "all spikes count"}.get((*pairing,), "some traces nearest-spike")
    )
    lines += [
        "", "Within a step: decay, then pre spikes, then post spikes; a trace is read before its own bump, so a coincident",
        "pair potentiates. On tensors [T, B, N], dense or conv; in Brian2 with --brian2.",
        "", f"reads    {', '.join(sorted(rule.reads))}",
    ]  # fmt: skip
    return "\n".join([*([rule.source, ""] if rule.source else []), *lines])


def spike_equations(rule: SpikeRule) -> list[str]:
    """ "pre spike:  dw = - A2_minus o1 ..." and the same of post spikes, where there is something to say."""
    lines = []
    for event in ("pre", "post"):
        said = []
        for m in rule.terms:
            if m.factors[0] == event:
                amplitude = m.parameter or f"{abs(m.gain):g}"
                f = weight_factor(m.weight) if m.weight else ""
                gate = f"[eligibility of {m.tau_e:g} ms, read by {m.gate}]" if m.gate else ""
                factors = " ".join(filter(None, (amplitude, f, *m.factors[1:], gate)))
                said.append(f"{'+' if m.gain > 0 else '-'} {factors}")
        if said:
            lines.append(f"{event} spike:  dw = {' '.join(said)}")
    return lines


def weight_factor(p: Power) -> str:
    """f(w), as short as it can be written."""
    base = "w" if p.w_max is None else "(w_max - w)"
    base = base if p.w0 == 1 else f"({base}/{p.w0:g})"
    return base if p.mu == 1 else f"{base}^{p.mu:g}"


def explain_recipe(recipe: Recipe) -> str:
    """Equations, what is read, how it relates to backprop, the source; and every choice the recipe made."""
    lines = [recipe.name, "", f"credit   {in_short(recipe.credit)}", _indent(recipe.credit)]
    for pattern, rule in recipe.rules.items():
        if isinstance(rule, SpikeRule):
            lines += ["", f"rule     {pattern}: spike timing", indented(explain_spike_rule(rule))]
            continue
        lines += ["", f"rule     {pattern}: {in_short(rule)}" if rule else f"rule     {pattern}: none, frozen"]
        lines += [_indent(rule)] if rule else []
    lines += [
        "",
        f"reads    {', '.join(sorted(recipe.reads))}",
        f"optimiser {table_of(recipe.optimizer, name_of)}",
        f"rate     {table_of(recipe.lr, str)}",
        f"schedule {name_of(recipe.schedule)}",
        f"loss     {name_of(recipe.loss) if recipe.loss else 'the task’s'}",
        f"prepared {prepared(recipe) or 'nothing: the net as it is'}",
        f"answers  {ANSWERS.get(name_of(recipe.predict), 'after settling')}",
    ]
    return "\n".join(lines)


def in_short(value: Any) -> str:
    """Its repr, functions by name and long tensors by their ends."""
    text = re.sub(r"<function (?:\w+\.)*(\w+) at 0x[0-9a-f]+>", r"\1", repr(value))
    return re.sub(r"tensor\(\[([^,\]]+),[^\]]{60,}?,\s*([^,\]]+)\]", r"tensor([\1, ..., \2]", text)


def catalogue(kind: str, network: str | None = None) -> dict[str, str]:
    """All rules, recipes (or those of a network), tasks, networks or studies, each with its first line."""
    from neurosim import networks, recipes, rules, study, tasks

    def first(thing: Any) -> str:
        return (inspect.getdoc(thing) or "").partition("\n")[0]

    if kind == "recipes" and network:
        return {n: one_line(r) for n, r in recipes.every_recipe_for("digits", network).items()}
    of = {k: recipes.every_recipe_for("digits", k) for k in ("mlp", "spiking-mlp", "rnn", "lsnn", "transformer")}
    alone: dict[str, tuple[str, Recipe]] = {}
    for k, those in list(of.items())[1:]:
        alone |= {n: (k, r) for n, r in those.items() if n not in of["mlp"] and n not in alone}
    return {
        "rules": lambda: {
            n: ";  ".join(spike_equations(r)) if isinstance(r, SpikeRule) else first(type(r))
            for n, r in rules.ALL.items()
        },
        "recipes": lambda: (
            {n: one_line(r) for n, r in of["mlp"].items()}
            | {n: f"{one_line(r)}, --network {k}" for n, (k, r) in alone.items()}
        ),
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
    return indented(inspect.getdoc(type(value)) or "")


def indented(text: str) -> str:
    return "\n".join(f"         {line}" for line in text.splitlines())
