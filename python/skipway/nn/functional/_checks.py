"""Checks that functions written in Python share: messages name function, arguments, values and expectation."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from ... import _core
from ..._core import Tensor


def shapes_of(tensors: dict[str, Tensor]) -> str:
    """The arguments and their shapes: "input (2, 3) and target (2, 4)"."""
    *first, last = [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()]
    return f"{', '.join(first)} and {last}" if first else last


def broadcast(*shapes: Iterable[int]) -> bool:
    """Whether shapes broadcast to one."""
    columns = zip_longest(*(reversed(tuple(shape)) for shape in shapes), fillvalue=1)
    return all(len({size for size in column if size != 1}) <= 1 for column in columns)


def expect_broadcast(op: str, **tensors: Tensor) -> None:
    """ShapeError unless the tensors broadcast to one shape."""
    if not broadcast(*(tensor.shape for tensor in tensors.values())):
        raise _core.ShapeError(f"{op}: expected shapes that broadcast, got {shapes_of(tensors)}")


def expect_same_dims(op: str, **tensors: Tensor) -> None:
    """ShapeError unless the tensors have as many dimensions as each other and broadcast."""
    if len({tensor.dim() for tensor in tensors.values()}) > 1:
        raise _core.ShapeError(f"{op}: expected the same number of dimensions, got {shapes_of(tensors)}")
    expect_broadcast(op, **tensors)


def expect_classes(op: str, target: Tensor, least: int, classes: int) -> None:
    """TypeError unless `target` holds integers, IndexError unless they lie in [least, classes)."""
    if target.dtype.is_floating_point:
        raise TypeError(f"{op}: expected target classes of an integer dtype, got {target.dtype.name}")
    for wrong in target[(target < least) | (target >= classes)].tolist()[:1]:
        raise IndexError(f"{op}: expected target classes in {least} to {classes - 1}, got {wrong}")


def pair(op: str, argument: str, value: Any, least: int) -> tuple[int, int]:
    """One integer twice, or two integers, all at least `least`."""
    entries = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(entries) not in (1, 2):
        raise ValueError(f"{op}: expected {argument} to be a number or 2 numbers, got {value!r}")
    try:
        first, second = operator.index(entries[0]), operator.index(entries[-1])
    except TypeError:
        raise TypeError(f"{op}: expected {argument} to be integers, got {value!r}") from None
    if min(first, second) < least:
        raise ValueError(f"{op}: expected {argument} of at least {least}, got {value!r}")
    return first, second
