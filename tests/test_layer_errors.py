"""Every layer says what was wrong with its input or options: the argument, its value, what was expected, and where."""

import inspect

import numpy as np
import pytest
import skipway as sw
from layer_errors import FAMILIES, ROWS
from skipway import nn

LAYERS = {
    name: member
    for name, member in vars(nn).items()
    if not name.startswith("_") and isinstance(member, type) and issubclass(member, nn.Module)
}
CALLS = [(name, i) for name, row in ROWS.items() for i in range(len(row.calls))]
OPTIONS = [(name, i) for name, row in ROWS.items() for i in range(len(row.options))]
HARMLESS = {"args", "kwargs", "inplace", "size_average", "reduce", "device", "dtype"}  # anything goes, or not a layer's


class Net(nn.Module):
    """Calls one layer, two modules deep, with whatever it is called with."""

    def __init__(self, layer):
        super().__init__()
        self.body = nn.Sequential(layer)

    def forward(self, *args, **kwargs):
        return self.body[0](*args, **kwargs)


def message_of(caught, error):
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    return str(caught.value)


def test_every_layer_has_a_row():
    assert set(ROWS) == set(LAYERS)
    assert sum(len(family.ROWS) for family in FAMILIES) == len(ROWS), "a layer has two rows"


@pytest.mark.parametrize("name", LAYERS)
def test_rows_hold_calls_and_options(name):
    row = ROWS[name]
    assert row.calls
    arguments = set(inspect.signature(LAYERS[name]).parameters) - HARMLESS
    assert row.options or any(bad.made for bad in row.calls) or not arguments, f"{sorted(arguments)} need a bad value"


@pytest.mark.parametrize("name, i", CALLS)
def test_bad_call(name, i):
    bad = ROWS[name].calls[i]
    net = Net((bad.made or ROWS[name].good).make(name))
    with pytest.raises(Exception) as caught:  # noqa: PT011 (its type and message are compared below)
        net(*bad.given.args, **bad.given.kwargs)
    message = message_of(caught, bad.error)
    assert message.startswith(f"{bad.error.__name__} in {bad.at} ({bad.shown or name}): "), message
    assert bad.says in message, message


@pytest.mark.parametrize("name, i", OPTIONS)
def test_bad_option(name, i):
    bad = ROWS[name].options[i]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        bad.given.make(name)
    message = message_of(caught, bad.error)
    assert message.startswith(name) and bad.says in message, message


@pytest.mark.parametrize("name", [n for n, row in ROWS.items() if row.calls[0].error is not NotImplementedError])
def test_what_is_no_tensor_and_too_many_arguments_are_named(name):
    """Without a row for each: the check reads the names and annotations of `forward`."""
    forward = LAYERS[name].forward
    parameters = [p for p in inspect.signature(forward).parameters.values() if p.name != "self"]
    wanted = [p for p in parameters if p.annotation == "Tensor"]
    if wanted:
        args = ["text" if p is wanted[0] else sw.zeros(2, 3) for p in parameters if p.default is p.empty]
        with pytest.raises(TypeError) as caught:
            Net(ROWS[name].good.make(name))(*args)
        expected = f"TypeError in body.0 ({name}): expected {wanted[0].name} to be a tensor, got 'text' (str)"
        assert str(caught.value) == expected
    names = ", ".join(p.name for p in parameters)
    with pytest.raises(TypeError) as caught:
        Net(ROWS[name].good.make(name))(*[sw.zeros(2, 3)] * (len(parameters) + 1))
    says = f"expected arguments ({names}): too many positional arguments"
    classes = {name, name.removeprefix("Lazy")}  # a lazy layer has become plain by then
    assert str(caught.value) in {f"TypeError in body.0 ({cls}): {says}" for cls in classes}


@pytest.mark.parametrize(
    "layer, sizes",
    [
        (nn.MaxPool2d(np.int64(2)), (1, 2, 2, 2)), (nn.MaxPool2d((2,)), (1, 2, 2, 2)),
        (nn.LPPool2d(2, (2,)), (1, 2, 2, 2)), (nn.AvgPool2d([2, 2], stride=[1, 1]), (1, 2, 3, 3)),
        (nn.AdaptiveAvgPool2d((None, 1)), (1, 2, 4, 1)), (nn.ZeroPad2d((1, 1)), (1, 2, 4, 6)),
        (nn.ConstantPad2d(-1, 0), (1, 2, 2, 2)), (nn.Upsample(scale_factor=[2, 0.5]), (1, 2, 8, 2)),
        (nn.Conv2d(np.int32(2), 3, True), (1, 3, 4, 4)), (nn.Conv2d(2, 2, 3, stride=(2,)), (1, 2, 1, 1)),
        (nn.InstanceNorm2d(2.5), (1, 2, 4, 4)), (nn.Dropout(sw.tensor(0.5)), (1, 2, 4, 4)),
        (nn.BatchNorm2d(2, momentum=None), (1, 2, 4, 4)), (nn.LeakyReLU(np.float32(0.5)), (1, 2, 4, 4)),
        (nn.Unfold(np.int64(2)), (1, 8, 9)), (nn.LayerNorm(np.int64(4)), (1, 2, 4, 4)),
    ],
)  # fmt: skip
def test_odd_but_meaningful_options_are_accepted(layer, sizes):
    """One-element tuples, lists, NumPy numbers, crops, unused sizes: PyTorch takes them too."""
    assert tuple(layer(sw.zeros(1, 2, 4, 4)).shape) == sizes
