"""Products of matrices. With Y = A B:  dA = dY B^T  and  dB = A^T dY."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast
from .activation import activate, activate_backward
from .softmax import softmax


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, activation: str | None = None) -> Array:
    """y = act(x W^T + b): x (..., in), weight (out, in), bias (out) -> (..., out)."""
    y = f64(input) @ f64(weight).T
    return activate(y if bias is None else y + f64(bias), activation)


def linear_backward(
    dy: ArrayLike, input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, activation: str | None = None
) -> Gradients:
    """With dz = dy act'(z): dx = dz W, dW = dz^T x, db = sum of dz over the rows -> (dinput, dweight, dbias)."""
    x, w = f64(input), f64(weight)
    dy = activate_backward(f64(dy), linear(x, w, bias), activation)
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


baddbmm, baddbmm_backward = addmm, addmm_backward  # (B, n, p) + (B, n, m) (B, m, p)


def bilinear(input1: ArrayLike, input2: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """y_k = a^T W_k b + bias_k: a (..., i), b (..., j), weight (k, i, j) -> (..., k)."""
    y = np.einsum("...i,kij,...j->...k", f64(input1), f64(weight), f64(input2))
    return y if bias is None else y + f64(bias)


def bilinear_backward(
    dy: ArrayLike, input1: ArrayLike, input2: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None
) -> Gradients:
    """Linear in each of the three: da_i = sum of dy_k W_kij b_j, and so on -> (dinput1, dinput2, dweight, dbias)."""
    dy, a, b, w = f64(dy), f64(input1), f64(input2), f64(weight)
    return (
        np.einsum("...k,kij,...j->...i", dy, w, b),
        np.einsum("...k,kij,...i->...j", dy, w, a),
        np.einsum("nk,ni,nj->kij", dy.reshape(-1, w.shape[0]), a.reshape(-1, w.shape[1]), b.reshape(-1, w.shape[2])),
        None if bias is None else dy.reshape(-1, w.shape[0]).sum(0),
    )


def _attention_weights(query: Array, key: Array, attn_mask: ArrayLike | None, is_causal: bool, scale: float) -> Array:
    scores = query @ np.swapaxes(key, -1, -2) * scale
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores, -1)


def scaled_dot_product_attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, attn_mask: ArrayLike | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None,
) -> Array:  # fmt: skip
    """softmax(Q K^T * scale + mask) V (Vaswani et al. 2017, eq. 1); scale None: 1 / sqrt(d). A bool mask says who takes
    part; causal: row i sees columns up to i. dropout_p must be 0: its randomness is not an argument."""
    q, k = f64(query), f64(key)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    return f64(_attention_weights(q, k, attn_mask, is_causal, factor) @ f64(value))


def scaled_dot_product_attention_backward(
    dy: ArrayLike, query: ArrayLike, key: ArrayLike, value: ArrayLike, attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
) -> Gradients:  # fmt: skip
    """With P the softmax of S: dV = P^T dY, dP = dY V^T, dS = softmax_backward(dP), dQ = dS K * scale,
    dK = dS^T Q * scale -> (dquery, dkey, dvalue), and the mask's where it is one of numbers: dS."""
    q, k, v = f64(query), f64(key), f64(value)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    weights = _attention_weights(q, k, attn_mask, is_causal, factor)
    dweights, dv = matmul_backward(dy, weights, v)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dq, dk = matmul_backward(factor * dscores, q, np.swapaxes(k, -1, -2))
    gradients = dq, np.swapaxes(dk, -1, -2), dv
    if attn_mask is None or np.asarray(attn_mask).dtype == bool:
        return gradients
    return *gradients, unbroadcast(dscores, np.shape(attn_mask))
