"""What a comparison could get wrong without anyone noticing: each test fails if one particular step is left out."""

import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from neurosim import compare as comparing
from neurosim.compare import Cell, draw_net, run_cell
from neurosim.credit import Backprop, DirectFeedback, Equilibrium, NoCredit
from neurosim.credit.feedback import pooled
from neurosim.networks import cnn, mlp
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Batch, Gradient, Layer, Learner, play
from neurosim.prepare import normalised
from neurosim.recipes import CONVOLUTIONAL, CORE, FILTERS, RECIPES
from neurosim.rules import EProp, EPropOnline, Hebb, SpikeRule, Term, Trace, pair
from neurosim.summary import against, summary
from neurosim.tasks import Task
from tests import nets
from tests.nets import Given, dense, hand_loop, learner, mse, mse_seq, rnn, updates


# ---------------------------------------------------------------------------------------------- what is scored
class Misled:
    """Three clouds whose test labels are mostly wrong, and a note of every seed that is asked for."""

    def __init__(self):
        rng = np.random.default_rng(1)
        y = rng.integers(0, 3, 480)
        x = rng.normal(size=(3, 1, 8, 8))[y] + 0.7 * rng.normal(size=(480, 1, 8, 8))
        wrong = np.where(np.arange(480) % 7 < 5, (y + 1) % 3, y)  # five in seven are wrong
        train, test = slice(0, 240), slice(240, None)
        parts = {"test_x": x[test], "test_y": wrong[test], "validation_size": 40}
        self.task = Task.from_arrays(x[train], y[train], **parts).limited(test=90)  # the seed says which 90
        self.asked = []

    def split(self, seed, tuning=False):
        self.asked.append(seed)
        return self.task.split(seed, tuning)

    def __getattr__(self, name):
        return getattr(self.task, name)


def small(shape, outputs):
    return mlp(shape, outputs, hidden=(16, 12))


def accuracy_by_hand(net, split, x, y):
    z = (x - split.train_x.mean(0)) / (split.train_x - split.train_x.mean(0)).square().mean().sqrt()
    for w in [p.detach() for p in net.parameters()][:-1]:
        z = (z.flatten(1) @ w.T).clamp(min=0)
    return sum(int(a) == int(b) for a, b in zip((z @ net.readout.input.weight.T).argmax(1), y)) / len(y)


def train_by_hand(seed, epochs):
    """(test accuracy before and after each epoch, last training accuracy) by a plain torch loop."""
    task = Misled().task
    split, net = task.split(seed), draw_net(small, task, seed)
    adam = torch.optim.Adam(net.parameters(), lr=CORE["backprop"].lr)
    scores = [accuracy_by_hand(net, split, split.test_x, split.test_y)]
    for epoch in range(epochs):
        for batch in task.batches(split, seed, epoch):
            adam.zero_grad()
            F.cross_entropy(net(batch.x), batch.target).backward()
            adam.step()
        scores.append(accuracy_by_hand(net, split, split.test_x, split.test_y))
    return scores, accuracy_by_hand(net, split, split.train_x, split.train_y)


@pytest.mark.parametrize("seed", (1, 2))
def test_the_score_is_that_of_the_test_part(seed):
    """Where the test labels contradict the training labels the score must be low, and that of a loop by hand."""
    cell = run_cell(CORE["backprop"], small, Misled(), seed, epochs=5)
    got = [r["value"] for r in cell.rows if r["quantity"] == "test"]
    want, on_training = train_by_hand(seed, 5)
    assert on_training > 0.9 and want[-1] < 0.5
    assert got == pytest.approx(want, abs=1e-12)
    assert cell.n_train == 240 and cell.n_test == 90


def test_each_seed_has_its_own_split():
    task, seeds = Misled(), (0, 3, 8)
    cells = [run_cell(CORE["frozen"], small, task, s, epochs=1) for s in seeds]
    assert task.asked == list(seeds)
    tested = [task.task.split(s).test_x for s in seeds]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(tested, 2))
    for cell, seed in zip(cells, seeds):  # before training, when the net is as drawn and only the images matter
        net, split = normalised(draw_net(small, task.task, seed)), task.task.split(seed)
        right = net(split.inputs(split.test_x)).argmax(1) == split.test_y
        assert cell.rows[0]["value"] == pytest.approx(right.double().mean().item())


# ---------------------------------------------------------------------------------------------- what a table says
def one_row(name, seed, value):
    row = {"recipe": name, "seed": seed, "epoch": 1, "samples": 9, "layer": "", "quantity": "test", "value": value}
    return Cell(name, seed, [row], n_train=1000, n_test=500)


def test_p_values_are_adjusted_over_recipes():
    """Near p's, so that both the factor (m - rank) and the running maximum of Holm's procedure show."""
    base = [0.90, 0.91, 0.89, 0.905, 0.895]
    noise = np.array([0.011, -0.008, 0.003, -0.012, 0.006])
    gaps = {"oja": -0.034, "sanger": -0.0335, "bcm": -0.020, "softhebb": -0.0195}  # in this order of p
    scores = {"frozen": base} | {n: list(np.add(base, g + noise)) for n, g in gaps.items()}
    by = {n: [one_row(n, s, v) for s, v in enumerate(values)] for n, values in scores.items()}
    p = []
    for n in gaps:
        t = stats.ttest_rel(scores[n], base).statistic * math.sqrt((1 / 5) / (1 / 5 + 500 / 1000))
        p.append(2 * stats.t.sf(abs(t), 4))
    assert p == sorted(p) and 0.01 < p[0] and p[-1] < 0.2
    holm = [4 * p[0], max(4 * p[0], 3 * p[1]), max(4 * p[0], 3 * p[1], 2 * p[2]), 0.0]
    holm[3] = max(holm[2], p[3])
    assert holm[1] == 4 * p[0] and holm[3] == 2 * p[2]  # the maximum is at work
    got = against(by, scores, "frozen")
    assert [got[n][1] for n in gaps] == pytest.approx(holm, rel=1e-9)
    shown = summary([c for cs in by.values() for c in cs], [CORE[n] for n in (*reversed(gaps), "frozen")])
    assert [shown[n]["p_vs_frozen"] for n in gaps] == pytest.approx(holm, rel=1e-9)


def test_the_null_of_a_sequence_gives_whole_samples_away():
    """[T, B, n] through one linear layer: every null is the closed form of one of the 3! orders of the samples."""
    steps = samples = 3  # equal, so that shuffling the steps instead goes through as well
    x, target = torch.randn(steps, samples, 4), torch.randn(steps, samples, 2)
    net, batch = nn.Sequential(Layer(dense(4, 2))), Batch(x, target, mse_seq, time=True)
    L = learner(net, batch, Backprop())
    null = comparing.shuffled_credit(L, batch, torch.Generator().manual_seed(0), ["0.input"])["0.input"]
    e = (target - x @ net[0].input.weight.T).detach()
    true = torch.einsum("tbk,tbi->ki", e, x).flatten()
    orders = list(itertools.permutations(range(samples)))
    allowed = [F.cosine_similarity(torch.einsum("tbk,tbi->ki", e[:, o], x).flatten(), true, 0) for o in orders]
    nearest = (null[:, None] - torch.stack(allowed)).abs().min(1)
    assert nearest.values.max() < 1e-12
    assert len(set(nearest.indices.tolist())) >= 4  # and not always the same order


# ---------------------------------------------------------------------------------------------- equilibrium
def relaxed(ws, x, u, beta, target, steps, rate):
    """u_l <- (1 - rate) u_l + rate (drive from below + drive from above), in [0, 1]; tanh, the last layer linear."""
    last = len(ws) - 1
    u = [v.copy() for v in u]
    for _ in range(steps):
        y = [x] + [v if k == last else np.tanh(v) for k, v in enumerate(u)]
        new = []
        for k, w in enumerate(ws):
            pull = y[k] @ w.T
            if k < last:
                pull = (pull + y[k + 2] @ ws[k + 1]) * (1 - y[k + 1] ** 2)
            else:
                pull = pull - beta * (y[k + 1] - target)
            new.append(np.minimum(np.maximum(u[k] + rate * (pull - u[k]), 0.0), 1.0))
        u = new
    return u, [x] + [v if k == last else np.tanh(v) for k, v in enumerate(u)]


@pytest.fixture
def settling():
    """A net with strong feedback, its weights as numpy, and where each layer starts from: the forward drive, boxed."""
    torch.manual_seed(3)
    net = nets.mlp(5, 7, 6, 3)
    batch = Batch(torch.randn(4, 5), torch.rand(4, 3) * 2 - 0.5, mse)
    with torch.no_grad():
        for layer in net:
            layer.input.weight.mul_(1.3)
    ws, x, drives = [layer.input.weight.detach().numpy() for layer in net], batch.x.numpy(), []
    y = x
    for w in ws:
        drives.append(y @ w.T)
        y = np.tanh(drives[-1])
    return net, batch, ws, [np.clip(u, 0, 1) for u in drives], drives


EQ = Equilibrium(beta=0.4, free=3, nudged=4, rate=0.6, box=(0.0, 1.0))


def test_the_answer_of_equilibrium_propagation_is_settled(settling):
    net, batch, ws, start, drives = settling
    u, y = relaxed(ws, batch.x.numpy(), start, 0.0, 0.0, EQ.free, EQ.rate)
    L = learner(net, batch, EQ, Hebb(), predict=EQ.predict)
    got = L.predict(batch).numpy()
    np.testing.assert_allclose(got, y[-1], atol=1e-12)
    assert np.abs(got - drives[-1]).max() > 0.3  # a plain forward trial answers otherwise
    assert got.min() >= 0 and got.max() <= 1
    for state, want in zip(EQ.settle(net, batch).values(), u, strict=True):
        np.testing.assert_allclose(state.numpy(), want, atol=1e-12)
        assert state.min() >= 0 and state.max() <= 1 and (state == 0).any()


def test_the_line_up_predicts_by_settling():
    """Both networks' recipes answer with their own settled output, not with the forward one."""
    for recipe, make in ((RECIPES["equilibrium-propagation"], mlp), (CONVOLUTIONAL["equilibrium-propagation"], cnn)):
        batch = Batch(torch.randn(4, 1, 8, 8), torch.randint(3, (4,)))
        L = Learner(make((1, 8, 8), 3), recipe, batch)
        with torch.no_grad():
            for p in L.net.parameters():
                p.mul_(2)  # so that the feedback is strong
        answer, settled = L.predict(batch), recipe.credit.settle(L.net, batch)
        torch.testing.assert_close(answer, settled["readout"].clamp(0, 1))
        assert (answer - play(L.net, batch).output).abs().max() > 1e-2


@pytest.mark.parametrize("size", (8, 28))
@pytest.mark.parametrize("make, recipes", ((mlp, RECIPES), (cnn, CONVOLUTIONAL)), ids=("mlp", "cnn"))
def test_the_nudge_reaches_every_layer(make, recipes, size):
    """It climbs one layer a step: with fewer nudged steps than layers the first ones would never learn."""
    batch = Batch(torch.rand(8, 1, size, size), torch.randint(10, (8,)), nets.ce)
    dw = Learner(make((1, size, size), 10), recipes["equilibrium-propagation"], batch).updates(batch)
    assert [n for n, d in dw.items() if not d.any()] == []


def test_equilibrium_propagation_stays_in_its_box(settling):
    """dW against a relaxation in numpy that clips; it hits both walls, and unclipped dW is another."""
    net, batch, ws, start, _ = settling
    x, target = batch.x.numpy(), batch.target.numpy()
    free, _ = relaxed(ws, x, start, 0.0, 0.0, EQ.free, EQ.rate)
    want, hit = [np.zeros_like(w) for w in ws], {0.0: 0, 1.0: 0}
    for beta in (EQ.beta, -EQ.beta):
        u, y = relaxed(ws, x, free, beta, target, EQ.nudged, EQ.rate)
        want = [d + (y[k + 1].T @ y[k]) / (2 * beta * len(x)) for k, d in enumerate(want)]
        hit = {wall: n + sum(int((v == wall).sum()) for v in u) for wall, n in hit.items()}
    assert min(hit.values()) > 0
    got = updates(net, batch, EQ, Hebb())
    for d, w in zip(got.values(), want, strict=True):
        np.testing.assert_allclose(d.numpy(), w, atol=1e-12)
    open_ended = updates(net, batch, Equilibrium(0.4, 3, 4, 0.6, box=None), Hebb())
    assert all((open_ended[n] - d).norm() > 0.5 * d.norm() > 0 for n, d in got.items())
    for told in EQ.passes(net, batch, {}, torch.Generator()):
        for r in told.trial.records.values():
            assert r.state["v"].min() >= 0 and r.state["v"].max() <= 1


# ---------------------------------------------------------------------------------------------- normalised activity
class Own(nn.Module):
    """A net with a forward of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Layer(dense(6, 20), torch.relu), Layer(dense(20, 15), torch.tanh)
        self.readout = Layer(dense(15, 12))

    def forward(self, x):
        return self.readout(self.two(self.one(x)))


def conv_over_time():
    conv = [Layer(nn.Conv2d(a, b, 3, padding=1, bias=False), torch.relu) for a, b in ((2, 4), (4, 3))]
    parts = OrderedDict(conv1=conv[0], conv2=conv[1], flatten=nn.Flatten(2), readout=Layer(dense(75, 8)))
    return nn.Sequential(parts)


def assert_standard(y, axes):
    """Mean 0 and variance 1 over the last `axes` axes, each sample (and step) for itself."""
    rows = y.flatten(-axes).numpy()
    np.testing.assert_allclose(rows.mean(-1), 0, atol=1e-9)
    np.testing.assert_allclose(rows.var(-1), 1, atol=5e-3)


NORMALISED = {
    "mlp": (lambda: mlp((6,), 12, hidden=(20, 15)), (9, 6), {"hidden2.input": 1, "readout.input": 1}),
    "cnn": (lambda: cnn((1, 8, 8), 12), (9, 1, 8, 8), {"readout.input": 1}),
    "own": (Own, (9, 6), {"two.input": 1, "readout.input": 1}),
    "own, time": (Own, (7, 5, 6), {"two.input": 1, "readout.input": 1}),
    "rnn, time": (lambda: rnn(i=6, n=20, o=12), (7, 5, 6), {"readout.input": 1}),
    "conv, time": (conv_over_time, (7, 5, 2, 5, 5), {"conv2.input": 3, "readout.input": 1}),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_the_next_layer_receives_normalised_activity(name):
    make, shape, received = NORMALISED[name]
    time = name.endswith("time")
    lead, unit = shape[: 1 + time], shape[1 + time :]
    size = torch.logspace(0, 1.5, math.prod(lead)).reshape(*lead, *[1] * len(unit))  # no two samples or steps alike
    batch = Batch(torch.randn(shape) * size, time=time, dt=1.0)
    net = make()
    with torch.no_grad():
        before = play(net, batch)
        for n in received:
            y = before.records[n].pre.flatten(-received[n])
            assert (y.var(-1) - 1).abs().max() > 0.1  # there is something to do
        trial = play(normalised(net), batch)
    for n, axes in received.items():
        assert_standard(trial.records[n].pre, axes)
    r = trial.records["readout.input"]  # the readout's own output is left alone
    torch.testing.assert_close(trial.output, r.pre @ r.weight.T)
    assert (trial.output.var(-1) - 1).abs().max() > 0.1


def test_filters_are_normalised_over_their_whole_map():
    """conv2 receives the pooled, standardised maps of conv1: mean and variance over channels and places at once."""
    net, x = cnn((1, 8, 8), 3), torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        y = F.conv2d(x, net.conv1.input.weight, padding=1).clamp(min=0).numpy()
        got = play(normalised(net), Batch(x)).records["conv2.input"].pre
    for sample, pooled_map in zip(y, got.numpy(), strict=True):
        z = (sample - sample.mean()) / sample.std()
        np.testing.assert_allclose(pooled_map, z.reshape(8, 4, 2, 4, 2).mean((2, 4)), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------------------------------------- rates
@pytest.mark.parametrize("convolutional", (False, True), ids=("mlp", "cnn"))
@pytest.mark.parametrize("name", ("oja", "sanger", "bcm", "softhebb", "hard-wta", "k-wta", "frozen"))
def test_hebbian_layers_and_their_readout_have_rates_of_their_own(name, convolutional):
    recipe = (CONVOLUTIONAL if convolutional else RECIPES)[name]
    shared = {
        r[n].lr["readout.*"] for r in (RECIPES,) for n in ("oja", "softhebb", "k-wta", "rbm", "autoencoder", "frozen")
    }
    assert len(shared) == 1  # one readout for all
    READOUT_RATE = recipe.lr["readout.*"]
    hidden = dense_rate = recipe.lr["*"]
    filters = FILTERS * hidden
    batch = Batch(torch.randn(6, 1, 8, 8), torch.randint(3, (6,)), nets.ce)
    L = Learner(cnn((1, 8, 8), 3) if convolutional else small((1, 8, 8), 3), recipe, batch)
    named = {id(p): n for n, p in L.net.named_parameters()}
    found = {named[id(p)]: (type(o), g["lr"]) for o in L.optimizers for g in o.param_groups for p in g["params"]}
    assert found.pop("readout.input.weight") == (torch.optim.Adam, READOUT_RATE)
    others = {n for n in named.values() if not n.startswith("readout")}
    assert set(found) == (set() if name == "frozen" else others)
    for n, (kind, rate) in found.items():
        want = (filters if n.startswith("conv") else hidden) if convolutional else dense_rate
        assert kind is torch.optim.SGD and rate == want and rate != READOUT_RATE
    before = {n: p.detach().clone() for n, p in L.net.named_parameters()}
    dw = L.step(batch)  # the first step of Adam is lr * sign, whatever the size of dW; that of SGD is lr * dW
    for n, p in L.net.named_parameters():
        moved, d = p.detach() - before[n], dw.get(n.removesuffix(".weight"), torch.zeros(1))
        if n.startswith("readout"):
            assert moved.abs().max().item() == pytest.approx(READOUT_RATE, rel=1e-3)
        else:
            want = (filters if n.startswith("conv") else hidden) if convolutional else dense_rate
            torch.testing.assert_close(moved, want * d.expand_as(moved), rtol=1e-6, atol=1e-15)


# ---------------------------------------------------------------------------------------------- direct feedback
@pytest.mark.parametrize("outputs", (4, 64))
def test_direct_feedback_keeps_the_size_of_the_error(outputs):
    """B ~ N(0, 1 / outputs): each entry has standard deviation outputs ** -0.5."""
    net, batch = nets.mlp(3, 2000, 1000, outputs), Batch(torch.randn(2, 3), torch.randn(2, outputs), mse)
    own = learner(net, batch, DirectFeedback()).own
    for n in ("direct/0", "direct/1"):
        b = own[n].weight
        assert b.std().item() == pytest.approx(outputs**-0.5, rel=0.06) and abs(b.mean().item()) < 0.03
        sent = b @ torch.ones(outputs)  # so what a unit is sent is as large as the errors are
        assert sent.std().item() == pytest.approx(1, rel=0.1)


def sequence(steps, lanes, neuron):
    net = rnn(i=3, n=8, o=2, neuron=neuron)
    return net, Batch(torch.randn(steps, lanes, 3).abs(), torch.randn(steps, lanes, 2), mse_seq, time=True, dt=1.0)


def summed_error(net, batch):
    """Target minus output added up step by step, [B, out], with the forward of `hand_loop`."""
    total = torch.zeros(batch.size, 2)
    for out, target in zip(hand_loop(net, batch).detach(), batch.target):
        total += target - out
    return total


LIF = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=0.1)
LENGTHS = pytest.mark.parametrize("steps, lanes", ((12, 5), (6, 6)), ids=("T > B", "T = B"))


@LENGTHS
def test_pooled_feedback_is_the_sum_of_the_error_at_every_step(steps, lanes):
    net, batch = sequence(steps, lanes, LIF)
    L = learner(net, batch, DirectFeedback(pooled))
    (told,) = L.recipe.credit.passes(net, batch, L.own, torch.Generator())
    want = summed_error(net, batch) @ L.own["direct/hidden"].weight.detach().T
    signal = told.third["signal"]["hidden"]
    assert signal.shape == (steps, lanes, 8)
    for t in range(steps):
        torch.testing.assert_close(signal[t], want)


@LENGTHS
@pytest.mark.parametrize("rule", (EProp, EPropOnline))
def test_eprop_by_pooled_feedback_is_a_cut_gradient(rule, steps, lanes):
    """With L constant in time, dW is the gradient of sum_t L . z[t] through a net whose recurrent spikes carry none."""
    net, batch = sequence(steps, lanes, LIF)
    L = learner(net, batch, DirectFeedback(pooled), {"hidden.*": rule(LIF), "readout.*": Gradient()})
    got, error = L.updates(batch), summed_error(net, batch)
    with torch.no_grad():  # L . z = (B e) . z = e . (B' z): the loop's own readout stands in for B'
        net.readout.input.weight.copy_(L.own["direct/hidden"].weight.T)
    gain = (hand_loop(net, batch, cut=True) * error).sum() / lanes
    weights = {"hidden.input": net.hidden.input.weight, "hidden.recurrent": net.hidden.recurrent.weight}
    for (n, _), g in zip(weights.items(), torch.autograd.grad(gain, list(weights.values())), strict=True):
        assert g.norm() > 1e-3
        torch.testing.assert_close(got[n], g, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------------------- spikes
def showing(net, pre, post, **signals):
    net[0].neuron.spikes = post
    return Batch(pre, time=True, dt=1.0, signals=signals)


def spikes(steps, lanes, n):
    s = (torch.rand(steps, lanes, n) < 0.3).double()
    s[::5] = 1
    return s


@pytest.mark.parametrize("event", ("post", "pre"))
def test_a_modulator_trace_as_a_factor_includes_this_step(event):
    """A pulse of dopamine at the very step of the event counts in full: read after the bump, unlike pre and post."""
    other = "r1" if event == "post" else "o1"
    traces = {"r1": Trace("pre", 17.0), "o1": Trace("post", 34.0), "D": Trace("dopamine", 50.0)}
    rule = SpikeRule(traces, (Term(1.0, (event, other, "D")),))
    pre, post, dopamine = spikes(40, 2, 3), spikes(40, 2, 2), (torch.rand(40, 2) < 0.2).double()
    net = nn.Sequential(Layer(dense(3, 2), Given()))
    got = updates(net, showing(net, pre, post, dopamine=dopamine), NoCredit(), rule)["0.input"]
    want = torch.zeros(2, 3)
    for lane, j, i in itertools.product(range(2), range(2), range(3)):
        r = o = level = 0.0
        for t in range(40):
            r, o, level = r * math.exp(-1 / 17), o * math.exp(-1 / 34), level * math.exp(-1 / 50) + dopamine[t, lane]
            if event == "pre" and pre[t, lane, i]:
                want[j, i] += o * level / 2
            r = r + pre[t, lane, i]
            if event == "post" and post[t, lane, j]:
                want[j, i] += r * level / 2
            o = o + post[t, lane, j]
    assert want.min() > 1
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


def test_one_pulse_with_one_pair_counts_once():
    rule = SpikeRule({"r1": Trace("pre", 20.0), "D": Trace("dopamine", 50.0)}, (Term(1.0, ("post", "r1", "D")),))
    net = nn.Sequential(Layer(dense(1, 1), Given()))
    one = torch.zeros(8, 1, 1)
    one[3] = 1
    got = updates(net, showing(net, one, one, dopamine=one[:, :, 0]), NoCredit(), rule)["0.input"]
    assert got.item() == pytest.approx(1.0)


GATED = SpikeRule(
    {**pair().traces, "D": Trace("dopamine", 50.0)},
    (Term(0.01, ("post", "r1"), "D", 400.0), Term(-0.012, ("pre", "o1"), "dopamine", 150.0)),
    forget=True,
)


@pytest.mark.parametrize("rule", (SpikeRule(pair().traces, pair().terms, forget=True), GATED), ids=("pair", "gated"))
def test_a_short_last_batch_starts_from_nothing(rule):
    """Five lanes, then three: other samples, so with `forget` neither traces nor eligibility come along."""
    net = nn.Sequential(Layer(dense(4, 2), Given()))
    sizes = (5, 3, 3, 5)
    shown = [(spikes(15, n, 4), spikes(15, n, 2), torch.rand(15, n)) for n in sizes]
    fresh = [updates(net, showing(net, a, b, dopamine=d), NoCredit(), rule)["0.input"] for a, b, d in shown]
    L = learner(net, showing(net, *shown[0][:2], dopamine=shown[0][2]), NoCredit(), rule, lr=0.0)
    for (a, b, d), want in zip(shown, fresh, strict=True):
        assert want.abs().min() > 1e-6
        torch.testing.assert_close(L.step(showing(net, a, b, dopamine=d))["0.input"], want, rtol=1e-12, atol=0)
