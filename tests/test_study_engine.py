"""The studies of plastic networks: short forms hold their claims, and a broken rule or network does not."""

import sys

import numpy as np
import pytest

from neurosim.study import Mode, load_study


def made(name, monkeypatch, **constants):
    """The study's module, smaller than its quick form."""
    load_study(name)
    study = sys.modules[f"studies.{name}"]
    for constant, value in constants.items():
        monkeypatch.setattr(study, constant, value)
    return study


def failed(study):
    return {c["name"] for c in study.run(Mode(quick=True, seeds=1))[1] if not c["holds"]}


# ---------------------------------------------------------------------------------------------- song_2000
@pytest.fixture
def song(monkeypatch):
    return made("song_2000", monkeypatch, RATES_QUICK=(35.0, 40.0), SECONDS_QUICK=(60.0, 60.0), LAST=20.0)


def test_song_splits_the_weights(song):
    rows, claims = song.run(Mode(quick=True, seeds=1))
    assert len(claims) == 9 and all(c["holds"] and c["source"] for c in claims)
    assert song.draw(rows, {"claims": claims}).axes


@pytest.mark.parametrize("ratio", (0.8, 1.0))
def test_song_without_more_depression_than_potentiation_fails(song, monkeypatch, ratio):
    """All weights grow to g_max; a heap there has a coefficient above 5/9 too, but the output follows the input."""
    monkeypatch.setattr(song, "RATIO", ratio)
    monkeypatch.setattr(song, "SECONDS_QUICK", (20.0, 10.0))
    assert len({n for n in failed(song) if "output" in n}) == 2


@pytest.mark.parametrize("name", ("song_2000", "van_rossum_2000"))
def test_coefficient_of_known_distributions(name, monkeypatch):
    """Two points, a uniform distribution, a Gaussian."""
    coefficient, u = made(name, monkeypatch).coefficient, (np.arange(100_000) + 0.5) / 100_000
    assert coefficient(np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx(1)
    assert coefficient(u) == pytest.approx(5 / 9, rel=1e-6)
    assert coefficient(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(1 / 3, rel=0.02)
    assert np.isnan(coefficient(np.ones(5)))


# ---------------------------------------------------------------------------------------------- van_rossum_2000
@pytest.fixture
def rossum(monkeypatch):
    return made("van_rossum_2000", monkeypatch, SECONDS_QUICK=(250.0, 60.0), LAST=10.0)


def test_van_rossum_keeps_the_weights_together(rossum):
    rows, claims = rossum.run(Mode(quick=True, seeds=1))
    assert len(claims) == 8 and all(c["holds"] and c["source"] for c in claims)
    assert rossum.draw(rows, {"claims": claims}).axes


def test_van_rossum_without_weight_dependence_fails(rossum, monkeypatch):
    monkeypatch.setattr(rossum, "SECONDS_QUICK", (30.0, 20.1))
    monkeypatch.setattr(rossum, "van_rossum", lambda c_p, c_d, *tau: rossum.pair(c_p, 1.05 * c_p, *tau))
    assert len(failed(rossum)) >= 3
