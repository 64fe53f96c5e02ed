"""One recurrent plastic network for tests of the engine: 200 neurons of two kinds, spikes that are given and that are drawn."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurosim.engine import Network, SpikeTrains
from neurosim.rules import (
    Power,
    SpikeRule,
    Term,
    Trace,
    homeostatic_triplet,
    inhibitory,
    morrison,
    multiplicative,
    pair,
    symmetric,
    triplet,
    van_rossum,
)
from neurosim.spiking import LIF, ConductanceLIF, Poisson

EXC, INH = 160, 40
MODULATED = SpikeRule(
    {"r1": Trace("pre", 17.0), "o1": Trace("post", 34.0), "D": Trace("dopamine", 50.0, bump=0.02)},
    (
        Term(1e-3, ("post", "r1"), "dopamine", 200.0),
        Term(-3e-3, ("pre", "o1"), "acetylcholine", 150.0),
        Term(1e-3, ("post", "r1"), "D", 400.0),
        Term(-0.02, ("pre", "o1")),
    ),
)
SIGNALS = {"dopamine": 0.7, "acetylcholine": 0.5}
MULTIPLIED = SpikeRule(  # by signals at the spike, and by the trace of one
    {
        "r1": Trace("pre", 17.0),
        "o1": Trace("post", 34.0),
        "o2": Trace("post", 114.0),
        "D": Trace("dopamine", 50.0, bump=0.02),
    },
    (
        Term(0.1, ("post", "r1", "o2", "dopamine")),
        Term(0.1, ("post", "r1", "D")),
        Term(-0.15, ("pre", "o1", "acetylcholine", "dopamine")),
        Term(1e-3, ("post", "r1", "acetylcholine"), "D", 400.0),
    ),
)
BESIDE = SpikeRule(  # what a spike changes, and what it leaves behind by the weight of before
    {"o1": Trace("post", 34.0)},
    (Term(-0.1, ("pre", "o1")), Term(1e-3, ("pre", "o1"), "dopamine", 200.0, weight=Power(1.5))),
)

# Weights start between .5 and 1.5 and stay below 2 (mV or nS).
RULES = {
    "pair": pair(0.2, 0.21),
    "nearest pair": pair(0.3, 0.35, nearest=True),
    "triplet": triplet(A3_plus=0.12, A2_minus=0.15),
    "full triplet": triplet(0.05, 0.12, 0.1, 0.02),
    "nearest triplet": triplet(0.0, 0.3, 0.15, nearest=True),
    "full nearest triplet": triplet(0.02, 0.3, 0.15, 0.05, 714.0, 40.0, nearest=True),
    "multiplicative": multiplicative(0.3, 0.32, w_max=2.0, mu=0.7),
    "van Rossum": van_rossum(0.2, 0.2),
    "Morrison": morrison(0.2),
    "symmetric": symmetric(0.02),
    "inhibitory": inhibitory(0.01, rho0=8.0),
    "homeostatic triplet": homeostatic_triplet(0.1, rho0=12.0, tau_hom=300.0),
    "modulated": MODULATED,
    "multiplied": MULTIPLIED,
    "beside": BESIDE,
}


@dataclass(frozen=True)
class Made:
    net: Network
    exc: Any
    inh: Any
    noise: Any
    plastic: Any  # the projection that the rule is on
    signals: dict = field(default_factory=dict)


def made(rule, neuron=LIF(refractory=2.0), unit=1.0, drive=10.0, dt=0.5, seed=1, dtype=np.float64, duration=1000):
    """The rule on excitatory synapses, between neurons of that kind whose weights are counted in `unit`.

    The inhibitory rule is on inhibitory synapses onto conductances. Delays differ between units on both sides.
    """
    g, net = np.random.default_rng(0), Network(dt=dt, seed=seed, dtype=dtype)
    conductances = isinstance(neuron, ConductanceLIF)
    step, unit_of = (g.random((round(duration / dt), 100)) < 20 * dt / 1000).nonzero()
    given = net.add(100, SpikeTrains(unit_of, step * dt), name="given")
    noise = net.add(50, Poisson(), drive=20.0, name="noise")
    exc = net.add(EXC, neuron, drive=drive, name="exc")
    inh = net.add(INH, LIF(tau_m=12.0, refractory=1.0), v=g.uniform(-65, -50, INH), name="inh")
    on, off = ({"onto": "g_e"}, {"onto": "g_i"}) if conductances else ({"tau_syn": 5.0}, {"tau_syn": 10.0})
    stays = {"weight": lambda g, n: unit * (-1 if not conductances else 1) * g.uniform(4, 8, n)}
    learns = {
        "weight": lambda g, n: unit * g.uniform(0.5, 1.5, n), "w_max": 2 * unit, "rule": rule,
        "delay_dendritic": np.arange(EXC) % 7 * dt,
    }  # fmt: skip
    learning_inhibition = conductances and rule == RULES["inhibitory"]
    net.connect(given, exc, fan_in=20, weight=4 * unit, delay_axonal=g.integers(1, 9, 100) * dt, **on)
    net.connect(noise, exc, fan_in=10, weight=4 * unit, **on)
    net.connect(noise, inh, fan_in=10, weight=9.0, tau_syn=5.0)
    more = {"weight": unit} if learning_inhibition else learns
    ee = net.connect(exc, exc, fan_in=20, delay_axonal=(1 + np.arange(EXC) % 10) * dt, **on, **more)
    net.connect(exc, inh, probability=0.1, weight=4.0, tau_syn=5.0, delay_axonal=2 * dt)
    more = learns if learning_inhibition else stays
    ie = net.connect(inh, exc, fan_in=10, delay_axonal=(1 + np.arange(INH) % 3) * dt, **off, **more)
    net.connect(inh, inh, fan_in=10, weight=-6.0, tau_syn=10.0, delay_axonal=1.0)
    gated = rule is not None and any(m.gate for m in rule.terms)
    told = {n: s for n, s in SIGNALS.items() if gated and n in rule.reads}
    return Made(net, exc, inh, noise, ie if learning_inhibition else ee, told)
