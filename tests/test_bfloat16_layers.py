"""Norms, losses, pools and distances of bfloat16 tensors: terms of a sum are never rounded before they are added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from bfloat16_tools import DY, LINE, TALL, K, N, assert_rounded_once, check, columns, spread
from op_runner import array_of, tensor_of
from skipway.testing import reference as R

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


def test_clip_grad_norm() -> None:
    parameters = [sw.nn.Parameter(tensor_of(LINE, "bfloat16")) for _ in range(300)]
    for p in parameters:
        p.grad = tensor_of(LINE, "bfloat16")
    total = sw.nn.utils.clip_grad_norm_(parameters, 1e9)
    assert_rounded_once(array_of(total), np.sqrt(300 * (LINE**2).sum()), "total norm")
