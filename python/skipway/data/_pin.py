"""Batches into page-locked memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .collate import _like_mapping, _like_sequence


def pin(data: Any) -> Any:
    """The same nesting with its tensors pinned; other objects are asked for their own `pin_memory()`."""
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, Mapping):
        return _like_mapping(data, {k: pin(v) for k, v in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin(v) for v in data))
    if isinstance(data, tuple):
        return tuple(pin(v) for v in data)
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [pin(v) for v in data])
    return data


def finisher(wanted: bool) -> Callable[[Any], Any]:
    """What a DataLoader does with each batch: `pin` if that is wanted and there is a device, else nothing."""
    if wanted:
        from .. import cuda

        if cuda.is_available():
            return pin
    return lambda data: data
