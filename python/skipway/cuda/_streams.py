"""Streams, which order work on a device, and events, which mark points in them."""

from __future__ import annotations

import time
from typing import Any

from .. import _core
from ._devices import device, index_of, is_available, set_device

_POOL = 32  # streams per device and priority; they live as long as the process, as memory is cached for each
_pools: dict[tuple[int, int], list[int]] = {}
_turns: dict[tuple[int, int], int] = {}


def _pooled(index: int, priority: int) -> int:
    key = index, priority
    pool, turn = _pools.setdefault(key, []), _turns.get(key, 0)
    _turns[key] = turn + 1
    if len(pool) < _POOL:
        pool.append(_core._cuda_create_stream(index, priority))
        return pool[-1]
    return pool[turn % _POOL]


class Stream:
    """A queue of work on a device: what is on one stream happens in order, streams among each other do not wait.

    Args:
        device: default: the current device.
        priority: 0, or negative for a higher one.

    As a context manager it is the current stream inside the block.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, _handle: int | None = None) -> None:
        index = index_of(device, "Stream")
        self.device = _core.device("cuda", index)
        self.priority = max(-5, min(0, priority))
        self.cuda_stream = _pooled(index, self.priority) if _handle is None else _handle
        self._contexts: list[StreamContext] = []

    @property
    def device_index(self) -> int:
        """The index of its device."""
        return self.device.index

    def synchronize(self) -> None:
        """Waits until all work on it is done. Errors are those of `cuda.synchronize`."""
        _core._cuda_synchronize_stream(self.device.index, self.cuda_stream)

    def query(self) -> bool:
        """Is all work on it done?"""
        return _core._cuda_stream_is_done(self.device.index, self.cuda_stream)

    def record_event(self, event: Event | None = None) -> Event:
        """Records an event (a new one unless given) on it, and returns the event."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Later work on it starts after what is before the event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Later work on it starts after what is on `stream` now."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        context = StreamContext(self)
        context.__enter__()
        self._contexts.append(context)
        return self

    def __exit__(self, *exc: object) -> None:
        self._contexts.pop().__exit__(*exc)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.cuda_stream) == (other.device, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<skipway.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream of another library, by its handle (a `cudaStream_t` as an integer), which must outlive this object."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        super().__init__(device, _handle=stream_ptr)


def current_stream(device: Any = None) -> Stream:
    """The stream on which this thread's work on a device happens."""
    index = index_of(device, "current_stream")
    return Stream(index, _handle=_core._cuda_current_stream(index))


def default_stream(device: Any = None) -> Stream:
    """The stream that is the current one unless another was chosen."""
    return Stream(index_of(device, "default_stream"), _handle=0)


def set_stream(stream: Stream | None) -> None:
    """Makes a stream the current one of its device, and its device the current one. None changes nothing."""
    if stream is not None:
        set_device(stream.device.index)
        _core._cuda_set_stream(stream.device.index, stream.cuda_stream)


class StreamContext:
    """A context manager that makes a stream the current one; see `stream`."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self._device = device(self.stream.device.index)
            self._device.__enter__()
            self._before = _core._cuda_current_stream(self.stream.device.index)
            _core._cuda_set_stream(self.stream.device.index, self.stream.cuda_stream)

    def __exit__(self, *exc: object) -> None:
        if self.stream is not None:
            _core._cuda_set_stream(self.stream.device.index, self._before)
            self._device.__exit__(*exc)


def stream(stream: Stream | None) -> StreamContext:
    """A context manager: `with cuda.stream(s):` puts the block's work on stream s. None changes nothing."""
    return StreamContext(stream)


class Event:
    """A point in a stream's work. Without a device, where ops are done when they return, it is a clock reading.

    Args:
        enable_timing: measure time with `elapsed_time`.
        blocking, interprocess: accepted and ignored.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.enable_timing = enable_timing
        self._event: Any = None
        self._time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Marks the present end of a stream (default: the current one of the current device)."""
        if not is_available():
            self._time = time.perf_counter()
            return
        stream = current_stream() if stream is None else stream
        if self._event is None or self._event.device != stream.device.index:
            self._event = _core._CudaEvent(stream.device.index, self.enable_timing)
        self._event.record(stream.cuda_stream)

    def synchronize(self) -> None:
        """Waits until the device has reached it."""
        if self._event is not None:
            self._event.synchronize()

    def query(self) -> bool:
        """Has the device reached it? True for one that was never recorded."""
        return self._event is None or self._event.done()

    def wait(self, stream: Stream | None = None) -> None:
        """Later work on a stream (default: the current one) starts after it."""
        if self._event is not None:
            stream = current_stream() if stream is None else stream
            self._event.wait(stream.device.index, stream.cuda_stream)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another."""
        if self._time is not None and end_event._time is not None:
            return 1000.0 * (end_event._time - self._time)
        if self._event is None or end_event._event is None:
            raise RuntimeError("elapsed_time: both events must be recorded first")
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("elapsed_time: both events must be made with enable_timing=True")
        return self._event.elapsed_ms(end_event._event)

    def __repr__(self) -> str:
        return f"<skipway.cuda.Event enable_timing={self.enable_timing}>"
