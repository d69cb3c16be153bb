"""Losses of rankings, margins and counts. `reduction` and dy are as in the other losses; targets are constants."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, reduce_loss, spread_loss
from .activation import sigmoid_of
from .distance import pairwise_distance, pairwise_distance_backward


def soft_margin_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Array:
    """ln(1 + e^(-t x)), t being 1 or -1."""
    return reduce_loss(np.logaddexp(0.0, -f64(target) * f64(input)), reduction)


def soft_margin_loss_backward(dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Gradients:
    """-t / (1 + e^(t x)) * dy -> (dinput,)."""
    x, t = f64(input), f64(target)
    return (-t * sigmoid_of(-t * x) * spread_loss(dy, x.shape, reduction),)


def hinge_embedding_loss(input: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean") -> Array:
    """x where t = 1, max(0, margin - x) where t = -1."""
    x, t = f64(input), f64(target)
    return reduce_loss(np.where(t == 1, x, np.maximum(0.0, margin - x)), reduction)


def hinge_embedding_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean"
) -> Gradients:
    """dy where t = 1, -dy where t = -1 and x < margin, else 0 -> (dinput,)."""
    x, t = f64(input), f64(target)
    return (np.where(t == 1, 1.0, np.where(x < margin, -1.0, 0.0)) * spread_loss(dy, x.shape, reduction),)


def poisson_nll_loss(
    input: ArrayLike, target: ArrayLike, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """e^x - t x for x = ln(rate), or x - t ln(x + eps) for x = rate; full: plus Stirling's ln(t!) where t > 1."""
    x, t = f64(input), f64(target)
    terms = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        large = np.where(t > 1, t, 1.0)
        terms = terms + np.where(t > 1, large * np.log(large) - large + 0.5 * np.log(2 * math.pi * large), 0.0)
    return reduce_loss(terms, reduction)


def poisson_nll_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """(e^x - t) * dy, or (1 - t / (x + eps)) * dy -> (dinput,)."""
    x, t = f64(input), f64(target)
    slope = np.exp(x) - t if log_input else 1.0 - t / (x + eps)
    return (slope * spread_loss(dy, x.shape, reduction),)


def margin_ranking_loss(
    input1: ArrayLike, input2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean"
) -> Array:
    """max(0, margin - t (a - b)): a should be above b by the margin where t = 1, below where t = -1."""
    return reduce_loss(np.maximum(0.0, margin - f64(target) * (f64(input1) - f64(input2))), reduction)


def margin_ranking_loss_backward(
    dy: ArrayLike, input1: ArrayLike, input2: ArrayLike, target: ArrayLike, margin: float = 0.0,
    reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """-t * dy and t * dy where the loss is not cut off at 0 -> (dinput1, dinput2)."""
    a, b, t = f64(input1), f64(input2), f64(target)
    da = np.where(margin - t * (a - b) >= 0, -t, 0.0) * spread_loss(dy, a.shape, reduction)
    return da, -da


_EPS = 1e-12  # added to squared lengths


def _cosine(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """(cos, squared length of a, of b), the last axis kept."""
    aa, bb = (a * a).sum(axis=-1, keepdims=True) + _EPS, (b * b).sum(axis=-1, keepdims=True) + _EPS
    return (a * b).sum(axis=-1, keepdims=True) / np.sqrt(aa * bb), aa, bb


def cosine_embedding_loss(
    input1: ArrayLike, input2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean"
) -> Array:
    """1 - cos(a, b) where t = 1, max(0, cos(a, b) - margin) where t = -1."""
    cos = _cosine(f64(input1), f64(input2))[0][..., 0]
    return reduce_loss(np.where(f64(target) == 1, 1.0 - cos, np.maximum(0.0, cos - margin)), reduction)


def cosine_embedding_loss_backward(
    dy: ArrayLike, input1: ArrayLike, input2: ArrayLike, target: ArrayLike, margin: float = 0.0,
    reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """dcos / da = b / (|a| |b|) - cos * a / |a|^2, and likewise for b -> (dinput1, dinput2)."""
    a, b = f64(input1), f64(input2)
    cos, aa, bb = _cosine(a, b)
    slope = np.where(f64(target)[..., None] == 1, -1.0, np.where(cos >= margin, 1.0, 0.0))
    dcos = slope * spread_loss(dy, cos.shape[:-1], reduction)[..., None]
    lengths = np.sqrt(aa * bb)
    return dcos * (b / lengths - cos * a / aa), dcos * (a / lengths - cos * b / bb)


def triplet_margin_loss(
    anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, reduction: str = "mean",
) -> Array:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) (Schroff et al. 2015, eq. 3), d being
    pairwise_distance."""
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    return reduce_loss(np.maximum(0.0, near - far + margin), reduction)


def triplet_margin_loss_backward(
    dy: ArrayLike, anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """dy through one distance and -dy through the other where the loss is not cut off at 0 -> (danchor, dpositive,
    dnegative)."""
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    d = np.where(near - far + margin >= 0, spread_loss(dy, near.shape, reduction), 0.0)
    da, dpositive = pairwise_distance_backward(d, anchor, positive, p, eps)
    minus_da, dnegative = pairwise_distance_backward(-d, anchor, negative, p, eps)
    return da + minus_da, dpositive, dnegative


def _gaps(x: Array, target: Array, margin: float) -> Array:
    """max(0, margin - x[target] + x[i]) for the other classes i, 0 for the target itself."""
    gap = np.maximum(0.0, margin - np.take_along_axis(x, target[:, None], 1) + x)
    np.put_along_axis(gap, target[:, None], 0.0, 1)
    return gap


def multi_margin_loss(
    input: ArrayLike, target: ArrayLike, p: int = 1, margin: float = 1.0, weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Array:  # fmt: skip
    """weight[t] * sum over the other classes i of max(0, margin - x[t] + x[i])^p / classes."""
    x, t = f64(input), np.asarray(target)
    weights = np.ones(x.shape[1]) if weight is None else f64(weight)
    return reduce_loss(weights[t] * (_gaps(x, t, margin) ** p).sum(axis=1) / x.shape[1], reduction)


def multi_margin_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, p: int = 1, margin: float = 1.0,
    weight: ArrayLike | None = None, reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """weight[t] * p * gap^(p - 1) / classes * dy to each class with a gap, minus their sum to the target
    -> (dinput,)."""
    x, t = f64(input), np.asarray(target)
    weights = np.ones(x.shape[1]) if weight is None else f64(weight)
    gap = _gaps(x, t, margin)
    scale = (weights[t] * spread_loss(dy, t.shape, reduction) / x.shape[1])[:, None]
    dx = scale * np.where(gap > 0, p * gap ** (p - 1.0), 0.0)
    np.put_along_axis(dx, t[:, None], -dx.sum(axis=1, keepdims=True), 1)
    return (dx,)
