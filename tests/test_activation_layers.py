"""Activations as layers: each against its formula in NumPy, in place, and RReLU's slopes."""

import math

import numpy as np
import pytest
import skipway as sw
from layer_tools import close, data, erf, sigmoid
from skipway import nn

ACTIVATIONS = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    (nn.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    (nn.CELU(2.0), lambda x: np.maximum(x, 0) + np.minimum(0, 2 * np.expm1(x / 2))),
    (nn.SiLU(), lambda x: x * sigmoid(x)),
    (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    (nn.GELU(), lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
    (nn.GELU("tanh"), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    (nn.Hardtanh(-0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
    (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    (nn.Hardsigmoid(), lambda x: np.clip(x + 3, 0, 6) / 6),
    (nn.Sigmoid(), sigmoid),
    (nn.Tanh(), np.tanh),
    (nn.Softplus(2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
    (nn.Softsign(), lambda x: x / (1 + abs(x))),
    (nn.LogSigmoid(), lambda x: np.log(sigmoid(x))),
    (nn.Tanhshrink(), lambda x: x - np.tanh(x)),
    (nn.Hardshrink(0.4), lambda x: np.where(abs(x) > 0.4, x, 0)),
    (nn.Softshrink(0.4), lambda x: np.sign(x) * np.maximum(abs(x) - 0.4, 0)),
    (nn.Threshold(0.1, 20.0), lambda x: np.where(x > 0.1, x, 20)),
    (nn.PReLU(init=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    (nn.RReLU(0.1, 0.3).eval(), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.GLU(1), lambda x: x[:, :2] * sigmoid(x[:, 2:])),
    (nn.Softmax(1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (nn.Softmin(1), lambda x: np.exp(-x) / np.exp(-x).sum(1, keepdims=True)),
    (nn.LogSoftmax(1), lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
    (nn.Softmax2d(), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (nn.Maxout(2), lambda x: x.reshape(3, 2, 2, 5, 2).max(2)),
    (nn.CReLU(), lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], 1)),
]


@pytest.mark.parametrize("case", range(len(ACTIVATIONS)))
def test_activation(case):
    layer, formula = ACTIVATIONS[case]
    x = data(3, 4, 5, 2)
    close(layer(sw.tensor(x)), formula(x))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(True), nn.ReLU6(True), nn.LeakyReLU(0.1, True), nn.ELU(inplace=True), nn.SELU(True),
        nn.CELU(inplace=True), nn.SiLU(True), nn.Mish(True), nn.Hardtanh(inplace=True), nn.Hardswish(True),
        nn.Hardsigmoid(True), nn.Threshold(0.0, 1.0, True), nn.Dropout(0.5, True), nn.RReLU(inplace=True),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_in_place_changes_the_input_and_keeps_the_gradient(layer):
    start = sw.tensor(data(40), requires_grad=True)
    x = start * 1
    sw.manual_seed(1)
    y = layer(x)
    assert y.data_ptr() == x.data_ptr()
    y.sum().backward()
    plain = sw.tensor(data(40), requires_grad=True)
    layer.inplace = False
    sw.manual_seed(1)
    result = layer(plain)
    result.sum().backward()
    assert sw.equal(y, result) and sw.equal(start.grad, plain.grad)


def test_rrelu_draws_slopes():
    x = -sw.ones(1000)
    y = nn.RReLU(0.2, 0.4)(x)
    assert y.min().item() >= -0.4 and y.max().item() <= -0.2 and y.numpy().std() > 0.04
