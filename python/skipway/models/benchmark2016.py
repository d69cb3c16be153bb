"""The networks of Shi et al. 2016, "Benchmarking state-of-the-art deep learning software tools"
(https://arxiv.org/abs/1608.07249), beside ResNet-56, which `resnet56` is: FCN-5 and FCN-8 for synthetic data, and FCN-R
and AlexNet-R for MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skipway import nn


class FCN(nn.Module):
    """Fully connected layers with a sigmoid behind each hidden one (Shi et al. 2016).

    Args:
        in_features: inputs; images are flattened.
        hidden: the width of each hidden layer.
        num_classes: outputs.
    """

    def __init__(self, in_features: int, hidden: Sequence[int], num_classes: int) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(a, b), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class AlexNetR(nn.Module):
    """The small AlexNet for CIFAR-10 (Shi et al. 2016; the 18 % network of cuda-convnet): three 5x5 convolutions of 32,
    32 and 64 filters, 3x3 pooling at stride 2 behind each, one linear layer. 85,098 parameters.

    Args:
        num_classes, in_channels: outputs, channels of the 32x32 images.
        local_norm: response normalization over 3 channels after the first two poolings. (Normalization in a window of
            the same map, as cuda-convnet has it, is not built.)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, local_norm: bool = True) -> None:
        super().__init__()

        def norm() -> list[nn.Module]:
            return [nn.LocalResponseNorm(3, alpha=5e-5, beta=0.75)] if local_norm else []

        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 5, padding=2), nn.MaxPool2d(3, stride=2), nn.ReLU(), *norm(),
            nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2), *norm(),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(3, stride=2),
        )  # fmt: skip
        self.classifier = nn.Linear(64 * 3 * 3, num_classes)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).flatten(1))


def fcn5(num_classes: int = 26752, in_features: int = 26752, hidden: int = 2048) -> FCN:
    """FCN-5 (Shi et al. 2016): 26,752 inputs and outputs and three hidden layers of 2,048."""
    return FCN(in_features, [hidden] * 3, num_classes)


def fcn8(num_classes: int = 26752, in_features: int = 26752, hidden: int = 2048) -> FCN:
    """FCN-8 (Shi et al. 2016): 26,752 inputs and outputs and six hidden layers of 2,048."""
    return FCN(in_features, [hidden] * 6, num_classes)


def fcn_r(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> FCN:
    """FCN-R (Shi et al. 2016), for MNIST: hidden layers of 2,048, 4,096 and 1,024."""
    return FCN(in_channels * image_size * image_size, [2048, 4096, 1024], num_classes)


def alexnet_r(**kwargs: Any) -> AlexNetR:
    """AlexNet-R (Shi et al. 2016), for CIFAR-10: 85,098 parameters; arguments of `AlexNetR`."""
    return AlexNetR(**kwargs)
