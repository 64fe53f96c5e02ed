"""The trace rule against a loop over frames, films and synapses, and what it is for: it binds what follows in time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import NoCredit
from neurosim.plasticity import Batch, Layer, Record, Unsupported, play
from neurosim.rules.trace_rule import TraceRule
from neurosim.testing import check_rule
from tests.nets import dense, learner


def loop(rule, pre, post, w, ybar):
    """dW by plain floats; pre [T, B, i], post [T, B, j], ybar [B][j] goes on from film to film."""
    dw = torch.zeros_like(w)
    for t in range(len(pre)):
        for b in range(pre.shape[1]):
            for j in range(len(w)):
                ybar[b][j] = (1 - rule.delta) * ybar[b][j] + rule.delta * post[t, b, j].item()
                for i in range(w.shape[1]):
                    dw[j, i] += ybar[b][j] * (pre[t, b, i].item() - w[j, i].item())
    return dw


def record(*lead, synapse=None, pre=None, dt=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    synapse = synapse or dense(4, 3)
    pre = torch.rand(*lead, 4, generator=g) if pre is None else pre
    w = torch.rand(synapse.weight.shape, generator=g)
    u = F.linear(pre, w) if isinstance(synapse, nn.Linear) else F.conv2d(pre, w)
    return Record("complex.input", synapse, weight=w, pre=pre, u=u, post=u.relu(), slope=u, state={}, dt=dt)


def with_frames(rec, pre, post):
    return Record(rec.name, rec.synapse, weight=rec.weight, pre=pre, u=post, post=post, slope=post, state={})


@pytest.mark.parametrize("delta", (0.2, 1.0))
def test_contract(delta):
    check_rule(TraceRule(delta))


def test_a_film_equals_the_loop_and_its_frames_one_update_each():
    rule, whole = TraceRule(0.3), record(7, 2)
    ybar = [[0.0] * 3 for _ in range(2)]
    want = loop(rule, whole.pre, whole.post, whole.weight, ybar)
    state = {}
    assert torch.allclose(rule.update(whole, {}, state), want, rtol=1e-12)
    assert torch.allclose(state["ybar"], torch.tensor(ybar), rtol=1e-12)
    by_frame, by_part = {}, {}
    frames = sum(rule.update(with_frames(whole, x, y), {}, by_frame) for x, y in zip(whole.pre, whole.post))
    parts = sum(
        rule.update(with_frames(whole, whole.pre[s], whole.post[s]), {}, by_part) for s in (slice(0, 3), slice(3, 7))
    )
    for got in (frames, parts):
        assert torch.allclose(got, want, rtol=1e-12)
    assert torch.allclose(by_frame["ybar"], state["ybar"], rtol=1e-12)


def test_conv_is_dense_over_patches_with_a_trace_at_every_place():
    conv = record(synapse=nn.Conv2d(2, 3, 2, bias=False), pre=torch.randn(4, 2, 4, 4))  # four films, one frame
    patches = F.unfold(conv.pre, 2).transpose(1, 2).flatten(0, 1)
    post = conv.post.flatten(2).transpose(1, 2).flatten(0, 1)
    rule, state = TraceRule(0.2), {}
    want = loop(rule, patches[None], post[None], conv.weight.flatten(1), [[0.0] * 3 for _ in post])
    assert torch.allclose(rule.update(conv, {}, state).flatten(1), want, rtol=1e-10)
    assert state["ybar"].shape == conv.post.shape


def test_without_a_trace_it_is_competitive_learning():
    rec = record(6)
    assert torch.allclose(
        TraceRule(1.0).update(rec, {}, {}), rec.post.T @ rec.pre - rec.post.sum(0)[:, None] * rec.weight
    )


def winner(v):
    return (v == v.max(-1, keepdim=True).values).to(v.dtype)


def films(n, g):
    """Things 0 and 1: thing k shows the patterns 2 k and 2 k + 1 in turn, for 8 frames, then another thing comes."""
    thing = torch.randint(2, (n,), generator=g).repeat_interleave(8)
    return F.one_hot(2 * thing + torch.arange(len(thing)) % 2, 4).to(torch.get_default_dtype())


@pytest.mark.parametrize("delta, bound", ((0.2, True), (1.0, False)))
def test_it_binds_what_follows_in_time(delta, bound):
    """Two orthogonal patterns a thing: with a trace each unit takes one thing whole, though at first it does not."""
    g = torch.Generator().manual_seed(1)
    net = nn.Sequential(Layer(dense(4, 2), winner))
    with torch.no_grad():
        net[0].input.weight.copy_(torch.tensor([[0.5, 0.1, 0.2, 0.3], [0.3, 0.3, 0.4, 0.4]]))  # 0 against the rest
    x = films(400, g)
    L = learner(net, Batch(x[:1]), NoCredit(), TraceRule(delta), lr=0.02)
    for frame in x:
        L.step(Batch(frame[None]))
    wins = play(net, Batch(torch.eye(4))).output.argmax(1)
    assert (wins[0] == wins[1] and wins[2] == wins[3] and wins[0] != wins[2]) == bound


def test_errors():
    for delta in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="delta: given"):
            TraceRule(delta)
    with pytest.raises(Unsupported, match="counts frames, but steps of dt = 2.0 ms"):
        TraceRule().update(record(5, 2, dt=2.0), {}, {})
    state = {}
    TraceRule().update(record(2), {}, state)
    with pytest.raises(ValueError, match="a trace left by 2 films cannot go on in 3"):
        TraceRule().update(record(3), {}, state)
