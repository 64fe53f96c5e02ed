"""A threshold that each spike raises: by its closed form on tensors, and in the engine as on tensors."""

import math
import warnings

import numpy as np
import pytest
import torch

import neurosim as ns
from neurosim.neurons import scan
from neurosim.plasticity import Unsupported

DT, STEPS, PRE, POST = 0.5, 800, 20, 7
NEURON = ns.ConductanceLIF(C=100.0, g_L=1.0, E_L=-65.0, E_i=-100.0, v_threshold=-72.0, v_reset=-65.0, refractory=5.0,
                           tau_e=1.0, tau_i=2.0, theta_plus=0.7, tau_theta=400.0, theta=20.0)  # fmt: skip


def test_theta_is_the_sum_of_what_each_spike_left():
    u = (5.0 * (torch.rand(STEPS, 1, 5) < 0.2)).double()
    y, s, _ = scan(NEURON, u, DT)
    assert 20 < y.sum()
    for i in range(5):
        for t in (0, 399, STEPS - 1):
            want = 20.0 * math.exp(-(t + 1) * DT / 400) + sum(
                0.7 * math.exp(-(t - k) * DT / 400) for k in range(t) if y[k, 0, i]
            )
            assert s["theta"][t, 0, i].item() == pytest.approx(want, abs=1e-12)
    above = s["v"] > -72.0 + s["theta"]
    assert (above == y.bool())[1:].double().mean() > 0.95  # but where it is held after a spike
    assert not (y.bool() & ~above).any()


def engine_run(neuron, steps=STEPS):
    net, g = ns.Network(dt=DT, seed=2), np.random.default_rng(5)
    x = g.random((steps, PRE)) < 0.1
    step, unit = x.nonzero()
    given, cells = net.add(PRE, ns.SpikeTrains(unit, step * DT)), net.add(POST, neuron)
    q = net.connect(given, cells, weight=lambda g, n: g.uniform(0, 2.5, n), onto="g_e")
    w = torch.tensor(q.to_dense())
    rec = net.run(steps * DT, [ns.Spikes(cells), ns.State(cells, "x", range(POST))])
    time, unit = rec.spikes(cells)
    y = np.zeros((steps, POST))
    y[np.rint(time / DT).astype(int), unit] = 1
    return net, cells, rec, torch.tensor(x).double(), w, torch.tensor(y)


def test_the_engine_spikes_as_on_tensors():
    net, cells, rec, x, w, ran = engine_run(NEURON)
    s, sent = {}, torch.zeros(1, POST).double()
    thetas = []
    for t in range(STEPS):
        s = NEURON.step(s, (sent, torch.zeros_like(sent)), DT)
        s["y"] = NEURON.out(s)
        assert torch.equal(s["y"][0], ran[t]), t
        thetas.append(s["theta"][0] + NEURON.theta_plus * s["y"][0])  # the engine's after its spike
        sent = x[t - 1][None] @ w.T if t else sent  # a step's axonal delay
    assert ran.sum() > 50
    _, theta = rec.state(cells, "x")
    np.testing.assert_allclose(np.asarray(theta).reshape(POST, -1) if np.shape(theta)[0] == POST else np.asarray(theta).T,
                               torch.stack(thetas).T.numpy(), rtol=0, atol=1e-10)  # fmt: skip


def test_a_rest_keeps_the_threshold_that_was_learned():
    net, cells, *_ = engine_run(NEURON)
    before = net.run(DT, [ns.State(cells, "x", range(POST))]).state(cells, "x")[1]
    net.rest()
    rec = net.run(DT, [ns.State(cells, "x", range(POST)), ns.State(cells, "v", range(POST))])
    after, v = rec.state(cells, "x")[1], rec.state(cells, "v")[1]
    np.testing.assert_allclose(np.ravel(after), np.ravel(before) * math.exp(-DT / 400), rtol=1e-12)
    assert np.ravel(after).min() > 3.0 and np.allclose(v, -65.0)


def test_a_slow_current_beside_it_is_refused_in_the_engine():
    net = ns.Network(dt=DT)
    with pytest.raises(Unsupported, match="theta_plus: given 1.0 with nmda"):
        net.add(3, ns.ConductanceLIF(theta_plus=1.0, nmda=0.5))
        net.run(1.0)


def test_a_decay_that_float32_does_not_hold_is_said():
    def made(tau_theta, dtype):
        net = ns.Network(dt=0.5, dtype=dtype)
        net.add(2, ns.ConductanceLIF(theta_plus=0.05, tau_theta=tau_theta))
        net.run(1.0)

    with pytest.warns(UserWarning, match="tau_theta: given 1e.07, in float32 a step of 0.5 ms"):
        made(1e7, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(1e7, np.float64)
        made(math.inf, np.float32)
        made(1e4, np.float32)
