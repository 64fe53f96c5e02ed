"""The README's and CONTRIBUTING's blocks: Python is run as it stands, commands are known with all their flags."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from neurosim import cli

ROOT = Path(__file__).parents[1]


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.S)


def commands():
    lines = [line.split("#")[0] for block in blocks("README.md", "bash") for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("neurosim ")]


@pytest.mark.parametrize("name", ("README.md", "CONTRIBUTING.md"))
def test_python_blocks_run(name, tmp_path):
    found = blocks(name, "python")
    assert found
    for block in found:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_there_are_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_commands_are_known_with_their_flags(command):
    _, name, *args = shlex.split(command)
    sub = cli.cli.commands[name]
    try:
        sub.make_context(name, args)
    except click.UsageError as error:
        pytest.fail(f"{command}: {error.format_message()}")


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", (ROOT / "README.md").read_text()))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
