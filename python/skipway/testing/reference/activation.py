"""Activations: element by element unless said otherwise. Each backward returns (dinput,) = (dy * f'(x),).

At a kink the derivative is that of the flatter side where the flatter side is constant (relu'(0) = 0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64


def erf_of(x: ArrayLike) -> Array:
    """2 / sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    return np.vectorize(math.erf, otypes=[np.float64])(f64(x))


def sigmoid_of(x: Array) -> Array:
    """1 / (1 + exp(-x)), never computing exp of a positive number."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def relu(input: ArrayLike) -> Array:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(f64(input), 0.0)


def relu_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy where x > 0, else 0 (also at 0)."""
    return (np.where(f64(input) <= 0, 0.0, f64(dy)),)


def hardtanh(input: ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x cut to [min_val, max_val]."""
    return np.clip(f64(input), min_val, max_val)


def hardtanh_backward(dy: ArrayLike, input: ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Gradients:
    """dy strictly between the bounds, else 0."""
    x = f64(input)
    return (np.where((x <= min_val) | (x >= max_val), 0.0, f64(dy)),)


def relu6(input: ArrayLike) -> Array:
    """min(max(x, 0), 6) (Howard et al. 2017)."""
    return hardtanh(input, 0.0, 6.0)


def relu6_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy where 0 < x < 6, else 0."""
    return hardtanh_backward(dy, input, 0.0, 6.0)


def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope * x (Maas et al. 2013)."""
    x = f64(input)
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy: ArrayLike, input: ArrayLike, negative_slope: float = 0.01) -> Gradients:
    """dy where x > 0, else negative_slope * dy."""
    return (np.where(f64(input) > 0, 1.0, negative_slope) * f64(dy),)


def prelu(input: ArrayLike, weight: ArrayLike) -> Array:
    """x where x > 0, else weight * x (He et al. 2015, eq. 1); one weight, or one for each channel (axis 1)."""
    x = f64(input)
    return np.where(x > 0, x, _per_channel(f64(weight), x) * x)


def prelu_backward(dy: ArrayLike, input: ArrayLike, weight: ArrayLike) -> Gradients:
    """dweight sums dy * x over the elements that were not positive -> (dinput, dweight)."""
    dy, x, w = f64(dy), f64(input), f64(weight)
    per_element = dy * np.where(x > 0, 0.0, x)
    axes = tuple(i for i in range(x.ndim) if i != 1) if w.size > 1 else None
    return dy * np.where(x > 0, 1.0, _per_channel(w, x)), per_element.sum(axis=axes).reshape(w.shape)


def _per_channel(weight: Array, x: Array) -> Array:
    return weight.reshape([-1 if i == 1 else 1 for i in range(x.ndim)]) if weight.size > 1 else weight.reshape(())


def elu(input: ArrayLike, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2016, eq. 16)."""
    x = f64(input)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_backward(dy: ArrayLike, input: ArrayLike, alpha: float = 1.0) -> Gradients:
    """dy where x > 0, else dy * alpha * exp(x)."""
    x = f64(input)
    return (f64(dy) * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))),)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(input: ArrayLike) -> Array:
    """scale * elu(x, alpha), the constants for which mean 0 and variance 1 are a fixed point (Klambauer et al. 2017,
    eq. 2)."""
    return SELU_SCALE * elu(input, SELU_ALPHA)


def selu_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """scale times the gradient of elu(x, alpha)."""
    return elu_backward(SELU_SCALE * f64(dy), input, SELU_ALPHA)


def celu(input: ArrayLike, alpha: float = 1.0) -> Array:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)): smooth at 0 for every alpha (Barron 2017)."""
    x = f64(input)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


def celu_backward(dy: ArrayLike, input: ArrayLike, alpha: float = 1.0) -> Gradients:
    """dy where x > 0, else dy * exp(x / alpha)."""
    x = f64(input)
    return (f64(dy) * np.where(x > 0, 1.0, np.exp(np.minimum(x, 0.0) / alpha)),)


_GELU_CUBIC = 0.044715


def _normal_cdf(x: Array) -> Array:
    return 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2.0))


def gelu(input: ArrayLike, approximate: str = "none") -> Array:
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016).

    "none": Phi(x) = (1 + erf(x / sqrt 2)) / 2; "tanh": Phi(x) ~ (1 + tanh(u)) / 2, u = sqrt(2 / pi) * (x + 0.044715
    x^3). Computed as erfc(-x / sqrt 2) / 2 and sigmoid(2 u), which lose no digits where x is far below 0.
    """
    x = f64(input)
    if approximate == "none":
        return x * _normal_cdf(x)
    return x * sigmoid_of(2.0 * math.sqrt(2.0 / math.pi) * (x + _GELU_CUBIC * x**3))


def gelu_backward(dy: ArrayLike, input: ArrayLike, approximate: str = "none") -> Gradients:
    """(x Phi)' = Phi + x * Phi', Phi' being the normal density or the derivative of the tanh form."""
    x = f64(input)
    if approximate == "none":
        phi = _normal_cdf(x)
        slope = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    else:
        c = math.sqrt(2.0 / math.pi)
        phi = sigmoid_of(2.0 * c * (x + _GELU_CUBIC * x**3))
        slope = 2.0 * phi * (1.0 - phi) * c * (1.0 + 3.0 * _GELU_CUBIC * x * x)
    return (f64(dy) * (phi + x * slope),)


def sigmoid(input: ArrayLike) -> Array:
    """1 / (1 + exp(-x))."""
    return sigmoid_of(f64(input))


def sigmoid_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * y * (1 - y)."""
    y = sigmoid_of(f64(input))
    return (f64(dy) * y * (1.0 - y),)


def tanh(input: ArrayLike) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.tanh(f64(input))


def tanh_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * (1 - y^2)."""
    return (f64(dy) * (1.0 - np.tanh(f64(input)) ** 2),)


def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold (Dugas et al. 2001)."""
    x = f64(input)
    return np.where(beta * x > threshold, x, np.logaddexp(0.0, beta * x) / beta)


def softplus_backward(dy: ArrayLike, input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Gradients:
    """dy * sigmoid(beta x), and dy where beta x > threshold."""
    x = f64(input)
    return (f64(dy) * np.where(beta * x > threshold, 1.0, sigmoid_of(beta * x)),)


def logsigmoid(input: ArrayLike) -> Array:
    """log(sigmoid(x)) = -log(1 + exp(-x))."""
    return -np.logaddexp(0.0, -f64(input))


def logsigmoid_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * sigmoid(-x)."""
    return (f64(dy) * sigmoid_of(-f64(input)),)


def silu(input: ArrayLike) -> Array:
    """x * sigmoid(x) (Elfwing et al. 2017; "swish" of Ramachandran et al. 2017)."""
    return f64(input) * sigmoid_of(f64(input))


def silu_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * s * (1 + x * (1 - s)), s = sigmoid(x)."""
    x = f64(input)
    s = sigmoid_of(x)
    return (f64(dy) * s * (1.0 + x * (1.0 - s)),)


def mish(input: ArrayLike) -> Array:
    """x * tanh(softplus(x)) (Misra 2019, eq. 1)."""
    x = f64(input)
    return x * np.tanh(np.logaddexp(0.0, x))


def mish_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * (t + x * (1 - t^2) * sigmoid(x)), t = tanh(softplus(x))."""
    x = f64(input)
    t = np.tanh(np.logaddexp(0.0, x))
    return (f64(dy) * (t + x * (1.0 - t * t) * sigmoid_of(x)),)


def hardsigmoid(input: ArrayLike) -> Array:
    """relu6(x + 3) / 6."""
    return np.clip(f64(input) + 3.0, 0.0, 6.0) / 6.0


def hardsigmoid_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy / 6 where -3 < x < 3, else 0."""
    return (np.where(np.abs(f64(input)) < 3.0, f64(dy) / 6.0, 0.0),)


def hardswish(input: ArrayLike) -> Array:
    """x * relu6(x + 3) / 6 (Howard et al. 2019, eq. 2)."""
    return f64(input) * np.clip(f64(input) + 3.0, 0.0, 6.0) / 6.0


def hardswish_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """0 where x <= -3, dy where x >= 3, between them dy * (2 x + 3) / 6."""
    x = f64(input)
    return (f64(dy) * np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, (2.0 * x + 3.0) / 6.0)),)


def softsign(input: ArrayLike) -> Array:
    """x / (1 + |x|)."""
    return f64(input) / (1.0 + np.abs(f64(input)))


def softsign_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy / (1 + |x|)^2."""
    return (f64(dy) / (1.0 + np.abs(f64(input))) ** 2,)


def tanhshrink(input: ArrayLike) -> Array:
    """x - tanh(x)."""
    return f64(input) - np.tanh(f64(input))


def tanhshrink_backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
    """dy * tanh(x)^2."""
    return (f64(dy) * np.tanh(f64(input)) ** 2,)


def softshrink(input: ArrayLike, lambd: float = 0.5) -> Array:
    """sign(x) * max(|x| - lambd, 0)."""
    x = f64(input)
    return np.where(np.abs(x) <= lambd, 0.0, x - np.sign(x) * lambd)


def softshrink_backward(dy: ArrayLike, input: ArrayLike, lambd: float = 0.5) -> Gradients:
    """dy where |x| > lambd, else 0."""
    return (np.where(np.abs(f64(input)) <= lambd, 0.0, f64(dy)),)


def hardshrink(input: ArrayLike, lambd: float = 0.5) -> Array:
    """x where |x| > lambd, else 0."""
    x = f64(input)
    return np.where(np.abs(x) <= lambd, 0.0, x)


def hardshrink_backward(dy: ArrayLike, input: ArrayLike, lambd: float = 0.5) -> Gradients:
    """dy where |x| > lambd, else 0."""
    return (np.where(np.abs(f64(input)) <= lambd, 0.0, f64(dy)),)


def threshold(input: ArrayLike, threshold: float, value: float) -> Array:
    """x where x > threshold, else value."""
    x = f64(input)
    return np.where(x <= threshold, value, x)


def threshold_backward(dy: ArrayLike, input: ArrayLike, threshold: float, value: float) -> Gradients:
    """dy where x > threshold, else 0."""
    return (np.where(f64(input) <= threshold, 0.0, f64(dy)),)


def maxout(input: ArrayLike, pieces: int, dim: int = 1) -> Array:
    """The maximum of each group of `pieces` neighbours along `dim` (Goodfellow et al. 2013, eq. 1)."""
    return _pieces(f64(input), pieces, dim).max(axis=dim % f64(input).ndim + 1)


def maxout_backward(dy: ArrayLike, input: ArrayLike, pieces: int, dim: int = 1) -> Gradients:
    """dy goes to the largest of each group, the first of equals."""
    x = f64(input)
    axis = dim % x.ndim
    groups = _pieces(x, pieces, dim)
    dx = np.zeros_like(groups)
    best = np.expand_dims(groups.argmax(axis=axis + 1), axis + 1)
    np.put_along_axis(dx, best, np.expand_dims(f64(dy), axis + 1), axis + 1)
    return (dx.reshape(x.shape),)


def _pieces(x: Array, pieces: int, dim: int) -> Array:
    axis = dim % x.ndim
    return x.reshape(*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])


def crelu(input: ArrayLike, dim: int = 1) -> Array:
    """relu(x) and relu(-x) one after the other along `dim` (Shang et al. 2016, definition 2.1)."""
    x = f64(input)
    return np.concatenate([relu(x), relu(-x)], axis=dim)


def crelu_backward(dy: ArrayLike, input: ArrayLike, dim: int = 1) -> Gradients:
    """The first half's gradient where x > 0, minus the second half's where x < 0."""
    x = f64(input)
    positive, negative = np.split(f64(dy), 2, axis=dim)
    return (np.where(x > 0, positive, 0.0) - np.where(x < 0, negative, 0.0),)


def glu(input: ArrayLike, dim: int = -1) -> Array:
    """a * sigmoid(b), the halves of x along `dim` (Dauphin et al. 2017, eq. 1)."""
    a, b = np.split(f64(input), 2, axis=dim)
    return a * sigmoid_of(b)


def glu_backward(dy: ArrayLike, input: ArrayLike, dim: int = -1) -> Gradients:
    """da = dy * sigmoid(b), db = dy * a * s * (1 - s)."""
    a, b = np.split(f64(input), 2, axis=dim)
    s = sigmoid_of(b)
    return (np.concatenate([f64(dy) * s, f64(dy) * a * s * (1.0 - s)], axis=dim),)


# What `activation=` of the fused ops may name: (function, backward). None is the identity.
_FUSABLE: dict[str, tuple[Any, Any]] = {
    "relu": (relu, relu_backward),
    "relu6": (relu6, relu6_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "elu": (elu, elu_backward),
    "selu": (selu, selu_backward),
    "gelu": (gelu, gelu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "softplus": (softplus, softplus_backward),
    "silu": (silu, silu_backward),
    "mish": (mish, mish_backward),
    "hardtanh": (hardtanh, hardtanh_backward),
    "hardswish": (hardswish, hardswish_backward),
    "hardsigmoid": (hardsigmoid, hardsigmoid_backward),
}


def activate(x: Array, activation: str | None) -> Array:
    """The named activation of x; x itself for None."""
    return x if activation is None else _FUSABLE[activation][0](x)


def activate_backward(dy: Array, x: Array, activation: str | None) -> Array:
    """The gradient of `activate` with respect to x."""
    return dy if activation is None else _FUSABLE[activation][1](dy, x)[0]
