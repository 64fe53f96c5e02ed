"""Text from a trained net: what is drawn follows the net's own probabilities, and a checkpoint says what it was."""

import math

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from neurosim.cli import cli
from neurosim.compare import run_cells
from neurosim.generate import WINDOW, generate, speaker
from neurosim.networks import transformer
from neurosim.plasticity import Layer
from neurosim.recipes import recipes_for
from neurosim.tasks import recall, text

CHAIN = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5], [0.2, 0.2, 0.6]], dtype=torch.float64)


class Chain(nn.Module):
    """Says symbol j after i with probability CHAIN[i, j]."""

    def __init__(self):
        super().__init__()
        m = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            m.weight.copy_(CHAIN.T.log().clamp(min=-1e3))
        self.readout, self.longest = Layer(m), 0

    def forward(self, x):
        self.longest = max(self.longest, len(x))
        return self.readout(x)


def test_what_is_said_follows_the_nets_probabilities():
    """2,000 lanes of a Markov chain: the share of each step, within four standard errors of the chain's own, at two

    temperatures; at 0 the likeliest, always.
    """
    net, start = Chain(), torch.zeros(1, 2000, dtype=torch.int64)
    g = torch.Generator().manual_seed(1)
    for temperature in (1.0, 0.5):
        said = torch.cat([start, generate(net, start, 20, temperature=temperature, generator=g)])
        p = CHAIN ** (1 / temperature)
        p = p / p.sum(1, keepdim=True)
        for i in range(3):
            after = said[1:][said[:-1] == i]
            for j in range(3):
                share, sd = (after == j).double().mean().item(), math.sqrt(p[i, j] * (1 - p[i, j]) / len(after))
                assert abs(share - p[i, j].item()) <= 4 * sd + 1e-12
    assert generate(net, torch.tensor([0]), 5, temperature=0).tolist() == [1, 0, 1, 0, 1]


def test_a_net_sees_the_last_symbols_alone():
    net = Chain()
    said = generate(net, torch.zeros(150, dtype=torch.int64), 3, generator=torch.Generator().manual_seed(0))
    assert said.shape == (3,) and net.longest == WINDOW


def test_same_seed_same_text():
    torch.manual_seed(0)
    net, prompt = transformer((5,), 5, d=8), torch.tensor([1, 2])
    one, two, other = (generate(net, prompt, 30, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize(
    "what, message",
    (
        ({"prompt": torch.tensor([], dtype=torch.int64)}, "prompt: given nothing"),
        ({"length": 0}, "length: given 0"),
        ({"temperature": -1.0}, "temperature: given -1.0"),
        ({"temperature": math.nan}, "temperature: given nan"),
    ),
)
def test_bad_input(what, message):
    given = {"prompt": torch.tensor([0]), "length": 2, **what}
    with pytest.raises(ValueError, match=message):
        generate(Chain(), given.pop("prompt"), given.pop("length"), **given)


def neurosim(*argv):
    return CliRunner().invoke(cli, argv, catch_exceptions=True)


@pytest.mark.parametrize("network", ["transformer", "rnn"])
def test_a_trained_net_says_the_proverb(network, tmp_path, monkeypatch, single_precision):
    """compare --checkpoints, then generate: the lecture's toy, by a Transformer and by a recurrent net."""
    monkeypatch.chdir(tmp_path)
    name = {"transformer": "backprop", "rnn": "bptt"}[network]
    made = neurosim("compare", "text", "--corpus", "proverb", "--network", network, "--rules", name, "--seeds", "1", "--epochs",
                    "10", "--workers", "1", "--checkpoints", "nets")  # fmt: skip
    assert made.exit_code == 0, made.output
    path = tmp_path / "nets" / f"text-proverb-{network}-{name}-seed0.pt"
    who = speaker(path)
    assert who.by_word and who.symbols[4] == "keeps" and not who.net.training
    g = torch.Generator().manual_seed(0)
    assert who.says("an apple a day keeps", 3, 0.0, g) == "the doctor away"
    asked = ("generate", "--checkpoint", str(path), "--prompt")
    said = neurosim(*asked, "An apple a day keeps", "--length", "3", "--temperature", "0")
    assert said.exit_code == 0 and said.output == "An apple a day keeps the doctor away\n"
    wrong = neurosim(*asked, "a pear")
    assert isinstance(wrong.exception, ValueError) and "given 'pear'" in str(wrong.exception)


def test_other_checkpoints_are_told(tmp_path):
    (job,) = run_cells(
        [recipes_for("recall", "transformer")["frozen"]],
        transformer, recall().limited(32, 8), epochs=1, seeds=[0], checkpoints=lambda job: tmp_path / "x.pt",
    )  # fmt: skip
    assert job.status == "ok"
    with pytest.raises(ValueError, match="was not trained on text"):
        speaker(tmp_path / "x.pt")
    with pytest.raises(FileNotFoundError):
        speaker(tmp_path / "none.pt")


def test_texts_say_how_they_are_written():
    assert text("grammar").vocabulary == text("grammar").m.symbols and not text("grammar").by_word
    assert text("grammar", "word").by_word and text("proverb").by_word and not text("reference").by_word
