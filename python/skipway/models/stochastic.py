"""Residual networks with noise on their branches: stochastic depth (Huang et al. 2016) and shake-shake (Gastaldi
2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import skipway as sw
import skipway.nn.functional as F
from skipway import nn

from ._blocks import PadShortcut, conv1x1, conv3x3, make_norm, norm_act
from .resnet import Norm


class StochasticDepthBlock(nn.Module):
    """relu(x + b F(x)) with b = 0 with probability `p` while training (Huang et al. 2016, equation 2), F two 3x3
    convolutions.

    Kept branches are divided by 1 - p, so that evaluation takes them as they are. With mode "batch" one decision is
    taken for the whole batch, as in the paper, and on the CPU a dropped branch is not computed: its BatchNorm
    statistics stay, and its parameters get no gradient. (On a GPU the decision is taken there, so that a captured step
    takes a new one each time.) With "row" each image has its own.
    """

    def __init__(
        self, inplanes: int, planes: int, stride: int, p: float, mode: str = "batch", norm_layer: Norm | None = None
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = make_norm(norm_layer, planes, "relu")
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = make_norm(norm_layer, planes)
        changes = stride != 1 or inplanes != planes
        self.downsample = PadShortcut(planes - inplanes, stride) if changes else None
        self.drop = nn.StochasticDepth(p, mode)

    def forward(self, x: Any) -> Any:
        around = x if self.downsample is None else self.downsample(x)
        p = self.drop.p if self.training else 0.0
        once = self.drop.mode == "batch" and p > 0 and not x.is_cuda
        if once and float(sw.rand(1).item()) < p:
            return F.relu(around)
        branch = self.bn2(self.conv2(norm_act(self.bn1, self.conv1(x))))
        if once:
            return F.residual_add(around, branch, 1.0 / (1.0 - p), "relu")
        return F.residual_add(around, self.drop(branch) if p > 0 else branch, activation="relu")


class StochasticDepthResNet(nn.Module):
    """A CIFAR network of depth 6n + 2 whose blocks survive with probability 1 - l / L (1 - last) (Huang et al. 2016,
    equation 4); shortcuts have no parameters (option A).

    Args:
        depth: 8, 14, 20, ...; the paper's are 110 and 1202.
        num_classes, in_channels, width: outputs, channels of the images, channels of the first stage.
        last: the probability with which the last block survives.
        mode: "batch" drops a block for the whole batch, "row" for each image.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        last: float = 0.5,
        mode: str = "batch",
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"StochasticDepthResNet: depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
        n = (depth - 2) // 6
        keep = F.linear_survival(3 * n, last)
        self.conv1 = conv3x3(in_channels, width)
        self.bn1 = make_norm(norm_layer, width, "relu")
        channels = width
        for i in range(3):
            chain: list[nn.Module] = []
            for j in range(n):
                stride = 2 if i > 0 and j == 0 else 1
                p = 1.0 - keep[i * n + j]
                chain.append(StochasticDepthBlock(channels, width << i, stride, p, mode, norm_layer))
                channels = width << i
            self.add_module(f"layer{i + 1}", nn.Sequential(*chain))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        _kaiming(self)

    def forward(self, x: Any) -> Any:
        x = norm_act(self.bn1, self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class ShiftShortcut(nn.Module):
    """Two ways to half the size, one a pixel further down and right, each with half of the new channels, and BatchNorm
    (Gastaldi 2017, section 2.1)."""

    def __init__(self, inplanes: int, planes: int, norm_layer: Norm | None = None) -> None:
        super().__init__()
        self.conv1 = conv1x1(inplanes, planes // 2)
        self.conv2 = conv1x1(inplanes, planes - planes // 2)
        self.bn = make_norm(norm_layer, planes)

    def forward(self, x: Any) -> Any:
        shifted = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        return self.bn(sw.cat([self.conv1(x[:, :, ::2, ::2]), self.conv2(shifted[:, :, ::2, ::2])], 1))


class ShakeBlock(nn.Module):
    """h(x) + a F1(x) + (1 - a) F2(x) with random a (Gastaldi 2017, equation 2); F is ReLU conv BN ReLU conv BN."""

    def __init__(
        self, inplanes: int, planes: int, stride: int, shake: nn.Module, norm_layer: Norm | None = None
    ) -> None:
        super().__init__()

        def branch() -> nn.Sequential:
            return nn.Sequential(
                nn.ReLU(), conv3x3(inplanes, planes, stride), make_norm(norm_layer, planes, "relu"),
                *([] if norm_layer is None else [nn.ReLU()]), conv3x3(planes, planes), make_norm(norm_layer, planes),
            )  # fmt: skip

        self.branch1, self.branch2 = branch(), branch()
        self.shake = shake
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.ReLU(), ShiftShortcut(inplanes, planes, norm_layer))
        elif inplanes != planes:
            self.downsample = nn.Sequential(conv1x1(inplanes, planes), make_norm(norm_layer, planes))

    def forward(self, x: Any) -> Any:
        around = x if self.downsample is None else self.downsample(x)
        return F.residual_add(around, self.shake(self.branch1(x), self.branch2(x)))


class ShakeShakeResNet(nn.Module):
    """The two-branch networks for CIFAR (Gastaldi 2017, section 2.1): 3 stages of blocks behind a 3x3 convolution of 16
    filters, named by depth, branches and the width of the first stage, as 26 2x32d.

    Args:
        width: channels of the first stage: 32, 64, 96 or 112 in the paper.
        blocks: per stage; 4 makes 26 layers.
        num_classes, in_channels: outputs, channels of the images.
        forward_mode, backward_mode, level: of `nn.ShakeShake`: "shake" or "even"; "shake", "even" or "keep"; "image" or
            "batch".
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int | Sequence[int] = 4,
        num_classes: int = 10,
        in_channels: int = 3,
        forward_mode: str = "shake",
        backward_mode: str = "shake",
        level: str = "image",
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        counts = [blocks] * 3 if isinstance(blocks, int) else list(blocks)
        if len(counts) != 3 or min(counts) < 1 or width < 2:
            raise ValueError(f"ShakeShakeResNet: expected 3 stages of blocks and width >= 2, got {blocks!r}, {width!r}")
        self.conv1 = conv3x3(in_channels, 16)
        self.bn1 = make_norm(norm_layer, 16)
        channels = 16
        for i, count in enumerate(counts):
            chain: list[nn.Module] = []
            for j in range(count):
                shake = nn.ShakeShake(forward_mode, backward_mode, level)
                chain.append(ShakeBlock(channels, width << i, 2 if i > 0 and j == 0 else 1, shake, norm_layer))
                channels = width << i
            self.add_module(f"layer{i + 1}", nn.Sequential(*chain))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        _kaiming(self)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(F.relu(x)).flatten(1))


def _kaiming(model: nn.Module) -> None:
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def stochastic_depth_resnet110(**kwargs: Any) -> StochasticDepthResNet:
    """ResNet-110 for CIFAR with stochastic depth, survival decaying to 0.5 (Huang et al. 2016, section 4); arguments of
    `StochasticDepthResNet`."""
    return StochasticDepthResNet(110, **kwargs)


def stochastic_depth_resnet1202(**kwargs: Any) -> StochasticDepthResNet:
    """ResNet-1202 for CIFAR with stochastic depth, survival decaying to 0.5 (Huang et al. 2016, section 4); arguments
    of `StochasticDepthResNet`."""
    return StochasticDepthResNet(1202, **kwargs)


def shake_shake26_2x32d(**kwargs: Any) -> ShakeShakeResNet:
    """Shake-shake 26 2x32d (Gastaldi 2017, table 1); arguments of `ShakeShakeResNet`."""
    return ShakeShakeResNet(32, **kwargs)


def shake_shake26_2x64d(**kwargs: Any) -> ShakeShakeResNet:
    """Shake-shake 26 2x64d (Gastaldi 2017, table 1); arguments of `ShakeShakeResNet`."""
    return ShakeShakeResNet(64, **kwargs)


def shake_shake26_2x96d(**kwargs: Any) -> ShakeShakeResNet:
    """Shake-shake 26 2x96d (Gastaldi 2017, table 1), 26.2 million parameters; arguments of `ShakeShakeResNet`."""
    return ShakeShakeResNet(96, **kwargs)
