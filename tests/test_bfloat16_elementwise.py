"""Elementwise work on bfloat16 in place, two vectors at a time, and operands whose rows are read in place: bit for bit
what one rounding of the float32 result gives."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw
from op_cases import round_to
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")

PATTERNS = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)  # every bfloat16


def tensor(a: np.ndarray, dtype: str = "bfloat16") -> sw.Tensor:
    return _core.from_numpy(np.ascontiguousarray(a)).to(getattr(sw, dtype))


def numpy(t: sw.Tensor) -> np.ndarray:
    return t.to(sw.float32).numpy() if t.dtype == sw.bfloat16 else t.numpy()


def random(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).standard_normal(shape), "bfloat16").astype(np.float32)


def test_every_bit_pattern() -> None:
    x, one = tensor(PATTERNS), tensor(np.ones_like(PATTERNS))
    with np.errstate(invalid="ignore", over="ignore"):
        for got, expected in [
            (x * one, PATTERNS),
            (x + x, PATTERNS + PATTERNS),
            (x - x, PATTERNS - PATTERNS),
            (_core.relu(x), np.where(PATTERNS < 0, np.float32(0), PATTERNS)),
        ]:
            np.testing.assert_array_equal(numpy(got), expected)


@pytest.mark.parametrize("count", [*range(0, 36), 63, 64, 65, 1000])
def test_rounded_once(count: int) -> None:
    a, b = random((count,), 1), random((count,), 2)
    x, y = tensor(a), tensor(b)
    for got, expected in [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (_core.leaky_relu(x, 0.5), np.where(a > 0, a, a / 2)),
        (_core.hardtanh(x, -0.5, 0.25), np.clip(a, -0.5, 0.25)),
    ]:
        np.testing.assert_array_equal(numpy(got), round_to(expected, "bfloat16"))
    scaled = a.astype(np.float64) + 0.375 * b.astype(np.float64)
    np.testing.assert_allclose(numpy(_core.add(x, y, alpha=0.375)), scaled, rtol=2.0**-8, atol=1e-30)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "int64"])
@pytest.mark.parametrize(
    "a_shape, b_shape",
    [
        ((5, 700), (700,)),
        ((3, 130), (130,)),
        ((130,), (400, 130)),
        ((2, 3, 200), (3, 200)),
        ((2, 3, 200), (2, 1, 200)),
        ((2, 3, 200), (3, 1)),
        ((70, 1030), (70, 1)),
        ((300, 150), (1, 150)),
        ((40, 600), ()),
        ((2, 40000), (40000,)),
    ],
)
def test_rows_are_read_in_place(dtype: str, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> None:
    a, b = np.rint(8 * random(a_shape, 3)), np.rint(8 * random(b_shape, 4))  # exact in every dtype
    x, y = tensor(a, dtype), tensor(b, dtype)
    np.testing.assert_array_equal(numpy(x + y), a + b)
    np.testing.assert_array_equal(numpy(y - x), b - a)
    np.testing.assert_array_equal(numpy(_core.where(x > y, x, y)), np.maximum(a, b))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_rows_of_a_slice(dtype: str) -> None:
    a, b = np.rint(8 * random((33, 400), 5)), np.rint(8 * random((33, 300), 6))
    x, y = tensor(a.copy(), dtype)[:, 50:350], tensor(b, dtype)
    np.testing.assert_array_equal(numpy(x + y), a[:, 50:350] + b)
    np.testing.assert_array_equal(numpy(y * x[:1]), round_to(b * a[:1, 50:350], dtype))
    np.testing.assert_array_equal(numpy(_core.relu(x)), np.maximum(a[:, 50:350], 0))
    x += y
    np.testing.assert_array_equal(numpy(x), a[:, 50:350] + b)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "leaky_relu"])
def test_gradients(name: str) -> None:
    """In place and in float32 chunks (a strided gradient): the same bits."""
    x = tensor(random((9, 41), 7)).requires_grad_()
    dy = random((9, 41), 8)
    y = getattr(_core, name)(x)
    (dense,) = _core._grad([y], [x], [tensor(dy)], True, False)
    (other,) = _core._grad([y], [x], [tensor(np.repeat(dy, 2, axis=1))[:, ::2]], False, False)
    np.testing.assert_array_equal(numpy(dense), numpy(other))
    wide = tensor(random((9, 41), 7), "float32").requires_grad_()
    (exact,) = _core._grad([getattr(_core, name)(wide)], [wide], [tensor(dy, "float32")], False, False)
    limit = 2.0**-6 if name in ("relu", "leaky_relu") else 2.0**-5
    np.testing.assert_allclose(numpy(dense), numpy(exact), rtol=limit, atol=2.0**-9)
