"""Elementwise arithmetic, comparison and mathematics: values, type promotion, broadcasting, gradients, in place."""

import itertools
import operator

import numpy as np
import pytest
from elementwise_tools import AVAILABLE, SIZES, SPECIAL, array, assert_close, backward, check_gradients, layouts, tensor
from scipy import special
from skipway import _core

EPS = 2.0**-23
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True, params=AVAILABLE)
def isa(request):
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield
    _core.set_isa(before)


# name: (NumPy's function, domain of the first and of the second operand)
BINARY = {
    "add": (np.add, (-3, 3), (-3, 3)),
    "sub": (np.subtract, (-3, 3), (-3, 3)),
    "mul": (np.multiply, (-3, 3), (-3, 3)),
    "div": (np.true_divide, (-3, 3), (0.5, 3)),
    "pow": (np.power, (0.3, 3), (-2, 2)),
    "maximum": (np.maximum, (-3, 3), (-3, 3)),
    "minimum": (np.minimum, (-3, 3), (-3, 3)),
    "atan2": (np.arctan2, (-3, 3), (0.5, 3)),
    "hypot": (np.hypot, (-3, 3), (0.5, 3)),
    "xlogy": (special.xlogy, (-3, 3), (0.5, 3)),
    "floor_divide": (np.floor_divide, (-3, 3), (0.5, 3)),
    "remainder": (np.remainder, (-3, 3), (0.5, 3)),
    "fmod": (np.fmod, (-3, 3), (0.5, 3)),
}
COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
# name: (float64 reference, domain, units in the last place that float32 may be off)
UNARY = {
    "neg": (np.negative, (-3, 3), 0),
    "abs": (np.abs, (-3, 3), 0),
    "sign": (np.sign, (-3, 3), 0),
    "exp": (np.exp, (-9, 9), 2),
    "exp2": (np.exp2, (-9, 9), 2),
    "expm1": (np.expm1, (-9, 9), 2),
    "log": (np.log, (0.01, 9), 2),
    "log2": (np.log2, (0.01, 9), 2),
    "log10": (np.log10, (0.01, 9), 2),
    "log1p": (np.log1p, (-0.9, 9), 2),
    "sqrt": (np.sqrt, (0.01, 9), 1),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0.01, 9), 2),
    "square": (np.square, (-3, 3), 1),
    "reciprocal": (lambda x: 1 / x, (0.2, 3), 1),
    "sin": (np.sin, (-9, 9), 5),
    "cos": (np.cos, (-9, 9), 5),
    "tan": (np.tan, (-1.4, 1.4), 4),
    "asin": (np.arcsin, (-0.9, 0.9), 4),
    "acos": (np.arccos, (-0.9, 0.9), 4),
    "atan": (np.arctan, (-9, 9), 4),
    "sinh": (np.sinh, (-5, 5), 4),
    "cosh": (np.cosh, (-5, 5), 4),
    "tanh": (np.tanh, (-5, 5), 3),
    "asinh": (np.arcsinh, (-5, 5), 4),
    "acosh": (np.arccosh, (1.2, 5), 4),
    "atanh": (np.arctanh, (-0.9, 0.9), 4),
    "sigmoid": (special.expit, (-9, 9), 3),
    "logit": (special.logit, (0.05, 0.95), 9),
    "erf": (special.erf, (-4, 4), 3),
    "erfc": (special.erfc, (-4, 4), 4),
    "erfinv": (special.erfinv, (-0.99, 0.99), 4),
    "floor": (np.floor, (-3, 3), 0),
    "ceil": (np.ceil, (-3, 3), 0),
    "round": (np.round, (-3, 3), 0),
    "trunc": (np.trunc, (-3, 3), 0),
    "frac": (lambda x: x - np.trunc(x), (-3, 3), 0),
}
STEPS = {"sign", "floor", "ceil", "round", "trunc", "floor_divide"}


def uniform(shape, domain, dtype=np.float64):
    return RNG.uniform(*domain, size=shape).astype(dtype)


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
        for x, y in itertools.product(layouts(a), layouts(b)):
            z = getattr(_core, name)(x, y)
            if exact:  # their quotient may round across an integer: NumPy in the same dtype decides
                assert_close(z, reference(a, b), 2 * np.finfo(dtype).eps, 1e-6)
            else:
                assert_close(z, expected, 4 * np.finfo(dtype).eps)


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
        for x in layouts(a):
            assert_close(getattr(_core, name)(x), reference(a.astype(np.float64)), ulps * EPS, ulps * 1e-7)
        a = uniform(size, domain)
        assert_close(getattr(_core, name)(tensor(a)), reference(a), 1e-13, 1e-14)


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
        return check_gradients(_core.floor_divide, np.array([1.3, -2.2]), np.array([0.7, 0.9]))
    _, left, right = BINARY[name]
    for a_shape, b_shape in [((2, 3), (2, 3)), ((3, 1), (4,)), ((), (3,)), ((2, 1, 3), (1, 2, 1))]:
        check_gradients(getattr(_core, name), uniform(a_shape, left), uniform(b_shape, right))


@pytest.mark.parametrize("name", UNARY)
def test_unary_gradients(name):
    _, domain, _ = UNARY[name]
    narrow = (max(domain[0], -3), min(domain[1], 3))  # where differences of large values lose no digits
    check_gradients(getattr(_core, name), uniform((3, 5), narrow))
    x = tensor(uniform((40,), domain, np.float32), requires_grad=True)  # the float32 kernel agrees with the float64 one
    wide = tensor(array(x), requires_grad=True)
    for leaf in (x, wide):
        y = getattr(_core, name)(leaf)
        backward(y, _core._to(tensor(np.linspace(-1, 1, 40)), leaf.dtype))
    assert_close(x.grad, array(wide.grad), 30 * EPS, 1e-6)


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
        for grad in layouts(g):
            leaf = tensor(b, requires_grad=True)
            backward(_core.add(tensor(np.zeros(shape, dtype)), leaf), grad)
            np.testing.assert_array_equal(leaf.grad.numpy(), expected.reshape(small))


def test_promotion_follows_kinds_and_dimensions():
    def dtype(a, b):
        return _core.add(a, b).dtype

    f32, f64 = tensor(np.ones(2, np.float32)), tensor(np.ones(2))
    i32, i64, u8 = tensor(np.ones(2, np.int32)), tensor(np.ones(2, np.int64)), tensor(np.ones(2, np.uint8))
    half, truth = _core._to(f32, _core.bfloat16), tensor(np.ones(2, np.bool_))
    zero_dim = tensor(np.float64(1))
    assert dtype(f32, f64) == _core.float64 and dtype(f32, half) == _core.float32
    assert dtype(i32, i64) == _core.int64 and dtype(u8, i32) == _core.int32 and dtype(truth, u8) == _core.uint8
    assert dtype(i64, half) == _core.bfloat16 and dtype(truth, truth) == _core.bool
    assert dtype(f32, zero_dim) == _core.float32 and dtype(i32, zero_dim) == _core.float64
    assert dtype(u8, 300) == _core.uint8 and dtype(i32, 1.5) == _core.float32 and dtype(truth, 2) == _core.int64
    assert dtype(half, 0.1) == _core.bfloat16 and dtype(f64, 1) == _core.float64
    assert _core.div(i32, i32).dtype == _core.float32 and _core.sqrt(i64).dtype == _core.float32
    assert _core.floor(i64).dtype == _core.int64 and _core.where(truth, f32, 1).dtype == _core.float32
    assert (i32 > 0.5).tolist() == [True, True]


def test_bfloat16_computes_in_float32():
    a = np.linspace(0.1, 5, 300)
    x = _core._to(tensor(a), _core.bfloat16)
    rounded = array(x)
    for name, reference in [("exp", np.exp), ("log", np.log), ("sqrt", np.sqrt), ("tanh", np.tanh)]:
        y = getattr(_core, name)(x)
        assert y.dtype == _core.bfloat16
        assert_close(y, reference(rounded), 2.0**-8)
    leaf = _core._to(tensor(np.zeros(3)), _core.bfloat16).requires_grad_(True)
    g = _core._to(tensor(np.ones((3000, 3))), _core.bfloat16)
    backward(_core.add(g, leaf), g)
    assert array(leaf.grad).tolist() == [3008.0] * 3  # 3000, rounded once; summed in bfloat16 it would stop at 256


def test_integer_arithmetic():
    a, b = np.array([7, -7, 7, -7, 0, 5]), np.array([3, 3, -3, -3, 5, 1])
    x, y = tensor(a), tensor(b)
    np.testing.assert_array_equal((x // y).numpy(), a // b)
    np.testing.assert_array_equal((x % y).numpy(), a % b)
    np.testing.assert_array_equal(_core.fmod(x, y).numpy(), np.fmod(a, b))
    np.testing.assert_array_equal(_core.div(x, y, rounding_mode="trunc").numpy(), np.trunc(a / b))
    np.testing.assert_array_equal((x**3).numpy(), a**3)
    np.testing.assert_array_equal((2 ** tensor(np.arange(8))).numpy(), 2 ** np.arange(8))
    np.testing.assert_array_equal((x & y).numpy(), a & b)
    np.testing.assert_array_equal((x | y).numpy(), a | b)
    np.testing.assert_array_equal((x ^ y).numpy(), a ^ b)
    np.testing.assert_array_equal((x << 2).numpy(), a << 2)
    np.testing.assert_array_equal((x >> 1).numpy(), a >> 1)
    bytes_ = tensor(np.array([250, 3], np.uint8))
    assert (bytes_ + bytes_).tolist() == [244, 6] and (-bytes_).tolist() == [6, 253]
    least = tensor(np.array([np.iinfo(np.int64).min]))
    assert (least // -1).tolist() == [np.iinfo(np.int64).min] and (least % -1).tolist() == [0]


def test_floor_division_of_floats():
    a = np.array([7.5, -7.5, 7.5, -7.5, 0.0, -0.0, np.inf, 1.0, 1.0, np.nan, 0.3])
    b = np.array([2.0, 2.0, -2.0, -2.0, 3.0, 3.0, 2.0, 0.0, np.inf, 1.0, 0.1])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal((tensor(a) // tensor(b)).numpy()[:6], np.floor_divide(a, b)[:6])
        np.testing.assert_array_equal((tensor(a) // tensor(b)).numpy()[7:], (np.floor_divide(a, b))[7:])
        np.testing.assert_array_equal((tensor(a) % tensor(b)).numpy(), np.remainder(a, b))


def test_operators_and_their_reflections():
    a = uniform((3, 4), (0.5, 2))
    x = tensor(a)
    for ours, expected in [
        (x + 1, a + 1), (1 + x, 1 + a), (x - 2, a - 2), (2 - x, 2 - a), (x * 3, a * 3), (3 * x, 3 * a), (x / 2, a / 2),
        (2 / x, 2 / a), (x // 0.3, a // 0.3), (5 // x, 5 // a), (x % 0.3, a % 0.3), (5 % x, 5 % a), (x**2, a**2),
        (x**-1, 1 / a), (x**0.5, np.sqrt(a)), (2**x, 2**a), (-x, -a), (+x, a), (abs(-x), a),
        (x + np.float64(1), a + 1), (x * True, a),
    ]:  # fmt: skip
        assert_close(ours, expected, 1e-14)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    for bad in ["text", [1, 2], object()]:
        with pytest.raises(TypeError, match="unsupported operand"):
            operator.add(x, bad)
        with pytest.raises(TypeError):
            operator.lt(x, bad)
    assert _core.add(x, x, alpha=0.5).tolist() == (x * 1.5).tolist()
    assert_close(_core.rsub(x, 1, alpha=2), 1 - 2 * a, 1e-14)


def test_where_and_masks():
    condition = np.array([[True, False, True], [False, True, False]])
    a, b = uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3))
    np.testing.assert_array_equal(
        _core.where(tensor(condition), tensor(a), tensor(b)).numpy(), np.where(condition, a, b)
    )
    assert _core.where(tensor(condition), 1.0, 0.0).tolist() == condition.astype(float).tolist()
    np.testing.assert_array_equal(tensor(a).masked_fill(tensor(condition), 9).numpy(), np.where(condition, 9, a))
    check_gradients(lambda x, y: _core.where(tensor(condition), x, y), a, b)
    check_gradients(lambda x, v: _core.masked_fill(x, tensor(condition), v), a, np.array(2.0))
    x = tensor(np.array([1.0, np.inf]), True)
    backward(_core.where(tensor(np.array([True, False])), x, 0), tensor(np.array([1.0, np.nan])))
    assert x.grad.tolist() == [1.0, 0.0]


def test_clamp():
    a = np.array([-2.0, -0.5, 0.0, 0.7, 3.0, np.nan])
    np.testing.assert_array_equal(tensor(a).clamp(-1, 1).numpy(), np.clip(a, -1, 1))
    np.testing.assert_array_equal(tensor(a).clamp(min=0).numpy(), np.maximum(a, 0))
    np.testing.assert_array_equal(tensor(a).clip(max=0).numpy(), np.minimum(a, 0))
    assert tensor(a)[:5].clamp(2, 1).tolist() == [1.0] * 5
    assert tensor(np.arange(5)).clamp(1, 3).tolist() == [1, 1, 2, 3, 3]
    lo, hi = np.array([-1.0, 0.1, 0.4]), np.array([[0.5], [0.9]])
    check_gradients(_core.clamp, uniform((2, 3), (-2, 2)), lo, hi)
    with pytest.raises(ValueError, match="clamp: expected min or max"):
        tensor(a).clamp()


@pytest.mark.parametrize("shapes", [((2, 3),) * 3, ((3,), (2, 1), ()), ((1, 2, 1), (2, 1, 3), (1,))])
def test_lerp_addcmul_addcdiv(shapes):
    a, b, c = (uniform(s, (0.5, 2)) for s in shapes)
    assert_close(_core.lerp(tensor(a), tensor(b), tensor(c)), a + c * (b - a), 1e-14, 1e-14)
    assert_close(_core.addcmul(tensor(a), tensor(b), tensor(c), value=-0.5), a - 0.5 * b * c, 1e-14, 1e-14)
    assert_close(_core.addcdiv(tensor(a), tensor(b), tensor(c), value=2), a + 2 * b / c, 1e-14)
    check_gradients(_core.lerp, a, b, c)
    check_gradients(lambda x, y, z: _core.addcmul(x, y, z, value=-0.5), a, b, c)
    check_gradients(lambda x, y, z: _core.addcdiv(x, y, z, value=2), a, b, c)


def test_layouts_carry_through():
    x = tensor(uniform((2, 3, 4, 4), (-1, 1), np.float32))
    last = x._channels_last()
    bias = tensor(np.ones((3, 1, 1), np.float32))
    for y in [last + last, last + bias, bias + last, last * 2, last.exp(), last + x, -last, last > 0]:
        assert y._is_channels_last()
    assert (x + x)._is_contiguous() and (x + last)._is_contiguous()


IN_PLACE = {
    "add_": lambda x: x + 2, "sub_": lambda x: x - 2, "mul_": lambda x: x * 2, "div_": lambda x: x / 2,
    "pow_": lambda x: x**2, "floor_divide_": lambda x: x // 2, "remainder_": lambda x: x % 2,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_changes_the_same_memory(name):
    a = uniform((3, 5), (0.5, 3), np.float32)
    for x in layouts(a):
        pointer = x.data_ptr()
        y = getattr(x, name)(2)
        assert y is x and x.data_ptr() == pointer
        assert_close(x, IN_PLACE[name](a), 2 * EPS, 1e-7)
    ours, out = tensor(a.astype(np.float64), True), tensor(a.astype(np.float64), True)
    backward(getattr(ours.clone(), name)(2), tensor(np.ones((3, 5))))
    backward(getattr(_core, name[:-1])(out, 2), tensor(np.ones((3, 5))))
    np.testing.assert_array_equal(ours.grad.numpy(), out.grad.numpy())


@pytest.mark.parametrize("name", sorted(set(UNARY) - {"logit"}))
def test_in_place_unary_has_the_gradient_of_its_copy(name):
    a = uniform((4, 9), UNARY[name][1])
    changed, copied = tensor(a, True), tensor(a, True)
    backward(getattr(changed.clone(), name + "_")(), tensor(np.ones((4, 9))))
    backward(getattr(_core, name)(copied), tensor(np.ones((4, 9))))
    np.testing.assert_array_equal(changed.grad.numpy(), copied.grad.numpy())


def test_in_place_gradients_of_both_operands():
    a, b = uniform((2, 3), (0.5, 2)), uniform((3,), (0.5, 2))
    for name in ["add_", "sub_", "mul_", "div_"]:
        check_gradients(lambda x, y, name=name: getattr(x.clone(), name)(y), a, b)
    check_gradients(lambda x, y: x.clone().mul_(y).mul_(y), a, b)
    check_gradients(lambda x: (lambda t: t.mul_(t))(x.clone()), a)
    check_gradients(lambda x, y, z: x.clone().addcmul_(y, z, value=3), a, b, b + 1)
    check_gradients(lambda x, y, z: x.clone().addcdiv_(y, z), a, b, b + 1)
    check_gradients(lambda x, y, z: x.clone().lerp_(y, z), a, b, b + 1)
    check_gradients(lambda x: x.clone().clamp_(0.8, 1.2), a)
    check_gradients(lambda x, v: x.clone().masked_fill_(tensor(a > 1), v), a, np.array(0.3))


def test_in_place_overlap_reads_the_old_values():
    memory = np.arange(1000.0)
    _core.from_numpy(memory[1:]).add_(_core.from_numpy(memory[:-1]))
    x = tensor(np.arange(6.0).reshape(2, 3))
    assert x.add_(x).tolist() == [[0, 2, 4], [6, 8, 10]]
    whole = tensor(np.arange(1000.0))
    whole[1:].add_(whole[:-1])
    np.testing.assert_array_equal(whole.numpy()[1:], np.arange(1, 1000) + np.arange(999.0))


def test_in_place_errors():
    x = tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"add_: in place, expected operands that broadcast to \(2, 3\), got .*\(4, 2, 3\)"
    ):
        x.add_(tensor(np.zeros((4, 2, 3), np.float32)))
    with pytest.raises(TypeError, match="add_: the result is float32, which a tensor of int64 cannot hold"):
        tensor(np.arange(3)).add_(0.5)
    with pytest.raises(TypeError, match="sqrt_: the result is float32"):
        tensor(np.arange(3)).sqrt_()
    with pytest.raises(RuntimeError, match="add_: a leaf tensor that requires grad"):
        tensor(np.zeros(3), True).add_(1)
    with pytest.raises(RuntimeError, match="add_: the tensor of shape .* was expanded"):
        tensor(np.zeros(3)).expand(2, 3).add_(1)
    y = tensor(np.ones(3), True)
    z = y * 1
    product = z * z
    z.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        backward(product, tensor(np.ones(3)))


def test_errors_name_the_op_and_its_values():
    x, n = tensor(np.zeros((2, 3), np.float32)), tensor(np.arange(3))
    with pytest.raises(ValueError, match=r"add: .*\(2, 3\).*\(4,\)"):
        x + tensor(np.zeros(4, np.float32))
    with pytest.raises(TypeError, match="bitwise_and: expected integer or bool tensors, got float32 and int64"):
        x & n
    with pytest.raises(TypeError, match="bool tensors cannot be subtracted"):
        tensor(np.array([True])) - tensor(np.array([True]))
    with pytest.raises(RuntimeError, match="floor_divide: an integer was divided by zero"):
        n // 0
    with pytest.raises(RuntimeError, match="remainder: an integer was divided by zero"):
        n % tensor(np.array([1, 0, 1]))
    with pytest.raises(ValueError, match="pow: integers cannot be raised to the negative power -1"):
        n**-1
    with pytest.raises(ValueError, match="expected rounding_mode to be None, 'floor' or 'trunc', got 'up'"):
        _core.div(x, 2, rounding_mode="up")
    with pytest.raises(TypeError, match="where: expected condition to be a bool tensor, got float32"):
        _core.where(x, x, x)
    with pytest.raises(TypeError, match="exp.*input"):
        _core.exp(None)


def test_the_same_bits_on_any_number_of_threads():
    threads = _core.get_num_threads()
    a = tensor(uniform((70, 33, 41), (-2, 2), np.float32))
    grad = tensor(uniform((70, 33, 41), (-2, 2), np.float32))
    results = []
    for n in (1, 2, 5):
        _core.set_num_threads(n)
        bias = tensor(np.zeros((33, 1), np.float32), True)
        y = _core.tanh(a * 1.5 + bias)
        backward(y, grad)
        results.append((y.detach().numpy().tobytes(), bias.grad.numpy().tobytes()))
    _core.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_nan_to_num_isclose_round():
    a = np.array([np.nan, np.inf, -np.inf, 1.0], dtype=np.float32)
    np.testing.assert_array_equal(_core.nan_to_num(tensor(a)).numpy(), np.nan_to_num(a))
    assert _core.nan_to_num(tensor(a), nan=1.0, posinf=2.0, neginf=3.0).tolist() == [1.0, 2.0, 3.0, 1.0]
    b = np.array([np.nan, np.inf, np.inf, 1.000001], dtype=np.float32)
    for equal_nan in (False, True):
        np.testing.assert_array_equal(
            _core.isclose(tensor(a), tensor(b), equal_nan=equal_nan).numpy(), np.isclose(a, b, equal_nan=equal_nan)
        )
    assert_close(_core.round(tensor(np.array([1.2345, -2.005])), decimals=2), np.round([1.2345, -2.005], 2), 1e-14)


def test_fmax_fmin_logaddexp_float_power():
    a = np.array([1.0, np.nan, 2.0, np.nan, -np.inf, np.inf, 500.0])
    b = np.array([3.0, 4.0, np.nan, np.nan, -np.inf, np.inf, 501.0])
    np.testing.assert_array_equal(_core.fmax(tensor(a), tensor(b)).numpy(), np.fmax(a, b))
    np.testing.assert_array_equal(_core.fmin(tensor(a), tensor(b)).numpy(), np.fmin(a, b))
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(a, b)
    np.testing.assert_allclose(_core.logaddexp(tensor(a), tensor(b)).numpy(), expected, rtol=1e-15)
    check_gradients(_core.logaddexp, uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3)))
    check_gradients(_core.fmax, uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3)))
    power = _core.float_power(tensor(np.array([2, 3])), -1)
    assert power.dtype == _core.float64 and power.tolist() == [0.5, 1 / 3]
    assert tensor(np.arange(4.0)).eq_(2).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert tensor(np.array([True, False])).logical_or_(tensor(np.array([False, False]))).tolist() == [True, False]
    assert_close(_core.rad2deg(tensor(np.array([np.pi]))), np.array([180.0]), 1e-15)
