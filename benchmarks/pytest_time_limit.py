"""A plugin of pytest for gpu_check.sh: -p pytest_time_limit --seconds 90 --spread --real-gpu

--seconds: tests that have not begun by then are not run. --spread: tests in an order that visits every op once before
any twice, so that a time limit leaves out repetitions and no op. --real-gpu: an error on the emulator.
The last line says how many passed, failed, were skipped and were not run.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from typing import Any

import pytest

REASON = "the time is up"
begin = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=float("inf"))
    parser.addoption("--spread", action="store_true")
    parser.addoption("--real-gpu", action="store_true")


def op_of(item: pytest.Item) -> str:
    case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    return getattr(case, "name", None) or item.nodeid.partition("[")[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--real-gpu"):
        import skipway as sw

        if not sw.cuda.is_available() or sw._core._cuda_emulated():
            raise pytest.UsageError("these tests do not run on a GPU")
    if not config.getoption("--spread"):
        return
    seen: Counter[str] = Counter()
    turn = {}
    for item in sorted(items, key=lambda item: zlib.crc32(item.nodeid.encode())):
        op = op_of(item)
        turn[item.nodeid] = seen[op]
        seen[op] += 1
    items.sort(key=lambda item: (turn[item.nodeid], zlib.crc32(item.nodeid.encode())))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() - begin > item.config.getoption("--seconds"):
        pytest.skip(REASON)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    late = sum(REASON in str(report.longrepr) for report in stats.get("skipped", []))
    passed, skipped = len(stats.get("passed", [])), len(stats.get("skipped", [])) - late
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    terminalreporter.write_line(f"tally: {passed} passed, {failed} failed, {skipped} skipped, {late} not run")
