"""Attention in its forms, the Transformer, and credit on it: against autograd, recurrences, loops and worked examples."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import (
    Backprop,
    BlockFeedback,
    BlockLocal,
    DirectFeedback,
    FeedbackAlignment,
    NodePerturbation,
    SampledAnswers,
    TiedFeedback,
    own_step,
    pooled,
)
from neurosim.locality import WORDS, claimed
from neurosim.networks import transformer
from neurosim.networks.attention import (
    Attention,
    DeltaWeights,
    FastWeights,
    Hopfield,
    Linear,
    Softmax,
    hopfield_energy,
    hopfield_update,
    positive,
)
from neurosim.networks.transformer import Block, norm, places
from neurosim.plasticity import Batch, Gradient, Layer, Learner, Recipe, Unsupported, play, synapses
from neurosim.probes import measured
from neurosim.tasks import NOT_ASKED, induction, recall
from tests.nets import autograd, ce_seq, dense, mlp, relative, updates

NEAR = 1e-12
FORMS = [Softmax(), Linear(), Linear(normalised=True), FastWeights(), DeltaWeights(), DeltaWeights(eta=0.3)]


def qkv(T=7, B=3, heads=2, n=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(T, B, heads, n, generator=g, dtype=torch.float64) for _ in range(3))


def small(seed=0, **how):
    torch.manual_seed(seed)
    net = transformer((6,), 4, d=8, blocks=2, heads=2, **how)
    x = F.one_hot(torch.randint(6, (5, 3)), 6).double()
    return net, Batch(x, torch.randint(4, (5, 3)), ce_seq, time=True)


# ---------------------------------------------------------------------------------------------- forms of attention
def by_loops(q, k, v, weigh, causal):
    """y_t = sum_s weigh(q_t, all k_s)_s v_s, a token, lane and head at a time."""
    T, B, heads, _ = q.shape
    y = torch.zeros_like(v)
    for t in range(T):
        for b in range(B):
            for h in range(heads):
                seen = range(t + 1) if causal else range(T)
                w = weigh(q[t, b, h], [k[s, b, h] for s in seen])
                y[t, b, h] = sum(w_s * v[s, b, h] for w_s, s in zip(w, seen))
    return y


def softmax_weights(q, ks):
    e = [math.exp((q @ k).item() / math.sqrt(len(q))) for k in ks]
    return [x / sum(e) for x in e]


def features(x):
    e = [a + 1 if a > 0 else math.exp(a) for a in x.tolist()]
    return [a / sum(e) for a in e]


def linear_weights(q, ks):
    return [sum(a * b for a, b in zip(features(q), features(k))) for k in ks]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("attend, weigh", [(Softmax(), softmax_weights), (Linear(), linear_weights)])
def test_attention_is_its_sum(attend, weigh, causal):
    q, k, v = qkv()
    torch.testing.assert_close(attend(q, k, v, causal), by_loops(q, k, v, weigh, causal), rtol=0, atol=NEAR)


def test_features_far_below_zero_are_numbers():
    for kind in (torch.float32, torch.float64):
        y = positive(torch.tensor([[-20.0, -21.0], [-300.0, -300.0]], dtype=kind))
        torch.testing.assert_close(
            y[0], torch.tensor([1.0, math.exp(-1)], dtype=kind) / (1 + math.exp(-1)), rtol=1e-5, atol=0
        )
        assert torch.isfinite(y).all()


def test_normalised_linear_attention_is_a_mean():
    q, k, v = qkv()
    ones = Linear(normalised=True)(q, k, torch.ones_like(v), True)
    torch.testing.assert_close(ones, torch.ones_like(v), rtol=0, atol=NEAR)
    share = Linear()(q, k, v, True) / Linear()(q, k, torch.ones_like(v), True)
    torch.testing.assert_close(Linear(normalised=True)(q, k, v, True), share, rtol=0, atol=NEAR)


@pytest.mark.parametrize("seed", [0, 1])
def test_causal_linear_attention_is_hebbian_fast_weights(seed):
    q, k, v = qkv(seed=seed)
    torch.testing.assert_close(FastWeights()(q, k, v, True), Linear()(q, k, v, True), rtol=0, atol=NEAR)


def test_the_delta_rule_overwrites_what_hebb_adds_to():
    """One key with two values: read after the second, the delta rule says it, Hebb the sum; eta = 1/2 moves half the way."""
    n, same = 4, lambda x: x
    k = F.one_hot(torch.tensor([2, 2]), n).double()[:, None, None]
    v = torch.randn(2, 1, 1, n, dtype=torch.float64)
    after = {f: f(k, k, v, True)[1] for f in (DeltaWeights(same), DeltaWeights(same, 0.5), FastWeights(same))}
    want = [v[1], v[0] / 4 + v[1] / 2, v[0] + v[1]]
    for got, expected in zip(after.values(), want):
        torch.testing.assert_close(got, expected, rtol=0, atol=NEAR)


def test_the_delta_rule_holds_as_many_pairs_as_dimensions():
    """n independent keys, written round and round: the one written longest ago is still read exactly (Kaczmarz 1937); of

    2 n keys it is not.
    """
    g, n = torch.Generator().manual_seed(3), 6

    def left(pairs):
        keys, values = (torch.randn(pairs, n, generator=g, dtype=torch.float64) for _ in range(2))
        k, v = (x.repeat(36_000 // pairs, 1)[:, None, None] for x in (keys, values))
        q = k.clone()
        q[-1, 0, 0] = keys[0]
        return (DeltaWeights(lambda x: x)(q, k, v, True)[-1, 0, 0] - values[0]).abs().max().item()

    assert left(n) < 1e-6 < 0.1 < left(2 * n)


@pytest.mark.parametrize("attend", FORMS, ids=str)
def test_no_form_looks_ahead_and_lanes_are_apart(attend):
    q, k, v = qkv()
    y = attend(q, k, v, True)
    for x in (k, v):
        x[4:] += 1.0
    q[4:] += 1.0
    again = attend(q, k, v, True)
    torch.testing.assert_close(again[:4], y[:4], rtol=0, atol=0)
    assert not torch.allclose(again[4:], y[4:])
    v[:, 1] = 0.0
    torch.testing.assert_close(attend(q, k, v, True)[:, [0, 2]], again[:, [0, 2]], rtol=0, atol=NEAR)


def test_the_worked_example():
    """Query (-1, 1) against keys (-2, 1), (-1, 1), (0, 1): cosines .949, 1, .707; of unit vectors the second wins."""
    q, keys = torch.tensor([-1.0, 1.0]), torch.tensor([[-2.0, 1.0], [-1.0, 1.0], [0.0, 1.0]])
    cosines = F.cosine_similarity(q, keys)
    assert [round(c, 3) for c in cosines.tolist()] == [0.949, 1.0, 0.707]
    unit = F.normalize(keys, dim=1)
    k = unit[:, None, None]
    a = Softmax(beta=1.0).map(F.normalize(q, dim=0).expand(3, 1, 1, 2), k, causal=False)[0, 0]
    want = torch.tensor([math.exp(0.948683), math.exp(1.0), math.exp(0.707107)])
    torch.testing.assert_close(a[0], want / want.sum())
    assert a[0].argmax() == 1


def test_the_map_is_what_values_are_mixed_by():
    q, k, v = qkv()
    for causal in (True, False):
        a = Softmax().map(q, k, causal)
        torch.testing.assert_close(a.sum(-1), torch.ones_like(a[..., 0]), rtol=0, atol=NEAR)
        mixed = torch.einsum("bhts,sbhn->tbhn", a, v)
        torch.testing.assert_close(Softmax()(q, k, v, causal), mixed, rtol=0, atol=NEAR)


def test_bad_input():
    q, k, v = qkv()
    with pytest.raises(ValueError, match="causal: given False"):
        FastWeights()(q, k, v, False)
    for wrong in (lambda: Softmax(beta=0.0), lambda: Hopfield(4, 3, beta=-1.0)):
        with pytest.raises(ValueError, match="beta: given"):
            wrong()
    for eta in (0.0, 1.5):
        with pytest.raises(ValueError, match="eta: given"):
            DeltaWeights(eta=eta)
    with pytest.raises(ValueError, match="heads: given 3"):
        Attention(8, heads=3)
    with pytest.raises(ValueError, match="blocks: given 0"):
        transformer((4,), 2, blocks=0)
    with pytest.raises(ValueError, match="pairs: given 1, it must be a whole number of at least 2"):
        recall(pairs=1)
    with pytest.raises(ValueError, match="symbols: given 4"):
        induction(length=5, symbols=4)


# ---------------------------------------------------------------------------------------------- Hopfield
@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_a_hopfield_update_is_attention(beta):
    """Queries xi, keys and values X; at beta = 1 / sqrt(d) it is the usual one."""
    X, xi = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    as_tokens = (x[:, None, None] for x in (xi, X, X))
    torch.testing.assert_close(
        Softmax(beta)(*as_tokens, False)[:, 0, 0], hopfield_update(X, xi, beta), rtol=0, atol=NEAR
    )
    usual = F.scaled_dot_product_attention(*(x[None] for x in (xi, X, X)))[0]
    torch.testing.assert_close(hopfield_update(X, xi, 4**-0.5), usual, rtol=0, atol=NEAR)


def test_hopfields_energy_never_rises_and_an_update_is_its_step():
    """E falls at every update from random states; at a fixed point dE/dxi = xi - update(xi) vanishes."""
    X, xi = torch.randn(9, 6, dtype=torch.float64), 3 * torch.randn(40, 6, dtype=torch.float64)
    for beta in (0.2, 1.0, 5.0):
        z = xi.clone()
        for _ in range(30):
            new = hopfield_update(X, z, beta)
            before, after = hopfield_energy(X, z, beta), hopfield_energy(X, new, beta)
            assert (after <= before + NEAR).all() and (after >= -NEAR).all()
            z = new
        z.requires_grad_()
        (slope,) = torch.autograd.grad(hopfield_energy(X, z, beta).sum(), z)
        torch.testing.assert_close(slope, (z - hopfield_update(X, z, beta)).detach(), rtol=0, atol=1e-10)


def test_a_hopfield_layer_with_tied_weights_is_one_update():
    layer = Hopfield(6, 5, beta=0.7).double()
    X = torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        layer.keys.input.weight.copy_(X)
        layer.values.input.weight.copy_(X.T)
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x).detach(), hopfield_update(X, x, 0.7), rtol=0, atol=NEAR)


# ---------------------------------------------------------------------------------------------- the net
def test_the_transformer_is_that_of_torch():
    """Pre-norm nn.TransformerEncoder with our weights, biases 0 and norms at 1: the same stream."""
    net, batch = small()
    d = 8
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(d, 2, 4 * d, 0.0, "gelu", norm_first=True),
        2,
        nn.LayerNorm(d),
        enable_nested_tensor=False,
    )
    with torch.no_grad():
        for mine, other in zip(net.blocks, theirs.layers):
            a = mine.attention
            other.self_attn.in_proj_weight.copy_(torch.cat([getattr(a, n).input.weight for n in "qkv"]))
            other.self_attn.out_proj.weight.copy_(a.o.input.weight)
            other.linear1.weight.copy_(mine.up.input.weight)
            other.linear2.weight.copy_(mine.down.input.weight)
            for m in (other.self_attn.out_proj, other.linear1, other.linear2):
                m.bias.zero_()
            other.self_attn.in_proj_bias.zero_()
        x = net.embed(batch.x)
        x = x + places(len(x), x)
        mask = nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype)
        want = net.readout(theirs(x, mask=mask))
        torch.testing.assert_close(net(batch.x), want, rtol=0, atol=1e-12)


def test_all_its_parameters_are_synapses():
    net, _ = small()
    assert {n for n, _ in net.named_parameters()} == {f"{n}.weight" for n in synapses(net)}
    assert len(synapses(net)) == 2 + 2 * 6
    hopfield, _ = small(memory=lambda d: Hopfield(d, 5))
    assert "blocks.1.attention.keys.input" in synapses(hopfield)


def test_places_differ_and_know_no_length():
    like = torch.zeros(1, 1, 9, dtype=torch.float64)
    p = places(50, like)
    assert p.shape == (50, 1, 9)
    assert torch.pdist(p[:, 0]).min() > 0.1
    torch.testing.assert_close(places(20, like), p[:20], rtol=0, atol=0)
    torch.testing.assert_close(p[7, 0, :2], torch.tensor([7.0, 7.0], dtype=torch.float64).sin_() * torch.tensor([1.0, 0.0])
                               + torch.tensor([0.0, math.cos(7.0)], dtype=torch.float64))  # fmt: skip


# ---------------------------------------------------------------------------------------------- credit
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("attend", FORMS, ids=str)
def test_backprop_is_autograd_on_every_projection(attend, seed):
    net, batch = small(seed, attend=attend)
    got, want = updates(net, batch, Backprop()), autograd(net, batch)
    assert got.keys() == want.keys() == synapses(net).keys()
    assert all(d.abs().max() > 0 for d in got.values())
    assert relative(got, want) < NEAR


@pytest.mark.parametrize("attend", FORMS, ids=str)
def test_feedback_alignment_with_B_equal_W_is_backprop(attend):
    net, batch = small(attend=attend)
    assert relative(updates(net, batch, TiedFeedback()), autograd(net, batch)) < NEAR
    L = Learner(net, Recipe("fa", {"*": Gradient()}, FeedbackAlignment(), lr=0.1), batch)
    assert relative(L.updates(batch), autograd(net, batch)) > 0.1
    with torch.no_grad():
        for n, m in synapses(net).items():
            L.own[f"feedback/{n}"].weight.copy_(m.weight)
    assert relative(L.updates(batch), autograd(net, batch)) < NEAR


def told(net, batch, credit):
    L = Learner(net, Recipe("x", {"*": Gradient()}, credit, lr=0.1), batch)
    return L, L.updates(batch)


def errors(net, batch):
    return (F.one_hot(batch.target, 4) - play(net, batch).output.softmax(-1)).detach().double()


@pytest.mark.parametrize("error", [own_step, pooled])
def test_feedback_to_blocks_is_a_loss_linear_in_their_ends(error):
    """Autograd of <B_b e, x_b>, block by block, with the stream cut between them, in a program of its own."""
    net, batch = small()
    L, got = told(net, batch, BlockFeedback(error))
    e = errors(net, batch)
    sent = e if error is own_step else e.sum(0, keepdim=True).expand_as(e)
    x = net.embed(batch.x)
    aims = (sent @ L.own["direct/embed"].weight.T * x).sum()
    x = x + places(len(x), x)
    for k, block in enumerate(net.blocks):
        x = block(x.detach())
        aims = aims + (sent @ L.own[f"direct/blocks.{k}"].weight.T * x).sum()
    aims = aims + (e * net.readout(norm(x.detach()))).sum()
    ws = {n: m.weight for n, m in synapses(net).items()}
    want = dict(zip(ws, torch.autograd.grad(aims, list(ws.values()))))
    assert relative(got, {n: w / batch.size for n, w in want.items()}) < NEAR


@pytest.mark.parametrize("blocks", [2, 3])
def test_credit_through_the_next_attention_takes_that_way_alone(blocks):
    """By autograd of <told_b, x_b> with the stream cut but for the next attention: from the top, each block is told B_b e and

    (d attention of block b + 1 / d x_b)^T of what that block is told.
    """
    torch.manual_seed(0)
    net = transformer((6,), 4, d=8, blocks=blocks, heads=2)
    _, batch = small()
    L, got = told(net, batch, BlockFeedback(through_attention=True))
    e = errors(net, batch)
    B = [L.own[f"direct/blocks.{k}"].weight for k in range(blocks)]
    x = net.embed(batch.x)
    stream = [x.detach() + places(len(x), x)]
    for block in net.blocks:
        stream.append(block(stream[-1]).detach())
    signal, want = e @ B[-1].T, {}
    for k in reversed(range(blocks)):
        block, into = net.blocks[k], stream[k].clone().requires_grad_()
        mixed = into.detach() + block.attention(norm(into))  # the residual way is cut
        end = mixed + block.down(block.up(norm(mixed)))
        ws = {n: m.weight for n, m in synapses(net).items() if n.startswith(f"blocks.{k}.")}
        back, *grads = torch.autograd.grad((signal.detach() * end).sum(), [into, *ws.values()])
        want |= {n: g / batch.size for n, g in zip(ws, grads)}
        signal = e @ B[k - 1].T + back
    assert relative({n: got[n] for n in want}, want) < NEAR
    plain = told(net, batch, BlockFeedback())[1]
    lower = [n for n in want if not n.startswith(f"blocks.{blocks - 1}.")]
    assert relative({n: got[n] for n in lower}, {n: plain[n] for n in lower}) > 1e-3
    for n in got.keys() - set(lower):
        torch.testing.assert_close(got[n], plain[n], rtol=0, atol=NEAR)


def test_what_is_no_synapse_gets_no_gradient_of_the_whole_loss():
    """Biases in blocks: `rest` is refused under credit that stays in its block, not trained by backprop behind its back."""
    for credit in (BlockFeedback(), BlockLocal()):
        net, batch = small()
        net.blocks[0].up.input.bias = nn.Parameter(torch.zeros(32))
        with pytest.raises(Unsupported, match="no gradient reaches"):
            Learner(net, Recipe("x", {"*": Gradient()}, credit, lr=0.1, rest=("*.bias",)), batch)


def test_credit_by_blocks_says_what_it_lacks():
    net, batch = small(memory=lambda d: Hopfield(d, 5))
    told(net, batch, BlockFeedback(through_attention=True))  # a Hopfield layer is the second block's attention
    net.blocks[1].attention.forward = net.blocks[1].attention.forward
    del net.blocks[1].attention
    net.blocks[1].forward = lambda x: x + net.blocks[1].down(net.blocks[1].up(norm(x)))
    with pytest.raises(Unsupported, match="module `attention`"):
        told(net, batch, BlockFeedback(through_attention=True))
    with pytest.raises(ValueError, match="every block follows a loss of its own"):
        net, batch = small()
        L = Learner(net, Recipe("x", {"*": Gradient()}, BlockLocal(), lr=0.1), batch)
        list(L.recipe.credit.passes(net, replace(batch, loss=None), dict(L.own), torch.Generator()))


@pytest.mark.parametrize("credit", [BlockFeedback(), BlockLocal()], ids=["feedback", "local"])
def test_credit_by_blocks_reads_what_it_claims(credit):
    """On blocks without time and attention, where single units can be disturbed: nothing beyond the claim, and each word of it

    but transport is read by the last synapse of a block, that one by the first.
    """

    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.readout = Layer(dense(6, 20)), Layer(dense(20, 4))
            self.blocks = nn.ModuleList(Perceptron() for _ in range(2))

        def forward(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x)
            return self.readout(x)

    class Perceptron(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = Layer(dense(20, 30), torch.tanh), Layer(dense(30, 20))

        def forward(self, x):
            return x + self.down(self.up(x))

    batch = Batch(torch.randn(2, 6), torch.tensor([1, 3]), lambda o, y: F.cross_entropy(o, y, reduction="none"))
    recipe = Recipe("x", {"*": Gradient()}, credit, lr=0.1)
    seen = measured(recipe, Stack(), batch)
    for n, words in seen.items():
        said = claimed(recipe, n, Gradient()) & WORDS.keys()
        assert words <= said, n
    assert seen["blocks.0.up.input"] | seen["blocks.0.down.input"] == (credit.reads | {"pre", "credit"}) & WORDS.keys()


def test_a_blocks_own_loss_is_that_of_a_net_cut_between_blocks():
    net, batch = small()
    L, got = told(net, batch, BlockLocal())
    heads = {n.removeprefix("head/"): m.weight.detach().requires_grad_() for n, m in L.own.items()}
    x = net.embed(batch.x)
    loss = ce_seq(norm(x) @ heads["embed"].T, batch.target).sum()
    x = x + places(len(x), x)
    for k, block in enumerate(net.blocks):
        x = block(x.detach())
        loss = loss + ce_seq(norm(x) @ heads[f"blocks.{k}"].T, batch.target).sum()
    loss = loss + ce_seq(net.readout(norm(x.detach())), batch.target).sum()
    ws = {n: m.weight for n, m in synapses(net).items()} | {f"head/{n}": w for n, w in heads.items()}
    want = dict(zip(ws, (-g / batch.size for g in torch.autograd.grad(loss, list(ws.values())))))
    assert got.keys() == want.keys() and relative(got, want) < NEAR


def test_blocks_are_asked_of_nets_that_have_them():
    net, batch = (
        mlp(6, 5, 4),
        Batch(torch.randn(3, 6), torch.randint(4, (3,)), lambda o, y: F.cross_entropy(o, y, reduction="none")),
    )
    for credit in (BlockFeedback(), BlockLocal()):
        with pytest.raises(Unsupported, match="'blocks'"):
            told(net, batch, credit)


def test_tokens_that_are_not_asked_get_no_error_of_their_own_by_direct_feedback():
    """own: dW of a projection is that of the asked tokens alone; pooled: every token is told."""
    net, batch = small()
    target = batch.target.clone()
    target[:-1] = NOT_ASKED
    batch = replace(batch, target=target)
    for error, reached in ((own_step, {4}), (pooled, set(range(5)))):
        L = Learner(net, Recipe("x", {"*": Gradient()}, DirectFeedback(error), lr=0.1), batch)
        (p,) = L.recipe.credit.passes(net, batch, dict(L.own), torch.Generator())
        for layer, c in p.third["credit"].items():
            if layer != "readout":
                assert {t for t in range(5) if c[t].abs().max() > 0} == reached, layer


def test_node_perturbation_points_along_the_gradient():
    """The mean over 40,000 disturbed copies: cosine above .9 with autograd, over all projections."""
    net, batch = small()
    many = replace(batch, x=batch.x.repeat(1, 1000, 1), target=batch.target.repeat(1, 1000))
    dw: dict = {}
    L = Learner(net, Recipe("np", {"*": Gradient()}, NodePerturbation(1e-3), lr=0.0), batch)
    for _ in range(40):
        for n, d in L.step(many).items():
            dw[n] = dw.get(n, 0) + d
    a, b = (torch.cat([x[n].flatten() for n in sorted(x)]) for x in (dw, autograd(net, batch)))
    assert F.cosine_similarity(a, b, dim=0) > 0.9


def test_reward_for_answers_is_reinforce_at_the_readout():
    """Mean over many draws of the readout's dW: the gradient of the expected number of right answers, by enumeration."""
    net, batch = small()
    credit = SampledAnswers(pooled)
    L = Learner(net, Recipe("r", {"readout.*": Gradient()}, credit, lr=0.0), batch)
    many = replace(batch, x=batch.x.repeat(1, 1000, 1), target=batch.target.repeat(1, 1000))
    got = sum(L.step(many)["readout.input"] for _ in range(20)) / 20
    w = net.readout.input.weight
    p = net(batch.x).softmax(-1)
    expected = p.gather(2, batch.target[..., None]).sum() / batch.size
    (want,) = torch.autograd.grad(expected, w)
    assert F.cosine_similarity(got.flatten(), want.flatten(), dim=0) > 0.99
    assert abs(got.norm() / want.norm() - 1) < 0.05


def test_rewards_are_told_where_they_are_due():
    net, batch = small()
    target = batch.target.clone()
    target[:3] = NOT_ASKED
    batch = replace(batch, target=target)
    for sent, reached in ((own_step, {3, 4}), (pooled, set(range(5)))):
        credit = SampledAnswers(sent)
        own = credit.wire(play(net, batch), torch.Generator())
        own["expected reward"] = torch.tensor(0.3)
        (p,) = credit.passes(net, batch, own, torch.Generator().manual_seed(0))
        M = p.third["reward"]
        assert {t for t in range(5) if M[t].abs().min() > 0} == reached
    # Rbar <- Rbar + .1 (<R> - Rbar) over the six answers that were asked
    R = (p.third["reward"][0] - 2 * -0.3).round()  # sum over two steps of R
    assert own["expected reward"].item() == pytest.approx(0.3 + 0.1 * (R.sum().item() / 6 - 0.3))
    static = Batch(torch.randn(3, 6), torch.randint(4, (3,)), None)
    with pytest.raises(Unsupported, match="answers in time"):
        credit.wire(play(mlp(6, 4), static), torch.Generator())


# ---------------------------------------------------------------------------------------------- tasks
@pytest.mark.parametrize("pairs", [2, 10])
def test_recall_asks_what_was_told(pairs):
    """Read each sequence as a person would: at a key that was seen, its last value; nowhere else; once at least."""
    task = recall(pairs=pairs, keys=5, values=6)
    batch = next(task.batches(task.split(0), 0, 0))
    symbols = batch.x.argmax(-1)
    assert (batch.x.sum(-1) == 1).all() and symbols.shape == (2 * pairs, 32)
    for b in range(32):
        known: dict[int, int] = {}
        for t in range(0, 2 * pairs, 2):
            key, value = symbols[t, b].item(), symbols[t + 1, b].item() - 5
            assert 0 <= key < 5 and 0 <= value < 6
            assert batch.target[t, b].item() == known.get(key, NOT_ASKED)
            assert batch.target[t + 1, b].item() == NOT_ASKED
            assert known.setdefault(key, value) == value
        assert (batch.target[:, b] != NOT_ASKED).any()


@pytest.mark.parametrize(("pairs", "keys", "repeats"), [(12, 8, 4), (12, 8, 11), (6, 8, 1), (5, 3, 3)])
def test_so_many_pairs_repeat_a_key_as_are_asked_for(pairs, keys, repeats):
    task = recall(pairs, keys, 6, repeats=repeats).limited(640)
    x, target = (torch.cat(parts, 1) for parts in zip(*((b.x, b.target) for b in task.batches(task.split(0), 0, 0))))
    symbols = x.argmax(-1)
    assert ((target != NOT_ASKED).sum(0) == repeats).all() and (target[1::2] == NOT_ASKED).all()
    for column, asked in zip(symbols.T.tolist()[:100], target.T.tolist()[:100]):
        told = {}
        for t in range(0, 2 * pairs, 2):
            k, v = column[t], column[t + 1]
            assert asked[t] == (told[k] - keys if k in told else NOT_ASKED) and told.setdefault(k, v) == v
    first = torch.bincount(symbols[0], minlength=keys)[:keys] / symbols.shape[1]
    assert (first - 1 / keys).abs().max() < 5 * (1 / keys / symbols.shape[1]) ** 0.5
    if repeats < pairs - 1:
        places = (target[2::2] != NOT_ASKED).double().mean(1)  # every place but the first alike
        assert (places - repeats / (pairs - 1)).abs().max() < 5 * (0.25 / symbols.shape[1]) ** 0.5


@pytest.mark.parametrize("repeats", [0, 3, 12, 2.0])
def test_repeats_that_cannot_be_are_refused(repeats):
    with pytest.raises(ValueError, match="repeats: given"):
        recall(12, 8, 8, repeats=repeats)


def test_who_counts_values_is_the_floor_of_recall():
    """The most frequent value so far, of equal ones the latest, counted by hand."""
    task = recall(pairs=9, keys=3, values=4).limited(test=40)
    split = task.split(1)
    (batch,) = task.evaluation(split)
    symbols, shares = batch.x.argmax(-1), []
    for b in range(40):
        seen, right = [], []
        for t in range(18):
            if symbols[t, b] >= 3:
                seen.append(symbols[t, b].item() - 3)
            elif batch.target[t, b] != NOT_ASKED:
                most = max(seen.count(v) for v in seen)
                said = next(v for v in reversed(seen) if seen.count(v) == most)
                right.append(said == batch.target[t, b].item())
        shares.append(sum(right) / len(right))
    assert task.baselines(split)["most frequent value so far"] == pytest.approx(sum(shares) / 40)


def test_induction_asks_what_followed():
    task = induction(length=6, symbols=9)
    batch = next(task.batches(task.split(0), 0, 0))
    symbols, starts = batch.x.argmax(-1), set()
    for b in range(32):
        row = symbols[:6, b].tolist()
        assert len(set(row)) == 6
        starts.add(row.index(symbols[6, b].item()))
        for t in range(6, 12):
            at = row.index(symbols[t, b].item())
            want = NOT_ASKED if at == 5 else row[at + 1]
            assert batch.target[t, b].item() == want
            if t < 11 and want != NOT_ASKED:
                assert symbols[t + 1, b].item() == want
        assert (batch.target[:6, b] == NOT_ASKED).all()
    assert len(starts) == 6  # where it begins again is drawn


def test_blocks_are_what_they_say():
    """x + attention(norm(x)), then x + down(up(norm(x))), with norm by hand."""
    torch.manual_seed(0)
    block = Block(8, Attention(8, 2))
    x = torch.randn(5, 3, 8, dtype=torch.float64)

    def by_hand(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    y = x + block.attention(by_hand(x))
    want = y + F.gelu(by_hand(y) @ block.up.input.weight.T) @ block.down.input.weight.T
    torch.testing.assert_close(block(x), want, rtol=0, atol=NEAR)
    assert isinstance(block.up, Layer)
