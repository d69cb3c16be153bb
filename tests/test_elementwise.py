"""Elementwise arithmetic, comparison and mathematics: values, special values, broadcasting and gradients."""

import itertools

import numpy as np
import pytest
from elementwise_tools import BINARY, COMPARISONS, EPS, RNG, SIZES, SPECIAL, UNARY, uniform
from numeric import assert_within, backward, check_gradient, layouts, numpy, tensor
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")


SHAPES = [((3, 5), (3, 5)), ((7,), (4, 1)), ((2, 3, 1, 5), (3, 4, 1)), ((), (3,)), ((0, 3), (3,)), ((33, 31), (31,))]
SHAPES += [((2, 3, 4, 5), (3, 1, 1)), ((600,), (1,)), ((5, 700), (5, 1)), ((2, 1, 3), (1, 4, 1)), ((40, 3), (40, 3))]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_values(name, dtype):
    reference, left, right = BINARY[name]
    for a_shape, b_shape in SHAPES:
        a, b = uniform(a_shape, left, dtype), uniform(b_shape, right, dtype)
        expected = reference(a.astype(np.float64), b.astype(np.float64))
        exact = name in {"floor_divide", "remainder", "fmod"}
        for x, y in itertools.product(layouts(a).values(), layouts(b).values()):
            z = getattr(_core, name)(x, y)
            if exact:  # their quotient may round across an integer: NumPy in the same dtype decides
                assert_within(z, reference(a, b), 2 * np.finfo(dtype).eps, 1e-6)
            else:
                assert_within(z, expected, 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    values = np.array(SPECIAL, dtype=np.float32)
    a, b = values[:, None], np.concatenate([values, np.zeros(33, np.float32)])
    z = getattr(_core, name)(tensor(a), tensor(b))
    assert z.dtype == _core.bool
    np.testing.assert_array_equal(z.numpy(), COMPARISONS[name](a, b))
    ints = np.arange(-4, 40)
    z = getattr(_core, name)(tensor(ints), tensor(ints[::-1].copy()))
    np.testing.assert_array_equal(z.numpy(), COMPARISONS[name](ints, ints[::-1]))


@pytest.mark.parametrize("name", UNARY)
def test_unary_values(name):
    reference, domain, ulps = UNARY[name]
    for size in [(s,) for s in SIZES] + [(1033,), (2, 3, 4, 5), ()]:
        a = uniform(size, domain, np.float32)
        for x in layouts(a).values():
            assert_within(getattr(_core, name)(x), reference(a.astype(np.float64)), ulps * EPS, ulps * 1e-7)
        a = uniform(size, domain)
        assert_within(getattr(_core, name)(tensor(a)), reference(a), 1e-13, 1e-14)


@pytest.mark.parametrize("name", [n for n in UNARY if n not in {"rsqrt", "frac", "square", "logit", "erfinv"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary_special_values(name, dtype):
    a = np.array(SPECIAL, dtype=dtype)
    with np.errstate(all="ignore"):
        expected = UNARY[name][0](a)
    y = getattr(_core, name)(tensor(a)).numpy()
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-45)
    zeros = (expected == 0) & (y == 0) & (a == 0)
    if name not in {"abs", "sign", "square"}:
        np.testing.assert_array_equal(np.signbit(y[zeros]), np.signbit(expected[zeros]))


def test_predicates():
    a = np.array(SPECIAL * 3, dtype=np.float32)
    for name, reference in [("isnan", np.isnan), ("isinf", np.isinf), ("isfinite", np.isfinite)]:
        np.testing.assert_array_equal(getattr(_core, name)(tensor(a)).numpy(), reference(a))
        assert not getattr(_core, name)(tensor(np.arange(3))).numpy().any() or name == "isfinite"
    np.testing.assert_array_equal(_core.logical_not(tensor(a)).numpy(), np.logical_not(a))
    assert _core.bitwise_not(tensor(np.array([0, 5, -1]))).tolist() == [-1, -6, 0]
    assert (~tensor(np.array([True, False]))).tolist() == [False, True]


@pytest.mark.parametrize("name", BINARY)
def test_binary_gradients(name):
    if name == "floor_divide":
        return check_gradient(_core.floor_divide, np.array([1.3, -2.2]), np.array([0.7, 0.9]))
    _, left, right = BINARY[name]
    for a_shape, b_shape in [((2, 3), (2, 3)), ((3, 1), (4,)), ((), (3,)), ((2, 1, 3), (1, 2, 1))]:
        check_gradient(getattr(_core, name), uniform(a_shape, left), uniform(b_shape, right))


@pytest.mark.parametrize("name", UNARY)
def test_unary_gradients(name):
    _, domain, _ = UNARY[name]
    narrow = (max(domain[0], -3), min(domain[1], 3))  # where differences of large values lose no digits
    check_gradient(getattr(_core, name), uniform((3, 5), narrow))
    x = tensor(uniform((40,), domain, np.float32), requires_grad=True)  # the float32 kernel agrees with the float64 one
    wide = tensor(numpy(x), requires_grad=True)
    for leaf in (x, wide):
        y = getattr(_core, name)(leaf)
        backward(y, _core._to(tensor(np.linspace(-1, 1, 40)), leaf.dtype))
    assert_within(x.grad, numpy(wide.grad), 30 * EPS, 1e-6)


def test_max_shares_its_gradient_between_equals():
    a, b = tensor(np.array([1.0, 2.0, 3.0]), True), tensor(np.array([1.0, 3.0, 2.0]), True)
    backward(_core.maximum(a, b), tensor(np.ones(3)))
    assert a.grad.tolist() == [0.5, 0.0, 1.0] and b.grad.tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("shape", [(64, 10), (2, 16, 9, 9), (3000, 7), (5, 70, 3), (20, 5000), (40000,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_broadcast_operands_are_sums(shape, dtype):
    """Integer values: the sums are exact, in any order."""
    g = RNG.integers(-8, 9, size=shape).astype(dtype)
    for small in [
        shape[1:],
        (1,) * len(shape),
        shape[:-1] + (1,),
        (),
        (1,) + shape[1:],
        (1,) + shape[1:2] + (1,) * (len(shape) - 2),
    ]:
        b = np.zeros(small, dtype)
        axes = tuple(range(g.ndim - b.ndim))
        expected = g.sum(axis=axes)
        expected = expected.sum(
            axis=tuple(i for i, n in enumerate(small) if n == 1 and expected.shape[i] != 1), keepdims=True
        )
        for grad in layouts(g).values():
            leaf = tensor(b, requires_grad=True)
            backward(_core.add(tensor(np.zeros(shape, dtype)), leaf), grad)
            np.testing.assert_array_equal(leaf.grad.numpy(), expected.reshape(small))


@pytest.mark.parametrize("shapes", [((2, 3),) * 3, ((3,), (2, 1), ()), ((1, 2, 1), (2, 1, 3), (1,))])
def test_lerp_addcmul_addcdiv(shapes):
    a, b, c = (uniform(s, (0.5, 2)) for s in shapes)
    assert_within(_core.lerp(tensor(a), tensor(b), tensor(c)), a + c * (b - a), 1e-14, 1e-14)
    assert_within(_core.addcmul(tensor(a), tensor(b), tensor(c), value=-0.5), a - 0.5 * b * c, 1e-14, 1e-14)
    assert_within(_core.addcdiv(tensor(a), tensor(b), tensor(c), value=2), a + 2 * b / c, 1e-14)
    check_gradient(_core.lerp, a, b, c)
    check_gradient(lambda x, y, z: _core.addcmul(x, y, z, value=-0.5), a, b, c)
    check_gradient(lambda x, y, z: _core.addcdiv(x, y, z, value=2), a, b, c)
