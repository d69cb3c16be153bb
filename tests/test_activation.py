"""Activation functions: values and gradients against float64 formulas, special values, layouts, in place."""

import numpy as np
import pytest
from elementwise_tools import SIZES, SPECIAL
from numeric import assert_within, backward, check_gradient, layouts, numpy, tensor
from scipy import special
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")

EPS = 2.0**-23
RNG = np.random.default_rng(11)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


# name: (ours, float64 reference, limits at -inf and inf)
ACTIVATIONS = {
    "relu": (_core.relu, lambda x: np.maximum(x, 0), (0, np.inf)),
    "leaky_relu": (lambda x: _core.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x), (-np.inf, np.inf)),
    "leaky_relu_negative": (
        lambda x: _core.leaky_relu(x, -0.2),
        lambda x: np.where(x > 0, x, -0.2 * x),
        (np.inf, np.inf),
    ),
    "rrelu": (_core.rrelu, lambda x: np.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2), (-np.inf, np.inf)),
    "elu": (lambda x: _core.elu(x, 1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)), (-1.5, np.inf)),
    "selu": (
        _core.selu,
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
        (-SELU_SCALE * SELU_ALPHA, np.inf),
    ),
    "celu": (lambda x: _core.celu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7)), (-0.7, np.inf)),
    "gelu": (_core.gelu, lambda x: x * special.ndtr(x), (0, np.inf)),
    "gelu_tanh": (lambda x: _core.gelu(x, approximate="tanh"), gelu_tanh, (0, np.inf)),
    "sigmoid": (_core.sigmoid, special.expit, (0, 1)),
    "tanh": (_core.tanh, np.tanh, (-1, 1)),
    "softplus": (_core.softplus, softplus, (0, np.inf)),
    "softplus_beta": (lambda x: _core.softplus(x, 2, 50), lambda x: softplus(2 * x) / 2, (0, np.inf)),
    "silu": (_core.silu, lambda x: x * special.expit(x), (0, np.inf)),
    "mish": (_core.mish, lambda x: x * np.tanh(softplus(x)), (0, np.inf)),
    "hardtanh": (lambda x: _core.hardtanh(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7), (-0.5, 0.7)),
    "relu6": (_core.relu6, lambda x: np.clip(x, 0, 6), (0, 6)),
    "hardswish": (_core.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6, (0, np.inf)),
    "hardsigmoid": (_core.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, (0, 1)),
    "softsign": (_core.softsign, lambda x: x / (1 + np.abs(x)), (-1, 1)),
    "logsigmoid": (_core.logsigmoid, lambda x: -softplus(-x), (-np.inf, 0)),
    "tanhshrink": (_core.tanhshrink, lambda x: x - np.tanh(x), (-np.inf, np.inf)),
    "softshrink": (_core.softshrink, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), (-np.inf, np.inf)),
    "hardshrink": (_core.hardshrink, lambda x: np.where(np.abs(x) > 0.5, x, 0), (-np.inf, np.inf)),
    "threshold": (lambda x: _core.threshold(x, 0.1, 20), lambda x: np.where(x > 0.1, x, 20), (20, np.inf)),
}
IN_PLACE = {
    "relu": lambda x: _core.relu(x, inplace=True),
    "leaky_relu": lambda x: _core.leaky_relu(x, 0.2, inplace=True),
    "leaky_relu_negative": lambda x: _core.leaky_relu(x, -0.2, inplace=True),
    "elu": lambda x: _core.elu(x, 1.5, inplace=True),
    "selu": lambda x: x.selu_(),
    "celu": lambda x: _core.celu(x, 0.7, inplace=True),
    "sigmoid": lambda x: x.sigmoid_(),
    "tanh": lambda x: x.tanh_(),
    "silu": lambda x: _core.silu(x, inplace=True),
    "mish": lambda x: _core.mish(x, inplace=True),
    "hardtanh": lambda x: _core.hardtanh(x, -0.5, 0.7, inplace=True),
    "relu6": lambda x: x.relu6_(),
    "hardswish": lambda x: x.hardswish_(),
    "hardsigmoid": lambda x: x.hardsigmoid_(),
    "threshold": lambda x: _core.threshold(x, 0.1, 20, inplace=True),
}


def inputs(shape, dtype=np.float64):
    return RNG.uniform(-4, 4, size=shape).astype(dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    f, reference, _ = ACTIVATIONS[name]
    for shape in [(s,) for s in SIZES] + [(), (1037,), (2, 5, 6, 3), (0, 3)]:
        a = inputs(shape, np.float32)
        for x in layouts(a).values():
            assert_within(f(x), reference(a.astype(np.float64)), 6 * EPS, 4e-7)
        a = inputs(shape)
        assert_within(f(tensor(a)), reference(a), 1e-13, 1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(name, dtype):
    f, reference, limits = ACTIVATIONS[name]
    a = np.array(SPECIAL * 2, dtype=dtype)
    with np.errstate(all="ignore"):
        expected = reference(a.astype(np.float64)).astype(dtype)
        expected[a == -np.inf], expected[a == np.inf] = limits
        if name == "softsign":
            expected[np.abs(a) > 1e29] = np.sign(a[np.abs(a) > 1e29])
    y = f(tensor(a)).numpy()
    assert np.isnan(y[np.isnan(a)]).all(), "NaN goes through"
    keep = ~np.isnan(a)
    np.testing.assert_allclose(y[keep], expected[keep], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_at_infinity_are_finite(name):
    for dtype in (np.float32, np.float64):
        x = tensor(np.array([-np.inf, np.inf, -1e30, 1e30, -200, 200] * 3, dtype=dtype), True)
        backward(ACTIVATIONS[name][0](x), tensor(np.ones(18, dtype)))
        g = x.grad.numpy()
        assert np.isfinite(g).all() and (np.abs(g) <= 2.0).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(name):
    f = ACTIVATIONS[name][0]
    a = inputs((6, 11))
    check_gradient(f, a, atol=1e-7)
    grad = RNG.normal(size=(6, 11))
    wide = tensor(a, True)
    backward(f(wide), tensor(grad))
    for x in layouts(a.astype(np.float32)).values():
        x.requires_grad_(True)
        backward(f(x), tensor(grad.astype(np.float32)))
        assert_within(x.grad, numpy(wide.grad), 40 * EPS, 2e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_channels_last_in_and_out(name):
    a = inputs((2, 6, 3, 4), np.float32)
    f, reference, _ = ACTIVATIONS[name]
    x = tensor(a)._channels_last().requires_grad_(True)
    y = f(x)
    assert y._is_channels_last()
    grad = RNG.normal(size=a.shape).astype(np.float32)
    backward(y, tensor(grad))  # a gradient in another layout
    plain = tensor(a, True)
    backward(f(plain), tensor(grad))
    assert_within(x.grad, numpy(plain.grad), 4 * EPS, 1e-6)


@pytest.mark.parametrize("name", ["relu", "gelu", "hardtanh", "silu"])
def test_gradients_add_up_where_an_input_is_used_twice(name):
    f = ACTIVATIONS[name][0]
    a = inputs((40, 33), np.float32)
    once, twice = tensor(a, True), tensor(a, True)
    ones = tensor(np.ones_like(a))
    backward(f(once), ones)
    z = twice * 1
    backward(f(z) + f(z) + z, ones)
    assert_within(twice.grad, 2 * numpy(once.grad) + 1, 8 * EPS, 1e-6)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    a = inputs((5, 9))
    changed, copied = tensor(a, True), tensor(a, True)
    middle = changed.clone()
    pointer = middle.data_ptr()
    result = IN_PLACE[name](middle)
    assert result is middle and result.data_ptr() == pointer
    backward(result, tensor(np.ones((5, 9))))
    backward(ACTIVATIONS[name][0](copied), tensor(np.ones((5, 9))))
    np.testing.assert_array_equal(changed.grad.numpy(), copied.grad.numpy())
    with pytest.raises(RuntimeError, match="a leaf tensor that requires grad"):
        IN_PLACE[name](changed)


def test_in_place_after_an_op_that_saved_its_input_is_an_error():
    x = tensor(inputs((3,)), True)
    y = x * 2
    z = y * y
    y.relu_()
    with pytest.raises(RuntimeError, match="changed in place"):
        backward(z, tensor(np.ones(3)))


def test_bfloat16():
    a = inputs((300,), np.float32)
    x = _core._to(tensor(a), _core.bfloat16)
    for name in ["relu", "gelu", "silu", "elu", "hardswish", "hardtanh"]:
        f, reference, _ = ACTIVATIONS[name]
        leaf = x.detach().requires_grad_(True)
        y = f(leaf)
        assert y.dtype == _core.bfloat16
        assert_within(y, reference(numpy(x)), 2.0**-7, 1e-6)
        backward(y, _core._to(tensor(np.ones(300)), _core.bfloat16))
        wide = tensor(numpy(x), True)
        backward(f(wide), tensor(np.ones(300)))
        inside = np.abs(numpy(x) - 0.7) > 0.01  # hardtanh's bound in bfloat16 is not quite 0.7
        np.testing.assert_allclose(numpy(leaf.grad)[inside], numpy(wide.grad)[inside], rtol=2.0**-7, atol=1e-6)


def test_relu_of_integers_and_kinks():
    assert _core.relu(tensor(np.array([-2, 0, 3]))).tolist() == [0, 0, 3]
    x = tensor(np.array([0.0, -0.0, 6.0]), True)
    backward(_core.relu(x), tensor(np.ones(3)))
    assert x.grad.tolist() == [0.0, 0.0, 1.0]
    y = tensor(np.array([-1.0, 1.0]), True)  # where the output is 0 a gradient that is not finite is still 0
    backward(_core.relu(y), tensor(np.array([np.nan, 2.0])))
    assert y.grad.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 3, 5), (7,), (2, 6, 4)])
@pytest.mark.parametrize("weights", [1, 6])
def test_prelu(shape, weights):
    if len(shape) == 1 and weights > 1:
        return
    a, w = inputs(shape), RNG.uniform(0.1, 0.5, size=weights)
    slope = w.reshape((1, weights) + (1,) * (len(shape) - 2)) if len(shape) > 1 else w
    for x in layouts(a).values():
        assert_within(_core.prelu(x, tensor(w)), np.where(a > 0, a, slope * a), 1e-15)
    check_gradient(_core.prelu, a, w)
    x, weight = tensor(a.astype(np.float32), True), tensor(w.astype(np.float32), True)
    grad = RNG.normal(size=shape).astype(np.float32)
    backward(_core.prelu(x, weight), tensor(grad))
    expected = np.where(a > 0, 0, grad * a)
    axes = tuple(i for i in range(len(shape)) if weights == 1 or i != 1)
    assert_within(weight.grad, expected.sum(axis=axes).reshape(w.shape), 1e-5, 1e-5)


def test_maxout_crelu_glu():
    a = inputs((2, 6, 3, 4))
    for x in layouts(a).values():
        assert_within(_core.maxout(x, 3), a.reshape(2, 2, 3, 3, 4).max(axis=2), 0)
        assert_within(_core.maxout(x, 2, dim=-1), a.reshape(2, 6, 3, 2, 2).max(axis=-1), 0)
        assert_within(_core.crelu(x), np.concatenate([np.maximum(a, 0), np.maximum(-a, 0)], axis=1), 0)
        assert_within(_core.glu(x, 1), a[:, :3] * special.expit(a[:, 3:]), 1e-14)
    for f in [lambda x: _core.maxout(x, 3), lambda x: _core.maxout(x, 2, -1), _core.crelu, lambda x: _core.crelu(x, -1),
              lambda x: _core.glu(x, 1), _core.glu]:  # fmt: skip
        check_gradient(f, a)
    tied = tensor(np.array([[2.0, 2.0, 1.0]]), True)  # the first of equals has the gradient
    backward(_core.maxout(tied, 3), tensor(np.array([[5.0]])))
    assert tied.grad.tolist() == [[5.0, 0.0, 0.0]]
    assert np.isnan(_core.maxout(tensor(np.array([[1.0, np.nan]])), 2).item())


def test_errors():
    x = tensor(np.zeros((2, 5), np.float32))
    weight = tensor(np.zeros(3, np.float32))
    cases = [
        (
            lambda: _core.gelu(x, approximate="erf"),
            ValueError,
            "gelu: expected approximate to be 'none' or 'tanh', got",
        ),
        (lambda: _core.hardtanh(x, 2, 1), ValueError, "hardtanh: expected min_val <= max_val, got 2 and 1"),
        (lambda: _core.celu(x, 0), ValueError, "celu: expected alpha other than 0"),
        (lambda: _core.softshrink(x, -1), ValueError, "softshrink: expected lambd of at least 0, got -1"),
        (lambda: _core.glu(x), ValueError, r"glu: expected dimension 1 of input \(2, 5\) to be even"),
        (lambda: _core.maxout(x, 2), ValueError, r"maxout: expected dimension 1 of .* multiple of pieces = 2"),
        (lambda: _core.maxout(x, 0), ValueError, "maxout: expected pieces of at least 1, got 0"),
        (lambda: _core.prelu(x, weight), ValueError, r"prelu: expected weight of 1 or 5 elements .*got \(3,\)"),
        (lambda: _core.silu(tensor(np.arange(3))), TypeError, "silu"),
        (lambda: _core.relu(None), TypeError, "relu"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
