"""The workers behind DataLoader: processes that talk through a socket, or threads that talk through queues.

A worker answers its tasks in the order they came, so the loader needs no reordering: it deals tasks out in turn and
reads the answers in the same turn. Large arrays travel through anonymous shared memory (memfd), which the system frees
with its last user, whatever happens to either side.
"""

from __future__ import annotations

import io
import mmap
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import random
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._random import Stream

_HEADER = struct.Struct("<QQ")  # bytes of the pickle, bytes of shared memory (0: none)
_SHARE_FROM = 1 << 16  # bytes of array data from which a message uses shared memory


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


# ---------------------------------------------------------------------------------------------------------- messages


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        import skipway as sw

        if type(obj) is not sw.Tensor:
            return NotImplemented
        array = obj.detach().numpy()
        if array.dtype.name == "bfloat16":  # not known to the buffer protocol
            return _rebuild_tensor, (array.view(np.uint16), "bfloat16")
        return _rebuild_tensor, (array, None)


def _rebuild_tensor(array: np.ndarray, dtype: str | None) -> Any:
    import skipway as sw

    if dtype == "bfloat16":
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    return sw.from_numpy(array)


def _fork_copies() -> list[socket.socket]:
    """The loader's ends of all sockets: a forked worker has copies of them, which would hide the loader's death."""
    with _ends_lock:
        return list(_ends)


_ends: set[socket.socket] = set()
_ends_lock = threading.Lock()


class Channel:
    """Objects over a stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, obj: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        _Pickler(stream, 5, buffer_callback=buffers.append).dump(obj)
        raws = [b.raw() for b in buffers]
        total = sum(-(-r.nbytes // 64) * 64 for r in raws)
        if raws and (total < _SHARE_FROM or not hasattr(os, "memfd_create")):
            stream = io.BytesIO()
            _Pickler(stream, 5).dump(obj)
            raws, total = [], 0
        payload = stream.getbuffer()
        if not raws:
            self.sock.sendall(_HEADER.pack(payload.nbytes, 0))
            self.sock.sendall(payload)
            return
        fd = os.memfd_create("skipway-batch", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, total)
            with mmap.mmap(fd, total) as memory:
                at = 0
                for r in raws:
                    memory[at : at + r.nbytes] = r
                    at += -(-r.nbytes // 64) * 64
            socket.send_fds(self.sock, [_HEADER.pack(payload.nbytes, total)], [fd])
        finally:
            os.close(fd)
        self.sock.sendall(struct.pack("<Q", len(raws)) + struct.pack(f"<{len(raws)}Q", *(r.nbytes for r in raws)))
        self.sock.sendall(payload)

    def receive(self) -> Any:
        header, fds, _, _ = (
            socket.recv_fds(self.sock, _HEADER.size, 1)
            if hasattr(socket, "recv_fds")
            else (self.sock.recv(_HEADER.size), [], 0, None)
        )
        try:
            if not header:
                raise EOFError
            header += self._exactly(_HEADER.size - len(header))
            size, total = _HEADER.unpack(header)
            if not total:
                return pickle.loads(self._exactly(size))
            (count,) = struct.unpack("<Q", self._exactly(8))
            lengths = struct.unpack(f"<{count}Q", self._exactly(8 * count))
            payload = self._exactly(size)
            # A copy: mapping the memory would keep a file descriptor open for as long as the batch lives.
            memory = np.empty(total, np.uint8).data
            at = 0
            while at < total:
                at += os.preadv(fds[0], [memory[at:]], at)
        finally:
            for fd in fds:
                os.close(fd)
        buffers, at = [], 0
        for n in lengths:
            buffers.append(memory[at : at + n])
            at += -(-n // 64) * 64
        return pickle.loads(payload, buffers=buffers)

    def _exactly(self, n: int) -> bytearray:
        data = bytearray(n)
        view = memoryview(data)
        while view:
            got = self.sock.recv_into(view)
            if not got:
                raise EOFError
            view = view[got:]
        return data

    def close(self) -> None:
        self.sock.close()


class Failure:
    """An exception of a worker, on its way to the user."""

    def __init__(self, where: str) -> None:
        kind, value, _ = sys.exc_info()
        assert kind is not None
        self.text = f"Caught {kind.__name__} in {where}.\nOriginal {traceback.format_exc()}"
        try:
            pickle.dumps(kind)
            self.kind: type[BaseException] = kind
        except Exception:
            self.kind = RuntimeError

    def reraise(self) -> None:
        if self.kind is KeyError:
            raise KeyError(_Verbatim(self.text))
        try:
            error = self.kind(self.text)
        except Exception:  # an exception type with other arguments
            raise RuntimeError(self.text) from None
        raise error


class _Verbatim(str):
    """KeyError shows the repr of its argument, which would hide a traceback's line breaks."""

    def __repr__(self) -> str:
        return str(self)


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
