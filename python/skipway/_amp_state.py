"""In which dtype `amp.autocast` computes in this thread, for each kind of device, and ops that obey it."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import _core
from ._core import Tensor


class _State(threading.local):
    on = False  # for any device
    dtypes: tuple[Any, Any] = (None, None)  # of the CPU and of CUDA devices; None where autocast is off


_state = _State()


def dtype_of(device_type: str) -> Any:
    """The dtype in which autocast computes on a kind of device; None where it is off."""
    return _state.dtypes[device_type == "cuda"]


def set_dtype(device_type: str, dtype: Any) -> None:
    """Switches autocast for a kind of device: a dtype, or None for off."""
    cpu, cuda = _state.dtypes
    _state.dtypes = (cpu, dtype) if device_type == "cuda" else (dtype, cuda)
    _state.on = _state.dtypes != (None, None)


def dtypes() -> tuple[Any, Any]:
    """The dtypes of the CPU and of CUDA devices; None where autocast is off."""
    return _state.dtypes


class _Casts:
    """Parameters in autocast's dtype: cast once, and again when they have changed."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Any, Any]] = {}  # by id: a weak reference, the key, the cast

    def of(self, x: Tensor, dtype: Any) -> Any:
        key = dtype, _core._changes(x)
        known = self._kept.get(id(x))
        if known is None or known[0]() is not x or known[1] != key:
            number = id(x)
            reference = weakref.ref(x, lambda _: self._kept.pop(number, None))
            known = self._kept[number] = reference, key, x.detach()._to(dtype)
        return _core._cast_made_before(x, known[2])

    def forget(self) -> None:
        self._kept.clear()


_casts = _Casts()
forget_casts = _casts.forget


def _narrow(x: Any) -> Any:
    if not isinstance(x, Tensor) or x.dtype not in _FROM:
        return x
    dtype = _state.dtypes[x.is_cuda]
    if dtype is None or dtype is x.dtype:
        return x
    return _casts.of(x, dtype) if x.is_leaf and x.requires_grad else x._to(dtype)


def _widen(x: Any) -> Any:
    narrow = isinstance(x, Tensor) and x.dtype in _NARROW and _state.dtypes[x.is_cuda] is not None
    return x._to(_core.float32) if narrow else x


_NARROW = (_core.bfloat16, _core.float16)
_FROM = (_core.float32, *_NARROW)
_MIXED = (_core.float32, _core.bfloat16)


def _around(op: Callable[..., Any], cast: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if _state.on:
            args = tuple(map(cast, args))
            kwargs = {k: cast(v) for k, v in kwargs.items()}
        return op(*args, **kwargs)

    return functools.update_wrapper(wrapper, op)


def narrow_inputs(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op, with floating arguments (but float64 ones) cast to autocast's dtype."""
    return _around(op, _narrow)


def mixed_on_cpu(op: Callable[..., Any], mixed: Callable[..., Any]) -> Callable[..., Any]:
    """The op; under autocast on the CPU, while a tape records, `mixed`, which takes operands of any floating dtype.

    `mixed` spares the tape the casts of parameters, and their gradients the rounding to the narrow dtype.
    """
    narrowed = narrow_inputs(op)

    def wrapper(input: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:
        if not _state.on:
            return op(input, weight, *args, **kwargs)
        tensors = (input, weight, kwargs.get("bias", args[0] if args else None))
        fit = all(x is None or (isinstance(x, Tensor) and x.dtype in _MIXED and not x.is_cuda) for x in tensors)
        numbers = not any(isinstance(a, str) for a in (*args, *kwargs.values()))
        if fit and numbers and _state.dtypes[0] is not None and _core.is_grad_enabled():
            return mixed(input, weight, *args, **kwargs)
        return narrowed(input, weight, *args, **kwargs)

    return functools.update_wrapper(wrapper, op)


def widen_inputs(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op, with bfloat16 and float16 arguments cast to float32 under autocast."""
    return _around(op, _widen)
