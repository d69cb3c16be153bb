"""Parts of an array, and arrays made of parts. What is not in the part has gradient 0.

All but the joining functions pick elements, each once: y = x[where], so dx[where] = dy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._common import Array, Gradients, f64
from .shape import cat, cat_backward, repeat, repeat_backward


def _put_back(dy: ArrayLike, input: ArrayLike, part: Callable[[Array], Array]) -> Gradients:
    """dy in the places of an array of zeros that `part` shows."""
    dx = np.zeros(np.shape(input))
    places = part(np.arange(dx.size).reshape(dx.shape))
    dx.reshape(-1)[places.ravel()] = f64(dy).ravel()
    return (dx,)


def diagonal(input: ArrayLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """The elements x[i, i + offset] of two axes, as a new last axis."""
    return f64(input).diagonal(offset, dim1, dim2).copy()


def diagonal_backward(dy: ArrayLike, input: ArrayLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Gradients:
    """dy on the diagonal, 0 elsewhere -> (dinput,)."""
    return _put_back(dy, input, lambda x: x.diagonal(offset, dim1, dim2))


def diag(input: ArrayLike, diagonal: int = 0) -> Array:
    """A matrix's diagonal; of a vector, the matrix that has it as diagonal."""
    return np.diag(f64(input), diagonal).copy()


def diag_backward(dy: ArrayLike, input: ArrayLike, diagonal: int = 0) -> Gradients:
    """The other of the two directions -> (dinput,)."""
    if np.ndim(input) == 1:
        return (np.diag(f64(dy), diagonal).copy(),)
    return _put_back(dy, input, lambda x: np.diag(x, diagonal))


def movedim(input: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Axes moved to new places, the others keeping their order."""
    return np.moveaxis(f64(input), source, destination)


def movedim_backward(
    dy: ArrayLike, input: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]
) -> Gradients:
    """The axes moved back -> (dinput,)."""
    return (np.moveaxis(f64(dy), destination, source),)


def narrow(input: ArrayLike, dim: int, start: int, length: int) -> Array:
    """x[start], ..., x[start + length - 1] along an axis."""
    return f64(input).take(range(start, start + length), dim)


def narrow_backward(dy: ArrayLike, input: ArrayLike, dim: int, start: int, length: int) -> Gradients:
    """dy there, 0 elsewhere -> (dinput,)."""
    return _put_back(dy, input, lambda x: x.take(range(start, start + length), dim))


def select(input: ArrayLike, dim: int, index: int) -> Array:
    """x[index] along an axis, which goes away."""
    return f64(input).take(index, dim)


def select_backward(dy: ArrayLike, input: ArrayLike, dim: int, index: int) -> Gradients:
    """dy there, 0 elsewhere -> (dinput,)."""
    return _put_back(dy, input, lambda x: x.take(index, dim))


def tensor_split(input: ArrayLike, indices_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    """A number of pieces, the first ones longer by one where it does not come out even; or pieces between indices."""
    return tuple(np.array_split(f64(input), indices_or_sections, dim))


def tensor_split_backward(
    dys: Sequence[ArrayLike], input: ArrayLike, indices_or_sections: int | Sequence[int], dim: int = 0
) -> Gradients:
    """The pieces' gradients joined -> (dinput,)."""
    return (cat(dys, dim),)


def _all_repeats(input: ArrayLike, dims: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (np.ndim(input) - len(dims)) + tuple(dims)


def tile(input: ArrayLike, dims: Sequence[int]) -> Array:
    """repeat, with 1 for the axes in front that `dims` leaves out."""
    return repeat(input, _all_repeats(input, dims))


def tile_backward(dy: ArrayLike, input: ArrayLike, dims: Sequence[int]) -> Gradients:
    """The sum over the copies -> (dinput,)."""
    return repeat_backward(dy, input, _all_repeats(input, dims))


def hstack(tensors: Sequence[ArrayLike]) -> Array:
    """Side by side: along axis 1, of vectors along axis 0."""
    return np.hstack([f64(t) for t in tensors])


def hstack_backward(dy: ArrayLike, tensors: Sequence[ArrayLike]) -> Gradients:
    """Each gets its part of dy -> one gradient per array."""
    lines = [np.atleast_1d(f64(t)) for t in tensors]
    parts = cat_backward(dy, lines, 0 if lines[0].ndim == 1 else 1)
    return _as_given(parts, tensors)


def vstack(tensors: Sequence[ArrayLike]) -> Array:
    """One below the other: along axis 0, vectors as rows."""
    return np.vstack([f64(t) for t in tensors])


def vstack_backward(dy: ArrayLike, tensors: Sequence[ArrayLike]) -> Gradients:
    """Each gets its rows of dy -> one gradient per array."""
    return _as_given(cat_backward(dy, [np.atleast_2d(f64(t)) for t in tensors], 0), tensors)


def _as_given(parts: Sequence[Any], tensors: Sequence[ArrayLike]) -> Gradients:
    return tuple(part.reshape(np.shape(t)) for part, t in zip(parts, tensors, strict=True))
