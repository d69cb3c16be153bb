"""Windows as columns, and back."""

from __future__ import annotations

from typing import Any

from ..._core import Tensor
from .. import functional as F
from ._checks import expect_sizes
from .module import Module


class Unfold(Module):
    """(N, C, H, W) -> (N, C * kernel height * kernel width, number of windows)."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        expect_sizes(self, 1, kernel_size=kernel_size, dilation=dilation, stride=stride)
        expect_sizes(self, 0, padding=padding)
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """The adjoint of `Unfold`: (N, C * kernel height * kernel width, windows) -> (N, C, *output_size)."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        expect_sizes(self, 1, output_size=output_size, kernel_size=kernel_size, dilation=dilation, stride=stride)
        expect_sizes(self, 0, padding=padding)
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
