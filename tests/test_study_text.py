"""Studies of text on the Transformer: what is rewarded, what is asked, and claims that can fail."""

import pytest
import torch
from matplotlib.figure import Figure

from neurosim.networks import transformer
from neurosim.plasticity import Learner
from neurosim.tasks import NOT_ASKED, grammar
from studies import masked_text, preference_tuning
from studies.preference_tuning import TASK, Job, allowed, heard, log_p, recipe, share_of_dogs


def said(*texts):
    return torch.tensor([[TASK.vocabulary.index(c) for c in text] for text in texts]).T


# ---------------------------------------------------------------------------------------------- preference
def test_dogs_are_counted_among_the_nouns():
    got = share_of_dogs(
        said("the dog sees the cats.", "the cow sees the cats.", "the dogs see the dogs.", "the the the the the . ")
    )
    assert got.tolist() == [0.5, 0.0, 1.0, 0.25]


def test_what_the_grammar_allows_is_counted_up_to_the_first_mistake():
    assert allowed(grammar.sample(TASK.m, 50, 49, torch.Generator().manual_seed(0))) == 1.0
    assert allowed(said("the dog see")) == 1.0
    assert allowed(said("the dog see the")) == 11 / 15  # "the dog see" may go on as "sees"
    assert allowed(said("xhe dog".replace("x", "."))) == 0.0


def test_the_update_is_the_gradient_of_rewarded_log_probability():
    torch.manual_seed(0)
    net = transformer(TASK.shape, TASK.outputs, d=16)  # float64 is the default of the tests
    texts = grammar.sample(TASK.m, 6, 20, torch.Generator().manual_seed(1))
    M = torch.randn(6)
    batch = heard(texts, M)
    got = Learner(net, recipe(Job("policy gradient", 0, 0.1), net), batch).updates(batch)
    u = net(batch.x).log_softmax(-1)
    told = sum(M[b] * u[t, b, texts[t + 1, b]] for b in range(6) for t in range(19)) / (6 * preference_tuning.LENGTH)
    for n, w in net.named_parameters():
        (g,) = torch.autograd.grad(told, w, retain_graph=True)
        torch.testing.assert_close(got[n.removesuffix(".weight")], g, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(log_p(net, texts), u.detach().gather(2, texts[1:, :, None])[..., 0])


def test_three_factors_move_the_readout_as_policy_gradient_does_and_the_blocks_not():
    torch.manual_seed(0)
    net = transformer(TASK.shape, TASK.outputs, d=16)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    batch = heard(
        grammar.sample(TASK.m, 6, 20, torch.Generator().manual_seed(1)), torch.tensor([1.0, -1, 2, -2, 3, -3])
    )
    wrong = heard(torch.cat([batch.x[:1].argmax(-1), batch.target]), batch.signals["reward"].abs())
    at = {"recipe": "three-factor", "seed": 0, "epoch": 0, "samples": 0}
    readout = Learner(net, recipe(Job("three-factor readout", 0, 1e-3), net), batch)
    assert set(readout.updates(batch)) == {"readout.input"}
    gradient = Learner(net, recipe(Job("policy gradient", 0, 1e-3), net), batch).updates(batch)["readout.input"]
    torch.testing.assert_close(readout.updates(batch)["readout.input"], gradient)
    assert torch.cosine_similarity(readout.updates(wrong)["readout.input"].flatten(), gradient.flatten(), 0) < 0.9
    learner = Learner(net, recipe(Job("three-factor", 0, 1e-3, 1e-3), net), batch)
    cosines = {r["layer"]: r["value"] for r in preference_tuning.held_against(learner, batch, at)}
    assert cosines["readout"] == pytest.approx(1.0, abs=1e-5) and cosines["blocks.0.up"] < 0.9
    assert "embed" not in cosines
    learner.step(batch)
    after = dict(net.named_parameters())
    assert torch.equal(after["embed.input.weight"], before["embed.input.weight"])
    for n in ("blocks.0.up.input.weight", "blocks.1.attention.q.input.weight"):
        assert not torch.equal(after[n], before[n])
        torch.testing.assert_close(after[n].norm(dim=1), before[n].norm(dim=1))  # rows keep their lengths


def test_a_text_is_worth_less_the_further_it_is_from_what_the_net_said():
    torch.manual_seed(0)
    net, old = (transformer(TASK.shape, TASK.outputs, d=16) for _ in range(2))
    texts = grammar.sample(TASK.m, 6, 49, torch.Generator().manual_seed(1))
    far = (log_p(net, texts) - log_p(old, texts)).mean(0)
    got = preference_tuning.worth(net, old, texts)
    torch.testing.assert_close(got, share_of_dogs(texts) - 0.1 * far)
    torch.testing.assert_close(preference_tuning.worth(net, net, texts), share_of_dogs(texts))


def test_dogs_are_pooled_over_texts_and_a_net_without_nouns_has_no_share():
    dogs, many = preference_tuning.nouns(said("the dog sees the dogs.", "the cow see . the and ."[:22]))
    assert dogs == 2 / 3 and many == 1.5
    none, zero = preference_tuning.nouns(said("the the the."))
    assert none != none and zero == 0


def test_tuning_moves_the_net_and_says_what_it_measured(monkeypatch):
    monkeypatch.setattr(preference_tuning, "TESTED", 4)
    torch.manual_seed(0)
    weights = {0: transformer(TASK.shape, TASK.outputs).state_dict()}
    told = {
        rule: preference_tuning.tune(weights, 2, Job(rule, 0, 1e-3, 1e-3))
        for rule in ("policy gradient", "three-factor")
    }
    for rows in told.values():
        by = {(r["quantity"], r["epoch"]): r["value"] for r in rows}
        assert by["KL", 0] == 0.0 and by["KL", 2] != 0.0 and 0 <= by["allowed", 0] <= 1
        assert [r["epoch"] for r in rows if r["quantity"] == "said"] == [0, 2]
    first = [next(r["layer"] for r in rows if r["quantity"] == "said") for rows in told.values()]
    assert first[0] == first[1]  # the same at first


def tuning_rows(gain=0.5, loss=0.0):
    rows = []
    for rule in preference_tuning.COLOURS:
        for seed in range(3):
            at = {"recipe": rule, "seed": seed, "layer": ""}
            more = {"policy gradient": gain, "shuffled": loss}.get(rule, 0.1)
            for epoch, dogs in ((0, 0.25), (100, 0.25 + more)):
                values = {"dogs": dogs, "KL": 0.1 * (epoch > 0), "allowed": 0.95, "nouns": 4.0}
                rows += [{**at, "epoch": epoch, "samples": 0, "quantity": q, "value": v} for q, v in values.items()]
                rows.append(
                    {**at, "epoch": epoch, "samples": 0, "quantity": "said", "value": 0.0, "layer": "the dog sees"}
                )
        rows.append(
            {
                "recipe": rule,
                "seed": 0,
                "epoch": 0,
                "samples": 0,
                "layer": "readout",
                "quantity": "cosine",
                "value": 1.0,
            }
        )
    return rows


def test_claims_on_preference_hold_and_fail():
    assert all(c["holds"] for c in preference_tuning.claims_of(tuning_rows(), False))
    assert [c["holds"] for c in preference_tuning.claims_of(tuning_rows(gain=0.1, loss=0.3), False)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert isinstance(preference_tuning.draw(tuning_rows(), {}), Figure)


# ---------------------------------------------------------------------------------------------- gaps
def test_the_number_asked_is_that_of_the_sentences_first_noun():
    x, y = masked_text.labelled("number", 20, 0)
    symbols = x.argmax(-1)
    vocabulary = masked_text.TASK.of.vocabulary
    for column, asked in zip(symbols.T.tolist(), y.T.tolist()):
        whole = "".join(vocabulary[k] for k in column)
        first = 0
        for t, number in enumerate(asked):
            sentence = whole[first:t]
            if number == NOT_ASKED:
                assert len(sentence.split()) < 2 or not sentence.endswith(" ") or sentence.strip() == "the", sentence
            else:
                noun = sentence.split()[1]
                assert number == int(noun.endswith("s")), sentence
            if t > 1 and whole[t - 1 : t + 1] == ". ":
                first = t + 1
    assert (y != NOT_ASKED).double().mean() > 0.5


def test_the_kind_asked_is_that_of_the_whole_word():
    text = "the cats near the hen sees the dogs and fear the d"
    names = list(masked_text.KINDS)
    got = [names[k] if k != NOT_ASKED else "-" for k in masked_text.kinds(text)]
    want = {"the": "article", "cats": "noun", "hen": "noun", "dogs": "noun", "near": "preposition", "sees": "verb",
            "fear": "verb", "and": "conjunction"}  # fmt: skip
    at = 0
    for word in text.split(" "):
        assert got[at : at + len(word)] == [want.get(word, "-")] * len(word), word
        at += len(word) + 1
    assert got[3] == "-"
    x, y = masked_text.labelled("kind", 20, 0)
    assert (y != NOT_ASKED).double().mean() > 0.7 and set(y.unique().tolist()) == {NOT_ASKED, 0, 1, 2, 3, 4}
    vocabulary = masked_text.TASK.of.vocabulary
    first = "".join(vocabulary[k] for k in x[:, 0].argmax(-1).tolist())
    assert y[: len(first) - 10, 0].tolist() == masked_text.kinds(first)[: len(first) - 10]


def test_features_are_what_the_readout_sees_and_are_not_changed_by_reading():
    net = transformer(masked_text.TASK.shape, 2, d=16, causal=False)
    x, _ = masked_text.labelled("number", 3, 0)
    f = masked_text.features(net, x.double())
    torch.testing.assert_close(net.readout(f), net(x.double()))


@pytest.mark.parametrize("slug", ["backprop", masked_text.SUPERVISED])
def test_a_readout_learns_on_the_pretext_nets_features_alone(slug, monkeypatch):
    """What is read changes with the weights that the pretext task left, and these stay; supervised alone they do not count."""
    torch.manual_seed(0)
    drawn = {
        "backprop": transformer(masked_text.TASK.shape, masked_text.TASK.outputs, causal=False).float().state_dict()
    }
    other = {
        "backprop": transformer(masked_text.TASK.shape, masked_text.TASK.outputs, causal=False).float().state_dict()
    }
    nets, learner = [], masked_text.Learner
    monkeypatch.setattr(masked_text, "Learner", lambda net, *a: (nets.append(net), learner(net, *a))[1])
    job = masked_text.Read("kind", slug, 0, 4, 1e-2)
    got = [masked_text.read({("backprop", 0): w["backprop"]}, 3, job)["value"] for w in (drawn, other)]
    assert (got[0] != got[1]) == (slug == "backprop")
    names = [n for n, _ in nets[0].named_parameters()]
    assert (names == ["readout.input.weight"]) == (slug == "backprop")


def test_rates_are_searched_on_other_sequences_and_the_best_is_kept(monkeypatch):
    score = {1e-3: 0.5, 3e-3: 0.8, 1e-2: 0.8, 3e-2: 0.7, 1e-4: 0.1, 3e-4: 0.2}
    seen = []

    def fake(work, jobs, workers):
        seen.extend(jobs)
        return [(j, {"value": score[j.rate], "recipe": j.slug}) for j in jobs]

    monkeypatch.setattr(masked_text, "in_processes", fake)
    best, rows = masked_text.best_rates(None, ["oja", masked_text.SUPERVISED], 1, False)
    assert best["kind", "oja"] == 3e-3 and best["number", masked_text.SUPERVISED] == 3e-3 and len(rows) == 16
    assert all(j.search and j.seed == 0 for j in seen)


def gap_rows(few=0.9):
    rows = []
    for seed in range(3):
        for slug, bits in (("backprop", 0.5), ("frozen", 1.5)):
            at = {"recipe": slug, "seed": seed, "epoch": 0}
            rows += [
                {**at, "layer": "", "samples": s, "quantity": "bits", "value": v} for s, v in ((0, 4.0), (100, bits))
            ]
        for question in masked_text.OUTPUTS:
            at = {"seed": seed, "epoch": 0, "layer": question}
            rows.append({**at, "recipe": "", "samples": 0, "quantity": "floor", "value": 0.5})
            for n in masked_text.LABELLED:
                values = {"backprop": few if question == "kind" else 0.9, "frozen": 0.6, masked_text.SUPERVISED: 0.7}
                rows += [{**at, "recipe": r, "samples": n, "quantity": "read", "value": v} for r, v in values.items()]
    return rows


def test_claims_on_gaps_hold_and_fail():
    same, other = {0: {"a"}, 1: {"b"}}, {0: {"a", "c"}, 1: {"b"}}
    assert all(c["holds"] for c in masked_text.claims_of(gap_rows(), same, False))
    assert [c["holds"] for c in masked_text.claims_of(gap_rows(0.5), other, False)] == [False, True, False, True]
    assert isinstance(masked_text.draw(gap_rows(), {}), Figure)
