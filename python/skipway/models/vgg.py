"""The VGG networks of Simonyan and Zisserman 2015 (https://arxiv.org/abs/1409.1556), with torchvision's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skipway import nn

from ._blocks import refuse_weights

# Convolutions per stage, of table 1; the stages have 64, 128, 256, 512 and 512 filters and end in 2x2 max pooling.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FILTERS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """A stack of 3x3 convolutions, and three linear layers (Simonyan and Zisserman 2015, table 1).

    Args:
        features: the convolutions, as `vgg_features` makes them; they end in 512 channels.
        num_classes: outputs.
        init_weights: Kaiming-normal convolutions and N(0, 0.01^2) linear layers; False keeps the layers' own values.
        dropout: after each hidden linear layer.
        hidden: width of the two hidden linear layers.
    """

    def __init__(
        self,
        features: nn.Module,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
        hidden: int = 4096,
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, hidden), nn.ReLU(inplace=True), nn.Dropout(p=dropout),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(p=dropout), nn.Linear(hidden, num_classes),
        )  # fmt: skip
        if init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg_features(stages: Sequence[int], batch_norm: bool = False, in_channels: int = 3) -> nn.Sequential:
    """`stages[i]` convolutions with 64, 128, 256, 512, 512 filters, each with ReLU and, if wanted, BatchNorm before
    it (Simonyan and Zisserman 2015, table 1)."""
    layers: list[nn.Module] = []
    for count, filters in zip(stages, _FILTERS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(in_channels, filters, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            layers.append(nn.ReLU(inplace=True))
            in_channels = filters
        layers.append(nn.MaxPool2d(2, stride=2))
    return nn.Sequential(*layers)


def _vgg(depth: int, batch_norm: bool, weights: Any, kwargs: dict[str, Any]) -> VGG:
    refuse_weights(f"vgg{depth}{'_bn' if batch_norm else ''}", weights)
    features = vgg_features(_STAGES[depth], batch_norm, kwargs.pop("in_channels", 3))
    return VGG(features, **kwargs)


def vgg11(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11, configuration A (Simonyan and Zisserman 2015, table 1): 132,863,336 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(11, False, weights, kwargs)


def vgg13(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13, configuration B (Simonyan and Zisserman 2015, table 1): 133,047,848 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(13, False, weights, kwargs)


def vgg16(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16, configuration D (Simonyan and Zisserman 2015, table 1): 138,357,544 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(16, False, weights, kwargs)


def vgg19(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19, configuration E (Simonyan and Zisserman 2015, table 1): 143,667,240 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(19, False, weights, kwargs)


def vgg11_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11 (Simonyan and Zisserman 2015) with batch normalization: 132,868,840 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(11, True, weights, kwargs)


def vgg13_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13 (Simonyan and Zisserman 2015) with batch normalization: 133,053,736 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(13, True, weights, kwargs)


def vgg16_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16 (Simonyan and Zisserman 2015) with batch normalization: 138,365,992 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(16, True, weights, kwargs)


def vgg19_bn(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19 (Simonyan and Zisserman 2015) with batch normalization: 143,678,248 parameters with 1000 classes;
    arguments of `VGG`, and `in_channels`."""
    return _vgg(19, True, weights, kwargs)
