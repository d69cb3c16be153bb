"""The --device option, and fixtures for the kernels' instruction sets and for thread counts.

`pytest --device cuda` runs the op table (test_ops.py) and the tests of tests/cuda on the first GPU; where there is
none, on the emulator of tests/cuda_emulator, which is built if need be. If that fails, so does the run.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amx_emulator
import pytest
import skipway as sw
from skipway import _core

HERE = Path(__file__).resolve().parent
ISAS = ("baseline", "avx2", "avx512")
BF16_LEVELS = ("avx512_bf16", "amx")  # of bfloat16 products
NO_CUDA = "no_cuda_library"
NARROW = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}


def available_isas() -> list[str]:
    """Those that this machine runs, the best last."""
    return [isa for isa in ISAS if runs(isa)]


def runs(level: str) -> bool:
    """Does this machine run the level of `_core.set_isa`, the instructions of amx on the emulator if need be?"""
    order = (*ISAS, *BF16_LEVELS)
    if level == "amx" and amx_emulator.possible(_core.best_isa()):
        emulate_tiles()
        return True
    return order.index(level) <= order.index(_core.best_isa())


@functools.cache
def emulate_tiles() -> amx_emulator.Emulator:
    """From here on, this process executes the instructions of AMX."""
    emulator = amx_emulator.Emulator(amx_emulator.library())
    emulator.install()
    _core._assume_tiles()
    return emulator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where the tests run (default: cpu)")
    parser.addoption("--part", default="1/1", metavar="I/N", help="run the I-th of N parts of the tests")


def on_cuda(config: pytest.Config) -> bool:
    return config.getoption("--device") == "cuda"


def pytest_configure(config: pytest.Config) -> None:
    if not on_cuda(config):  # without a device, here and in the processes that tests start, on every machine
        os.environ.setdefault("SKIPWAY_CUDA_LIBRARY", NO_CUDA)
    elif not os.environ.get("SKIPWAY_CUDA_LIBRARY") and not gpu_is_available():
        from cuda_emulator.build import BuildError, library

        try:
            os.environ["SKIPWAY_CUDA_LIBRARY"] = str(library())
        except BuildError as error:
            raise pytest.UsageError(f"--device cuda: the emulator cannot be built:\n{error}") from error


def gpu_is_available() -> bool:
    """Asks another process: what the core once found, it remembers."""
    if not (Path(_core.__file__).parent / "_cuda.so").exists():
        return False
    code = "import sys, skipway; sys.exit(not skipway.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """On a CUDA device: the op table and tests/cuda. Else: all but tests/cuda."""
    in_cuda = HERE / "cuda" in (collection_path, *collection_path.parents)
    if not on_cuda(config):
        return True if in_cuda else None
    if collection_path.parent == HERE and collection_path.is_file():
        return None if collection_path.name == "test_ops.py" else True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what does not run on the device, and what belongs to other parts."""
    part, parts = (int(n) for n in config.getoption("--part").split("/"))

    def wanted(item: pytest.Item) -> bool:
        if on_cuda(config) and item.path.parent == HERE and "device" not in getattr(item, "fixturenames", ()):
            return False
        return zlib.crc32(item.nodeid.encode()) % parts == part - 1

    left_out = [item for item in items if not wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if wanted(item)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """isa: on a CUDA device there is one. narrow: the dtypes whose sums are wider than they are, and float32."""
    marked = any("isa" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "isa" in metafunc.fixturenames and not marked:
        metafunc.parametrize("isa", ["cuda"] if on_cuda(metafunc.config) else ISAS, indirect=True)
    if "narrow" in metafunc.fixturenames:
        metafunc.parametrize("narrow", NARROW[metafunc.config.getoption("--device")])


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--device")


@pytest.fixture
def isa(request: Any) -> Iterator[str]:
    """Runs the test with the kernels of each instruction set that this machine has."""
    if request.param == "cuda":
        yield "cuda"
        return
    if request.param not in available_isas():
        pytest.skip(f"this machine has no {request.param}")
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture(params=BF16_LEVELS)
def bf16_level(request: Any, restore: None) -> str:
    """Runs the test with the bfloat16 products of each level, those of AMX on the emulator where there are no tiles."""
    if not runs(request.param):
        pytest.skip(f"this machine has no {request.param}")
    _core.set_isa(request.param)
    return str(request.param)


@pytest.fixture
def restore() -> Iterator[None]:
    """Puts the instruction set, the number of threads and the default generator back at the end."""
    isa, number, state = _core.get_isa(), sw.get_num_threads(), _core.get_rng_state()
    convolution = _core._get_conv_algorithm()
    yield
    _core._set_conv_algorithm(convolution)
    _core.set_isa(isa)
    sw.set_num_threads(number)
    _core.set_rng_state(state)


@pytest.fixture
def threads() -> Iterator[object]:
    """sw.set_num_threads, with the number put back at the end."""
    before = sw.get_num_threads()
    yield sw.set_num_threads
    sw.set_num_threads(before)


class MemoryGuard:
    """Guard bands behind every tensor allocated while it is on; see csrc/core/memory_guard.h."""

    def __init__(self) -> None:
        self.before = _core._memory_guard_errors()

    def check(self) -> None:
        gc.collect(0)
        assert _core._memory_guard_errors() == self.before, "an op wrote behind the end of a tensor"


@pytest.fixture
def memory_guard() -> Iterator[MemoryGuard]:
    _core._set_memory_guard(True)
    yield MemoryGuard()
    _core._set_memory_guard(False)
