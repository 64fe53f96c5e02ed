"""Stability against tau_hom: what counts as blown up, on made rates; a broken rule is seen on a small network."""

import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from neurosim.study import load_study

TAUS = (3.0, 10.0, 100.0)


@pytest.fixture
def zenke():
    load_study("zenke_2013")
    return sys.modules["studies.zenke_2013"]


@pytest.fixture
def small(zenke, monkeypatch):
    """400 excitatory neurons, a fifth of the synapses, each five times as strong."""
    for name, value in {"FAN_IN": 200, "FAN_IN_I": 50, "FAN_IN_OUTER": 25, "OUTER": 500}.items():
        monkeypatch.setattr(zenke, name, value)
    for name in ("W_EE", "W", "W_I", "W_MAX", "A3_PLUS"):
        monkeypatch.setattr(zenke, name, 5 * getattr(zenke, name))
    monkeypatch.setattr(zenke, "SMALL", zenke.Size("small", 400, 400.0))
    return zenke


def made(zenke, way):
    """Rows of a study whose run ended as way(eta, tau_hom) says, at a rate of 3 Hz without plasticity."""
    rows = [
        zenke.row("small", 0, 0, 0, 5, q, x)
        for q, x in (("rate without plasticity", 3), ("Fano without plasticity", 3))
    ]
    for eta in (1.0, 4.0):
        for tau in TAUS:
            for seed in (0, 1):
                gone = way(eta, tau)
                found = {
                    "blew up": gone,
                    "ran away": gone != 0,
                    "life": 20.0 if gone else 60.0,
                    "last 10 s: rate": 70.0 if gone else 3.0,
                }
                found |= {"wall seconds": 1.0, "CPU seconds": 1.0, "rate": 3.0, "last second: share silent": 0.1}
                rows += [zenke.row("small", seed, eta, tau, 20, q, x) for q, x in found.items()]
        for by, s in product(zenke.CRITERIA, (0, 1)):
            rows.append(zenke.row("critical", s, eta, 0, 60, by, zenke.critical(rows, by, eta, s, TAUS)))
    return rows


def failed(zenke, way):
    return {c["name"] for c in zenke.claims_of(made(zenke, way), (1.0, 4.0), TAUS, 60) if not c["holds"]}


def test_the_claims_hold_for_what_was_published_and_are_drawn(zenke):
    way = lambda eta, tau: zenke.ABOVE if tau > (50 if eta == 1 else 5) else 0  # noqa: E731
    rows = made(zenke, way)
    claims = zenke.claims_of(rows, (1.0, 4.0), TAUS, 60)
    assert all(c["holds"] and c["source"] for c in claims) and len(claims) == 6
    assert len(zenke.draw(rows, {"claims": claims}).axes) >= 2


@pytest.mark.parametrize(
    ("way", "which"),
    [
        (lambda eta, tau: 0, ("cross 60 Hz", "next larger eta")),
        (lambda eta, tau: 1, ("shortest life", "next larger eta")),
        (lambda eta, tau: -int(tau > 50), ("cross 60 Hz",)),  # fell silent instead
        (
            lambda eta, tau: int(tau > (5 if eta == 1 else 50)),
            ("shortest life", "next larger eta"),
        ),
    ],
)
def test_other_results_fail(zenke, way, which):
    names = failed(zenke, way)
    assert all(any(part in name for name in names) for part in which)


def test_a_background_in_unison_or_at_another_rate_fails(zenke):
    rows = made(zenke, lambda eta, tau: int(tau > 50))
    for quantity, value, part in (("rate without", 5.0, "E rate"), ("Fano without", 70.0, "Fano")):
        changed = [{**r, "value": value} if r["quantity"].startswith(quantity) else r for r in rows]
        assert any(part in c["name"] for c in zenke.claims_of(changed, (1.0, 4.0), TAUS, 60) if not c["holds"])


@pytest.mark.parametrize(
    ("blew", "expected"), [((0, 0, 1), (10, 100)), ((0, 1, 0), (3, 10)), ((-1, 1, 1), (3, 3)), ((0, 0, 0), (100, 100))]
)
def test_the_critical_value_lies_after_the_last_that_all_are_stable_to(zenke, blew, expected):
    rows = [zenke.row("small", 0, 1.0, t, 0, "blew up", b) for t, b in zip(TAUS, blew, strict=True)]
    assert zenke.critical(rows, "blew up", 1.0, 0, TAUS) == pytest.approx((expected[0] * expected[1]) ** 0.5)


def test_the_filter_is_that_of_a_constant_rate(zenke):
    """From 0 towards 5 Hz: 5 (1 - exp(-t / 100 ms)), t at the ends of the bins; two halves are the whole."""
    t = zenke.BIN * np.arange(1, 101)
    whole = zenke.filtered([5.0] * 100, 0.0)
    assert np.allclose(whole, 5 * (1 - np.exp(-t / 100)))
    half = zenke.filtered([5.0] * 50, 0.0)
    assert np.allclose(whole[50:], zenke.filtered([5.0] * 50, half[-1]))


def test_fano_of_known_spikes(zenke):
    """Independent neurons 1; k that fire together k."""
    g = np.random.default_rng(0)
    counts = g.poisson(20.0, 20_000)
    unit = 1000 / zenke.BIN  # Hz of one neuron with a spike in every bin
    assert zenke.fano(counts * unit / 500, 500) == pytest.approx(1, abs=0.05)
    assert zenke.fano(7 * counts * unit / 500, 500) == pytest.approx(7, abs=0.35)


@pytest.mark.parametrize(("jump", "way"), [(120.0, 1), (0.0, -1), (50.0, 0)])
def test_when_a_run_ends(small, monkeypatch, jump, way):
    """3 Hz for 2 s, then another rate: 0.1 .. 60 Hz is left FILTER ln((jump - 3) / (jump - bound)) after."""
    calls = []

    def scripted(net, exc):
        calls.append(1)
        rate = 3.0 if len(calls) <= 2 else jump
        return np.full(200, rate), np.full(exc.n, 150) * (np.arange(exc.n) < (8 if len(calls) > 3 else 4))

    monkeypatch.setattr(small, "second", scripted)
    monkeypatch.setattr(small, "settle", lambda net, ee: None)
    rows = small.life(small.SMALL, 1.0, 10.0, 0, 5)
    got = {r["quantity"]: r["value"] for r in rows}
    bound = {1: 60.0, -1: 0.1}.get(way)
    end = 2 + 0.1 * np.log((jump - 3) / (jump - bound)) if way else 5
    assert got["blew up"] == way and end <= got["life"] <= end + small.BIN / 1000 + 1e-9
    assert got["ran away"] and got["away after"] == (got["life"] if way else 4)  # 2 % from the fourth second on


def test_weights_are_held_while_the_network_settles_and_learn_after(small):
    net, exc, ee = small.network(small.SMALL, 4.0, 10.0, 0)
    first = ee.w.copy()
    small.settle(net, ee)
    assert np.array_equal(ee.w, first)
    small.second(net, exc)
    assert not np.array_equal(ee.w, first) and ee.w.max() <= small.W_MAX * small.G_L
    assert net.run(200, [small.ns.Spikes(exc)]).mean_rate(exc) > 0.5


def test_without_its_depression_no_weight_falls(small, monkeypatch):
    real, fallen = small.homeostatic_triplet, []
    for terms in (slice(2), slice(1)):  # the second is the depression
        broken = lambda cut=terms, **given: replace(rule := real(**given), terms=rule.terms[cut])  # noqa: E731
        monkeypatch.setattr(small, "homeostatic_triplet", broken)
        net, exc, ee = small.network(small.SMALL, 4.0, 10.0, 0)
        first = ee.w.copy()
        small.second(net, exc)
        fallen.append(bool((ee.w < first).any()))
    assert fallen == [True, False]
