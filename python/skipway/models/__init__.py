"""The model zoo, with torchvision's names, arguments and state_dict keys where torchvision has the model.

``models.get("resnet20", num_classes=10)`` makes a model by name; ``models.list()`` says which there are.
"""

# ruff: noqa: F401  (the names of __all__ come from CARDS)

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skipway import nn

from ._registry import CARDS, SOURCES, Card, find
from ._shortcuts import ShortcutBlock
from .alexnet import AlexNet, ZFNet, alexnet, zfnet
from .benchmark2016 import FCN, AlexNetR, alexnet_r, fcn5, fcn8, fcn_r
from .cifar import (
    CifarResNet,
    cifar_resnet,
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet8,
    resnet14,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
    resnet1202,
)
from .googlenet import GoogLeNet, GoogLeNetOutputs, Inception, InceptionAux, googlenet
from .highway import HighwayConvNet, HighwayNet, highway10, highway20, highway50, highway100, highway_conv19
from .lenet import LeNet5, lenet5
from .preact import (
    PreActBlock,
    PreActBottleneck,
    PreActResNet,
    cifar_preact_resnet,
    preact_resnet18,
    preact_resnet20,
    preact_resnet34,
    preact_resnet50,
    preact_resnet56,
    preact_resnet101,
    preact_resnet110,
    preact_resnet152,
    preact_resnet164,
    preact_resnet200,
    preact_resnet1001,
)
from .resnet import (
    BasicBlock,
    Bottleneck,
    PlainBlock,
    ResNet,
    plain18,
    plain34,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .stochastic import (
    ShakeBlock,
    ShakeShakeResNet,
    StochasticDepthBlock,
    StochasticDepthResNet,
    shake_shake26_2x32d,
    shake_shake26_2x64d,
    shake_shake26_2x96d,
    stochastic_depth_resnet110,
    stochastic_depth_resnet1202,
)
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, vgg_features


def list_models() -> builtins.list[str]:
    """Names for `get`, which also takes other depths: ``resnetN``, ``plainN``, ``preact_resnetN`` and
    ``stochastic_depth_resnetN`` for CIFAR with N = 6n + 2, ``highwayN``, and ``highway_convN`` with N = 3n + 1."""
    return [*CARDS]


def get(name: str, **kwargs: Any) -> Any:
    """The model `name`, made with `kwargs`; ``resnet26``, ``plain38``, ... are CIFAR networks of other depths.

    Raises:
        ValueError: there is none of that name; the message lists those there are, the closest first.
    """
    return find(name)(**kwargs)


def card(name: str) -> Card:
    """What the zoo knows of the model `name`: the function that makes it, its usual input size, and its source."""
    if name not in CARDS:
        find(name)  # the error for unknown names
        raise ValueError(f"models.card: {name!r} is not one of the listed models, but another depth")
    return CARDS[name]


@contextmanager
def without_init() -> Iterator[None]:
    """Models made inside have uninitialised weights, at no cost: for `load_state_dict`, or to look at their sizes.

    The initial values of every model made meanwhile, in any thread, are left out.
    """
    names = [n for n in vars(nn.init) if n.endswith("_") and not n.startswith("_")]
    before = {n: getattr(nn.init, n) for n in names}
    try:
        for n in names:
            setattr(nn.init, n, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for n, function in before.items():
            setattr(nn.init, n, function)


def load(path: str | os.PathLike) -> Any:
    """The model in a run's ``best.safetensors``, in eval mode.

    ``model.info`` holds the ``classes``, and the ``mean`` and ``std`` per channel: its input is (pixels - mean) / std,
    with pixels as the data set stores them.
    """
    from skipway.io import load as load_file

    state = load_file(path)
    if not isinstance(state, dict) or state.get("kind") != "skipway.model":
        raise ValueError(f"{os.fspath(path)}: holds no trained model; expected the best.safetensors of a run")
    model = get(state["model_name"], num_classes=state["num_classes"], in_channels=state["in_channels"])
    model.load_state_dict(state.pop("model"))
    model.info = state
    return model.eval()


get_model = get
list = list_models  # noqa: A001

__all__ = [
    "AlexNet",
    "AlexNetR",
    "BasicBlock",
    "Bottleneck",
    "Card",
    "CifarResNet",
    "FCN",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "HighwayConvNet",
    "HighwayNet",
    "Inception",
    "InceptionAux",
    "LeNet5",
    "PlainBlock",
    "PreActBlock",
    "PreActBottleneck",
    "PreActResNet",
    "ResNet",
    "SOURCES",
    "ShakeBlock",
    "ShakeShakeResNet",
    "ShortcutBlock",
    "StochasticDepthBlock",
    "StochasticDepthResNet",
    "VGG",
    "ZFNet",
    "card",
    "cifar_preact_resnet",
    "cifar_resnet",
    "get",
    "get_model",
    "list_models",
    "load",
    "vgg_features",
    "without_init",
    *CARDS,
]
