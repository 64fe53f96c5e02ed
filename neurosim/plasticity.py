"""The whole idea. Read this first.

    dW[synapse]  =  sum over passes   gain * rule.update(record, third factors, state)
    a rule's update  =  sum over batch, time, space of   post-factor (x) pre-factor   (+ decay)     weights are [post, pre]

* A **Layer** is one population of neurons and the synapses that drive it (`trial.py`).
* **play** is the only forward. Five tables say what is different this time; between them they express every credit scheme.
* A **Record** is what one synapse group saw in one trial: pre, u, post, slope, state, weight. All detached.
* A **Rule** makes dW from what the synapse saw and was told. It knows no learning rate, bound, optimiser or layer type.
* A **Credit** says how often to play, and what to tell each synapse. Credit is the direction of improvement: -dL/du.
* A **Recipe** is what is compared: rules, a credit, rates. A **Learner** adds the updates up and applies them.

So backprop, feedback alignment, Hebb, BCM and STDP are interchangeable on the same network, and their updates on the
same weights and batch can be held against each other (`alignment`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from neurosim.checkpoint import put_back, tensors_of
from neurosim.neurons import Neuron, Rate, identity
from neurosim.record import Batch, Loss, Record, Trial, Unsupported, positive
from neurosim.synapses import broadcast, column, outer, per_unit, rank, send, unit_mean, units
from neurosim.trial import Layer, improvement, play, returned, synapses

__all__ = [
    "Batch", "Credit", "Gradient", "Layer", "Learner", "Loss", "Neuron", "Pass", "RETURNED", "Rate", "Recipe", "Record",
    "Rule", "Trial", "Unsupported", "alignment", "broadcast", "claims", "column", "forward", "identity", "improvement",
    "match", "outer", "per_unit", "play", "positive", "rank", "returned", "send", "synapses", "unit_mean", "units",
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- rules and credits
@runtime_checkable
class Rule(Protocol):
    """A frozen value whose `update` is its equation. It returns dW, summed over the batch, and does nothing else."""

    @property
    def reads(self) -> frozenset[str]:
        """The locality claim: record fields, third factors, "lateral", "batch", "future"."""
        ...

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        """dW like rec.weight. `third` are broadcastable to rec.post; entries of `state` are replaced, never changed."""
        ...


def claims(*reads: str) -> Any:
    """The `reads` or `gives` of a rule or credit, as a field that is no parameter of it."""
    return field(default=frozenset(reads), init=False, repr=False)


RETURNED: Any = "returned"  # a third factor that this trial's own backward pass brings: see Pass


class Pass(NamedTuple):
    """One trial and what it tells: third[kind] is {layer or synapse: like post}, or [B], [T, B] for all.

    third["credit"] = RETURNED stands for -dL/du of this very trial, third["signal"] = RETURNED for -dL/dy; the Learner
    fetches all of it in one backward pass, and only where a rule reads it; the graph is spent by that.
    """

    trial: Trial
    third: Mapping[str, Any] = {}
    gain: float = 1.0
    goes_on: bool = False  # is it a further piece of the last pass's trial?


@runtime_checkable
class Credit(Protocol):
    """A frozen value: how often to play, and what to tell each synapse."""

    @property
    def reads(self) -> frozenset[str]:
        """Of "error", "transport" (W transposed), "feedback" (its own weights), "loss", "noise"."""
        ...

    @property
    def gives(self) -> frozenset[str]:
        """The third factors it tells."""
        ...

    def wire(self, trial: Trial, generator: torch.Generator) -> dict[str, Any]:
        """What it owns, made once: feedback synapses (modules) and baselines (tensors). Raises Unsupported."""
        ...

    def passes(self, net: nn.Module, batch: Batch, own: dict[str, Any], generator: torch.Generator) -> Iterable[Pass]:
        """The trials of one update. It may replace entries of `own`; all noise comes from `generator`, if it reads "noise"."""
        ...


@dataclass(frozen=True)
class Gradient:
    """dW = credit (x) pre.  The rule of every credit that comes from an error: Rumelhart, Hinton & Williams 1986.

    With credit = -dL/du it is steepest descent; with credit that took another way back it is feedback alignment,
    predictive coding, e-prop ... At the readout, where credit is target - output, it is the delta rule (Widrow & Hoff 1960).
    """

    reads: frozenset[str] = claims("pre", "credit")

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return outer(rec, rec.pre, third["credit"])


# ---------------------------------------------------------------------------------------------- what is compared
def forward(net: nn.Module, batch: Batch) -> Tensor:
    """The output of one undisturbed trial."""
    with torch.no_grad():
        return play(net, batch).output


def as_it_is(net: nn.Module) -> nn.Module:
    return net


def steady(done: float) -> float:
    return 1.0


def falling(done: float) -> float:
    """1 at the start of a training, 0 at its end, linear between."""
    return 1.0 - done


@dataclass(frozen=True)
class Recipe:
    """The unit of comparison: which rule on which synapse, told by which credit, at which rate.

    Tables are by pattern of synapse name ("readout.*"), the first match wins; a synapse without a rule is frozen.
    """

    name: str
    rules: Mapping[str, Rule | None]
    credit: Credit
    lr: float | Mapping[str, float] = 1e-2
    optimizer: Callable[..., Any] | Mapping[str, Callable[..., Any]] = torch.optim.SGD
    sums: tuple[str, ...] = ()  # patterns of synapses whose dW is the sum over the batch, not its mean
    rest: tuple[str, ...] = ()  # patterns of parameters that are no synapses (biases, LayerNorm) and follow -dL/dp
    loss: Loss | None = None  # instead of the task's
    project: Callable[[str, Tensor], Tensor] | None = None  # (synapse, weight) -> weight, after each step
    prepare: Callable[[nn.Module], nn.Module] = as_it_is  # what must differ in the net: activation, first weights
    predict: Callable[[nn.Module, Batch], Tensor] = forward
    schedule: Callable[[float], float] = steady  # share of the training that is done, 0 to 1 -> factor of every rate

    @property
    def reads(self) -> frozenset[str]:
        """What dW of its hidden synapses may depend on: what their rules read, and what the credit read to tell them."""
        rules = (r for p, r in self.rules.items() if not (p.startswith("readout.") or "/" in p))
        return frozenset().union(*(reads_of(self.credit, r) for r in rules))

    @property
    def readout_reads(self) -> frozenset[str]:
        """The same of its readout."""
        return reads_of(self.credit, match(self.rules, "readout.input"), readout=True)


def reads_of(credit: Credit, rule: Rule | None, readout: bool = False) -> frozenset[str]:
    """The locality claim of a synapse with that rule. A credit's reads count where the rule is told what it gives.

    Two more claims count where a credit makes them: `shown`, what reaches synapses by the activity of its trials, told or
    not (if not said: nothing, or all it reads if it tells nothing); `last`, what it reads for the readout (if not said:
    no transport and no feedback, unless shown).
    """
    if rule is None:
        return frozenset()
    told, shown = (
        bool(rule.reads & credit.gives),
        getattr(credit, "shown", frozenset() if credit.gives else credit.reads),
    )
    if not readout:
        return rule.reads | shown | (credit.reads if told else frozenset())
    last = getattr(credit, "last", (credit.reads - {"transport", "feedback"}) | shown)
    return rule.reads | (last if told else shown & last)


V = TypeVar("V")


def match(patterns: Mapping[str, V] | V, name: str) -> V | None:
    """The value of the first pattern that fits the name; a value that is no table fits every name."""
    if not isinstance(patterns, Mapping):
        return patterns
    return next((v for p, v in patterns.items() if fnmatchcase(name, p)), None)


_SEEN = frozenset({"pre", "u", "post", "slope", "weight", "state", "lateral", "batch", "future"})


class Learner:
    """A net that learns by a recipe.

    `updates` computes the mean dW and changes nothing; `step` applies it. Noise comes from (seed, number of steps
    done). Raises Unsupported with one sentence where the recipe cannot run on the net.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, example: Batch, seed: int = 0) -> None:
        self.net, self.recipe, self.seed, self.steps = recipe.prepare(net), recipe, seed, 0
        self.state: dict[str, dict[str, Tensor]] = {}  # by synapse, what its rule remembers
        self.device = next(self.net.parameters()).device
        self._noise = torch.Generator(self.device)
        trial = play(self.net, self._batch(example))
        self.own: dict[str, Any] = recipe.credit.wire(trial, self._generator("wire"))
        if silent := synapses(self.net).keys() - trial.weights.keys():
            raise ValueError(f"example: {sorted(silent)[0]} is silent in it, give one in which every synapse transmits")
        self.rules = {n: self._match(recipe.rules, n) for n in (*trial.weights, *self.own)}
        self._needs = {n: r.reads - _SEEN for n, r in self.rules.items() if r}  # third factors
        self._check(trial, example)
        named = dict(self.net.named_parameters())
        if shared := [n for n in trial.weights if f"{n}.weight" not in named]:
            raise Unsupported(
                f"{recipe.name}: {shared[0]} shares its weight with another synapse, tied weights are not told apart"
            )
        others = {n: p for n, p in named.items() if n.removesuffix(".weight") not in trial.weights}
        self.rest = {n: p for n, p in others.items() if any(fnmatchcase(n, q) for q in recipe.rest)}
        plastic = {n: named[f"{n}.weight"] for n in trial.weights if self.rules[n]}
        feedback = {n: m.weight for n, m in self.own.items() if isinstance(m, nn.Module)}
        self.weights: dict[str, Tensor] = {**plastic, **feedback, **self.rest}
        self.optimizers = self._optimizers()
        if self.rest and (unmoved := self.rest.keys() - self.updates(example).keys()):
            raise Unsupported(
                f"{recipe.name}: no gradient reaches {sorted(unmoved)[0]} under {type(recipe.credit).__name__}"
            )

    def _check(self, trial: Trial, example: Batch) -> None:
        told = self.recipe.credit.gives | frozenset(example.signals)
        for pattern in self.recipe.rules:
            if not any(fnmatchcase(n, pattern) for n in self.rules):
                there = ", ".join(trial.weights) or "none: put synapses into Layers"
                raise Unsupported(f"{self.recipe.name}: no synapse matches {pattern!r}, there are {there}")
        for n, rule in self.rules.items():
            if rule and (lacking := rule.reads - _SEEN - told):
                raise Unsupported(
                    f"{self.recipe.name}: {type(rule).__name__} on {n} reads {', '.join(sorted(lacking))}, "
                    f"but {type(self.recipe.credit).__name__} gives {', '.join(sorted(told)) or 'nothing'}"
                )

            if rule and getattr(self.recipe.credit, "steps", None) and "future" in rule.reads:
                raise Unsupported(
                    f"{self.recipe.name}: {type(rule).__name__} on {n} waits for the trial's end, but is shown it in pieces"
                )

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        groups: dict[Callable[..., Any], dict[float, list[Tensor]]] = {}
        for n, p in self.weights.items():
            rate, make = self._match(self.recipe.lr, n), self._match(self.recipe.optimizer, n)
            if rate is None or make is None:
                raise ValueError(f"lr, optimizer: {self.recipe.name} gives no rate or no optimiser for {n!r}")
            groups.setdefault(make, {}).setdefault(float(rate), []).append(p)
        return [
            make([{"params": ps, "lr": rate, "initial_lr": rate} for rate, ps in by_rate.items()], lr=0.0)
            for make, by_rate in groups.items()
        ]

    @staticmethod
    def _match(patterns: Any, name: str) -> Any:
        """A feedback synapse goes with the one it mirrors, unless a pattern names it ("feedback/*")."""
        whole = not isinstance(patterns, Mapping) or any("/" in p and fnmatchcase(name, p) for p in patterns)
        return match(patterns, name if whole else name.rpartition("/")[2])

    def _batch(self, batch: Batch) -> Batch:
        return replace(batch, loss=self.recipe.loss) if self.recipe.loss else batch

    def _generator(self, moment: int | str) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.seed} {moment}".encode(), digest_size=4).digest()
        return self._noise.manual_seed(int.from_bytes(digest, "big"))

    def updates(self, batch: Batch) -> dict[str, Tensor]:
        """Mean dW by synapse, of those in `sums` the sum (and -dL/dp by name of a `rest` parameter). Changes nothing."""
        return self._updates(batch)[0]

    def _updates(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], dict[str, Any]]:
        state, own = {n: dict(s) for n, s in self.state.items()}, dict(self.own)
        dw: dict[str, Tensor] = {}
        batch = self._batch(batch)
        noise = self._generator(self.steps) if "noise" in self.recipe.credit.reads else self._noise
        for p in self.recipe.credit.passes(self.net, batch, own, noise):
            if not p.goes_on:
                state = {n: self.rules[n].fresh(s) if hasattr(self.rules[n], "fresh") else s for n, s in state.items()}
            for n, d in self._told(p, {**batch.signals, **p.trial.batch.signals, **p.third}, state):
                d = d * batch.size if any(fnmatchcase(n, q) for q in self.recipe.sums) else d
                dw[n] = dw[n] + d if n in dw else d
        return dw, state, own

    def _told(self, p: Pass, third: Mapping[str, Any], state: dict[str, dict[str, Tensor]]) -> list[tuple[str, Tensor]]:
        # One backward pass for all this pass asks: the weights of Gradient synapses (their credit (x) pre is -dL/dW),
        # the rest, and the drives and outputs where another rule reads credit or signal.
        trial, scale = p.trial, p.gain / p.trial.batch.size
        direct = third.get("credit") is RETURNED
        weights: dict[str, Tensor] = {}
        drives: dict[tuple[str, str], Any] = {}
        local: list[tuple[str, Rule, frozenset[str]]] = []
        for n in trial.records:
            rule = self.rules.get(n)
            if direct and type(rule) is Gradient and trial.weights[n].requires_grad:
                weights[n] = trial.weights[n]
            elif rule:
                needs = self._needs[n]
                local.append((n, rule, needs))
                layer = n.rpartition(".")[0]
                for k, at in (("credit", trial.inputs), ("signal", trial.outputs)):
                    if k in needs and third.get(k) is RETURNED and layer in at:
                        drives[k, layer] = at[layer]
        weights |= self.rest if trial.loss is not None else {}
        if not drives:  # then autograd may scale for us
            found = improvement(trial, weights, scale, keep=False) if weights else {}
            out = list(found.items())
        else:
            found = improvement(trial, weights | drives, keep=False)
            out = [(n, found[n] * scale) for n in weights if n in found]
        for n, rule, needs in local:
            rec, told = trial.records[n], {}
            for k in needs:
                v = third.get(k)
                if v is RETURNED:
                    v = found.get((k, rec.layer))
                elif isinstance(v, Tensor):
                    v = broadcast(rec, v)
                elif v is not None:
                    v = v.get(n, v.get(rec.layer))
                if v is not None:
                    told[k] = v
            if len(told) == len(needs):  # where no credit returns, nothing is learned
                out.append((n, rule.update(rec, told, state.setdefault(n, {})) * scale))
        return out

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Apply the updates through the optimiser, then `project`; returns the dW it applied."""
        dw, self.state, self.own = self._updates(batch)
        self.steps += 1
        for n, p in self.weights.items():
            if n not in dw:
                p.grad = None
            elif p.grad is None:
                p.grad = -dw[n]  # the only minus
            else:
                torch.neg(dw[n], out=p.grad)  # the same, in the memory of the last step's
        for optimizer in self.optimizers:
            optimizer.step()
        if self.recipe.project:
            with torch.no_grad():
                for n, p in self.weights.items():
                    p.copy_(self.recipe.project(n, p))
        return dw

    def done(self, share: float) -> None:
        """So much of the training is done, 0 to 1: rates are now those of the recipe's schedule. Not called: as at 0."""
        for group in (g for o in self.optimizers for g in o.param_groups):
            group["lr"] = group["initial_lr"] * self.recipe.schedule(share)

    def predict(self, batch: Batch) -> Tensor:
        """The output the recipe answers with: a forward trial, or a settled one."""
        return self.recipe.predict(self.net, batch)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of all that learning goes on from, by name (see `checkpoint.py`), for any format of tensors."""
        return tensors_of(self)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there, bit for bit; rates of a schedule are those of its start until `done` is told.

        ValueError that names the first tensor that does not fit; nothing is changed then.
        """
        put_back(self, state)


# ---------------------------------------------------------------------------------------------- held against backprop
def alignment(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """cos(dW, -dL/dW) by plastic synapse: the recipe's update against backprop's on the same weights and batch.

    0-dimensional tensors (nothing waits for the device); nan where either update is zero.
    """
    dw, trial = learner.updates(batch), play(learner.net, learner._batch(batch))
    true = improvement(trial, {n: w for n, w in trial.weights.items() if n in dw})
    return {n: cosine(dw[n], g) for n, g in true.items()}


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """a.b / (|a| |b|) over all entries; nan if either is zero."""
    a, b = a.flatten(), b.flatten()
    return (a @ b) / (a.norm() * b.norm())
