"""Functions composed of others, against NumPy: einsum, inner, kron, quantile and more."""

import numpy as np
import pytest
import skipway as sw


def test_einsum():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4, 5)), rng.standard_normal((3, 3))
    for equation, operands in [
        ("bij,bjk->bik", (a, b)), ("bij,bjk->ik", (a, b)), ("bij->jb", (a,)), ("ij->", (c,)), ("ii->i", (c,)),
        ("ii", (c,)), ("ij,jk", (c, c)), ("...ij,...jk->...ik", (a, b)), ("bij,ik->bkj", (a, c)),
        ("i,j->ij", (c[0], c[1])),
        ("bij,bjk,il->blk", (a, b, c)), ("...j,j->...", (c, c[0])), ("bij,bjk->", (a, b)),
    ]:  # fmt: skip
        got = sw.einsum(equation, *map(sw.tensor, operands))
        np.testing.assert_allclose(
            got.numpy(), np.einsum(equation, *operands), rtol=1e-10, atol=1e-12, err_msg=equation
        )
    with pytest.raises(ValueError, match="2 operands, got 1"):
        sw.einsum("ij,jk->ik", sw.ones(2, 2))
    with pytest.raises(sw.ShapeError, match="'j' has sizes 3 and 2"):
        sw.einsum("ij,jk->ik", sw.ones(2, 3), sw.ones(2, 3))
    np.testing.assert_allclose(sw.tensordot(sw.tensor(a), sw.tensor(b), ([0, 2], [0, 1])).numpy(),
                               np.tensordot(a, b, ([0, 2], [0, 1])))  # fmt: skip


COMPOSITIONS = [
    ("inner", np.inner, ((2, 3), (4, 3))), ("trace", np.trace, ((3, 3),)), ("cross", np.cross, ((2, 3), (2, 3))),
    ("diff", np.diff, ((2, 5),)), ("logaddexp", np.logaddexp, ((3,), (2, 3))), ("kron", np.kron, ((2, 3), (3, 2))),
    ("deg2rad", np.deg2rad, ((3,),)), ("rad2deg", np.rad2deg, ((3,),)), ("sinc", np.sinc, ((4,),)),
    ("rot90", np.rot90, ((2, 3),)), ("cov", np.cov, ((3, 6),)), ("corrcoef", np.corrcoef, ((3, 6),)),
    ("fmax", np.fmax, ((3,), (3,))), ("signbit", np.signbit, ((5,),)), ("diagflat", np.diagflat, ((2, 2),)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(COMPOSITIONS)), ids=lambda i: COMPOSITIONS[i][0])
def test_composition(case):
    name, reference, shapes = COMPOSITIONS[case]
    rng = np.random.default_rng(case)
    arrays = [rng.standard_normal(s) for s in shapes]
    got = getattr(sw, name)(*map(sw.tensor, arrays))
    np.testing.assert_allclose(got.numpy(), reference(*arrays), rtol=1e-7, atol=1e-12)
    method = getattr(sw.tensor(arrays[0]), name)(*map(sw.tensor, arrays[1:]))
    assert sw.equal(got, method)


def test_more_compositions():
    x = sw.tensor([3.0, 1.0, 2.0, 2.0])
    assert sw.quantile(x, 0.5).item() == 2.0 and x.quantile(sw.tensor([0.0, 1.0])).tolist() == [1.0, 3.0]
    assert sw.unique_consecutive(sw.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]
    assert sw.isin(sw.tensor([1, 2, 3]), sw.tensor([2, 5])).tolist() == [False, True, False]
    assert sw.cdist(sw.zeros(1, 2), sw.tensor([[3.0, 4.0]])).item() == 5
    assert sw.block_diag(sw.ones(1, 2), sw.ones(1, 1)).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert sw.atleast_2d(sw.ones(3)).shape == (1, 3) and sw.column_stack([sw.ones(2), sw.zeros(2)]).shape == (2, 2)
    assert sw.histc(x, 2, 1, 3).tolist() == [1, 3] and sw.bucketize(x, sw.tensor([1.5, 2.5])).tolist() == [2, 0, 1, 1]
    assert sw.tril_indices(2, 2).tolist() == [[0, 1, 1], [0, 0, 1]]
    y = x.clone()
    assert y.logical_and_(sw.tensor([True, False, True, True])).tolist() == [1, 0, 1, 1]
    assert sw.promote_types(sw.int32, sw.float32) is sw.float32 and not sw.can_cast(sw.float32, sw.int64)
    assert sw.linalg.vector_norm(sw.tensor([3.0, 4.0])).item() == 5
    q, r = sw.linalg.qr(sw.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert sw.allclose(q @ r, sw.tensor([[1.0, 2.0], [3.0, 4.0]]), atol=1e-5)


@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_fmax_and_fmin(name):
    a, b = np.array([1.0, 2.0, np.nan, 3.0, np.nan, -0.5]), np.array([2.0, 2.0, 1.0, np.nan, np.nan, -1.0])
    x, y = sw.tensor(a, requires_grad=True), sw.tensor(b, requires_grad=True)
    z = getattr(sw, name)(x, y)
    np.testing.assert_array_equal(z.detach().numpy(), getattr(np, name)(a, b))
    z.backward(sw.ones(6, dtype=sw.float64))
    left = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0] if name == "fmax" else [1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(x.grad.numpy(), left)  # all of it to the first of equals
    np.testing.assert_array_equal(y.grad.numpy(), 1.0 - left)


@pytest.mark.parametrize("shape", [(0,), (1,), (4,), (3, 0), (0, 3)])
def test_diff(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(sw.diff(sw.tensor(x)).numpy(), np.diff(x))
    assert tuple(sw.diff(sw.tensor(x), 3).shape) == np.diff(x, 3).shape
