"""Losses. `reduction` is "mean" (default), "sum" or "none"; dy has the shape of the reduced loss.

Classification: input (N, C, ...) of scores, target (N, ...) of class numbers, or, for cross_entropy, probabilities of
the classes, shaped like the input. Gradients are given for the input, and for the target too where that is a
measurement like the input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, reduce_loss, spread_loss
from .activation import sigmoid_of
from .softmax import log_softmax, log_softmax_backward


def _class_weights(target: Array, classes: int, weight: ArrayLike | None, ignore_index: int) -> tuple[Array, Array]:
    """The weight of each target (0 for ignored ones), and the targets with ignored ones set to class 0."""
    counted = target != ignore_index
    safe = np.where(counted, target, 0)
    weights = np.ones(classes) if weight is None else f64(weight)
    return np.where(counted, weights[safe], 0.0), safe


def _take_class(values: Array, target: Array) -> Array:
    """values[n, target[n, ...], ...]."""
    axis = 0 if values.ndim == 1 else 1
    return np.take_along_axis(values, np.expand_dims(target, axis), axis).squeeze(axis)


def _put_class(values: Array, target: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` with values at [n, target[n, ...], ...]."""
    axis = 0 if len(shape) == 1 else 1
    out = np.zeros(shape)
    np.put_along_axis(out, np.expand_dims(target, axis), np.expand_dims(values, axis), axis)
    return out


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """-weight[t] * input[n, t], input being log-probabilities; "mean" divides by the sum of the weights used."""
    x, t = f64(input), np.asarray(target)
    weights, safe = _class_weights(t, x.shape[-1 if x.ndim == 1 else 1], weight, ignore_index)
    terms = -weights * _take_class(x, safe)
    return f64(terms.sum() / weights.sum()) if reduction == "mean" else reduce_loss(terms, reduction)


def nll_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, ignore_index: int = -100,
    reduction: str = "mean",
) -> Gradients:  # fmt: skip
    """-weight[t] * dy at the target's class, 0 elsewhere -> (dinput,)."""
    x, t = f64(input), np.asarray(target)
    weights, safe = _class_weights(t, x.shape[-1 if x.ndim == 1 else 1], weight, ignore_index)
    scale = f64(dy) / weights.sum() if reduction == "mean" else f64(dy)
    return (_put_class(-weights * scale, safe, x.shape),)


def _cross_entropy_parts(
    x: Array, target: ArrayLike, weight: ArrayLike | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array | float]:
    """Coefficients c (shape of x) with loss terms = -sum over classes of c * log_softmax(x), and the divisor of "mean".

    A target of class t stands for the distribution (1 - smoothing) * onehot(t) + smoothing / C (Szegedy et al. 2016,
    section 7). Each class's part is multiplied by its weight. An ignored target has no part, smoothed or not.
    """
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    column = [-1 if i == axis else 1 for i in range(x.ndim)]
    weights = (np.ones(classes) if weight is None else f64(weight)).reshape(column)
    t = np.asarray(target)
    if t.dtype.kind == "f":
        smoothed = (1.0 - smoothing) * f64(t) + smoothing / classes
        return smoothed * weights, float(np.prod(x.shape) / classes)
    used, safe = _class_weights(t, classes, weight, ignore_index)
    counted = np.expand_dims(t != ignore_index, axis)
    onehot = _put_class(np.ones(t.shape), safe, x.shape)
    return ((1.0 - smoothing) * onehot + smoothing / classes) * weights * counted, used.sum()


def cross_entropy(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Array:  # fmt: skip
    """-sum over classes of q * log_softmax(input), q the (smoothed, weighted) target distribution.

    "mean" divides by the sum of the target classes' weights, or, with probabilities as targets, by their number.
    """
    x = f64(input)
    coefficients, divisor = _cross_entropy_parts(x, target, weight, ignore_index, label_smoothing)
    axis = 0 if x.ndim == 1 else 1
    terms = -(coefficients * log_softmax(x, axis)).sum(axis=axis)
    return f64(np.float64(terms.sum()) / divisor) if reduction == "mean" else reduce_loss(terms, reduction)


def cross_entropy_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Gradients:  # fmt: skip
    """For q without weights dx = dy * (softmax(x) - q); in general log_softmax's backward of -q * dy -> (dinput,)."""
    x = f64(input)
    coefficients, divisor = _cross_entropy_parts(x, target, weight, ignore_index, label_smoothing)
    axis = 0 if x.ndim == 1 else 1
    scale = f64(dy) / divisor if reduction == "mean" else f64(dy)
    if reduction == "none":
        scale = np.expand_dims(scale, axis)
    return log_softmax_backward(-coefficients * scale, x, axis)


def mse_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Array:
    """(x - t)^2."""
    return reduce_loss((f64(input) - f64(target)) ** 2, reduction)


def mse_loss_backward(dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Gradients:
    """2 * (x - t) * dy -> (dinput, dtarget)."""
    d = f64(input) - f64(target)
    dx = 2.0 * d * spread_loss(dy, d.shape, reduction)
    return dx, -dx


def l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Array:
    """|x - t|."""
    return reduce_loss(np.abs(f64(input) - f64(target)), reduction)


def l1_loss_backward(dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Gradients:
    """sign(x - t) * dy, 0 where they are equal -> (dinput, dtarget)."""
    d = f64(input) - f64(target)
    dx = np.sign(d) * spread_loss(dy, d.shape, reduction)
    return dx, -dx


def huber_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0) -> Array:
    """d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2), d = x - t (Huber 1964)."""
    d = np.abs(f64(input) - f64(target))
    return reduce_loss(np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


def huber_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0
) -> Gradients:
    """d cut to [-delta, delta], times dy -> (dinput, dtarget)."""
    d = f64(input) - f64(target)
    dx = np.clip(d, -delta, delta) * spread_loss(dy, d.shape, reduction)
    return dx, -dx


def smooth_l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0) -> Array:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2 (Girshick 2015, eq. 3); beta 0 is l1_loss."""
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) / beta


def smooth_l1_loss_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0
) -> Gradients:
    """The gradient of huber_loss divided by beta -> (dinput, dtarget)."""
    if beta == 0:
        return l1_loss_backward(dy, input, target, reduction)
    return huber_loss_backward(f64(dy) / beta, input, target, reduction, beta)


def binary_cross_entropy(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> Array:
    """-w * (t * log(p) + (1 - t) * log(1 - p)) with p = input; the logarithms are no less than -100."""
    p, t = f64(input), f64(target)
    with np.errstate(divide="ignore"):
        terms = -(t * np.maximum(np.log(p), -100.0) + (1.0 - t) * np.maximum(np.log1p(-p), -100.0))
    return reduce_loss(terms if weight is None else f64(weight) * terms, reduction)


def binary_cross_entropy_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> Gradients:
    """w * (p - t) / (p * (1 - p)) * dy, the denominator no less than 1e-12 -> (dinput,)."""
    p, t = f64(input), f64(target)
    dx = (p - t) / np.maximum(p * (1.0 - p), 1e-12) * spread_loss(dy, p.shape, reduction)
    return (dx if weight is None else f64(weight) * dx,)


def binary_cross_entropy_with_logits(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Array:  # fmt: skip
    """-w * (c * t * log(s) + (1 - t) * log(1 - s)) with s = sigmoid(x) and c = pos_weight, from log-sigmoids: no
    overflow."""
    x, t = f64(input), f64(target)
    c = 1.0 if pos_weight is None else f64(pos_weight)
    terms = c * t * np.logaddexp(0.0, -x) + (1.0 - t) * np.logaddexp(0.0, x)
    return reduce_loss(terms if weight is None else f64(weight) * terms, reduction)


def binary_cross_entropy_with_logits_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Gradients:  # fmt: skip
    """w * ((1 - t) * s - c * t * (1 - s)) * dy; s - t without weights -> (dinput,)."""
    x, t = f64(input), f64(target)
    c = 1.0 if pos_weight is None else f64(pos_weight)
    dx = ((1.0 - t) * sigmoid_of(x) - c * t * sigmoid_of(-x)) * spread_loss(dy, x.shape, reduction)
    return (dx if weight is None else f64(weight) * dx,)


def kl_div(input: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False) -> Array:
    """t * (log t - x), x being log-probabilities; with log_target exp(t) * (t - x). "batchmean": the sum / N."""
    x, t = f64(input), f64(target)
    terms = np.exp(t) * (t - x) if log_target else np.where(t == 0, 0.0, t * (np.log(np.where(t == 0, 1.0, t)) - x))
    return f64(terms.sum() / x.shape[0]) if reduction == "batchmean" else reduce_loss(terms, reduction)


def kl_div_backward(
    dy: ArrayLike, input: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False
) -> Gradients:
    """-t * dy (or -exp(t) * dy) -> (dinput,)."""
    x, t = f64(input), f64(target)
    scale = f64(dy) / x.shape[0] if reduction == "batchmean" else spread_loss(dy, x.shape, reduction)
    return (-(np.exp(t) if log_target else t) * scale,)
