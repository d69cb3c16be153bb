"""Noise on weights and branches: DropConnect, stochastic depth, shake-shake. All are deterministic in evaluation."""

from __future__ import annotations

import math
from typing import Any

from ..._core import Tensor
from .. import functional as F
from ._checks import expect_number, expect_option
from .conv import Conv1d, Conv2d, Conv3d, _Conv
from .linear import Linear
from .module import Module


class StochasticDepth(Module):
    """Drops a branch with probability p while training and divides it by 1 - p else (Huang et al. 2016, equation 2).

    Put it at the end of the body of a `Residual`. p=1 always gives 0 in training.

    Args:
        p: the probability of dropping.
        mode: "row" decides for each sample, "batch" once for all.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        expect_number(self, least=0, most=1, p=p)
        expect_option(self, ("batch", "row"), mode=mode)
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        return F.stochastic_depth(input, self.p, self.mode, self.training)

    @classmethod
    def linear_decay(cls, blocks: int, last: float = 0.5, mode: str = "row") -> list[StochasticDepth]:
        """A layer per block, the last kept with probability `last` (Huang et al. 2016, equation 4)."""
        return [cls(1.0 - keep, mode) for keep in F.linear_survival(blocks, last)]

    def extra_repr(self) -> str:
        return f"p={self.p:g}, mode={self.mode!r}"


class ShakeShake(Module):
    """a x1 + (1 - a) x2, with a from U(0, 1), and other random shares b and 1 - b for the gradients (Gastaldi 2017,
    equation 2).

    In evaluation all shares are 1/2. See `functional.shake_shake` for the options, called `shake_shake(x1, x2)`.
    """

    def __init__(self, forward_mode: str = "shake", backward_mode: str = "shake", level: str = "image") -> None:
        super().__init__()
        expect_option(self, ("shake", "even"), forward_mode=forward_mode)
        expect_option(self, ("shake", "even", "keep"), backward_mode=backward_mode)
        expect_option(self, ("batch", "image"), level=level)
        self.forward_mode = forward_mode
        self.backward_mode = backward_mode
        self.level = level

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.shake_shake(x1, x2, self.forward_mode, self.backward_mode, self.level, self.training)

    def extra_repr(self) -> str:
        return f"{self.forward_mode!r}, {self.backward_mode!r}, level={self.level!r}"


class DropConnectLinear(Linear):
    """`Linear` whose weights and biases are each zero with probability p while training (Wan et al. 2013, equation 2).

    y = (M * W) x / (1 - p) + (m * b) / (1 - p); evaluation uses W and b, the mean-field approximation of the paper.

    Args:
        p: the probability of dropping a weight.
        per_sample: a mask for each sample, as in the paper; it takes N times the memory of the weights. False draws one
            mask for the batch.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        p: float = 0.5,
        bias: bool = True,
        per_sample: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        expect_number(self, least=0, most=1, p=p)
        self.p = p
        self.per_sample = per_sample

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return F.linear(input, self.weight, self.bias)
        if not self.per_sample or input.dim() < 2 or input.shape[-1] != self.in_features:
            bias = None if self.bias is None else F.drop_connect(self.bias, self.p)
            return F.linear(input, F.drop_connect(self.weight, self.p), bias)
        n = input.shape[0]
        weight = F.drop_connect(self.weight, self.p, samples=n)
        y = input.reshape(n, math.prod(input.shape[1:-1]), self.in_features).matmul(weight.transpose(1, 2))
        if self.bias is not None:
            y = y + F.drop_connect(self.bias, self.p, samples=n).unsqueeze(1)
        return y.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}, per_sample={self.per_sample}"


class _DropConnectConv(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        p: float = 0.5,
        per_sample: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        expect_number(self, least=0, most=1, p=p)
        self.p = p
        self.per_sample = per_sample

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return self._conv_forward(input, self.weight, self.bias)
        if self.per_sample and input.dim() == self._dims + 2 and input.shape[1] == self.in_channels and len(input):
            return self._per_sample(input)
        bias = None if self.bias is None else F.drop_connect(self.bias, self.p)
        return self._conv_forward(input, F.drop_connect(self.weight, self.p), bias)

    def _per_sample(self, input: Tensor) -> Tensor:
        """One convolution, with the samples as groups of channels."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        n, channels, *size = input.shape
        weight = F.drop_connect(self.weight, self.p, samples=n).reshape(n * self.out_channels, *self.weight.shape[1:])
        flat = input.reshape(1, n * channels, *size)
        y = type(self)._function(flat, weight, None, self.stride, padding, self.dilation, n * self.groups)
        y = y.reshape(n, self.out_channels, *y.shape[2:])
        if self.bias is None:
            return y
        return y + F.drop_connect(self.bias, self.p, samples=n).reshape(n, self.out_channels, *(1,) * self._dims)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}, per_sample={self.per_sample}"


class DropConnectConv1d(_DropConnectConv, Conv1d):
    """`Conv1d` whose filters drop weights as `DropConnectLinear` does (Wan et al. 2013, equation 2)."""


class DropConnectConv2d(_DropConnectConv, Conv2d):
    """`Conv2d` whose filters drop weights as `DropConnectLinear` does (Wan et al. 2013, equation 2)."""


class DropConnectConv3d(_DropConnectConv, Conv3d):
    """`Conv3d` whose filters drop weights as `DropConnectLinear` does (Wan et al. 2013, equation 2)."""
