"""The tuned line-up: which rule, which credit, which rates. Names are those of the command line and of the JSON files.

Rates were chosen on the validation part of the digits (mlp) and of Fashion-MNIST (cnn), with the same number of trials
for every recipe; nothing was chosen on a test part. Error-driven recipes use Adam on all layers. Hidden layers under
Hebbian rules use plain SGD (another optimiser would move their fixed points); they and the frozen control share one
readout: the delta rule with Adam at one rate, to convergence, on activity normalised per sample.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from neurosim.credit import (
    Backprop,
    DeltaRule,
    DirectFeedback,
    Equilibrium,
    FeedbackAlignment,
    KolenPollack,
    NodePerturbation,
    Predictive,
    SignSymmetric,
)
from neurosim.plasticity import Gradient, Layer, Rate, Recipe, Rule
from neurosim.rules import BCM, Hebb, Oja, Sanger, SoftHebb


# ---------------------------------------------------------------------------------------------- what `prepare` changes
class UnitVariance(nn.Module):
    """y <- (y - mean(y)) / sd(y) over the units of one sample. No parameters, no memory, no other sample."""

    def forward(self, y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[1:])


def normalised(net: nn.Module) -> nn.Module:
    """activity of each hidden layer brought to mean 0 and variance 1 over its units, sample by sample"""
    for chain in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        parts = []
        for n, m in chain.named_children():
            parts += [(n, m)]
            if isinstance(m, Layer) and n != "readout":
                parts += [(f"{n}_norm", UnitVariance())]
        chain._modules.clear()
        for n, m in parts:
            chain.add_module(n, m)
    return net


def hard_sigmoid(v: Tensor) -> Tensor:
    return v.clamp(0, 1)


def bounded(net: nn.Module, gain: float) -> nn.Module:
    """activation clamp(u, 0, 1) in every layer, first weights scaled by a gain"""
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, Layer):
                m.neuron = Rate(hard_sigmoid)
                m.input.weight.mul_(gain)
    return net


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """|output - one-hot(target)|^2 / 2, [B]."""
    return ((output - F.one_hot(target, output.shape[-1])) ** 2).flatten(1).sum(1) / 2


# ---------------------------------------------------------------------------------------------- the line-up
GRADIENT = {"*": Gradient()}
READOUT_RATE = 5e-3
EQUILIBRIUM = Equilibrium(beta=0.3, free=10, nudged=4, rate=0.6)


def hebbian(name: str, rule: Rule | None, conv: float = 0.0, hidden: float = 0.0) -> Recipe:
    """Hidden layers learn by a local rule, or not at all; the readout by the delta rule."""
    return Recipe(
        name,
        {"readout.*": Gradient(), "*": rule},
        DeltaRule(),
        lr={"readout.*": READOUT_RATE, "conv*": conv, "*": hidden},
        optimizer={"readout.*": Adam, "*": SGD},
        prepare=normalised,
    )


_RECIPES = [
    Recipe("backprop", GRADIENT, Backprop(), lr=1e-3, optimizer=Adam),
    Recipe("feedback-alignment", GRADIENT, FeedbackAlignment(), lr=3e-3, optimizer=Adam),
    Recipe("sign-symmetric", GRADIENT, SignSymmetric(), lr=6e-3, optimizer=Adam),
    Recipe("kolen-pollack", GRADIENT, KolenPollack(), lr=6e-3, optimizer=partial(AdamW, weight_decay=0.1)),
    Recipe("direct-feedback", GRADIENT, DirectFeedback(), lr=2e-3, optimizer=Adam),
    Recipe("node-perturbation", GRADIENT, NodePerturbation(sigma=0.01), lr=2e-3, optimizer=Adam),
    Recipe("predictive-coding", GRADIENT, Predictive(precision=1.0, steps=10, rate=0.2), lr=1e-3, optimizer=Adam),
    Recipe(
        "equilibrium-propagation",
        {"*": Hebb()},
        EQUILIBRIUM,
        lr=2e-3,
        optimizer=Adam,
        loss=squared_error,
        prepare=partial(bounded, gain=0.5),
        predict=EQUILIBRIUM.predict,
    ),
    hebbian("oja", Oja(), conv=1e-6, hidden=1e-4),
    hebbian("sanger", Sanger(), conv=1e-6, hidden=1e-3),
    hebbian("bcm", BCM(tau=50.0), conv=1e-6, hidden=1e-4),
    hebbian("softhebb", SoftHebb(temperature=0.3, power=0.5), conv=1e-4, hidden=0.1),
    hebbian("frozen", None),
]
CORE: dict[str, Recipe] = {r.name: r for r in _RECIPES}

# Equilibrium propagation needs another activation and loss: backprop runs on that very net as its twin.
TWIN = Recipe(
    "backprop-bounded",
    GRADIENT,
    Backprop(),
    lr=6e-4,
    optimizer=Adam,
    loss=squared_error,
    prepare=partial(bounded, gain=0.5),
)
RECIPES: dict[str, Recipe] = CORE | {TWIN.name: TWIN}

EPOCHS = {"digits": 40, "fashion": 10, "mnist": 10}  # enough for the readout of the frozen control to converge
QUICK = {"digits": (None, None, 8), "fashion": (2000, 1000, 3), "mnist": (2000, 1000, 3)}  # train, test, epochs

# What the committed comparison is held to: mean test accuracy over 5 seeds, by task and network.
REACHES: dict[tuple[str, str], dict[str, float]] = {
    ("digits", "mlp"): {
        "backprop": 0.965,
        "sign-symmetric": 0.962,
        "feedback-alignment": 0.955,
        "direct-feedback": 0.955,
        "predictive-coding": 0.945,
        "equilibrium-propagation": 0.945,
        "kolen-pollack": 0.945,
        "node-perturbation": 0.930,
    }
}
