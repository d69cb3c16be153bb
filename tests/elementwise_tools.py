"""What the tests of copies, elementwise ops and activations share: inputs in many layouts, gradients by differences."""

import numpy as np
from skipway import _core

ISAS = ["baseline", "avx2", "avx512"]
AVAILABLE = ISAS[: ISAS.index(_core.best_isa()) + 1] if _core.best_isa() in ISAS else [_core.best_isa()]
SIZES = [0, 1, 7, 31, 33]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 1e30, -1e30, 1.0, -1.0, 88.5, -88.5, -104.0, 0.5, 2.5]


def tensor(array, requires_grad=False, dtype=None):
    t = _core.from_numpy(np.array(array, order="C"))
    if dtype is not None:
        t = _core._to(t, dtype)
    return t.requires_grad_(True) if requires_grad else t


def array(t):
    """The values of a tensor as float64 (integers and bools as they are)."""
    t = t.detach()
    if t.dtype == _core.bfloat16:
        t = _core._to(t, _core.float32)
    a = t.numpy()
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def layouts(array):
    """The same values as a contiguous, a sliced, a transposed and, in 4 dimensions, a channels-last tensor."""
    array = np.asarray(array)
    yield tensor(array)
    if array.ndim == 0:
        return
    wide = np.zeros(array.shape[:-1] + (2 * array.shape[-1] + 1,), array.dtype)
    wide[..., : 2 * array.shape[-1] : 2] = array
    yield _core.from_numpy(wide[..., : 2 * array.shape[-1] : 2])
    yield _core.from_numpy(np.ascontiguousarray(array.T).T)
    if array.ndim == 4:
        yield tensor(array)._channels_last()


def backward(y, grad):
    _core._backward([y], [grad], False, False, [])


def assert_close(actual, expected, rtol, atol=0.0):
    expected = np.asarray(expected)
    assert actual.shape == tuple(expected.shape)
    np.testing.assert_allclose(array(actual), expected, rtol=rtol, atol=atol)


def check_gradients(f, *arrays, rtol=1e-6, atol=1e-8, step=1e-6):
    """Compares the tape's gradients of sum(f(...) * weights) with central differences, in float64."""
    leaves = [tensor(np.asarray(a, dtype=np.float64), requires_grad=True) for a in arrays]
    y = f(*leaves)
    weights = np.random.default_rng(5).uniform(0.5, 1.5, size=tuple(y.shape))
    backward(y, tensor(weights))

    def value(inputs):
        return float((array(f(*[tensor(a) for a in inputs])) * weights).sum())

    for i, leaf in enumerate(leaves):
        expected = np.zeros(arrays[i].shape)
        for index in np.ndindex(*expected.shape):
            shifted = [np.array(a, dtype=np.float64) for a in arrays]
            shifted[i][index] += step
            above = value(shifted)
            shifted[i][index] -= 2 * step
            expected[index] = (above - value(shifted)) / (2 * step)
        assert leaf.grad is not None and leaf.grad.dtype == _core.float64
        assert_close(leaf.grad, expected, rtol, atol)
