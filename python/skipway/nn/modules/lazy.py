"""Layers that learn their input size from the first batch."""

from __future__ import annotations

from typing import Any

from ..._core import Tensor
from ..parameter import is_lazy


class LazyModuleMixin:
    """Calls `initialize_parameters` on the first input, then becomes a plain `cls_to_become`."""

    cls_to_become: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        module: Any = self
        self._initialize_hook = module.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Gives the uninitialised parameters their shapes; layers define it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether some parameter or buffer still waits for its shape."""
        module: Any = self
        return any(is_lazy(p) for p in (*module._parameters.values(), *module._buffers.values()))

    @staticmethod
    def _infer_parameters(module: Any, args: tuple[Any, ...], kwargs: Any = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        del module._initialize_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        module: Any = self
        for name, member in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(member, Tensor) and name not in module._non_persistent_buffers_set:
                destination[prefix + name] = member if is_lazy(member) or keep_vars else member.detach()
