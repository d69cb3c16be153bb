"""The convolutions of ResNet-20 (CIFAR) and ResNet-50 (ImageNet), each with how often it occurs.

He et al., "Deep residual learning for image recognition" (2016): ResNet-20 of section 4.2 with shortcuts that have no
parameters, ResNet-50 of table 1 with the stride in the 3x3 convolution, as torchvision has it.
"""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    name: str
    channels: int
    out: int
    kernel: int
    stride: int
    side: int  # of the input
    count: int = 1
    residual: bool = False  # the last one of a block: a shortcut is added to its batch norm's result
    relu: bool = True  # its batch norm is followed by a ReLU

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def result(self) -> int:
        """The output's side."""
        return (self.side + 2 * self.padding - self.kernel) // self.stride + 1

    def flop(self, batch: int) -> float:
        return 2.0 * batch * self.result**2 * self.out * self.channels * self.kernel**2

    def elements(self, batch: int) -> tuple[int, int, int]:
        """Of the input, the output and the weight."""
        weight = self.out * self.channels * self.kernel**2
        return batch * self.channels * self.side**2, batch * self.out * self.result**2, weight


def resnet20() -> list[Layer]:
    layers = [Layer("conv1", 3, 16, 3, 1, 32)]
    for stage, (width, side) in enumerate(((16, 32), (32, 16), (64, 8)), 1):
        first = Layer(f"layer{stage}.0.conv1", width // 2, width, 3, 2, 2 * side)
        layers += [first] if stage > 1 else []
        inner = 3 - (stage > 1)
        layers.append(Layer(f"layer{stage}.*.conv1", width, width, 3, 1, side, inner))
        layers.append(Layer(f"layer{stage}.*.conv2", width, width, 3, 1, side, 3, residual=True))
    return layers


def resnet50() -> list[Layer]:
    layers = [Layer("conv1", 3, 64, 7, 2, 224)]
    before = 64
    for stage, (width, side, blocks) in enumerate(((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3)), 1):
        stride = 1 if stage == 1 else 2
        name = f"layer{stage}"
        layers += [
            Layer(f"{name}.0.conv1", before, width, 1, 1, side * stride),
            Layer(f"{name}.0.conv2", width, width, 3, stride, side * stride),
            Layer(f"{name}.0.downsample", before, 4 * width, 1, stride, side * stride, relu=False),
            Layer(f"{name}.*.conv1", 4 * width, width, 1, 1, side, blocks - 1),
            Layer(f"{name}.*.conv2", width, width, 3, 1, side, blocks - 1),
            Layer(f"{name}.*.conv3", width, 4 * width, 1, 1, side, blocks, residual=True),
        ]
        before = 4 * width
    return layers


NETWORKS = {"ResNet-20": (resnet20, (128, 512)), "ResNet-50": (resnet50, (256,))}
