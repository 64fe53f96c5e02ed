"""What dW depends on, found by intervention: change one thing, leave the rest as it was, and see whether dW moves.

`measured` gives the words that `locality.WORDS` defines; `locality.claimed` must give the same. Record fields and third
factors are the rule's alone, `testing.check_rule` holds them. Normalisation between layers is the net's, not the synapse's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.plasticity import Batch, Layer, Learner, Recipe, Record, Rule, play, synapses, units

SAME, READ = 1e-5, 1e-4  # relative change of dW: below the one it stays, above the other it moves
RATE = 1e-2  # of steps between updates, whatever the recipe's: what is read does not depend on it

Updates = Mapping[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def measured(recipe: Recipe, net: nn.Module, batch: Batch, seed: int = 0) -> dict[str, frozenset[str]]:
    """By plastic synapse of a static net, the words of `locality.WORDS` that its dW was seen to depend on.

    The net is used up; it and the batch are in float64, targets are classes. What starts at 0 gets random values. Where
    synapses learn in turns, the recipe steps on. Few samples: what arrives must leave directions of the weights free (two,
    for a small cnn). ValueError if none are, if dW is zero, or moves by neither the machine's noise nor an effect.
    """
    batch = replace(batch, loss=recipe.loss or batch.loss)
    L = Learner(net, replace(recipe, loss=None, lr=RATE), batch, seed)
    rng = torch.Generator().manual_seed(0x5EED + seed)  # not the numbers that drew the batch
    for m in synapses(L.net).values():
        if not m.weight.any():
            m.weight.data = _like(m.weight, rng)
    for n, v in L.own.items():
        if isinstance(v, Tensor) and v.is_floating_point():
            L.own[n] = torch.rand(v.shape, generator=rng, dtype=v.dtype)
    wanted = [n for n in synapses(L.net) if L.rules[n]]
    found: dict[str, frozenset[str]] = {}
    for _ in wanted:
        now = [n for n in L.updates(batch) if n in wanted and n not in found]
        found |= _seen(L, batch, now, rng) if now else {}
        _step_on(L, batch)
    if unmoved := set(wanted) - found.keys():
        raise ValueError(f"recipe: {recipe.name} never changes {sorted(unmoved)[0]}")
    return {n: found[n] for n in wanted}


def _seen(L: Learner, batch: Batch, names: list[str], rng: torch.Generator) -> dict[str, frozenset[str]]:
    dw = L.updates(batch)

    def by(after: Updates, before: Updates = dw) -> set[str]:
        return {n for n in names if _moved(n, before[n], after[n])}

    seen = {
        "error": by(L.updates(replace(batch, loss=_other_gradient(batch)))),
        "loss": by(L.updates(replace(batch, loss=_other_value(batch)))),
        "target": by(L.updates(_relabelled(batch))),
        "feedback": by(_other_feedback(L, batch, rng)),
        "batch": by(*_beside_another(L, batch, rng)),
        "noise": _noisy(L, batch, names, dw),
        "transport": {n for n in names if _transported(L, batch, n, dw, rng)},
        "lateral": set(),
    }
    for n in names:
        from_below, others = _other_unit(L, batch, n)
        if others:  # what another unit sends by way of the layer below went down through weights that go up
            seen["transport" if from_below else "lateral"].add(n)
    return {n: frozenset(word for word, at in seen.items() if n in at) for n in names}


def _moved(name: str, before: Tensor, after: Tensor) -> bool:
    size = max(before.norm(), after.norm())
    if not size > 0:
        raise ValueError(f"{name}: dW is {size:.0e}, there is nothing to measure")
    change = ((after - before).norm() / size).item()
    if not (change < SAME or change > READ):
        raise ValueError(f"{name}: dW moved by {change:.0e} of itself, which is neither nothing nor an effect")
    return change > READ


def _like(w: Tensor, rng: torch.Generator) -> Tensor:
    """Weights N(0, 1 / fan-in)."""
    return torch.randn(w.shape, generator=rng, dtype=w.dtype) / w[0].numel() ** 0.5


@contextmanager
def _restored(L: Learner) -> Iterator[None]:
    """Whatever is done to the learner, to its weights and to the hooks of its layers is undone."""
    modules = [L.net, *(m for m in L.own.values() if isinstance(m, nn.Module))]
    weights = [(p, p.detach().clone()) for m in modules for p in m.parameters()]
    hooks = [(m, m._forward_hooks.copy()) for m in L.net.modules()]
    kept = L.steps, L.state, dict(L.own), dict(L.rules)
    moments = [copy.deepcopy(o.state_dict()) for o in L.optimizers]
    try:
        yield
    finally:
        for p, w in weights:
            p.data.copy_(w)
        for m, h in hooks:
            m._forward_hooks = h
        L.steps, L.state, L.own, L.rules = kept
        for o, s in zip(L.optimizers, moments, strict=True):
            o.load_state_dict(s)


def _step_on(L: Learner, batch: Batch) -> None:
    """One step of learning that leaves the net's own weights as they were."""
    weights = copy.deepcopy(L.net.state_dict())
    L.step(batch)
    L.net.load_state_dict(weights)


# ---------------------------------------------------------------------------------------------- what is told of the target
def _other_gradient(batch: Batch) -> Loss:
    """The loss with another gradient and the same value."""

    def loss(o: Tensor, y: Tensor) -> Tensor:
        more = (o * torch.linspace(-1, 2, o.shape[-1], dtype=o.dtype)).sum(-1)
        return batch.loss(o, y) + more - more.detach()

    return loss


def _other_value(batch: Batch) -> Loss:
    """The loss with twice the value and the same gradient."""
    return lambda o, y: batch.loss(o, y) + batch.loss(o, y).detach()


def _relabelled(batch: Batch) -> Batch:
    """Other classes as targets, and a loss that takes them back."""
    k = int(batch.target.max()) + 1
    return replace(batch, target=(batch.target + 1) % k, loss=lambda o, y: batch.loss(o, (y - 1) % k))


# ---------------------------------------------------------------------------------------------- what is owned, drawn, beside
def _other_feedback(L: Learner, batch: Batch, rng: torch.Generator) -> Updates:
    with _restored(L):
        for m in L.own.values():
            if isinstance(m, nn.Module):
                m.weight.data += _like(m.weight, rng)
        return L.updates(batch)


def _noisy(L: Learner, batch: Batch, names: list[str], dw: Updates) -> set[str]:
    """With other random numbers in this update, or in the one before, from which what the credit owns may have learned."""

    def after(step: int, before: int | None) -> Updates:
        with _restored(L):
            if before is not None:
                L.steps = before
                _step_on(L, batch)
            L.steps = step
            return L.updates(batch)

    again, found = after(0, before=0), set()  # forty draws of one that says it draws: an answer may be the same again
    for draw in range(1, 41 if "noise" in L.recipe.credit.reads else 2):
        for before, got in ((dw, after(L.steps + draw, before=None)), (again, after(0, before=draw))):
            found |= {n for n in names if n in before and _moved(n, before[n], got[n])}
        if len(found) == len(names):
            break
    return found


def _beside_another(L: Learner, batch: Batch, rng: torch.Generator) -> list[Updates]:
    """What changing the first sample does to dW, beside the others as they are and beside others in their place."""
    other = torch.randn(batch.x.shape, generator=rng, dtype=batch.x.dtype)
    found: list[Updates] = []
    for rest in (batch.x[1:], other[1:]):
        one, two = (L.updates(replace(batch, x=torch.cat([first[:1], rest]))) for first in (batch.x, other))
        found.append({n: one[n] - two[n] for n in one})
    return found


# ---------------------------------------------------------------------------------------------- other synapses' weights
def _transported(L: Learner, batch: Batch, name: str, dw: Updates, rng: torch.Generator) -> bool:
    after, fixed = _other_layers(L, batch, name, rng)
    if not (moved := _moved(name, dw[name], after[name])) and fixed:  # that it did not move says nothing of these
        raise ValueError(f"batch: given too many samples, what arrives leaves no direction of {fixed[0]} free")
    return moved


def _other_layers(L: Learner, batch: Batch, name: str, rng: torch.Generator) -> tuple[Updates, list[str]]:
    """The weights of all other layers move in the null space of what arrives at them in any trial of the update.

    And the layers above that could not move, for want of a free direction.
    """
    arrived: dict[str, list[Tensor]] = {n: [] for n in synapses(L.net)}
    layers = {n: m for n, m in L.net.named_modules() if isinstance(m, Layer)}
    hooks = [
        m.register_forward_pre_hook(lambda m, x, to=arrived[f"{n}.input"]: to.append(_patches(m.input, x[0].detach())))
        for n, m in layers.items()
    ]
    try:
        L.updates(batch)
    finally:
        for h in hooks:
            h.remove()
    free = {n: _null_space(torch.cat(arrived[n])) for n in arrived if n != name}
    if not any(map(len, free.values())):
        raise ValueError("batch: given too many samples, what arrives leaves no direction of the weights free")
    with _restored(L):
        for n, v in free.items():
            w = synapses(L.net)[n].weight
            w.data += 2 * (_like(w, rng).flatten(1) @ v.T @ v).reshape(w.shape)
        above = list(arrived)[list(arrived).index(name) + 1 :]
        return L.updates(batch), [n for n in above if not len(free[n])]


def _patches(synapse: nn.Module, x: Tensor) -> Tensor:
    """What arrives at each place, [M, fan-in]."""
    if not isinstance(synapse, nn.Conv2d):
        return x.flatten(0, -2)
    p = F.unfold(x, synapse.kernel_size, synapse.dilation, synapse.padding, synapse.stride)
    return p.transpose(1, 2).flatten(0, 1)


def _null_space(x: Tensor) -> Tensor:
    """[free, fan-in]: orthonormal directions in which no row of x points."""
    if len(x) > x.shape[1]:
        x = torch.linalg.qr(x).R
    _, s, v = torch.linalg.svd(x, full_matrices=True)
    return v[int((s > 1e-12 * s[0]).sum()) :]


# ---------------------------------------------------------------------------------------------- another unit of the layer
def _other_unit(L: Learner, batch: Batch, name: str) -> tuple[bool, bool]:
    """One unit's weights change sign, and its activity with them; all layers receive and the loss says what they did.

    It is a unit that wins. (Does what arrives at the synapse change in any pass? Does dW of the other units change?)
    """
    w, got = synapses(L.net)[name].weight.data, []
    arrived: list[Tensor] = []
    said: list[tuple[Tensor, Tensor]] = []
    with _restored(L):
        for m in L.net.modules():
            if isinstance(m, Layer):
                m._forward_hooks.clear()  # normalisation
        clean = play(L.net, batch).records[name]
        j = int(units(clean, clean.u)[:, :-1].argmax(1).mode().values)  # not the last: in Sanger's order it is unseen
        others = torch.arange(len(w)) != j
        for m in L.own.values():  # a decoder of this layer does not hear the unit
            if isinstance(m, nn.Module) and m.weight.shape[:2] == w.shape[1::-1]:
                m.weight.data[:, j] = 0
        rule = L.rules[name]
        for factor in (1, -2):  # -1 alone would leave squares and norms as they were
            w[j] *= factor
            L.rules[name] = heard = Heard(rule)
            with _pinned(L.net, arrived):
                dw = L.updates(replace(batch, loss=_replayed(batch.loss, said)))[name]
            got.append((dw[others], torch.cat([rec.pre for rec, _ in heard.told])))
    (dw, pre), (dw2, pre2) = got
    return bool((pre - pre2).norm() > SAME * pre.norm()), _moved(name, dw, dw2)


@dataclass(frozen=True)
class Heard:
    """A rule that notes what it sees and is told."""

    rule: Rule
    told: list[tuple[Record, dict[str, Tensor]]] = field(default_factory=list)

    @property
    def reads(self) -> frozenset[str]:
        return self.rule.reads

    def update(self, rec: Record, third: Mapping[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        self.told.append((rec, dict(third)))
        return self.rule.update(rec, third, state)


def _replayed(loss: Loss, said: list[tuple[Tensor, Tensor]]) -> Loss:
    """The loss, which notes call by call what it says; or, if something is noted, says that again: values and gradients."""
    again = iter(list(said))

    def call(o: Tensor, y: Tensor) -> Tensor:
        noted = next(again, None)
        if noted is None:
            with torch.enable_grad():
                at = o.detach().requires_grad_()
                value = loss(at, y)
                noted = value.detach(), torch.autograd.grad(value.sum(), at)[0]
            said.append(noted)
        value, slope = noted
        return value + ((o - o.detach()) * slope).flatten(1).sum(1)

    return call


@contextmanager
def _pinned(net: nn.Module, arrived: list[Tensor]) -> Iterator[None]:
    """What arrives at each layer is noted call by call; or, if something is noted, it arrives again, and credit passes."""
    again = iter(list(arrived))

    def pin(layer: nn.Module, x: tuple[Tensor, ...]) -> Tensor:
        noted = next(again, None)
        if noted is None:
            arrived.append(noted := x[0].detach())
        return x[0] + (noted - x[0].detach())

    hooks = [m.register_forward_pre_hook(pin) for m in net.modules() if isinstance(m, Layer)]
    try:
        yield
    finally:
        for h in hooks:
            h.remove()
