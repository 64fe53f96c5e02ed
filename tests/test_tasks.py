"""Tasks: who is trained and tested on what, in which order; how inputs are centred; missing and damaged files."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neurosim.tasks import Split, Task, cross_entropy, digits
from neurosim.tasks.base import mean_and_scale

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def numbered() -> Task:
    """The digits, with each image replaced by its number, so that a split shows which images it holds."""
    task = digits()
    return replace(task, x=torch.arange(len(task.x))[:, None])


def parts(task: Task, seed: int) -> tuple[set[int], set[int], set[int]]:
    """Numbers of the training, validation and test images."""
    tuning, final = task.split(seed, tuning=True), task.split(seed)
    return tuple(set(x.flatten().tolist()) for x in (tuning.train_x, tuning.test_x, final.test_x))


# ---------------------------------------------------------------------------------------------- splits
def test_digits_are_the_images_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    task, bunch = digits(), load_digits()
    assert (task.name, task.shape, task.outputs, task.network, task.batch_size) == ("digits", (1, 8, 8), 10, "mlp", 32)
    assert task.x.min() == 0 and task.x.max() == 1
    np.testing.assert_array_equal(task.x.flatten(1).numpy() * 16, bunch.data)
    np.testing.assert_array_equal(task.y.numpy(), bunch.target)


def test_digits_train_validation_and_test_part_are_1000_297_500_and_disjoint(numbered: Task) -> None:
    for seed in (0, 1, 7):
        train, validation, test = parts(numbered, seed)
        assert (len(train), len(validation), len(test)) == (1000, 297, 500)
        assert train | validation | test == set(range(1797))  # with the sizes: disjoint
        final = numbered.split(seed)
        assert len(final.train_x) == 1297
        assert set(final.train_x.flatten().tolist()) == train | validation


def test_validation_part_is_the_same_for_all_seeds_and_never_tested_on(numbered: Task) -> None:
    validation = parts(numbered, 0)[1]
    for seed in range(1, 20):
        _, other, test = parts(numbered, seed)
        assert other == validation
        assert not test & validation


def test_validation_part_is_stratified(numbered: Task) -> None:
    share = np.bincount(numbered.split(0, tuning=True).test_y, minlength=10)
    everywhere = np.bincount(numbered.y, minlength=10)
    assert np.abs(share - everywhere * 297 / 1797).max() <= 1


def test_stratified_counts_by_hand_for_very_unequal_classes() -> None:
    y = np.repeat([0, 1, 2], [80, 16, 4])
    task = Task.from_arrays(np.arange(100)[:, None], y, validation_size=25, test_size=10)
    assert np.bincount(task.split(0, tuning=True).test_y).tolist() == [20, 4, 1]


def test_labels_stay_with_their_images(numbered: Task) -> None:
    for split in (numbered.split(3), numbered.split(3, tuning=True)):
        assert torch.equal(numbered.y[split.train_x.flatten()], split.train_y)
        assert torch.equal(numbered.y[split.test_x.flatten()], split.test_y)


def test_same_seed_same_split_and_other_seed_other_split(numbered: Task) -> None:
    first, again, other = numbered.split(0), numbered.split(0), numbered.split(1)
    assert torch.equal(first.train_x, again.train_x) and torch.equal(first.test_x, again.test_x)
    assert set(first.test_x.flatten().tolist()) != set(other.test_x.flatten().tolist())
    # 500 of 1500 drawn twice at random share 500 / 3 = 167 images on average, standard deviation 8.6
    shared = len(set(first.test_x.flatten().tolist()) & set(other.test_x.flatten().tolist()))
    assert 125 < shared < 210


def test_split_does_not_depend_on_global_random_state(numbered: Task) -> None:
    torch.manual_seed(0), np.random.seed(0)
    first = numbered.split(4)
    torch.manual_seed(1), np.random.seed(1)
    before = torch.get_rng_state()
    assert torch.equal(first.train_x, numbered.split(4).train_x)
    assert torch.equal(before, torch.get_rng_state())


def test_published_test_set_is_tested_on_and_never_trained_on() -> None:
    x, y = np.arange(60)[:, None], np.arange(60) % 3
    task = Task.from_arrays(x, y, test_x=1000 + np.arange(12)[:, None], test_y=np.arange(12) % 3, validation_size=9)
    for seed in (0, 1):
        train, validation, test = parts(task, seed)
        assert train | validation == set(range(60)) and (len(train), len(validation)) == (51, 9)
        assert test == set(range(1000, 1012))
        assert set(task.split(seed).train_x.flatten().tolist()) == set(range(60))
        assert torch.equal(task.split(seed).test_y, (task.split(seed).test_x.flatten() - 1000).long() % 3)


def test_limited_takes_the_first_of_the_same_split(numbered: Task) -> None:
    full, few = numbered.split(2), numbered.limited(train=50, test=20).split(2)
    assert torch.equal(few.train_x, full.train_x[:50]) and torch.equal(few.test_x, full.test_x[:20])
    tuning = numbered.limited(train=50, test=20).split(2, tuning=True)
    assert set(tuning.train_x.flatten().tolist()) <= parts(numbered, 2)[0] and len(tuning.train_x) == 50
    assert set(tuning.test_x.flatten().tolist()) <= parts(numbered, 2)[1] and len(tuning.test_x) == 20
    assert len(numbered.limited(test=20).split(2).train_x) == 1297
    assert len(numbered.limited(train=10**6).split(2).train_x) == 1297
    with pytest.raises(ValueError, match="^train must be a whole number of at least 1, but is 0.$"):
        numbered.limited(train=0)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_seed_that_is_no_seed(numbered: Task, seed: object) -> None:
    with pytest.raises(ValueError, match="^seed and epoch must be whole numbers of at least 0"):
        numbered.split(seed)


# ---------------------------------------------------------------------------------------------- centring
def test_centring_by_hand() -> None:
    x = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]])  # mean (3, 10), deviations 2, 0, 2 and 0, 0, 0
    split = Split(x, x[:, 0], x, x[:, 0], *mean_and_scale(x))
    assert split.mean.tolist() == [3, 10] and split.scale.item() == pytest.approx(math.sqrt(8 / 6))
    assert split.inputs(torch.tensor([[3.0, 10.0 + math.sqrt(8 / 6)]]))[0].tolist() == pytest.approx([0, 1], abs=1e-6)


def test_uint8_is_centred_like_floats_in_chunks() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5000, 3), dtype=np.uint8))
    mean, scale = mean_and_scale(x)
    exact = x.numpy().astype(float)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale, (exact - exact.mean(0)).std(), rtol=1e-6)


@pytest.mark.parametrize("tuning", [False, True])
def test_centring_looks_at_the_training_part_only(numbered: Task, tuning: bool) -> None:
    split = numbered.split(0, tuning)
    trained = set(split.train_x.flatten().tolist())
    x = torch.randn(1797, 5, generator=torch.Generator().manual_seed(0))
    task = replace(numbered, x=x)
    rows = torch.tensor([i for i in range(1797) if i not in trained])
    disturbed = x.clone()
    disturbed[rows] = 1e6
    a, b = task.split(0, tuning), replace(task, x=disturbed).split(0, tuning)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.scale, b.scale)
    disturbed[split.train_x[0]] += 1  # while one training sample does move them
    assert not torch.equal(a.mean, replace(task, x=disturbed).split(0, tuning).mean)
    z = a.inputs(a.train_x)
    assert z.mean(0).abs().max() < 1e-5 and z.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_inputs_that_never_vary() -> None:
    with pytest.raises(ValueError, match="^x must vary"):
        Task.from_arrays(np.ones((20, 2)), np.arange(20) % 2).split(0)


# ---------------------------------------------------------------------------------------------- batches
def test_every_training_image_is_seen_once_per_epoch(numbered: Task) -> None:
    split = numbered.split(0)
    sizes, seen = [], []
    for batch in numbered.batches(split, seed=0, epoch=3):
        number = (batch.x * split.scale + split.mean).round().long().flatten()
        assert torch.equal(numbered.y[number], batch.target)
        assert not batch.time and batch.dt is None and not batch.signals
        sizes.append(batch.size)
        seen += number.tolist()
    assert sizes == [32] * 40 + [17]
    assert sorted(seen) == sorted(split.train_x.flatten().tolist())


def test_order_is_drawn_from_seed_and_epoch_alone() -> None:
    task = digits()
    split = task.split(0)

    def order(seed: int, epoch: int) -> torch.Tensor:
        return torch.cat([batch.x for batch in task.batches(split, seed, epoch)])

    first = order(0, 0)
    torch.manual_seed(1), np.random.seed(1)
    assert torch.equal(first, order(0, 0))
    assert not torch.equal(first, order(0, 1))
    assert not torch.equal(first, order(1, 0))
    assert not torch.equal(order(0, 1), order(1, 0))


def test_evaluation_gives_the_test_part_in_order() -> None:
    task = digits()
    split = task.split(0)
    batches = list(task.evaluation(split, size=200))
    assert [batch.size for batch in batches] == [200, 200, 100]
    assert torch.equal(torch.cat([batch.target for batch in batches]), split.test_y)
    assert torch.equal(torch.cat([batch.x for batch in batches]), split.inputs(split.test_x))


def test_loss_is_per_sample_and_score_is_the_share_of_right_answers() -> None:
    output, target = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]), torch.tensor([1, 0])
    assert cross_entropy(output, target).tolist() == pytest.approx([-math.log(3 / 4), math.log(2)])
    task = digits()
    batch = next(task.batches(task.split(0), 0, 0))
    assert batch.loss is cross_entropy and batch.loss(torch.zeros(32, 10), batch.target).shape == (32,)
    answers = torch.tensor([[1.0, 2, 0], [3, 2, 1], [0, 0, 1], [5, 0, 0]])
    assert task.score(answers, torch.tensor([1, 0, 2, 2])) == 0.75


class Devices(TorchDispatchMode):
    """Notes where the tensors lie that operations are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        given = torch.utils._pytree.tree_leaves((args, kwargs))
        self.seen |= {tensor.device.type for tensor in given if isinstance(tensor, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def test_everything_follows_the_device_of_the_split() -> None:
    task = digits()
    split = task.split(0).to("meta")  # there are no values there, so reading one would raise
    for batches in (task.batches(split, 0, 0), task.evaluation(split, 100)):
        first = next(batches)  # the order is copied to the device once, before the first batch
        with Devices() as devices:
            rest = list(batches)
        assert devices.seen == {"meta"}
        for batch in (first, *rest):
            assert batch.x.device.type == "meta" and batch.target.device.type == "meta"
            assert batch.x.dtype == torch.float32 and batch.x.shape[1:] == (1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_inputs_take_the_default_type(dtype: torch.dtype) -> None:
    torch.set_default_dtype(torch.float64)
    task = Task.from_arrays(torch.arange(40).reshape(20, 2).to(dtype), np.arange(20) % 2)
    assert next(task.batches(task.split(0), 0, 0)).x.dtype == torch.float64


# ---------------------------------------------------------------------------------------------- a researcher's own data
def test_from_arrays_takes_numpy_and_torch_and_copies() -> None:
    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 4
    a, b = Task.from_arrays(x, y, name="mine"), Task.from_arrays(torch.tensor(x), torch.tensor(y))
    assert torch.equal(a.split(0).train_x, b.split(0).train_x)
    assert (a.name, a.shape, a.outputs, a.network, a.x.dtype) == ("mine", (3,), 4, "mlp", torch.float32)
    tuning = a.split(0, tuning=True)
    assert (len(tuning.train_y), len(tuning.test_y), len(a.split(0).test_y)) == (24, 6, 10)
    x[:] = np.nan
    assert a.x.isfinite().all()
    stored = torch.zeros(40, 2, dtype=torch.uint8)
    c = Task.from_arrays(stored, y)
    stored += 1
    assert c.x.dtype == torch.uint8 and c.x.max() == 0


X, Y = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
NAN, INF = X.copy(), X.copy()
NAN[[7, 9], 2], INF[4, 0] = np.nan, -np.inf
WRONG = {
    "lengths": ((X, Y[:-1]), {}, "x and y must be equally long, but have 30 and 29 samples."),
    "nan": ((NAN, Y), {}, "x must be finite, but row 7 holds"),
    "infinity": ((torch.tensor(INF), Y), {}, "x must be finite, but row 4 holds"),
    "too large": ((X * 1e300, Y), {}, "x must be finite, but row 0 holds"),
    "nan in test_x": ((X, Y), {"test_x": NAN, "test_y": Y}, "test_x must be finite, but row 7 holds"),
    "one axis": ((X[:, 0], Y), {}, "x must have a sample axis"),
    "nothing": ((X[:0], Y[:0]), {}, "x must have a sample axis"),
    "text": (([["a"]], [0]), {}, "x must be an array of real numbers"),
    "ragged": (([[1, 2], [3]], [0, 1]), {}, "x must be an array of real numbers"),
    "complex": ((X + 1j, Y), {}, "x must be an array of real numbers"),
    "float labels": ((X, Y.astype(float)), {}, "y must be integers 0..K-1, but its type is torch.float64"),
    "one-hot labels": (
        (X, np.eye(3, dtype=int)[Y]),
        {},
        r"y must be one class per sample, [n], but its shape is (30, 3).",
    ),
    "negative label": ((X, Y - 1), {}, "y must be integers 0..1, but row 0 is -1."),
    "labels from 1": ((X, Y + 1), {}, "y must hold every class 0..3, but 0 never occurs"),
    "huge label": ((X, Y * 10**12), {}, "y must hold every class"),
    "label beyond outputs": ((X, Y), {"outputs": 2}, "y must be integers 0..1, but row 2 is 2."),
    "label beyond y": ((X, Y), {"test_x": X, "test_y": Y + 1}, "test_y must be integers 0..2, but row 2 is 3."),
    "test shape": (
        (X, Y),
        {"test_x": X[:, :3], "test_y": Y},
        "test_x must have samples of shape (4,) like x, but has (3,).",
    ),
    "half a test set": ((X, Y), {"test_x": X}, "test_x and test_y go together"),
    "test lengths": (
        (X, Y),
        {"test_x": X, "test_y": Y[1:]},
        "test_x and test_y must be equally long, but have 30 and 29",
    ),
    "two test sets": ((X, Y), {"test_x": X, "test_y": Y, "test_size": 5}, "test_size divides x"),
    "few samples": (
        (X, Y),
        {"validation_size": 10, "test_size": 18},
        "x has 30 samples, and 10 for validation and 18 for",
    ),
    "no validation": (
        (X, Y),
        {"validation_size": 0},
        "validation_size must be a whole number of at least 1, but is 0.",
    ),
    "share": ((X, Y), {"test_size": 0.2}, "test_size must be a whole number of at least 1, but is 0.2."),
    "batch": ((X, Y), {"batch_size": 0}, "batch_size must be a whole number of at least 1, but is 0."),
}


@pytest.mark.parametrize("name", WRONG)
def test_from_arrays_refuses_in_one_sentence(name: str) -> None:
    args, options, message = WRONG[name]
    with pytest.raises(ValueError) as caught:
        Task.from_arrays(*args, **options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
