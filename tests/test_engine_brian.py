"""The engine against Brian2: 200 neurons, delays on both sides, inhibition, weights that move by much; 1 s in float64."""

import numpy as np
import pytest

from neurosim.brian import network_code, run_network
from neurosim.engine import Network, Spikes, SpikeTrains
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Unsupported
from neurosim.rules import ALL, SpikeRule, Term, Trace, pair, triplet
from neurosim.spiking import LIF, AdEx, ConductanceLIF, Izhikevich, Poisson
from tests.engine_nets import RULES, made
from tests.test_brian import nothing_old_to_collect, numpy_target  # noqa: F401

pytest.importorskip("brian2")


def spikes_of(rec, p):
    return rec.spikes(p).time, rec.spikes(p).unit


def equal(spikes, want, dt):
    """The same units in the same steps?"""
    (t, i), (s, j) = spikes, want
    return len(t) == len(s) and np.array_equal(np.rint(t / dt), np.rint(s / dt)) and np.array_equal(i, j)


def held_to_brian(m, duration=1000, least=0.1):
    """Equal spikes and weights; and it matters: the weights move, and without their moves the spikes are others."""
    q = m.plastic
    m.net.signal(**m.signals)
    rec = m.net.run(duration, [Spikes(p) for p in m.net.populations])
    found = run_network(m.net, duration, {m.noise: rec.spikes(m.noise)}, m.signals)
    assert list(found.spikes) == [m.exc, m.inh] and m.exc.n + m.inh.n >= 200
    for p in found.spikes:
        assert 2 < rec.mean_rate(p) < 60
        assert equal(spikes_of(rec, p), found.spikes[p], m.net.dt), p
    assert np.abs(q.w - found.w[q]).max() / q.w_max < 1e-9
    assert np.abs(found.w[q] - q.first_w).mean() / np.abs(q.first_w).mean() > least
    for other in m.net.projections:
        assert other is q or np.array_equal(other.w, other.first_w)
    return rec


def test_every_rule_is_there():
    """Each rule of spikes that the package ships, by its traces and the shape of its terms."""

    def shape(rule):
        terms = sorted((m.factors, m.gate is None, m.weight is None) for m in rule.terms if m.gain)
        return sorted((n, z.of, z.nearest) for n, z in rule.traces.items()), terms

    mine = [shape(r) for r in RULES.values()]
    shipped = {n: r for n, r in ALL.items() if isinstance(r, SpikeRule)}
    assert len(shipped) >= 12
    for name, rule in shipped.items():
        assert shape(rule) in mine, name


@pytest.mark.parametrize("name", [n for n in RULES if n != "inhibitory"])
def test_a_rule_in_a_network_is_brian(name):
    rec = held_to_brian(m := made(RULES[name]))
    fixed = made(None)
    without = fixed.net.run(1000, [Spikes(fixed.exc)])
    assert not equal(spikes_of(rec, m.exc), spikes_of(without, fixed.exc), m.net.dt)


# neuron, unit of weights, drive, dt
CELLS = {
    "conductance": (ConductanceLIF(), 0.1, 50.0, 0.5),
    "conductance with NMDA": (ConductanceLIF(nmda=0.5), 0.1, 50.0, 0.5),
    "adaptive": (AdaptiveLIF(beta=0.1, tau_a=100.0), 0.002, 0.01, 0.5),
    "adex": (AdEx(refractory=2.0), 20.0, 500.0, 0.1),
    "izhikevich": (Izhikevich(), 0.5, 2.0, 0.5),
    "izhikevich in two substeps": (Izhikevich(substeps=2), 0.5, 2.0, 0.5),
    "lif without refractory period": (LIF(v_reset=-70.0), 1.0, 8.0, 0.5),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "adex" else ()) for n in CELLS])
def test_a_neuron_in_a_network_is_brian(name):
    neuron, unit, drive, dt = CELLS[name]
    held_to_brian(made(pair(0.2, 0.21).scaled(unit), neuron, unit, drive, dt))


def test_inhibitory_plasticity_on_conductances_is_brian():
    held_to_brian(made(RULES["inhibitory"], ConductanceLIF(), 0.1, 50.0))


# ---------------------------------------------------------------------------------------------- what the print has to get right
def trains(n, rate, duration, dt, seed):
    step, unit = (np.random.default_rng(seed).random((round(duration / dt), n)) < rate * dt / 1000).nonzero()
    return SpikeTrains(unit, step * dt)


def pool(neuron, taus, unit, dt=0.5, drive=0.0, duration=300, **more):
    """One population under currents of several time constants."""
    net = Network(dt=dt, seed=3)
    given = net.add(40, trains(40, 50.0, duration, dt, 4))
    cells = net.add(20, neuron, drive=drive, **more)
    for k, tau in enumerate(taus):
        net.connect(given, cells, probability=0.4, weight=unit * (1 + k) * (-1) ** (k % 3 == 2), tau_syn=tau)
    return net, cells


@pytest.mark.parametrize(
    "neuron, taus, unit, drive",
    [
        (LIF(refractory=1.0), (None, 5.0), 10.0, 5.0),
        (LIF(refractory=1.0, tau_syn=3.0), (None, 11.0), 3.0, 5.0),  # None: the neuron's own
        (LIF(), (20.0,), 1.0, 5.0),  # tau_syn = tau_m
        (AdaptiveLIF(beta=0.1), (None, 5.0), 0.05, 0.01),
        (AdEx(refractory=1.0), (None, 5.0), 300.0, 200.0),
        (Izhikevich(), (None, 5.0), 2.0, 2.0),
    ],
)
def test_currents_that_last_a_step_stand_beside_others(neuron, taus, unit, drive):
    dt = 0.1 if isinstance(neuron, AdEx) else 0.5
    net, cells = pool(neuron, taus, unit, dt, drive)
    rec = net.run(300, [Spikes(cells)])
    assert rec.totals[cells.index] > 30
    assert equal(spikes_of(rec, cells), run_network(net, 300).spikes[cells], dt)


@pytest.mark.parametrize(
    "neuron, low, high", [(LIF(), -65, -51), (Izhikevich(), -70, -50), (ConductanceLIF(), -75, -51)]
)
def test_first_potentials_are_taken_over(neuron, low, high):
    drive = {LIF: 20.0, Izhikevich: 5.0, ConductanceLIF: 200.0}[type(neuron)]
    first = np.linspace(low, high, 20)
    net = Network(dt=0.5)
    cells = net.add(20, neuron, drive=drive, v=first)
    rec = net.run(100, [Spikes(cells)])
    assert len(np.unique(rec.spikes(cells).time)) > 10
    assert equal(spikes_of(rec, cells), run_network(net, 100).spikes[cells], 0.5)


def test_a_network_is_printed_as_it_was_before_it_ran():
    net, cells = pool(LIF(refractory=1.0), (5.0,), 10.0)
    before = run_network(net, 100).spikes[cells]
    net.run(100)
    assert len(before[0]) > 5
    assert equal(before, run_network(net, 100).spikes[cells], net.dt)


def test_rows_are_normalised_as_in_brian():
    net = Network(dt=0.5)
    given, cells = net.add(40, trains(40, 40.0, 100, 0.5, 5)), net.add(10, LIF(), drive=10.0)
    rule = pair(0.3, 0.2)
    q = net.connect(given, cells, fan_in=20, weight=3.0, tau_syn=5.0, rule=rule, w_max=9.0, normalise=(70.0, 20.0))
    rec = net.run(100, [Spikes(cells)])
    found = run_network(net, 100)
    assert rec.totals[cells.index] > 30
    assert equal(spikes_of(rec, cells), found.spikes[cells], 0.5)
    assert np.abs(q.w - found.w[q]).max() < 1e-9 and q.to_dense().sum(1) == pytest.approx(np.full(10, 70.0))


def test_code_stands_as_it_is_published():
    code = network_code(pool(LIF(refractory=1.0), (5.0,), 10.0)[0])
    assert code.populations[0].code is None and len(code.populations[0].units) > 100
    lines = code.populations[1].code.model.split("\n")
    assert lines[:2] == ["dv/dt = (v_rest - v + u)/tau_m : volt (unless refractory)", "u = drive + I : volt"]
    assert "dI/dt = -I/tau_I : volt" in lines and code.projections[0].code.on_pre == "I_post += w*mV"


def synapse(rule, neuron=LIF(), tau=5.0):
    net = Network(dt=0.5)
    net.connect(net.add(2, Poisson(), drive=5.0), net.add(2, neuron), rule=rule, tau_syn=tau)
    return net


@pytest.mark.parametrize(
    "net, message",
    [
        (synapse(None, LIF(refractory=1.0), 20.0), "tau_syn: given 20.0 = tau_m"),
        (
            synapse(SpikeRule({"v": Trace("pre", 9.0)}, (Term(1.0, ("post", "v")),))),
            "rule: v is a name of the rule and",
        ),
        (
            synapse(SpikeRule({"I": Trace("pre", 9.0)}, (Term(1.0, ("post", "I")),))),
            "rule: I is a name of the rule and",
        ),
        (synapse(SpikeRule({"w": Trace("pre", 9.0)}, (Term(1.0, ("post", "w")),))), "the name 'w'"),
    ],
)
def test_what_cannot_be_printed_says_why(net, message):
    with pytest.raises(Unsupported, match=message):
        network_code(net, {net.populations[0]: ([], [])})


def test_drawn_spikes_must_be_given():
    with pytest.raises(ValueError, match="drawn: given no spikes of Population"):
        network_code(synapse(None))


def test_several_rules_long_delays_and_short_time_constants_are_brian():
    """Dense and sparse, weights below 0, delays beyond the rebase of traces, a time constant of one step."""
    dt, net, g = 0.5, Network(dt=0.5, seed=5), np.random.default_rng(6)
    given = net.add(30, trains(30, 30.0, 600, dt, 7))
    exc, inh = net.add(40, LIF(refractory=1.0), drive=12.0), net.add(20, LIF(refractory=1.0), drive=14.0)
    short = SpikeRule({"r1": Trace("pre", 0.5), "o1": Trace("post", 900.0)}, pair(0.05, 2e-3).terms)
    plastic = [
        net.connect(
            given,
            exc,
            weight=lambda g, n: g.uniform(0.5, 1.5, n),
            tau_syn=6.0,
            rule=RULES["Morrison"],
            delay_axonal=g.uniform(1, 90, 30),
            delay_dendritic=g.uniform(0, 90, 40),
        ),
        net.connect(exc, exc, probability=0.3, weight=0.5, tau_syn=6.0, rule=short, w_max=1.0, delay_axonal=75.0),
        net.connect(inh, exc, weight=-1.0, rule=pair(0.1, 0.2), w_min=-2.0, w_max=-0.2, delay_dendritic=3.0),
        net.connect(
            exc, inh, fan_in=9, weight=1.0, tau_syn=0.5, rule=triplet(A3_plus=0.05), delay_dendritic=g.uniform(0, 5, 20)
        ),
        net.connect(
            given,
            inh,
            one_to_one=False,
            probability=0.5,
            weight=2.0,
            tau_syn=6.0,
            rule=RULES["full nearest triplet"],
            w_max=3.0,
        ),
    ]
    rec = net.run(600, [Spikes(exc), Spikes(inh)])
    found = run_network(net, 600)
    for p in (exc, inh):
        assert rec.mean_rate(p) > 5 and equal(spikes_of(rec, p), found.spikes[p], dt)
    for q in plastic:
        assert np.abs(q.w - found.w[q]).max() < 1e-9 and np.abs(q.w - q.first_w).mean() > 0.02, q


@pytest.mark.slow
def test_a_network_in_cpp_standalone():
    net = Network(dt=0.5)
    given, cells = net.add(40, trains(40, 40.0, 200, 0.5, 8)), net.add(20, LIF(refractory=1.0), drive=12.0)
    late = np.arange(40) % 5 * 0.5 + 0.5
    q = net.connect(given, cells, fan_in=9, weight=3.0, tau_syn=5.0, rule=triplet(A3_plus=0.1), delay_axonal=late)
    rec, found = net.run(200, [Spikes(cells)]), run_network(net, 200, standalone=True)
    assert rec.totals[cells.index] > 50
    assert equal(spikes_of(rec, cells), found.spikes[cells], 0.5)
    assert np.abs(q.w - found.w[q]).max() < 1e-9 and np.abs(q.w - q.first_w).mean() > 0.01
