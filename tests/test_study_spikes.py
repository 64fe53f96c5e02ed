"""Studies of spiking nets: their claims on made-up rows, the front by enumeration, their figures from their files."""

import json

import numpy as np
import pytest
import torch

from neurosim import figures
from neurosim.networks import spiking_cnn
from neurosim.plasticity import Batch
from neurosim.study import Mode
from neurosim.tasks import digits, shown_to
from studies import energy_accuracy, reward_stdp, stdp_batch_size, stdp_conv


def holding(claims):
    return {c["name"]: c["holds"] for c in claims}


def again(name, module, rows, claims, folder):
    """Drawn, written, read and drawn from that."""
    figures.save(name, module.draw(rows, {}), rows, claims, out=folder)
    found, manifest = figures.load(name, folder)
    assert module.draw(found, manifest).axes
    return found


# ---------------------------------------------------------------------------------------------- energy and accuracy
def test_the_front_is_what_nobody_dominates():
    g = np.random.default_rng(0)
    found = [("mlp", str(i), e, a) for i, (e, a) in enumerate(zip(g.random(40).round(1), g.random(40).round(1)))]
    want = {
        p[2:] for p in found
        if not any(q[2] <= p[2] and q[3] >= p[3] and q[2:] != p[2:] for q in found)
    }  # fmt: skip
    assert {p[2:] for p in energy_accuracy.front(found)} == want and len(want) > 2


def committed(folder, networks):
    entry = {"status": "ok", "test": [0.9, 0.95]}
    for network in networks:
        recipes = {"backprop": entry | {"macs_predict": 1000.0}} if network == "mlp" else {
            "surrogate-bptt": entry | {"energy_predict": 9000.0, "synaptic_operations": 9000.0, "spikes_per_sample": 5.0},
            "backprop-rate": entry | {"energy_predict": 8000.0, "synaptic_operations": 0.0, "spikes_per_sample": 0.0},
            "frozen": entry | {"energy_predict": 9000.0, "synaptic_operations": 9000.0, "spikes_per_sample": 5.0},
            "frozen-wta": entry | {"energy_predict": 900.0, "synaptic_operations": 900.0, "spikes_per_sample": 1.0},
            "lost": {"status": "diverged", "test": [None, None]},
        }  # fmt: skip
        (folder / f"compare-digits-{network}.json").write_text(json.dumps({"recipes": recipes}))


def test_energy_is_read_from_the_comparisons(tmp_path):
    committed(tmp_path, ("mlp", "spiking-mlp"))
    assert energy_accuracy.read("spiking-cnn", tmp_path) == {}
    (tmp_path / "compare-digits-mlp.json").unlink()
    with pytest.raises(ValueError, match="is missing: run `neurosim compare digits --network mlp --out"):
        energy_accuracy.read("mlp", tmp_path)
    with pytest.raises(ValueError, match="frozen on spiking-mlp says no energy_predict: run"):
        energy_accuracy.energy_of("spiking-mlp", "frozen", {"macs_predict": 5.0})


def test_energy_of_rates_and_spikes(tmp_path, monkeypatch):
    committed(tmp_path, ("mlp", "spiking-mlp"))
    monkeypatch.setattr(energy_accuracy, "read", lambda n, folder, real=energy_accuracy.read: real(n, tmp_path))
    rows, claims = energy_accuracy.run(Mode())
    got = {(n, slug): (e, a) for n, slug, e, a in energy_accuracy.points(rows)}
    assert got["mlp", "backprop"] == (pytest.approx(4.6), pytest.approx(0.925))
    assert got["spiking-mlp", "surrogate-bptt"][0] == 9.0 and ("spiking-mlp", "lost") not in got
    assert all(holding(claims).values()) and len(claims) == 2
    again("energy_accuracy", energy_accuracy, rows, claims, tmp_path)


# ---------------------------------------------------------------------------------------------- reward
def rewarded(values):
    return [
        {"recipe": slug, "seed": s, "epoch": e, "samples": e, "layer": net, "quantity": "test", "value": v * e / 2}
        for net in reward_stdp.NETS for slug, v in values.items() for s in range(3) for e in range(3)
        if not (net == "no hidden layer" and slug == "reward-frozen")
    ]  # fmt: skip


def test_reward_must_beat_its_twins_and_twins_be_at_chance(tmp_path):
    good = {"reward-stdp": 0.8, "reward-raw": 0.5, "reward-shuffled": 0.1, "reward-frozen": 0.6, "untrained": 0.11}
    rows = rewarded(good)
    claims = reward_stdp.claims_of(rows, False)
    assert all(holding(claims).values()) and len(claims) == 7
    for worse, share in (({"untrained": 0.2}, 2), ({"reward-stdp": 0.45}, 3), ({"reward-shuffled": 0.3}, 2)):
        assert sum(not h for h in holding(reward_stdp.claims_of(rewarded(good | worse), False)).values()) == share
    again("reward_stdp", reward_stdp, rows, claims, tmp_path)
    assert [r.name for r in reward_stdp.recipes("300 hidden neurons")] == list(reward_stdp.SLUGS)


# ---------------------------------------------------------------------------------------------- batches
def test_batches_are_held_against_single_images(tmp_path):
    value = {("sum", 1): 0.6, ("sum", 4): 0.6, ("sum", 16): 0.55, ("sum", 64): 0.5, ("mean", 1): 0.6, ("mean", 4): 0.5,
             ("mean", 16): 0.4, ("mean", 64): 0.3}  # fmt: skip
    nets = stdp_batch_size.IMAGES, stdp_batch_size.WINNERS
    rows = [{"recipe": how, "seed": s, "layer": net, "epoch": b, "quantity": "test", "value": v}
            for net in nets for (how, b), v in value.items() for s in range(3)]  # fmt: skip
    rows += [
        {"recipe": "engine", "seed": s, "layer": stdp_batch_size.IMAGES, "epoch": 1, "quantity": "test", "value": 0.62}
        for s in range(3)
    ]
    claims = stdp_batch_size.claims_of(rows, False)
    assert all(holding(claims).values()) and len(claims) == 7
    for batch, value in ((4, 0.4), (64, 0.58)):
        worse = [r | {"value": value} if (r["recipe"], r["epoch"]) == ("sum", batch) else r for r in rows]
        assert sum(not h for h in holding(stdp_batch_size.claims_of(worse, False)).values()) == 2
    again("stdp_batch_size", stdp_batch_size, rows, claims, tmp_path)


def test_rates_follow_the_batch():
    recipe = stdp_batch_size.DIEHL_COOK["triplet-stdp"].recipe({}, False)
    half = stdp_batch_size.scaled(recipe, {"*": 0.5, "readout.*": 2.0})
    assert half.lr == {"readout.*": 2 * recipe.lr["readout.*"], "*": 0.5} and recipe.sums == ("excitatory.*",)


# ---------------------------------------------------------------------------------------------- convolutions
def test_features_are_counts_and_learned_filters_keep_the_net(monkeypatch):
    torch.set_default_dtype(torch.float32)
    task = shown_to("spiking-cnn", digits().limited(40, 20))
    for how in stdp_conv.HOWS:
        net = stdp_conv.learned(how, task, 0, 1)
        drawn = stdp_conv.draw_net(spiking_cnn, task, 0)
        for n in stdp_conv.DEPTHS:
            a, b = net.get_submodule(n), drawn.get_submodule(n)
            assert torch.equal(a.lateral.weight, b.lateral.weight) and a.neuron == b.neuron
            assert not a.threshold.weight.any()
            assert torch.equal(a.input.weight, b.input.weight) == (how == "drawn"), (how, n)
    batch: Batch = next(task.evaluation(task.split(0), 20))
    found = stdp_conv.counts(net, task, batch)
    assert found["conv1"].shape == (20, 16 * 16) and found["conv2"].shape == (20, 32 * 4)
    assert found["conv1"].max() <= task.steps and found["conv1"].sum() > 0


def test_filters_must_be_read_better_than_drawn_ones(tmp_path):
    value = {("drawn", "conv1"): 0.7, ("drawn", "conv2"): 0.65, ("STDP", "conv1"): 0.75, ("STDP", "conv2"): 0.74,
             ("surrogate", "conv1"): 0.8, ("surrogate", "conv2"): 0.82, ("intensities", "conv1"): 0.8}  # fmt: skip
    rows = [{"recipe": how, "seed": s, "epoch": 0, "samples": 0, "layer": n, "quantity": "test", "value": v}
            for (how, n), v in value.items() for s in range(3)]  # fmt: skip
    at = {"seed": 0, "epoch": 0, "quantity": "filter"}
    rows += [at | {"recipe": how, "samples": p, "layer": f"filter {k}", "value": p - 12.0}
             for how in stdp_conv.HOWS for k in range(16) for p in range(25)]  # fmt: skip
    claims = stdp_conv.claims_of(rows, False)
    assert all(holding(claims).values()) and len(claims) == 3
    worse = [r | {"value": 0.6} if (r["recipe"], r["layer"]) == ("STDP", "conv2") else r for r in rows]
    assert sum(not h for h in holding(stdp_conv.claims_of(worse, False)).values()) == 2
    found = again("stdp_conv", stdp_conv, rows, claims, tmp_path)
    assert stdp_conv.mosaic(found, "STDP")[6, 0] == -12.0 and np.isnan(stdp_conv.mosaic(found, "STDP")[5, 0])
