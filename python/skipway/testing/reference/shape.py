"""Joining, cutting and rearranging. Values only move, so each gradient moves back; where an element was repeated, its
gradients add.

A function that returns several arrays takes their gradients as a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast

Arrays = Sequence[ArrayLike]


def cat(tensors: Arrays, dim: int = 0) -> Array:
    """One after the other along an axis that they have."""
    return np.concatenate([f64(t) for t in tensors], axis=dim)


def cat_backward(dy: ArrayLike, tensors: Arrays, dim: int = 0) -> Gradients:
    """Each gets its part of dy -> one gradient per array."""
    ends = np.cumsum([np.shape(t)[dim] for t in tensors])
    return tuple(np.split(f64(dy), ends[:-1], axis=dim))


def stack(tensors: Arrays, dim: int = 0) -> Array:
    """One after the other along a new axis."""
    return np.stack([f64(t) for t in tensors], axis=dim)


def stack_backward(dy: ArrayLike, tensors: Arrays, dim: int = 0) -> Gradients:
    """Each gets its slice of dy -> one gradient per array."""
    return tuple(np.moveaxis(f64(dy), dim, 0))


def split(tensor: ArrayLike, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    """Pieces of a size (the last may be smaller), or of the given sizes."""
    x, size = f64(tensor), split_size_or_sections
    ends = np.arange(size, x.shape[dim], size) if isinstance(size, int) else np.cumsum(size)[:-1]
    return tuple(np.split(x, ends, axis=dim))


def split_backward(
    dys: Arrays, tensor: ArrayLike, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> Gradients:
    """The pieces' gradients joined -> (dtensor,)."""
    return (cat(dys, dim),)


def chunk(input: ArrayLike, chunks: int, dim: int = 0) -> tuple[Array, ...]:
    """split into pieces of size ceil(size / chunks): at most `chunks` of them."""
    return split(input, -(-f64(input).shape[dim] // chunks), dim)


def chunk_backward(dys: Arrays, input: ArrayLike, chunks: int, dim: int = 0) -> Gradients:
    """The pieces' gradients joined -> (dinput,)."""
    return (cat(dys, dim),)


def unbind(input: ArrayLike, dim: int = 0) -> tuple[Array, ...]:
    """The slices along an axis, which goes away."""
    return tuple(np.moveaxis(f64(input), dim, 0))


def unbind_backward(dys: Arrays, input: ArrayLike, dim: int = 0) -> Gradients:
    """The slices' gradients stacked -> (dinput,)."""
    return (stack(dys, dim),)


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad_index(shape: Sequence[int], pad: Sequence[int], mode: str) -> tuple[Array, ...]:
    """For every place of the padded array and each axis, which element it shows; -1 for the constant."""
    pairs = [(0, 0)] * (len(shape) - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    axes = []
    for size, (before, after) in zip(shape, pairs, strict=True):
        extra = {"constant_values": -1} if mode == "constant" else {}
        around = ((max(before, 0), max(after, 0)),)
        axis = np.pad(np.arange(size), around, mode=_MODES[mode], **extra)  # type: ignore[call-overload]
        axes.append(axis[max(-before, 0) : len(axis) - max(-after, 0)])
    return np.ix_(*axes)


def pad(input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    """pad = (before, after) of the last axis, then of the one before it, ...; negative: cut.

    "constant" puts `value`, "reflect" mirrors without repeating the edge, "replicate" repeats the edge, "circular" goes
    round.
    """
    x = f64(input)
    where = _pad_index(x.shape, tuple(pad), mode)
    inside = np.logical_and.reduce(np.broadcast_arrays(*[axis >= 0 for axis in where]))
    padded = x[where] if x.size else np.zeros(inside.shape)
    return np.where(inside, padded, float(value or 0.0))


def pad_backward(
    dy: ArrayLike, input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Gradients:
    """Each place's gradient goes to the element it shows -> (dinput,)."""
    shape = np.shape(input)
    where = np.broadcast_arrays(*_pad_index(shape, tuple(pad), mode))
    inside = np.logical_and.reduce([axis >= 0 for axis in where])
    dx = np.zeros(shape)
    np.add.at(dx, tuple(axis[inside] for axis in where), f64(dy)[inside])
    return (dx,)


def reshape(input: ArrayLike, shape: Sequence[int]) -> Array:
    """The same elements in row-major order, as another shape; one size may be -1."""
    return f64(input).reshape(tuple(shape))


def reshape_backward(dy: ArrayLike, input: ArrayLike, shape: Sequence[int]) -> Gradients:
    """dy at the old shape -> (dinput,)."""
    return (f64(dy).reshape(np.shape(input)),)


def flatten(input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The axes from start_dim to end_dim, both included, as one."""
    x = f64(input)
    if x.ndim == 0:
        return x.reshape(1)
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return x.reshape(*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :])


def flatten_backward(dy: ArrayLike, input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Gradients:
    """dy at the old shape -> (dinput,)."""
    return (f64(dy).reshape(np.shape(input)),)


def squeeze(input: ArrayLike, dim: int | Sequence[int] | None = None) -> Array:
    """Without its axes of size 1, or without those among `dim` that have size 1."""
    x = f64(input)
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return x.squeeze(tuple(d for d in dims if x.shape[d] == 1))


def squeeze_backward(dy: ArrayLike, input: ArrayLike, dim: int | Sequence[int] | None = None) -> Gradients:
    """dy at the old shape -> (dinput,)."""
    return (f64(dy).reshape(np.shape(input)),)


def unsqueeze(input: ArrayLike, dim: int) -> Array:
    """With a new axis of size 1 at `dim`."""
    return np.expand_dims(f64(input), dim)


def unsqueeze_backward(dy: ArrayLike, input: ArrayLike, dim: int) -> Gradients:
    """dy at the old shape -> (dinput,)."""
    return (f64(dy).reshape(np.shape(input)),)


def permute(input: ArrayLike, dims: Sequence[int]) -> Array:
    """Axis i of the result is axis dims[i] of x."""
    return f64(input).transpose(tuple(dims))


def permute_backward(dy: ArrayLike, input: ArrayLike, dims: Sequence[int]) -> Gradients:
    """The inverse permutation of dy -> (dinput,)."""
    n = len(dims)
    return (f64(dy).transpose(tuple(np.argsort([d % n for d in dims]))),)


def transpose(input: ArrayLike, dim0: int, dim1: int) -> Array:
    """Two axes exchanged."""
    return np.swapaxes(f64(input), dim0, dim1)


def transpose_backward(dy: ArrayLike, input: ArrayLike, dim0: int, dim1: int) -> Gradients:
    """The same axes of dy exchanged -> (dinput,)."""
    return (np.swapaxes(f64(dy), dim0, dim1),)


def expand(input: ArrayLike, shape: Sequence[int]) -> Array:
    """Axes of size 1 repeated, and new ones in front, to reach `shape`; -1 keeps a size."""
    x = f64(input)
    old = (1,) * (len(shape) - x.ndim) + x.shape
    return np.broadcast_to(x, [o if n == -1 else n for o, n in zip(old, shape, strict=True)]).copy()


def expand_backward(dy: ArrayLike, input: ArrayLike, shape: Sequence[int]) -> Gradients:
    """The sum over the copies -> (dinput,)."""
    return (unbroadcast(f64(dy), np.shape(input)),)


def repeat(input: ArrayLike, repeats: Sequence[int]) -> Array:
    """x laid side by side repeats[i] times along axis i; more repeats than axes adds axes in front."""
    return np.tile(f64(input), tuple(repeats))


def repeat_backward(dy: ArrayLike, input: ArrayLike, repeats: Sequence[int]) -> Gradients:
    """The sum over the copies -> (dinput,)."""
    shape = (1,) * (len(repeats) - np.ndim(input)) + np.shape(input)
    tiled = [n for pair in zip(repeats, shape, strict=True) for n in pair]
    return (f64(dy).reshape(tiled).sum(axis=tuple(range(0, len(tiled), 2))).reshape(np.shape(input)),)


def flip(input: ArrayLike, dims: Sequence[int]) -> Array:
    """The order along the axes reversed."""
    return np.flip(f64(input), tuple(dims))


def flip_backward(dy: ArrayLike, input: ArrayLike, dims: Sequence[int]) -> Gradients:
    """dy flipped -> (dinput,)."""
    return (np.flip(f64(dy), tuple(dims)),)


def roll(input: ArrayLike, shifts: int | Sequence[int], dims: int | Sequence[int]) -> Array:
    """y[(i + shift) mod size] = x[i]."""
    return np.roll(f64(input), shifts, dims)  # type: ignore[arg-type]


def roll_backward(dy: ArrayLike, input: ArrayLike, shifts: int | Sequence[int], dims: int | Sequence[int]) -> Gradients:
    """dy rolled back -> (dinput,)."""
    return (np.roll(f64(dy), -np.asarray(shifts), dims),)  # type: ignore[arg-type]


def tril(input: ArrayLike, diagonal: int = 0) -> Array:
    """The last two axes' elements with column - row <= diagonal; 0 elsewhere."""
    return np.tril(f64(input), diagonal)


def tril_backward(dy: ArrayLike, input: ArrayLike, diagonal: int = 0) -> Gradients:
    """-> (dinput,)."""
    return (np.tril(f64(dy), diagonal),)


def triu(input: ArrayLike, diagonal: int = 0) -> Array:
    """The last two axes' elements with column - row >= diagonal; 0 elsewhere."""
    return np.triu(f64(input), diagonal)


def triu_backward(dy: ArrayLike, input: ArrayLike, diagonal: int = 0) -> Gradients:
    """-> (dinput,)."""
    return (np.triu(f64(dy), diagonal),)


def pixel_shuffle(input: ArrayLike, upscale_factor: int) -> Array:
    """(N, C r^2, H, W) -> (N, C, H r, W r), r = upscale_factor (Shi et al. 2016, eq. 4)."""
    x, r = f64(input), upscale_factor
    n, c, h, w = x.shape
    return x.reshape(n, c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // (r * r), h * r, w * r)


def pixel_shuffle_backward(dy: ArrayLike, input: ArrayLike, upscale_factor: int) -> Gradients:
    """The way back -> (dinput,)."""
    (n, c, h, w), r = np.shape(input), upscale_factor
    return (f64(dy).reshape(n, c // (r * r), h, r, w, r).transpose(0, 1, 3, 5, 2, 4).reshape(n, c, h, w),)


def pixel_unshuffle(input: ArrayLike, downscale_factor: int) -> Array:
    """(N, C, H r, W r) -> (N, C r^2, H, W), r = downscale_factor: the inverse of pixel_shuffle."""
    x, r = f64(input), downscale_factor
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // r, r, w // r, r)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * r * r, h // r, w // r)


def pixel_unshuffle_backward(dy: ArrayLike, input: ArrayLike, downscale_factor: int) -> Gradients:
    """The way back -> (dinput,)."""
    return (pixel_shuffle(dy, downscale_factor),)


def channel_shuffle(input: ArrayLike, groups: int) -> Array:
    """Channel c of group g becomes channel c * groups + g (Zhang et al. 2018, section 3.1)."""
    x = f64(input)
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def channel_shuffle_backward(dy: ArrayLike, input: ArrayLike, groups: int) -> Gradients:
    """The shuffle with as many groups as channels in a group, which is the way back -> (dinput,)."""
    return (channel_shuffle(dy, np.shape(input)[1] // groups),)
