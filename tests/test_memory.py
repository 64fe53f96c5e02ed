"""Tasks of memory: what is shown and asked, against the trials themselves; streams that never meet; images row by row."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from neurosim.cell import evaluate, run_cell, samples_axis
from neurosim.credit import Backprop
from neurosim.networks import network_for, rnn
from neurosim.plasticity import Batch, Gradient, Learner, Recipe
from neurosim.tasks import NOT_ASKED, Answers, delayed_xor, digits, evidence, rows, shown_to, store_recall, task_of
from neurosim.tasks.memory import BLOCK, CUE_MS, PAUSE_MS
from neurosim.tasks.sequences import decision, share_right

TASKS = {"delayed-xor": delayed_xor, "store-recall": store_recall, "evidence": partial(evidence, 150)}


def trials(task, n=400):
    return task.make(n, torch.Generator().manual_seed(0))


# ---------------------------------------------------------------------------------------------- what is asked
@pytest.mark.parametrize("T", (40, 70, 150))
def test_exclusive_or_of_two_cues(T):
    x, target = trials(delayed_xor(T, cue=0.4, noise=0.0))
    first, second = x[:10, :, 0].mean(0), x[T - 30 : T - 20, :, 1].mean(0)
    assert {0.4, -0.4} == {round(v, 6) for v in first.tolist()} == {round(v, 6) for v in second.tolist()}
    assert torch.equal(target[-1], (first * second < 0).long()) and torch.equal(target[-10], target[-1])
    assert (target[:-10] == NOT_ASKED).all() and torch.equal(x[:, 0, 2], (torch.arange(T) >= T - 10).float())
    assert x[10 : T - 30].abs().sum() == 0  # nothing is shown in the delay
    assert 0.4 < target[-1].double().mean() < 0.6


def test_noise_has_the_size_that_is_said():
    x, _ = trials(delayed_xor(70, noise=0.1))
    assert x[12:38].std().item() == pytest.approx(0.1, rel=0.02)


def test_what_was_stored_is_recalled():
    x, target = trials(store_recall(100, noise=0.0))
    for b in range(60):
        (stored,) = {int(t) // BLOCK for t in x[:, b, 1].nonzero()}
        (asked,) = {int(t) // BLOCK for t in x[:, b, 2].nonzero()}
        assert stored < 5 <= asked
        value = x[stored * BLOCK, b, 0].item()
        assert {int(t) // BLOCK for t in (target[:, b] != NOT_ASKED).nonzero()} == {asked}
        assert (target[asked * BLOCK : (asked + 1) * BLOCK, b] == (value > 0)).all()
        assert x[asked * BLOCK, b, 0] == 0 and abs(value) == 1  # the answer is not shown
    assert set(x[:, :, 0].unique().tolist()) == {-1.0, 0.0, 1.0}


def test_evidence_is_counted_and_timed_as_published():
    x, target = trials(evidence(), 40)
    assert x.shape == (2250, 40, 40) and (target[:-150] == NOT_ASKED).all() and (target[-150:] != NOT_ASKED).all()
    shown = x.float().unflatten(-1, (4, 10)).mean(-1)  # left, right, recall, background
    cues = torch.zeros(40)
    for k in range(7):
        a = k * (CUE_MS + PAUSE_MS) + 50
        left, right = shown[a : a + 100, :, 0].mean(0), shown[a : a + 100, :, 1].mean(0)
        assert ((left > 0) ^ (right > 0)).all()  # one side a cue; 1,000 draws at .04 are never all 0
        assert shown[a - 50 : a, :, :2].sum() == 0
        cues += right > left
    assert torch.equal(target[-1], (cues >= 4).long())
    assert shown[1050:, :, :2].sum() == 0 and shown[:-150, :, 2].sum() == 0
    assert shown[-150:, :, 2].mean().item() == pytest.approx(0.04, rel=0.05)
    assert shown[..., 3].mean().item() == pytest.approx(0.01, rel=0.05)


def test_sides_are_drawn_with_three_and_seven_tenths():
    """The number of right cues is a mixture of two binomial laws: its variance is 7 * .21 + 49 * .04."""
    task = evidence(0)
    x, _ = task.make(600, torch.Generator().manual_seed(1))
    right = (
        torch.stack([x[k * 150 + 50 : k * 150 + 150, :, 10:20].flatten(2).any(2).any(0) for k in range(7)])
        .sum(0)
        .double()
    )
    assert right.mean().item() == pytest.approx(3.5, abs=0.3)
    assert right.var().item() == pytest.approx(7 * 0.21 + 49 * 0.04, rel=0.15)


# ---------------------------------------------------------------------------------------------- losses and scores
def test_losses_of_pieces_add_up_and_ask_only_where_asked():
    output, target = torch.randn(12, 3, 4, dtype=torch.float64), torch.full((12, 3), NOT_ASKED)
    target[[2, 9]] = torch.tensor([[0, 1, 2], [3, 0, 1]])
    loss = Answers(2)
    want = (
        -torch.stack([output[t, b].log_softmax(-1)[target[t, b]] for t in (2, 9) for b in range(3)])
        .reshape(2, 3)
        .mean(0)
    )
    torch.testing.assert_close(loss(output, target), want)
    pieces = sum(loss(output[k : k + 5], target[k : k + 5]) for k in (0, 5, 10))
    torch.testing.assert_close(pieces, want)


def test_scores():
    output, target = torch.zeros(4, 2, 2), torch.full((4, 2), NOT_ASKED)
    target[2:] = torch.tensor([1, 0])
    output[2, :, 1], output[3, :, 0], output[0, :, 0] = 3.0, 1.0, 50.0  # what is not asked does not count
    assert decision(output, target).tolist() == [1, 0]
    assert share_right(output, target).tolist() == [0.5, 0.5]


# ---------------------------------------------------------------------------------------------- streams
@pytest.mark.parametrize("name", TASKS)
def test_streams_are_reproducible_and_never_meet(name):
    task = TASKS[name]().limited(12, 12)
    split, other, tuning = task.split(0), task.split(1), task.split(0, tuning=True)

    def first(batches):
        return next(iter(batches)).x

    shown = [first(task.batches(split, 0, e)) for e in (0, 1)] + [
        first(task.evaluation(s)) for s in (split, other, tuning)
    ]
    assert torch.equal(shown[0], first(task.batches(split, 0, 0)))
    assert torch.equal(first(task.evaluation(tuning)), first(task.evaluation(task.split(5, tuning=True))))
    assert all(not torch.equal(a[:, :12], b[:, :12]) for i, a in enumerate(shown) for b in shown[:i])
    assert len(split.train_y) == len(split.test_y) == 12
    (batch,) = task.batches(split, 0, 0)
    assert batch.time and batch.size == 12 and batch.x.shape[2:] == task.shape and batch.dt == 1.0


def test_every_test_trial_is_scored_once_whatever_the_batches():
    """Batches of different length: 90 and 30 trials; the score is that of all, trial by trial."""
    task = delayed_xor(40).limited(32, 120)
    split = task.split(0)
    L = Learner(rnn((3,), 2), Recipe("r", {"*": Gradient()}, Backprop()), next(task.batches(split, 0, 0)))
    parts = list(task.evaluation(split, 90))
    assert [b.size for b in parts] == [90, 30]
    task_in_parts = replace(task)
    object.__setattr__(task_in_parts, "evaluation", lambda s: parts)
    score, loss, each = evaluate(L, task_in_parts, split)
    assert len(each) == 120 and score == pytest.approx(sum(each) / 120)
    assert each == [v for b in parts for v in decision(L.predict(b), b.target).tolist()]
    losses = torch.cat([b.loss(L.predict(b), b.target) for b in parts])
    assert loss == pytest.approx(losses.mean().item(), rel=1e-5)


def test_axis_of_the_samples():
    batch = Batch(torch.zeros(5, 3, 2), time=True)
    assert samples_axis(torch.zeros(5, 3, 7), batch) == 1 and samples_axis(torch.zeros(3, 7), batch) == 0
    assert samples_axis(torch.zeros(3), batch) == 0 and samples_axis(torch.zeros(5, 3), batch) == 1
    assert samples_axis(torch.zeros(3, 7), Batch(torch.zeros(3, 7))) == 0


# ---------------------------------------------------------------------------------------------- images in time
@pytest.mark.parametrize("repeat", (1, 3))
def test_rows_are_those_of_the_images(repeat):
    task = digits().limited(20, 20)
    read, split = rows(task, repeat, 5.0), task.split(3)
    (image,), (batch,) = task.batches(split, 3, 0), read.batches(split, 3, 0)
    assert batch.x.shape == (8 * repeat, 20, 8) and read.shape == (8,) and batch.time and batch.dt == 5.0
    for t in range(8 * repeat):
        assert torch.equal(batch.x[t], image.x[:, 0, t // repeat])
    assert (batch.target[:-repeat] == NOT_ASKED).all() and torch.equal(batch.target[-1], image.target)
    assert (
        rows(task, 1, 5.0)
        .scores(torch.nn.functional.one_hot(image.target, 10).expand(8, -1, -1) * 9.0, batch.target[-8:])
        .all()
    )


def test_shown_to_each_network_as_it_can_take_it():
    images, text = digits(), task_of("text", corpus="proverb")
    assert shown_to("rnn", images).shape == (8,) and shown_to("lsnn", images).repeat == 5
    assert shown_to("mlp", images) is images and shown_to("lstm", text) is text
    with pytest.raises(
        ValueError, match="network: given 'mlp', but delayed-xor is made of sequences, for rnn, lstm, lsnn"
    ):
        shown_to("mlp", delayed_xor())
    with pytest.raises(ValueError, match="flat has samples .12,., but rows are those of images"):
        rows(type(images).from_arrays(torch.rand(60, 12), torch.arange(60) % 3, name="flat"))


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"delay": 20}, "delay: given 20, a trial has at least 40 steps"),
        ({"delay": 70.5}, "delay: given 70.5"),
        ({"corpus": "grammar"}, "corpus: given 'grammar', but delayed-xor has none, only text and masked-text"),
    ],
)
def test_bad_questions(asked, said):
    with pytest.raises(ValueError, match=said):
        task_of("delayed-xor", **asked)


def test_other_delays():
    assert task_of("store-recall", delay=200).make(2, torch.Generator())[0].shape[0] == 200
    for name, delay in (("store-recall", 70), ("evidence", -1)):
        with pytest.raises(ValueError, match=f"delay: given {delay}"):
            task_of(name, delay=delay)
    with pytest.raises(ValueError, match="delay: given 70, but digits has none"):
        task_of("digits", delay=70)


def test_bptt_learns_store_and_recall():
    r = Recipe("bptt", {"*": Gradient()}, Backprop(), lr=1e-2, optimizer=torch.optim.Adam)
    cell = run_cell(r, network_for("store-recall", "rnn"), store_recall(40).limited(test=200), 0, 12, tuning=True)
    assert cell.final("test") > 0.85, cell.final("test")  # chance .5
