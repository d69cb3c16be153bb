"""Going through all members of a module: iteration, modes, dtypes and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from ...autograd import no_grad
from ..parameter import Parameter
from ._module_state import ModuleState

if TYPE_CHECKING:
    from .module import Module

M = TypeVar("M", bound="ModuleMembers")


class ModuleMembers(ModuleState):
    """The part of `Module` that lists and changes its parameters, buffers and modules, down to the leaves."""

    training: bool

    # ---- iteration --------------------------------------------------------------------------------------------------

    def _named_members(
        self, get_members_fn: Callable[..., Any], prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in get_members_fn(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once, in the order of registration."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) pairs."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) pairs."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def children(self) -> Iterator[Module]:
        """Immediate child modules, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, child) pairs."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once, parents first."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted path, module) pairs; this module's path is `prefix`."""
        this: Any = self
        memo = set() if memo is None else memo
        if this in memo:
            return
        if remove_duplicate:
            memo.add(this)
        yield prefix, this
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    # ---- modes, dtype, device ---------------------------------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], None]) -> M:
        """Calls `fn` on every module below this one, then on this one."""
        this: Any = self
        for module in self.children():
            module.apply(fn)
        fn(this)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Switches this module and all below it to training (dropout, batch statistics) or evaluation."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """The same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether autograd tracks the parameters; False freezes them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                param.grad = creation.zeros_like(param.grad)

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for param in self._parameters.values():
                if param is None:
                    continue
                grad = param.grad
                changed = fn(param.data)
                if changed is not param.data:
                    param.grad = None
                    param.data = changed
                    if grad is not None:
                        param.grad = fn(grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Moves parameters and buffers: `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`.

        A dtype applies to floating-point members only; other dtypes are TypeErrors. `memory_format` is accepted:
        kernels choose the memory layout themselves.
        """
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        for arg in args:
            if isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, _core.dtype):
                dtype = arg
            elif arg is not None and not isinstance(arg, bool):
                device = arg
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"{type(self).__name__}.to: expected a floating-point dtype, got {dtype}")

        def convert(t: Tensor) -> Tensor:
            cast = dtype if t.is_floating_point() else None
            return t.to(device=device, dtype=cast, non_blocking=kwargs.get("non_blocking", False))

        return self._apply(convert)

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Gives all parameters and buffers new, uninitialised memory on a device."""
        return self._apply(lambda t: creation.empty_like(t, device=device), recurse=recurse)

    def type(self: M, dst_type: Any) -> M:
        """Casts all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast(self: M, dtype: Any) -> M:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self: M) -> M:
        """Casts floating-point parameters and buffers to float32."""
        return self._cast(_core.float32)

    def double(self: M) -> M:
        """Casts floating-point parameters and buffers to float64."""
        return self._cast(_core.float64)

    def bfloat16(self: M) -> M:
        """Casts floating-point parameters and buffers to bfloat16."""
        return self._cast(_core.bfloat16)

    def half(self: M) -> M:
        """Casts floating-point parameters and buffers to float16, in which only CUDA devices compute."""
        return self._cast(_core.float16)

    def cpu(self: M) -> M:
        """Moves all parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self: M, device: Any = None) -> M:
        """Moves all parameters and buffers to a CUDA device. DeviceError where there is none."""
        return self._apply(lambda t: t.cuda(device))

    def share_memory(self: M) -> M:
        """Returns the module: its tensors are not shared between processes."""
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: every op is a compiled kernel already."""
