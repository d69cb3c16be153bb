"""What the tests of normalisation share: data and formulas in NumPy."""

import numpy as np
from skipway import _core

SHAPES = [(5, 3), (33, 1), (700, 3), (16, 100), (7, 1001), (3, 16, 5, 5), (9, 64, 8, 8), (4, 17, 9, 7), (2, 65, 8)]
SHAPES += [(3, 15, 4, 3, 5), (2, 1, 50), (3, 2000, 2, 3), (2, 32, 64, 64)]
ACTS = {
    None: lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
    "relu6": lambda z: np.clip(z, 0, 6),
}


def column(v, ndim):
    return v.reshape((1, -1) + (1,) * (ndim - 2))


def channel_norm(x, axes, weight=None, bias=None, eps=1e-5, stats=None):
    """The formula; axes are what a statistic covers, weight and bias are per channel."""
    mean, var = stats or (x.mean(axes, keepdims=True), x.var(axes, keepdims=True))
    y = (x - mean) / np.sqrt(var + eps)
    y = y if weight is None else y * column(weight, x.ndim)
    return y if bias is None else y + column(bias, x.ndim)


def group_norm(x, groups, weight, bias, eps=1e-5):
    g = x.reshape(x.shape[0], groups, -1)
    xhat = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + eps)
    return xhat.reshape(x.shape) * column(weight, x.ndim) + column(bias, x.ndim)


def sample(rng, shape, dtype):
    """x, weight, bias, residual: arrays of dtype, channels with means of their own."""
    c = shape[1]
    x = rng.standard_normal(shape) + column(rng.standard_normal(c), len(shape))
    return [a.astype(dtype) for a in (x, rng.standard_normal(c), rng.standard_normal(c), rng.standard_normal(shape))]


def batch_norm(x, weight=None, bias=None, residual=None, training=True, activation=None, running=(None, None), **kw):
    return _core.batch_norm(x, *running, weight, bias, training, residual=residual, activation=activation, **kw)


def reduced_axes(x):
    return (0,) + tuple(range(2, x.ndim))
