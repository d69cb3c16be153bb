"""What the tests of copies, elementwise ops and activations share: references, layouts, gradients by differences."""

import numpy as np
from scipy import special
from skipway import _core

EPS = 2.0**-23
RNG = np.random.default_rng(3)
SIZES = [0, 1, 7, 31, 33]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 1e30, -1e30, 1.0, -1.0, 88.5, -88.5, -104.0, 0.5, 2.5]

# name: (NumPy's function, domain of the first and of the second operand)
BINARY = {
    "add": (np.add, (-3, 3), (-3, 3)),
    "sub": (np.subtract, (-3, 3), (-3, 3)),
    "mul": (np.multiply, (-3, 3), (-3, 3)),
    "div": (np.true_divide, (-3, 3), (0.5, 3)),
    "pow": (np.power, (0.3, 3), (-2, 2)),
    "maximum": (np.maximum, (-3, 3), (-3, 3)),
    "minimum": (np.minimum, (-3, 3), (-3, 3)),
    "atan2": (np.arctan2, (-3, 3), (0.5, 3)),
    "hypot": (np.hypot, (-3, 3), (0.5, 3)),
    "xlogy": (special.xlogy, (-3, 3), (0.5, 3)),
    "floor_divide": (np.floor_divide, (-3, 3), (0.5, 3)),
    "remainder": (np.remainder, (-3, 3), (0.5, 3)),
    "fmod": (np.fmod, (-3, 3), (0.5, 3)),
}
COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
# name: (float64 reference, domain, units in the last place that float32 may be off)
UNARY = {
    "neg": (np.negative, (-3, 3), 0),
    "abs": (np.abs, (-3, 3), 0),
    "sign": (np.sign, (-3, 3), 0),
    "exp": (np.exp, (-9, 9), 2),
    "exp2": (np.exp2, (-9, 9), 2),
    "expm1": (np.expm1, (-9, 9), 2),
    "log": (np.log, (0.01, 9), 2),
    "log2": (np.log2, (0.01, 9), 2),
    "log10": (np.log10, (0.01, 9), 2),
    "log1p": (np.log1p, (-0.9, 9), 2),
    "sqrt": (np.sqrt, (0.01, 9), 1),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0.01, 9), 2),
    "square": (np.square, (-3, 3), 1),
    "reciprocal": (lambda x: 1 / x, (0.2, 3), 1),
    "sin": (np.sin, (-9, 9), 5),
    "cos": (np.cos, (-9, 9), 5),
    "tan": (np.tan, (-1.4, 1.4), 4),
    "asin": (np.arcsin, (-0.9, 0.9), 4),
    "acos": (np.arccos, (-0.9, 0.9), 4),
    "atan": (np.arctan, (-9, 9), 4),
    "sinh": (np.sinh, (-5, 5), 4),
    "cosh": (np.cosh, (-5, 5), 4),
    "tanh": (np.tanh, (-5, 5), 3),
    "asinh": (np.arcsinh, (-5, 5), 4),
    "acosh": (np.arccosh, (1.2, 5), 4),
    "atanh": (np.arctanh, (-0.9, 0.9), 4),
    "sigmoid": (special.expit, (-9, 9), 3),
    "logit": (special.logit, (0.05, 0.95), 9),
    "erf": (special.erf, (-4, 4), 3),
    "erfc": (special.erfc, (-4, 4), 4),
    "erfinv": (special.erfinv, (-0.99, 0.99), 4),
    "floor": (np.floor, (-3, 3), 0),
    "ceil": (np.ceil, (-3, 3), 0),
    "round": (np.round, (-3, 3), 0),
    "trunc": (np.trunc, (-3, 3), 0),
    "frac": (lambda x: x - np.trunc(x), (-3, 3), 0),
}


def uniform(shape, domain, dtype=np.float64):
    return RNG.uniform(*domain, size=shape).astype(dtype)


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
