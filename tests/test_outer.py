"""`outer` and its companions against einsum, unfolded patches, autograd and explicit loops, over a grid of shapes."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.plasticity import Layer, broadcast, column, outer, per_unit, rank, send, unit_mean, units
from neurosim.synapses import outer_by_vjp

B, T = 3, 4
LEADS = {"batch": (B,), "time and batch": (T, B)}

CONV1D = {
    "plain": {},
    "kernel 1": {"kernel_size": 1},
    "stride, padding": {"stride": 2, "padding": 1},
    "stride leaves a rest": {"stride": 3},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "stride": 2},
    "same": {"padding": "same"},
    "valid": {"padding": "valid", "stride": 2},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "reflect, groups": {"padding": 2, "padding_mode": "reflect", "groups": 2, "stride": 2},
}
CONV2D = {
    "plain": {},
    "not square": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)},
    "stride, padding": {"stride": 2, "padding": 1},
    "stride leaves a rest": {"stride": 3, "padding": 1},
    "dilation": {"dilation": (2, 1), "padding": (2, 0)},
    "groups": {"groups": 2, "stride": 2},
    "depthwise": {"groups": 4, "padding": 1},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid"},
    "circular": {"padding": (1, 2), "padding_mode": "circular"},
    "reflect, groups": {"padding": 1, "padding_mode": "reflect", "groups": 2, "stride": 2},
    "replicate": {"padding": 1, "padding_mode": "replicate"},
}


@dataclass(frozen=True)
class Seen:
    synapse: nn.Module
    weight: Tensor
    pre: Tensor
    post: Tensor


def seen(synapse, lead, unit):
    pre = torch.randn(*lead, *unit)
    w = synapse.weight.detach()
    places = synapse(pre.reshape(-1, *unit)).shape[1:]  # the module's own forward
    return Seen(synapse, w, pre, torch.randn(*lead, *places))


def dense(lead):
    return seen(nn.Linear(5, 7, bias=False), lead, (5,))


def conv1d(lead, kernel_size=3, **geometry):
    return seen(nn.Conv1d(4, 8, kernel_size, bias=False, **geometry), lead, (4, 11))


def conv2d(lead, kernel_size=3, **geometry):
    return seen(nn.Conv2d(4, 8, kernel_size, bias=False, **geometry), lead, (4, 9, 8))


CASES = {("dense", "", lead): lambda lead=lead: dense(LEADS[lead]) for lead in LEADS}
CASES |= {
    ("conv1d", g, lead): lambda g=g, lead=lead: conv1d(LEADS[lead], **CONV1D[g]) for g, lead in product(CONV1D, LEADS)
}
CASES |= {
    ("conv2d", g, lead): lambda g=g, lead=lead: conv2d(LEADS[lead], **CONV2D[g]) for g, lead in product(CONV2D, LEADS)
}
every_case = pytest.mark.parametrize("case", CASES, ids=", ".join)


def by_autograd(r):
    """d/dW of sum post . (W x), through the module's own forward, one sample and step at a time."""
    dw = torch.zeros_like(r.weight)
    unit = r.pre.shape[-rank(r.synapse) :]
    places = r.post.shape[-rank(r.synapse) :]
    for x, y in zip(r.pre.reshape(-1, *unit), r.post.reshape(-1, *places), strict=True):
        dw += torch.autograd.grad((r.synapse(x[None])[0] * y).sum(), r.synapse.weight)[0]
    return dw


@every_case
def test_outer_is_autograd(case):
    r = CASES[case]()
    want = by_autograd(r)
    assert want.norm() > 1
    torch.testing.assert_close(outer(r, r.pre, r.post), want, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(outer_by_vjp(r, r.pre, r.post), want, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("lead", LEADS)
def test_dense_outer_is_einsum(lead):
    r = dense(LEADS[lead])
    want = torch.einsum("...o,...i->oi", r.post, r.pre)
    torch.testing.assert_close(outer(r, r.pre, r.post), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", [n for n, g in CONV2D.items() if not {"padding_mode", "groups"} & g.keys()])
def test_conv2d_outer_is_post_times_patch(name, lead):
    """The patch that each place sees (F.unfold), times what is at the place."""
    r = conv2d(LEADS[lead], **CONV2D[name])
    m, pre, post = r.synapse, r.pre.reshape(-1, 4, 9, 8), r.post.flatten(0, len(LEADS[lead]) - 1).flatten(2)
    padding = {"same": (2, 2), "valid": (0, 0)}.get(m.padding, m.padding)
    patches = F.unfold(pre, m.kernel_size, m.dilation, padding, m.stride)  # [N, pre * kernel, places]
    want = torch.einsum("nop,nkp->ok", post, patches).reshape(r.weight.shape)
    torch.testing.assert_close(outer(r, r.pre, r.post), want, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("mode", ("circular", "reflect", "replicate"))
def test_conv2d_outer_pads_as_the_mode_says(mode):
    r = conv2d((B,), padding=(1, 2), padding_mode=mode)
    patches = F.unfold(F.pad(r.pre, (2, 2, 1, 1), mode=mode), r.synapse.kernel_size)
    want = torch.einsum("nop,nkp->ok", r.post.flatten(2), patches).reshape(r.weight.shape)
    torch.testing.assert_close(outer(r, r.pre, r.post), want, rtol=1e-12, atol=1e-11)


@every_case
def test_outer_is_linear_in_lanes(case):
    """A batch is the sum of its samples, and a sequence of its steps."""
    r = CASES[case]()
    for axis in range(r.pre.dim() - rank(r.synapse)):
        parts = [outer(r, r.pre.narrow(axis, k, 1), r.post.narrow(axis, k, 1)) for k in range(r.pre.shape[axis])]
        torch.testing.assert_close(outer(r, r.pre, r.post), sum(parts), rtol=1e-12, atol=1e-11)


@every_case
def test_send_is_the_module_with_another_weight(case):
    r = CASES[case]()
    w, unit = torch.randn_like(r.weight), r.pre.shape[-rank(r.synapse) :]
    got = send(r.synapse, r.pre, w)
    with torch.no_grad():
        r.synapse.weight.copy_(w)
        want = r.synapse(r.pre.reshape(-1, *unit)).reshape(r.post.shape)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------------------- the companions
def places(r):
    """(index of a lane, index of a place) -> post there, unit by unit: written with indices only."""
    lead = r.post.dim() - rank(r.synapse)
    for at in product(*map(range, r.post.shape[:lead])):
        for where in product(*map(range, r.post.shape[lead + 1 :])):
            yield torch.stack([r.post[(*at, j, *where)] for j in range(r.post.shape[lead])])


SMALL = [("dense", "", lead) for lead in LEADS] + [
    (k, "stride, padding", lead) for k in ("conv1d", "conv2d") for lead in LEADS
]
small = pytest.mark.parametrize("case", SMALL, ids=", ".join)


@small
def test_units_are_rows(case):
    r = CASES[case]()
    rows = torch.stack(list(places(r)))
    assert torch.equal(units(r, r.post), rows)
    assert len(rows) == r.post.numel() / r.weight.shape[0]


@small
def test_per_unit_and_unit_mean(case):
    r = CASES[case]()
    n, total = 0, torch.zeros(r.weight.shape[0])
    for row in places(r):
        n, total = n + 1, total + row
    got = per_unit(r, r.post)
    assert got.shape == (len(total), *[1] * (r.weight.dim() - 1))
    torch.testing.assert_close(got.flatten(), total, rtol=0, atol=1e-12)
    scaled = got * r.weight
    for j, s in enumerate(total):  # each row of the weight meets its own unit's sum
        torch.testing.assert_close(scaled[j], s * r.weight[j], rtol=0, atol=1e-12)
    mean = (r.post - unit_mean(r, r.post)).movedim(-rank(r.synapse), 0).flatten(1)
    torch.testing.assert_close(
        r.post.movedim(-rank(r.synapse), 0).flatten(1) - mean, (total / n)[:, None].expand_as(mean)
    )


@small
def test_column_stands_against_the_weight(case):
    r = CASES[case]()
    v = torch.arange(1.0, r.weight.shape[0] + 1)
    for j, row in enumerate(column(r, v) * r.weight):
        assert torch.equal(row, (j + 1) * r.weight[j])


@small
def test_broadcast_tells_each_lane_its_own(case):
    r = CASES[case]()
    lead = r.post.shape[: r.post.dim() - rank(r.synapse)]
    for shape in {lead, lead[-1:]}:  # [T, B], and [B] for every step
        value = torch.randn(shape)
        told = broadcast(r, value) * r.post
        for at in product(*map(range, lead)):
            assert torch.equal(told[at], value[at[-len(shape) :]] * r.post[at])
    number = torch.tensor(2.5)
    assert broadcast(r, number) is number


# ---------------------------------------------------------------------------------------------- what is no synapse
def test_rank_of_the_layers_we_know():
    assert [rank(m) for m in (nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1))] == [1, 2, 3]


@pytest.mark.parametrize("module", (nn.ConvTranspose2d(2, 2, 1), nn.LayerNorm(3), nn.Conv3d(1, 1, 1)), ids=repr)
def test_a_layer_we_do_not_know(module):
    message = f"synapse: given {type(module).__name__}, allowed are Linear, Conv1d, Conv2d"
    with pytest.raises(ValueError, match=message):
        rank(module)
    with pytest.raises(ValueError, match=message):
        Layer(module)
