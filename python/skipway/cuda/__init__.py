"""CUDA devices. This build runs on the CPU: nothing is available, and what needs a device is a DeviceError."""

from __future__ import annotations

import importlib
import time
from typing import Any, NoReturn

from .. import _core
from .._core import DeviceError
from .._core import OutOfMemoryError as OutOfMemoryError


def __getattr__(name: str) -> Any:
    if name == "amp":
        return importlib.import_module(__name__ + ".amp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _missing(name: str) -> NoReturn:
    raise DeviceError(f"cuda.{name}: no CUDA device is available: this build of skipway runs on the CPU only")


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def init() -> None:
    """A DeviceError."""
    _missing("init")


def manual_seed(seed: int) -> None:
    """Seeds the default generator, which all devices share."""
    _core.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seeds the default generator, which all devices share."""
    _core.manual_seed(seed)


def seed() -> None:
    """Seeds the default generator from the system's entropy."""
    _core.seed()


def seed_all() -> None:
    """Seeds the default generator from the system's entropy."""
    _core.seed()


def current_device() -> int:
    """A DeviceError."""
    _missing("current_device")


def set_device(device: Any) -> None:
    """A DeviceError, unless `device` is negative, which means none."""
    if not isinstance(device, int) or device >= 0:
        _missing("set_device")


def get_device_name(device: Any = None) -> str:
    """A DeviceError."""
    _missing("get_device_name")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """A DeviceError."""
    _missing("get_device_capability")


def get_device_properties(device: Any = None) -> Any:
    """A DeviceError."""
    _missing("get_device_properties")


def synchronize(device: Any = None) -> None:
    """A DeviceError."""
    _missing("synchronize")


def current_stream(device: Any = None) -> Any:
    """A DeviceError."""
    _missing("current_stream")


def empty_cache() -> None:
    """Does nothing: no memory of a device is cached."""


def ipc_collect() -> None:
    """Does nothing."""


def memory_allocated(device: Any = None) -> int:
    """0."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """0."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """0."""
    return 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Does nothing."""


def reset_max_memory_allocated(device: Any = None) -> None:
    """Does nothing."""


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """A DeviceError; `skipway.memory_stats()` tells of CPU memory."""
    raise DeviceError("cuda.memory_summary: no CUDA device is available; see skipway.memory_stats() for CPU memory")


class device:
    """A context manager that makes a device the current one: a DeviceError unless the index is negative."""

    def __init__(self, device: Any) -> None:
        set_device(-1 if device is None else device)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


class Stream:
    """A DeviceError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _missing("Stream")


class Event:
    """A point in time. On the CPU ops are done when they return, so this is a clock reading."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._time: float | None = None

    def record(self, stream: Any = None) -> None:
        """Takes the time."""
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        """Does nothing: all that came before is done."""

    def query(self) -> bool:
        """True: all that came before is done."""
        return True

    def wait(self, stream: Any = None) -> None:
        """Does nothing."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another."""
        if self._time is None or end_event._time is None:
            raise RuntimeError("elapsed_time: both events must be recorded first")
        return 1000.0 * (end_event._time - self._time)
