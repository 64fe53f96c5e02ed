"""navigation: the arena against lists and kinematics written by hand, its learning against sums over pairs of spikes."""

import sys

import numpy as np
import pytest

import neurosim as ns
from neurosim.study import Mode, load_study

load_study("navigation")
N = sys.modules["studies.navigation"]


def test_no_place_cell_at_a_wall_leads_out():
    """The published program's lists of forbidden actions, counted from 1: those that lead south, north, east and west."""
    there = N.inward()
    grid = np.arange(121).reshape(11, 11)  # [y, x]
    south, north = range(11, 30), [*range(1, 10), *range(31, 41)]
    east, west = range(1, 20), range(21, 40)
    lost = np.zeros((40, 121), bool)
    for cells, actions in ((grid[0], south), (grid[-1], north), (grid[:, -1], east), (grid[:, 0], west)):
        lost[np.ix_(np.array(actions) - 1, cells)] = True
    assert np.array_equal(there, ~lost)


def begun(goal=1.5, moved=False):
    memory = np.zeros(N.FILTERS + 2 * N.ACTIONS)
    memory[[N.TO_X, N.TO_Y, N.HAS_MOVED, N.FOUND]] = goal, goal, moved, -1
    return memory, np.zeros(N.ACTIONS, int), np.zeros(121)


def test_steady_spikes_of_one_action_move_the_agent_at_its_speed():
    """One spike a ms of one neuron, filtered: rho goes to 1 a ms, a step to 0.08 / 40, the way to go east is j = 10."""
    memory, counts, drive = begun()
    counts[9], path = 1, []
    for t in range(1, 501):
        N.arena(float(t), counts, drive, None, memory)
        path.append((memory[N.X], memory[N.Y]))
    step = np.diff(path, axis=0)
    assert np.abs(step[:, 1]).max() < 1e-15 and step[-1, 0] == pytest.approx(0.08 / 40, rel=0.02)
    s = np.arange(51)  # after k ms: the sum of the filter so far
    rho = np.cumsum((np.exp(-s / 50) - np.exp(-s / 20)) / 30)
    assert step[:50, 0] == pytest.approx(0.08 / 40 * rho[1:51], rel=1e-12)
    centres = np.arange(11) * 0.4 - 2
    want = -1000 * np.log1p(
        -0.4 * np.exp(-((centres - path[-1][0]) ** 2 + (centres[:, None] - path[-1][1]) ** 2) / 0.16)
    )
    assert drive.reshape(11, 11) == pytest.approx(want, rel=1e-9)


def test_walls_throw_the_agent_back():
    memory, counts, drive = begun(goal=-1.5)
    memory[N.X], counts[9] = 1.95, 1
    xs = []
    for t in range(1, 400):
        N.arena(float(t), counts, drive, None, memory)
        xs.append(memory[N.X])
    assert 1.98 < max(xs) <= 2.0 + 0.08 / 40 and min(xs[200:]) > 1.98


def test_a_reward_ends_the_trial_after_300_ms_of_silence():
    memory, counts, drive = begun()
    memory[[N.X, N.Y]] = 1.5, 1.25
    over = []
    for t in range(1, 400):
        N.arena(float(t), counts, drive, None, memory)
        over.append(memory[N.OVER])
        assert memory[N.FOUND] == 1 and not drive.any()
    assert over.index(1) == 300  # at 301 ms
    memory, *_ = begun()
    N.arena(15_000.0, counts, drive, None, memory)
    assert memory[N.OVER] == 1 and memory[N.FOUND] == -1


def test_visits_to_the_old_place_are_entries():
    memory, counts, drive = begun(goal=-1.5, moved=True)
    for t, x in enumerate((0.0, 1.5, 1.5, 0.0, 1.4, 1.6, 0.0), 1):
        memory[[N.X, N.Y]] = x, x
        N.arena(float(t), counts, drive, None, memory)
    assert memory[N.VISITS] == 2 and memory[N.FOUND] == -1


def pairs(net, spikes, T):
    """sum over pairs of exp(-|lag| / 10 ms), and the same weighed by exp(-(T - when) / 2 s); [synapses]."""
    q, ((t, i), (s, j)) = net.projections[0], spikes
    total, tagged = np.zeros(q.w.size), np.zeros(q.w.size)
    for m, (a, b) in enumerate(zip(q.pre_index, q.post_index, strict=True)):
        arrives, spikes = t[i == a] + 1, s[j == b]  # after its axonal delay, a step
        arrives = arrives[arrives < T]
        lag = arrives[:, None] - spikes
        w, when = np.exp(-np.abs(lag) / 10), np.maximum(arrives[:, None], spikes)
        total[m], tagged[m] = w.sum(), (w * np.exp(-(T - 1 - when) / 2000)).sum()
    return total, tagged


@pytest.mark.parametrize("acetylcholine", (0.0, 1.0))
def test_pairs_of_spikes_depress_at_once_and_are_remembered(acetylcholine):
    net = N.network(3)
    x, y = net.populations
    x.drive = 400 * np.exp(-np.add.outer(*[(np.arange(11) - 5.0) ** 2] * 2).ravel())
    net.signal(acetylcholine=acetylcholine, dopamine=0.0)
    rec = net.run(400, [ns.Spikes(x), ns.Spikes(y)])
    q, (total, tagged) = net.projections[0], pairs(net, [rec.spikes(p) for p in (x, y)], 400)
    assert total.max() > 10 and q.w.min() > 1.0
    assert q.w == pytest.approx(2 - 0.002 * acetylcholine * total, abs=1e-10)
    q.w[:] = 2.0  # the reward, as the study does it: the trial's first weights, and dopamine for a step
    net.signal(acetylcholine=0.0, dopamine=5e-4)
    last = net.run(1, [ns.Spikes(x), ns.Spikes(y)])
    _, tagged = pairs(
        net, [tuple(np.concatenate(z) for z in zip(rec.spikes(p), last.spikes(p), strict=True)) for p in (x, y)], 401
    )
    assert q.w == pytest.approx(2 + 5e-4 * tagged, abs=1e-10) and 2.1 < q.w.max() < 3


def test_a_life_in_brief(monkeypatch):
    """Three conditions, six trials; a frozen agent's weights stay, those of others leave 2 where a reward came."""
    monkeypatch.setattr(N, "TRIALS", 6)
    monkeypatch.setattr(N, "MOVED", 5)
    rows, claims = N.run(Mode(seeds=1, quick=True))
    assert claims == []
    runs = {c: [r["value"] for r in rows if (r["quantity"], r["recipe"]) == ("runs", c)] for c in N.COLOURS}
    assert runs == {N.WITH: [1] * 6, N.WITHOUT: [1] * 6, N.FROZEN: [2] * 6}
    assert {r["at"] for r in rows if r["quantity"] == "visits to the old place"} == {1, 2, 3, 4, 5, 6}
    net = N.network()
    agent, still = net.replicas(2)
    N.live(agent, N.WITHOUT)
    N.live(still, N.FROZEN)
    assert (still.projections[0].w == 2).all()
    w = agent.projections[0].w  # without acetylcholine, by rewards alone
    assert w.min() == 2 and 2.1 < w.max() <= 3


def test_runs_are_summed_trial_by_trial():
    each = [N.row(q, v, N.WITH, 1) for k in range(4) for q, v in (
        ("found", k > 0), ("s to the reward", 15.0 if k == 0 else k), ("visits to the old place", 2.0 * (k == 3))
    )]  # fmt: skip
    rows = N.summed(each)
    of = lambda q: N.value(rows, q, N.WITH, 1)  # noqa: E731
    assert (of("runs"), of("found"), of("visits to the old place"), of("s to the reward, median")) == (4, 3, 1, 2.5)
    share, low, high = N.share(rows, "found", N.WITH, 1)
    assert (
        share == 0.75 and low == pytest.approx(0.3006, abs=1e-4) and high == pytest.approx(0.9544, abs=1e-4)
    )  # by hand
