"""Reward signals and credits against plain loops, a random walk with known values, and an exact gradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import Critic, MeanReward, NoisyReward, RawReward, SampledReward, Shuffled, Unmodulated
from neurosim.credit.reward import right
from neurosim.credit.signals import constant
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Rate, Recipe, play
from neurosim.rules import Hebb, RewardedHebb
from neurosim.rules.reward import Gated
from tests.nets import ce, dense, learner, net_and_batch, relative

DRAW = torch.Generator()


def shown(B=12, classes=3):
    """A batch of trials, and whether their answers were right."""
    batch = Batch(torch.randn(B, 5), torch.randint(classes, (B,)), ce)
    return batch, (torch.rand(B) < 0.4).double()


# ---------------------------------------------------------------------------------------------- expectation
def test_a_mean_by_class_against_a_loop():
    signal, Rbar = MeanReward(rate=0.3), torch.zeros(3)
    want = [0.0, 0.0, 0.0]
    for _ in range(5):
        batch, R = shown()
        M, Rbar = signal.of(R, batch, Rbar, DRAW)
        rows = list(zip(R.tolist(), batch.target.tolist()))
        assert M.tolist() == pytest.approx([r - want[k] for r, k in rows], abs=1e-14)
        for k in range(3):
            if of := [r for r, j in rows if j == k]:
                want[k] += 0.3 * (sum(of) / len(of) - want[k])
        assert Rbar.tolist() == pytest.approx(want, abs=1e-14)


def test_a_class_that_is_not_shown_keeps_its_mean():
    batch = Batch(torch.randn(4, 5), torch.tensor([0, 0, 2, 2]), ce)
    _, Rbar = MeanReward().of(torch.ones(4), batch, torch.full((3,), 0.25), DRAW)
    assert Rbar[1] == 0.25 and (Rbar[[0, 2]] > 0.25).all()


def test_in_time_the_mean_of_the_whole_trial_is_taken_off_at_its_end():
    batch, Rbar = Batch(torch.zeros(6, 4, 2), torch.tensor([0, 1, 1, 0]), ce, time=True), torch.tensor([0.5, 2.0])
    R = torch.rand(6, 4)
    M, after = MeanReward(rate=0.1).of(R, batch, Rbar, DRAW)
    assert torch.equal(M[:-1], R[:-1])
    assert (M.sum(0) - (R.sum(0) - torch.tensor([0.5, 2.0, 2.0, 0.5]))).abs().max() < 1e-14
    assert after[1] == pytest.approx(2.0 + 0.1 * (R[:, 1:3].sum().item() / 2 - 2.0), abs=1e-14)


def test_a_critic_that_knows_nothing_and_looks_no_further_is_a_running_mean():
    critic, mean = Critic(rate=0.2, gamma=0.0, phi=constant), MeanReward(rate=0.2, by_class=False)
    w, Rbar = (s.begin(shown()[0], 3) for s in (critic, mean))
    for _ in range(20):
        batch, R = shown()
        delta, w = critic.of(R, batch, w, DRAW)
        M, Rbar = mean.of(R, batch, Rbar, DRAW)
        assert (delta - M).abs().max() < 1e-14 and (w - Rbar).abs().max() < 1e-14
    assert Rbar.item() > 0.1


def test_a_critic_of_one_step_learns_the_regression_of_reward_on_the_stimulus():
    """delta = R - V(x): V goes to the least squares fit, by the normal equations."""
    x = torch.randn(400, 5)
    batch, R = Batch(x, torch.zeros(400).long(), ce), (x[:, 0] + 0.3 * torch.randn(400) > 0.5).double()
    critic = Critic(rate=0.5, gamma=0.9)
    w = critic.begin(batch, 2)
    for _ in range(1000):
        delta, w = critic.of(R, batch, w, DRAW)
    phi = torch.cat([torch.ones(400, 1), x], 1) / 6**0.5
    assert (w - torch.linalg.lstsq(phi, R[:, None]).solution[:, 0]).norm() < 1e-8
    assert (delta - (R - phi @ w)).abs().max() < 1e-8


# ---------------------------------------------------------------------------------------------- temporal difference
def walks(B, steps=150):
    """The random walk of Sutton & Barto (2018, example 6.2): A..E, from C, reward 1 on leaving E to the right, else 0."""
    x, R = torch.zeros(steps, B, 5), torch.zeros(steps, B)
    at = torch.full((B,), 2)
    for t in range(steps):
        there = (at >= 0) & (at < 5)
        x[t, there, at[there]] = 1
        to = at + 2 * torch.randint(2, (B,)) - 1
        R[t] = (there & (to == 5)).double()
        at = torch.where(there, to, at)
    return Batch(x, time=True), R


def test_a_critic_learns_the_values_of_the_random_walk():
    critic = Critic(rate=0.5, gamma=1.0, phi=lambda batch: batch.x)
    w = torch.full((5,), 0.5)
    for n in range(60):
        batch, R = walks(64)
        _, w = replace(critic, rate=1.0 / (1 + n / 6)).of(R, batch, w, DRAW)
    assert (w - torch.arange(1, 6) / 6).abs().max() < 0.03


def test_a_prediction_error_moves_from_the_reward_to_what_predicts_it():
    """Schultz, Dayan & Montague 1997: a stimulus at 3, reward at 8. Delta moves from the one to the other."""
    x, R = torch.zeros(10, 1, 6), torch.zeros(10, 1)
    for t in range(3, 9):
        x[t, 0, t - 3] = 1  # how long ago the stimulus was
    R[8] = 1.0
    critic, batch = Critic(rate=0.2, gamma=1.0, phi=lambda batch: batch.x), Batch(x, time=True)
    w = critic.begin(batch, 0)
    first, w = critic.of(R, batch, w, DRAW)
    for _ in range(600):
        delta, w = critic.of(R, batch, w, DRAW)
    assert first[:, 0].nonzero().tolist() == [[8]] and first[8, 0] == 1
    assert delta[2, 0] == pytest.approx(1, abs=1e-6) and delta[8, 0].abs() < 1e-6  # told on the way into the stimulus
    left, _ = critic.of(torch.zeros_like(R), batch, w, DRAW)
    assert left[8, 0] == pytest.approx(-1, abs=1e-6)  # what was predicted is missing


def test_errors_in_time_against_a_loop():
    critic = Critic(rate=0.3, gamma=0.8)
    batch, R = Batch(torch.randn(7, 4, 3), time=True), torch.randn(7, 4)
    got, w_got = critic.of(R, batch, critic.begin(batch, 0), DRAW)
    w, phi = [0.0] * 4, [[[0.5, *(v / 2 for v in b)] for b in t] for t in batch.x.tolist()]
    V = lambda f: sum(a * b for a, b in zip(f, w))  # noqa: E731
    for t in range(7):
        ds = [R[t, b].item() + (0.8 * V(phi[t + 1][b]) if t < 6 else 0) - V(phi[t][b]) for b in range(4)]
        assert got[t].tolist() == pytest.approx(ds, abs=1e-12)
        w = [w[i] + 0.3 * sum(ds[b] * phi[t][b][i] for b in range(4)) / 4 for i in range(4)]
    assert w_got.tolist() == pytest.approx(w, abs=1e-12)


# ---------------------------------------------------------------------------------------------- raw, none, shuffled
def test_raw_and_none():
    batch, R = shown()
    assert RawReward().of(R, batch, torch.zeros(0), DRAW)[0] is R
    assert (Unmodulated().of(R, batch, torch.zeros(0), DRAW)[0] == 1).all() and not Unmodulated().reads


def test_what_is_shuffled_is_all_there_and_never_ones_own():
    """In the mean it is that of the others, within 4.5 standard errors; and no draw loses or makes anything."""
    batch, R = shown()
    signal, g, n = Shuffled(MeanReward()), torch.Generator().manual_seed(1), 3000
    Rbar = torch.tensor([0.2, 0.5, 0.4])
    _, after = MeanReward().of(R, batch, Rbar, g)
    assert torch.equal(signal.of(R, batch, Rbar, g)[1], after)
    own = torch.arange(len(R)) + 0.5  # all different, so that one's own is told apart
    drawn = torch.stack([Shuffled(RawReward()).of(own, batch, torch.zeros(0), g)[0] for _ in range(n)])
    assert torch.equal(drawn.sort(1).values, own.expand(n, -1)) and (drawn != own).all()
    others = (own.sum() - own) / (len(own) - 1)
    error = drawn.std(0) / n**0.5
    assert ((drawn.mean(0) - others) / error).abs().max() < 4.5
    assert (Shuffled(RawReward()).of(own[:1], batch, torch.zeros(0), g)[0] == 0).all()  # there is no other


def test_a_critic_is_given_a_reward_of_the_batchs_shape():
    critic, batch = Critic(), Batch(torch.rand(6, 3, 4), time=True)
    for shape, message in (
        ((3,), r"given the shape \[3\], expected \[T, B\] = \[6, 3\]"),
        ((4, 3), "expected"),
        ((6, 1), "expected"),
    ):
        with pytest.raises(ValueError, match=f"R: .*{message}"):
            critic.of(torch.zeros(shape), batch, critic.begin(batch, 1), DRAW)


def test_a_shuffled_reward_moves_no_answer_in_the_mean():
    """REINFORCE: E[M' (1[c] - p)] = 0 where M' is another's, and p (1 - p) at the target where it is one's own."""
    g, p, n = torch.Generator().manual_seed(2), torch.tensor([0.2, 0.5, 0.3]), 8000
    c = torch.multinomial(p.expand(n, 3), 4, replacement=True, generator=g)  # [draws, samples], target 1 for all
    R = (c == 1).double()
    told = torch.stack([Shuffled(RawReward()).of(r, None, torch.zeros(0), g)[0] for r in R])
    own, other = (M * (R - p[1]) for M in (R, told))
    assert (own.mean(0) - p[1] * (1 - p[1])).abs().max() < 4.5 * 0.5 / n**0.5
    assert other.mean(0).abs().max() < 4.5 * other.std() / n**0.5


# ---------------------------------------------------------------------------------------------- the sampled answer
def test_the_default_is_the_running_mean_of_the_class_bit_for_bit():
    """Against the credit as it was before there were signals."""
    net, batch = net_and_batch(torch.tanh, seed=4)
    L = learner(net, batch, SampledReward(rate=0.2), {"2.*": Gradient(), "*": RewardedHebb()})
    own, expected = dict(L.own), torch.zeros(4)
    a, b = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for _ in range(4):
        (got,) = SampledReward(rate=0.2).passes(net, batch, own, a)
        p = play(net, batch).output.detach().softmax(-1)
        c = torch.multinomial(p.nan_to_num(1.0), 1, generator=b)[:, 0]
        R = (c == batch.target).to(p.dtype)
        M = R - expected[batch.target]
        shown = F.one_hot(batch.target, 4).to(p.dtype)
        count = shown.sum(0)
        expected = torch.where(count > 0, expected + 0.2 * ((R @ shown) / count.clamp(min=1) - expected), expected)
        assert torch.equal(got.third["reward"], M) and torch.equal(own["expected reward"], expected)
        assert torch.equal(got.third["credit"]["2"], M[:, None] * (F.one_hot(c, 4).to(p.dtype) - p))


def test_a_signal_is_told_instead_and_the_expectation_goes_on():
    net, batch = net_and_batch(torch.tanh)
    for signal, want in ((RawReward(), {0.0, 1.0}), (Unmodulated(), {1.0})):
        L = learner(net, batch, SampledReward(signal=signal), {"2.*": Gradient(), "*": RewardedHebb()})
        (p,) = L.recipe.credit.passes(net, batch, own := dict(L.own), torch.Generator().manual_seed(0))
        assert set(p.third["reward"].tolist()) <= want and "signal" in own
    hebb = learner(net, batch, SampledReward(), {"2.*": Gradient(), "*": Hebb()}).updates(batch)
    told = L.updates(batch)
    assert relative({n: told[n] for n in ("0.input", "1.input")}, {n: hebb[n] for n in ("0.input", "1.input")}) < 1e-12


# ---------------------------------------------------------------------------------------------- acetylcholine
class Stubborn(nn.Sequential):
    """Answers 0, whatever is shown."""

    def __init__(self):
        super().__init__(Layer(dense(5, 4), torch.tanh), Layer(dense(4, 2)))

    def forward(self, x):
        return super().forward(x) * 0 + torch.tensor([50.0, 0.0])


def test_acetylcholine_falls_where_the_answer_is_known():
    """Class 0 is always right, class 1 never; batches with both, with one, with the other. Rate 1/4, by hand."""
    net = Stubborn()
    of = lambda *ks: Batch(torch.randn(len(ks), 5), torch.tensor(ks), ce)  # noqa: E731
    L = learner(
        net, of(0, 1), SampledReward(rate=0.25), {"1.*": None, "*": Gated(RewardedHebb(), "reward", "acetylcholine")}
    )
    shown = (of(0, 1, 0), of(0, 0, 0), of(1, 1, 1), of(0, 1, 1))
    ACh = ([1.0, 1.0, 1.0], [0.75, 0.75, 0.75], [1.0, 1.0, 1.0], [0.5625, 1.0, 1.0])
    Rbar = ([0.0, 0.0, 0.0], [0.25, 0.25, 0.25], [0.0, 0.0, 0.0], [0.4375, 0.0, 0.0])
    for batch, ach, rbar in zip(shown, ACh, Rbar):
        (p,) = L.recipe.credit.passes(net, batch, dict(L.own), torch.Generator().manual_seed(0))
        assert p.third["acetylcholine"].tolist() == ach
        dw, W = L.updates(batch)["0.input"], net[0].input.weight.detach()
        want = torch.zeros_like(W)
        for x, k, a, r in zip(batch.x, batch.target.tolist(), ach, rbar):
            y = torch.tanh(W @ x)
            want += a * ((k == 0) - r) * torch.outer(y, x) / 3
        assert (dw - want).abs().max() < 1e-14
        L.steps, (_, L.state, L.own) = L.steps + 1, L._updates(batch)


def test_gated_hands_on_what_the_rule_reads_alone():
    rule = Gated(RewardedHebb(), "reward", "acetylcholine")
    assert rule.reads == {"pre", "post", "reward", "acetylcholine"}
    with pytest.raises(ValueError, match="factor: given 'reward', which the rule does not read; it reads post, pre"):
        Gated(Hebb(), "reward", "acetylcholine")


# ---------------------------------------------------------------------------------------------- node perturbation
def test_the_mean_update_is_the_gradient_of_expected_reward():
    """Two linear layers and two classes, so that P(right) = Phi(mu / s), by autograd; and by the credit, with error bars."""
    net = nn.Sequential(Layer(dense(4, 3), Rate()), Layer(dense(3, 2), Rate()))
    x, target, sigma = torch.randn(3, 4), torch.tensor([0, 1, 0]), 0.7
    W1, W2 = (m.input.weight for m in net)
    a = F.one_hot(target, 2) - F.one_hot(1 - target, 2).double()
    mu = ((x @ W1.T @ W2.T) * a).sum(1)
    s = sigma * ((a @ W2).square().sum(1) + 2).sqrt()
    hits = torch.special.ndtr(mu / s)
    want = torch.cat([g.flatten() for g in torch.autograd.grad(hits.mean(), (W1, W2))])
    n, chunks = 8000, 60
    big = Batch(x.repeat(n, 1), target.repeat(n), ce)
    L = Learner(net, Recipe("r", {"*": Gradient()}, NoisyReward(sigma)), big)
    L.own["signal"] = torch.tensor([0.4, 0.7])  # any expectation of the class: it changes the variance alone
    got = []
    for L.steps in range(chunks):
        dw = L.updates(big)
        got.append(torch.cat([dw["0.input"].flatten(), dw["1.input"].flatten()]))
    got = torch.stack(got)
    error = got.std(0) / chunks**0.5
    assert ((got.mean(0) - want) / error).abs().max() < 4.5
    assert (want / error).abs().max() > 50  # bars that a wrong scale or sign would leave


def test_what_is_told_is_of_the_disturbed_trial():
    net, batch = net_and_batch(torch.tanh)
    L = learner(net, batch, NoisyReward(0.3, RawReward()))
    for seed in range(5):
        (p,) = L.recipe.credit.passes(net, batch, dict(L.own), torch.Generator().manual_seed(seed))
        R = p.third["reward"]
        assert torch.equal(R, (p.trial.output.argmax(1) == batch.target).double())
        xi = torch.atanh(p.trial.records["0.input"].post) - batch.x @ net[0].input.weight.detach().T
        assert (p.third["credit"]["0"] - R[:, None] * xi / 0.09).abs().max() < 1e-10 and 0.2 < xi.std() < 0.4


def test_of_equal_outputs_any_is_the_answer():
    output, n = torch.tensor([[1.0, 3.0, 3.0, 3.0]]).repeat(9000, 1), 9000
    for k, p in ((0, 0.0), (1, 1 / 3), (3, 1 / 3)):
        R = right(output, torch.full((n,), k), torch.Generator().manual_seed(0))
        assert abs(R.mean() - p) <= 4.5 * (p * (1 - p) / n) ** 0.5
    assert right(output[:1], torch.tensor([0]), DRAW) == 0


# ---------------------------------------------------------------------------------------------- bad input
def test_bad_input_is_refused():
    for make in (MeanReward, Critic, SampledReward):
        for rate in (0.0, 1.5, float("nan")):
            with pytest.raises(
                ValueError, match=f"rate: given {rate}, the running mean needs one above 0 and at most 1"
            ):
                make(rate=rate)
    with pytest.raises(ValueError, match="gamma: given 1.1, a discount lies in 0 .. 1"):
        Critic(gamma=1.1)
    with pytest.raises(ValueError, match="sigma: given 0, the noise needs a positive standard deviation"):
        NoisyReward(0)
