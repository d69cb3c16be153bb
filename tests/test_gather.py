"""Functions that pick, put and count elements by position, against NumPy."""

import numpy as np
import pytest
import skipway as sw
from numeric import check_gradient, layouts, same

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 4, 5))
MASK = RNG.random((2, 3, 4, 5)) > 0.5


def test_adding_at_positions():
    index = np.array([2, 0, 2])
    source = RNG.standard_normal((2, 3, 4, 5))
    expected = A.copy()
    np.add.at(expected, (slice(None), index), 2 * source)
    x = sw.tensor(A)
    x.index_add_(1, sw.tensor(index), sw.tensor(source), alpha=2)
    np.testing.assert_allclose(x.numpy(), expected)
    check_gradient(lambda x, y: x.index_add(1, sw.tensor(index), y), A, source)
    rows = RNG.standard_normal((3, 3, 4, 5))
    expected = A.copy()
    np.add.at(expected, np.array([1, 1, 0]), rows)
    same(sw.tensor(A).index_put((sw.tensor([1, 1, 0]),), sw.tensor(rows), accumulate=True), expected)
    check_gradient(lambda x, y: x.index_put((sw.tensor([1, 1, 0]),), y, accumulate=True), A, rows)
    many = sw.zeros(2, dtype=sw.bfloat16).index_add_(
        0, sw.zeros(1000, dtype=sw.int64), sw.ones(1000, dtype=sw.bfloat16)
    )
    assert many.tolist() == [1000, 0]
    same(sw.zeros(3).index_fill(0, sw.tensor([0, 2]), 4), [4, 0, 4])
    same(sw.zeros(3).index_copy(0, sw.tensor([0, 2]), sw.tensor([5.0, 6.0])), [5, 0, 6])


def test_gather_and_scatter(isa):
    index = RNG.integers(0, 3, (2, 5, 3, 4))
    index[0, 0] -= 3
    for x in layouts(A).values():
        same(x.gather(1, sw.tensor(index)), np.take_along_axis(A[:, :, :3, :4], index, 1))
    check_gradient(lambda x: sw.gather(x, 1, sw.tensor(index)), A)
    order = np.argsort(RNG.standard_normal(A.shape), 2)
    expected = A.copy()
    np.put_along_axis(expected, order, -A, 2)
    same(sw.tensor(A).scatter(2, sw.tensor(order), sw.tensor(-A)), expected)
    check_gradient(lambda x, y: x.scatter(2, sw.tensor(order), y), A, RNG.standard_normal(A.shape))
    check_gradient(
        lambda x, y: x.scatter_add(0, sw.tensor(index % 2), y),
        RNG.standard_normal((2, 5, 3, 4)),
        A[:, :, :3, :4].repeat(2, 1),
    )
    one_hot = sw.zeros(4, 5).scatter_(1, sw.tensor([[1], [0], [4], [2]]), 1.0)
    same(one_hot, np.eye(5)[[1, 0, 4, 2]])
    same(sw.zeros(2, 3).scatter_(1, sw.tensor([[1], [0]]), value=2), [[0, 2, 0], [2, 0, 0]])
    sums = sw.zeros(3, dtype=sw.bfloat16).scatter_add_(
        0, sw.zeros(1000, dtype=sw.int64), sw.ones(1000, dtype=sw.bfloat16)
    )
    assert sums.tolist() == [1000, 0, 0]


def test_selecting():
    same(sw.index_select(sw.tensor(A), 2, sw.tensor([3, 0, 0])), A[:, :, [3, 0, 0]])
    same(sw.masked_select(sw.tensor(A), sw.tensor(MASK)), A[MASK])
    same(sw.masked_select(sw.tensor(A), sw.tensor(MASK[0, 0])), A[np.broadcast_to(MASK[0, 0], A.shape)])
    same(sw.take(sw.tensor(A), sw.tensor([[0, -1], [7, 7]])), A.ravel()[[[0, -1], [7, 7]]])
    check_gradient(lambda x: x.masked_select(sw.tensor(MASK)), A)
    check_gradient(lambda x: x.take(sw.tensor([[0, -1], [7, 7]])), A)
    same(sw.nonzero(sw.tensor(MASK)), np.argwhere(MASK))
    for found, expected in zip(sw.tensor(MASK).nonzero(as_tuple=True), MASK.nonzero(), strict=True):
        same(found, expected)
    same(sw.argwhere(sw.tensor([0.0, np.nan, -0.0])), [[1]])


def test_embedding():
    weight = RNG.standard_normal((10, 6))
    index = RNG.integers(0, 10, (3, 40))
    same(sw._core.embedding(sw.tensor(index), sw.tensor(weight)), weight[index])
    check_gradient(lambda w: sw._core.embedding(sw.tensor(index), w), weight)
    w = sw.tensor(weight, requires_grad=True)
    sw._core.embedding(sw.tensor(index), w, padding_idx=-7).sum().backward()
    expected = np.bincount(index.ravel(), minlength=10).astype(float)
    expected[3] = 0
    same(w.grad, np.broadcast_to(expected[:, None], (10, 6)))
    with pytest.raises(IndexError, match="embedding: index -1 is out of range for 10 rows"):
        sw._core.embedding(sw.tensor([-1]), sw.tensor(weight))


def test_triangles_and_diagonals():
    a = RNG.standard_normal((2, 4, 6))
    for k in (-9, -2, 0, 1, 9):
        same(sw.tril(sw.tensor(a), k), np.tril(a, k))
        same(sw.tensor(a).triu(k), np.triu(a, k))
        same(sw.diag(sw.tensor(a[0]), k), np.diag(a[0], k))
        same(sw.diag(sw.tensor(a[0, 0]), k), np.diag(a[0, 0], k))
        check_gradient(lambda x, k=k: (x.tril(k), x.triu(k), x[0].diag(k), x[0, 0].diag(k)), a)
    same(sw.diag_embed(sw.tensor(a[:, 0]), 1)[1], np.diag(a[1, 0], 1))


def test_counting():
    a = RNG.integers(0, 7, 50)
    same(sw.bincount(sw.tensor(a), minlength=9), np.bincount(a, minlength=9))
    weights = RNG.standard_normal(50)
    np.testing.assert_allclose(sw.tensor(a).bincount(sw.tensor(weights)).numpy(), np.bincount(a, weights))
    same(sw._core.one_hot(sw.tensor(a.reshape(5, 10))), np.eye(7)[a.reshape(5, 10)])
    same(sw._core.one_hot(sw.tensor([1, 0]), 4), [[0, 1, 0, 0], [1, 0, 0, 0]])
    edges = np.array([-1.0, 0.0, 0.0, 2.5])
    values = np.array([-2.0, 0.0, 1.0, 2.5, 9.0, np.nan])
    for right in (False, True):
        same(
            sw._core.searchsorted(sw.tensor(edges), sw.tensor(values), right=right),
            np.searchsorted(edges, values, "right" if right else "left"),
        )
