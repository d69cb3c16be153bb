"""One process, one device: modules that PyTorch spreads over several are the modules themselves."""

from __future__ import annotations

from typing import Any

from ..modules.module import Module


def _itself(module: Module) -> Module:
    if not hasattr(module, "module"):
        object.__setattr__(module, "module", module)  # not a child: nothing is listed twice
    return module


def DataParallel(module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> Module:  # noqa: N802
    """Returns `module`: there is one device. Its `state_dict` keys therefore have no "module." prefix.

    `parallel.module`, by which scripts reach the module inside, is the module too.
    """
    return _itself(module)


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
    """Returns `module`: there is one process. `parallel.module` is the module too."""
    return _itself(module)
