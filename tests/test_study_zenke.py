"""Stability against tau_hom: a small grid holds its claims, and a detector that never learns the rate does not."""

import numpy as np
import pytest

from neurosim.study import Mode
from studies import zenke_2013

QUICK = Mode(quick=True, seeds=2)  # as --quick; seed 0 alone runs away but stays below 60 Hz


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(zenke_2013, "STATIC", 2)


@pytest.mark.slow
def test_the_quick_form_holds_and_is_drawn(short):
    rows, claims = zenke_2013.run(QUICK)
    assert [c["name"] for c in claims if not c["holds"]] == []
    assert all(c["source"] for c in claims)
    assert len(zenke_2013.draw(rows, {"claims": claims}).axes) == 2


def test_a_detector_too_slow_to_notice_fails(monkeypatch):
    def deaf(A3_plus, rho0, tau_hom):
        return real(A3_plus=A3_plus, rho0=rho0, tau_hom=1e6)

    real = zenke_2013.homeostatic_triplet
    monkeypatch.setattr(zenke_2013, "homeostatic_triplet", deaf)
    found = zenke_2013.life(zenke_2013.SMALL, 1.0, 10.0, 0, zenke_2013.SECONDS_QUICK)
    assert zenke_2013.values(found, "ran away") == [1]


def test_the_filter_is_that_of_a_constant_rate():
    """From 0 towards 5 Hz: 5 (1 - exp(-t / 100 ms)), t at the ends of the bins."""
    t = zenke_2013.BIN * np.arange(1, 51)
    assert np.allclose(zenke_2013.filtered([5.0] * 50, 0.0), 5 * (1 - np.exp(-t / 100)))


@pytest.mark.parametrize(
    ("blew", "expected"), [((0, 0, 1), (3, 9)), ((0, 1, 0), (1, 3)), ((1, 1, 1), (1, 1)), ((0, 0, 0), (9, 9))]
)
def test_the_critical_value_lies_after_the_last_that_all_are_stable_to(blew, expected):
    taus = (1.0, 3.0, 9.0)
    rows = [zenke_2013.row("small", 0, 1.0, t, 0, "ran away", b) for t, b in zip(taus, blew, strict=True)]
    assert zenke_2013.critical(rows, 1.0, 0, taus) == pytest.approx((expected[0] * expected[1]) ** 0.5)
