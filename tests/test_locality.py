"""dW changes exactly for what is claimed: every recipe on the mlp and on the cnn, cheats that must be caught, and time."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import neurosim.credit as by
from neurosim.locality import BEGIN, END, WORDS, claimed, section, shipped, trials, write
from neurosim.networks import cnn, mlp
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import (
    Batch,
    Gradient,
    Layer,
    Learner,
    Pass,
    Rate,
    Recipe,
    claims,
    column,
    match,
    outer,
    play,
    rank,
    synapses,
)
from neurosim.probes import Heard, measured
from neurosim.recipes import recipes_for
from neurosim.rules import EProp, EPropOnline, Hebb, Oja, RewardedHebb, SpikeRule, pair
from tests.nets import ce, dense, mse, mse_seq, rnn

LINE_UPS = {network: recipes_for("digits", network) for network in ("mlp", "cnn")}
CASES = [(network, name) for network, recipes in LINE_UPS.items() for name in recipes]


def net(network):
    made = mlp((1, 8, 8), 10, hidden=(96, 80)) if network == "mlp" else cnn((1, 8, 8), 10)
    made.readout.input.weight.data *= 0.1  # no class is sure: a sampled answer is now this, now that
    return made


def images(n=2):
    return Batch(torch.randn(n, 1, 8, 8), torch.randperm(10)[:n], ce)


def seen_and_claimed(recipe, network):
    """By synapse: the words that were measured, and those that are claimed."""
    seen = measured(recipe, net(network), images())
    return {n: (w, claimed(recipe, n, match(recipe.rules, n)) & WORDS.keys()) for n, w in seen.items()}


def brief(recipe):
    """Where layers take turns, one update each."""
    turns = hasattr(recipe.credit, "updates")
    return replace(recipe, credit=replace(recipe.credit, updates=1)) if turns else recipe


# ---------------------------------------------------------------------------------------------- the line-up
@pytest.mark.parametrize("network, name", CASES, ids=("-".join(c) for c in CASES))
def test_a_recipe_reads_what_it_claims(network, name):
    recipe = brief(LINE_UPS[network][name])
    found = seen_and_claimed(recipe, network)
    assert found.keys() == {n for n in synapses(net(network)) if match(recipe.rules, n)}
    if name == "predictive-coding-one-step":  # its trial is shifted by 1e-6: too little to see at the readout
        seen, said = found["readout.input"]
        found["readout.input"] = seen | {"transport"}, said
    assert {n: sorted(seen) for n, (seen, _) in found.items()} == {n: sorted(said) for n, (_, said) in found.items()}


def test_each_word_is_read_by_a_recipe():
    read = {w for recipes in LINE_UPS.values() for r in recipes.values() for w in r.reads}
    assert read >= WORDS.keys()


@pytest.mark.parametrize("network", LINE_UPS)
def test_frozen_layers_do_not_change(network):
    made = net(network)
    dw = Learner(made, LINE_UPS[network]["frozen"], images()).updates(images())
    assert list(dw) == ["readout.input"]


# ---------------------------------------------------------------------------------------------- cheats
@dataclass(frozen=True)
class Told(by.Wireless):
    """Backprop's or another credit, made worse by `cheat(credit, trial, net)` for the first two layers."""

    cheat: object
    reads: frozenset = claims("error", "transport")
    gives: frozenset = claims("credit")

    def passes(self, net, batch, own, generator):
        trial = play(net, batch)
        us = {n: u for n, u in trial.inputs.items()}
        grads = torch.autograd.grad(trial.loss.sum(), list(us.values()))
        with torch.no_grad():
            yield Pass(trial, {"credit": {n: self.cheat(-g, n, trial, net) for n, g in zip(us, grads)}})


def only_hidden(change):
    return lambda credit, n, trial, net: credit if n == "readout" else change(credit, n, trial, net)


@only_hidden
def louder_with_activity(credit, n, trial, net):  # of the whole layer
    return credit * trial.outputs[n].flatten(1).mean(1).reshape(-1, *[1] * (credit.dim() - 1))


@only_hidden
def centred(credit, n, trial, net):  # less the mean credit of the layer's units
    return credit - credit.mean(1, keepdim=True)


@only_hidden
def over_the_batch(credit, n, trial, net):
    return credit - credit.mean(0)


@only_hidden
def of_the_score(credit, n, trial, net):
    return credit * trial.loss.detach().reshape(-1, *[1] * (credit.dim() - 1))


@only_hidden
def of_the_label(credit, n, trial, net):
    return credit * (1.0 + trial.batch.target).reshape(-1, *[1] * (credit.dim() - 1))


@dataclass(frozen=True)
class Shy(by.Wireless):
    """dW = y x, scaled by a number that the credit has from somewhere it does not name."""

    number: object
    reads: frozenset = claims()
    gives: frozenset = claims("reward")

    def passes(self, net, batch, own, generator):
        with torch.no_grad():
            trial = play(net, batch)
            yield Pass(trial, {"reward": torch.ones(batch.size) * self.number(trial, net, generator)})


def spread(name):
    """The size of a synapse's weights."""
    return lambda trial, net, generator: dict(synapses(net))[name].weight.norm()


@dataclass(frozen=True)
class Quiet(by.Backprop):
    reads: frozenset = claims("transport")


@dataclass(frozen=True)
class Local(by.Backprop):
    reads: frozenset = claims("error")


@dataclass(frozen=True)
class Ownerless(by.FeedbackAlignment):
    reads: frozenset = claims("error")


@dataclass(frozen=True)
class Unscored(by.NodePerturbation):
    reads: frozenset = claims("noise")


@dataclass(frozen=True)
class Untaught(by.SampledReward):
    reads: frozenset = claims("noise")


@dataclass(frozen=True)
class Inhibited:
    """dW = (y - sum of the layer) x"""

    reads: frozenset = claims("pre", "post")

    def update(self, rec, third, state):
        return outer(rec, rec.pre, rec.post - rec.post.sum(-rank(rec.synapse), keepdim=True))


@dataclass(frozen=True)
class Rivals:
    """dW = y x, scaled by the other units' weights"""

    reads: frozenset = claims("pre", "post", "weight")

    def update(self, rec, third, state):
        size = rec.weight.flatten(1).sum(1)
        return outer(rec, rec.pre, rec.post) * column(rec, (size.sum() - size) / size)


@dataclass(frozen=True)
class ByLayerNorm:
    reads: frozenset = claims("pre", "post", "weight")

    def update(self, rec, third, state):
        return outer(rec, rec.pre, rec.post) * rec.weight.norm()


@dataclass(frozen=True)
class Divisive:
    reads: frozenset = claims("pre", "u")

    def update(self, rec, third, state):
        size = rec.u.flatten(1).norm(dim=1).reshape(-1, *[1] * (rec.u.dim() - 1))
        return outer(rec, rec.pre, rec.u / size)


UNDER = {  # (word that is read and not claimed, credit, hidden rule)
    "the error": ("error", Quiet(), Gradient()),
    "the layer's norm": ("lateral", by.DeltaRule(), ByLayerNorm()),
    "divided by the layer": ("lateral", by.DeltaRule(), Divisive()),
    "W transposed": ("transport", Local(), Gradient()),
    "feedback weights": ("feedback", Ownerless(), Gradient()),
    "the loss": ("loss", Unscored(0.01), Gradient()),
    "the loss, beside the error": ("loss", Told(of_the_score), Gradient()),
    "the label": ("target", Told(of_the_label), Gradient()),
    "the label, for a reward": ("target", Untaught(), RewardedHebb()),
    "other units' activity, by the rule": ("lateral", by.DeltaRule(), Inhibited()),
    "other units' weights, by the rule": ("lateral", by.DeltaRule(), Rivals()),
    "other units' activity, by the credit": ("lateral", Told(louder_with_activity), Gradient()),
    "other units' credit, by the credit": ("lateral", Told(centred), Gradient()),
    "other samples": ("batch", Told(over_the_batch), Gradient()),
    "weights above, as a number": ("transport", Shy(spread("readout.input")), RewardedHebb()),
}


@pytest.mark.parametrize("network", LINE_UPS)
@pytest.mark.parametrize("name", UNDER)
def test_a_planted_cheat_is_caught(name, network):
    word, credit, rule = UNDER[name]
    readout = Gradient() if "credit" in credit.gives else None
    prepare = LINE_UPS[network]["oja"].prepare
    found = seen_and_claimed(Recipe("cheat", {"readout.*": readout, "*": rule}, credit, prepare=prepare), network)
    hidden = [n for n in found if n != "readout.input"]
    assert len(hidden) >= 2
    assert {n: found[n][0] - found[n][1] for n in hidden} == dict.fromkeys(hidden, {word})
    assert not any(found[n][1] - found[n][0] for n in hidden)


def test_weights_below_are_caught():
    found = seen_and_claimed(Recipe("cheat", {"hidden*": RewardedHebb()}, Shy(spread("hidden1.input"))), "mlp")
    assert found["hidden2.input"] == ({"transport"}, set())


DRAWS = {
    "from everywhere": lambda trial, net, generator: torch.rand(()),
    "from the learner": lambda trial, net, generator: torch.rand((), generator=generator),
}


@pytest.mark.parametrize("network", LINE_UPS)
@pytest.mark.parametrize("draw", DRAWS)
def test_noise_that_is_not_claimed_is_caught(network, draw):
    found = seen_and_claimed(Recipe("cheat", {"readout.*": None, "*": RewardedHebb()}, Shy(DRAWS[draw])), network)
    assert all("noise" in seen - said for seen, said in found.values())


@pytest.mark.parametrize("network", LINE_UPS)
@pytest.mark.parametrize("word", WORDS)
def test_a_claim_too_many_is_caught(word, network):
    @dataclass(frozen=True)
    class Boast(by.NoCredit):
        reads: frozenset = claims(word)

    found = seen_and_claimed(Recipe("boast", {"readout.*": None, "*": Oja()}, Boast()), network)
    assert all(said - seen == {word} and not seen for seen, said in found.values())


def test_what_cannot_be_measured_is_said():
    with pytest.raises(ValueError, match="batch: given too many samples"):
        many = Batch(torch.randn(90, 1, 8, 8), torch.arange(90) % 10, ce)
        measured(Recipe("", {"*": Hebb()}, by.NoCredit()), mlp((1, 8, 8), 10, (6, 5), torch.tanh), many)
    with pytest.raises(ValueError, match="dW is 0e.00, there is nothing to measure"):
        measured(LINE_UPS["mlp"]["oja"], net("mlp"), replace(images(), x=torch.zeros(2, 1, 8, 8)))


# ---------------------------------------------------------------------------------------------- time
def needs_the_future(recipe, made, batch, synapse, step):
    """(Does the rule need what comes after a step? Does the credit?) For rules that do not pool steps.

    The rule does, if a trial is not the sum of its two parts with the state carried over. The credit does, if the rule
    makes another dW of what it saw and was told until the step when inputs and targets after it are others.
    """
    L = Learner(made, recipe, batch)
    rule = L.rules[synapse]

    def told(b):
        L.rules[synapse] = heard = Heard(rule)
        L.updates(b)
        return heard.told

    def part(rec, third, steps, state):
        def cut(v):
            return v[steps] if v.shape[:1] == rec.pre.shape[:1] else v

        seen = {k: cut(getattr(rec, k)) for k in ("pre", "u", "post", "slope")}
        kept = {k: cut(v) for k, v in rec.state.items()}
        return rule.update(replace(rec, **seen, state=kept), {k: cut(v) for k, v in third.items()}, state)

    def differ(a, b):
        assert a.norm() > 0
        return bool((a - b).norm() > 1e-9 * a.norm())

    x, y = batch.x.clone(), batch.target.clone()
    x[step:], y[step:] = x[step:].roll(1, 1), y[step:].roll(1, 1)  # of another sample
    ((rec, third),), ((_, _),) = told(batch), told(batch)
    ((rec2, third2),) = told(replace(batch, x=x, target=y))
    state = {}
    first = part(rec, third, slice(step), state)
    whole = first + part(rec, third, slice(step, None), state)
    return differ(rule.update(rec, third, {}), whole), differ(first, part(rec2, third2, slice(step), {}))


LIF = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=0.1)
CUT = by.Backprop(cut="*.recurrent")
ONE, TWO = "hidden.recurrent", "first.recurrent"
IN_TIME = {  # credit, hidden rule, neuron, synapse, (rule, credit)
    "bptt": (by.Backprop(), Gradient(), Rate(torch.tanh, tau=2.8), ONE, (False, True)),
    "recurrence cut, leak left": (CUT, Gradient(), Rate(torch.tanh, tau=2.8), ONE, (False, True)),
    "recurrence cut, no leak": (CUT, Gradient(), Rate(torch.tanh), ONE, (False, False)),
    "e-prop": (CUT, EProp(LIF), LIF, ONE, (True, False)),
    "e-prop online": (CUT, EPropOnline(LIF), LIF, ONE, (False, False)),
    "e-prop online below another layer": (CUT, EPropOnline(LIF), LIF, TWO, (False, True)),
    "direct feedback": (by.DirectFeedback(), Gradient(), Rate(torch.tanh, tau=2.8), ONE, (False, False)),
    "direct feedback, error pooled": (by.DirectFeedback(by.pooled), Gradient(), Rate(torch.tanh), ONE, (False, True)),
    "e-prop online, direct feedback": (by.DirectFeedback(), EPropOnline(LIF), LIF, TWO, (False, False)),
    "stdp": (by.NoCredit(), pair(), LIF, ONE, (False, False)),
    "hebb": (by.NoCredit(), Hebb(), Rate(torch.tanh, tau=2.8), ONE, (False, False)),
}  # fmt: skip


def two_layers(neuron):
    first, hidden = (Layer(dense(i, 8), neuron, recurrent=dense(8, 8)) for i in (3, 8))
    return nn.Sequential(OrderedDict(first=first, hidden=hidden, readout=Layer(dense(8, 2))))


@pytest.mark.parametrize("name", IN_TIME)
def test_who_needs_the_future(name):
    credit, rule, neuron, synapse, want = IN_TIME[name]
    made = two_layers(neuron) if synapse == TWO else rnn(neuron=neuron)
    batch = Batch(3 * torch.randn(20, 5, 3).abs(), torch.randn(20, 5, 2), mse_seq, time=True, dt=1.0)
    drawn = None if isinstance(rule, SpikeRule) else rule  # what comes in is no train of spikes
    recipe = Recipe(name, {"readout.*": None, "*.input": drawn, "*": rule}, credit)
    assert needs_the_future(recipe, made, batch, synapse, step=12) == want
    assert ("future" in rule.reads) == want[0]


# ---------------------------------------------------------------------------------------------- the table
def test_the_readme_has_the_table():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert section(readme) == shipped(), "run: python -m neurosim.locality --write"


def test_a_row_says_what_is_claimed():
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in shipped().splitlines() if line.startswith("|")]
    rows = {name: rest for name, *rest in cells}
    heads = rows["rule"]

    def marked(name):
        return {h for h, cell in zip(heads, rows[name]) if cell == "yes"}

    assert marked("backprop") == {"error", "transport"}
    assert marked("feedback-alignment") == {"error", "feedback"}
    assert marked("node-perturbation") == {"noise", "one number for all"}
    assert marked("forward-forward") == {"target", "other units", "noise", "one number for all"}
    assert marked("bcm") == {"other samples"}
    assert marked("hebb") == marked("frozen") == set()
    assert rows["oja"][0] == "post, pre, weight" and rows["frozen"][0] == "-"
    assert rows["backprop"][-1] == "1" and rows["node-perturbation"][-1] == rows["forward-forward"][-1] == "2"
    assert rows["rbm"][-1] == "1 in 2 passes"


def test_relaxation_steps_are_counted_as_trials():
    settle = Recipe("", {"*": Hebb()}, by.Equilibrium(free=5, nudged=3))
    batch = Batch(torch.rand(2, 64), torch.randn(2, 10), mse)
    played = trials(settle, lambda: mlp((64,), 10), batch)
    assert played == "14 in 2 passes"  # forward, 5 free, 3 nudged up and 3 down, and the two that are told of


def test_the_readout_is_told_apart():
    oja = LINE_UPS["mlp"]["oja"]
    assert oja.reads == {"pre", "post", "weight"} and oja.readout_reads == {"credit", "error", "pre"}


def test_the_table_is_written_between_its_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter {END}\n")
    write(path, "new | table")
    assert path.read_text() == f"before\n{BEGIN}\nnew | table\n{END}\nafter {END}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    path.write_text("no markers")
    with pytest.raises(ValueError, match="markers: the file must have the line"):
        write(path, "new")
    assert path.read_text() == "no markers"
