"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .. import _core, _graph_state
from .._core import Tensor
from .optimizer import Optimizer, check


class SGD(Optimizer):
    """v = momentum v + (1 - dampening) g, p -= lr v; with Nesterov's momentum p -= lr (g + momentum v).

    Sutskever et al. 2013. `weight_decay` * p is added to the gradient g.

    `state[p]["momentum_buffer"]` is v in the dtype of p, bfloat16 too, and each step's sum is formed in float32: what
    is left of v after a step, usually 0.9 of it, is far from v in any dtype. Adam's moments, one of which keeps 0.999
    of itself, are float32 for parameters of a half type.
    """

    _narrow_states = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check("learning rate", lr, lr >= 0.0)
        check("momentum value", momentum, momentum >= 0.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _update(
        self, params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]], group: dict[str, Any]
    ) -> None:
        momentum = group["momentum"] != 0
        if self._found_inf is None:
            for state in states:
                state.pop("step", None)
        control = self._control(params, states, momentum)
        buffers = _buffers_like(params, states) if momentum else []
        buffers = _core.sgd_step(
            params,
            grads,
            buffers,
            lr=float(group["lr"]),
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            **control,
        )
        if momentum:
            for state, buffer in zip(states, buffers, strict=False):
                state["momentum_buffer"] = buffer


def _buffers_like(params: list[Tensor], states: list[dict[str, Any]]) -> list[Any]:
    """The momentum buffers so far, in the dtypes that the parameters have now (`model.bfloat16()` changes them)."""
    buffers = [state.get("momentum_buffer") for state in states]
    for i, (p, buffer) in enumerate(zip(params, buffers, strict=False)):
        if buffer is not None and buffer.dtype is not p.dtype:
            _graph_state.refuse("casting a momentum buffer")
            buffers[i] = buffer.to(p.dtype)
    return buffers
