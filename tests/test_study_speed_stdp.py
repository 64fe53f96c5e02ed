"""The study speed_stdp: what it compares, its claims and its figure, without the peer."""

import sys

import pytest
import torch
from torch import nn

from neurosim.plasticity import Record
from neurosim.study import Mode, load_study

study = load_study("speed_stdp")
globals_of = study.run.__globals__


def test_the_pair_rule_is_the_peers():
    """SpikingJelly's step, written out: tr <- tr - tr / tau + s on both sides, then dw = A+ post tr_pre - A- tr_post pre."""
    pre, post = ((torch.rand(60, 2, n) < 0.2).double() for n in (5, 4))
    want, x, y = torch.zeros(4, 5), torch.zeros(2, 5), torch.zeros(2, 4)
    for s, z in zip(pre, post):
        x, y = x - x / 20.0 + s, y - y / 20.0 + z
        want += 0.01 * torch.einsum("bj,bi->ji", z, x) - 0.0105 * torch.einsum("bj,bi->ji", y, s)
    synapse = nn.Linear(5, 4, bias=False)
    rec = Record("s", synapse, synapse.weight.detach(), pre, post, post, post, {}, dt=1.0)
    got = globals_of["rules"][globals_of["PAIR"]].update(rec, {}, {})
    assert (got - want).norm() / want.norm() < 1e-12


def test_one_trial_of_ours_is_timed_on_the_stated_trains():
    pre, post = globals_of["trains"]("dense", 10, 0)
    assert pre.shape == (10, 16, 784) and post.shape == (10, 16, 100)
    assert pre.mean().item() == pytest.approx(globals_of["RATE"], rel=0.05)
    seconds, dw = globals_of["ours"]("dense", globals_of["rules"]["triplet, full"], pre, post)
    assert seconds > 0 and dw.shape == (100, 784) and dw.any()


def made_up(speed):
    """Rows in which ours does `speed` steps a second and the peer 1 or, once, 100."""
    rows = []
    for layer in ("dense", "conv"):
        for seed, peer in enumerate((1.0, 1.0, 100.0)):
            at = {"seed": seed, "layer": layer, "quantity": "steps per CPU second"}
            rows += [at | {"recipe": k, "value": speed} for k in globals_of["rules"]]
            rows.append(at | {"recipe": "SpikingJelly pair", "value": peer})
            rows.append(at | {"recipe": "both", "quantity": globals_of["APART"], "value": 1e-6})
    return rows


def test_the_claims_hold_the_ratio_of_medians_against_each_target():
    holds = {c["name"]: (c["got"], c["holds"]) for c in globals_of["claims_of"](made_up(5.0))}
    assert holds["dense, triplet, full: ratio of medians"] == (5.0, False)
    assert holds["conv, triplet, minimal: ratio of medians"] == (5.0, True)
    assert len(holds) == 6
    assert study.draw(made_up(5.0), {}).axes


def test_the_peer_must_be_named_and_must_start(monkeypatch):
    with pytest.raises(ValueError, match="--peer-python: not given"):
        study.run(Mode(seeds=1))
    monkeypatch.setitem(globals_of, "PEER_PYTHON", sys.executable)
    monkeypatch.setitem(globals_of, "peer_program", "print('no such module')")
    with pytest.raises(ValueError, match="cannot import SpikingJelly"):
        study.run(Mode(seeds=1))
