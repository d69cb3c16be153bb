"""Reductions against NumPy in float64: every set of dimensions, layout, dtype and instruction set."""

import itertools
import math

import numpy as np
import pytest
import skipway as sw
from numeric import check_gradient, layouts

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 4, 5))
DIMS = [None, *(d for k in range(1, 5) for d in itertools.combinations(range(4), k)), 2, -1, (-1, 0)]


def close(tensor, expected, tolerance=1e-12):
    expected = np.asarray(expected)
    assert tuple(tensor.shape) == expected.shape
    np.testing.assert_allclose(tensor.detach().numpy().astype(np.float64), expected, rtol=tolerance, atol=tolerance)


def logsumexp(a, axis, keepdims):
    return np.log(np.exp(a).sum(axis=axis, keepdims=keepdims))


FUNCTIONS = {
    "sum": (lambda x, d, k: x.sum(d, k), lambda a, d, k: a.sum(axis=d, keepdims=k)),
    "mean": (lambda x, d, k: x.mean(dim=d, keepdim=k), lambda a, d, k: a.mean(axis=d, keepdims=k)),
    "prod": (lambda x, d, k: x.prod(d, k), lambda a, d, k: a.prod(axis=d, keepdims=k)),
    "amax": (lambda x, d, k: x.amax(d if d is not None else (), k), lambda a, d, k: a.max(axis=d, keepdims=k)),
    "amin": (lambda x, d, k: x.amin(d if d is not None else (), k), lambda a, d, k: a.min(axis=d, keepdims=k)),
    "var": (lambda x, d, k: x.var(d, keepdim=k), lambda a, d, k: a.var(axis=d, keepdims=k, ddof=1)),
    "std": (lambda x, d, k: x.std(d, correction=0, keepdim=k), lambda a, d, k: a.std(axis=d, keepdims=k)),
    "norm": (lambda x, d, k: x.norm(dim=d, keepdim=k), lambda a, d, k: np.sqrt((a * a).sum(axis=d, keepdims=k))),
    "norm 1": (lambda x, d, k: x.norm(1, d, k), lambda a, d, k: np.abs(a).sum(axis=d, keepdims=k)),
    "norm 3": (lambda x, d, k: x.norm(3, d, k), lambda a, d, k: (np.abs(a) ** 3).sum(axis=d, keepdims=k) ** (1 / 3)),
    "norm inf": (lambda x, d, k: x.norm(math.inf, d, k), lambda a, d, k: np.abs(a).max(axis=d, keepdims=k)),
    "norm -inf": (lambda x, d, k: x.norm(-math.inf, d, k), lambda a, d, k: np.abs(a).min(axis=d, keepdims=k)),
    "logsumexp": (lambda x, d, k: x.logsumexp(d if d is not None else (), k), logsumexp),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_over_all_dimensions_and_layouts(name):
    f, g = FUNCTIONS[name]
    for dims, keepdim, x in itertools.product(DIMS, (False, True), layouts(A).values()):
        if dims is not None and name == "var" and np.prod([A.shape[d] for d in np.atleast_1d(dims)]) < 2:
            continue
        close(f(x, dims, keepdim), g(A, dims, keepdim))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dims", [None, 1, (0, 2), (2, 3), (0, 2, 3)])
def test_gradients(name, dims):
    f = FUNCTIONS[name][0]
    check_gradient(lambda x: f(x, dims, False), A)
    check_gradient(lambda x: f(x.permute(0, 3, 1, 2), dims, True), A)


@pytest.mark.parametrize("size", [1, 7, 31, 33, 64, 65, 255, 257, 1025, 70001])
@pytest.mark.parametrize("where", ["row", "rows", "columns", "middle"])
def test_every_isa_and_dtype(size, where, isa):
    shape, dims = {
        "row": ((size,), 0),
        "rows": ((3, size), 1),
        "columns": ((size, 3), 0),
        "middle": ((2, 5, size), 1),
    }[where]
    a = RNG.integers(-8, 9, shape)
    for dtype in (sw.float64, sw.float32, sw.int64, sw.int32):  # small integers: every sum is exact
        x = sw.tensor(a).to(dtype)
        for name in ("sum", "amax", "amin"):
            close(FUNCTIONS[name][0](x, dims, False), FUNCTIONS[name][1](a, dims, False), 0)
        values, indices = x.max(dims)
        close(values, a.max(dims), 0)
        close(indices, a.argmax(dims), 0)
        close(x.argmin(dims), a.argmin(dims), 0)
        close(x.count_nonzero(dims), np.count_nonzero(a, axis=dims), 0)
    b = sw.tensor(a).to(sw.bfloat16)
    close(b.sum(dims, dtype=sw.float32), a.sum(dims), 0)
    close(b.sum(dims).float(), sw.tensor(a.sum(dims)).to(sw.bfloat16).float().numpy(), 0)
    close(b.amax(dims).float(), a.max(dims), 0)


def test_sums_are_accurate(isa):
    n = 1_000_003
    a = RNG.random(n).astype(np.float32)
    exact = math.fsum(a.tolist())
    assert abs(sw.tensor(a).sum().item() - exact) < 4e-7 * exact
    assert abs(sw.tensor(a.reshape(n, 1)).expand(n, 2).sum(0)[1].item() - exact) < 4e-7 * exact
    assert sw.ones(1 << 25).sum().item() == 1 << 25
    halves = sw.full((1 << 14,), 0.5, dtype=sw.bfloat16)
    assert halves.sum().item() == 1 << 13


def test_variance_of_large_offsets_and_constants(isa):
    a = (RNG.standard_normal((50, 64)) + 1e4).astype(np.float32)
    for dims in (None, 0, 1):
        close(sw.tensor(a).var(dims), a.astype(np.float64).var(axis=dims, ddof=1), 2e-5)
    for value in (1e10, 0.1, -1e30, 3.0):
        x = sw.full((333,), value)
        assert x.var().item() == 0 and x.std().item() == 0
    assert math.isnan(sw.tensor([1.0]).var().item())
    assert sw.tensor([1.0, 3.0]).var(unbiased=False).item() == 1.0
    variance, mean = sw.var_mean(sw.tensor(A), (0, 1))
    close(variance, A.var(axis=(0, 1), ddof=1))
    close(mean, A.mean(axis=(0, 1)))
    deviation, mean = sw.std_mean(sw.tensor(A), 3, keepdim=True)
    close(deviation, A.std(axis=3, ddof=1, keepdims=True))


def test_same_bits_at_any_number_of_threads(threads):
    a = RNG.standard_normal((700, 300)).astype(np.float32)
    results = []
    for n in (1, 2, 5):
        threads(n)
        x = sw.tensor(a)
        results.append([f(x).numpy().tobytes() for f in (sw.sum, sw.var, lambda x: x.sum(0), lambda x: x.norm(dim=1))])
    assert results[0] == results[1] == results[2]


def test_extremes_with_positions():
    a = RNG.integers(0, 4, (3, 4, 5)).astype(np.float32)
    for x in layouts(a).values():
        for dim in range(-3, 3):
            for keepdim in (False, True):
                largest, smallest = sw.max(x, dim, keepdim), x.min(dim, keepdim=keepdim)
                close(largest.values, a.max(dim, keepdims=keepdim))
                close(largest.indices, a.argmax(dim, keepdims=keepdim))
                close(smallest[0], a.min(dim, keepdims=keepdim))
                close(smallest[1], a.argmin(dim, keepdims=keepdim))
        close(x.argmax(), a.argmax())
        close(sw.argmin(x), a.argmin())
        assert tuple(x.argmax(keepdim=True).shape) == (1, 1, 1)
    close(sw.max(sw.tensor(a), sw.tensor(a).flip(0)), np.maximum(a, a[::-1]))
    low, high = sw.aminmax(sw.tensor(a), dim=1)
    close(low, a.min(1))
    close(high, a.max(1))
    check_gradient(lambda x: x.max(1), A)
    check_gradient(lambda x: x.min(2, keepdim=True), A)
    check_gradient(lambda x: x.max(), A)


def test_ties_share_the_gradient_and_the_first_has_the_index():
    x = sw.tensor([[1.0, 3.0, 3.0, 2.0]], requires_grad=True)
    x.amax(1).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.5, 0.5, 0.0]]
    x.grad = None
    x.max(1).values.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [sw.float64, sw.float32, sw.bfloat16])
def test_nan_propagates(dtype, isa):
    for n in (3, 40, 3000):
        a = np.arange(n, dtype=np.float64)
        a[n // 2] = np.nan
        x = sw.tensor(a, dtype=dtype)
        for y in (x.max(), x.min(), x.amax(0), x.sum(), x.mean(), x.prod(), x.norm(), x.std(), x.logsumexp(0)):
            assert math.isnan(y.item())
        wide = x.reshape(n, 1).expand(n, 2).clone()
        for y, index in (x.max(0), x.min(0), wide.max(0), wide.min(0)):
            assert y.isnan().all().item() and index.flatten()[0].item() == n // 2
        assert math.isfinite(x.nansum().item())
    assert sw.tensor([1.0, np.nan, 3.0]).nanmean().item() == 2.0


def test_without_elements():
    x = sw.zeros(0, 3)
    assert x.sum().item() == 0 and x.sum(0).tolist() == [0, 0, 0] and x.prod(0).tolist() == [1, 1, 1]
    assert math.isnan(x.mean().item()) and x.norm().item() == 0 and x.sum(1).tolist() == []
    assert x.all().item() is True and x.any().item() is False and x.logsumexp(0).tolist() == [-math.inf] * 3
    assert x.amax(1).tolist() == [] and x.max(1).values.tolist() == [] and x.cumsum(0).tolist() == []
    for call in (lambda: x.max(), lambda: x.amin(0), lambda: x.argmax(), lambda: x.median()):
        with pytest.raises(ValueError, match="no elements"):
            call()
    with pytest.raises(IndexError, match="max: dimension 0 of input of shape \\(0, 3\\) has no elements"):
        x.max(0)


def test_truth_and_counts():
    a = RNG.integers(0, 3, (4, 5)) * RNG.integers(0, 2, (4, 5))
    for dtype in (sw.bool, sw.uint8, sw.int64, sw.float32, sw.bfloat16):
        x = sw.tensor(a).to(dtype)
        for dims in (None, 0, 1, (0, 1)):
            np.testing.assert_array_equal(x.any(dims).numpy(), a.any(axis=dims))
            np.testing.assert_array_equal(x.all(dims).numpy(), a.all(axis=dims))
            np.testing.assert_array_equal(x.count_nonzero(dims).numpy(), np.count_nonzero(a, axis=dims))
        assert x.any().dtype == sw.bool
    assert sw.tensor([np.nan, 0.0]).any().item() is True


def test_dtypes():
    assert sw.ones(3, dtype=sw.uint8).sum().dtype == sw.int64
    assert sw.full((300,), 255, dtype=sw.uint8).sum().item() == 76500
    assert sw.ones(3, dtype=sw.bool).sum().item() == 3
    assert sw.ones(3, dtype=sw.int32).prod().dtype == sw.int64
    assert sw.ones(3, dtype=sw.int64).sum(dtype=sw.float32).dtype == sw.float32
    assert sw.ones(3, dtype=sw.int64).mean(dtype=sw.float64).item() == 1
    assert sw.ones(3, dtype=sw.int32).max(0).values.dtype == sw.int32
    assert sw.tensor(2**62).sum().item() == 2**62
    with pytest.raises(TypeError, match="mean: expected input of a floating dtype"):
        sw.ones(3, dtype=sw.int64).mean()


def test_scans():
    a = A.copy()
    for dim in range(-4, 4):
        for x in layouts(a).values():
            close(x.cumsum(dim), a.cumsum(dim))
            close(sw.cumprod(x, dim), a.cumprod(dim))
    assert sw.tensor([True, True, False]).cumsum(0).tolist() == [1, 2, 2]
    check_gradient(lambda x: x.cumsum(2), A)
    check_gradient(lambda x: x.cumprod(1), A)


def test_products_of_zeros_have_exact_gradients():
    a = A.copy()
    a[0, 1, 2] = 0
    a[1, :, 1] = 0
    a[1, 1, 1, 3] = 2
    for dim in range(4):
        check_gradient(lambda x, d=dim: x.prod(d), a)
        check_gradient(lambda x, d=dim: x.cumprod(d), a)
    check_gradient(lambda x: x.prod(), np.array([2.0, 0.0, 3.0]))


def test_logsumexp_of_extreme_values():
    x = sw.tensor([[1000.0, 1000.0], [-1000.0, -1001.0], [-math.inf, -math.inf], [math.inf, 0.0]], requires_grad=True)
    y = x.logsumexp(1)
    np.testing.assert_allclose(y.detach().numpy(), [1000.6931, -999.68674, -np.inf, np.inf], rtol=1e-6)
    y[:3].sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[:2], [[0.5, 0.5], [0.7310586, 0.26894143]], rtol=1e-5)


def test_gradient_of_zero_norm_and_deviation_is_zero():
    x = sw.zeros(4, requires_grad=True)
    (x.norm() + x.std() + x.norm(1)).backward()
    assert x.grad.tolist() == [0, 0, 0, 0]


def test_errors():
    with pytest.raises(IndexError):
        sw.zeros(2, 3).sum(2)
    with pytest.raises(ValueError, match="sum: dimension 1 appears twice in dim \\(1, -1\\)"):
        sw.zeros(2, 3).sum((1, -1))
    with pytest.raises(ValueError, match="norm: p must be a number"):
        sw.zeros(2, 3).norm("nuc")
    with pytest.raises(TypeError, match="var: expected input to be of a floating dtype, got int64"):
        sw.zeros(2, 3, dtype=sw.int64).var()


def test_numpy_names_and_pairwise_extremes():
    x = sw.tensor(A)
    close(sw.sum(x, axis=1, keepdims=True), A.sum(1, keepdims=True))
    close(x.mean(axis=(0, 1)), A.mean((0, 1)))
    close(sw.argmax(x, axis=2), A.argmax(2))
    numbers = sw.tensor([1, 5, 2])
    assert sw.max(numbers, sw.tensor(3)).tolist() == [3, 5, 3] and numbers.min(sw.tensor(2)).tolist() == [1, 2, 2]
    assert numbers.max(0) == (sw.tensor(5), sw.tensor(1)) and numbers.max(np.int64(0))[1].item() == 1
