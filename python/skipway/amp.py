"""Mixed precision: inside `autocast`, convolutions and matrix products are computed in bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _amp_state as state
from . import _core
from ._core import Tensor


def is_autocast_available(device_type: str) -> bool:
    """Whether the device can compute in a narrower dtype."""
    return device_type == "cpu"


class autocast:
    """Within the block, inputs of convolutions, linear layers and matrix products are cast to bfloat16.

    Losses are computed in float32. Parameters and their gradients keep their dtype.

    Args:
        device_type: "cpu"; on "cuda", which this build lacks, the block changes nothing.
        dtype: bfloat16, the default.
        enabled: False makes the block compute in full precision.
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if device_type not in ("cpu", "cuda"):
            raise ValueError(f"autocast: expected device_type 'cpu' or 'cuda', got {device_type!r}")
        if device_type == "cpu" and dtype is not None and dtype is not _core.bfloat16:
            raise TypeError(f"autocast: expected dtype bfloat16 on the CPU, got {dtype!r}")
        self.device_type = device_type
        self.enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> autocast:
        self._before.append(state.active())
        if self.device_type == "cpu":
            state.set_active(self.enabled)
        return self

    def __exit__(self, *exc: object) -> None:
        state.set_active(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device_type, enabled=self.enabled):
                return function(*args, **kwargs)

        return wrapper


class GradScaler:
    """Loss scaling for float16. bfloat16 has float32's range, so `scale` returns the loss and `step` just steps."""

    def __init__(
        self,
        device: Any = "cpu",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._enabled = False

    def scale(self, outputs: Any) -> Any:
        """Returns the outputs."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Does nothing."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args, **kwargs)."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Does nothing."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing."""
