"""Windows as columns, and images of another size. Both are linear: the gradient goes the same ways backward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, Windows, f64, per_axis

Ints = int | Sequence[int]


class _Columns:
    """The windows that slide over images of `size`, with `padding` zeros around them."""

    def __init__(self, size: Sequence[int], kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> None:
        self.size, self.padding = tuple(size), per_axis(padding, 2)
        kernels, dilations, strides = per_axis(kernel, 2), per_axis(dilation, 2), per_axis(stride, 2)
        axes = zip(self.size, self.padding, kernels, dilations, strides, strict=True)
        output = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, k, d, s in axes]
        self.windows, self.count = Windows(kernels, strides, dilations, output), output[0] * output[1]

    def gather(self, x: Array) -> Array:
        """(N, C, height, width) -> (N, C * kernel, windows)."""
        (top, left), (n, c) = self.padding, x.shape[:2]
        padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
        taps = [padded[at].reshape(n, c, self.count) for _, at in self.windows.taps()]
        return np.stack(taps, axis=2).reshape(n, -1, self.count)

    def scatter(self, columns: Array) -> Array:
        """Adds the columns up in their windows' places: (N, C * kernel, windows) -> (N, C, height, width)."""
        (top, left), (height, width) = self.padding, self.size
        taps = columns.reshape(columns.shape[0], -1, int(np.prod(self.windows.kernel)), *self.windows.output)
        padded = np.zeros((*taps.shape[:2], height + 2 * top, width + 2 * left))
        for number, (_, at) in enumerate(self.windows.taps()):
            padded[at] += taps[:, :, number]
        return padded[:, :, top : top + height, left : left + width]


def unfold(input: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Array:
    """Each window's elements as a column: (N, C, H, W) -> (N, C * kernel height * kernel width, windows)."""
    x = f64(input)
    return _Columns(x.shape[2:], kernel_size, dilation, padding, stride).gather(x)


def unfold_backward(
    dy: ArrayLike, input: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Gradients:
    """fold: an element's gradients add up over the windows that hold it -> (dinput,)."""
    return (_Columns(np.shape(input)[2:], kernel_size, dilation, padding, stride).scatter(f64(dy)),)


def fold(
    input: ArrayLike, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Array:
    """Columns added up in their windows' places: (N, C * kernel, windows) -> (N, C, *output_size)."""
    return _Columns(per_axis(output_size, 2), kernel_size, dilation, padding, stride).scatter(f64(input))


def fold_backward(
    dy: ArrayLike, input: ArrayLike, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0,
    stride: Ints = 1,
) -> Gradients:  # fmt: skip
    """unfold: each element of a column sees the place it was added to -> (dinput,)."""
    return (_Columns(per_axis(output_size, 2), kernel_size, dilation, padding, stride).gather(f64(dy)),)


Taps = list[tuple[Array, Array]]  # (which input elements the outputs read, with what weights), both (outputs,)


def _cubic(distance: Array, a: float = -0.75) -> Array:
    """The kernel of cubic convolution (Keys 1981, eq. 15)."""
    d = np.abs(distance)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _taps(mode: str, size: int, out: int, scale: float | None, align_corners: bool) -> Taps:
    """Along one axis. Output o lies at input position (o + 1/2) * size / out - 1/2, pixels being areas; or at
    o * (size - 1) / (out - 1) where the corners' centres are aligned."""
    step = size / out if scale is None else 1.0 / scale
    o = np.arange(out)
    if mode in ("nearest", "nearest-exact"):  # rounded as in float32, which decides between two equally near ones
        at = np.float32(step) * (o.astype(np.float32) + np.float32(0.5 if mode == "nearest-exact" else 0.0))
        return [(np.minimum(np.floor(at).astype(np.int64), size - 1), np.ones(out))]
    at = o * ((size - 1) / max(out - 1, 1)) if align_corners else (o + 0.5) * step - 0.5
    if mode != "bicubic":
        at = np.clip(at, 0.0, size - 1.0)
    first = np.floor(at).astype(np.int64)
    offsets = range(-1, 3) if mode == "bicubic" else range(2)
    weight = _cubic if mode == "bicubic" else lambda distance: np.maximum(0.0, 1.0 - np.abs(distance))
    return [(np.clip(first + k, 0, size - 1), weight(at - (first + k))) for k in offsets]


def _sizes(shape: Sequence[int], size: Ints | None, scale_factor: float | Sequence[float] | None) -> list[tuple]:
    """(axis, old size, new size, scale or None) of each spatial axis."""
    n = len(shape) - 2
    if size is not None:
        return [(2 + i, shape[2 + i], out, None) for i, out in enumerate(per_axis(size, n))]
    scales = [scale_factor] * n if isinstance(scale_factor, (int, float)) else list(scale_factor or ())
    return [(2 + i, shape[2 + i], int(np.floor(shape[2 + i] * s)), float(s)) for i, s in enumerate(scales)]


def interpolate(
    input: ArrayLike, size: Ints | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None,
) -> Array:  # fmt: skip
    """(N, C, ...) to another size, axis after axis: y = sum over taps of weight * x[element].

    "nearest" and "nearest-exact" have one tap, "linear", "bilinear" and "trilinear" the two neighbours, "bicubic" four.
    """
    y = f64(input)
    for axis, old, out, scale in _sizes(y.shape, size, scale_factor):
        total = np.zeros((*y.shape[:axis], out, *y.shape[axis + 1 :]))
        for element, weight in _taps(mode, old, out, scale, bool(align_corners)):
            w = weight.reshape(-1, *[1] * (y.ndim - axis - 1))
            total += np.where(w == 0, 0.0, w * y.take(element, axis))
        y = total
    return y


def interpolate_backward(
    dy: ArrayLike, input: ArrayLike, size: Ints | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None,
) -> Gradients:  # fmt: skip
    """Each element gets weight * dy of the outputs that read it -> (dinput,)."""
    dx = f64(dy)
    for axis, old, out, scale in _sizes(np.shape(input), size, scale_factor):
        total = np.zeros((old, *np.moveaxis(dx, axis, 0).shape[1:]))
        for element, weight in _taps(mode, old, out, scale, bool(align_corners)):
            np.add.at(total, element, weight.reshape(-1, *[1] * (dx.ndim - 1)) * np.moveaxis(dx, axis, 0))
        dx = np.moveaxis(total, 0, axis)
    return (dx,)
