"""Highway networks (Srivastava et al. 2015, "Highway networks", https://arxiv.org/abs/1505.00387)."""

from __future__ import annotations

from typing import Any

from skipway import nn


class HighwayNet(nn.Module):
    """A dense layer, depth - 2 highway layers and a dense output, as trained on MNIST (Srivastava et al. 2015, section
    3.1: 50 units per layer).

    Args:
        depth: layers with weights.
        num_classes: outputs.
        in_channels, image_size: of the images; (N, in_channels, image_size, image_size) and flat inputs are both taken.
        width: units of every hidden layer.
        gate_bias: where the bias of the gates starts; the paper tries -1 to -10, lower for deeper networks.
        activation: of the hidden layers.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        width: int = 50,
        gate_bias: float = -2.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if depth < 3:
            raise ValueError(f"HighwayNet: depth must be at least 3, got {depth}")
        self.first = nn.Linear(in_channels * image_size * image_size, width)
        self.layers = nn.Sequential(*(nn.Highway(width, activation, gate_bias) for _ in range(depth - 2)))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.layers(self.first(x.flatten(1)).relu()))


class HighwayConvNet(nn.Module):
    """Convolutional highway network for CIFAR after Srivastava et al. 2015, section 3.2: three stages, each a plain 3x3
    convolution that changes the channels and highway convolutions that keep them, and max pooling; depth 3n + 1.

    The paper takes its stages from FitNets; here they are evenly long.

    Args:
        depth: 7, 10, 13, ...; the paper trains 11, 19 and 32 layers.
        num_classes, in_channels: outputs, channels of the images.
        width: channels of the first stage; the second and third have twice and three times as many.
        gate_bias: where the bias of the gates starts.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, in_channels: int = 3, width: int = 16, gate_bias: float = -2.0
    ) -> None:
        super().__init__()
        if depth < 7 or (depth - 1) % 3:
            raise ValueError(f"HighwayConvNet: depth must be 3n + 1 (7, 10, 13, ...), got {depth}")
        channels = in_channels
        for i in range(3):
            wide = width * (i + 1)
            layers: list[nn.Module] = [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.HighwayConv2d(wide, gate_bias=gate_bias) for _ in range((depth - 1) // 3 - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers, nn.MaxPool2d(2) if i < 2 else nn.Identity()))
            channels = wide
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def highway10(**kwargs: Any) -> HighwayNet:
    """Highway network of 10 dense layers (Srivastava et al. 2015, figure 1); arguments of `HighwayNet`."""
    return HighwayNet(10, **kwargs)


def highway20(**kwargs: Any) -> HighwayNet:
    """Highway network of 20 dense layers (Srivastava et al. 2015, figure 1); arguments of `HighwayNet`."""
    return HighwayNet(20, **kwargs)


def highway50(**kwargs: Any) -> HighwayNet:
    """Highway network of 50 dense layers (Srivastava et al. 2015, figure 1); arguments of `HighwayNet`."""
    return HighwayNet(50, **kwargs)


def highway100(**kwargs: Any) -> HighwayNet:
    """Highway network of 100 dense layers (Srivastava et al. 2015, figure 1); arguments of `HighwayNet`."""
    return HighwayNet(100, **kwargs)


def highway_conv19(**kwargs: Any) -> HighwayConvNet:
    """Convolutional highway network of 19 layers (Srivastava et al. 2015, section 3.2); arguments of
    `HighwayConvNet`."""
    return HighwayConvNet(19, **kwargs)
