"""The AMX kernels as they are shipped, on the tile unit or its emulator: whole training steps, signals, seeded bugs.

What they compute is tested with the other levels, in test_bf16_conv.py, test_bf16_matmul.py and test_amp.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import amx_emulator
import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from conftest import emulate_tiles, runs
from skipway import _core, models

pytestmark = pytest.mark.skipif(not runs("amx"), reason="this machine can neither run nor emulate amx")
emulated = pytest.mark.skipif(_core.best_isa() == "amx", reason="this machine has the tile unit itself")


@pytest.fixture
def level(restore: None) -> Any:
    """_core.set_isa; afterwards, no thread holds the unit."""
    yield _core.set_isa
    if _core.best_isa() != "amx":
        assert emulate_tiles().held() == 0


def training_step(narrow: bool = True) -> list[np.ndarray]:
    """The loss and all gradients of ResNet-20 on eight images, under autocast."""
    rng = np.random.default_rng(0)
    images = sw.from_numpy(rng.standard_normal((8, 3, 32, 32)).astype(np.float32))
    sw.manual_seed(0)
    model = models.resnet20(num_classes=10)
    with sw.autocast("cpu", dtype=sw.bfloat16, enabled=narrow):
        loss = F.cross_entropy(model(images), sw.from_numpy(rng.integers(0, 10, 8)))
    loss.backward()
    return [loss.detach().numpy().reshape(1), *(p.grad.numpy() for p in model.parameters())]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Of the gradients, in the L2 norm."""
    return float(np.sqrt(sum(np.sum((x - y) ** 2, dtype=np.float64) for x, y in zip(a[1:], b[1:], strict=True))))


def test_a_training_step_is_as_exact_as_with_vdpbf16ps(level: Any, threads: Any) -> None:
    level("avx512_bf16")
    exact, vectors = training_step(narrow=False), training_step()
    level("amx")
    threads(1)
    tiles = training_step()
    for number in (2, 5):
        threads(number)
        assert same(training_step(), tiles)
    assert abs(tiles[0] - vectors[0]) <= 2.0**-8 * vectors[0]
    assert distance(tiles, exact) <= 1.2 * distance(vectors, exact)
    assert distance(tiles, vectors) <= distance(vectors, exact)


def test_signals_do_not_disturb_the_tiles(level: Any, threads: Any) -> None:
    threads(2)
    level("amx")
    expected, ticks = training_step(), []
    before = signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        assert same(training_step(), expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ticks


def test_an_interrupted_op_releases_the_tiles(level: Any, threads: Any) -> None:
    """What a handler raises ends a long op, as Ctrl-C does; the next one is right."""
    level("amx")
    threads(2)
    expected = training_step()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    x, w = sw.ones(32, 64, 64, 64, dtype=sw.bfloat16), sw.ones(64, 64, 3, 3, dtype=sw.bfloat16)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                F.conv2d(x, w, None, 1, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert same(training_step(), expected)


def test_python_threads_share_the_pool(level: Any, threads: Any) -> None:
    level("amx")
    threads(2)
    rng = np.random.default_rng(0)
    a, b = (sw.from_numpy(rng.standard_normal((300, 300)).astype(np.float32)).to(sw.bfloat16) for _ in range(2))
    expected, results = (a @ b).float().numpy(), []
    workers = [threading.Thread(target=lambda: results.append((a @ b).float().numpy())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4 and all(np.array_equal(r, expected) for r in results)


# An edit of bf16_micro_cpu.cpp, and what it leads to: a report, wrong elements, or a unit that nobody releases.
BUGS = {
    "not_configured": ("    amx_tile::configure(config);\n", "", "the unit is not configured"),
    "one_tile_of_a": ("i == 4 || i == 5 ? chunk_ * 2", "i == 4 ? chunk_ * 2", "tmm5 has 16 pairs, and tmm6"),
    "five_tiles": ("i < 8; ++i", "i < 6; ++i", "tmm6 is not configured"),
    "rows_of_b": ("rows_ : chunk_ / 2", "rows_ : chunk_", "ldtilecfg: tmm6 has"),
    "bytes_of_a": ("chunk_ * 2 : 64", "chunk_ : 64", "pairs, and tmm6"),
    "palette": ("    config.palette = 1;\n", "", "the unit is not configured"),
    "rows_change": ("if (rows_ != t.rows || chunk_ != t.chunks.size)", "if (chunk_ != t.chunks.size)", "wrong"),
    "chunk_changes": ("if (rows_ != t.rows || chunk_ != t.chunks.size)", "if (rows_ != t.rows)", "wrong"),
    "never_released": ("if (rows_) amx_tile::release();", "", "held"),
    "second_panel": ("load<7>(b + 2 * kBf16Lanes, b_row);", "load<7>(b + kBf16Lanes, b_row);", "wrong"),
    "tile_of_sums": ("dpbf16ps<3, 5, 7>();", "dpbf16ps<2, 5, 7>();", "wrong"),
    "tile_of_a": ("dpbf16ps<2, 4, 6>();", "dpbf16ps<2, 5, 6>();", "wrong"),
    "step_of_a": ("a_row = t.a_row * 2", "a_row = t.a_row", "wrong"),
}


def drive(library: Path) -> str:
    """What the emulator reports, or "wrong", "held" or "right"."""
    code = """
        import ctypes, sys
        from conftest import emulate_tiles
        emulator = emulate_tiles()
        wrong = ctypes.CDLL(sys.argv[1]).wrong_elements()
        print("wrong" if wrong else "held" if emulator.held() else "right")
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", lines, str(library)], capture_output=True, text=True, cwd=Path(__file__).parent,
        env={**os.environ, "SKIPWAY_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.stdout.strip() or done.stderr


def test_the_kernel_on_tiles_of_many_shapes() -> None:
    assert drive(amx_emulator.kernel()) == "right"


@emulated
@pytest.mark.parametrize("name", BUGS)
def test_seeded_bugs_are_found(name: str) -> None:
    find, replacement, expected = BUGS[name]
    found = drive(amx_emulator.kernel(name, find, replacement))
    if expected in ("wrong", "held"):
        assert found == expected
    else:
        assert "AMX emulator: " in found and expected in found
