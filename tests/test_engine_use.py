"""The engine as people use it: in pieces, interrupted, saved, asked for what there is not, and given what makes no sense."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest

import neurosim as ns
from neurosim.brian_network import network_code
from neurosim.record import Unsupported
from neurosim.rules import SpikeRule, Term, Trace, pair

SIGNAL_AND_ITS_TRACE = SpikeRule(
    {"r1": Trace("pre", 20.0), "o1": Trace("post", 20.0), "D": Trace("dopamine", 50.0)},
    (Term(0.1, ("post", "r1"), "dopamine"), Term(-0.1, ("pre", "o1"), "D")),
)


def small(dt=1.0, drive=40.0, **options):
    """Ten Poisson inputs onto five neurons, plastic."""
    net = ns.Network(dt=dt, seed=3, **options)
    x, y = net.add(10, ns.Poisson(), drive=drive), net.add(5, ns.LIF())
    q = net.connect(x, y, weight=lambda g, n: g.uniform(2, 6, n), tau_syn=5.0, rule=pair(0.1, 0.1), w_max=20.0)
    return net, x, y, q


# ---------------------------------------------------------------------------------------------- signals
def test_a_signal_and_its_trace_are_gates_of_one_rule():
    net, x, y, _ = small()
    net.connect(y, y, weight=1.0, rule=SIGNAL_AND_ITS_TRACE, w_max=9.0)
    net.run(10)
    assert net.signal_names == ["dopamine", "D"]


def test_a_trace_of_one_name_is_one_trace():
    net, x, y, _ = small()
    for tau in (20.0, 500.0):
        rule = SpikeRule({"r1": Trace("pre", 20.0), "D": Trace("dopamine", tau)}, (Term(0.1, ("post", "r1"), "D"),))
        net.connect(x, y, weight=1.0, rule=rule, w_max=9.0)
    with pytest.raises(ValueError, match="rule: 'D' is the trace of a modulator in two rules"):
        net.run(1)


# ---------------------------------------------------------------------------------------------- replicas, pieces, Ctrl-C
def test_replicas_draw_numbers_of_their_own():
    net, x, *_ = small()
    found = [rec.spikes(x) for _, rec in net.run_replicas(3, 500, [ns.Spikes(x)])]
    found.append(net.run(500, [ns.Spikes(x)]).spikes(x))
    for i in range(4):
        for k in range(i):
            assert len(found[i].time) > 100 and not np.array_equal(found[i].time, found[k].time)


def test_an_interrupted_run_is_the_beginning_of_the_whole():
    """Whatever piece Ctrl-C falls into: the recording and the weights are those of a run of that length."""
    for at in (7.0, 30.0, 41.0):
        net, x, y, q = small()
        net.projections[0].normalise = (40.0, 5.0)

        def press(net, at=at):
            if net.t == at:
                signal.raise_signal(signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        rec = net.run(200, [ns.Spikes(x), ns.Weights(q, every=10.0)], each=(1.0, press))
        assert rec.interrupted and rec.stop == net.t == at and signal.getsignal(signal.SIGINT) is before
        other, x2, _, q2 = small()
        other.projections[0].normalise = (40.0, 5.0)
        want = other.run(at, [ns.Spikes(x2), ns.Weights(q2, every=10.0)])
        assert np.array_equal(rec.spikes(x).time, want.spikes(x2).time) and np.array_equal(q.w, q2.w)
        assert np.array_equal(rec.weights(q)[1], want.weights(q2)[1]) and rec.totals.tolist() == want.totals.tolist()
        assert not want.interrupted


def test_a_quiet_network_is_below_the_ceiling_however_it_is_cut():
    """Ten units at 5 Hz: one spike in a step of 1 ms is 100 Hz for that step, not for 100 ms."""
    net = ns.Network(dt=1.0, seed=3)
    p = net.add(10, ns.Poisson(), drive=5.0)
    for cut in (1.0, 3.0, 50.0):
        assert net.run(1000, ceiling=50.0, each=(cut, lambda net: None)).mean_rate(p) < 8
    net.run(30)
    p.drive = 80.0
    with pytest.raises(ns.BlowUp, match="its rate was .* Hz, above the ceiling of 50 Hz, at 3200 ms") as stop:
        net.run(1000, ceiling=50.0)  # 3030 to 3100 ms is no whole window
    assert stop.value.time == 3200 and stop.value.recording.stop == 3200
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="ceiling: given"):
            net.run(10, ceiling=bad)


def heard(t, counts, drive, signal, memory):
    memory[int(memory[0]) + 1] = counts.sum()
    memory[0] += 1


def test_an_environment_hears_all_spikes_between_its_turns():
    times = [3.0, 21.0, 22.0, 30.0]
    for runs in ((40.0,), (25.0, 15.0), (21.0, 1.0, 18.0)):
        net = ns.Network(dt=1.0)
        net.add(1, ns.SpikeTrains([0] * 4, times))
        memory = np.zeros(5)
        for duration in runs:
            net.run(duration, environment=ns.Environment(heard, every=20.0, memory=memory))
        assert memory[1:3].tolist() == [1, 3], runs


def test_states_are_sampled_on_the_networks_clock():
    net, _, y, _ = small()
    found = [net.run(15, [ns.State(y, "v", [0], every=10.0)]).state(y, "v") for _ in range(2)]
    whole, _, y2, _ = small()
    time, v = whole.run(30, [ns.State(y2, "v", [0], every=10.0)]).state(y2, "v")
    assert [t for f in found for t in f[0]] == [10, 20, 30] == time.tolist()
    assert np.array_equal(np.concatenate([f[1] for f in found]), v)


# ---------------------------------------------------------------------------------------------- recording
def test_what_is_recorded_must_make_sense(tmp_path):
    net, x, y, q = small()
    other, _, z, _ = small()
    for record, message in (
        (ns.Spikes(y), "record: given Spikes"),
        ([ns.Spikes(q)], "record: Spikes is given Projection.*expected a Population"),
        ([ns.Weights(y)], "record: Weights is given Population.*expected a Projection"),
        ([ns.State(q, "v")], "record: State is given Projection"),
        ([ns.State(z, "v")], "which is not of this network"),
        ([ns.State(y, "v", 0)], "units: given 0, expected a list of units"),
        ([ns.State(y, "v", [0]), ns.State(y, "v", [2])], "record: State of .* is asked for twice"),
        ([ns.PopulationRate(y, 5), ns.PopulationRate(y, 2)], "record: PopulationRate of .* is asked for twice"),
        (["v"], "record: given 'v', allowed are"),
        ([ns.Weights(q, 1.0, bins=5)], "bins: given 5, expected the edges"),
    ):
        with pytest.raises(ValueError, match=message):
            net.run(5, record)
        with pytest.raises(ValueError, match=message):
            net.run_replicas(1, 5, record)
    a = net.run(50, [ns.Spikes(x)], to=tmp_path / "parts")
    first = a.spikes(x).time
    with pytest.raises(ValueError, match="to: .*parts holds the parts of another run"):
        net.run(50, [ns.Spikes(x)], to=tmp_path / "parts")
    assert np.array_equal(a.spikes(x).time, first) and len(first)
    y.drive = -50.0
    silent = net.run(5, [ns.Spikes(y)]).spikes(y)
    assert silent.counts(5).tolist() == [0] * 5


# ---------------------------------------------------------------------------------------------- what a network begins with
def test_brian2_is_given_the_network_as_it_began():
    net, x, y, q = small()
    y.v[:] = -55.0
    q.w[:] = 3.0
    net.run(20)
    spikes = net.run(20, [ns.Spikes(x)]).spikes(x)
    y.drive, y.v, q.w = 40.0, -60.0, 9.0
    code = network_code(net, {x: spikes})
    assert (code.populations[1].values["v"][0] == -55).all() and (code.populations[1].values["drive"][0] == 0).all()
    assert (code.projections[0].w == 3).all()
    every, x, *_ = small(gate_every=10.0)
    with pytest.raises(Unsupported, match="gate_every: given 10 ms"):
        network_code(every, {x: spikes})


def test_potentials_are_set_before_and_after_the_first_run():
    net, _, y, _ = small()
    y.v = -57.0
    assert net.ready is None and (y.v == -57).all()
    with pytest.raises(ValueError, match="add: this network has run, or its state was asked for"):
        net.add(1, ns.LIF())
    y.v = np.arange(5) - 60.0
    assert y.v.tolist() == [-60, -59, -58, -57, -56]
    with pytest.raises(ValueError, match=r"v: given the shape \[3\]"):
        y.v = [1.0, 2.0, 3.0]


def test_normalised_weights_stay_within_their_bounds():
    net = ns.Network(dt=1.0)
    x, y = net.add(2, ns.Poisson()), net.add(1, ns.LIF())
    q = net.connect(x, y, weight=1.0, tau_syn=5.0, rule=pair(), w_max=2.0, normalise=(10.0, 5.0))
    net.run(5)
    assert q.w.tolist() == [2, 2]


# ---------------------------------------------------------------------------------------------- files
def test_a_file_that_is_not_whole_says_so(tmp_path):
    net, x, y, q = small()
    net.connect(y, y, weight=1.0, tau_syn=np.float32(5), rule=pair(), w_max=2.0, normalise=(np.int64(3), np.float32(5)))
    net.run(20)
    net.generator.random(7)
    path = tmp_path / "net.npz"
    net.save(path)
    other = ns.Network.load(path)
    assert other.generator.random() == net.generator.random()
    assert other.projections[1].normalise == (3.0, 5.0) and np.array_equal(other.projections[0].w, q.w)
    whole = path.read_bytes()
    for n in (10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="path: .*net.npz is no 'neurosim network 2'"):
            ns.Network.load(path)
    spec = np.array(json.dumps({"format": "neurosim network 2"}))
    np.savez(path, spec=spec)
    with pytest.raises(ValueError, match="path: .*net.npz is not whole, it lacks 'dt'"):
        ns.Network.load(path)


# ---------------------------------------------------------------------------------------------- bad input
def connected(**options):
    net, x, y, _ = small()
    return net.connect(x, y, **{"tau_syn": 5.0, **options})


GATED = SpikeRule({"r1": Trace("pre", 20.0)}, (Term(0.1, ("post", "r1"), "dopamine", tau_e=0.001),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: connected(delay_axonal=0.99), "delay_axonal: given 0.99 ms, it must be at least dt = 1.0 ms"),
        (lambda: connected(delay_axonal=1e9), "delay_axonal: given 1e.09 ms, it must be at most 1,000,000 steps"),
        (lambda: connected(delay_axonal="x"), "delay_axonal: given 'x', expected a number"),
        (lambda: connected(rule=GATED, w_max=2.0), "tau_e: given 0.001 ms, less than the step dt = 1.0 ms"),
        (lambda: connected(matrix=np.ones((5, 10))), "matrix: given ndarray, it must be a scipy.sparse array"),
        (lambda: connected(normalise=5.0), "normalise: given 5.0, expected .sum, every ms."),
        (lambda: connected(normalise=(5.0,)), r"normalise: given \(5.0,\), expected"),
        (lambda: connected(normalise=(float("nan"), 10)), "normalise: given .nan, 10., expected"),
        (lambda: connected(normalise=(-5, 10)), "with a positive sum"),
        (lambda: connected(normalise=(5, 0.05)), "normalise: given 0.05 ms, it must be a whole number of steps"),
        (lambda: connected(fan_in=True), "fan_in: given True"),
        (lambda: connected(weight="a"), "weight: given 'a', expected a number"),
        (lambda: connected(probability="a"), "probability: given 'a', it must lie in"),
        (lambda: connected(w_min=float("nan")), "w_min: given nan"),
        (lambda: small(drive="a"), "drive: given 'a', expected a number"),
        (lambda: small(drive=-5.0), "drive: given -5 Hz, the rate of a Poisson input is 0 or more"),
        (lambda: ns.Network(seed=-1), "seed: given -1, it must be a whole number, 0 or more"),
        (lambda: ns.Network(seed=None), "seed: given None"),
        (lambda: ns.Network(dt="a"), "dt: given 'a'"),
        (lambda: ns.Network(dt=float("inf")), "dt: given inf"),
        (lambda: ns.Network(dtype="blah"), "dtype: given 'blah', allowed are float32 and float64"),
        (lambda: ns.Network().add(True, ns.LIF()), "n: given True"),
        (lambda: ns.Network().add(3, ns.SpikeTrains([0.7], [1.0])), "unit: given .0.7., units are whole numbers"),
        (lambda: ns.Network().add(3, ns.LIF(refractory=float("inf"))), "refractory: given inf"),
        (lambda: small()[0].run(5, each=5), r"each: given 5, expected \(ms, a function of the network\)"),
        (lambda: small()[0].run_replicas(0, 5), "n: given 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_multiplies_a_term_is_told_before_a_run():
    """An untold gain is no gain of 0, which would silently take potentiation away."""
    net, x, y, _ = small()
    rule = SpikeRule(
        {"r1": Trace("pre", 20.0)}, (Term(0.1, ("post", "r1", "gain_A_plus")), Term(0.1, ("post", "r1"), "tag"))
    )
    net.connect(x, y, weight=1.0, rule=rule, w_max=9.0)
    with pytest.raises(ValueError, match="signal: gain_A_plus multiplies a term or a time constant and was never"):
        net.run(5)
    net.signal(gain_A_plus=1.0)
    net.run(5)
    with pytest.raises(ValueError, match=r"gain_A_plus: given \[1. 1.\], a signal is one finite number"):
        net.signal(gain_A_plus=np.ones(2))


def varying(dtype=np.float64):
    net, x, y, _ = small(dtype=dtype)
    y.drive = 20.0
    clocked = {n: replace(t, clock="width") for n, t in pair(0.1, 0.1).traces.items()}
    q = net.connect(x, y, weight=1.0, rule=replace(pair(0.1, 0.1), traces=clocked), w_max=9.0)
    return net, q


def restless(t, counts, drive, signal, memory):
    signal[0] = memory[int(t) % 4]


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_time_constants_that_vary_go_on_from_a_file_and_in_replicas(tmp_path, dtype):
    """Bit for bit; and whatever an environment sets, a time constant is dt at least."""
    net, q = varying(dtype)
    with pytest.raises(ValueError, match="signal: width multiplies a term or a time constant and was never told"):
        net.run(10)
    with pytest.raises(ValueError, match=r"width: given 0.01, a time constant would be below dt; at least 0.05"):
        net.signal(width=0.01)
    net.signal(width=1.0)
    world = lambda: ns.Environment(restless, every=1.0, memory=np.array([0.06, 3.0, 0.0, -2.0]))  # noqa: E731
    net.run(171, environment=world())
    net.save(tmp_path / "net.npz")
    loaded, (copy,) = ns.Network.load(tmp_path / "net.npz"), net.replicas(1)
    copy.made().random_state[:] = net.made().random_state
    for other in (net, loaded, copy):
        other.run(200, environment=world())
    assert np.isfinite(q.w).all() and q.w.std() > 0.01
    assert np.array_equal(loaded.projections[1].w, q.w) and np.array_equal(copy.projections[1].w, q.w)


def test_a_signal_is_a_finite_number():
    net, x, y, _ = small()
    net.connect(y, y, weight=1.0, rule=SIGNAL_AND_ITS_TRACE, w_max=9.0)
    for bad in (float("nan"), "much"):
        with pytest.raises(ValueError, match="dopamine: given"):
            net.signal(dopamine=bad)
