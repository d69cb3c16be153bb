"""Making tensors: from data, filled with one value, or with a range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core
from ._core import Tensor

_default = [_core.float32]


def get_default_dtype() -> Any:
    """The dtype of tensors made from Python floats."""
    return _default[0]


def set_default_dtype(d: Any) -> None:
    """Sets the dtype of tensors made from Python floats: float32 (at first), float64 or bfloat16."""
    if not isinstance(d, _core.dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype: expected a floating-point dtype, got {d!r}")
    _default[0] = d


def set_default_tensor_type(t: Any) -> None:
    """Sets the default dtype from a type such as `FloatTensor` or its name."""
    name = t if isinstance(t, str) else t.__name__
    known = {"FloatTensor": _core.float32, "DoubleTensor": _core.float64, "BFloat16Tensor": _core.bfloat16}
    short = name.rpartition(".")[2]
    if short not in known:
        raise TypeError(f"set_default_tensor_type: expected one of {sorted(known)}, got {name}")
    set_default_dtype(known[short])


def _default_device(device: Any) -> Any:
    return "cpu" if device is None else device


def _finish(t: Tensor, requires_grad: bool, pin_memory: bool = False) -> Tensor:
    if pin_memory and t.is_cpu and _core._cuda_device_count():  # without a device there is nothing to pin for
        t = t._pin_memory()
    return t.requires_grad_(True) if requires_grad else t


def _first_leaf(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _plain(data: Any) -> Any:
    """Nested lists with tensors as lists with arrays."""
    if isinstance(data, Tensor):
        return data.detach().cpu().numpy()
    if isinstance(data, (list, tuple)):
        return [_plain(d) for d in data]
    return data


def _to_array(op: str, data: Any, dtype: Any) -> np.ndarray:
    leaf = _first_leaf(data)
    if isinstance(leaf, Tensor):
        data = _plain(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"{op}: the rows of nested sequences have different lengths") from error
    if array.dtype == object or array.dtype.kind in "USOcMm":
        what = type(leaf).__name__ if array.dtype == object else array.dtype
        raise TypeError(f"{op}: expected numbers, got {what}")
    if dtype is None and not isinstance(leaf, (np.ndarray, np.generic, Tensor)):
        if array.dtype.kind == "f" or array.size == 0:
            dtype = get_default_dtype()
        elif array.dtype.kind == "u":
            raise ValueError(f"{op}: an integer does not fit into 64 bits")
    return array if dtype is None else array.astype(dtype.dtype, copy=False)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences, a NumPy array, or anything NumPy reads.

    Python floats become float32 (the default dtype), integers int64; arrays keep their dtype.
    """
    if dtype is not None:
        dtype = as_dtype(dtype)
    if isinstance(data, Tensor):
        t = data.detach().to(device=device, dtype=dtype or data.dtype)
        return _finish(t.clone() if t is data or t._shares_storage(data) else t, requires_grad, pin_memory)
    array = _to_array("tensor", data, dtype)
    t = _core.from_numpy(np.array(array, copy=True, order="C"))
    return _finish(t if device is None else t.to(device), requires_grad, pin_memory)


def as_dtype(dtype: Any) -> Any:
    """A skipway dtype from one, or from a NumPy or Python type."""
    if isinstance(dtype, _core.dtype):
        return dtype
    return _core.empty(0, dtype=dtype).dtype


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor on the memory of `data` where possible, else with a copy."""
    dtype = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype or data.dtype)
    if isinstance(data, np.ndarray) or hasattr(data, "__cuda_array_interface__"):
        t = _core.from_numpy(data) if isinstance(data, np.ndarray) else _core._from_cuda_array(data)
        return t if dtype is None and device is None else t.to(device=device, dtype=dtype or t.dtype)
    return tensor(data, dtype=dtype, device=device)


asarray = as_tensor


def _size(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        sizes = tuple(int(s.__index__()) for s in size)
    except AttributeError:
        raise TypeError(f"{op}: expected integers or a sequence of integers, got {size}") from None
    if any(s < 0 for s in sizes):
        raise _core.ShapeError(f"{op}: expected sizes of at least 0, got {sizes}")
    return sizes


def _into(op: str, out: Tensor | None, result: Tensor) -> Tensor:
    if out is None:
        return result
    if tuple(out.shape) != tuple(result.shape):
        raise _core.ShapeError(f"{op}: expected out of shape {tuple(result.shape)}, got {tuple(out.shape)}")
    return out.copy_(result)


def empty(
    *size: Any,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor whose values are whatever the memory holds."""
    if out is not None:
        return out
    t = _core.empty(_size("empty", size), dtype=dtype or get_default_dtype(), device=_default_device(device))
    return _finish(t if memory_format is None else t.contiguous(memory_format=memory_format), requires_grad, pin_memory)


def zeros(
    *size: Any,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of zeros."""
    t = _core.empty(_size("zeros", size), dtype=dtype or get_default_dtype(), device=_default_device(device)).zero_()
    return _finish(_into("zeros", out, t), requires_grad, pin_memory)


def ones(
    *size: Any,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of ones."""
    t = _core.empty(_size("ones", size), dtype=dtype or get_default_dtype(), device=_default_device(device)).fill_(1)
    return _finish(_into("ones", out, t), requires_grad, pin_memory)


def _dtype_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, (bool, np.bool_)):
        return _core.bool
    return _core.int64 if isinstance(value, (int, np.integer)) else get_default_dtype()


def full(
    size: Any,
    fill_value: Any,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one value; its dtype is that of the value unless given."""
    shape = _size("full", (size,) if isinstance(size, (tuple, list)) else (size,))
    t = _core.empty(shape, dtype=dtype or _dtype_of(fill_value), device=_default_device(device)).fill_(fill_value)
    return _finish(_into("full", out, t), requires_grad, pin_memory)


def empty_like(
    input: Tensor,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of the input's shape (and dtype and device) with undefined values, channels-last in memory where the
    input is, unless `memory_format` says otherwise."""
    shape = tuple(input.shape)
    like = {"dtype": dtype or input.dtype, "device": input.device if device is None else device}
    if _keeps_channels_last(input, memory_format):
        return _finish(_core.empty_strided(shape, input.stride(), **like), requires_grad, pin_memory)
    return _finish(_core.empty(shape, **like), requires_grad, pin_memory)


def _keeps_channels_last(input: Tensor, memory_format: Any) -> bool:
    keeps = memory_format is None or str(memory_format).endswith("preserve_format")
    return keeps and input.dim() in (4, 5) and not input.is_contiguous() and input._is_channels_last()


def zeros_like(
    input: Tensor,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """Zeros of the input's shape, dtype and device."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _finish(t.zero_(), requires_grad, pin_memory)


def ones_like(
    input: Tensor,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """Ones of the input's shape, dtype and device."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _finish(t.fill_(1), requires_grad, pin_memory)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """One value in the input's shape, dtype and device."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _finish(t.fill_(fill_value), requires_grad, pin_memory)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


def arange(
    *args: Any,
    start: Any = None,
    end: Any = None,
    step: Any = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """arange(end), arange(start, end) or arange(start, end, step): numbers from start (0) up to, not including, end."""
    given = [_number(a) for a in args]
    if len(given) == 1:
        end = given[0] if end is None else end
        start = given[0] if start is None and end is not given[0] else start
    elif len(given) in (2, 3):
        start, end = given[0], given[1]
        step = given[2] if len(given) == 3 else step
    elif given:
        raise TypeError(f"arange: expected at most 3 numbers, got {len(given)}")
    start, end, step = _number(0 if start is None else start), _number(end), _number(1 if step is None else step)
    if end is None:
        raise TypeError("arange: end is missing")
    if step == 0:
        raise ValueError("arange: expected a step other than 0")
    if not all(math.isfinite(v) for v in (start, end, step)):
        raise ValueError(f"arange: expected finite numbers, got start={start}, end={end}, step={step}")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise ValueError(f"arange: a step of {step} does not lead from {start} to {end}")
    floating = any(isinstance(v, float) for v in (start, end, step))
    dtype = dtype or (get_default_dtype() if floating else _core.int64)
    t = tensor(np.arange(start, end, step), dtype=dtype, device=device)
    return _finish(_into("arange", out, t), requires_grad, pin_memory)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers from start to end, both included, evenly spaced."""
    if steps < 0:
        raise ValueError(f"linspace: expected steps of at least 0, got {steps}")
    values = np.linspace(_number(start), _number(end), steps)
    return _finish(
        _into("linspace", out, tensor(values, dtype=dtype or get_default_dtype(), device=device)), requires_grad
    )


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """base to the power of each number of `linspace(start, end, steps)`."""
    if steps < 0:
        raise ValueError(f"logspace: expected steps of at least 0, got {steps}")
    values = float(base) ** np.linspace(_number(start), _number(end), steps)
    return _finish(
        _into("logspace", out, tensor(values, dtype=dtype or get_default_dtype(), device=device)), requires_grad
    )


def eye(
    n: int,
    m: int | None = None,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix, n x m."""
    t = tensor(np.eye(n, n if m is None else m), dtype=dtype or get_default_dtype(), device=device)
    return _finish(_into("eye", out, t), requires_grad)


def rand(*size: Any, **options: Any) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return _random(_core.rand, size, options)


def randn(*size: Any, **options: Any) -> Tensor:
    """Standard normal numbers."""
    return _random(_core.randn, size, options)


def _random(f: Any, size: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    if options.get("dtype") is None and options.get("out") is None:
        options["dtype"] = get_default_dtype()
    return f(*size, **options)
