"""ChannelShuffle (Zhang et al. 2018)."""

from __future__ import annotations

from ..._core import Tensor
from .. import functional as F
from ._checks import expect_whole
from .module import Module


class ChannelShuffle(Module):
    """Interleaves the channels of `groups` groups: channel (g, c) moves to (c, g) (Zhang et al. 2018, figure 1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        expect_whole(self, 1, groups=groups)
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
