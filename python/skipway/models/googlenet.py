"""GoogLeNet (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842), with torchvision's names and semantics."""

from __future__ import annotations

from typing import Any, NamedTuple

import skipway as sw
import skipway.nn.functional as F
from skipway import nn

from ._blocks import norm_act, refuse_weights

# Of table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
# From inputs normalised by ImageNet's mean and std per channel to inputs in -1 to 1.
_SCALE = (0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5)
_SHIFT = ((0.485 - 0.5) / 0.5, (0.456 - 0.5) / 0.5, (0.406 - 0.5) / 0.5)


class GoogLeNetOutputs(NamedTuple):
    """What `GoogLeNet` returns while it trains with auxiliary classifiers: theirs after 4d and 4a come last (Szegedy
    et al. 2015, section 5, adds their losses with weight 0.3)."""

    logits: Any
    aux_logits2: Any
    aux_logits1: Any


class BasicConv2d(nn.Module):
    """Convolution, batch normalization (eps 0.001) and ReLU, as GoogLeNet is made of since Ioffe and Szegedy 2015."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001, activation="relu")

    def forward(self, x: Any) -> Any:
        return norm_act(self.bn, self.conv(x))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1 (Szegedy et al. 2015, figure 2b).

    `five` is the size of the "5x5" convolution: torchvision's weights were made with 3.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        five: int = 3,
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(in_channels, ch1x1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(in_channels, ch3x3red, 1), BasicConv2d(ch3x3red, ch3x3, 3, padding=1))
        self.branch3 = nn.Sequential(
            BasicConv2d(in_channels, ch5x5red, 1), BasicConv2d(ch5x5red, ch5x5, five, padding=five // 2)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(in_channels, pool_proj, 1)
        )

    def forward(self, x: Any) -> Any:
        return sw.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """An auxiliary classifier: pooling to 4x4, 1x1 convolution, two linear layers (Szegedy et al. 2015, section 5)."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Any) -> Any:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al. 2015, table 1) with batch normalization.

    With auxiliary classifiers, `forward` returns `GoogLeNetOutputs` while training and the logits alone otherwise.

    Args:
        num_classes: outputs.
        aux_logits: with the auxiliary classifiers after 4a and 4d.
        transform_input: take images normalised by ImageNet's mean and std per channel, and turn them into the range
            -1 to 1 that torchvision's weights want; for three channels.
        init_weights: N(0, 0.01^2) for convolutions and linear layers; False keeps the layers' own values; None is True.
        dropout: before the last layer.
        dropout_aux: in the auxiliary classifiers.
        in_channels: of the images.
        paper_5x5: convolutions of the third branch are 5x5, as in the paper; torchvision's are 3x3.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        in_channels: int = 3,
        paper_5x5: bool = False,
    ) -> None:
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(f"GoogLeNet: transform_input is for 3 channels, got in_channels={in_channels}")
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        for name, values in (("_scale", _SCALE), ("_shift", _SHIFT)):
            self.register_buffer(name, sw.tensor(values).reshape(1, 3, 1, 1), persistent=False)
        self.conv1 = BasicConv2d(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels = 192
        for name, sizes in _INCEPTIONS.items():
            if name == "4a":
                self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            elif name == "5a":
                self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
            self.add_module(f"inception{name}", Inception(channels, *sizes, five=5 if paper_5x5 else 3))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        self.aux1: Any = InceptionAux(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2: Any = InceptionAux(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(channels, num_classes)
        if init_weights is None or init_weights:
            for m in self.modules():
                if isinstance(m, (nn.Conv2d, nn.Linear)):
                    nn.init.normal_(m.weight, 0, 0.01)

    def _transform(self, x: Any) -> Any:
        if x.dim() != 4 or x.shape[1] != 3:
            raise sw.ShapeError(f"GoogLeNet: transform_input expects (N, 3, H, W), got {tuple(x.shape)}")
        return x * self._scale.to(x.dtype) + self._shift.to(x.dtype)

    def forward(self, x: Any) -> Any:
        if self.transform_input:
            x = self._transform(x)
        with_aux = self.training and self.aux_logits and self.aux1 is not None
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x) if with_aux else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if with_aux else None
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        x = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(x, aux2, aux1) if with_aux else x


def googlenet(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> GoogLeNet:
    """GoogLeNet (Szegedy et al. 2015, table 1): 13,004,888 parameters with 1000 classes, 6,624,904 without auxiliary
    classifiers; arguments of `GoogLeNet`."""
    refuse_weights("googlenet", weights)
    return GoogLeNet(**kwargs)
