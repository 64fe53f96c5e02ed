"""The contract over all rules, cheats that it must catch, and which credits read other layers' forward weights."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import neurosim.credit as by
from neurosim.plasticity import Batch, Gradient, Unsupported, claims, column, outer, per_unit, rank, units
from neurosim.rules import ALL, Hebb, Oja, Perturbed, SoftHebb, SpikeRule, Term, Trace, pair
from neurosim.testing import check_rule, like_post, like_weight, per_sample
from tests.nets import learner, mlp, mse

TRACES = {"r1": Trace("pre", 20.0), "o1": Trace("post", 30.0)}
GATED = (
    Term(1.0, ("post", "r1"), gate="dopamine", tau_e=200.0),
    Term(-0.5, ("pre", "o1"), gate="serotonin", tau_e=50.0),
)
MODULATORS = {"dopamine": per_sample, "serotonin": per_sample}


# ---------------------------------------------------------------------------------------------- the rules we ship
@pytest.mark.parametrize("name", ALL)
def test_every_rule_keeps_the_contract(name):
    check_rule(ALL[name])


@pytest.mark.parametrize("rule", (pair(nearest=True), SoftHebb(0.5, power=0.5)), ids=("nearest", "norm-dependent rate"))
def test_other_values_of_the_rules_keep_the_contract(rule):
    check_rule(rule)


@pytest.mark.parametrize("shape", (per_sample, like_post))
def test_two_modulators_with_eligibilities_keep_the_contract(shape):
    check_rule(SpikeRule(TRACES, GATED), signals=dict.fromkeys(MODULATORS, shape))


def test_a_gate_that_is_a_trace_of_its_modulator_keeps_the_contract():
    terms = (Term(1.0, ("post", "r1"), gate="m", tau_e=200.0), GATED[1])
    check_rule(SpikeRule({**TRACES, "m": Trace("dopamine", 100.0)}, terms), signals=MODULATORS)


def test_forgotten_eligibility_keeps_the_contract():
    check_rule(SpikeRule(TRACES, GATED, forget=True), signals=MODULATORS)


def test_a_modulator_as_a_factor_keeps_the_contract():
    check_rule(SpikeRule(TRACES, (Term(1.0, ("post", "r1", "dopamine")),)), signals=MODULATORS)


def test_a_term_of_pre_spikes_alone_keeps_the_contract():
    check_rule(SpikeRule({}, (Term(0.1, ("pre",)),)))


@dataclass(frozen=True)
class Homeostatic:
    """dW = dopamine (post - theta) (x) pre, with theta as given: a researcher's own rule."""

    theta: float = 0.2
    reads: frozenset[str] = claims("pre", "post", "dopamine")

    def update(self, rec, third, state):
        return outer(rec, rec.pre, third["dopamine"] * (rec.post - self.theta))


def test_a_rule_of_ones_own_keeps_the_contract():
    check_rule(Homeostatic(), signals={"dopamine": per_sample})
    with pytest.raises(AssertionError, match="Homeostatic: reads has dopamine; known are pre, u, post"):
        check_rule(Homeostatic())


def test_check_rule_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    check_rule(Hebb())
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------------------------- planted cheats
@dataclass(frozen=True)
class Cheat:
    equation: Callable[..., Any]
    reads: frozenset[str]

    def update(self, rec, third, state):
        return self.equation(rec, third, state)


def cheat(equation, *reads):
    return Cheat(equation, frozenset(reads))


def hebb(rec, third, state):
    return outer(rec, rec.pre, rec.post)


def inhibited(rec, third, state):  # each unit less the sum of its layer
    return outer(rec, rec.pre, rec.post - rec.post.sum(-rank(rec.synapse), keepdim=True))


def counts_in_place(rec, third, state):
    if "n" in state:
        state["n"] += 1.0
    else:
        state["n"] = torch.zeros(())
    return outer(rec, rec.pre, rec.post) * (1 + state["n"])


def rectifies_in_place(rec, third, state):
    return outer(rec, rec.pre, rec.u.clamp_(min=0))


def averages(rec, third, state):
    return outer(rec, rec.pre, rec.post) / rec.pre.shape[int(rec.dt is not None)]


def sees_the_next_step(rec, third, state):
    return outer(rec, rec.pre[:-1], rec.post[1:]) if rec.dt else outer(rec, rec.pre, rec.post)


def same_decay_for_every_step(rec, third, state):
    if rec.dt is None:
        raise Unsupported("a spike rule needs time")
    z, dw = state.get("z", torch.zeros_like(rec.pre[0])), 0.0
    for x, y in zip(rec.pre, rec.post, strict=True):
        z = 0.9 * z + x
        dw = dw + outer(rec, z, y)
    state["z"] = z
    return dw


def decays_every_step(rec, third, state):
    return -0.1 * rec.weight * len(units(rec, rec.post))


def refuse():
    raise Unsupported("dense only")


def refuse_by_value(rec, third, state):
    raise ValueError("no")


def neighbour_pre(rec, third, state):
    return outer(rec, rec.pre + rec.pre.roll(1, -rank(rec.synapse)), rec.post)


def other_weights(rec, third, state):
    return outer(rec, rec.pre, rec.post) * column(rec, rec.weight.flatten(1).norm(dim=1).flip(0))


def geometry_as_weight(rec, third, state):
    return outer(rec, rec.pre, rec.post) - per_unit(rec, rec.post**2) * rec.synapse.weight


def random(rec, third, state):
    return outer(rec, rec.pre, rec.post) * torch.rand(())


CHEATS = {
    "reads post, claims pre": (cheat(hebb, "pre"), "on dense in time: dW changes with post, but it claims"),
    "overclaims a field": (cheat(hebb, "pre", "post", "slope"), "claims to read slope, but other values"),
    "overclaims a third factor": (cheat(hebb, "pre", "post", "reward"), "claims to read reward, but other values"),
    "overclaims lateral": (cheat(hebb, "pre", "post", "lateral"), "claims lateral, but no other unit"),
    "overclaims batch": (cheat(hebb, "pre", "post", "batch"), "claims batch, but a batch is the sum"),
    "overclaims future": (cheat(hebb, "pre", "post", "future"), "claims future, but a trial is the sum"),
    "asks unclaimed": (cheat(lambda rec, third, state: third["credit"], "pre"), r"fails with KeyError\('credit'\)"),
    "another unit's activity": (
        cheat(inhibited, "pre", "post"),
        "changes with another unit of its layer; claim lateral",
    ),
    "another unit's weights": (
        cheat(other_weights, "pre", "post", "weight"),
        "another unit of its layer; claim lateral",
    ),
    "another pre unit": (cheat(neighbour_pre, "pre", "post"), "changes with the pre activity of another synapse"),
    "the module's weight": (cheat(geometry_as_weight, "pre", "post"), "rec.synapse.weight; rec.weight transmitted"),
    "state in place": (cheat(counts_in_place, "pre", "post"), r"state\['n'\] is changed in place, not replaced"),
    "input in place": (cheat(rectifies_in_place, "pre", "u"), "u is changed in place, not replaced"),
    "divides by the batch size": (cheat(averages, "pre", "post"), "dW of a batch is not the sum over its samples"),
    "looks ahead": (cheat(sees_the_next_step, "pre", "post"), "not the sum of its one-step trials .* claim future"),
    "refuses nothing well": (cheat(refuse_by_value, "pre"), "on dense in time: update fails with ValueError"),
    "ignores dt": (cheat(same_decay_for_every_step, "pre", "post"), "dW depends on the step: .* half the dt"),
    "decays by the step": (cheat(decays_every_step, "weight"), "dW depends on the step"),
    "wrong shape": (
        cheat(lambda rec, third, state: hebb(rec, third, state).transpose(0, 1), "pre", "post"),
        r"shape of dW is torch.Size\(\[5, 4\]\), the weight's is torch.Size\(\[4, 5\]\)",
    ),
    "wrong dtype": (cheat(lambda *seen: hebb(*seen).float(), "pre", "post"), "dtype of dW is torch.float32"),
    "no tensor": (cheat(lambda *seen: 0.0, "pre"), "dW is a float, not a tensor"),
    "not finite": (cheat(lambda *seen: hebb(*seen) / 0, "pre", "post"), "dW is not finite"),
    "draws its own noise": (cheat(random, "pre", "post"), "give another dW the second time"),
    "dense only, by accident": (
        cheat(lambda rec, *told: rec.post.flatten(0, -2).T @ rec.pre.flatten(0, -2), "pre", "post"),
        "on conv in time: .*RuntimeError",
    ),
    "refuses everything": (cheat(lambda *seen: refuse(), "pre"), "runs on no synapse: dense only"),
    "a word nobody knows": (cheat(hebb, "pre", "psot"), "reads has psot; known are"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_planted_cheat_is_caught(name):
    rule, message = CHEATS[name]
    with pytest.raises(AssertionError, match=f"^Cheat.*{message}") as caught:
        check_rule(rule)
    assert "\n" not in str(caught.value)


def test_a_rule_that_can_be_changed_is_caught():
    class Loose:
        reads = frozenset({"pre", "post"})

        def update(self, rec, third, state):
            return outer(rec, rec.pre, rec.post)

    with pytest.raises(AssertionError, match="Loose: it can be changed after it is made"):
        check_rule(Loose())
    Loose.reads = ["pre", "post"]
    with pytest.raises(AssertionError, match="`reads`, a frozenset"):
        check_rule(Loose())
    with pytest.raises(AssertionError, match="a frozenset, and `update"):
        check_rule(object())


def test_a_refusal_without_a_reason_is_caught():
    def no_conv(rec, third, state):
        if rec.weight.dim() > 2:
            raise Unsupported("")
        return outer(rec, rec.pre, rec.post)

    with pytest.raises(AssertionError, match="on conv in time: .* Unsupported needs its reason"):
        check_rule(cheat(no_conv, "pre", "post"))


def test_another_shape_of_noise():
    def explores(rec, third, state):
        return outer(rec, rec.pre, third["noise"])

    check_rule(cheat(explores, "pre", "noise"), signals={"noise": like_post})
    check_rule(Perturbed(), signals={"noise": like_weight})


# ---------------------------------------------------------------------------------------------- credits
CREDITS = {
    "backprop": (by.Backprop(), Gradient()),
    "feedback alignment": (by.FeedbackAlignment(), Gradient()),
    "sign-symmetric": (by.SignSymmetric(), Gradient()),
    "kolen-pollack": (by.KolenPollack(), Gradient()),
    "direct feedback": (by.DirectFeedback(), Gradient()),
    "fixed prediction": (by.FixedPrediction(3), Gradient()),
    "predictive": (by.Predictive(), Gradient()),
    "predictive errors": (by.PredictiveErrors(), Gradient()),
    "equilibrium": (by.Equilibrium(), Hebb()),
    "node perturbation": (by.NodePerturbation(0.1), Gradient()),
    "weight perturbation": (by.WeightPerturbation(0.1), Perturbed()),
    "delta rule over Oja": (by.DeltaRule(), {"2.*": Gradient(), "*": Oja()}),
}


@pytest.mark.parametrize("name", CREDITS)
def test_dW_moves_with_downstream_weights_only_if_transport_is_claimed(name):
    """Downstream weights move in the null space of the activity that they transmit: every trial computes what it did.

    Whose dW of the first layer moves, reads W of other layers by another way than the forward. For a credit that claims
    it the clean trial is kept; for one that does not, every trial that it plays.
    """
    credit, rule = CREDITS[name]
    net, batch = mlp(12, 31, 30, 3), Batch(torch.randn(4, 12), torch.randn(4, 3), mse)
    L, sent = learner(net, batch, credit, rule), {1: [], 2: []}
    hooks = [net[i].register_forward_pre_hook(lambda m, x, i=i: sent[i].append(x[0].detach())) for i in sent]
    before = L.updates(batch)["0.input"]
    net(batch.x)
    for h in hooks:
        h.remove()
    output, weights = net(batch.x).detach(), copy.deepcopy(net.state_dict())
    transport = "transport" in credit.reads
    with torch.no_grad():
        for i, xs in sent.items():
            x = xs[-1] if transport else torch.cat(xs)
            free = torch.eye(x.shape[1]) - torch.linalg.pinv(x) @ x
            net[i].input.weight += torch.randn_like(net[i].input.weight) @ free
    after = L.updates(batch)["0.input"]
    assert all((net[i].input.weight - weights[f"{i}.input.weight"]).norm() > 0.5 for i in sent)
    torch.testing.assert_close(net(batch.x), output)
    moved = (after - before).norm() / before.norm()
    assert moved > 1e-3 if transport else moved < 1e-9, f"{name}: dW moved by {moved:.1e}"


def test_credits_of_both_kinds_are_probed():
    assert sum("transport" in credit.reads for credit, _ in CREDITS.values()) == 6 == len(CREDITS) / 2
