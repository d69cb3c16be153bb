"""What `Tensor` has beyond the C++ core: methods that compose others, conversion, copying, printing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core, _functions
from . import _creation as creation
from . import autograd as _autograd
from ._amp_state import narrow_inputs
from ._core import Tensor
from ._repr import tensor_repr


class Size(tuple):
    """The sizes of a tensor: a tuple that knows its product."""

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for size in self:
            n *= size
        return n

    def __getitem__(self, index: Any) -> Any:
        item = super().__getitem__(index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other: Any) -> Any:
        return Size(super().__add__(tuple(other)))

    def __repr__(self) -> str:
        return f"skipway.Size([{', '.join(map(str, self))}])"


class _MemoryFormat(str):
    """contiguous_format, channels_last, channels_last_3d or preserve_format."""

    def __repr__(self) -> str:
        return "skipway." + self


contiguous_format = _MemoryFormat("contiguous_format")
channels_last = _MemoryFormat("channels_last")
channels_last_3d = _MemoryFormat("channels_last_3d")
preserve_format = _MemoryFormat("preserve_format")
strided = _MemoryFormat("strided")

_core_init = Tensor.__init__


class _Missing:
    """A dtype that PyTorch has and skipway has not: using it is an error that says what to use."""

    def __init__(self, name: str, instead: str) -> None:
        self.name = name
        self.instead = instead

    @property
    def dtype(self) -> Any:
        raise TypeError(f"{self.name} is not supported on the CPU; use {self.instead}")

    is_floating_point = dtype
    itemsize = dtype

    def __repr__(self) -> str:
        return f"skipway.{self.name} (not supported)"


half = float16 = _core.float16
complex64 = cfloat = _Missing("complex64", "two float tensors")
complex128 = cdouble = _Missing("complex128", "two float tensors")
int8 = _Missing("int8", "int32")
short = int16 = _Missing("int16", "int32")


def _init(self: Tensor, *data: Any, device: Any = None, dtype: Any = None, requires_grad: bool = False) -> None:
    """Tensor(2, 3): that size, values undefined. Tensor(data): float32 of nested sequences or an array.

    Tensor(other): the same memory without history.
    """
    if len(data) == 1 and isinstance(data[0], Tensor):
        source = data[0]
    elif len(data) == 1 and not isinstance(data[0], (int, np.integer, Size)):
        source = creation.tensor(data[0], dtype=dtype or creation.get_default_dtype())
    else:
        sizes = data[0] if len(data) == 1 and isinstance(data[0], Size) else data if data else (0,)
        source = creation.empty(*sizes) if not isinstance(sizes, Size) else creation.empty(tuple(sizes))
    _core_init(self, source if device is None else source.to(device))


def _as_dtype(dtype: Any) -> Any:
    if isinstance(dtype, _Missing):
        raise TypeError(f"{dtype.name} is not supported on the CPU; use {dtype.instead}")
    return creation.as_dtype(dtype)


def _is_device(x: Any) -> bool:
    return isinstance(x, (str, _core.device)) or (isinstance(x, int) and not isinstance(x, bool))


def _to(
    self: Tensor,
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """to(device), to(dtype), to(device, dtype) or to(other): the tensor itself if nothing changes, else a copy."""
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, (_core.dtype, _Missing)) or arg in (float, int, bool) or isinstance(arg, type):
            dtype = arg
        elif _is_device(arg):
            device = arg
        elif arg is not None and not isinstance(arg, bool):
            raise TypeError(f"to: expected a device, a dtype or a tensor, got {type(arg).__name__}")
    result = self if dtype is None else self._to(_as_dtype(dtype))
    if device is not None:
        result = result._to_device(device, non_blocking)
    if memory_format is not None and memory_format is not preserve_format:
        result = result.contiguous(memory_format=memory_format)
    return result.clone() if copy and result is self else result


def _caster(dtype: Any) -> Callable[..., Tensor]:
    def cast(self: Tensor, memory_format: Any = None) -> Tensor:
        return self._to(dtype)

    cast.__doc__ = f"The tensor as {dtype.name}."
    return cast


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor in CPU memory: itself where it is there."""
    return self._to_device("cpu")


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """The tensor in the memory of a CUDA device (the current one unless `device` says otherwise)."""
    return self._to_device("cuda" if device is None else device, non_blocking)


_TYPE_NAMES = {
    "float32": "FloatTensor", "float64": "DoubleTensor", "bfloat16": "BFloat16Tensor", "float16": "HalfTensor",
    "int64": "LongTensor", "int32": "IntTensor", "uint8": "ByteTensor", "bool": "BoolTensor",
}  # fmt: skip


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """type(): the name of the tensor's type. type(dtype): the tensor cast to a dtype, a type or a type's name."""
    if dtype is None:
        return "skipway." + _TYPE_NAMES[self.dtype.name]
    name = dtype if isinstance(dtype, str) else getattr(dtype, "_tensor_type", None)
    if name is not None:
        short = name.rpartition(".")[2]
        found = [d for d, n in _TYPE_NAMES.items() if n == short]
        if not found:
            raise TypeError(f"type: expected one of {sorted(_TYPE_NAMES.values())}, got {name!r}")
        return self._to(getattr(_core, found[0]))
    return self._to(_as_dtype(dtype))


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the other's dtype and device."""
    return self.to(other)


def _backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradient of this tensor to the `.grad` of the leaves it depends on."""
    if not self.requires_grad:
        raise RuntimeError("backward: the tensor does not require grad and does not have a grad_fn")
    _autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def _is_contiguous(self: Tensor, memory_format: Any = contiguous_format) -> bool:
    """Whether memory is dense and in order: row-major, or with channels last."""
    return self._is_channels_last() if "channels_last" in str(memory_format) else self._is_contiguous()


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError("deepcopy: only tensors that no op made can be copied deeply; call detach() first")
    result = self.detach().clone()
    if type(self) is not Tensor:
        made = type(self).__new__(type(self))
        _core_init(made, result)
        made.__dict__.update(self.__dict__)
        result = made
    if self.requires_grad:
        result.requires_grad_(True)
    if self.grad is not None:
        result.grad = self.grad.detach().clone()
    memo[id(self)] = result
    return result


def _copy(self: Tensor) -> Tensor:
    result = type(self).__new__(type(self))
    _core_init(result, self)
    if type(self) is not Tensor:
        result.__dict__.update(self.__dict__)
    return result.requires_grad_(True) if self.requires_grad and self.is_leaf else result


def _reduce_ex(self: Tensor, protocol: Any) -> Any:
    array = self.detach().cpu().numpy()
    where = (str(self.device),) if self.is_cuda else ()
    return _rebuild, (array, self.requires_grad and self.is_leaf, *where)


def _rebuild(array: np.ndarray, requires_grad: bool, device: str = "cpu") -> Tensor:
    t = _core.from_numpy(np.array(array, order="K") if not array.flags.writeable else array).to(device)
    return t.requires_grad_(True) if requires_grad else t


def _format(self: Tensor, spec: str) -> str:
    if self.dim() == 0:
        return format(self.item(), spec)
    if spec:
        raise TypeError(f"format: a tensor of shape {tuple(self.shape)} takes no format specification, got {spec!r}")
    return repr(self)


def _reversed(self: Tensor) -> Tensor:
    return self.flip(0) if self.dim() > 0 else self


def _ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy scalars and arrays on the left of an operator: the operator of the tensor is used."""
    names = {
        "add": "__radd__", "subtract": "__rsub__", "multiply": "__rmul__", "true_divide": "__rtruediv__",
        "divide": "__rtruediv__", "floor_divide": "__rfloordiv__", "power": "__rpow__", "remainder": "__rmod__",
        "equal": "__eq__", "not_equal": "__ne__", "less": "__gt__", "less_equal": "__ge__", "greater": "__lt__",
        "greater_equal": "__le__", "matmul": "__rmatmul__",
    }  # fmt: skip
    name = names.get(ufunc.__name__)
    left = inputs[0]
    if method == "__call__" and name and len(inputs) == 2 and inputs[1] is self and not kwargs:
        if isinstance(left, np.generic):
            left = left.item()
        elif isinstance(left, np.ndarray):
            left = creation.as_tensor(left)
        return getattr(self, name)(left)
    arrays = [t.numpy() if isinstance(t, Tensor) else t for t in inputs]
    return getattr(ufunc, method)(*arrays, **kwargs)


def _array_function(self: Tensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's functions take tensors as arrays and return arrays."""

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.numpy()
        return type(x)(map(plain, x)) if isinstance(x, (list, tuple)) and type(x) in (list, tuple) else x

    return func(*plain(args), **{k: plain(v) for k, v in kwargs.items()})


def _new(op: str, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *size: Any, **options: Any) -> Tensor:
        options["dtype"] = options.get("dtype") or self.dtype
        if options.get("device") is None:
            options["device"] = self.device
        return make(*size, **options)

    method.__name__ = op
    method.__doc__ = f"`{op[4:]}` with this tensor's dtype and device unless others are given."
    return method


def _new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`, and this tensor's dtype and device unless others are given."""
    where = self.device if device is None else device
    return creation.tensor(data, dtype=dtype or self.dtype, device=where, requires_grad=requires_grad)


def _resize_(self: Tensor, *size: Any) -> Tensor:
    """Changes the shape in place; elements are kept in order as far as they go, new ones are undefined."""
    shape = creation._size("resize_", size)
    with _autograd.no_grad():
        made = creation.empty(shape, dtype=self.dtype, device=self.device)
        n = min(self.numel(), made.numel())
        if n:
            made.reshape(-1)[:n].copy_(self.detach().reshape(-1)[:n])
        self.data = made
    return self


def _apply_(self: Tensor, f: Callable[[float], float]) -> Tensor:
    """Replaces each element by f(element). Slow; for tests."""
    values = [f(x) for x in self.detach().reshape(-1).tolist()]
    return self.copy_(creation.tensor(values, dtype=self.dtype).reshape(tuple(self.shape)))


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in page-locked memory, from which copies to a CUDA device need not wait; itself if it is there.

    Raises:
        DeviceError: without a CUDA device, or for a tensor on one.
    """
    from .cuda._devices import require

    require("pin_memory")
    pinned = self.detach()._pin_memory()
    return self if pinned._shares_storage(self) else pinned.requires_grad_(self.requires_grad)


def _is_pinned(self: Tensor, device: Any = None) -> bool:
    """Is it in page-locked memory?"""
    return self._is_pinned()


def _record_stream(self: Tensor, stream: Any) -> None:
    """Says that work on `stream` uses the tensor: its memory is not used again before that work is done."""
    self._record_stream(stream.cuda_stream)


def _says(doc: str, method: Callable[..., Any]) -> Callable[..., Any]:
    method.__doc__ = doc
    return method


def _set_attributes() -> None:
    put: dict[str, Any] = {
        "__init__": _init, "__repr__": tensor_repr, "__str__": tensor_repr, "__format__": _format,
        "__deepcopy__": _deepcopy, "__copy__": _copy, "__reduce_ex__": _reduce_ex, "__reversed__": _reversed,
        "__array_ufunc__": _ufunc, "__array_function__": _array_function, 
        "__array_priority__": 1000, "__hash__": object.__hash__,
        "__rmatmul__": lambda self, other: _core.matmul(creation.as_tensor(other), self),
        "allclose": _functions.allclose, "equal": _functions.equal, "is_nonzero": _functions.is_nonzero,
        "to": _to, "half": _caster(_core.float16), "cpu": _cpu, "cuda": _cuda, "type": _type, "type_as": _type_as,
        "backward": _backward, "is_contiguous": _is_contiguous, "new_tensor": _new_tensor, "resize_": _resize_,
        "apply_": _apply_,
        "grad_fn": property(lambda self: self._grad_fn(), doc="The op that made the tensor, or None."),
        "is_cpu": property(lambda self: not self.is_cuda, doc="Is the tensor in the CPU's memory?"),
        "is_sparse": property(lambda self: False, doc="False: all tensors are dense."),
        "is_quantized": property(lambda self: False, doc="False: there are no quantised dtypes."),
        "is_mps": property(lambda self: False, doc="False: there is no MPS device."),
        "layout": property(lambda self: strided, doc="`skipway.strided`, the only layout."),
        "itemsize": property(lambda self: self.dtype.itemsize, doc="Bytes per element."),
        "nbytes": property(lambda self: self.numel() * self.dtype.itemsize, doc="Bytes of all elements."),
        "is_pinned": _is_pinned, "pin_memory": _pin_memory, "record_stream": _record_stream,
        "is_same_size": _says("Do the shapes agree?", lambda self, other: tuple(self.shape) == tuple(other.shape)),
        "share_memory_": _says("The tensor itself: memory is not shared between processes.", lambda self: self),
        "get_device": _says("The index of its CUDA device; -1 on the CPU.",
                            lambda self: self.device.index if self.is_cuda else -1),
        "is_shared": _says("False: memory is not shared between processes.", lambda self: False),
        "is_signed": _says("False for bool and uint8.", lambda self: self.dtype.is_signed),
        "is_inference": _says("False: inference mode makes ordinary tensors.", lambda self: False),
        "__cuda_array_interface__": property(
            lambda self: self._cuda_array_interface(),
            doc="Version 3 of CUDA's array interface, which CuPy and Numba read; AttributeError on the CPU."),
        "new": _says("A tensor of this dtype, device and the given size, values undefined.",
                     lambda self, *size: creation.empty(*(size or (0,)), dtype=self.dtype, device=self.device)),
        "new_full": _new_full,
    }  # fmt: skip
    for name, dtype in (
        ("float", "float32"), ("double", "float64"), ("bfloat16", "bfloat16"), ("long", "int64"), ("int", "int32"),
        ("byte", "uint8"), ("bool", "bool"),
    ):  # fmt: skip
        put[name] = _caster(getattr(_core, dtype))
    for name, make in (
        ("new_zeros", creation.zeros), ("new_ones", creation.ones), ("new_empty", creation.empty),
    ):  # fmt: skip
        put[name] = _new(name, make)
    for name, value in put.items():
        setattr(Tensor, name, value)
    for name in ("matmul", "mm", "bmm", "mv", "__matmul__"):
        setattr(Tensor, name, narrow_inputs(getattr(Tensor, name)))


def _new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, **options: Any
) -> Tensor:
    """`full` with this tensor's dtype and device unless others are given."""
    where = self.device if device is None else device
    return creation.full(size, fill_value, dtype=dtype or self.dtype, device=where, **options)


_core._set_size_type(Size)
_set_attributes()
