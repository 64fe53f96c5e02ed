"""The recipes that learn by reward: what they read, that they run, and R-STDP in a net of spiking neurons by plain loops."""

from math import exp

import click
import pytest
import torch

from neurosim.compare import run_cell
from neurosim.credit import Backprop
from neurosim.flags import line_up
from neurosim.locality import WORDS, claimed
from neurosim.networks import NETWORKS, cnn, mlp, spiking_mlp
from neurosim.networks.spiking_mlp import GAIN
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, match, play
from neurosim.probes import measured
from neurosim.recipes import LINE_UP, every_recipe_for, recipes_for, three_factor_for
from neurosim.recipes_reward import THREE_FACTOR
from neurosim.recipes_spiking import REWARDED, SPIKING, contrasted
from neurosim.tasks import digits, shown_to, spike_trains
from neurosim.tasks.coding import PoissonCode
from tests.nets import ce
from tests.test_locality import net

BESIDE = {network: every_recipe_for("digits", network) for network in ("mlp", "cnn")}
SPIKES = recipes_for("digits", "spiking-mlp")


@pytest.fixture(scope="module")
def few():
    return digits().limited(64, 50)


# ---------------------------------------------------------------------------------------------- groups
def test_the_line_up_is_what_it_was_and_the_group_stands_beside_it():
    assert [r.name for r in line_up(None, "digits", "mlp")] == list(LINE_UP)
    assert not THREE_FACTOR.keys() & LINE_UP.keys()
    group = [r.name for r in line_up("three-factor", "digits", "mlp")]
    assert sorted(group) == sorted(["backprop", "frozen", "reward-hebb", *THREE_FACTOR])
    assert [r.name for r in line_up("core", "digits", "spiking-mlp")] == list(SPIKING)
    assert list(three_factor_for("digits", "spiking-mlp")) == list(REWARDED) and list(SPIKES) == list(SPIKING)
    for known in (BESIDE["mlp"], BESIDE["cnn"], SPIKES):
        assert all(n == r.name for n, r in known.items())


def test_a_name_is_looked_up_among_those_of_the_network():
    assert [r.name for r in line_up("reward-stdp,frozen", "digits", "spiking-mlp")] == ["reward-stdp", "frozen"]
    with pytest.raises(click.UsageError, match="rule 'reward-stdp' is for spiking-mlp, spiking-cnn, not for mlp: see"):
        line_up("reward-stdp", "digits", "mlp")


# ---------------------------------------------------------------------------------------------- on rates
@pytest.mark.parametrize("name", THREE_FACTOR)
def test_a_recipe_reads_what_it_claims(name):
    """Of one sample's answer, right or wrong, little is seen: shuffled ones are drawn again."""
    recipe, seen = BESIDE["mlp"][name], {}
    for seed in range(8 if name == "reward-shuffled" else 1):
        batch = Batch(torch.randn(10, 1, 8, 8), torch.randperm(10), ce)
        for n, words in measured(recipe, net("mlp"), batch, seed).items():
            seen[n] = seen.get(n, frozenset()) | words
    said = {n: claimed(recipe, n, match(recipe.rules, n)) & WORDS.keys() for n in seen}
    assert seen and {n: sorted(w) for n, w in seen.items()} == {n: sorted(w) for n, w in said.items()}


@pytest.mark.parametrize("make_net, network", ((mlp, "mlp"), (cnn, "cnn")), ids=("mlp", "cnn"))
def test_they_run_on_rates_and_see_the_same(few, make_net, network):
    torch.set_default_dtype(torch.float32)
    cells = [run_cell(BESIDE[network][n], make_net, few, seed=1, epochs=1) for n in ("frozen", *THREE_FACTOR)]
    assert {c.recipe: c.status for c in cells} == dict.fromkeys(("frozen", *THREE_FACTOR), "ok")
    assert len({c.init_hash for c in cells}) == 1 and len({c.batch_hash for c in cells}) == 1
    assert all(c.cost["macs_per_sample"] > 0 for c in cells)


def test_controls_are_frozen_and_twins_do_without_reward():
    few = Batch(torch.rand(8, 1, 8, 8), torch.arange(8), ce)
    for n in ("reward-frozen", "reward-node-perturbation-frozen"):
        assert list(Learner(mlp((1, 8, 8), 10), BESIDE["mlp"][n], few).updates(few)) == ["readout.input"]
    for n in ("reward-hebb-unmodulated", "reward-node-perturbation-unmodulated"):
        assert not BESIDE["mlp"][n].reads & {"target", "reward", "error", "loss"}


# ---------------------------------------------------------------------------------------------- spike trains
def test_trains_are_poisson_and_the_same_for_all(few):
    task = spike_trains(few, steps=200, dt=2.0, code=PoissonCode(100.0))
    split = task.split(0)
    (batch, *_), (again, *_), (other, *_) = (list(task.batches(split, 0, e)) for e in (3, 3, 4))
    assert batch.time and batch.dt == 2.0 and batch.size == 32 and batch.x.shape == (200, 32, 1, 8, 8)
    assert torch.equal(batch.x, again.x) and batch.x.sum() != other.x.sum()
    assert ((batch.x == 0) | (batch.x == 1)).all()
    same = next(few.batches(split, 0, 3))
    assert torch.equal(batch.target, same.target)
    light = same.x * split.scale + split.mean  # pixels in [0, 1]
    p = 1 - torch.exp(-light * 100 * 2e-3)
    off = (batch.x.mean(0) - p) / (p * (1 - p) / 200).sqrt().clamp(min=1e-9)
    assert off[p > 1e-3].abs().max() < 5 and off[p > 1e-3].std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(next(task.evaluation(split)).x, next(task.evaluation(split)).x)
    assert shown_to("mlp", few) is few and shown_to("spiking-mlp", few).shape == few.shape
    with pytest.raises(ValueError, match="top: given 0, it must be positive"):
        spike_trains(few, code=PoissonCode(0))


# ---------------------------------------------------------------------------------------------- on spikes
def trains(T=50, B=3, n=6):
    return Batch((torch.rand(T, B, n) < 0.3).double(), torch.tensor([0, 1, 1]), ce, time=True, dt=1.0)


def by_pairs(pre, post, M):
    """sum over samples, post spikes s, pre spikes t <= s of M exp(-(s - t) / 20) exp(-(end - s) / 500); M [B, post]."""
    T, B, _ = pre.shape
    dw = torch.zeros(post.shape[2], pre.shape[2])
    for b in range(B):
        for i in range(post.shape[2]):
            for s in post[:, b, i].nonzero().flatten().tolist():
                for j in range(pre.shape[2]):
                    for t in pre[: s + 1, b, j].nonzero().flatten().tolist():
                        dw[i, j] += M[b, i] * exp(-(s - t) / 20) * exp(-(T - 1 - s) / 500)
    return dw / B


def test_reward_stdp_in_a_net_is_a_double_loop_over_spikes():
    net, batch = spiking_mlp((6,), 2, hidden=(5,), population=2, gain=80.0), trains()
    with torch.no_grad():
        net.readout.input.weight.mul_(3.0)
    recipe = SPIKES["reward-stdp"]
    L = Learner(net, recipe, batch, seed=1)
    L.own["expected reward"] = torch.tensor([0.3, 0.6])
    (p,) = recipe.credit.passes(net, batch, dict(L.own), L._generator(0))
    records, dw = p.trial.records, L.updates(batch)
    post = {n: records[f"{n}.input"].post for n in ("hidden1", "readout")}
    assert torch.equal(records["readout.input"].pre, post["hidden1"]) and all(y.sum() > 20 for y in post.values())
    counts = post["readout"].sum(0).reshape(3, 2, 2).mean(-1)
    assert torch.equal(p.trial.output, counts)
    M = p.third["reward"].sum(0)  # a pulse at the last step
    assert (p.third["reward"][:-1] == 0).all() and {round(m, 9) for m in M.tolist()} <= {0.7, -0.3, 0.4, -0.6}
    answered = torch.tensor([k if m > 0 else 1 - k for m, k in zip(M.tolist(), batch.target.tolist())])
    to_class = M[:, None] * (torch.eye(2)[answered] - counts.softmax(-1))
    want = {
        "hidden1.input": by_pairs(batch.x, post["hidden1"], M[:, None].expand(3, 5)),
        "readout.input": by_pairs(post["hidden1"], post["readout"], to_class.repeat_interleave(2, 1)),
    }
    assert dw.keys() == want.keys()
    for n, d in want.items():
        assert d.abs().max() > 0.1 and (dw[n] - d).abs().max() < 1e-12, n


def test_the_unmodulated_twin_pairs_at_once():
    net, batch = spiking_mlp((6,), 2, hidden=(5,), population=2), trains()
    recipe = SPIKES["reward-stdp-unmodulated"]
    rule, rec = match(recipe.rules, "hidden1.input"), play(net, batch).records["hidden1.input"]
    T = len(batch.x)
    kept = torch.stack([batch.x[t] * 0 for t in range(T)])
    z = torch.zeros_like(batch.x[0])
    for t in range(T):  # the trace of pre, and a sum over post spikes
        z = exp(-1 / 20) * z + batch.x[t]
        kept[t] = z
    want = torch.einsum("tbi,tbj->ij", rec.post, kept)
    assert (rule.update(rec, {}, {}) - want).abs().max() < 1e-12 and want.abs().max() > 0.1
    assert recipe.reads == {"pre", "post", "future"}  # the trial's end clears its trace


def test_hidden_weights_stay_contrasts_of_one_length_and_lateral_ones_stay():
    net, batch = spiking_mlp((6,), 2, hidden=(5,), population=2), trains()
    before = net.hidden1.lateral.weight.clone()
    L = Learner(net, SPIKES["reward-stdp"], batch)
    for _ in range(3):
        L.step(batch)
    w = net.hidden1.input.weight
    assert w.sum(1).abs().max() < 1e-10 and (w.norm(dim=1) - GAIN**0.5).abs().max() < 1e-10
    assert torch.equal(net.hidden1.lateral.weight, before) and contrasted("readout.input", w) is w


def test_the_readout_goes_up_the_gradient_and_without_its_own_reward_does_not(few):
    """Cosine with backprop's update through surrogates, the mean over answers, at the start: far above the shuffled one's."""
    task, seeds = spike_trains(few, steps=20), range(3)
    probe = task.probe(task.split(0))
    backprop = Recipe("backprop", {"*.input": Gradient(), "*": None}, Backprop())
    cos = {}
    for n in ("reward-stdp", "reward-shuffled"):
        found = []
        for seed in seeds:
            torch.manual_seed(seed)
            net = spiking_mlp(task.shape, 10, hidden=(100,))
            true = Learner(net, backprop, probe).updates(probe)["readout.input"]
            L, dw = Learner(net, SPIKES[n], probe, seed), 0
            for L.steps in range(10):
                dw = dw + L.updates(probe)["readout.input"]
            found.append(((dw * true).sum() / (dw.norm() * true.norm())).item())
        cos[n] = sum(found) / len(found)
    assert cos["reward-stdp"] > 0.3 and abs(cos["reward-shuffled"]) < 0.15, cos


def test_they_run_on_spikes_and_see_the_same(few):
    torch.set_default_dtype(torch.float32)
    task = spike_trains(few.limited(40, 20), steps=10)
    cells = [run_cell(r, NETWORKS["spiking-mlp"], task, seed=1, epochs=1) for r in SPIKES.values()]
    assert {c.recipe: (c.status, c.reason) for c in cells} == dict.fromkeys(SPIKES, ("ok", ""))
    assert len({c.init_hash for c in cells}) == 1 and len({c.batch_hash for c in cells}) == 1
    assert all(c.cost["macs_per_sample"] > 0 for c in cells)
