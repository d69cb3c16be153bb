"""Whether ops are recorded: per thread, as context managers and as decorators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import _core

_GENERATOR = 0x20  # of a code object's flags; the inspect module is slow to import


class _Mode:
    """Sets the mode on entry and restores it on exit; decorating a function does so around each call."""

    _mode = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and callable(args[0]) and not kwargs:  # @no_grad without parentheses
            return cls()(args[0])
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_core.is_grad_enabled())
        _core._set_grad_enabled(self._mode)

    def __exit__(self, *exc: object) -> None:
        _core._set_grad_enabled(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _GENERATOR:
            return self._around_generator(function)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before = _core.is_grad_enabled()
            _core._set_grad_enabled(self._mode)
            try:
                return function(*args, **kwargs)
            finally:
                _core._set_grad_enabled(before)

        return wrapper

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The mode holds while the generator runs, not between its values."""
        mode = self._mode

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            steps = function(*args, **kwargs)
            sent = None
            while True:
                before = _core.is_grad_enabled()
                _core._set_grad_enabled(mode)
                try:
                    value = steps.send(sent)
                except StopIteration as stop:
                    return stop.value
                finally:
                    _core._set_grad_enabled(before)
                sent = yield value

        return wrapper


class no_grad(_Mode):
    """Nothing is recorded. `with no_grad():`, `@no_grad()` or `@no_grad`."""

    _mode = False


class enable_grad(_Mode):
    """Ops are recorded again, inside `no_grad`."""

    _mode = True


class inference_mode(_Mode):
    """The same as `no_grad`, or as nothing when `mode` is False."""

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self._mode = not mode if isinstance(mode, bool) else False

    def __enter__(self) -> None:
        self._before.append(_core.is_grad_enabled())
        _core._set_grad_enabled(self._mode and self._before[-1])


class set_grad_enabled(_Mode):
    """Sets the mode at once; as a context manager it is restored on exit."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._mode = bool(mode)
        self._before.append(_core.is_grad_enabled())
        _core._set_grad_enabled(self._mode)

    def __enter__(self) -> None:
        _core._set_grad_enabled(self._mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _core._set_grad_enabled(self._before.pop())
        return super().__call__(function)
