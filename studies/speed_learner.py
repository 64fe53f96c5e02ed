"""What does the Learner cost beside the same loop in plain PyTorch?

One epoch over the same real batches (digits on the mlp, Fashion-MNIST on the cnn where its files are, else random images),
from the same first weights, with the same optimiser, interleaved: plain PyTorch (modules, `loss.backward()`,
`optimizer.step()`), backprop through `Learner`, and backprop whose hidden layers are under a rule that asks for its credit
at the drives and makes its own outer product, as every local rule with a third factor does. Repeated; the figure shows each
repetition's ratio to plain PyTorch and the claims hold the ratio of the medians.

Expected: at most 1.2 for backprop; 1.3 (dense) and 1.5 (convolutional) with credit at the drives. One thread, CPU.
"""

import time
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from torch import nn

from neurosim import figures
from neurosim.compare import draw_net
from neurosim.credit import Backprop
from neurosim.networks import cnn, mlp
from neurosim.plasticity import Gradient, Layer, Learner, Recipe, claims, outer
from neurosim.study import main
from neurosim.tasks import Task, digits, fashion

SEEDS = 15  # repetitions of every cell
BATCHES = (32, 128)
SAMPLES = {"mlp": 1280, "cnn": 1280}
EPOCHS = {"mlp": 8, "cnn": 1}  # timed as one
BOUNDS = {("mlp", "backprop"): 1.2, ("cnn", "backprop"): 1.2, ("mlp", "drives"): 1.3, ("cnn", "drives"): 1.5}
METRIC = "ratio to plain PyTorch"


@dataclass(frozen=True)
class AtTheDrives:
    """dW = credit (x) pre, as a rule that the Learner's short cut for `Gradient` does not know."""

    reads: frozenset = claims("pre", "credit")

    def update(self, rec, third, state):
        return outer(rec, rec.pre, third["credit"])


def plain(net):
    """The same modules with the same weights, and nothing of this package."""
    parts = []
    for m in net:
        parts += [m.input, nn.ReLU()] if isinstance(m, Layer) else [m]
    return nn.Sequential(*parts[:-1])  # the readout is linear


def plain_epoch(net, optimizer, batches):
    net = plain(net)
    opt = optimizer(net.parameters(), lr=1e-3)
    start = time.perf_counter()
    for b in batches():
        opt.zero_grad()
        nn.functional.cross_entropy(net(b.x), b.target).backward()
        opt.step()
    return time.perf_counter() - start


def learner_epoch(net, optimizer, batches, rule):
    rules = {"readout.*": Gradient(), "*": rule}
    learner = Learner(net, Recipe("timed", rules, Backprop(), lr=1e-3, optimizer=optimizer), next(batches()))
    start = time.perf_counter()
    for b in batches():
        learner.step(b)
    return time.perf_counter() - start


def batches_of(task, split, epochs):
    for epoch in range(epochs):
        yield from task.batches(split, 0, epoch)


def pictures(data):
    try:
        return fashion(data)
    except FileNotFoundError:
        g = torch.Generator().manual_seed(0)
        return Task.from_arrays(
            torch.randn(3000, 1, 28, 28, generator=g), torch.arange(3000) % 10, name="random images"
        )


def run(mode):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for network, make, task in (("mlp", mlp, digits()), ("cnn", cnn, pictures(mode.data))):
        for size in BATCHES:
            sized = replace(task.limited(train=SAMPLES[network]), batch_size=size)
            split = sized.split(0)
            for repeat in range(-1, mode.seeds):  # the first warms up
                for optimizer in (torch.optim.SGD, torch.optim.Adam):
                    shown = partial(batches_of, sized, split, EPOCHS[network])
                    nets = [draw_net(make, sized, repeat + 1) for _ in range(3)]
                    seconds = {
                        "plain": plain_epoch(nets[0], optimizer, shown),
                        "backprop": learner_epoch(nets[1], optimizer, shown, Gradient()),
                        "drives": learner_epoch(nets[2], optimizer, shown, AtTheDrives()),
                    }
                    for kind, s in seconds.items() if repeat >= 0 else ():
                        at = {
                            "recipe": kind,
                            "seed": repeat,
                            "layer": network,
                            "quantity": "seconds an epoch",
                            "value": s,
                        }
                        rows.append(at | {"batch": size, "optimizer": optimizer.__name__})
    torch.set_num_threads(threads)
    return rows, [claim_of(rows, *cell) for cell in cells(rows)]


def cells(rows):
    return sorted({(r["layer"], r["batch"], r["optimizer"], r["recipe"]) for r in rows if r["recipe"] != "plain"})


def timed(rows, network, batch, optimizer, kind):
    return [r["value"] for r in rows
            if (r["layer"], r["batch"], r["optimizer"], r["recipe"]) == (network, batch, optimizer, kind)]  # fmt: skip


def claim_of(rows, network, batch, optimizer, kind):
    ratio = median(timed(rows, network, batch, optimizer, kind)) / median(
        timed(rows, network, batch, optimizer, "plain")
    )
    name = f"{network}, batch {batch}, {optimizer}, {kind}: ratio of medians"
    return figures.claim(name, round(ratio, 3), "<=", BOUNDS[network, kind], source="project target")


def draw(rows, manifest):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(figures.STYLE):
        fig = Figure(figsize=(8, 4.2), layout="constrained")
        ax = fig.subplots()
        look = {"backprop": ("#000000", "o"), "drives": ("#2171b5", "s")}
        for k, (network, batch, optimizer, kind) in enumerate(cells(rows)):
            pairs = zip(*(timed(rows, network, batch, optimizer, x) for x in (kind, "plain")), strict=True)
            ratios = [a / b for a, b in pairs]
            colour, marker = look[kind]
            ax.plot(ratios, [k] * len(ratios), ".", color=colour, alpha=0.35, markersize=4)
            both = [median(timed(rows, network, batch, optimizer, x)) for x in (kind, "plain")]
            ax.plot(both[0] / both[1], k, marker, color=colour)  # the ratio of medians, as claimed
            ax.plot([BOUNDS[network, kind]] * 2, [k - 0.35, k + 0.35], color="#c00000", linewidth=1.5)
        ax.axvline(1, color="#888888", linestyle="--", linewidth=1)
        ax.set_yticks(range(len(cells(rows))), [f"{n}, batch {b}, {o}, {k}" for n, b, o, k in cells(rows)])
        ax.invert_yaxis()
        ax.set_xlabel(
            "epoch, seconds / seconds in plain PyTorch (1)\nlarge: ratio of medians; small: repetitions; red: bound"
        )
        ax.set_title("The Learner beside plain PyTorch")
    return fig


if __name__ == "__main__":
    raise SystemExit(main(run, draw))
