"""Diehl & Cook's network on tensors: what is left out is exact, neurons are labelled as by hand, memory does not grow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from neurosim.credit import Labelled, vote
from neurosim.diehl_cook import INHIBITORY, TO_INHIBITORY, assign
from neurosim.diehl_cook import vote as voted
from neurosim.networks.diehl_cook import EXCITATORY, TO_EXCITATORY, diehl_cook, total_of
from neurosim.neurons import scan
from neurosim.plasticity import Batch, Layer, Learner, Recipe, play
from neurosim.recipes import recipes_for
from neurosim.recipes_diehl_cook import DIEHL_COOK, bounded
from neurosim.rules import ClassMean
from neurosim.tasks import digits, fashion, shown_to, spike_trains
from neurosim.tasks.coding import EvenPoissonCode, PoissonCode, poisson
from tests.nets import ce

RECIPES = recipes_for("digits", "diehl-cook")


def trains(T=100, B=4, n=64, rate=0.05, classes=10):
    return Batch((torch.rand(T, B, n) < rate).double(), torch.arange(B) % classes, ce, time=True, dt=1.0)


# ---------------------------------------------------------------------------------------------- the network
def test_an_inhibitory_neuron_answers_each_spike_of_its_partner_in_the_same_step():
    """At all intervals that the partner's refractory period leaves: it is a relay, and need not be integrated."""
    y = torch.zeros(400, 1, 30)
    for i in range(30):
        at, g = 3, torch.Generator().manual_seed(i)
        while at < 400:
            y[at, 0, i] = 1
            at += 5 + int(torch.randint(0, 1 + i, (), generator=g))
    z = scan(INHIBITORY, TO_INHIBITORY * y, 1.0)[0]
    assert torch.equal(z, y) and y.sum() > 500
    assert EXCITATORY.refractory == 5.0


def test_the_net_is_two_populations_by_hand():
    torch.manual_seed(0)
    net, batch = diehl_cook((64,), 10, 12), trains(rate=0.2)
    got = play(net, batch)
    w, n = net.excitatory.input.weight, 12
    drive, others = batch.x @ w.T, TO_EXCITATORY * (1 - torch.eye(n))
    e, i, ys = {"theta": torch.full((4, n), 20.0)}, {}, []
    for u in drive:
        e = EXCITATORY.step(e, (u, i["y"] @ others if "y" in i else torch.zeros(4, n)), 1.0)  # g_e and g_i of their own
        e["y"] = EXCITATORY.out(e)
        i = INHIBITORY.step(i, TO_INHIBITORY * e["y"], 1.0)
        i["y"] = INHIBITORY.out(i)
        ys.append(e["y"])
    y = torch.stack(ys)
    assert torch.equal(got.outputs["excitatory"], y) and 20 < y.sum() < 4 * 100 * 12 / 5
    assert torch.equal(got.records["readout.input"].pre, y.sum(0))
    assert w.sum(1).tolist() == pytest.approx([total_of(64)] * n) and total_of(784) == 78.0
    with pytest.raises(ValueError, match="n: given 1, neurons compete from 2 on"):
        diehl_cook((64,), 10, 1)


def test_its_trial_is_the_published_one():
    few, many = shown_to("diehl-cook", digits()), shown_to("diehl-cook", fashion())
    assert (few.steps, few.dt, few.code) == (250, 1.0, EvenPoissonCode(30.0))
    assert many.code == EvenPoissonCode(10.0)
    rates = next(few.evaluation(few.split(0).to("cpu"), 50)).x.mean((0, 2, 3, 4)) * 1000
    assert rates.mean().item() == pytest.approx(30 * (1 - 0.5 * 0.03), rel=0.05) and rates.std() < 4


@pytest.mark.parametrize("rate", (20.0, 400.0))  # drawn event by event, and step by step
def test_poisson_trains_have_one_law(rate):
    level = torch.tensor([[0.0, 0.5, 2.0]])
    y = poisson(rate * level, 100_000, 1.0, torch.Generator().manual_seed(0))[:, 0]
    p = 1 - torch.exp(-rate * level[0] / 1000)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert ((y.mean(0) - p).abs() <= 4.5 * (p * (1 - p) / 100_000).sqrt()).all()
    pairs = (y[1:] * y[:-1]).mean(0)  # each step for itself
    assert ((pairs - p**2).abs() <= 5 * (p**2 / 100_000).sqrt()).all()
    both = (y[:, 1] * y[:, 2]).mean()
    assert abs(both - p[1] * p[2]) <= 5 * (p[1] * p[2] / 100_000) ** 0.5
    with pytest.raises(ValueError, match="mean: given 0, it must be positive"):
        EvenPoissonCode(0)


# ---------------------------------------------------------------------------------------------- labels
def test_readout_weights_become_the_means_of_classes():
    net = nn.Sequential()
    net.add_module("readout", Layer(nn.Linear(5, 3, bias=False)))
    nn.init.zeros_(net.readout.input.weight)
    x, y = torch.rand(30, 5), torch.arange(30) % 3
    L = Learner(net, Recipe("labels", {"*": ClassMean()}, Labelled(), 0.5, SGD), Batch(x, y, ce))
    for _ in range(200):
        L.step(Batch(x, y, ce))
    want = torch.stack([x[y == k].mean(0) for k in range(3)])
    assert (net.readout.input.weight - want).abs().max() < 1e-12


def test_neurons_vote_as_by_hand():
    counts = torch.poisson(3 * torch.rand(200, 12))
    y = torch.randint(0, 4, (200,))
    counts[:, 7] = 0  # never spikes: it has no class
    net = nn.Sequential()
    net.add_module("readout", Layer(nn.Linear(12, 5, bias=False)))  # a fifth class, which nobody was shown
    means = torch.stack([counts[y == k].mean(0) for k in range(4)] + [torch.zeros(12)])
    net.readout.input.weight.data.copy_(means)
    labels = assign(counts.numpy(), y.numpy(), 5)
    assert labels[7] == -1
    got = vote(net, Batch(counts, y, ce))
    assert got.argmax(1).tolist() == voted(counts.numpy(), labels, 5).tolist() and (got[:, 4] == -1).all()


def test_recipes_learn_what_they_say_and_labels_read_no_test_data():
    batch = trains(rate=0.2)
    learns = {n: set(Learner(diehl_cook((64,), 10, 12), r, batch).updates(batch)) for n, r in RECIPES.items()}
    own = {"excitatory.input", "excitatory.threshold", "readout.input"}
    assert learns == {
        "triplet-stdp": own, "stdp": own, "triplet-stdp-delta": own, "regulated": own - {"excitatory.input"},
        "frozen": {"readout.input"}, "frozen-labelled": {"readout.input"},
    }  # fmt: skip
    L = Learner(diehl_cook((64,), 10, 12), RECIPES["triplet-stdp"], batch)
    L.step(batch)
    before = {n: p.clone() for n, p in L.net.named_parameters()}
    said = L.predict(batch)
    assert torch.equal(said, L.predict(replace(batch, target=(batch.target + 1) % 10)))
    assert all(torch.equal(p, before[n]) for n, p in L.net.named_parameters())


def test_thresholds_grow_by_a_step_a_spike_and_weights_keep_their_sum():
    torch.manual_seed(0)
    net, batch = diehl_cook((64,), 10, 12), trains(B=7, rate=0.2)  # of any size
    y = play(net, batch).outputs["excitatory"].sum((0, 1))
    L = Learner(net, RECIPES["triplet-stdp"], batch)
    L.step(batch)
    theta = 20 + 0.05 * y - 20 * 7 * 100 / 1e7  # seven trials of 100 ms long it decays
    assert (net.excitatory.threshold.weight[:, 0] - theta).abs().max() < 1e-9 and y.min() > 0
    w = net.excitatory.input.weight
    assert w.min() >= 0 and (w.sum(1) - total_of(64)).abs().max() < 1e-9
    assert bounded("readout.input", w) is w


def test_neurons_come_to_look_for_one_pattern_each():
    torch.set_default_dtype(torch.float32)
    patterns, g = torch.eye(3).repeat_interleave(32, 1), torch.Generator().manual_seed(0)

    def shown(k):
        y = torch.randint(0, 3, (k,), generator=g)
        return Batch(poisson(50 * patterns[y] + 10, 150, 1.0, g), y, ce, time=True, dt=1.0)

    def likeness(w):  # of each neuron's weights with the pattern that is most like them
        centred = [x - x.mean(1, keepdim=True) for x in (w, patterns)]
        a, b = (x / x.norm(dim=1, keepdim=True) for x in centred)
        return (a @ b.T).amax(1)

    found = {}
    for n in ("triplet-stdp", "regulated"):
        torch.manual_seed(0)
        L = Learner(diehl_cook((96,), 3, 20), DIEHL_COOK[n].recipe({}, False), shown(16))
        for _ in range(60):
            L.step(shown(16))
        found[n] = likeness(L.net.excitatory.input.weight.detach()).mean().item()
    assert found["regulated"] < 0.2 and found["triplet-stdp"] > 0.35, found


# ---------------------------------------------------------------------------------------------- memory
def resident():
    """Memory in use, MiB (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc here")
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.parametrize("name", ("triplet-stdp", "triplet-stdp-delta"))
def test_sixty_thousand_samples_leave_nothing_behind(name):
    torch.set_default_dtype(torch.float32)
    L = Learner(
        diehl_cook((64,), 10, 20), RECIPES[name], Batch(torch.ones(10, 8, 64), torch.arange(8), ce, time=True, dt=1.0)
    )
    g, used = torch.Generator().manual_seed(0), {}
    for k in range(120):  # 500 each
        x = poisson(torch.full((500, 64), 60.0), 10, 1.0, g)
        L.step(Batch(x, torch.randint(0, 10, (500,), generator=g), ce, time=True, dt=1.0))
        used[k] = resident()
    assert used[119] - used[20] < 15, used  # one batch's trains are 1.3 MB, 120 of them 150
    assert sum(v.numel() for s in L.state.values() for v in s.values()) < 1000


def test_a_run_by_compare_reports_spikes(tmp_path):
    from neurosim.cell import run_cell

    torch.set_default_dtype(torch.float32)
    task = spike_trains(digits().limited(64, 32), steps=40, code=PoissonCode(100.0))
    cells = {n: run_cell(r, lambda shape, k: diehl_cook(shape, k, 20), task, 0, 1) for n, r in RECIPES.items()}
    assert {c.status for c in cells.values()} == {"ok"}
    assert len({c.init_hash for c in cells.values()}) == 1 and len({c.batch_hash for c in cells.values()}) == 1
    assert all(c.cost["spikes_per_sample"] > 0 and np.isfinite(c.cost["energy_predict"]) for c in cells.values())
