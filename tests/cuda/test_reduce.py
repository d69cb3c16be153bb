"""Reductions, positions of extremes, running sums and their gradients on the device, against NumPy and float64."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
DTYPES = list(EPS)
SUMS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-23, "float16": 2.0**-23}  # where sums are formed

# Shapes and reduced dimensions: rows and columns, in packs and not, short and cut into chunks, one result and many,
# and dimensions that alternate in memory.
GEOMETRIES = [
    ((1,), (0,)),
    ((7, 5), (1,)),
    ((40, 16), (1,)),
    ((3, 257), (1,)),
    ((33024,), (0,)),
    ((2, 4201), (1,)),
    ((31, 8), (0,)),
    ((300, 248), (0,)),
    ((300, 17), (0,)),
    ((2, 1100, 3), (1,)),
    ((4, 6, 5, 8), (0, 2, 3)),
    ((5, 3, 4), (0, 1, 2)),
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def numpy(t: sw.Tensor) -> np.ndarray:
    t = t.detach().cpu()
    return t.to(sw.float64).numpy() if t.is_floating_point() else t.numpy()


def stored(array: np.ndarray, dtype: str) -> np.ndarray:
    """The values that dtype holds, as float64."""
    return numpy(sw.tensor(array).to(getattr(sw, dtype)))


def device_tensor(array: np.ndarray, dtype: str, grad: bool = False) -> sw.Tensor:
    return sw.tensor(array).to(getattr(sw, dtype)).cuda().requires_grad_(grad)


def assert_close(actual: sw.Tensor, expected: np.ndarray, dtype: str, scale: np.ndarray | float, n: int = 1) -> None:
    """Off by the rounding of the result, and by that of a sum of n terms of the given scale."""
    assert actual.is_cuda and tuple(actual.shape) == expected.shape
    floor = 2.0**-24 if dtype == "float16" else 1e-300
    limit = EPS[dtype] * np.abs(expected) + 4 * np.sqrt(n) * SUMS[dtype] * scale + floor
    np.testing.assert_array_less(np.abs(numpy(actual) - expected), limit.astype(float))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dims", GEOMETRIES)
def test_sums(shape: tuple[int, ...], dims: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.standard_normal(shape) + 0.5, dtype)
    x = device_tensor(a, dtype, grad=True)
    n = int(np.prod([shape[d] for d in dims]))
    a = a.astype(np.longdouble)
    y = x.mean(dims)
    assert_close(y, a.mean(dims), dtype, 4 / np.sqrt(n), n)
    assert_close(x.detach().sum(dims, keepdim=True), a.sum(dims, keepdims=True), dtype, 4 * np.sqrt(n), n)
    y.backward(sw.ones_like(y))
    assert_close(x.grad, np.full(shape, 1 / n), dtype, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dims", [g for g in GEOMETRIES if np.prod(g[0]) > 1])
def test_spread_and_norm(shape: tuple[int, ...], dims: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.standard_normal(shape) + 3, dtype)
    x = device_tensor(a, dtype, grad=True)
    n = int(np.prod([shape[d] for d in dims]))
    a = a.astype(np.longdouble)
    kept = {"axis": dims, "keepdims": True}
    y = x.std(dims)
    assert_close(y, a.std(dims, ddof=1), dtype, 4)
    y.backward(sw.ones_like(y))
    deviation = stored(a.std(ddof=1, **kept).astype(float), dtype)
    assert_close(x.grad, (a - a.mean(**kept)) / deviation / (n - 1), dtype, 20 * np.sqrt(n) / n)
    assert_close(x.detach().norm(dim=dims), np.sqrt((a * a).sum(dims)), dtype, 4 * np.sqrt(n))
    assert_close(x.detach().var(dims, correction=0), a.var(dims), dtype, 4)


def test_variance_of_constants() -> None:
    """Exactly 0, however large they are."""
    for shape, dim in (((3, 1000), 1), ((1000, 20), 0)):
        x = sw.full(shape, 1e10, device="cuda")
        assert numpy(x.var(dim)).max() == 0 == numpy(x.std(dim)).max()
    x = sw.tensor([[1.0, np.inf], [np.nan, 1.0], [2.0, 2.0]], device="cuda")
    assert np.isnan(numpy(x.var(1))[:2]).all() and numpy(x.var(1))[2] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dims", GEOMETRIES)
def test_extremes(shape: tuple[int, ...], dims: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.integers(-40, 41, shape) / 4, dtype)
    for name, pick in (("amax", np.max), ("amin", np.min)):
        x = device_tensor(a, dtype, grad=True)
        y = getattr(x, name)(dims)
        np.testing.assert_array_equal(numpy(y), pick(a, axis=dims))
        y.backward(sw.full_like(y, 3))
        hits = a == pick(a, axis=dims, keepdims=True)
        assert_close(x.grad, np.where(hits, 3 / hits.sum(axis=dims, keepdims=True), 0), dtype, 3)
    if len(dims) == 1:
        x = device_tensor(a, dtype)
        for largest in (True, False):
            values, at = (x.max if largest else x.min)(dims[0])
            where = (np.argmax if largest else np.argmin)(a, axis=dims[0])
            np.testing.assert_array_equal(numpy(at), where)
            np.testing.assert_array_equal(numpy(values), (np.max if largest else np.min)(a, axis=dims[0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_wins(dtype: str, rng: np.random.Generator) -> None:
    a = rng.integers(-9, 10, (4, 5000)).astype(float)
    a[1, 4321] = a[2, 17] = a[2, 4000] = np.nan
    x = device_tensor(a, dtype, grad=True)
    np.testing.assert_array_equal(numpy(x.detach().amax(1)), a.max(1))
    np.testing.assert_array_equal(numpy(x.detach().T.contiguous().amin(0)), a.min(1))
    values, at = x.max(1)
    np.testing.assert_array_equal(numpy(values), a.max(1))
    assert at.tolist() == [int(np.argmax(a[0])), 4321, 17, int(np.argmax(a[3]))]
    assert x.T.contiguous().argmin(0).tolist() == [int(np.argmin(a[0])), 4321, 17, int(np.argmin(a[3]))]
    assert int(x.argmax()) == 5000 + 4321
    y = x.amax(1)
    y.backward(sw.ones_like(y))
    assert np.isnan(a[2][numpy(x.grad)[2] > 0]).all() and numpy(x.grad)[2].sum() == 1


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape, dim", [((9, 40), 1), ((300, 20), 0), ((5000,), 0)])
def test_integers(shape: tuple[int, ...], dim: int, dtype: str, rng: np.random.Generator) -> None:
    a = rng.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)
    a[..., 1] = 0
    if dtype.startswith("int"):
        a -= 50
    x = sw.tensor(a).cuda()
    np.testing.assert_array_equal(numpy(x.sum(dim)), a.astype(np.int64).sum(dim))
    np.testing.assert_array_equal(numpy(x.amax(dim)), a.max(dim))
    np.testing.assert_array_equal(numpy(x.amin(dim)), a.min(dim))
    np.testing.assert_array_equal(numpy(x.argmax(dim)), a.argmax(dim))
    np.testing.assert_array_equal(numpy(x.count_nonzero(dim)), np.count_nonzero(a, dim))
    np.testing.assert_array_equal(numpy(x.any(dim)), a.any(dim))
    np.testing.assert_array_equal(numpy(x.all(dim)), a.all(dim))
    np.testing.assert_array_equal(numpy(x[..., :6].contiguous().prod(-1)), a[..., :6].astype(np.int64).prod(-1))
    if dtype in ("int64", "int32"):
        np.testing.assert_array_equal(numpy(x.cumsum(dim)), a.astype(np.int64).cumsum(dim))


def test_counts_of_floats() -> None:
    x = sw.tensor([[0.0, -0.0, 1.0], [np.nan, 2.0, 3.0]], device="cuda")
    assert x.count_nonzero(1).tolist() == [1, 3]
    assert x.any(1).tolist() == [True, True] and x.all(1).tolist() == [False, True]
    assert bool(x.any()) and not bool(x.all())
    for empty in (sw.zeros(0, 3, device="cuda"), sw.zeros(2, 0, device="cuda")):
        assert not bool(empty.any()) and bool(empty.all()) and float(empty.sum()) == 0 and np.isnan(float(empty.mean()))
        assert empty.sum(0).shape == empty.shape[1:] and empty.sum(1).is_cuda


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dim", [((6, 9), 1), ((140, 20), 0), ((2, 65, 3), 1), ((4500,), 0)])
def test_products(shape: tuple[int, ...], dim: int, dtype: str, rng: np.random.Generator) -> None:
    """Powers of two, so that products are exact; with no zero, one and two of them in a line."""
    a = 2.0 ** rng.integers(-1, 2, shape) * rng.choice([-1, 1], shape)
    flips = np.moveaxis(a, dim, 0)
    half = flips.shape[0] // 2
    flips[half : 2 * half] = 1 / flips[:half]  # products of 1 or -1 times the last
    if flips.ndim > 1:
        flips[3].flat[1] = flips[2].flat[2] = flips[5].flat[2] = 0
    x = device_tensor(a, dtype, grad=True)
    y = x.prod(dim)
    if a.size > 4000:
        a = a.astype(np.longdouble)
    np.testing.assert_array_equal(np.abs(numpy(y)), np.abs(a.prod(dim)).astype(float))
    y.backward(sw.ones_like(y))
    others = np.stack([np.delete(a, i, dim).prod(dim) for i in range(0, shape[dim], 1 + shape[dim] // 50)], dim)
    actual = numpy(x.grad).take(range(0, shape[dim], 1 + shape[dim] // 50), dim)
    np.testing.assert_array_equal(actual, others.astype(float))


SCANS = [((1,), 0), ((5, 33), 1), ((40, 7), 0), ((70, 40), 0), ((2, 6000), 1), ((3000, 3), 0)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dim", SCANS)
def test_running_sums(shape: tuple[int, ...], dim: int, dtype: str, rng: np.random.Generator) -> None:
    a, dy = (stored(rng.standard_normal(shape), dtype) for _ in range(2))
    scale = shape[dim] if dtype == "float64" else 1e-6  # the others are summed in float64
    x = device_tensor(a, dtype, grad=True)
    y = x.cumsum(dim)
    assert_close(y, a.astype(np.longdouble).cumsum(dim), dtype, scale)
    y.backward(device_tensor(dy, dtype))
    assert_close(x.grad, np.flip(np.flip(dy.astype(np.longdouble), dim).cumsum(dim), dim), dtype, scale)


def cumprod_grad(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dx[k] = sum over i >= k of dy[i] * (x[0] ... x[i] without x[k]), for each column."""
    dx = np.zeros_like(x)
    for k in range(len(x)):
        others = x.copy()
        others[k] = 1
        dx[k] = (dy * others.cumprod(0))[k:].sum(0)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (9, 6), (70, 40), (50, 1), (33, 3)])
def test_running_products(shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.choice([0.5, 0.75, 1.25, 1.5, -1.0], shape), dtype)
    a[:, 0] = np.where(np.arange(shape[0]) % 8 == 5, 0, a[:, 0])  # more than one zero
    if shape[1] > 2:
        a[4, 2] = 0
    dy = stored(rng.standard_normal(shape), dtype)
    for dim in (0, 1):
        x = device_tensor(a if dim == 0 else a.T.copy(), dtype, grad=True)
        y = x.cumprod(dim)
        expected = a.cumprod(0)
        assert_close(y if dim == 0 else y.T, expected, dtype, (np.abs(expected) if dtype == "float64" else 1e-6))
        y.backward(device_tensor(dy if dim == 0 else dy.T.copy(), dtype))
        grad = cumprod_grad(a, dy)
        assert_close(x.grad if dim == 0 else x.grad.T, grad, dtype, 1e-6 + np.abs(grad).max() * (dtype == "float64"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_running_product(dtype: str) -> None:
    a = np.where(np.arange(5000) % 2 == 0, 2.0, 0.5)
    assert numpy(device_tensor(a, dtype).cumprod(0)).tolist() == [2.0, 1.0] * 2500


@pytest.mark.parametrize("dtype", DTYPES)
def test_composed(dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.standard_normal((6, 37)), dtype)
    a[2, 5] = np.nan
    x = device_tensor(a, dtype)
    clean = device_tensor(np.nan_to_num(a), dtype, grad=True)
    assert_close(x.nansum(1), np.nansum(a, 1), dtype, 1, 37)
    assert_close(x.nanmean(1), np.nanmean(a, 1), dtype, 1)
    median = np.sort(a, 1)[:, 18]
    median[2] = np.nan
    np.testing.assert_array_equal(numpy(x.median(1)[0]), median)
    y = clean.logsumexp(1)
    b = np.nan_to_num(a)
    assert_close(y, np.log(np.exp(b).sum(1)), dtype, 4)
    y.backward(sw.ones_like(y))
    assert_close(clean.grad, np.exp(b) / np.exp(b).sum(1, keepdims=True), dtype, 1)
    for p, expected in ((1, np.abs(b).sum(1)), (3, (np.abs(b) ** 3).sum(1) ** (1 / 3)), (np.inf, np.abs(b).max(1))):
        assert_close(clean.detach().norm(p, 1), expected, dtype, 8, 37)
    assert sw.logsumexp(sw.zeros(3, 0, device="cuda"), 1).tolist() == [-np.inf] * 3


def test_same_bits_on_every_run(rng: np.random.Generator) -> None:
    x = sw.tensor(rng.standard_normal((400, 60)).astype(np.float32)).cuda()
    once, again = ([numpy(y).tobytes() for y in (x.sum(0), x.sum(1), x.sum(), x.var(0))] for _ in range(2))
    assert once == again
