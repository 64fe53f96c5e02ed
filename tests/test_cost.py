"""The cost ledger, against hand counts and against torch's own counter run on plain PyTorch."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neurosim.cost import ENERGY_NOTE, Count, Ledger, measure, per_correct, row
from neurosim.credit import (
    Backprop,
    DirectFeedback,
    Equilibrium,
    FeedbackAlignment,
    KolenPollack,
    NoCredit,
    NodePerturbation,
    Predictive,
    SignSymmetric,
    WeightPerturbation,
)
from neurosim.networks import cnn
from neurosim.networks import mlp as published_mlp
from neurosim.plasticity import Batch, Gradient, Layer, Learner, outer, synapses
from neurosim.recipes import CONVOLUTIONAL, RECIPES
from neurosim.rules import BCM, Hebb, Oja, Perturbed, Sanger
from tests.nets import NAMES, cases, ce, dense, learner, mlp, mse_seq, rnn

# The tiny net is 4-3-2. Products per sample:
PLAY = 4 * 3 + 3 * 2  # each synapse once
BACK = 3 * 2  # the readout's error to the hidden layer; none returns to the data
OUTER = 4 * 3 + 3 * 2  # post (x) pre of each synapse


def tiny(credit, rule=Gradient(), size=2, **fields):
    net, batch = mlp(4, 3, 2), Batch(torch.randn(size, 4), torch.randint(2, (size,)), ce)
    return learner(net, batch, credit, rule, lr=0.01, **fields), batch


def macs(ledger):
    return tuple(getattr(ledger, k).macs for k in ("forward", "feedback", "relaxation", "update"))


# ---------------------------------------------------------------------------------------------- counted by hand
@pytest.mark.parametrize(
    "credit, rule, want",
    [
        (Backprop(), Gradient(), (PLAY, BACK, 0, OUTER)),
        # one clean and one noisy trial; credit is noise times a number
        (NodePerturbation(0.1), Gradient(), (2 * PLAY, 0, 0, OUTER)),
        # noise is shaped like W already: no outer product at all
        (WeightPerturbation(0.1), Perturbed(), (2 * PLAY, 0, 0, 0)),
        # B is [units, outputs] for both layers: 3 * 2 and 2 * 2
        (DirectFeedback(), Gradient(), (PLAY, 3 * 2 + 2 * 2, 0, OUTER)),
        # forward activity, then 5 times (a play and a pull), then the trial that is learned from
        (Predictive(steps=5), Gradient(), (2 * PLAY, 0, 5 * (PLAY + BACK), OUTER)),
        # forward activity and two trials to learn from; 5 free steps, then 3 nudged either way; two outer products
        (Equilibrium(free=5, nudged=3), Hebb(), (3 * PLAY, 0, (5 + 2 * 3) * (PLAY + BACK), 2 * OUTER)),
        (NoCredit(), Hebb(), (PLAY, 0, 0, OUTER)),
        (NoCredit(), Oja(), (PLAY, 0, 0, OUTER)),  # y^2 w is elementwise
        # y y' is [3, 3] and [2, 2]; once a batch of 2, it multiplies W
        (NoCredit(), Sanger(), (PLAY, 0, 0, OUTER + 3 * 3 + 2 * 2 + (3 * 3 * 4 + 2 * 2 * 3) / 2)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_macs_by_hand(credit, rule, want):
    L, batch = tiny(credit, rule)
    ledger = measure(L, batch)
    assert macs(ledger) == want
    assert ledger.total.macs == sum(want)
    assert ledger.predict.macs == PLAY


@pytest.mark.parametrize("credit, outers", [(FeedbackAlignment(), 1), (SignSymmetric(), 1), (KolenPollack(), 2)])
def test_macs_by_hand_where_credit_returns_another_way(credit, outers):
    L, batch = tiny(credit)
    forward, *others = macs(measure(L, batch))
    assert others == [BACK, 0, outers * OUTER]  # Kolen-Pollack: one for W, one for B
    assert forward in (PLAY, PLAY + 3 * 2)  # the hidden activity may also be sent through the readout's B


def test_equal_sizes_do_not_confuse_weight_and_input_gradients():
    net, batch = mlp(4, 4, 4), Batch(torch.randn(4, 4), torch.randint(4, (4,)), ce)  # everything is [4, 4]
    assert macs(measure(learner(net, batch, Backprop()), batch)) == (32, 16, 0, 32)


def test_biases_cost_no_product():
    net = nn.Sequential(Layer(nn.Linear(4, 3), torch.relu), Layer(nn.Linear(3, 2)))
    batch = Batch(torch.randn(2, 4), torch.randint(2, (2,)), ce)
    ledger = measure(learner(net, batch, Backprop(), rest=("*.bias",)), batch)
    assert macs(ledger) == (PLAY, BACK, 0, OUTER)


def test_frozen_layers_cost_no_update():
    L, batch = tiny(Backprop(), {"1.*": Gradient(), "*": None})
    assert macs(measure(L, batch)) == (PLAY, 0, 0, 3 * 2)


@pytest.mark.parametrize("rule, credit", [(Gradient(), Backprop()), (BCM(), NoCredit())])
def test_convolutions_by_hand(rule, credit):
    net = nn.Sequential(
        Layer(nn.Conv2d(1, 2, 3, bias=False), torch.tanh),  # [1, 6, 6] -> [2, 4, 4], 9 products a place
        Layer(nn.Conv2d(2, 4, 2, stride=2, groups=2, bias=False), torch.tanh),  # -> [4, 2, 2], 1 channel * 4
        nn.Flatten(),
        Layer(dense(16, 3)),
    )
    batch = Batch(torch.randn(2, 1, 6, 6), torch.randint(3, (2,)), ce)
    first, second, readout = 2 * 4 * 4 * 9, 4 * 2 * 2 * 4, 16 * 3
    every = first + second + readout
    back = second + readout if type(credit) is Backprop else 0
    assert macs(measure(learner(net, batch, credit, rule), batch)) == (every, back, 0, every)


def test_sequences_by_hand():
    T, B = 5, 2
    net, batch = rnn(2, 3, 1), Batch(torch.randn(T, B, 2), torch.randn(T, B, 1), mse_seq, time=True, dt=1.0)
    every = T * 2 * 3 + (T - 1) * 3 * 3 + T * 3 * 1  # the recurrent synapse is silent at the first step
    back = (T - 1) * 3 * 3 + T * 3 * 1
    assert macs(measure(learner(net, batch, Backprop()), batch)) == (every, back, 0, every)


def test_reads_and_writes_by_hand():
    net, batch = nn.Sequential(Layer(dense(4, 3))), Batch(torch.randn(2, 4))
    ledger = measure(learner(net, batch, NoCredit(), Hebb(), lr=0.1), batch)
    W, x, y = 3 * 4, 2 * 4, 2 * 3
    assert ledger.forward == Count(2 * W / 2, (W + x) / 2, y / 2)
    # y (x) x; times 1 / 2; turned into a gradient by a minus; W += rate * that
    reads, writes = (y + x) + W + W + (W + W), W + W + W + W
    assert ledger.update == Count(2 * W / 2, reads / 2, writes / 2)
    assert ledger.feedback == ledger.relaxation == Count()
    assert ledger.predict == ledger.forward


def test_reads_and_writes_of_a_convolutions_backward_pass_by_hand():
    net = nn.Sequential(Layer(nn.Conv2d(1, 2, 3, bias=False)), nn.Flatten(), Layer(dense(8, 3)))
    batch = Batch(torch.randn(1, 1, 4, 4), None)
    with_conv = measure(learner(net, batch, NoCredit(), {"0.*": Hebb(), "*": None}, lr=0.1), batch)
    W, x, y = 2 * 9, 16, 8
    reads, writes = (y + x) + W + W + (W + W), W + W + W + W
    assert with_conv.update == Count(8 * 9, reads, writes)


# ---------------------------------------------------------------------------------------------- torch's counter
def products(forward_backward):
    with FlopCounterMode(display=False) as counter:
        forward_backward()
    return counter.get_total_flops() / 2


def plain_mlp(W, x):
    for k, w in enumerate(W):
        x = F.linear(x, w)
        x = x if k == len(W) - 1 else torch.relu(x)
    return x


def plain_lenet(W, x):
    x = F.avg_pool2d(torch.relu(F.conv2d(x, W[0], padding=2)), 2)
    x = F.avg_pool2d(torch.relu(F.conv2d(x, W[1])), 2)
    return plain_mlp(W[2:], x.flatten(1))


@pytest.mark.parametrize(
    "plain, sizes, make, shape",
    [
        (plain_mlp, [(128, 64), (64, 128), (10, 64)], published_mlp, (64,)),
        (plain_lenet, [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)], cnn, (1, 28, 28)),
    ],
    ids=("mlp", "cnn"),
)
def test_backprop_agrees_with_torchs_counter_on_plain_pytorch(plain, sizes, make, shape):
    W = [torch.randn(s, requires_grad=True) for s in sizes]
    x, target = torch.rand(8, *shape), torch.randint(10, (8,))
    forward = products(lambda: plain(W, x))
    both = products(lambda: torch.autograd.grad(F.cross_entropy(plain(W, x), target), W))
    batch = Batch(x, target, ce)
    got = measure(learner(make(shape, 10), batch, Backprop()), batch)
    assert got.forward.macs * 8 == forward
    assert got.total.macs * 8 == both
    assert got.update.macs == got.forward.macs  # a product a synapse and place either way
    assert got.predict.macs * 8 == forward


# without conv: torch's counter takes the kernel's gradient of a grouped convolution for that of an ungrouped one
@pytest.mark.parametrize("name", [n for n in NAMES if n != "conv"])
def test_backprop_agrees_with_torchs_counter_on_every_kind_of_net(name):
    net, batch = cases()[name]
    weights = [m.weight for m in synapses(net).values()]
    rest = () if name != "attention" else ("*norm*",)
    got = measure(learner(net, batch, Backprop(), rest=rest), batch)
    if batch.dt:  # outside of a trial a recurrent net has no time constant
        L = learner(net, batch, Backprop())
        want = products(lambda: L.updates(batch))
    else:
        want = products(lambda: torch.autograd.grad(batch.loss(net(batch.x), batch.target).sum(), weights))
    assert got.total.macs * batch.size == want
    if name == "attention":  # each of 7 words meets every weight once; what is between activities is feedback
        assert got.update.macs == 7 * sum(w.numel() for w in weights)


# ---------------------------------------------------------------------------------------------- what depends on what
def test_twice_the_steps_twice_the_relaxation():
    for make in (
        lambda k: (Equilibrium(free=4 * k, nudged=2 * k), Hebb()),
        lambda k: (Predictive(steps=5 * k), Gradient()),
    ):
        once, twice = (measure(*tiny(*make(k))) for k in (1, 2))
        assert twice.relaxation.macs == 2 * once.relaxation.macs > 0
        assert twice.relaxation.reads == pytest.approx(2 * once.relaxation.reads, rel=0.02)
        assert (twice.forward, twice.update) == (once.forward, once.update)


def test_a_settled_answer_is_dearer():
    recipe = RECIPES["equilibrium-propagation"]
    batch = Batch(torch.rand(4, 64), torch.randint(10, (4,)), ce)
    ledger = measure(Learner(published_mlp((64,), 10), recipe, batch), batch)
    once, back = 64 * 128 + 128 * 64 + 64 * 10, 128 * 64 + 64 * 10
    assert ledger.predict.macs == 2 * once + 12 * (once + back)  # 12 free steps, as the recipe says


def test_applying_the_update_is_shared_by_the_batch():
    few, many = (measure(*tiny(Backprop(), size=n)) for n in (2, 64))
    assert few.update.macs == many.update.macs
    assert many.update.writes < few.update.writes / 10


def test_the_optimiser_shows_in_the_traffic_of_the_update_alone():
    sgd, adam = (measure(*tiny(Backprop(), optimizer=o)) for o in (torch.optim.SGD, torch.optim.Adam))
    assert replace(adam, update=sgd.update) == sgd
    assert adam.update.macs == sgd.update.macs and adam.update.reads > 1.5 * sgd.update.reads


def test_the_first_step_costs_what_every_step_costs():
    L, batch = tiny(Backprop(), optimizer=torch.optim.Adam)
    fresh = measure(L, batch)
    L.step(batch)
    assert measure(L, batch) == fresh


def test_an_outer_product_is_update_wherever_it_is_made():
    class Hasty(NoCredit):  # it makes one itself, and throws it away
        def passes(self, net, batch, own, generator):
            for p in super().passes(net, batch, own, generator):
                r = p.trial.records["1.input"]
                outer(r, r.pre, r.post)
                yield p

    assert macs(measure(*tiny(Hasty(), Hebb()))) == (PLAY, 0, 0, OUTER + 3 * 2)


def test_an_answer_is_given_in_evaluation_mode():
    def make(*between):
        return nn.Sequential(Layer(dense(4, 3), torch.relu), *between, Layer(dense(3, 2)))

    batch = Batch(torch.randn(2, 4), torch.randint(2, (2,)), ce)
    plain, dropped = (measure(learner(make(*m), batch, Backprop()), batch) for m in ((), (nn.Dropout(0.5),)))
    assert dropped.predict == plain.predict and dropped.forward.reads > plain.forward.reads


class FusedAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.readout = Layer(dense(8, 8)), Layer(dense(8, 3))

    def forward(self, x):
        q = self.q(x)[:, None]
        return self.readout(F.scaled_dot_product_attention(q, q, q)[:, 0].mean(1))


def test_fused_products_are_refused():
    batch = Batch(torch.randn(2, 5, 8), torch.randint(3, (2,)), ce)
    with pytest.raises(ValueError, match="attention.*products are not counted"):
        measure(learner(FusedAttention(), batch, Backprop()), batch)


# ---------------------------------------------------------------------------------------------- measuring changes nothing
def held(L):
    """All that a learner is."""
    own = [list(m.parameters()) if isinstance(m, nn.Module) else [m] for m in L.own.values()]
    optimizers = [v for o in L.optimizers for s in o.state.values() for v in s.values()]
    tensors = [*L.net.state_dict().values(), *(t for ts in own for t in ts), *optimizers]
    tensors += [v for s in L.state.values() for v in s.values()]
    return [t.detach().clone() for t in tensors] + [L._noise.get_state(), torch.get_rng_state()]


@pytest.mark.parametrize("name", list(RECIPES))
def test_measuring_changes_nothing(name):
    batch = Batch(torch.rand(4, 64), torch.randint(10, (4,)), ce)
    L = Learner(published_mlp((64,), 10), RECIPES[name], batch, seed=1)
    L.step(batch)
    other = copy.deepcopy(L)
    torch.manual_seed(3)
    before, steps = held(L), L.steps
    first = measure(L, batch)
    after = held(L)
    assert L.steps == steps and L.net.training and len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert measure(L, batch) == first
    L.step(batch)
    other.step(batch)
    assert all(torch.equal(a, b) for a, b in zip(held(L), held(other), strict=True))


def test_dropout_draws_no_number_more():
    net = nn.Sequential(Layer(dense(4, 3), torch.relu), nn.Dropout(0.5), Layer(dense(3, 2)))
    batch = Batch(torch.randn(2, 4), torch.randint(2, (2,)), ce)
    L = learner(net, batch, Backprop())
    before = torch.get_rng_state()
    measure(L, batch)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", list(CONVOLUTIONAL))
def test_every_recipe_is_measured_on_a_cnn(name):
    batch = Batch(torch.rand(2, 1, 8, 8), torch.randint(10, (2,)), ce)
    ledger = measure(Learner(cnn((1, 8, 8), 10), CONVOLUTIONAL[name], batch), batch)
    conv1, conv2 = 8 * 64 * 9, 16 * 16 * 8 * 9  # 8 filters of 3x3 on 8x8, 16 on 4x4
    once = conv1 + conv2 + 64 * 64 + 64 * 10
    assert ledger.forward.macs >= once and ledger.predict.macs >= once
    assert all(v > 0 for k, v in row(ledger).items() if k not in ("macs_feedback", "macs_relaxation", "macs_update"))


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    for credit, rule in ((Backprop(), Gradient()), (Equilibrium(free=2, nudged=2), Hebb())):
        L, batch = tiny(credit, rule)
        here = macs(measure(L, batch))
        net, there = mlp(4, 3, 2).cuda(), replace(batch, x=batch.x.cuda(), target=batch.target.cuda())
        assert macs(measure(learner(net, there, credit, rule), there)) == here


# ---------------------------------------------------------------------------------------------- what is reported
def test_energy_rows_and_correct_answers():
    ledger = Ledger(Count(18, 9, 5), Count(6, 2, 1), Count(), Count(18, 3, 4), Count(18, 9, 5))
    assert ledger.total == Count(42, 14, 10)
    assert ledger.energy == pytest.approx(42 * 4.6)  # pJ
    assert row(ledger) == {
        "macs_per_sample": 42,
        "reads_per_sample": 14,
        "writes_per_sample": 10,
        "energy_per_sample": pytest.approx(193.2),
        "macs_forward": 18,
        "macs_feedback": 6,
        "macs_relaxation": 0,
        "macs_update": 18,
        "macs_predict": 18,
    }
    right = per_correct(row(ledger), 0.9)
    assert right["macs_per_correct"] == pytest.approx(20)
    assert right["energy_per_correct"] == pytest.approx(20 * 4.6)
    assert "memory traffic, which dominates" in ENERGY_NOTE


@pytest.mark.parametrize("accuracy", (0.0, -0.1, 1.01, 97.0, float("nan")))
def test_an_accuracy_that_is_none_is_refused(accuracy):
    with pytest.raises(ValueError, match=f"accuracy: given {accuracy}"):
        per_correct(row(Ledger(*[Count()] * 5)), accuracy)
