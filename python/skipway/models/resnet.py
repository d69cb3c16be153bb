"""The residual networks of He et al. 2016 (https://arxiv.org/abs/1512.03385), with torchvision's parameter names,
arguments and initial values, so that state dicts go both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skipway import nn

from ._blocks import PadShortcut, conv1x1, conv3x3, make_norm, norm_act, refuse_weights

Norm = Callable[..., nn.Module]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (He et al. 2016, figure 5 left); ``downsample`` fits the identity to their shape."""

    expansion: int = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError(f"BasicBlock: only groups=1 and base_width=64, got {groups} and {base_width}")
        if dilation > 1:
            raise NotImplementedError("BasicBlock: dilation above 1 is not supported")
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = make_norm(norm_layer, planes, "relu")
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = make_norm(norm_layer, planes, "relu")
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Any) -> Any:
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.conv1(x))
        return norm_act(self.bn2, self.conv2(out), identity)


class PlainBlock(BasicBlock):
    """`BasicBlock` without a way around it (He et al. 2016, figure 3 middle): the plain networks are made of it."""

    def forward(self, x: Any) -> Any:
        return norm_act(self.bn2, self.conv2(norm_act(self.bn1, self.conv1(x))))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (He et al. 2016, figure 5 right); the stride is in the 3x3 convolution (ResNet 1.5), or in the
    first 1x1 convolution with ``stride_in_1x1``, as in the paper."""

    expansion: int = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv1x1(inplanes, width, first)
        self.bn1 = make_norm(norm_layer, width, "relu")
        self.conv2 = conv3x3(width, width, second, groups, dilation)
        self.bn2 = make_norm(norm_layer, width, "relu")
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = make_norm(norm_layer, planes * self.expansion, "relu")
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Any) -> Any:
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_act(self.bn1, self.conv1(x))
        out = norm_act(self.bn2, self.conv2(out))
        return norm_act(self.bn3, self.conv3(out), identity)


class ResNet(nn.Module):
    """Four stages of blocks behind a 7x7 convolution and max pooling, for images of about 224x224.

    Args:
        block, layers: the kind of block, and how many in each stage.
        num_classes: outputs of ``fc``.
        zero_init_residual: start the last normalisation of each block at 0, so that blocks begin as identities.
        groups, width_per_group: for ResNeXt and wide networks.
        replace_stride_with_dilation: for stages 2 to 4, dilation in place of stride.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
        in_channels: of the images.
        shortcut: where the shape changes: ``"B"``, a projection; ``"A"``, every second pixel and channels of zeros,
            without parameters, as in the paper's figure 3; ``"none"``: no shortcuts at all, a plain network.
        stride_in_1x1: stages of bottlenecks begin with a stride in the first 1x1 convolution, as in the paper; else in
            the 3x3 one, as torchvision's.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: list[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: list[bool] | None = None,
        norm_layer: Norm | None = None,
        in_channels: int = 3,
        shortcut: str = "B",
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "none"):
            raise ValueError(f"ResNet: shortcut must be 'A', 'B' or 'none', got {shortcut!r}")
        if shortcut == "none":
            if block is not BasicBlock:
                raise ValueError("ResNet: a plain network (shortcut='none') is made of basic blocks, not bottlenecks")
            block = PlainBlock
        self._shortcut, self._stride_in_1x1 = shortcut, stride_in_1x1
        self._norm_layer = norm_layer
        self.inplanes = 64
        self.dilation = 1
        dilate = replace_stride_with_dilation or [False, False, False]
        if len(dilate) != 3:
            raise ValueError(f"ResNet: replace_stride_with_dilation must be None or 3 bools, got {dilate}")
        self.groups = groups
        self.base_width = width_per_group
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm_layer, 64, "relu")
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self._init_weights(zero_init_residual)

    def _init_weights(self, zero_init_residual: bool) -> None:
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
        if not zero_init_residual:
            return
        for m in self.modules():
            last = m.bn3 if isinstance(m, Bottleneck) else m.bn2 if isinstance(m, BasicBlock) else None
            if last is not None and last.weight is not None:
                nn.init.constant_(last.weight, 0)

    def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        before = self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        out = planes * block.expansion
        downsample: nn.Module | None = None
        if stride != 1 or self.inplanes != out:
            if self._shortcut == "B":
                downsample = nn.Sequential(conv1x1(self.inplanes, out, stride), make_norm(self._norm_layer, out))
            elif self._shortcut == "A":
                downsample = PadShortcut(out - self.inplanes, stride)
        shared = (self.groups, self.base_width)
        extra = {"stride_in_1x1": True} if self._stride_in_1x1 and issubclass(block, Bottleneck) else {}
        chain = [block(self.inplanes, planes, stride, downsample, *shared, before, self._norm_layer, **extra)]
        self.inplanes = out
        for _ in range(1, blocks):
            chain.append(block(out, planes, 1, None, *shared, self.dilation, self._norm_layer))
        return nn.Sequential(*chain)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(norm_act(self.bn1, self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _resnet(name: str, block: Any, layers: list[int], weights: Any, kwargs: dict[str, Any]) -> ResNet:
    refuse_weights(name, weights)
    return ResNet(block, layers, **kwargs)


def resnet18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18 (He et al. 2016, table 1): 11,689,512 parameters with 1000 classes."""
    return _resnet("resnet18", BasicBlock, [2, 2, 2, 2], weights, kwargs)


def resnet34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34 (He et al. 2016, table 1): 21,797,672 parameters with 1000 classes."""
    return _resnet("resnet34", BasicBlock, [3, 4, 6, 3], weights, kwargs)


def resnet50(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50 (He et al. 2016, table 1): 25,557,032 parameters with 1000 classes."""
    return _resnet("resnet50", Bottleneck, [3, 4, 6, 3], weights, kwargs)


def resnet101(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-101 (He et al. 2016, table 1): 44,549,160 parameters with 1000 classes."""
    return _resnet("resnet101", Bottleneck, [3, 4, 23, 3], weights, kwargs)


def resnet152(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-152 (He et al. 2016, table 1): 60,192,808 parameters with 1000 classes."""
    return _resnet("resnet152", Bottleneck, [3, 8, 36, 3], weights, kwargs)


def resnext50_32x4d(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-50 32x4d (Xie et al. 2016, table 1)."""
    return _resnet("resnext50_32x4d", Bottleneck, [3, 4, 6, 3], weights, {"groups": 32, "width_per_group": 4, **kwargs})


def resnext101_32x8d(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-101 32x8d (Xie et al. 2016)."""
    return _resnet(
        "resnext101_32x8d", Bottleneck, [3, 4, 23, 3], weights, {"groups": 32, "width_per_group": 8, **kwargs}
    )


def wide_resnet50_2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """Wide ResNet-50-2 (Zagoruyko and Komodakis 2016): bottlenecks twice as wide."""
    return _resnet("wide_resnet50_2", Bottleneck, [3, 4, 6, 3], weights, {"width_per_group": 128, **kwargs})


def wide_resnet101_2(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """Wide ResNet-101-2 (Zagoruyko and Komodakis 2016)."""
    return _resnet("wide_resnet101_2", Bottleneck, [3, 4, 23, 3], weights, {"width_per_group": 128, **kwargs})


def plain18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18 without shortcuts (He et al. 2016, table 2); arguments of `ResNet`."""
    return _resnet("plain18", BasicBlock, [2, 2, 2, 2], weights, {"shortcut": "none", **kwargs})


def plain34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34 without shortcuts (He et al. 2016, figure 3 middle); arguments of `ResNet`."""
    return _resnet("plain34", BasicBlock, [3, 4, 6, 3], weights, {"shortcut": "none", **kwargs})
