"""The line-up: which rule, which credit, which rates. Names are those of the command line and of the JSON files.

An `Entry` says how a recipe is made from its values (a learning rate and at most one more) and where `neurosim tune`
searches them: every recipe with the same number of trials, on the validation part, never on a test part. What it found
lies in neurosim/tuned_values/ as readable data, with budget, date and validation curves beside it. Error-driven recipes
use Adam on all layers. Hidden layers under Hebbian rules use plain SGD (another optimiser would move their fixed points);
they and the frozen control share one readout: the delta rule with Adam at one rate, to convergence, on activity
normalised per sample. Where even the best values leave a recipe below the frozen control, that is the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from torch.optim import Adam

from neurosim.credit import (
    Autoencoder,
    Backprop,
    BurstCredit,
    ContrastiveDivergence,
    DirectFeedback,
    Equilibrium,
    FeedbackAlignment,
    ForwardForward,
    KolenPollack,
    LayerLocal,
    NodePerturbation,
    Predictive,
    PredictiveErrors,
    SampledReward,
    SignSymmetric,
    TargetPropagation,
    TiedFeedback,
    WeightPerturbation,
)
from neurosim.plasticity import Gradient, Recipe
from neurosim.prepare import quiet, unit_length, unit_rows
from neurosim.recipes_attention import ATTENTION
from neurosim.recipes_diehl_cook import DIEHL_COOK
from neurosim.recipes_families import (
    DECAYING,
    FILTERS,
    HIDDEN_RATE,
    RATE,
    READOUT_RATE,
    Entry,
    Space,
    Values,
    by_energy,
    by_error,
    by_local_rule,
    hebbian,
    with_value,
)
from neurosim.recipes_reward import THREE_FACTOR
from neurosim.recipes_spiking import REWARDED as REWARDED_SPIKES
from neurosim.recipes_spiking import SPIKING
from neurosim.recipes_time import MADE, recurrent
from neurosim.rules import BCM, Goodness, Hebb, Oja, Perturbed, RewardedHebb, Sanger, SoftHebb, Winners
from neurosim.tuned import values_for

__all__ = ["CONTROLS", "CORE", "EPOCHS", "Entry", "FILTERS", "FULL_EPOCHS", "LINE_UP", "QUICK", "REACHES", "RECIPES",
           "Space", "TWINS", "by_local_rule", "line_up", "recipes_for", "three_factor_for"]  # fmt: skip

# ---------------------------------------------------------------------------------------------- single recipes
# Cosine with the fully settled update: over .9 at first, .65 to .9 later.
EQUILIBRIUM = Equilibrium(beta=0.3, free=12, nudged=4, rate=0.9)
DEEPER = Equilibrium(beta=0.3, free=12, nudged=6, rate=0.9)  # the nudge climbs one layer a step, and there are five


def frozen(v: Values, convolutional: bool) -> Recipe:
    return by_local_rule("frozen", None, 0.0, readout=v["readout"])


def forward_forward(v: Values, convolutional: bool) -> Recipe:
    credit, rules = ForwardForward(), {"readout.*": None, "*": Goodness(v["theta"])}
    return Recipe(
        "forward-forward", rules, credit, lr=v["lr"], optimizer=Adam, prepare=unit_length, predict=credit.predict
    )


def forward_forward_twin(v: Values, convolutional: bool) -> Recipe:
    name = "backprop-forward-forward"
    return Recipe(name, {"*": Gradient()}, Backprop(), lr=v["lr"], optimizer=Adam, prepare=unit_length)


def rewarded(v: Values, convolutional: bool) -> Recipe:
    rule = RewardedHebb()
    return by_local_rule("reward-hebb", rule, v["lr"], credit=SampledReward(), readout=v["answer"], project=unit_rows)


PRETRAINING = (
    200  # updates of each layer: a search is shorter than a comparison, and must see all layers of the mlp learn
)


def boltzmann(v: Values, convolutional: bool) -> Recipe:
    credit = ContrastiveDivergence(PRETRAINING)
    return by_local_rule("rbm", Hebb(), v["lr"], credit=credit, readout=v["readout"], prepare=partial(quiet, gain=0.3))


def autoencoder(v: Values, convolutional: bool) -> Recipe:
    credit = Autoencoder(PRETRAINING)
    return by_local_rule(
        "autoencoder", Gradient(), v["lr"], credit=credit, readout=v["readout"], filters=1.0, optimizer=Adam
    )


# ---------------------------------------------------------------------------------------------- all of them
LINE_UP: dict[str, Entry] = {
    "backprop": by_error("backprop", Backprop(), 1e-3),
    "feedback-alignment": by_error("feedback-alignment", FeedbackAlignment(), 3e-3),
    "sign-symmetric": by_error("sign-symmetric", SignSymmetric(), 6e-3),
    "kolen-pollack": by_error("kolen-pollack", KolenPollack(), 3e-3, DECAYING),
    "direct-feedback": by_error("direct-feedback", DirectFeedback(), 2e-3),
    "burstprop": with_value(
        "burstprop",
        lambda gain: BurstCredit(gain=gain),
        Gradient(),
        {**RATE, "gain": (0.1, 4.0)},
        {"lr": 2e-3, "gain": 1.0},
    ),
    "target-propagation": with_value(
        "target-propagation",
        lambda sigma: TargetPropagation(sigma=sigma),
        Gradient(),
        {**RATE, "sigma": (0.01, 1.0)},
        {"lr": 1e-3, "sigma": 0.1},
    ),
    "predictive-coding": by_error("predictive-coding", Predictive(precision=1.0, steps=10, rate=0.2), 1e-3),
    "equilibrium-propagation": by_energy(
        "equilibrium-propagation", Hebb(), lambda c: DEEPER if c else EQUILIBRIUM, 2e-3
    ),
    "node-perturbation": with_value(
        "node-perturbation",
        lambda sigma: NodePerturbation(sigma),
        Gradient(),
        {**RATE, "sigma": (1e-3, 0.3)},
        {"lr": 2e-3, "sigma": 0.01},
    ),
    "weight-perturbation": with_value(
        "weight-perturbation",
        lambda sigma: WeightPerturbation(sigma),
        Perturbed(),
        {**RATE, "sigma": (1e-4, 0.03)},
        {"lr": 1e-3, "sigma": 1e-3},
    ),
    "layer-local": by_error("layer-local", LayerLocal(), 2e-3),
    "forward-forward": Entry(forward_forward, {**RATE, "theta": (0.2, 10.0)}, {"lr": 3e-3, "theta": 2.0}),
    "reward-hebb": Entry(rewarded, {**HIDDEN_RATE, "answer": (1e-4, 3e-2)}, {"lr": 1e-4, "answer": READOUT_RATE}),
    "hebb": hebbian("hebb", lambda v: Hebb(), 1e-3, project=unit_rows),
    "oja": hebbian("oja", lambda v: Oja(), 1e-4),
    "sanger": hebbian("sanger", lambda v: Sanger(), 1e-3),
    "bcm": hebbian("bcm", lambda v: BCM(v["tau"]), 1e-4, {"tau": (5.0, 500.0)}, {"tau": 50.0}),
    "softhebb": hebbian(
        "softhebb",
        lambda v: SoftHebb(v["temperature"], 0.5),
        0.1,
        {"lr": (1e-4, 1.0), "temperature": (0.1, 3.0)},
        {"temperature": 0.3},
    ),
    "hard-wta": hebbian("hard-wta", lambda v: Winners(1), 1e-2),
    "k-wta": hebbian("k-wta", lambda v: Winners(round(v["k"])), 1e-2, {"k": (2.0, 16.0)}, {"k": 5.0}),
    "rbm": Entry(boltzmann, HIDDEN_RATE, {"lr": 1e-3}),
    "autoencoder": Entry(autoencoder, RATE, {"lr": 1e-3}),
    "frozen": Entry(frozen, {"readout": (3e-4, 3e-2)}, {"readout": READOUT_RATE}),
    "backprop-bounded": by_energy("backprop-bounded", Gradient(), lambda c: Backprop(), 6e-4),
    "backprop-forward-forward": Entry(forward_forward_twin, RATE, {"lr": 1e-3}),
    "feedback-alignment-tied": by_error("feedback-alignment-tied", TiedFeedback(), 1e-3, follows="backprop"),
    "predictive-coding-one-step": by_error(
        "predictive-coding-one-step", PredictiveErrors(2.0**-40, steps=1, rate=1.0), 1e-3, follows="backprop"
    ),
}
TWINS = ("backprop-bounded", "backprop-forward-forward")  # backprop on the very net and loss that another recipe needs
CONTROLS = ("feedback-alignment-tied", "predictive-coding-one-step")  # known to equal backprop
SPIKING_NETS = {"spiking-mlp": SPIKING, "spiking-cnn": SPIKING, "diehl-cook": DIEHL_COOK}
FROZEN = ("frozen", "reservoir", "reward-frozen")  # controls, which are searched before what shares their readout
REFERENCES = ("backprop", "frozen")  # that a group of recipes is held against
REWARDED_ATTENTION = ("backprop", "reward-hebb", "reward-qk", "reward-vo", "reward-frozen", "frozen")
REWARDED = ("bptt", "node-perturbation", "miconi", "reservoir")  # of the recurrent networks


def entries_for(network: str, task: str = "digits", asked: Iterable[str] = ()) -> dict[str, Entry]:
    """All that can be compared on that network; `asked`: names of which a line-up holds only some, such as tbptt-20."""
    own = own_line_up(network, task, asked)
    return LINE_UP | THREE_FACTOR if own is None else own


def line_up_of(network: str, task: str = "digits") -> dict[str, Entry]:
    own = own_line_up(network, task)
    return LINE_UP if own is None else own


def three_factor_of(network: str, task: str = "digits") -> dict[str, Entry]:
    own = own_line_up(network, task)
    if own is None:
        return {n: LINE_UP[n] for n in (*REFERENCES, "reward-hebb")} | THREE_FACTOR
    if network == "transformer":
        return {n: own[n] for n in REWARDED_ATTENTION}
    return {n: own[n] for n in (REWARDED_SPIKES if network in SPIKING_NETS else REWARDED) if n in own}


def own_line_up(network: str, task: str, asked: Iterable[str] = ()) -> dict[str, Entry] | None:
    """That of a network with a time axis; None for one without."""
    if network in SPIKING_NETS:
        return SPIKING_NETS[network]
    if network == "transformer":
        return ATTENTION
    return recurrent(task, network, asked) if network in MADE else None


def made(entries: Mapping[str, Entry], convolutional: bool, tuned: Mapping[str, Values]) -> dict[str, Recipe]:
    control = shared(tuned)
    return {
        n: e.recipe(
            {k: v for k, v in control.items() if k not in e.space} | tuned.get(e.follows or n, {}), convolutional
        )
        for n, e in entries.items()
    }


def shared(tuned: Mapping[str, Values]) -> Values:
    """The rate of the readout that Hebbian recipes and the frozen control have in common: the control's; and of a rewarded

    readout, `answer`, for what does not search one of its own.
    """
    return {k: v for n in FROZEN[::-1] if n in tuned for k, v in tuned[n].items()}


def line_up(convolutional: bool = False, tuned: Mapping[str, Values] = {}) -> dict[str, Recipe]:
    """Every recipe by name, with the values given, else those to start a search from."""
    return made(LINE_UP, convolutional, tuned)


def recipes_for(task: str, network: str, tuned: Path | None = None) -> dict[str, Recipe]:
    """The line-up with the values tuned for that task and network, or of the file given: see `tuned.values_for`."""
    return {n: r for n, r in every_recipe_for(task, network, tuned).items() if n in line_up_of(network, task)}


def three_factor_for(task: str, network: str, tuned: Path | None = None) -> dict[str, Recipe]:
    """What learns by reward, its controls and its references."""
    return {n: r for n, r in every_recipe_for(task, network, tuned).items() if n in three_factor_of(network, task)}


def every_recipe_for(
    task: str, network: str, tuned: Path | None = None, asked: Iterable[str] = ()
) -> dict[str, Recipe]:
    """The line-up and the recipes that stand beside it, and those asked for (see `entries_for`)."""
    entries = entries_for(network, task, asked)
    values = values_for(task, network, tuned, {n: e.space for n, e in entries.items()})
    return made(entries, network == "cnn", values)


RECIPES = recipes_for("digits", "mlp")
CONVOLUTIONAL = recipes_for("fashion", "cnn")
CORE = {
    n: RECIPES[n]
    for n in (
        "backprop", "feedback-alignment", "sign-symmetric", "kolen-pollack", "direct-feedback", "node-perturbation",
        "predictive-coding", "equilibrium-propagation", "oja", "sanger", "bcm", "softhebb", "frozen",
    )
}  # fmt: skip

EPOCHS = {
    "digits": 30, "fashion": 10, "mnist": 10, "delayed-xor": 20, "store-recall": 20, "evidence": 50, "text": 20,
    "masked-text": 20, "recall": 20, "induction": 20,
}  # fmt: skip
# enough for the readout of the frozen control to converge
SPIKING_EPOCHS = {"digits": 10, "fashion": 3, "mnist": 3}  # of the spiking networks: a sample takes 30 steps
SPIKING_QUICK = {"digits": (640, 250, 3), "fashion": (640, 250, 1), "mnist": (640, 250, 1)}
FULL_EPOCHS = {"recall": 150}  # of --full, where what is slow has not ended by then: 3,000 updates
QUICK = {
    "digits": (None, None, 5), "fashion": (640, 500, 2), "mnist": (1000, 500, 2), "delayed-xor": (960, 250, 4),
    "store-recall": (960, 250, 4), "evidence": (64, 64, 1), "text": (640, 250, 2),
    "masked-text": (640, 250, 2), "recall": (640, 250, 5), "induction": (640, 250, 5),
}  # fmt: skip
# train, test, epochs


def epochs_for(task: str, network: str, full: bool = False) -> int:
    """Of a comparison that does not say."""
    usual = SPIKING_EPOCHS[task] if network in SPIKING_NETS else EPOCHS[task]
    return FULL_EPOCHS.get(task, usual) if full else usual


def quick_for(task: str, network: str) -> tuple[int | None, int | None, int]:
    """Training and test samples, epochs of a quick comparison."""
    return SPIKING_QUICK[task] if network in SPIKING_NETS else QUICK[task]


# What the committed comparison is held to: mean test accuracy over 5 seeds, by task and network.
REACHES: dict[tuple[str, str], dict[str, float]] = {
    ("digits", "spiking-mlp"): {"surrogate-bptt": 0.96},
    ("digits", "mlp"): {
        "backprop": 0.965,
        "sign-symmetric": 0.962,
        "feedback-alignment": 0.955,
        "direct-feedback": 0.955,
        "layer-local": 0.955,
        "predictive-coding": 0.945,
        "equilibrium-propagation": 0.945,
        "kolen-pollack": 0.945,
        "node-perturbation": 0.930,
        "forward-forward": 0.925,
    },
}
