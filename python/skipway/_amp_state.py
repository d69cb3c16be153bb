"""Whether `amp.autocast` is on in this thread, and ops that obey it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from . import _core
from ._core import Tensor


class _State(threading.local):
    on = False


_state = _State()


def active() -> bool:
    """Whether autocast is on."""
    return _state.on


def set_active(on: bool) -> None:
    """Switches autocast."""
    _state.on = on


def _narrow(x: Any) -> Any:
    return x._to(_core.bfloat16) if isinstance(x, Tensor) and x.dtype is _core.float32 else x


def _widen(x: Any) -> Any:
    return x._to(_core.float32) if isinstance(x, Tensor) and x.dtype is _core.bfloat16 else x


def _around(op: Callable[..., Any], cast: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if _state.on:
            args = tuple(map(cast, args))
            kwargs = {k: cast(v) for k, v in kwargs.items()}
        return op(*args, **kwargs)

    return functools.update_wrapper(wrapper, op)


def narrow_inputs(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op, with float32 arguments cast to bfloat16 under autocast."""
    return _around(op, _narrow)


def widen_inputs(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op, with bfloat16 arguments cast to float32 under autocast."""
    return _around(op, _widen)
