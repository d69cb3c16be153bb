"""What the networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import skipway.nn.functional as F
from skipway import nn


def refuse_weights(name: str, weights: Any) -> None:
    """A ValueError where a name of weights to download is given, as torchvision takes them."""
    if weights:
        raise ValueError(f"{name}: there are no weights to download; pass weights=None and load a state dict")


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        in_planes, out_planes, 3, stride=stride, padding=dilation, groups=groups, bias=False, dilation=dilation
    )


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_planes, out_planes, 1, stride=stride, bias=False)


def make_norm(norm_layer: Callable[..., nn.Module] | None, planes: int, activation: str | None = None) -> nn.Module:
    """BatchNorm2d that also adds and activates, or a layer of the user's choice, which only normalises."""
    if norm_layer is None or norm_layer is nn.BatchNorm2d:
        return nn.BatchNorm2d(planes, activation=activation)
    return norm_layer(planes)


def norm_act(norm: nn.Module, x: Any, residual: Any = None) -> Any:
    """relu(norm(x) + residual), as one op where the layer can."""
    if getattr(norm, "activation", None) == "relu":
        return norm(x) if residual is None else norm(x, residual)
    y = norm(x)
    return F.relu(y if residual is None else y + residual)


class PadShortcut(nn.Module):
    """Option A of He et al. 2016, section 3.3: every ``stride``-th pixel, and ``extra`` channels of zeros, half before,
    half after."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Any) -> Any:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
