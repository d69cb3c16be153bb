"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars become tensors, within containers too; all else stays."""
    import skipway as sw

    if isinstance(data, sw.Tensor):
        return data
    if isinstance(data, np.ndarray):
        return data if data.dtype.kind in "SUO" else sw.from_numpy(np.ascontiguousarray(data))
    if isinstance(data, np.generic):
        return data if data.dtype.kind in "SUO" else sw.tensor(data.item(), dtype=_dtype_of(data))
    if isinstance(data, Mapping):
        return _like_mapping(data, {k: default_convert(v) for k, v in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(v) for v in data))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return type(data)([default_convert(v) for v in data])  # type: ignore[call-arg]
    return data


def default_collate(batch: Any) -> Any:
    """Stacks tensors, arrays and numbers along a new first dimension; goes into tuples, lists and mappings.

    Python floats become float64, as in PyTorch. Strings and bytes stay lists.
    """
    import skipway as sw

    if len(batch) == 0:
        raise ValueError("default_collate: expected at least one sample, got an empty batch")
    first = batch[0]
    if isinstance(first, sw.Tensor):
        _same_shapes(batch, "tensors")
        return sw.stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(f"default_collate: cannot make a tensor of NumPy arrays of dtype {first.dtype}")
        _same_shapes(batch, "arrays")
        return sw.from_numpy(np.stack(batch))
    if isinstance(first, np.generic) and first.dtype.kind not in "SUO":
        return sw.from_numpy(np.asarray(batch, dtype=first.dtype))
    if isinstance(first, bool):
        return sw.tensor(list(batch), dtype=sw.bool)
    if isinstance(first, int):
        return sw.tensor(list(batch), dtype=sw.int64)
    if isinstance(first, float):
        return sw.tensor(list(batch), dtype=sw.float64)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like_mapping(first, {k: default_collate([d[k] for d in batch]) for k in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(column) for column in _columns(batch)))
    if isinstance(first, Sequence):
        columns = [default_collate(column) for column in _columns(batch)]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(
        "default_collate: samples must hold tensors, NumPy arrays, numbers, strings, mappings or sequences,"
        f" found {type(first).__name__}; pass collate_fn for other types"
    )


def _dtype_of(value: np.generic) -> Any:
    import skipway as sw

    return sw.from_numpy(np.zeros(1, value.dtype)).dtype


def _same_shapes(batch: Sequence[Any], what: str) -> None:
    shapes = [tuple(x.shape) for x in batch]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"default_collate: expected {what} of equal shape, got {shapes[0]} in sample 0"
                f" and {shape} in sample {i}"
            )


def _columns(batch: Sequence[Sequence[Any]]) -> list[list[Any]]:
    size = len(batch[0])
    for i, sample in enumerate(batch):
        if len(sample) != size:
            raise ValueError(f"default_collate: sample 0 has {size} elements, sample {i} has {len(sample)}")
    return [list(column) for column in zip(*batch, strict=True)]


def _like_mapping(like: Mapping, items: dict) -> Any:
    try:
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def _like_sequence(like: Sequence, items: list) -> Any:
    try:
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:
        return items
