"""Gradients from Python: `backward`, `grad`, modes, and functions with a backward of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import Tensor
from . import graph as graph
from .function import Function as Function
from .grad_mode import enable_grad as enable_grad
from .grad_mode import inference_mode as inference_mode
from .grad_mode import no_grad as no_grad
from .grad_mode import set_grad_enabled as set_grad_enabled

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "inference_mode", "no_grad",
    "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, Tensor) or value is None else list(value)


def _seeds(op: str, outputs: Sequence[Tensor], grads: Any) -> list[Tensor]:
    given = _list(grads) if grads is not None else [None] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"{op}: expected a gradient for each of {len(outputs)} tensors, got {len(given)}")
    seeds = []
    for t, g in zip(outputs, given, strict=False):
        if g is None:
            if t.numel() != 1:
                raise RuntimeError(
                    f"{op}: grad can be implicitly created only for scalar outputs, got shape {tuple(t.shape)}; "
                    "pass a gradient"
                )
            g = _core.empty(tuple(t.shape), dtype=t.dtype, device=t.device).fill_(1)
        seeds.append(g)
    return seeds


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` (weighted by `grad_tensors`) to the `.grad` of the leaves they depend on.

    With `inputs`, only to the `.grad` of these. The graph is freed unless `retain_graph`.
    """
    outputs = _list(tensors)
    seeds = _seeds("backward", outputs, grad_variables if grad_tensors is None else grad_tensors)
    only = [] if inputs is None else _list(inputs)
    if inputs is not None and not only:
        raise RuntimeError("backward: inputs must not be empty")
    _core._backward(outputs, seeds, bool(retain_graph), create_graph, only)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; `.grad` stays as it is.

    An input that the outputs do not depend on is an error, unless `allow_unused` (its gradient is None) or
    `materialize_grads` (zeros).
    """
    tops, wanted = _list(outputs), _list(inputs)
    for t in wanted:
        if not t.requires_grad:
            raise RuntimeError("grad: one of the inputs does not require grad")
    found = _core._grad(tops, wanted, _seeds("grad", tops, grad_outputs), bool(retain_graph), create_graph)
    result = []
    for t, g in zip(wanted, found, strict=False):
        if g is None and materialize_grads:
            g = _core.empty(tuple(t.shape), dtype=t.dtype, device=t.device).zero_()
        if g is None and not allow_unused:
            raise RuntimeError(
                "grad: one of the inputs appears not to have been used in the graph; set allow_unused=True if None is "
                "the gradient you want"
            )
        result.append(g)
    return tuple(result)


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """The former name of a tensor in a graph: `Variable(t)` is a tensor on t's memory."""

    def __new__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        tensor = data if data.requires_grad == requires_grad else data.detach()
        return tensor.requires_grad_(True) if requires_grad and not tensor.requires_grad else tensor


class set_detect_anomaly:
    """Accepted for compatibility: errors of a backward pass already name the op they come from."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


class detect_anomaly(set_detect_anomaly):
    """Accepted for compatibility: errors of a backward pass already name the op they come from."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def __getattr__(name: str) -> Any:
    if name == "gradcheck":  # imported at first use
        from ..testing import gradcheck

        return gradcheck
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
