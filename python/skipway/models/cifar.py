"""The residual networks for CIFAR of He et al. 2016, section 4.2: a 3x3 convolution, three stages of n blocks with 16,
32 and 64 channels at full, half and quarter size, global average pooling and a linear layer: 6n + 2 layers with
weights."""

from __future__ import annotations

from typing import Any

from skipway import nn

from ._blocks import conv3x3, make_norm, norm_act
from ._shortcuts import ShortcutBlock, check_names, make_shortcut
from .resnet import BasicBlock, Norm


class CifarResNet(nn.Module):
    """A network of depth 6n + 2 for small images (He et al. 2016, section 4.2).

    Args:
        depth: 8, 14, 20, 26, 32, ...
        num_classes: outputs of ``fc``.
        in_channels: of the images: 3, or 1 for digits.
        width: channels of the first stage; the second and third have twice and four times as many.
        shortcut: ``"conv"`` or ``"B"`` (1x1 convolution where the shape changes, option B of the paper);
            ``"identity"``, ``"pad"`` or ``"A"`` (every second pixel, and zeros for the new channels: no parameters,
            option A, as in the paper's CIFAR experiments); ``"scaling"``, ``"exclusive-gating"``,
            ``"shortcut-gating"``, ``"conv1x1"``, ``"dropout"`` (He et al. 2016b, section 3; see `ShortcutBlock`); None
            or ``"none"``, a plain network.
        zero_init_residual: start the last normalisation of each block at 0, where that leaves a block that learns.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
        block: the order of activations (He et al. 2016b, figure 4): ``"original"``, ``"bn-after-add"``,
            ``"relu-before-add"``, ``"relu-only-preact"`` or ``"full-preact"``. In the last two the first block reads
            the activated stem on both ways, and an activation follows the last block.
        gate_bias: where the bias of gates starts; None is -6 for exclusive and 0 for shortcut-only gating, as in table
            1 of He et al. 2016b.

    `cifar_resnet` takes the same arguments.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        shortcut: str | None = "conv",
        zero_init_residual: bool = False,
        norm_layer: Norm | None = None,
        block: str = "original",
        gate_bias: float | None = None,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"CifarResNet: depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
        if width < 1:
            raise ValueError(f"CifarResNet: width must be at least 1, got {width}")
        self.shortcut, self.block = check_names("CifarResNet", shortcut, block)
        self.gate_bias = gate_bias
        n = (depth - 2) // 6
        self.depth = depth
        self.inplanes = width
        self.conv1 = conv3x3(in_channels, width)
        if block != "full-preact":  # whose first block begins with the normalization
            self.bn1 = make_norm(norm_layer, width, None if block == "relu-only-preact" else "relu")
        self.layer1 = self._stage(width, n, 1, norm_layer, first=True)
        self.layer2 = self._stage(2 * width, n, 2, norm_layer)
        self.layer3 = self._stage(4 * width, n, 2, norm_layer)
        if block == "full-preact":
            self.bn_last = make_norm(norm_layer, 4 * width, "relu")
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(m, (BasicBlock, ShortcutBlock)):
                last = m.bn2 if isinstance(m, BasicBlock) else m.last_norm
                weight: Any = getattr(last, "weight", None)
                if weight is not None:
                    nn.init.constant_(weight, 0)

    def _stage(self, planes: int, blocks: int, stride: int, norm_layer: Norm | None, first: bool = False) -> Any:
        chain: list[nn.Module] = []
        for i in range(blocks):
            step = stride if i == 0 else 1
            if self.block == "original" and self.shortcut in ("identity", "conv"):
                around = make_shortcut(self.shortcut, self.inplanes, planes, step, norm_layer)
                chain.append(BasicBlock(self.inplanes, planes, step, around, norm_layer=norm_layer))
            else:
                share = True if first and i == 0 else None
                kinds = (self.shortcut, self.block, norm_layer, self.gate_bias, share)
                chain.append(ShortcutBlock(self.inplanes, planes, step, *kinds))
            self.inplanes = planes
        return nn.Sequential(*chain)

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        if self.block == "relu-only-preact":
            x = self.bn1(x)
        elif self.block != "full-preact":
            x = norm_act(self.bn1, x)
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.block == "full-preact":
            x = norm_act(self.bn_last, x)
        elif self.block == "relu-only-preact":
            x = nn.functional.relu(x)
        return self.fc(self.avgpool(x).flatten(1))


def cifar_resnet(depth: int, **kwargs: Any) -> CifarResNet:
    """The CIFAR network with ``depth`` = 6n + 2 layers (He et al. 2016, section 4.2), with any ``shortcut`` and order
    of activations ``block`` of He et al. 2016b, and any ``width``; arguments of `CifarResNet`."""
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


def resnet1202(**kwargs: Any) -> CifarResNet:
    """The CIFAR network of 1202 layers, 200 blocks per stage (He et al. 2016, table 6); arguments of `CifarResNet`."""
    return CifarResNet(1202, **kwargs)


def plain20(**kwargs: Any) -> CifarResNet:
    """The plain CIFAR network of 20 layers (He et al. 2016, figure 6 left); arguments of `CifarResNet`."""
    return CifarResNet(20, **{"shortcut": "none", **kwargs})


def plain32(**kwargs: Any) -> CifarResNet:
    """The plain CIFAR network of 32 layers (He et al. 2016, figure 6 left); arguments of `CifarResNet`."""
    return CifarResNet(32, **{"shortcut": "none", **kwargs})


def plain44(**kwargs: Any) -> CifarResNet:
    """The plain CIFAR network of 44 layers (He et al. 2016, figure 6 left); arguments of `CifarResNet`."""
    return CifarResNet(44, **{"shortcut": "none", **kwargs})


def plain56(**kwargs: Any) -> CifarResNet:
    """The plain CIFAR network of 56 layers (He et al. 2016, figure 6 left); arguments of `CifarResNet`."""
    return CifarResNet(56, **{"shortcut": "none", **kwargs})


def plain110(**kwargs: Any) -> CifarResNet:
    """The plain CIFAR network of 110 layers (He et al. 2016, section 4.2); arguments of `CifarResNet`."""
    return CifarResNet(110, **{"shortcut": "none", **kwargs})
