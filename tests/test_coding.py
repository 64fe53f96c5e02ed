"""Codes: Poisson counts, latency against a neuron that is driven, a current that is the input."""

import math

import pytest
import torch

from neurosim.neurons import scan
from neurosim.plasticity import Learner
from neurosim.recipes import recipes_for
from neurosim.spiking import LIF
from neurosim.tasks import digits, shown_to, spike_trains
from neurosim.tasks.coding import CODES, Code, CurrentCode, LatencyCode, PoissonCode


def coded(code, x, steps=200, dt=0.5, seed=0):
    return code(x, steps, dt, torch.Generator().manual_seed(seed))


def test_every_code_is_one_and_gives_the_shape_of_a_trial():
    x = torch.rand(3, 1, 4, 4)
    for make in CODES.values():
        assert isinstance(make(), Code)
        assert coded(make(), x).shape == (200, 3, 1, 4, 4)


def test_poisson_counts_have_the_mean_and_variance_of_a_binomial():
    x = torch.tensor([[0.0, 0.25, 1.0]]).expand(2000, 3)
    n = coded(PoissonCode(100.0), x, steps=100).sum(0)
    p = 1 - torch.exp(-100.0 * x[0] * 0.5e-3)
    assert n[:, 0].sum() == 0
    se = (100 * p * (1 - p) / 2000).sqrt()
    assert ((n.mean(0) - 100 * p)[1:].abs() < 4 * se[1:]).all()
    torch.testing.assert_close(n.var(0)[1:], 100 * (p * (1 - p))[1:], rtol=0.15, atol=0)
    a, b, c = coded(PoissonCode(), x), coded(PoissonCode(), x), coded(PoissonCode(), x, seed=1)
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(("tau", "theta"), [(20.0, 0.2), (5.0, 0.5)])
def test_latency_is_when_a_driven_neuron_spikes_first(tau, theta):
    """LIF with that drive from rest, integrated exactly: the spike falls in the step in which v crosses theta."""
    dt, x = 0.5, torch.linspace(0.0, 1.0, 41)[None]
    got = coded(LatencyCode(tau, theta), x, dt=dt)
    neuron = LIF(tau_m=tau, v_rest=0.0, v_threshold=theta, v_reset=0.0)
    y, _, _ = scan(neuron, x.expand(200, 1, 41), dt)
    first = (y.cumsum(0).cumsum(0) == 1) & (y == 1)
    assert torch.equal(got, first.to(got.dtype)) and got.sum(0).max() == 1
    assert got[:, 0, x[0] <= theta].sum() == 0
    brightest = tau * math.log(1 / (1 - theta))
    assert got[:, 0, -1].argmax() == int(brightest / dt)


def test_a_current_is_the_input_itself():
    x = torch.rand(4, 3)
    assert torch.equal(coded(CurrentCode(0.5), x, steps=7), (0.5 * x).expand(7, 4, 3))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PoissonCode(0), "top: given 0"),
        (lambda: LatencyCode(tau=-1.0), "tau: given -1.0"),
        (lambda: LatencyCode(theta=1.0), "theta: given 1.0"),
        (lambda: CurrentCode(0.0), "gain: given 0.0"),
    ],
)
def test_what_cannot_be_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_spiking_net_is_shown_any_code():
    known = recipes_for("digits", "spiking-mlp")["surrogate-bptt"]
    for code in (PoissonCode(500.0), LatencyCode(), CurrentCode(0.3)):
        task = spike_trains(digits().limited(8, 8), steps=20, code=code)
        batch = next(task.batches(task.split(0), 0, 0))
        assert batch.x.shape == (20, 8, 1, 8, 8) and 0 <= batch.x.min() and batch.x.max() <= 1
        from neurosim.networks import spiking_mlp

        torch.manual_seed(0)
        assert all(
            d.isfinite().all() for d in Learner(spiking_mlp(task.shape, 10), known, batch).updates(batch).values()
        )
    assert shown_to("spiking-mlp", digits()).code == PoissonCode()


def test_a_spiking_net_is_shown_the_code_that_is_asked_for():
    assert shown_to("spiking-mlp", digits(), code="latency").code == LatencyCode()
    assert shown_to("spiking-cnn", digits(), code="current").steps == 30
    for network in ("mlp", "diehl-cook"):  # whose published rates are its own
        with pytest.raises(ValueError, match=f"code: given 'latency', but {network} is not shown spikes by choice"):
            shown_to(network, digits(), code="latency")


def test_what_needs_spikes_says_so_of_a_current():
    from neurosim.cell import run_cell
    from neurosim.networks import spiking_mlp

    torch.set_default_dtype(torch.float32)
    task = shown_to("spiking-mlp", digits().limited(64, 20), code="current")
    known = recipes_for("digits", "spiking-mlp")
    cells = {n: run_cell(known[n], spiking_mlp, task, 0, 1) for n in ("surrogate-bptt", "stdp", "frozen")}
    assert {n: c.status for n, c in cells.items()} == {"surrogate-bptt": "ok", "stdp": "unsupported", "frozen": "ok"}
    assert "hidden1.input: pre is no train of spikes" in cells["stdp"].reason
    # the image is multiplied at every step, rivals add spike by spike
    assert cells["frozen"].cost["energy_predict"] > 4.6 * 30 * 64 * 300
