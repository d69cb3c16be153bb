"""Residual connections (He et al. 2016), beyond PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import _core
from ..._core import Tensor
from .. import functional as F
from ..parameter import Parameter
from ._checks import _is_number, expect_a, expect_option
from .module import Module

_SCALE = "None, a number, two numbers or a Parameter"


class Residual(Module):
    """activation(a shortcut(x) + b body(preact(x))) (He et al. 2016, equations 1 and 2; He et al. 2016b, equation 3).

    Args:
        body: the branch.
        shortcut: the way around it; None is the identity.
        activation: None, a name that `functional.residual_add` takes ("relu", ...), or a callable.
        scale: None for a = b = 1; a number is b (Szegedy et al. 2017, section 3.3); two numbers are a and b, as
            (0.5, 0.5) for constant scaling (He et al. 2016b, section 3.1); a Parameter is a learned b (De and Smith
            2020: `Parameter(sw.zeros(1))`).
        gate: a module that reads x; with g = sigmoid(gate(x)) the shares are a = 1 - g and b = g (Srivastava et al.
            2015, equation 3), or b = 1 with gate_mode="shortcut". Its bias should start negative. Not with scale.
        gate_mode: "exclusive" or "shortcut" (He et al. 2016b, section 3.1).
        preact: normalization and activation before the body (He et al. 2016b, figure 4d and e). A shortcut that is a
            module, such as the projection where the shape changes, reads preact(x) too; the identity is x itself.

    Where a and b are 1 or b is a number, the sum and the activation are one op.
    """

    def __init__(
        self,
        body: Module,
        shortcut: Module | None = None,
        activation: str | Callable[[Tensor], Tensor] | None = None,
        *,
        scale: Any = None,
        gate: Module | None = None,
        gate_mode: str = "exclusive",
        preact: Module | None = None,
    ) -> None:
        super().__init__()
        expect_a(self, Callable, "a module", body=body)
        expect_a(self, Callable, "a module or None", optional=True, shortcut=shortcut, gate=gate, preact=preact)
        expect_a(self, (str, Callable), "None, a name or a function", optional=True, activation=activation)
        expect_option(self, ("exclusive", "shortcut"), gate_mode=gate_mode)
        if scale is not None and gate is not None:
            raise ValueError(f"Residual: expected scale or gate, not both, got scale {scale!r} and a gate")
        self.body = body
        for name, module in (("shortcut", shortcut), ("gate", gate), ("preact", preact)):
            if module is None:
                self.register_module(name, None)
            else:
                setattr(self, name, module)
        self.activation = activation
        self.gate_mode = gate_mode
        self.scale: Any = self._checked(scale)

    @staticmethod
    def _checked(scale: Any) -> Any:
        if scale is None or isinstance(scale, Parameter):
            return scale
        pair = tuple(scale) if isinstance(scale, (tuple, list)) else (scale,)
        if len(pair) > 2 or not pair or not all(_is_number(s) and not isinstance(s, Tensor) for s in pair):
            raise TypeError(f"Residual: expected scale to be {_SCALE}, got {scale!r}")
        return float(pair[0]) if len(pair) == 1 else (float(pair[0]), float(pair[1]))

    def forward(self, input: Tensor) -> Tensor:
        x: Tensor = input if self.preact is None else self.preact(input)
        around: Tensor = input if self.shortcut is None else self.shortcut(x)
        branch: Tensor = self.body(x)
        if around.dtype != branch.dtype:  # as `+` does; autocast makes it happen
            wide = _core.result_type(around, branch)
            around, branch = around.to(wide), branch.to(wide)
        name = self.activation if isinstance(self.activation, str) else None
        if self.gate is not None:
            y = F.gated_sum(around, branch, self.gate(input), self.gate_mode, name)
        elif isinstance(self.scale, Parameter):
            y = F.residual_add(around, branch * self.scale, activation=name)
        else:
            a, b = self.scale if isinstance(self.scale, tuple) else (1.0, 1.0 if self.scale is None else self.scale)
            y = F.residual_add(around if a == 1.0 else around * a, branch, b, name)
        return y if name is not None or self.activation is None else self.activation(y)  # type: ignore[operator]

    def extra_repr(self) -> str:
        shown = [f"activation={self.activation!r}"] if isinstance(self.activation, str) else []
        if self.scale is not None:
            shown.append("scale=learned" if isinstance(self.scale, Parameter) else f"scale={self.scale}")
        if self.gate is not None:
            shown.append(f"gate_mode={self.gate_mode!r}")
        return ", ".join(shown)
