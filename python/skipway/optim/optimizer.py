"""What optimizers have in common: parameter groups, state, state dicts."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from .. import _core, _graph_state
from .._core import Tensor
from .._creation import full
from ..autograd import enable_grad
from ..utils.hooks import RemovableHandle


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Changes parameters by their gradients.

    Args:
        params: parameters, (name, parameter) pairs, or dicts with "params" and options that differ from the defaults.
        defaults: the options of groups that do not set their own.
    """

    _narrow_states: frozenset[str] = frozenset()  # names of states that have the parameter's dtype, bfloat16 too
    _found_inf: Any = None  # on a CUDA device: the step is left out unless this is 0 (see amp.GradScaler)

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of tensors or dicts, got a single tensor"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._opt_called = False
        self._step_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Any] = OrderedDict()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own, for example once they are unfrozen."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError("optimizer parameters need to be in an ordered collection, a set is not one")
        params = list(params)
        if params and isinstance(params[0], tuple):
            param_group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        if len({id(p) for p in params}) != len(params):
            raise ValueError("some parameters appear more than once in a parameter group")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        param_group["params"] = params
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    if set_to_none:
                        p.grad = None
                    else:
                        p.grad = p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes the parameters once. `closure`, if given, computes the loss again and is called first."""
        for hook in self._step_pre_hooks.values():
            hook(self, (closure,) if closure is not None else (), {})
        self._opt_called = True
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                states = [self.state[p] for p in params]
                self._update(params, [p.grad for p in params], states, group)
                if _graph_state.capturing():
                    where = [p.data_ptr() for p in params]
                    _graph_state.record(functools.partial(self._refresh, params, where, states, group, self._found_inf))
        for hook in self._step_post_hooks.values():
            hook(self, (closure,) if closure is not None else (), {})
        return loss

    def _refresh(
        self, params: list[Tensor], where: list[int], states: list[dict[str, Any]], group: dict[str, Any], found: Any
    ) -> None:
        """Before a replay of a captured step: counts it, and sets its options."""
        for i, (p, place, state) in enumerate(zip(params, where, states, strict=True)):
            if p.data_ptr() != place:
                raise RuntimeError(
                    f"cuda graph: parameter {i} of {type(self).__name__}, of shape {tuple(p.shape)}, is in other "
                    "memory than when the step was captured: capture it again"
                )
            if self.state.get(p) is not state:
                raise RuntimeError(
                    f"cuda graph: the state of {type(self).__name__} was replaced after the step was captured: capture "
                    "it again"
                )
        if not any(g is group for g in self.param_groups):
            raise RuntimeError(
                f"cuda graph: the parameter groups of {type(self).__name__} were replaced after the step was captured: "
                "capture it again"
            )
        before, self._found_inf = self._found_inf, found
        try:
            self._update([], [], states, group)
        finally:
            self._found_inf = before

    def _control(self, params: list[Tensor], states: list[dict[str, Any]], counts: bool = True) -> dict[str, Any]:
        """Arguments for a step that the device may leave out: then it counts the steps too."""
        if self._found_inf is None:
            return {}
        if not counts:
            return {"found_inf": self._found_inf}
        return {"found_inf": self._found_inf, "counts": device_counts(params, states)}

    def _update(
        self, params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]], group: dict[str, Any]
    ) -> None:
        """One step of one group's parameters that have gradients; subclasses define it, or `step`."""
        raise NotImplementedError

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs before each step."""
        handle = RemovableHandle(self._step_pre_hooks)
        self._step_pre_hooks[handle.id] = hook
        return handle

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs after each step."""
        handle = RemovableHandle(self._step_post_hooks)
        self._step_post_hooks[handle.id] = hook
        return handle

    def state_dict(self) -> dict[str, Any]:
        """{"state": by number of parameter, "param_groups": options, with numbers for parameters}."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {k: v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers.get(id(k), k) if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned; tensors are copied, and cast to what the parameters need."""
        groups, saved = self.param_groups, state_dict["param_groups"]
        if len(groups) != len(saved):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(saved)}, expected {len(groups)}"
            )
        for i, (mine, theirs) in enumerate(zip(groups, saved, strict=False)):
            if len(mine["params"]) != len(theirs["params"]):
                raise ValueError(
                    f"loaded state dict contains a parameter group that doesn't match the optimizer's group {i}: "
                    f"{len(theirs['params'])} parameters, expected {len(mine['params'])}"
                )
        by_number = {
            n: p
            for mine, theirs in zip(groups, saved, strict=False)
            for n, p in zip(theirs["params"], mine["params"], strict=False)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key, by_number.get(_as_number(key)))
            state[key if param is None else param] = value if param is None else self._cast_state(param, value)
        self.state = state
        self.param_groups = [
            {**{k: v for k, v in theirs.items() if k != "params"}, "params": mine["params"]}
            for mine, theirs in zip(groups, saved, strict=False)
        ]
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def _cast_state(self, param: Tensor, value: Any, key: str = "") -> Any:
        if isinstance(value, Tensor):
            if key == "step":
                return int(value)
            dtype = value.dtype
            if value.is_floating_point():
                dtype = param.dtype if key in self._narrow_states else state_dtype(param)
            return value.detach().to(device=param.device, dtype=dtype).clone()
        if isinstance(value, dict):
            return {k: self._cast_state(param, v, k) for k, v in value.items()}
        if isinstance(value, Iterable) and not isinstance(value, str):
            return type(value)(self._cast_state(param, v) for v in value)  # type: ignore[call-arg]
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_opt_called", False)
        self.__dict__.setdefault("_step_pre_hooks", OrderedDict())
        self.__dict__.setdefault("_step_post_hooks", OrderedDict())

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _as_number(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdigit() else key


def check(name: str, value: Any, ok: Any) -> None:
    """The error of an option out of range."""
    if not ok:
        raise ValueError(f"Invalid {name}: {value}")


def state_dtype(param: Tensor) -> Any:
    """What a moment is kept in: float32 for parameters of a half type, else the parameter's dtype.

    A moment that keeps 0.999 of itself in each step changes by less than half a unit of bfloat16's last place (1/256):
    kept in bfloat16 it would never shrink.
    """
    return _core.float32 if param.dtype in (_core.bfloat16, _core.float16) else param.dtype


def states_like(params: list[Tensor], states: list[dict[str, Any]], name: str, value: float = 0.0) -> list[Tensor]:
    """state[name] of each parameter; made where it is missing: the parameter's shape and `state_dtype`."""
    result = []
    for p, state in zip(params, states, strict=False):
        t = state.get(name)
        if t is None:
            _graph_state.refuse("making the state of an optimizer")
            t = _core.empty(tuple(p.shape), dtype=state_dtype(p), device=p.device).fill_(value)
            state[name] = t
        result.append(t)
    return result


def count_steps(states: list[dict[str, Any]]) -> list[float]:
    """state["step"] of each parameter, raised by one; in a capture, which takes no step, without keeping it."""
    steps = []
    for state in states:
        step = int(state.get("step", 0)) + 1
        if not _graph_state.capturing():
            state["step"] = step
        steps.append(float(step))
    return steps


def device_counts(params: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
    """state["step"] of each parameter as a tensor where the parameter is, which steps on the device raise.

    Without a count so far, a momentum buffer tells that there was a step.
    """
    for p, state in zip(params, states, strict=False):
        step = state.get("step", int(state.get("momentum_buffer") is not None))
        if not isinstance(step, Tensor):
            _graph_state.refuse("moving the count of steps to the device")
            state["step"] = full((), float(step), dtype=_core.float64, device=p.device)
    return [state["step"] for state in states]
