"""What the engine keeps: recordings in many pieces, streams of random numbers, ceilings over short runs, files sent."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from scipy.sparse import csc_array

import neurosim as ns
from neurosim.brian import run_network
from neurosim.engine.record import JOINED, Recording
from neurosim.rules import SpikeRule, Term, Trace, pair


def noisy(drive=40.0, seed=3, n=20, **options):
    net = ns.Network(dt=1.0, seed=seed, **options)
    x, y = net.add(n, ns.Poisson(), drive=drive), net.add(5, ns.LIF())
    q = net.connect(x, y, weight=3.0, tau_syn=5.0, rule=pair(0.1, 0.1), w_max=20.0)
    return net, x, y, q


# ---------------------------------------------------------------------------------------------- recordings
def test_many_short_pieces_take_no_more_room_than_one_long():
    """Normalised every step, so that the loop is left 5,000 times."""
    net, x, y, q = noisy()
    rec = net.run(5000, [ns.PopulationRate(x, bin=100.0), ns.Spikes(x)], each=(1.0, lambda net: None))
    other, z, *_ = noisy()
    whole = other.run(5000, [ns.PopulationRate(z, bin=100.0), ns.Spikes(z)])
    assert np.array_equal(rec.rate(x), whole.rate(z)) and len(rec.rate(x)) == 50
    for a, b in zip(rec.spikes(x), whole.spikes(z), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert max(len(pieces) for pieces in rec.parts.values()) < 15


def test_pieces_are_counted_and_large_ones_left_alone():
    rec, g = Recording(0.0, 0.0), np.random.default_rng(0)
    given = [g.random(n) for n in (0, 3, 0, 5, JOINED // 8 + 1, 7, JOINED // 4, 2, 0)]
    for piece in given:
        rec.add("x", piece)
    assert np.array_equal(np.concatenate(rec.parts["x"]), np.concatenate(given))
    assert rec.held == sum(x.nbytes for x in given) == sum(x.nbytes for x in rec.parts["x"])
    assert len(rec.parts["x"]) >= 2


# ---------------------------------------------------------------------------------------------- random numbers
def spikes_of(net, duration=200.0):
    x = net.populations[0]
    time, unit = net.run(duration, [ns.Spikes(x)]).spikes(x)
    return tuple(zip(np.round(time - net.t + duration, 6), unit, strict=True))


def test_replicas_of_replicas_and_of_other_times_draw_other_numbers(tmp_path):
    net = noisy()[0]
    net.run(10.0)
    net.save(tmp_path / "net.npz")
    best, seen = net, []
    for _ in range(3):  # generations
        copies = best.replicas(2)
        seen += [spikes_of(c) for c in copies]
        best = copies[0]
    seen.append(spikes_of(net))
    seen += [spikes_of(c) for c in net.replicas(2)]  # later
    assert len(set(seen)) == len(seen) == 9 and all(len(s) > 50 for s in seen)
    again = ns.Network.load(tmp_path / "net.npz").replicas(2)  # at the same time, the same
    again[0].save(tmp_path / "copy.npz")
    assert [spikes_of(c) for c in again] == seen[:2]
    child = ns.Network.load(tmp_path / "copy.npz")
    assert child.generator.random() == noisy_child(net.seed).generator.random()


def noisy_child(seed):
    net = noisy(seed=seed)[0]
    net.run(10.0)
    return net.replicas(1)[0]


def test_ctrl_c_ends_all_replicas_and_returns_what_there_is():
    net = noisy(n=2000)[0]
    net.run(10.0)
    x = net.populations[0]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Brian2 has put its own
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.perf_counter()
    found = net.run_replicas(2, 1e8, [ns.PopulationRate(x, bin=1000.0)])
    assert time.perf_counter() - begin < 60  # it would take hours
    for copy, rec in found:
        assert rec.interrupted and 10 < rec.stop == copy.t < 1e8
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


# ---------------------------------------------------------------------------------------------- ceilings
@pytest.mark.parametrize("pieces", ([60.0] * 5, [30.0, 100.0, 70.0, 100.0], [1.0] * 299, [300.0]))
def test_a_ceiling_sees_what_short_runs_add_up_to(pieces):
    """400 Hz for all, above 50 Hz: noticed at the end of the first 100 ms, however they were cut."""
    net = noisy(drive=400.0)[0]
    with pytest.raises(ns.BlowUp) as caught:
        for t in pieces:
            net.run(t, ceiling=50.0)
    assert caught.value.time == 100.0 and caught.value.population is net.populations[0]


def test_a_window_that_was_not_seen_from_its_beginning_says_nothing():
    net = noisy(drive=400.0)[0]
    net.run(50.0)
    net.run(60.0, ceiling=50.0)  # 50 ms of this window are unknown
    with pytest.raises(ns.BlowUp) as caught:
        for _ in range(4):
            net.run(30.0, ceiling=50.0)
    assert caught.value.time == 200.0


# ---------------------------------------------------------------------------------------------- slow signals
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_a_slow_trace_of_a_signal_is_its_running_mean(dtype):
    """z <- exp(-dt/tau) z + (1 - exp(-dt/tau)) M for 3 tau of M = 1: 1 - exp(-3), also where float32 holds no step's decay."""
    tau = 100_000.0
    rule = SpikeRule({"r1": Trace("pre", 20.0), "D": Trace("dopamine", tau, bump=-np.expm1(-0.1 / tau))},
                     (Term(0.1, ("post", "r1"), "D", 100.0),))  # fmt: skip
    net = ns.Network(dt=0.1, dtype=dtype)
    x, y = net.add(1, ns.SpikeTrains([0], [5.0])), net.add(1, ns.LIF())
    net.connect(x, y, weight=1.0, rule=rule, w_max=2.0)
    net.signal(dopamine=1.0)
    net.run(3 * tau)
    value = net.made().gates.signal["value"][net.signal_names.index("D")]
    assert value == pytest.approx(-np.expm1(-3.0), rel=1e-5)


# ---------------------------------------------------------------------------------------------- files that were sent
def changed(path, **arrays):
    with np.load(path, allow_pickle=False) as file:
        held = {n: file[n] for n in file.files}
    for name, change in arrays.items():
        held[name.replace("_", " ")] = change(held[name.replace("_", " ")])
    np.savez(path, **held)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("target_0", lambda x: x + np.uint16(60_000)),
        ("first_w_0", lambda x: x[:-1]),
        ("row_0", lambda x: x + 1),
        ("row_0", lambda x: x[::-1].copy()),
        ("axonal_0", lambda x: 0 * x),
        ("dendritic_0", lambda x: x - 1),
        ("state_spikes", lambda x: x + 1_000_000),
        ("state_count", lambda x: x + 1000),
        ("state_held", lambda x: x + np.uint32(1 << 31)),
        ("state_clock", lambda x: x + (1 << 40)),
    ],
)
def test_a_file_that_leads_out_of_its_network_is_refused(tmp_path, name, change):
    net = ns.Network(dt=1.0, seed=1)
    x, y = net.add(10, ns.Poisson(), drive=40.0), net.add(5, ns.LIF())
    net.connect(x, y, fan_in=4, weight=5.0, tau_syn=5.0)
    net.run(50)
    net.save(tmp_path / "net.npz")
    assert ns.Network.load(tmp_path / "net.npz").t == 50.0
    changed(tmp_path / "net.npz", **{name: change})
    with pytest.raises(ValueError, match="path: "):
        ns.Network.load(tmp_path / "net.npz")


def test_first_weights_that_are_counted_to_another_projection_are_refused(tmp_path):
    """As many in all, so that no other check sees it."""
    net = ns.Network(dt=1.0, seed=1)
    x, y = net.add(10, ns.Poisson(), drive=40.0), net.add(5, ns.LIF())
    for _ in range(2):
        net.connect(x, y, fan_in=4, weight=5.0, tau_syn=5.0)
    net.save(tmp_path / "net.npz")
    changed(tmp_path / "net.npz", first_w_0=lambda x: x[:-1], first_w_1=lambda x: np.append(x, x[:1]))
    with pytest.raises(ValueError, match="path: projection 0 has .19,. first weights for 20 synapses"):
        ns.Network.load(tmp_path / "net.npz")


def test_a_file_goes_on_with_a_drive_and_an_environment_between_its_turns(tmp_path):
    def heard(t, counts, drive, signal, memory):
        memory[0] += counts.sum()

    found = []
    for saved in (False, True):
        net = noisy()[0]
        net.populations[0].drive = 150.0
        memory = np.zeros(1)
        net.run(95.0, environment=ns.Environment(heard, 10.0, memory))
        if saved:
            net.save(tmp_path / "net.npz")
            net = ns.Network.load(tmp_path / "net.npz")
        net.run(95.0, environment=ns.Environment(heard, 10.0, memory))
        found.append((memory[0], net.projections[0].w.copy(), net.populations[0].drive.copy()))
    assert found[0][0] == found[1][0] > 300
    assert all(np.array_equal(a, b) for a, b in zip(*(f[1:] for f in found), strict=True))
    assert (found[1][2] == 150.0).all()


# ---------------------------------------------------------------------------------------------- wiring
def test_a_matrix_stays_as_it_was_and_is_not_kept():
    m = csc_array((np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1]), np.array([0, 3, 3])), shape=(3, 2))
    net = ns.Network()
    a, b = net.add(2, ns.LIF()), net.add(3, ns.LIF())
    q = net.connect(a, b, matrix=m)
    assert m.indices.tolist() == [2, 0, 1] and m.data.tolist() == [1.0, 2.0, 3.0]
    assert q.wiring.weight is None and abs(q.to_scipy() - m).max() == 0


def test_a_conductance_is_not_negative():
    net = ns.Network()
    a, b = net.add(2, ns.LIF()), net.add(3, ns.ConductanceLIF())
    with pytest.raises(ValueError, match="weight: given -1, a conductance, as g_e, is 0 or more"):
        net.connect(a, b, weight=-1.0, onto="g_e")


def test_a_projection_without_a_synapse_is_brian():
    net = ns.Network(dt=0.5, seed=1)
    x, y = net.add(1, ns.SpikeTrains([0, 0], [2.0, 9.0])), net.add(1, ns.LIF())
    q = net.connect(x, y, weight=2000.0, tau_syn=2.0)
    none = net.connect(y, y, matrix=csc_array((1, 1)))
    found, rec = run_network(net, 20.0), net.run(20.0, [ns.Spikes(y)])
    assert len(rec.spikes(y).time) >= 2 and np.allclose(found.spikes[y][0], rec.spikes(y).time)
    assert len(found.w[none]) == 0 and len(found.w[q]) == 1


# ---------------------------------------------------------------------------------------------- bad input
def ran(net, **options):
    return net.run(5.0, **options)


def returns(t, counts, drive, signal, memory):
    return 3.0


def unknown(t, counts, drive, signal, memory):
    memory[0] = counts.nothing()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x, y, q: ran(net, record=[ns.State(y, "v", np.arange(5) == 4)]), "units: given .*, expected a list"),
        (lambda net, x, y, q: ran(net, record=[ns.State(y, "v", [2.9])]), "units: given .2.9., expected a list"),
        (lambda net, x, y, q: ran(net, record=[ns.Weights(q, 1.0, [1])]), "bins: given .1., expected the edges"),
        (lambda net, x, y, q: ran(net, record=[ns.Weights(q, 1.0, [2, 1])]), "bins: given .2, 1., expected the edges"),
        (lambda net, x, y, q: ran(net, record=[ns.State(y, "v", [0], 1.0), ns.State(y, "x", [0], 2.0)]),
         "every: given 1, 2 ms, all states of one run"),
        (lambda net, x, y, q: ran(net).spikes(5), "record: given 5, a recording is asked for a Population"),
        (lambda net, x, y, q: ran(net).weights(x), "record: given Population.*, a recording is asked for a Projection"),
        (lambda net, x, y, q: ran(net).mean_rate(noisy()[1]), "record: given Population.* of another network"),
        (lambda net, x, y, q: ran(net, each=(1.0, lambda n: n.run(1.0))), "run: this network is running"),
        (lambda net, x, y, q: ran(net, environment=5), "environment: given 5, expected an Environment"),
        (lambda net, x, y, q: ran(net, environment=ns.Environment(returns, 1.0, np.zeros(1))), "step: numba cannot compile"),
        (lambda net, x, y, q: ran(net, environment=ns.Environment(unknown, 1.0, np.zeros(1))), "step: numba cannot compile"),
        (lambda net, x, y, q: ran(net, ceiling=[1.0, 2.0]), "ceiling: given .1.0, 2.0., it must be a positive number"),
        (lambda net, x, y, q: net.run("5"), "duration: given '5', expected a number"),
        (lambda net, x, y, q: net.run("five"), "duration: given 'five', expected a number"),
        (lambda net, x, y, q: net.run(None), "duration: given None"),
        (lambda net, x, y, q: net.run_replicas(1, 5.0, workers=0), "workers: given 0"),
        (lambda net, x, y, q: q.scale_rows(float("nan")), "total: given nan"),
        (lambda net, x, y, q: q.scale_rows(-1.0), "total: given -1.0"),
        (lambda net, x, y, q: net.connect(x, y, w_max="x"), "w_max: given 'x', expected a number"),
        (lambda net, x, y, q: net.connect(x, y, w_max=[1.0, 2.0]), "w_min, w_max: given None and .1.0, 2.0."),
        (lambda net, x, y, q: net.connect(x, y, tau_syn="x"), "tau_syn: given 'x', expected a number"),
        (lambda net, x, y, q: ns.SpikeTrains(0, 1.0), "unit: given 0, expected a list"),
        (lambda net, x, y, q: net.connect("a", y), "pre: given 'a', it must be a population of this one"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(*noisy())


def test_what_was_fixed_cannot_be_set_later():
    net, x, y, q = noisy()
    for thing, name in ((net, "dt"), (net, "seed"), (x, "n"), (y, "neuron"), (q, "rule"), (q, "w_max")):
        with pytest.raises(AttributeError, match=f"{name}: given 7, it was fixed when"):
            setattr(thing, name, 7)
    q.normalise, net.populations[0].drive = (5.0, 10.0), 20.0  # these may
    net.run(20.0)
    assert q.w.reshape(20, 5).sum(0) == pytest.approx(5.0)


@pytest.mark.parametrize("rate", (np.nan, -5.0))
def test_a_rate_that_an_environment_made_nonsense_of_stops_the_run(rate):
    def broken(t, counts, drive, signal, memory):
        if t > 20:
            drive[3] = memory[0]

    net = noisy()[0]
    with pytest.raises(ns.BlowUp, match="its environment made a rate NaN, negative or inf") as caught:
        net.run(1000.0, environment=ns.Environment(broken, 10.0, np.array([rate])))
    assert caught.value.population is net.populations[0] and not net.running
    net.populations[0].drive = 40.0
    assert net.run(10.0).stop == net.t  # it may go on


def test_a_file_of_another_shape_and_a_folder_are_refused(tmp_path):
    net = noisy()[0]
    net.run(10.0)
    with pytest.raises(ValueError, match="path: .* is a folder"):
        net.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    net.save(tmp_path / "net.npz")
    changed(tmp_path / "net.npz", state_w=lambda w: w[:-1])
    with pytest.raises(ValueError, match="path: its state 'w' has the shape .99,., expected .100,."):
        ns.Network.load(tmp_path / "net.npz")
    np.save(tmp_path / "arr.npy", np.zeros(3))
    with pytest.raises(ValueError, match="path: .*arr.npy is no 'neurosim network 2'"):
        ns.Network.load(tmp_path / "arr.npy")


def test_recordings_and_trains_are_shown_in_a_line():
    net, x, y, q = noisy()
    assert repr(net.run(50.0, [ns.Spikes(x)])) == "Recording(0 to 50 ms: spikes 0 time, spikes 0 unit)"
    assert repr(ns.SpikeTrains([0] * 500, np.arange(500.0))) == "SpikeTrains(500 spikes)"
