"""Matrix products and linear layers against NumPy in float64. Small integers make the results exact."""

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from numeric import DTYPES, assert_exact, integers, leaf

pytestmark = pytest.mark.usefixtures("restore")


def summed_to(array, shape):
    extra = array.ndim - len(shape)
    array = array.sum(axis=tuple(range(extra)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and array.shape[i] != 1)
    return array.sum(axis=axes, keepdims=True)


def gradients(a, b, dc):
    """Of a @ b, with 1-D operands and broadcast batches."""
    a2, b2 = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    if b.ndim == 1:
        dc = dc[..., None]
    if a.ndim == 1:
        dc = dc[..., None, :]
    da = summed_to(dc @ b2.swapaxes(-1, -2), a2.shape).reshape(a.shape)
    db = summed_to(a2.swapaxes(-1, -2) @ dc, b2.shape).reshape(b.shape)
    return da, db


SIZES = [
    (1, 1, 1), (1, 64, 10), (64, 64, 10), (3, 5, 7), (4, 100, 33), (5, 33, 31), (17, 16, 16), (17, 48, 32),
    (2, 515, 64), (64, 1030, 40), (100, 7, 100), (130, 20, 270), (1, 512, 200), (0, 3, 4), (3, 0, 4), (3, 4, 0),
    (16, 5000, 16), (15, 4999, 17), (7, 2, 1), (31, 15, 63),
]  # fmt: skip
SHAPES = [
    ((3,), (3,)), ((3,), (3, 4)), ((5, 3), (3,)), ((2, 5, 3), (3,)), ((3,), (2, 3, 4)), ((2, 5, 3), (3, 20)),
    ((2, 1, 5, 3), (4, 3, 20)), ((5, 3), (4, 3, 20)), ((4, 17, 9), (4, 9, 33)), ((0, 17, 9), (9, 3)),
    ((2, 3, 1, 6), (6, 1)), ((2, 0, 4), (2, 4, 3)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_gradients_are_exact(isa, dtype):
    rng = np.random.default_rng(0)
    for a_shape, b_shape in [((m, k), (k, n)) for m, k, n in SIZES] + SHAPES:
        a, b = integers(rng, a_shape, dtype), integers(rng, b_shape, dtype)
        wide = a.astype(np.float64), b.astype(np.float64)
        expected = np.matmul(*wide)
        at, bt = leaf(a), leaf(b)
        c = at @ bt
        assert_exact(c, expected, dtype, f"{a_shape} @ {b_shape}")
        dc = integers(rng, expected.shape, dtype)
        c.backward(sw.from_numpy(np.asarray(dc)))
        for tensor, gradient in zip((at, bt), gradients(*wide, dc.astype(np.float64)), strict=True):
            assert_exact(tensor.grad, gradient, dtype, f"gradient of {a_shape} @ {b_shape}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(isa, dtype):
    rng = np.random.default_rng(1)
    for shape, out in [
        ((4, 33), 17),
        ((2, 3, 50), 20),
        ((50,), 20),
        ((0, 8), 4),
        ((1, 128), 100),
        ((70, 64), 10),
        ((5, 1), 1),
    ]:
        arrays = [integers(rng, s, dtype) for s in (shape, (out, shape[-1]), (out,))]
        x, w, b = (a.astype(np.float64) for a in arrays)
        leaves = [leaf(a) for a in arrays]
        y = F.linear(*leaves)
        assert_exact(y, x @ w.T + b, dtype)
        dy = integers(rng, (*shape[:-1], out), dtype)
        y.backward(sw.from_numpy(dy))
        g = dy.astype(np.float64)
        rows = g.reshape(-1, out)
        expected = g @ w, rows.T @ x.reshape(-1, shape[-1]), rows.sum(axis=0)
        for tensor, gradient in zip(leaves, expected, strict=True):
            assert_exact(tensor.grad, gradient, dtype, f"gradient of linear on {shape}")
        assert_exact(F.linear(leaves[0], leaves[1]), x @ w.T, dtype)


def layouts(matrix):
    yield sw.from_numpy(matrix)
    yield sw.from_numpy(np.ascontiguousarray(matrix.T)).t()
    yield sw.from_numpy(np.repeat(matrix, 2, axis=1))[:, ::2]


def test_operands_of_any_layout(isa):
    rng = np.random.default_rng(2)
    for m, k, n in [(1, 40, 40), (3, 70, 40), (20, 33, 48), (200, 80, 96)]:
        a, b = integers(rng, (m, k), "float32"), integers(rng, (k, n), "float32")
        expected = a.astype(np.float64) @ b.astype(np.float64)
        lefts = [
            sw.from_numpy(a),
            sw.from_numpy(np.ascontiguousarray(a.T)).t(),
            sw.from_numpy(np.repeat(a, 2, axis=1))[:, ::2],
        ]
        rights = [
            sw.from_numpy(b),
            sw.from_numpy(np.ascontiguousarray(b.T)).t(),
            sw.from_numpy(np.repeat(b, 2, axis=1))[:, ::2],
        ]
        for left in lefts:
            for right in rights:
                assert_exact(left @ right, expected, "float32")
    row = sw.from_numpy(integers(rng, (1, 40), "float32"))
    assert_exact(row.expand(8, 40) @ row.t(), np.full((8, 1), float((row.numpy() ** 2).sum())), "float32")


@pytest.mark.parametrize("m, k, n", [(600, 801, 450), (300, 8200, 520), (1350, 400, 256)])
def test_blocks_that_share_panels(isa, m, k, n):
    """Blocks below and beside each other; 8200 x 520 elements are more than are packed at a time."""
    rng = np.random.default_rng(5)
    a, b = integers(rng, (m, k), "float32"), integers(rng, (k, n), "float32")
    expected = a.astype(np.float64) @ b.astype(np.float64)
    lefts, rights = list(layouts(a))[:2], list(layouts(b))[:2]  # rows, and columns, side by side in memory
    for left, right in ((0, 0), (1, 0), (0, 1)):
        assert_exact(lefts[left] @ rights[right], expected, "float32")


def test_the_relatives_of_matmul():
    rng = np.random.default_rng(3)
    a, b, v = integers(rng, (5, 3)), integers(rng, (3, 4)), integers(rng, (3,))
    t = sw.from_numpy
    assert_exact(sw.mm(t(a), t(b)), a @ b, "float64")
    assert_exact(sw.mv(t(a), t(v)), a @ v, "float64")
    assert_exact(sw.dot(t(v), t(v)), v @ v, "float64")
    assert_exact(sw.outer(t(v), t(b[:, 0])), np.outer(v, b[:, 0]), "float64")
    bias, batch = integers(rng, (4,)), integers(rng, (2, 5, 3))
    assert_exact(sw.addmm(t(bias), t(a), t(b)), bias + a @ b, "float64")
    assert_exact(sw.addmm(t(bias), t(a), t(b), beta=2, alpha=-1), 2 * bias - a @ b, "float64")
    other = integers(rng, (2, 3, 4))
    assert_exact(sw.bmm(t(batch), t(other)), batch @ other, "float64")
    assert_exact(sw.baddbmm(t(bias), t(batch), t(other), beta=3, alpha=2), 3 * bias + 2 * (batch @ other), "float64")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_multiply(dtype):
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 200, (3, 5, 9)).astype(dtype), rng.integers(0, 200, (9, 4)).astype(dtype)
    c = (sw.from_numpy(a) @ sw.from_numpy(b)).numpy()
    assert c.dtype == dtype
    np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize("m, k, n", [(300, 300, 300), (16, 60000, 24), (1, 3000, 1000), (2000, 40, 3), (64, 512, 10)])
def test_same_bits_at_any_number_of_threads_and_close_to_float64(m, k, n):
    rng = np.random.default_rng(5)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    runs = []
    for threads in (1, 2, 5):
        sw.set_num_threads(threads)
        leaves = [leaf(a) for a in (x, w, b)]
        y = F.linear(*leaves)
        y.backward(y.detach())
        runs.append([y.detach().numpy()] + [t.grad.numpy() for t in leaves])
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
    expected = x.astype(np.float64) @ w.astype(np.float64).T + b
    assert np.abs(runs[0][0] - expected).max() < 2e-6 * np.sqrt(k) * np.abs(expected).std() + 1e-5


def test_nan_and_infinity_propagate():
    a = np.ones((5, 33), np.float32)
    a[2, 7] = np.nan
    c = (sw.from_numpy(a) @ sw.zeros((33, 20))).numpy()
    assert np.isnan(c[2]).all() and not np.isnan(np.delete(c, 2, axis=0)).any()
    a[2, 7] = np.inf
    assert np.isinf((sw.from_numpy(a) @ sw.ones((33, 1))).numpy()[2]).all()


def test_errors_say_what_was_expected():
    a, b = sw.zeros((8, 9, 10)), sw.zeros((10, 9))
    with pytest.raises(sw.ShapeError, match="matmul: expected other with 9 rows, as many as input has columns, got"):
        sw.matmul(b, b)
    with pytest.raises(sw.ShapeError, match="mm: expected input with 2 dimensions, got"):
        sw.mm(a, b)
    with pytest.raises(sw.ShapeError, match="bmm: expected mat2 with 3 dimensions, got"):
        sw.bmm(a, b)
    with pytest.raises(sw.ShapeError, match="bmm: expected input and mat2 with the same batch size"):
        sw.bmm(a, sw.zeros((7, 10, 2)))
    with pytest.raises(sw.ShapeError, match=r"linear: expected input whose last dimension is 9, got \(8, 9, 10\)"):
        F.linear(a, b)
    with pytest.raises(sw.ShapeError, match=r"linear: expected bias of shape \(10,\), got \(3,\)"):
        F.linear(sw.zeros((2, 9)), b, sw.zeros(3))
    with pytest.raises(TypeError, match="matmul: expected input and other to have the same dtype, got float32"):
        sw.matmul(a, sw.zeros((10, 9), dtype=sw.float64))
    with pytest.raises(sw.ShapeError, match="dot: expected input with 1 dimension"):
        sw.dot(b, b)
    with pytest.raises(sw.ShapeError, match="matmul: expected operands with at least one dimension"):
        sw.matmul(sw.tensor(1.0), b)
    with pytest.raises(TypeError, match="matmul: expected numbers, got bool"):
        sw.matmul(sw.zeros((2, 2)) > 0, sw.zeros((2, 2)) > 0)
