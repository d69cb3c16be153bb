"""Padding, resizing and moving pixels about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor

__all__ = [
    "pad", "interpolate", "upsample", "upsample_nearest", "upsample_bilinear", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "unfold", "fold",
]  # fmt: skip


def _source_index(mode: str, size: int, before: int, after: int) -> list[int]:
    """Which element of a dimension each padded element shows."""
    if mode == "reflect":
        if before >= size or after >= size:
            raise _core.ShapeError(f"pad: reflection of {before} and {after} needs a larger size than {size}")
        return [abs(i) if i < size else 2 * (size - 1) - i for i in range(-before, size + after)]
    if mode == "circular":
        if before > size or after > size:
            raise _core.ShapeError(f"pad: wrapping {before} and {after} around needs a larger size than {size}")
        return [i % size for i in range(-before, size + after)]
    return [min(max(i, 0), size - 1) for i in range(-before, size + after)]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Adds `pad` = (before, after) elements to the last dimension, the next pair to the one before, and so on.

    mode: "constant" (with `value`, default 0; negative sizes crop), "reflect", "replicate" or "circular".
    """
    if mode == "constant":
        return _core.pad(input, tuple(pad), "constant", 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(f"pad: expected mode 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if len(pad) % 2 != 0 or len(pad) // 2 > input.dim():
        raise _core.ShapeError(f"pad: expected pairs for at most {input.dim()} dimensions, got {tuple(pad)}")
    for i in range(len(pad) // 2):
        before, after = pad[2 * i], pad[2 * i + 1]
        dim = input.dim() - 1 - i
        if before or after:
            index = _source_index(mode, input.shape[dim], before, after)
            input = input.index_select(dim, creation.tensor(index, device=input.device))
    return input


Taps = list[tuple[list[int], list[float]]]


def _cubic(x: float) -> float:
    """Keys' kernel with a = -0.75."""
    a, x = -0.75, abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _positions(size: int, out: int, scale: float, align_corners: bool, clip: bool) -> list[float]:
    """Where, in the input, the centre of each output element lies."""
    if align_corners:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
        return [i * step for i in range(out)]
    found = [(i + 0.5) * scale - 0.5 for i in range(out)]
    return [max(x, 0.0) for x in found] if clip else found


def _taps(mode: str, size: int, out: int, scale: float, align_corners: bool) -> Taps:
    """For each tap of the filter, the input index and the weight per output element."""
    if mode == "nearest":
        return [([min(math.floor(i * scale), size - 1) for i in range(out)], [])]
    if mode == "nearest-exact":
        return [([min(math.floor((i + 0.5) * scale), size - 1) for i in range(out)], [])]
    if mode == "cubic":
        at = _positions(size, out, scale, align_corners, False)
        low = [math.floor(x) for x in at]
        return [
            ([min(max(i + k, 0), size - 1) for i in low], [_cubic(x - (i + k)) for x, i in zip(at, low, strict=False)])
            for k in (-1, 0, 1, 2)
        ]
    at = _positions(size, out, scale, align_corners, True)
    low = [min(int(x), size - 1) for x in at]
    part = [x - i for x, i in zip(at, low, strict=False)]
    return [(low, [1 - p for p in part]), ([min(i + 1, size - 1) for i in low], part)]


def _resize_dim(input: Tensor, dim: int, taps: Taps) -> Tensor:
    """One dimension at a time: the sum over taps of the selected elements times their weights."""
    shape = [1] * input.dim()
    shape[dim] = -1
    result: Tensor | None = None
    for index, weights in taps:
        part = input.index_select(dim, creation.tensor(index, device=input.device))
        if weights:
            part = part * creation.tensor(weights, dtype=input.dtype, device=input.device).reshape(shape)
        result = part if result is None else result + part
    assert result is not None
    return result


_KERNELS = {"linear": ("linear", 1), "bilinear": ("linear", 2), "trilinear": ("linear", 3), "bicubic": ("cubic", 2)}


def _output_size(input: Tensor, size: Any, scale_factor: Any) -> tuple[list[int], list[float] | None]:
    dims = input.dim() - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: expected one of size and scale_factor")
    if size is not None:
        sizes = [int(size)] * dims if not isinstance(size, Iterable) else [int(s) for s in size]
        if len(sizes) != dims:
            raise _core.ShapeError(f"interpolate: expected a size of {dims} numbers, got {tuple(sizes)}")
        return sizes, None
    factors = [float(scale_factor)] * dims
    if isinstance(scale_factor, Iterable):
        factors = [float(f) for f in scale_factor]
    if len(factors) != dims:
        raise _core.ShapeError(f"interpolate: expected {dims} scale factors, got {tuple(factors)}")
    return [math.floor(s * f) for s, f in zip(input.shape[2:], factors, strict=False)], factors


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resizes the spatial dimensions of (N, C, ...) input to `size`, or by `scale_factor`.

    mode: "nearest", "nearest-exact", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D), "area".
    """
    if input.dim() < 3:
        raise _core.ShapeError(f"interpolate: expected (N, C, ...) input, got {tuple(input.shape)}")
    if antialias:
        raise ValueError("interpolate: antialias is not supported")
    sizes, factors = _output_size(input, size, scale_factor)
    if any(s < 1 for s in sizes):
        raise _core.ShapeError(f"interpolate: expected output sizes of at least 1, got {tuple(sizes)}")
    dims = input.dim() - 2
    if mode == "area":
        pool: Callable[..., Tensor] = getattr(_core, f"adaptive_avg_pool{dims}d")
        return pool(input, tuple(sizes))
    if mode in ("nearest", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(f"interpolate: align_corners does not apply to mode {mode!r}")
        kernel = mode
    elif mode in _KERNELS and _KERNELS[mode][1] == dims:
        kernel = _KERNELS[mode][0]
    else:
        raise ValueError(f"interpolate: mode {mode!r} does not apply to input of shape {tuple(input.shape)}")
    for i in range(dims):
        old, new = input.shape[2 + i], sizes[i]
        scale = 1 / factors[i] if factors is not None and not recompute_scale_factor else old / new
        if old != new or scale != 1:
            input = _resize_dim(input, 2 + i, _taps(kernel, old, new, scale, bool(align_corners)))
    return input


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The former name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "bilinear" and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r^2, H, W) -> (..., C, H * r, W * r) (Shi et al. 2016)."""
    r = upscale_factor
    if input.dim() < 3 or r < 1 or input.shape[-3] % (r * r) != 0:
        raise _core.ShapeError(
            f"pixel_shuffle: expected channels divisible by upscale_factor^2 = {r * r}, got {tuple(input.shape)}"
        )
    c, h, w = input.shape[-3:]
    x = input.reshape(-1, c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(*input.shape[:-3], c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) -> (..., C * r^2, H, W)."""
    r = downscale_factor
    if input.dim() < 3 or r < 1 or input.shape[-1] % r != 0 or input.shape[-2] % r != 0:
        raise _core.ShapeError(
            f"pixel_unshuffle: expected height and width divisible by downscale_factor {r}, got {tuple(input.shape)}"
        )
    c, h, w = input.shape[-3:]
    x = input.reshape(-1, c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(*input.shape[:-3], c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of `groups` groups (Zhang et al. 2018)."""
    if input.dim() < 3 or groups < 1 or input.shape[1] % groups != 0:
        raise _core.ShapeError(
            f"channel_shuffle: expected channels divisible by groups {groups}, got {tuple(input.shape)}"
        )
    n, c, *rest = input.shape
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


def _pair(x: Any) -> tuple[int, int]:
    return (x, x) if isinstance(x, int) else (x[0], x[-1])


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows as columns: (N, C, H, W) -> (N, C * kernel height * kernel width, number of windows)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(_pair, (kernel_size, dilation, padding, stride))
    batched = input.dim() == 4
    x = _core.pad(input if batched else input.unsqueeze(0), (pw, pw, ph, ph), "constant", 0.0)
    n, c, h, w = x.shape
    rows, columns = (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1
    if rows < 1 or columns < 1:
        raise _core.ShapeError(f"unfold: a kernel of {(kh, kw)} does not fit into {tuple(input.shape)}")
    windows = [
        x[:, :, i * dh : i * dh + (rows - 1) * sh + 1 : sh, j * dw : j * dw + (columns - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    result = _core.stack(windows, 2).reshape(n, c * kh * kw, rows * columns)
    return result if batched else result.squeeze(0)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The adjoint of `unfold`: sums columns (N, C * kernel, windows) into an image (N, C, *output_size)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(_pair, (kernel_size, dilation, padding, stride))
    height, width = _pair(output_size)
    columns = input if input.dim() == 3 else input.unsqueeze(0)
    rows_out = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns_out = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    n, ck, windows = columns.shape
    if ck % (kh * kw) != 0 or windows != rows_out * columns_out:
        raise _core.ShapeError(
            f"fold: expected (N, C * {kh * kw}, {rows_out * columns_out}) input for output_size {(height, width)}, "
            f"got {tuple(input.shape)}"
        )
    c = ck // (kh * kw)
    parts = columns.reshape(n, c, kh, kw, rows_out, columns_out)
    result = creation.zeros((n, c, height + 2 * ph, width + 2 * pw), dtype=input.dtype, device=input.device)
    for i in range(kh):
        for j in range(kw):
            tall, wide = (rows_out - 1) * sh + 1, (columns_out - 1) * sw + 1
            result[:, :, i * dh : i * dh + tall : sh, j * dw : j * dw + wide : sw] += parts[:, :, i, j]
    result = result[:, :, ph : ph + height, pw : pw + width]
    return result if input.dim() == 3 else result.squeeze(0)
