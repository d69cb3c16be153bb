"""Reading and writing at positions given by integer arrays. Reading copies, so the backward adds up what went to each
place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64, unbroadcast


def _places(index: Array, dim: int) -> tuple[Array, ...]:
    """For each element of `index` its own coordinates, but index's value along `dim`."""
    places: list[Array] = list(np.indices(index.shape, sparse=True))
    places[dim] = index
    return tuple(np.broadcast_arrays(*places))


def _cut(index: ArrayLike) -> Array:
    return np.asarray(index, dtype=np.int64)


def gather(input: ArrayLike, dim: int, index: ArrayLike) -> Array:
    """y[i, j, k] = x[i, index[i, j, k], k] for dim = 1; index may be smaller than x along the other axes."""
    return f64(input)[_places(_cut(index), dim)]


def gather_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike) -> Gradients:
    """dx[i, index[i, j, k], k] += dy[i, j, k] -> (dinput,)."""
    dx = np.zeros(np.shape(input))
    np.add.at(dx, _places(_cut(index), dim), f64(dy))
    return (dx,)


def scatter(input: ArrayLike, dim: int, index: ArrayLike, src: ArrayLike) -> Array:
    """A copy of x with y[i, index[i, j, k], k] = src[i, j, k] for dim = 1; src may be a number. Places must differ."""
    y, index = f64(input).copy(), _cut(index)
    y[_places(index, dim)] = _source(src, index)
    return y


def scatter_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike, src: ArrayLike) -> Gradients:
    """x gets dy where it was not overwritten, src what stands in its places -> (dinput, dsrc; None for a number)."""
    dy, places = f64(dy), _places(_cut(index), dim)
    dx = dy.copy()
    dx[places] = 0.0
    return dx, _source_gradient(dy[places], src)


def scatter_add(input: ArrayLike, dim: int, index: ArrayLike, src: ArrayLike) -> Array:
    """A copy of x with y[i, index[i, j, k], k] += src[i, j, k] for dim = 1; places may repeat."""
    y, index = f64(input).copy(), _cut(index)
    np.add.at(y, _places(index, dim), _source(src, index))
    return y


def scatter_add_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike, src: ArrayLike) -> Gradients:
    """-> (dinput = dy, dsrc = dy at the places)."""
    dy = f64(dy)
    return dy, _source_gradient(dy[_places(_cut(index), dim)], src)


def _source(src: ArrayLike, index: Array) -> Array:
    """src is read where index is, from the first element of each axis."""
    src = f64(src)
    return src if src.ndim == 0 else src[tuple(slice(n) for n in index.shape)]


def _source_gradient(taken: Array, src: ArrayLike) -> Array | None:
    if np.ndim(src) == 0:
        return None
    dsrc = np.zeros(np.shape(src))
    dsrc[tuple(slice(n) for n in taken.shape)] = taken
    return dsrc


def index_select(input: ArrayLike, dim: int, index: ArrayLike) -> Array:
    """The slices of x along `dim` whose numbers are in the vector `index`."""
    return np.take(f64(input), _cut(index), axis=dim)


def index_select_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike) -> Gradients:
    """Each slice of dy is added to the slice it was taken from -> (dinput,)."""
    dx = np.zeros(np.shape(input))
    np.add.at(np.moveaxis(dx, dim, 0), _cut(index), np.moveaxis(f64(dy), dim, 0))
    return (dx,)


def index_add(input: ArrayLike, dim: int, index: ArrayLike, source: ArrayLike, *, alpha: float = 1) -> Array:
    """A copy of x with alpha * source's slices added to the slices `index` names."""
    y = f64(input).copy()
    np.add.at(np.moveaxis(y, dim, 0), _cut(index), alpha * np.moveaxis(f64(source), dim, 0))
    return y


def index_add_backward(
    dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike, source: ArrayLike, *, alpha: float = 1
) -> Gradients:
    """-> (dinput = dy, dsource = alpha * dy's slices)."""
    return f64(dy), alpha * np.take(f64(dy), _cut(index), axis=dim)


def masked_fill(input: ArrayLike, mask: ArrayLike, value: float) -> Array:
    """value where the mask is true, else x."""
    return np.where(np.asarray(mask, bool), float(value), f64(input))


def masked_fill_backward(dy: ArrayLike, input: ArrayLike, mask: ArrayLike, value: float) -> Gradients:
    """dy where the mask is false -> (dinput,)."""
    return (unbroadcast(np.where(np.asarray(mask, bool), 0.0, f64(dy)), np.shape(input)),)


def masked_select(input: ArrayLike, mask: ArrayLike) -> Array:
    """The elements of x where the mask is true, as a vector."""
    x, m = np.broadcast_arrays(f64(input), np.asarray(mask, bool))
    return x[m]


def masked_select_backward(dy: ArrayLike, input: ArrayLike, mask: ArrayLike) -> Gradients:
    """dy back in its places, 0 elsewhere -> (dinput,)."""
    x, m = np.broadcast_arrays(f64(input), np.asarray(mask, bool))
    dx = np.zeros(x.shape)
    dx[m] = f64(dy)
    return (unbroadcast(dx, np.shape(input)),)


def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Array:
    """Row input[i] of weight (rows, width) for each i: (...) -> (..., width)."""
    return f64(weight)[_cut(input)]


def embedding_backward(dy: ArrayLike, input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Gradients:
    """Each row's gradient is the sum over its uses; the row padding_idx gets none -> (dweight,)."""
    dw = np.zeros(np.shape(weight))
    np.add.at(dw, _cut(input), f64(dy))
    if padding_idx is not None:
        dw[padding_idx] = 0.0
    return (dw,)


def one_hot(input: ArrayLike, num_classes: int = -1) -> Array:
    """1 at the position input[i], 0 elsewhere: integers (...) -> (..., num_classes); -1: the largest plus one."""
    t = _cut(input)
    return (t[..., None] == np.arange(int(t.max()) + 1 if num_classes < 0 else num_classes)).astype(np.int64)


def getitem(input: ArrayLike, key: Any) -> Array:
    """x[key], NumPy's rules."""
    return f64(f64(input)[key])


def getitem_backward(dy: ArrayLike, input: ArrayLike, key: Any) -> Gradients:
    """dx[key] += dy -> (dinput,)."""
    dx = np.zeros(np.shape(input))
    np.add.at(dx, key, f64(dy))
    return (dx,)


def repeat_interleave(input: ArrayLike, repeats: int, dim: int) -> Array:
    """Every slice along `dim` `repeats` times in a row."""
    return np.repeat(f64(input), repeats, axis=dim)


def repeat_interleave_backward(dy: ArrayLike, input: ArrayLike, repeats: int, dim: int) -> Gradients:
    """The sum over each slice's copies -> (dinput,)."""
    shape: Sequence[int] = np.shape(input)
    axis = dim % len(shape)
    return (f64(dy).reshape(*shape[: axis + 1], repeats, *shape[axis + 1 :]).sum(axis=axis + 1),)


def take(input: ArrayLike, index: ArrayLike) -> Array:
    """y[i] = x.flatten()[index[i]]."""
    return f64(input).reshape(-1)[np.asarray(index)]


def take_backward(dy: ArrayLike, input: ArrayLike, index: ArrayLike) -> Gradients:
    """dy added up at the elements that were read -> (dinput,)."""
    dx = np.zeros(np.size(input))
    np.add.at(dx, np.asarray(index), f64(dy))
    return (dx.reshape(np.shape(input)),)


def take_along_dim(input: ArrayLike, indices: ArrayLike, dim: int) -> Array:
    """gather, its arguments in another order."""
    return gather(input, dim, indices)


def take_along_dim_backward(dy: ArrayLike, input: ArrayLike, indices: ArrayLike, dim: int) -> Gradients:
    """dy added up at the elements that were read -> (dinput,)."""
    return gather_backward(dy, input, dim, indices)


def index_copy(input: ArrayLike, dim: int, index: ArrayLike, source: ArrayLike) -> Array:
    """x with source[i] in place of x[index[i]], along an axis; the indices are all different."""
    y = f64(input).copy()
    np.moveaxis(y, dim, 0)[np.asarray(index)] = np.moveaxis(f64(source), dim, 0)
    return y


def index_copy_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike, source: ArrayLike) -> Gradients:
    """dy where x is still seen; dy at the indices for the source -> (dinput, dsource)."""
    return index_fill(dy, dim, index, 0.0), f64(dy).take(np.asarray(index), dim)


def index_fill(input: ArrayLike, dim: int, index: ArrayLike, value: float) -> Array:
    """x with `value` in place of x[index[i]], along an axis."""
    y = f64(input).copy()
    np.moveaxis(y, dim, 0)[np.asarray(index)] = value
    return y


def index_fill_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: ArrayLike, value: float) -> Gradients:
    """dy where x is still seen, 0 elsewhere -> (dinput,)."""
    return (index_fill(dy, dim, index, 0.0),)
