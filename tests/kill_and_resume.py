"""Kill `neurosim compare` at random moments, start it again each time, and hold its CSV against an undisturbed run's.

    python tests/kill_and_resume.py --kills 10

Only the command itself is killed (SIGKILL), as the kernel would: its worker processes must end by themselves. Half
of the moments are drawn from the whole time that a run takes, half from the time after its first new cell was kept. When
a run ends before its moment has come, its CSV is compared and the next run begins in an empty folder, until all kills are
done; the last run is left to end. Exit code 0 if every CSV is identical, 1 if not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = "compare digits --quick --seeds 4 --rules backprop,oja,frozen,feedback-alignment --workers 2"
CSV = "compare-digits-mlp.csv"


def begin(out: Path, command: str) -> subprocess.Popen[str]:
    """The command as a user runs it, in a process group of its own."""
    argv = [sys.executable, "-c", "from neurosim.cli import main; main()", *command.split(), "--out", str(out)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def cells(out: Path) -> int:
    return len(list((out / ".cells").glob("*.json")))


def first_cell(p: subprocess.Popen[str], out: Path, before: int) -> None:
    """Wait until the run has kept a new cell, or has ended."""
    while p.poll() is None and cells(out) == before:
        time.sleep(0.02)


def left_running(group: int, patience: float = 20.0) -> bool:
    """Is any process of the group still there after some seconds?"""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def finish(p: subprocess.Popen[str], out: Path, want: bytes) -> bool:
    text, errors = p.communicate()
    if p.returncode or errors:
        print(f"   exit code {p.returncode}: {errors.strip()}")
        return False
    same = (out / CSV).read_bytes() == want
    print(f"   ended, CSV {'identical' if same else 'DIFFERENT'}: {text.strip().splitlines()[-1]}", flush=True)
    return same


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    ask.add_argument("--kills", type=int, default=10)
    ask.add_argument("--seed", type=int, default=0, help="of the random moments")
    ask.add_argument("--command", default=COMMAND)
    ask.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    given = ask.parse_args()
    folder, draw = given.folder or Path(tempfile.mkdtemp()), random.Random(given.seed)

    start, undisturbed = time.perf_counter(), folder / "undisturbed"
    p = begin(undisturbed, given.command)
    first_cell(p, undisturbed, 0)
    middle = time.perf_counter()
    text, errors = p.communicate()
    if p.returncode:
        print(text, errors)
        return 1
    end = time.perf_counter()
    whole, after_first = end - start, end - middle
    want = (undisturbed / CSV).read_bytes()
    print(f"undisturbed: {whole:.1f} s, {cells(undisturbed)} cells, {len(want):,} bytes of CSV", flush=True)

    out, fine, kills = folder / "killed", True, 0
    while kills < given.kills:
        start, before = time.perf_counter(), cells(out)
        p = begin(out, given.command)
        if kills % 2:
            first_cell(p, out, before)
            moment = draw.uniform(0, after_first)
        else:
            moment = draw.uniform(0, whole)
        try:
            p.wait(moment)
        except subprocess.TimeoutExpired:
            os.kill(p.pid, signal.SIGKILL)
            kills += 1
            p.communicate()
            print(f"kill {kills:2d} after {time.perf_counter() - start:5.1f} s: {cells(out)} cells kept", flush=True)
            if left_running(p.pid):
                print("   its workers did not end")
                fine = False
        else:
            fine &= finish(p, out, want)
            shutil.rmtree(out)
    fine &= finish(begin(out, given.command), out, want)
    print(f"{kills} kills, every CSV identical to the undisturbed run's" if fine else "NOT the same")
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
