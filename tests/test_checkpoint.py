"""Stopped, stored and continued, a learner goes on bit for bit; what does not fit is refused in one sentence."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch

from neurosim import checkpoint
from neurosim.networks import cnn, mlp
from neurosim.plasticity import Gradient, Learner, Recipe, alignment
from neurosim.recipes import CONVOLUTIONAL, RECIPES
from neurosim.rules import BCM
from neurosim.tasks import Task

# Adam; learned feedback under AdamW; a rule with a memory; noise from (seed, step); baselines and pre-training of its own
CONTINUED = (
    "backprop",
    "kolen-pollack",
    "bcm",
    "node-perturbation",
    "reward-hebb",
    "rbm",
    "target-propagation",
    "hebb",
)


@pytest.fixture(scope="module")
def task():
    x = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    return Task.from_arrays(x.double(), torch.arange(90) % 3, validation_size=6, test_size=12, batch_size=8)


def small(shape, outputs):
    return mlp(shape, outputs, hidden=(12, 10))


def drawn(make_net, task, recipe, seed=0, weights=0):
    torch.manual_seed(weights)
    split = task.split(0)
    return Learner(make_net(task.shape, task.outputs), recipe, next(task.batches(split, 0, 0)), seed)


def batches(task, epoch):
    return list(task.batches(task.split(0), 0, epoch))


def everything(learner):
    """All its tensors, found without the package's help: nets, feedback, memories, moments."""
    own = {f"own {n}": v for n, v in learner.own.items()}
    tensors = dict(learner.net.named_parameters())
    for n, v in own.items():
        tensors |= {f"{n}.{k}": p for k, p in v.named_parameters()} if isinstance(v, torch.nn.Module) else {n: v}
    for n, state in learner.state.items():
        tensors |= {f"state {n} {k}": v for k, v in state.items()}
    for i, o in enumerate(learner.optimizers):
        for k, state in o.state_dict()["state"].items():
            tensors |= {f"moment {i} {k} {what}": v for what, v in state.items() if v is not None}
    return {n: v.detach().clone() for n, v in tensors.items()}


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("make_net, recipes", ((small, RECIPES), (cnn, CONVOLUTIONAL)), ids=("mlp", "cnn"))
@pytest.mark.parametrize("name", CONTINUED)
def test_continued_bit_for_bit(name, make_net, recipes, task, tmp_path):
    recipe, first, then = recipes[name], batches(task, 0)[:6], batches(task, 1)[:4]
    whole = drawn(make_net, task, recipe, seed=5)
    for b in first:
        whole.step(b)
    checkpoint.save(whole, tmp_path / "half.pt")
    half = everything(whole)
    for b in then:
        whole.step(b)
    assert not same(half, everything(whole))

    again = drawn(make_net, task, recipe, seed=6, weights=9)  # nothing of it is the same
    checkpoint.load(again, tmp_path / "half.pt")
    assert same(half, everything(again)) and again.steps == 6 and again.seed == 5
    for b in then:
        again.step(b)
    assert same(everything(whole), everything(again))
    a, b = alignment(whole, then[0]), alignment(again, then[0])
    assert all(torch.equal(a[n].nan_to_num(7), b[n].nan_to_num(7)) for n in a)
    assert torch.equal(whole.predict(then[0]), again.predict(then[0]))


@pytest.mark.parametrize(
    "optimizer", (torch.optim.SGD, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.Rprop), ids=lambda o: o.__name__
)
def test_other_optimisers_are_continued_too(optimizer, task):
    recipe = Recipe("r", {"*": Gradient()}, RECIPES["backprop"].credit, lr=1e-2, optimizer=optimizer)
    whole, again = drawn(small, task, recipe), drawn(small, task, recipe, weights=3)
    for b in batches(task, 0):
        whole.step(b)
    again.load_state_dict(whole.state_dict())
    for b in batches(task, 1):
        whole.step(b)
        again.step(b)
    assert same(everything(whole), everything(again))


def test_a_state_is_a_flat_table_of_tensors_and_a_copy(task):
    learner = drawn(small, task, RECIPES["kolen-pollack"])
    learner.step(batches(task, 0)[0])
    state = learner.state_dict()
    assert all(type(v) is torch.Tensor and not v.requires_grad for v in state.values())
    assert {"steps", "seed", "net/hidden1.input.weight", "synapse/feedback/hidden2.input.weight"} <= state.keys()
    assert "optimizer/feedback/hidden2.input/exp_avg_sq" in state
    before = {n: v.clone() for n, v in state.items()}
    learner.step(batches(task, 0)[1])
    assert same(before, state)
    learner.load_state_dict(state)
    learner.step(batches(task, 0)[1])
    assert same(before, state)  # neither is what was loaded moved by learning on


def test_a_file_is_plain_tensors(task, tmp_path):
    learner = drawn(small, task, RECIPES["bcm"])
    learner.step(batches(task, 0)[0])
    checkpoint.save(learner, tmp_path / "a.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(content["tensors"]["rule/hidden1.input/m"], learner.state["hidden1.input"]["m"])
    assert content["recipe"]["rule of hidden1.input"].startswith("BCM(tau=")


def test_a_net_with_buffers(task):
    def with_norm(shape, outputs):
        parts = dict(small(shape, outputs).named_children())
        norm = {"norm": torch.nn.BatchNorm1d(12)}
        order = ("flatten", "hidden1", "norm", "hidden2", "readout")
        return torch.nn.Sequential(OrderedDict((n, (parts | norm)[n]) for n in order))

    whole, again = (drawn(with_norm, task, RECIPES["backprop"], weights=w) for w in (0, 1))
    for b in batches(task, 0):
        whole.step(b)
    again.load_state_dict(whole.state_dict())
    buffers = dict(again.net.named_buffers())
    assert buffers and all(torch.equal(v, buffers[n]) and v.any() for n, v in whole.net.named_buffers())


# ---------------------------------------------------------------------------------------------- what does not fit
@pytest.fixture
def saved(task, tmp_path):
    learner = drawn(small, task, RECIPES["bcm"])
    for b in batches(task, 0)[:3]:
        learner.step(b)
    checkpoint.save(learner, tmp_path / "bcm.pt")
    return tmp_path / "bcm.pt"


def wider(shape, outputs):
    return mlp(shape, outputs, hidden=(12, 11))


def deeper(shape, outputs):
    return mlp(shape, outputs, hidden=(12, 10, 10))


def flatter(shape, outputs):
    return mlp(shape, outputs, hidden=(12,))


@pytest.mark.parametrize(
    "make_net, name, said",
    [
        (wider, "bcm", r"another network: it holds net/hidden2.input.weight \[10, 12\] float64, which is \[11, 12\]"),
        (deeper, "bcm", r"another network: it lacks net/hidden3.input.weight \[10, 10\]"),
        (flatter, "bcm", r"another network: it holds net/readout.input.weight \[3, 10\] float64, which is \[3, 12\]"),
        (small, "oja", "another recipe: it has recipe bcm, this learner has oja"),
        (small, "kolen-pollack", "another recipe: it has recipe bcm, this learner has kolen-pollack"),
    ],
)
def test_another_network_or_recipe(make_net, name, said, task, saved):
    learner = drawn(make_net, task, RECIPES[name])
    before = everything(learner)
    with pytest.raises(ValueError, match=said) as error:
        checkpoint.load(learner, saved)
    assert "\n" not in str(error.value) and str(saved) in str(error.value)
    assert same(before, everything(learner)) and learner.steps == 0


def test_the_same_name_with_another_rule_or_precision(task, saved):
    slower = replace(RECIPES["bcm"], rules={"readout.*": Gradient(), "*": BCM(tau=7.0)})
    with pytest.raises(ValueError, match=r"it has rule of hidden1.input BCM\(tau=.*this learner has BCM\(tau=7.0,"):
        checkpoint.load(drawn(small, task, slower), saved)
    with pytest.raises(ValueError, match="optimizer of readout.input Adam, this learner has SGD"):
        checkpoint.load(drawn(small, task, replace(RECIPES["bcm"], optimizer=torch.optim.SGD)), saved)
    single = drawn(lambda *a: small(*a).float(), task_in(torch.float32), RECIPES["bcm"])
    with pytest.raises(ValueError, match="float64, which is .* float32"):
        checkpoint.load(single, saved)


def task_in(dtype):
    torch.set_default_dtype(dtype)
    return Task.from_arrays(torch.rand(90, 1, 8, 8), torch.arange(90) % 3, validation_size=6, test_size=12)


def test_a_state_of_another_recipe(task):
    fed, plain = drawn(small, task, RECIPES["feedback-alignment"]), drawn(small, task, RECIPES["backprop"])
    with pytest.raises(ValueError, match="state: holds synapse/feedback/hidden1.input.weight"):
        plain.load_state_dict(fed.state_dict())
    with pytest.raises(ValueError, match="state: lacks synapse/feedback/hidden1.input.weight"):
        fed.load_state_dict(plain.state_dict())
    frozen, bcm = drawn(small, task, RECIPES["frozen"]), drawn(small, task, RECIPES["bcm"])
    bcm.step(batches(task, 0)[0])
    with pytest.raises(ValueError, match="hidden1.input/.*, which this learner has not"):
        frozen.load_state_dict(bcm.state_dict())


@pytest.mark.parametrize("content", (b"", b"not a checkpoint", None), ids=("empty", "text", "half"))
def test_a_damaged_file(content, task, saved):
    saved.write_bytes(saved.read_bytes()[:5000] if content is None else content)
    with pytest.raises(ValueError, match="no checkpoint, or a damaged one") as error:
        checkpoint.load(drawn(small, task, RECIPES["bcm"]), saved)
    assert "\n" not in str(error.value)


def test_a_file_of_something_else(task, saved):
    torch.save({"weights": torch.ones(3)}, saved)
    with pytest.raises(ValueError, match="is no 'neurosim checkpoint 1'"):
        checkpoint.load(drawn(small, task, RECIPES["bcm"]), saved)
    with pytest.raises(FileNotFoundError, match="missing"):
        checkpoint.load(drawn(small, task, RECIPES["bcm"]), saved.with_name("other.pt"))


def test_what_is_no_tensor_is_refused(task):
    learner = drawn(small, task, RECIPES["backprop"])
    learner.step(batches(task, 0)[0])
    learner.optimizers[0].state[learner.weights["readout.input"]]["note"] = "text"
    with pytest.raises(ValueError, match="optimizer/readout.input/note is a str"):
        learner.state_dict()
