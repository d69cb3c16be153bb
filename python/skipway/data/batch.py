"""Augmentation of whole batches of images, (N, C, H, W) NumPy arrays, from a ``Stream`` of random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ._random import Stream

BatchTransform = Callable[[np.ndarray, Stream], np.ndarray]


def compose(*steps: BatchTransform) -> BatchTransform:
    def run(x: np.ndarray, stream: Stream) -> np.ndarray:
        for step in steps:
            x = step(x, stream)
        return x

    return run


def random_crop(padding: int, fill: float = 0) -> BatchTransform:
    """Each image moves by up to ``padding`` pixels each way; what comes in is ``fill``."""

    def run(x: np.ndarray, stream: Stream) -> np.ndarray:
        n, c, h, w = x.shape
        p = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], constant_values=fill)
        dy, dx = stream.integers(2 * padding + 1, (2, n))
        windows = np.lib.stride_tricks.sliding_window_view(p, (h, w), axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(n), :, dy, dx])

    return run


def random_flip(p: float = 0.5) -> BatchTransform:
    """Each image is mirrored, left to right, with probability ``p``."""

    def run(x: np.ndarray, stream: Stream) -> np.ndarray:
        chosen = stream.uniform(len(x)) < p
        out = x.copy()
        out[chosen] = x[chosen, :, :, ::-1]
        return out

    return run


def cutout(length: int, fill: float = 0) -> BatchTransform:
    """A square of side ``length`` around a random pixel of each image becomes ``fill``, cut at the border."""

    def run(x: np.ndarray, stream: Stream) -> np.ndarray:
        n, _, h, w = x.shape
        y, x0 = stream.integers(h, n) - length // 2, stream.integers(w, n) - length // 2
        rows = (np.arange(h) >= y[:, None]) & (np.arange(h) < y[:, None] + length)
        cols = (np.arange(w) >= x0[:, None]) & (np.arange(w) < x0[:, None] + length)
        hole = rows[:, None, :, None] & cols[:, None, None, :]
        return np.where(hole, np.asarray(fill, x.dtype), x)

    return run


def random_affine(
    degrees: float = 0.0, shift: float = 0.0, scale: float = 0.0, shear: float = 0.0, fill: float = 0
) -> BatchTransform:
    """Each image is turned by up to ``degrees``, moved by up to ``shift`` pixels, scaled by a factor of up to
    ``1 + scale`` either way and slanted by up to ``shear``; bilinear."""

    def run(x: np.ndarray, stream: Stream) -> np.ndarray:
        n, _, h, w = x.shape
        u = stream.uniform((5, n)) * 2.0 - 1.0
        angle, zoom, slant = np.deg2rad(degrees) * u[0], (1.0 + scale) ** u[1], shear * u[2]
        c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
        gy, gx = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w)[None, :] - (w - 1) / 2

        def at(v: np.ndarray) -> np.ndarray:
            return v[:, None, None]

        ys = at(c) * gy + at(s) * gx + at((h - 1) / 2 + shift * u[3])
        xs = at(c * slant - s) * gy + at(c + s * slant) * gx + at((w - 1) / 2 + shift * u[4])
        return sample_bilinear(x, ys, xs, fill)

    return run


def sample_bilinear(x: np.ndarray, ys: np.ndarray, xs: np.ndarray, fill: float = 0) -> np.ndarray:
    """out[n, :, i, j] = x[n, :, ys[n, i, j], xs[n, i, j]], between pixels by their distance; outside is ``fill``."""
    n, c, h, w = x.shape
    pad = np.full((n, h + 2, w + 2, c), fill, np.float32)
    pad[:, 1:-1, 1:-1] = x.transpose(0, 2, 3, 1)
    flat = pad.reshape(-1, c)
    ys, xs = np.clip(ys, -1.0, h) + 1.0, np.clip(xs, -1.0, w) + 1.0
    y0, x0 = np.minimum(ys.astype(np.int64), h), np.minimum(xs.astype(np.int64), w)
    fy, fx = (ys - y0).astype(np.float32)[..., None], (xs - x0).astype(np.float32)[..., None]
    at = (np.arange(n)[:, None, None] * (h + 2) + y0) * (w + 2) + x0
    top = flat[at] * (1 - fx) + flat[at + 1] * fx
    low = flat[at + w + 2] * (1 - fx) + flat[at + w + 3] * fx
    out = (top * (1 - fy) + low * fy).transpose(0, 3, 1, 2)
    if x.dtype.kind in "ui":
        out = np.rint(out)
    return np.ascontiguousarray(out.astype(x.dtype))
