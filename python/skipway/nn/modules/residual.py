"""Residual connections (He et al. 2016), beyond PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from ..._core import Tensor
from .. import functional as F
from ._checks import expect_a
from .module import Module


class Residual(Module):
    """activation(shortcut(x) + body(x)), the sum and the activation in one op (He et al. 2016, equations 1 and 2).

    Args:
        body: the branch.
        shortcut: the way around it; None is the identity.
        activation: None, a name that `functional.residual_add` takes ("relu", ...), or a callable.
    """

    def __init__(
        self,
        body: Module,
        shortcut: Module | None = None,
        activation: str | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        expect_a(self, Callable, "a module", body=body)
        expect_a(self, Callable, "a module or None", optional=True, shortcut=shortcut)
        expect_a(self, (str, Callable), "None, a name or a function", optional=True, activation=activation)
        self.body = body
        self.shortcut: Module | None
        if shortcut is None:
            self.register_module("shortcut", None)
        else:
            self.shortcut = shortcut
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        around = input if self.shortcut is None else self.shortcut(input)
        if self.activation is None or isinstance(self.activation, str):
            return F.residual_add(around, self.body(input), activation=self.activation)
        return self.activation(F.residual_add(around, self.body(input)))

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}" if isinstance(self.activation, str) else ""
