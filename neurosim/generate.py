"""Text from a trained network, a symbol at a time:   c ~ softmax(output[t] / temperature),   then c is shown as symbol t + 1.

    who = speaker("checkpoints/text-transformer-backprop-seed0.pt")
    said = who.says("the cat", 100, 0.8, torch.Generator().manual_seed(0))

Any network that was trained on `text` speaks, a Transformer or a recurrent one, whatever rule it learned by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim import checkpoint
from neurosim.plasticity import Batch, forward

WINDOW = 100  # symbols that are seen at once, as long as the sequences of every text but the proverb
Predict = Callable[[nn.Module, Batch], Tensor]


@torch.no_grad()
def generate(
    net: nn.Module,
    prompt: Tensor,
    length: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    size: int | None = None,
    dt: float | None = None,
    predict: Predict = forward,
) -> Tensor:
    """prompt [n] or [n, B] of symbol numbers -> the next `length` symbols, [length] or [length, B].

    temperature 0 says the likeliest symbol. The net sees the last `WINDOW` symbols, one-hot of `size` (default: as many as
    it has outputs). dt in ms per symbol, for nets with a time constant. ValueError for an empty prompt, length < 1,
    or a negative temperature.
    """
    size = size or net.readout.input.weight.shape[0]
    if prompt.numel() < 1:
        raise ValueError("prompt: given nothing, the first symbol must follow one")
    if prompt.dim() not in (1, 2) or prompt.dtype != torch.int64 or not 0 <= prompt.min() <= prompt.max() < size:
        shape = f"{list(prompt.shape)} {str(prompt.dtype).removeprefix('torch.')}"
        raise ValueError(f"prompt: given {shape}, expected numbers 0 to {size - 1} of symbols, int64, [n] or [n, B]")
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"length: given {length!r}, it must be a whole number of at least 1")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature: given {temperature}, it must be a number of at least 0")
    kind = next(net.parameters())
    said = (prompt if prompt.dim() == 2 else prompt[:, None]).to(kind.device)
    for _ in range(length):
        x = F.one_hot(said[-WINDOW:], size).to(kind)
        u = predict(net, Batch(x, None, None, time=True, dt=dt))[-1]
        if temperature == 0:
            c = u.argmax(-1)
        else:
            u = (u - u.amax(-1, keepdim=True)).double() / max(temperature, 1e-30)
            c = torch.multinomial(u.softmax(-1), 1, generator=generator)[:, 0]
        said = torch.cat([said, c[None]])
    new = said[len(prompt) :]
    return new if prompt.dim() == 2 else new[:, 0]


@dataclass(frozen=True)
class Speaker:
    """A trained net, its symbols, and how they are written."""

    net: nn.Module
    symbols: tuple[str, ...]
    by_word: bool
    dt: float | None
    predict: Predict = forward

    def numbers(self, text: str) -> Tensor:
        """The text's symbols as numbers [n]. ValueError for one that the net has never seen."""
        from neurosim.tasks.text import OTHER, words

        place = {s: k for k, s in enumerate(self.symbols)}
        parts = words(text) if self.by_word else list(text)
        if unknown := [p for p in dict.fromkeys(parts) if p not in place and OTHER not in place]:
            given, known = (" ".join(map(repr, each)) for each in (unknown, self.symbols))
            raise ValueError(f"prompt: given {given}, but the net's symbols are {known}")
        return torch.tensor([place.get(p, place.get(OTHER, 0)) for p in parts], dtype=torch.int64)

    def text(self, numbers: Tensor) -> str:
        return (" " if self.by_word else "").join(self.symbols[k] for k in numbers.tolist())

    def says(self, prompt: str, length: int, temperature: float, generator: torch.Generator) -> str:
        """The prompt's continuation."""
        how = {"temperature": temperature, "generator": generator, "dt": self.dt, "predict": self.predict}
        return self.text(generate(self.net, self.numbers(prompt), length, size=len(self.symbols), **how))


def speaker(path: Path | str) -> Speaker:
    """The net of a checkpoint that `neurosim compare text --checkpoints DIR` wrote.

    FileNotFoundError if there is none, ValueError if it is damaged, or of no text.
    """
    from neurosim.networks import network_for
    from neurosim.recipes import every_recipe_for

    content = checkpoint.read(Path(path))
    about = content.get("about", {})
    if about.get("task") == "masked-text":
        raise ValueError(f"{path} fills gaps and reads both sides: text is said by a net of `neurosim compare text`")
    if "symbols" not in about:
        raise ValueError(f"{path} was not trained on text: make one by `neurosim compare text --checkpoints DIR`")
    task, network, name = about["task"], about["network"], content["recipe"]["recipe"]
    known = every_recipe_for(task, network, None, [name])
    if name not in known:
        raise ValueError(
            f"{path} was trained by {name}, which is no recipe here: put its tensors into a net of your own"
        )
    recipe = known[name]
    net = recipe.prepare(network_for(task, network)(tuple(about["shape"]), about["outputs"]))
    tensors = {n.removeprefix("net/"): v for n, v in content["tensors"].items() if n.startswith("net/")}
    try:
        net.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds another net than the {network} of {task} here: train it again") from error
    return Speaker(net.eval(), tuple(about["symbols"]), about["by_word"], about["dt"], recipe.predict)


__all__ = ["Speaker", "generate", "speaker"]
