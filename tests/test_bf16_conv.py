"""Convolutions of bfloat16 images on instructions that multiply bfloat16: every level."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from conftest import runs
from op_cases import round_to
from op_runner import array_of, tensor_of
from skipway import _core
from skipway.testing import reference as R
from test_conv import CASES, check
from tolerances import WINOGRAD, allowed


def test_values_and_gradients_are_exact(bf16_level: str) -> None:
    for seed, case in enumerate(CASES):
        check(**case, dtype="bfloat16", seed=seed)


# input, filters and kernel, stride, padding, dilation: the layers of residual networks, cut down, and odd sizes
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], Any, Any, Any]] = [
    ((3, 16, 32, 32), (16, 3, 3), 1, 1, 1),
    ((2, 3, 32, 32), (16, 3, 3), 1, 1, 1),
    ((5, 64, 8, 8), (64, 3, 3), 1, 1, 1),
    ((2, 16, 32, 32), (32, 3, 3), 2, 1, 1),
    ((2, 32, 16, 16), (64, 1, 1), 2, 0, 1),
    ((1, 3, 45, 47), (64, 7, 7), 2, 3, 1),
    ((2, 128, 7, 7), (96, 3, 3), 1, 1, 1),
    ((4, 80, 7, 7), (36, 1, 1), 1, 0, 1),
    ((2, 7, 17, 19), (33, 5, 3), (2, 1), (2, 0), (1, 2)),
    ((7, 33, 3, 5), (17, 3, 3), 1, 2, 1),
    ((1, 1, 31, 33), (1, 3, 3), 1, 1, 1),
    ((16, 64, 8, 8), (64, 3, 3), 1, 1, 1),
    ((17, 33, 7, 9), (18, 3, 3), 1, 1, 1),
    ((20, 16, 9, 8), (32, 3, 3), 2, 1, 1),
    ((40, 24, 5, 6), (17, 1, 1), 2, 0, 1),
    ((33, 20, 3, 7), (40, 2, 3), (1, 2), (0, 2), (1, 2)),
]


WHAT = ("y", "dx", "dw", "db")


def bf16(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return round_to(rng.standard_normal(shape), "bfloat16")


def check_shape(shape: Any, condition: float = 1.0) -> None:
    """Values and gradients against float64."""
    size, (k, *kernel), stride, padding, dilation = shape
    rng = np.random.default_rng(3)
    x, w, b = bf16(rng, *size), bf16(rng, k, size[1], *kernel), bf16(rng, k)
    tx, tw, tb = (tensor_of(a, "bfloat16").requires_grad_() for a in (x, w, b))
    y = F.conv2d(tx, tw, tb, stride, padding, dilation)
    dy = bf16(rng, *y.shape)
    y.backward(tensor_of(dy, "bfloat16"))
    taps, pixels = int(np.prod(kernel)), dy.size // k
    expected = [R.conv2d(x, w, b, stride, padding, dilation)]
    expected += R.conv2d_backward(dy, x, w, b, stride, padding, dilation)
    lengths = (size[1] * taps, k * taps, pixels, pixels)
    for got, value, length, what in zip((y, tx.grad, tw.grad, tb.grad), expected, lengths, WHAT, strict=True):
        off = np.abs(array_of(got) - value) / allowed("conv2d", "bfloat16", value, length, 1.0, condition)
        assert off.max() <= 1, f"{what}: {off.max():.3} times what is allowed"


@pytest.fixture
def algorithm() -> Iterator[Callable[[str], None]]:
    yield sw.backends.cpu.set_conv_algorithm
    sw.backends.cpu.set_conv_algorithm("auto")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(bf16_level: str, algorithm: Any, shape: Any) -> None:
    algorithm("direct")
    check_shape(shape)


def test_winograd(isa: str, algorithm: Any) -> None:
    """Its products are float32's, on every instruction set."""
    algorithm("winograd")
    for shape in (((3, 32, 14, 9), (48, 3, 3), 1, 1, 1), ((2, 16, 7, 8), (16, 3, 3), 1, (0, 2), 1)):
        check_shape(shape, WINOGRAD)


def test_what_is_faster_is_chosen(bf16_level: str) -> None:
    three, one = [1, 3, 3], [1, 1, 1]
    plan = [
        _core._conv_plan(batch, c, c, 1, [1, 16, 16], [1, 16, 16], three, one, [0, 1, 1], one, sw.bfloat16)["forward"]
        for batch, c in ((1, 16), (128, 16), (128, 64))
    ]
    large = "winograd" if bf16_level == "avx512_bf16" else "bfloat16"
    assert plan == ["bfloat16", large, large]


def run(threads: int) -> list[np.ndarray]:
    sw.set_num_threads(threads)
    rng = np.random.default_rng(5)
    results = []
    for size, k, stride in (((6, 16, 24, 24), 32, 1), ((2, 40, 9, 9), 72, 2), ((37, 32, 8, 7), 48, 1)):
        x, w = (tensor_of(bf16(rng, *s), "bfloat16").requires_grad_() for s in (size, (k, size[1], 3, 3)))
        y = F.conv2d(x, w, None, stride, 1)
        y.backward(tensor_of(bf16(rng, *y.shape), "bfloat16"))
        results += [array_of(t) for t in (y, x.grad, w.grad)]
    return results


def test_any_number_of_threads_gives_the_same_bits(bf16_level: str) -> None:
    first = run(1)
    for threads in (2, 5):
        for a, b in zip(first, run(threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_nan_stays_where_it_is_read(bf16_level: str) -> None:
    x = np.zeros((1, 3, 9, 9))
    x[0, 1, 4, 4] = np.nan
    y = array_of(F.conv2d(tensor_of(x, "bfloat16"), tensor_of(np.ones((17, 3, 3, 3)), "bfloat16"), None, 1, 1))
    expected = np.zeros((9, 9), bool)
    expected[3:6, 3:6] = True
    assert np.array_equal(np.isnan(y[0]), np.broadcast_to(expected, (17, 9, 9)))


def test_levels_can_be_chosen(restore: None) -> None:
    with pytest.raises(ValueError, match="expected baseline, avx2, avx512, avx512_bf16 or amx, got neon"):
        _core.set_isa("neon")
    code = "import skipway as sw; print(sw._core.get_isa(), sw.config()['instruction set'])"
    for level in ("avx512_bf16", "amx"):
        environment = dict(os.environ, SKIPWAY_ISA=level)
        shown = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        order = ["baseline", "avx2", "avx512", "avx512_bf16", "amx"]
        runs = min(level, _core.best_isa(), key=order.index)
        assert shown.stdout.split()[:2] == [runs, runs]


@pytest.mark.parametrize("moments", [False, True])
def test_epilogue(bf16_level: str, algorithm: Any, moments: bool) -> None:
    """y = relu6(z * scale + shift + residual), in passing where no moments are asked for."""
    algorithm("direct")
    rng = np.random.default_rng(7)
    for size, k in (((3, 16, 11, 18), 32), ((2, 5, 4, 3), 17), ((19, 20, 6, 8), 33)):
        x, w = bf16(rng, *size), bf16(rng, k, size[1], 3, 3)
        scale, shift = (rng.uniform(0.5, 2.0, k).astype(np.float32) for _ in range(2))
        z = R.conv2d(x, w, None, 1, 1)
        residual = bf16(rng, *z.shape)
        y, mean, _ = _core._conv2d_fused(
            tensor_of(x, "bfloat16"), tensor_of(w, "bfloat16"), None, padding=1, scale=sw.from_numpy(scale),
            shift=sw.from_numpy(shift), residual=tensor_of(residual, "bfloat16"), activation="relu6", moments=moments,
        )  # fmt: skip
        across = (slice(None), None, None)
        expected = np.clip(z * scale[across] + shift[across] + residual, 0, 6)
        limit = allowed("conv2d", "bfloat16", expected, size[1] * 9, 1.0)
        if moments:  # z is written first, and read again
            limit = limit + 2.0**-8 * np.abs(z) * scale[across]
            assert np.all(np.abs(array_of(mean) - z.mean((0, 2, 3))) <= 2.0**-8 * np.abs(z).mean((0, 2, 3)))
        assert np.all(np.abs(array_of(y) - expected) <= limit)


def test_packed_weights_are_kept_until_they_change(bf16_level: str, algorithm: Any) -> None:
    algorithm("direct")
    rng = np.random.default_rng(8)
    x, w = (tensor_of(bf16(rng, *s), "bfloat16") for s in ((1, 48, 9, 7), (20, 48, 3, 3)))
    recorded = array_of(F.conv2d(x, w.clone().requires_grad_(), None, 1, 1))
    with sw.no_grad():
        for _ in range(2):  # packed, and read again
            np.testing.assert_array_equal(array_of(F.conv2d(x, w, None, 1, 1)), recorded)
        w.mul_(2.0)
        np.testing.assert_array_equal(array_of(F.conv2d(x, w, None, 1, 1)), 2 * recorded)
        _core.set_isa("avx512" if runs("avx512") else "baseline")  # another level has another order
        close = np.abs(array_of(F.conv2d(x, w, None, 1, 1)) - 2 * recorded)
        assert close.max() <= 2.0**-7 * np.abs(2 * recorded).max()
