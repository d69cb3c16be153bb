"""Tensors that modules own and optimizers change."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor


class Parameter(Tensor):
    """A tensor that a `Module` registers when it is assigned to one of its attributes.

    Args:
        data: the values; memory is shared with this tensor. Default: an empty tensor.
        requires_grad: whether autograd tracks it. Default: True.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = _core.empty(0)
        return Tensor._make_subclass(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_parameter, (self.detach(), self.requires_grad)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + Tensor.__repr__(self.detach() if type(self) is not Tensor else self)


def _rebuild_parameter(data: Tensor, requires_grad: bool) -> Parameter:
    return Parameter(data, requires_grad)


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned to one of its attributes."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = _core.empty(0)
        buffer = Tensor._make_subclass(cls, data, False)
        buffer.persistent = persistent
        return buffer


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known until its module has seen a batch (`LazyLinear`, ...)."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        return Tensor._make_subclass(cls, _core.empty(0, dtype=dtype, device=device), requires_grad)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives the parameter memory of this shape (not initialised) and makes it a plain `Parameter`."""
        self.data = _core.empty(tuple(shape), dtype=dtype or self.dtype, device=device or self.device)
        self.__class__ = self.cls_to_become

    def __deepcopy__(self, memo: dict[int, Any]) -> UninitializedParameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return UninitializedParameter, (self.requires_grad, None, self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "<UninitializedParameter>"


class UninitializedBuffer(Tensor):
    """A buffer whose shape is not known until its module has seen a batch."""

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        return Tensor._make_subclass(cls, _core.empty(0, dtype=dtype, device=device), requires_grad)


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer still waits for its shape."""
    return isinstance(param, (UninitializedParameter, UninitializedBuffer))
