"""Padding, resizing and moving pixels about."""

from __future__ import annotations

import math
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from ..._precision import rounded_once
from ._checks import pair

__all__ = [
    "pad", "interpolate", "upsample", "upsample_nearest", "upsample_bilinear", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "unfold", "fold",
]  # fmt: skip


pad = _core.pad
interpolate = _core.interpolate


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
    if r < 1:
        raise ValueError(f"pixel_shuffle: expected upscale_factor to be at least 1, got {r}")
    if input.dim() < 3 or input.shape[-3] % (r * r) != 0:
        raise _core.ShapeError(
            f"pixel_shuffle: expected channels divisible by upscale_factor^2 = {r * r}, got {tuple(input.shape)}"
        )
    c, h, w = input.shape[-3:]
    x = input.reshape(math.prod(input.shape[:-3]), c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(*input.shape[:-3], c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) -> (..., C * r^2, H, W)."""
    r = downscale_factor
    if r < 1:
        raise ValueError(f"pixel_unshuffle: expected downscale_factor to be at least 1, got {r}")
    if input.dim() < 3 or input.shape[-1] % r != 0 or input.shape[-2] % r != 0:
        raise _core.ShapeError(
            f"pixel_unshuffle: expected height and width divisible by downscale_factor {r}, got {tuple(input.shape)}"
        )
    c, h, w = input.shape[-3:]
    x = input.reshape(math.prod(input.shape[:-3]), c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(*input.shape[:-3], c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of `groups` groups (Zhang et al. 2018)."""
    if groups < 1:
        raise ValueError(f"channel_shuffle: expected groups to be at least 1, got {groups}")
    if input.dim() < 3 or input.shape[1] % groups != 0:
        raise _core.ShapeError(
            f"channel_shuffle: expected channels divisible by groups {groups}, got {tuple(input.shape)}"
        )
    n, c, *rest = input.shape
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


def _windows(op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, int], ...]:
    wanted = (
        (kernel_size, "kernel_size", 1),
        (dilation, "dilation", 1),
        (padding, "padding", 0),
        (stride, "stride", 1),
    )
    return tuple(pair(op, argument, value, least) for value, argument, least in wanted)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows as columns: (N, C, H, W) -> (N, C * kernel height * kernel width, number of windows)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = _windows("unfold", kernel_size, dilation, padding, stride)
    if input.dim() not in (3, 4):
        raise _core.ShapeError(f"unfold: expected (N, C, H, W) or (C, H, W) input, got {tuple(input.shape)}")
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


@rounded_once
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The adjoint of `unfold`: sums columns (N, C * kernel, windows) into an image (N, C, *output_size)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = _windows("fold", kernel_size, dilation, padding, stride)
    height, width = pair("fold", "output_size", output_size, 1)
    if input.dim() not in (2, 3):
        raise _core.ShapeError(
            f"fold: expected (N, C * kernel, windows) input of 2 or 3 dimensions, got {tuple(input.shape)}"
        )
    columns = input if input.dim() == 3 else input.unsqueeze(0)
    rows_out = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns_out = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if rows_out < 1 or columns_out < 1:
        raise _core.ShapeError(f"fold: a kernel of {(kh, kw)} does not fit into output_size {(height, width)}")
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
