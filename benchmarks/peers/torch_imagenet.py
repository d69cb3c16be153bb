"""ResNet-18 and ResNet-50 (He et al. 2016, with the stride in the 3x3 convolution) in plain PyTorch, under the names
that skipway.models gives their parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Convolutions of (kernel, channels, stride), each with BatchNorm, around a shortcut."""

    def __init__(self, inputs: int, convolutions: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.count, channels, stride = len(convolutions), inputs, 1
        for i, (kernel, outputs, step) in enumerate(convolutions, 1):
            setattr(self, f"conv{i}", nn.Conv2d(channels, outputs, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
            channels, stride = outputs, stride * step
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = F.relu(y)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth: int, classes: int = 1000) -> None:
        super().__init__()
        blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, n in enumerate(blocks):
            width, layers = 64 * 2**stage, []
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                if depth < 50:
                    convolutions = [(3, width, stride), (3, width, 1)]
                else:
                    convolutions = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
                layers.append(Block(channels, convolutions))
                channels = convolutions[-1][1]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
