"""What the references share: conversion to float64, undoing a broadcast, and the geometry of sliding windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Gradients = tuple[Any, ...]  # one float64 array per floating argument, None where the argument was None


def f64(x: ArrayLike) -> Array:
    """x as a float64 array."""
    return np.asarray(x, dtype=np.float64)


def unbroadcast(gradient: Array, shape: Sequence[int]) -> Array:
    """Sums `gradient` over the axes along which an array of `shape` was repeated to reach gradient's shape.

    y = x repeated k times has dx = sum of the k gradients.
    """
    shape = tuple(shape)
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=repeated, keepdims=True).reshape(shape)


def axes_of(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The axes that `dim` names (None: all of them), none negative."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % max(ndim, 1) for d in dims)


def per_axis(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    """A number, or one number for each of n spatial axes, as a tuple of n."""
    if isinstance(value, int):
        return (value,) * n
    values = tuple(int(v) for v in value)
    return values * n if len(values) == 1 else values


class Windows:
    """Where the taps of a sliding window fall on a padded array.

    Output position p and tap k of an axis with step `stride` and gap `dilation` meet at padded position
    p * stride + k * dilation. `taps()` yields for each k the index of a kernel's element, and the index that picks
    those positions for all p at once.
    """

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], output: Sequence[int]
    ) -> None:
        self.kernel, self.stride, self.dilation, self.output = map(tuple, (kernel, stride, dilation, output))

    def padded_size(self) -> tuple[int, ...]:
        """The smallest padded array that all windows fit into."""
        axes = zip(self.kernel, self.stride, self.dilation, self.output, strict=True)
        return tuple((out - 1) * s + d * (k - 1) + 1 for k, s, d, out in axes)

    def taps(self) -> Iterator[tuple[Any, Any]]:
        for k in np.ndindex(*self.kernel):
            axes = zip(k, self.stride, self.dilation, self.output, strict=True)
            yield (..., *k), (..., *(slice(t * d, t * d + (out - 1) * s + 1, s) for t, s, d, out in axes))


def reduce_loss(terms: Array, reduction: str) -> Array:
    """The terms for "none", their sum for "sum", the sum divided by their number for "mean"."""
    if reduction == "none":
        return terms
    return f64(terms.sum() if reduction == "sum" else terms.sum() / np.float64(terms.size))


def spread_loss(dy: ArrayLike, shape: Sequence[int], reduction: str) -> Array:
    """The gradient of each term of a loss, from the gradient of the reduced loss."""
    size = int(np.prod(shape))
    return np.broadcast_to(f64(dy) / (np.float64(size) if reduction == "mean" else 1.0), shape)
