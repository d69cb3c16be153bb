"""Which devices there are, and which one is the current one of this thread."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .. import _core
from .._core import DeviceError


def device_count() -> int:
    """The number of CUDA devices; 0 without a driver, or where this build has no CUDA kernels."""
    return _core._cuda_device_count()


def is_available() -> bool:
    """Is there a CUDA device, and can this build use it?"""
    return device_count() > 0


def require(name: str) -> None:
    """A DeviceError that says why there is no device, unless there is one."""
    reason = _core._cuda_reason()
    if reason is not None:
        raise DeviceError(f"cuda.{name}: no CUDA device is available: {reason}")


def index_of(device: Any, name: str) -> int:
    """The index that a device, its name, an index or None (the current device) stands for."""
    require(name)
    if device is None:
        return _core._cuda_current_device()
    if isinstance(device, int) and not isinstance(device, bool):
        index = device
    else:
        wanted = _core.device(device)
        if wanted.type != "cuda":
            raise ValueError(f"cuda.{name}: expected a CUDA device, got {device!r}")
        index = wanted.index
    count = device_count()
    if not 0 <= index < count:
        raise DeviceError(f"cuda.{name}: expected a device index below {count}, the number of devices, got {index}")
    return index


_initialized = [False]


def init() -> None:
    """Opens the first device, which otherwise happens when it is first used.

    Raises:
        DeviceError: if there is none; the message says why.
    """
    require("init")
    _core._cuda_synchronize(_core._cuda_current_device())
    _initialized[0] = True


def is_initialized() -> bool:
    """Has a device been used?"""
    return _initialized[0] or any(_core.memory_stats(f"cuda:{i}")["allocations"] for i in range(device_count()))


def current_device() -> int:
    """The index of the device that "cuda" stands for in this thread."""
    require("current_device")
    return _core._cuda_current_device()


def set_device(device: Any) -> None:
    """Makes a device the one that "cuda" stands for in this thread. A negative index changes nothing."""
    if isinstance(device, int) and device < 0:
        return
    _core._cuda_set_device(index_of(device, "set_device"))


class device:
    """A context manager that makes a device the current one. None or a negative index changes nothing."""

    def __init__(self, device: Any) -> None:
        nothing = device is None or isinstance(device, int) and device < 0
        self.idx = -1 if nothing else index_of(device, "device")
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            self.prev_idx = _core._cuda_current_device()
            set_device(self.idx)

    def __exit__(self, *exc: object) -> None:
        set_device(self.prev_idx)


class device_of(device):
    """A context manager that makes a tensor's device the current one; a tensor on the CPU changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.device if obj.is_cuda else None)


def synchronize(device: Any = None) -> None:
    """Waits until the device has done everything that was asked of it.

    Raises:
        IndexError: if a kernel met an index or a target out of range.
        DeviceError: if a kernel failed; the message names the kernels that ran last.
    """
    _core._cuda_synchronize(index_of(device, "synchronize"))


class CudaDeviceProperties(SimpleNamespace):
    """name, major, minor (of the compute capability), total_memory in bytes, multi_processor_count, L2_cache_size."""


def get_device_properties(device: Any = None) -> Any:
    """The device's name, compute capability, memory in bytes and number of multiprocessors, as attributes."""
    return CudaDeviceProperties(**_core._cuda_properties(index_of(device, "get_device_properties")))


def get_device_name(device: Any = None) -> str:
    """The device's name."""
    return _core._cuda_properties(index_of(device, "get_device_name"))["name"]


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability, such as (9, 0)."""
    found = _core._cuda_properties(index_of(device, "get_device_capability"))
    return found["major"], found["minor"]


def get_arch_list() -> list[str]:
    """The architectures that this build's kernels were compiled for; empty without CUDA kernels."""
    return [word.strip() for word in _core._cuda_description().split(",")[1:]] if is_available() else []


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Are there bfloat16 instructions (compute capability 8.0)? Older devices compute bfloat16 in float32."""
    return is_available() and (including_emulation or get_device_capability() >= (8, 0))


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """False: copies between devices go through the driver."""
    index_of(device, "can_device_access_peer")
    index_of(peer_device, "can_device_access_peer")
    return False
