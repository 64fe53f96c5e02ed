"""What determines a cell is in its key, and nothing that changes from one process to the next."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import neurosim
from neurosim import keys
from neurosim.credit import Equilibrium, NodePerturbation
from neurosim.keys import Job, cell_keys
from neurosim.networks import cnn, mlp
from neurosim.plasticity import claims, outer
from neurosim.prepare import bounded, normalised
from neurosim.recipes import RECIPES
from neurosim.rules import BCM
from neurosim.tasks import Task

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(120, 1, 8, 8)), RNG.integers(0, 3, 120)


pytestmark = pytest.mark.usefixtures("single_precision")


def blobs(x=X, y=Y, **how):
    return Task.from_arrays(x, y, validation_size=12, test_size=30, **how)


def key(recipe=RECIPES["backprop"], make_net=mlp, task=None, seed=0, epochs=2, device="cpu"):
    return cell_keys([recipe], make_net, task or blobs(), [seed], epochs=epochs, device=device)[Job(recipe.name, seed)]


def steeper(name, weight):
    return weight


def changed_pixel():
    x = X.copy()
    x[7, 0, 3, 3] += 1e-6
    return blobs(x)


BACKPROP, EQUILIBRIUM = RECIPES["backprop"], RECIPES["equilibrium-propagation"]
OTHERS = {
    "seed": dict(seed=1),
    "epochs": dict(epochs=3),
    "device": dict(device="cuda"),
    "network": dict(make_net=cnn),
    "network's size": dict(make_net=partial(mlp, hidden=(7,))),
    "network's activation": dict(make_net=partial(mlp, phi=torch.tanh)),
    "a pixel": dict(task=changed_pixel()),
    "a label": dict(task=blobs(y=np.roll(Y, 1))),
    "limit": dict(task=blobs().limited(50, None)),
    "batch size": dict(task=blobs(batch_size=16)),
    "rate": dict(recipe=replace(BACKPROP, lr=1.1e-3)),
    "rates by layer": dict(recipe=replace(BACKPROP, lr={"*": 1e-3})),
    "optimiser": dict(recipe=replace(BACKPROP, optimizer=torch.optim.SGD)),
    "decay": dict(recipe=replace(BACKPROP, optimizer=partial(torch.optim.AdamW, weight_decay=0.1))),
    "another decay": dict(recipe=replace(BACKPROP, optimizer=partial(torch.optim.AdamW, weight_decay=0.2))),
    "rule": dict(recipe=replace(BACKPROP, rules={"readout.*": BACKPROP.rules["*"], "*": BCM()})),
    "rule's value": dict(recipe=replace(BACKPROP, rules={"readout.*": BACKPROP.rules["*"], "*": BCM(tau=3.0)})),
    "order of patterns": dict(recipe=replace(BACKPROP, rules={"*": BCM(), "readout.*": BACKPROP.rules["*"]})),
    "credit": dict(recipe=replace(BACKPROP, credit=NodePerturbation())),
    "credit's value": dict(recipe=replace(BACKPROP, credit=NodePerturbation(sigma=0.5))),
    "loss": dict(recipe=replace(BACKPROP, loss=RECIPES["backprop-bounded"].loss)),
    "loss of one's own": dict(recipe=replace(BACKPROP, loss=lambda o, y: F.cross_entropy(o, y, reduction="none"))),
    "prepared": dict(recipe=replace(BACKPROP, prepare=normalised)),
    "prepared by a value": dict(recipe=replace(BACKPROP, prepare=partial(bounded, gain=0.5))),
    "prepared by another value": dict(recipe=replace(BACKPROP, prepare=partial(bounded, gain=0.6))),
    "projected": dict(recipe=replace(BACKPROP, project=steeper)),
    "rest": dict(recipe=replace(BACKPROP, rest=("*.bias",))),
    "answer": dict(recipe=replace(BACKPROP, predict=Equilibrium(free=3).predict)),
    "another answer": dict(recipe=replace(BACKPROP, predict=Equilibrium(free=4).predict)),
}


def test_all_that_determines_a_cell_is_in_its_key():
    found = {"as it is": key(), **{what: key(**change) for what, change in OTHERS.items()}}
    assert len(set(found.values())) == len(found)
    assert key() == key(task=blobs()) == key(recipe=replace(BACKPROP))  # equal, not the same objects
    assert key().startswith("backprop-seed0-")


def test_precision_and_versions_are_in_the_key(monkeypatch):
    task, found = blobs(), []
    found.append(key(task=task))
    torch.set_default_dtype(torch.float64)
    found.append(key(task=task))
    torch.set_default_dtype(torch.float32)
    for module in (neurosim, torch, np):
        with monkeypatch.context() as m:
            m.setattr(module, "__version__", "0.0.1")
            found.append(key(task=task))
    monkeypatch.setattr(keys, "source", lambda: "edited")
    found.append(key(task=task))
    assert len(set(found)) == 6


def wide(n):
    def make(shape, outputs):
        return mlp(shape, outputs, hidden=(n,))

    return make


def rule_like(equation):
    """Two rules of the same name, module and fields, with another body."""

    @dataclass(frozen=True)
    class Mine:
        reads: frozenset = claims("pre", "post")

        def update(self, rec, third, state):
            return equation(rec)

    return Mine()


def test_a_rule_or_net_of_ones_own_counts_by_what_it_does():
    rules = (lambda rec: outer(rec, rec.pre, rec.post), lambda rec: outer(rec, rec.pre, rec.post**2))
    a, b = (replace(BACKPROP, rules={"*": rule_like(f)}) for f in rules)
    assert key(a) != key(b)
    assert key(make_net=wide(5)) == key(make_net=wide(5)) != key(make_net=wide(6))


def test_the_key_is_the_same_in_another_process():
    code = (
        "import sys; from tests import test_keys as t; "
        "print(*(t.key(t.RECIPES[n]) for n in ('backprop', 'equilibrium-propagation', 'softhebb')))"
    )
    for salt in ("0", "77"):
        env = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [key(RECIPES[n]) for n in ("backprop", "equilibrium-propagation", "softhebb")]


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(ValueError, match="store: .*lock.* cannot be told from another"):
        key(make_net=partial(mlp, phi=threading.Lock()))


def test_the_source_of_rules_is_hashed_and_that_of_figures_is_not(tmp_path, monkeypatch):
    def hashed():
        keys.source.cache_clear()
        return keys.source()

    (tmp_path / "rules").mkdir()
    for name in ("trial.py", "figures_more.py", "cli.py", "rules/figures.py"):
        (tmp_path / name).write_text("a = 1\n")
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)
    try:
        seen = [hashed()]
        for name, new in (
            ("figures_more.py", False),
            ("cli.py", False),
            ("trial.py", True),
            ("rules/figures.py", True),
        ):
            (tmp_path / name).write_text("a = 2\n")
            seen.append(hashed())
            assert (seen[-1] != seen[-2]) is new, name
    finally:
        keys.source.cache_clear()
