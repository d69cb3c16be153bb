"""One process, one device: modules that PyTorch spreads over several are the modules themselves."""

from __future__ import annotations

from typing import Any

from ..modules.module import Module


def DataParallel(module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> Module:  # noqa: N802
    """Returns `module`: there is one device. Its `state_dict` keys therefore have no "module." prefix."""
    return module


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: Any = None,
) -> Any:
    """Calls `module`: there is one device."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))


def DistributedDataParallel(module: Module, *args: Any, **kwargs: Any) -> Module:  # noqa: N802
    """Returns `module`: there is one process."""
    return module
