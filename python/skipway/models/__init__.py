"""Residual networks, with torchvision's names where torchvision has the model.

``models.get("resnet20", num_classes=10)`` makes a model by name; ``models.list_models()`` says which there are.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ._shortcuts import ShortcutBlock
from .cifar import (
    CifarResNet,
    cifar_resnet,
    resnet8,
    resnet14,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from .resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
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

_NAMED: dict[str, Any] = {
    f.__name__: f
    for f in (
        resnet8, resnet14, resnet20, resnet32, resnet44, resnet56, resnet110,
        resnet18, resnet34, resnet50, resnet101, resnet152,
        resnext50_32x4d, resnext101_32x8d, wide_resnet50_2, wide_resnet101_2,
    )
}  # fmt: skip


def list_models() -> list[str]:
    """Names for :func:`get`; it also takes ``resnetN`` for any other N = 6n + 2."""
    return list(_NAMED)


def get(name: str, **kwargs: Any) -> Any:
    """The model ``name``, made with ``kwargs``; ``resnet26``, ``resnet38``, ... (6n + 2) are CIFAR networks too."""
    if name in _NAMED:
        return _NAMED[name](**kwargs)
    match = re.fullmatch(r"(?:cifar_)?resnet(\d{1,5})", name)
    if match and int(match[1]) >= 8 and (int(match[1]) - 2) % 6 == 0:
        return cifar_resnet(int(match[1]), **kwargs)
    raise ValueError(f"unknown model {name!r}; expected one of {', '.join(_NAMED)}, or resnetN with N = 6n + 2")


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

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "CifarResNet",
    "ResNet",
    "ShortcutBlock",
    "cifar_resnet",
    "get",
    "get_model",
    "list_models",
    "load",
    *_NAMED,
]
