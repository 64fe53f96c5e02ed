"""Diehl & Cook's network: who drives whom, what stays, what is learned; labels and votes by hand."""

import math

import numpy as np
import pytest

from neurosim.diehl_cook import EXCITATORY, STDP, DiehlCook, assign, rates_of, vote

INPUTS = 96
PATTERNS = np.kron(np.eye(3), np.ones(INPUTS // 3))  # three, that share no input


def test_labels_votes_and_sizes_that_cannot_be_are_refused():
    for make, said in (
        (lambda: DiehlCook(0, 10), "inputs: given 0, it must be a whole number of at least 1"),
        (lambda: DiehlCook("a", 10), "inputs: given 'a', it must be"),
        (lambda: assign(np.ones((3, 2)), [0, 1, 12], 10), "y: given labels from 0 to 12, classes are 0 to 9"),
        (lambda: vote(np.ones((3, 2)), [0, 1, 1], 2), "labels: given \\[3\\] for counts of \\[3, 2\\]"),
        (lambda: rates_of([[np.nan, 1.0]]), "they must be finite and not negative"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    assert DiehlCook(INPUTS, 10).learn(np.zeros((0, INPUTS))).shape == (0, 10)


def rates(n, seed=0):
    g = np.random.default_rng(seed)
    y = g.integers(3, size=n)
    return 100.0 * PATTERNS[y] + 2.0 * g.random((n, INPUTS)), y


def test_the_rule_is_theirs_spike_by_spike():
    """nearest traces set to 1; pre: w -= 1e-4 post1, post: w += 1e-2 pre post2 as it was before, then both are set."""
    import torch

    from neurosim.plasticity import Record

    g, T = torch.Generator().manual_seed(0), 400
    x, y = ((torch.rand(T, 1, 1, generator=g) < 0.08).double() for _ in range(2))
    pre = post1 = post2 = 0.0
    want = 0.0
    for t in range(T):
        pre, post1, post2 = pre * np.exp(-1 / 20), post1 * np.exp(-1 / 20), post2 * np.exp(-1 / 40)
        if x[t]:
            pre = 1.0
            want -= 1e-4 * post1
        if y[t]:
            want += 1e-2 * pre * post2
            post1 = post2 = 1.0
    rec = Record("s", torch.nn.Linear(1, 1, bias=False), torch.zeros(1, 1), x, y, y, torch.ones(()), {}, 1.0)
    assert STDP.update(rec, {}, {}).item() == pytest.approx(want, abs=1e-12) and abs(want) > 0.1


def test_a_spike_silences_all_others_but_not_its_own():
    """The strongest neuron is as it is without inhibition; the weaker ones are silent with it."""
    counts = []
    for inhibition in (1.0, 0.0):
        model = DiehlCook(INPUTS, 5, least=0)
        model.synapses.scale_rows = lambda total: None  # rows as they are set here
        model.net.projections[2].w[:] *= inhibition
        model.synapses.w.reshape(-1, 5)[:] = 0.05 + 0.05 * np.eye(5)[2]
        counts.append(model.learn(200.0 * np.ones((1, INPUTS)))[0])
    with_it, without = counts
    assert with_it[2] == without[2] > 5 and without.min() > 2
    assert with_it.sum() - with_it[2] < 0.1 * (without.sum() - without[2])


def test_weights_and_thresholds_are_learned_and_stay_while_it_responds():
    model = DiehlCook(INPUTS, 8, least=0)
    x, _ = rates(20)
    w, theta = model.synapses.w.copy(), model.theta.copy()
    assert (theta == EXCITATORY.theta).all()
    counts = model.respond(x)
    assert (model.synapses.w == w).all() and (model.theta == theta).all() and counts.sum() > 50
    counts = model.learn(x)
    assert not np.allclose(model.synapses.w, w)
    after = model.synapses.w.copy()
    model.learn(0 * x[:1])
    np.testing.assert_allclose(model.synapses.w.reshape(-1, 8).sum(0), 78 * 96 / 784, rtol=1e-5)
    assert not np.allclose(after, model.synapses.w, rtol=1e-3)  # scaled before an image, not after the last
    grown = 0.05 * counts.sum(0)
    assert (model.theta > 0.999 * grown + 19.97).all() and (
        model.theta < grown + 19.99
    ).all()  # 21 images: 20 falls to 19.979
    assert model.synapses.w.min() >= 0 and model.synapses.w.max() <= 1


@pytest.mark.parametrize("rest", (0.0, 150.0))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_thresholds_decay_while_an_image_is_shown_and_in_the_rest_after_it(rest, dtype):
    """Also in float32, which does not hold a step's share of it: 20 mV fall by .0014 or .002 in two images."""
    model = DiehlCook(INPUTS, 3, rest=rest, least=0, dtype=dtype)
    model.learn(np.zeros((2, INPUTS)))
    fallen = -20 * math.expm1(-2 * (350 + rest) / 1e7)
    np.testing.assert_allclose(20 - model.theta.astype(float), fallen, rtol=1e-9 if dtype == np.float64 else 5e-3)


def test_it_is_the_same_for_the_same_seed_and_learns_patterns_without_labels():
    x, y = rates(200)
    other, z = rates(60, seed=1)
    model, again = DiehlCook(INPUTS, 9, seed=3), DiehlCook(INPUTS, 9, seed=3)
    counts = model.learn(x)
    assert (counts[:5] == again.learn(x[:5])).all()
    labels = assign(model.respond(x), y, 3)
    assert set(labels) - {-1} == {0, 1, 2}
    assert (vote(model.respond(other), labels, 3) == z).mean() > 0.9
    w = model.synapses.w.reshape(-1, 9)
    winners = [k for k in range(9) if counts[:, k].sum() > 200]
    assert {labels[k] for k in winners} == {0, 1, 2}
    for k in winners:  # a receptive field is its pattern, a third of the inputs
        assert w[PATTERNS[labels[k]] > 0, k].sum() > 0.6 * w[:, k].sum()


def test_a_dim_image_is_shown_brighter():
    model = DiehlCook(INPUTS, 4)
    dim = 100.0 * PATTERNS[:1] / 2
    once = DiehlCook(INPUTS, 4, least=0)
    assert once.learn(dim).sum() < 5 <= model.learn(dim).sum()
    assert model.net.t > once.net.t == 350.0
    assert model.learn(np.zeros((1, INPUTS))).sum() == 0  # and at last taken as it is


# ---------------------------------------------------------------------------------------------- classes
def test_labels_are_of_the_class_answered_most_and_votes_are_means():
    counts = np.array([[4, 0, 1, 0], [2, 0, 1, 0], [0, 3, 1, 0], [0, 9, 2, 0]])
    labels = assign(counts, [0, 0, 1, 1], 3)
    assert labels.tolist() == [0, 1, 1, -1]
    assert vote([[3, 2, 2, 9], [3, 5, 2, 0], [0, 0, 0, 0]], labels, 3).tolist() == [0, 1, 0]


def test_rates_have_the_mean_asked_for():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5))
    images[3] = 0
    got = rates_of(images, mean=7.0)
    np.testing.assert_allclose(got.mean(1), [7, 7, 7, 0])
    np.testing.assert_allclose(rates_of(images, None), images.reshape(4, -1) / 4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DiehlCook(36, 4).learn(np.zeros((1, 35))), "rates: given .1, 35."),
        (lambda: DiehlCook(36, 4).learn(-np.ones((1, 36))), "rates: given some that are negative"),
        (lambda: DiehlCook(36, 4, shown=0.0), "shown: given 0.0"),
        (lambda: DiehlCook(36, 4, rest=-1.0), "rest: given -1.0, it is a time in ms"),
        (lambda: DiehlCook(36, 4, total=-1.0), "total: given -1.0"),
        (lambda: rates_of(-np.ones((1, 4))), "images: given intensities down to -1"),
        (lambda: assign(np.zeros((3, 2)), [0, 1], 2), "y: given 2 labels of 3 images"),
    ],
)
def test_what_cannot_be_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
