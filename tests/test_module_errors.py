"""Errors name the layer in which they happened."""

from collections import OrderedDict

import pytest
import skipway as sw
from skipway import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(64, 64, 3)

    def forward(self, x):
        return self.conv1(x)


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer2 = nn.Sequential(Block())

    def forward(self, x):
        return self.layer2(x)


def test_errors_name_the_layer():
    with pytest.raises(sw.ShapeError) as error:
        Deep()(sw.zeros(8, 32, 28, 28))
    message = str(error.value)
    assert message.startswith("ShapeError in layer2.0.conv1 (Conv2d): expected"), message
    assert "64" in message and "(8, 32, 28, 28)" in message and message.count(" in ") == 1


def test_errors_of_calls_that_skip_a_level_and_of_roots():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Deep()

        def forward(self, x):
            return self.inner.layer2[0](x)

    with pytest.raises(sw.ShapeError, match=r"^ShapeError in inner\.layer2\.0\.conv1 \(Conv2d\): "):
        Skips()(sw.zeros(8, 32, 28, 28))
    with pytest.raises(sw.ShapeError, match=r"^ShapeError in Linear: "):
        nn.Linear(3, 2)(sw.zeros(2, 4))


def test_errors_that_are_not_ours_stay_as_they_are():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("config: no such option")

    with pytest.raises(ValueError, match="^config: no such option$"):
        nn.Sequential(Fails())(1)


def test_batch_norm_on_one_value_names_the_layer_and_drop_last():
    net = nn.Sequential(OrderedDict(features=nn.Sequential(nn.Conv2d(3, 4, 4), nn.BatchNorm2d(4))))
    with pytest.raises(ValueError, match=r"features\.1 \(BatchNorm2d\).*drop_last"):
        net(sw.randn(1, 3, 4, 4))
