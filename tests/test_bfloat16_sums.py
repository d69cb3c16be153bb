"""bfloat16 sums: whatever an op adds up, it adds up in float32, and rounds the total once.

Sums of 1 stall at 256 in bfloat16. The columns of most inputs here are constant, so that a term rounded before it is
added is off by the same amount in every row, and the total by as much: no averaging hides it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from op_cases import round_to
from op_runner import array_of, as_list, tensor_of
from skipway.testing import reference as R

N, K = 5000, 16


def columns(*shape: int, seed: int = 0, low: float = 1.0, high: float = 2.0) -> np.ndarray:
    """Constant along every axis but the last."""
    line = round_to(np.random.default_rng(seed).uniform(low, high, shape[-1:]), "bfloat16")
    return np.broadcast_to(line, shape).copy()


def spread(*shape: int, seed: int = 0, low: float = 1.0, high: float = 2.0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).uniform(low, high, shape), "bfloat16")


def assert_rounded_once(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    """|got - expected| <= half a spacing of bfloat16, and a 16th of that for the float32 sums themselves."""
    expected = np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{what}: {got.shape}, expected {expected.shape}"
    _, exponent = np.frexp(expected)
    limit = np.ldexp(1.0, exponent - 9) * (1 + 1 / 16) + 2.0**-14 * np.abs(expected).max(initial=0.0)
    limit = np.where(expected == 0, limit.max(initial=0.0) / 16, limit)
    off = np.abs(got - expected) / limit
    worst = np.argmax(off)
    times = float(off.flat[worst])
    assert times <= 1, f"{what}: {times:.3} times the rounding, {got.flat[worst]} for {expected.flat[worst]}"


def check(call: Callable[..., Any], forward: Any, backward: Any, dy: Any, *arrays: np.ndarray) -> None:
    """forward(*arrays) and backward(dy, *arrays) in float64; either may be None: then it is not compared."""
    tensors = [tensor_of(a, "bfloat16") for a in arrays]
    floating = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    results = as_list(call(*tensors))
    if forward is not None:
        for number, (y, r) in enumerate(zip(results, as_list(forward(*arrays)), strict=True)):
            assert y.dtype == sw.bfloat16
            assert_rounded_once(array_of(y), np.asarray(r), f"result {number}")
    if backward is None:
        return
    results[0].backward(tensor_of(np.asarray(dy), "bfloat16"))
    expected = [g for g in backward(dy, *arrays) if g is not None]
    for number, (x, r) in enumerate(zip(floating, expected, strict=False)):
        assert_rounded_once(array_of(x.grad), r, f"gradient {number}")


def summed(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return dy.reshape(-1, *shape).sum(0) if dy.shape != shape else dy


TALL, LINE, DY = columns(N, K, seed=1), columns(K, seed=2), columns(N, K, seed=3)

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


IMAGES = spread(8, 4, 26, 24, low=-1, seed=10)
NORMS = {
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        lambda x, w, b: R.batch_norm(x, None, None, w, b, True),
        lambda g, x, w, b: R.batch_norm_backward(g, x, None, None, w, b, True),
    ),
    "group_norm": (
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: R.group_norm(x, 2, w, b),
        lambda g, x, w, b: R.group_norm_backward(g, x, 2, w, b),
    ),
    "instance_norm": (
        lambda x, w, b: F.instance_norm(x, None, None, w, b),
        lambda x, w, b: R.instance_norm(x, None, None, w, b),
        lambda g, x, w, b: R.instance_norm_backward(g, x, None, None, w, b),
    ),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x.permute(0, 2, 3, 1), (4,), w, b).permute(0, 3, 1, 2),
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_gradients_of_norms_parameters(name: str) -> None:
    call, forward, backward = NORMS[name]
    x, dy = IMAGES, np.moveaxis(columns(8, 26, 24, 4, seed=11), -1, 1).copy()
    w, b = columns(4, seed=12), columns(4, seed=13)
    if backward is None:
        last = lambda t: np.moveaxis(t, 1, -1)  # noqa: E731
        expected = R.layer_norm_backward(last(dy), last(x), (4,), w, b)
    else:
        expected = backward(dy, x, w, b)
    tx, tw, tb = (tensor_of(a, "bfloat16").requires_grad_() for a in (x, w, b))
    call(tx, tw, tb).backward(tensor_of(dy, "bfloat16"))
    sizes = (dy * 1.5).sum((0, 2, 3))  # what is summed: the terms of dweight have both signs
    assert np.all(np.abs(array_of(tw.grad) - expected[1]) <= 2.0**-9 * np.abs(expected[1]) * 2 + 2.0**-18 * sizes)
    assert_rounded_once(array_of(tb.grad), expected[2], "bias")


def test_running_statistics() -> None:
    x, mean, var = TALL, np.zeros(K), np.ones(K)
    tm, tv = tensor_of(mean, "bfloat16"), tensor_of(var, "bfloat16")
    F.batch_norm(tensor_of(x, "bfloat16"), tm, tv, training=True, momentum=1.0)
    assert_rounded_once(array_of(tm), x.mean(0), "running_mean")


SIGNS = np.where(np.arange(N * K).reshape(N, K) % 3 == 0, -1.0, 1.0)
CLASSES = np.arange(N) % K
UNIT = columns(N, K, seed=14, low=0.1, high=0.9)
LOSSES: dict[str, tuple[Any, Any, tuple[np.ndarray, ...]]] = {
    "mse_loss": (F.mse_loss, lambda x, t: (x - t) ** 2, (TALL, DY)),
    "l1_loss": (F.l1_loss, lambda x, t: np.abs(x - t), (TALL, DY)),
    "smooth_l1_loss": (F.smooth_l1_loss, lambda x, t: R.smooth_l1_loss(x, t, "none"), (TALL, DY)),
    "huber_loss": (F.huber_loss, lambda x, t: R.huber_loss(x, t, "none"), (TALL, DY)),
    "bce": (F.binary_cross_entropy, lambda x, t: R.binary_cross_entropy(x, t, reduction="none"), (UNIT, UNIT)),
    "bce_with_logits": (
        F.binary_cross_entropy_with_logits,
        lambda x, t: R.binary_cross_entropy_with_logits(x, t, reduction="none"),
        (TALL, UNIT),
    ),
    "kl_div": (F.kl_div, lambda x, t: R.kl_div(x, t, "none"), (TALL, UNIT)),
    "soft_margin_loss": (F.soft_margin_loss, lambda x, y: np.logaddexp(0, -x * y), (TALL, SIGNS)),
    "hinge_embedding_loss": (
        F.hinge_embedding_loss,
        lambda x, y: np.where(y > 0, x, np.maximum(0, 1 - x)),
        (UNIT, SIGNS),
    ),
    "poisson_nll_loss": (F.poisson_nll_loss, lambda x, t: np.exp(x) - t * x, (TALL, DY)),
    "gaussian_nll_loss": (
        lambda x, t, reduction: F.gaussian_nll_loss(x, t, x, reduction=reduction),
        lambda x, t: 0.5 * (np.log(x) + (x - t) ** 2 / x),
        (TALL, DY),
    ),
    "margin_ranking_loss": (
        lambda a, b, y, reduction: F.margin_ranking_loss(a, b, y, margin=3.0, reduction=reduction),
        lambda a, b, y: np.maximum(0, -y * (a - b) + 3.0),
        (TALL, DY, SIGNS),
    ),
    "multilabel_soft_margin_loss": (
        F.multilabel_soft_margin_loss,
        lambda x, t: R.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1),
        (TALL, UNIT),
    ),
    "cosine_embedding_loss": (
        F.cosine_embedding_loss,
        lambda a, b, y: 1 - (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)),
        (TALL, spread(N, K), np.ones(N)),
    ),
    "triplet_margin_loss": (
        lambda a, p, n, reduction: F.triplet_margin_loss(a, p, n, 9.0, reduction=reduction),
        lambda a, p, n: np.maximum(
            0, np.linalg.norm(a - p + 1e-6, axis=1) - np.linalg.norm(a - n + 1e-6, axis=1) + 9.0
        ),
        (TALL, DY, columns(N, K, seed=15)),
    ),
    "cross_entropy": (F.cross_entropy, lambda x, t: R.cross_entropy(x, t, reduction="none"), (TALL, CLASSES)),
    "nll_loss": (F.nll_loss, lambda x, t: R.nll_loss(x, t, reduction="none"), (-TALL, CLASSES)),
    "multi_margin_loss": (
        F.multi_margin_loss,
        lambda x, t: (np.maximum(0, 1 - x[np.arange(N), t][:, None] + x).sum(1) - 1) / K,
        (TALL, CLASSES),
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, reduction: str) -> None:
    call, terms, arrays = LOSSES[name]
    check(lambda *a: call(*a, reduction=reduction), lambda *a: getattr(np, reduction)(terms(*a)), None, None, *arrays)


def test_cross_entropy_of_many_classes() -> None:
    x, t = columns(3, N), np.array([0, 7, N - 1])
    for smoothing in (0.0, 0.5):
        check(
            lambda x, t: F.cross_entropy(x, t, label_smoothing=smoothing, reduction="none"),  # noqa: B023
            lambda x, t: R.cross_entropy(x, t, label_smoothing=smoothing, reduction="none"),  # noqa: B023
            None, None, x, t,
        )  # fmt: skip
    check(lambda x: F.softmax(x, 1), lambda x: R.softmax(x, 1), None, None, x)
    weight = columns(N, seed=16)
    got = F.cross_entropy(
        tensor_of(TALL, "bfloat16"), sw.tensor(CLASSES), weight=tensor_of(weight[:K].copy(), "bfloat16")
    )
    assert_rounded_once(array_of(got), np.asarray(R.cross_entropy(TALL, CLASSES, weight[:K])), "weighted")


def test_gradient_of_softmax() -> None:
    """dx = y (dy - sum(y dy)): columns of dy on both sides of their mean."""
    x, dy = columns(3, N), columns(3, N, seed=17)
    for name in ("softmax", "log_softmax"):
        call, backward = getattr(F, name), getattr(R, name + "_backward")
        tx = tensor_of(x, "bfloat16").requires_grad_()
        call(tx, 1).backward(tensor_of(dy, "bfloat16"))
        expected = backward(dy, x, 1)[0]
        # y is saved as it was given out, in bfloat16
        assert np.abs(array_of(tx.grad) - expected).max() <= 2.0**-7 * np.abs(expected).max()


POOLS = {
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 400, 1), lambda g, x: R.avg_pool1d_backward(g, x, 400, 1)),
    "max_pool1d": (lambda x: F.max_pool1d(x, 400, 1), lambda g, x: R.max_pool1d_backward(g, x, 400, 1)),
    "interpolate": (lambda x: F.interpolate(x, 90000), lambda g, x: (g.reshape(*x.shape, -1).sum(-1),)),
    "unfold": (lambda x: x.unfold(2, 400, 1), lambda g, x: (_folded(g, x.shape[-1]),)),
}


def _folded(dy: np.ndarray, size: int) -> np.ndarray:
    dx = np.zeros((*dy.shape[:-2], size))
    for i in range(dy.shape[-2]):
        dx[..., i : i + dy.shape[-1]] += dy[..., i, :]
    return dx


@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_overlapping_windows(name: str) -> None:
    call, backward = POOLS[name]
    x = spread(1, 2, 900, seed=18)
    if name == "max_pool1d":
        x[..., 450] = 3.0
    dy = columns(*call(tensor_of(x, "bfloat16")).shape, seed=19)
    check(call, None, backward, dy, x)


def test_unfold_and_fold() -> None:
    k, size = 17, 40
    x = columns(1, 1, size, size, seed=20)
    dy = columns(1, k * k, (size - k + 1) ** 2, seed=21)
    folded = np.zeros((1, 1, size, size))
    for i in range(k):
        for j in range(k):
            part = dy[0, i * k + j].reshape(size - k + 1, -1)
            folded[0, 0, i : i + size - k + 1, j : j + size - k + 1] += part
    check(lambda x: F.unfold(x, k), None, lambda g, x: (folded,), dy, x)
    check(lambda y: F.fold(y, (size, size), k), lambda y: folded, None, None, dy)


DISTANCES = {
    "cosine_similarity": (
        lambda a, b: F.cosine_similarity(a, b, 0),
        lambda a, b: (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0)),
        (TALL, DY),
    ),
    "pairwise_distance": (
        lambda a, b: F.pairwise_distance(a.t(), b.t()),
        lambda a, b: np.linalg.norm(a - b + 1e-6, axis=0),
        (TALL, DY),
    ),
    "normalize": (lambda a: F.normalize(a, dim=0), lambda a: a / np.linalg.norm(a, axis=0), (TALL,)),
    "local_response_norm": (
        lambda a: F.local_response_norm(a.reshape(1, N, K), N, alpha=1.0),
        lambda a: _local_response(a),
        (TALL,),
    ),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        lambda q, k, v: R.softmax(q @ k.T / np.sqrt(K), -1) @ v,
        (columns(3, K), TALL, DY),
    ),
    "cov": (lambda a: sw.cov(a), lambda a: np.cov(a), (spread(2, N),)),
}


def _local_response(x: np.ndarray) -> np.ndarray:
    squares = np.pad(np.cumsum(x * x, 0), ((1, 0), (0, 0)))
    first, last = np.maximum(0, np.arange(N) - N // 2), np.minimum(N, np.arange(N) + (N - 1) // 2 + 1)
    return (x * (1 + (squares[last] - squares[first]) / N) ** -0.75).reshape(1, N, K)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_and_attention(name: str) -> None:
    call, forward, arrays = DISTANCES[name]
    check(call, forward, None, None, *arrays)


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


def test_clip_grad_norm() -> None:
    parameters = [sw.nn.Parameter(tensor_of(LINE, "bfloat16")) for _ in range(300)]
    for p in parameters:
        p.grad = tensor_of(LINE, "bfloat16")
    total = sw.nn.utils.clip_grad_norm_(parameters, 1e9)
    assert_rounded_once(array_of(total), np.sqrt(300 * (LINE**2).sum()), "total norm")


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
