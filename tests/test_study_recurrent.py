"""The studies of recurrent networks: e-prop's identity and cost, the vanishing gradient; what they measure and claim."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from neurosim.cell import Cell
from neurosim.credit import Backprop
from neurosim.credit.broadcast import SymmetricBroadcast
from neurosim.neurons import LSTM, Rate, identity
from neurosim.plasticity import Gradient, Recipe
from neurosim.rules import RFLO, EProp
from neurosim.study import Mode
from studies import credit_through_time, eprop_identity, evidence_accumulation, speed_eprop, vanishing_gradient


def bits(seed, n=6):
    return eprop_identity.probe(seed, n)


# ---------------------------------------------------------------------------------------------- eprop_identity
@pytest.mark.parametrize("kind", ("LIF", "ALIF"))
def test_the_loop_by_hand_is_the_packages_gradient(kind):
    """Whole and cut, against `Backprop` through the package's own forward."""
    net, batch = eprop_identity.fresh(3, kind), bits(3)
    found = {}
    for cut in (False, True):
        recipe = Recipe("test", {"*": Gradient()}, Backprop("*.recurrent" if cut else ""))
        want = eprop_identity.updates(net, recipe, batch)
        found[cut] = eprop_identity.by_autograd(net, batch, cut=cut)
        assert (found[cut] - want).norm() < 1e-12 * want.norm() and want.norm() > 1e-4
    assert eprop_identity.cosine(found[False], found[True]) < 0.99


def test_dealt_credit_is_that_of_a_shuffled_error():
    net, batch = eprop_identity.fresh(1), bits(1, 8)
    n, deals = net.hidden.neuron, [torch.arange(8), torch.tensor([3, 0, 1, 2, 7, 4, 5, 6])]
    own, other = eprop_identity.told_others(net, n, batch, deals)
    rules = {"hidden.*": EProp(n, 20.0), "readout.*": RFLO(Rate(tau=20.0))}
    for got, deal in ((own, deals[0]), (other, deals[1])):
        credit = SymmetricBroadcast(error=lambda e, deal=deal: e[:, deal])
        want = eprop_identity.updates(net, Recipe("test", rules, credit), batch)
        assert (got - want).norm() < 1e-12 * want.norm()
    assert (own - other).norm() > 0.1 * own.norm()


def identity_rows(error, apart):
    """Rows of three seeds as the study makes them, with given numbers."""
    rows = []
    for seed in range(3):
        for kind in ("LIF", "ALIF"):
            at = {"seed": seed, "layer": kind}
            for name in ("eprop", "eprop-random"):
                rows.append(at | {"recipe": name, "quantity": "largest relative error", "value": error})
            rows.append(at | {"recipe": "eprop", "quantity": "cosine with BPTT", "value": 0.5})
            for what in ("traces", "whole", "recurrent spikes cut"):
                rows.append(at | {"recipe": "eprop", "quantity": what, "value": 0.1 * seed})
        for when in ("first weights", "trained by BPTT"):
            at = {"seed": seed, "layer": when, "quantity": "cosine by steps"}
            rows += [at | {"recipe": "pieces", "steps": k, "value": 1 - apart} for k in eprop_identity.PIECES]
            rows.append(at | {"recipe": "eprop", "value": 0.5})
        for epoch, dealt in ((0, 0.9), (eprop_identity.EPOCHS, 0.3)):
            at = {"seed": seed, "layer": "hidden", "epoch": epoch}
            rows += [
                at | {"recipe": n, "quantity": "cosine", "value": 0.5} for n in ("eprop", "eprop-random", "tbptt-10")
            ]
            rows += [at | {"recipe": "eprop", "quantity": q, "value": dealt} for q in ("dealt", "dealt, 97.5 %")]
    return rows


def test_the_claims_of_the_identity_can_fail():
    def held(error, apart):
        return [c["holds"] for c in eprop_identity.claims_of(identity_rows(error, apart))]

    assert all(held(1e-14, 0.0)) and len(held(1e-14, 0.0)) == 10
    assert held(1e-9, 0.0).count(False) == 4
    assert held(1e-14, 1e-3).count(False) == 2
    drawn = eprop_identity.draw(identity_rows(1e-14, 0.0), {"seeds": [0, 1, 2]})
    assert isinstance(drawn, Figure) and len(drawn.axes) == 3


# ---------------------------------------------------------------------------------------------- speed_eprop
def test_all_forms_do_one_step_and_e_props_agree():
    torch.set_default_dtype(torch.float32)
    rows = speed_eprop.timed(Mode(seeds=1), 8)
    assert sorted(r["recipe"] for r in rows) == ["both", "bptt", "eprop", "online", "rflo"]
    assert all(r["value"] > 0 for r in rows if r["recipe"] != "both")
    assert max(speed_eprop.of(rows, "both", speed_eprop.APART)) < 1e-4
    dw = {form: speed_eprop.learner(form, 0).updates(speed_eprop.given(8, 1)) for form in speed_eprop.FORMS}
    apart = (dw["rflo"]["hidden.input"] - dw["eprop"]["hidden.input"]).norm() / dw["eprop"]["hidden.input"].norm()
    assert 1e-4 < apart  # half of the units adapt
    for d in dw.values():  # the readout's is the gradient in all
        torch.testing.assert_close(d["readout.input"], dw["bptt"]["readout.input"], rtol=1e-4, atol=1e-7)


def test_the_peak_of_memory_is_seen():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = speed_eprop.status("VmRSS")
    for _ in range(3):  # one after the other: the peak is that of one
        torch.ones(2**24, dtype=torch.float32)  # 64 MB
    assert speed_eprop.status("VmHWM") - before == pytest.approx(64, abs=3)


def speed_rows(bptt, eprop, growth):
    rows, s, m = [], speed_eprop.SECONDS, speed_eprop.PEAK
    for seed, slow in enumerate((1.0, 1.0, 9.0)):  # one repetition was disturbed
        for form, value in (("bptt", bptt), ("eprop", eprop), ("rflo", eprop), ("online", 20 * eprop)):
            rows.append({"recipe": form, "seed": seed, "quantity": s, "steps": 100, "value": slow * value})
        rows.append({"recipe": "both", "seed": seed, "quantity": speed_eprop.APART, "steps": 100, "value": 1e-6})
    for form in speed_eprop.FORMS:
        for steps, value in ((100, 10.0), (1000, 10.0 * (growth if form == "online" else 9.0))):
            rows.append({"recipe": form, "seed": 0, "quantity": m, "steps": steps, "value": value})
    return rows


@pytest.mark.parametrize("numbers, failed", (((1.0, 1.4, 1.05), 0), ((1.0, 1.6, 1.05), 1), ((1.0, 1.4, 1.2), 1)))
def test_the_claims_hold_medians_against_the_targets(numbers, failed):
    rows = speed_rows(*numbers)
    claims = speed_eprop.claims_of(rows)
    assert [c["holds"] for c in claims].count(False) == failed
    assert claims[0]["got"] == pytest.approx(numbers[1] / numbers[0])
    assert len(speed_eprop.draw(rows, {"seeds": [0, 1, 2]}).axes) == 2


# ---------------------------------------------------------------------------------------------- vanishing_gradient
def run_on(net, x, state):
    """Logits after the steps of x, from a state (v, y) on; written for the three kinds of unit."""
    W, U, n = net.hidden.recurrent.weight, net.hidden.input.weight, net.hidden.neuron
    v, y = state
    for x_t in x:
        u = x_t @ U.T + y @ W.T
        if isinstance(n, LSTM):
            i, f, g, o = u.chunk(4, -1)
            v = torch.sigmoid(f + n.forget) * v + torch.sigmoid(i) * torch.tanh(g)
            y = torch.sigmoid(o) * torch.tanh(v)
        else:
            a = math.exp(-1 / n.tau) if n.tau else 0.0
            v = a * v + (1 - a) * u
            y = torch.tanh(v)
    return y @ net.readout.input.weight.T, (v, y)


@pytest.mark.parametrize("name", ("plain, g = 1.5", "leaky", "lstm, forget 1"))
def test_the_norms_are_those_of_finite_differences(name, monkeypatch):
    """Every entry of the state at T - lag moved up and down, the rest of the trial run again."""
    monkeypatch.setattr(vanishing_gradient, "UNITS", 5)
    net, batch = vanishing_gradient.made(name, 1), vanishing_gradient.shown(1, 2)
    got, h = vanishing_gradient.gradient_norms(net, batch), 1e-6
    assert got[0] == 1
    lags, zero = (0, 1, 4, 9), torch.zeros(2, 5)

    @torch.no_grad()
    def norm(lag):
        _, (v, y) = run_on(net, batch.x[: len(batch.x) - lag], (zero, zero))
        rest, total = batch.x[len(batch.x) - lag :], 0.0
        which = (0, 1) if name.startswith("lstm") else (0,) if name == "leaky" else (1,)
        for part in which:
            for k in range(5):
                losses = []
                for step in (h, -h):
                    state = [v.clone(), y.clone()]
                    state[part][:, k] += step
                    if name == "leaky":
                        state[1] = torch.tanh(state[0])
                    out = run_on(net, rest, state)[0]
                    losses.append(-out.log_softmax(-1)[torch.arange(2), batch.target[-1]] / 10)
                total += ((losses[0] - losses[1]) / (2 * h)).square().sum().item()
        return math.sqrt(total)

    for lag in lags[1:]:
        assert norm(lag) / norm(0) == pytest.approx(got[lag].item(), rel=1e-5)


def test_the_expectation_of_linear_nets():
    """The closed form against powers of matrices; without a leak it is g^(2 k)."""
    assert vanishing_gradient.linear_square(7, 1.5) == pytest.approx(1.5**14)
    a, g, n = 0.8, 1.3, 300
    squares = {k: [] for k in (1, 4, 8)}
    for _ in range(60):
        J = a * torch.eye(n) + (1 - a) * g * torch.randn(n, n) / n**0.5
        v = torch.randn(n)
        for k in range(1, 9):
            v = J @ v if k > 1 else J @ v / v.norm()
            if k in squares:
                squares[k].append(v.square().sum().item())
    for k, found in squares.items():
        assert np.mean(found) == pytest.approx(vanishing_gradient.linear_square(k, g, a), rel=0.05)
    draws = np.array([vanishing_gradient.linear_draw(k, None) for k in range(8)])
    assert draws.shape == (8, 3) and draws.mean() == pytest.approx(1, rel=0.2)


def test_mean_field_is_a_wide_network():
    """A tanh net of 1,500 units run by hand, its gradient by the transposed Jacobians; and g^lag where all is still."""
    assert vanishing_gradient.mean_field(0.5, [0.0] * 9) == pytest.approx(0.5 ** np.arange(9))
    n, g, drive = 1500, 1.4, [0.3, 0.1, 0.1, 0.6, 0.2, 0.2]
    W, s, v = g * torch.randn(n, n) / n**0.5, torch.zeros(n), []
    for d in drive:
        v.append(W @ s + d**0.5 * torch.randn(n))
        s = torch.tanh(v[-1])
    grad, norms = torch.randn(n, 50), []  # many at once: their mean square is that of a wider net
    for k in range(len(drive)):
        norms.append(grad.norm().item())
        grad = W.T @ (grad * (1 - torch.tanh(v[-1 - k]) ** 2)[:, None])
    want = vanishing_gradient.mean_field(g, drive)
    assert np.array(norms) / norms[0] == pytest.approx(want, rel=0.05)
    assert want[-1] < 0.5 * g**5  # far from the linear net's


def test_rate_and_figure_of_known_curves():
    curve = np.exp(-0.3 * np.arange(vanishing_gradient.T))
    assert vanishing_gradient.rate(curve) == pytest.approx(-0.3)
    rows = []
    for seed in range(3):
        for name in vanishing_gradient.COLOURS:
            rows += vanishing_gradient.as_rows(curve, name, vanishing_gradient.FIRST, seed)
            rows += vanishing_gradient.as_rows(curve, name, "mean field", seed) if name.startswith("plain") else []
    assert vanishing_gradient.rates(rows, "leaky", vanishing_gradient.FIRST) == pytest.approx([-0.3] * 3)
    assert len(vanishing_gradient.draw(rows, {"seeds": [0, 1, 2]}).axes) == 3


def test_the_linear_net_of_the_study_has_linear_units():
    net = vanishing_gradient.made("plain, g = 0.5", 0)
    assert net.hidden.recurrent.weight.std().item() == pytest.approx(0.5 / 8, rel=0.05)
    net.hidden.neuron = Rate(identity)
    W = net.hidden.recurrent.weight.detach()
    v = net.readout.input.weight.detach().T @ torch.tensor([1.0, -1.0])  # two classes: the error is along (1, -1)
    got = vanishing_gradient.gradient_norms(net, vanishing_gradient.shown(0, 3))
    for k in (1, 5, 20):
        want = (torch.linalg.matrix_power(W.T, k) @ v).norm() / v.norm()
        assert got[k].item() == pytest.approx(want.item(), rel=1e-9)


# ---------------------------------------------------------------------------------------------- credit_through_time
def time_rows(scores):
    """Last scores by recipe, the same at every place, with an earlier epoch that must not count."""
    rows = []
    for delay, units in credit_through_time.places(Mode()):
        for recipe, value in scores.items():
            for seed in range(3):
                at = {"recipe": recipe, "seed": seed, "layer": f"T {delay}, N {units}", "quantity": "test"}
                rows += [at | {"epoch": 3, "value": value}, at | {"epoch": 2, "value": 1.0}]
    return rows


def cells_of(*hashes):
    return [(70, 64, [Cell("r", 0, init_hash=h, batch_hash="b") for h in hashes])]


@pytest.mark.parametrize(
    "scores, hashes, failed",
    (
        ({}, "aa", 0),
        ({"rflo": 0.98}, "aa", 1),
        ({"bptt": 0.6, "reservoir": 0.7}, "aa", 4),
        ({}, "ab", 1),
    ),
)
def test_the_claims_of_credit_through_time_can_fail(scores, hashes, failed):
    all_scores = {"bptt": 1.0, "eprop": 0.995, "rflo": 0.992, "reservoir": 0.7, **scores}
    rows = time_rows(all_scores)
    claims = credit_through_time.claims_of(rows, cells_of(*hashes), quick=False)
    assert len(claims) == 8 and [c["holds"] for c in claims].count(False) == failed
    assert credit_through_time.final(rows)["rflo", 150, 64] == [all_scores["rflo"]] * 3
    assert len(credit_through_time.draw(rows, {"seeds": [0, 1, 2]}).axes) == 2


def test_the_places_are_a_cross_or_the_whole_grid():
    cross, grid = credit_through_time.places(Mode()), credit_through_time.places(Mode(full=True))
    assert (
        sorted(cross) == [(70, 32), (70, 64), (70, 128), (150, 64), (300, 64)]
        and len(grid) == 9
        and set(cross) < set(grid)
    )


# ---------------------------------------------------------------------------------------------- evidence_accumulation
def evidence_rows(eprop, reservoir):
    """Errors of two seeds at 10 epochs; the last five count."""
    return [
        {
            "recipe": name,
            "seed": seed,
            "epoch": epoch,
            "layer": "",
            "quantity": "test",
            "value": end if epoch > 5 else 0.5,
        }
        for name, ends in (
            ("eprop-random", eprop),
            ("reservoir", reservoir),
            (evidence_accumulation.RESERVOIRS[1], (0.4, 0.3)),
        )
        for seed, end in enumerate(ends)
        for epoch in range(11)
    ]


@pytest.mark.parametrize(
    "eprop, reservoir, failed",
    (
        ((0.05, 0.06), (0.3, 0.2), 0),
        ((0.05, 0.08), (0.3, 0.2), 1),
        ((0.01, 0.06), (0.3, 0.05), 2),
        ((0.3, 0.3), (0.3, 0.3), 2),
        ((0.05, math.nan), (0.3, 0.2), 2),
        ((math.nan, 0.05), (0.3, 0.2), 2),
    ),
)
def test_the_claims_of_evidence_are_about_the_worst_and_the_best_seed(eprop, reservoir, failed):
    rows = evidence_rows(eprop, reservoir)
    claims = evidence_accumulation.claims_of(rows, full=True)
    assert len(claims) == 3 and [c["holds"] for c in claims].count(False) == failed
    assert evidence_accumulation.ended(rows, "reservoir") == pytest.approx(list(reservoir))
    config = {"published": 1050, "full": True, "quick": False, "delay": 150}
    assert evidence_accumulation.draw(rows, {"seeds": [0, 1], "config": config}).axes


def test_the_published_evidence_task():
    task = evidence_accumulation.task_of(Mode(full=True))
    batch = next(task.batches(task.split(0), 0, 0))
    assert batch.x.shape == (7 * 150 + 1050 + 150, 64, 40) and batch.dt == 1.0
    recipes = {r.name: r for r in evidence_accumulation.line_up()}
    assert recipes["eprop-random"].lr == 5e-3 and len(recipes) == 3
    assert [recipes[n].lr for n in evidence_accumulation.RESERVOIRS] == [0.01, 0.1]
