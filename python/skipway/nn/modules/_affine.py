"""The weight and bias of normalization layers."""

from __future__ import annotations

from typing import Any

from ... import _creation as creation
from .. import init
from ..parameter import Parameter
from .module import Module


class AffineModule(Module):
    """A layer that multiplies by a weight and adds a bias after it has normalized; either may be None."""

    weight: Any
    bias: Any

    def _register_affine(self, shape: Any, weight: bool, bias: bool, device: Any, dtype: Any) -> None:
        for name, wanted in (("weight", weight), ("bias", bias)):
            made = Parameter(creation.empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)
