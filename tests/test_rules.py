"""Correlation rules against loops over samples and places, and against the fixed points of the theory."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurosim.credit import NoCredit
from neurosim.neurons import identity
from neurosim.plasticity import Batch, Layer, play
from neurosim.rules import BCM, Hebb, Oja, Sanger, SoftHebb
from tests.nets import dense, learner, mlp, relative


def conv_record():
    net = nn.Sequential(Layer(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), torch.relu))
    return play(net, Batch(torch.randn(3, 3, 7, 7))).records["0.input"]


def as_dense(r):
    """The conv record as a dense one: every place is a sample, its patch the input."""

    def places(y):
        return y.movedim(-3, -1).flatten(0, -2)

    patches = F.unfold(r.pre, r.synapse.kernel_size, stride=r.synapse.stride, padding=r.synapse.padding)
    w = r.weight.flatten(1)
    pre = patches.transpose(1, 2).flatten(0, 1)
    return replace(
        r,
        synapse=dense(w.shape[1], w.shape[0]),
        weight=w,
        pre=pre,
        u=places(r.u),
        post=places(r.post),
        slope=places(r.slope),
    )


def one_sample(name, x, y, u, w, theta):
    """dW of one sample at one place, unit by unit, as the papers write it."""
    q = (u / 0.5).softmax(0)
    rows = []
    for j in range(len(y)):
        if name == "Hebb":
            rows.append(y[j] * x)
        elif name == "Oja":
            rows.append(y[j] * (x - y[j] * w[j]))
        elif name == "Sanger":
            rows.append(y[j] * (x - sum(y[k] * w[k] for k in range(j + 1))))
        elif name == "BCM":
            rows.append(y[j] * (y[j] - theta[j]) * x)
        else:
            rows.append(q[j] * (x - u[j] * w[j]) * abs(w[j].norm() - 1) ** 0.5)
    return torch.stack(rows)


@pytest.mark.parametrize(
    "rule", (Hebb(), Oja(), Sanger(), BCM(), SoftHebb(0.5, power=0.5)), ids=lambda r: type(r).__name__
)
def test_conv_equals_dense_over_patches_equals_a_loop(rule):
    conv = conv_record()
    flat = as_dense(conv)
    theta = (flat.post**2).mean(0)
    want = sum(
        one_sample(type(rule).__name__, x, y, u, flat.weight, theta) for x, y, u in zip(flat.pre, flat.post, flat.u)
    )
    assert want.norm() > 0.1
    assert relative({"w": rule.update(conv, {}, {}).flatten(1)}, {"w": want}) < 1e-12
    assert relative({"w": rule.update(flat, {}, {})}, {"w": want}) < 1e-12


def cloud():
    """400 points with known, well separated principal axes."""
    torch.manual_seed(8)
    axes = torch.linalg.qr(torch.randn(6, 6))[0]
    x = torch.randn(400, 6) @ torch.diag(torch.tensor([2.0, 1.5, 1.0, 0.7, 0.5, 0.3])) @ axes
    _, _, V = torch.linalg.svd(x)
    return x, V


@pytest.mark.parametrize("rule, n", ((Oja(), 1), (Sanger(), 3)))
def test_oja_and_sanger_find_ordered_eigenvectors_of_norm_one(rule, n):
    x, V = cloud()
    net, batch = mlp(6, n), Batch(x)
    L = learner(net, batch, NoCredit(), rule, lr=0.02)
    for _ in range(4000):
        L.step(batch)
    W = net[0].input.weight.detach()
    for k in range(n):
        assert abs(F.cosine_similarity(W[k], V[k], 0).item()) == pytest.approx(1, abs=1e-6)
        assert W[k].norm().item() == pytest.approx(1, abs=1e-6)


def test_oja_on_conv_finds_the_first_eigenvector_of_the_patches():
    torch.manual_seed(8)
    img = torch.randn(20, 1, 12, 12)
    img = img + img.roll(1, 3) + 0.5 * img.roll(1, 2)
    net, batch = nn.Sequential(Layer(nn.Conv2d(1, 1, 3, bias=False), identity)), Batch(img)
    L = learner(net, batch, NoCredit(), Oja(), lr=2e-4)
    for _ in range(3000):
        L.step(batch)
    patches = F.unfold(img, 3).transpose(1, 2).flatten(0, 1)
    first = torch.linalg.svd(patches, full_matrices=False)[2][0]
    w = net[0].input.weight.detach().flatten()
    assert abs(F.cosine_similarity(w, first, 0).item()) == pytest.approx(1, abs=1e-6)
    assert w.norm().item() == pytest.approx(1, abs=1e-4)


def test_plain_hebb_diverges_as_theory_says():
    """|w| grows by 1 + lr lambda_1 a step once it points along the first eigenvector."""
    x, V = cloud()
    net, batch = mlp(6, 1), Batch(x)
    L = learner(net, batch, NoCredit(), Hebb(), lr=0.01)
    norms = []
    for _ in range(800):
        L.step(batch)
        norms.append(net[0].input.weight.detach().norm().item())
    lambda_1 = (torch.linalg.eigvalsh(x.T @ x / len(x))[-1]).item()
    assert norms[-1] / norms[-2] == pytest.approx(1 + 0.01 * lambda_1, rel=1e-6)


@pytest.mark.parametrize("kind", ("dense", "conv"))
def test_bcm_becomes_selective_with_response_one_over_p(kind):
    """Inputs shown with probability p: the stable fixed point answers 1/p to one of them and 0 to the rest."""
    torch.manual_seed(1)
    p = torch.tensor([0.5, 0.25, 0.25])
    shown = torch.repeat_interleave(torch.arange(3), (p * 8).long())
    patterns = torch.linalg.qr(torch.randn(4, 4))[0][:3] + 0.2  # linearly independent, not orthogonal
    if kind == "dense":
        net, x = nn.Sequential(Layer(dense(4, 6, 2.0), torch.relu)), patterns[shown]
    else:  # a kernel as large as the image
        net, x = nn.Sequential(Layer(nn.Conv2d(1, 6, 2, bias=False), torch.relu)), patterns[shown].reshape(8, 1, 2, 2)
        nn.init.normal_(net[0].input.weight, std=1.0)
    batch = Batch(x)
    L = learner(net, batch, NoCredit(), BCM(tau=5.0), lr=0.03)
    for _ in range(4000):
        L.step(batch)
    y = play(net, batch).output.flatten(1)
    y = torch.stack([y[shown == k][0] for k in range(3)])  # [pattern, unit]
    chosen = [(u.argmax().item(), u) for u in y.T if u.max() > 0]
    assert len(chosen) >= 3
    for k, u in chosen:
        assert u[k].item() == pytest.approx(1 / p[k].item(), rel=1e-3)
        assert all(u[q].item() == pytest.approx(0, abs=1e-3) for q in range(3) if q != k)


def test_bcm_threshold_slides_with_its_time_constant():
    r, state, rule = conv_record(), {}, BCM(tau=4.0)
    rule.update(r, {}, state)
    first = (r.post**2).mean((0, 2, 3))
    torch.testing.assert_close(state["m"].flatten(), first)
    rule.update(replace(r, post=3 * r.post), {}, state)
    torch.testing.assert_close(state["m"].flatten(), first + (9 * first - first) / 4)


def test_softhebb_finds_the_clusters_on_the_unit_sphere():
    """Three directions with noise: three of the units end along them with norm 1."""
    torch.manual_seed(3)
    centres = F.normalize(torch.randn(3, 10), dim=1)
    x = F.normalize(centres[torch.arange(300) % 3] + 0.05 * torch.randn(300, 10), dim=1)
    net, batch = nn.Sequential(Layer(dense(10, 3), identity)), Batch(x)
    with torch.no_grad():
        net[0].input.weight.copy_(x[:3] + 0.3 * torch.randn(3, 10))  # one near each
    L = learner(net, batch, NoCredit(), SoftHebb(temperature=0.1), lr=0.3)
    for _ in range(800):
        L.step(batch)
    W = net[0].input.weight.detach()
    assert W.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert (F.normalize(W, dim=1) * centres).sum(1).min() > 0.99


@pytest.mark.parametrize("make", (lambda: BCM(tau=0.5), lambda: SoftHebb(temperature=0.0)))
def test_bad_parameters_are_refused(make):
    with pytest.raises(ValueError, match="given 0"):
        make()
