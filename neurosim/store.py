"""Finished cells on disk: a run that was killed and is started again does only what is missing.

One JSON file a cell, written as the cell ends, named by its key (`keys.py`). A file is whole or it is not there; one that
was damaged since is noticed by its checksum, and its cell is run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from neurosim.cell import Cell
from neurosim.checkpoint import write_whole

try:
    import fcntl
except ImportError:  # not on Windows: there two runs are not kept apart
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Store:
    """Finished cells in a folder. Two runs may share it: the same key is the same cell, and files appear whole."""

    folder: Path
    fresh: bool = False  # keep cells, but find none

    def path(self, key: str) -> Path:
        return Path(self.folder) / f"{key}.json"

    def find(self, key: str) -> Cell | None:
        """The cell as it was kept, bit for bit; None if there is none, with a warning if its file is damaged."""
        path = self.path(key)
        if self.fresh or not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["checksum"] == checksum(content["cell"]):
                return Cell(**content["cell"])
        except (ValueError, KeyError, TypeError):
            pass
        warnings.warn(f"{path} is damaged or half written, its cell is run again", stacklevel=2)
        return None

    def keep(self, key: str, cell: Cell) -> None:
        """Write it, whole or not at all."""
        content = {k: v for k, v in asdict(cell).items() if k != "stored"}
        text = json.dumps({"checksum": checksum(content), "cell": content})
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        write_whole(self.path(key), text.encode())


def checksum(content: Any) -> str:
    """Of the text: numbers are written so that they are read back bit for bit, nan as NaN."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------- one run at a time
@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold folder/.NAME.lock, which says process and host: one run at a time writes the files NAME.* there.

    Raises ValueError if another run holds it. The lock of a process that died on this host is taken over; one of another
    host is refused, since whether that process lives cannot be seen from here.
    """
    path = Path(folder) / f".{name}.lock"
    with _locked(path, name) as file:
        file.seek(0)
        file.truncate()
        json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, name: str) -> TextIO:
    """The lock file, opened and held until it is closed or this process ends, however it ends."""
    while True:
        file = path.open("a+")
        held = not _lock(file)
        process, host = _holder(path)
        if held or host not in ("", socket.gethostname()):
            file.close()
            end = "wait until it ends" if held else f"if it is no longer running delete {path}"
            raise ValueError(
                f"{path} is held by process {process} on {host}, which writes {name} there: {end}, "
                "or choose another folder with --out"
            )
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # its holder ended and removed it in between


def _lock(file: TextIO) -> bool:
    """False if another process holds it; True also where the file system knows no locks."""
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _holder(path: Path) -> tuple[str, str]:
    """Process and host as the file says; empty if it says nothing yet."""
    try:
        content = json.loads(path.read_text())
        return str(content["process"]), str(content["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "?", ""
