"""modulated_windows: its model against closed forms, and claims that fail where an effect is left out."""

import sys
from math import exp

import numpy as np
import pytest

from neurosim.study import Mode, load_study

load_study("modulated_windows")
windows = sys.modules["studies.modulated_windows"]
VALUES = (53.2, 26.9, 68.9, 29.8, -1.2, 0.24, 0.56)  # near what the fit finds


def test_pairing_is_the_window_and_acetylcholine_its_factor():
    A_plus, tau_plus, A_minus, tau_minus, full, EC50, _ = VALUES
    for c in (0.0, 0.1, 1.0):
        factor = 1 + (full - 1) * c / (c + EC50)
        for t in (0, 10, 50):
            want = 100 + A_plus * factor * exp(-t / tau_plus)
            assert windows.outcome(VALUES, t, c, False, False) == pytest.approx(want, abs=1e-9)
        want = 100 - A_minus * exp(-20 / tau_minus)
        assert windows.outcome(VALUES, -20, c, False, False) == pytest.approx(want, abs=1e-9)
    assert windows.outcome(VALUES, 10, 1.0, True, False) == windows.outcome(VALUES, 10, 0.0, False, False)
    assert windows.outcome(VALUES, None, 1.0, False, False) == 100


def test_dopamine_turns_round_what_depressed():
    """k int e dt over the 5 min in which it is there, e the sum of what each pairing left."""
    A_plus, tau_plus, A_minus, tau_minus, full, EC50, k = VALUES
    decay = exp(-windows.DT / windows.TAU_E)
    there = windows.DT / 1000 * k * sum(decay**n for n in range(round(windows.STAYS / windows.DT) + 1))
    for t, c, change in ((-20, 0.0, A_minus * exp(-20 / tau_minus)), (10, 0.0, 0.0),
                         (10, 1.0, -A_plus * (1 + (full - 1) / (1 + EC50)) * exp(-10 / tau_plus))):  # fmt: skip
        left = sum(exp(-(5000.0 * n) / windows.TAU_E) for n in range(100)) * change / 100
        wait = exp(-windows.WAIT / windows.TAU_E) * (exp(-abs(t) / windows.TAU_E) if t > 0 else 1)
        got = windows.outcome(VALUES, t, c, False, True) - windows.outcome(VALUES, t, c, False, False)
        assert got == pytest.approx(left * wait * there, rel=2e-3, abs=1e-9), (t, c)


def test_the_fit_uses_the_same_outcome():
    for _, *at, _, _, fitted in windows.CONDITIONS:
        if fitted:
            assert windows.sooner(VALUES, *at) == pytest.approx(windows.outcome(VALUES, *at), abs=1e-9)


def failed(monkeypatch, values):
    monkeypatch.setattr(windows, "fit", lambda: np.array(values))
    rows, claims = windows.run(Mode(quick=True, seeds=1))
    assert windows.draw(rows, {"claims": claims}).axes
    return {c["name"].split(":")[0] for c in claims if not c["holds"]}


def test_the_nineteen_conditions(monkeypatch):
    assert len(windows.CONDITIONS) == 19 and sum(c[-1] for c in windows.CONDITIONS) == 9
    assert failed(monkeypatch, VALUES) == set()


@pytest.mark.parametrize("place", (4, 6), ids=["without acetylcholine's effect", "without dopamine's"])
def test_an_effect_that_is_left_out_fails(monkeypatch, place):
    values = [*VALUES]
    values[place] = 1.0 if place == 4 else 1e-9
    assert {"9 rows that were fitted", "10 rows held out"} <= failed(monkeypatch, values)
