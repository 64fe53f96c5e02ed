"""Spike-timing rules printed as Brian2 code: from the rule's traces and terms, as strings. `brian.run_rule` runs them.

Brian2's step is: state equations, thresholds, synapses (the pre pathway, order -1, then the post pathway, order 1), resets.
With event-driven traces, which decay as exp(-dt/tau), and each trace bumped after it was read, that is the timing contract
of `spike_rule.py`: a coincident pair potentiates. Unlike the tensor form, w changes at every spike, so a weight-dependent
rule follows it. Constants carry their unit, so nothing here needs Brian2. Times in ms.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from neurosim.brian_neurons import Quantity
from neurosim.record import Unsupported
from neurosim.rules.spike_rule import SpikeRule, Term, Trace

__all__ = ["SynapseCode", "script", "synapse_code"]

# names that mean something else in Brian2 code
TAKEN = frozenset("w t dt i j N e pi inf xi lastupdate exp clip int ms Hz mV".split())


@dataclass(frozen=True)
class SynapseCode:
    """A spike rule as Brian2 code. `third` are the modulators it reads: each a TimedArray of that name, [T, post]."""

    model: str
    on_pre: str
    on_post: str
    namespace: Mapping[str, Quantity] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)  # first value by trace, as an expression
    before: str = ""  # run_regularly(..., when="before_synapses"): modulators
    after: str = ""  # run_regularly(..., when="after_synapses"): what eligibility does
    third: tuple[str, ...] = ()
    method: str = (
        "exponential_euler"  # of what is clock-driven: exact where each decays alone, and found sooner than "exact"
    )


class _Names(dict[str, Quantity]):
    """Constants by name; a name that is taken by another value gets a number."""

    def of(self, name: str, value: float, unit: str = "") -> str:
        given, k = name, 2
        while name in self and self[name] != (value, unit):
            name, k = f"{given}_{k}", k + 1
        self[name] = Quantity(value, unit)
        return name


def synapse_code(rule: SpikeRule, w_min: float | None = None, w_max: float | None = None) -> SynapseCode:
    """The rule as Brian2 code, w clipped at the bounds that are given. Raises Unsupported where it cannot be printed.

    A term with a gate becomes an eligibility e_k, de_k/dt = -e_k/tau_e, filled at its event and read at every step.
    """
    names, third = _Names(), {}
    for m in rule.terms:
        check_term(rule, m)
    gates = {m.gate for m in rule.terms}
    model, start, before = ["w : 1"], {}, []
    bumps: dict[str, list[str]] = {"pre": [], "post": []}
    for n, z in rule.traces.items():
        tau = names.of(z.parameter or f"tau_{n}", z.tau, "ms")
        every_step = z.of not in bumps or n in gates or z.clock is not None
        if z.clock is not None:
            third[z.clock], tau = True, f"({tau}*{z.clock}(t, j))"
        model.append(f"d{n}/dt = -{n}/{tau} : 1 ({'clock' if every_step else 'event'}-driven)")
        if z.of in bumps:
            bumps[z.of].append(bumped(n, z, names))
            if z.start:  # a first step decays, too; event-driven traces do not know
                first = names.of(f"start_{n}", z.start)
                start[n] = first if every_step else f"{first}*exp(-dt/{tau})"
        else:
            before.append(told(n, z, names))
            third[z.of] = True
    changes: dict[str, list[str]] = {"pre": [], "post": []}
    filled: dict[str, list[str]] = {"pre": [], "post": []}
    after = []
    for k, m in enumerate(rule.terms):
        event, product = m.factors[0], signed(rule, k, m, names)
        third |= {f: True for f in (*m.factors[1:], m.gate) if f and f not in rule.traces}
        if m.gate is None:
            changes[event].append(product)
            continue
        e, tau_e = f"e_{k}", names.of("tau_e", m.tau_e, "ms")
        model.append(f"d{e}/dt = -{e}/{tau_e} : 1 (clock-driven)")
        filled[event].append(f"{e} += {joined([product])}")
        after.append(f"+{value_of(rule, m.gate)}*{e}*dt/ms")
    low, high = (None if x is None else names.of(n, float(x)) for n, x in (("w_min", w_min), ("w_max", w_max)))
    on = {s: [*filled[s], *changed(changes[s], low, high), *bumps[s]] for s in bumps}  # all terms read w as it was
    given = [*rule.traces, *names, *third, *(f"e_{k}" for k, m in enumerate(rule.terms) if m.gate)]
    for n in given:
        check_name(n)
    if twice := {n for n in given if given.count(n) > 1}:
        raise Unsupported(f"rule: {sorted(twice)[0]} names two things, which Brian2 code must tell apart")
    lines = "\n".join
    return SynapseCode(
        lines(model), lines(on["pre"]), lines(on["post"]), dict(names), start,
        lines(before), lines(changed(after, low, high)), tuple(third),
    )  # fmt: skip


def check_term(rule: SpikeRule, m: Term) -> None:
    own = ("pre", "post")
    if set(m.factors[1:]) & set(own):
        raise Unsupported(
            f"factors: given {m.factors}, Brian2 acts at one spike, a term with two events is not printed"
        )
    if m.gate in own or (m.gate in rule.traces and rule.traces[m.gate].of == "pre"):
        raise Unsupported(
            f"gate: given {m.gate!r}, only a modulator, a trace of one or a trace of post is printed as a gate"
        )


def check_name(n: str) -> None:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", n) and not n.endswith(("_pre", "_post"))
    if not plain or keyword.iskeyword(n) or n in TAKEN:
        raise Unsupported(f"rule: the name {n!r} of a trace, parameter or modulator is none that Brian2 code can use")


def bumped(n: str, z: Trace, names: _Names) -> str:
    bump = "1" if z.bump == 1 else names.of(f"bump_{n}", z.bump)
    return f"{n} {'=' if z.nearest else '+='} {bump}"


def told(n: str, z: Trace, names: _Names) -> str:
    x = f"{z.of}(t, j)"
    grown = x if z.bump == 1 else f"{names.of(f'bump_{n}', z.bump)}*{x}"
    return f"{n} = int({x} > 0)*{grown} + int({x} <= 0)*{n}" if z.nearest else f"{n} += {grown}"


def value_of(rule: SpikeRule, name: str) -> str:
    return name if name in rule.traces else f"{name}(t, j)"


def signed(rule: SpikeRule, k: int, m: Term, names: _Names) -> str:
    """+ or - |gain| f(w) factors; the sign comes first."""
    parts = [names.of(m.parameter or f"A_{k}", abs(m.gain))]
    if f := m.weight:
        base = "w" if f.w_max is None else f"{names.of('w_max', f.w_max)} - w"
        base = base if f.w0 == 1 else f"{base if base == 'w' else f'({base})'}/{names.of('w0', f.w0)}"
        parts.append(f"clip({base}, 0, inf)" + ("" if f.mu == 1 else f"**{names.of('mu', f.mu)}"))
    return ("-" if m.gain < 0 else "+") + "*".join([*parts, *(value_of(rule, n) for n in m.factors[1:])])


def joined(products: list[str]) -> str:
    return " ".join(f"{p[0]} {p[1:]}" for p in products).removeprefix("+ ")


def changed(products: list[str], low: str | None, high: str | None) -> list[str]:
    """w plus the products, within the bounds."""
    if not products:
        return []
    if low is None and high is None:
        down = all(p[0] == "-" for p in products)
        return [f"w -= {joined(['+' + p[1:] for p in products])}" if down else f"w += {joined(products)}"]
    return [f"w = clip(w {joined(['+w', *products])[2:]}, {low or '-inf'}, {high or 'inf'})"]


# ---------------------------------------------------------------------------------------------- a whole program
def script(rule: SpikeRule, name: str = "A spike-timing rule") -> str:
    """A program for Brian2 as it is: ten synapses between Poisson trains of 20 Hz, 1 s. Raises Unsupported."""
    code = synapse_code(rule)
    constants = "".join(f"{n} = {q}\n" for n, q in code.namespace.items())
    pulses = "".join(
        f"{n} = TimedArray([[0.0]*10, [1.0]*10], dt=500*ms)  # [step, post]: it is there in the second half\n"
        for n in code.third
    )
    texts = "".join(f'{n} = """\n{getattr(code, n)}\n"""\n' for n in ("model", "on_pre", "on_post"))
    first = "".join(f'synapses.{n} = "{x}"\n' for n, x in code.start.items())
    steps = "".join(
        f'synapses.run_regularly("""\n{text}\n""", when="{when}_synapses")\n'
        for when, text in (("before", code.before), ("after", code.after))
        if text
    )
    return f'''"""{name}, as Brian2 code.

Within a step: traces decay exactly, then pre spikes, then post spikes. A trace is read before its own bump, so a coincident
pair potentiates.
"""

from brian2 import *

# For C++ standalone (it needs a compiler, and builds in the folder "output") take the # off the next line:
# set_device("cpp_standalone", directory="output")

seed(1)
defaultclock.dt = 0.1*ms

{constants}{pulses}
{texts}
pre = PoissonGroup(10, rates=20*Hz)
post = PoissonGroup(10, rates=20*Hz)
synapses = Synapses(pre, post, model, on_pre=on_pre, on_post=on_post, method="{code.method}")
synapses.connect(j="i")
synapses.w = 0.5
{first}{steps}
run(1*second)
print("w, from 0.5:", synapses.w[:])
'''
