"""What a DataLoader and its worker processes say to each other: objects, and the exceptions of workers, over a socket.

Large arrays travel through anonymous shared memory (memfd), which the system frees with its last user, whatever happens
to either side.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
import sys
import traceback
from typing import Any

import numpy as np

_HEADER = struct.Struct("<QQ")  # bytes of the pickle, bytes of shared memory (0: none)
_SHARE_FROM = 1 << 16  # bytes of array data from which a message uses shared memory


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
