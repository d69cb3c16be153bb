"""Lengths, angles and distances of vectors along an axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast
from .reduction import norm, norm_backward


def normalize(input: ArrayLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Array:
    """x / max(||x||_p, eps)."""
    return f64(input) / np.maximum(norm(input, p, dim, True), eps)


def normalize_backward(dy: ArrayLike, input: ArrayLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Gradients:
    """With n = ||x||: dx = dy / n + dn * (the gradient of the norm), dn = -sum(dy * x) / n^2 -> (dinput,)."""
    dy, x = f64(dy), f64(input)
    n = norm(x, p, dim, True)
    divisor = np.maximum(n, eps)
    dn = np.where(n >= eps, -(dy * x).sum(axis=dim, keepdims=True) / divisor**2, 0.0)
    return (dy / divisor + norm_backward(dn, x, p, dim, True)[0],)


def cosine_similarity(x1: ArrayLike, x2: ArrayLike, dim: int = 1, eps: float = 1e-8) -> Array:
    """a . b / (max(||a||, eps) * max(||b||, eps)): the product of the normalized vectors."""
    return f64((normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(axis=dim))


def cosine_similarity_backward(
    dy: ArrayLike, x1: ArrayLike, x2: ArrayLike, dim: int = 1, eps: float = 1e-8
) -> Gradients:
    """Each normalized vector gets dy times the other one -> (dx1, dx2)."""
    dy = np.expand_dims(f64(dy), dim)
    u, v = normalize(x1, 2.0, dim, eps), normalize(x2, 2.0, dim, eps)
    du, dv = unbroadcast(dy * v, u.shape), unbroadcast(dy * u, v.shape)
    return *normalize_backward(du, x1, 2.0, dim, eps), *normalize_backward(dv, x2, 2.0, dim, eps)


def pairwise_distance(x1: ArrayLike, x2: ArrayLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Array:
    """||a - b + eps||_p over the last axis."""
    return norm(f64(x1) - f64(x2) + eps, p, -1, keepdim)


def pairwise_distance_backward(
    dy: ArrayLike, x1: ArrayLike, x2: ArrayLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Gradients:
    """The gradient of the norm, and its negative -> (dx1, dx2)."""
    (d,) = norm_backward(dy, f64(x1) - f64(x2) + eps, p, -1, keepdim)
    return unbroadcast(d, np.shape(x1)), unbroadcast(-d, np.shape(x2))
