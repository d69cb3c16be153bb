"""Tools for tests of ops: tensors from NumPy arrays in many layouts, comparisons, gradients and central differences."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from skipway import _core

EPS = {"float64": 2.3e-16, "float32": 1.2e-7, "bfloat16": 7.9e-3}
# In float64 sums have no wider type to accumulate in, so they cost more of its digits.
FACTOR = {"float64": 256, "float32": 16, "bfloat16": 1}
DTYPES = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16}


# ---- tensors and arrays ----------------------------------------------------------------------------------------------


def tensor(array, requires_grad=False, dtype=None):
    """A tensor with the array's values, row-major."""
    t = _core.from_numpy(np.array(array, order="C"))
    if dtype is not None:
        t = _core._to(t, dtype)
    return t.requires_grad_(True) if requires_grad else t


def leaf(array):
    return tensor(array, requires_grad=True)


def numpy(t):
    """Values as float64 (or the integers and bools they are)."""
    a = np.asarray(t.detach())
    return a if a.dtype.kind in "iub" else a.astype(np.float64)


def cast(t, dtype):
    return _core._to(t, dtype)


def integers(rng, shape, dtype="float64", limit=2):
    """Small integers, whose sums of products are exact in every dtype."""
    return rng.integers(-limit, limit + 1, shape).astype(np.float64).astype(DTYPES[dtype])


def layouts(array):
    """The same values as tensors with different strides."""
    array = np.asarray(array)
    found = {"contiguous": tensor(array)}
    if array.ndim > 0:
        wide = np.zeros(array.shape[:-1] + (2 * array.shape[-1] + 1,), array.dtype)
        wide[..., : 2 * array.shape[-1] : 2] = array
        found["sliced"] = _core.from_numpy(wide[..., : 2 * array.shape[-1] : 2])
        found["reversed"] = _core.from_numpy(np.ascontiguousarray(array.T).T)
    if array.ndim == 4:
        found["channels_last"] = tensor(array)._channels_last()
    return found


# ---- comparisons -----------------------------------------------------------------------------------------------------


def same(t, array):
    """The tensor has exactly these values, and their shape."""
    array = np.asarray(array)
    assert tuple(t.shape) == array.shape
    np.testing.assert_array_equal(t.detach().numpy(), array)


def assert_exact(actual, expected, dtype, what=""):
    """The tensor has the dtype, and the values expected in float64, rounded to it."""
    got = actual.detach().numpy()
    expected = np.asarray(expected, np.float64)
    assert got.shape == expected.shape and got.dtype == DTYPES[dtype], what
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(DTYPES[dtype]).astype(np.float64), what)


def assert_within(actual, expected, rtol, atol=0.0):
    expected = np.asarray(expected)
    assert actual.shape == tuple(expected.shape)
    np.testing.assert_allclose(numpy(actual), expected, rtol=rtol, atol=atol)


def assert_close(actual, expected, dtype, factor=None):
    """Within factor * eps of dtype, relative to the expected array's size."""
    actual = numpy(actual) if isinstance(actual, _core.Tensor) else np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    tolerance = (factor or FACTOR[dtype]) * EPS[dtype] * (1 + np.abs(expected))
    off = np.abs(actual - expected) - tolerance
    worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
    assert np.all(off <= 0), f"at {worst}: {actual[worst]}, expected {expected[worst]}"


# ---- gradients -------------------------------------------------------------------------------------------------------


def backward(y, grad):
    _core._backward([y], [grad], False, False, [])


def gradients(y, leaves, dy=None):
    """The gradients of sum(y * dy), as arrays of float64."""
    dy = cast(tensor(np.ones(y.shape) if dy is None else dy), y.dtype)
    return [numpy(g) for g in _core._grad([y], leaves, [dy], False, False)]


def check_directional(f, arrays, rng, h=1e-6, tolerance=1e-6):
    """<grad, v> against (f(x + h v) - f(x - h v)) / 2h in float64, a random direction v for each input."""
    leaves = [leaf(a) for a in arrays]
    y = f(*leaves)
    dy = rng.standard_normal(y.shape)
    grads = gradients(y, leaves, dy)
    for i, (a, g) in enumerate(zip(arrays, grads, strict=True)):
        assert g.shape == a.shape
        v = rng.standard_normal(a.shape)
        ends = [[tensor(b + s * h * v if j == i else b) for j, b in enumerate(arrays)] for s in (1, -1)]
        plus, minus = (np.sum(numpy(f(*e)) * dy) for e in ends)
        numeric, analytic = (plus - minus) / (2 * h), np.sum(g * v)
        scale = np.abs(g * v).sum() + 1
        assert abs(numeric - analytic) <= tolerance * scale, f"input {i}: tape {analytic}, difference {numeric}"


def check_gradient(
    f: Callable[..., Any], *arrays: np.ndarray, step: float = 1e-6, rtol: float = 1e-6, atol: float = 1e-8
) -> None:
    """Compares the gradients of a weighted sum of f's floating results with central differences, element by element."""
    arrays = tuple(np.asarray(a, dtype=np.float64) for a in arrays)
    leaves = [leaf(a) for a in arrays]

    def floating(y: Any) -> list[Any]:
        return [t for t in (y if isinstance(y, (tuple, list)) else (y,)) if t.dtype == _core.float64]

    results = floating(f(*leaves))
    assert all(y.requires_grad for y in results)
    rng = np.random.default_rng(5)
    weights = [rng.uniform(0.5, 1.5, tuple(y.shape)) for y in results]
    _core._backward(results, [tensor(w) for w in weights], False, False, [])

    def value(inputs: list[np.ndarray]) -> float:
        ys = floating(f(*[tensor(a) for a in inputs]))
        return float(sum((numpy(y) * w).sum() for y, w in zip(ys, weights, strict=True)))

    for i, x in enumerate(leaves):
        expected = np.zeros(arrays[i].shape)
        for at in np.ndindex(*expected.shape):
            moved = [a.copy() for a in arrays]
            moved[i][at] += step
            above = value(moved)
            moved[i][at] -= 2 * step
            expected[at] = (above - value(moved)) / (2 * step)
        assert x.grad is not None and x.grad.dtype == _core.float64
        assert_within(x.grad, expected, rtol, atol)
