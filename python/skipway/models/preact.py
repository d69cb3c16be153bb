"""Residual networks of full pre-activation blocks (He et al. 2016b, "Identity mappings in deep residual networks",
https://arxiv.org/abs/1603.05027, figure 4e): BN ReLU convolution, twice or three times, plus the untouched input.

The first block's first activation comes right behind the stem, before its two ways part; one more BN and ReLU follows
the last block; a projection, where the shape changes, reads what the block's first convolution reads (the appendix).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import skipway.nn.functional as F
from skipway import nn

from ._blocks import conv1x1, conv3x3, make_norm, norm_act, refuse_weights
from .resnet import Norm


class PreActBlock(nn.Module):
    """x + two 3x3 convolutions, each behind BN and ReLU (He et al. 2016b, equation 3 and figure 4e).

    `preact=False` leaves the first BN and ReLU out, where the stem ends in them.
    """

    expansion: int = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, norm_layer: Norm | None = None, preact: bool = True
    ) -> None:
        super().__init__()
        out = planes * self.expansion
        self.bn1 = make_norm(norm_layer, inplanes, "relu") if preact else None
        self._branch(inplanes, planes, stride, norm_layer)
        self.downsample = conv1x1(inplanes, out, stride) if stride != 1 or inplanes != out else None

    def _branch(self, inplanes: int, planes: int, stride: int, norm_layer: Norm | None) -> None:
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn2 = make_norm(norm_layer, planes, "relu")
        self.conv2 = conv3x3(planes, planes)

    def _run(self, x: Any) -> Any:
        return self.conv2(norm_act(self.bn2, self.conv1(x)))

    def forward(self, x: Any) -> Any:
        ready = x if self.bn1 is None else norm_act(self.bn1, x)
        around = x if self.downsample is None else self.downsample(ready)
        return F.residual_add(around, self._run(ready))


class PreActBottleneck(PreActBlock):
    """x + 1x1, 3x3 and 1x1 convolutions, each behind BN and ReLU (He et al. 2016b, section 4)."""

    expansion: int = 4

    def _branch(self, inplanes: int, planes: int, stride: int, norm_layer: Norm | None) -> None:
        self.conv1 = conv1x1(inplanes, planes)
        self.bn2 = make_norm(norm_layer, planes, "relu")
        self.conv2 = conv3x3(planes, planes, stride)
        self.bn3 = make_norm(norm_layer, planes, "relu")
        self.conv3 = conv1x1(planes, planes * self.expansion)

    def _run(self, x: Any) -> Any:
        return self.conv3(norm_act(self.bn3, self.conv2(norm_act(self.bn2, self.conv1(x)))))


class PreActResNet(nn.Module):
    """Stages of pre-activation blocks (He et al. 2016b).

    Args:
        block, layers: the kind of block, and how many in each stage.
        num_classes: outputs of ``fc``.
        in_channels: of the images.
        width: of the first stage's 3x3 convolutions; each later stage has twice as many.
        small: the stem is a 3x3 convolution, for CIFAR; else 7x7 at stride 2 and max pooling.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
    """

    def __init__(
        self,
        block: type[PreActBlock],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        small: bool = False,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if not layers or min(layers) < 1:
            raise ValueError(f"PreActResNet: layers must be a positive number of blocks per stage, got {layers!r}")
        stem = conv3x3(in_channels, width) if small else nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.conv1 = stem
        self.bn1 = make_norm(norm_layer, width, "relu")
        self.maxpool = None if small else nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for i, count in enumerate(layers):
            chain: list[nn.Module] = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                chain.append(block(channels, width << i, stride, norm_layer, preact=i + j > 0))
                channels = (width << i) * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*chain))
        self.stages = len(layers)
        self.bn_last = make_norm(norm_layer, channels, "relu")
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        x = norm_act(self.bn1, self.conv1(x))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(self.avgpool(norm_act(self.bn_last, x)).flatten(1))


def cifar_preact_resnet(depth: int, bottleneck: bool | None = None, **kwargs: Any) -> PreActResNet:
    """The pre-activation network for CIFAR (He et al. 2016b, section 4) with three stages of n blocks.

    Args:
        depth: 6n + 2, or 9n + 2 with bottlenecks.
        bottleneck: None: with bottlenecks from depth 164 on where depth is 9n + 2, as ResNet-164 and -1001.
        kwargs: of `PreActResNet`; 10 classes and width 16 by default.
    """
    if bottleneck is None:
        bottleneck = depth >= 164 and (depth - 2) % 9 == 0
    step = 9 if bottleneck else 6
    if depth < step + 2 or (depth - 2) % step:
        more = "" if bottleneck else "; or 9n + 2 with bottleneck=True"
        raise ValueError(f"cifar_preact_resnet: depth must be {step}n + 2, got {depth}{more}")
    block = PreActBottleneck if bottleneck else PreActBlock
    return PreActResNet(block, [(depth - 2) // step] * 3, **{"num_classes": 10, "width": 16, "small": True, **kwargs})


def _imagenet(depth: int, block: type[PreActBlock], layers: list[int], weights: Any, kwargs: Any) -> PreActResNet:
    refuse_weights(f"preact_resnet{depth}", weights)
    return PreActResNet(block, layers, **kwargs)


def preact_resnet18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-18 of pre-activation blocks (He et al. 2016b); arguments of `PreActResNet`."""
    return _imagenet(18, PreActBlock, [2, 2, 2, 2], weights, kwargs)


def preact_resnet34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-34 of pre-activation blocks (He et al. 2016b); arguments of `PreActResNet`."""
    return _imagenet(34, PreActBlock, [3, 4, 6, 3], weights, kwargs)


def preact_resnet50(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-50 of pre-activation bottlenecks (He et al. 2016b); arguments of `PreActResNet`."""
    return _imagenet(50, PreActBottleneck, [3, 4, 6, 3], weights, kwargs)


def preact_resnet101(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-101 of pre-activation bottlenecks (He et al. 2016b); arguments of `PreActResNet`."""
    return _imagenet(101, PreActBottleneck, [3, 4, 23, 3], weights, kwargs)


def preact_resnet152(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-152 of pre-activation bottlenecks (He et al. 2016b, table 5); arguments of `PreActResNet`."""
    return _imagenet(152, PreActBottleneck, [3, 8, 36, 3], weights, kwargs)


def preact_resnet200(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> PreActResNet:
    """ResNet-200 of pre-activation bottlenecks (He et al. 2016b, table 5); arguments of `PreActResNet`."""
    return _imagenet(200, PreActBottleneck, [3, 24, 36, 3], weights, kwargs)


def preact_resnet20(**kwargs: Any) -> PreActResNet:
    """The CIFAR network of 20 layers in pre-activation blocks (He et al. 2016b); arguments of `PreActResNet`."""
    return cifar_preact_resnet(20, **kwargs)


def preact_resnet56(**kwargs: Any) -> PreActResNet:
    """The CIFAR network of 56 layers in pre-activation blocks (He et al. 2016b); arguments of `PreActResNet`."""
    return cifar_preact_resnet(56, **kwargs)


def preact_resnet110(**kwargs: Any) -> PreActResNet:
    """The CIFAR network of 110 layers in pre-activation blocks (He et al. 2016b, table 2); arguments of
    `PreActResNet`."""
    return cifar_preact_resnet(110, **kwargs)


def preact_resnet164(**kwargs: Any) -> PreActResNet:
    """The CIFAR network of 164 layers in pre-activation bottlenecks (He et al. 2016b, table 3): 1.7 million parameters;
    arguments of `PreActResNet`."""
    return cifar_preact_resnet(164, **kwargs)


def preact_resnet1001(**kwargs: Any) -> PreActResNet:
    """The CIFAR network of 1001 layers in pre-activation bottlenecks (He et al. 2016b, table 4): 10.2 million
    parameters; arguments of `PreActResNet`."""
    return cifar_preact_resnet(1001, **kwargs)
