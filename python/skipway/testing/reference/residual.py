"""Residual, highway and multi-branch sums, and noise on weights and branches: masks and shares are arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, axes_of, f64, unbroadcast


def _column(values: ArrayLike, ndim: int) -> Array:
    """One number per sample, or one number, shaped to broadcast against (N, ...)."""
    v = f64(values)
    return v.reshape(v.shape + (1,) * (ndim - v.ndim))


def stochastic_depth(x: ArrayLike, mask: ArrayLike, p: float) -> Array:
    """y = mask / (1 - p) * x; mask is 0 or 1, one number or one per sample (Huang et al. 2016, equation 2)."""
    x = f64(x)
    keep = np.broadcast_to(_column(mask, x.ndim) != 0, x.shape)
    return np.where(keep, x / (1.0 - p) if p < 1.0 else x, 0.0)


def stochastic_depth_backward(dy: ArrayLike, x: ArrayLike, mask: ArrayLike, p: float) -> Gradients:
    """dx = mask / (1 - p) * dy. Returns (dx,)."""
    return (stochastic_depth(dy, mask, p),)


def drop_connect(weight: ArrayLike, mask: ArrayLike, p: float) -> Array:
    """V = mask / (1 - p) * W; mask has W's shape, or a first dimension more (Wan et al. 2013, equation 2)."""
    return np.where(f64(mask) != 0, f64(weight) / (1.0 - p) if p < 1.0 else 0.0, 0.0)


def drop_connect_backward(dy: ArrayLike, weight: ArrayLike, mask: ArrayLike, p: float) -> Gradients:
    """dW = sum over samples of mask / (1 - p) * dV. Returns (dW,)."""
    return (unbroadcast(drop_connect(dy, mask, p), np.shape(weight)),)


def shake_shake(x1: ArrayLike, x2: ArrayLike, a: ArrayLike, b: ArrayLike = 0.5) -> Array:
    """y = a x1 + (1 - a) x2, with one share a or one per sample (Gastaldi 2017); b is of the backward pass alone."""
    x1, x2 = f64(x1), f64(x2)
    share = _column(a, x1.ndim)
    return share * x1 + (1.0 - share) * x2


def shake_shake_backward(dy: ArrayLike, x1: ArrayLike, x2: ArrayLike, a: ArrayLike, b: ArrayLike = 0.5) -> Gradients:
    """dx1 = b dy, dx2 = (1 - b) dy: the derivative only where b = a. Returns (dx1, dx2)."""
    dy = f64(dy)
    share = _column(b, dy.ndim)
    return share * dy, (1.0 - share) * dy


def gated_sum(shortcut: ArrayLike, branch: ArrayLike, gate: ArrayLike, mode: str = "exclusive") -> Array:
    """y = (1 - g) shortcut + g branch, g = 1 / (1 + exp(-gate)); mode "shortcut": (1 - g) shortcut + branch."""
    g = 0.5 * (1.0 + np.tanh(0.5 * f64(gate)))
    return (1.0 - g) * f64(shortcut) + (g if mode == "exclusive" else 1.0) * f64(branch)


def gated_sum_backward(
    dy: ArrayLike, shortcut: ArrayLike, branch: ArrayLike, gate: ArrayLike, mode: str = "exclusive"
) -> Gradients:
    """dshortcut = (1 - g) dy, dbranch = g dy or dy, dgate = g (1 - g) dy (branch - shortcut) or -g (1 - g) dy shortcut.

    Returns (dshortcut, dbranch, dgate).
    """
    dy, s, f, z = f64(dy), f64(shortcut), f64(branch), f64(gate)
    g = 0.5 * (1.0 + np.tanh(0.5 * z))
    exclusive = mode == "exclusive"
    dg = dy * (f - s if exclusive else -s)
    return (1.0 - g) * dy, (g if exclusive else 1.0) * dy, unbroadcast(dg * g * (1.0 - g), z.shape)


def _split(x: Array, axes: int | Sequence[int], groups: int) -> tuple[Array, tuple[int, ...]]:
    """x as (N, groups, C / groups, ...), and the axes there."""
    over = axes_of(axes, x.ndim)
    n, c, *size = x.shape
    return x.reshape(n, groups, c // groups, *size), tuple(axis + (axis > 0) for axis in over)


def axis_norm(
    x: ArrayLike,
    axes: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    groups: int = 1,
) -> Array:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and variance over `axes` of x (N, C, ...), by groups."""
    x = f64(x)
    split, over = _split(x, axes, groups)
    y = (split - split.mean(over, keepdims=True)) / np.sqrt(split.var(over, keepdims=True) + eps)
    y = y.reshape(x.shape)
    row = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * f64(weight).reshape(row)
    return y if bias is None else y + f64(bias).reshape(row)


def axis_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    axes: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    groups: int = 1,
) -> Gradients:
    """dx = (g - mean(g) - n mean(g n)) / sqrt(var + eps), g = dy weight, n normalized x.

    Returns (dx, dweight, dbias).
    """
    dy, x = f64(dy), f64(x)
    row = (-1, *(1,) * (x.ndim - 2))
    split, over = _split(x, axes, groups)
    root = np.sqrt(split.var(over, keepdims=True) + eps)
    n = (split - split.mean(over, keepdims=True)) / root
    g = (dy if weight is None else dy * f64(weight).reshape(row)).reshape(split.shape)
    dx = (g - g.mean(over, keepdims=True) - n * (g * n).mean(over, keepdims=True)) / root
    rest = tuple(axis for axis in range(x.ndim) if axis != 1)
    dweight = None if weight is None else (dy * n.reshape(x.shape)).sum(rest)
    return dx.reshape(x.shape), dweight, None if bias is None else dy.sum(rest)
