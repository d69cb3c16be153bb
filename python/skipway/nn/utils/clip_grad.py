"""Keeping gradients small."""

from __future__ import annotations

from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from ...autograd import no_grad


def _grads(parameters: Any) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in params if p.grad is not None]


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """Scales all gradients together by min(1, max_norm / (norm + 1e-6)); returns the norm from before.

    The norm is that of all gradients as one vector. With `error_if_nonfinite`, a norm of inf or NaN is an error.
    """
    grads = _grads(parameters)
    if not grads:
        return creation.tensor(0.0)
    return _core.clip_grad_norm(grads, float(max_norm), float(norm_type), error_if_nonfinite)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """The norm of all tensors as one vector."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not tensors:
        return creation.tensor(0.0)
    norm = _core.grad_norm(tensors, float(norm_type))
    if error_if_nonfinite and not float(norm) < float("inf"):
        raise RuntimeError(f"get_total_norm: the norm of order {norm_type} is non-finite")
    return norm


def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
    """Clamps each element of the gradients to [-clip_value, clip_value]."""
    value = float(clip_value)
    with no_grad():
        for grad in _grads(parameters):
            grad.clamp_(-value, value)


def clip_grad_norm(parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any) -> Tensor:
    """The former name of `clip_grad_norm_`."""
    return clip_grad_norm_(parameters, max_norm, norm_type, *args)
