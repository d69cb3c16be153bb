"""The benchmark of the CUDA kernels and the script for a GPU, as far as they run without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from cuda_cases import CASES, RESNET50, optimizer  # noqa: E402
from gpu_timing import Clock, interleaved  # noqa: E402


def test_every_case_runs(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/bench_cuda.py", "--device", "cpu", "--peer", "none", "--tiny"]
    command += ["--rounds", "1", "--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    forward = [r for r in rows if r["pass"] == "forward"]
    assert [r["kernel"] for r in forward] == 2 * [case.name for case in CASES]
    assert not any("error" in r for r in rows) and len(rows) > 1.5 * len(forward)
    assert all(r["skipway"]["min"] > 0 and r["bytes"] > 0 and r["GB/s"] > 0 for r in rows)
    table = (tmp_path / "a.md").read_text()
    assert "a dry run, whose times mean nothing" in table and "| cross_entropy | backward | bfloat16 |" in table


@pytest.mark.parametrize("case", [c for c in CASES if c.sized], ids=lambda c: c.name)
def test_bytes_grow_with_the_input(case: Any) -> None:
    """An op reads or writes its input at least once, and no op needs it more than six times."""
    for item in (2, 4):
        n = 16 * 2**20 // item
        problem = case.make(n, item, False)
        assert 16 * 2**20 <= problem.forward_bytes <= 6.2 * 16 * 2**20
        if problem.backward_bytes is not None:
            table = 32768 * 512 * item if case.name == "embedding" else 0  # whose whole gradient is written
            assert 16 * 2**20 <= problem.backward_bytes - table <= 6.2 * 16 * 2**20


def test_the_table_of_training_steps() -> None:
    import bench_train_cuda as bench

    times = {"skipway eager": 3e-3, "skipway graph": 1e-3, "PyTorch eager": 5e-3, "PyTorch graph": 2e-3}
    row = {
        "model": "resnet20", "batch": 128, "errors": {"PyTorch compiled": "RuntimeError: no compiler"},
        "times": {name: {"min": t, "median": 2 * t} for name, t in times.items()},
    }  # fmt: skip
    assert bench.table_row(row).strip("| ").split(" | ") == [
        "resnet20", "128", "3.000 / 6.000", "1.000 / 2.000", "5.000 / 10.000", "2.000 / 4.000",
        "RuntimeError: no compiler", "not run", "128000", "5.00", "2.00", bench.GOALS["resnet20", 128],
    ]  # fmt: skip
    slower = {**row, "losses": {"skipway eager": [2.0, 1.0], "PyTorch eager": [2.0, 1.1]}}
    bench.Bench.compare(slower)
    assert "PyTorch eager [2.0, 1.1]" in slower["differs"] and "differs" not in row
    header = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert f"| {' | '.join(bench.COLUMNS)} |" in header
    assert all(f"\n| {model} | {batch} |" in header for model, batch, _ in bench.CONFIGURATIONS)


def test_resnet50_has_its_parameters() -> None:
    import skipway as sw

    shapes = [tuple(p.shape) for p in sw.models.resnet50().parameters()]
    assert sorted(shapes) == sorted(RESNET50)
    assert optimizer("SGD", 5)(0, 4, False).forward_bytes == 5 * 4 * 25_557_032


def test_a_contender_that_fails_says_so() -> None:
    def fails() -> None:
        raise ValueError("on purpose")

    times = interleaved({"good": (Clock(), [lambda: None]), "bad": (Clock(), [fails])}, 3)
    assert len(times["good"].seconds) == 3 and not times["good"].error
    assert times["bad"].error == "ValueError: on purpose" and not times["bad"].seconds


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "gpu_check.sh")
    environment = {**os.environ, "PYTHON": "false", "OUT": str(tmp_path)}
    done = subprocess.run(["bash", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "gpu_check: false has no module numpy: needed are numpy pytest ml_dtypes torch\n"
    help_text = subprocess.run(["bash", script, "--help"], capture_output=True, text=True)
    assert help_text.returncode == 2 and "--dry-run" in help_text.stdout
