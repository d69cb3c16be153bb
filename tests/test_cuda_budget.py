"""The rooflines of benchmarks/cuda_budget.md: one for every CUDA kernel, and none that nothing backs."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def roofline() -> Any:
    spec = importlib.util.spec_from_file_location("cuda_roofline", ROOT / "scripts" / "cuda_roofline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_kernel_has_a_row(roofline: Any) -> None:
    kernels = roofline.cuda_kernels()
    assert len(kernels) > 10
    assert set(kernels) <= set(roofline.ROWS) <= roofline.declared_kernels()


def test_the_table_is_what_the_script_writes(roofline: Any) -> None:
    text = roofline.TABLE.read_text()
    assert roofline.written(text) == text
    assert all(f"\n| `{name}` |" in text for name in roofline.ROWS)


def test_bounds(roofline: Any) -> None:
    row = roofline.ROWS["residual_add_forward"]  # three arrays of bfloat16
    assert row.bytes == 3 * 2 * 128 * 256 * 56 * 56
    assert roofline.bound(row) == (row.bytes / 3.35e12, "memory")
    seconds, by = roofline.bound(roofline.ROWS["gemm"])
    assert by == "tensor cores" and math.isclose(seconds, 2 * 8192 * 1024 * 4096 / 800e12)
    assert all(math.isfinite(row.bytes) and row.bytes > 0 and row.flop >= 0 for row in roofline.ROWS.values())


def test_a_missing_row_is_noticed(roofline: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    rows = dict(roofline.ROWS)
    del rows["residual_add_forward"]
    monkeypatch.setattr(roofline, "ROWS", rows)
    monkeypatch.setattr(sys, "argv", ["cuda_roofline.py"])
    assert roofline.main() == 1
    assert "residual_add_forward" in capsys.readouterr().out
