"""Running a fused model as a plan of ops (`_core.InferencePlan`), without Python between them.

Which layer reads which layer's result shows in a run of the model: layers that call no other layer are watched, and
tensors are known again by their identity. Where something else than the layers below has a part in the result, there
is no plan, and the model runs as it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skipway import nn

from . import _amp_state, _core
from ._core import Tensor

_DTYPES = (_core.float32, _core.bfloat16, _core.float16)  # of fused convolutions
_PASS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # in eval mode


class _Op:
    def __init__(self, module: Any, inputs: list[int], residual: int = -1, relu: bool = False) -> None:
        self.module, self.inputs, self.residual, self.relu = module, inputs, residual, relu


class _NoPlan(Exception):
    pass


class _Trace:
    """The ops of one run, in order; value i + 1 is the result of op i, value 0 the input."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.ops: list[_Op] = []
        self.numbers = {id(x): 0}
        self.alive: list[Tensor] = [x]  # an id means something as long as its tensor lives
        leaves = [m for m in model.modules() if not list(m.children())]
        hooks = [m.register_forward_hook(self._seen) for m in leaves]
        try:
            result = model(x)
        finally:
            for hook in hooks:
                hook.remove()
        if not isinstance(result, Tensor) or self.numbers.get(id(result)) != len(self.ops) or not self.ops:
            raise _NoPlan

    def _number(self, t: Any) -> int:
        if id(t) in self.numbers:
            return self.numbers[id(t)]
        # x.flatten(1): a view of a known tensor, of as many dimensions as are left
        for known in reversed(self.alive):
            if known._shares_storage(t) and known.numel() == t.numel() and tuple(t.shape) == _flat(known):
                self._add(_Op("flatten", [self.numbers[id(known)]]), t)
                return len(self.ops)
        raise _NoPlan

    def _add(self, op: _Op, result: Tensor) -> None:
        self.ops.append(op)
        self.alive.append(result)
        self.numbers[id(result)] = len(self.ops)

    def _seen(self, module: Any, args: Any, result: Any) -> None:
        if not all(isinstance(a, Tensor) for a in args if a is not None) or not isinstance(result, Tensor):
            raise _NoPlan
        inputs = [self._number(a) for a in args if a is not None]
        if isinstance(module, _PASS) or _is_norm(module) and len(inputs) == 1 and module.activation is None:
            self.alive.append(result)
            self.numbers[id(result)] = inputs[0]
        else:
            self._add(_Op(module, inputs), result)


def _flat(t: Tensor) -> tuple[int, ...]:
    rest = 1
    for size in t.shape[1:]:
        rest *= size
    return (t.shape[0], rest)


def _is_norm(module: Any) -> bool:
    return type(module).__name__ == "FoldedNorm"


def _merged(ops: list[_Op]) -> list[_Op]:
    """Residuals and relu go into the convolution whose result only they read; the convolution moves to their place."""
    readers = [0] * (len(ops) + 1)
    for op in ops:
        for i in op.inputs:
            readers[i] += 1
    result: list[_Op | None] = list(ops)
    for at, op in enumerate(ops):
        relu = isinstance(op.module, nn.ReLU) or _is_norm(op.module) and op.module.activation == "relu"
        add = _is_norm(op.module) and len(op.inputs) == 2
        if not relu and not add:
            continue
        source = result[op.inputs[0] - 1] if op.inputs[0] else None
        alone = readers[op.inputs[0]] == 1 and (not add or op.inputs[1] != op.inputs[0])
        if source is None or not alone or not isinstance(source.module, nn.Conv2d) or source.relu:
            continue
        if not add or source.residual < 0:
            residual = op.inputs[1] if add else source.residual
            result[at] = _Op(source.module, source.inputs, residual, relu)
            result[op.inputs[0] - 1] = None
    return _renumbered(result)


def _renumbered(ops: list[_Op | None]) -> list[_Op]:
    number, kept = {0: 0, -1: -1}, []
    for i, op in enumerate(ops):
        if op is not None:
            kept.append(_Op(op.module, [number[v] for v in op.inputs], number[op.residual], op.relu))
            number[i + 1] = len(kept)
    return kept


def _emit(plan: Any, op: _Op) -> None:
    m, x = op.module, op.inputs[0]
    if m == "flatten":
        plan.flatten(x, 1)
    elif type(m) is nn.Conv2d:
        if m.padding_mode != "zeros" or isinstance(m.padding, str):
            raise _NoPlan
        bias, relu = m.bias, op.relu
        plan.conv2d(x, m.weight, bias, m.stride, m.padding, m.dilation, m.groups, op.residual, relu)
    elif _is_norm(m) and m.activation in (None, "relu"):
        if len(op.inputs) == 2:
            plan.residual_add(x, op.inputs[1], m.activation == "relu")
        else:
            plan.relu(x)
    elif type(m) is nn.ReLU:
        plan.relu(x)
    elif type(m) is nn.Linear and getattr(m, "activation", None) is None:
        plan.linear(x, m.weight, m.bias)
    elif type(m) is nn.MaxPool2d and not m.return_indices:
        stride = m.kernel_size if m.stride is None else m.stride
        plan.max_pool2d(x, m.kernel_size, stride, m.padding, m.dilation, m.ceil_mode)
    elif type(m) is nn.AdaptiveAvgPool2d and m.output_size in (1, (1, 1)):
        plan.adaptive_avg_pool2d(x, (1, 1))
    elif type(m) is nn.Flatten and (m.start_dim, m.end_dim) == (1, -1):
        plan.flatten(x, 1)
    else:
        raise _NoPlan


def make_plan(model: nn.Module, x: Tensor) -> Any:
    """The plan of a model in eval mode for inputs like x; None where there is none."""
    try:
        plan = _core.InferencePlan()
        for op in _merged(_Trace(model, x).ops):
            _emit(plan, op)
        return plan
    except (_NoPlan, KeyError):
        return None


class Planned:
    """Takes the place of a fused model's `forward`: runs a plan where there is one that fits, else the model itself.

    Plans are made, and compared with the model on random inputs, at the first call for each size of image and device;
    gradients, autocast, hooks, training mode and changed layers make the model run as it is written.
    """

    def __init__(self, model: nn.Module, agree: Callable[[Any, Any], bool], random: Callable[[Any], Any]) -> None:
        self.model, self.agree, self.random = model, agree, random
        self._forget()

    def _forget(self) -> None:
        self.plans: dict[Any, Any] = {}
        self.hooks: list[Any] = []  # dicts that have to be empty
        self.parts: list[tuple[dict[str, Any], str, Any]] = []  # members that have to be what they were

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "agree": self.agree, "random": self.random}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            x = args[0]
            if isinstance(x, Tensor) and not _core.is_grad_enabled() and not self.model.training:
                key = (x.shape[1:], x.dtype, x.device)
                plan = self.plans.get(key)
                if plan is None and not (x.is_cuda and _core._cuda_capturing()):  # a check needs the host
                    plan = self.plans[key] = self._make(x)
                if plan and self._same_model(x):
                    return plan.run(x)
        return type(self.model).forward(self.model, *args, **kwargs)

    def _same_model(self, x: Tensor) -> bool:
        if _amp_state.dtype_of(x.device.type) is not None or any(self.hooks):
            return False
        for members, name, value in self.parts:
            if members.get(name) is not value:
                self._forget()
                return False
        return True

    def _make(self, x: Tensor) -> Any:
        modules = [m.__dict__ for m in self.model.modules()]
        hooks = [m[kind] for m in modules for kind in ("_forward_hooks", "_forward_pre_hooks")]
        narrow = _amp_state.dtype_of(x.device.type) is not None
        if narrow or any(hooks) or any(m["training"] for m in modules) or x.numel() == 0 or x.dtype not in _DTYPES:
            return False
        plan = make_plan(self.model, x)
        if plan is None:
            return False
        for probe in (x, self.random(x)):
            if not self.agree(type(self.model).forward(self.model, probe), plan.run(probe)):
                return False
        self.hooks = hooks
        groups = [m[kind] for m in modules for kind in ("_parameters", "_modules")]
        self.parts = [(group, name, value) for group in groups for name, value in group.items()]
        return plan
