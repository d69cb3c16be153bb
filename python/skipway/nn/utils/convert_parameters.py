"""Parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

from ... import _core
from ..._core import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, one after the other."""
    return _core.cat([p.reshape(-1) for p in parameters], 0)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Sets the parameters from a vector as `parameters_to_vector` makes it."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a Tensor, but got: {type(vec).__name__}")
    at = 0
    params = list(parameters)
    total = sum(p.numel() for p in params)
    if vec.numel() != total:
        raise _core.ShapeError(f"vector_to_parameters: expected {total} elements, got {vec.numel()}")
    for p in params:
        n = p.numel()
        p.data = vec[at : at + n].reshape(tuple(p.shape)).detach().clone()
        at += n
