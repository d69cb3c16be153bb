"""The allocator, pinned memory, streams and events."""

from __future__ import annotations

import gc
import os

import pytest
import skipway as sw
from cuda_emulator.control import Emulator

MIB = 2**20


def emulator() -> Emulator | None:
    path = os.environ.get("SKIPWAY_CUDA_LIBRARY")
    return Emulator(path) if path else None


def test_counts() -> None:
    gc.collect()  # graphs of other tests keep memory
    sw.cuda.empty_cache()
    before = sw.cuda.memory_allocated()
    sw.cuda.reset_peak_memory_stats()
    x = sw.empty(MIB, dtype=sw.uint8, device="cuda")
    assert sw.cuda.memory_allocated() == before + MIB
    y = sw.empty(MIB, dtype=sw.uint8, device="cuda")
    del y
    assert sw.cuda.memory_allocated() == before + MIB and sw.cuda.max_memory_allocated() == before + 2 * MIB
    assert sw.cuda.memory_reserved() >= before + 2 * MIB
    hits = sw.cuda.memory_stats()["num_cache_hits"]
    z = sw.empty(MIB, dtype=sw.uint8, device="cuda")
    assert sw.cuda.memory_stats()["num_cache_hits"] == hits + 1
    del x, z
    sw.cuda.empty_cache()
    assert sw.cuda.memory_reserved() == sw.cuda.memory_allocated() == before
    sw.cuda.reset_peak_memory_stats()
    assert sw.cuda.max_memory_allocated() == before == sw.cuda.max_memory_reserved()
    free, total = sw.cuda.mem_get_info()
    assert 0 < free <= total
    summary = sw.cuda.memory_summary()
    assert "in use by tensors" in summary and sw.cuda.get_device_name() in summary
    assert len(sw.cuda.memory_summary(abbreviated=True)) < len(summary)


def test_out_of_memory() -> None:
    """The cache is given back first; then there is an error with sizes, and work goes on."""
    total = sw.cuda.mem_get_info()[1]
    with pytest.raises(sw.OutOfMemoryError) as caught:
        sw.empty(4 * total, dtype=sw.uint8, device="cuda")
    for part in (
        f"out of memory on cuda:0: {4 * total} bytes were asked for",
        "in use by tensors",
        "free on the device",
    ):
        assert part in str(caught.value)
    assert sw.cuda.OutOfMemoryError is sw.OutOfMemoryError
    assert (sw.ones(3, device="cuda") * 2).tolist() == [2.0] * 3


def test_the_cache_is_freed_before_giving_up() -> None:
    control = emulator()
    if control is None:
        return test_out_of_memory()  # a real device's memory is not filled for a test
    sw.cuda.empty_cache()
    limit = sw.cuda.memory_allocated() + 8 * MIB
    control.set_memory_limit(limit)
    try:
        cached = [sw.empty(2 * MIB, dtype=sw.uint8, device="cuda") for _ in range(3)]
        del cached
        retries = sw.cuda.memory_stats()["num_alloc_retries"]
        x = sw.empty(7 * MIB, dtype=sw.uint8, device="cuda")  # fits only without the cached blocks
        assert sw.cuda.memory_stats()["num_alloc_retries"] == retries + 1
        with pytest.raises(sw.OutOfMemoryError, match=f"{2 * MIB} bytes were asked for"):
            sw.empty(2 * MIB, dtype=sw.uint8, device="cuda")
        assert sw.cuda.memory_stats()["num_ooms"] >= 1
        del x
        assert sw.zeros(2 * MIB, dtype=sw.uint8, device="cuda")[-1].item() == 0
    finally:
        control.set_memory_limit(256 * MIB)


def test_streams() -> None:
    default = sw.cuda.default_stream()
    assert sw.cuda.current_stream() == default and default.query()
    s, t = sw.cuda.Stream(), sw.cuda.Stream(priority=-1)
    assert s != t and s.device == sw.device("cuda:0") and t.priority == -1 and hash(s) != hash(t)
    with sw.cuda.stream(s):
        assert sw.cuda.current_stream() == s
        x = sw.ones(5, device="cuda") * 2
        with t:
            assert sw.cuda.current_stream() == t
        assert sw.cuda.current_stream() == s
        with sw.cuda.stream(None):
            assert sw.cuda.current_stream() == s
    default.wait_stream(s)
    assert sw.cuda.current_stream() == default and (x + 1).tolist() == [3.0] * 5
    s.synchronize()
    assert s.query()
    sw.cuda.set_stream(t)
    assert sw.cuda.current_stream() == t
    sw.cuda.set_stream(default)
    assert sw.cuda.ExternalStream(s.cuda_stream) == s


def test_events() -> None:
    start, end = sw.cuda.Event(enable_timing=True), sw.cuda.Event(enable_timing=True)
    with pytest.raises(RuntimeError, match="recorded first"):
        start.elapsed_time(end)
    assert start.query()
    s = sw.cuda.Stream()
    start.record()
    s.wait_event(start)
    with sw.cuda.stream(s):
        sw.ones(100, device="cuda").mul_(2)
    end.record(s)
    end.synchronize()
    end.wait()
    assert end.query() and 0 <= start.elapsed_time(end) < 60000
    plain = s.record_event()
    with pytest.raises(ValueError, match="enable_timing=True"):
        plain.elapsed_time(end)


def test_a_block_that_another_stream_uses_waits() -> None:
    sw.cuda.synchronize()
    x = sw.ones(1000, device="cuda")
    address = x.data_ptr()
    waiting = sw.cuda.memory_stats()["num_waiting_blocks"]
    x.record_stream(sw.cuda.current_stream())  # its own: nothing to wait for
    del x
    assert sw.cuda.memory_stats()["num_waiting_blocks"] == waiting
    y = sw.ones(1000, device="cuda")
    assert y.data_ptr() == address
    y.record_stream(sw.cuda.Stream())
    del y
    assert sw.cuda.memory_stats()["num_waiting_blocks"] == waiting + 1
    sw.cuda.synchronize()
    z = sw.ones(1000, device="cuda")
    assert sw.cuda.memory_stats()["num_waiting_blocks"] == 0 and z.sum().item() == 1000
    with pytest.raises(sw.DeviceError, match="expected a tensor on a CUDA device"):
        sw.ones(2).record_stream(sw.cuda.current_stream())


def test_pinned_memory() -> None:
    x = sw.arange(1000.0).reshape(10, 100)
    assert not x.is_pinned()
    p = x.pin_memory()
    assert p.is_pinned() and p[3:].is_pinned() and p.pin_memory() is p and p.tolist() == x.tolist()
    assert p.t().clone().is_pinned() is False
    address = p.data_ptr()
    y = p.to("cuda", non_blocking=True)
    assert y.tolist() == x.tolist()
    back = sw.empty(10, 100).pin_memory()
    back.copy_(y, non_blocking=True)
    sw.cuda.synchronize()
    assert back.tolist() == x.tolist()
    del p
    assert x.pin_memory().data_ptr() == address, "the block is used again, as its copy is done"
    t = x.t().pin_memory()
    assert t.is_pinned() and t.tolist() == x.t().tolist()
    assert (
        sw.full((3,), 2.0, pin_memory=True).is_pinned() and not sw.ones(3, device="cuda", pin_memory=True).is_pinned()
    )
    with pytest.raises(sw.DeviceError, match="pin_memory: expected a tensor on the CPU"):
        y.pin_memory()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_pins(workers: int) -> None:
    data = sw.data.TensorDataset(sw.arange(10.0), sw.arange(10))
    seen = []
    for x, y in sw.data.DataLoader(data, batch_size=4, pin_memory=True, num_workers=workers, use_threads=True):
        assert x.is_pinned() and y.is_pinned()
        seen += x.cuda(non_blocking=True).tolist()
    assert seen == list(range(10))
    batch = next(iter(sw.data.DataLoader([{"a": (sw.ones(1), "text")}] * 2, batch_size=2, pin_memory=True)))
    assert batch["a"][0].is_pinned() and batch["a"][1] == ["text", "text"]


def test_a_bad_index_is_found_by_the_kernel() -> None:
    table = sw.arange(6.0, device="cuda").reshape(3, 2)
    with pytest.raises(IndexError, match="index 7 is out of range for size 3"):
        sw.nn.functional.embedding(sw.tensor([1, 7], device="cuda"), table).cpu()
    assert sw.nn.functional.embedding(sw.tensor([1, 2], device="cuda"), table).tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_a_failure_names_the_last_kernels() -> None:
    if emulator() is None:
        pytest.skip("breaks a real device")
    x = sw.ones(3, device="cuda") * 2
    with (
        sw.cuda.stream(sw.cuda.ExternalStream(4096)),
        pytest.raises(sw.DeviceError, match="copying memory.*newest first: elementwise_binary.*SKIPWAY_CUDA_BLOCKING"),
    ):
        x.cpu()
    assert x.tolist() == [2.0] * 3


def test_a_kernels_own_fault_is_an_error() -> None:
    """The emulator's report is raised by the next call that waits."""
    if emulator() is None:
        pytest.skip("breaks a real device")
    x = sw.ones(4, device="cuda")
    with pytest.raises(RuntimeError, match="out of bounds"):
        beyond = sw.as_tensor(Beyond(x))
        (beyond * 2).cpu()
    assert (x * 2).tolist() == [2.0] * 4


class Beyond:
    """Claims more memory than the tensor has."""

    def __init__(self, x: sw.Tensor) -> None:
        self.__cuda_array_interface__ = {**x.__cuda_array_interface__, "shape": (4096,)}
