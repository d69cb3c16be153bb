"""Errors of ops gain the path of the layer in which they happened, as they travel up through `Module.__call__`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ... import _core
from ..._core import Tensor
from .. import functional

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
    return name.isidentifier() and (name in _EXTRA_OPS or any(hasattr(home, name) for home in _HOMES_OF_OPS))


_HOMES_OF_OPS = (_core, Tensor, functional)
_EXTRA_OPS = {"index", "lstm", "gru", "rnn_tanh", "rnn_relu"}


def _start(error: Exception, module: Module) -> _Where | None:
    message = str(error)
    op, colon, rest = message.partition(": ")
    if isinstance(error, _ALWAYS):
        return _Where(rest if colon and op.isidentifier() else message, module)
    if isinstance(error, NotImplementedError) and message.startswith("Module ["):
        return _Where(message, module)
    if type(error) not in _IF_FROM_AN_OP:
        return None
    if colon and (_is_op(op) or op == type(module).__name__):
        return _Where(rest, module)
    if "(): incompatible function arguments" in message:
        return _Where(message, module)
    return None


def _is_own(forward: Any) -> bool:
    return (getattr(forward, "__module__", None) or "").startswith("skipway.nn.modules.")


def _bad_call(error: Exception, module: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments of a layer of this package: their number, names, or what is no tensor."""
    forward = module.forward
    if not isinstance(error, (*_ALWAYS, *_IF_FROM_AN_OP, AttributeError)) or not _is_own(forward):
        return None
    signature = inspect.signature(forward)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as reason:
        return f"expected arguments ({', '.join(signature.parameters)}): {reason}"
    for name, value in given.items():
        wanted = signature.parameters[name].annotation
        optional = wanted == "Tensor | None" and value is None
        if wanted in ("Tensor", "Tensor | None") and not isinstance(value, Tensor) and not optional:
            return f"expected {name} to be a tensor, got {value!r:.80} ({type(value).__name__})"
    return None


def _path_of(child: Module, parent: Module) -> str | None:
    return next((path for path, module in parent.named_modules() if module is child and path), None)


def locate(error: Exception, module: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Puts the path of the failing layer, as seen from `module`, at the front of the message of an op's error.

    `args` and `kwargs` are those of the call. Where they are what was wrong, raises a TypeError that says so.
    """
    where: Any = getattr(error, "_skipway_where", None)
    if where is None:
        complaint = _bad_call(error, module, args, kwargs)
        if complaint is not None:
            better = TypeError(f"TypeError in {type(module).__name__}: {complaint}")
            better._skipway_where = _Where(complaint, module)  # type: ignore[attr-defined]
            raise better from error
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
