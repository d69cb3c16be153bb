"""Tools for tests of differentiable ops: leaves from NumPy arrays, gradients back, directional central differences."""

import numpy as np
from skipway import _core

EPS = {"float64": 2.3e-16, "float32": 1.2e-7, "bfloat16": 7.9e-3}
# In float64 sums have no wider type to accumulate in, so they cost more of its digits.
FACTOR = {"float64": 256, "float32": 16, "bfloat16": 1}


def tensor(array, requires_grad=False):
    """A tensor with the array's values, row-major."""
    t = _core.from_numpy(np.array(array, order="C"))
    t.requires_grad = requires_grad
    return t


def leaf(array):
    return tensor(array, requires_grad=True)


def numpy(t):
    """Values as float64 (or the integers they are)."""
    a = np.asarray(t.detach())
    return a if a.dtype.kind in "iub" else a.astype(np.float64)


def cast(t, dtype):
    return _core._to(t, dtype)


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
