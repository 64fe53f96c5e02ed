"""What is learned: a `Task` holds the samples, a `Split` says which of them one seed trains and tests on.

A comparison asks four things of a task and nothing else; one with a time axis gives `Batch(time=True)` from the same:

    split = task.split(seed, tuning=False).to(device)       # which samples; centred by the training part alone
    task.batches(split, seed, epoch)                        # one epoch of training batches, order from (seed, epoch)
    task.evaluation(split)                                  # the test part, in order
    task.score(output, target)                              # one number, higher is better

Every recipe that is given the same seed sees the same samples in the same batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from neurosim.plasticity import Batch

VALIDATION, SPLIT, ORDER = range(3)  # independent random streams: what a generator is seeded with, beside the seed


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Loss of each sample: -log softmax(output)[target]. output [B, K], target [B] of classes -> [B], in nats."""
    return F.cross_entropy(output, target, reduction="none")


@dataclass(frozen=True, eq=False)
class Split:
    """The samples one seed trains and tests on, as stored (uint8 stays uint8), and how to centre them.

    train_x [n, *in], train_y [n], test_x [m, *in], test_y [m]; mean [*in] the mean of train_x for each input, scale []
    the one standard deviation of train_x around it, over all samples and inputs. Neither looks at the test part.
    """

    train_x: Tensor = field(repr=False)
    train_y: Tensor = field(repr=False)
    test_x: Tensor = field(repr=False)
    test_y: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    scale: Tensor

    def inputs(self, x: Tensor) -> Tensor:
        """(x - mean) / scale: stored samples [B, *in] -> what a network sees, floating point [B, *in]."""
        return (x - self.mean) / self.scale

    def to(self, device: torch.device | str) -> "Split":
        """The same split on another device, so that no batch is copied while training."""
        names = ("train_x", "train_y", "test_x", "test_y", "mean", "scale")
        return Split(*(getattr(self, name).to(device) for name in names))


@dataclass(frozen=True, eq=False)
class Task:
    """Samples x [n, *in] with classes y [n] in 0..outputs-1, and how they are divided. Made by `Task.from_arrays`.

    A fixed, stratified validation part of `validation_size` samples, the same for every seed, is taken from x and never
    tested on. With a published test set (test_x, test_y) the rest trains; without one, the seed divides the rest at
    random into `test_size` samples for testing and the others for training. `network` names the default network; the
    score is the accuracy. `train_limit` and `test_limit` cut the two parts for quick runs, see `limited`.
    """

    name: str
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    outputs: int
    validation_size: int
    test_size: int
    test_x: Tensor | None = field(default=None, repr=False)
    test_y: Tensor | None = field(default=None, repr=False)
    network: str = "mlp"
    batch_size: int = 32
    metric: str = "accuracy"
    train_limit: int | None = None
    test_limit: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis: (1, 28, 28) for an image."""
        return tuple(self.x.shape[1:])

    @staticmethod
    def from_arrays(
        x: ArrayLike | Tensor,
        y: ArrayLike | Tensor,
        *,
        name: str = "custom",
        test_x: ArrayLike | Tensor | None = None,
        test_y: ArrayLike | Tensor | None = None,
        test_size: int | None = None,
        validation_size: int | None = None,
        outputs: int | None = None,
        network: str = "mlp",
        batch_size: int = 32,
    ) -> "Task":
        """A task from your own finite numbers x [n, *in] and classes y [n], integers 0..K-1; numpy or torch, copied.

        `test_x`, `test_y`: a test set of its own; without it each seed draws `test_size` of x (default n // 4).
        `validation_size`: how many of x tune and are never tested on (default n // 6).
        `outputs`: the number of classes K, when y does not hold every class. uint8 stays uint8, all else becomes float.
        Raises ValueError, naming the argument, for lengths or shapes that do not agree, inputs that are not finite,
        labels that are not 0..K-1, and too few samples.
        """
        if (test_x is None) != (test_y is None):
            raise ValueError("test_x and test_y go together, but only one of them was given.")
        if test_x is not None and test_size is not None:
            raise ValueError("test_size divides x, so it cannot be given with test_x, which is the test set.")
        samples, labels = _samples(x, "x"), _labels(y, "y")
        _same_length(samples, labels, "x", "y")
        classes = int(labels.max()) + 1 if outputs is None else _count(outputs, "outputs")
        _check_classes(labels, "y", classes)
        seen = labels.unique()  # sorted
        if outputs is None and len(seen) < classes:
            absent = int((seen != torch.arange(len(seen))).nonzero()[0])
            raise ValueError(
                f"y must hold every class 0..{classes - 1}, but {absent} never occurs: say outputs={classes}."
            )
        n_validation = _count(
            max(1, len(samples) // 6) if validation_size is None else validation_size, "validation_size"
        )
        test_samples = test_labels = None
        if test_x is None or test_y is None:
            n_test = n_drawn = _count(max(1, len(samples) // 4) if test_size is None else test_size, "test_size")
        else:
            test_samples, test_labels = _samples(test_x, "test_x"), _labels(test_y, "test_y")
            _same_length(test_samples, test_labels, "test_x", "test_y")
            _check_classes(test_labels, "test_y", classes)
            n_test, n_drawn = len(test_samples), 0
            shape, test_shape = tuple(samples.shape[1:]), tuple(test_samples.shape[1:])
            if test_shape != shape:
                raise ValueError(f"test_x must have samples of shape {shape} like x, but has {test_shape}.")
        left = len(samples) - n_validation - n_drawn
        if left < classes:
            raise ValueError(
                f"x has {len(samples)} samples, and {n_validation} for validation and {n_drawn} for testing leave "
                f"{max(left, 0)} for training: at least one for each of the {classes} classes is needed."
            )
        batch_size = _count(batch_size, "batch_size")
        parts = samples, labels, classes, n_validation, n_test, test_samples, test_labels
        return Task(name, *parts, network, batch_size)

    def limited(self, train: int | None = None, test: int | None = None) -> "Task":
        """The same task with at most `train` samples to learn from and `test` to score on, the seed's first ones."""
        return replace(
            self,
            train_limit=self.train_limit if train is None else _count(train, "train"),
            test_limit=self.test_limit if test is None else _count(test, "test"),
        )

    def split(self, seed: int, tuning: bool = False) -> Split:
        """Seed -> the samples to train and test on, on the CPU. A seed always gives the same split.

        tuning=True: train on the training part, "test" on the validation part. tuning=False: train on the training and
        validation parts, test on the test part. Raises ValueError if the training inputs do not vary at all.
        """
        draw = _generator(SPLIT, seed)
        validation = stratified(self.y, self.validation_size)
        train = draw.permutation(np.setdiff1d(np.arange(len(self.x)), validation))
        if self.test_x is None or self.test_y is None:
            test_x, test_y = self.x, self.y
            test, train = train[: self.test_size], train[self.test_size :]
        else:
            test_x, test_y = self.test_x, self.test_y
            test = draw.permutation(self.test_size)
        if tuning:
            test_x, test_y, test = self.x, self.y, draw.permutation(validation)
        else:
            train = draw.permutation(np.concatenate([train, validation]))
        chosen, scored = torch.from_numpy(train[: self.train_limit]), torch.from_numpy(test[: self.test_limit])
        train_x = self.x[chosen]
        return Split(train_x, self.y[chosen], test_x[scored], test_y[scored], *mean_and_scale(train_x))

    def batches(self, split: Split, seed: int, epoch: int) -> Iterator[Batch]:
        """Every training sample once, in an order drawn from (seed, epoch) alone; the last batch may be short."""
        order = _generator(ORDER, seed, epoch).permutation(len(split.train_y))
        on_device = torch.from_numpy(order).to(split.train_y.device)  # the one copy of an epoch
        for index in on_device.split(self.batch_size):
            yield Batch(split.inputs(split.train_x[index]), split.train_y[index], cross_entropy)

    def evaluation(self, split: Split, size: int = 1000) -> Iterator[Batch]:
        """Every test sample once, in order, `size` at a time."""
        for x, y in zip(split.test_x.split(size), split.test_y.split(size), strict=True):
            yield Batch(split.inputs(x), y, cross_entropy)

    def probe(self, split: Split, size: int = 128) -> Batch:
        """The split's first training samples as one batch, on which updates are held against each other."""
        return Batch(split.inputs(split.train_x[:size]), split.train_y[:size], cross_entropy)

    def data(self) -> list[Tensor]:
        """What tells this task from another."""
        return [self.x, self.y]

    def score(self, output: Tensor, target: Tensor) -> float:
        """Accuracy: the mean of `scores` over the samples given. output [B, K], target [B]."""
        return self.scores(output, target).mean().item()

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """1 where argmax(output) == target, else 0. output [B, K], target [B] -> [B]."""
        return (output.argmax(-1) == target).double()


def stratified(y: Tensor, size: int) -> np.ndarray:
    """`size` fixed indices of y, sorted, in which each class has its share of y to within one sample.

    Sample number r of the n in its class, in a fixed random order, is ranked (r + 1/2) / n; the lowest ranks are taken.
    """
    labels = y.numpy()
    order = _generator(VALIDATION).permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(rank[order], kind="stable")[:size]])


def mean_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [n, *in] -> its mean over samples [*in], and the standard deviation of x around it over everything, [].

    In chunks and double precision, so that a large uint8 set is never copied to floats as a whole.
    """
    mean = sum(part.double().sum(0) for part in x.split(2048)) / len(x)
    scale = (sum((part - mean).square().sum() for part in x.split(2048)) / x.numel()).sqrt()
    if not scale > 0:
        raise ValueError("x must vary, but all training samples are the same.")
    return mean.to(torch.get_default_dtype()), scale.to(torch.get_default_dtype())


def _generator(*key: int) -> np.random.Generator:
    """A random stream of its own for each key of integers, each 0 or more."""
    if any(isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0 for k in key):
        raise ValueError(f"seed and epoch must be whole numbers of at least 0, but got {key[1:]}.")
    return np.random.default_rng(key)


def _count(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, but is {value!r}.")
    return int(value)


def _as_tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    """A copy on the CPU. Raises ValueError where it does not hold real numbers."""
    if isinstance(values, Tensor) and not values.is_complex():
        return values.detach().cpu().clone()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers, but cannot be made one: {error}.") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be an array of real numbers, but its type is {array.dtype}.")
    array = array.astype(array.dtype.newbyteorder("="))  # a copy, in this machine's byte order
    return torch.from_numpy(array)


def _samples(values: ArrayLike | Tensor, name: str) -> Tensor:
    x = _as_tensor(values, name)
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(
            f"{name} must have a sample axis and at least one input, [n, *in], but its shape is {tuple(x.shape)}."
        )
    if x.dtype == torch.uint8:
        return x
    x = x.to(torch.get_default_dtype())
    bad = (~x.isfinite()).flatten(1).any(1).nonzero()
    if len(bad):
        raise ValueError(
            f"{name} must be finite, but row {bad[0].item()} holds NaN, an infinity or a number beyond {x.dtype}."
        )
    return x


def _labels(values: ArrayLike | Tensor, name: str) -> Tensor:
    y = _as_tensor(values, name)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"{name} must be one class per sample, [n], but its shape is {tuple(y.shape)}.")
    if y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(
            f"{name} must be integers 0..K-1, but its type is {y.dtype}: convert it with y.astype(int) or y.long()."
        )
    return y.long()


def _same_length(x: Tensor, y: Tensor, name_x: str, name_y: str) -> None:
    if len(x) != len(y):
        raise ValueError(f"{name_x} and {name_y} must be equally long, but have {len(x)} and {len(y)} samples.")


def _check_classes(y: Tensor, name: str, classes: int) -> None:
    bad = ((y < 0) | (y >= classes)).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"{name} must be integers 0..{max(classes, 1) - 1}, but row {row} is {y[row].item()}.")
