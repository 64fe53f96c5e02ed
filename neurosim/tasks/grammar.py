"""A small English whose entropy is known, with verbs that agree with a subject that may be far back.

    sentence  ->  the NOUN  ((near | with) the NOUN)*  VERB the NOUN  (and VERB the NOUN)*  .

    the cats near the hen with the dogs see the cow and like the dogs.

Every verb has the number of the sentence's first noun (cat sees, cats see); the nouns between have either, and how many of
them there are is drawn. The text is made by a unifilar machine, so that the least bits per symbol are computed, not
estimated, and so are those of a predictor that knows all but the number: the difference is what memory is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

NOUNS = ("cat", "cow", "dog", "hen")
VERBS = ("see", "like", "hear", "fear")
ONE, MANY = 0, 1
NOUN_ENDING, VERB_ENDING = ("", "s"), ("s", "")

Arc = tuple[str, float, Hashable]  # what is emitted, with which probability, the node it leads to
Cut = Callable[[str], Sequence[str]]  # a string -> its symbols


def english(cut: Cut = tuple, modify: float = 0.6, join: float = 0.6) -> Machine:
    """The machine of the sentences above; `cut` is `tuple` for characters, `words` for words.

    modify: the probability of one more "near the NOUN" or "with the NOUN"; join: that of one more "and VERB the NOUN".
    All nouns, numbers, verbs and prepositions are equally likely.
    """
    for name, value in (("modify", modify), ("join", join)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be a probability of at least 0 and below 1, but is {value!r}.")
    nouns = [(noun + NOUN_ENDING[number], number) for noun in NOUNS for number in (ONE, MANY)]
    nodes: dict[Hashable, list[Arc]] = {
        "start": [(f"the {noun} ", 1 / len(nouns), ("subject", number)) for noun, number in nouns]
    }
    for n in (ONE, MANY):  # the subject's number
        verbs = [(f"{v}{VERB_ENDING[n]} the ", 1 / len(VERBS), ("object", n)) for v in VERBS]
        more = [f"{where} the {noun} " for where in ("near", "with") for noun, _ in nouns]
        after = [(words, modify / len(more), ("further", n)) for words in more]
        after += [(words, (1 - modify) * p, to) for words, p, to in verbs]
        nodes["subject", n] = nodes["further", n] = after
        nodes["object", n] = [(f"{noun}. ", (1 - join) / len(nouns), "start") for noun, _ in nouns]
        nodes["object", n] += [(f"{noun} and ", join / len(nouns), ("next", n)) for noun, _ in nouns]
        nodes["next", n] = verbs
    return machine(nodes, "start", cut)


def words(string: str) -> list[str]:
    return string.replace(".", " .").split()


def without_number(node: Hashable) -> Hashable:
    """A node of `english` as known to a predictor that forgets the subject's number at every further noun."""
    return node[0] if isinstance(node, tuple) and node[0] in ("further", "next") else node


# ---------------------------------------------------------------------------------------------- the machine
@dataclass(frozen=True, eq=False)
class Machine:
    """In state s the symbol a is emitted with probability p[s, a] and leads to state to[s, a] (-1 where p = 0).

    Unifilar: state and symbol determine the next state. So who knows the first state and all symbols since knows the
    state, and can predict no better than by p[s].
    """

    symbols: tuple[str, ...]
    p: Tensor = field(repr=False)  # [S, V]
    to: Tensor = field(repr=False)  # [S, V]
    places: tuple[tuple[Hashable, tuple[str, ...]], ...] = field(repr=False)  # of a state: its node, what came since
    start: int = 0


def machine(nodes: Mapping[Hashable, Sequence[Arc]], start: Hashable, cut: Cut = tuple) -> Machine:
    """Nodes that emit whole strings -> a machine that emits symbols: at each node a trie of its strings. Only nodes that
    can be reached from the start become states.

    Raises ValueError where a string of a node begins with another one of it: the next state would not be determined.
    """
    weight: dict[tuple[Hashable, tuple[str, ...]], dict[str, float]] = {(start, ()): {}}
    to, reached = {}, [start]
    for node in reached:  # grows as it goes
        for string, probability, target in nodes[node]:
            if probability == 0:
                continue
            reached += [target] if target not in reached else []
            symbols = tuple(cut(string))
            for i, a in enumerate(symbols):
                place, last = (node, symbols[:i]), i + 1 == len(symbols)
                branch = weight.setdefault(place, {})
                end = (target, ()) if last else (node, symbols[: i + 1])
                if a in branch and (last or to[place, a] != end):
                    raise ValueError(
                        f"nodes must not hold a string that begins with another, as {string!r} at {node!r}."
                    )
                branch[a] = branch.get(a, 0.0) + probability
                to[place, a] = end
    places = list(weight)
    number = {place: s for s, place in enumerate(places)}
    alphabet = sorted({a for branch in weight.values() for a in branch})
    p = torch.zeros(len(places), len(alphabet), dtype=torch.float64)
    after = torch.full(p.shape, -1)
    for place, branch in weight.items():
        for a, w in branch.items():
            s, v = number[place], alphabet.index(a)
            p[s, v], after[s, v] = w, number[to[place, a]]
    return Machine(tuple(alphabet), p / p.sum(1, keepdim=True), after, tuple(places))


# ---------------------------------------------------------------------------------------------- text of it
def sample(m: Machine, n: int, length: int, generator: torch.Generator) -> Tensor:
    """n texts of so many symbols, each from the start: [length, n] of indices into `symbols`."""
    up_to = m.p.cumsum(1)
    up_to = up_to / up_to[:, -1:]
    u = torch.rand(length, n, 1, generator=generator, dtype=torch.float64)
    s, text = torch.full((n,), m.start), []
    for u_t in u.unbind(0):
        a = (u_t >= up_to[s]).sum(1)
        s = m.to[s, a]
        text.append(a)
    return torch.stack(text)


def trials(n: int, generator: torch.Generator, m: Machine, T: int) -> tuple[Tensor, Tensor]:
    """x [T, n, V] the one-hot symbols, target [T, n] the next ones."""
    text = sample(m, n, T + 1, generator)
    return torch.eye(len(m.symbols))[text[:-1]], text[1:]


def states(m: Machine, text: Tensor) -> Tensor:
    """The state in which each symbol of texts from the start was emitted. [length, n] -> [length, n]."""
    s, found = torch.full_like(text[0], m.start), []
    for a in text.unbind(0):
        found.append(s)
        s = m.to[s, a]
    return torch.stack(found)


def measured_bits(m: Machine, q: Tensor, text: Tensor) -> Tensor:
    """Mean of -log2 q[s, a] over all symbols of a text but its first. text [1 + T, n] from the start -> [n]."""
    return -q[states(m, text), text][1:].log2().mean(0)


# ---------------------------------------------------------------------------------------------- exact numbers
def transitions(m: Machine) -> Tensor:
    """A[s, r] = sum of p[s, a] over the symbols a that lead from s to r."""
    A = torch.zeros(len(m.p), len(m.p), dtype=m.p.dtype)
    return A.scatter_add(1, m.to.clamp(min=0), m.p)


def stationary(m: Machine) -> Tensor:
    """pi = pi A,  sum of pi = 1: the share of its time that the machine spends in each state, [S]."""
    A = transitions(m)
    equations = A.T - torch.eye(len(A), dtype=A.dtype)
    equations[-1] = 1.0  # one of them follows from the others
    ones = torch.zeros(len(A), dtype=A.dtype)
    ones[-1] = 1.0
    return torch.linalg.solve(equations, ones)


def cost(m: Machine, q: Tensor) -> Tensor:
    """h[s] = -sum_a p[s, a] log2 q[s, a]: what who predicts by q pays in each state, [S] in bits."""
    return -torch.where(m.p > 0, m.p * q.log2(), 0.0).sum(1)


def entropy_rate(m: Machine) -> float:
    """sum_s pi[s] h[s] with q = p: bits per symbol of an endless text."""
    return (stationary(m) @ cost(m, m.p)).item()


def expected_bits(m: Machine, q: Tensor, T: int) -> float:
    """1/T sum_{t=1..T} pi_t h,   pi_{t+1} = pi_t A,   pi_0 = the start: expectation of `measured_bits`.

    With q = p the least that anyone can pay who is shown the symbols from the start and predicts the T after the first.
    """
    A, h = transitions(m), cost(m, q)
    pi = torch.zeros(len(A), dtype=A.dtype)
    pi[m.start] = 1.0
    total = 0.0
    for _ in range(T):
        pi = pi @ A
        total += (pi @ h).item()
    return total / T


def forgetful(m: Machine, known: Callable[[Hashable], Hashable] = without_number) -> Tensor:
    """q[s] = mean of p over the states that look like s, weighted by pi: the best prediction of who sees only `known`.

    Two states look alike if the same was emitted since nodes that `known` maps to the same. [S, V].
    """
    seen = [(known(node), since) for node, since in m.places]
    number = {look: i for i, look in enumerate(dict.fromkeys(seen))}
    group = torch.tensor([number[look] for look in seen])
    pi = stationary(m)[:, None]
    mass = torch.zeros(len(number), 1, dtype=pi.dtype).index_add(0, group, pi)
    q = torch.zeros(len(number), m.p.shape[1], dtype=pi.dtype).index_add(0, group, pi * m.p)
    return (q / mass)[group]


def forgetful_bits(m: Machine, T: int) -> float:
    """Expected bits per symbol of who knows everything but the subject's number, once another noun has come."""
    return expected_bits(m, forgetful(m), T)
