"""Mixed precision: inside `autocast`, convolutions and matrix products are computed in bfloat16 or float16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _amp_state as state
from . import _core
from ._grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Can the device compute in a narrower dtype?"""
    return device_type in ("cpu", "cuda")


class autocast:
    """Within the block, inputs of convolutions, linear layers and matrix products are cast to a narrower dtype.

    Losses are computed in float32. Parameters and their gradients keep their dtype; a parameter is cast once, and again
    when it has changed. Norms, activations, sums and pooling compute in the dtype they are given, norms with float32
    statistics. Float16 gradients may underflow: use a `GradScaler`.

    Args:
        device_type: "cpu" or "cuda": only tensors on such devices are cast.
        dtype: bfloat16, the default on the CPU, or (on CUDA devices) float16, the default there.
        enabled: False makes the block compute in full precision.
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if device_type not in ("cpu", "cuda"):
            raise ValueError(f"autocast: expected device_type 'cpu' or 'cuda', got {device_type!r}")
        allowed = (_core.bfloat16,) if device_type == "cpu" else (_core.float16, _core.bfloat16)
        if dtype is not None and dtype not in allowed:
            names = " or ".join(d.name for d in allowed)
            where = "the CPU" if device_type == "cpu" else "CUDA devices"
            raise TypeError(f"autocast: expected dtype {names} on {where}, got {dtype!r}")
        self.device_type = device_type
        self.dtype = allowed[0] if dtype is None else dtype
        self.enabled = enabled
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        self._before.append(state.dtype_of(self.device_type))
        state.set_dtype(self.device_type, self.dtype if self.enabled else None)
        return self

    def __exit__(self, *exc: object) -> None:
        state.set_dtype(self.device_type, self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device_type, self.dtype, self.enabled):
                return function(*args, **kwargs)

        return wrapper
