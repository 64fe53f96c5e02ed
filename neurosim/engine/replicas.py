"""Copies of a network that go on by themselves, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from neurosim.engine import arrays
from neurosim.engine.arguments import count
from neurosim.engine.network import Network
from neurosim.engine.record import Recording, Weights, check_record
from neurosim.engine.run import Interrupt, run

LATER = 0xFFFFFFFF  # in a lineage, before the step at which a replica was made, if that is not 0


def replica(net: Network, k: int) -> Network:
    """A copy that shares the wiring, with weights, state and random numbers of its own: those of no replica of another
    network, of another time or of another k."""
    made, new = net.made(), copy(net)
    steps, new.running = int(made.clock[0]), False
    new.lineage = (*net.lineage, k + 1, *((LATER, steps) if steps else ()))
    fresh = lambda x: type(x)(*(arrays.aligned(a) for a in x))  # noqa: E731
    of = lambda stream: np.random.SeedSequence(net.seed, spawn_key=(stream, *new.lineage))  # noqa: E731
    random_state = of(1).generate_state(2, np.uint64)
    w = arrays.joined([made.wires.w], made.wires.w.dtype)  # in large pages, as the network's
    own = {n: getattr(made.decays, n).copy() for n in ("up", "down") if len(made.decays.clocked)}
    new.ready = made._replace(
        cells=fresh(made.cells), wires=made.wires._replace(w=w), gates=fresh(made.gates),
        decays=made.decays._replace(z=arrays.aligned(made.decays.z), **own), clock=made.clock.copy(), random_state=random_state,
        flags=made.flags.copy(), scalars=made.scalars.copy(), tally=made.tally.copy(),
    )  # fmt: skip
    new.generator = np.random.default_rng(of(2))
    new.populations, new.projections = [copy(p) for p in net.populations], [copy(q) for q in net.projections]
    for p in new.populations:
        p.net = new
    for q in new.projections:
        q.net, q.pre, q.post = new, new.populations[q.pre.index], new.populations[q.post.index]
    return new


def run_replicas(
    net: Network,
    n: int,
    duration: float,
    record: Sequence[Any],
    prepare: Callable[[Network], None] | None,
    workers: int,
) -> list[tuple[Network, Recording]]:
    check_record(net, record)
    count("workers", workers, 1)
    nets = net.replicas(n)
    for new in nets:
        if prepare is not None:
            prepare(new)

    stop = Interrupt()

    def one(new: Network) -> Recording:
        of = lambda r: new.projections if isinstance(r, Weights) else new.populations  # noqa: E731
        asks = [replace(r, of=of(r)[r.of.index]) for r in record]
        return run(new, duration, asks, None, None, None, None, stop)

    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(zip(nets, pool.map(one, nets), strict=True))
    finally:
        stop.close()
