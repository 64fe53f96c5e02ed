"""SRM0: its kernel against the closed form, its chance against renewal theory, and the three ways of running it."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.integrate import quad

import neurosim as ns
from neurosim.brian import run_neuron
from neurosim.brian_network import network_code
from neurosim.neurons import scan
from neurosim.record import Unsupported
from tests.test_brian import nothing_old_to_collect, numpy_target  # noqa: F401

NEVER = ns.SRM0(theta=1e6)
AT_ONCE = ns.SRM0(Delta_u=1e-9)  # no noise: it spikes once v is above theta


def kernel(t, n, w=1.0):
    return w * n.eps0 / (n.tau_m - n.tau_s) * (np.exp(-t / n.tau_m) - np.exp(-t / n.tau_s))


@pytest.mark.parametrize("dt", (1.0, 0.25))
def test_one_spike_gives_epsilon(dt):
    u = torch.zeros(int(80 / dt), 1, 1)
    u[0] = 3.0
    v = scan(NEVER, u, dt)[1]["v"][:, 0, 0]
    t = np.arange(1, len(u) + 1) * dt
    assert np.abs(v.numpy() - kernel(t, NEVER, 3.0)).max() < 1e-12


def test_a_spike_sets_v_to_chi_and_forgets_the_input_of_before():
    u = torch.zeros(200, 1, 1)
    u[0], u[150] = 30.0, 2.0
    y, s, _ = scan(AT_ONCE, u, 1.0)
    (at,) = y.flatten().nonzero().flatten().tolist()
    assert kernel(at, AT_ONCE, 30.0) <= 16 < kernel(at + 1, AT_ONCE, 30.0)
    t = np.arange(1, 200 - at)
    want = -5 * np.exp(-t / 20) + np.where(t + at + 1 > 150, kernel(t + at - 149, AT_ONCE, 2.0), 0)
    assert np.abs(s["v"][at + 1 :, 0, 0].numpy() - want).max() < 1e-12


def rate(n):
    """Hz, 1 / the mean interval: hazard rho0 exp((chi exp(-s/tau_m) - theta) / Delta_u) at s after a spike, no input."""
    hazard = lambda s: n.rho0 / 1000 * np.exp((n.chi * np.exp(-s / n.tau_m) - n.theta) / n.Delta_u)  # noqa: E731
    grid = np.arange(0, 500, 0.05)
    survives = np.exp(-np.cumsum(hazard(grid)) * 0.05)
    return 1000 / (survives.sum() * 0.05), 1000 / quad(lambda s: np.interp(s, grid, survives), 0, 500, limit=500)[0]


N = ns.SRM0(theta=-3.0, rho0=20.0)


def test_its_rate_is_that_of_a_renewal_process():
    """Tensors and engine, 400,000 steps each: some 6,800 spikes, so 1.2 % by chance; the hazard is sampled every 0.25 ms."""
    want, same = rate(N)
    assert abs(want - same) < 0.01 * want
    y, _, _ = scan(N, torch.zeros(4000, 1, 200), 0.25)
    net = ns.Network(dt=0.25)
    p = net.add(200, N)
    got = net.run(1000, [ns.Spikes(p)]).mean_rate(p)
    assert abs(float(y.mean()) * 4000 - want) < 0.06 * want
    assert abs(got - want) < 0.06 * want
    assert abs(rate(ns.SRM0(theta=-3.0, rho0=20.0, chi=-3.01))[0] - want) > 0.12 * want  # a test that can fail


def test_without_noise_the_engine_spikes_as_the_tensors():
    g, steps = np.random.default_rng(0), 1000
    fires, W = g.random((steps, 30)) < 0.05, g.uniform(1, 6, (50, 30))
    step, unit = fires.nonzero()
    net = ns.Network(dt=0.5)
    a, b = net.add(30, ns.SpikeTrains(unit, step * 0.5)), net.add(50, AT_ONCE)
    net.connect(a, b, matrix=sparse.csc_array(W))
    rec = net.run(steps * 0.5, [ns.Spikes(b), ns.State(b, "v", range(50))])
    u = torch.zeros(steps, 1, 30)
    u[2:] = torch.tensor(fires[:-2, None]).double()  # a step on their way; they act from the next one on
    y, s, _ = scan(AT_ONCE, u @ torch.tensor(W).T, 0.5)
    got = torch.zeros(steps, 50)
    t, i = rec.spikes(b)
    got[np.rint(t / 0.5).astype(int), i] = 1
    assert y.sum() > 2000 and torch.equal(got, y[:, 0])
    quiet = y[:, 0] == 0  # what is recorded of a spike's own step is the potential after it
    assert (torch.tensor(rec.state(b, "v")[1]) - s["v"][:, 0])[quiet].abs().max() < 1e-12


def test_brian2_agrees_on_v_and_on_the_rate():
    pytest.importorskip("brian2")
    u = 4.0 * (torch.rand(400, 3) < 0.2)
    assert (run_neuron(NEVER, u, 0.5).states["v"] - scan(NEVER, u[:, None], 0.5)[1]["v"][:, 0]).abs().max() < 1e-12
    y, s, _ = scan(AT_ONCE, 5 * u[:, None], 0.5)
    found = run_neuron(AT_ONCE, 5 * u, 0.5)
    assert y.sum() > 20 and torch.equal(found.y, y[:, 0])
    assert (found.states["v"] - s["v"][:, 0]).abs().max() < 1e-9
    drawn = run_neuron(N, torch.zeros(4000, 200), 0.25).y
    assert abs(float(drawn.mean()) * 4000 - rate(N)[0]) < 0.06 * rate(N)[0]


def test_credit_flows_through_the_mean_of_its_spikes():
    """d y / d v is the derivative of the chance, here by differences."""
    u = torch.full((1, 1, 3), 9.0)
    s = {k: v[0] for k, v in scan(ns.SRM0(), u, 1.0)[1].items()}
    v = torch.tensor([[14.0, 16.0, 19.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(ns.SRM0().out({**s, "v": v}).sum(), v)
    chance = lambda v: 1 - np.exp(-0.06 * np.exp((v - 16) / 2))  # noqa: E731
    at = v.detach().numpy()
    assert np.abs(slope.numpy() - (chance(at + 1e-5) - chance(at - 1e-5)) / 2e-5).max() < 1e-8


@pytest.mark.parametrize(("make", "message"), (
    (lambda: ns.SRM0(tau_s=0.0), "tau_s: given 0.0"),
    (lambda: ns.SRM0(chi=20.0), "chi: given 20.0, it must lie below theta"),
    (lambda: net_of(tau_syn=7.0), "tau_syn: given 7.0 ms, that of SRM0 is the neuron's tau_s, 5.0 ms"),
    (lambda: ns.Network(dt=10.0).add(3, ns.SRM0()), "tau_s: given 5.0 ms, less than the step dt"),
))  # fmt: skip
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def net_of(**options):
    net = ns.Network(dt=1.0, seed=1)
    x, y = net.add(20, ns.Poisson(), drive=60.0), net.add(5, ns.SRM0())
    net.connect(x, y, weight=4.0, **options)
    return net


def test_a_network_of_them_is_saved_and_not_printed(tmp_path):
    net = net_of()
    net.run(200)
    net.save(tmp_path / "net.npz")
    other = ns.Network.load(tmp_path / "net.npz")
    y = net.populations[1], other.populations[1]
    a, b = (n.run(300, [ns.Spikes(p)]).spikes(p) for n, p in zip((net, other), y, strict=True))
    assert len(a.time) > 50 and np.array_equal(a.time, b.time) and np.array_equal(a.unit, b.unit)
    with pytest.raises(Unsupported, match="its spikes are drawn"):
        network_code(net, {net.populations[0]: ([], [])})
