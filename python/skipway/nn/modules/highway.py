"""Highway layers (Srivastava et al. 2015): a learned gate decides how much of the input is carried through."""

from __future__ import annotations

from typing import Any

from ... import _core
from ..._core import Tensor
from .. import functional as F
from .. import init
from ._checks import expect_number, expect_option, expect_whole
from .conv import Conv2d
from .linear import Linear
from .module import Module

_ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu", "silu")


class _Highway(Module):
    """y = H(x) T(x) + x (1 - T(x)); subclasses make the maps `transform` and `gate`."""

    transform: Any
    gate: Any

    def __init__(self, activation: str, gate_bias: float) -> None:
        super().__init__()
        expect_option(self, _ACTIVATIONS, activation=activation)
        expect_number(self, gate_bias=gate_bias)
        self.activation = activation
        self.gate_bias = gate_bias

    def reset_parameters(self) -> None:
        """The maps' own initial values, and `gate_bias` for the bias of the gate."""
        self.transform.reset_parameters()
        self.gate.reset_parameters()
        init.constant_(self.gate.bias, self.gate_bias)

    def _check(self, input: Tensor) -> None:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        branch = getattr(F, self.activation)(self.transform(input))
        return F.gated_sum(input, branch, self.gate(input))

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}, gate_bias={self.gate_bias}"


class Highway(_Highway):
    """y = H(x) T(x) + x (1 - T(x)) with dense H = act(W_H x + b_H), T = sigmoid(W_T x + b_T) over the last dimension
    (Srivastava et al. 2015, equation 3).

    Args:
        features: in and out.
        activation: of H: relu, tanh, sigmoid, leaky_relu, elu, gelu or silu.
        gate_bias: where b_T starts; negative, so that the layer begins by carrying its input through (section 2.2).
    """

    def __init__(
        self, features: int, activation: str = "relu", gate_bias: float = -2.0, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(activation, gate_bias)
        expect_whole(self, 1, features=features)
        self.transform = Linear(features, features, device=device, dtype=dtype)
        self.gate = Linear(features, features, device=device, dtype=dtype)
        self.reset_parameters()

    def _check(self, input: Tensor) -> None:
        features = self.transform.in_features
        if input.dim() == 0 or input.shape[-1] != features:
            wanted = f"input whose last dimension is {features}"
            raise _core.ShapeError(f"Highway: expected {wanted}, got {tuple(input.shape)}")


class HighwayConv2d(_Highway):
    """`Highway` whose maps are convolutions of (N, C, H, W) that keep its size (Srivastava et al. 2015, section 2.1).

    Args:
        channels: in and out.
        kernel_size: odd, of both convolutions.
        activation, gate_bias: as of `Highway`.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        activation: str = "relu",
        gate_bias: float = -2.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(activation, gate_bias)
        expect_whole(self, 1, channels=channels, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"HighwayConv2d: expected kernel_size to be odd, got {kernel_size}")
        around = kernel_size // 2
        self.transform = Conv2d(channels, channels, kernel_size, padding=around, device=device, dtype=dtype)
        self.gate = Conv2d(channels, channels, kernel_size, padding=around, device=device, dtype=dtype)
        self.reset_parameters()

    def _check(self, input: Tensor) -> None:
        channels = self.transform.in_channels
        if input.dim() not in (3, 4) or input.shape[-3] != channels:
            wanted = f"(N, C, H, W) or (C, H, W) input with {channels} channels"
            raise _core.ShapeError(f"HighwayConv2d: expected {wanted}, got {tuple(input.shape)}")
