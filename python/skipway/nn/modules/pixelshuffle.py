"""Moving blocks of pixels into channels and back (Shi et al. 2016)."""

from __future__ import annotations

from ..._core import Tensor
from .. import functional as F
from ._checks import expect_whole
from .module import Module


class PixelShuffle(Module):
    """(..., C * r^2, H, W) -> (..., C, H * r, W * r) (Shi et al. 2016, equation 4)."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        expect_whole(self, 1, upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H * r, W * r) -> (..., C * r^2, H, W)."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        expect_whole(self, 1, downscale_factor=downscale_factor)
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"
