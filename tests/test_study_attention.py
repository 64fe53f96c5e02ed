"""The studies of attention: what they measure, and claims that can fail."""

from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from neurosim.cell import Cell
from neurosim.networks import transformer
from neurosim.networks.attention import DeltaWeights, FastWeights
from neurosim.tasks import NOT_ASKED, recall
from studies import (
    attention_maps,
    credit_in_attention,
    fast_weights,
    hopfield_attention,
    speed_transformer,
    three_architectures,
)


# ---------------------------------------------------------------------------------------------- fast_weights, Hopfield
@pytest.mark.parametrize(
    "form", [FastWeights(fast_weights.unit), DeltaWeights(fast_weights.unit)], ids=["hebb", "delta"]
)
def test_pairs_are_written_in_order_and_read_without_writing(form):
    """By a loop over pairs, one lane at a time."""
    g = torch.Generator().manual_seed(0)
    keys, values = fast_weights.signs(5, 8, g), torch.randn(5, fast_weights.LANES, 8, generator=g)
    got = fast_weights.by_weights(form)(keys, values, keys.flip(0))
    for lane in (0, 7):
        W = torch.zeros(8, 8)
        for k, v in zip(keys[:, lane] / 8**0.5, values[:, lane]):
            W = W + torch.outer(v - (W @ k if isinstance(form, DeltaWeights) else 0), k)
        want = torch.stack([W @ k / 8**0.5 for k in keys.flip(0)[:, lane]])
        torch.testing.assert_close(got[:, lane], want)


def test_capacity_is_the_last_load_before_the_first_miss():
    rows = [
        {"recipe": "x", "layer": "n 8", "quantity": "nearest", "epoch": N, "value": v}
        for N, v in ((2, 1.0), (3, 0.95), (4, 0.8), (6, 0.99))
    ]
    assert fast_weights.capacity(rows, "x", 8) == 3.0
    assert fast_weights.held_in_theory(32) == pytest.approx(62.0, abs=1.0)  # 62 log 62 = 256


def test_the_classical_network_keeps_few_patterns():
    """Two orthogonal patterns are fixed points; of many random ones most are not."""
    a = torch.tensor([[1.0, 1, 1, 1, -1, -1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]])
    torch.testing.assert_close(hopfield_attention.settled(a, a), a, rtol=0, atol=0)
    flipped = a.clone()
    flipped[:, 0] *= -1
    torch.testing.assert_close(hopfield_attention.settled(a, flipped), a, rtol=0, atol=0)
    many = torch.randint(2, (64, 16), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    assert (hopfield_attention.settled(many, many) == many).all(1).double().mean() < 0.2


# ---------------------------------------------------------------------------------------------- maps
def test_shares_are_those_of_the_places_sought():
    """All attention of asked keys on the value after the same key, of values on the key before: both 1; else as counted."""
    task = recall(pairs=6, keys=3, values=4)
    batch = next(task.batches(task.split(0), 0, 0))
    symbols, T = batch.x.argmax(-1), 12
    a = torch.zeros(32, T, T)
    for b in range(32):
        for t in range(T):
            same = [s + 1 for s in range(0, t, 2) if symbols[s, b] == symbols[t, b]]
            if t % 2:
                a[b, t, t - 1] = 1.0
            elif batch.target[t, b] != NOT_ASKED:
                a[b, t, same] = 1 / len(same)
    assert attention_maps.shares(a, batch) == pytest.approx({attention_maps.SOUGHT: 1.0, attention_maps.BEFORE: 1.0})
    off = attention_maps.shares(a.roll(1, 2), batch)
    assert max(off.values()) < 0.5


def test_maps_are_what_the_net_attends_by():
    """A net whose attention is replaced by its own maps says the same."""
    torch.manual_seed(0)
    task = recall()
    net = transformer(task.shape, task.outputs, heads=1).double()
    batch = next(task.batches(task.split(0), 0, 0))
    batch = replace(batch, x=batch.x.double())
    want, found = net(batch.x), attention_maps.maps(net, batch)

    class Given:
        def __init__(self, a):
            self.a = a

        def __call__(self, q, k, v, causal):
            return torch.einsum("bts,sbhn->tbhn", self.a, v)

    for block, a in zip(net.blocks, found):
        block.attention.attend = Given(a)
    torch.testing.assert_close(net(batch.x), want, rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------------------- comparisons
def cells(hashes=("a", "a")):
    return [Cell(n, 0, init_hash=h, batch_hash="b") for n, h in zip("xy", hashes)]


def in_attention(scores):
    slugs = (*credit_in_attention.SLUGS, credit_in_attention.THROUGH, credit_in_attention.THROUGH_POOLED)
    rows = [
        {"recipe": n, "layer": f"pairs {p}, blocks {b}", "seed": s, "epoch": e, "samples": e, "quantity": "test",
         "value": scores.get(n, 0.3) if e else 0.1}
        for n in slugs for p, b in ((6, 2), (12, 2), (24, 2), (12, 1), (12, 4)) for s in range(3) for e in (0, 20)
    ]  # fmt: skip
    blind = credit_in_attention.KEY_BLIND
    rows += [{**r, "recipe": blind, "quantity": "baseline"} for r in rows if r["recipe"] == "frozen" and not r["epoch"]]
    rows += [
        {"recipe": n, "layer": f"blocks.{b}.attention.{k}", "seed": 0, "epoch": 1, "samples": 640, "quantity": "alignment",
         "value": 0.2}
        for n in credit_in_attention.ALIGNED for b in (0, 1) for k in "qkvo"
    ]  # fmt: skip
    return rows


@pytest.mark.parametrize(
    "scores, hashes, failed",
    (
        ({"backprop": 1.0, "sign-symmetric": 1.0}, ("a", "a"), 0),
        ({"backprop": 1.0, "sign-symmetric": 0.4}, ("a", "a"), 1),
        ({"backprop": 0.2, "sign-symmetric": 0.4}, ("a", "c"), 4),
    ),
)
def test_claims_of_credit_in_attention_can_fail(scores, hashes, failed):
    rows = in_attention(scores)
    claims = credit_in_attention.claims_of(rows, [cells(hashes)], quick=False)
    assert [c["holds"] for c in claims].count(False) == failed
    assert isinstance(credit_in_attention.draw(rows, {}), Figure)


def test_the_way_through_attention_stands_beside_the_same_without():
    by_name = {r.name: r for r in credit_in_attention.line_up()}
    through, plain = by_name[credit_in_attention.THROUGH], by_name[credit_in_attention.BLOCK]
    assert through.credit == replace(plain.credit, through_attention=True) and through.lr == plain.lr


def test_the_same_rules_run_in_four_nets():
    for net in three_architectures.NETS:
        for name in three_architectures.names_for(net):
            r = three_architectures.recipe(name, net, 1e-3, 5e-3)
            assert r.name == name
            assert (three_architectures.POOLED == name) <= (net in ("rnn", "transformer"))
            assert (three_architectures.LOCAL == name) <= (net != "rnn")
    rows = [
        {"recipe": n, "layer": net, "seed": s, "epoch": 1, "quantity": "test", "value": 0.9 + 0.01 * (n == "backprop")}
        for net in three_architectures.NETS for n in three_architectures.names_for(net) for s in range(3)
    ]  # fmt: skip
    assert all(c["holds"] for c in three_architectures.claims_of(rows, [cells()], quick=False))
    worse = [{**r, "value": 0.5} if (r["recipe"], r["layer"]) == ("backprop", "rnn") else r for r in rows]
    claims = three_architectures.claims_of(worse, [cells(("a", "c"))], quick=False)
    assert [c["holds"] for c in claims].count(False) == 2
    assert isinstance(three_architectures.draw(rows, {}), Figure)


def test_the_best_rate_of_each_rule_is_that_of_the_highest_score(monkeypatch):
    """The smaller of equal ones, and none that diverged."""
    scores = {1e-3: 0.5, 3e-3: float("nan"), 1e-2: 0.7, 3e-4: 0.7}
    monkeypatch.setattr(
        three_architectures, "in_processes", lambda work, jobs, workers: [(t, scores[t.lr]) for t in jobs]
    )
    trials = [three_architectures.Trial("mlp", "backprop", lr) for lr in scores]
    best, rows = three_architectures.best_rates(trials, False)
    assert best == {("mlp", "backprop"): 3e-4} and len(rows) == 4


def test_the_plain_transformer_is_the_net():
    torch.manual_seed(0)
    task = recall()
    net = transformer(task.shape, task.outputs).double()
    x = next(task.batches(task.split(0), 0, 0)).x.double()
    torch.testing.assert_close(speed_transformer.Plain(net)(x), net(x), rtol=0, atol=1e-12)
    assert speed_transformer.Encoder(16, 8).double()(x).shape == net(x).shape
