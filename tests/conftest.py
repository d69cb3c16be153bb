"""Fixtures for the kernels' instruction sets and for thread counts, and the --device option."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import skipway as sw
from skipway import _core

ISAS = ("baseline", "avx2", "avx512")


def available_isas() -> list[str]:
    """Those that this machine runs, the best last."""
    best = _core.best_isa()
    return list(ISAS[: ISAS.index(best) + 1])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the op tests run: cpu (default) or cuda")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--device")


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with the kernels of each instruction set that this machine has."""
    if request.param not in available_isas():
        pytest.skip(f"this machine has no {request.param}")
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture
def restore() -> Iterator[None]:
    """Puts the instruction set, the number of threads and the default generator back at the end."""
    isa, number, state = _core.get_isa(), sw.get_num_threads(), _core.get_rng_state()
    yield
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
