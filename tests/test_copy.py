"""Copies: every dtype to every dtype, any strides, layouts, in place."""

import numpy as np
import pytest
from elementwise_tools import SIZES
from numeric import assert_within, backward, layouts, numpy, tensor
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = ["float64", "float32", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_dtype_to_dtype(source, target):
    values = np.arange(700).reshape(7, 100) % 120
    a = values.astype(source)
    for x in layouts(a).values():
        y = _core._to(x, getattr(_core, target))
        assert y.numpy().dtype == np.dtype(target)
        np.testing.assert_array_equal(y.numpy(), a.astype(target))


def test_float_to_integer_truncates_and_to_bool_is_nonzero():
    x = tensor(np.array([-1.9, -0.5, 0.0, 0.5, 1.9, np.nan], dtype=np.float32))
    assert _core._to(x, _core.int64).tolist()[:5] == [-1, 0, 0, 0, 1]
    assert _core._to(x, _core.bool).tolist() == [True, True, False, True, True, True]


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.14159, 1e-40, np.inf, -np.inf, 3.4e38], dtype=np.float32)
    y = numpy(_core._to(tensor(values), _core.bfloat16))
    assert y.tolist()[:3] == [1.0, 1.0, 1.015625]  # ties go to the even neighbour
    assert y[5] == np.inf and y[6] == -np.inf and y[7] == np.inf
    assert np.isnan(numpy(_core._to(tensor(np.full(40, np.nan, np.float32)), _core.bfloat16))).all()
    many = np.random.default_rng(0).normal(size=1001).astype(np.float32)
    assert np.all(np.abs(numpy(_core._to(tensor(many), _core.bfloat16)) - many) <= np.abs(many) * 2.0**-8)


@pytest.mark.parametrize(
    "shape", [(2, 3, 5, 7), (1, 64, 9, 9), (3, 17, 33, 2), (2, 48, 31), (0, 3, 4, 4), (2, 16, 3, 5, 4)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_channels_last_and_back(shape, dtype):
    a = (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)
    for x in layouts(a).values():
        last = x._channels_last()
        assert last._is_channels_last()
        np.testing.assert_array_equal(last.numpy(), a)
        rows = last.contiguous()
        assert rows._is_contiguous()
        np.testing.assert_array_equal(rows.numpy(), a)


def test_no_copy_where_the_layout_is_right():
    x = tensor(np.zeros((2, 3, 4, 4), np.float32))
    assert x.contiguous() is x
    last = x._channels_last()
    assert last._channels_last() is last and last.contiguous(memory_format="skipway.channels_last") is last
    assert _core._to(x, _core.float32) is x
    assert not x.clone()._shares_storage(x)
    assert last.clone()._is_channels_last()


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("columns", SIZES)
def test_transposes(rows, columns):
    a = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    x = tensor(a.T.copy())
    np.testing.assert_array_equal(_core.from_numpy(x.numpy().T).contiguous().numpy(), a)


def test_large_transposes_and_permutations():
    a = np.random.default_rng(0).normal(size=(37, 53, 41)).astype(np.float32)
    for axes in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        view = a.transpose(axes)
        np.testing.assert_array_equal(_core.from_numpy(view).contiguous().numpy(), view)
        np.testing.assert_array_equal(_core._to(_core.from_numpy(view), _core.float64).numpy(), view)


def test_copy_broadcasts_and_converts():
    x = tensor(np.zeros((2, 3), np.float32))
    x.copy_(tensor(np.array([1, 2, 3])))
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert x.fill_(2.5).tolist() == [[2.5] * 3] * 2
    assert x.zero_().tolist() == [[0.0] * 3] * 2
    whole = np.zeros((4, 6), np.int64)
    _core.from_numpy(whole[1:3, ::2]).fill_(7)
    assert whole.sum() == 42 and whole[1, 0] == 7 and whole[1, 1] == 0


def test_copy_onto_itself_shifted():
    a = np.arange(2000, dtype=np.float32)
    _core.from_numpy(a[1:]).copy_(_core.from_numpy(a[:-1]))
    base = tensor(np.arange(6, dtype=np.float32))
    assert base.copy_(base).tolist() == [0, 1, 2, 3, 4, 5]


def test_errors():
    x = tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"copy_: expected a source that broadcasts to \(2, 3\), got \(4, 2, 3\)"):
        x.copy_(tensor(np.zeros((4, 2, 3), np.float32)))
    with pytest.raises(ValueError, match="channels_last: expected input with 3 to 5 dimensions"):
        x._channels_last()
    with pytest.raises(ValueError, match="fill_: expected value to be a number"):
        x.fill_(tensor(np.zeros(3, np.float32)))
    with pytest.raises(RuntimeError, match="fill_: the tensor of shape .* was expanded"):
        _core.from_numpy(np.zeros(3, np.float32)).expand(2, 3).fill_(1.0)


def test_gradients_go_through():
    x = tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = _core._to(x.clone(), _core.float32)
    backward(y, tensor(np.full((2, 3), 2.0, np.float32)))
    assert x.grad.dtype == _core.float64
    assert_within(x.grad, np.full((2, 3), 2.0), 0)

    row = tensor(np.arange(3.0), requires_grad=True)
    z = tensor(np.zeros((4, 3)), requires_grad=True)
    copied = z.clone().copy_(row)
    backward(copied, tensor(np.ones((4, 3))))
    assert row.grad.tolist() == [4.0, 4.0, 4.0]
    assert z.grad.tolist() == [[0.0] * 3] * 4


def test_full():
    assert _core._full((2, 2), 1.5, _core.float32).tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert _core._full((), 3, _core.int64).item() == 3
    assert _core._full((3,), True, _core.bool).tolist() == [True] * 3
    with pytest.raises(ValueError, match="full: expected sizes of at least 0"):
        _core._full((2, -1), 0, _core.float32)
