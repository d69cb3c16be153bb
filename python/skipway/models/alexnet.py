"""AlexNet in one tower, with torchvision's parameter names, and its successor ZFNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skipway import nn

from ._blocks import refuse_weights


def _classifier(features: int, hidden: int, num_classes: int, dropout: float) -> list[nn.Module]:
    """Two hidden layers; dropout is before each, as in both papers."""
    return [
        nn.Dropout(p=dropout), nn.Linear(features, hidden), nn.ReLU(inplace=True),
        nn.Dropout(p=dropout), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_classes),
    ]  # fmt: skip


class AlexNet(nn.Module):
    """AlexNet (Krizhevsky et al. 2012) in the one-tower form of Krizhevsky 2014 ("One weird trick", figure 1): five
    convolutions and three linear layers, without local response normalization.

    At 227x227 the first convolution gives 56x56, as in the textbook tables; at 224x224, 55x55. Both end in 6x6.

    Args:
        num_classes: outputs.
        dropout: before each hidden linear layer.
        in_channels: of the images.
        hidden: width of the two hidden linear layers.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5, in_channels: int = 3, hidden: int = 4096) -> None:
        super().__init__()

        def conv(*sizes: Any, **kwargs: Any) -> list[nn.Module]:
            return [nn.Conv2d(*sizes, **kwargs), nn.ReLU(inplace=True)]

        self.features = nn.Sequential(
            *conv(in_channels, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, stride=2),
            *conv(64, 192, 5, padding=2), nn.MaxPool2d(3, stride=2),
            *conv(192, 384, 3, padding=1), *conv(384, 256, 3, padding=1),
            *conv(256, 256, 3, padding=1), nn.MaxPool2d(3, stride=2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(*_classifier(256 * 6 * 6, hidden, num_classes, dropout))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class ZFNet(nn.Module):
    """ZFNet (Zeiler and Fergus 2013, figure 3): AlexNet with a first convolution of 7x7 at stride 2 and 96 filters.

    Args:
        num_classes: outputs.
        dropout: before each hidden linear layer.
        in_channels: of the images.
        hidden: width of the two hidden linear layers.
        filters: of convolutions 3, 4 and 5; the paper also tries (512, 1024, 512) (table 3).
        local_norm: local response normalization after the first two poolings, in place of the paper's contrast
            normalization.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        dropout: float = 0.5,
        in_channels: int = 3,
        hidden: int = 4096,
        filters: Sequence[int] = (384, 384, 256),
        local_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(filters) != 3:
            raise ValueError(f"ZFNet: filters must be three numbers, of convolutions 3 to 5, got {filters!r}")
        third, fourth, fifth = filters

        def pool() -> list[nn.Module]:
            return [nn.MaxPool2d(3, stride=2, padding=1), *([nn.LocalResponseNorm(5)] if local_norm else [])]

        def conv(*sizes: Any, **kwargs: Any) -> list[nn.Module]:
            return [nn.Conv2d(*sizes, **kwargs), nn.ReLU(inplace=True)]

        self.features = nn.Sequential(
            *conv(in_channels, 96, 7, stride=2, padding=1), *pool(), *conv(96, 256, 5, stride=2), *pool(),
            *conv(256, third, 3, padding=1), *conv(third, fourth, 3, padding=1), *conv(fourth, fifth, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(*_classifier(fifth * 6 * 6, hidden, num_classes, dropout))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> AlexNet:
    """AlexNet in one tower (Krizhevsky 2014): 61,100,840 parameters with 1000 classes; arguments of `AlexNet`."""
    refuse_weights("alexnet", weights)
    return AlexNet(**kwargs)


def zfnet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ZFNet:
    """ZFNet (Zeiler and Fergus 2013, figure 3): 62,357,608 parameters with 1000 classes; arguments of `ZFNet`."""
    refuse_weights("zfnet", weights)
    return ZFNet(**kwargs)
