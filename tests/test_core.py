"""The core proven: one rule of each kind that has broken such cores before, against autograd or a closed form."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import (
    Backprop,
    DeltaRule,
    DirectFeedback,
    Equilibrium,
    FeedbackAlignment,
    FixedPrediction,
    KolenPollack,
    NodePerturbation,
    SignSymmetric,
)
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Batch, Gradient, Layer, Unsupported, outer, play, send, synapses
from neurosim.rules import EProp, EPropOnline, Hebb
from tests.nets import (
    NAMES,
    B,
    autograd,
    cases,
    ce,
    cosines,
    dense,
    hand_loop,
    learner,
    mlp,
    mse,
    mse_seq,
    relative,
    rnn,
    updates,
)

NEAR = 1e-12


# ---------------------------------------------------------------------------------------------- records and play
@pytest.mark.parametrize("name", NAMES)
def test_record_says_what_arrived(name):
    """u of the record is the sum of what each synapse sent, for every layer."""
    net, batch = cases()[name]
    by_layer = {}
    for r in play(net, batch).records.values():
        by_layer.setdefault(r.layer, []).append(r)
    assert by_layer
    for rs in by_layer.values():
        torch.testing.assert_close(sum(send(r.synapse, r.pre, r.weight) for r in rs), rs[0].u, rtol=0, atol=NEAR)


@pytest.mark.parametrize("name", NAMES)
def test_play_computes_what_a_plain_loop_computes(name):
    net, batch = cases()[name]
    plain = hand_loop(net, batch) if batch.dt else net(batch.x)
    torch.testing.assert_close(play(net, batch).output, plain, rtol=0, atol=NEAR)


def test_slope_is_the_derivative():
    net, batch = cases()["mlp"]
    r = play(net, batch).records["0.input"]
    torch.testing.assert_close(r.slope, 1 - torch.tanh(r.u) ** 2)


def test_start_continues_a_trial():
    """Two half trials, the second started from the first one's end, are one whole trial."""
    net, batch = cases()["lif"]
    whole = play(net, batch).output
    first = play(net, replace(batch, x=batch.x[:8], target=batch.target[:8]))
    second = play(net, replace(batch, x=batch.x[8:], target=batch.target[8:]), start=first.end)
    torch.testing.assert_close(torch.cat([first.output, second.output]), whole, rtol=0, atol=NEAR)


def test_tables_forward_add_clamp():
    net, batch = cases()["mlp"]
    w = torch.randn_like(net[1].input.weight)
    x = torch.tanh(batch.x @ net[0].input.weight.T)
    seen = play(net, batch, forward={"1.input": w}, add={"1": torch.ones(5)}).records
    torch.testing.assert_close(seen["2.input"].pre, torch.tanh(x @ w.T + 1))
    torch.testing.assert_close(seen["1.input"].weight, w)
    value = torch.randn(B, 7)
    seen = play(net, batch, clamp={"0": value}).records
    torch.testing.assert_close(seen["1.input"].pre, torch.tanh(value))
    torch.testing.assert_close(seen["0.input"].u, batch.x @ net[0].input.weight.T)  # what it would have been


def test_a_layer_that_is_replaced_or_renamed_between_trials_is_seen():
    net, batch = nn.Sequential(Layer(dense(4, 4)), nn.Sequential(Layer(dense(4, 2)))), Batch(torch.randn(3, 4))
    assert list(play(net, batch).records) == ["0.input", "1.0.input"]
    net[1][0] = Layer(dense(4, 5))  # deep inside
    assert play(net, batch).records["1.0.input"].post.shape == (3, 5)
    flat = nn.Sequential(Layer(dense(4, 4)), Layer(dense(4, 2)))
    first = play(flat, batch).records["0.input"].weight
    flat[0] = Layer(dense(4, 4))
    assert not torch.equal(play(flat, batch).records["0.input"].weight, first)
    flat.append(Layer(dense(2, 3)))
    assert list(play(flat, batch).records) == ["0.input", "1.input", "2.input"]


def test_a_layer_runs_once_a_trial():
    layer = Layer(dense(4, 4))
    with pytest.raises(ValueError, match="ran twice"):
        play(nn.Sequential(layer, layer), Batch(torch.randn(2, 4)))


# ---------------------------------------------------------------------------------------------- (a) backprop, alignment
@pytest.mark.parametrize("name", NAMES)
def test_backprop_is_autograd(name):
    net, batch = cases()[name]
    assert relative(updates(net, batch, Backprop()), autograd(net, batch)) < NEAR


@pytest.mark.parametrize("name", NAMES)
def test_backprop_at_the_drives_is_autograd(name):
    """The other road: a rule that is not `Gradient` asks for credit at the drives and makes its own outer product."""

    class Local:
        reads = frozenset({"pre", "credit"})

        def update(self, rec, third, state):
            return outer(rec, rec.pre, third["credit"])

    net, batch = cases()[name]
    assert relative(updates(net, batch, Backprop(), Local()), autograd(net, batch)) < NEAR


@pytest.mark.parametrize("name", NAMES)
def test_feedback_alignment_with_B_equal_W_is_backprop(name):
    net, batch = cases()[name]
    L = learner(net, batch, FeedbackAlignment())
    random = L.updates(batch)
    true = autograd(net, batch)
    last = "readout.input" if "readout.input" in true else list(true)[-1]
    assert relative(random, {last: true[last]}) < NEAR  # the last layer's credit needs no feedback
    assert min(cosines(random, true).values()) < 0.9  # with random B it is something else
    for n, m in synapses(net).items():
        L.own[f"feedback/{n}"].weight.data.copy_(m.weight)
    assert relative(L.updates(batch), true) < NEAR


def test_feedback_alignment_textbook_formula():
    net, batch = cases()["mlp"]
    L = learner(net, batch, FeedbackAlignment())
    B1, B2 = (L.own[f"feedback/{k}.input"].weight for k in (1, 2))
    W0, W1, W2 = (net[k].input.weight for k in range(3))
    h0 = torch.tanh(batch.x @ W0.T)
    h1 = torch.tanh(h0 @ W1.T)
    e2 = F.one_hot(batch.target, 3) - (h1 @ W2.T).softmax(1)
    e1 = (e2 @ B2) * (1 - h1**2)
    e0 = (e1 @ B1) * (1 - h0**2)
    want = {"0.input": e0.T @ batch.x / B, "1.input": e1.T @ h0 / B, "2.input": e2.T @ h1 / B}
    assert relative(L.updates(batch), want) < NEAR


def test_sign_symmetric_formula():
    net, batch = cases()["mlp"]
    W0, W1, W2 = (net[k].input.weight for k in range(3))
    h0 = torch.tanh(batch.x @ W0.T)
    h1 = torch.tanh(h0 @ W1.T)
    e2 = F.one_hot(batch.target, 3) - (h1 @ W2.T).softmax(1)
    e1 = (e2 @ (W2.sign() * W2.abs().mean())) * (1 - h1**2)
    e0 = (e1 @ (W1.sign() * W1.abs().mean())) * (1 - h0**2)
    want = {"0.input": e0.T @ batch.x / B, "1.input": e1.T @ h0 / B, "2.input": e2.T @ h1 / B}
    assert relative(updates(net, batch, SignSymmetric()), want) < NEAR


@pytest.mark.parametrize("name", ("mlp", "conv", "attention"))
def test_direct_feedback_formula(name):
    """B_l e at the output of each layer, times the slope; the last layer keeps its own error."""
    net, batch = cases()[name]
    L = learner(net, batch, DirectFeedback())
    dw, records = L.updates(batch), play(net, batch).records
    o = play(net, batch).output
    e = F.one_hot(batch.target, o.shape[-1]) - o.softmax(-1)
    last = list(records)[-1]
    checked = 0
    for n, r in records.items():
        if n == last:
            want = torch.einsum("...o,...i->oi", e, r.pre)
        else:
            b = (e @ L.own[f"direct/{r.layer}"].weight.T).reshape(r.post.shape) * r.slope
            w = r.weight.clone().requires_grad_()
            want = torch.autograd.grad((send(r.synapse, r.pre, w) * b).sum(), w)[0]
        assert relative({n: dw[n] * batch.size}, {n: want}) < NEAR
        checked += 1
    assert checked == len(dw)


def test_biases_and_layer_norm_follow_the_gradient_only_where_the_recipe_says_so():
    net = nn.Sequential(Layer(nn.Linear(6, 7), torch.tanh), nn.LayerNorm(7), Layer(nn.Linear(7, 3)))
    batch = Batch(torch.randn(B, 6), torch.randint(3, (B,)), ce)
    assert set(updates(net, batch, Backprop())) == {"0.input", "2.input"}
    dw = updates(net, batch, Backprop(), rest=("*.bias", "1.*"))
    grads = torch.autograd.grad(ce(net(batch.x), batch.target).mean(), list(net.parameters()))
    want = {
        n.removesuffix(".weight") if "input.weight" in n else n: -g for (n, _), g in zip(net.named_parameters(), grads)
    }
    assert set(dw) == set(want)
    assert relative(dw, want) < NEAR


def test_delta_rule_trains_the_readout_only():
    net, batch = cases()["conv"]
    dw = updates(net, batch, DeltaRule())
    true = autograd(net, batch)
    assert list(dw) == ["4.input"]
    assert relative(dw, {"4.input": true["4.input"]}) < NEAR


# ---------------------------------------------------------------------------------------------- (b) two passes
def settled_loss_gradient(net, batch, steps=600):
    """-d/dW of the loss at the free equilibrium, by autograd through a long unrolled relaxation: no nudging at all."""
    W = [m.weight.detach().clone().requires_grad_() for m in synapses(net).values()]
    x = [torch.zeros(batch.size, w.shape[0]) for w in W]
    for _ in range(steps):
        y = [batch.x, torch.tanh(x[0]), torch.tanh(x[1]), x[2]]
        up = [y[k] @ W[k].T for k in range(3)]
        total = [up[0] + y[2] @ W[1], up[1] + y[3] @ W[2], up[2]]
        slope = [1 - y[1] ** 2, 1 - y[2] ** 2, torch.ones_like(y[3])]
        x = [x[k] - 0.3 * (x[k] - slope[k] * total[k]) for k in range(3)]
    grads = torch.autograd.grad(mse(x[2], batch.target).mean(), W)
    return {n: -g for n, g in zip(synapses(net), grads)}


def test_equilibrium_propagation_error_falls_with_slope_2_in_beta():
    torch.manual_seed(2)
    net, batch = mlp(6, 7, 5, 3), Batch(torch.randn(4, 6), torch.randn(4, 3), mse)
    true = settled_loss_gradient(net, batch)

    def error(beta):
        credit = Equilibrium(beta, free=500, nudged=500, rate=0.3, box=None)
        return relative(updates(net, batch, credit, Hebb()), true)

    errors = [error(beta) for beta in (0.2, 0.1, 0.05, 0.025)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
    assert abs(slopes[-1] - 2) < 0.02, (errors, slopes)


def test_equilibrium_propagation_says_why_it_cannot_run_in_time():
    net, batch = cases()["rnn"]
    with pytest.raises(Unsupported, match="static net, but layer 'hidden' steps"):
        learner(net, batch, Equilibrium(), Hebb())


# ---------------------------------------------------------------------------------------------- (c) learned feedback
@pytest.mark.parametrize("name", ("mlp", "conv", "rnn", "attention"))
def test_kolen_pollack_feedback_meets_the_weights(name):
    """W - B shrinks by exactly 1 - lambda a step under SGD, and the credit goes through B."""
    net, batch = cases()[name]
    lam, lr = 0.1, 0.05
    L = learner(net, batch, KolenPollack(), lr=lr, optimizer=partial(torch.optim.SGD, weight_decay=lam / lr))
    fa = FeedbackAlignment()
    twin = learner(net, batch, fa)
    twin.own = L.own
    assert relative({n: d for n, d in L.updates(batch).items() if "/" not in n}, twin.updates(batch)) < NEAR

    def gap():
        return {n: (m.weight - L.own[f"feedback/{n}"].weight).detach() for n, m in synapses(net).items()}

    first, w0 = gap(), {n: m.weight.detach().clone() for n, m in synapses(net).items()}
    for step in range(1, 11):
        L.step(batch)
        assert relative(gap(), {n: d * (1 - lam) ** step for n, d in first.items()}) < NEAR
    assert all((m.weight - w0[n] * (1 - lam) ** 10).norm() > 1e-4 for n, m in synapses(net).items())  # it also learned


# ---------------------------------------------------------------------------------------------- (d) perturbation
@pytest.mark.parametrize("name, draws, times", [("mlp", 4000, 1), ("conv", 3000, 20), ("rnn", 3000, 4)])
def test_node_perturbation_is_backprop_in_the_mean(name, draws, times):
    net, batch = cases()[name]
    axis = int(batch.time)
    many = replace(
        batch,
        x=batch.x.repeat_interleave(draws, axis),
        target=batch.target.repeat_interleave(draws, axis if batch.target.dim() > 1 else 0),
    )
    L, total = learner(net, batch, NodePerturbation()), {}
    for L.steps in range(times):
        for n, d in L.updates(many).items():
            total[n] = total.get(n, 0) + d / times
    true = autograd(net, batch)
    assert min(cosines(total, true).values()) > 0.95
    for n, g in true.items():
        assert total[n].norm() / g.norm() == pytest.approx(1, abs=0.25)  # its size too, not only its direction


# ---------------------------------------------------------------------------------------------- (f) e-prop
@pytest.mark.parametrize("beta", (0.0, torch.tensor([0.0] * 4 + [0.3] * 4, dtype=torch.float64)), ids=("LIF", "ALIF"))
@pytest.mark.parametrize("seed", (5, 6))
def test_eprop_is_autograd_with_the_recurrent_spikes_detached(beta, seed):
    torch.manual_seed(seed)
    neuron = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=beta)
    net = rnn(n=8, neuron=neuron)
    batch = Batch(torch.randn(30, B, 3).abs() * 0.8, torch.randn(30, B, 2), mse_seq, time=True, dt=1.0)
    weights = {n: m.weight for n, m in synapses(net).items()}
    grads = torch.autograd.grad(mse_seq(hand_loop(net, batch, cut=True), batch.target).mean(), list(weights.values()))
    true = {n: -g for n, g in zip(weights, grads)}
    assert (
        all(g.norm() > 1e-3 for g in true.values())
        and 0.02 < play(net, batch).records["hidden.input"].post.mean() < 0.9
    )
    assert min(cosines(true, autograd(net, batch)).values()) < 0.999  # not simply BPTT
    cut = Backprop(cut="*.recurrent")
    for rule in (Gradient(), EProp(neuron), EPropOnline(neuron)):
        assert relative(updates(net, batch, cut, {"hidden.*": rule, "*": Gradient()}), true) < NEAR


def test_random_eprop_filtered_equals_online():
    neuron = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=0.2)
    net = rnn(n=8, neuron=neuron)
    batch = Batch(torch.randn(30, B, 3).abs() * 0.8, torch.randn(30, B, 2), mse_seq, time=True, dt=1.0)
    a, b = (
        updates(net, batch, DirectFeedback(), {"hidden.*": r(neuron), "*": Gradient()}) for r in (EProp, EPropOnline)
    )
    assert relative(a, b) < NEAR


def test_feedback_weights_do_not_vanish_with_the_forward_weights():
    """A readout that starts at zero still sends its error back through B."""
    net, batch = cases()["mlp"]
    torch.nn.init.zeros_(net[2].input.weight)
    dw = updates(net, batch, FeedbackAlignment())
    assert all(d.norm() > 1e-3 for d in dw.values())
    B2 = learner(net, batch, FeedbackAlignment()).own["feedback/2.input"].weight
    assert B2.std().item() == pytest.approx(5**-0.5, rel=0.5)  # N(0, 1 / fan-in)


def test_fixed_prediction_is_backprop_with_skips_too():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = Layer(dense(6, 5), torch.tanh), Layer(dense(5, 5), torch.tanh), Layer(dense(5, 3))

        def forward(self, x):
            h = self.a(x)
            return self.c(h + self.b(h))

    net, batch = Residual(), Batch(torch.randn(B, 6), torch.randint(3, (B,)), ce)
    assert relative(updates(net, batch, FixedPrediction(3)), autograd(net, batch)) < NEAR
    assert relative(updates(net, batch, FixedPrediction(1)), autograd(net, batch)) > 0.1  # as many steps as it is deep
