"""A network of spiking populations, event by event: built from neurons, wiring and rules, run by a compiled loop.

    net = Network(dt=0.1, seed=1)
    exc = net.add(3200, LIF(...));   ee = net.connect(exc, exc, fan_in=64, weight=1.62, tau_syn=5, rule=triplet())
    rec = net.run(1000, record=[Spikes(exc)])

Neurons and rules are the values that run on tensors. Here weights change at every spike, within their bounds. Times in ms,
rates in Hz, weights in the unit of what they add to: mV for LIF, nS for ConductanceLIF, pA for AdEx, mV/ms for Izhikevich, pure
numbers for SRM0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosim.engine import wiring as wired
from neurosim.engine.arguments import channel_of, check_rule, count, normalising, number, steps, weights_of, whole
from neurosim.engine.parts import INPUTS, Fixed, Population, Projection, SpikeTrains
from neurosim.rules.spike_rule import SpikeRule

if TYPE_CHECKING:
    from neurosim.engine.arrays import Array
    from neurosim.engine.build import Ready
    from neurosim.engine.environment import Environment
    from neurosim.engine.record import Recording


class Network(Fixed):
    """Populations and projections, lists of these names, and their run. dt in ms; dtype float64 or float32; same seed, same
    spikes.

    Eligibility meets the signals at every step, dw = M e dt, or every `gate_every` ms, dw = M e gate_every with M and e as they
    are then: what a synapse costs where many wait for a reward.
    """

    fixed = ("dt", "seed", "dtype", "gate_steps")

    def __init__(
        self, dt: float = 0.1, seed: int = 0, dtype: Any = np.float64, gate_every: float | None = None
    ) -> None:
        if not 0 < number("dt", dt) < np.inf:
            raise ValueError(f"dt: given {dt}, a step must be a positive number of ms")
        if dtype not in (np.float32, np.float64, "float32", "float64", np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype: given {dtype!r}, allowed are float32 and float64")
        self.dt, self.seed, self.dtype = float(dt), count("seed", seed, 0), np.dtype(dtype).type
        self.gate_steps = 1 if gate_every is None else whole("gate_every", gate_every, self.dt, 1)
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.ready: Ready | None = None
        self.family, self.running = object(), False
        self.lineage: tuple[int, ...] = ()  # of a replica: which one of which network, made when
        self.window: tuple[int, Array] | None = None  # a step, and each population's spikes since
        self.generator = np.random.default_rng([self.seed, 0])

    # ------------------------------------------------------------------------------------------ what it is made of
    def add(self, n: int, neuron: Any, drive: Any = 0.0, v: Any = None, name: str = "") -> Population:
        """A population of n; v: first potentials (mV), default those at rest.

        ValueError where n is no positive whole number, the neuron has no compiled form, or a spike train names another unit.
        """
        from neurosim.engine.kinds import KINDS

        self._open("add")
        n = count("n", n, 1)
        if type(neuron) not in (*KINDS, SpikeTrains):
            known = ", ".join([k.__name__ for k in KINDS] + ["SpikeTrains"])
            raise ValueError(f"neuron: given {type(neuron).__name__}, the engine runs {known}")
        if not np.isfinite(getattr(neuron, "refractory", 0.0)):
            raise ValueError(f"refractory: given {neuron.refractory}, it must be a finite number of ms")
        if isinstance(neuron, SpikeTrains) and len(neuron.unit):
            if (np.asarray(neuron.unit) % 1 != 0).any():
                raise ValueError(f"unit: given {neuron.unit!r}, units are whole numbers")
            if not 0 <= np.min(neuron.unit) <= np.max(neuron.unit) < n:
                raise ValueError(
                    f"unit: given {np.min(neuron.unit)} to {np.max(neuron.unit)}, there are units 0 to {n - 1}"
                )
        if isinstance(neuron, SpikeTrains):
            at = np.rint(np.asarray(neuron.time, float) / self.dt)
            if len(set(zip(neuron.unit, at, strict=True))) < len(at):
                raise ValueError(
                    f"time: given two spikes of one unit within a step, dt = {self.dt} ms, which holds one"
                )
        for field in ("tau_m", "tau_w", "tau_a", "tau_e", "tau_i", "tau_s", "tau_syn"):
            tau = getattr(neuron, field, None)
            if tau is not None and tau < self.dt:
                raise ValueError(f"{field}: given {tau} ms, less than the step dt = {self.dt} ms: times are in ms")
        k = len(self.populations)
        made = Population(self, k, int(n), neuron, drive, v, name or f"population {k}")
        self.populations.append(made)
        return made

    def connect(
        self,
        pre: Population,
        post: Population,
        *,
        fan_in: int | None = None,
        probability: float | None = None,
        one_to_one: bool = False,
        matrix: Any = None,
        autapses: bool | None = None,
        weight: Any = None,
        tau_syn: float | None = None,
        onto: str | None = None,
        delay_axonal: Any = None,
        delay_dendritic: Any = 0.0,
        rule: SpikeRule | None = None,
        w_min: float | None = None,
        w_max: float = np.inf,
        normalise: tuple[float, float] | None = None,
    ) -> Projection:
        """Synapses from pre onto post; a spike adds its weight to the post neuron's current, which decays with tau_syn.

        Who: fan_in different pre units for each post unit, or each pair with a probability, or one to one, or a scipy.sparse
        matrix [post, pre] (its entries are the weights), or, with none of them, all to all; autapses: may fan_in, probability
        and all to all let a neuron reach itself (default: no, where pre is post)?
        weight: a number (default 1), one per synapse (sorted by pre, then by post), or a function (generator, number) of them.
        tau_syn: None, the neuron's own (LIF), or one step; onto: "g_e" or "g_i" of ConductanceLIF.
        delay_axonal: ms from a pre spike to its synapses, at least dt (default), a number or one per pre unit;
        delay_dendritic: ms from a post spike back to its synapses, a number or one per post unit; both to the nearest step.
        rule: changes weights within w_min .. w_max, default 0 .. inf with a rule. normalise: (sum, every ms) of the incoming
        weights, before they are clipped. ValueError names the argument and what is allowed.
        """
        self._open("connect")
        for name, p in (("pre", pre), ("post", post)):
            if getattr(p, "net", None) is not self:
                other = getattr(p, "net", None)
                clocks = (
                    f", whose step is dt = {other.dt} ms and not {self.dt} ms" if other and other.dt != self.dt else ""
                )
                raise ValueError(
                    f"{name}: given {p!r}{' of another network' if other else ''}{clocks}, it must be a population of this one"
                )
        if isinstance(post.neuron, INPUTS):
            raise ValueError(f"post: given {post!r}, an input population has no incoming synapses")
        ways = {"fan_in": fan_in, "probability": probability, "one_to_one": one_to_one or None, "matrix": matrix}
        if len(given := [n for n, x in ways.items() if x is not None]) > 1:
            raise ValueError(f"{given[1]}: given together with {given[0]}, choose one")
        autapses = pre is not post if autapses is None else autapses
        g, size = self.generator, (pre.n, post.n)
        wiring = (
            wired.by_fan_in(*size, fan_in, autapses or pre is not post, g) if fan_in is not None
            else wired.by_probability(*size, probability, autapses or pre is not post, g) if probability is not None
            else wired.one_to_one(*size) if one_to_one
            else wired.explicit(matrix, *size) if matrix is not None
            else wired.all_to_all(*size, autapses or pre is not post)
        )  # fmt: skip
        if matrix is not None and weight is not None:
            raise ValueError("weight: given together with matrix, whose entries are the weights")
        low = (0.0 if rule else -np.inf) if w_min is None else w_min
        if np.isnan(number("w_max", w_max)):
            raise ValueError(f"w_min, w_max: given {w_min!r} and {w_max!r}, each is one number")
        if np.isnan(number("w_min", low)):
            raise ValueError(f"w_min: given {w_min}, expected a number")
        if not low <= w_max:
            raise ValueError(f"w_max: given {w_max}, it must not lie below w_min = {low}")
        value = wiring.weight if matrix is not None else 1.0 if weight is None else weight
        value = value(g, wiring.size) if callable(value) else value
        first = weights_of(value, wiring, low, w_max, self.dtype)
        key, tau = channel_of(post.neuron, tau_syn, onto, self.dt)
        if onto is not None and first.min(initial=0) < 0:
            raise ValueError(f"weight: given {first.min():g}, a conductance, as {onto}, is 0 or more")
        axonal = steps("delay_axonal", self.dt if delay_axonal is None else delay_axonal, pre.n, self.dt, 1)
        dendritic = steps("delay_dendritic", delay_dendritic, post.n, self.dt, 0)
        if rule is not None:
            check_rule(rule, self.dt)
        made = Projection(
            self, len(self.projections), pre, post, wiring._replace(weight=None), first, key,
            None if tau is None else float(tau), axonal, dendritic, rule, float(low), float(w_max),
            normalising(normalise, self.dt),
        )  # fmt: skip
        self.projections.append(made)
        return made

    def _open(self, what: str) -> None:
        if self.ready is not None:
            raise ValueError(
                f"{what}: this network has run, or its state was asked for; add populations and projections before that"
            )

    # ------------------------------------------------------------------------------------------ its run
    def made(self) -> Ready:
        """The arrays, made when they are first needed."""
        if self.ready is None:
            from neurosim.engine.build import build

            self.ready = build(self)
        return self.ready

    @property
    def t(self) -> float:
        """ms simulated so far."""
        return 0.0 if self.ready is None else float(self.ready.clock[0] * self.dt)

    @property
    def signal_names(self) -> list[str]:
        """Modulators and their traces, in the order in which an environment is given them."""
        return list(self.made().signals)

    def signal(self, **values: float) -> None:
        """What rules are told from the next step on: net.signal(dopamine=1.0); `signal_names` has the names. What a gate reads
        is 0 until it is told; what multiplies a term or a time constant must be told before a run. ValueError for a name that
        no rule reads, or a time constant below dt.
        """
        ready = self.made()
        for name, value in values.items():
            at = ready.signals.get(name)
            of = ready.gates.signal["of"]
            if at is None or of[at] >= 0:
                known = [n for n, i in ready.signals.items() if of[i] < 0]
                raise ValueError(f"signal: given {name!r}, the rules of this network read {', '.join(known) or 'none'}")
            if not np.isfinite(number(name, value)):
                raise ValueError(f"{name}: given {value}, a signal is one finite number")
            parts = ready.decays.part[ready.decays.part["signal"] == at]
            if len(parts) and value < self.dt * parts["rate"].max() * (1 - 1e-9):
                least = self.dt * parts["rate"].max()
                raise ValueError(f"{name}: given {value}, a time constant would be below dt; at least {least:g}")
            ready.gates.signal["value"][at] = value

    def run(
        self,
        duration: float,
        record: Sequence[Any] = (),
        *,
        ceiling: float | None = None,
        each: tuple[float, Callable[[Network], None]] | None = None,
        environment: Environment | None = None,
        to: Path | str | None = None,
    ) -> Recording:
        """`duration` ms further. Recorded is what `record` asks for; Ctrl-C ends the run and returns what there is.

        ceiling: Hz; a population whose mean rate over 100 ms is above it stops the run with `BlowUp`, as NaN does.
        each: (ms, function), called with the network every so many ms, first after so many.
        environment: a closed loop in the compiled one; it may end the run.
        to: a folder without an earlier run's parts, that recordings are streamed to.
        """
        from neurosim.engine.run import run

        return run(self, duration, record, ceiling, each, environment, None if to is None else Path(to))

    def run_replicas(
        self,
        n: int,
        duration: float,
        record: Sequence[Any] = (),
        *,
        prepare: Callable[[Network], None] | None = None,
        workers: int = 2,
    ) -> list[tuple[Network, Recording]]:
        """n copies go on from here, each with its own weights and random numbers, side by side; this network stays as it is.

        Wiring and potentials are copied: without Poisson inputs the copies do the same, unless `prepare` varies them. prepare:
        called with each copy first, as lambda net: setattr(net.populations[0], "v", net.generator.uniform(-60, -50, n)).
        Recorded is what `record` asks of this network's populations and projections, of each copy: (copy, recording). Copies
        made at the same time draw the same numbers when they are made again, and no others do. Ctrl-C ends all runs and
        returns what there is.
        """
        from neurosim.engine.replicas import run_replicas

        return run_replicas(self, n, duration, record, prepare, workers)

    def replicas(self, n: int) -> list[Network]:
        """n such copies, to be run as you like: the compiled loop holds no lock, so threads run side by side."""
        from neurosim.engine.replicas import replica

        return [replica(self, k) for k in range(count("n", n, 1))]

    def rest(self) -> None:
        """As before the first run: potentials, currents, traces and eligibility, no spikes on their way. Weights, drives, told
        signals, random numbers and the clock go on."""
        from neurosim.engine.build import rest

        rest(self)

    def save(self, path: Path | str) -> None:
        """All of it, to go on from bit for bit; .npz, without pickle."""
        from neurosim.engine.files import save

        save(self, Path(path))

    @staticmethod
    def load(path: Path | str) -> Network:
        from neurosim.engine.files import load

        return load(Path(path))
