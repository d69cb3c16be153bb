"""The residual networks of skipway.models in plain PyTorch, under the same parameter names, so that one state dict fits
both: the CIFAR ones (He et al. 2016, section 4.2, option B) and ResNet-18 and 50 (table 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def shortcut(channels_in: int, channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and channels_in == channels:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class Block(nn.Module):
    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(channels_in, channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + identity)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = shortcut(channels_in, 4 * channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + identity)


class ResNet(nn.Module):
    """`image`: the 7x7 stem and max pooling of networks for large images, in place of one 3x3 convolution."""

    def __init__(self, block: type, blocks: list[int], width: int, classes: int, image: bool) -> None:
        super().__init__()
        self.image = image
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False) if image else nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = len(blocks)
        channels = width
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                layers.append(block(channels, width << stage, 2 if stage and i == 0 else 1))
                channels = (width << stage) * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.image:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class CifarResNet(ResNet):
    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__(Block, [(depth - 2) // 6] * 3, 16, classes, False)


def make(name: str, classes: int) -> ResNet:
    """resnet18, resnet34, resnet50 (for 224x224), or resnet20, resnet32, ... (6n + 2, for 32x32)."""
    stages = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3], "resnet50": [3, 4, 6, 3]}
    if name in stages:
        return ResNet(Bottleneck if name == "resnet50" else Block, stages[name], 64, classes, True)
    return CifarResNet(int(name[6:]), classes)


def load(name: str, classes: int, state: dict) -> ResNet:
    model = make(name, classes)
    model.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    return model.to(memory_format=torch.channels_last)
