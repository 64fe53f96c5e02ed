"""What a synapse reads under a recipe: the claim by synapse, what its words mean, and the plausibility table made of it.

What is read belongs to (rule, credit): `Gradient` is local under feedback alignment and not under backprop. `claimed` says
it for one synapse; `probes.measured` finds the same words by intervention, and a test holds the one against the other for
every recipe. The table in README.md is made of the claims alone.

    python -m neurosim.locality            prints the table
    python -m neurosim.locality --write    puts it into README.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.plasticity import Batch, Learner, Recipe, Rule, reads_of

WORDS = {
    "error": "dW changes with the gradient of the loss (that of a layer's own head included), while the loss keeps its value",
    "loss": "dW changes with the value of the loss, while its gradient stays",
    "target": "dW changes with the target, while the loss goes on with the old one",
    "lateral": "dW of a unit changes with another unit's weights and activity, while all layers receive what they did",
    "transport": "dW changes with forward weights of other synapses, while every trial computes what it did; or with another "
    "unit of the layer that changes what comes back from the layer below",
    "feedback": "dW changes with weights that the credit owns",
    "batch": "what one sample adds to dW changes with another sample",
    "noise": "dW changes with the random numbers drawn in this update or the one before",
}
FUTURE = "what is added to dW until a step changes with what is shown after it"


# ---------------------------------------------------------------------------------------------- claims
def claimed(recipe: Recipe, synapse: str, rule: Rule | None) -> frozenset[str]:
    """What dW of the synapse may depend on: what its rule reads, and what the credit read to tell it.

    It is `plasticity.reads_of`, at a hidden synapse or at the readout.
    """
    return reads_of(recipe.credit, rule, readout=synapse.startswith("readout."))


# ---------------------------------------------------------------------------------------------- the table
COLUMNS: dict[str, tuple[str, ...]] = {  # yes where a claim has one of these words
    "error": ("error",),
    "target": ("target",),
    "transport": ("transport",),
    "feedback": ("feedback",),
    "other units": ("lateral",),
    "other samples": ("batch",),
    "noise": ("noise",),
}
TOP = """## What each rule must know

A hidden synapse's dW depends on what is named here and on nothing else: the tests change one thing at a time, on the mlp and
on the cnn, and see whether dW moves (`neurosim/locality.py`; the table is made of the claims that they hold).
Beside the fields of its record (pre, u, post, slope, weight) and what it is told (credit, reward, noise):
"""


def table(recipes: Mapping[str, Recipe], example: tuple[Callable[[], nn.Module], Batch]) -> list[dict[str, str]]:
    """One row a recipe, of the claims alone; the number of trials is counted on the example."""
    rows = []
    for name, recipe in recipes.items():
        reads = recipe.reads
        row = {"rule": name, "reads": ", ".join(sorted(reads)) or "-"}
        row |= {head: "yes" if reads & set(words) else "" for head, words in COLUMNS.items()}
        row["one number for all"] = "yes" if reads & {"loss", "reward"} and "error" not in reads else ""
        rows.append(row | {"trials": trials(recipe, *example)})
    return rows


def trials(recipe: Recipe, make_net: Callable[[], nn.Module], batch: Batch) -> str:
    """How often one update plays the net for each sample, and in how many passes the synapses are told, if not one."""
    L, played = Learner(make_net(), recipe, batch), 0

    def count(net: nn.Module, x: tuple[Tensor, ...]) -> None:
        nonlocal played
        played += len(x[0])

    hook = L.net.register_forward_pre_hook(count)
    passes = sum(1 for _ in recipe.credit.passes(L.net, L._batch(batch), dict(L.own), L._generator(0)))
    hook.remove()
    return f"{played // batch.size}" + (f" in {passes} passes" if passes > 1 else "")


def markdown(recipes: Mapping[str, Recipe], example: tuple[Callable[[], nn.Module], Batch]) -> str:
    """The README's section: what the words mean, the table, and what the readouts read."""
    rows = table(recipes, example)
    words = [f"* **{k}**: {v}" for k, v in WORDS.items()]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(r.values()) for r in rows)]
    readouts: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        readouts.setdefault(", ".join(sorted(recipe.readout_reads)) or "nothing", []).append(name)
    most = max(readouts.values(), key=len)
    return "\n".join([
        TOP, *words, f"* in time also **future**: {FUTURE}", "", *(f"| {' | '.join(line)} |" for line in lines), "",
        "*trials*: how often one update plays the net for each sample, relaxation steps included. What readouts read:", "",
        *(f"* {reads}: {', '.join(names) if names is not most else 'all others'}" for reads, names in readouts.items()),
    ])  # fmt: skip


BEGIN, END = "<!-- plausibility table -->", "<!-- end -->"


def section(text: str) -> str:
    """What stands between the markers. ValueError where they are missing."""
    if text.count(BEGIN) != 1 or END not in text.partition(BEGIN)[2]:
        raise ValueError(f"markers: the file must have the line {BEGIN!r} once, and {END!r} after it")
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def shipped() -> str:
    """The section for the line-up that the package ships, on the digits' mlp."""
    from neurosim.networks import mlp
    from neurosim.recipes import recipes_for

    batch = Batch(torch.rand(2, 1, 8, 8), torch.tensor([3, 9]), partial(F.cross_entropy, reduction="none"))
    return markdown(recipes_for("digits", "mlp"), (partial(mlp, (1, 8, 8), 10), batch))


def write(path: Path, new: str) -> None:
    """Put the section between the markers of the file. ValueError where they are missing."""
    text = path.read_text(encoding="utf-8")
    section(text)
    head, _, rest = text.partition(BEGIN)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(f"{head}{BEGIN}\n{new}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    os.replace(beside, path)


def main(args: Sequence[str]) -> None:
    """Print the section, or with --write put it into the README of this checkout."""
    if list(args) not in ([], ["--write"]):
        raise SystemExit(f"locality: given {' '.join(args)}, the only flag is --write")
    if args:
        write(Path(__file__).parents[1] / "README.md", shipped())
    else:
        print(shipped())


if __name__ == "__main__":
    main(sys.argv[1:])
