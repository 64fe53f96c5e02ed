"""The study speed_network: what it counts, its claims and its figure, without a C++ compiler."""

import json
import sys

import numpy as np
import pytest

import neurosim as ns
from neurosim.study import load_study
from tests.test_idx import write_set

study = load_study("speed_network")
globals_of = study.run.__globals__


def of(name):
    return globals_of[name]


# ---------------------------------------------------------------------------------------------- what is measured
def test_the_images_are_those_of_the_files_and_are_never_made_up(tmp_path):
    wrote = write_set(tmp_path)["t10k-images-idx3-ubyte"]
    got = of("images")(5, tmp_path)
    np.testing.assert_array_equal(got, wrote[:5].reshape(5, 784))
    with pytest.raises(FileNotFoundError, match="not a folder"):
        of("images")(5, tmp_path / "missing")


def test_the_inputs_of_an_image_are_proportional_to_it_and_30_hz_on_average():
    image = np.random.default_rng(0).integers(0, 256, 784).astype(np.uint8)
    rates = of("hertz")(image)
    assert rates.mean() == pytest.approx(30) and np.corrcoef(rates, image)[0, 1] == pytest.approx(1)


def test_events_are_those_of_an_enumeration_of_spikes_and_synapses():
    net, exc, inh, ee, _ = of("network")(1000, np.float64)
    rec = net.run(300, record=[ns.Spikes(exc), ns.Spikes(inh)])
    count = {p: rec.spikes(p).counts(p.n) for p in (exc, inh)}
    want = sum((count[q.pre] * np.bincount(q.pre_index, minlength=q.pre.n)).sum() for q in net.projections)
    want += (count[exc] * np.bincount(ee.post_index, minlength=exc.n)).sum()
    assert count[exc].sum() > 500
    assert of("events")(rec.totals) == pytest.approx(want, rel=0.03)


def test_arrays_are_counted_once_whatever_leads_to_them():
    a, b = np.zeros(1000), np.zeros(10, np.float32)
    loop = {"a": a[5:], "all of it": a.reshape(10, 100), "wide": np.broadcast_to(b, (500, 10))}
    loop["again"] = [loop, (b, a)]
    assert of("array_bytes")(loop) == 8000 + 40


def test_arrays_of_a_network_are_found():
    """At least its weights (4 bytes) and where they lead (2 bytes)."""
    few, many = (of("array_bytes")(of("plastic")(k)) for k in (10, 30))
    assert (many - few) / (20 * 4000) >= 6


def test_a_users_program_runs_the_same_network_and_tells_its_stages(capsys):
    space = {}
    exec(of("user_program")(200, 0.02), space)
    marks, spent = json.loads(capsys.readouterr().out)
    assert len(marks) == 1 + len(of("our_stages")) and sorted(marks) == marks and spent > 0
    net, *_ = of("network")(200, np.float32)
    net.run(20 + of("DT"))
    for mine, its in zip(net.projections, space["net"].projections, strict=True):
        np.testing.assert_array_equal(mine.w, its.w)
    assert net.projections[0].w.std() > 0  # it learned


def test_the_dense_network_spikes_learns_and_is_normalised():
    rows = of("dense")(np.random.default_rng(0).integers(0, 256, (4, 784)) ** 2 // 256, 1)
    got = {r["quantity"]: r["value"] for r in rows}
    assert got["spikes a presentation"] >= 1 and got["silent presentations"] < 1
    assert 1000 / got[of("PRESENTED")] == pytest.approx(sum(got[f"ms, {s}"] for s in of("STAGES")), rel=0.2)
    net, inputs, cells, q = of("dense_network")()
    first = q.w.copy()
    inputs.drive = 30.0
    net.run(250)
    assert np.abs(q.w - first).max() > 1e-3
    q.scale_rows(of("ROW_SUM"))
    np.testing.assert_allclose(q.to_dense().sum(1), of("ROW_SUM"), rtol=1e-4)


# ---------------------------------------------------------------------------------------------- claims and figure
def made_up(changes=(), ours_by_size=(20.0, 15.0, 18.0, 22.0)):
    """Rows that hold all claims, each just so; `changes` replaces (part, recipe, quantity) by a value."""
    FLOAT32, FLOAT64, BRIAN, BRIAN32 = of("FLOAT32"), of("FLOAT64"), of("BRIAN"), of("BRIAN32")
    METRIC, CLOCK = of("METRIC"), of("CLOCK")
    cells = {("cuba", name, METRIC): s for name, s in ((BRIAN, 7.0), (BRIAN32, 6.0), (FLOAT32, 1.0), (FLOAT64, 1.4))}
    for name in (BRIAN, BRIAN32, FLOAT32, FLOAT64):
        cells |= {("cuba", name, "rate (Hz)"): 5.0, ("cuba", name, "change of the mean weight"): -0.004}
    for name, s in ((of("PEER_BUILD"), 60.0), (of("PEER_AGAIN"), 20.0), (of("FIRST"), 6.0), (of("LATER"), 2.0)):
        cells["build", name, CLOCK] = s
    cells |= {("memory", FLOAT32, of("HELD")): 20.0, ("memory", FLOAT32, of("RESIDENT")): 20.0}
    cells |= {("dense", FLOAT32, of("PRESENTED")): 300.0, ("dense", FLOAT32, "spikes a presentation"): 3.0}
    cells |= {("dense", FLOAT32, f"ms, {s}"): 1.0 for s in of("STAGES")}
    row = of("row")
    rows = [row(*key, dict(changes).get(key, value)) for key, value in cells.items()]
    sizes = [n for n, _ in of("GROWTH")]
    for name, costs in ((FLOAT32, ours_by_size), (BRIAN, (80.0, 75.0, 90.0, 115.0))):
        rows += [row("growth", name, of("PER_EVENT"), c, 0, n) for n, c in zip(sizes, costs, strict=True)]
    return rows


def failed(rows):
    return [c["name"] for c in of("claims_of")(rows) if not c["holds"]]


def test_all_claims_hold_at_their_targets():
    assert not failed(made_up()) and len(of("claims_of")(made_up())) == 15


@pytest.mark.parametrize(
    ("part", "recipe", "quantity", "value", "name"),
    [
        ("cuba", "FLOAT32", "METRIC", 1.01, "run: Brian2, float64 / ours, float32"),
        ("cuba", "FLOAT64", "METRIC", 1.41, "run: Brian2, float64 / ours, float64"),
        ("build", "FIRST", "CLOCK", 6.1, "build + run: Brian2 / ours, first use"),
        ("build", "LATER", "CLOCK", 2.1, "build + run: Brian2 / ours, later use"),
        ("cuba", "FLOAT32", "rate (Hz)", 5.3, "ours, float32: rate (Hz), off Brian2's by"),
        (
            "cuba",
            "FLOAT64",
            "change of the mean weight",
            0.0,
            "ours, float64: change of the mean weight, off Brian2's by",
        ),
        ("memory", "FLOAT32", "HELD", 20.1, "bytes per plastic synapse: arrays held"),
        ("memory", "FLOAT32", "RESIDENT", 22.6, "bytes per plastic synapse: resident memory"),
        ("dense", "FLOAT32", "PRESENTED", 299.0, "dense: presentations per CPU second"),
        ("dense", "FLOAT32", "spikes a presentation", 0.0, "dense: spikes a presentation, median"),
    ],
)
def test_a_claim_fails_when_its_number_is_beyond_the_target(part, recipe, quantity, value, name):
    key = part, of(recipe), globals_of.get(quantity, quantity)
    assert failed(made_up({key: value})) == [name]


def test_growth_is_held_to_the_dearest_size_and_to_brians_from_both_ends():
    assert failed(made_up(ours_by_size=(46.0, 15.0, 18.0, 22.0))) == ["cost of an event, dearest / cheapest size"]
    dear_when_small = made_up(ours_by_size=(30.0, 15.0, 18.0, 29.0))  # no growth from 1,000 on, but twice from 4,000
    assert failed(dear_when_small) == ["cost of an event, largest / cheapest size"]
    assert "cost of an event, largest / smallest size" in failed(made_up(ours_by_size=(15.0, 15.0, 18.0, 24.0)))


def test_the_figure_needs_rows_alone_and_shows_all_parts():
    fig = study.draw(made_up(), {})
    titles = [ax.get_title(loc=side) for ax in fig.axes for side in ("left", "center")]
    assert [t[0] for t in titles if t] == list("ABCD")
    quick = [
        r for r in made_up() if r["recipe"] != of("BRIAN32") and (r["layer"], r["recipe"]) != ("growth", of("BRIAN"))
    ]
    assert len(study.draw(quick, {"config": {"quick": True}}).axes) == 4
    assert len(of("claims_of")(quick)) == 13


def test_a_peer_that_cannot_build_is_named_with_what_it_said(monkeypatch, tmp_path):
    monkeypatch.setitem(globals_of, "PEER_PYTHON", sys.executable)
    monkeypatch.setitem(globals_of, "peer_program", "raise SystemExit('first line\\nno compiler')")
    with pytest.raises(ValueError, match=r"--peer-python: given .*, it must build .*, but: no compiler"):
        of("Peer")(100, "float64", 0.1, tmp_path / "peer")
