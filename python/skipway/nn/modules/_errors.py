"""Errors of ops gain the path of the layer in which they happened, as they travel up through `Module.__call__`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _core

if TYPE_CHECKING:
    from .module import Module

_ALWAYS = (_core.ShapeError, _core.DeviceError, _core.OutOfMemoryError)
_IF_FROM_AN_OP = (ValueError, TypeError, IndexError, RuntimeError)


class _Where:
    """The message without its op, and the path from the module seen last down to the layer that failed."""

    def __init__(self, message: str, module: Module) -> None:
        self.message = message
        self.layer = type(module).__name__
        self.module = module
        self.path = ""


def _is_op(name: str) -> bool:
    return name.isidentifier() and (hasattr(_core, name) or hasattr(_core.Tensor, name) or name in _EXTRA_OPS)


_EXTRA_OPS = {"batch_norm", "bilinear", "interpolate"}


def _start(error: Exception, module: Module) -> _Where | None:
    message = str(error)
    op, colon, rest = message.partition(": ")
    if isinstance(error, _ALWAYS):
        return _Where(rest if colon and op.isidentifier() else message, module)
    if type(error) not in _IF_FROM_AN_OP:
        return None
    if colon and _is_op(op):
        return _Where(rest, module)
    if "(): incompatible function arguments" in message:
        return _Where(message, module)
    return None


def _path_of(child: Module, parent: Module) -> str | None:
    return next((path for path, module in parent.named_modules() if module is child and path), None)


def locate(error: Exception, module: Module) -> None:
    """Puts the path of the failing layer, as seen from `module`, at the front of the message of an op's error."""
    where: Any = getattr(error, "_skipway_where", None)
    if where is None:
        where = _start(error, module)
        if where is None:
            return
        error._skipway_where = where  # type: ignore[attr-defined]
    else:
        step = _path_of(where.module, module)
        if step is not None:
            where.path = f"{step}.{where.path}" if where.path else step
            where.module = module
    name = type(error).__name__
    place = f"{where.path} ({where.layer})" if where.path else where.layer
    error.args = (f"{name} in {place}: {where.message}",)
