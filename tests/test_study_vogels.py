"""The study of inhibitory plasticity: a small form holds its claims, and a broken rule does not."""

import sys

import numpy as np
import pytest

from neurosim.engine.record import Raster
from neurosim.study import Mode, load_study

QUICK = Mode(quick=True, seeds=1)


@pytest.fixture
def vogels():
    load_study("vogels_2011")
    return sys.modules["studies.vogels_2011"]


@pytest.fixture
def small(vogels, monkeypatch):
    """800 neurons."""
    for name, value in {"N_QUICK": 800, "SYNAPSES": 160, "LAST": 4.0, "PHASES_QUICK": ((0.2, 10.0),)}.items():
        monkeypatch.setattr(vogels, name, value)
    return vogels


def failed(study):
    return {c["name"] for c in study.run(QUICK)[1] if not c["holds"]}


def test_inhibition_calms_the_network(vogels):
    rows, claims = vogels.run(QUICK)
    assert len(claims) == 9 and all(c["source"] for c in claims)
    assert {c["name"] for c in claims if not c["holds"]} == {f"{vogels.PUBLISHED}: mean excitatory rate (Hz)"}
    assert vogels.draw(rows, {"claims": claims}).axes


def test_half_of_alpha_fails(small, monkeypatch):
    """alpha = rho0 tau, as if only one side of the window counted."""
    real = small.inhibitory
    monkeypatch.setattr(small, "inhibitory", lambda eta, rho0, tau: real(eta, rho0 / 2, tau))
    assert {f"{name}: pairs / alpha" for name, _ in small.MORE} < failed(small)


@pytest.mark.parametrize("scale", (0.0, -1.0))
def test_a_rule_that_does_nothing_or_has_the_wrong_sign_fails(small, monkeypatch, scale):
    real = small.inhibitory
    monkeypatch.setattr(small, "inhibitory", lambda *given: real(*given).scaled(scale))
    monkeypatch.setattr(small, "PHASES_QUICK", ((0.2, 0.6),))
    names = failed(small)
    assert any("rate (Hz)" in n for n in names) and any("CV" in n for n in names)
    assert any("fall of the variance" in n for n in names) and any("pairs" in n for n in names)


def test_pairs_by_a_loop_over_spikes(vogels, monkeypatch):
    monkeypatch.setattr(vogels, "OBSERVED", 3)
    g = np.random.default_rng(0)
    (post, i), (pre, j) = (
        (np.floor(np.sort(g.uniform(0, 3000, n))), g.integers(0, m, n)) for n, m in ((200, 3), (300, 5))
    )
    which = g.random((3, 5)) < 0.5
    gap = np.abs(post[:, None] - pre[None])
    around = np.where((gap <= 200) & which[i][:, j], np.exp(-gap / vogels.TAU), 0).sum()
    spikes = sum((j == b).sum() for a in range(3) for b in range(5) if which[a, b])
    assert vogels.pairs(Raster(post, i), Raster(pre, j), which) == pytest.approx(around / spikes, rel=1e-4)


def test_irregularity_of_known_trains(vogels):
    """A clock, a Poisson process, and a unit with too few spikes."""
    g = np.random.default_rng(0)
    trains = (np.arange(0, 1000, 10.0), np.cumsum(g.exponential(10.0, 40_000)), np.array([3.0, 4.0, 50.0]))
    alone = [vogels.irregularity(Raster(t, np.full(len(t), k))) for k, t in enumerate(trains[:2])]
    assert alone == [pytest.approx(0, abs=1e-6), pytest.approx(1, abs=0.02)]
    time, unit = np.concatenate(trains), np.repeat(range(3), [len(t) for t in trains])
    order = np.argsort(time, kind="stable")
    assert vogels.irregularity(Raster(time[order], unit[order])) == pytest.approx(np.mean(alone), abs=1e-6)
