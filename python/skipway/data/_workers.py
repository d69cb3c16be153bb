"""The workers behind DataLoader: processes that talk through a socket, or threads that talk through queues.

A worker answers its tasks in the order they came, so the loader needs no reordering: it deals tasks out in turn and
reads the answers in the same turn.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import queue
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._channel import Channel, Failure
from ._random import Stream


@dataclass(frozen=True)
class WorkerInfo:
    """What ``get_worker_info()`` returns inside a worker."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_local = threading.local()
_process_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """``id``, ``num_workers``, ``seed`` and ``dataset`` of the DataLoader worker that calls, None elsewhere."""
    return getattr(_local, "info", _process_info)


_ends: set[socket.socket] = set()
_ends_lock = threading.Lock()


def _fork_copies() -> list[socket.socket]:
    """The loader's ends of all sockets: a forked worker has copies of them, which would hide the loader's death."""
    with _ends_lock:
        return list(_ends)


# ----------------------------------------------------------------------------------------------------------- serving

Fetch = Callable[[Any], Any]


class End:
    """The answer of a worker whose iterable dataset has no more."""


@dataclass
class Job:
    """All that a worker is made of."""

    dataset: Any
    make_fetch: Callable[[Any], Fetch]
    init: Callable[[int], Any] | None
    id: int
    num_workers: int
    seed: int
    where: str

    def info(self) -> WorkerInfo:
        return WorkerInfo(self.id, self.num_workers, self.seed, self.dataset)


def serve(job: Job, tasks: Iterator[Any], answer: Callable[[Any], None]) -> None:
    """Tasks are ("epoch", number) and ("fetch", index); answers are (epoch, value | End | Failure)."""
    fetch: Fetch | None = None
    failure: Failure | None = None
    epoch, ended = -1, False
    try:
        if job.init is not None:
            job.init(job.id)
    except Exception:
        failure = Failure(job.where)
    for kind, argument in tasks:
        if kind == "epoch":
            epoch, ended, fetch = argument, False, None
            continue
        value: Any
        if failure is not None:
            value = failure
        elif ended:
            value = End()
        else:
            try:
                fetch = fetch or job.make_fetch(job.dataset)
                value = fetch(argument)
            except StopIteration:
                ended, value = True, End()
            except Exception:
                value = Failure(job.where)
        try:
            answer((epoch, value))
        except (OSError, EOFError):
            return
        except Exception:  # a value that cannot be pickled
            answer((epoch, Failure(job.where)))


def _process_main(job: Job, sock: socket.socket, forked: bool, parent: int) -> None:
    global _process_info
    import skipway as sw

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's to handle; it stops its workers
    if forked:
        for end in _fork_copies():
            end.close()
        _ends.clear()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    sw.set_num_threads(1)
    random.seed(job.seed)
    np.random.seed(int(Stream(job.seed, job.id).words(1)[0] & np.uint64(0xFFFFFFFF)))
    sw.manual_seed(job.seed)
    _process_info = job.info()
    channel = Channel(sock)

    # A thread takes the tasks in, so that the loader never waits to hand one out while this worker waits to answer.
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def take_in() -> None:
        try:
            while True:
                inbox.put(channel.receive())
        except (OSError, EOFError):
            inbox.put(None)

    threading.Thread(target=take_in, daemon=True).start()
    serve(job, iter(inbox.get, None), channel.send)


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


class ProcessWorker:
    def __init__(self, job: Job, context: Any) -> None:
        forked = context.get_start_method() == "fork"
        ours, theirs = socket.socketpair()
        with _ends_lock:
            _ends.add(ours)
        self.id = job.id
        self.channel = Channel(ours)
        # A forkserver's children are not ours: they watch the server, which ends with us.
        parent = os.getpid() if context.get_start_method() != "forkserver" else 0
        self.process = context.Process(target=_process_entry, args=(job, theirs, forked, parent), daemon=True)
        with warnings.catch_warnings():
            # Python warns of fork in a process with threads; the library's own threads survive it.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def put(self, task: Any) -> None:
        try:
            self.channel.send(task)
        except OSError:
            raise self._death() from None

    def get(self, timeout: float) -> Any:
        waiting = [self.channel.sock, self.process.sentinel]
        ready = multiprocessing.connection.wait(waiting, timeout or None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds waiting for worker {self.id}")
        try:
            if self.channel.sock in ready or multiprocessing.connection.wait([self.channel.sock], 0):
                return self.channel.receive()
        except (OSError, EOFError):
            pass
        raise self._death()

    def _death(self) -> RuntimeError:
        self.process.join(1.0)
        code = self.process.exitcode
        how = f"exited unexpectedly with code {code}"
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
            if code == -signal.SIGKILL:
                how += "; the system does that to processes when memory runs out"
        return RuntimeError(f"DataLoader worker {self.id} (pid {self.process.pid}) {how}")

    def close(self) -> None:
        with _ends_lock:
            _ends.discard(self.channel.sock)
        self.channel.close()

    def join(self, deadline: float) -> None:
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(1.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _process_entry(job: Job, sock: socket.socket, forked: bool, parent: int) -> None:
    _process_main(job, sock, forked, parent or os.getppid())


class ThreadWorker:
    def __init__(self, job: Job) -> None:
        self.id = job.id
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_thread_main, args=(job, self.inbox, self.outbox), daemon=True).start()

    def put(self, task: Any) -> None:
        self.inbox.put(task)

    def get(self, timeout: float) -> Any:
        try:
            return self.outbox.get(timeout=timeout or None)
        except queue.Empty:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds waiting for worker {self.id}") from None

    def close(self) -> None:
        self.inbox.put(None)

    def join(self, deadline: float) -> None:
        pass  # a thread ends after its present task


def _thread_main(job: Job, inbox: queue.SimpleQueue, outbox: queue.SimpleQueue) -> None:
    _local.info = job.info()
    serve(job, iter(inbox.get, None), outbox.put)


def shut_down(workers: list[Any], owner: int) -> None:
    """Ends the workers; in a fork of the process that started them, does nothing."""
    if os.getpid() != owner:
        return
    for w in workers:
        w.close()
    deadline = time.monotonic() + 0.5
    for w in workers:
        w.join(deadline)
    workers.clear()


def default_context() -> Any:
    """Fork where the system can (Linux), the platform's own default elsewhere."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)
