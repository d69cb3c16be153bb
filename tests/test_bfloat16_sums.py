"""bfloat16 sums: whatever an op adds up, it adds up in float32, and rounds the total once.

Sums of 1 stall at 256 in bfloat16. The columns of most inputs here are constant, so that a term rounded before it is
added is off by the same amount in every row, and the total by as much: no averaging hides it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from bfloat16_tools import DY, LINE, TALL, K, N, assert_rounded_once, check, columns, spread, summed
from op_cases import round_to
from op_runner import array_of, tensor_of
from skipway.testing import reference as R

REDUCTIONS = {
    "sum": (lambda x: x.sum(0), lambda x: x.sum(0)),
    "mean": (lambda x: x.mean(0), lambda x: x.mean(0)),
    "sum_all": (lambda x: x.sum(), lambda x: x.sum()),
    "nansum": (lambda x: sw.nansum(x, 0), lambda x: x.sum(0)),
    "nanmean": (lambda x: sw.nanmean(x, 0), lambda x: x.mean(0)),
    "var": (lambda x: x.var(1), lambda x: x.var(1, ddof=1)),
    "std": (lambda x: x.std(1), lambda x: x.std(1, ddof=1)),
    "norm": (lambda x: x.norm(2, 0), lambda x: np.linalg.norm(x, 2, 0)),
    "norm_1": (lambda x: x.norm(1), lambda x: x.sum()),
    "logsumexp": (lambda x: sw.logsumexp(x, 0), lambda x: R.logsumexp(x, 0)),
    "cumsum": (lambda x: x.cumsum(0), lambda x: np.cumsum(x, 0)),
    "trace": (lambda x: sw.trace(x[:600].repeat(1, 40)[:600, :600]), lambda x: np.trace(np.tile(x[:600], 40)[:, :600])),
    "dist": (lambda x: sw.dist(x, x * 0), lambda x: np.linalg.norm(x)),
    "einsum": (lambda x: sw.einsum("ij,ij->j", x, x), lambda x: (x * x).sum(0)),
    "einsum_all": (lambda x: sw.einsum("ij,ij->", x, x), lambda x: (x * x).sum()),
    "adaptive_avg_pool1d": (
        lambda x: F.adaptive_avg_pool1d(x.t().reshape(1, K, N), 1),
        lambda x: x.mean(0).reshape(1, K, 1),
    ),
    "avg_pool2d": (
        lambda x: F.avg_pool2d(x.reshape(1, 1, 500, 10 * K), (500, 1)),
        lambda x: x.reshape(1, 1, 500, -1).mean(2, keepdims=True),
    ),
    "lp_pool1d": (
        lambda x: F.lp_pool1d(x.t().reshape(1, K, N), 2.0, N),
        lambda x: np.linalg.norm(x, 2, 0).reshape(1, K, 1),
    ),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    call, forward = REDUCTIONS[name]
    check(call, forward, None, None, TALL if name not in ("var", "std") else spread(8, N))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_other_layouts(name: str) -> None:
    call, forward = REDUCTIONS[name]
    array = TALL if name not in ("var", "std") else spread(8, N)
    x = tensor_of(array.T.copy(), "bfloat16").t()
    assert_rounded_once(array_of(call(x)), np.asarray(forward(array)), name)


IDENTITY = sw.eye(K).to(sw.bfloat16)
BROADCAST = {  # with a tensor of K elements as the operand at the place of its gradient
    "add": (lambda x, w: x + w, R.add_backward),
    "add_alpha": (lambda x, w: sw.add(x, w, alpha=1.3), lambda g, x, w: (g, 1.3 * g.sum(0))),
    "sub": (lambda x, w: x - w, R.sub_backward),
    "mul": (lambda x, w: x * w, R.mul_backward),
    "div": (lambda x, w: x / w, R.div_backward),
    "div_by_tall": (lambda x, w: w / x, lambda g, x, w: R.div_backward(g, w, x)[::-1]),
    "pow": (lambda x, w: x**w, R.pow_backward),
    "pow_base": (lambda x, w: w**x, lambda g, x, w: R.pow_backward(g, w, x)[::-1]),
    "remainder": (lambda x, w: sw.remainder(x * 5, w), lambda g, x, w: (5 * g, R.remainder_backward(g, 5 * x, w)[1])),
    "fmod": (lambda x, w: sw.fmod(x, w), lambda g, x, w: (g, summed(-g * np.trunc(x / w), w.shape))),
    "maximum": (sw.maximum, R.maximum_backward),
    "atan2": (sw.atan2, R.atan2_backward),
    "hypot": (sw.hypot, lambda g, x, w: (g * x / np.hypot(x, w), summed(g * w / np.hypot(x, w), w.shape))),
    "xlogy": (sw.xlogy, lambda g, x, w: (g * np.log(w), summed(g * x / w, w.shape))),
    "copysign": (lambda x, w: sw.copysign(w, x), lambda g, x, w: (0 * g, summed(g, w.shape))),
    "where": (lambda x, w: sw.where(x > 1.5, x, w), lambda g, x, w: (g * (x > 1.5), summed(g * (x <= 1.5), w.shape))),
    "clamp": (lambda x, w: sw.clamp(x, min=w), lambda g, x, w: (g * (x >= w), summed(g * (x < w), w.shape))),
    "lerp": (lambda x, w: sw.lerp(x, w, 0.3), lambda g, x, w: (0.7 * g, summed(0.3 * g, w.shape))),
    "lerp_weight": (lambda x, w: sw.lerp(x, x * 2, w), lambda g, x, w: (None, summed(g * x, w.shape))),
    "addcmul": (
        lambda x, w: sw.addcmul(x, x, w, value=1.3),
        lambda g, x, w: (None, summed(1.3 * g * x, w.shape)),
    ),
    "addcdiv": (
        lambda x, w: sw.addcdiv(x, x, w, value=1.3),
        lambda g, x, w: (None, summed(-1.3 * g * x / w**2, w.shape)),
    ),
    "mul_transposed": (lambda x, w: (x.t() * w.reshape(K, 1)).t(), R.mul_backward),
    "expand": (lambda x, w: w.expand(N, K), lambda g, x, w: (None, g.sum(0))),
    "repeat": (lambda x, w: w.repeat(N, 1), lambda g, x, w: (None, g.sum(0))),
    "repeat_interleave": (lambda x, w: w.reshape(1, K).repeat_interleave(N, 0), lambda g, x, w: (None, g.sum(0))),
    "broadcast_to": (lambda x, w: sw.broadcast_to(w, (N, K)), lambda g, x, w: (None, g.sum(0))),
    "copy_": (lambda x, w: sw.zeros(N, K, dtype=sw.bfloat16).copy_(w), lambda g, x, w: (None, g.sum(0))),
    "setitem": (lambda x, w: _assigned(w), lambda g, x, w: (None, g.sum(0))),
    "prelu": (lambda x, w: F.prelu(-x, w), lambda g, x, w: R.prelu_backward(g, -x, w)),
    "linear_bias": (lambda x, w: F.linear(x, IDENTITY, w), lambda g, x, w: (g, g.sum(0))),
    "addmm_input": (lambda x, w: sw.addmm(w, x, IDENTITY, beta=1.3), lambda g, x, w: (g, 1.3 * g.sum(0))),
    "rms_norm": (
        lambda x, w: F.rms_norm(x, (K,), w, 1e-5),
        lambda g, x, w: (None, (g * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)).sum(0)),
    ),
    "layer_norm": (lambda x, w: F.layer_norm(x, (K,), w), lambda g, x, w: R.layer_norm_backward(g, x, (K,), w)),
}  # fmt: skip


def _assigned(w: Any) -> Any:
    y = sw.zeros(N, K, dtype=sw.bfloat16)
    y[:] = w
    return y


@pytest.mark.parametrize("name", BROADCAST)
def test_gradients_of_broadcast_operands(name: str) -> None:
    call, backward = BROADCAST[name]
    x, w = tensor_of(TALL, "bfloat16"), tensor_of(LINE, "bfloat16").requires_grad_()
    call(x, w).backward(tensor_of(DY, "bfloat16"))
    assert_rounded_once(array_of(w.grad), backward(DY, TALL, LINE)[1], "gradient")


INDEX = np.zeros(N, np.int64)
ONE_ROW = columns(3, K, seed=4)


def _added(rows: np.ndarray) -> np.ndarray:
    dx = np.zeros((3, K))
    dx[0] = rows.sum(0)
    return dx


POSITIONS = {
    "index": lambda x, i: x[i],
    "index_select": lambda x, i: x.index_select(0, i),
    "gather": lambda x, i: x.gather(0, i.reshape(N, 1).expand(N, K)),
    "take_along_dim": lambda x, i: sw.take_along_dim(x, i.reshape(N, 1).expand(N, K), 0),
    "take": lambda x, i: sw.take(x, i.reshape(N, 1) * K + sw.arange(K)),
    "embedding": lambda x, i: F.embedding(i, x),
    "as_strided": lambda x, i: x.as_strided((N, K), (0, 1)),
    "one_by_one": lambda x, i: sw.stack([x[0] for _ in range(N)]),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_gradients_of_elements_read_often(name: str) -> None:
    check(lambda x, i: POSITIONS[name](x, i), None, lambda g, x, i: (_added(g),), DY, ONE_ROW, INDEX)


ADDED = {
    "index_add": lambda x, i, s: x.index_add(0, i, s),
    "index_put": lambda x, i, s: x.clone().index_put_((i,), s, accumulate=True),
    "scatter_add": lambda x, i, s: x.scatter_add(0, i.reshape(N, 1).expand(N, K), s),
}


@pytest.mark.parametrize("name", ADDED)
def test_elements_written_often(name: str) -> None:
    check(ADDED[name], lambda x, i, s: x + _added(s), None, None, ONE_ROW, INDEX, DY)


def test_bincount() -> None:
    got = sw.bincount(sw.zeros(N, dtype=sw.int64), tensor_of(DY[:, 0].copy(), "bfloat16"))
    assert_rounded_once(array_of(got), DY[:, :1].sum(0), "bincount")


@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
def test_gradient_of_padding(mode: str) -> None:
    """A sum over rows must not be rounded before the columns are summed."""
    side = 40
    amount = side - 1 if mode == "reflect" else side
    x, size = columns(1, 1, side, side), side + 2 * amount
    source = np.arange(side * side, dtype=float).reshape(side, side)
    wide = np.pad(source, amount, {"replicate": "edge", "reflect": "reflect", "circular": "wrap"}[mode]).astype(int)
    dy = columns(1, 1, size, size, seed=5)
    expected = np.bincount(wide.ravel(), dy.ravel(), side * side).reshape(x.shape)
    check(lambda x: F.pad(x, (amount,) * 4, mode), None, lambda g, x: (expected,), dy, x)


PRODUCTS: dict[str, tuple[Any, Any, Any, tuple[np.ndarray, ...]]] = {
    "matmul": (lambda a, b: a @ b, R.matmul, R.matmul_backward, (columns(K, N), columns(N, K))),
    "matmul_few_rows": (lambda a, b: a @ b, R.matmul, R.matmul_backward, (columns(N, 3), columns(3, K))),
    "matmul_one_right": (lambda a, b: a @ b, R.matmul, R.matmul_backward, (columns(500, 3, 4), columns(4, K))),
    "matmul_one_left": (lambda a, b: a @ b, R.matmul, R.matmul_backward, (columns(3, 4), columns(500, 4, K))),
    "matmul_both": (lambda a, b: a @ b, R.matmul, R.matmul_backward, (columns(30, 1, 3, 4), columns(1, 30, 4, K))),
    "outer": (sw.outer, np.outer, R.outer_backward, (columns(N, seed=6), columns(K))),
    "mv": (sw.mv, R.matmul, lambda g, a, b: (np.outer(g, b), a.T @ g), (columns(N, K), columns(K))),
    "dot": (sw.dot, np.dot, R.dot_backward, (columns(N), columns(N, seed=7))),
    "linear": (F.linear, R.linear, R.linear_backward, (columns(N, 3), columns(K, 3), columns(K, seed=8))),
    "bilinear": (
        F.bilinear,
        lambda a, b, w: np.einsum("ni,oij,nj->no", a, w, b),
        lambda g, a, b, w: (np.einsum("no,oij,nj->ni", g, w, b), np.einsum("no,oij,ni->nj", g, w, a), None),
        (columns(9, 70), columns(9, 60), columns(5, 70, 60)),
    ),
    "addmm": (
        lambda x, a, b: sw.addmm(x, a, b, beta=1.3, alpha=0.7),
        lambda x, a, b: 1.3 * x + 0.7 * a @ b,
        lambda g, x, a, b: (1.3 * g, 0.7 * g @ b.T, 0.7 * a.T @ g),
        (columns(N, K), columns(N, 3), columns(3, K)),
    ),
    "baddbmm": (
        lambda x, a, b: sw.baddbmm(x, a, b, beta=1.3, alpha=0.7),
        lambda x, a, b: 1.3 * x + 0.7 * a @ b,
        lambda g, x, a, b: (1.3 * g, 0.7 * g @ b.swapaxes(1, 2), 0.7 * a.swapaxes(1, 2) @ g),
        (columns(2, N, K), columns(2, N, 3), columns(2, 3, K)),
    ),
    "addbmm": (
        sw.addbmm,
        lambda x, a, b: x + (a @ b).sum(0),
        None,
        (columns(3, K), columns(500, 3, 4), columns(500, 4, K)),
    ),
    "conv1d": (F.conv1d, R.conv1d, R.conv1d_backward, (spread(3, 4, 900), columns(K, 4, 3), columns(K))),
    "conv2d": (F.conv2d, R.conv2d, R.conv2d_backward, (spread(2, 4, 40, 30), columns(K, 4, 3, 3), columns(K))),
    "conv2d_1x1": (F.conv2d, R.conv2d, R.conv2d_backward, (spread(2, 4, 40, 30), columns(K, 4, 1, 1), columns(K))),
    "conv3d": (F.conv3d, R.conv3d, R.conv3d_backward, (spread(2, 3, 12, 9, 9), columns(4, 3, 3, 3, 3), columns(4))),
    "conv_transpose2d": (
        F.conv_transpose2d,
        R.conv_transpose2d,
        R.conv_transpose2d_backward,
        (spread(2, 4, 30, 20), columns(4, 5, 3, 3), columns(5)),
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    call, forward, backward, arrays = PRODUCTS[name]
    dy = columns(*np.shape(forward(*arrays)), seed=9) if np.ndim(forward(*arrays)) else np.float64(1.5)
    check(call, forward, backward, dy, *arrays)


def test_grouped_convolution() -> None:
    x, w, b = spread(2, 8, 40, 30), columns(8, 1, 3, 3), columns(8)
    dy = columns(*R.conv2d(x, w, b, groups=8).shape, seed=9)
    check(
        lambda x, w, b: F.conv2d(x, w, b, groups=8),
        lambda x, w, b: R.conv2d(x, w, b, groups=8),
        lambda g, x, w, b: R.conv2d_backward(g, x, w, b, groups=8),
        dy, x, w, b,
    )  # fmt: skip


def test_a_tensor_used_often() -> None:
    """The gradients of many uses are added in float32: of views of it, and by kernels that add to what is there."""
    x, dy = columns(K, seed=22), columns(K, seed=23)
    tx = tensor_of(x, "bfloat16").requires_grad_()
    inner = tx * 1.0  # not a leaf
    for used in (tx, inner):
        y = sw.stack([used if i % 3 else used.view(K) if i % 2 else sw.relu(used) for i in range(N)])
        y.backward(tensor_of(np.broadcast_to(dy, (N, K)).copy(), "bfloat16"))
        assert_rounded_once(array_of(tx.grad), N * dy, "gradient")
        tx.grad = None


def test_the_trap_works() -> None:
    """Terms rounded one by one, or partial sums, would be noticed in these data."""
    exact = (TALL * DY).sum(0)
    terms = round_to(TALL * DY, "bfloat16")
    with pytest.raises(AssertionError, match="times the rounding"):
        assert_rounded_once(round_to(terms.sum(0), "bfloat16"), exact, "terms")
    partial = np.zeros(K)
    for row in TALL[:600] * DY[:600]:
        partial = round_to(partial + row, "bfloat16")
    with pytest.raises(AssertionError, match="times the rounding"):
        assert_rounded_once(partial, (TALL * DY)[:600].sum(0), "partial sums")
