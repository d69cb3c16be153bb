"""Pooling, unpooling and resizing on the device, against the CPU's float64 kernels and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F

EPS = {"float64": 2.3e-16, "float32": 1.2e-7, "bfloat16": 7.9e-3, "float16": 9.8e-4}
DTYPES = list(EPS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def numpy(t: sw.Tensor) -> np.ndarray:
    t = t.detach().cpu()
    return t.numpy() if t.dtype == sw.int64 else t.to(sw.float64).numpy()


def rounded(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values that every dtype holds."""
    return rng.integers(-32, 33, shape) / 8


def run(f: Callable[[sw.Tensor], Any], x: np.ndarray, dy: np.ndarray, dtype: str, device: str) -> list[np.ndarray]:
    """f's results and the gradient of the first."""
    leaf = sw.tensor(x).to(getattr(sw, dtype)).to(device).requires_grad_(True)
    found = f(leaf)
    ys = found if isinstance(found, tuple) else (found,)
    ys[0].backward(sw.tensor(np.resize(dy, ys[0].shape)).to(ys[0].dtype).to(device))
    assert leaf.grad is not None and leaf.grad.dtype == leaf.dtype and leaf.grad.device == leaf.device
    return [numpy(y) for y in ys] + [numpy(leaf.grad)]


def check(f: Callable[[sw.Tensor], Any], x: np.ndarray, rng: np.random.Generator, dtype: str, device: str) -> None:
    dy = rounded(rng, 97)
    want = run(f, x, dy, "float64", "cpu")
    for got, expected in zip(run(f, x, dy, dtype, device), want, strict=True):
        assert got.shape == expected.shape
        factor = 2 if dtype in ("bfloat16", "float16") else 32
        np.testing.assert_allclose(got, expected, rtol=factor * EPS[dtype], atol=8 * factor * EPS[dtype])


MAX = {
    "2x2": ((2, 8, 7, 6), {"kernel_size": 2}),
    "3x3 stride 2": ((2, 16, 9, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "dilated, ceil mode, odd channels": (
        (1, 7, 11, 8),
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "dilation": (2, 3), "ceil_mode": True},
    ),
    "all padding": ((1, 8, 2, 2), {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 3, "ceil_mode": True}),
    "empty": ((0, 8, 4, 4), {"kernel_size": 2}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", MAX)
def test_max_pool(rng: np.random.Generator, device: str, case: str, dtype: str) -> None:
    """Values repeat: of equal ones the first counts, in the index too."""
    shape, options = MAX[case]
    check(lambda x: F.max_pool2d(x, **options, return_indices=True), rounded(rng, *shape), rng, dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_of_nan(device: str, dtype: str) -> None:
    x = np.zeros((1, 8, 4, 4))
    x[0, 3, 1, 0] = x[0, 4, 3, 3] = np.nan
    x[0, 5] = -np.inf
    y, at = F.max_pool2d(sw.tensor(x).to(getattr(sw, dtype)).to(device), 2, return_indices=True)
    assert np.argwhere(np.isnan(numpy(y))).tolist() == [[0, 3, 0, 0], [0, 4, 1, 1]]
    assert numpy(at)[0, 3, 0, 0] == 4 and numpy(at)[0, 4, 1, 1] == 15
    assert numpy(at)[0, 5].tolist() == [[0, 2], [8, 10]]


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions(rng: np.random.Generator, device: str, dims: int) -> None:
    shape = (2, 12, 6, 5, 4)[: 2 + dims]
    for name, options in (("max_pool", {}), ("avg_pool", {"count_include_pad": False})):
        f = getattr(F, f"{name}{dims}d")
        check(lambda x, f=f, o=options: f(x, 3, 2, 1, **o), rounded(rng, *shape), rng, "float32", device)
        check(lambda x, f=f, o=options: f(x, 2, **o), rounded(rng, *shape[1:]), rng, "float32", device)


AVG = {
    "2x2": ((2, 8, 7, 6), {"kernel_size": 2}),
    "padded": ((1, 16, 6, 5), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "padding not counted": ((1, 7, 6, 5), {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}),
    "divisor": ((1, 8, 5, 5), {"kernel_size": 2, "stride": 3, "divisor_override": 3}),
    "large window": ((2, 8, 9, 9), {"kernel_size": 7, "stride": 2, "padding": 3}),
    "large window, odd channels": ((1, 37, 8, 8), {"kernel_size": (8, 6)}),
    "empty": ((0, 8, 4, 4), {"kernel_size": 2}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", AVG)
def test_avg_pool(rng: np.random.Generator, device: str, case: str, dtype: str) -> None:
    shape, options = AVG[case]
    check(lambda x: F.avg_pool2d(x, **options), rounded(rng, *shape), rng, dtype, device)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 9), (None, 1)], ids=str)
@pytest.mark.parametrize("shape", [(2, 40, 7, 7), (1, 5, 3, 4)], ids=str)
def test_adaptive(rng: np.random.Generator, device: str, shape: tuple[int, ...], size: Any, dtype: str) -> None:
    check(lambda x: F.adaptive_avg_pool2d(x, size), rounded(rng, *shape), rng, dtype, device)
    check(lambda x: F.adaptive_max_pool2d(x, size), rounded(rng, *shape), rng, dtype, device)


def test_other_layouts(rng: np.random.Generator, device: str) -> None:
    """A slice of channels, whose elements no pack may be read from, and a transposed image."""
    check(lambda x: F.max_pool2d(x[:, 1:], 2), rounded(rng, 2, 9, 4, 6), rng, "float32", device)
    check(lambda x: F.avg_pool2d(x.transpose(2, 3), 2), rounded(rng, 2, 8, 4, 6), rng, "float32", device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_unpool(rng: np.random.Generator, device: str, dtype: str) -> None:
    """Overlapping windows name the same place twice: the last value counts."""
    at = np.array([[[[0, 5, 5], [10, 12, 12]]], [[[3, 3, 3], [19, 0, 1]]]])

    def f(x: sw.Tensor) -> sw.Tensor:
        return F.max_unpool2d(x, sw.tensor(at).to(x.device), 2, 2, output_size=(4, 5))

    check(f, rounded(rng, 2, 1, 2, 3), rng, dtype, device)


@pytest.mark.parametrize("index", [-1, 16, 1 << 40])
def test_max_unpool_reports_an_index_outside(device: str, index: int) -> None:
    at = sw.tensor([[[0, 2], [8, index]]]).to(device)
    x = sw.ones(1, 2, 2).to(device).requires_grad_(True)
    with pytest.raises(IndexError, match=f"index {index} is out"):
        y = F.max_unpool2d(x, at, 2)
        y.cpu()
    sw.cuda.synchronize()  # the fault has been reported


def test_indices_on_another_device_are_named(device: str) -> None:
    message = r"max_unpool2d: expected indices on the device of input float32 \(1, 1, 1\) on cuda:0, got int64"
    with pytest.raises(sw.DeviceError, match=message):
        F.max_unpool2d(sw.ones(1, 1, 1).to(device), sw.zeros(1, 1, 1, dtype=sw.int64), 2)


RESIZE = {
    "nearest": {"size": (7, 9), "mode": "nearest"},
    "nearest-exact": {"scale_factor": (0.6, 1.7), "mode": "nearest-exact"},
    "bilinear": {"scale_factor": 2, "mode": "bilinear"},
    "bilinear, aligned": {"size": (3, 9), "mode": "bilinear", "align_corners": True},
    "bicubic": {"size": (8, 3), "mode": "bicubic"},
    "area": {"size": (2, 3), "mode": "area"},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", RESIZE)
def test_interpolate(rng: np.random.Generator, device: str, case: str, dtype: str) -> None:
    for channels in (16, 3):
        x = rounded(rng, 2, channels, 4, 5)
        check(lambda x: F.interpolate(x, **RESIZE[case]), x, rng, dtype, device)


def test_interpolate_in_one_and_three_dimensions(rng: np.random.Generator, device: str) -> None:
    check(lambda x: F.interpolate(x, 7, mode="linear"), rounded(rng, 2, 8, 4), rng, "float32", device)
    check(lambda x: F.interpolate(x, (3, 4, 5), mode="trilinear"), rounded(rng, 1, 4, 2, 3, 3), rng, "float32", device)
    check(lambda x: F.interpolate(x, 3), rounded(rng, 0, 4, 6), rng, "float32", device)
