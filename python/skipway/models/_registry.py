"""The zoo's names: what makes each network, for which input, and where it comes from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from . import alexnet, benchmark2016, cifar, googlenet, highway, lenet, preact, resnet, stochastic, vgg


class Card(NamedTuple):
    """A network of the zoo: what makes it, the (C, H, W) or (features,) of its usual input, and its source."""

    make: Callable[..., Any]
    input_size: tuple[int, ...]
    source: str


_HE16, _HE16B = "He et al. 2016", "He et al. 2016b"
_IMAGENET, _CIFAR, _MNIST = (3, 224, 224), (3, 32, 32), (1, 28, 28)

# The sources' titles, and where they are.
SOURCES = {
    "LeCun et al. 1998": (
        "Gradient-based learning applied to document recognition", "https://doi.org/10.1109/5.726791"),
    "Krizhevsky 2014": (
        "One weird trick for parallelizing convolutional neural networks", "https://arxiv.org/abs/1404.5997"),
    "Zeiler and Fergus 2013": (
        "Visualizing and understanding convolutional networks", "https://arxiv.org/abs/1311.2901"),
    "Simonyan and Zisserman 2015": (
        "Very deep convolutional networks for large-scale image recognition", "https://arxiv.org/abs/1409.1556"),
    "Szegedy et al. 2015": ("Going deeper with convolutions", "https://arxiv.org/abs/1409.4842"),
    _HE16: ("Deep residual learning for image recognition", "https://arxiv.org/abs/1512.03385"),
    _HE16B: ("Identity mappings in deep residual networks", "https://arxiv.org/abs/1603.05027"),
    "Xie et al. 2016": (
        "Aggregated residual transformations for deep neural networks", "https://arxiv.org/abs/1611.05431"),
    "Zagoruyko and Komodakis 2016": ("Wide residual networks", "https://arxiv.org/abs/1605.07146"),
    "Huang et al. 2016": ("Deep networks with stochastic depth", "https://arxiv.org/abs/1603.09382"),
    "Gastaldi 2017": ("Shake-shake regularization", "https://arxiv.org/abs/1705.07485"),
    "Srivastava et al. 2015": ("Highway networks", "https://arxiv.org/abs/1505.00387"),
    "Shi et al. 2016": (
        "Benchmarking state-of-the-art deep learning software tools", "https://arxiv.org/abs/1608.07249"),
}  # fmt: skip

# Where the names are from, the input, and the functions, each named like its network.
_FAMILIES: list[tuple[str, tuple[int, ...], list[Callable[..., Any]]]] = [
    ("LeCun et al. 1998", _MNIST, [lenet.lenet5]),
    ("Krizhevsky 2014", (3, 227, 227), [alexnet.alexnet]),
    ("Zeiler and Fergus 2013", _IMAGENET, [alexnet.zfnet]),
    ("Simonyan and Zisserman 2015", _IMAGENET,
     [vgg.vgg11, vgg.vgg11_bn, vgg.vgg13, vgg.vgg13_bn, vgg.vgg16, vgg.vgg16_bn, vgg.vgg19, vgg.vgg19_bn]),
    ("Szegedy et al. 2015", _IMAGENET, [googlenet.googlenet]),
    (_HE16, _IMAGENET, [resnet.resnet18, resnet.resnet34, resnet.resnet50, resnet.resnet101, resnet.resnet152]),
    (_HE16, _IMAGENET, [resnet.plain18, resnet.plain34]),
    ("Xie et al. 2016", _IMAGENET, [resnet.resnext50_32x4d, resnet.resnext101_32x8d]),
    ("Zagoruyko and Komodakis 2016", _IMAGENET, [resnet.wide_resnet50_2, resnet.wide_resnet101_2]),
    (_HE16B, _IMAGENET, [preact.preact_resnet18, preact.preact_resnet34, preact.preact_resnet50,
                         preact.preact_resnet101, preact.preact_resnet152, preact.preact_resnet200]),
    (_HE16, _CIFAR, [cifar.resnet8, cifar.resnet14, cifar.resnet20, cifar.resnet32, cifar.resnet44, cifar.resnet56,
                     cifar.resnet110, cifar.resnet1202]),
    (_HE16, _CIFAR, [cifar.plain20, cifar.plain32, cifar.plain44, cifar.plain56, cifar.plain110]),
    (_HE16B, _CIFAR, [preact.preact_resnet20, preact.preact_resnet56, preact.preact_resnet110,
                      preact.preact_resnet164, preact.preact_resnet1001]),
    ("Huang et al. 2016", _CIFAR, [stochastic.stochastic_depth_resnet110, stochastic.stochastic_depth_resnet1202]),
    ("Gastaldi 2017", _CIFAR,
     [stochastic.shake_shake26_2x32d, stochastic.shake_shake26_2x64d, stochastic.shake_shake26_2x96d]),
    ("Srivastava et al. 2015", _MNIST,
     [highway.highway10, highway.highway20, highway.highway50, highway.highway100]),
    ("Srivastava et al. 2015", _CIFAR, [highway.highway_conv19]),
    ("Shi et al. 2016", (26752,), [benchmark2016.fcn5, benchmark2016.fcn8]),
    ("Shi et al. 2016", _MNIST, [benchmark2016.fcn_r]),
    ("Shi et al. 2016", _CIFAR, [benchmark2016.alexnet_r]),
]  # fmt: skip

CARDS = {f.__name__: Card(f, size, source) for source, size, functions in _FAMILIES for f in functions}

# Other depths: the pattern, a check of the depth, and what makes the network.
_DEPTHS: list[tuple[str, Callable[[int], bool], Callable[..., Any]]] = [
    (r"(?:cifar_)?resnet(\d{1,5})", lambda n: n >= 8 and n % 6 == 2, cifar.cifar_resnet),
    (r"(?:cifar_)?plain(\d{1,5})", lambda n: n >= 8 and n % 6 == 2,
     lambda n, **kwargs: cifar.cifar_resnet(n, **{"shortcut": "none", **kwargs})),
    (r"(?:cifar_)?preact_resnet(\d{1,5})", lambda n: n >= 8 and n % 6 == 2, preact.cifar_preact_resnet),
    (r"stochastic_depth_resnet(\d{1,5})", lambda n: n >= 8 and n % 6 == 2, stochastic.StochasticDepthResNet),
    (r"highway(\d{1,4})", lambda n: n >= 3, highway.HighwayNet),
    (r"highway_conv(\d{1,3})", lambda n: n >= 7 and n % 3 == 1, highway.HighwayConvNet),
]  # fmt: skip
OTHERS = (
    "resnetN, plainN, preact_resnetN and stochastic_depth_resnetN with N = 6n + 2, highwayN, "
    "highway_convN with N = 3n + 1"
)


def find(name: str) -> Callable[..., Any]:
    """What makes the network `name`; ValueError that lists the names, the closest first, if there is none."""
    if not isinstance(name, str):
        raise TypeError(f"models.get: expected the name of a model, a str, got {type(name).__name__}")
    if name in CARDS:
        return CARDS[name].make
    for pattern, fits, make in _DEPTHS:
        match = re.fullmatch(pattern, name)
        if match and fits(int(match[1])):
            depth = int(match[1])
            return lambda **kwargs: make(depth, **kwargs)
    wanted = name.lower().replace("-", "").replace("_", "")

    def distance(known: str) -> float:
        return -difflib.SequenceMatcher(None, wanted, known.replace("_", "")).ratio()

    ordered = sorted(CARDS, key=distance)
    raise ValueError(f"unknown model {name!r}; expected one of {', '.join(ordered)}; or {OTHERS}")
