"""`check_rule(rule)`: does a rule keep the contract? Run it on a rule of your own before you compare it.

The rule is run on a dense synapse and on a strided, padded convolution, on spikes in time and on a static batch. Each
promise is one function below and fails with one sentence. What `reads` claims is measured: what is not claimed is
replaced by NaN, what is claimed by other values, and dW must stay or move accordingly.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from neurosim.plasticity import Record, Rule, Unsupported, rank, send

Told = Callable[[Tensor, Tensor, int], tuple[int, ...]]  # (post, weight, rank of a unit) -> shape of a third factor

FIELDS = ("pre", "u", "post", "slope", "weight", "state")
FLAGS = ("lateral", "batch", "future")  # other units of the layer, other samples, the rest of the trial


def per_sample(post: Tensor, weight: Tensor, r: int) -> tuple[int, ...]:
    """A third factor that is one number a sample (and step), told to all: shaped to stand against post."""
    return (*post.shape[:-r], *[1] * r)


def like_post(post: Tensor, weight: Tensor, r: int) -> tuple[int, ...]:
    """A third factor that each unit gets for itself."""
    return tuple(post.shape)


def like_weight(post: Tensor, weight: Tensor, r: int) -> tuple[int, ...]:
    """A third factor that each synapse gets for itself."""
    return tuple(weight.shape)


TOLD: dict[str, Told] = {"credit": like_post, "signal": like_post, "reward": per_sample, "noise": like_weight}


def check_rule(rule: Rule, *, signals: Mapping[str, Told] = {}) -> None:
    """AssertionError, in one sentence that says what and on which synapse, if the rule breaks the contract.

    It is frozen, `reads` has known words only; dW is like the weight and finite; inputs and state are never changed in
    place, and the same inputs give the same dW; a batch is the sum of its samples (unless it claims "batch"); it reads
    what it claims and nothing else; other units matter only under "lateral", other pre units never; one long trial is
    the sum of one-step trials with carried state (unless it claims "future"); dW does not depend on the step dt. A rule
    that claims "batch" pools steps as it pools samples: the last two are not asked of it. One that is defined by the step
    says `per_step = True`, and is not asked the last.

    signals: the third factors beside credit, signal, reward and noise, and their shape: {"dopamine": per_sample}.
    A rule may refuse a synapse, or several lanes, by Unsupported with a reason, and a batch without time by a
    ValueError that names dt. It must run on one synapse at least.
    """
    _claims(rule, told := {**TOLD, **signals})
    refusals = [r for time in (True, False) for conv in (False, True) for r in _refusals(rule, told, time, conv)]
    if len(refusals) == 8:  # four situations, each with several lanes and with one
        raise AssertionError(f"{type(rule).__name__}: it runs on no synapse: {refusals[0]}")


def _refusals(rule: Rule, told: Mapping[str, Told], time: bool, conv: bool) -> Iterator[str]:
    for lanes in (3, 1):
        case = _case(rule, told, time, conv, lanes)
        try:
            _update(case)
        except ValueError as reason:
            refused = isinstance(reason, Unsupported) or (not time and "dt" in str(reason))
            _hold(refused and bool(str(reason)), case, f"update fails with {reason!r}; Unsupported needs its reason")
            yield str(reason)
            continue
        in_time = (_online, _step_size) if time and "batch" not in rule.reads else ()
        in_time = in_time[:1] if getattr(rule, "per_step", False) else in_time
        for check in (_form, _additivity, _reading, _neighbours, *in_time):
            check(case)
        return


# ---------------------------------------------------------------------------------------------- the situations
@dataclass(frozen=True)
class Case:
    """One situation: all that a rule may see and be told in it, and other values for the same."""

    name: str
    rule: Rule
    synapse: nn.Module
    dt: float | None
    values: Mapping[str, Tensor]  # by field and third factor
    other: Mapping[str, Tensor]

    @property
    def fixed(self) -> set[str]:  # the names of what has neither lanes nor steps
        return {k for k, v in self.values.items() if v.shape == self.values["weight"].shape}

    def cut(self, axis: int) -> list[Case]:  # sample by sample, or step by step
        v = self.values
        parts = [{k: v[k].narrow(axis, i, 1) for k in v.keys() - self.fixed} for i in range(v["pre"].shape[axis])]
        return [replace(self, values={**v, **part}) for part in parts]


def _case(rule: Rule, told: Mapping[str, Told], time: bool, conv: bool, lanes: int) -> Case:
    name = f"{type(rule).__name__} on {'conv' if conv else 'dense'} {'in' if time else 'without'} time"
    kind = partial(nn.Conv2d, 2, 4, (3, 2), stride=2, padding=1) if conv else partial(nn.Linear, 5, 4)
    with torch.random.fork_rng(devices=[]):  # the global random numbers are the caller's
        synapse = kind(bias=False, dtype=torch.float64)
    rng, lead = torch.Generator().manual_seed(0), (8, lanes) if time else (lanes,)

    def values() -> dict[str, Tensor]:
        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64)

        weight, pre = normal(*synapse.weight.shape), normal(*lead, *((2, 5, 6) if conv else (5,)))
        u = send(synapse, pre, weight)
        post = torch.tanh(u)
        if time:
            pre, post = (pre > 0.3).double(), (normal(*u.shape) > 0.3).double()
        v = {"pre": pre, "u": u, "post": post, "slope": normal(*u.shape), "weight": weight, "state": normal(*u.shape)}
        return v | {k: normal(*shape(post, weight, rank(synapse))) for k, shape in told.items()}

    return Case(name, rule, synapse, 1.0 if time else None, values(), values())


def _update(case: Case, state: dict[str, Tensor] | None = None) -> Tensor:
    v, state = case.values, {} if state is None else state
    third = {k: x for k, x in v.items() if k in case.rule.reads and k not in FIELDS}
    seen = {k: {"v": v[k], "a": v[k]} if k == "state" else v[k] for k in FIELDS}
    rec = Record("layer.input", case.synapse, **seen, dt=case.dt)
    given = {**v, **{f"state[{k!r}]": s for k, s in state.items()}}
    before = copy.deepcopy(given)
    try:
        with torch.no_grad():
            dw = case.rule.update(rec, third, state)
    except (KeyError, RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise AssertionError(f"{case.name}: told only what it claims to read, update fails with {error!r}") from error
    for k, x in given.items():
        _hold(torch.allclose(x, before[k], 0, 0, equal_nan=True), case, f"{k} is changed in place, not replaced")
    return dw


def _twice(case: Case) -> Tensor:  # two trials with the state carried, so that what is remembered counts too
    state: dict[str, Tensor] = {}
    return torch.stack([_update(case, state), _update(case, state)])


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-10 * (1 + b.abs().max()))  # nan is not near


def _hold(true: bool, case: Case, sentence: str) -> None:
    if not true:
        raise AssertionError(f"{case.name}: {sentence}")


# ---------------------------------------------------------------------------------------------- the promises
def _claims(rule: Rule, told: Mapping[str, Told]) -> None:
    name, known = type(rule).__name__, (*FIELDS, *FLAGS, *told)
    if not isinstance(rule, Rule) or not isinstance(rule.reads, frozenset):
        raise AssertionError(f"{name}: a rule has `reads`, a frozenset, and `update(rec, third, state)`")
    if unknown := ", ".join(rule.reads - set(known)):
        raise AssertionError(f"{name}: reads has {unknown}; known are {', '.join(known)} and names in `signals`")
    try:
        rule.probe = 0  # type: ignore[attr-defined]
    except AttributeError:
        return
    del rule.probe  # type: ignore[attr-defined]
    raise AssertionError(f"{name}: it can be changed after it is made; write @dataclass(frozen=True)")


def _form(case: Case) -> None:
    dw, w = _update(case), case.values["weight"]
    _hold(isinstance(dw, Tensor), case, f"dW is a {type(dw).__name__}, not a tensor")
    for k in ("shape", "dtype", "device"):
        _hold(getattr(dw, k) == getattr(w, k), case, f"{k} of dW is {getattr(dw, k)}, the weight's is {getattr(w, k)}")
    _hold(bool(dw.isfinite().all()), case, "dW is not finite")
    _hold(not dw.requires_grad, case, "dW carries a gradient")
    state: dict[str, Tensor] = {}
    _update(case, state)
    _hold(
        _near(_update(case, dict(state)), _update(case, dict(state))),
        case,
        "the same record and state give another dW the second time",
    )


def _additivity(case: Case) -> None:
    lanes = case.cut(int(case.dt is not None))
    same, claimed = _near(_twice(case), sum(_twice(c) for c in lanes)), "batch" in case.rule.reads
    _hold(same or claimed, case, "dW of a batch is not the sum over its samples; sum, or claim batch")
    _hold(not (same and claimed and len(lanes) > 1), case, "it claims batch, but a batch is the sum of its samples")


def _reading(case: Case) -> None:
    dw = _twice(case)
    for k, v in case.values.items():
        read = k in case.rule.reads
        same = _near(_twice(replace(case, values={**case.values, k: case.other[k] if read else v * torch.nan})), dw)
        _hold(not (read and same), case, f"it claims to read {k}, but other values of it do not change dW")
        _hold(read or same, case, f"dW changes with {k}, but it claims {sorted(case.rule.reads)} only")
    blank = copy.deepcopy(case.synapse)
    nn.init.constant_(blank.weight, torch.nan)
    _hold(_near(_twice(replace(case, synapse=blank)), dw), case, "it reads rec.synapse.weight; rec.weight transmitted")


def _with_unit(case: Case, names: set[str], j: int) -> Case:  # unit j, or row j, has the other values
    values = dict(case.values)
    for k in names:
        axis = 0 if k in case.fixed else -rank(case.synapse)
        values[k] = values[k].index_copy(axis, torch.tensor([j]), case.other[k].narrow(axis, j, 1))
    return replace(case, values=values)


def _neighbours(case: Case) -> None:
    dw, (n_post, n_pre) = _twice(case), case.values["weight"].shape[:2]
    of_unit = {k for k, v in case.values.items() if v.shape == case.values["post"].shape} | case.fixed
    lateral, claimed = False, "lateral" in case.rule.reads
    for j in range(n_post):
        rest = [k for k in range(n_post) if k != j]
        lateral |= not _near(_twice(_with_unit(case, of_unit, j))[:, rest], dw[:, rest])
    _hold(claimed or not lateral, case, "dW of a unit changes with another unit of its layer; claim lateral")
    _hold(lateral or not claimed, case, "it claims lateral, but no other unit changes dW of a unit")
    for i in range(n_pre):
        rest = [k for k in range(n_pre) if k != i]
        same = _near(_twice(_with_unit(case, {"pre"}, i))[:, :, rest], dw[:, :, rest])
        _hold(same, case, "dW of a synapse changes with the pre activity of another synapse")


def _online(case: Case) -> None:
    state: dict[str, Tensor] = {}
    same, claimed = _near(_update(case), sum(_update(c, state) for c in case.cut(0))), "future" in case.rule.reads
    _hold(same or claimed, case, "a trial is not the sum of its one-step trials with carried state; or claim future")
    _hold(not (same and claimed), case, "it claims future, but a trial is the sum of its one-step trials")


def _step_size(case: Case) -> None:
    """The same spikes at the same times on grids of dt, dt/2 ...: the same dW. What is no spike is an amount at a step,
    a density (value dt is the amount), or a level that lasts; a rule that reads such may err by order dt."""

    def fine(n: int, density: bool, level: bool) -> Tensor:
        values = dict(case.values)
        for k in values.keys() - case.fixed:
            copies = [values[k]] + [values[k] * (level and k not in ("pre", "post"))] * (n - 1)
            values[k] = torch.stack(copies, 1).flatten(0, 1) * (n if density and k not in FIELDS else 1)
        return _twice(replace(case, dt=1 / n, values=values))

    levels = case.rule.reads - {"pre", "post", "weight", *FLAGS}
    for density, level in ((False, False), (True, False), (False, True)):
        one, two, four, eight = (fine(n, density, level) for n in (1, 2, 4, 8))
        halving = (four - eight).norm() / (two - four).norm()
        if _near(two, one) or (levels and (halving - 0.5).abs() < 0.05):
            return
    _hold(False, case, "dW depends on the step: the same spikes on a grid of half the dt give another dW")
