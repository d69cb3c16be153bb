"""The tests of the device on the emulator, `pytest --device cuda`, and that they launch every kernel of the library, in
all its instantiations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_emulator import build
from cuda_emulator.control import never_launched

PARTS = 2


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda") / "launched.txt"


@pytest.fixture(scope="module")
def parts(launched: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """All parts at the same time."""
    environment = {
        **os.environ,
        "SKIPWAY_CUDA_LIBRARY": str(build.library()),
        "SKIPWAY_EMULATOR_LAUNCHED": str(launched),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "cuda"]
    running = [
        subprocess.Popen(
            [*command, "--part", f"{part}/{PARTS}"],
            cwd=build.ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for part in range(1, PARTS + 1)
    ]
    yield running
    for process in running:
        process.kill()


@pytest.fixture(scope="module")
def outputs(parts: list[subprocess.Popen[str]]) -> list[str]:
    with ThreadPoolExecutor(PARTS) as pool:
        return [output for output, _ in pool.map(subprocess.Popen.communicate, parts)]


@pytest.mark.parametrize("part", range(PARTS))
def test_device_tests_pass(part: int, parts: list[subprocess.Popen[str]], outputs: list[str]) -> None:
    assert parts[part].returncode == 0, outputs[part][-20000:]


def test_every_kernel_is_launched(launched: Path, outputs: list[str]) -> None:
    missing = never_launched(build.library(), launched)
    assert not missing, f"{len(missing)} kernels are launched by no test:\n" + "\n".join(missing)
