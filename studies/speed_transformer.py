"""What does backprop through the Learner cost on the Transformer, beside plain PyTorch and torch's own encoder?

Updates on the same batches of associative recall (64 units, 2 blocks, 2 heads, 24 tokens, Adam), interleaved, one thread, CPU:

    plain      the same products with the same weights in a plain module: F.linear, F.scaled_dot_product_attention, F.layer_norm
    encoder    nn.TransformerEncoder of the same size, pre-norm, without dropout (it has biases and norm weights besides)
    learner    `Learner.step` with backprop

Checked first: plain and Learner give the same weights after an update. The claims hold ratios of medians over the repetitions.
Expected: at most 1.25 of plain, at most 1.3 of the encoder.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import median

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurosim import figures
from neurosim.compare import draw_net
from neurosim.credit import Backprop
from neurosim.networks import transformer
from neurosim.networks.transformer import BLOCKS, HEADS, D, places
from neurosim.plasticity import Batch, Gradient, Learner, Recipe
from neurosim.study import Mode, main
from neurosim.tasks import recall

METRIC, SEEDS, UPDATES, UPDATES_QUICK = "ratio of seconds", 15, 40, 4  # SEEDS: repetitions
BATCHES = (32, 128)
BOUNDS = {"plain": 1.25, "encoder": 1.3}
LR = 1e-3


class Plain(nn.Module):
    """The Transformer's weights and products, and nothing of this package's forward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.w = nn.ParameterDict({n.replace(".", "/"): p for n, p in net.named_parameters()})

    def forward(self, x: Tensor) -> Tensor:
        def by(name: str, x: Tensor) -> Tensor:
            return F.linear(x, self.w[name.replace(".", "/") + "/input/weight"])

        x = by("embed", x)
        x = x + places(len(x), x)
        for k in range(BLOCKS):
            at = f"blocks.{k}.attention."
            y = F.layer_norm(x, (D,))
            q, k_, v = (by(at + n, y).unflatten(-1, (HEADS, -1)).permute(1, 2, 0, 3) for n in "qkv")
            y = F.scaled_dot_product_attention(q, k_, v, is_causal=True)
            x = x + by(at + "o", y.permute(2, 0, 1, 3).flatten(-2))
            x = x + by(f"blocks.{k}.down", F.gelu(by(f"blocks.{k}.up", F.layer_norm(x, (D,)))))
        return by("readout", F.layer_norm(x, (D,)))


class Encoder(nn.Module):
    """torch's own, between the same embedding and readout."""

    def __init__(self, symbols: int, outputs: int) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.0, "gelu", norm_first=True)
        self.embed, self.readout = nn.Linear(symbols, D, bias=False), nn.Linear(D, outputs, bias=False)
        self.encoder = nn.TransformerEncoder(block, BLOCKS, nn.LayerNorm(D), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + places(len(x), x)
        mask = nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype)
        return self.readout(self.encoder(x, mask=mask, is_causal=True))


def trained(net: nn.Module, batches: Sequence[Batch]) -> float:
    """Seconds of the usual loop."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    start = time.perf_counter()
    for b in batches:
        optimizer.zero_grad()
        b.loss(net(b.x), b.target).mean().backward()
        optimizer.step()
    return time.perf_counter() - start


def learned(net: nn.Module, batches: Sequence[Batch]) -> float:
    learner = Learner(
        net, Recipe("timed", {"*": Gradient()}, Backprop(), lr=LR, optimizer=torch.optim.Adam), batches[0]
    )
    start = time.perf_counter()
    for b in batches:
        learner.step(b)
    return time.perf_counter() - start


def run(mode: Mode) -> tuple[list[dict], list[dict]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for size in BATCHES:
        updates = UPDATES_QUICK if mode.quick else UPDATES
        task = recall()
        x, target = task.make(size * updates, torch.Generator().manual_seed(0))
        batches = [Batch(a, y, task.loss, time=True, dt=1.0)
                   for a, y in zip(x.split(size, 1), target.split(size, 1), strict=True)]  # fmt: skip
        nets = [draw_net(transformer, task, 0) for _ in range(2)]
        trained(Plain(nets[0]), batches[:1])
        learned(nets[1], batches[:1])
        apart = max((a - b).abs().max().item() for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
        rows.append(row("plain", 0, size, "apart", apart))
        for repeat in range(-1, mode.seeds):  # the first warms up
            torch.manual_seed(repeat + 1)
            seconds = {
                "plain": trained(Plain(draw_net(transformer, task, repeat + 1)), batches),
                "encoder": trained(Encoder(task.shape[0], task.outputs), batches),
                "learner": learned(draw_net(transformer, task, repeat + 1), batches),
            }
            rows += [row(k, repeat, size, "seconds an update", s / updates) for k, s in seconds.items() if repeat >= 0]
    torch.set_num_threads(threads)
    return rows, claims_of(rows)


def row(recipe: str, seed: int, size: int, quantity: str, value: float) -> dict:
    return {
        "recipe": recipe,
        "seed": seed,
        "epoch": 0,
        "samples": size,
        "layer": "",
        "quantity": quantity,
        "value": value,
    }


def timed(rows: Sequence[Mapping], recipe: str, size: int) -> list[float]:
    return [r["value"] for r in rows
            if (r["recipe"], r["samples"], r["quantity"]) == (recipe, size, "seconds an update")]  # fmt: skip


def claims_of(rows: Sequence[Mapping]) -> list[dict]:
    claims = []
    for size in BATCHES:
        apart = next(r["value"] for r in rows if r["quantity"] == "apart" and r["samples"] == size)
        claims.append(
            figures.claim(f"batch {size}: weights after an update, plain and Learner apart", apart, "<=", 0, 1e-6)
        )
        for peer, bound in BOUNDS.items():
            ratio = median(timed(rows, "learner", size)) / median(timed(rows, peer, size))
            name = f"batch {size}: Learner / {peer}, ratio of medians"
            claims.append(figures.claim(name, round(ratio, 3), "<=", bound, 0, "project target"))
    return claims


def draw(rows: Sequence[Mapping], manifest: Mapping) -> Figure:
    from matplotlib import rc_context

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(7.5, 3.0), layout="constrained")
        ax = fig.subplots()
        cells = [(size, peer) for size in BATCHES for peer in BOUNDS]
        for k, (size, peer) in enumerate(cells):
            ours, theirs = timed(rows, "learner", size), timed(rows, peer, size)
            ax.plot(
                [a / b for a, b in zip(ours, theirs, strict=True)], [k] * len(ours), ".", color="#2171b5", alpha=0.4
            )
            ax.plot(median(ours) / median(theirs), k, "o", color="#000000")
            ax.plot([BOUNDS[peer]] * 2, [k - 0.35, k + 0.35], color="#c00000", linewidth=1.5)
        ax.axvline(1, color="#888888", linestyle="--", linewidth=1)
        ax.set_yticks(range(len(cells)), [f"batch {size}, beside {peer}" for size, peer in cells])
        ax.invert_yaxis()
        ax.set_xlabel("seconds an update, Learner / peer (black: ratio of medians; blue: repetitions; red: bound)")
        ax.set_title("Backprop through the Learner on the Transformer")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
