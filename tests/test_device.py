"""Every tensor follows the network's device, and nothing in an update waits for it.

Without a GPU this runs on fake tensors: a net on the `meta` device under FakeTensorMode has shapes and devices but no
values. A tensor made on another device, and every `.item()`, `bool(tensor)` or `.tolist()`, raises there. A fake device
has no random number generator, so one of the CPU stands in for it; the noise itself must be on the net's device.
"""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from neurosim.credit import (
    Backprop,
    DeltaRule,
    DirectFeedback,
    Equilibrium,
    FeedbackAlignment,
    FixedPrediction,
    KolenPollack,
    NoCredit,
    NodePerturbation,
    Predictive,
    PredictiveErrors,
    SignSymmetric,
    WeightPerturbation,
)
from neurosim.networks import cnn, mlp
from neurosim.neurons import AdaptiveLIF
from neurosim.plasticity import Batch, Gradient, Learner, Recipe, alignment, forward
from neurosim.rules import BCM, EProp, EPropOnline, Hebb, Oja, Perturbed, Sanger, SoftHebb, SpikeRule, Term, Trace, pair
from tests.nets import ce, mse_seq, rnn

B, T = 4, 6
LIF = AdaptiveLIF(tau_m=9.5, tau_a=50.0, beta=0.1)
GATED = SpikeRule({"r1": Trace("pre", 20.0)}, (Term(1.0, ("post", "r1"), gate="dopamine"),), forget=True)

STATIC = {
    "backprop": (Backprop(), Gradient()),
    "feedback alignment": (FeedbackAlignment(), Gradient()),
    "sign-symmetric": (SignSymmetric(), Gradient()),
    "kolen-pollack": (KolenPollack(), Gradient()),
    "direct feedback": (DirectFeedback(), Gradient()),
    "node perturbation": (NodePerturbation(), Gradient()),
    "weight perturbation": (WeightPerturbation(), Perturbed()),
    "predictive": (Predictive(steps=3), Gradient()),
    "predictive errors": (PredictiveErrors(steps=3), Gradient()),
    "fixed prediction": (FixedPrediction(5), Gradient()),
    "equilibrium": (Equilibrium(free=3, nudged=2), Hebb()),
    "no credit": (NoCredit(), Hebb()),
} | {
    f"{type(rule).__name__} under the delta rule": (DeltaRule(), {"readout.*": Gradient(), "*": rule})
    for rule in (Oja(), Sanger(), BCM(), SoftHebb(power=0.5))
}
IN_TIME = {
    "backprop": (Backprop(), Gradient()),
    "e-prop": (Backprop(cut="*.recurrent"), {"hidden.*": EProp(LIF), "*": Gradient()}),
    "random e-prop, online": (DirectFeedback(), {"hidden.*": EPropOnline(LIF), "*": Gradient()}),
    "node perturbation": (NodePerturbation(), Gradient()),
    "predictive errors": (PredictiveErrors(steps=2), Gradient()),
    "stdp": (NoCredit(), {"hidden.*": pair()}),
    "nearest stdp": (NoCredit(), {"hidden.*": pair(nearest=True)}),
    "modulated stdp": (NoCredit(), {"hidden.*": GATED}),
}
NETS = {"mlp": partial(mlp, (1, 8, 8), 10), "cnn": partial(cnn, (1, 8, 8), 10), "rnn": partial(rnn, neuron=LIF)}
CASES = [(net, name) for net in ("mlp", "cnn") for name in STATIC] + [("rnn", name) for name in IN_TIME]
cases = pytest.mark.parametrize("net, name", CASES, ids=[f"{net}-{name}" for net, name in CASES])


def shown(net: str) -> Batch:
    """One batch, on the default device."""
    if net == "rnn":
        signals = {"dopamine": torch.rand(T, B)}
        return Batch(torch.rand(T, B, 3), torch.rand(T, B, 2), mse_seq, signals, time=True, dt=1.0)
    return Batch(torch.rand(B, 1, 8, 8), torch.randint(10, (B,)), ce)


def learn(net: str, name: str, device: str) -> Learner:
    """Two steps of the recipe and all that is asked of a learner, everything made on the device."""
    credit, rules = (IN_TIME if net == "rnn" else STATIC)[name]
    with torch.device(device):  # only here: what is made while learning must find its device by itself
        module, batch = NETS[net](), shown(net)
    predict = credit.predict if isinstance(credit, Equilibrium) else forward
    recipe = Recipe(name, rules if isinstance(rules, dict) else {"*": rules}, credit, lr=1e-3, predict=predict)
    learner = Learner(module, recipe, batch, seed=1)
    for _ in range(2):  # the second step starts from a state
        dw = learner.step(batch)
    found = {"updates": dw, "weights": learner.weights, "alignment": alignment(learner, batch) if batch.loss else {}}
    found |= {f"state of {n}": s for n, s in learner.state.items()} | {"output": {"": learner.predict(batch)}}
    for what, tensors in found.items():
        for n, v in tensors.items():
            assert v.device.type == device, f"{name}: {what} {n} is on {v.device}, the net on {device}"
    assert dw and all(dw[n].shape == learner.weights[n].shape for n in dw)
    return learner


@contextmanager
def fake(monkeypatch):
    """Tensors without values; generators of the CPU for a device that has none."""
    real = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": real("cpu"))
    # a copied tensor stays in its mode
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield


@cases
def test_on_fake_tensors(net, name, monkeypatch):
    with fake(monkeypatch):
        learn(net, name, "meta")


@pytest.mark.parametrize("optimizer", (torch.optim.SGD, torch.optim.Adam))
def test_optimisers_on_fake_tensors(optimizer, monkeypatch):
    with fake(monkeypatch):
        with torch.device("meta"):
            net, batch = NETS["mlp"](), shown("mlp")
        L = Learner(net, Recipe("test", {"*": Gradient()}, Backprop(), optimizer=optimizer, project=clamp), batch)
        L.step(batch)
        L.step(batch)


def clamp(name, w):
    return w.clamp(-1, 1)


@pytest.mark.parametrize(
    "update, error",
    [
        (lambda dw: dw * dw.norm().item(), DataDependentOutputException),
        (lambda dw: dw if dw.norm() > 1 else 0 * dw, DataDependentOutputException),
        (lambda dw: dw + torch.zeros(dw.shape), RuntimeError),
        (lambda dw: dw.cpu(), (RuntimeError, AssertionError)),
    ],
    ids=("item", "a branch on a value", "a tensor on the CPU", "a copy to the CPU"),
)
def test_fake_tensors_catch_what_they_should(update, error, monkeypatch):
    class Cheat(Hebb):
        def update(self, rec, third, state):
            return update(super().update(rec, third, state))

    monkeypatch.setitem(STATIC, "cheat", (NoCredit(), Cheat()))
    with fake(monkeypatch), pytest.raises(error):
        learn("mlp", "cheat", "meta")


@pytest.mark.gpu
@cases
def test_on_cuda(net, name):
    learn(net, name, "cuda")


@pytest.mark.gpu
@cases
def test_cuda_waits_for_nothing(net, name):
    learner = learn(net, name, "cuda")
    with torch.device("cuda"):
        batch = shown(net)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
