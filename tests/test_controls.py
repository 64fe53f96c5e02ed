"""Known equivalences: the controls make backprop's updates and end where it ends."""

import pytest
import torch

from neurosim.compare import draw_net, run_cell
from neurosim.networks import cnn, mlp
from neurosim.plasticity import Learner
from neurosim.recipes import CONTROLS, recipes_for
from neurosim.summary import equivalences
from neurosim.tasks import digits

STEPS = 50
TOLERANCE = {"feedback-alignment-tied": 1e-6, "predictive-coding-one-step": 1e-6}  # of the update, relative


@pytest.fixture(scope="module")
def task():
    return digits()


def learner(name, task, make_net, network, start):
    return Learner(draw_net(make_net, task, 0), recipes_for("digits", network)[name], start, 0)


def apart(a, b):
    """Largest |a - b| / |b| over the synapses; where both are zero (a readout that starts at zero sends none) they agree."""
    assert a.keys() == b.keys()
    errors = [(a[n] - b[n]).norm() / b[n].norm() for n in b if a[n].any() or b[n].any()]
    return torch.stack(errors).max().item()


def disagreement(task, make_net, network, name, reference="backprop"):
    """Largest relative difference of an update over 50 steps, both nets training on their own; and how far they went."""
    split = task.split(0)
    batches = [b for epoch in range(2) for b in task.batches(split, 0, epoch)]
    batches = [type(b)(b.x.double(), b.target, b.loss) for b in batches][:STEPS]
    assert len(batches) == STEPS
    own, other = (learner(n, task, make_net, network, batches[0]) for n in (name, reference))
    first = {n: w.detach().clone() for n, w in other.weights.items()}
    worst = torch.tensor([apart(own.step(b), other.step(b)) for b in batches]).max().item()  # nan stays nan
    assert next(iter(first.values())).dtype == torch.float64
    moved = min(((w - first[n]).norm() / (first[n].norm() + 1e-12)).item() for n, w in other.weights.items())
    return worst, moved


@pytest.mark.parametrize("make_net, network", ((mlp, "mlp"), (cnn, "cnn")), ids=("mlp", "cnn"))
@pytest.mark.parametrize("name", CONTROLS)
def test_updates_are_those_of_backprop_while_both_train(name, make_net, network, task):
    worst, moved = disagreement(task, make_net, network, name)
    assert worst < TOLERANCE[name]
    assert moved > 0.02  # every layer has learned: not two nets that stand still


def test_another_credit_is_told_apart(task):
    """The same measure on a recipe that is near backprop, but no control."""
    worst, _ = disagreement(task, mlp, "mlp", "sign-symmetric")
    assert worst > 0.1


def test_final_scores_agree_within_one_test_item(task):
    """In single precision, as compared: three epochs on the digits, 500 test items."""
    torch.set_default_dtype(torch.float32)
    recipes = recipes_for("digits", "mlp")
    cells = [run_cell(recipes[n], mlp, task, 0, epochs=3) for n in ("backprop", *CONTROLS)]
    claims = equivalences(cells)
    assert [c["name"].split()[0] for c in claims] == list(CONTROLS)
    assert all(c["holds"] and c["tolerance"] == 1 for c in claims), claims
