"""Every public callable has a docstring that says more than its signature, and ops from papers name their source."""

import importlib
import inspect
import re

import pytest
import skipway as sw
from skipway import models, nn

MODULES = [
    "skipway", "skipway.nn", "skipway.nn.functional", "skipway.nn.init", "skipway.nn.utils", "skipway.optim",
    "skipway.optim.lr_scheduler", "skipway.data", "skipway.data.transforms", "skipway.models", "skipway.testing",
    "skipway.testing.reference",
]  # fmt: skip

# What a paper has introduced: normalisation, dropout, activations, initial values, optimizers, schedules, models.
FROM_PAPERS = {
    "skipway.nn": """AlphaDropout BatchNorm1d BatchNorm2d BatchNorm3d CELU CReLU ChannelShuffle Dropout Dropout1d
        Dropout2d Dropout3d ELU FeatureAlphaDropout GELU GLU GRU GroupNorm Hardsigmoid Hardswish InstanceNorm1d
        InstanceNorm2d InstanceNorm3d LSTM LayerNorm LeakyReLU LocalResponseNorm Maxout Mish MultiheadAttention PReLU
        PixelShuffle RMSNorm RNN RReLU ReLU ReLU6 Residual SELU SiLU AxisNorm DropConnectConv1d DropConnectConv2d
        DropConnectConv3d DropConnectLinear Highway HighwayConv2d ShakeShake SpatialDropout StochasticDepth
        TransformerEncoderLayer""",
    "skipway.nn.functional": """alpha_dropout batch_norm celu channel_shuffle crelu dropout dropout1d dropout2d
        dropout3d elu feature_alpha_dropout gelu glu group_norm gumbel_softmax hardsigmoid hardswish instance_norm
        layer_norm leaky_relu local_response_norm maxout mish pixel_shuffle prelu relu relu6 residual_add rms_norm rrelu
        scaled_dot_product_attention selu silu axis_norm drop_connect gated_sum linear_survival shake_shake
        stochastic_depth""",
    "skipway.nn.init": """apply average_normal_ kaiming_normal_ kaiming_uniform_ looks_linear_ lsuv_ orthogonal_
        sparse_ xavier_normal_ xavier_uniform_ zero_gamma_""",
    "skipway.nn.utils": "spectral_norm weight_norm",
    "skipway.optim": "Adadelta Adagrad Adam AdamW RMSprop SGD param_groups",
    "skipway.optim.lr_scheduler": "CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR OneCycleLR",
    "skipway.models": """AlexNet AlexNetR CifarResNet FCN GoogLeNet HighwayConvNet HighwayNet LeNet5 PreActBlock
        ShakeShakeResNet ShortcutBlock StochasticDepthResNet VGG ZFNet cifar_resnet """
    + " ".join(models.list_models()),
}


def says(name, doc):
    """The docstring without the lines of signatures that pybind11 puts into it."""
    signature = re.compile(rf"(\d+\. )?_?{re.escape(name)}\(.*\)( -> .*)?$|Overloaded function\.$")
    lines = (line.strip() for line in (doc or "").splitlines())
    return " ".join(line for line in lines if line and not signature.match(line))


def public(module):
    for name in dir(module):
        value = getattr(module, name)
        if not name.startswith("_") and callable(value) and not inspect.ismodule(value):
            yield name, value


@pytest.mark.parametrize("name", MODULES)
def test_functions_and_classes(name):
    ours = [(n, v) for n, v in public(importlib.import_module(name)) if str(v.__module__).startswith("skipway")]
    assert ours and not [n for n, v in ours if not says(getattr(v, "__name__", n), v.__doc__)]


def members(cls):
    """Public methods and properties that a class defines; `forward` is what the class's own docstring is about."""
    for name, value in vars(cls).items():
        if not name.startswith("_") and name != "forward" and (callable(value) or isinstance(value, property)):
            yield name, inspect.getdoc(getattr(cls, name))


@pytest.mark.parametrize("name", MODULES)
def test_methods_of_classes(name):
    classes = {v for _, v in public(importlib.import_module(name)) if inspect.isclass(v)}
    ours = [c for c in classes if str(c.__module__).startswith("skipway")]
    assert not [f"{c.__name__}.{m}" for c in ours for m, doc in members(c) if not says(m, doc)]


def test_methods_of_tensors():
    names = [n for n in dir(sw.Tensor) if not n.startswith("_")]
    assert len(names) > 300
    assert not [n for n in names if not says(n, getattr(sw.Tensor, n).__doc__)]


def test_exceptions():
    for error in (sw.ShapeError, sw.DeviceError, sw.OutOfMemoryError):
        assert error.__doc__ and error.__doc__ != error.__base__.__doc__


@pytest.mark.parametrize("module", FROM_PAPERS)
def test_sources(module):
    """A name and a year."""
    found = importlib.import_module(module)
    silent = [
        n
        for n in FROM_PAPERS[module].split()
        if not re.search(r"[A-Z]\w+.* (19|20)\d\d", says(n, getattr(found, n).__doc__))
    ]
    assert not silent


# Layers and initial values with a place in a paper: an equation, a section, an algorithm, a definition or a figure.
WITH_A_PLACE = {
    nn: """AxisNorm BatchNorm1d BatchNorm2d BatchNorm3d CReLU DropConnectConv1d DropConnectConv2d DropConnectConv3d
        DropConnectLinear Dropout2d GroupNorm Highway HighwayConv2d InstanceNorm1d InstanceNorm2d InstanceNorm3d
        LayerNorm LocalResponseNorm Maxout MultiheadAttention PReLU Residual ShakeShake SpatialDropout StochasticDepth
        TransformerEncoderLayer""",
    nn.init: """average_normal_ kaiming_normal_ kaiming_uniform_ looks_linear_ lsuv_ orthogonal_ xavier_normal_
        xavier_uniform_ zero_gamma_""",
}


@pytest.mark.parametrize("module", WITH_A_PLACE, ids=lambda module: module.__name__)
def test_places_in_papers(module):
    place = re.compile(r"(equation|section|algorithm|definition|figure)s? \d")
    silent = [n for n in WITH_A_PLACE[module].split() if not place.search(says(n, getattr(module, n).__doc__))]
    assert not silent


def test_a_missing_docstring_would_be_found():
    assert not says("f", "f(x: Tensor) -> Tensor\n") and not says("f", None)
    assert not says("f", "f(*args)\nOverloaded function.\n\n1. f(x: Tensor) -> Tensor\n\n2. f(y: int) -> int\n")
    assert says("f", "f(x: Tensor) -> Tensor\n\nTwice x.") == "Twice x."
    assert not says("forward", nn.Module.forward.__doc__)
