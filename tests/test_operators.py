"""Elementwise ops beyond floating-point values: promotion, integers, operators, masks, layouts, errors."""

import operator

import numpy as np
import pytest
from elementwise_tools import uniform
from numeric import assert_within, backward, check_gradient, numpy, tensor
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")


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
    rounded = numpy(x)
    for name, reference in [("exp", np.exp), ("log", np.log), ("sqrt", np.sqrt), ("tanh", np.tanh)]:
        y = getattr(_core, name)(x)
        assert y.dtype == _core.bfloat16
        assert_within(y, reference(rounded), 2.0**-8)
    leaf = _core._to(tensor(np.zeros(3)), _core.bfloat16).requires_grad_(True)
    g = _core._to(tensor(np.ones((3000, 3))), _core.bfloat16)
    backward(_core.add(g, leaf), g)
    assert numpy(leaf.grad).tolist() == [3008.0] * 3  # 3000, rounded once; summed in bfloat16 it would stop at 256


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
        assert_within(ours, expected, 1e-14)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    for bad in ["text", [1, 2], object()]:
        with pytest.raises(TypeError, match="unsupported operand"):
            operator.add(x, bad)
        with pytest.raises(TypeError):
            operator.lt(x, bad)
    assert _core.add(x, x, alpha=0.5).tolist() == (x * 1.5).tolist()
    assert_within(_core.rsub(x, 1, alpha=2), 1 - 2 * a, 1e-14)


def test_where_and_masks():
    condition = np.array([[True, False, True], [False, True, False]])
    a, b = uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3))
    np.testing.assert_array_equal(
        _core.where(tensor(condition), tensor(a), tensor(b)).numpy(), np.where(condition, a, b)
    )
    assert _core.where(tensor(condition), 1.0, 0.0).tolist() == condition.astype(float).tolist()
    np.testing.assert_array_equal(tensor(a).masked_fill(tensor(condition), 9).numpy(), np.where(condition, 9, a))
    check_gradient(lambda x, y: _core.where(tensor(condition), x, y), a, b)
    check_gradient(lambda x, v: _core.masked_fill(x, tensor(condition), v), a, np.array(2.0))
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
    check_gradient(_core.clamp, uniform((2, 3), (-2, 2)), lo, hi)
    with pytest.raises(ValueError, match="clamp: expected min or max"):
        tensor(a).clamp()


def test_layouts_carry_through():
    x = tensor(uniform((2, 3, 4, 4), (-1, 1), np.float32))
    last = x._channels_last()
    bias = tensor(np.ones((3, 1, 1), np.float32))
    for y in [last + last, last + bias, bias + last, last * 2, last.exp(), last + x, -last, last > 0]:
        assert y._is_channels_last()
    assert (x + x)._is_contiguous() and (x + last)._is_contiguous()


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
    assert_within(_core.round(tensor(np.array([1.2345, -2.005])), decimals=2), np.round([1.2345, -2.005], 2), 1e-14)


def test_fmax_fmin_logaddexp_float_power():
    a = np.array([1.0, np.nan, 2.0, np.nan, -np.inf, np.inf, 500.0])
    b = np.array([3.0, 4.0, np.nan, np.nan, -np.inf, np.inf, 501.0])
    np.testing.assert_array_equal(_core.fmax(tensor(a), tensor(b)).numpy(), np.fmax(a, b))
    np.testing.assert_array_equal(_core.fmin(tensor(a), tensor(b)).numpy(), np.fmin(a, b))
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(a, b)
    np.testing.assert_allclose(_core.logaddexp(tensor(a), tensor(b)).numpy(), expected, rtol=1e-15)
    check_gradient(_core.logaddexp, uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3)))
    check_gradient(_core.fmax, uniform((2, 3), (-3, 3)), uniform((3,), (-3, 3)))
    power = _core.float_power(tensor(np.array([2, 3])), -1)
    assert power.dtype == _core.float64 and power.tolist() == [0.5, 1 / 3]
    assert tensor(np.arange(4.0)).eq_(2).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert tensor(np.array([True, False])).logical_or_(tensor(np.array([False, False]))).tolist() == [True, False]
    assert_within(_core.rad2deg(tensor(np.array([np.pi]))), np.array([180.0]), 1e-15)
