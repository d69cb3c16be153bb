"""The rounding of AMX's tile products, of the hardware or the emulator, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from conftest import runs
from op_cases import round_to
from op_runner import tensor_of
from skipway import _core


@pytest.fixture
def tiles(restore: None) -> None:
    if not runs("amx"):
        pytest.skip("this machine has no amx")
    _core.set_isa("amx")


def tile_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """TDPBF16PS from zero, for a (rows, 32) and b (32, columns) in bfloat16.

    Even and odd elements are summed apart by fused multiply-adds, and the two sums added. Products of bfloat16 are
    exact in float64, and so are their sums with a float32 of about their size.
    """
    sums = []
    for first in (0, 1):
        total = np.zeros((a.shape[0], b.shape[1]), np.float32)
        for k in range(first, a.shape[1], 2):
            total = (total.astype(np.float64) + a[:, k : k + 1] * b[k : k + 1, :]).astype(np.float32)
        sums.append(total)
    return sums[0] + sums[1]


def weight_gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dy^T x over the pixels, in float32: autocast's gradient of the weights of a 1x1 convolution."""
    weight = sw.zeros(dy.shape[1], x.shape[1], 1, 1, requires_grad=True)
    images, gradient = (tensor_of(np.ascontiguousarray(a.T)[None, :, None], "bfloat16") for a in (x, dy))
    with sw.autocast("cpu", dtype=sw.bfloat16):
        F.conv2d(images, weight).backward(gradient)
    return weight.grad.numpy()[:, :, 0, 0]


@pytest.mark.parametrize("channels", [(16, 16), (16, 32), (48, 16), (23, 17)])
def test_every_bit_of_a_product(tiles: None, channels: tuple[int, int]) -> None:
    rng = np.random.default_rng(channels[0])
    x, dy = (round_to(rng.standard_normal((32, c)), "bfloat16") for c in channels)
    np.testing.assert_array_equal(weight_gradient(x, dy), tile_product(dy.T, x))


def test_denormals_are_zero(tiles: None) -> None:
    x, dy = np.zeros((32, 16)), np.zeros((32, 16))
    x[0, 0], dy[0] = 2.0**-127, 2.0**100  # the operand
    x[1, 1], dy[1] = 2.0**-100, 2.0**-40  # the product
    x[2, 2], dy[2] = 2.0**-100, 2.0**-26  # the smallest normal one
    found = weight_gradient(x, dy)
    assert np.all(found[:, 0] == 0) and np.all(found[:, 1] == 0)
    assert np.all(found[:, 2] == np.float32(2.0**-126))
