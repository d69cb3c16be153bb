"""Compilation of Python: functions and modules stay as they are, every op being a compiled kernel already."""

from __future__ import annotations

from typing import Any

from .nn import Module

ScriptModule = Module


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns `obj`."""
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Returns `func`."""
    return func


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Returns the function."""
    return drop if callable(drop) else lambda f: f


unused = ignore
script_method = script
export = ignore


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False
