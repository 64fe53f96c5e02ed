"""Spiking nets for comparisons: thresholds as a synapse, one that fires first, events, pools, who reads the counts, costs."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim import cost, cost_spikes
from neurosim.credit import Backprop, DeltaRule
from neurosim.networks import NETWORKS, spiking_cnn, spiking_mlp
from neurosim.networks.spiking_cnn import Pool
from neurosim.neurons import FirstToFire, Rate, scan
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe, play
from neurosim.prepare_spiking import competing, counted, in_rates
from neurosim.recipes import EPOCHS, epochs_for, quick_for, recipes_for
from neurosim.recipes_spiking import SPIKING
from neurosim.rules import Threshold
from neurosim.spiking import LIF, ConductanceLIF
from neurosim.synapses import Others, events, outer, send, send_events, sparse, summed
from tests.nets import ce

NEURON = LIF(tau_m=20.0, v_rest=0.0, v_threshold=1.0, v_reset=0.0, tau_syn=5.0)


def trains(T=40, B=3, shape=(6,), rate=0.3, classes=2):
    return Batch((torch.rand(T, B, *shape) < rate).double(), torch.arange(B) % classes, ce, time=True, dt=1.0)


def raised_by(theta, kernel=False):
    m = nn.Conv2d(1, len(theta), 1, bias=False) if kernel else nn.Linear(1, len(theta), bias=False)
    m.weight.data.copy_(torch.tensor(theta).reshape(m.weight.shape))
    return m


# ---------------------------------------------------------------------------------------------- thresholds
def test_a_threshold_synapse_raises_each_neurons_own_threshold():
    theta, batch = [0.0, 0.5, -0.3], trains()
    drive = nn.Linear(6, 3, bias=False)
    drive.weight.data.uniform_(0, 1)
    net = nn.Sequential(Layer(drive, NEURON, threshold=raised_by(theta)))
    y = play(net, Batch(batch.x, time=True, dt=1.0)).output
    for i, t in enumerate(theta):
        alone = LIF(tau_m=20.0, v_rest=0.0, v_threshold=1.0 + t, v_reset=0.0, tau_syn=5.0)
        assert torch.equal(scan(alone, drive(batch.x)[..., i : i + 1], 1.0)[0], y[..., i : i + 1])
    assert len({y[..., i].sum().item() for i in range(3)}) == 3


def test_of_a_convolution_it_is_that_of_a_kind_and_of_conductances_what_theta_starts_from():
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    conv.weight.data.uniform_(0, 1)
    x = trains(shape=(1, 4, 4)).x
    y = play(nn.Sequential(Layer(conv, NEURON, threshold=raised_by([0.0, 0.7], True))), Batch(x, time=True, dt=1.0))
    for i, t in enumerate((1.0, 1.7)):
        alone = LIF(tau_m=20.0, v_rest=0.0, v_threshold=t, v_reset=0.0, tau_syn=5.0)
        want = scan(alone, send(conv, x, conv.weight)[:, :, i], 1.0)[0]
        assert torch.equal(want, y.output[:, :, i]) and want.sum() > 10
    grown = ConductanceLIF(theta_plus=1.0, theta=2.0)
    layer = Layer(nn.Linear(6, 1, bias=False), grown, threshold=raised_by([2.0]))
    layer.input.weight.data.fill_(20.0)
    x = trains().x
    got = play(nn.Sequential(layer), Batch(x, time=True, dt=1.0)).output
    assert torch.equal(got, scan(grown, layer.input(x), 1.0)[0]) and got.sum() > 5


def test_a_neuron_without_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold: given to Rate, which has no v_threshold to be raised"):
        Layer(nn.Linear(3, 2), Rate(), threshold=nn.Linear(1, 2))


@pytest.mark.parametrize("target", (0.0, 25.0))
def test_thresholds_follow_the_count_of_spikes(target):
    layer = Layer(nn.Linear(6, 3, bias=False), NEURON, threshold=raised_by([0.0, 0.0, 0.0]))
    layer.input.weight.data.uniform_(0, 1)
    batch = trains()
    rec = play(nn.Sequential(layer), Batch(batch.x, time=True, dt=1.0)).records["0.threshold"]
    dw = Threshold(target).update(rec, {}, {})
    want = [rec.post[:, :, i].sum().item() - target * 40 * 3 / 1000 for i in range(3)]
    assert dw.flatten().tolist() == pytest.approx(want, abs=1e-9)
    decaying = Threshold(target, 0.5, 1e4).update(replace(rec, weight=torch.tensor([[1.0], [2.0], [3.0]])), {}, {})
    assert (decaying - (0.5 * dw - torch.tensor([[1.0], [2.0], [3.0]]) * 120 / 1e4)).abs().max() < 1e-9
    with pytest.raises(ValueError, match="target: given -1, a rate is a number of Hz from 0 on"):
        Threshold(-1)


# ---------------------------------------------------------------------------------------------- winner takes all
@pytest.mark.parametrize("shape", ((5,), (5, 2, 3)))
def test_of_those_above_threshold_the_highest_fires_alone(shape):
    u = 3 * torch.randn(60, 4, *shape)
    y, states, _ = scan(FirstToFire(NEURON), u, 1.0)
    free, _, _ = scan(NEURON, u, 1.0)
    assert y.sum(2).max() == 1 and free.sum(2).max() > 1
    v = states["v"]
    for t, b in itertools.product(range(60), range(4)):
        at = v[t, b].flatten(1) if len(shape) > 1 else v[t, b][:, None]
        for place in range(at.shape[1]):
            fired = y[t, b].reshape(5, -1)[:, place]
            best = at[:, place].argmax()
            want = F.one_hot(best, 5).to(fired) * (at[best, place] > 1)
            assert torch.equal(fired, want)


def test_the_slope_is_that_of_the_one_that_may_fire():
    layer = Layer(nn.Linear(6, 5, bias=False), FirstToFire(NEURON))
    layer.input.weight.data.uniform_(0, 2)
    r = play(nn.Sequential(layer), Batch(trains(B=4).x, time=True, dt=1.0)).records["0.input"]
    v = r.state["v"]
    psi = 0.3 * (1 - (v - 1).abs()).clamp(min=0)
    assert torch.allclose(r.slope, psi * (v == v.amax(-1, keepdim=True)), atol=1e-12) and (r.slope > 0).sum() > 20


def test_a_trial_goes_on_with_the_threshold_that_it_had():
    grown = ConductanceLIF(theta_plus=1.0, theta=2.0)
    layer = Layer(nn.Linear(6, 3, bias=False), grown, threshold=raised_by([2.0, 3.0, 4.0]))
    layer.input.weight.data.uniform_(5, 20)
    net, x = nn.Sequential(layer), trains().x
    whole = play(net, Batch(x, time=True, dt=1.0))
    first = play(net, Batch(x[:25], time=True, dt=1.0))
    then = play(net, Batch(x[25:], time=True, dt=1.0), start=first.end)
    assert torch.equal(whole.output, torch.cat((first.output, then.output))) and whole.output[25:].sum() > 3
    with pytest.raises(ValueError, match=r"threshold: given the weight \[3, 2\], it comes from one unit"):
        Layer(nn.Linear(6, 3), NEURON, threshold=nn.Linear(2, 3))


def test_winner_takes_all_leaves_few_spikes():
    batch = trains(30, 4, (64,), 0.2, 10)
    torch.manual_seed(0)
    many = play(counted(spiking_mlp((64,), 10, hidden=(50,))), batch).outputs["hidden1"]
    torch.manual_seed(0)
    one = play(competing(spiking_mlp((64,), 10, hidden=(50,))), batch).outputs["hidden1"]
    assert one.sum(-1).max() == 1 and 0 < one.sum() < many.sum() / 5


# ---------------------------------------------------------------------------------------------- events
def test_events_give_what_products_give():
    x, w = (torch.rand(200, 4, 128) < 0.02).double() * torch.rand(200, 4, 128), torch.randn(96, 128)
    with torch.no_grad():
        assert sparse(x, w) and not sparse(torch.rand(200, 4, 128), w)
        assert (send_events(x, w) - x @ w.T).abs().max() < 1e-12
        m = nn.Linear(128, 96)
        assert (send(m, x, m.weight, m.bias) - F.linear(x, m.weight, m.bias)).abs().max() < 1e-12
        y = torch.randn(200, 4, 96)
        rec = type("R", (), {"synapse": m, "weight": w})()
        want = torch.einsum("tbi,tbj->ij", y, x)
        assert (outer(rec, x, y) - want).abs().max() < 1e-11
        assert (summed(events(x), y, x).T - want).abs().max() < 1e-11
        few, full = (torch.rand(200, 4, 96) < 0.02) * y, torch.randn(200, 4, 128)
        assert sparse(few.flatten(0, 1), full.flatten(0, 1).T)
        assert (outer(rec, full, few) - torch.einsum("tbi,tbj->ij", few, full)).abs().max() < 1e-11
    assert not sparse(x, w)  # where something may be differentiated


def test_what_is_counted_does_not_depend_on_how_many_inputs_are_zero():
    from neurosim.networks import diehl_cook

    torch.set_default_dtype(torch.float32)
    recipe, macs = recipes_for("digits", "diehl-cook")["triplet-stdp"], []
    for rate in (0.01, 0.9):
        batch = Batch((torch.rand(60, 8, 128) < rate).float(), torch.arange(8), ce, time=True, dt=1.0)
        L = Learner(diehl_cook((128,), 10, 100), recipe, batch)
        ledger = cost.measure(L, batch)
        macs.append((ledger.predict.macs, ledger.forward.macs))
        assert ledger.relaxation.macs == 0 < ledger.update.macs
    assert macs[0] == macs[1] and macs[0][0] >= 60 * 128 * 100


def test_all_others_are_a_matrix_without_diagonal():
    m, x = Others(-2.0), torch.randn(7, 3, 5)
    want = x @ (-2.0 * (1 - torch.eye(5)))
    assert (send(m, x, m.weight) - want).abs().max() < 1e-12
    with pytest.raises(ValueError, match="given Others, whose one weight learns by no rule"):
        outer(type("R", (), {"synapse": m, "weight": m.weight})(), x, x)


# ---------------------------------------------------------------------------------------------- the nets
def test_a_pool_spikes_where_any_of_four_does():
    y = (torch.rand(3, 2, 4, 6, 6) < 0.2).double()
    z = Pool()(y)
    assert z.shape == (3, 2, 4, 3, 3)
    for at in itertools.product(range(3), range(2), range(4), range(3), range(3)):
        t, b, c, i, j = at
        assert z[at] == y[t, b, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max()
    assert torch.equal(Pool()(y[0]), z[0])


@pytest.mark.parametrize("side, fan, n", ((8, (9, 144), 128), (28, (25, 400), 1568)))
def test_a_spiking_cnn_has_contrasts_of_one_length_and_rivals_at_a_place(side, fan, n):
    net = spiking_cnn((1, side, side), 10)
    for layer, k in ((net.conv1, fan[0]), (net.conv2, fan[1])):
        w, lateral = layer.input.weight.flatten(1), layer.lateral.weight.flatten(1)
        assert w.shape[1] == k and w.sum(1).abs().max() < 1e-9
        assert (w.norm(dim=1) - math.sqrt(20)).abs().max() < 1e-6
        assert (lateral.diagonal() == 0).all() and lateral[0, 1].item() == pytest.approx(-10 / len(w))
        assert not layer.threshold.weight.any()
    assert net.readout.input.weight.shape == (100, n)
    out = play(net, trains(5, 2, (1, side, side))).output
    assert out.shape == (2, 10)
    with pytest.raises(ValueError, match="a spiking-cnn takes images"):
        spiking_cnn((64,), 10)


@pytest.mark.parametrize("network, shape", (("spiking-mlp", (1, 8, 8)), ("spiking-cnn", (1, 8, 8))))
def test_a_rate_net_of_the_same_shape_sees_the_mean_of_the_spikes(network, shape):
    torch.manual_seed(1)
    net, batch = NETWORKS[network](shape, 10), trains(20, 4, shape, 0.3, 10)
    layers = ("hidden1",) if network == "spiking-mlp" else ("conv1", "conv2")
    weights = {n: net.get_submodule(n).input.weight.clone() for n in layers}
    trial = play(in_rates(net), batch)
    x = batch.x.mean(0)
    x = x.flatten(1) if network == "spiking-mlp" else x
    for n, w in weights.items():
        u = send(trial.records[f"{n}.input"].synapse, x, w)
        assert torch.equal(trial.records[f"{n}.input"].u, u)
        x = F.layer_norm(u.clamp(min=0), u.shape[1:])
        x = F.max_pool2d(x, 2) if network == "spiking-cnn" else x
    assert trial.output.shape == (4, 10) and not trial.output.any()  # the readout starts at 0


# ---------------------------------------------------------------------------------------------- e-prop
def test_eprop_here_is_signal_times_eligibility_and_bptt_less_lateral():
    """e_ij by its own recursion through I, v and the reset factor; L_j psi_j from the one layer above."""
    net, batch = counted(spiking_mlp((6,), 3, hidden=(5,), inhibition=3.0)), trains(25, 4, (6,), 0.4, 3)
    net.readout.input.weight.data.normal_()
    found = {}
    for name, credit in (("eprop", Backprop(cut="*.lateral")), ("bptt", Backprop())):
        recipe = Recipe(name, {"*.input": Gradient(), "*": None}, credit, lr=0.1)
        found[name] = Learner(net, recipe, batch).updates(batch)["hidden1.input"] * batch.size
    assert (found["eprop"] - found["bptt"]).abs().max() > 1e-3
    trial = play(net, batch)
    (signal,) = torch.autograd.grad(-trial.loss.sum(), [trial.outputs["hidden1"]])  # -dL/dz, of each step alone
    r = trial.records["hidden1.input"]
    a, b = math.exp(-1 / 20), math.exp(-1 / 5)
    k = 5 * (a - b) / 15  # v after a step of a unit current that decays
    dI = torch.zeros(4, 5, 6)
    dv = torch.zeros(4, 5, 6)
    want = torch.zeros(5, 6)
    for t in range(25):
        z = r.post[t - 1] if t else torch.zeros(4, 5)
        dI = dI + batch.x[t][:, None, :]
        dv = a * (1 - z)[..., None] * dv + k * dI
        dI = b * dI
        want += torch.einsum("bj,bji->ji", signal[t] * r.slope[t], dv)
    assert (found["eprop"] - want).abs().max() < 1e-10 and want.abs().max() > 1e-2


# ---------------------------------------------------------------------------------------------- the line-up
def test_controls_change_what_they_say():
    batch, recipes = trains(20, 8, (1, 8, 8), 0.3, 10), recipes_for("digits", "spiking-mlp")
    learns = {
        n: set(Learner(spiking_mlp((1, 8, 8), 10, hidden=(20,)), r, batch).updates(batch)) for n, r in recipes.items()
    }
    assert learns["untrained"] == set()
    for n in ("frozen", "frozen-wta", "frozen-rate", "reward-frozen"):
        assert learns[n] == {"readout.input"}, n
    assert learns["regulated"] == {"hidden1.threshold", "readout.input"}
    for n in ("stdp", "triplet-stdp", "homeostatic-triplet", "symmetric-stdp-wta"):
        assert learns[n] == {"hidden1.input", "hidden1.threshold", "readout.input"}, n
        assert type(recipes[n].credit) is DeltaRule and recipes[n].lr["readout.*"] == recipes["frozen"].lr["readout.*"]
    for n in ("surrogate-bptt", "eprop", "eprop-random", "direct-feedback", "backprop-rate"):
        assert learns[n] == {"hidden1.input", "readout.input"}, n
    assert set(learns) == set(SPIKING)


def test_epochs_and_sizes_are_those_of_the_network():
    assert epochs_for("digits", "mlp") == EPOCHS["digits"] != epochs_for("digits", "spiking-mlp")
    assert epochs_for("recall", "transformer", full=True) == 150
    assert quick_for("digits", "spiking-cnn")[0] < 1000 and quick_for("digits", "mlp")[0] is None


# ---------------------------------------------------------------------------------------------- what spikes cost
def test_operations_are_counted_spike_by_spike():
    net, batch = counted(spiking_mlp((6,), 3, hidden=(5,))), trains(25, 4, (6,), 0.4, 3)
    y = play(net, batch).outputs["hidden1"]
    got = cost_spikes.measure(net, batch)
    operations = 0
    for t in range(25):
        operations += 5 * int(batch.x[t].sum()) + (4 * int(y[t - 1].sum()) if t else 0)  # to 5; to its 4 rivals
    assert got["spikes_per_sample"] == y.sum().item() / 4 > 1
    assert got["synaptic_operations"] == operations / 4
    assert got["energy_predict"] == pytest.approx((0.9 * operations / 4) + 4.6 * 15)  # a readout of 5 x 3 products
    rate = cost_spikes.measure(in_rates(spiking_mlp((6,), 3, hidden=(5,))), batch)
    assert rate == {"spikes_per_sample": 0, "synaptic_operations": 0, "energy_predict": pytest.approx(4.6 * (30 + 15))}
    assert cost_spikes.measure(net, Batch(batch.x, batch.target, ce)) == {}


def test_a_spike_at_the_edge_of_an_image_meets_fewer_weights():
    net = spiking_cnn((1, 8, 8), 10, filters=(2, 3))
    x = torch.zeros(1, 1, 1, 8, 8)
    x[0, 0, 0, 0, 0] = 1  # a corner: 2 x 2 of the 3 x 3 neighbours exist
    got = cost_spikes.measure(net, Batch(x, torch.tensor([0]), ce, time=True, dt=1.0))
    assert got["spikes_per_sample"] == 0 and got["synaptic_operations"] == 4 * 2
