"""Layer, group, RMS and local response normalization."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import _creation as creation
from ..._core import Tensor
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ._affine import AffineModule
from ._checks import expect_divisible, expect_number, expect_sizes, expect_whole
from .module import Module


def _as_shape(layer: Module, shape: Any) -> tuple[int, ...]:
    expect_sizes(layer, 0, normalized_shape=shape)
    return tuple(shape) if isinstance(shape, Iterable) else (int(shape),)


class LayerNorm(AffineModule):
    """Normalizes over the last dimensions, which have shape `normalized_shape` (Ba et al. 2016, equation 3)."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(self, normalized_shape)
        expect_number(self, eps=eps)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._register_affine(self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang and Sennrich 2019); eps None: the dtype's."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(self, normalized_shape)
        expect_number(self, optional=True, eps=eps)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight: Any
        if elementwise_affine:
            self.weight = Parameter(creation.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(AffineModule):
    """Normalizes each group of channels of each sample of (N, C, ...) input (Wu and He 2018, equations 1 and 7)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        expect_whole(self, 1, num_groups=num_groups)
        expect_whole(self, 0, num_channels=num_channels)
        expect_number(self, eps=eps)
        expect_divisible(self, "num_groups", num_groups, num_channels=num_channels)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._register_affine(num_channels, affine, affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class AxisNorm(AffineModule):
    """Beyond PyTorch: normalizes (N, C, ...) input over any axes, with a weight and bias per channel.

    Axes (1, 2, 3) of an image are layer normalization (Ba et al. 2016), (2, 3) instance normalization (Ulyanov et al.
    2016), (1, 2, 3) with groups group normalization (Wu and He 2018, figure 2); 1 alone normalizes each pixel.

    Args:
        num_channels: size of dim 1.
        axes: those over which mean and variance are taken; see `functional.axis_norm`.
        groups: how many groups of channels are normalized each by itself; needs axis 1.
        eps, affine, bias: as of `GroupNorm`.
    """

    def __init__(
        self,
        num_channels: int,
        axes: Any = (1, 2, 3),
        eps: float = 1e-5,
        affine: bool = True,
        groups: int = 1,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        expect_whole(self, 1, num_channels=num_channels, groups=groups)
        expect_sizes(self, None, axes=axes)
        expect_number(self, eps=eps)
        expect_divisible(self, "groups", groups, num_channels=num_channels)
        self.num_channels = num_channels
        self.axes = tuple(axes) if isinstance(axes, Iterable) else (int(axes),)
        self.eps = eps
        self.groups = groups
        self._register_affine(num_channels, affine, affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.axis_norm(input, self.axes, self.weight, self.bias, self.eps, self.groups)

    def extra_repr(self) -> str:
        affine = self.weight is not None
        return f"{self.num_channels}, axes={self.axes}, eps={self.eps}, affine={affine}, groups={self.groups}"


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012, section 3.3)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        expect_whole(self, 1, size=size)
        expect_number(self, alpha=alpha, beta=beta, k=k)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """The same as `LocalResponseNorm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)
