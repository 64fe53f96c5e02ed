"""The event-driven engine against closed forms, enumeration and plain loops; its files, chunks, replicas and bad input.

Brian2 and the tensor core are in `test_engine_brian.py` and `test_engine_tensors.py`.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

import neurosim as ns
from neurosim.plasticity import Unsupported
from neurosim.rules.spike_rule import SpikeRule, Term, Trace
from neurosim.rules.stdp import pair, triplet

DT = 0.1


def forced(pre, post, rule, delay_axonal=DT, delay_dendritic=0.0, w=0.5, **bounds):
    """A synapse between given trains: the post neuron fires two steps after each pulse that forces it."""
    net = ns.Network(dt=DT)
    x = net.add(1, ns.SpikeTrains([0] * len(pre), pre))
    force = net.add(1, ns.SpikeTrains([0] * len(post), [t - 2 * DT for t in post]))
    y = net.add(1, ns.LIF(v_rest=-65, v_threshold=-50, v_reset=-65))
    net.connect(force, y, weight=1e6)  # one step; too strong to miss
    q = net.connect(
        x, y, weight=w, tau_syn=5, rule=rule, delay_axonal=delay_axonal, delay_dendritic=delay_dendritic, **bounds
    )
    rec = net.run(max([*pre, *post]) + 50, [ns.Spikes(y)])
    assert np.allclose(rec.spikes(y).time, post)  # they are where they should be
    return float(q.w[0])


# ---------------------------------------------------------------------------------------------- neurons and synapses
def test_lif_fires_at_the_interval_of_its_closed_form():
    """T = refractory + tau_m ln((I - v_reset') / (I - threshold')), within one step."""
    net = ns.Network(dt=0.01)
    p = net.add(3, ns.LIF(tau_m=20, v_rest=-65, v_threshold=-50, v_reset=-70, refractory=3), drive=[16.0, 20.0, 40.0])
    rec = net.run(2000, [ns.Spikes(p)])
    for unit, drive in enumerate((16.0, 20.0, 40.0)):
        want = 3 + 20 * math.log((drive + 5) / (drive - 15))
        assert abs(np.diff(rec.spikes(p).train(unit)) - want).max() <= 0.0101


def test_a_postsynaptic_potential_has_its_closed_form():
    """v(t) = w tau_s / (tau_m - tau_s) (exp(-t/tau_m) - exp(-t/tau_s)), t since its arrival, one step after the spike."""
    net = ns.Network(dt=DT)
    x = net.add(1, ns.SpikeTrains([0], [10.0]))
    y = net.add(1, ns.LIF(tau_m=20, v_rest=-65))
    net.connect(x, y, weight=3.0, tau_syn=5.0, delay_axonal=2.0)
    times, v = net.run(100, [ns.State(y, "v", [0])]).state(y, "v")
    t = np.clip(times - 10.0 - 2.0 - DT, 0, None)  # arrivals count from the end of their step
    want = 3.0 * 5 / 15 * (np.exp(-t / 20) - np.exp(-t / 5))
    assert abs(v[:, 0] + 65 - want).max() < 1e-12


def test_currents_of_two_time_constants_add_up():
    def peak(taus):
        net = ns.Network(dt=DT)
        x, y = net.add(1, ns.SpikeTrains([0], [5.0])), net.add(70, ns.LIF())
        for tau in taus:
            net.connect(x, y, weight=1.0, tau_syn=tau)
        return net.run(60, [ns.State(y, "v", [69])]).state(y, "v")[1][:, 0] + 65

    alone = [peak([tau]) for tau in (2.0, 5.0, 11.0)]
    assert np.allclose(peak([2.0, 5.0, 11.0]), sum(alone), atol=1e-12) and max(alone[0]) > 0.05


def test_poisson_inputs_have_their_rates():
    rates = np.concatenate([np.zeros(50), np.full(100, 5.0), np.full(100, 80.0)])
    net = ns.Network(dt=1.0, seed=4)
    p = net.add(250, ns.Poisson(), drive=rates)
    counts = net.run(100_000, [ns.Spikes(p)]).spikes(p).counts(250)
    chance = -np.expm1(-rates / 1000)  # a step holds one spike
    assert not counts[:50].any()
    for part in (slice(50, 150), slice(150, 250)):
        want = chance[part].mean() * 1e5
        assert abs(counts[part].mean() - want) < 4 * math.sqrt(want / 100)
        assert 0.7 < counts[part].var() / (want * (1 - chance[part][0])) < 1.4
    p.drive = 0.0
    assert not net.run(1000, [ns.Spikes(p)]).spikes(p).time.size


# ---------------------------------------------------------------------------------------------- plasticity
PRE, POST = [10.0, 22.0, 22.3, 40.0, 61.0], [12.0, 22.1, 35.0, 40.1, 70.0]


def enumerated(pre, post, A2p, A3p, A2m, A3m, tp=16.8, tm=33.7, tx=101.0, ty=114.0):
    """Sum over pairs and triplets of spikes, no traces. Pre at a tie comes first."""
    w = 0.0
    for t in post:
        earlier = sum(math.exp(-(t - s) / ty) for s in post if s < t - 1e-9)
        w += sum(math.exp(-(t - s) / tp) for s in pre if s <= t + 1e-9) * (A2p + A3p * earlier)
    for s in pre:
        earlier = sum(math.exp(-(s - r) / tx) for r in pre if r < s - 1e-9)
        w -= sum(math.exp(-(s - t) / tm) for t in post if t < s - 1e-9) * (A2m + A3m * earlier)
    return w


@pytest.mark.parametrize(
    "amplitudes", [(0.01, 0.0, 0.012, 0.0), (6.1e-3, 6.7e-3, 1.6e-3, 1.4e-3), (0, 6.5e-3, 7.1e-3, 0)]
)
@pytest.mark.parametrize("axonal, dendritic", [(DT, 0.0), (3.0, 0.0), (1.0, 2.5)])
def test_weights_are_those_of_the_enumerated_pairs_and_triplets(amplitudes, axonal, dendritic):
    A2p, A3p, A2m, A3m = amplitudes
    rule = triplet(A2p, A3p, A2m, A3m)
    got = forced(PRE, POST, rule, axonal, dendritic, w_max=5.0) - 0.5
    want = enumerated([t + axonal for t in PRE], [t + dendritic for t in POST], A2p, A3p, A2m, A3m)
    assert abs(got - want) < 1e-13 and abs(want) > 1e-4


def test_a_coincidence_at_the_synapse_potentiates():
    assert forced([20.0], [20.1], pair(0.01, 0.02), w_max=5.0) == pytest.approx(
        0.5 + 0.01
    )  # arrives with the post spike


def test_bounds_hold_at_every_spike():
    up, down = [10.0, 30.0, 50.0], [12.0, 32.0, 52.0]
    assert forced(up, down, pair(0.4, 0.0), w_max=1.0) == 1.0
    assert forced(down, up, pair(0.0, 0.4), w_max=1.0) == 0.0
    # up, down, up, down, 500 ms apart, within 0 .. 0.8: order matters (one change of their sum would give 0.65 and more)
    pre, post = [10.0, 530.0, 1010.0, 1530.0], [10.1, 510.0, 1010.1, 1510.0]
    w, fall = 0.5, 0.3 * math.exp(-20.1 / 33.7)
    for d in (0.4, -fall, 0.4, -fall):
        w = min(max(w + d, 0.0), 0.8)
    assert forced(pre, post, pair(0.4, 0.3, 16.8, 33.7), w_max=0.8) == pytest.approx(w, abs=1e-6)
    assert w == pytest.approx(0.8 - fall) and w < 0.65
    far = [10.0, 1010.0], [10.1, 1010.1]  # coincident at the synapse, then the pre spike 900 ms later meets nothing
    assert forced(*far, pair(0.4, 0.0), w_max=0.8) == pytest.approx(0.8)


def test_eligibility_meets_its_signal():
    """dw = sum_t M e(t) dt from the signal's first step on: a geometric sum."""
    rule = SpikeRule({"r1": Trace("pre", 20.0)}, (Term(0.02, ("post", "r1"), gate="dopamine", tau_e=500.0),))
    net = ns.Network(dt=DT)
    x, force = net.add(1, ns.SpikeTrains([0], [10.0])), net.add(1, ns.SpikeTrains([0], [14.8]))
    y = net.add(1, ns.LIF())
    net.connect(force, y, weight=1e6)
    q = net.connect(x, y, weight=0.0, tau_syn=5, rule=rule, w_max=50.0)
    net.run(100)
    assert q.w[0] == 0
    net.signal(dopamine=0.7)
    net.run(200)
    e0, a = 0.02 * math.exp(-(15.0 - 10.1) / 20), math.exp(-DT / 500)
    first = a ** round((100 - 15.0) / DT)
    assert q.w[0] == pytest.approx(0.7 * DT * e0 * first * (1 - a**2000) / (1 - a), rel=1e-11)
    net.signal(dopamine=0.0)
    before = q.w[0]
    net.run(50)
    assert q.w[0] == before
    with pytest.raises(ValueError, match="signal: given 'serotonin'.*dopamine"):
        net.signal(serotonin=1.0)


def test_eligibility_meets_its_signal_every_so_often(tmp_path):
    """gate_every: the sum over its times alone, wherever runs begin and whatever is saved and loaded."""
    rule = SpikeRule(
        {"r1": Trace("pre", 20.0), "D": Trace("dopamine", 200.0)}, (Term(0.02, ("post", "r1"), gate="D", tau_e=500.0),)
    )
    net = ns.Network(dt=DT, gate_every=10.0)
    x, force = net.add(1, ns.SpikeTrains([0], [10.0])), net.add(1, ns.SpikeTrains([0], [14.8]))
    y = net.add(1, ns.LIF())
    net.connect(force, y, weight=1e6)
    net.connect(x, y, weight=0.0, tau_syn=5, rule=rule, w_max=50.0)
    net.run(33.3)
    net.signal(dopamine=0.5)
    net.run(DT)
    net.signal(dopamine=0.0)
    net.run(66.7)
    net.save(tmp_path / "net.npz")
    net = ns.Network.load(tmp_path / "net.npz")
    net.run(99.9)
    e0 = 0.02 * math.exp(-(15.0 - 10.1) / 20)
    met = [
        t - DT for t in range(40, 201, 10)
    ]  # the last step before each multiple of 10 ms; the release is in step 33.3
    want = sum(10 * 0.5 * math.exp(-(t - 33.3) / 200) * e0 * math.exp(-(t - 15.0) / 500) for t in met)
    assert net.projections[1].w[0] == pytest.approx(want, rel=1e-11)
    with pytest.raises(ValueError, match="gate_every: given 0.25 ms, it must be a whole number of steps"):
        ns.Network(dt=0.1, gate_every=0.25)


def test_dense_and_listed_synapses_agree():
    """All to all as a table, and the same as an explicit matrix: one result."""
    found = []
    for sparse in (False, True):
        net = ns.Network(dt=1.0, seed=2)
        x, y = net.add(30, ns.Poisson(), drive=40.0), net.add(20, ns.LIF())
        w = np.random.default_rng(1).uniform(0.5, 2.0, 600)
        how = {"weight": w} if not sparse else {"matrix": matrix_of(w, 30, 20)}
        q = net.connect(x, y, tau_syn=5.0, rule=triplet(5e-3, 6e-3, 7e-3, 2e-3), w_max=3.0, **how)
        r = net.connect(x, y, tau_syn=5.0, rule=pair(0.01, 0.01, potentiation=None, nearest=True), w_max=3.0, **how)
        rec = net.run(3000, [ns.Spikes(y)])
        found.append((rec.spikes(y).time, q.w.copy(), r.w.copy(), q.to_dense()))
    assert found[0][0].size > 200 and abs(found[0][1] - w).max() > 0.1
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b)


def matrix_of(w, n_pre, n_post):
    from scipy.sparse import csc_array

    return csc_array(w.reshape(n_pre, n_post).T)


# ---------------------------------------------------------------------------------------------- wiring
def test_wiring():
    net = ns.Network(seed=3)
    a, b = net.add(40, ns.LIF()), net.add(30, ns.LIF())
    m = net.connect(a, b, fan_in=7).to_scipy()
    assert m.shape == (30, 40) and (np.diff(m.tocsr().indptr) == 7).all() and m.max() == 1
    m = net.connect(a, a, fan_in=39).to_scipy()
    assert not m.diagonal().any() and m.nnz == 40 * 39
    counts = [net.connect(a, b, probability=0.25).wiring.size for _ in range(20)]
    assert abs(np.mean(counts) - 300) < 4 * 15 / math.sqrt(20) and len(set(counts)) > 3
    assert np.array_equal(net.connect(a, net.add(40, ns.LIF()), one_to_one=True, weight=2.0).to_dense(), 2 * np.eye(40))
    given = random_sparse(30, 40, 0.2, random_state=1, format="csr")
    assert abs(net.connect(a, b, matrix=given).to_scipy() - given).max() == 0
    assert net.connect(b, b).to_dense().sum() == 30 * 29  # all to all, none onto itself
    q = net.connect(a, b, weight=lambda g, n: g.uniform(1, 2, n))
    assert q.w.shape == (1200,) and 1 <= q.w.min() < q.w.max() <= 2 and np.array_equal(q.to_dense().T.ravel(), q.w)
    assert np.array_equal(q.w.reshape(40, 30)[q.pre_index, q.post_index], q.w)


def test_normalisation_holds_the_sum_of_incoming_weights():
    net = ns.Network(dt=1.0, seed=1)
    x, y = net.add(20, ns.Poisson(), drive=50.0), net.add(5, ns.LIF())
    q = net.connect(x, y, weight=4.0, tau_syn=5, rule=pair(0.05, 0.02), w_max=9.0, normalise=(90.0, 100.0))
    net.run(100)
    assert np.allclose(q.to_dense().sum(1), 90)
    net.run(50)
    assert not np.allclose(q.to_dense().sum(1), 90)


# ---------------------------------------------------------------------------------------------- runs
def balanced(seed=1, dtype=np.float64, n=100):
    net = ns.Network(dt=DT, seed=seed, dtype=dtype)
    x = net.add(50, ns.Poisson(), drive=30.0, name="input")
    e, i = net.add(n, ns.LIF(refractory=2.0), name="exc"), net.add(n // 4, ns.AdEx(), drive=300.0, name="inh")
    net.connect(x, e, probability=0.5, weight=5.0, tau_syn=5.0)
    q = net.connect(e, e, fan_in=20, weight=1.5, tau_syn=5.0, rule=triplet(), w_max=3.0, delay_axonal=1.5)
    net.connect(e, i, fan_in=20, weight=60.0, tau_syn=5.0)
    net.connect(i, e, weight=-0.5, tau_syn=8.0, delay_axonal=np.linspace(0.1, 2.0, n // 4))
    return net, e, q


def test_chunks_are_the_whole_and_seeds_matter():
    whole, pieces, other = (balanced(s) for s in (1, 1, 2))
    rec = whole[0].run(300, [ns.Spikes(whole[1])]).spikes(whole[1])
    parts = [pieces[0].run(t, [ns.Spikes(pieces[1])]).spikes(pieces[1]) for t in (0.1, 99.9, 137.0, 63.0)]
    assert rec.time.size > 100
    assert np.array_equal(np.concatenate([p.time for p in parts]), rec.time)
    assert np.array_equal(np.concatenate([p.unit for p in parts]), rec.unit)
    assert np.array_equal(whole[2].w, pieces[2].w) and np.ptp(whole[2].w) > 0
    assert other[0].run(300, [ns.Spikes(other[1])]).spikes(other[1]).time.size != rec.time.size


def test_recordings_agree_with_each_other(tmp_path):
    net, e, q = balanced()
    asks = [ns.Spikes(e), ns.PopulationRate(e, bin=10), ns.Weights(q, every=50), ns.State(e, "v", [3, 5], every=1.0)]
    rec = net.run(205, [*asks, ns.Weights(q, every=50)][:4])
    spikes = rec.spikes(e)
    assert rec.rate(e).shape == (20,)
    want = np.histogram(spikes.time, np.arange(0, 201, 10) - 1e-6)[0] / 100 / 10 * 1000
    assert np.allclose(rec.rate(e), want) and want.sum() > 0
    assert rec.mean_rate(e) == pytest.approx(len(spikes.time) / 100 / 0.205)
    times, w = rec.weights(q)
    assert times.tolist() == [50, 100, 150, 200] and w.shape == (4, q.wiring.size)
    times, v = rec.state(e, "v")
    assert np.allclose(times, np.arange(1, 206)) and v.shape == (205, 2) and v.max() < -49
    with pytest.raises(ValueError, match="Spikes of .*inh.* was not asked for"):
        rec.spikes(net.populations[2])
    streamed, e2, q2 = balanced()
    asks = [ns.Spikes(e2), ns.PopulationRate(e2, bin=10), ns.Weights(q2, every=50, bins=[0, 1, 2, 3])]
    again = streamed.run(205, asks, to=tmp_path / "parts")
    assert list((tmp_path / "parts").glob("*.npz")) and not any(again.parts.values())
    assert np.array_equal(again.spikes(e2).time, spikes.time) and np.array_equal(again.rate(e2), rec.rate(e))
    assert again.weights(q2)[1].sum(1).tolist() == [q.wiring.size] * 4


def test_a_file_goes_on_bit_for_bit(tmp_path):
    net, e, q = balanced()
    net.run(150)
    net.save(tmp_path / "net.npz")
    other = ns.Network.load(tmp_path / "net.npz")
    a, b = (n.run(150, [ns.Spikes(n.populations[1])]).spikes(n.populations[1]) for n in (net, other))
    assert a.time.size and np.array_equal(a.time, b.time) and np.array_equal(a.unit, b.unit)
    assert np.array_equal(q.w, other.projections[1].w) and other.t == net.t == 300
    assert np.array_equal(other.projections[1].first_w, q.first_w)  # it knows its beginning, for Brian2
    assert np.array_equal(other.populations[2].first_drive, net.populations[2].first_drive)
    with np.load(tmp_path / "net.npz", allow_pickle=False) as file:
        assert "spec" in file.files
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no 'neurosim network 2'"):
        ns.Network.load(tmp_path / "no.npz")


def test_ctrl_c_returns_what_was_recorded():
    net, e, _ = balanced()

    def stop(n):
        if n.t >= 100:
            raise KeyboardInterrupt

    rec = net.run(1000, [ns.Spikes(e)], each=(50.0, stop))
    assert rec.interrupted and rec.stop == 100
    fresh, e2, _ = balanced()
    assert np.array_equal(rec.spikes(e).time, fresh.run(100, [ns.Spikes(e2)]).spikes(e2).time)


def test_replicas_differ_and_leave_the_network_as_it_is():
    net, e, q = balanced()
    net.run(50)
    before = q.w.copy()
    found = net.run_replicas(3, 200, [ns.Spikes(e)])
    counts = [rec.spikes(n.populations[1]).time.size for n, rec in found]
    assert len({tuple(n.projections[1].w) for n, _ in found}) == 3 and min(counts) > 50
    assert np.array_equal(q.w, before) and net.t == 50
    again = net.run_replicas(3, 200, [ns.Spikes(e)], workers=1)
    assert all(
        np.array_equal(a.projections[1].w, b.projections[1].w) for (a, _), (b, _) in zip(found, again, strict=True)
    )


def world(t, counts, drive, signal, memory):
    memory[0] += counts[0] + counts[1]
    memory[1] += 1
    for i in range(2):
        drive[64 + i] = 5.0 if memory[0] % 2 == 0 else 120.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_compiled_environment_closes_the_loop(dtype):
    """The same world once in the loop, once in Python between runs of its length."""
    nets = []
    for _ in range(2):
        net = ns.Network(dt=1.0, seed=7, dtype=dtype)
        y, x = net.add(2, ns.LIF()), net.add(10, ns.Poisson(), drive=80.0)
        net.connect(x, y, weight=6.0, tau_syn=5.0)
        nets.append((net, y, x))
    (net, y, x), (other, y2, x2) = nets
    memory = np.zeros(2)
    assert x.place == 64
    rec = net.run(2000, [ns.Spikes(y)], environment=ns.Environment(world, 20.0, memory))
    total, times = 0.0, []
    for _ in range(100):
        spikes = other.run(20, [ns.Spikes(y2)]).spikes(y2).time
        total, times = total + len(spikes), [*times, *spikes]
        drive = x2.drive
        drive[:2] = 5.0 if total % 2 == 0 else 120.0
        x2.drive = drive
    assert memory.tolist() == [total, 100] and total > 20
    assert np.array_equal(rec.spikes(y).time, times)


@pytest.mark.parametrize("weight", [1.0, lambda g, n: g.uniform(0, 2, n)], ids=["one number", "many"])
def test_a_plastic_synapse_takes_twenty_bytes_at_most(weight):
    def size(fan_in):
        net = ns.Network(dtype=np.float32)
        e = net.add(1000, ns.LIF())
        q = net.connect(e, e, fan_in=fan_in, weight=weight, tau_syn=5, rule=triplet(), w_max=2.0)
        net.run(1)
        ready, own = net.made(), [*q.wiring, q.first_w, q.axonal, q.dendritic]
        arrays = [x for part in (ready.wires, ready.gates, ready.decays, ready.rules, own) for x in part]
        return sum(owner.nbytes for owner in {id(x): x for x in map(owner_of, arrays)}.values())

    def owner_of(x):
        """The array whose memory x is a view of."""
        while isinstance(getattr(x, "base", None), np.ndarray):
            x = x.base
        return x if isinstance(x, np.ndarray) else np.zeros(0)

    assert 12 <= (size(300) - size(100)) / (200 * 1000) <= 20


@pytest.mark.slow
def test_an_hour_of_a_thousand_neurons_fits_in_a_gibibyte():
    code = """
import resource, numpy as np, neurosim as ns
from neurosim.rules.stdp import pair
net = ns.Network(dt=1.0, dtype=np.float32)
x, y = net.add(100, ns.Poisson(), drive=5.0), net.add(900, ns.LIF())
net.connect(x, y, fan_in=20, weight=12.0, tau_syn=5.0, rule=pair(1e-5, 1e-5), w_max=20.0)
rec = net.run(3_600_000, [ns.PopulationRate(y, bin=10), ns.PopulationRate(x, bin=10)])
assert rec.rate(y).shape == (360_000,) and rec.mean_rate(y) > 0.05
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1


# ---------------------------------------------------------------------------------------------- what blows up, bad input
def test_a_run_that_blows_up_stops_and_says_so():
    net = ns.Network(dt=DT, seed=1)
    e = net.add(100, ns.LIF(v_rest=-49, v_threshold=-50, v_reset=-60), name="exc")
    net.connect(e, e, fan_in=50, weight=20.0, tau_syn=5.0)
    with pytest.raises(ns.BlowUp, match="exc: its rate was .* Hz, above the ceiling of 50 Hz, at .* ms") as error:
        net.run(5000, [ns.Spikes(e)], ceiling=50.0)
    assert error.value.time == net.t < 5000 and error.value.population is e
    assert error.value.recording.spikes(e).time.size > 100 and error.value.recording.stop == net.t
    net = ns.Network(dt=1.0)
    x, y = net.add(2, ns.SpikeTrains([0, 1], [20.0, 20.0])), net.add(3, ns.ConductanceLIF(), name="cond")
    net.connect(x, y, onto="g_e", weight=1e308)
    with pytest.raises(ns.BlowUp, match="cond: a potential is NaN or inf"):
        net.run(1000, [ns.Spikes(y)])


def two():
    net = ns.Network(dt=DT)
    return net, net.add(10, ns.LIF(), name="a"), net.add(5, ns.LIF(), name="b")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"delay_axonal": 0.01}, r"delay_axonal: given 0.01 ms, it must be at least dt = 0.1 ms"),
        ({"delay_axonal": [0.1] * 9 + [0.0]}, "delay_axonal: given 0 ms"),
        ({"delay_axonal": [1.0, 2.0]}, r"delay_axonal: given the shape \[2\], expected a number or one for each of 10"),
        ({"delay_dendritic": -1.0}, "delay_dendritic: given -1 ms, it must be 0 ms or more"),
        ({"fan_in": -3}, "fan_in: given -3, it must be a whole number from 1 to 10"),
        ({"fan_in": 11}, "fan_in: given 11, it must be a whole number from 1 to 10"),
        ({"probability": 1.5}, r"probability: given 1.5, it must lie in \(0, 1\]"),
        ({"one_to_one": True}, "one_to_one: given populations of 10 and 5"),
        ({"fan_in": 2, "probability": 0.5}, "probability: given together with fan_in"),
        (
            {"matrix": random_sparse(10, 5, 0.5)},
            r"matrix: given the shape \[10, 5\], expected \[post, pre\] = \[5, 10\]",
        ),
        ({"weight": 2.0, "w_max": 1.0}, "w_max: given 1.0, it must not lie below the initial weight 2"),
        ({"weight": -1.0, "rule": pair()}, "w_min: given 0.0, it must not lie above the initial weight -1"),
        ({"weight": np.nan}, "weight: given NaN or inf"),
        ({"weight": [1.0, 2.0]}, r"weight: given the shape \[2\], expected a number or one for each of 50 synapses"),
        ({"tau_syn": 0.05}, "tau_syn: given 0.05 ms, it must be at least dt = 0.1 ms"),
        ({"onto": "g_e"}, "onto: given 'g_e', only synapses onto ConductanceLIF"),
        ({"rule": pair(tau_plus=0.02)}, "tau_plus: given 0.02 ms, less than the step dt = 0.1 ms"),
    ],
)
def test_bad_synapses_are_refused(arguments, message):
    net, a, b = two()
    with pytest.raises(ValueError, match=message):
        net.connect(a, b, **arguments)


def test_other_bad_input_is_refused():
    net, a, b = two()
    other = ns.Network(dt=1.0)
    c = other.add(3, ns.ConductanceLIF())
    with pytest.raises(ValueError, match="post: given .* of another network, whose step is dt = 1.0 ms and not 0.1 ms"):
        net.connect(a, c)
    with pytest.raises(ValueError, match="onto: given None, a conductance synapse acts on 'g_e' or 'g_i'"):
        other.connect(c, c)
    with pytest.raises(ValueError, match="post: given .* an input population has no incoming synapses"):
        net.connect(a, net.add(2, ns.Poisson()))
    for bad, message in ((0.0, "dt: given 0.0"), (np.nan, "dt: given nan")):
        with pytest.raises(ValueError, match=message):
            ns.Network(dt=bad)
    with pytest.raises(ValueError, match="dtype: given .*float16.*, allowed are float32 and float64"):
        ns.Network(dtype=np.float16)
    with pytest.raises(ValueError, match="neuron: given Rate, the engine runs LIF"):
        net.add(3, ns.Rate())
    with pytest.raises(ValueError, match="n: given 0"):
        net.add(0, ns.LIF())
    with pytest.raises(ValueError, match="tau_m: given 0.02 ms, less than the step dt = 0.1 ms"):
        net.add(3, ns.LIF(tau_m=0.02))
    with pytest.raises(ValueError, match="drive: given NaN or inf"):
        net.add(3, ns.LIF(), drive=np.nan)
    with pytest.raises(ValueError, match="unit: given 0 to 7, there are units 0 to 4"):
        net.add(5, ns.SpikeTrains([0, 7], [1.0, 2.0]))
    with pytest.raises(ValueError, match="time: given two spikes of one unit within a step, dt = 0.1 ms"):
        net.add(5, ns.SpikeTrains([0, 0], [1.0, 1.02]))
    with pytest.raises(ValueError, match="time: given a negative or infinite time"):
        ns.SpikeTrains([0], [-1.0])
    two_events = SpikeRule({"r1": Trace("pre", 20.0)}, (Term(1.0, ("post", "pre", "r1")),))
    with pytest.raises(Unsupported, match="factors: given"):
        net.connect(a, b, rule=two_events)
    for ask, message in (
        (ns.State(a, "g_e"), "name: given 'g_e', the states of .* are v, x"),
        (ns.State(a, "v", [10]), "units: given 10, .* has units 0 to 9"),
        (ns.PopulationRate(a, bin=0.25), "bin: given 0.25 ms, it must be a whole number of steps"),
        (ns.Spikes(c), "record: given .*, which is not of this network"),
        ("v", "record: given 'v', allowed are Spikes"),
    ):
        with pytest.raises(ValueError, match=message):
            net.run(10, [ask])
    with pytest.raises(ValueError, match="duration: given -1 ms"):
        net.run(-1)
    net.run(1)
    with pytest.raises(ValueError, match="add: this network has run, or its state was asked for"):
        net.add(3, ns.LIF())
    with pytest.raises(ValueError, match="memory: .* must be a numpy array of float64"):
        ns.Environment(world, 1.0, [0.0])


def test_bounds_hold_for_the_sum_of_gated_terms():
    """Two terms that undo each other leave a weight at its bound where it is."""
    terms = (Term(0.1, ("post", "r1"), "dopamine"), Term(-0.1, ("post", "r1"), "acetylcholine"))
    net = ns.Network(dt=1.0)
    x, y = net.add(1, ns.SpikeTrains([0], [1.0])), net.add(1, ns.LIF(), drive=100.0)
    q = net.connect(x, y, weight=1.0, w_max=1.0, tau_syn=5.0, rule=SpikeRule({"r1": Trace("pre", 20.0)}, terms))
    net.signal(dopamine=1.0, acetylcholine=1.0)
    net.run(50)
    assert q.w[0] == pytest.approx(1.0, abs=1e-12)
    net.signal(acetylcholine=0.5)
    net.run(50)
    assert q.w[0] == 1.0
    net.signal(acetylcholine=2.0)
    net.run(50)
    assert q.w[0] < 1.0


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("dense", (True, False))
def test_rows_are_scaled_to_a_sum_within_their_bounds(dense, dtype):
    net, g = ns.Network(dt=1.0, seed=0, dtype=dtype), np.random.default_rng(1)
    w = g.uniform(-0.2, 0.9, (5, 40))  # [post, pre]
    w[1], w[2, 3] = -0.1, np.nan  # a sum below 0; what is no number
    w[3] *= 0.01  # wants a factor that takes some beyond w_max
    pre, post = net.add(40, ns.Poisson()), net.add(5, ns.LIF())
    if dense:
        q = net.connect(pre, post, weight=np.where(np.isnan(w), 0.5, w).T.ravel(), w_min=-0.2, w_max=1.0)
    else:
        q = net.connect(pre, post, matrix=csr_matrix(np.where(np.isnan(w), 0.5, w)), w_min=-0.2, w_max=1.0)
    q.w[:] = w.T.ravel()
    q.scale_rows(30.0)
    want = w.copy()
    for k in (0, 3, 4):
        want[k] = [min(max(x * 30.0 / sum(w[k]), -0.2), 1.0) for x in w[k]]
    np.testing.assert_allclose(q.to_dense(), want, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert (want[3] == 1).any() and (want[0] == -0.2).any()
