"""What is said where there is no CUDA device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import skipway as sw


def test_without_a_device_errors_say_why() -> None:
    reason = sw._core._cuda_reason()
    assert reason
    for call in (sw.ones(2).cuda, sw.ones(2).pin_memory, sw.cuda.init, sw.cuda.synchronize, sw.cuda.Stream):
        with pytest.raises(sw.DeviceError) as caught:
            call()
        assert reason in str(caught.value) and "cuda" in str(caught.value)
    assert sw.cuda.memory_stats() == {} and sw.cuda.memory_allocated() == 0
    data = sw.data.DataLoader(sw.data.TensorDataset(sw.arange(4)), batch_size=2, pin_memory=True)
    assert [x.tolist() for (x,) in data] == [[0, 1], [2, 3]]


def test_a_library_that_is_not_there() -> None:
    code = "import skipway as sw; assert not sw.cuda.is_available(); sw.ones(2).cuda()"
    for path, message in (
        ("/nowhere/_cuda.so", "this build of skipway has no CUDA kernels (install it with"),
        (__file__, "the CUDA library does not load"),
        (str(Path(sw._core.__file__)), "belongs to another version of skipway"),
    ):
        environment = {"SKIPWAY_CUDA_LIBRARY": path, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 1
        assert "DeviceError" in done.stderr and message in done.stderr
