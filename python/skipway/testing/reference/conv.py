"""Convolution and its transpose in one, two or three dimensions (Dumoulin and Visin 2016).

x is (N, C_in, spatial...), or (C_in, spatial...) for one image; weight is (C_out, C_in / groups, kernel...).

    y[n, o, p] = bias[o] + sum over c, k of  weight[o, c, k] * x[n, c, p * stride - padding + k * dilation]

with x zero outside its bounds and c running over the input channels of o's group. The number of outputs along an axis
is floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, Windows, f64, per_axis

Ints = int | Sequence[int]


class _Geometry:
    """Padding and windows of a convolution of arrays of this shape."""

    def __init__(self, x: Array, weight: Array, stride: Ints, padding: Ints | str, dilation: Ints) -> None:
        n = weight.ndim - 2
        self.spatial, kernel = x.shape[2:], weight.shape[2:]
        strides, dilations = per_axis(stride, n), per_axis(dilation, n)
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        if padding == "same":  # an odd total puts the extra zero behind
            self.pads = [(r // 2, r - r // 2) for r in reach]
        else:
            self.pads = [(p, p) for p in per_axis(0 if isinstance(padding, str) else padding, n)]
        sizes = [s + lo + hi for s, (lo, hi) in zip(self.spatial, self.pads, strict=True)]
        output = [(s - r - 1) // t + 1 for s, r, t in zip(sizes, reach, strides, strict=True)]
        self.windows = Windows(kernel, strides, dilations, output)

    def pad(self, x: Array) -> Array:
        return np.pad(x, [(0, 0), (0, 0), *self.pads])

    def crop(self, padded: Array) -> Array:
        inside = (slice(lo, lo + n) for (lo, _), n in zip(self.pads, self.spatial, strict=True))
        index: Any = (..., *inside)
        return padded[index]


def _grouped(x: Array, groups: int) -> Array:
    """Splits the channel axis (1) into (groups, channels of a group)."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
) -> Array:
    x, weight = f64(x), f64(weight)
    if x.ndim == weight.ndim - 1:
        return _conv(x[None], weight, bias, stride, padding, dilation, groups)[0]
    g = _Geometry(x, weight, stride, padding, dilation)
    padded = _grouped(g.pad(x), groups)
    w = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, outputs of a group, inputs of a group, kernel...)
    y = np.zeros((x.shape[0], groups, w.shape[1], *g.windows.output))
    for k, at in g.windows.taps():
        y += np.einsum("ngc...,goc->ngo...", padded[at], w[k])
    y = y.reshape(x.shape[0], weight.shape[0], *g.windows.output)
    return y if bias is None else y + f64(bias).reshape(-1, *[1] * (x.ndim - 2))


def _conv_backward(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None, stride: Ints, padding: Ints | str,
    dilation: Ints, groups: int,
) -> Gradients:  # fmt: skip
    """Each product weight * x of the sum sends dy * weight to x and dy * x to weight; bias gets the sum of dy."""
    dy, x, weight = f64(dy), f64(x), f64(weight)
    if x.ndim == weight.ndim - 1:
        dx, dw, db = _conv_backward(dy[None], x[None], weight, bias, stride, padding, dilation, groups)
        return dx[0], dw, db
    g = _Geometry(x, weight, stride, padding, dilation)
    padded, dys = _grouped(g.pad(x), groups), _grouped(dy, groups)
    w = weight.reshape(groups, -1, *weight.shape[1:])
    dpadded, dw, axes = np.zeros_like(padded), np.zeros_like(w), "xyz"[: x.ndim - 2]
    for k, at in g.windows.taps():
        dpadded[at] += np.einsum("ngo...,goc->ngc...", dys, w[k])
        dw[k] = np.einsum(f"ngo{axes},ngc{axes}->goc", dys, padded[at])
    dx = g.crop(dpadded.reshape(x.shape[0], x.shape[1], *dpadded.shape[3:]))
    db = None if bias is None else dy.sum(axis=(0, *range(2, dy.ndim)))
    return dx, dw.reshape(weight.shape), db


def conv1d(
    input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Ints = 1, padding: Ints | str = 0,
    dilation: Ints = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """(N, C_in, L) and (C_out, C_in / groups, K) -> (N, C_out, L_out); see the module for the formula."""
    return _conv(input, weight, bias, stride, padding, dilation, groups)


def conv1d_backward(
    dy: ArrayLike, input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Ints = 1,
    padding: Ints | str = 0, dilation: Ints = 1, groups: int = 1,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias)."""
    return _conv_backward(dy, input, weight, bias, stride, padding, dilation, groups)


# The sums are written once for any number of axes: the weight's shape says how many.
conv2d, conv2d_backward = conv1d, conv1d_backward
conv3d, conv3d_backward = conv1d, conv1d_backward


class _TransposeGeometry:
    """The transposed convolution writes where the convolution reads: windows of its output, placed by its input."""

    def __init__(
        self, x: Array, weight: Array, stride: Ints, padding: Ints, output_padding: Ints, dilation: Ints
    ) -> None:
        n = weight.ndim - 2
        self.windows = Windows(weight.shape[2:], per_axis(stride, n), per_axis(dilation, n), x.shape[2:])
        extra = per_axis(output_padding, n)
        self.full = tuple(size + e for size, e in zip(self.windows.padded_size(), extra, strict=True))
        self.crop: Any = (..., *(slice(p, size - p) for p, size in zip(per_axis(padding, n), self.full, strict=True)))


def conv_transpose1d(
    input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Ints = 1, padding: Ints = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Array:  # fmt: skip
    """The gradient of a convolution with respect to its input, as an op of its own.

    input (N, C_in, L), weight (C_in, C_out / groups, K). Each input element adds its multiple of the kernel to the
    output:

        y[n, o, p * stride - padding + k * dilation] += input[n, c, p] * weight[c, o, k]

    L_out = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1.
    """
    x, w = f64(input), f64(weight)
    if x.ndim == w.ndim - 1:
        return conv_transpose1d(x[None], w, bias, stride, padding, output_padding, groups, dilation)[0]
    g = _TransposeGeometry(x, w, stride, padding, output_padding, dilation)
    xs, ws = _grouped(x, groups), w.reshape(groups, -1, *w.shape[1:])
    full = np.zeros((x.shape[0], groups, w.shape[1], *g.full))
    for k, at in g.windows.taps():
        full[at] += np.einsum("ngc...,gco->ngo...", xs, ws[k])
    y = full.reshape(x.shape[0], groups * w.shape[1], *g.full)[g.crop]
    return y if bias is None else y + f64(bias).reshape(-1, *[1] * (x.ndim - 2))


def conv_transpose1d_backward(
    dy: ArrayLike, input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Ints = 1,
    padding: Ints = 0, output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Gradients:  # fmt: skip
    """-> (dinput, dweight, dbias). dinput is the convolution of dy with the same weight."""
    dy, x, w = f64(dy), f64(input), f64(weight)
    if x.ndim == w.ndim - 1:
        args = (bias, stride, padding, output_padding, groups, dilation)
        dx, dw, db = conv_transpose1d_backward(dy[None], x[None], w, *args)
        return dx[0], dw, db
    g = _TransposeGeometry(x, w, stride, padding, output_padding, dilation)
    dfull = np.zeros((x.shape[0], dy.shape[1], *g.full))
    dfull[g.crop] = dy
    dfull = _grouped(dfull, groups)
    xs, ws = _grouped(x, groups), w.reshape(groups, -1, *w.shape[1:])
    dxs, dws, axes = np.zeros_like(xs), np.zeros_like(ws), "xyz"[: x.ndim - 2]
    for k, at in g.windows.taps():
        dxs += np.einsum("ngo...,gco->ngc...", dfull[at], ws[k])
        dws[k] = np.einsum(f"ngo{axes},ngc{axes}->gco", dfull[at], xs)
    db = None if bias is None else dy.sum(axis=(0, *range(2, dy.ndim)))
    return dxs.reshape(x.shape), dws.reshape(w.shape), db


conv_transpose2d, conv_transpose2d_backward = conv_transpose1d, conv_transpose1d_backward
conv_transpose3d, conv_transpose3d_backward = conv_transpose1d, conv_transpose1d_backward
