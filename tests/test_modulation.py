"""Modulation against closed forms, sums over spike pairs with the modulator written out, and Brian2."""

import warnings
from dataclasses import replace
from math import exp

import pytest
import torch
from torch import nn

from neurosim.engine.rules import compiled
from neurosim.plasticity import Record, Unsupported
from neurosim.rules import SpikeRule, Term, Trace, modulators, presets
from neurosim.rules.homeostasis import homeostatic_triplet
from neurosim.rules.modulation import Gain, Modulator, Receptor, Tag, Width, doses, modulated, reading, told
from neurosim.rules.stdp import inhibitory, pair, triplet

STEPS, DT = 300, 1.0
M1 = Receptor("M1", "acetylcholine", EC50=0.2, n=2.0)
BETA = Receptor("beta", "noradrenaline", EC50=1.0)
D1 = Receptor("D1", "dopamine", EC50=1.0)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def record(pre, post, dt=DT):
    """[T, pre], [T, post] -> one lane of a dense synapse, whose weights are 0."""
    synapse = nn.Linear(pre.shape[1], post.shape[1], bias=False)
    zero = torch.zeros_like(post[:, None])
    return Record(
        "q", synapse, torch.zeros(post.shape[1], pre.shape[1]), pre[:, None], zero, post[:, None], zero, {}, dt
    )


def dw(rule, pre, post, third=None):
    third = {n: x.reshape(-1, 1, 1) for n, x in (third or {}).items()}
    return rule.update(record(pre, post), third, {})


def one_pair(rule, lag):
    """The change by one pair, lag = t_post - t_pre in ms."""
    pre, post = torch.zeros(STEPS, 1), torch.zeros(STEPS, 1)
    pre[100], post[100 + lag] = 1, 1
    return float(dw(rule, pre, post))


def trains(p=0.1):
    return (torch.rand(STEPS, 3) < p).double(), (torch.rand(STEPS, 2) < p).double()


def releases(p=0.02):
    return (torch.rand(STEPS) < p).double() * torch.rand(STEPS) * 3


# ---------------------------------------------------------------------------------------------- concentration, receptor
def test_a_release_is_cleared_exponentially_towards_the_tonic_level():
    release = torch.zeros(50)
    release[[3, 20]] = torch.tensor([2.0, 0.5])
    got = Modulator("dopamine", tonic=0.1, tau=15.0).concentration(release, DT, start=0.4)
    for t in range(50):
        want = 0.1 + 0.3 * exp(-(t + 1) / 15) + sum(x * exp(-(t - s) / 15) for s, x in ((3, 2.0), (20, 0.5)) if t >= s)
        assert abs(float(got[t]) - want) < 1e-14


def test_a_receptor_is_half_occupied_at_its_EC50_and_its_slope_there_is_n_over_4():
    r = Receptor("M1", "acetylcholine", EC50=0.3, n=1.7)
    c = torch.tensor([0.0, 0.3, 1e9])
    assert torch.allclose(r.occupied(c), torch.tensor([0.0, 0.5, 1.0]))
    e = 1e-5
    h = r.occupied(0.3 * torch.tensor([exp(-e), exp(e)]))
    assert abs(float(h[1] - h[0]) / (2 * e) - 1.7 / 4) < 1e-8  # dh / d log c
    assert float(r.occupied(torch.tensor(1e300)) - 1) == 0


# ---------------------------------------------------------------------------------------------- during pairing
def test_gain_and_width_are_the_windows_amplitude_and_time_constant():
    rule = pair(0.01, 0.012, 17.0, 34.0)
    effects = (
        Gain(M1, "A_plus", -1.5),
        Width(M1, "tau_plus", 0.7),
        Width(BETA, "tau_plus", -0.2),
        Gain(BETA, "A_plus", 2.0),
    )
    got = modulated(rule, effects, {"M1": 0.8, "beta": 0.25})
    factor, tau = (1 - 2.5 * 0.8) * (1 + 0.25), 17 * exp(0.7 * 0.8 - 0.2 * 0.25)
    for lag in (1, 10, 40):
        assert abs(one_pair(got, lag) / (0.01 * factor * exp(-lag / tau)) - 1) < 1e-12
        assert abs(one_pair(got, -lag) / (-0.012 * exp(-lag / 34.0)) - 1) < 1e-12
    assert one_pair(got, 10) < 0 < one_pair(rule, 10)  # LTP became LTD


def test_without_modulators_nothing_changes():
    rule = triplet()
    assert modulated(rule, (Gain(M1, "A3_plus", -2.0), Width(M1, "tau_y", 1.0), Gain(D1, "A2_minus", None)), {}) == rule


def test_a_doubled_target_rate_is_the_rule_made_for_it():
    """rho0 is no term's amplitude: the terms that hold it know with which power."""
    for make in (lambda r: inhibitory(0.01, r), lambda r: homeostatic_triplet(rho0=r)):
        got = modulated(make(3.0), (Gain(D1, "rho0", 3.0),), {"D1": 0.5})
        for a, b in zip(got.terms, make(6.0).terms, strict=True):
            assert abs(a.gain - b.gain) < 1e-12 * abs(b.gain) and a.factors == b.factors


def test_terms_are_multiplied_at_their_spike_by_what_is_there_then():
    """Two modulators on the terms of triplet STDP, in time: sums over pairs and triplets, the factors written out."""
    rule = triplet(A2_plus=0.002, A3_plus=6e-3, A2_minus=7e-3, A3_minus=1e-3)
    effects = (Gain(M1, "A3_plus", -2.0), Gain(BETA, "A3_plus", 3.0), Gain(BETA, "A2_minus", 0.0))
    (pre, post), c, d = trains(), releases(), releases()
    got = dw(reading(rule, effects), pre, post, told(rule, effects, {"acetylcholine": c, "noradrenaline": d}))
    h, k = c**2 / (0.2**2 + c**2), d / (1 + d)
    seen = lambda at, s, tau, now: sum(exp(-(at - t) / tau) for t in s if t < at or (now and t == at))  # noqa: E731
    for j in range(2):
        for i in range(3):
            u, v = pre[:, i].nonzero().flatten().tolist(), post[:, j].nonzero().flatten().tolist()
            want = sum(
                seen(t, u, 16.8, True) * (0.002 + 6e-3 * float((1 - 3 * h[t]) * (1 + 2 * k[t])) * seen(t, v, 114, False))
                for t in v
            ) - sum(
                seen(t, v, 33.7, False) * (7e-3 * float(1 - k[t]) + 1e-3 * seen(t, u, 101, False)) for t in u
            )  # fmt: skip
            assert abs(float(got[j, i]) - want) < 1e-12


def test_a_constant_concentration_in_time_is_the_rule_of_that_occupancy():
    rule, effects = homeostatic_triplet(), (Gain(M1, "A3_plus", -1.0), Gain(D1, "rho0", 2.0), Gain(D1, "A2_minus", 0.5))
    (pre, post), c = trains(), {"acetylcholine": 0.1, "dopamine": 2.0}
    want = dw(modulated(rule, effects, doses(effects, c)), pre, post)
    in_time = told(rule, effects, {n: torch.full((STEPS,), x) for n, x in c.items()})
    got = dw(reading(rule, effects), pre, post, in_time)
    assert float((got - want).abs().max()) < 1e-13 and float(want.abs().max()) > 1e-3


@pytest.mark.parametrize("nearest", [False, True], ids=["all to all", "nearest"])
def test_a_time_constant_that_varies_decays_as_the_integral_of_its_inverse(nearest):
    """exp(-sum dt / tau(t)) from spike to spike: r1's and o2's widths follow two modulators, o1's does not."""
    rule = triplet(A2_plus=0.002, A3_plus=6e-3, A2_minus=7e-3, nearest=nearest)
    effects = (
        Width(M1, "tau_plus", 0.9),
        Width(BETA, "tau_plus", -0.6),
        Width(BETA, "tau_y", -1.0),
        Gain(M1, "A3_plus", 2.0),
    )
    (pre, post), c, d = trains(), releases(0.2), releases(0.2)
    got = dw(reading(rule, effects), pre, post, told(rule, effects, {"acetylcholine": c, "noradrenaline": d}))
    h, k = c**2 / (0.2**2 + c**2), d / (1 + d)
    age_1, age_2 = ((DT / tau).cumsum(0) for tau in (16.8 * (0.9 * h - 0.6 * k).exp(), 114 * (-k).exp()))
    age_0 = torch.arange(STEPS) / 33.7

    def seen(at, spikes, age, now):
        found = [exp(-float(age[at] - age[t])) for t in spikes if t < at or (now and t == at)]
        return (found[-1] if nearest else sum(found)) if found else 0.0

    for j in range(2):
        for i in range(3):
            u, v = pre[:, i].nonzero().flatten().tolist(), post[:, j].nonzero().flatten().tolist()
            up = sum(seen(t, u, age_1, True) * (0.002 + 6e-3 * (1 + float(h[t])) * seen(t, v, age_2, False)) for t in v)
            assert abs(float(got[j, i]) - up + 7e-3 * sum(seen(t, v, age_0, False) for t in u)) < 1e-12
    third = told(rule, effects, {"acetylcholine": c, "noradrenaline": d})
    assert float((dw_from(reading(rule, effects), pre, post, third) - got).abs().max()) < 1e-14


def dw_from(rule, pre, post, third):
    """In two trials, the second going on from the first."""
    state, total, half = {}, 0, STEPS // 2
    for s in (slice(0, half), slice(half, STEPS)):
        total = total + rule.update(
            record(pre[s], post[s]), {n: x[s].reshape(-1, 1, 1) for n, x in third.items()}, state
        )
    return total


# ---------------------------------------------------------------------------------------------- after pairing
def test_each_term_has_its_own_eligibility():
    """LTP's tag is read by noradrenaline, LTD's by dopamine, which turns it into potentiation; at once both act as ever."""
    rule = pair(0.01, 0.012, 17.0, 34.0)
    effects = (Tag(BETA, "A_plus", 200.0, 0.02), Tag(D1, "A_minus", 80.0, 0.05))
    (pre, post), c, d = trains(0.03), releases(), releases()
    third = told(rule, effects, {"noradrenaline": c, "dopamine": d})
    got = dw(reading(replace(rule, forget=True), effects), pre, post, third)
    plain = dw(rule, pre, post)
    for j in range(2):
        for i in range(3):
            u, v = pre[:, i].nonzero().flatten().tolist(), post[:, j].nonzero().flatten().tolist()
            after = 0.0
            for s in v:  # what each spike left, as long as it lasts
                left = 0.01 * sum(exp(-(s - t) / 17) for t in u if t <= s)
                after += left * 0.02 * sum(float(c[t] / (1 + c[t])) * exp(-(t - s) / 200) for t in range(s, STEPS))
            for s in u:
                left = 0.012 * sum(exp(-(s - t) / 34) for t in v if t < s)
                after += left * 0.05 * sum(float(d[t] / (1 + d[t])) * exp(-(t - s) / 80) for t in range(s, STEPS))
            assert abs(float(got[j, i] - plain[j, i]) - after) < 1e-12


def test_a_tag_of_depression_is_filled_where_the_change_depresses():
    """LTP that acetylcholine turned into depression, and LTD, are both made good later; LTP that stayed leaves nothing."""
    rule = pair(0.01, 0.012, 17.0, 34.0)
    effects = (Gain(M1, "A_plus", -1.5), Tag(D1, "A_plus", 200.0, 0.03, depression=True),
               Tag(D1, "A_minus", 200.0, 0.03, depression=True))  # fmt: skip
    for lag, c, change in ((10, 0.0, 0.0), (10, 0.2, 0.01 * 0.25 * exp(-10 / 17)), (-10, 0.2, 0.012 * exp(-10 / 34))):
        pre, post = torch.zeros(STEPS, 1), torch.zeros(STEPS, 1)
        pre[50], post[50 + lag] = 1, 1
        ach, dopamine = torch.full((STEPS,), c), torch.zeros(STEPS)
        dopamine[200] = 3.0
        third = told(rule, effects, {"acetylcholine": ach, "dopamine": dopamine})
        got = float(dw(reading(replace(rule, forget=True), effects), pre, post, third))
        at_once = float(dw(modulated(rule, effects, {"M1": c / 0.4}), pre, post))  # half occupied at 0.2 uM
        after = 0.03 * 0.75 * change * exp(-(200 - max(50, 50 + lag)) / 200)
        assert abs(got - at_once - after) < 1e-15


# ---------------------------------------------------------------------------------------------- bad input
def test_bad_input_is_refused():
    rule = triplet()
    with pytest.raises(ValueError, match="noradrenaline: given -1 uM"):
        BETA.occupied(torch.tensor([0.5, -1.0]))
    with pytest.raises(ValueError, match="dopamine: given -2 uM, a concentration is 0 uM or more"):
        Modulator("dopamine").concentration(torch.tensor([1.0, -3.0]).double(), 1e-9)
    with pytest.raises(
        ValueError, match=r"M1: an effect on 'A_plus', which the rule has not; it has A3_plus, A2_minus"
    ):
        modulated(rule, (Gain(M1, "A_plus", 2.0),), {"M1": 1.0})
    with pytest.raises(ValueError, match=r"M1: an effect on 'tau_x', which the rule has not; it has tau_plus, tau_min"):
        modulated(rule, (Width(M1, "tau_x", 2.0),), {"M1": 1.0})
    with pytest.raises(ValueError, match="full: what M1 does to A3_plus is not known as a number .Seol.*, give one"):
        modulated(rule, (Gain(M1, "A3_plus", None, "Seol 2007"),), {"M1": 1.0})
    with pytest.raises(ValueError, match="EC50: the dose-response of beta2 is not known"):
        doses((Gain(Receptor("beta2", "noradrenaline"), "A3_plus", 2.0),), {"noradrenaline": 1.0})
    with pytest.raises(
        ValueError, match="serotonin: there is no receptor for it among the effects, they bind acetylcholine"
    ):
        doses((Gain(M1, "A3_plus", 2.0),), {"serotonin": 1.0})
    with pytest.raises(
        ValueError, match="serotonin: there is no receptor for it among the effects, they bind acetylcholine"
    ):
        told(rule, (Gain(M1, "A3_plus", 2.0),), {"serotonin": torch.ones(3)})
    with pytest.raises(ValueError, match="occupancy: given 1.2 of M1, it must lie in 0 .. 1"):
        modulated(rule, (Gain(M1, "A3_plus", 2.0),), {"M1": 1.2})
    with pytest.raises(ValueError, match="blocked: given 'M2', the effects act through M1"):
        doses((Gain(M1, "A3_plus", 2.0),), {"acetylcholine": 1.0}, blocked=("M2",))
    twice = Gain(M1, "A3_plus", 2.0), Gain(Receptor("M1", "dopamine", EC50=1.0), "A2_minus", 2.0)
    for use in (lambda: doses(twice, {"dopamine": 1.0}), lambda: reading(rule, twice)):
        with pytest.raises(ValueError, match="effects: two receptors are named M1, .* name one differently"):
            use()
    with pytest.raises(ValueError, match="clock: given 'o1' for r1, a trace; it must be a third factor"):
        SpikeRule({"r1": Trace("pre", 20.0, clock="o1"), "o1": Trace("post", 20.0)}, ())
    with pytest.raises(ValueError, match="start: given 0.5, the trace of a third factor, dopamine, begins at 0"):
        Trace("dopamine", 50.0, start=0.5)
    slow = SpikeRule({"D": Trace("dopamine", 50.0, clock="ACh")}, (Term(1.0, ("post",), "D"),))
    with pytest.raises(Unsupported, match="clock: D is the trace of a modulator, whose time constant does not vary in"):
        compiled(slow)
    narrow, c = (Width(M1, "tau_plus", -9.0),), {"acetylcholine": torch.full((STEPS,), 9.0)}
    with pytest.raises(ValueError, match="tau_plus: given .* ms, less than the step dt = 1.0 ms"):
        dw(reading(rule, narrow), *trains(), told(rule, narrow, c))
    with pytest.raises(ValueError, match="effects: given Gain.*, expected a tuple of Gain, Width and Tag"):
        modulated(rule, Gain(M1, "A3_plus", 2.0), {"M1": 1.0})
    with pytest.raises(ValueError, match="receptor: given 'M1', expected a Receptor"):
        modulated(rule, (Gain("M1", "A3_plus", 2.0),), {"M1": 1.0})
    with pytest.raises(ValueError, match="concentration: given 0.1, expected uM by modulator"):
        doses((Gain(M1, "A3_plus", 2.0),), 0.1)
    with pytest.raises(ValueError, match="acetylcholine: given float, expected a tensor"):
        told(rule, (Gain(M1, "A3_plus", 2.0),), {"acetylcholine": 1.0})
    with pytest.raises(ValueError, match="release: given 5.0, expected uM at each step"):
        Modulator("dopamine").concentration(5.0, 1.0)
    for bad in ({"EC50": 0.0}, {"n": -1.0}, {"modulator": ""}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Receptor(**{"name": "M1", "modulator": "acetylcholine", **bad})


def test_a_dose_that_the_data_do_not_cover_warns_once():
    modulators._warned.clear()
    r = Receptor("M1", "acetylcholine", EC50=0.2, covered=(0.1, 1.0))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for c in (0.0, 0.1, 1.0, 5.0, 7.0):
            r.occupied(torch.tensor(c))
    assert [str(w.message) for w in found] == ["M1: a dose outside 0.1 to 1 uM of acetylcholine, which its data cover"]


def test_a_blocked_receptor_is_free():
    effects = (Gain(M1, "A3_plus", -2.0), Gain(BETA, "A2_minus", 0.5))
    got = doses(effects, {"acetylcholine": 0.2, "noradrenaline": 3.0}, blocked=("M1",))
    assert got == {"beta": 0.75}


# ---------------------------------------------------------------------------------------------- presets
def test_presets_say_where_each_number_is_from_and_invent_none():
    every = [
        e
        for make in (presets.acetylcholine, presets.dopamine, presets.noradrenaline, presets.serotonin)
        for e in make()
    ]
    assert all(e.source and e.receptor.source for e in every)
    assert {e.receptor.modulator for e in every} == {"acetylcholine", "dopamine", "noradrenaline", "serotonin"}
    flagged = [e for e in every if e.disputed]
    assert [e.receptor.name for e in flagged] == ["M1"] and "Sugisaki" in flagged[0].disputed
    for make, receptor in ((presets.noradrenaline, "beta"), (presets.dopamine, "D1")):
        with pytest.raises(ValueError, match=f"full: what {receptor} does to A_minus is not known as a number"):
            modulated(pair(), make(), {receptor: 1.0})
    for effects in (presets.noradrenaline()[1:], presets.serotonin()):
        with pytest.raises(ValueError, match="full: .* is not known as a number .He et al. 2015"):
            reading(pair(), effects)
    with pytest.raises(ValueError, match="EC50: the dose-response of D1 is not known"):
        doses(presets.dopamine(), {"dopamine": 1.0})


def test_acetylcholine_turns_potentiation_into_depression_by_its_dose():
    """Brzosko 2017, +10 ms: 135 +- 7 % without, 113 +- 9 at 0.1 uM, 63 +- 8 at 1 uM; within 2 s.e.m. of a window of +35 %."""
    effects, window = presets.acetylcholine(), pair(0.35 * exp(10 / 20), 0.3)
    for dose, mean, sem in ((0.0, 135, 7), (0.1, 113, 9), (1.0, 63, 8)):
        got = 100 * (1 + one_pair(modulated(window, effects, doses(effects, {"acetylcholine": dose})), 10))
        assert abs(got - mean) < 2 * sem
