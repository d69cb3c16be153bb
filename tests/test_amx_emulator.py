"""The emulator of AMX's tile unit against its formula in NumPy, every form of operand, and every fault.

The instruction sequences are in amx_emulator/self_test.S. Where the CPU has the unit, they run on it, and there are no
reports to look at.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import amx_emulator
import numpy as np
import pytest
from conftest import emulate_tiles, runs
from op_cases import round_to
from skipway import _core

pytestmark = pytest.mark.skipif(not runs("amx"), reason="this machine can neither run nor emulate amx")
emulated = pytest.mark.skipif(_core.best_isa() == "amx", reason="this machine has the tile unit itself")

COPIES = (
    *("plain", "small_displacement", "large_displacement", "scale_2", "scale_8", "r8_r9", "r10_r11", "r12_r13"),
    *("r13_r12", "rbp_rbx", "r14_r15", "rdi"),
)


@functools.cache
def sequences() -> ctypes.CDLL:
    return ctypes.CDLL(str(amx_emulator.self_test_library()))


def run(name: str, *arguments: np.ndarray | int) -> int:
    values = [a if isinstance(a, int) else a.ctypes.data for a in arguments]
    return int(getattr(sequences(), name)(*(ctypes.c_int64(value) for value in values)))


def config(**tiles: tuple[int, int]) -> np.ndarray:
    """t3=(rows, bytes per row), ..."""
    out = np.zeros(64, np.uint8)
    out[0] = 1
    for name, (rows, row_bytes) in tiles.items():
        out[16:48].view(np.uint16)[int(name[1:])] = row_bytes
        out[48 + int(name[1:])] = rows
    return out


def bf16_bits(x: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 2.0**-126, np.copysign(np.float32(0), x), x).astype(np.float32)


def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """TDPBF16PS for a (m, 2k), b (2k, n) in bfloat16 and c (m, n). Rounding a sum in float64 to float32 rounds once
    here: products have 16 bits, and the operands are of about one size, or have few bits."""
    sums = []
    for first in (0, 1):
        total = np.zeros(c.shape, np.float32)
        for k in range(first, a.shape[1], 2):
            exact = flushed(a[:, k : k + 1]).astype(np.float64) * flushed(b[k : k + 1])
            total = flushed((total.astype(np.float64) + exact).astype(np.float32))
        sums.append(total)
    return flushed(flushed(c) + flushed(sums[0] + sums[1]))


def emulated_product(a: np.ndarray, b: np.ndarray, c: np.ndarray, tiles: tuple[int, int, int] = (0, 1, 2)) -> Any:
    """The same by the instructions. Rows lie further apart than they are long; nothing between them may change."""
    (m, columns), pairs = c.shape, a.shape[1] // 2
    left = np.full((m, 40), 0x7FC1, np.uint16)
    left[:, : 2 * pairs] = bf16_bits(a)
    right = np.full((pairs, 36), 0x7FC1, np.uint16)
    right[:, : 2 * columns] = bf16_bits(b.reshape(pairs, 2, columns).transpose(0, 2, 1).reshape(pairs, -1))
    to = np.full((m + 1, 20), -7.0, np.float32)
    to[:m, :columns] = c
    shapes = [(m, 4 * columns), (m, 4 * pairs), (pairs, 4 * columns)]
    tile_config = config(**{f"t{t}": shape for t, shape in zip(tiles, shapes, strict=True)})
    name = "product_" + "_".join(map(str, tiles))
    run(name, tile_config, left, left.strides[0], right, right.strides[0], to, to.strides[0])
    assert np.all(to[m] == -7) and np.all(to[:m, columns:] == -7)
    return to[:m, :columns].copy()


SIZES = [(16, 16, 16), (1, 1, 1), (3, 5, 7), (16, 1, 16), (1, 16, 3), (15, 13, 2)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_bit_of_a_product(size: tuple[int, int, int]) -> None:
    m, pairs, columns = size
    rng = np.random.default_rng(m)
    a, b = (round_to(rng.standard_normal(s), "bfloat16") for s in ((m, 2 * pairs), (2 * pairs, columns)))
    c = rng.standard_normal((m, columns)).astype(np.float32)
    for tiles in ((0, 1, 2), (7, 6, 5), (3, 0, 4), (2, 4, 7)):
        np.testing.assert_array_equal(emulated_product(a, b, c, tiles), product(a, b, c))


def test_denormals_infinities_and_nan() -> None:
    a, b, c = np.ones((16, 32)), np.ones((32, 16)), np.zeros((16, 16), np.float32)
    a[:7] = 0
    a[0, 4], b[4] = 2.0**-127, 2.0**100  # a denormal operand
    a[1, 5], b[5] = 2.0**-100, 2.0**-40  # a product too small
    a[2, 6], b[6] = -(2.0**-100), 2.0**-26  # the smallest normal one
    c[3] = 2.0**-130  # a denormal sum to begin with
    c[4] = 2.0**-126 * 1.5  # and a difference that is one
    a[4, 7], b[7] = -(2.0**-63), 2.0**-63
    a[5, 8], a[6, 9], b[9] = np.inf, np.nan, 0
    result = emulated_product(a, b, c)
    assert np.all(result[[0, 1, 3, 4]] == 0) and np.all(result[2] == np.float32(-(2.0**-126)))
    assert np.all(result[5] == np.inf) and np.all(np.isnan(result[6]))
    assert np.all(result[7:] == product(a[7:], b, c[7:])) and result[7, 0] == np.float32(2.0**100)


def test_sums_that_overflow_and_ties() -> None:
    a, b, c = np.zeros((1, 4)), np.zeros((4, 2)), np.ones((1, 2), np.float32)
    a[0], b[:, 0], b[:, 1] = (1, 2.0**-24, 0, 0), (1, 1, 0, 0), (2.0**127, 0, 0, 0)
    b[0, 0], c[0, 1] = 0, 3e38
    result = emulated_product(a, b, c)
    assert result[0, 0] == 1  # 1 + 2^-24 lies between 1 and 1 + 2^-23: to even
    assert result[0, 1] == np.inf


@pytest.mark.parametrize("form", COPIES)
@pytest.mark.parametrize("shape", [(16, 64), (5, 12), (1, 4)], ids=str)
def test_operands_in_memory(form: str, shape: tuple[int, int]) -> None:
    rows, row_bytes = shape
    source = np.random.default_rng(0).integers(0, 256, (16, 80), dtype=np.uint8)
    to = np.full((16, 64), 99, np.uint8)
    run(f"copy_{form}", config(t0=shape), source, 80, to)
    expected = np.full((16, 64), 99, np.uint8)
    expected[:rows, :row_bytes] = source[:rows, :row_bytes]
    np.testing.assert_array_equal(to, expected)
    run(f"copy_{form}", config(t0=shape), source[rows - 1 :], -80, to)  # from the last row upwards
    np.testing.assert_array_equal(to[:rows, :row_bytes], source[rows - 1 :: -1][:rows, :row_bytes])


def test_without_an_index_the_step_is_zero() -> None:
    source = np.random.default_rng(0).integers(0, 256, (16, 64), dtype=np.uint8)
    to = np.zeros((16, 64), np.uint8)
    run("copy_no_index", config(t0=(16, 64)), source, 64, to)
    np.testing.assert_array_equal(to, np.broadcast_to(source[0], (16, 64)))


@pytest.mark.parametrize("form", ["stack", "index", "relative"])
def test_operands_of_ldtilecfg(form: str) -> None:
    to = np.full(64, 99, np.uint8)
    run(f"configure_{form}", config(t0=(1, 64)), to)
    assert np.all(to == 0)


def test_configuring_again_clears_the_tiles() -> None:
    source, to = np.full((16, 64), 3, np.uint8), np.full((16, 64), 99, np.uint8)
    try:
        run("configure", config(t0=(16, 64)))
        run("load", source, 64)
        run("store", to, 64)
        assert np.all(to == 3)
        run("configure", config(t0=(16, 64)))
        run("store", to, 64)
        assert np.all(to == 0)
        run("load", source, 64)
        run("zero")
        run("store", to, 64)
        assert np.all(to == 0)
    finally:
        run("release")


def test_what_a_handler_must_leave_alone() -> None:
    """Registers (vectors, masks), flags, MXCSR, the 128 bytes below the stack: in a trap, and in the jump after it."""
    memory = np.ones((16, 16), np.float32)
    for _ in range(3):
        assert run("undisturbed", config(t0=(16, 64), t1=(16, 64), t2=(16, 64)), memory) == 0
        assert np.all(memory == 1)


def test_each_thread_has_its_own_unit() -> None:
    barrier = threading.Barrier(3)
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        to = np.zeros((16, 64), np.uint8)
        run("configure", config(t0=(4 + number, 64)))
        barrier.wait()
        run("load", np.full((16, 64), number, np.uint8), 64)
        barrier.wait()
        run("store", to, 64)
        barrier.wait()
        run("release")
        results[number] = to

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, to in results.items():
        assert np.all(to[: 4 + number] == number) and np.all(to[4 + number :] == 0)


@emulated
def test_instructions_are_counted() -> None:
    emulator = emulate_tiles()
    arrays = np.ones((3, 10)), np.ones((10, 7)), np.ones((3, 7), np.float32)
    emulated_product(*arrays)
    before, held = emulator.counts(), emulator.held()
    emulated_product(*arrays)
    found = {name: number - before[name] for name, number in emulator.counts().items()}
    once = dict(ldtilecfg=1, tilerelease=1, tilezero=0, tileloadd=3, tilestored=1, tdpbf16ps=1)
    assert found == once | dict(multiply_adds=3 * 10 * 7, traps=0)  # each instruction traps once
    run("configure", config(t0=(1, 64)))
    assert emulator.held() == held + 1
    run("release")
    assert emulator.held() == held


# What runs in a process of its own, and what the emulator says of it.
FAULTS = {
    "run('zero')": "tilezero tmm0: the unit is not configured",
    "run('load', memory, 64)": "tileloadd tmm0: the unit is not configured",
    "run('onto_itself')": "tdpbf16ps tmm1, tmm1, tmm2: the unit is not configured",
    "run('configure', config(t0=(1, 4))); run('release'); run('zero')": "tilezero tmm0: the unit is not configured",
    "run('configure', config(t0=(1, 4))); run('zero_5')": "tilezero tmm5: tmm5 is not configured",
    "run('configure', config(t1=(1, 4))); run('store', memory, 64)": "tilestored tmm0: tmm0 is not configured",
    "run('configure', config(t0=(17, 64)))": "ldtilecfg: tmm0 has 17 rows",
    "run('configure', config(t3=(16, 65)))": "ldtilecfg: tmm3 has rows of 65 bytes",
    "run('configure', config(t3=(0, 64)))": "ldtilecfg: tmm3 has 0 rows of 64 bytes",
    "run('configure', config(t3=(16, 0)))": "ldtilecfg: tmm3 has 16 rows of 0 bytes",
    "run('configure', config(t8=(1, 4)))": "ldtilecfg: tile 8 does not exist",
    "bad = config(); bad[0] = 2; run('configure', bad)": "ldtilecfg: palette 2 does not exist",
    "bad = config(); bad[1] = 1; run('configure', bad)": "ldtilecfg: start_row is 1",
    "bad = config(); bad[9] = 5; run('configure', bad)": "ldtilecfg: reserved byte 9 is 5",
    "run('configure', config(t1=(2, 8), t2=(2, 8))); run('onto_itself')": (
        "tdpbf16ps tmm1, tmm1, tmm2: the tiles are not three different ones"
    ),
    "run('configure', config(t0=(2, 8), t3=(2, 8))); run('squared')": (
        "tdpbf16ps tmm0, tmm3, tmm3: the tiles are not three different ones"
    ),
    "multiply(t0=(4, 12), t1=(5, 8), t2=(2, 12))": "tdpbf16ps tmm0, tmm1, tmm2: tmm0 has 4 rows, and tmm1 5",
    "multiply(t0=(4, 12), t1=(4, 8), t2=(2, 16))": "rows of tmm0 have 12 bytes, and of tmm2 16",
    "multiply(t0=(4, 12), t1=(4, 8), t2=(3, 12))": "tmm1 has 2 pairs, and tmm2 3 rows",
    "multiply(t0=(4, 10), t1=(4, 8), t2=(2, 10))": "rows of tmm0 have 10 bytes, no multiple of 4",
    "multiply(t0=(4, 12), t1=(4, 6), t2=(1, 12))": "rows of tmm1 have 6 bytes, no multiple of 4",
}


def in_process(code: str, before: str = "") -> subprocess.CompletedProcess[str]:
    prelude = f"""
        {before}
        import numpy as np
        from conftest import emulate_tiles
        from test_amx_emulator import config, run
        emulate_tiles()
        memory = np.zeros((16, 64), np.uint8)
        def multiply(**tiles):
            run("product_0_1_2", config(**tiles), memory, 64, memory, 64, memory, 64)
    """
    command = [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)


@emulated
def test_every_fault_is_reported() -> None:
    """All in one process each time it forks: the children abort."""
    code = f"""
        import os
        for sequence in {list(FAULTS)!r}:
            child = os.fork()
            if child == 0:
                exec(sequence)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == {int(signal.SIGABRT)}, (sequence, status)
    """
    done = in_process(code)
    assert done.returncode == 0, done.stderr
    reports = [line for line in done.stderr.splitlines() if line.startswith("AMX emulator: ")]
    assert len(reports) == len(FAULTS)
    for (sequence, expected), report in zip(FAULTS.items(), reports, strict=True):
        assert expected in report, f"{sequence}: {report}"


@emulated
def test_other_illegal_instructions_go_to_the_handler_before() -> None:
    assert in_process("run('undefined')").returncode == -signal.SIGILL
    done = in_process("run('undefined')", before="import faulthandler; faulthandler.enable()")
    assert done.returncode == -signal.SIGILL and "Fatal Python error: Illegal instruction" in done.stderr


@emulated
def test_without_the_emulator_there_is_no_amx() -> None:
    code = """
        from skipway import _core
        try:
            _core.set_isa("amx")
        except ValueError as error:
            print(error)
        _core._assume_tiles()
        _core.set_isa("amx")
        print(_core.get_isa(), _core.best_isa())
    """
    shown = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["set_isa: this CPU runs at most avx512_bf16, got amx", "amx avx512_bf16"]
