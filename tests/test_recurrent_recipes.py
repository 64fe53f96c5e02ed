"""The line-ups of recurrent networks: they run, say what they are, and keep what they promise."""

import json
from dataclasses import replace
from functools import partial

import click
import pytest
import torch
from click.testing import CliRunner

from neurosim import recipes, tuned, tuning
from neurosim.cell import Cell, draw_net, run_cell
from neurosim.cli_tune import entries_of, tune
from neurosim.credit import Backprop, Broadcast, NoisyReward, PulsedReward, RawReward, SymmetricBroadcast, minus_loss
from neurosim.flags import line_up
from neurosim.networks import NETWORKS, network_for, rnn
from neurosim.networks.recurrent import lsnn
from neurosim.neurons import AdaptiveLIF, Rate, scan
from neurosim.plasticity import Gradient, Learner, Recipe, Record, Unsupported, cosine, falling, play, steady
from neurosim.recipes import entries_for, every_recipe_for, line_up_of, recipes_for, three_factor_for
from neurosim.recipes_time import MADE, Clipped, ClippedDecaying, recurrent
from neurosim.rules import RFLO, EProp, FiringRate, Hebb, Miconi, Sum
from neurosim.statistics import samples_to_half
from neurosim.summary import FAMILIES, standing, summary
from neurosim.tasks import delayed_xor, digits, shown_to, task_of
from tests.nets import relative

CASES = [(network, name) for network in MADE for name in recurrent("delayed-xor", network)]
TASK = replace(delayed_xor(40), batch_size=8).limited(16, 16)


def learner(network, name, task=TASK, seed=0):
    net = draw_net(NETWORKS[network], task, seed)
    return Learner(net, recipes_for("delayed-xor", network)[name], next(task.batches(task.split(seed), seed, 0)), seed)


def batch_of(task=TASK, epoch=1):
    return next(task.batches(task.split(0), 0, epoch))


# ---------------------------------------------------------------------------------------------- all of them
@pytest.mark.parametrize("network, name", CASES)
def test_every_recipe_runs_and_moves_what_it_says(network, name):
    L = learner(network, name)
    before = {n: w.clone() for n, w in L.weights.items()}
    with torch.random.fork_rng():
        dw, again = L.updates(batch_of()), L.updates(batch_of())
    assert all(torch.equal(dw[n], again[n]) for n in dw)  # updates changes nothing
    L.step(batch_of())
    moved = {n for n, w in L.weights.items() if not torch.equal(w, before[n])}
    learns = {n for n in L.weights if not n.startswith("feedback/")}
    assert moved - learns == ({"feedback/readout.input"} if name == "eprop-adaptive" else set())
    assert learns <= moved and "readout.input" in learns
    alone = {"reservoir": set(), "oja": {"hidden.recurrent"}, "stdp": {"hidden.recurrent"}}.get(
        name.removeprefix("triplet-")
    )
    if alone is not None:
        assert learns == {"readout.input", *alone}
    assert all(torch.isfinite(d).all() for d in dw.values())


@pytest.mark.parametrize("network, name", CASES)
def test_nothing_leaks_from_trial_to_trial_and_a_checkpoint_goes_on(network, name):
    """After a batch of another size dW is that of a learner of the same weights that saw none, and of a loaded one.

    Baselines of reward are what learners of reward remember: theirs are handed over.
    """
    L = learner(network, name)
    L.step(batch_of(replace(TASK, batch_size=5)))
    fresh, loaded = learner(network, name), learner(network, name)
    fresh.net.load_state_dict(L.net.state_dict())
    fresh.own, fresh.steps = L.own, L.steps
    loaded.load_state_dict(L.state_dict())
    want = L.updates(batch_of())
    for other in (fresh, loaded):
        got = other.updates(batch_of())
        for n in want:
            torch.testing.assert_close(got[n], want[n], rtol=0, atol=0, msg=f"{name} {n}")


@pytest.mark.parametrize("network", MADE)
def test_same_first_weights_and_batches_for_all(network):
    names = ("bptt", "node-perturbation", "reservoir")
    cells = [run_cell(recipes_for("delayed-xor", network)[n], NETWORKS[network], TASK, 0, 1) for n in names]
    assert len({c.init_hash for c in cells}) == len({c.batch_hash for c in cells}) == 1
    assert all(c.status == "ok" for c in cells)


def test_recurrent_networks_have_line_ups_of_their_own():
    for network in MADE:
        assert list(line_up_of(network)) == list(entries_for(network)) == list(recipes_for("digits", network))
        assert set(three_factor_for("digits", network)) == {"bptt", "node-perturbation", "miconi", "reservoir"} & set(
            every_recipe_for("digits", network)
        )
    shown = shown_to("lsnn", digits().limited(32, 32))
    cell = run_cell(recipes_for("digits", "lsnn")["eprop"], NETWORKS["lsnn"], shown, 0, 1)
    assert cell.status == "ok" and 0 <= cell.final("test") <= 1


def test_rules_know_the_neurons_of_the_network():
    elman, leaky = (recipes_for(task, "rnn")["rflo"].rules["hidden.*"].neuron for task in ("text", "delayed-xor"))
    assert elman == network_for("text", "rnn")((3,), 2).hidden.neuron == Rate(torch.tanh) and leaky.tau == 10
    spiking = recipes_for("evidence", "lsnn")["eprop"].rules["hidden.*"].rules[0]
    assert spiking.neuron.tau_a == 2000 and spiking.neuron.refractory == 5 and spiking.tau_out == 20


def test_every_hidden_rule_on_spikes_has_the_same_companion():
    companions = set()
    for name, r in recipes_for("delayed-xor", "lsnn").items():
        rule = next(r.rules[p] for p in ("hidden.recurrent", "hidden.*") if p in r.rules)
        if name not in ("reservoir", "regulated"):
            assert isinstance(rule, Sum), name
            companion, lr = rule.rules[1], r.lr["*"] if "stdp" in name else 1.0
            companions.add((companion.target, round(companion.strength * lr, 12), type(companion)))
    assert companions == {(20.0, round(2e-3 / 70, 12), FiringRate)}
    published = recipes_for("evidence", "lsnn")["eprop-random"].rules["hidden.*"].rules[1]
    assert (published.target, published.strength) == (10.0, 2e-3 / 2250)


def test_the_companion_counts_the_same_in_pieces_of_a_steady_rate():
    torch.manual_seed(1)
    neuron = AdaptiveLIF()
    net = lsnn((4,), 2, hidden=6, neuron=neuron, gain=4.0).double()
    batch = replace(batch_of(), x=torch.randn(400, 20, 4, dtype=torch.float64), target=torch.zeros(400, 20).long())
    rules = {"hidden.*": FiringRate(neuron, 500.0, 1e-3)}
    whole, pieces = (
        Learner(net, Recipe("r", rules, Broadcast(steps=k)), batch).updates(batch)["hidden.input"] for k in (None, 100)
    )
    assert whole.norm() > 1 and (whole - pieces).norm() < 0.03 * whole.norm()


def test_the_published_proportion_of_the_companion():
    """-d/dW sum_j (f_j - f0)^2, f in spikes a ms averaged over trials and T steps, by autograd."""
    torch.manual_seed(0)
    neuron, T, B = AdaptiveLIF(), 50, 4
    net = lsnn((4,), 2, hidden=6, neuron=neuron, gain=4.0).double()
    batch = replace(batch_of(), x=torch.randn(T, B, 4, dtype=torch.float64).abs(), target=None, loss=None)
    trial = play(net, batch, backward={"hidden.recurrent": None})
    E = ((trial.outputs["hidden"].mean((0, 1)) - 0.01) ** 2).sum()
    (g,) = torch.autograd.grad(E, trial.weights["hidden.input"])
    dw = FiringRate(neuron, 10.0, 2e-3 / T).update(trial.records["hidden.input"], {}, {})
    torch.testing.assert_close(dw / B, -g)  # a Learner takes the mean over trials


def test_claims_of_what_is_read():
    rate = recipes_for("delayed-xor", "rnn")
    assert "transport" in rate["bptt"].reads and "transport" in rate["eprop"].reads
    for name in ("rflo", "eprop-random", "eprop-adaptive", "direct-feedback-own"):
        assert "transport" not in rate[name].reads and "feedback" in rate[name].reads, name
    assert rate["miconi"].reads == {"pre", "state", "reward", "future", "target", "noise", "loss"}
    assert not rate["reservoir"].reads and "error" in rate["reservoir"].readout_reads
    assert rate["oja"].reads == {"pre", "post", "weight"}


def test_forward_weights_do_not_lead_credit_back():
    """Moved readout weights that leave the error alone (in the null space of the activity) do not move a random rule's dW."""
    whole = batch_of()
    batch = replace(whole, x=whole.x[:, :4], target=whole.target[:, :4])  # 10 steps of 4 lanes are asked, of 64 units
    for name, moves in (("rflo", False), ("eprop-adaptive", False), ("eprop", True), ("bptt", True)):
        L = learner("rnn", name)
        before = L.updates(batch)
        y = play(L.net, batch).records["readout.input"].pre[-10:].flatten(0, 1)
        *_, Vh = torch.linalg.svd(y.double(), full_matrices=True)
        with torch.no_grad():
            W = L.net.readout.input.weight
            W += (torch.tensor([[1.0], [-1.0]]).double() @ Vh[-1:]).to(W)
        after = L.updates(batch)
        apart = relative(*({"w": dw["hidden.recurrent"]} for dw in (after, before)))
        assert (apart > 0.3) == moves, (name, apart)


# ---------------------------------------------------------------------------------------------- reward
def test_mean_update_of_rewarded_noise_is_the_gradient():
    """E[M xi / sigma^2 (x) pre] -> -dL/dW for small noise: by the cosine, over many lanes of one trial."""
    task = delayed_xor(40)
    net = draw_net(partial(rnn, hidden=8), task, 0).double()
    one = next(task.batches(task.split(0), 0, 0))
    few = replace(one, x=one.x[:, :2].double(), target=one.target[:, :2])
    many = replace(few, x=few.x.repeat(1, 2000, 1), target=few.target.repeat(1, 2000))
    L = Learner(net, Recipe("np", {"*": Gradient()}, NoisyReward(0.02, RawReward(), minus_loss)), many)
    true = Learner(net, Recipe("bp", {"*": Gradient()}, Backprop()), few).updates(few)
    total = {n: torch.zeros_like(d) for n, d in true.items()}
    for k in range(2):
        L.steps = k
        plain, other = L.updates(many), antithetic(L, many)
        for n in total:
            total[n] += plain[n] + other[n]
    assert cosine(total["readout.input"], true["readout.input"]) > 0.9
    assert cosine(total["hidden.recurrent"], true["hidden.recurrent"]) > 0.3


def antithetic(L, batch):
    """The same noise turned: what does not depend on it cancels."""
    credit = L.recipe.credit

    class Turned(type(credit)):
        def disturbance(self, like, batch, generator):
            return -super().disturbance(like, batch, generator)

    L.recipe = replace(L.recipe, credit=Turned(credit.sigma, credit.signal, credit.outcome))
    dw = L.updates(batch)
    L.recipe = replace(L.recipe, credit=credit)
    return dw


def test_pulses_are_seldom_and_bounded():
    credit = PulsedReward(rate=40.0, amplitude=2.0, outcome=minus_loss)
    xi = credit.disturbance(torch.zeros(400, 50, 20), batch_of(), torch.Generator().manual_seed(0))
    struck = xi != 0
    assert struck.double().mean().item() == pytest.approx(0.04, rel=0.03)
    assert xi.abs().max() <= 2 and xi[struck].var().item() == pytest.approx(4 / 3, rel=0.03)
    assert abs(xi.mean().item()) < 0.003


def test_miconi_by_a_loop_over_synapses():
    """e_ij = sum_t (r_j[t] (x_i[t] - xbar_i[t]))^3 with a running mean that forgets .95 a step."""
    torch.manual_seed(0)
    rec = records(T=9, B=2)
    reward = torch.zeros(9, 2, 1, dtype=torch.float64)
    reward[-1] = torch.tensor([[0.7], [-0.4]])
    got = Miconi().update(rec, {"reward": reward}, {})
    want = torch.zeros_like(rec.weight)
    for b in range(2):
        for i in range(4):
            xbar = rec.state["v"][0, b, i]
            for t in range(9):
                x = rec.state["v"][t, b, i]
                for j in range(3):
                    want[i, j] += reward[-1, b, 0] * (rec.pre[t, b, j] * (x - xbar)) ** 3
                xbar = 0.05 * xbar + 0.95 * x
    torch.testing.assert_close(got, want)


def records(T, B, dt=1.0, post=None):
    synapse = torch.nn.Linear(3, 4, bias=False, dtype=torch.float64)
    pre, v = torch.randn(T, B, 3, dtype=torch.float64), torch.randn(T, B, 4, dtype=torch.float64)
    post = torch.tanh(v) if post is None else post
    return Record("hidden.recurrent", synapse, synapse.weight.detach(), pre, v, post, 1 - v.tanh() ** 2, {"v": v}, dt)


# ---------------------------------------------------------------------------------------------- the companion
@pytest.mark.parametrize("seed", (0, 1))
def test_firing_rate_is_a_gradient_for_the_plain_neuron(seed):
    """-(c f' / 2) sum_j (f_j - f0)^2 by autograd with the recurrent spikes cut, f in Hz: dW = (T B dt / 1000) its gradient."""
    torch.manual_seed(seed)
    neuron, T, B = AdaptiveLIF(), 30, 3
    net = lsnn((4,), 2, hidden=6, neuron=neuron, gain=4.0).double()
    x = torch.randn(T, B, 4, dtype=torch.float64).abs()
    batch = replace(batch_of(), x=x, target=None, loss=None, dt=2.0)
    trial = play(net, batch, backward={"hidden.recurrent": None})
    f = 1000 * trial.outputs["hidden"].mean((0, 1)) / 2.0
    assert 5 < f.mean() < 400
    rule = FiringRate(neuron, target=25.0, strength=0.3)
    E = 0.3 / 2 * ((f - 25.0) ** 2).sum()
    for n in ("hidden.input", "hidden.recurrent"):
        (g,) = torch.autograd.grad(E, trial.weights[n], retain_graph=True)
        dw = rule.update(trial.records[n], {}, {})
        assert g.norm() > 1e-3
        torch.testing.assert_close(dw, -g * (T * B * 2.0 / 1000), rtol=1e-9, atol=1e-12)


def test_sum_is_the_sum_and_keeps_states_apart():
    a, b = RFLO(Rate(torch.tanh, 10.0), forget=False), RFLO(Rate(torch.tanh, 30.0))
    rec, told = records(T=6, B=1), {"signal": torch.randn(6, 1, 4, dtype=torch.float64)}
    state, of_a, of_b = {}, {}, {}
    both = Sum((a, b, Hebb()))
    for _ in range(2):
        want = a.update(rec, told, of_a) + b.update(rec, told, of_b) + Hebb().update(rec, told, {})
        torch.testing.assert_close(both.update(rec, told, state), want)
    kept = both.fresh(state)
    assert torch.equal(kept["0:p"], of_a["p"]) and set(kept) == {"0:p"}
    assert both.reads == {"pre", "slope", "signal", "post"}


@pytest.mark.parametrize("value", ({"target": 0.0}, {"strength": -1.0}))
def test_bad_companions(value):
    with pytest.raises(ValueError, match=f"{next(iter(value))}: given .*it must be positive"):
        FiringRate(AdaptiveLIF(), **value)


@pytest.mark.parametrize(
    "refractory, dt, silent", [(0.3, 0.1, 3), (0.7, 0.1, 7), (0.6, 0.2, 3), (5.0, 1.0, 5), (2.5, 1.0, 2)]
)
def test_a_refractory_period_has_whole_steps(refractory, dt, silent):
    """Driven far above threshold it fires at once when it may."""
    drive = torch.full((3 * silent + 4, 1, 1), 9.0, dtype=torch.float64)
    z, _, _ = scan(AdaptiveLIF(refractory=refractory), drive, dt)
    at = z.flatten().nonzero().flatten().tolist()
    assert at[0] == 0 and {b - a for a, b in zip(at, at[1:], strict=False)} == {silent + 1}


# ---------------------------------------------------------------------------------------------- around them
def test_clipped_is_adam_on_a_shorter_gradient_of_each_group():
    w, v = (torch.nn.Parameter(torch.zeros(5)) for _ in range(2))
    for g in (torch.tensor([3.0, 4.0, 0, 0, 0]), torch.tensor([0.3, 0, 0, 0, 0.4])):
        w.grad, v.grad = g.clone(), g / max(1.0, g.norm().item())
    u = torch.nn.Parameter(torch.zeros(1))
    u.grad = torch.tensor([1e9])  # another group, which does not matter
    ours, plain = Clipped([w, u], lr=0.1), torch.optim.Adam([v], lr=0.1)
    for g in (torch.tensor([3.0, 4.0, 0, 0, 0]), torch.tensor([0.3, 0, 0, 0, 0.4])):
        w.grad, v.grad = g.clone(), g / max(1.0, g.norm().item())
        ours.step()
        plain.step()
        torch.testing.assert_close(w, v)
    u = torch.nn.Parameter(torch.ones(2))
    u.grad = torch.zeros(2)
    ClippedDecaying([u], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(u.detach(), torch.full((2,), 0.95))


def test_rules_that_wait_for_the_end_refuse_pieces():
    n = AdaptiveLIF()
    rules = {"hidden.*": EProp(n), "readout.*": RFLO(Rate(tau=20.0))}
    with pytest.raises(Unsupported, match="EProp on hidden.input waits for the trial's end, but is shown it in pieces"):
        Learner(network_for("", "lsnn")((3,), 2, neuron=n), Recipe("e", rules, SymmetricBroadcast(steps=5)), batch_of())


def test_trials_drawn_anew_count_once_each():
    """The corrected t test divides by different training samples: 3 epochs of 16 drawn trials are 48, of 16 images 16."""
    r = recipes_for("digits", "rnn")["reservoir"]
    images = shown_to("rnn", digits().limited(16, 16))
    assert [run_cell(r, rnn, t, 0, 3).n_seen for t in (TASK, images)] == [48, 16]
    found = []
    for n_seen in (0, 40):
        row = {"quantity": "test", "layer": "", "epoch": 1, "samples": 1}
        cells = [
            Cell(name, s, [{**row, "value": v}], n_train=20, n_test=20, n_seen=n_seen)
            for name, scores in (("bptt", (0.9, 0.8, 0.85)), ("reservoir", (0.5, 0.6, 0.4)))
            for s, v in enumerate(scores)
        ]
        recipes = [recipes_for("delayed-xor", "rnn")[n] for n in ("bptt", "reservoir")]
        found.append(summary(cells, recipes)["bptt"]["difference_to_frozen"][1])
    assert found[0] / found[1] == pytest.approx(((1 / 3 + 1) / (1 / 3 + 0.5)) ** 0.5)


def test_roles_of_references():
    assert standing(["bptt", "eprop", "reservoir"]) == {"frozen": "reservoir", "backprop": "bptt"}
    assert standing(["backprop", "bptt", "frozen"]) == {"frozen": "frozen", "backprop": "backprop"}
    assert standing(["oja"]) == {}


def test_bits_fall_and_half_the_gap_is_found_from_above():
    """Where lower is better, half the gap is reached on the way down; differences keep their sign."""
    task = replace(task_of("text"), train_size=64, batch_size=16, test_size=16)
    recipes = [replace(recipes_for("text", "rnn")[n], lr=3e-3) for n in ("bptt", "reservoir")]
    cells = [run_cell(r, rnn, task, s, 2) for r in recipes for s in (0, 1)]
    found = summary(cells, recipes, task.metric)
    assert found["bptt"]["difference_to_frozen"][0] < 0
    ends = [sum(found[n]["test"]) / 2 for n in ("reservoir", "bptt")]
    for k, c in enumerate(c for c in cells if c.recipe == "bptt"):
        seen = [(r["samples"], r["value"]) for r in c.rows if r["quantity"] == "test" and r["epoch"]]
        want = next((s for s, v in seen if v <= sum(ends) / 2), None)
        assert found["bptt"]["samples_to_half"][k] == want
    assert samples_to_half([1, 2], [-3.0, -1.0], -4.0, -1.0) == 2


def test_families_hold_every_recipe():
    known = {slug for slugs in FAMILIES.values() for slug in slugs}
    assert all(name in known for _, name in CASES)


def test_pieces_of_any_length_by_name():
    asked = {r.name: r for r in line_up("tbptt-7,bptt", "delayed-xor", "lsnn")}
    assert list(asked) == ["tbptt-7", "bptt"]
    assert asked["tbptt-7"].credit == Backprop(steps=7)
    assert asked["tbptt-7"].lr == recipes_for("delayed-xor", "lsnn")["tbptt-10"].lr
    for wrong in ("tbptt-0", "tbptt-", "tbptt-x"):
        with pytest.raises(click.UsageError, match=f"unknown rule '{wrong}': did you mean tbptt-10"):
            line_up(wrong, "delayed-xor", "rnn")
    with pytest.raises(click.UsageError, match="tbptt-7 has the values of tbptt-10: tune that"):
        entries_of("tbptt-7", "rnn", "delayed-xor")


def test_a_search_takes_groups_and_names_together_each_once():
    core, reward = (entries_of(slug, "mlp", "digits") for slug in ("core", "three-factor"))
    mixed = entries_of("oja, core,three-factor", "mlp", "digits")
    assert list(mixed)[0] == "oja" and mixed.keys() == core.keys() | reward.keys() > core.keys()
    assert not any(e.follows for e in mixed.values())
    with pytest.raises(click.UsageError, match="unknown rule ''"):
        entries_of("", "mlp", "digits")


def test_a_search_finds_the_reservoirs_readout_first(tmp_path):
    """What shares it is searched with it, not with the guess."""
    out, common = str(tmp_path), ["--seeds", "1", "--epochs", "1", "--limit", "64", "--trials", "3", "--workers", "1"]
    assert CliRunner().invoke(tune, ["delayed-xor", "--rules", "oja,reservoir", *common, "--out", out]).exit_code == 0
    found = json.loads((tmp_path / "delayed-xor-rnn.json").read_text())["recipes"]
    readout = found["reservoir"]["values"]["readout"]
    again = tuning.plan(
        {"oja": recurrent("delayed-xor", "rnn")["oja"]}, "delayed-xor", "rnn", False, 3, 1, shared={"readout": readout}
    )
    assert {j.recipe.lr["readout.*"] for j in again} == {readout}
    curves = tuned.read_curves(tmp_path / "delayed-xor-rnn.csv", 1)
    assert len(tuning.usable(again, curves)) == len(curves)
    other = tuning.plan(
        {"oja": recurrent("delayed-xor", "rnn")["oja"]}, "delayed-xor", "rnn", False, 3, 1, shared={"readout": 0.5}
    )
    assert {k.recipe for k in tuning.usable(other, curves)} == {
        "reservoir"
    }  # curves of another readout are not gone on with
    oja = recurrent("delayed-xor", "rnn")["oja"]
    task = delayed_xor().limited(64, 2000)
    values = dict(p.split("=") for p in curves[tuned.Key("oja", 1, 0)].values.split())
    cell = run_cell(
        oja.recipe({"readout": readout, "lr": float(values["lr"])}, False), NETWORKS["rnn"], task, 0, 1, tuning=True
    )
    assert tuning.validation_of(cell, 1) == curves[tuned.Key("oja", 1, 0)].validation


def test_rates_fall_over_a_training(monkeypatch):
    """Linearly with the epochs, for every recipe; what has no schedule keeps its rate."""
    assert {r.schedule for n in MADE for r in recipes_for("delayed-xor", n).values()} == {falling}
    seen = []

    def note(self, batch):
        seen.append([g["lr"] for o in self.optimizers for g in o.param_groups])

    monkeypatch.setattr(Learner, "step", note)
    recipe = replace(recipes_for("delayed-xor", "rnn")["oja"], lr={"readout.*": 0.4, "*": 0.2})
    run_cell(recipe, rnn, replace(TASK, batch_size=16), 0, 4, tuning=True)
    run_cell(replace(recipe, schedule=steady), rnn, replace(TASK, batch_size=16), 0, 2, tuning=True)
    want = [[0.2 * f, 0.4 * f] for f in (1, 0.75, 0.5, 0.25, 1, 1)]
    assert [sorted(rates) for rates in seen] == [pytest.approx(rates) for rates in want]


def test_recipes_that_search_their_readout_start_from_their_own():
    """The control's is shared by those that do not."""
    tuned_control = {"reservoir": {"readout": 0.7}}
    made_of = recipes.made(recurrent("delayed-xor", "rnn"), False, tuned_control)
    assert made_of["oja"].lr["readout.*"] == made_of["reservoir"].lr["readout.*"] == 0.7
    assert made_of["rflo"].lr["readout.*"] == made_of["bptt"].lr["readout.*"] == 0.1


def test_values_found_beside_another_readout_are_dropped(tmp_path, capsys):
    """oja tuned without its control, then the control: what oja found is not used beside a readout that it never saw."""
    common = [
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--limit",
        "64",
        "--trials",
        "2",
        "--workers",
        "1",
        "--out",
        str(tmp_path),
    ]
    runner = CliRunner()
    assert runner.invoke(tune, ["delayed-xor", "--rules", "oja", *common]).exit_code == 0
    done = runner.invoke(tune, ["delayed-xor", "--rules", "reservoir", *common])
    assert done.exit_code == 0 and "oja: its values were found beside another readout" in done.output
    assert set(json.loads((tmp_path / "delayed-xor-rnn.json").read_text())["recipes"]) == {"reservoir"}
    assert runner.invoke(tune, ["delayed-xor", "--rules", "oja", *common]).exit_code == 0
    done = runner.invoke(tune, ["delayed-xor", "--rules", "reservoir", *common])
    assert "another readout" not in done.output
    assert set(json.loads((tmp_path / "delayed-xor-rnn.json").read_text())["recipes"]) == {"oja", "reservoir"}


@pytest.mark.parametrize("network", ("rnn", "lsnn"))
def test_the_committed_curves_are_those_of_the_committed_code(network):
    """The command in the file would run nothing again."""
    content = tuned.read(tuned.COMMITTED / f"delayed-xor-{network}.json")
    found = {slug: entry["values"] for slug, entry in content["recipes"].items()}
    entries = {slug: e for slug, e in recurrent("delayed-xor", network).items() if slug in found}
    counts = content["trials"], content["seeds"]
    jobs = tuning.plan(entries, "delayed-xor", network, False, *counts, shared=recipes.shared(found))
    curves = tuned.read_curves(tuned.COMMITTED / f"delayed-xor-{network}.csv", content["epochs"])
    assert jobs and not tuning.left(jobs, curves)


def test_what_a_layers_synapses_have_in_common_is_worked_out_once_and_never_stale():
    L = learner("lsnn", "eprop")
    rule = EProp(L.net.hidden.neuron, 20.0)
    record = play(L.net, batch_of()).records["hidden.input"]
    told = {"signal": torch.randn_like(record.slope)}
    first = rule.update(record, told, {})
    assert len([k for k in record.kept if not isinstance(k, str)]) == 1
    torch.testing.assert_close(rule.update(record, told, {}), first, rtol=0, atol=0)
    double = rule.update(replace(record, slope=2 * record.slope), told, {})
    anew = rule.update(replace(record, slope=2 * record.slope, kept={}), told, {})
    torch.testing.assert_close(double, anew, rtol=0, atol=0)
    assert relative({"": double}, {"": first}) > 0.1
    other = {"signal": -told["signal"]}
    torch.testing.assert_close(rule.update(record, other, {}), -first)
