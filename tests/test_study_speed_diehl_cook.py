"""The study speed_diehl_cook: what it compares, its claims and its figure; with the peer where one is named."""

import json
import os
import sys

import numpy as np
import pytest
import torch

from neurosim import figures
from neurosim.diehl_cook import rates_of
from neurosim.peers import started
from neurosim.study import Mode
from neurosim.tasks import Task
from studies import speed_diehl_cook as study

PEER = os.environ.get("BINDSNET_PYTHON", "")
ONE, MANY = 500, 2000
CELLS = {
    (study.OURS, ONE): (5.0, 90.0, 0.5),  # 100 images a second
    (study.TENSORS, MANY): (80.0, 20.0, 0.6),  # 25
    (study.theirs(1, "intensity 128"), ONE): (1000.0, 40.0, 0.4),  # .5
    (study.theirs(1, "10 Hz"), ONE): (500.0, 20.0, 0.45),  # 1
    (study.theirs(32, "intensity 128"), MANY): (500.0, 30.0, 0.3),  # 4
    (study.theirs(32, "10 Hz"), MANY): (400.0, 10.0, 0.5),  # 5
}


def made_up(changes=(), seeds=3):
    """Rows of CELLS, in which the last seed's times are a thousand times as long; `changes` replaces cells."""
    cells = CELLS | dict(changes)
    slow = {key: (1000 * seconds, *told) for key, (seconds, *told) in cells.items()}
    return [r for seed in range(seeds) for r in study.rows_of(seed, slow if seed == seeds - 1 else cells)]


def holding(rows, quick=False):
    return {c["name"]: (c["got"], c["holds"]) for c in study.claims_of(rows, quick)}


def images(k=40):
    """A task of noisy stripes, of three classes, as bytes like the images of the files."""
    g = np.random.default_rng(0)
    y = np.arange(k) % 3
    x = g.integers(0, 40, (k, 1, 28, 28))
    x[np.arange(k)[:, None], 0, 9 * y[:, None] + np.arange(8)] += 150
    x, y = x.astype(np.uint8), y.astype(np.int64)
    half = k // 2
    return Task.from_arrays(x[:half], y[:half], test_x=x[half:], test_y=y[half:], validation_size=2, outputs=10)


# ---------------------------------------------------------------------------------------------- what is measured
def test_ours_is_timed_learns_and_is_tested(monkeypatch):
    monkeypatch.setattr(study, "N", 20)
    split = images().split(0)
    x, test = split.train_x.flatten(1).numpy()[:8], split.test_x.flatten(1).numpy()[:3]
    seconds, spikes, right = study.ours(x, split.train_y.numpy()[:8], test, split.test_y.numpy()[:3], 0)
    model = study.DiehlCook(784, 20, 0, dt=0.5, shown=250.0, rule=study.PAIR)
    assert seconds > 0 and spikes == model.learn(rates_of(x)).sum(1).mean() >= 5
    assert right in (0, 1 / 3, 2 / 3, 1)


class Told:
    """In the place of a peer: keeps what it is asked and says what it is told to."""

    args, stdin, stdout = ("peer",), None, None

    def __init__(self):
        self.asked = []

    def answer(self, peer, question, what):
        self.asked.append(json.loads(question))
        with np.load(self.asked[-1][0]) as given:
            self.given = {k: given[k] for k in given.files}
        return "[2.0, 30.0, 0.5]\n"


@pytest.fixture
def turned(monkeypatch, tmp_path):
    """(rows of one repetition, all that ours was given, the peer)."""
    peer, shown = Told(), []
    monkeypatch.setattr(study, "answered", peer.answer)
    monkeypatch.setattr(study, "tensors", lambda *given: shown.append(given) or (0.5, 7.0, 0.25))
    monkeypatch.setattr(study, "ours", lambda *given: shown.append(given) or (1.0, 60.0, 0.75))
    return lambda: (study.turn(peer, tmp_path / "images.npz", images(), 3, (4, 8, 5)), shown, peer)


def test_both_sides_learn_and_are_tested_on_the_same_images(turned):
    rows, shown, peer = turned()
    assert [asked[1:] for asked in peer.asked] == [[4, 1, None, 3], [4, 1, 10.0, 3], [8, 32, None, 3], [8, 32, 10.0, 3]]
    for (x, y, test, said, seed), k in zip(shown, (4, 8)):
        assert seed == 3 and len(test) == 5
        np.testing.assert_array_equal(x, peer.given["x"][:k].reshape(k, 784))
        np.testing.assert_array_equal(y, peer.given["y"][:k])
        np.testing.assert_array_equal(test, peer.given["test"].reshape(5, 784))
        np.testing.assert_array_equal(said, peer.given["said"])
    assert peer.given["x"].shape == (8, 1, 28, 28) and peer.given["x"].max() > 100
    assert study.values(rows, study.theirs(1, "10 Hz"), 4, study.SPEED) == [2.0]
    assert study.values(rows, study.theirs(32, "10 Hz"), 8, study.SPEED) == [4.0]
    assert study.values(rows, study.OURS, 4, study.TEST) == [0.75]
    assert study.values(rows, study.TENSORS, 8, study.SPEED) == [16.0]
    assert study.values(rows, study.TENSORS, 8, study.SPIKES) == [7.0]


def test_the_tensors_are_timed_learn_and_are_tested(monkeypatch):
    monkeypatch.setattr(study, "N", 20)
    monkeypatch.setattr(study, "BATCH", 4)
    torch.set_default_dtype(torch.float32)
    split = images().split(0)
    x, test = split.train_x.flatten(1).numpy()[:8], split.test_x.flatten(1).numpy()[:3]
    found = [study.tensors(x, split.train_y.numpy()[:8], test, split.test_y.numpy()[:3], 0) for _ in range(2)]
    (seconds, spikes, right), again = found
    assert seconds > 0 and 1 < spikes < 20 * 50 and right in (0, *(pytest.approx(k / 3) for k in (1, 2, 3)))
    assert again[1:] == (spikes, right)


def test_the_peer_must_be_named_and_must_start(monkeypatch):
    monkeypatch.setattr(study, "PEER_PYTHON", "")
    with pytest.raises(ValueError, match="--peer-python: not given"):
        study.run(Mode(seeds=1))
    monkeypatch.setattr(study, "PEER_PYTHON", sys.executable)
    monkeypatch.setattr(study, "peer_program", "print('no such module')")
    with pytest.raises(ValueError, match="cannot import BindsNET's DiehlAndCook2015"):
        study.run(Mode(seeds=1))


@pytest.mark.slow
@pytest.mark.skipif(not PEER, reason="BINDSNET_PYTHON names no Python with BindsNET 0.3.4")
def test_the_peer_learns_spikes_and_is_tested(tmp_path):
    split = images().split(0)
    x, y, test, said = (v.numpy() for v in (split.train_x, split.train_y, split.test_x, split.test_y))
    np.savez(tmp_path / "images.npz", x=x, y=y, test=test[:3], said=said[:3])
    told = []
    with started(PEER, study.peer_program, "BindsNET", "BindsNET's DiehlAndCook2015") as peer:
        for k, batch, hertz in ((2, 1, 10.0), (4, 4, 10.0), (4, 4, 10.0), (4, 4, None)):
            question = json.dumps([str(tmp_path / "images.npz"), k, batch, hertz, 0])
            told.append(json.loads(study.answered(peer, question, "network")))
    for seconds, spikes, right in told:
        assert seconds > 0 and spikes > 1 and 0 <= right <= 1
    assert told[1][1:] == told[2][1:]  # the same seed
    assert told[3][1] > told[2][1]  # brighter


# ---------------------------------------------------------------------------------------------- claims and figure
def test_speed_is_the_ratio_of_medians_to_the_faster_coding():
    name = "batch 1: ratio of medians, images per CPU second"
    assert holding(made_up())[name] == (100.0, True)
    assert holding(made_up({(study.OURS, ONE): (5.1, 90.0, 0.5)}))[name] == (98.04, False)
    assert holding(made_up({(study.theirs(1, "intensity 128"), ONE): (250.0, 40.0, 0.4)}))[name] == (50.0, False)
    assert list(holding(made_up(), quick=True)) == [name, name.replace("batch 1", "batch 32")]


@pytest.mark.parametrize(("seconds", "got", "holds"), ((80.0, 5.0, True), (100.0, 4.0, False)))
def test_the_tensors_are_held_to_their_target(seconds, got, holds):
    rows = made_up({(study.TENSORS, MANY): (seconds, 20.0, 0.6)})
    assert holding(rows)["batch 32: ratio of medians, images per CPU second"] == (got, holds)
    assert study.draw(rows, {}).axes


@pytest.mark.parametrize("batch", (1, 32))
@pytest.mark.parametrize("coding", ("intensity 128", "10 Hz"))
def test_accuracy_is_compared_after_the_same_images_with_each_coding(batch, coding):
    key = study.theirs(batch, coding), ONE if batch == 1 else MANY
    ours, mine = (0.5, study.OURS) if batch == 1 else (0.6, study.TENSORS)
    for got, failed in (
        (ours, []),
        (
            ours + 0.02,
            [f"accuracy after {key[1]:,} images: {mine}, no worse than {key[0]}"],
        ),
    ):
        rows = made_up({key: (*CELLS[key][:2], got)})
        assert [name for name, (_, holds) in holding(rows).items() if not holds] == failed


def test_the_figure_is_drawn_again_from_its_files(tmp_path):
    rows = made_up()
    figures.save("speed_diehl_cook", study.draw(rows, {}), rows, study.claims_of(rows, False), out=tmp_path)
    again, manifest = figures.load("speed_diehl_cook", tmp_path)
    assert study.claims_of(again, False) == study.claims_of(rows, False)
    speed, accuracy = study.draw(again, manifest).axes
    assert [t.get_text() for t in speed.get_yticklabels()][0] == "ours, batch 1: 500 images"
    assert len(speed.get_yticks()) == len(CELLS)


def test_the_number_of_threads_is_as_it_was(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(study, "PEER_PYTHON", sys.executable)
    monkeypatch.setattr(study, "peer_program", "print('ready', flush=True)\nimport sys\nsys.stdin.read()")
    monkeypatch.setattr(study, "turn", lambda *given: 1 / 0)
    monkeypatch.setitem(study.TASKS, "fashion", lambda folder: images())
    with pytest.raises(ZeroDivisionError):
        study.run(Mode(seeds=1))
    assert torch.get_num_threads() == before
