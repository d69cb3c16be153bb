"""Sums, extrema and what goes along an axis. `dim` is an axis, several, or None for all; `keepdim` leaves axes of size
1.

Where a maximum is shared, amax and amin split the gradient evenly; max and min with one axis give it to the element
whose index they returned, the first of equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, axes_of, f64

Dim = int | Sequence[int] | None


def _spread(value: ArrayLike, x: Array, dim: Dim, keepdim: bool) -> Array:
    """A reduced array, back at x's shape by repetition."""
    value = f64(value)
    if not keepdim:
        value = np.expand_dims(value, axes_of(dim, x.ndim)) if x.ndim else value
    return np.broadcast_to(value, x.shape)


def _count(x: Array, dim: Dim) -> np.float64:
    return np.float64(np.prod([x.shape[a] for a in axes_of(dim, x.ndim)]))


def sum(input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """Sum over the axes."""
    x = f64(input)
    return f64(x.sum(axis=axes_of(dim, x.ndim) if x.ndim else None, keepdims=keepdim))


def sum_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy to every element -> (dinput,)."""
    return (_spread(dy, f64(input), dim, keepdim),)


def mean(input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """Sum / number; NaN of no elements."""
    return sum(input, dim, keepdim) / _count(f64(input), dim)


def mean_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy / number to every element -> (dinput,)."""
    return (_spread(dy, f64(input), dim, keepdim) / _count(f64(input), dim),)


def var(input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Array:
    """sum((x - mean)^2) / (number - correction)."""
    x = f64(input)
    centred = x - mean(x, dim, True) if x.ndim else x - x
    return sum(centred * centred, dim, keepdim) / (_count(x, dim) - correction)


def var_backward(
    dy: ArrayLike, input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False
) -> Gradients:
    """dy * 2 * (x - mean) / (number - correction) -> (dinput,)."""
    x = f64(input)
    return (_spread(dy, x, dim, keepdim) * 2.0 * (x - mean(x, dim, True)) / (_count(x, dim) - correction),)


def std(input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Array:
    """var^(1/2)."""
    return np.sqrt(var(input, dim, correction=correction, keepdim=keepdim))


def std_backward(
    dy: ArrayLike, input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False
) -> Gradients:
    """The gradient of var with dy / (2 * std) -> (dinput,)."""
    y = std(input, dim, correction=correction, keepdim=keepdim)
    return var_backward(f64(dy) / (2.0 * y), input, dim, correction=correction, keepdim=keepdim)


def amax(input: ArrayLike, dim: Dim = (), keepdim: bool = False) -> Array:
    """The largest element."""
    x = f64(input)
    return f64(x.max(axis=axes_of(dim, x.ndim), keepdims=keepdim))


def amax_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = (), keepdim: bool = False) -> Gradients:
    """dy shared evenly by the elements that are largest -> (dinput,)."""
    x = f64(input)
    best = x == amax(x, dim, True)
    return (_spread(dy, x, dim, keepdim) * best / best.sum(axis=axes_of(dim, x.ndim), keepdims=True),)


def amin(input: ArrayLike, dim: Dim = (), keepdim: bool = False) -> Array:
    """The smallest element."""
    return -amax(-f64(input), dim, keepdim)


def amin_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = (), keepdim: bool = False) -> Gradients:
    """dy shared evenly by the elements that are smallest -> (dinput,)."""
    return amax_backward(dy, -f64(input), dim, keepdim)


def argmax(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """The index of the (first) largest element; of the flattened array if dim is None."""
    return np.argmax(np.asarray(input), axis=dim, keepdims=keepdim)


def argmin(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """The index of the (first) smallest element; of the flattened array if dim is None."""
    return np.argmin(np.asarray(input), axis=dim, keepdims=keepdim)


def max(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The largest element; with `dim` (values, indices)."""
    return amax(input) if dim is None else (amax(input, dim, keepdim), argmax(input, dim, keepdim))


def max_backward(dy: ArrayLike, input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Gradients:
    """dy to the element at the returned index; without `dim` as amax -> (dinput,)."""
    if dim is None:
        return amax_backward(dy, input)
    values = f64(dy) if keepdim else np.expand_dims(f64(dy), dim)
    return put_back(values, f64(input), argmax(input, dim, True), dim)


def min(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest element; with `dim` (values, indices)."""
    return amin(input) if dim is None else (amin(input, dim, keepdim), argmin(input, dim, keepdim))


def min_backward(dy: ArrayLike, input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Gradients:
    """dy to the element at the returned index; without `dim` as amin -> (dinput,)."""
    return max_backward(dy, -f64(input), dim, keepdim)


def put_back(dy: Array, x: Array, index: Array, dim: int) -> Gradients:
    """For y = x read at `index` along `dim`, all different: dy put back in those places -> (dinput,)."""
    dx = np.zeros(x.shape)
    np.put_along_axis(dx, index, dy, dim)
    return (dx,)


def prod(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """The product of the elements."""
    return f64(np.prod(f64(input), axis=dim, keepdims=keepdim))


def prod_backward(dy: ArrayLike, input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Gradients:
    """dy times the product of the other elements, taken as (product of those before) * (product of those after), so
    that zeros need no division -> (dinput,)."""
    x = f64(input)
    if dim is None:
        return (prod_backward(dy, x.reshape(-1), 0)[0].reshape(x.shape),)
    ones = np.ones_like(x.take([0] if x.shape[dim] else [], axis=dim))
    inner = [slice(None)] * x.ndim
    inner[dim] = slice(None, -1)
    before = np.cumprod(np.concatenate([ones, x[tuple(inner)]], axis=dim), axis=dim)
    after = np.flip(np.cumprod(np.concatenate([ones, np.flip(x, dim)[tuple(inner)]], axis=dim), axis=dim), dim)
    return (_spread(dy, x, dim, keepdim) * before * after,)


def norm(input: ArrayLike, p: float = 2, dim: Dim = None, keepdim: bool = False) -> Array:
    """(sum |x|^p)^(1/p); p = inf: the largest |x|."""
    a = np.abs(f64(input))
    return amax(a, dim, keepdim) if p == np.inf else sum(a**p, dim, keepdim) ** (1.0 / p)


def norm_backward(dy: ArrayLike, input: ArrayLike, p: float = 2, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy * sign(x) * (|x| / y)^(p - 1), 0 where y = 0; p = inf: shared by the largest -> (dinput,)."""
    x = f64(input)
    if p == np.inf:
        return (np.sign(x) * amax_backward(dy, np.abs(x), dim, keepdim)[0],)
    y = _spread(norm(x, p, dim, keepdim), x, dim, keepdim)
    ratio = np.divide(np.abs(x), y, out=np.zeros_like(x), where=y != 0)
    return (_spread(dy, x, dim, keepdim) * np.sign(x) * ratio ** (p - 1.0),)


def logsumexp(input: ArrayLike, dim: Dim, keepdim: bool = False) -> Array:
    """max + ln(sum(e^(x - max)))."""
    x = f64(input)
    top = amax(x, dim, True)
    top = np.where(np.isinf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        y = np.log(sum(np.exp(x - top), dim, True)) + top
    return y if keepdim else y.squeeze(axes_of(dim, x.ndim))


def logsumexp_backward(dy: ArrayLike, input: ArrayLike, dim: Dim, keepdim: bool = False) -> Gradients:
    """dy * e^(x - y), the softmax -> (dinput,)."""
    x = f64(input)
    return (_spread(dy, x, dim, keepdim) * np.exp(x - logsumexp(x, dim, True)),)


def cumsum(input: ArrayLike, dim: int) -> Array:
    """y[i] = x[0] + ... + x[i]."""
    return np.cumsum(f64(input), axis=dim)


def cumsum_backward(dy: ArrayLike, input: ArrayLike, dim: int) -> Gradients:
    """x[i] is in y[i] and all after it: dx[i] = dy[i] + dy[i + 1] + ... -> (dinput,)."""
    return (np.flip(np.cumsum(np.flip(f64(dy), dim), axis=dim), dim),)


def cumprod(input: ArrayLike, dim: int) -> Array:
    """y[i] = x[0] * ... * x[i]."""
    return np.cumprod(f64(input), axis=dim)


def cumprod_backward(dy: ArrayLike, input: ArrayLike, dim: int) -> Gradients:
    """x[k] is a factor of y[k] and all after it: dx[k] = sum over i >= k of dy[i] * (y[i] without the factor x[k])
    -> (dinput,)."""
    dy, x = np.moveaxis(f64(dy), dim, 0), np.moveaxis(f64(input), dim, 0)
    dx = np.zeros_like(x)
    for k in range(len(x)):
        without = np.concatenate([x[:k], np.ones_like(x[k : k + 1]), x[k + 1 :]])
        dx[k] = (dy * np.cumprod(without, axis=0))[k:].sum(axis=0)
    return (np.moveaxis(dx, 0, dim),)


def nansum(input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """Sum of the elements that are not NaN."""
    return sum(np.nan_to_num(f64(input), nan=0.0, posinf=np.inf, neginf=-np.inf), dim, keepdim)


def nansum_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy to every element that is not NaN -> (dinput,)."""
    x = f64(input)
    return (np.where(np.isnan(x), 0.0, _spread(dy, x, dim, keepdim)),)


def nanmean(input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """nansum / number of elements that are not NaN."""
    return nansum(input, dim, keepdim) / sum(~np.isnan(f64(input)), dim, keepdim)


def nanmean_backward(dy: ArrayLike, input: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Gradients:
    """dy / number to every element that is not NaN -> (dinput,)."""
    return nansum_backward(f64(dy) / sum(~np.isnan(f64(input)), dim, keepdim), input, dim, keepdim)


def var_mean(input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Array, Array]:
    """(var, mean)."""
    return var(input, dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)


def var_mean_backward(
    dys: Sequence[ArrayLike], input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False
) -> Gradients:
    """The sum of both gradients -> (dinput,)."""
    through_var = var_backward(dys[0], input, dim, correction=correction, keepdim=keepdim)[0]
    return (through_var + mean_backward(dys[1], input, dim, keepdim)[0],)


def std_mean(input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Array, Array]:
    """(std, mean)."""
    return std(input, dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)


def std_mean_backward(
    dys: Sequence[ArrayLike], input: ArrayLike, dim: Dim = None, *, correction: float = 1, keepdim: bool = False
) -> Gradients:
    """The sum of both gradients -> (dinput,)."""
    through_std = std_backward(dys[0], input, dim, correction=correction, keepdim=keepdim)[0]
    return (through_std + mean_backward(dys[1], input, dim, keepdim)[0],)


def sort(input: ArrayLike, dim: int = -1, descending: bool = False, stable: bool = True) -> tuple[Array, Array]:
    """(values in order along `dim`, the places they came from), equals in the order they had; NaN is largest."""
    x = f64(input)
    index = argsort(x, dim, descending)
    return np.take_along_axis(x, index, dim), index


def sort_backward(
    dy: ArrayLike, input: ArrayLike, dim: int = -1, descending: bool = False, stable: bool = True
) -> Gradients:
    """Each gradient goes to the place its value came from -> (dinput,)."""
    return put_back(f64(dy), f64(input), argsort(input, dim, descending), dim)


def argsort(input: ArrayLike, dim: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The indices that sort along `dim`; descending: the order of the reversed axis, reversed, so that equals keep
    theirs."""
    x = f64(input)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)


def topk(input: ArrayLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Array, Array]:
    """The first k of sort(descending=largest)."""
    values, index = sort(input, dim, descending=largest)
    return values.take(range(k), axis=dim), index.take(range(k), axis=dim)


def topk_backward(
    dy: ArrayLike, input: ArrayLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Gradients:
    """Each gradient goes to the place its value came from, 0 elsewhere -> (dinput,)."""
    return put_back(f64(dy), f64(input), topk(input, k, dim, largest)[1], dim)


def kthvalue(input: ArrayLike, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """(the k-th smallest element, 1 being the first; where it is)."""
    x = f64(input)
    index = argsort(x, dim).take([k - 1], axis=dim)
    values = np.take_along_axis(x, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


def kthvalue_backward(dy: ArrayLike, input: ArrayLike, k: int, dim: int = -1, keepdim: bool = False) -> Gradients:
    """dy to the element at the returned index -> (dinput,)."""
    values = f64(dy) if keepdim else np.expand_dims(f64(dy), dim)
    return put_back(values, f64(input), kthvalue(input, k, dim, True)[1], dim)


def _median_rank(x: Array, dim: int) -> int:
    return (x.shape[dim] + 1) // 2


def median(input: ArrayLike, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """(the lower of the two middle elements, where it is); the first NaN where there is one."""
    x = f64(input)
    values, index = kthvalue(x, _median_rank(x, dim), dim, keepdim)
    nan = np.isnan(x)
    missing = nan.any(axis=dim, keepdims=keepdim)
    return np.where(missing, np.nan, values), np.where(missing, nan.argmax(axis=dim, keepdims=keepdim), index)


def median_backward(dy: ArrayLike, input: ArrayLike, dim: int, keepdim: bool = False) -> Gradients:
    """dy to the element at the returned index -> (dinput,)."""
    return kthvalue_backward(dy, input, _median_rank(f64(input), dim), dim, keepdim)


def all(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """Is every element nonzero?"""
    return np.all(np.asarray(input), axis=dim, keepdims=keepdim)


def any(input: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """Is some element nonzero?"""
    return np.any(np.asarray(input), axis=dim, keepdims=keepdim)
