"""The study triplet_to_bcm: its exact expectation by enumeration, its standard error, its sliding rate by integration."""

import itertools
import math
import sys
from dataclasses import replace

import pytest
import torch

from neurosim.rules import PFISTER_GERSTNER, pair, triplet
from neurosim.rules.homeostasis import drift
from neurosim.study import load_study


@pytest.fixture
def study():
    load_study("triplet_to_bcm")
    return sys.modules["studies.triplet_to_bcm"]


@pytest.mark.parametrize("name", ("cortex-minimal", "cortex-full", "hippocampus-full", "pair"))
def test_expectation_in_steps_by_enumeration_of_all_trains(study, name):
    """All 2^6 pairs of trains of 3 steps, each with its probability; traces start at their means."""
    rule = pair() if name == "pair" else PFISTER_GERSTNER[name].rule()
    dt, rates, steps, whole = 5.0, {"pre": 60.0, "post": 40.0}, 3, 0.0
    p = {k: r * dt / 1000 for k, r in rates.items()}
    means = {n: p[t.of] / (1 - math.exp(-dt / t.tau)) for n, t in rule.traces.items()}
    for spikes in itertools.product((0.0, 1.0), repeat=2 * steps):
        pre, post = (torch.tensor(s).reshape(-1, 1, 1) for s in (spikes[:steps], spikes[steps:]))
        chance = math.prod(
            p[k] if s else 1 - p[k] for k, x in (("pre", pre), ("post", post)) for s in x.flatten().tolist()
        )
        start = {n: torch.full((1, 1), z) for n, z in means.items()}
        whole += chance * study.update(rule, pre, post, dt, start).item()
    want = study.in_steps(rule, rates["pre"], rates["post"], dt) * steps * dt / 1000
    assert abs(want) > 1e-6 and whole == pytest.approx(want, rel=1e-12)


def test_expectation_in_steps_goes_to_the_formula(study):
    for name in study.SETS:
        rule = PFISTER_GERSTNER[name].rule()
        off = [study.in_steps(rule, 10.0, 30.0, dt) / drift(rule)(10.0, 30.0) - 1 for dt in (0.2, 0.1, 0.05)]
        assert off[0] / off[1] == pytest.approx(2, rel=0.02) and off[1] / off[2] == pytest.approx(2, rel=0.02)
        assert 0 < off[2] < 0.006


def test_standard_error_of_a_table_with_random_rows_and_columns(study):
    rows, columns, rest = torch.randn(2000, 6, 1), 0.5 * torch.randn(2000, 1, 8), 0.3 * torch.randn(2000, 6, 8)
    found = [study.crossed(x) for x in 5 + rows + columns + rest]
    square = sum(e * e for _, e in found) / len(found)
    means = torch.tensor([m for m, _ in found])
    assert square == pytest.approx(1 / 6 + 0.25 / 8 + 0.09 / 48, rel=0.05)
    assert means.var().item() == pytest.approx(square, rel=0.1)
    assert means.mean().item() == pytest.approx(5, abs=0.03)


def test_simulated_drift_meets_its_exact_expectation(study, monkeypatch):
    """Small: with the spans' states carried, a coarse step and the numbers of spikes as control variates."""
    monkeypatch.setattr(study, "UNITS", 8)
    monkeypatch.setattr(study, "SPAN", 60)
    rule, z = triplet(), []
    found = [study.simulate({"a": rule}, 2.0, 0.4, seed) for seed in range(3)]
    for rho_y in study.RHO_Y:
        mean, error = study.pooled([f["a", rho_y] for f in found])
        z.append((mean - study.in_steps(rule, study.RHO_X, rho_y, 2.0)) / error)
        assert error < 0.5 * abs(mean)
    assert max(map(abs, z)) < 4


def test_rates_and_crossings_by_integration(study):
    tau, h, t, rbar, crossed = 2000.0, 0.5, 0.0, study.RHO0, []
    for rate, phase in zip(study.STEPS_OF_RATE, study.PHASES):
        above = rbar**2 / study.RHO0 > rate
        for k in range(round(phase * tau / h)):
            assert k % 50 or study.rate_at(t, tau) == pytest.approx((rate, rbar), rel=2e-3)
            t, rbar = t + h, rbar + h * (rate - rbar) / tau
            if rate != study.STEPS_OF_RATE[0] and (rbar**2 / study.RHO0 > rate) != above:
                crossed, above = [*crossed, t / tau], not above
    assert study.crossings() == pytest.approx(crossed, abs=2e-3)


def test_zero_of_the_drift_on_a_line(study):
    """rbar moves, the drift is (1.1 rate - threshold met): the zero is 1.1 of the rate in each phase."""
    tau, rows, before = 2000.0, [], study.RHO0
    for k in range(320):
        t = 0.025 * (k + 1)
        rate, rbar = study.rate_at((t - 1e-6) * tau, tau)
        met = ((before + rbar) / 2 + 0.5) ** 2 / study.RHO0
        place, before = {"recipe": "homeostatic", "seed": 0, "t": t}, rbar
        rows.append(place | {"quantity": "drift", "value": 3e-4 * (1.1 * rate - met)})
        rows.append(place | {"quantity": "theta", "value": rbar**2 / study.RHO0})
    assert [study.zero(rows, k, tau) for k in (1, 2)] == pytest.approx([1.1, 1.1], rel=1e-9)


def test_rows_claims_and_figure(study, monkeypatch):
    """A toy of the whole; a drift that is off by a tenth is caught."""
    for name, value in (("UNITS", 4), ("LANES", 2), ("TRIAL", 400.0)):
        monkeypatch.setattr(study, name, value)
    rules = {n: PFISTER_GERSTNER[n].rule() for n in study.SETS}
    rows = study.points(rules, 1.0, 0.2, 1)
    for step in study.COARSE:
        if step > 1:
            rows += study.points({study.SETS[0]: rules[study.SETS[0]]}, step, 0.2, 1)
        rows += study.points({"potentiation": replace(triplet(), terms=triplet().terms[:1])}, step, 0.2, 1)
    rows += study.slide(2000.0, 2, 4, 0)
    axes = study.draw(rows, {"seeds": [0]}).axes
    assert len(axes) == 4 and axes[2].get_ylabel() == "rate (Hz)"
    assert axes[2].lines[0].get_drawstyle() == "steps-pre"  # the neuron's rate, trial by trial
    points = [line for line in axes[0].lines if line.get_marker() in ("o", "s")]  # hollow, none hides another
    assert all(tuple(line.get_xdata()) == study.RHO_Y for line in points) and len(points) == 2
    assert all(line.get_markerfacecolor() == "none" for line in points)
    for r in rows:
        if "formula" in r:
            r |= {"value": r["formula"], "se": 0.01 * abs(r["formula"])}
    held = [c for c in study.checks(rows, 1.0) if "drift - formula" in c["name"]]
    assert len(held) == 12 and all(c["holds"] for c in held)
    for r in rows:
        r["value"] *= 1.1 if "formula" in r else 1.0
    failed = [c for c in study.checks(rows, 1.0) if "drift - formula" in c["name"] and not c["holds"]]
    assert len(failed) == 11  # not the one near theta, of depression
    assert len(study.sliding(rows, 2000.0)) == 6
