"""Pooling over sliding windows and over adaptive ones; x is (N, C, spatial...) or (C, spatial...).

The number of windows along an axis is floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1. With
`ceil_mode` it is rounded up instead, but a window must start inside the input or its left padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, Windows, f64, per_axis

Ints = int | Sequence[int]


class _Pool:
    """The windows of a pooling over the last n axes, and the padded size that they need."""

    def __init__(
        self, shape: Sequence[int], n: int, kernel: Ints, stride: Ints | None, padding: Ints, dilation: Ints, ceil: bool
    ) -> None:
        self.n, self.spatial = n, tuple(shape[len(shape) - n :])
        kernels, self.padding, dilations = per_axis(kernel, n), per_axis(padding, n), per_axis(dilation, n)
        strides = kernels if stride is None or stride == () else per_axis(stride, n)
        output = []
        for size, k, s, p, d in zip(self.spatial, kernels, strides, self.padding, dilations, strict=True):
            room = size + 2 * p - d * (k - 1) - 1
            windows = (-(-room // s) if ceil else room // s) + 1
            if ceil and (windows - 1) * s >= size + p:
                windows -= 1
            output.append(windows)
        self.windows = Windows(kernels, strides, dilations, output)
        # Behind: as far as padding or the last window goes (ceil mode lets windows hang over the padding).
        reach = self.windows.padded_size()
        self.after = [max(p, r - p - size) for p, r, size in zip(self.padding, reach, self.spatial, strict=True)]

    def pad(self, x: Array, value: float, within: float | None = None) -> Array:
        """x with `within` (default: value) in the declared padding and `value` in what lies behind it."""
        fill = value if within is None else within
        lead = [(0, 0)] * (x.ndim - self.n)
        declared = np.pad(x, lead + [(p, p) for p in self.padding], constant_values=fill)
        more = [(0, a - p) for a, p in zip(self.after, self.padding, strict=True)]
        return np.pad(declared, lead + more, constant_values=value)

    def unpad(self, padded: Array) -> Array:
        inside = (slice(p, p + size) for p, size in zip(self.padding, self.spatial, strict=True))
        index: Any = (..., *inside)
        return padded[index]

    def stack(self, padded: Array) -> Array:
        """(taps, ..., windows...): the values that each window sees."""
        return np.stack([padded[at] for _, at in self.windows.taps()])


def _max_pool(x: Array, p: _Pool) -> tuple[Array, Array, Array]:
    """The maximum of each window, its position in the unpadded input (row-major), and its tap. The first of equals; NaN
    counts as largest."""
    values = p.stack(p.pad(x, -np.inf))
    tap = values.argmax(axis=0)
    y = np.take_along_axis(values, tap[None], axis=0)[0]
    positions = p.pad(np.arange(int(np.prod(p.spatial)), dtype=np.float64).reshape(p.spatial), -1.0)
    lead = x.ndim - p.n  # positions are the same for every image and channel
    seen = p.stack(positions).reshape(len(values), *[1] * lead, *y.shape[lead:])
    index = np.take_along_axis(np.broadcast_to(seen, values.shape), tap[None], axis=0)[0]
    return y, index.astype(np.int64), tap


def _max_functions(n: int) -> tuple[Any, Any]:
    def max_pool(
        input: ArrayLike, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        """y[p] = max over k of x[p * stride - padding + k * dilation]; padding never wins.

        With `return_indices`: (y, position of each maximum within its channel's flattened spatial axes).
        """
        x = f64(input)
        y, index, _ = _max_pool(x, _Pool(x.shape, n, kernel_size, stride, padding, dilation, ceil_mode))
        return (y, index) if return_indices else y

    def max_pool_backward(
        dy: ArrayLike, input: ArrayLike, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
        dilation: Ints = 1, ceil_mode: bool = False, return_indices: bool = False,
    ) -> Gradients:  # fmt: skip
        """Each window's gradient goes to the element that was its maximum, the first of equals -> (dinput,)."""
        dy, x = f64(dy), f64(input)
        p = _Pool(x.shape, n, kernel_size, stride, padding, dilation, ceil_mode)
        _, _, tap = _max_pool(x, p)
        dpadded = p.pad(np.zeros_like(x), 0.0)
        for number, (_, at) in enumerate(p.windows.taps()):
            dpadded[at] += np.where(tap == number, dy, 0.0)
        return (p.unpad(dpadded),)

    max_pool.__name__ = max_pool.__qualname__ = f"max_pool{n}d"
    max_pool_backward.__name__ = max_pool_backward.__qualname__ = f"max_pool{n}d_backward"
    return max_pool, max_pool_backward


def _avg_functions(n: int) -> tuple[Any, Any]:
    def divisor(p: _Pool, count_include_pad: bool, override: int | None) -> Array | float:
        """How many elements each window counts: declared padding on request, what hangs over it in ceil mode never."""
        if override is not None:
            return float(override)
        ones = p.pad(np.ones(p.spatial), 0.0, within=1.0 if count_include_pad else 0.0)
        return p.stack(ones).sum(axis=0)

    def avg_pool(
        input: ArrayLike, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Array:  # fmt: skip
        """y[p] = sum over k of x[p * stride - padding + k] / (number of elements counted in the window)."""
        x = f64(input)
        p = _Pool(x.shape, n, kernel_size, stride, padding, 1, ceil_mode)
        return p.stack(p.pad(x, 0.0)).sum(axis=0) / divisor(p, count_include_pad, divisor_override)

    def avg_pool_backward(
        dy: ArrayLike, input: ArrayLike, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Gradients:  # fmt: skip
        """Each window's gradient is shared equally by the elements in it -> (dinput,)."""
        x = f64(input)
        p = _Pool(x.shape, n, kernel_size, stride, padding, 1, ceil_mode)
        share = f64(dy) / divisor(p, count_include_pad, divisor_override)
        dpadded = p.pad(np.zeros_like(x), 0.0)
        for _, at in p.windows.taps():
            dpadded[at] += share
        return (p.unpad(dpadded),)

    avg_pool.__name__ = avg_pool.__qualname__ = f"avg_pool{n}d"
    avg_pool_backward.__name__ = avg_pool_backward.__qualname__ = f"avg_pool{n}d_backward"
    return avg_pool, avg_pool_backward


def _adaptive_windows(x: Array, n: int, output_size: Any) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """(output position, the part of the input that belongs to it): from floor(i * size / out) to ceil((i + 1) * size /
    out). Windows overlap where out does not divide size."""
    spatial = x.shape[x.ndim - n :]
    given = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    outputs = [size if out is None else int(out) for out, size in zip(given, spatial, strict=True)]
    parts = []
    for position in np.ndindex(*outputs):
        axes = zip(position, spatial, outputs, strict=True)
        part = tuple(slice(i * size // out, -(-(i + 1) * size // out)) for i, size, out in axes)
        parts.append(((..., *position), (..., *part)))
    return parts


def _flat(window: Array, n: int) -> Array:
    """Its last n axes as one."""
    return window.reshape(*window.shape[: window.ndim - n], int(np.prod(window.shape[window.ndim - n :])))


def _adaptive_shape(x: Array, n: int, output_size: Any) -> tuple[int, ...]:
    given = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    spatial = x.shape[x.ndim - n :]
    return (*x.shape[: x.ndim - n], *(s if o is None else int(o) for o, s in zip(given, spatial, strict=True)))


def _adaptive_functions(n: int, maximum: bool) -> tuple[Any, Any]:
    def adaptive_pool(input: ArrayLike, output_size: Any) -> Array:
        """Mean (or maximum) over windows that cut the input into output_size parts; output_size 1 is global pooling."""
        x = f64(input)
        y = np.zeros(_adaptive_shape(x, n, output_size))
        for position, part in _adaptive_windows(x, n, output_size):
            window = _flat(x[part], n)
            y[position] = window.max(axis=-1) if maximum else window.mean(axis=-1)
        return y

    def adaptive_pool_backward(dy: ArrayLike, input: ArrayLike, output_size: Any) -> Gradients:
        """Mean: dy shared equally in its window; maximum: dy to the first largest element -> (dinput,)."""
        dy, x = f64(dy), f64(input)
        dx = np.zeros_like(x)
        for position, part in _adaptive_windows(x, n, output_size):
            window = _flat(x[part], n)
            if maximum:
                share = (np.arange(window.shape[-1]) == window.argmax(axis=-1)[..., None]) * dy[position][..., None]
            else:
                share = np.broadcast_to(dy[position][..., None] / window.shape[-1], window.shape)
            dx[part] += share.reshape(x[part].shape)
        return (dx,)

    adaptive_pool.__name__ = adaptive_pool.__qualname__ = f"adaptive_{'max' if maximum else 'avg'}_pool{n}d"
    adaptive_pool_backward.__name__ = adaptive_pool_backward.__qualname__ = adaptive_pool.__name__ + "_backward"
    return adaptive_pool, adaptive_pool_backward


max_pool1d, max_pool1d_backward = _max_functions(1)
max_pool2d, max_pool2d_backward = _max_functions(2)
max_pool3d, max_pool3d_backward = _max_functions(3)
avg_pool1d, avg_pool1d_backward = _avg_functions(1)
avg_pool2d, avg_pool2d_backward = _avg_functions(2)
avg_pool3d, avg_pool3d_backward = _avg_functions(3)
adaptive_avg_pool1d, adaptive_avg_pool1d_backward = _adaptive_functions(1, maximum=False)
adaptive_avg_pool2d, adaptive_avg_pool2d_backward = _adaptive_functions(2, maximum=False)
adaptive_avg_pool3d, adaptive_avg_pool3d_backward = _adaptive_functions(3, maximum=False)
adaptive_max_pool1d, adaptive_max_pool1d_backward = _adaptive_functions(1, maximum=True)
adaptive_max_pool2d, adaptive_max_pool2d_backward = _adaptive_functions(2, maximum=True)
adaptive_max_pool3d, adaptive_max_pool3d_backward = _adaptive_functions(3, maximum=True)


def lp_pool2d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    """y = (sum of x^p over a window)^(1/p), p = norm_type: from the mean over the window and its size."""
    mean = avg_pool2d(f64(input) ** norm_type, kernel_size, stride, 0, ceil_mode)
    return f64((mean * np.prod(per_axis(kernel_size, 2))) ** (1.0 / norm_type))


def lp_pool2d_backward(
    dy: ArrayLike, input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Gradients:  # fmt: skip
    """dx = x^(p - 1) * (sum of dy * y^(1 - p) over the windows that hold x) -> (dinput,)."""
    x = f64(input)
    y = lp_pool2d(x, norm_type, kernel_size, stride, ceil_mode)
    g = f64(dy) * y ** (1.0 - norm_type) * np.prod(per_axis(kernel_size, 2))
    return (x ** (norm_type - 1.0) * avg_pool2d_backward(g, x, kernel_size, stride, 0, ceil_mode)[0],)
