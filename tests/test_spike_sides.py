"""What makes spike rules fast: traces exchanged for spikes, filters by matmul, products at spikes and by patches.

Against loops over synapses and steps (`brute` of test_stdp), einsum, and `outer` by the vector-Jacobian product.
"""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim import synapses, traces
from neurosim.plasticity import Record
from neurosim.rules import Power, SpikeRule, Term, Trace, pair, spike_rule, triplet
from neurosim.synapses import outer_at, outer_by_patches, outer_by_vjp
from neurosim.traces import filtered, filtered_back, filtered_end, trace
from tests.test_stdp import brute

T, B = 40, 2
RULES = {
    "pair": pair(0.01, 0.012, 17.0, 34.0),
    "nearest pair": pair(0.01, 0.012, 17.0, 34.0, nearest=True),
    "triplet": triplet(5e-3, 6e-3, 7e-3, 2e-3, 101.0, 125.0),
    "minimal triplet": triplet(0.0, 6.5e-3, 7.1e-3, 0.0),
    "two traces of a side": SpikeRule(
        {"r1": Trace("pre", 17.0), "r2": Trace("pre", 60.0), "o1": Trace("post", 34.0), "o2": Trace("post", 90.0)},
        (
            Term(0.01, ("post", "r1")),
            Term(-0.02, ("post", "r2")),
            Term(-0.012, ("pre", "o1")),
            Term(0.03, ("pre", "o2")),
        ),
    ),
    "coincidence": SpikeRule({"r1": Trace("pre", 17.0)}, (Term(0.01, ("post", "r1")), Term(-0.02, ("post",)))),
}


def given(p, *shape):
    x = (torch.rand(T, B, *shape) < p).double()
    x[::9] = 1  # forced ties
    return x


def record(synapse, pre, post):
    return Record("s", synapse, synapse.weight.detach(), pre, post, post, post, {}, dt=1.0)


def in_trials(rule, synapse, pre, post, lengths=(1, 13, 26)):
    """The sum of dW over trials of unequal lengths, the state carried from each to the next."""
    state, dw = {}, 0
    for x, y in zip(pre.split(lengths), post.split(lengths), strict=True):
        dw = dw + rule.update(record(synapse, x, y), {}, state)
    return dw, state


@pytest.mark.parametrize("block", (1, 32, 1 << 20))  # steps or spans at once, or all
@pytest.mark.parametrize("few", (False, True))  # products at the spikes alone, or matmuls
@pytest.mark.parametrize("shape", ((3, 5), (5, 3)))  # either side may be the smaller
@pytest.mark.parametrize("name", RULES)
def test_trials_with_carried_state_equal_a_loop_over_synapses(name, shape, few, block, monkeypatch):
    monkeypatch.setattr(spike_rule, "BLOCK", block)
    monkeypatch.setattr(traces, "SPAN", 7)
    if few:
        monkeypatch.setattr(synapses, "FEW", 1.0)
        monkeypatch.setattr(synapses, "WIDE", 1)
    pre, post = given(0.15, shape[0]), given(0.15, shape[1])
    got, _ = in_trials(RULES[name], nn.Linear(*shape, bias=False), pre, post)
    want = brute(RULES[name], pre, post, {}, 1.0)
    assert want.abs().min() > 1e-6
    assert (got - want).norm() / want.norm() < 1e-12


@pytest.mark.parametrize("block", (1, 1 << 20))
@pytest.mark.parametrize("name", ("pair", "triplet", "minimal triplet"))
def test_a_convolution_whose_post_side_is_the_larger(name, block, monkeypatch):
    monkeypatch.setattr(spike_rule, "BLOCK", block)
    pre, post = given(0.15, 1, 4, 4), given(0.15, 3, 3, 3)
    got, _ = in_trials(RULES[name], nn.Conv2d(1, 3, 2, bias=False), pre, post)
    patches = F.unfold(pre.flatten(0, 1), 2).reshape(T, B, 4, 9)  # each place a lane
    x, y = patches.permute(0, 1, 3, 2).flatten(1, 2), post.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
    want = brute(RULES[name], x, y, {}, 1.0)
    assert (got.flatten(1) - want).norm() / want.norm() < 1e-12


@pytest.mark.parametrize("shape", ((3, 5), (5, 3)))
def test_bump_start_and_weight_dependence_reach_the_exchanged_side(shape):
    """dW = f(w) sum of products, with the traces run by a plain loop: a trace of bump 3 that starts from 2."""
    rule = SpikeRule(
        {"r1": Trace("pre", 17.0, bump=3.0, start=2.0), "o1": Trace("post", 34.0, bump=3.0, start=2.0)},
        (Term(0.01, ("post", "r1"), weight=Power(0.5, w_max=1.0)), Term(-0.02, ("pre", "o1"), weight=Power(1.0))),
    )
    synapse = nn.Linear(*shape, bias=False)
    pre, post, w = given(0.15, shape[0]), given(0.15, shape[1]), synapse.weight.detach()
    got, state = in_trials(rule, synapse, pre, post)
    r, o = torch.full_like(pre[0], 2.0), torch.full_like(post[0], 2.0)
    up = down = torch.zeros_like(w)
    for x, y in zip(pre, post):
        r, o = r * torch.exp(torch.tensor(-1 / 17.0)), o * torch.exp(torch.tensor(-1 / 34.0))
        down = down + torch.einsum("bj,bi->ji", o, x)
        r = r + 3 * x
        up = up + torch.einsum("bj,bi->ji", y, r)
        o = o + 3 * y
    want = 0.01 * (1 - w).clamp(min=0) ** 0.5 * up - 0.02 * w.clamp(min=0) * down
    assert (got - want).norm() / want.norm() < 1e-12
    assert torch.allclose(state["r1"], r, rtol=1e-12) and torch.allclose(state["o1"], o, rtol=1e-12)
    assert all(len(z) == z.untyped_storage().nbytes() // z[0].nbytes for z in state.values())  # no span is kept alive


@pytest.mark.parametrize("small", (0, 1 << 13))  # step by step, or by matmul
@pytest.mark.parametrize("steps", (1, 24, 25, 26, 103))
def test_filters_equal_their_recursion(steps, small, monkeypatch):
    monkeypatch.setattr(traces, "SMALL", small)
    x, start, a = torch.rand(steps, 3, 2), torch.rand(3, 2), 0.37
    z, last = filtered(x, a, start), start
    after, before = trace(x, a, start)
    for t in range(steps):
        assert torch.allclose(z[t], last, rtol=1e-13) and torch.allclose(before[t], a * last, rtol=1e-13)
        last = a * last + x[t]
        assert torch.allclose(after[t], last, rtol=1e-13)
    assert torch.allclose(z[steps], last, rtol=1e-13) and torch.allclose(filtered_end(x, a, start), last, rtol=1e-13)
    g = filtered_back(x, a)
    want = torch.stack([sum(a ** (s - t) * x[s] for s in range(t, steps)) for t in range(steps)])
    assert torch.allclose(g[:-1], want, rtol=1e-12) and not g[-1].any()


def test_a_filter_takes_whole_numbers():
    assert filtered(torch.tensor([0, 1, 1]), 0.5).tolist() == [0.0, 0.0, 1.0, 1.5]


@dataclass(frozen=True)
class Seen:
    synapse: nn.Module
    weight: Tensor


@pytest.mark.parametrize("side", ("pre", "post"))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_products_at_spikes_equal_an_einsum(side, dtype):
    synapse = nn.Linear(70, 90, bias=False).to(dtype)
    spikes = (torch.rand(6, 3, 70 if side == "pre" else 90) < 0.05).to(dtype)
    spikes[..., 4] = 0  # a neuron that is silent
    x, factor = torch.randn(6, 3, 90 if side == "pre" else 70, dtype=dtype), torch.randn_like(spikes)
    at = outer_at(Seen(synapse, synapse.weight.detach()), side, spikes)
    assert at.__name__ == "at_spikes"
    for f in (None, factor):
        y = spikes if f is None else spikes * f
        want = torch.einsum("tbi,tbj->ji", *((y, x) if side == "pre" else (x, y)))
        assert (at(x, f) - want).abs().max() < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    "synapse",
    (
        nn.Conv2d(1, 5, 3, bias=False),
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
        nn.Conv2d(2, 4, 3, stride=3, padding=1, bias=False),  # leaves a rest
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(2, 4, 3, dilation=2, bias=False),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", bias=False),
        nn.Conv1d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.Linear(7, 5, bias=False),
    ),
)
def test_patches_equal_the_reference(synapse):
    synapse = synapse.double()
    unit = {nn.Linear: (7,), nn.Conv1d: (2, 8)}.get(type(synapse)) or (synapse.in_channels, 8, 7)
    pre = torch.randn(3, 2, *unit)
    post = torch.randn(3, 2, *synapse(pre.flatten(0, 1)).shape[1:])
    rec = Seen(synapse, synapse.weight.detach())
    want = outer_by_vjp(rec, pre, post)
    assert (outer_by_patches(rec, pre, post) - want).norm() / want.norm() < 1e-12
