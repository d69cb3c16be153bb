"""The softmax family, along one axis. Each backward returns (dinput,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64


def softmax(input: ArrayLike, dim: int = -1) -> Array:
    """exp(x - max) / sum of exp(x - max) along `dim`: positive, sums to 1."""
    x = f64(input)
    if x.size == 0:
        return x.copy()
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def softmax_backward(dy: ArrayLike, input: ArrayLike, dim: int = -1) -> Gradients:
    """dx = y * (dy - sum(dy * y))."""
    y, dy = softmax(input, dim), f64(dy)
    return (y * (dy - (dy * y).sum(axis=dim, keepdims=True)),)


def softmin(input: ArrayLike, dim: int = -1) -> Array:
    """softmax(-x)."""
    return softmax(-f64(input), dim)


def softmin_backward(dy: ArrayLike, input: ArrayLike, dim: int = -1) -> Gradients:
    """Minus the gradient of softmax at -x."""
    return (-softmax_backward(dy, -f64(input), dim)[0],)


def log_softmax(input: ArrayLike, dim: int = -1) -> Array:
    """x - max - log(sum of exp(x - max)) along `dim`."""
    x = f64(input)
    if x.size == 0:
        return x.copy()
    shifted = x - x.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def log_softmax_backward(dy: ArrayLike, input: ArrayLike, dim: int = -1) -> Gradients:
    """dx = dy - softmax(x) * sum(dy)."""
    dy = f64(dy)
    return (dy - softmax(input, dim) * dy.sum(axis=dim, keepdims=True),)
