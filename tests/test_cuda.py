"""The kernels for CUDA devices, as part of the ordinary tests: `pytest --device cuda` in two processes.

On the GPU where there is one; else on the emulator (tests/cuda_emulator), which checks every memory access.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skipway as sw
from conftest import NO_CUDA

HERE = Path(__file__).resolve().parent
PARTS = 2
FEWEST = 4000  # tests in both parts together: fewer means that some were not collected


def test_on_the_device(tmp_path: Path) -> None:
    """All tests pass, and together they launch, on the emulator, every kernel in every instantiation."""
    command = [sys.executable, "-m", "pytest", "--device", "cuda", "-x", "--tb=short", "-p", "no:cacheprovider"]
    launched = tmp_path / "launched"
    environment = {**os.environ, "SKIPWAY_EMULATOR_LAUNCHED": str(launched)}
    if environment.get("SKIPWAY_CUDA_LIBRARY") == NO_CUDA:
        del environment["SKIPWAY_CUDA_LIBRARY"]
    parts = [
        subprocess.Popen(
            [*command, "--part", f"{i + 1}/{PARTS}", str(HERE)],
            cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(PARTS)
    ]  # fmt: skip
    try:
        outputs = [part.communicate(timeout=1200)[0] for part in parts]
    finally:
        for part in parts:
            part.kill()
    failed = [out for part, out in zip(parts, outputs, strict=True) if part.returncode != 0]
    assert not failed, "\n".join(out[-20000:] for out in failed)
    counts = [sum(int(n) for n in re.findall(r"(\d+) passed", out)) for out in outputs]
    assert sum(counts) >= FEWEST, f"{counts} tests passed:\n{outputs[0][-3000:]}"
    if launched.exists():  # not on a GPU
        kernels = subprocess.run(
            [sys.executable, "-c", LIST_KERNELS], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        missing = sorted(set(kernels) - set(launched.read_text().splitlines()))
        assert len(kernels) > 100 and not missing, "never launched:\n" + "\n".join(missing)


LIST_KERNELS = """
from cuda_emulator.build import library
from cuda_emulator.control import Emulator
print("\\n".join(Emulator(library()).kernels()))
"""


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
