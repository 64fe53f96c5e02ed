"""The tuned line-up: which rule, which credit, which rates. Names are those of the command line and of the JSON files.

Rates were chosen on validation parts, never on a test part: on the digits (mlp) with six trials and three seeds for every
recipe (figures/rates-digits-mlp.csv), on Fashion-MNIST (cnn) as a first guess with few, unequal trials and one seed
(figures/rates-fashion-cnn.csv). Error-driven recipes use Adam on all layers. Hidden layers under
Hebbian rules use plain SGD (another optimiser would move their fixed points); they and the frozen control share one
readout: the delta rule with Adam at one rate, to convergence, on activity normalised per sample. Where even the best of
the tried rates leaves a recipe below the frozen control, that is the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
from neurosim.plasticity import Credit, Gradient, Layer, Rate, Recipe, Rule, as_it_is, forward, rank, synapses
from neurosim.rules import BCM, Hebb, Oja, Sanger, SoftHebb


# ---------------------------------------------------------------------------------------------- what `prepare` changes
def to_unit_variance(layer: nn.Module, x: Any, y: Tensor) -> Tensor:
    """(y - mean(y)) / sd(y) over the units of one sample (and step): no parameters, no memory, no other sample."""
    return F.layer_norm(y, y.shape[-rank(layer.input) :])


def normalised(net: nn.Module) -> nn.Module:
    """activity of each hidden layer brought to mean 0 and variance 1 over its units, sample by sample"""
    for n, m in net.named_modules():
        if isinstance(m, Layer) and n.rpartition(".")[2] != "readout":
            m.register_forward_hook(to_unit_variance)
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


def steadied(net: nn.Module) -> nn.Module:
    """activity of each hidden layer brought to mean 0 and variance 1 over its units, sample by sample; readout starts at 0"""
    net = normalised(net)
    with torch.no_grad():
        for n, m in synapses(net).items():
            if n.startswith("readout."):
                m.weight.zero_()
    return net


# ---------------------------------------------------------------------------------------------- the line-up
GRADIENT = {"*": Gradient()}
READOUT_RATE = 5e-3
EQUILIBRIUM = Equilibrium(beta=0.3, free=12, nudged=4, rate=0.9)  # cosine over .94 with the fully settled update
DEEPER = Equilibrium(beta=0.3, free=12, nudged=6, rate=0.9)  # the nudge climbs one layer a step, and there are five
DECAYING = partial(AdamW, weight_decay=0.1)

# Rates by recipe: on dense nets; on convolutional ones (Hebbian rules: filters, dense hidden layers).
RATES: dict[str, tuple[float, float]] = {
    "backprop": (1e-3, 3e-3),
    "feedback-alignment": (3e-3, 2e-3),
    "sign-symmetric": (6e-3, 6e-3),
    "kolen-pollack": (3e-3, 3e-3),
    "direct-feedback": (2e-3, 6e-3),
    "predictive-coding": (1e-3, 3e-3),
    "equilibrium-propagation": (2e-3, 2e-3),
    "backprop-bounded": (6e-4, 6e-4),
}
HIDDEN_RATES: dict[str, tuple[float, tuple[float, float]]] = {
    "oja": (1e-4, (1e-7, 1e-5)),
    "sanger": (1e-3, (1e-4, 1e-3)),
    "bcm": (1e-4, (1e-7, 1e-5)),
    "softhebb": (0.1, (1e-6, 1e-3)),
    "frozen": (0.0, (0.0, 0.0)),
}


def line_up(convolutional: bool = False) -> dict[str, Recipe]:
    """Every recipe by name. On convolutional nets the rates differ, and error-driven recipes start `steadied`:

    without it fixed random feedback barely moves a filter. Backprop starts so too, so that the nets compared are the same.
    """
    start: Callable[[nn.Module], nn.Module] = steadied if convolutional else as_it_is

    def by_error(name: str, credit: Credit, optimizer: Callable[..., Any] = Adam) -> Recipe:
        return Recipe(name, GRADIENT, credit, lr=RATES[name][convolutional], optimizer=optimizer, prepare=start)

    def by_energy(name: str, rule: Rule, credit: Credit, predict: Callable[..., Tensor] = forward) -> Recipe:
        """Bounded activity and squared error: equilibrium propagation needs them, its twin shares them."""
        rate, start = RATES[name][convolutional], partial(bounded, gain=0.5)
        return Recipe(name, {"*": rule}, credit, rate, Adam, loss=squared_error, prepare=start, predict=predict)

    def hebbian(name: str, rule: Rule | None) -> Recipe:
        dense, (filters, hidden) = HIDDEN_RATES[name]
        return by_local_rule(name, rule, *((filters, hidden) if convolutional else (dense, dense)))

    node_rate = {"readout.*": 2e-3, "*": 6e-4} if convolutional else 2e-3
    node, settling = NodePerturbation(sigma=0.01), DEEPER if convolutional else EQUILIBRIUM
    recipes = [
        by_error("backprop", Backprop()),
        by_error("feedback-alignment", FeedbackAlignment()),
        by_error("sign-symmetric", SignSymmetric()),
        by_error("kolen-pollack", KolenPollack(), DECAYING),
        by_error("direct-feedback", DirectFeedback()),
        Recipe("node-perturbation", GRADIENT, node, lr=node_rate, optimizer=Adam, prepare=start),
        by_error("predictive-coding", Predictive(precision=1.0, steps=10, rate=0.2)),
        by_energy("equilibrium-propagation", Hebb(), settling, settling.predict),
        hebbian("oja", Oja()),
        hebbian("sanger", Sanger()),
        hebbian("bcm", BCM(tau=50.0)),
        hebbian("softhebb", SoftHebb(temperature=1.0 if convolutional else 0.3, power=0.5)),
        hebbian("frozen", None),
        by_energy("backprop-bounded", Gradient(), Backprop()),
    ]
    return {r.name: r for r in recipes}


def by_local_rule(name: str, rule: Rule | None, filters: float, hidden: float) -> Recipe:
    """Hidden layers learn by a local rule at these rates, or not at all; the readout by the delta rule."""
    return Recipe(
        name,
        {"readout.*": Gradient(), "*": rule},
        DeltaRule(),
        lr={"readout.*": READOUT_RATE, "conv*": filters, "*": hidden},
        optimizer={"readout.*": Adam, "*": SGD},
        prepare=normalised,
    )


RECIPES = line_up()
CONVOLUTIONAL = line_up(convolutional=True)
TWINS = ("backprop-bounded",)  # run beside the core: backprop on the very net that equilibrium propagation needs
CORE = {n: r for n, r in RECIPES.items() if n not in TWINS}


def recipes_for(task: str, network: str) -> dict[str, Recipe]:
    """The line-up with the values tuned for that task and network."""
    return CONVOLUTIONAL if network == "cnn" else RECIPES


EPOCHS = {"digits": 30, "fashion": 10, "mnist": 10}  # enough for the readout of the frozen control to converge
QUICK = {"digits": (None, None, 8), "fashion": (640, 500, 3), "mnist": (1000, 500, 3)}  # train, test, epochs

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
