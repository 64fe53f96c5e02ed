"""Credit by targets, bursts and rewards, each against another road: plain loops, an enumeration, a limit."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from neurosim.credit import (
    BurstCredit,
    SampledReward,
    TargetPropagation,
)
from neurosim.plasticity import Batch, Gradient, Unsupported, alignment, play
from neurosim.rules import RewardedHebb
from tests.nets import LINE_UP_BATCH as B
from tests.nets import LINE_UP_CLASSES as K
from tests.nets import ce, learner, lenet, mlp, net_and_batch, relative


# ---------------------------------------------------------------------------------------------- targets
def by_targets(net, batch, inverses, eta, psi):
    """Targets through inverses, sample by sample in plain loops: credit at each layer's input."""
    W = [m.input.weight.detach() for m in net]
    credits = []
    for x, t in zip(batch.x, batch.target):
        ys, us = [x], []
        for i, w in enumerate(W):
            us.append(w @ ys[-1])
            ys.append(torch.tanh(us[-1]) if i < 2 else us[-1])
        better = ys[3] - eta * (ys[3].softmax(0) - F.one_hot(t, K))
        per = {2: (better - ys[3]) / eta}
        for i in (2, 1):
            V = inverses[i]
            better = ys[i] + psi(V @ better) - psi(V @ ys[i + 1])
            per[i - 1] = (1 - torch.tanh(us[i - 1]) ** 2) * (better - ys[i]) / eta
        credits.append(per)
    return [torch.stack([c[i] for c in credits]) for i in range(3)]


@pytest.mark.parametrize("psi", (torch.tanh, lambda v: v))
def test_target_propagation_against_plain_loops(psi):
    net, batch = net_and_batch(torch.tanh)
    credit = TargetPropagation(eta=0.3, sigma=0.2, psi=psi)
    L = learner(net, batch, credit)
    dw, x = L.updates(batch), batch.x
    credits = by_targets(net, batch, {i: L.own[f"inverse/{i}.input"].weight.detach() for i in (1, 2)}, 0.3, psi)
    for i, c in enumerate(credits):
        assert relative({"W": dw[f"{i}.input"]}, {"W": c.T @ x / B}) < 1e-10
        x = torch.tanh(x @ net[i].input.weight.detach().T)


def test_inverses_learn_to_invert():
    """An invertible linear layer: V W -> 1, and then the update is the pseudo-inverse's, not the transpose's."""
    torch.manual_seed(3)
    net = mlp(4, 4, 4, phi=lambda u: u)
    batch = lambda: Batch(torch.randn(64, 4), torch.randint(4, (64,)), ce)  # noqa: E731
    L = learner(net, batch(), TargetPropagation(sigma=0.5), {"inverse/*": Gradient(), "*": None}, lr=0.1)
    for _ in range(2000):
        L.step(batch())
    VW = L.own["inverse/1.input"].weight @ net[1].input.weight
    assert (VW - torch.eye(4)).norm() < 0.05


def test_target_propagation_trains_its_inverses_on_convolutions():
    net, batch = lenet()
    L = learner(net, batch, TargetPropagation(), lr=1e-2)
    r = play(net, batch).records["conv2.input"]
    miss = lambda: (L.own["inverse/conv2.input"](r.post) - r.pre).norm()  # noqa: E731
    before = miss()
    L.rules = {n: rule if n.startswith("inverse/") else None for n, rule in L.rules.items()}
    for _ in range(30):
        L.step(batch)
    assert (
        miss() < 0.8 * before
        and {"conv1.input", "readout.input"} <= learner(net, batch, TargetPropagation()).updates(batch).keys()
    )


# ---------------------------------------------------------------------------------------------- bursts
def bursts_by_hand(net, batch, Y, gain):
    W = [m.input.weight.detach() for m in net]
    rows = []
    for x, t in zip(batch.x, batch.target):
        ys, us = [x], []
        for i, w in enumerate(W):
            us.append(w @ ys[-1])
            ys.append(torch.sigmoid(us[-1]) if i < 2 else us[-1])
        d = (F.one_hot(t, K) - ys[3].softmax(0)).clamp(-0.5, 0.5)
        b, still, per = 0.5 + d, torch.full((K,), 0.5), {2: d}
        for i in (1, 0):
            e = ys[i + 1]
            h = e * (1 - e) / e
            p, q = (1 / (1 + torch.exp(-gain * h * (Y[i + 1].T @ v))) for v in (b, still))
            b, still = p * e, q * e
            per[i] = b - still
        rows.append(per)
    return [torch.stack([r[i] for r in rows]) for i in range(3)]


def test_burst_credit_against_plain_loops():
    net, batch = net_and_batch(torch.sigmoid)
    L = learner(net, batch, BurstCredit(gain=1.7))
    dw, x = L.updates(batch), batch.x
    credits = bursts_by_hand(net, batch, {i: L.own[f"feedback/{i}.input"].weight.detach() for i in range(3)}, 1.7)
    for i, c in enumerate(credits):
        assert relative({"W": dw[f"{i}.input"]}, {"W": c.T @ x / B}) < 1e-10
        x = torch.sigmoid(x @ net[i].input.weight.detach().T)


def test_bursts_with_tied_feedback_and_a_small_gain_follow_backprop():
    """Y = W: as the gain falls, sigmoid is linear, each layer's credit is backprop's times gain / 4 for each on the way."""
    net, batch = net_and_batch(torch.relu, seed=2)

    def gap(gain):
        L = learner(net, batch, BurstCredit(gain=gain))
        for n, m in L.own.items():
            with torch.no_grad():
                m.weight.copy_(net.get_submodule(n.removeprefix("feedback/")).weight)
        return 1 - min(c.item() for c in alignment(L, small(batch)).values())

    def small(batch):  # errors within the half that bursts can tell
        return replace(batch, loss=lambda o, y: ce(o, y) / 10)

    assert gap(1e-3) < 1e-5 < gap(1.0) < 0.5


def test_a_silent_neuron_has_no_credit_and_negative_rates_are_refused():
    net, batch = net_and_batch(torch.relu)
    L = learner(net, batch, BurstCredit())
    (p,) = L.recipe.credit.passes(net, batch, L.own, L._generator(0))
    y = p.trial.records["0.input"].post
    assert (p.third["credit"]["0"][y == 0] == 0).all() and (p.third["credit"]["0"][y > 0] != 0).any()
    net, batch = net_and_batch(torch.tanh)
    with pytest.raises(Unsupported, match="event rate, it must not be negative"):
        learner(net, batch, BurstCredit())


# ---------------------------------------------------------------------------------------------- reward
def test_the_mean_of_the_sampled_answers_is_the_gradient_of_expected_reward():
    """All classes enumerated: sum_c p(c) M(c) (one-hot(c) - p) x' = d/dW of p(target), whatever the expectation."""
    net, batch = net_and_batch(torch.tanh, sizes=(5, 5, 4, K))
    W = net[2].input.weight
    h = torch.tanh(torch.tanh(batch.x @ net[0].input.weight.T) @ net[1].input.weight.T).detach()
    hits = (h @ W.T).softmax(1).gather(1, batch.target[:, None]).mean()
    want = torch.autograd.grad(hits, W)[0]
    L = learner(net, batch, SampledReward(), {"2.*": Gradient(), "*": RewardedHebb()})
    L.own["expected reward"] = torch.linspace(0, 1, K)
    big = Batch(batch.x.repeat(40_000, 1), batch.target.repeat(40_000), ce)
    got = L.updates(big)["2.input"]
    assert (got - want).norm() / want.norm() < 0.05


def test_expected_reward_is_kept_by_class_of_stimulus():
    net, batch = net_and_batch(torch.tanh)
    L = learner(net, batch, SampledReward(rate=0.25), {"2.*": Gradient(), "*": RewardedHebb()})
    own = {"expected reward": torch.tensor([0.2, 0.4, 0.6, 0.8])}
    (p,) = L.recipe.credit.passes(net, batch, own, torch.Generator().manual_seed(5))
    before = [0.2, 0.4, 0.6, 0.8]
    R = [m + before[t] for m, t in zip(p.third["reward"].tolist(), batch.target.tolist())]
    assert all(min(abs(r), abs(r - 1)) < 1e-12 for r in R)
    for k in range(K):
        of = [r for r, t in zip(R, batch.target.tolist()) if t == k]
        want = before[k] + 0.25 * (sum(of) / len(of) - before[k]) if of else before[k]
        assert own["expected reward"][k].item() == pytest.approx(want, abs=1e-12)
