"""The engine against the tensor core: one projection from given trains onto LIF neurons, with delays on both sides.

A spike that arrives at a synapse in step t meets the rule in step t and the neuron in step t + 1, with the weight it found.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from neurosim.engine import Network, Spikes, SpikeTrains
from neurosim.plasticity import Record
from neurosim.rules.modulation import Gain, Receptor, Tag, Width, reading, told
from neurosim.rules.stdp import pair, triplet
from neurosim.spiking import LIF
from tests.engine_nets import RULES, SIGNALS

PRE, POST, DT = 24, 9, 0.5
NEURON = LIF(v_rest=-47.0, refractory=1.7, tau_syn=4.0)
AXONAL, DENDRITIC = 1 + np.arange(PRE) % 5, np.arange(POST) % 4  # steps
ADDITIVE = {n: r for n, r in RULES.items() if "weight" not in r.reads}


def projection(rule, steps, w_min, w_max):
    """What ran in the engine: its first and last weights [post, pre] and trains [T, N] of 0 and 1."""
    g, net = np.random.default_rng(7), Network(dt=DT, seed=2)
    x = (g.random((steps, PRE)) < 0.03).astype(float)
    step, unit = x.nonzero()
    given, cells = net.add(PRE, SpikeTrains(unit, step * DT)), net.add(POST, NEURON)
    q = net.connect(
        given, cells, weight=lambda g, n: g.uniform(0.5, 1.5, n), rule=rule, w_min=w_min, w_max=w_max,
        delay_axonal=AXONAL * DT, delay_dendritic=DENDRITIC * DT,
    )  # fmt: skip
    first = torch.tensor(q.to_dense())
    net.signal(**{n: m for n, m in SIGNALS.items() if n in rule.reads})
    time, unit = net.run(steps * DT, [Spikes(cells)]).spikes(cells)
    y = np.zeros((steps, POST))
    y[np.rint(time / DT).astype(int), unit] = 1
    return first, torch.tensor(q.to_dense()), torch.tensor(x), torch.tensor(y)


def shifted(x, steps):
    """Each unit's train, so many steps later."""
    out = torch.zeros_like(x)
    for i, d in enumerate(steps):
        out[d:, i] = x[: len(x) - d, i]
    return out


def dw(rule, x, y, w, state):
    """The rule's change under trains [T, N] of one lane."""
    named = {n: torch.tensor(s).expand(len(x), 1, 1) for n, s in SIGNALS.items() if n in rule.reads}
    rec = Record("s", nn.Linear(PRE, POST, bias=False), w, x[:, None], y[:, None], y[:, None], torch.ones(()), {}, DT)
    return rule.update(rec, named, state)


@pytest.mark.parametrize("name", RULES)
def test_a_projection_is_trials_of_one_step(name):
    """Traces and eligibility are carried; the weights change after pre spikes, after post spikes, after the signals."""
    rule, steps = RULES[name], 300
    first, last, x, ran = projection(rule, steps, 0.2, 1.7)
    parts = [
        replace(rule, terms=tuple(m for m in rule.terms if (m.gate is not None) == gated and m.factors[0] in events))
        for gated, events in ((False, ("pre",)), (False, ("post",)), (True, ("pre", "post")))
    ]
    states, w, s, sent = [{}, {}, {}], first, {}, torch.zeros(1, POST)
    x, y = shifted(x, AXONAL), torch.zeros(steps + DENDRITIC.max(), POST)
    for t in range(steps):
        s = NEURON.step(s, sent, DT)
        s["y"] = NEURON.out(s)
        y[t + DENDRITIC, range(POST)] = s["y"][0]
        assert torch.equal(s["y"][0], ran[t]), t
        sent = x[t][None] @ w.T
        before = w  # what eligibility is left behind by, of the rules here at pre spikes alone
        for part, state in zip(parts, states):
            if part.terms:
                read = before if part.terms[0].gate else w
                w = (w + dw(part, x[t : t + 1], y[t : t + 1], read, state)).clamp(0.2, 1.7)
    assert ran.sum() > 40
    assert (w - last).abs().max() < 1e-12
    assert (last - first).abs().mean() > 0.1


@pytest.mark.parametrize("name", ADDITIVE)
def test_an_additive_rule_is_one_trial_of_what_ran(name):
    """Without bounds the trains say all, at once."""
    rule = ADDITIVE[name]
    first, last, x, y = projection(rule, 2000, -np.inf, np.inf)
    change = dw(rule, shifted(x, AXONAL), shifted(y, DENDRITIC), first, {})
    assert y.sum() > 60
    assert (last - first - change).abs().max() < 1e-12 * change.abs().max()
    assert change.abs().max() > 0.1


FULL, MINIMAL = triplet(0.02, 0.12, 0.1, 0.02), triplet(A3_plus=0.12, A2_minus=0.15)
M1, BETA = Receptor("M1", "acetylcholine", EC50=0.2, n=2.0), Receptor("beta", "noradrenaline", EC50=1.0)
GAINS = (Gain(M1, "A3_plus", -2.0), Gain(BETA, "A3_plus", 3.0), Gain(BETA, "A2_minus", 0.5),
         Tag(M1, "A2_minus", 60.0, 0.05), Tag(BETA, "A3_plus", 150.0, -0.02))  # fmt: skip
WIDTHS = Width(M1, "tau_plus", 0.7), Width(BETA, "tau_plus", -0.8), Width(BETA, "tau_y", -0.5)
TWENTYFOLD = Width(M1, "tau_plus", 3.0), Width(BETA, "tau_plus", -3.0), Width(M1, "tau_minus", -3.0)


@pytest.mark.parametrize(
    ("plain", "effects"),
    (
        (MINIMAL, GAINS),
        (MINIMAL, GAINS + WIDTHS),
        (FULL, GAINS + WIDTHS),
        (pair(0.2, 0.21), TWENTYFOLD),
        (FULL, TWENTYFOLD),
    ),
    ids=("gains and tags", "widths too", "full, widths too", "pair, widths alone", "full, widths alone"),
)
def test_a_rule_under_two_modulators_in_time_is_its_trial(plain, effects):
    """`reading` and `told`: gains at the spikes, tags after them, time constants, of signals that are set at every step."""
    steps, g = 1200, np.random.default_rng(3)
    c = {n: torch.tensor((g.random(steps) < 0.1) * g.random(steps)) for n in ("acetylcholine", "noradrenaline")}
    rule, third = reading(plain, effects), told(plain, effects, c)
    net, x = Network(dt=DT, seed=2), (g.random((steps, PRE)) < 0.03).astype(float)
    step, unit = x.nonzero()
    given, cells = net.add(PRE, SpikeTrains(unit, step * DT)), net.add(POST, NEURON)
    q = net.connect(given, cells, weight=lambda g, n: g.uniform(0.5, 1.5, n), rule=rule, w_min=-np.inf)
    first = torch.tensor(q.to_dense())

    def tell(net):
        t = round(net.t / DT)
        net.signal(**{n: float(v[min(t, steps - 1)]) for n, v in third.items()})

    tell(net)
    time, unit = net.run(steps * DT, [Spikes(cells)], each=(DT, tell)).spikes(cells)
    y = torch.zeros(steps, POST)
    y[np.rint(time / DT).astype(int), unit] = 1
    x = shifted(torch.tensor(x), [1] * PRE)
    rec = Record(
        "s", nn.Linear(PRE, POST, bias=False), first, x[:, None], y[:, None], y[:, None], torch.ones(()), {}, DT
    )
    change = rule.update(rec, {n: v[:, None, None] for n, v in third.items()}, {})
    assert y.sum() > 40 and (torch.tensor(q.to_dense()) - first - change).abs().max() < 1e-12 * change.abs().max()
