"""Normalization, dropout and the residual sum.

All four normalizations do the same to different sets of elements: with m elements in a set,

    mean = sum(x) / m,  var = sum((x - mean)^2) / m,  xhat = (x - mean) / sqrt(var + eps),  y = xhat * weight + bias

and, with g = dy * weight, the chain rule through mean and var gives (Ioffe and Szegedy 2015, section 3)

    dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)
    dweight = sum(dy * xhat)        dbias = sum(dy)

batch_norm: a set is a channel over the batch and space; layer_norm: the last axes of one row; group_norm: some channels
of one image; instance_norm: one channel of one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64
from .activation import SELU_ALPHA, SELU_SCALE, activate, activate_backward


def _normalize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """xhat and 1 / sqrt(var + eps), the statistics taken over `axes`."""
    if x.size == 0:
        return x.copy(), np.ones_like(x)
    centred = x - x.mean(axis=axes, keepdims=True)
    rstd = 1.0 / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    return centred * rstd, rstd


def _normalize_backward(g: Array, xhat: Array, rstd: Array, axes: tuple[int, ...]) -> Array:
    if g.size == 0:
        return g.copy()
    return rstd * (g - g.mean(axis=axes, keepdims=True) - xhat * (g * xhat).mean(axis=axes, keepdims=True))


def _affine(weight: ArrayLike | None, shape: Sequence[int], default: float) -> Array:
    return np.full((1,) * len(shape), default) if weight is None else f64(weight).reshape(shape)


def _channel_shape(x: Array) -> list[int]:
    return [1, x.shape[1], *[1] * (x.ndim - 2)]


def _batch_normalized(
    x: Array, mean: ArrayLike | None, var: ArrayLike | None, training: bool, eps: float
) -> tuple[Array, Array]:
    axes, shape = (0, *range(2, x.ndim)), _channel_shape(x)
    if training or mean is None or var is None:
        return _normalize(x, axes, eps)
    rstd = 1.0 / np.sqrt(f64(var).reshape(shape) + eps)
    return (x - f64(mean).reshape(shape)) * rstd, rstd


def batch_norm(
    input: ArrayLike, running_mean: ArrayLike | None, running_var: ArrayLike | None, weight: ArrayLike | None = None,
    bias: ArrayLike | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    residual: ArrayLike | None = None, activation: str | None = None,
) -> Array:  # fmt: skip
    """activation(xhat * weight + bias + residual), x (N, C, ...) (Ioffe and Szegedy 2015, algorithm 1).

    Statistics of the batch when training, or when there are no running ones; else the running ones.
    """
    x = f64(input)
    xhat, _ = _batch_normalized(x, running_mean, running_var, training, eps)
    shape = _channel_shape(x)
    y = xhat * _affine(weight, shape, 1.0) + _affine(bias, shape, 0.0)
    return activate(y if residual is None else y + f64(residual), activation)


def batch_norm_backward(
    dy: ArrayLike, input: ArrayLike, running_mean: ArrayLike | None, running_var: ArrayLike | None,
    weight: ArrayLike | None = None, bias: ArrayLike | None = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5, residual: ArrayLike | None = None, activation: str | None = None,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias, dresidual). With running statistics mean and var are constants: dx = g / sqrt(var +
    eps)."""
    x, shape = f64(input), _channel_shape(f64(input))
    axes = (0, *range(2, x.ndim))
    xhat, rstd = _batch_normalized(x, running_mean, running_var, training, eps)
    w = _affine(weight, shape, 1.0)
    before = xhat * w + _affine(bias, shape, 0.0) + (0.0 if residual is None else f64(residual))
    dsum = activate_backward(f64(dy), before, activation)
    batch_statistics = training or running_mean is None or running_var is None
    dx = _normalize_backward(dsum * w, xhat, rstd, axes) if batch_statistics else dsum * w * rstd
    dweight = None if weight is None else (dsum * xhat).sum(axis=axes)
    return dx, dweight, None if bias is None else dsum.sum(axis=axes), None if residual is None else dsum


def batch_norm_running(
    input: ArrayLike, running_mean: ArrayLike, running_var: ArrayLike, momentum: float = 0.1
) -> tuple[Array, Array]:
    """The running statistics after a training step: (1 - momentum) * old + momentum * batch's, with the unbiased
    variance sum((x - mean)^2) / (m - 1)."""
    x = f64(input)
    axes = (0, *range(2, x.ndim))
    mean = (1.0 - momentum) * f64(running_mean) + momentum * x.mean(axis=axes)
    return mean, (1.0 - momentum) * f64(running_var) + momentum * x.var(axis=axes, ddof=1)


def layer_norm(
    input: ArrayLike, normalized_shape: Sequence[int], weight: ArrayLike | None = None, bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:  # fmt: skip
    """Over the last len(normalized_shape) axes; weight and bias have that shape (Ba et al. 2016, eq. 4)."""
    x, shape = f64(input), tuple(normalized_shape)
    xhat, _ = _normalize(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    return xhat * _affine(weight, shape, 1.0) + _affine(bias, shape, 0.0)


def layer_norm_backward(
    dy: ArrayLike, input: ArrayLike, normalized_shape: Sequence[int], weight: ArrayLike | None = None,
    bias: ArrayLike | None = None, eps: float = 1e-5,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias)."""
    dy, x, shape = f64(dy), f64(input), tuple(normalized_shape)
    axes, rows = tuple(range(x.ndim - len(shape), x.ndim)), tuple(range(x.ndim - len(shape)))
    xhat, rstd = _normalize(x, axes, eps)
    dx = _normalize_backward(dy * _affine(weight, shape, 1.0), xhat, rstd, axes)
    dweight = None if weight is None else (dy * xhat).sum(axis=rows)
    return dx, dweight, None if bias is None else dy.sum(axis=rows)


def group_norm(
    input: ArrayLike, num_groups: int, weight: ArrayLike | None = None, bias: ArrayLike | None = None, eps: float = 1e-5
) -> Array:
    """Over groups of C / num_groups channels of one image, with space; weight and bias (C) (Wu and He 2018, eq. 7)."""
    x = f64(input)
    grouped = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])
    xhat, _ = _normalize(grouped, tuple(range(2, grouped.ndim)), eps)
    return xhat.reshape(x.shape) * _affine(weight, _channel_shape(x), 1.0) + _affine(bias, _channel_shape(x), 0.0)


def group_norm_backward(
    dy: ArrayLike, input: ArrayLike, num_groups: int, weight: ArrayLike | None = None, bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias)."""
    dy, x = f64(dy), f64(input)
    grouped = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])
    axes = tuple(range(2, grouped.ndim))
    xhat, rstd = _normalize(grouped, axes, eps)
    g = (dy * _affine(weight, _channel_shape(x), 1.0)).reshape(grouped.shape)
    dx = _normalize_backward(g, xhat, rstd, axes).reshape(x.shape)
    images = (0, *range(2, x.ndim))
    dweight = None if weight is None else (dy * xhat.reshape(x.shape)).sum(axis=images)
    return dx, dweight, None if bias is None else dy.sum(axis=images)


def instance_norm(
    input: ArrayLike, running_mean: ArrayLike | None = None, running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None, bias: ArrayLike | None = None, use_input_stats: bool = True, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:  # fmt: skip
    """One channel of one image (Ulyanov et al. 2016, eq. 3): group_norm with as many groups as channels."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return group_norm(input, f64(input).shape[1], weight, bias, eps)


def instance_norm_backward(
    dy: ArrayLike, input: ArrayLike, running_mean: ArrayLike | None = None, running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None, bias: ArrayLike | None = None, use_input_stats: bool = True, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias)."""
    if not use_input_stats:
        return batch_norm_backward(dy, input, running_mean, running_var, weight, bias, False, momentum, eps)[:3]
    return group_norm_backward(dy, input, f64(input).shape[1], weight, bias, eps)


def dropout(input: ArrayLike, keep: ArrayLike, p: float = 0.5) -> Array:
    """x / (1 - p) where `keep` is true, exactly 0 elsewhere (Srivastava et al. 2014, in its "inverted" form).

    `keep` has x's shape, or one that broadcasts to it: (N, C, 1, 1) drops whole channels (dropout2d).
    """
    return np.where(np.asarray(keep, bool), f64(input) / (1.0 - p) if p < 1 else 0.0, 0.0)


def dropout_backward(dy: ArrayLike, input: ArrayLike, keep: ArrayLike, p: float = 0.5) -> Gradients:
    """dy / (1 - p) where kept, 0 elsewhere -> (dinput,)."""
    return (dropout(dy, keep, p),)


def alpha_dropout(input: ArrayLike, keep: ArrayLike, p: float = 0.5) -> Array:
    """a * (x where kept, else alpha') + b with alpha' = -scale * alpha of selu, and a, b such that mean 0 and variance
    1 stay (Klambauer et al. 2017, "new dropout technique"): q = 1 - p, a = (q + alpha'^2 q p)^(-1/2), b = -a * p *
    alpha'."""
    low, q = -SELU_SCALE * SELU_ALPHA, 1.0 - p
    if q <= 0:
        return np.zeros_like(f64(input))
    a = (q + low * low * q * p) ** -0.5
    return a * np.where(np.asarray(keep, bool), f64(input), low) - a * p * low


def alpha_dropout_backward(dy: ArrayLike, input: ArrayLike, keep: ArrayLike, p: float = 0.5) -> Gradients:
    """a * dy where kept, 0 elsewhere -> (dinput,)."""
    low, q = -SELU_SCALE * SELU_ALPHA, 1.0 - p
    a = 0.0 if q <= 0 else (q + low * low * q * p) ** -0.5
    return (np.where(np.asarray(keep, bool), a * f64(dy), 0.0),)


def residual_add(x: ArrayLike, branch: ArrayLike, scale: float = 1.0, activation: str | None = None) -> Array:
    """activation(x + scale * branch): the join of a residual block (He et al. 2016, eq. 1)."""
    return activate(f64(x) + scale * f64(branch), activation)


def residual_add_backward(
    dy: ArrayLike, x: ArrayLike, branch: ArrayLike, scale: float = 1.0, activation: str | None = None
) -> Gradients:
    """The skip path passes the gradient on unchanged, the branch scales it -> (dx, dbranch)."""
    dsum = activate_backward(f64(dy), f64(x) + scale * f64(branch), activation)
    return dsum, scale * dsum


def rms_norm(
    input: ArrayLike, normalized_shape: Sequence[int], weight: ArrayLike | None = None, eps: float | None = None
) -> Array:
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich 2019, eq. 4)."""
    xhat, _ = _rms_normalized(f64(input), len(normalized_shape), eps)
    return xhat if weight is None else xhat * f64(weight)


def rms_norm_backward(
    dy: ArrayLike, input: ArrayLike, normalized_shape: Sequence[int], weight: ArrayLike | None = None,
    eps: float | None = None,
) -> Gradients:  # fmt: skip
    """With g = dy * weight: dx = (g - xhat * mean(g * xhat)) / rms, dweight = sum of dy * xhat over the rows
    -> (dinput, dweight)."""
    dy, n = f64(dy), len(normalized_shape)
    xhat, rms = _rms_normalized(f64(input), n, eps)
    g = dy if weight is None else dy * f64(weight)
    dx = (g - xhat * (g * xhat).mean(axis=tuple(range(-n, 0)), keepdims=True)) / rms
    rows = (dy * xhat).reshape(-1, *tuple(normalized_shape))
    return dx, None if weight is None else rows.sum(axis=0)


def _rms_normalized(x: Array, n: int, eps: float | None) -> tuple[Array, Array]:
    added = float(np.finfo(np.float64).eps) if eps is None else eps
    rms = np.sqrt((x * x).mean(axis=tuple(range(-n, 0)), keepdims=True) + added)
    return x / rms, rms


def _sum_of_neighbours(x: Array, before: int, after: int) -> Array:
    """x[c - before] + ... + x[c + after] along axis 1."""
    padded = np.pad(x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    return f64(sum(padded[:, i : i + x.shape[1]] for i in range(before + after + 1)))


def local_response_norm(input: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """y = x / d^beta, d = k + alpha / size * (sum of x^2 over `size` neighbouring channels) (Krizhevsky et al. 2012,
    section 3.3)."""
    x = f64(input)
    return x * (k + alpha / size * _sum_of_neighbours(x * x, size // 2, (size - 1) // 2)) ** -beta


def local_response_norm_backward(
    dy: ArrayLike, input: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Gradients:
    """dx = dy / d^beta - 2 alpha beta / size * x * (sum of dy x / d^(beta + 1) over the channels whose sum has x)
    -> (dinput,)."""
    dy, x = f64(dy), f64(input)
    d = k + alpha / size * _sum_of_neighbours(x * x, size // 2, (size - 1) // 2)
    seen = _sum_of_neighbours(dy * x * d ** (-beta - 1), (size - 1) // 2, size // 2)
    return (dy * d**-beta - 2 * alpha * beta / size * x * seen,)
