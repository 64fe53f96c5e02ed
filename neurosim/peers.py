"""What studies that run beside a peer share: its Python on the command line, its process, and a panel of ratios."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any


def peer_python(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """PATH of `--peer-python PATH`, "" where it is not given; and the other arguments."""
    rest = list(arguments)
    if "--peer-python" not in rest[:-1]:
        return "", rest
    at = rest.index("--peer-python")
    return rest[at + 1], rest[:at] + rest[at + 2 :]


@contextmanager
def started(python: str, program: str, package: str, what: str) -> Iterator[subprocess.Popen[str]]:
    """The peer's process, once its program has said "ready"; it ends with the block.

    program: Python, which imports `what` of `package` and answers each line with a line. ValueError where there is no Python,
    or it cannot.
    """
    if not python:
        raise ValueError(
            f"--peer-python: not given, but it must be the Python of an environment with {package} (--help)"
        )
    with subprocess.Popen([python, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        try:
            if peer.stdout.readline().strip() != "ready":
                raise ValueError(f"--peer-python: given {python}, it cannot import {what}")
            yield peer
        finally:
            peer.stdin.close()
            peer.wait()


def answered(peer: subprocess.Popen[str], question: str, what: str) -> str:
    """The peer's line to a line. ValueError where it stopped."""
    print(question, file=peer.stdin, flush=True)
    answer = peer.stdout.readline()
    if not answer:
        raise ValueError(f"--peer-python: {peer.args[0]} stopped while it ran the peer's {what}")
    return answer


Line = tuple[str, Sequence[float], Sequence[float], float | None, str]  # name, ours, theirs, target, colour


def ratios(ax: Any, lines: Sequence[Line], peer: str, ticks: Sequence[float]) -> None:
    """Ours / theirs in steps per CPU second: of the medians, and of each repetition; a target in red."""
    for k, (_, ours, theirs, target, colour) in enumerate(lines):
        ax.plot([a / b for a, b in zip(ours, theirs, strict=True)], [k] * len(ours), ".", color=colour, alpha=0.4)
        ax.plot(median(ours) / median(theirs), k, "o", color=colour)
        text = f"{median(ours):,.0f} / {median(theirs):,.0f}"
        ax.annotate(text, (1.01, k), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        if target is not None:
            ax.plot([target] * 2, [k - 0.4, k + 0.4], color="#c00000", linewidth=1.5)
    ax.axvline(1, color="#888888", linestyle="--", linewidth=1)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.set_xticks([], minor=True)
    ax.set_yticks(range(len(lines)), [name for name, *_ in lines])
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.annotate("steps per CPU s\nours / theirs", (1.01, 1.0), xycoords="axes fraction", va="bottom", fontsize=8)
    ax.set_xlabel(f"steps per CPU second / {peer} (1)\nlarge: ratio of medians; small: repetitions; red: target")
