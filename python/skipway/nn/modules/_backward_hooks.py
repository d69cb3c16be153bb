"""What `Module.register_full_backward_hook` needs: the gradients that enter and leave a module's backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..._core import Tensor
from ...autograd import Function

if TYPE_CHECKING:
    from .module import Module


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class _Watch(Function):
    """The identity; its backward lets `callback` see and replace the gradients."""

    @staticmethod
    def forward(ctx: Any, callback: Callable[..., Any], *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.callback = callback
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return (None, *ctx.callback(grads))


class BackwardWatcher:
    """Follows one call of a module. Inputs and outputs pass through an identity whose backward runs the hooks."""

    def __init__(self, module: Module, hooks: Iterable[Any], pre_hooks: Iterable[Any]) -> None:
        self.module = module
        self.hooks = list(hooks)
        self.pre_hooks = list(pre_hooks)
        self.grad_outputs: tuple[Any, ...] = ()
        self.inputs_tracked = False
        self.input_places: list[int] = []
        self.arguments = 0

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.arguments = len(args)
        self.input_places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.inputs_tracked = any(args[i].requires_grad for i in self.input_places)
        if not self.inputs_tracked or not self.hooks:
            return args
        watched = _as_tuple(_Watch.apply(self._leaving, *(args[i] for i in self.input_places)))
        result = list(args)
        for i, t in zip(self.input_places, watched, strict=False):
            result[i] = t
        return tuple(result)

    def watch_outputs(self, result: Any) -> Any:
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        places = [i for i, t in enumerate(outputs) if isinstance(t, Tensor) and t.requires_grad]
        if not places:
            return result
        self.output_places, self.outputs = places, len(outputs)
        watched = _as_tuple(_Watch.apply(self._entering, *(outputs[i] for i in places)))
        if not isinstance(result, (tuple, list)):
            return watched[0]
        changed = list(outputs)
        for i, t in zip(places, watched, strict=False):
            changed[i] = t
        return type(result)(changed)

    def _spread(self, grads: Iterable[Any], places: list[int], n: int) -> tuple[Any, ...]:
        full: list[Any] = [None] * n
        for i, grad in zip(places, grads, strict=False):
            full[i] = grad
        return tuple(full)

    def _entering(self, grads: tuple[Any, ...]) -> Any:
        full = self._spread(grads, self.output_places, self.outputs)
        for hook in self.pre_hooks:
            changed = hook(self.module, full)
            if changed is not None:
                full = _as_tuple(changed)
        self.grad_outputs = full
        if not self.inputs_tracked:
            for hook in self.hooks:
                hook(self.module, (None,) * self.arguments, full)
        return tuple(full[i] for i in self.output_places)

    def _leaving(self, grads: tuple[Any, ...]) -> Any:
        full = self._spread(grads, self.input_places, self.arguments)
        for hook in self.hooks:
            changed = hook(self.module, full, self.grad_outputs)
            if changed is not None:
                full = _as_tuple(changed)
        return tuple(full[i] for i in self.input_places)
