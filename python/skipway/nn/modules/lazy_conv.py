"""Convolutions that take `in_channels` from their first input."""

from __future__ import annotations

from typing import Any

from ... import _core
from ..._core import Tensor
from ..parameter import UninitializedParameter
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .lazy import LazyModuleMixin


class _LazyConvMixin(LazyModuleMixin):
    """A convolution that takes `in_channels` from its first input."""

    weight: Any
    bias: Any
    transposed: bool
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Makes the weight, now that the number of channels is known."""
        if not self.has_uninitialized_params():  # the parameters came from a state dict
            self.in_channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups
            return
        dims = len(self.kernel_size)
        if input.dim() not in (dims + 1, dims + 2):
            raise _core.ShapeError(
                f"{type(self).__name__}: expected input of {dims + 1} or {dims + 2} dimensions, "
                f"got {tuple(input.shape)}"
            )
        self.in_channels = input.shape[-dims - 1]
        if self.in_channels % self.groups != 0:
            raise ValueError(
                f"{type(self).__name__}: in_channels must be divisible by groups, got {self.in_channels} and "
                f"{self.groups}"
            )
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        self.weight.materialize((first, second // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


def _lazy_conv(cls: type, transposed: bool) -> type:
    """The class `Lazy<cls>`, whose constructor lacks `in_channels`."""

    class Lazy(_LazyConvMixin, cls):  # type: ignore[misc, valid-type]
        cls_to_become = cls

        if transposed:

            def __init__(
                self,
                out_channels: int,
                kernel_size: Any,
                stride: Any = 1,
                padding: Any = 0,
                output_padding: Any = 0,
                groups: int = 1,
                bias: bool = True,
                dilation: Any = 1,
                padding_mode: str = "zeros",
                device: Any = None,
                dtype: Any = None,
            ) -> None:
                rest = (stride, padding, output_padding, groups, False, dilation, padding_mode)
                super().__init__(0, 0, kernel_size, *rest, device=device, dtype=dtype)
                self._become_lazy(out_channels, bias, device, dtype)
        else:

            def __init__(  # type: ignore[misc]
                self,
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
            ) -> None:
                rest = (stride, padding, dilation, groups, False, padding_mode)
                super().__init__(0, 0, kernel_size, *rest, device=device, dtype=dtype)
                self._become_lazy(out_channels, bias, device, dtype)

        def _become_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
            self.out_channels = out_channels
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)

    Lazy.__name__ = Lazy.__qualname__ = "Lazy" + cls.__name__
    Lazy.__doc__ = f"A `{cls.__name__}` that takes `in_channels` from its first input."
    return Lazy


LazyConv1d = _lazy_conv(Conv1d, False)
LazyConv2d = _lazy_conv(Conv2d, False)
LazyConv3d = _lazy_conv(Conv3d, False)
LazyConvTranspose1d = _lazy_conv(ConvTranspose1d, True)
LazyConvTranspose2d = _lazy_conv(ConvTranspose2d, True)
LazyConvTranspose3d = _lazy_conv(ConvTranspose3d, True)
