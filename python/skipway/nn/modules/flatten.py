"""Flatten and Unflatten."""

from __future__ import annotations

from typing import Any

from ..._core import Tensor
from ._checks import expect_sizes, expect_whole
from .module import Module


class Flatten(Module):
    """Joins dimensions start_dim to end_dim into one: (N, C, H, W) -> (N, C * H * W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        expect_whole(self, None, start_dim=start_dim, end_dim=end_dim)
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits dimension `dim` into dimensions of sizes `unflattened_size`; one of them may be -1."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        expect_whole(self, None, dim=dim)
        expect_sizes(self, -1, unflattened_size=unflattened_size)
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
