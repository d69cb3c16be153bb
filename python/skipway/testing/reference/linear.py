"""Products of matrices. With Y = A B:  dA = dY B^T  and  dB = A^T dY."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """y = x W^T + b: x (..., in), weight (out, in), bias (out) -> (..., out)."""
    y = f64(input) @ f64(weight).T
    return y if bias is None else y + f64(bias)


def linear_backward(dy: ArrayLike, input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Gradients:
    """dx = dy W, dW = dy^T x, db = sum of dy over the rows -> (dinput, dweight, dbias)."""
    dy, x, w = f64(dy), f64(input), f64(weight)
    out, into = (w.shape[0], w.shape[1]) if w.ndim == 2 else (1, w.shape[0])
    rows, xs = dy.reshape(-1, out), x.reshape(-1, into)
    dw = (rows.T @ xs).reshape(w.shape)
    return (
        (rows @ w.reshape(out, into)).reshape(x.shape),
        dw,
        None if bias is None else rows.sum(0).reshape(np.shape(bias)),
    )


def matmul(input: ArrayLike, other: ArrayLike) -> Array:
    """A B over the last two axes, the axes before them broadcast; a vector counts as a row (left) or column (right)."""
    return f64(f64(input) @ f64(other))


def matmul_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """dA = dY B^T and dB = A^T dY, summed over broadcast axes -> (dinput, dother)."""
    dy, a, b = f64(dy), f64(input), f64(other)
    rows, columns = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    if b.ndim == 1:
        dy = dy[..., None]
    if a.ndim == 1:
        dy = dy[..., None, :]
    da = unbroadcast(dy @ np.swapaxes(columns, -1, -2), rows.shape)
    db = unbroadcast(np.swapaxes(rows, -1, -2) @ dy, columns.shape)
    return da.reshape(a.shape), db.reshape(b.shape)


bmm, bmm_backward = matmul, matmul_backward  # (B, n, m) (B, m, p) -> (B, n, p)
mm, mm_backward = matmul, matmul_backward  # (n, m) (m, p) -> (n, p)
mv, mv_backward = matmul, matmul_backward  # (n, m) (m) -> (n)
dot, dot_backward = matmul, matmul_backward  # (n) (n) -> ()


def addmm(input: ArrayLike, mat1: ArrayLike, mat2: ArrayLike, *, beta: float = 1, alpha: float = 1) -> Array:
    """beta * input + alpha * mat1 mat2, input broadcast to the product's shape."""
    return beta * f64(input) + alpha * (f64(mat1) @ f64(mat2))


def addmm_backward(
    dy: ArrayLike, input: ArrayLike, mat1: ArrayLike, mat2: ArrayLike, *, beta: float = 1, alpha: float = 1
) -> Gradients:
    """-> (dinput, dmat1, dmat2)."""
    dy = f64(dy)
    d1, d2 = matmul_backward(alpha * dy, mat1, mat2)
    return unbroadcast(beta * dy, np.shape(input)), d1, d2


def outer(input: ArrayLike, vec2: ArrayLike) -> Array:
    """y[i, j] = a[i] b[j]."""
    return np.outer(f64(input), f64(vec2))


def outer_backward(dy: ArrayLike, input: ArrayLike, vec2: ArrayLike) -> Gradients:
    """da = dY b, db = dY^T a -> (dinput, dvec2)."""
    return f64(dy) @ f64(vec2), f64(dy).T @ f64(input)
