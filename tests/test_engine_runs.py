"""One network, however its run is cut, and in either precision."""

import gc
import mmap

import numpy as np
import pytest

import neurosim as ns
from neurosim.engine import PopulationRate, Spikes, State, arrays
from neurosim.rules import pair
from neurosim.spiking import ConductanceLIF, Izhikevich
from tests.engine_nets import RULES, made

CASES = {n: (RULES[n], {}) for n in ("triplet", "nearest pair", "Morrison", "homeostatic triplet", "modulated")} | {
    "inhibitory": (RULES["inhibitory"], {"neuron": ConductanceLIF(), "unit": 0.1, "drive": 50.0}),
    "izhikevich": (RULES["pair"].scaled(0.5), {"neuron": Izhikevich(), "unit": 0.5, "drive": 2.0}),
}


def ran(name, pieces, seed=1, dtype=np.float64):
    """Spikes (time, unit) of all populations, rates, a potential, last weights."""
    rule, more = CASES[name]
    m = made(rule, seed=seed, dtype=dtype, **more)
    m.net.signal(**m.signals)
    asks = [*(Spikes(p) for p in m.net.populations), PopulationRate(m.exc, bin=1.0), State(m.exc, "v", [0, 5, 9])]
    found = [m.net.run(t, asks) for t in pieces]
    join = lambda of: np.concatenate([of(rec) for rec in found])  # noqa: E731
    spikes = [join(lambda rec, p=p, k=k: rec.spikes(p)[k]) for p in m.net.populations for k in range(2)]
    return [*spikes, join(lambda rec: rec.rate(m.exc)), join(lambda rec: rec.state(m.exc, "v")[1]), m.plastic.w.copy()]


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("name", CASES)
def test_a_run_is_its_chunks_bit_for_bit(name, dtype):
    """Ten of 100 ms; and pieces of a step, of odd lengths, across the rebase of decaying traces."""
    whole = ran(name, [1000], dtype=dtype)
    assert len(whole[4]) > 1000 and np.ptp(whole[-1]) > 0
    for pieces in ([100] * 10, [1, 1, 63, 2, 1, 64, 65, 803]):
        for x, y in zip(whole, ran(name, pieces, dtype=dtype), strict=True):
            assert x.dtype == y.dtype and np.array_equal(x, y)


def test_the_seed_is_what_chance_comes_from():
    one, same, other = (ran("triplet", [300], seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(one, same))
    assert len(one[3]) != len(other[3]) or not np.array_equal(one[3], other[3])  # the noise's spikes
    assert not np.array_equal(one[-1], other[-1])


@pytest.mark.parametrize("name", CASES)
def test_float32_is_like_float64(name):
    """Same input spikes; equal spikes until rounding has grown, then rates and weights alike."""
    double, single = ran(name, [1000]), ran(name, [1000], dtype=np.float32)
    for k in range(4):
        assert np.array_equal(double[k], single[k])  # what is given, and the numbers that are drawn
    first = double[4] < 50
    assert first.sum() > 10 and np.array_equal(double[4][first], single[4][: first.sum()])
    for k in (4, 6):
        assert len(single[k]) == pytest.approx(len(double[k]), rel=0.005)
    w, x = double[-1], single[-1]
    assert x.dtype == np.float32
    assert x.mean() == pytest.approx(w.mean(), rel=2e-3) and x.std() == pytest.approx(w.std(), rel=2e-3)
    assert np.corrcoef(w, x)[0, 1] > 0.99


def test_large_arrays_in_large_pages_are_the_same_arrays(monkeypatch):
    """1.1 million plastic synapses: their weights and lists take more than two large pages each."""

    def ran():
        net = ns.Network(dt=0.5, seed=1)
        x, y = net.add(1000, ns.Poisson(), drive=30.0), net.add(1100, ns.LIF())
        q = net.connect(x, y, fan_in=999, weight=0.3, tau_syn=5.0, rule=pair(0.01, 0.01), w_max=0.6)
        spikes = net.run(60, [ns.Spikes(y)]).spikes(y)
        return q, *spikes, q.w.copy()

    large, *found = ran()
    monkeypatch.setattr(arrays, "LARGE_PAGE", 1 << 40)
    plain, *expected = ran()
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype and np.array_equal(x, y)
    assert len(found[0]) > 100 and np.ptp(found[-1]) > 0.01
    assert found[-1].nbytes > 2 * (1 << 21) and large.w.flags.writeable
    assert isinstance(owner(plain.w), np.ndarray)
    assert not hasattr(mmap, "MADV_HUGEPAGE") or not isinstance(owner(large.w), np.ndarray)


def owner(x):
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return x


@pytest.mark.parametrize("on", (True, False))
def test_the_search_for_garbage_is_left_as_it_was(on):
    m = made(RULES["pair"])
    if not on:
        gc.disable()
    try:
        m.net.run(5)
        assert gc.isenabled() is on
    finally:
        gc.enable()
