"""The hooks of modules: how they are registered, and the call that runs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...utils.hooks import RemovableHandle

Hooks = OrderedDict[int, Any]


def call_with_hooks(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls `forward` between the module's hooks."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if key in module._forward_pre_hooks_with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)

    watcher = None
    if module._backward_hooks or module._backward_pre_hooks:
        from ._backward_hooks import BackwardWatcher

        watcher = BackwardWatcher(module, module._backward_hooks.values(), module._backward_pre_hooks.values())
        args = watcher.watch_inputs(args)

    called: set[int] = set()
    try:
        result = module.forward(*args, **kwargs)
        for key, hook in list(module._forward_hooks.items()):
            called.add(key)
            if key in module._forward_hooks_with_kwargs:
                changed = hook(module, args, kwargs, result)
            else:
                changed = hook(module, args, result)
            if changed is not None:
                result = changed
    except Exception:
        for key, hook in list(module._forward_hooks.items()):
            if key in module._forward_hooks_always_called and key not in called:
                if key in module._forward_hooks_with_kwargs:
                    hook(module, args, kwargs, None)
                else:
                    hook(module, args, None)
        raise
    return watcher.watch_outputs(result) if watcher is not None else result


class ModuleHooks:
    """The part of `Module` that registers hooks."""

    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: Hooks
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: Hooks
    _forward_hooks_always_called: Hooks
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks

    def _add_hook(self, hooks: Any, hook: Callable[..., Any], prepend: bool, *extra: Any) -> RemovableHandle:
        handle = RemovableHandle(hooks, extra_dict=list(extra))
        hooks[handle.id] = hook
        for flags in extra:
            flags[handle.id] = True
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """`hook(module, args)` runs before `forward` and may return other arguments."""
        extra = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return self._add_hook(self._forward_pre_hooks, hook, prepend, *extra)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """`hook(module, args, output)` runs after `forward` and may return another output."""
        extra = [self._forward_hooks_with_kwargs] if with_kwargs else []
        extra += [self._forward_hooks_always_called] if always_call else []
        return self._add_hook(self._forward_hooks, hook, prepend, *extra)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_output)` runs before the module's backward and may return other gradients."""
        return self._add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_input, grad_output)` runs after the module's backward; may replace `grad_input`."""
        return self._add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The same as `register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)
