"""Where jobs run: in processes of this computer, or on a Dask cluster. What dies on the way is done again.

    in_processes(work, jobs, workers)      (job, work(job)) of every job, as they end
    on_dask(work, jobs, address)           the same

`work` and what it returns must be picklable; it is sent once to each process, not with each job.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import traceback
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar
from urllib.parse import urlsplit

J = TypeVar("J")  # a job: hashable, picklable, its text says which one it is
R = TypeVar("R")

CONNECT = 5.0  # seconds until an address is taken for dead
TRIES = 3  # a job whose process dies is begun this often
SPAWN = multiprocessing.get_context("spawn")


# ---------------------------------------------------------------------------------------------- on this computer
def in_processes(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[tuple[J, R]]:
    """Run the jobs in `workers` processes. Only the job of a process that dies is lost, and it is done again, with a warning.

    What `work` raises is raised here. ChildProcessError, when all others are done, for jobs whose process died three
    times; ValueError if `work` cannot be sent. When the reader stops half way, or this process ends in whatever way, the
    processes end too.
    """
    todo, deaths, lost = deque(jobs), Counter[J](), []
    packed, crew = _packed(work), []
    try:
        with _deaf():
            crew += [_hire() for _ in range(min(workers, len(todo)))]
        for w in crew:  # all have begun to import by now
            _send_work(w, packed)
            _send_job(w, todo)
        while busy := {w.pipe: w for w in crew if w.job is not None}:
            for pipe in connection.wait(list(busy)):
                w = busy[pipe]
                job = w.job
                try:
                    fine, result = pipe.recv()
                except (EOFError, OSError):  # it died
                    crew.remove(w)
                    deaths[job] += 1
                    if deaths[job] < TRIES:
                        warnings.warn(f"{job}: its process {_end(w)}; it is run again in a new one", stacklevel=2)
                        todo.append(job)
                    else:
                        lost.append(f"{job}: its process {_end(w)}")
                    if todo:
                        with _deaf():
                            crew.append(_hire())
                        _send_work(crew[-1], packed)
                        _send_job(crew[-1], todo)
                    continue
                if not fine:
                    raise result
                _send_job(w, todo)
                yield job, result
    finally:
        for w in crew:
            w.process.terminate()
        for w in crew:
            w.process.join(5)
    if lost:
        raise ChildProcessError(
            f"{'; '.join(lost)}, {TRIES} times; all other cells are finished: free memory or use fewer workers, and start "
            "again"
        )


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Any  # to it and back
    job: Any = None  # what it is doing


def _hire() -> _Worker:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()  # so that its death is seen as the end of the pipe
    return _Worker(process, here)


def _send_work(w: _Worker, packed: bytes) -> None:
    with suppress(OSError):  # if it is dead already, that is seen when its job is waited for
        w.pipe.send_bytes(packed)


def _send_job(w: _Worker, todo: deque[Any]) -> None:
    """Give it the next job; if there is none, let it go."""
    w.job = todo.popleft() if todo else None
    if w.job is None:
        w.pipe.close()
        return
    with suppress(OSError):
        w.pipe.send(w.job)


def _end(w: _Worker) -> str:
    w.process.join(10)
    code = w.process.exitcode
    if code is None or code >= 0:
        return f"{w.process.pid} ended with exit code {code}"
    why = ", perhaps for lack of memory" if -code == getattr(signal, "SIGKILL", 9) else ""
    return f"{w.process.pid} was killed by signal {-code}{why}"


def _packed(work: Any) -> bytes:
    try:
        return pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"workers: what runs in other processes must be picklable ({error}): define it at the top of a file, or give "
            "workers=1"
        ) from error


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes begun here never hear Ctrl-C, not even while they import: it is this process's to answer."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal when it begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Any) -> None:
    """The life of a process: do what comes through the pipe, until it or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    packed, work = pipe.recv_bytes(), None
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            work = work or pickle.loads(packed)
            answer = True, work(job)
        except Exception as error:
            answer = False, _sendable(error)
        pipe.send(answer)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error with where it came from, or its text if it cannot be sent."""
    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


# ---------------------------------------------------------------------------------------------- on a cluster
def on_dask(work: Callable[[J], R], jobs: Sequence[J], address: str) -> Iterator[tuple[J, R]]:
    """Run the jobs on the Dask cluster whose scheduler is at the address; those of a worker that dies run on another.

    What `work` raises is raised here. ValueError if Dask is not installed, ConnectionError if no scheduler or no worker
    answers within seconds, or the scheduler goes away; ChildProcessError for a job on which worker after worker dies.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise ValueError('--dask: Dask is not installed: pip install "neurosim[cluster]"') from None
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said here
    with _connected(Client, address) as client:
        missing = list(jobs)
        for _ in range(TRIES):
            if client.status != "running":  # the scheduler went away
                break
            shared = client.scatter(work, broadcast=True, hash=False)
            run = uuid.uuid4().hex
            futures = {client.submit(_do, shared, j, key=f"{j}-{run}"): j for j in missing}
            for future in as_completed(futures, loop=client.loop):
                job = futures[future]
                if future.cancelled():
                    continue
                try:
                    result = future.result()
                except KilledWorker:
                    raise ChildProcessError(
                        f"{job}: every Dask worker that ran it died, perhaps for lack of memory; the cells that were "
                        "finished are kept: start again with fewer cells a worker or more memory"
                    ) from None
                missing.remove(job)
                future.release()
                yield job, result
            if not missing:
                return
    raise ConnectionError(
        f"--dask {address}: the scheduler or its workers went away; {len(missing)} cells are missing, the others are kept: "
        "start again"
    )


def _do(work: Callable[[J], R], job: J) -> R:
    return work(job)


@contextmanager
def _connected(client_type: Any, address: str) -> Iterator[Any]:
    """A client of the scheduler at tcp://HOST:PORT, which has a worker."""
    place = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        if not (place.hostname and place.port):
            raise ValueError("give tcp://HOST:PORT")
        socket.create_connection((place.hostname, place.port), timeout=CONNECT).close()  # a dead one is known at once
        client = client_type(address, timeout=CONNECT, set_as_default=False)
    except Exception as error:  # another service there answers with anything
        raise ConnectionError(
            f"--dask {address}: no Dask scheduler answers there ({error}): correct the address, or start one with "
            "`dask scheduler`"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=2 * CONNECT)
        except TimeoutError:
            raise ConnectionError(
                f"--dask {address}: the scheduler there has no workers: start some with `dask worker {address} --nthreads 1`"
            ) from None
        yield client
