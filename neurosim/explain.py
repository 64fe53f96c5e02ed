"""Recipes and rules explained in words, and the lists of what there is, as `neurosim explain` and `list` print them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from neurosim.plasticity import Recipe, Rule
from neurosim.rules import Power, SpikeRule

ANSWERS = {"forward": "from one forward trial", "vote": "from one forward trial: neurons vote, each for its class"}
NETWORKS = ("mlp", "spiking-mlp", "diehl-cook", "rnn", "lsnn", "transformer")  # the others' recipes have the same names


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
    of = {k: recipes.every_recipe_for("digits", k) for k in NETWORKS}
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
