"""Neurons against Brian2: the same drive, the same integrator, the two sides written by different people."""

import math

import pytest
import torch
from torch import nn

from neurosim.brian import neuron_code, run_neuron
from neurosim.neurons import AdaptiveLIF, Rate, Sigmoid, ThresholdLinear, scan
from neurosim.plasticity import Unsupported
from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson
from tests.test_brian import nothing_old_to_collect, numpy_target  # noqa: F401

pytest.importorskip("brian2")


def noisy(mean, noise, steps=2000, n=3):
    return mean * torch.linspace(0.9, 1.4, n) + noise * torch.randn(steps, n)


def kicks(rate, size, steps=2000, n=3):
    return size * (torch.rand(steps, n) < rate)


# neuron, its drive, dt, tolerance of its states: relative to |x| + 1. In an upstroke rounding grows with v. Izhikevich's
# scheme of two substeps is chaotic under strong drive at his dt = 1 ms (two of ours, started 1e-13 mV apart, are 1 mV apart
# after 500 ms), so it is compared on 200 lanes of 20 ms; the others for 1 s.
NEURONS = {
    "lif": (LIF(refractory=2.3), lambda: noisy(20.0, 20.0), 0.5, 1e-12),
    "lif without refractory period": (LIF(v_reset=-70.0), lambda: noisy(20.0, 20.0), 0.5, 1e-12),
    "lif with synapses": (LIF(refractory=2.0, tau_syn=5.0), lambda: noisy(2.0, 3.0), 0.5, 1e-12),
    "lif with slow synapses": (LIF(tau_syn=20.0), lambda: noisy(0.5, 1.0), 0.5, 1e-12),
    "conductance": (ConductanceLIF(), lambda: kicks(0.1, 12.0) - kicks(0.05, 5.0), 0.5, 1e-12),
    "conductance, a threshold that grows": (
        ConductanceLIF(theta_plus=0.5, tau_theta=300.0, theta=2.0, v_threshold=-52.0),
        lambda: kicks(0.1, 12.0) - kicks(0.05, 5.0),
        0.5,
        1e-12,
    ),
    "conductance with NMDA": (ConductanceLIF(nmda=0.5), lambda: kicks(0.1, 12.0) - kicks(0.05, 5.0), 0.5, 1e-12),
    "adaptive": (AdaptiveLIF(beta=0.1, tau_a=100.0), lambda: noisy(0.04, 0.1, 1000), 1.0, 1e-12),
    "adex": (AdEx(refractory=2.0), lambda: noisy(900.0, 800.0, 10_000), 0.1, 1e-8),
    "adex with a sharp upstroke": (AdEx(Delta_T=0.5), lambda: noisy(900.0, 800.0, 5000), 0.1, 1e-8),
    "izhikevich": (Izhikevich(), lambda: noisy(10.0, 5.0), 0.5, 1e-8),
    "izhikevich in two substeps": (Izhikevich(substeps=2), lambda: noisy(15.0, 5.0, 20, 200), 1.0, 1e-8),
}


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_spikes_as_in_brian(name):
    """Equal spike times under noise, equal states before each reset."""
    neuron, drive, dt, tolerance = NEURONS[name]
    u = drive()
    with torch.no_grad():
        y, states, _ = scan(neuron, u[:, None], dt)
    found = run_neuron(neuron, u, dt)
    assert y.sum() > 20
    assert torch.equal(found.y, y[:, 0])
    assert "v" in found.states
    for n, x in found.states.items():
        assert ((states[n][:, 0] - x).abs() / (x.abs() + 1)).max() < tolerance, n


@pytest.mark.parametrize("phi", (torch.tanh, ThresholdLinear(2.0, 0.3), Sigmoid(2.0, 0.3, 5.0)))
@pytest.mark.parametrize("tau", (None, 10.0))
def test_a_rate_unit_answers_as_in_brian(phi, tau):
    u = torch.randn(50, 3)
    y, _, _ = scan(Rate(phi, tau), u[:, None], 1.0)
    assert (run_neuron(Rate(phi, tau), u, 1.0).y - y[:, 0]).abs().max() < 1e-14


def test_poisson_in_brian_has_the_same_chance():
    u = torch.full((500, 40), 50.0)
    y, states, _ = scan(Poisson(), u[:, None], 1.0)
    found = run_neuron(Poisson(), u, 1.0)
    p = states["v"][0, 0, 0].item()
    assert (found.states["v"] - states["v"][:, 0]).abs().max() < 1e-15
    assert found.y.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / u.numel()))


@pytest.mark.parametrize(
    "neuron, message",
    [
        (AdaptiveLIF(beta=torch.ones(2)), "beta: given a tensor"),
        (Rate(torch.sin), "phi: given"),
        (LIF(tau_syn=20.0, refractory=1.0), "tau_syn: given 20.0 = tau_m"),
        (nn.Identity(), "neuron: given Identity"),
    ],
)
def test_a_neuron_that_cannot_be_printed_says_why(neuron, message):
    with pytest.raises(Unsupported, match=message):
        neuron_code(neuron)


def test_a_drive_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected 1 of \[T, N\]"):
        run_neuron(LIF(), torch.zeros(5), 1.0)
