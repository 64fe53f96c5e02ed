"""Trials: an environment that ends a run, a network at rest again, and copies that live on their own."""

import numpy as np
import pytest

import neurosim as ns
from neurosim.rules import SpikeRule, Term, Trace

TAGGED = SpikeRule(
    {"r1": Trace("pre", 20.0), "o1": Trace("post", 20.0, start=0.5), "D": Trace("dopamine", 50.0)},
    (Term(0.01, ("post", "r1"), "dopamine", 500.0), Term(-0.02, ("pre", "o1")), Term(1e-3, ("pre", "o1"), "D", 500.0)),
)


def until(t, counts, drive, signal, memory):
    memory[1] += 1
    memory[0] = t >= memory[2]


DRIVES = {ns.LIF: 12.0, ns.AdEx: 900.0}


def made(neuron=ns.LIF(refractory=3.0, tau_syn=5.0)):
    """Poisson inputs and a ring of delays: much is on its way at any time."""
    net = ns.Network(dt=0.5, seed=4)
    x, y = net.add(20, ns.Poisson(), drive=50.0), net.add(10, neuron, drive=DRIVES.get(type(neuron), 0.0))
    net.connect(x, y, weight=6.0, rule=TAGGED, w_max=9.0, delay_axonal=1 + np.arange(20) / 2)
    net.connect(y, y, weight=0.5, delay_axonal=7.0)
    return net, y


def test_an_environment_ends_the_run_at_its_step():
    net, y = made()
    memory = np.array([1.0, 0.0, 41.0])  # set by an earlier run
    world = ns.Environment(until, every=1.0, memory=memory, ends=0)
    rec = net.run(5000, [ns.Spikes(y)], environment=world)
    assert (net.t, rec.stop, memory[1]) == (41.0, 41.0, 41.0) and not rec.interrupted
    memory[2] = 60.0
    assert net.run(5000, environment=world).stop == 60.0
    memory[2] = 1e9
    assert net.run(100, environment=world).stop == 160.0
    same, z = made()
    again = same.run(41, [ns.Spikes(z)])  # the spikes of a run of that length
    assert len(again.spikes(z).time) > 5 and np.array_equal(again.spikes(z).time, rec.spikes(y).time)


@pytest.mark.parametrize("ends", (-1, 3, 1.0, True))
def test_the_place_that_ends_a_run_is_in_memory(ends):
    with pytest.raises(ValueError, match=f"ends: given {ends}, memory has the places 0 to 2"):
        ns.Environment(until, 1.0, np.zeros(3), ends)


@pytest.mark.parametrize("neuron", (ns.LIF(refractory=3.0, tau_syn=5.0), ns.SRM0(), ns.AdEx(), ns.Izhikevich()))
def test_a_network_at_rest_does_what_a_new_one_does(neuron):
    """With the same weights and random numbers, spikes and weights are equal in every bit."""
    net, y = made(neuron)
    net.signal(dopamine=0.002)
    net.run(333)
    weights, bits = net.projections[0].w.copy(), net.made().random_state.copy()
    net.rest()
    assert not net.ready.gates.e.any() and net.t == 333.0
    new, z = made(neuron)
    new.signal(dopamine=0.002)
    new.made().random_state[:], new.projections[0].w[:] = bits, weights
    a, b = net.run(400, [ns.Spikes(y)]).spikes(y), new.run(400, [ns.Spikes(z)]).spikes(z)
    assert len(a.time) > 3 and np.array_equal(a.unit, b.unit) and np.allclose(a.time - 333.0, b.time, atol=1e-9)
    assert np.array_equal(net.projections[0].w, new.projections[0].w) and np.array_equal(
        net.ready.gates.e, new.ready.gates.e
    )
    assert not np.array_equal(weights, new.projections[0].w)


def test_replicas_go_on_by_themselves():
    net, y = made()
    net.signal(dopamine=0.5)
    net.run(100)
    before = net.projections[0].w.copy()
    copies = net.replicas(3)
    alone = [c.run(200, [ns.Spikes(c.populations[1])]).spikes(c.populations[1]).time for c in copies]
    together = net.run_replicas(3, 200, [ns.Spikes(y)])
    for time, (copy, rec) in zip(alone, together, strict=True):
        assert np.array_equal(time, rec.spikes(copy.populations[1]).time)
    assert not np.array_equal(alone[0], alone[1])
    assert np.array_equal(net.projections[0].w, before) and net.t == 100.0
