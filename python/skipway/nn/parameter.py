"""Tensors that modules own and optimizers change."""

from __future__ import annotations

from typing import Any

from .. import _creation as creation
from .._core import Tensor


class Parameter(Tensor):
    """A tensor that a `Module` registers when it is assigned to one of its attributes.

    Args:
        data: the values; memory is shared with this tensor. Default: an empty tensor.
        requires_grad: whether autograd tracks it. Default: True.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        super().__init__(creation.empty(0) if data is None else data)
        if requires_grad:
            self.requires_grad_(True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_parameter, (self.detach(), self.requires_grad)


def _rebuild_parameter(data: Tensor, requires_grad: bool) -> Parameter:
    return Parameter(data, requires_grad)


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned to one of its attributes."""

    persistent: bool

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        super().__init__(creation.empty(0) if data is None else data)
        self.persistent = persistent


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known until its module has seen a batch (`LazyLinear`, ...)."""

    cls_to_become: type[Parameter] = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(creation.empty(0, dtype=dtype, device=device), requires_grad)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives the parameter memory of this shape (not initialised) and makes it a plain `Parameter`."""
        self.data = creation.empty(tuple(shape), dtype=dtype or self.dtype, device=device or self.device)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

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

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        super().__init__(creation.empty(0, dtype=dtype, device=device))
        self.persistent = persistent

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives the buffer memory of this shape (not initialised) and makes it a plain `Buffer`."""
        self.data = creation.empty(tuple(shape), dtype=dtype or self.dtype, device=device or self.device)
        self.__class__ = Buffer  # type: ignore[assignment]


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer still waits for its shape."""
    return isinstance(param, (UninitializedParameter, UninitializedBuffer))
