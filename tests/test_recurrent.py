"""The recurrent networks and backpropagation through time, whole and in pieces, against loops by hand and torch's own.

`by_hand` writes the three networks out step by step with nothing of the package but their weights and constants.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from neurosim.credit import Backprop
from neurosim.credit.broadcast import Broadcast, SymmetricBroadcast
from neurosim.networks import lsnn, lstm, rnn
from neurosim.neurons import AdaptiveLIF, Rate, scan
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, Unsupported, play, synapses
from neurosim.rules import RFLO
from tests.nets import Spike, mse_seq, relative, updates

NEAR = 1e-12
SEEDS = pytest.mark.parametrize("seed", (1, 2))
T, B, N_IN, N, K = 30, 4, 3, 8, 2


def lif(beta=0.0, refractory=0.0, n=N):
    """Half of the units adapt by beta."""
    betas = torch.cat([torch.zeros(n // 2), torch.full((n // 2,), beta)]) if beta else 0.0
    return AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=betas, refractory=refractory)


NETS = {
    "rnn": partial(rnn, hidden=N, tau=3.0),
    "elman": partial(rnn, hidden=N, tau=None),
    "lstm": partial(lstm, hidden=N),
    "lsnn": lambda shape, k: lsnn(shape, k, N, lif(0.3), tau_out=7.0),
}
NEURONS = {"LIF": lif(), "ALIF": (0.3, 0.0), "ALIF, refractory": (0.3, 3.0), "LIF, refractory": lif(refractory=3.0)}


def drawn(make, seed, steps=T, lanes=B):
    torch.manual_seed(seed)
    net = make((N_IN,), K)
    x, target = torch.randn(steps, lanes, N_IN), torch.randn(steps, lanes, K)
    return net, Batch(x, target, mse_seq, time=True, dt=1.0)


def spiking(neuron, seed, tau_out=7.0, steps=T, lanes=B):
    neuron = neuron if isinstance(neuron, AdaptiveLIF) else lif(*neuron)  # betas of the test's own dtype
    net, batch = drawn(lambda shape, k: lsnn(shape, k, N, neuron, tau_out), seed, steps, lanes)
    assert 0.02 < play(net, batch).output.detach().std() and 0.02 < hidden(net, batch).post.mean() < 0.7
    return net, batch, neuron


def hidden(net, batch):
    return play(net, batch).records["hidden.input"]


def by_hand(net, batch, cut=False, every=None, through=None):
    """Output [T, B, K]. cut: the recurrent spikes carry no gradient; every: all state is detached every so many steps;

    through: readout weights instead of the net's.
    """
    wi, wr, wo = (m.weight for m in synapses(net).values())
    wo = wo if through is None else through
    neuron, out, dt = net.hidden.neuron, net.readout.neuron, batch.dt
    n = wr.shape[1]
    v = a = y = torch.zeros(batch.size, n)
    o, since, ys = torch.zeros(batch.size, wo.shape[0]), torch.full((batch.size, n), 1e9), []
    for t, x in enumerate(batch.x):
        if every and t % every == 0:
            v, a, y, o = v.detach(), a.detach(), y.detach(), o.detach()
        u = x @ wi.T + (y.detach() if cut else y) @ wr.T
        if isinstance(neuron, Rate):
            leak = math.exp(-dt / neuron.tau) if neuron.tau else 0.0
            v = leak * v + (1 - leak) * u
            y = torch.tanh(v)
        elif isinstance(neuron, AdaptiveLIF):
            v = math.exp(-dt / neuron.tau_m) * v + u - neuron.threshold * y.detach()
            a = math.exp(-dt / neuron.tau_a) * a + y
            since = torch.where(y.detach() > 0, 1.0, since + 1)  # steps since the last spike
            y = Spike.apply((v - neuron.threshold - neuron.beta * a) / neuron.threshold)
            y = y * (since * dt > neuron.refractory)
        else:
            i, f, g, p = u[:, :n], u[:, n : 2 * n], u[:, 2 * n : 3 * n], u[:, 3 * n :]
            v = 1 / (1 + (-f - 1.0).exp()) * v + 1 / (1 + (-i).exp()) * torch.tanh(g)
            y = torch.tanh(v) / (1 + (-p).exp())
        kappa = math.exp(-dt / out.tau) if out.tau else 0.0
        o = kappa * o + (1 - kappa) * (y @ wo.T)
        ys.append(o)
    return torch.stack(ys)


def downhill(net, batch, output):
    """-d/dW of the mean loss of that output, by autograd."""
    weights = {n: m.weight for n, m in synapses(net).items()}
    grads = torch.autograd.grad(batch.loss(output, batch.target).mean(), list(weights.values()))
    assert all(g.norm() > 1e-4 for g in grads)
    return {n: -g for n, g in zip(weights, grads)}


# ---------------------------------------------------------------------------------------------- backpropagation
@SEEDS
@pytest.mark.parametrize("name", NETS)
def test_bptt_is_autograd_through_a_loop_by_hand(name, seed):
    net, batch = drawn(NETS[name], seed)
    torch.testing.assert_close(play(net, batch).output, by_hand(net, batch), rtol=0, atol=NEAR)
    assert relative(updates(net, batch, Backprop()), downhill(net, batch, by_hand(net, batch))) < NEAR


@SEEDS
def test_the_lstm_is_that_of_torch(seed):
    net, batch = drawn(NETS["lstm"], seed)
    peer = nn.LSTM(N_IN, N)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(net.hidden.input.weight)
        peer.weight_hh_l0.copy_(net.hidden.recurrent.weight)
        peer.bias_hh_l0.zero_()
        peer.bias_ih_l0.zero_()[N : 2 * N] = 1.0  # the forget gate's
    y, (_, c) = peer(batch.x)
    trial = play(net, batch)
    torch.testing.assert_close(trial.outputs["hidden"], y, rtol=0, atol=NEAR)
    torch.testing.assert_close(trial.end["hidden"]["v"], c[0], rtol=0, atol=NEAR)
    loss = mse_seq(y @ net.readout.input.weight.T, batch.target).mean()
    grads = torch.autograd.grad(loss, (peer.weight_ih_l0, peer.weight_hh_l0, net.readout.input.weight))
    want = {n: -g for n, g in zip(("hidden.input", "hidden.recurrent", "readout.input"), grads)}
    assert min(g.norm() for g in want.values()) > 1e-3
    assert relative(updates(net, batch, Backprop()), want) < NEAR


@SEEDS
def test_without_tau_the_rnn_is_elmans(seed):
    net, batch = drawn(partial(rnn, hidden=N, tau=None), seed)
    net.readout.input = nn.Linear(N, N_IN, bias=False)  # as many outputs as inputs
    assert sum(p.numel() for p in net.parameters()) == (2 * N_IN + N) * N
    peer = nn.RNN(N_IN, N, bias=False)  # tanh
    with torch.no_grad():
        peer.weight_ih_l0.copy_(net.hidden.input.weight)
        peer.weight_hh_l0.copy_(net.hidden.recurrent.weight)
    torch.testing.assert_close(play(net, replace(batch, loss=None)).outputs["hidden"], peer(batch.x)[0])


@SEEDS
@pytest.mark.parametrize("name", ("rnn", "lsnn"))
def test_pieces_are_autograd_with_the_state_detached(name, seed):
    net, batch = drawn(NETS[name], seed)
    whole = updates(net, batch, Backprop())
    for steps in (T, T + 5):
        assert relative(updates(net, batch, Backprop(steps=steps)), whole) < NEAR
    for k in (1, 7, 10):  # 7 leaves a short last piece
        got = updates(net, batch, Backprop(steps=k))
        assert relative(got, downhill(net, batch, by_hand(net, batch, every=k))) < NEAR
        assert relative(got, {"hidden.input": whole["hidden.input"]}) > 1e-2


def test_pieces_need_targets_in_time():
    net, batch = drawn(NETS["rnn"], 1)
    last = replace(batch, target=batch.target[-1], loss=lambda o, y: ((o[-1] - y) ** 2).sum(-1))
    assert updates(net, last, Backprop())["hidden.recurrent"].norm() > 1e-3
    for credit, rules in ((Backprop(steps=5), Gradient()), (Broadcast(steps=5), RFLO(net.hidden.neuron))):
        with pytest.raises(Unsupported, match=r"^a sequence is played in pieces, but .* no target at each step") as e:
            updates(net, last, credit, rules)
        assert "\n" not in str(e.value) and str(e.value).count(". ") == 0
    with pytest.raises(ValueError, match=r"^steps: given 0, a piece has at least 1$"):
        updates(net, batch, Backprop(steps=0))


# ---------------------------------------------------------------------------------------------- refractory spikes
@SEEDS
@pytest.mark.parametrize("dt, refractory", ((1.0, 3.0), (0.5, 2.0), (1.0, 2.5)))
def test_a_refractory_neuron_spikes_as_one_neuron_by_hand(dt, refractory, seed):
    """Neuron by neuron, with Python's own numbers; what is silenced still integrates."""
    torch.manual_seed(seed)
    n = AdaptiveLIF(tau_m=12.0, tau_a=40.0, threshold=0.5, beta=0.2, refractory=refractory)
    u = 0.3 * torch.randn(120, 2, 3) + 0.15
    z, states, _ = scan(n, u, dt)
    free = scan(replace(n, refractory=0.0), u, dt)[0]
    assert free.sum() > z.sum() > 20
    alpha, rho, held = math.exp(-dt / 12.0), math.exp(-dt / 40.0), 0
    for lane in range(2):
        for j in range(3):
            v = a = 0.0
            fired, last = 0.0, -math.inf
            for t in range(120):
                v, a = alpha * v + u[t, lane, j].item() - 0.5 * fired, rho * a + fired
                over, rested = v - 0.2 * a > 0.5, (t - last) * dt > refractory
                held += over and not rested
                fired = float(over and rested)
                last = t if fired else last
                assert z[t, lane, j] == fired and abs(states["v"][t, lane, j] - v) < NEAR
    assert held > 20


def test_a_refractory_neuron_has_no_slope_while_it_rests():
    net, batch, _ = spiking((0.3, 3.0), 1)
    r = hidden(net, batch)
    resting = torch.zeros_like(r.post, dtype=torch.bool)
    for t in range(1, T):
        resting[t] = r.post[max(0, t - 3) : t].any(0)
    assert resting.any() and not r.slope[resting].any() and not r.post[resting].any()
    assert (r.slope[~resting] > 0).float().mean() > 0.1


def test_errors_of_the_refractory_time():
    with pytest.raises(ValueError, match=r"^refractory: given -1.0 ms, it must not be negative$"):
        AdaptiveLIF(refractory=-1.0)
    with pytest.raises(ValueError, match=r"^refractory: given nan ms"):
        AdaptiveLIF(refractory=math.nan)
    with pytest.raises(ValueError, match=r"^dt: given None"):
        scan(AdaptiveLIF(refractory=2.0), torch.ones(3, 1, 1))


class Told:
    """dW = sum of the broadcast signal `nu`: what a piece was told."""

    reads = frozenset({"nu"})

    def update(self, rec, third, state):
        return torch.ones_like(rec.weight) * third["nu"].sum()


def test_pieces_are_told_their_own_steps():
    net, batch = drawn(NETS["rnn"], 0)
    batch = replace(batch, signals={"nu": torch.arange(float(T)).double()[:, None].expand(T, B)})
    whole, pieces = (updates(net, batch, Backprop(steps=k), {"hidden.input": Told()}) for k in (None, 7))
    assert relative(pieces, whole) < NEAR and whole["hidden.input"].abs().min() > 1


def test_pieces_want_targets_in_time_when_the_learner_is_made():
    net, batch = drawn(NETS["rnn"], 0)
    for credit in (Backprop(steps=5), Broadcast(steps=5), SymmetricBroadcast(steps=5)):
        with pytest.raises(Unsupported, match="this batch has no target at each step"):
            Learner(net, Recipe("r", {"readout.*": None}, credit), replace(batch, target=batch.target[0]))
