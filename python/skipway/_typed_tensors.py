"""FloatTensor and the other constructors whose instances are tensors of one dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from . import _creation as creation
from ._core import Tensor
from ._tensor import Size


def _typed(name: str, dtype: Any) -> type:
    """FloatTensor and the like: constructors whose instances are tensors of one dtype."""

    class Meta(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, Tensor) and instance.dtype is dtype

        def __call__(cls, *data: Any, device: Any = None) -> Tensor:
            if not data:
                return creation.empty(0, dtype=dtype)
            if len(data) == 1 and not isinstance(data[0], (int, np.integer, Size)):
                return creation.tensor(data[0], dtype=dtype, device=device)
            return creation.empty(*data, dtype=dtype, device=device)

    made = Meta(name, (), {"_tensor_type": "skipway." + name, "dtype": dtype})
    made.__doc__ = (
        f"{name}(2, 3): that size, values undefined. {name}(data): {dtype.name} of nested sequences or an array."
    )
    return made


FloatTensor = _typed("FloatTensor", _core.float32)
DoubleTensor = _typed("DoubleTensor", _core.float64)
BFloat16Tensor = _typed("BFloat16Tensor", _core.bfloat16)
LongTensor = _typed("LongTensor", _core.int64)
IntTensor = _typed("IntTensor", _core.int32)
ByteTensor = _typed("ByteTensor", _core.uint8)
BoolTensor = _typed("BoolTensor", _core.bool)
