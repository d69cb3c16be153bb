"""Reductions that take NumPy's `axis` and `keepdims` for `dim` and `keepdim`, as functions and as methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _core

NAMES = (
    "sum", "mean", "prod", "std", "var", "max", "min", "amax", "amin", "argmax", "argmin", "all", "any", "logsumexp",
    "cumsum", "cumprod", "sort", "argsort", "norm", "median", "nansum", "nanmean",
)  # fmt: skip


def _with_numpy_names(op: Callable[..., Any]) -> Callable[..., Any]:
    def reduction(*args: Any, **kwargs: Any) -> Any:
        if "axis" in kwargs:
            kwargs["dim"] = kwargs.pop("axis")
        if "keepdims" in kwargs:
            kwargs["keepdim"] = kwargs.pop("keepdims")
        return op(*args, **kwargs)

    return functools.update_wrapper(reduction, op)


functions = {name: _with_numpy_names(getattr(_core, name)) for name in NAMES}
for _name in NAMES:
    setattr(_core.Tensor, _name, _with_numpy_names(getattr(_core.Tensor, _name)))
