"""Credit made within layers, each against another road: plain autograd, a hand loop."""

import math
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import (
    Autoencoder,
    ContrastiveDivergence,
    ForwardForward,
    LayerLocal,
    TargetPropagation,
)
from neurosim.plasticity import Batch, Gradient, Layer, Unsupported, play
from neurosim.prepare import unit_length
from neurosim.rules import Goodness, Hebb
from neurosim.synapses import mirror
from tests.nets import LINE_UP_BATCH as B
from tests.nets import LINE_UP_CLASSES as K
from tests.nets import ce, conv_net, dense, learner, lenet, mlp, net_and_batch, relative


# ---------------------------------------------------------------------------------------------- losses of a layer's own
def test_layer_local_is_autograd_of_each_layers_own_classifier():
    """One hidden layer at a time with its head, in plain torch, the layers' inputs held fixed."""
    net, batch = net_and_batch(torch.tanh)
    L = learner(net, batch, LayerLocal())
    dw, x = L.updates(batch), batch.x
    for i, n in enumerate(("0", "1")):
        W = net[i].input.weight.detach().clone().requires_grad_()
        A = L.own[f"head/{n}"].weight.detach().clone().requires_grad_()
        y = torch.tanh(x @ W.T)
        gW, gA = torch.autograd.grad(F.cross_entropy(y @ A.T, batch.target), [W, A])
        assert relative({"W": dw[f"{n}.input"], "A": dw[f"head/{n}"]}, {"W": -gW, "A": -gA}) < 1e-12
        x = y.detach()
    W = net[2].input.weight.detach().clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(x @ W.T, batch.target), W)[0]
    assert relative({"W": dw["2.input"]}, {"W": -g}) < 1e-12


def test_layer_local_on_convolutions_reads_the_whole_map():
    net, batch = lenet()
    L = learner(net, batch, LayerLocal())
    dw = L.updates(batch)
    W = net.conv1.input.weight.detach().clone().requires_grad_()
    y = torch.tanh(F.conv2d(batch.x, W, padding=1))
    loss = F.cross_entropy(y.flatten(1) @ L.own["head/conv1"].weight.detach().T, batch.target)
    assert relative({"W": dw["conv1.input"]}, {"W": -torch.autograd.grad(loss, W)[0]}) < 1e-12


def test_autoencoder_is_autograd_of_the_reconstruction_and_takes_turns():
    net, batch = lenet()
    L = learner(net, batch, Autoencoder(updates=2))
    order = []
    for _ in range(10):
        dw = L.step(batch)
        order.append(sorted(n for n in dw if not n.startswith("decoder/")))
    assert order[:2] == [["conv1.input", "readout.input"]] * 2
    assert order[2:4] == [["conv2.input", "readout.input"]] * 2
    assert order[4:6] == [["hidden1.input", "readout.input"]] * 2 and order[6:] == [["readout.input"]] * 4
    L.own["updates"] = torch.tensor(2)  # conv2's turn
    dw = L.updates(batch)
    with torch.no_grad():
        x = F.avg_pool2d(torch.tanh(F.conv2d(batch.x, net.conv1.input.weight, padding=1)), 2)
    W = net.conv2.input.weight.detach().clone().requires_grad_()
    V = L.own["decoder/conv2.input"].weight.detach().clone().requires_grad_()
    back = F.conv2d(torch.tanh(F.conv2d(x, W, padding=1)), V, padding=1)
    gW, gV = torch.autograd.grad(((back - x) ** 2).sum() / 2 / B, [W, V])
    assert relative({"W": dw["conv2.input"], "V": dw["decoder/conv2.input"]}, {"W": -gW, "V": -gV}) < 1e-12


@pytest.mark.parametrize("make", (Autoencoder, ContrastiveDivergence))
def test_updates_is_pure_though_turns_are_counted(make):
    net, batch = net_and_batch()
    L = learner(
        net, batch, make(updates=1), {"2.*": Gradient(), "*": Hebb() if make is ContrastiveDivergence else Gradient()}
    )
    first = L.updates(batch)
    assert relative(L.updates(batch), first) == 0 and "0.input" in first
    L.step(batch)
    assert "0.input" not in L.updates(batch) and "1.input" in L.updates(batch)


# ---------------------------------------------------------------------------------------------- mirrors
MIRRORED = {
    "dense": lambda: nn.Linear(5, 3, bias=False),
    "conv, padded": lambda: nn.Conv2d(2, 3, 3, padding=1, bias=False),
    "conv, not square": lambda: nn.Conv2d(2, 3, (5, 2), bias=False),
    "conv in one dimension": lambda: nn.Conv1d(2, 3, 4, padding=2, bias=False),
}


@pytest.mark.parametrize("name", MIRRORED)
def test_a_mirror_with_the_turned_weight_is_the_adjoint(name):
    """<W x, y> = <x, M y> for all x, y where M has W's values, turned round."""
    synapse = MIRRORED[name]()
    m, w = mirror(synapse), synapse.weight
    with torch.no_grad():
        m.weight.copy_(w.transpose(0, 1).flip(tuple(range(2, w.dim()))))
    x = torch.randn(4, 5) if w.dim() == 2 else torch.randn(4, 2, *[7] * (w.dim() - 2))
    u = synapse(x)
    y = torch.randn_like(u)
    torch.testing.assert_close((u * y).sum(), (x * m(y)).sum())


def test_a_strided_convolution_has_no_mirror():
    with pytest.raises(ValueError, match="synapse: given a strided"):
        mirror(nn.Conv2d(1, 2, 3, stride=2))
    net = conv_net()
    batch = Batch(torch.randn(2, 2, 8, 8), torch.randint(3, (2,)), ce)
    with pytest.raises(Unsupported, match="target propagation: 2.input: .*grouped"):
        learner(net, batch, TargetPropagation())


# ---------------------------------------------------------------------------------------------- forward-forward
def goodness_by_autograd(weights, x, M, theta):
    """-d/dW of the mean of softplus(-M (g - theta)), layer by layer, with the next layer's input of length 1."""
    out = []
    for W in weights:
        W = W.detach().clone().requires_grad_()
        y = torch.relu(x @ W.T)
        loss = F.softplus(-M * ((y**2).mean(1) - theta)).mean()
        out.append(-torch.autograd.grad(loss, W)[0])
        x = (y / ((y**2).mean(1, keepdim=True) + 1e-8).sqrt()).detach()
    return out


def test_forward_forward_is_the_gradient_of_each_layers_goodness():
    torch.manual_seed(1)
    net = nn.Sequential(
        OrderedDict(a=Layer(dense(9, 8), torch.relu), b=Layer(dense(8, 7), torch.relu), readout=Layer(dense(7, K)))
    )
    batch = Batch(torch.randn(B, 9), torch.randint(K, (B,)), ce)
    credit = ForwardForward(labels=K, ink=2.0)
    L = learner(net, batch, credit, {"readout.*": None, "*": Goodness(0.7)}, prepare=unit_length)
    dw = L.updates(batch)
    (p,) = credit.passes(net, batch, {}, L._generator(0))
    true, false = p.trial.batch.target.chunk(2)
    assert torch.equal(true, batch.target) and (false != true).all() and set(false.tolist()) <= set(range(K))
    x = batch.x.repeat(2, 1)
    for i, label in enumerate([*true.tolist(), *false.tolist()]):
        x[i, :K] = 0.0
        x[i, label] = 2.0
    M = torch.tensor([1.0] * B + [-1.0] * B)
    want = goodness_by_autograd([net.a.input.weight, net.b.input.weight], x, M, 0.7)
    assert relative({n: dw[f"{n}.input"] for n in "ab"}, dict(zip("ab", want))) < 1e-10
    assert "readout.input" not in dw


def test_forward_forward_answers_with_the_label_of_most_goodness():
    torch.manual_seed(1)
    net = unit_length(mlp(9, 8, 7, K, phi=torch.relu))
    net[2].register_forward_hook(lambda *a: None)
    batch, credit = Batch(torch.randn(B, 9), torch.randint(K, (B,)), ce), ForwardForward(labels=K, ink=2.0)
    got = credit.predict(net, batch)
    for b in range(B):
        for k in range(K):
            x = batch.x[b].clone()
            x[:K] = torch.eye(K)[k] * 2.0
            total, y = 0.0, x
            for i in range(2):
                y = torch.relu(net[i].input.weight @ y)
                total += (y**2).mean()
                y = y / ((y**2).mean() + 1e-8).sqrt()
            torch.testing.assert_close(got[b, k], total)


def test_forward_forward_needs_pixels_for_its_labels():
    net, batch = net_and_batch()
    with pytest.raises(Unsupported, match="writes 10 pixels, but the input has 7"):
        learner(net, batch, ForwardForward(), Goodness())
    with pytest.raises(ValueError, match="labels: given 1"):
        ForwardForward(labels=1)


# ---------------------------------------------------------------------------------------------- contrastive divergence
def test_contrastive_divergence_against_a_hand_loop():
    net, batch = net_and_batch()
    rules = {"2.*": Gradient(), "*": Hebb()}
    L = learner(net, batch, ContrastiveDivergence(updates=5), rules)
    dw = L.updates(batch)
    g, W = L._generator(0), net[0].input.weight.detach()
    xi = torch.randn(B, 6, generator=g)
    want = torch.zeros_like(W)
    for v0, noise in zip(batch.x, xi):
        u = W @ v0
        h0 = torch.tensor(
            [max(0.0, ui + math.sqrt(1 / (1 + math.exp(-ui))) * n) for ui, n in zip(u.tolist(), noise.tolist())]
        )
        v1 = W.T @ h0
        h1 = torch.tensor([max(0.0, a) for a in (W @ v1).tolist()])
        want += torch.outer(h0, v0) - torch.outer(h1, v1)
    assert relative({"W": dw["0.input"]}, {"W": want / B}) < 1e-12
    assert sorted(dw) == ["0.input", "2.input"]


def test_a_convolutional_dream_is_the_transposed_convolution():
    net, batch = lenet()
    r = play(net, batch).records["conv2.input"]
    dream = ContrastiveDivergence.reconstruct(r)
    torch.testing.assert_close(dream.pre, F.conv_transpose2d(r.post, r.weight, padding=1))
    torch.testing.assert_close(dream.post, F.conv2d(dream.pre, r.weight, padding=1).relu())


def test_contrastive_divergence_learns_the_directions_of_its_data():
    """Data on a plane of 3 in 12 dimensions: after learning, the reconstruction leaves far less of it than before."""
    torch.manual_seed(0)
    plane = torch.linalg.qr(torch.randn(12, 3))[0]
    net = nn.Sequential(OrderedDict(hidden=Layer(dense(12, 16, gain=0.3), torch.relu), readout=Layer(dense(16, 2))))

    def batch():
        return Batch(torch.randn(64, 3) @ plane.T * 2, torch.randint(2, (64,)), ce)

    L = learner(net, batch(), ContrastiveDivergence(updates=10_000), {"readout.*": None, "*": Hebb()}, lr=3e-3)

    def left(b):
        x = play(net, b).records["hidden.input"]
        return ((x.pre - ContrastiveDivergence.reconstruct(x).pre) ** 2).sum() / (x.pre**2).sum()

    probe, before = batch(), left(batch())
    for _ in range(600):
        L.step(batch())
    assert before > 0.6 and left(probe) < 0.2
