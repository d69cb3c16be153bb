"""Sorting and selection on the device: the order of the CPU kernels, stable, NaN as the largest value."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw

DTYPES = ["float64", "float32", "bfloat16", "float16", "int64", "int32", "uint8", "bool"]
CPU = {"float16": "float32"}  # the CPU sorts no float16; float32 holds the same values


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Many equal values; NaN, infinities and both zeros among floats."""
    a = rng.integers(-30, 31, shape)
    if "float" not in dtype:
        return (a % 2 == 0) if dtype == "bool" else np.abs(a).astype(dtype) if dtype == "uint8" else a.astype(dtype)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])
    return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), a / 2)


def both(a: np.ndarray, dtype: str) -> tuple[sw.Tensor, sw.Tensor]:
    t = sw.tensor(a)
    return t.to(getattr(sw, CPU.get(dtype, dtype))), t.to(getattr(sw, dtype)).cuda()


def values(t: sw.Tensor) -> np.ndarray:
    t = t.detach().cpu()
    return t.to(sw.float64).numpy() if t.is_floating_point() else t.numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dim", [((1,), 0), ((50, 2), 1), ((3, 33), 1), ((65, 4), 0), ((2, 5000), 1)])
def test_sort(shape: tuple[int, ...], dim: int, dtype: str, rng: np.random.Generator) -> None:
    x, y = both(sample(rng, shape, dtype), dtype)
    for descending in (False, True):
        expected, actual = sw.sort(x, dim, descending), sw.sort(y, dim, descending)
        assert actual[0].is_cuda and actual[1].is_cuda and actual[0].dtype == y.dtype
        np.testing.assert_array_equal(values(actual[1]), values(expected[1]))
        np.testing.assert_array_equal(values(actual[0]), values(expected[0]))


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
@pytest.mark.parametrize("shape, dim, k", [((4, 40), 1, 5), ((2100, 2), 0, 3), ((9000,), 0, 500), ((2, 4200), 1, 600)])
def test_topk(shape: tuple[int, ...], dim: int, k: int, dtype: str, rng: np.random.Generator) -> None:
    x, y = both(sample(rng, shape, dtype), dtype)
    for largest in (True, False):
        expected, actual = sw.topk(x, k, dim, largest), sw.topk(y, k, dim, largest)
        np.testing.assert_array_equal(values(actual[1]), values(expected[1]))
        np.testing.assert_array_equal(values(actual[0]), values(expected[0]))


def test_gradients() -> None:
    x = sw.tensor([3.0, 1.0, 2.0], device="cuda", requires_grad=True)
    (sw.sort(x)[0] * sw.tensor([1.0, 2.0, 3.0], device="cuda")).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [3.0, 1.0, 2.0]
    assert sw.kthvalue(x, 2)[0].item() == 2 and sw.argsort(x, descending=True).tolist() == [0, 2, 1]


def test_unique() -> None:
    x = sw.tensor([[3, 1], [1, 7]], device="cuda")
    found, inverse, counts = sw.unique(x, return_inverse=True, return_counts=True)
    assert found.is_cuda and found.tolist() == [1, 3, 7]
    assert inverse.tolist() == [[1, 0], [0, 2]] and counts.tolist() == [2, 1, 1] and counts.is_cuda


def test_empty() -> None:
    for shape in ((0,), (0, 3), (3, 0)):
        found, at = sw.sort(sw.zeros(shape, device="cuda"), -1)
        assert found.shape == shape == at.shape and at.is_cuda
