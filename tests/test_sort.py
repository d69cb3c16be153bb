"""Sorting, the largest elements and distinct values, against NumPy."""

import numpy as np
import pytest
import skipway as sw
from numeric import check_gradient, layouts

RNG = np.random.default_rng(0)
SIZES = [1, 2, 15, 16, 17, 33, 100, 1000]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_])
@pytest.mark.parametrize("n", SIZES)
def test_sort_is_stable_on_every_isa(n, dtype, isa):
    a = RNG.integers(0, 20, (3, n)).astype(dtype)
    values, indices = sw.sort(sw.tensor(a), 1)
    order = np.argsort(a, 1, kind="stable")
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(a, order, 1))
    result = sw.tensor(a).sort(1, descending=True)
    backwards = np.stack([np.array(sorted(range(n), key=lambda i, r=row: (-int(r[i]), i))) for row in a])
    np.testing.assert_array_equal(result.indices.numpy(), backwards)
    np.testing.assert_array_equal(result.values.numpy(), np.take_along_axis(a, backwards, 1))


def test_every_dimension_and_layout():
    a = RNG.standard_normal((3, 4, 5, 6)).astype(np.float32)
    for x in layouts(a).values():
        for dim in range(-4, 4):
            np.testing.assert_array_equal(x.sort(dim)[0].numpy(), np.sort(a, dim))
            np.testing.assert_array_equal(sw.argsort(x, dim).numpy(), np.argsort(a, dim, kind="stable"))


def test_nan_and_zeros():
    a = np.array([1.0, np.nan, -np.inf, 0.0, -0.0, np.inf, np.nan, -1.0])
    for dtype in (sw.float64, sw.float32, sw.bfloat16):
        x = sw.tensor(a, dtype=dtype)
        assert x.argsort().tolist() == [2, 7, 3, 4, 0, 5, 1, 6]
        assert x.argsort(descending=True).tolist() == [1, 6, 5, 0, 3, 4, 7, 2]
        assert x.topk(2).indices.tolist() == [1, 6]
        assert x.topk(2, largest=False).indices.tolist() == [2, 7]


@pytest.mark.parametrize("k", [0, 1, 5, 32, 33, 100])
def test_topk(k):
    a = RNG.permutation(300).reshape(3, 100).astype(np.float32)
    for largest in (True, False):
        values, indices = sw.topk(sw.tensor(a), k, dim=1, largest=largest)
        order = np.argsort(-a if largest else a, 1, kind="stable")[:, :k]
        np.testing.assert_array_equal(indices.numpy(), order)
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(a, order, 1))
        middle = sw.tensor(a.reshape(3, 100, 1)).expand(3, 100, 2).topk(k, 1, largest)
        np.testing.assert_array_equal(middle.indices[:, :, 1].numpy(), order)


def test_kthvalue_and_median():
    a = RNG.standard_normal((4, 7))
    for k in (1, 4, 7):
        values, indices = sw.tensor(a).kthvalue(k, 1)
        np.testing.assert_array_equal(values.numpy(), np.sort(a, 1)[:, k - 1])
        np.testing.assert_array_equal(indices.numpy(), np.argsort(a, 1)[:, k - 1])
    assert tuple(sw.tensor(a).kthvalue(2, 0, keepdim=True).values.shape) == (1, 7)
    np.testing.assert_array_equal(sw.tensor(a).median(1).values.numpy(), np.median(a, 1))
    assert sw.tensor([4.0, 1.0, 3.0, 2.0]).median().item() == 2.0
    assert np.isnan(sw.tensor([4.0, np.nan, 3.0]).median().item())
    assert sw.tensor([[4.0, np.nan, 3.0], [1.0, 2.0, 0.0]]).median(1).indices.tolist() == [1, 0]


def test_unique():
    a = np.array([[3, 1, 3], [2, 1, 7]])
    values, inverse, counts = sw.tensor(a).unique(return_inverse=True, return_counts=True)
    v, i, c = np.unique(a, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(values.numpy(), v)
    np.testing.assert_array_equal(inverse.numpy(), i.reshape(a.shape))
    np.testing.assert_array_equal(counts.numpy(), c)
    assert sw.unique(sw.zeros(0)).tolist() == []
    assert sw._core.unique(sw.tensor([np.nan, 1.0, np.nan])).numpy().shape == (2,)


def test_gradients():
    a = RNG.standard_normal((3, 5, 2))
    check_gradient(lambda x: x.sort(1), a)
    check_gradient(lambda x: x.sort(0, descending=True), a)
    check_gradient(lambda x: x.topk(2, 1), a)
    check_gradient(lambda x: x.kthvalue(3, 1), a)
    check_gradient(lambda x: x.median(1), a)
    check_gradient(lambda x: x.median(), a)


def test_scalars_empty_and_errors():
    assert sw.tensor(3.0).sort(0).values.item() == 3.0
    assert tuple(sw.zeros(0, 3).sort(1).values.shape) == (0, 3)
    assert tuple(sw.zeros(3, 0).sort(1).values.shape) == (3, 0)
    with pytest.raises(ValueError, match="topk: k = 4 is out of range for dimension 0 of size 3"):
        sw.zeros(3).topk(4)
    with pytest.raises(ValueError, match="kthvalue: k = 0 is out of range"):
        sw.zeros(3).kthvalue(0)
    with pytest.raises(IndexError):
        sw.zeros(3).sort(1)
