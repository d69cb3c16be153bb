"""Arithmetic and functions, element by element. With two arguments these are broadcast against each other, and each
gradient is summed over the axes along which its argument was repeated.

A function of one argument is given as its formula and its derivative: y = f(x), dx = dy * f'(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast
from .activation import erf_of

Function = Callable[[ArrayLike], Array]
Backward = Callable[[ArrayLike, ArrayLike], Gradients]


def _function(
    formula: str, f: Callable[[Array], Array], slope: str, df: Callable[[Array], Any]
) -> tuple[Function, Backward]:
    def forward(input: ArrayLike) -> Array:
        return f64(f(f64(input)))

    def backward(dy: ArrayLike, input: ArrayLike) -> Gradients:
        x = f64(input)
        return (f64(dy) * np.broadcast_to(df(x), x.shape),)

    forward.__doc__, backward.__doc__ = f"y = {formula}.", f"dx = dy * {slope} -> (dinput,)."
    return forward, backward


def _step(formula: str, f: Callable[[Array], Array]) -> tuple[Function, Backward]:
    """A function that is constant between its jumps: the gradient is 0."""
    return _function(formula, f, "0", lambda x: 0.0)


_LN2, _LN10 = math.log(2.0), math.log(10.0)
neg, neg_backward = _function("-x", lambda x: -x, "-1", lambda x: -1.0)
exp, exp_backward = _function("e^x", np.exp, "e^x", np.exp)
exp2, exp2_backward = _function("2^x", np.exp2, "2^x ln 2", lambda x: np.exp2(x) * _LN2)
expm1, expm1_backward = _function("e^x - 1", np.expm1, "e^x", np.exp)
log, log_backward = _function("ln x", np.log, "1 / x", lambda x: 1.0 / x)
log2, log2_backward = _function("ln x / ln 2", np.log2, "1 / (x ln 2)", lambda x: 1.0 / (x * _LN2))
log10, log10_backward = _function("ln x / ln 10", np.log10, "1 / (x ln 10)", lambda x: 1.0 / (x * _LN10))
log1p, log1p_backward = _function("ln(1 + x)", np.log1p, "1 / (1 + x)", lambda x: 1.0 / (1.0 + x))
sqrt, sqrt_backward = _function("x^(1/2)", np.sqrt, "1 / (2 y)", lambda x: 0.5 / np.sqrt(x))
rsqrt, rsqrt_backward = _function("x^(-1/2)", lambda x: 1 / np.sqrt(x), "-y^3 / 2", lambda x: -0.5 * np.sqrt(x) ** -3)
square, square_backward = _function("x^2", np.square, "2 x", lambda x: 2.0 * x)
reciprocal, reciprocal_backward = _function("1 / x", lambda x: 1.0 / x, "-y^2", lambda x: -1.0 / (x * x))
abs, abs_backward = _function("|x|", np.abs, "sign x, 0 at 0", np.sign)
sin, sin_backward = _function("sin x", np.sin, "cos x", np.cos)
cos, cos_backward = _function("cos x", np.cos, "-sin x", lambda x: -np.sin(x))
tan, tan_backward = _function("tan x", np.tan, "1 + y^2", lambda x: 1.0 + np.tan(x) ** 2)
asin, asin_backward = _function("arcsin x", np.arcsin, "(1 - x^2)^(-1/2)", lambda x: (1.0 - x * x) ** -0.5)
acos, acos_backward = _function("arccos x", np.arccos, "-(1 - x^2)^(-1/2)", lambda x: -((1.0 - x * x) ** -0.5))
atan, atan_backward = _function("arctan x", np.arctan, "1 / (1 + x^2)", lambda x: 1.0 / (1.0 + x * x))
sinh, sinh_backward = _function("(e^x - e^-x) / 2", np.sinh, "cosh x", np.cosh)
cosh, cosh_backward = _function("(e^x + e^-x) / 2", np.cosh, "sinh x", np.sinh)
asinh, asinh_backward = _function("arsinh x", np.arcsinh, "(1 + x^2)^(-1/2)", lambda x: (1.0 + x * x) ** -0.5)
acosh, acosh_backward = _function("arcosh x", np.arccosh, "(x^2 - 1)^(-1/2)", lambda x: (x * x - 1.0) ** -0.5)
atanh, atanh_backward = _function("artanh x", np.arctanh, "1 / (1 - x^2)", lambda x: 1.0 / (1.0 - x * x))
frac, frac_backward = _function("x - trunc x", lambda x: x - np.trunc(x), "1", lambda x: 1.0)
erf, erf_backward = _function(
    "2 / sqrt(pi) * integral of e^(-t^2) from 0 to x", erf_of, "2 / sqrt(pi) * e^(-x^2)",
    lambda x: 2.0 / math.sqrt(math.pi) * np.exp(-x * x),
)  # fmt: skip
erfc, erfc_backward = _function(
    "1 - erf x", lambda x: 1.0 - erf_of(x), "-2 / sqrt(pi) * e^(-x^2)",
    lambda x: -2.0 / math.sqrt(math.pi) * np.exp(-x * x),
)  # fmt: skip
logit, logit_backward = _function(
    "ln(x / (1 - x))", lambda x: np.log(x / (1 - x)), "1 / (x (1 - x))", lambda x: 1 / (x * (1 - x))
)
floor, floor_backward = _step("the largest integer <= x", np.floor)
ceil, ceil_backward = _step("the smallest integer >= x", np.ceil)
trunc, trunc_backward = _step("x without its fraction", np.trunc)
round, round_backward = _step("the nearest integer, halves to the even one", np.rint)
sign, sign_backward = _step("-1, 0 or 1", np.sign)


def _pair(dy: ArrayLike, a: ArrayLike, b: ArrayLike, da: Any, db: Any) -> Gradients:
    """(dy * da, dy * db), each summed back to its argument's shape; None for a number."""
    dy = f64(dy)
    da, db = np.broadcast_to(dy * da, dy.shape), np.broadcast_to(dy * db, dy.shape)
    return tuple(
        None
        if isinstance(argument, (int, float)) and not isinstance(argument, np.generic)
        else unbroadcast(g, np.shape(argument))
        for argument, g in ((a, da), (b, db))
    )


def add(input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Array:
    """a + alpha * b."""
    return f64(input) + alpha * f64(other)


def add_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Gradients:
    """(dy, alpha * dy)."""
    return _pair(dy, input, other, 1.0, alpha)


def sub(input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Array:
    """a - alpha * b."""
    return f64(input) - alpha * f64(other)


def sub_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Gradients:
    """(dy, -alpha * dy)."""
    return _pair(dy, input, other, 1.0, -alpha)


def mul(input: ArrayLike, other: ArrayLike) -> Array:
    """a * b."""
    return f64(f64(input) * f64(other))


def mul_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy * b, dy * a)."""
    return _pair(dy, input, other, f64(other), f64(input))


def div(input: ArrayLike, other: ArrayLike) -> Array:
    """a / b."""
    return f64(f64(input) / f64(other))


def div_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy / b, -dy * a / b^2)."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, 1.0 / b, -a / (b * b))


def pow(input: ArrayLike, exponent: ArrayLike) -> Array:
    """a^b."""
    return f64(f64(input) ** f64(exponent))


def pow_backward(dy: ArrayLike, input: ArrayLike, exponent: ArrayLike) -> Gradients:
    """da = dy * b * a^(b - 1), 0 where b = 0; db = dy * a^b * ln a, 0 where a = 0 and b >= 0."""
    a, b = f64(input), f64(exponent)
    with np.errstate(all="ignore"):
        da = np.where(b == 0, 0.0, b * a ** (b - 1.0))
        db = np.where((a == 0) & (b >= 0), 0.0, a**b * np.log(a))
    return _pair(dy, input, exponent, da, db)


def remainder(input: ArrayLike, other: ArrayLike) -> Array:
    """a - b * floor(a / b): has b's sign."""
    return f64(np.mod(f64(input), f64(other)))


def remainder_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy, -dy * floor(a / b))."""
    return _pair(dy, input, other, 1.0, -np.floor(f64(input) / f64(other)))


def maximum(input: ArrayLike, other: ArrayLike) -> Array:
    """The larger of the two; NaN if either is."""
    return f64(np.maximum(f64(input), f64(other)))


def maximum_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """dy to the larger one, half to each where they are equal."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, (a > b) + 0.5 * (a == b), (b > a) + 0.5 * (a == b))


def minimum(input: ArrayLike, other: ArrayLike) -> Array:
    """The smaller of the two; NaN if either is."""
    return f64(np.minimum(f64(input), f64(other)))


def minimum_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """dy to the smaller one, half to each where they are equal."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, (a < b) + 0.5 * (a == b), (b < a) + 0.5 * (a == b))


def atan2(input: ArrayLike, other: ArrayLike) -> Array:
    """The angle of the point (x = other, y = input)."""
    return f64(np.arctan2(f64(input), f64(other)))


def atan2_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy * b / (a^2 + b^2), -dy * a / (a^2 + b^2))."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, b / (a * a + b * b), -a / (a * a + b * b))


def where(condition: ArrayLike, input: ArrayLike, other: ArrayLike) -> Array:
    """input where the condition holds, else other."""
    return np.where(np.asarray(condition, bool), f64(input), f64(other))


def where_backward(dy: ArrayLike, condition: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """dy to the one that was chosen -> (dinput, dother)."""
    c = np.asarray(condition, bool)
    return _pair(dy, input, other, c, ~c)


def clamp(input: ArrayLike, min: float | None = None, max: float | None = None) -> Array:
    """x cut to [min, max]; a bound may be None."""
    return f64(np.clip(f64(input), -np.inf if min is None else min, np.inf if max is None else max))


def clamp_backward(dy: ArrayLike, input: ArrayLike, min: float | None = None, max: float | None = None) -> Gradients:
    """dy where min <= x <= max, else 0 -> (dinput,)."""
    x = f64(input)
    inside = (x >= (-np.inf if min is None else min)) & (x <= (np.inf if max is None else max))
    return (np.where(inside, f64(dy), 0.0),)


def lerp(input: ArrayLike, end: ArrayLike, weight: float) -> Array:
    """a + weight * (b - a)."""
    return f64(input) + weight * (f64(end) - f64(input))


def lerp_backward(dy: ArrayLike, input: ArrayLike, end: ArrayLike, weight: float) -> Gradients:
    """((1 - weight) * dy, weight * dy) -> (dinput, dend)."""
    return _pair(dy, input, end, 1.0 - weight, weight)


def fmod(input: ArrayLike, other: ArrayLike) -> Array:
    """a - b * trunc(a / b): has a's sign."""
    return f64(np.fmod(f64(input), f64(other)))


def fmod_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy, -dy * trunc(a / b))."""
    return _pair(dy, input, other, 1.0, -np.trunc(f64(input) / f64(other)))


def hypot(input: ArrayLike, other: ArrayLike) -> Array:
    """(a^2 + b^2)^(1/2)."""
    return f64(np.hypot(f64(input), f64(other)))


def hypot_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy * a / y, dy * b / y)."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, a / np.hypot(a, b), b / np.hypot(a, b))


def xlogy(input: ArrayLike, other: ArrayLike) -> Array:
    """a * ln b, 0 where a = 0."""
    a, b = f64(input), f64(other)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((a == 0) & ~np.isnan(b), 0.0, a * np.log(b))


def xlogy_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy * ln b, dy * a / b)."""
    a, b = f64(input), f64(other)
    return _pair(dy, input, other, np.log(b), a / b)


def copysign(input: ArrayLike, other: ArrayLike) -> Array:
    """|a| with the sign of b."""
    return f64(np.copysign(f64(input), f64(other)))


def copysign_backward(dy: ArrayLike, input: ArrayLike, other: ArrayLike) -> Gradients:
    """(dy * sign a * sign y, 0): y is a or -a."""
    a = f64(input)
    return _pair(dy, input, other, np.sign(a) * np.sign(copysign(a, other)), 0.0)


def addcmul(input: ArrayLike, tensor1: ArrayLike, tensor2: ArrayLike, *, value: float = 1) -> Array:
    """x + value * a * b."""
    return f64(input) + value * f64(tensor1) * f64(tensor2)


def addcmul_backward(
    dy: ArrayLike, input: ArrayLike, tensor1: ArrayLike, tensor2: ArrayLike, *, value: float = 1
) -> Gradients:
    """(dy, value * dy * b, value * dy * a) -> (dinput, dtensor1, dtensor2)."""
    return unbroadcast(f64(dy), np.shape(input)), *mul_backward(value * f64(dy), tensor1, tensor2)


def addcdiv(input: ArrayLike, tensor1: ArrayLike, tensor2: ArrayLike, *, value: float = 1) -> Array:
    """x + value * a / b."""
    return f64(input) + value * f64(tensor1) / f64(tensor2)


def addcdiv_backward(
    dy: ArrayLike, input: ArrayLike, tensor1: ArrayLike, tensor2: ArrayLike, *, value: float = 1
) -> Gradients:
    """(dy, value * dy / b, -value * dy * a / b^2) -> (dinput, dtensor1, dtensor2)."""
    return unbroadcast(f64(dy), np.shape(input)), *div_backward(value * f64(dy), tensor1, tensor2)


# Comparisons give booleans and have no gradient.
eq, ne = np.equal, np.not_equal
lt, le, gt, ge = np.less, np.less_equal, np.greater, np.greater_equal
logical_and, logical_or, logical_not, logical_xor = np.logical_and, np.logical_or, np.logical_not, np.logical_xor
isnan, isinf, isfinite = np.isnan, np.isinf, np.isfinite
