"""The emulator finds the bugs that cuda_emulator/seeded puts into the project's own kernels, and nothing in the
kernels as they are, which give the same bits in whatever order threads and blocks run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_emulator import build
from cuda_emulator.seeded import BUGS, WRONG_NUMBERS, Bug, rounds

SEEDS = ("1", "2", "3")
CALLS = sorted({bug.call for bug in BUGS})
Results = dict[str, dict[str, str]]


def run_calls(library: Path, seeds: tuple[str, ...], names: list[str]) -> dict[str, Results]:
    """By seed and name, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(build.HERE / "seeded" / "calls.py"), ",".join(seeds), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "SKIPWAY_CUDA_LIBRARY": str(library)},
    )
    assert done.returncode == 0, f"{library.name} with {', '.join(names)}:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unchanged() -> dict[str, Results]:
    return run_calls(build.library(), SEEDS, CALLS)


def results_of_round(item: tuple[int, list[Bug]]) -> Results:
    """By the bug's name: what its call gave."""
    number, bugs = item
    results: Results = {}
    usable = []
    for bug in bugs:
        try:
            bug.edit.edited()
            usable.append(bug)
        except build.BuildError as error:
            results[bug.edit.name] = {"broken": str(error)}
    if usable:
        library = build.library(f"bugs{number}", [bug.edit for bug in usable])
        given = run_calls(library, SEEDS[:1], sorted({bug.call for bug in usable}))[SEEDS[0]]
        results |= {bug.edit.name: given[bug.call] for bug in usable}
    return results


@pytest.fixture(scope="module")
def changed(unchanged: dict[str, Results]) -> Results:
    with ThreadPoolExecutor(2) as pool:  # building is one after the other; calls run meanwhile
        return {
            name: result for part in pool.map(results_of_round, enumerate(rounds())) for name, result in part.items()
        }


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.edit.name)
def test_bug_is_caught(bug: Bug, changed: Results, unchanged: dict[str, Results]) -> None:
    result = changed[bug.edit.name]
    assert "broken" not in result, result["broken"]
    if bug.report == WRONG_NUMBERS:
        assert not result["report"] and result["digest"] != unchanged[SEEDS[0]][bug.call]["digest"]
        return
    lines = result["report"].splitlines()
    assert lines and lines[0].startswith("RuntimeError: CUDA emulator: "), result
    assert any(f"{bug.kernel}" in line and bug.report in line for line in lines), result["report"]


@pytest.mark.parametrize("call", CALLS)
def test_kernels_as_they_are_give_one_result_in_any_order(call: str, unchanged: dict[str, Results]) -> None:
    results = [unchanged[seed][call] for seed in SEEDS]
    assert all(result["report"] == "" and result["digest"] for result in results), results
    assert len({result["digest"] for result in results}) == 1


def test_most_bugs_are_found_by_their_report() -> None:
    names = [bug.edit.name for bug in BUGS]
    assert len(set(names)) == len(names) >= 25
    assert sum(bug.report == WRONG_NUMBERS for bug in BUGS) <= len(BUGS) // 5


def test_a_bug_whose_text_is_gone_says_so() -> None:
    edit = build.Edit("moved_on", "ops/copy_cuda.cu", "kernels/cuda/pack.cuh", "no such text", "")
    with pytest.raises(build.BuildError, match=r"moved_on: csrc/kernels/cuda/pack.cuh .* 0 times:\nno such text"):
        edit.edited()
