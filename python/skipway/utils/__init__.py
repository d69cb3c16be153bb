"""Data loading under PyTorch's path, checkpointing, hooks."""

from __future__ import annotations

import importlib as _importlib
from typing import Any as _Any

from . import hooks as hooks

_LAZY = {"checkpoint", "data", "model_zoo", "tensorboard"}


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
