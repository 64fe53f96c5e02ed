"""A peer's process and its place on the command line, with a peer made of three lines."""

import sys

import pytest

from neurosim.peers import answered, peer_python, started

ECHO = "print('ready', flush=True)\nfor line in __import__('sys').stdin:\n    print(line.upper().strip(), flush=True)"


def test_the_peers_python_is_taken_out_of_the_arguments():
    assert peer_python(["--quick", "--peer-python", "P", "--seeds", "2"]) == ("P", ["--quick", "--seeds", "2"])
    assert peer_python(["--quick"]) == ("", ["--quick"])
    assert peer_python(["--peer-python"]) == ("", ["--peer-python"])  # without a path: for the parser to refuse


def test_a_peer_answers_and_ends_with_the_block():
    with started(sys.executable, ECHO, "X", "X's rule") as peer:
        assert [answered(peer, word, "rule").strip() for word in ("a", "b")] == ["A", "B"]
    assert peer.poll() == 0


def test_a_peer_that_stops_is_named():
    stops = "print('ready', flush=True); input()"
    with (
        pytest.raises(ValueError, match=f"--peer-python: {sys.executable} stopped while it ran the peer's rule"),
        started(sys.executable, stops, "X", "X's rule") as peer,
    ):
        answered(peer, "a", "rule")
    assert peer.poll() == 0
