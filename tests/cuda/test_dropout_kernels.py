"""Dropout on the device: the masks of the CPU, for every layout, size and variant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import FLOATS, close, make, on_device

pytestmark = pytest.mark.usefixtures("restore")

ELEMENTWISE = {"dropout": F.dropout, "alpha_dropout": F.alpha_dropout}
CHANNELWISE = {"dropout2d": F.dropout2d, "feature_alpha_dropout": F.feature_alpha_dropout}


def numbers(*shape: int) -> np.ndarray:
    return np.linspace(0.5, 3, int(np.prod(shape))).reshape(shape)


def check(f: Callable[..., Any], x: Any, p: float, what: Any = "") -> None:
    """Value and gradient. There is no float16 on the CPU: there the mask is that of float32."""
    half = x.dtype is sw.float16
    here = (x.float() if half else x).detach().requires_grad_()
    there = on_device(x).requires_grad_()
    sw.manual_seed(11)
    y = f(here, p, True)
    sw.manual_seed(11)
    z = f(there, p, True)
    dy = make(numbers(*x.shape))
    y.backward(dy.to(y.dtype))
    z.backward(dy.to(z.dtype).cuda())
    assert z.stride() == y.stride() and z.dtype == x.dtype
    close(z, y.to(z.dtype), 4, what)
    close(there.grad, here.grad.to(z.dtype), 4 if not half else 2**13 + 4, what)
    np.testing.assert_array_equal((z == 0).tolist(), (y == 0).tolist())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elements(name: str, dtype: str) -> None:
    f = ELEMENTWISE[name]
    for n in (1, 7, 31, 64, 65, 257, 1000):
        check(f, make(numbers(n), dtype), 0.3, n)
    for p in (0.001, 0.5, 0.999, 1.0):
        check(f, make(numbers(300), dtype), p, p)
    check(f, make(numbers(5, 60), dtype, "shifted"), 0.5, "not at 16 bytes")
    check(f, make(numbers(5, 60), dtype, "sliced"), 0.5, "strided")
    assert f(make(numbers(0), dtype).cuda(), 0.5, True).numel() == 0


# (N, C, H, W): channels that fill packs or not, positions in one tile or in several
CHANNELS_LAST = [(2, 16, 5, 7), (2, 5, 3, 3), (1, 72, 10, 20), (2, 8, 17, 16), (1, 67, 16, 19), (1, 300, 1, 3)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", CHANNELS_LAST)
def test_channels_last(shape: tuple[int, ...], dtype: str) -> None:
    x = make(numbers(*shape), dtype).contiguous(memory_format=sw.channels_last)
    check(F.dropout, x, 0.4)
    there = sw.zeros(x.numel() + 1, dtype=x.dtype, device="cuda")[1:].as_strided(
        x.shape, x.stride(), 1
    )  # not at 16 bytes
    there.copy_(x)
    sw.manual_seed(3)
    y = F.dropout(there, 0.4)
    sw.manual_seed(3)
    np.testing.assert_array_equal((y == 0).tolist(), (F.dropout(x.double(), 0.4) == 0).tolist())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CHANNELWISE)
def test_channels(name: str, dtype: str) -> None:
    f = CHANNELWISE[name]
    for shape in ((3, 8, 4, 4), (2, 5, 3, 3), (70, 2), (2, 33, 8)):
        x = make(numbers(*shape), dtype)
        check(f, x, 0.5, shape)
        if len(shape) == 4:
            check(f, x.contiguous(memory_format=sw.channels_last), 0.5, (shape, "channels last"))
            check(f, x.contiguous(memory_format=sw.channels_last), 1.0, "everything")


def test_other_variants() -> None:
    x = make(numbers(3, 4, 2, 2, 2))
    check(F.dropout3d, x, 0.5)
    check(F.dropout3d, x[0], 0.5)
    check(F.dropout1d, x[0, :, :, :, 0].reshape(4, 2, 2), 0.5)
    y = x.cuda()
    assert F.dropout(y, 0.5, False) is y or F.dropout(y, 0.5, False).data_ptr() == y.data_ptr()
    sw.manual_seed(1)
    z = F.dropout(y.clone(), 0.5)
    sw.manual_seed(1)
    F.dropout(y, 0.5, inplace=True)
    close(y, z.cpu(), 0)
