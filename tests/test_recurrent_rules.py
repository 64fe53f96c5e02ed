"""Local rules through time: e-prop, RFLO and broadcast errors, against autograd with the recurrent path cut and slow loops."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neurosim.credit import Backprop
from neurosim.credit.broadcast import Broadcast, LearnedBroadcast, SymmetricBroadcast
from neurosim.networks import lsnn
from neurosim.neurons import Rate
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, play, synapses
from neurosim.rules import RFLO, EProp, EPropOnline
from neurosim.traces import SPAN
from tests.nets import cosines, learner, mse_seq, relative, updates
from tests.test_device import fake
from tests.test_recurrent import N_IN, NEAR, NETS, NEURONS, SEEDS, B, K, N, by_hand, downhill, drawn, lif, spiking


# ---------------------------------------------------------------------------------------------- e-prop
def broadcast(net, batch, L):
    """What e-prop follows: the cut gradient of the outputs' loss, told through B where that is not the readout's."""
    cut = downhill(net, batch, by_hand(net, batch, cut=True))
    B_l = L.own.get("feedback/hidden")
    if B_l is None:
        return cut
    output = by_hand(net, batch).detach().requires_grad_()
    e = -torch.autograd.grad(batch.loss(output, batch.target).sum(), output)[0]
    gain = (by_hand(net, batch, cut=True, through=B_l.weight.detach()) * e).sum() / batch.size
    names = ("hidden.input", "hidden.recurrent")
    grads = torch.autograd.grad(gain, [synapses(net)[n].weight for n in names])
    assert all(g.norm() > 1e-4 for g in grads)
    return {**dict(zip(names, grads)), "readout.input": cut["readout.input"]}


@SEEDS
@pytest.mark.parametrize("credit", (SymmetricBroadcast(), Broadcast()), ids=("symmetric", "random"))
@pytest.mark.parametrize("name", NEURONS)
def test_eprops_traces_are_autograd_with_the_recurrent_spikes_detached(name, credit, seed):
    net, batch, neuron = spiking(NEURONS[name], seed)
    full = downhill(net, batch, by_hand(net, batch))
    for rule in (EProp(neuron, 7.0), EPropOnline(neuron, 7.0, forget=True)):
        L = learner(net, batch, credit, {"hidden.*": rule, "readout.*": RFLO(Rate(tau=7.0))})
        got, want = L.updates(batch), broadcast(net, batch, L)
        assert relative(got, want) < NEAR
        assert cosines(got, full)["hidden.input"] < 0.999  # not simply BPTT


def test_a_leaky_readout_that_is_not_told_to_the_rule_gives_another_sum():
    net, batch, neuron = spiking(NEURONS["ALIF"], 1)
    L = learner(net, batch, SymmetricBroadcast(), {"hidden.*": EProp(neuron), "readout.*": RFLO(Rate(tau=7.0))})
    got, want = L.updates(batch), broadcast(net, batch, L)
    assert relative(got, {"readout.input": want["readout.input"]}) < NEAR
    assert relative(got, {"hidden.recurrent": want["hidden.recurrent"]}) > 0.1


@SEEDS
@pytest.mark.parametrize("credit", (SymmetricBroadcast, Broadcast))
@pytest.mark.parametrize("steps", (1, 7))
def test_online_in_pieces_is_the_whole_trial(steps, credit, seed):
    """Trials of other sizes and lengths follow each other, and none sees what the last one left."""
    net, _, neuron = spiking(NEURONS["ALIF, refractory"], seed)
    out = RFLO(Rate(tau=7.0))
    batches = [
        spiking(neuron, seed + 10 * k, steps=n, lanes=b)[1] for k, (n, b) in enumerate(((30, 4), (25, 6), (30, 2)))
    ]

    def made(rule, pieces):
        rules = {"hidden.*": rule, "readout.*": out}
        return learner(net, batches[0], credit(steps=pieces), rules, lr=0.0)

    online, whole = made(EPropOnline(neuron, 7.0, forget=True), steps), made(EProp(neuron, 7.0), None)
    for batch in batches:
        got, want = online.step(batch), whole.step(batch)
        assert min(d.norm() for d in want.values()) > 1e-4
        assert relative(got, want) < NEAR
    remembers = made(EPropOnline(neuron, 7.0), steps)
    remembers.step(batches[0])
    assert relative(remembers.step(batches[0]), made(EProp(neuron, 7.0), None).step(batches[0])) > 1e-3


# ---------------------------------------------------------------------------------------------- RFLO
@SEEDS
@pytest.mark.parametrize("name", ("rnn", "elman", "lsnn"))
def test_rflo_is_its_formula(name, seed):
    """p <- a p + b x,  dW_ji = sum of L_j phi'(v_j) p_i, synapse by synapse; all from a forward pass by hand."""
    net, batch = drawn(NETS[name], seed, steps=12, lanes=2)
    n = net.hidden.neuron
    L = learner(net, batch, Broadcast(), {"hidden.*": RFLO(n), "readout.*": RFLO(net.readout.neuron)})
    got, trial = L.updates(batch), play(net, batch)
    tau = n.tau_m if name == "lsnn" else n.tau
    a = math.exp(-1 / tau) if tau else 0.0
    b = 1.0 if name == "lsnn" else 1 - a
    y, v = trial.outputs["hidden"].detach(), trial.records["hidden.input"].state
    e = batch.target - by_hand(net, batch).detach()  # of half the squared error
    told = torch.einsum("tbk,kj->tbj", e, L.own["feedback/hidden"].weight.detach())
    if name == "lsnn":
        phi1 = 0.3 * (1 - ((v["v"] - n.threshold - n.beta * v["a"]) / n.threshold).abs()).clamp(min=0) / n.threshold
    else:
        phi1 = 1 - y**2
    pre = {"hidden.input": batch.x, "hidden.recurrent": torch.cat([torch.zeros(1, 2, N), y[:-1]])}
    for synapse, x in pre.items():
        want = torch.zeros(N, x.shape[-1])
        for lane in range(2):
            for j in range(N):
                for i in range(x.shape[-1]):
                    p = 0.0
                    for t in range(12):
                        p = a * p + b * x[t, lane, i].item()
                        want[j, i] += told[t, lane, j] * phi1[t, lane, j] * p / 2
        assert want.norm() > 1e-3
        assert relative(got, {synapse: want}) < NEAR


@SEEDS
@pytest.mark.parametrize("credit", (SymmetricBroadcast(), Broadcast()), ids=("symmetric", "random"))
def test_rflo_is_autograd_with_the_recurrent_path_cut(credit, seed):
    net, batch = drawn(NETS["rnn"], seed)
    L = learner(net, batch, credit, {"hidden.*": RFLO(net.hidden.neuron), "readout.*": RFLO(Rate())})
    assert relative(L.updates(batch), broadcast(net, batch, L)) < NEAR


@SEEDS
def test_on_neurons_that_do_not_adapt_rflo_is_eprop(seed):
    net, batch, neuron = spiking(lif(), seed, tau_out=None)
    net.readout.neuron = Rate()
    a, b = (updates(net, batch, Broadcast(), {"hidden.*": r}) for r in (RFLO(neuron), EProp(neuron)))
    assert relative(a, b) < NEAR and min(d.norm() for d in b.values()) > 1e-3
    net, batch, neuron = spiking(lif(), seed)
    rules = (RFLO(neuron, 7.0), EProp(neuron, 7.0), RFLO(neuron))
    a, b, c = (updates(net, batch, Broadcast(), {"hidden.*": r}) for r in rules)  # through a readout that leaks
    assert relative(a, b) < NEAR and relative(c, b) > 0.1
    net, batch, neuron = spiking((0.3, 0.0), seed)
    a, b = (updates(net, batch, Broadcast(), {"hidden.*": r}) for r in (RFLO(neuron), EProp(neuron)))
    assert relative(a, b) > 1e-3


@pytest.mark.parametrize("rule", (lambda n: RFLO(n, forget=False), EPropOnline), ids=("rflo", "online e-prop"))
def test_traces_of_other_trials_are_refused(rule):
    net, batch, neuron = spiking(lif(0.3), 0)
    L = learner(net, batch, Broadcast(), {"hidden.*": rule(neuron)}, lr=0.0)
    L.step(batch)
    fewer = replace(batch, x=batch.x[:, :1], target=batch.target[:, :1])
    with pytest.raises(ValueError, match=f"hidden.input: a trace left by {batch.size} trials cannot go on in 1: keep"):
        L.step(fewer)


def test_the_spread_of_random_feedback():
    """1 / sqrt(n) of the layer's units, or what is given; what is told grows with it."""
    net, batch, neuron = spiking_of(400, 4, 2)
    readout = {"readout.*": RFLO(net.readout.neuron)}
    for scale, want in ((None, 400**-0.5), (1.0, 1.0), (3.0, 3.0)):
        L = learner(net, batch, Broadcast(scale=scale), readout)
        assert L.own["feedback/hidden"].weight.std().item() == pytest.approx(want, rel=0.02)
    rules = {"hidden.*": EProp(neuron)}
    one, three = (updates(net, batch, Broadcast(scale=c), rules)["hidden.input"] for c in (1.0, 3.0))
    torch.testing.assert_close(three, 3 * one)
    with pytest.raises(ValueError, match="scale: given 0.0, it must be positive"):
        Broadcast(scale=0.0)


# ---------------------------------------------------------------------------------------------- learned feedback
@SEEDS
@pytest.mark.parametrize("name", ("rnn", "lsnn"))
def test_learned_feedback_meets_the_readout(name, seed):
    """W - B shrinks by exactly 1 - lr decay a step under SGD, while both learn."""
    net, batch = drawn(NETS[name], seed)
    lr, weight_decay = 0.05, 2.0
    rule = RFLO(net.hidden.neuron) if name == "rnn" else EProp(net.hidden.neuron, 7.0)
    rules = {"hidden.*": rule, "readout.*": RFLO(net.readout.neuron)}
    sgd = partial(torch.optim.SGD, weight_decay=weight_decay)
    L = learner(net, batch, LearnedBroadcast(), rules, lr={"readout.*": lr, "*": 0.0}, optimizer=sgd)
    W, B_l = net.readout.input.weight, L.own["feedback/readout.input"].weight
    W0, gap = W.detach().clone(), (W - B_l).detach().clone()
    for step in range(1, 9):
        L.step(batch)
        assert relative({"": (W - B_l).detach()}, {"": gap * (1 - lr * weight_decay) ** step}) < 1e-11
    assert (W - W0 * (1 - lr * weight_decay) ** 8).norm() > 1e-2


# ---------------------------------------------------------------------------------------------- memory and devices
class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor has which is made within."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for v in made if isinstance(made, list | tuple) else (made,):
            if isinstance(v, torch.Tensor):
                self.numel = max(self.numel, v.numel())
        return made


class AllAtOnce:
    """The tensor that must not be: an eligibility for every synapse, lane and step."""

    reads = frozenset({"pre", "signal"})

    def update(self, rec, third, state):
        return (third["signal"][:, :, :, None] * rec.pre[:, :, None, :]).sum((0, 1))


def spiking_of(n, steps, lanes):
    torch.manual_seed(1)
    net = lsnn((n,), n, n, lif(0.3, n=n), 7.0)
    x, target = torch.randn(steps, lanes, n), torch.randn(steps, lanes, n)
    return net, Batch(x, target, mse_seq, time=True, dt=1.0), net.hidden.neuron


def test_no_tensor_has_axes_of_time_lanes_and_both_units():
    """N = 20, T = 50, B = 3. Activities kept for a filter are [T + 1, B, N], eligibilities [B, N, N]."""
    n, steps, lanes = 20, 50, 3
    net, batch, neuron = spiking_of(n, steps, lanes)
    activity, eligibility = (steps + 1) * lanes * n, lanes * n * n
    assert SPAN**2 < eligibility < activity < steps * eligibility  # so that the bounds tell them apart
    for rule, pieces, bound in (
        (EProp(neuron, 7.0), None, activity),
        (RFLO(neuron), None, activity),
        (EPropOnline(neuron, 7.0, forget=True), None, activity),
        (RFLO(neuron), 1, SPAN**2),  # a filter's kernel
        (EPropOnline(neuron, 7.0, forget=True), 1, eligibility),
        (AllAtOnce(), None, steps * eligibility),
    ):
        rules = {"hidden.*": rule, "readout.*": RFLO(Rate(tau=7.0))}
        L = learner(net, batch, SymmetricBroadcast(steps=pieces), rules, lr=1e-3)
        with Largest() as seen:
            L.step(batch)
        assert seen.numel == bound, (type(rule).__name__, pieces)


def test_online_in_pieces_nothing_grows_with_time():
    largest = []
    for steps in (50, 200):
        net, batch, neuron = spiking_of(20, steps, 3)
        rules = {"hidden.*": EPropOnline(neuron, 7.0, forget=True), "readout.*": RFLO(Rate(tau=7.0))}
        L = learner(net, batch, SymmetricBroadcast(steps=1), rules)
        with Largest() as seen:
            L.step(batch)
        largest.append(seen.numel)
    assert largest == [3 * 20 * 20] * 2


IN_TIME = {
    "bptt": (Backprop(), lambda n: Gradient(), ("rnn", "elman", "lstm", "lsnn")),
    "pieces": (Backprop(steps=4), lambda n: Gradient(), ("rnn", "lstm", "lsnn")),
    "rflo": (Broadcast(), RFLO, ("rnn", "elman", "lsnn")),
    "e-prop": (SymmetricBroadcast(), lambda n: EProp(n, 7.0), ("lsnn",)),
    "adaptive e-prop": (LearnedBroadcast(), lambda n: EProp(n, 7.0), ("lsnn",)),
    "online e-prop": (SymmetricBroadcast(steps=1), lambda n: EPropOnline(n, 7.0, forget=True), ("lsnn",)),
}


@pytest.mark.parametrize("net, name", [(net, name) for name, (_, _, on) in IN_TIME.items() for net in on])
def test_on_fake_tensors(net, name, monkeypatch):
    """See test_device.py: nothing is made elsewhere than on the net's device, and nothing waits for it."""
    credit, rule, _ = IN_TIME[name]
    with fake(monkeypatch):
        with torch.device("meta"):
            made = NETS[net]((N_IN,), K) if net != "lsnn" else lsnn((N_IN,), K, N, lif(0.3, 2.0), 7.0)
            batch = Batch(torch.rand(6, B, N_IN), torch.rand(6, B, K), mse_seq, time=True, dt=1.0)
        readout = Gradient() if "credit" in credit.gives else RFLO(made.readout.neuron)
        rules = {"readout.*": readout, "hidden.*": rule(made.hidden.neuron)}
        L = Learner(made, Recipe("test", rules, credit, lr=1e-3), batch, seed=1)
        for _ in range(2):
            dw = L.step(batch)
        assert dw.keys() >= synapses(made).keys()
        for v in (*dw.values(), *L.weights.values(), *(v for s in L.state.values() for v in s.values())):
            assert v.device.type == "meta"
