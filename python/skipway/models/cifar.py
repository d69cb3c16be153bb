"""The residual networks for CIFAR of He et al. 2016, section 4.2: a 3x3 convolution, three stages of n blocks with 16,
32 and 64 channels at full, half and quarter size, global average pooling and a linear layer: 6n + 2 layers with
weights."""

from __future__ import annotations

from typing import Any

from skipway import nn

from ._blocks import conv1x1, conv3x3, make_norm, norm_act
from .resnet import BasicBlock, Norm


class CifarResNet(nn.Module):
    """A network of depth 6n + 2 for small images (He et al. 2016, section 4.2).

    Args:
        depth: 8, 14, 20, 26, 32, ...
        num_classes: outputs of ``fc``.
        in_channels: of the images: 3, or 1 for digits.
        width: channels of the first stage; the second and third have twice and four times as many.
        shortcut: ``"conv"`` (1x1 convolution where the shape changes, option B of the paper) or ``"pad"`` (every second
            pixel, and zeros for the new channels: no parameters, option A, as in the paper's CIFAR experiments).
        zero_init_residual: start the last normalisation of each block at 0.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        shortcut: str = "conv",
        zero_init_residual: bool = False,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"CifarResNet: depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
        if shortcut not in ("conv", "pad"):
            raise ValueError(f"CifarResNet: shortcut must be 'conv' or 'pad', got {shortcut!r}")
        n = (depth - 2) // 6
        self.depth = depth
        self.inplanes = width
        self.conv1 = conv3x3(in_channels, width)
        self.bn1 = make_norm(norm_layer, width, "relu")
        self.layer1 = self._stage(width, n, 1, shortcut, norm_layer)
        self.layer2 = self._stage(2 * width, n, 2, shortcut, norm_layer)
        self.layer3 = self._stage(4 * width, n, 2, shortcut, norm_layer)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(m, BasicBlock) and getattr(m.bn2, "weight", None) is not None:
                nn.init.constant_(m.bn2.weight, 0)

    def _stage(self, planes: int, blocks: int, stride: int, shortcut: str, norm_layer: Norm | None) -> nn.Sequential:
        downsample: nn.Module | None = None
        if stride != 1 or self.inplanes != planes:
            if shortcut == "pad":
                downsample = PadShortcut(planes - self.inplanes, stride)
            else:
                downsample = nn.Sequential(conv1x1(self.inplanes, planes, stride), make_norm(norm_layer, planes))
        chain = [BasicBlock(self.inplanes, planes, stride, downsample, norm_layer=norm_layer)]
        self.inplanes = planes
        chain += [BasicBlock(planes, planes, norm_layer=norm_layer) for _ in range(1, blocks)]
        return nn.Sequential(*chain)

    def forward(self, x: Any) -> Any:
        x = norm_act(self.bn1, self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class PadShortcut(nn.Module):
    """Option A of the paper: every ``stride``-th pixel, and ``extra`` channels of zeros, half before, half after."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Any) -> Any:
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


def cifar_resnet(depth: int, **kwargs: Any) -> CifarResNet:
    """The CIFAR network with ``depth`` = 6n + 2 layers (He et al. 2016, section 4.2); arguments of `CifarResNet`."""
    return CifarResNet(depth, **kwargs)


def resnet8(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 8 layers, 1 block per stage (He et al. 2016, section 4.2); arguments of `CifarResNet`."""
    return CifarResNet(8, **kwargs)


def resnet14(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 14 layers, 2 blocks per stage (He et al. 2016, section 4.2); arguments of `CifarResNet`."""
    return CifarResNet(14, **kwargs)


def resnet20(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 20 layers, 3 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(20, **kwargs)


def resnet32(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 32 layers, 5 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(32, **kwargs)


def resnet44(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 44 layers, 7 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(44, **kwargs)


def resnet56(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 56 layers, 9 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(56, **kwargs)


def resnet110(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 110 layers, 18 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(110, **kwargs)
