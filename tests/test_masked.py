"""Masked text, images in patches, what a table says stays as drawn, and a CSV that stays small."""

import math
from functools import partial

import pytest
import torch

from neurosim import generate
from neurosim.cell import run_cell
from neurosim.cli import main
from neurosim.manifest import kept
from neurosim.networks import network_for, transformer
from neurosim.plasticity import synapses
from neurosim.recipes import recipes_for
from neurosim.report import aligned, comparison_tables
from neurosim.summary import as_drawn
from neurosim.tasks import NOT_ASKED, digits, masked_text, rows, shown_to, task_of
from neurosim.tasks.masked import neighbours, shown_whole
from neurosim.tasks.text import symbols_of

TASK = masked_text()
V = TASK.outputs


# ---------------------------------------------------------------------------------------------- masks
@pytest.mark.parametrize("corpus", ["grammar", "reference"])
def test_hidden_symbols_are_masked_asked_and_nothing_else_changes(corpus):
    task = masked_text(corpus)
    split = task.split(0)
    whole, batch = next(task.of.batches(split, 0, 3)), next(task.batches(split, 0, 3))
    hidden = batch.target != NOT_ASKED
    assert batch.x.shape[-1] == task.outputs + 1 == whole.x.shape[-1] + 1
    assert (hidden.sum(0) == 15).all()  # 15 % of 100
    symbols = symbols_of(whole)[:-1]
    assert torch.equal(batch.target[hidden], symbols[hidden])
    assert (batch.x.argmax(-1)[hidden] == task.outputs).all()
    assert torch.equal(batch.x.argmax(-1)[~hidden], symbols[~hidden])
    assert torch.equal(shown_whole(whole).argmax(-1), symbols) and shown_whole(whole).shape == batch.x.shape


def test_what_is_hidden_is_drawn_anew_for_training_and_fixed_for_tests():
    split = TASK.split(0)

    def first(epoch, seed=0):
        return next(TASK.batches(split, seed, epoch)).target != NOT_ASKED

    assert (
        torch.equal(first(0), first(0))
        and not torch.equal(first(0), first(1))
        and not torch.equal(first(0), first(0, 1))
    )
    a, b = (torch.cat([x.target for x in TASK.evaluation(split)], 1) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a[:, :64] != NOT_ASKED, first(0)[:, :64])
    share = torch.stack([first(e).double().mean(1) for e in range(10)]).mean(0)
    assert share.min() > 0.08 and share.max() < 0.22  # every place alike: .15 of 640 draws, 5 standard errors .07


def test_baselines_are_those_of_a_count_by_hand():
    task = TASK.limited(64, 16)
    split = task.split(1)
    told = task.baselines(split)
    counts, ones = {}, [1.0] * V
    for epoch in range(5):
        for batch in task.batches(split, 1, epoch):
            shown = batch.x.argmax(-1)
            for t, b in (batch.target != NOT_ASKED).nonzero().tolist():
                beside = tuple(int(shown[s, b]) if 0 <= s < len(shown) else None for s in (t - 1, t + 1))
                c = int(batch.target[t, b])
                counts.setdefault(beside, [0] * V)[c] += 1
                ones[c] += 1
    p = [n / sum(ones) for n in ones]
    total = {"frequency": 0.0, "both neighbours": 0.0}
    asked = 0
    for batch in task.evaluation(split):
        shown = batch.x.argmax(-1)
        for t, b in (batch.target != NOT_ASKED).nonzero().tolist():
            beside = tuple(int(shown[s, b]) if 0 <= s < len(shown) else None for s in (t - 1, t + 1))
            n, c = counts.get(beside, [0] * V), int(batch.target[t, b])
            total["frequency"] -= math.log2(p[c])
            total["both neighbours"] -= math.log2((n[c] + p[c]) / (sum(n) + 1))
            asked += 1
    assert told == pytest.approx({k: v / asked for k, v in total.items()}, abs=1e-9)
    assert told["both neighbours"] < told["frequency"]


def test_neighbours_beyond_the_ends_are_no_symbols():
    batch = next(TASK.batches(TASK.split(0), 0, 0))
    between, c = neighbours(batch)
    t, _ = (batch.target != NOT_ASKED).nonzero().T
    assert ((between // (V + 2) == V + 1) == (t == 0)).all() and ((between % (V + 2) == V + 1) == (t == 99)).all()
    assert (t == 0).any() and (t == 99).any() and torch.equal(c, batch.target[batch.target != NOT_ASKED])


def test_counts_of_words_need_no_table_of_all_pairs():
    """The reference by words has 1,001 symbols, whose pairs with what is hidden would fill 8 GB."""
    task = masked_text("reference", "word").limited(64, 16)
    told = task.baselines(task.split(0))
    assert 0 < told["frequency"] < told["both neighbours"] < math.log2(1001)  # few words, so neighbours say little
    assert task.metric == "bits per hidden word" and TASK.metric == "bits per hidden character"


def test_the_network_of_masked_text_looks_both_ways():
    net = network_for("masked-text", "transformer")(TASK.shape, TASK.outputs)
    x = next(TASK.batches(TASK.split(0), 0, 0)).x[:, :2].clone().requires_grad_()
    net(x)[3].sum().backward()
    assert x.grad[50].abs().sum() > 0
    causal = transformer(TASK.shape, TASK.outputs)
    x.grad = None
    causal(x)[3].sum().backward()
    assert x.grad[50].abs().sum() == 0


def test_backprop_fills_gaps_and_a_frozen_net_less():
    task, known = TASK.limited(640, 64), recipes_for("masked-text", "transformer")
    make = partial(transformer, d=32, causal=False)
    got = {n: run_cell(known[n], make, task, 0, 3).final("test") for n in ("backprop", "frozen")}
    assert got["backprop"] < got["frozen"] < math.log2(V)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: masked_text(share=0.0), "share: given 0.0"),
        (lambda: masked_text("proverb"), "corpus: given 'proverb'"),
        (lambda: shown_to("rnn", TASK), "network: given 'rnn'"),
        (lambda: task_of("masked-text", delay=3), "delay: given 3"),
        (lambda: rows(digits(), patch=3), "patch: given 3"),
        (lambda: shown_to("mlp", digits(), 2), "patch: given 2"),
        (lambda: shown_to("transformer", TASK, 2), "patch: given 2"),
    ],
)
def test_what_cannot_be_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# ---------------------------------------------------------------------------------------------- patches
def test_patches_are_squares_from_the_upper_left():
    task = digits()
    cut = shown_to("transformer", task, 4)
    assert cut.shape == (16,)
    whole, tokens = next(task.evaluation(task.split(0), 5)), next(cut.evaluation(cut.split(0), 5))
    images = whole.x
    for k, (i, j) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        torch.testing.assert_close(tokens.x[k], images[:, :, i : i + 4, j : j + 4].flatten(1))
    assert (tokens.target[:-1] == NOT_ASKED).all() and torch.equal(tokens.target[-1], whole.target)
    by_row = next(rows(task).evaluation(task.split(0), 5))
    torch.testing.assert_close(by_row.x, images[:, 0].permute(1, 0, 2))


# ---------------------------------------------------------------------------------------------- what a table says
def test_a_table_says_what_stays_as_drawn():
    known, names = recipes_for("recall", "transformer"), list(synapses(transformer((16,), 8)))
    told = {n: as_drawn(r, names) for n, r in known.items()}
    assert told["backprop"] == told["node-perturbation"] == told["layer-local"] == ""
    assert told["frozen"] == told["reward-frozen"] == "all but readout"
    assert told["oja"] == "embed" and told["frozen-embeddings"] == "embed" and told["frozen-qk"] == "*.q, *.k"
    assert told["hebbian-qk"] == "embed, *.v, *.o, *.up, *.down"


def test_a_synapse_that_stays_in_one_block_is_named():
    from neurosim.credit import Backprop
    from neurosim.plasticity import Gradient, Recipe

    names = list(synapses(transformer((16,), 8)))
    recipe = Recipe("x", {"blocks.0.up.*": None, "*": Gradient()}, Backprop())
    assert as_drawn(recipe, names) == "blocks.0.up"


def test_the_table_has_the_column_and_names_what_never_learns():
    line = {
        "reads": ["pre"],
        "test": [0.5],
        "samples_to_half": [None],
        "alignment": {},
        "seconds": [1.0],
        "status": "ok",
    }
    found = {"backprop": line | {"as_drawn": ""}, "frozen": line | {"as_drawn": "all but readout"}}
    tables = comparison_tables("t", found, "accuracy", 150, "norms and places")
    heads = [c.header for table in tables for c in table.columns]
    assert "stays as drawn" in heads and "norms and places learn under no rule" in tables[-1].caption
    plain = comparison_tables("t", {"backprop": found["backprop"]}, "accuracy", 150)
    assert "stays as drawn" not in [c.header for table in plain for c in table.columns]


def row(quantity, epoch, recipe="hebb", layer="", seed=0):
    return {
        "recipe": recipe,
        "seed": seed,
        "epoch": epoch,
        "samples": 0,
        "layer": layer,
        "quantity": quantity,
        "value": 1 / 3,
    }


def test_many_rows_are_thinned_but_the_last_scores_stay():
    few = [row("test", e) for e in range(21)] + [
        row(q, e, layer="x") for q in ("alignment", "null_low") for e in (10, 20)
    ]
    assert kept(few, 5) == [r | {"value": 0.333333} for r in few]
    many = kept(few * 1000, 5)
    assert {r["epoch"] for r in many if r["quantity"] == "test"} == {0, 10, 20}
    assert {r["epoch"] for r in many if r["quantity"] == "null_low"} == {20} and many[0]["value"] == 0.33333


def test_what_diverged_has_no_final_score_in_a_thinned_csv():
    rows = [row("test", e, "a") for e in range(7)] + [row("test", 7, "a") | {"value": math.nan}]
    rows += [row("alignment", e, "a", "x") for e in (1, 5)] * 10_000
    left = [r for r in kept(rows, 5) if r["quantity"] == "test"]
    assert [r["epoch"] for r in left] == [0, 1, 5, 7] and math.isnan(left[-1]["value"])


def test_ever_more_is_left_out_until_it_fits():
    layers = [f"layer {k}" for k in range(300)]
    rows = [row(q, e, layer=n, seed=s) for n in layers for s in range(20) for e in (1, 2, 5, 10, 50, 100, 150)
            for q in ("alignment", "null_low", "null_high")]  # fmt: skip
    rows += [row("test", e, seed=s) for e in range(151) for s in range(20)]
    left = kept(rows, 20)
    assert len(left) <= 20_000 and {r["epoch"] for r in left if r["quantity"] == "alignment"} >= {150}
    assert {r["epoch"] for r in left if r["quantity"] == "test"} == {0, 1, 2, 5, 10, 50, 100, 150}


# ---------------------------------------------------------------------------------------------- what a user is told
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["compare", "masked-text", "--network", "rnn", "--rules", "backprop"], "by the transformer alone"),
        (["compare", "masked-text", "--network", "mlp"], "by the transformer alone"),
        (
            ["compare", "text", "--network", "rnn", "--rules", "backprop"],
            "rule 'backprop' is for mlp, cnn, transformer, not for rnn",
        ),
        (["compare", "digits", "--rules", "frozen-qk"], "rule 'frozen-qk' is for transformer, not for mlp"),
        (["compare", "digits", "--rules", "bakprop"], "did you mean backprop"),
        (["list", "tasks", "--network", "mlp"], "recipes alone are a network's"),
    ],
)
def test_a_wrong_pair_of_names_is_told_as_that(args, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(args)
    told = " ".join(capsys.readouterr().err.split())
    assert end.value.code == 2 and said in told and "Traceback" not in told


def test_the_recipes_of_one_network_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["list", "recipes", "--network", "transformer"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert set(names) == set(recipes_for("recall", "transformer"))


def test_alignment_of_many_layers_is_told_by_mean_least_and_most():
    nan = float("nan")
    assert aligned({"a": [0.5, 0.7], "b": [1.0, 1.0]}) == "0.60 1.00"
    assert aligned({str(k): [k / 10] for k in range(10)} | {"x": [nan], "y": [None]}) == "0.45 (0.00 to 0.90)"
    assert aligned({str(k): [nan] for k in range(10)}) == "-" == aligned({})


def test_a_speaker_names_every_letter_it_does_not_know_and_a_net_that_fills_gaps_is_none(monkeypatch):
    who = generate.Speaker(transformer((3,), 3), ("a", "b", " "), False, 10.0)
    with pytest.raises(ValueError, match="prompt: given 'X' 'y', but the net's symbols are 'a' 'b' ' '"):
        who.numbers("aXby X")
    about = {"about": {"task": "masked-text", "symbols": ["a"]}}
    monkeypatch.setattr(generate.checkpoint, "read", lambda path: about)
    with pytest.raises(ValueError, match="x.pt fills gaps and reads both sides"):
        generate.speaker("x.pt")
