"""The memory of CUDA devices: freed blocks are cached, per stream, and given back when memory runs out."""

from __future__ import annotations

from typing import Any

from .. import _core
from ._devices import device_count, index_of, is_available


def _stats(device: Any, name: str) -> dict[str, int]:
    if not is_available():
        return {}
    index = index_of(device, name)
    return {**_core.memory_stats(f"cuda:{index}"), **_core._cuda_memory_counters(index)}


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by tensors; 0 without a device."""
    return _stats(device, "memory_allocated").get("allocated_bytes", 0)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors used since the start or `reset_peak_memory_stats`."""
    return _stats(device, "max_memory_allocated").get("max_allocated_bytes", 0)


def memory_reserved(device: Any = None) -> int:
    """Bytes held from the device: those in use and cached ones."""
    return _stats(device, "memory_reserved").get("reserved_bytes", 0)


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were held from the device since the start or `reset_peak_memory_stats`."""
    return _stats(device, "max_memory_reserved").get("max_reserved_bytes", 0)


def memory_stats(device: Any = None) -> dict[str, int]:
    """What the allocator counts, under PyTorch's names; empty without a device."""
    s = _stats(device, "memory_stats")
    if not s:
        return {}
    return {
        "allocated_bytes.all.current": s["allocated_bytes"],
        "allocated_bytes.all.peak": s["max_allocated_bytes"],
        "reserved_bytes.all.current": s["reserved_bytes"],
        "reserved_bytes.all.peak": s["max_reserved_bytes"],
        "allocation.all.current": s["blocks"],
        "allocation.all.allocated": s["allocations"],
        "allocation.all.freed": s["allocations"] - s["blocks"] - s["failures"],
        "inactive_split.all.current": s["cached_blocks"],
        "num_alloc_retries": s["retries"],
        "num_ooms": s["failures"],
        "num_device_alloc": s["device_allocations"],
        "num_cache_hits": s["cache_hits"],
        "num_waiting_blocks": s["waiting_blocks"],
    }


def reset_peak_memory_stats(device: Any = None) -> None:
    """Sets the peaks to the present values."""
    if is_available():
        _core.reset_peak_memory_stats(f"cuda:{index_of(device, 'reset_peak_memory_stats')}")


def reset_max_memory_allocated(device: Any = None) -> None:
    """`reset_peak_memory_stats`."""
    reset_peak_memory_stats(device)


def empty_cache() -> None:
    """Gives cached blocks of all devices back; waits for what still uses them."""
    for i in range(device_count()):
        _core.empty_cache(f"cuda:{i}")


def ipc_collect() -> None:
    """Does nothing: device memory is not shared between processes."""


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the device, for all processes."""
    return _core._cuda_memory_info(index_of(device, "mem_get_info"))


def _bytes(n: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024  # type: ignore[assignment]
    return f"{n:.2f} GiB"


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """A table of what the allocator counts, to read.

    Raises:
        DeviceError: without a device; `skipway.memory_stats()` tells of CPU memory.
    """
    index = index_of(device, "memory_summary")
    s = _stats(index, "memory_summary")
    free, total = mem_get_info(index)
    rows = [
        ("in use by tensors", _bytes(s["allocated_bytes"]), _bytes(s["max_allocated_bytes"])),
        ("held from the device", _bytes(s["reserved_bytes"]), _bytes(s["max_reserved_bytes"])),
        ("cached", _bytes(s["reserved_bytes"] - s["allocated_bytes"]), ""),
        ("free on the device", _bytes(free), f"of {_bytes(total)}"),
    ]
    if not abbreviated:
        rows += [
            ("blocks in use", str(s["blocks"]), ""),
            ("blocks cached", str(s["cached_blocks"]), ""),
            ("blocks other streams still use", str(s["waiting_blocks"]), ""),
            ("allocations", str(s["allocations"]), f"{s['cache_hits']} from the cache"),
            ("allocations from the device", str(s["device_allocations"]), ""),
            ("retries after freeing the cache", str(s["retries"]), f"{s['failures']} failed"),
        ]
    title = f"cuda:{index}  {_core._cuda_properties(index)['name']}"
    line = "-" * 68
    body = [f"{name:<32} {now:>16} {peak:>18}" for name, now, peak in [("memory", "now", "peak"), *rows]]
    return "\n".join([line, title, line, body[0], line, *body[1:], line])
