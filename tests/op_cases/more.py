"""Ops whose reference is one line of NumPy: their gradients are compared with differences of fourth order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skipway.testing import reference as R

from .activations import LENGTHS
from .case import Input, OpCase, Sample, distinct, given, ints, normal, places, uniform


def row(path: str, forward: Callable[..., Any], *samples: Sample, **options: Any) -> OpCase:
    options.setdefault("sums", True)
    return OpCase(path, list(samples), forward=forward, numeric=options.get("gradient", True), **options)


def curve(path: str, forward: Callable[..., Any], make: Callable[..., Input] = normal, **options: Any) -> OpCase:
    return row(path, forward, *[Sample(make(*n)) for n in LENGTHS], Sample(make(2, 3, 4, 5)), sums=False, **options)


def pair(path: str, forward: Callable[..., Any], right: Callable[..., Input] = normal, **options: Any) -> OpCase:
    samples = [Sample(normal(*n), right(*n)) for n in LENGTHS[:7]]
    return row(path, forward, *samples, Sample(normal(3, 5), right(5)), Sample(normal(2, 1, 3), right(4, 1)), **options)


def within(low: float, high: float) -> Callable[..., Input]:
    return lambda *shape: uniform(*shape, low=low, high=high)


def signs(*shape: int) -> Input:
    return Input(lambda rng: rng.choice([-1.0, 1.0], shape), False)


def _norm(x: np.ndarray, p: float, dim: int) -> np.ndarray:
    return (np.abs(x) ** p).sum(axis=dim, keepdims=True) ** (1.0 / p)


def _cosine(a: np.ndarray, b: np.ndarray, dim: int = 1, eps: float = 1e-8) -> np.ndarray:
    lengths = np.maximum(np.linalg.norm(a, axis=dim), eps) * np.maximum(np.linalg.norm(b, axis=dim), eps)
    return (a * b).sum(axis=dim) / lengths


def _distance(a: np.ndarray, b: np.ndarray, p: float = 2.0, eps: float = 1e-6) -> np.ndarray:
    return (np.abs(a - b + eps) ** p).sum(axis=-1) ** (1.0 / p)


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, is_causal: bool = False) -> np.ndarray:
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    return R.softmax(scores, -1) @ v


def _local_response(x: np.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> np.ndarray:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels)^beta (Krizhevsky et al. 2012, 3.3)."""
    padded = np.pad(x * x, [(0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (x.ndim - 2)])
    total = sum(padded[:, i : i + x.shape[1]] for i in range(size))
    return x * (k + alpha / size * total) ** -beta


def _unfold(x: np.ndarray, k: int, dilation: int = 1, padding: int = 0, stride: int = 1) -> np.ndarray:
    """Each window's values as a column: (N, C k k, windows)."""
    n, c = x.shape[:2]
    filters = np.eye(k * k).reshape(k * k, 1, k, k)
    y = R.conv2d(x.reshape(n * c, 1, *x.shape[2:]), filters, None, stride, padding, dilation)
    return y.reshape(n, c * k * k, -1)


def _fold(x: np.ndarray, size: tuple[int, int], k: int, dilation: int = 1, padding: int = 0, stride: int = 1) -> Any:
    """The sum of the columns back in their windows' places: the transpose of unfold."""
    c = x.shape[1] // (k * k)
    y = np.zeros((x.shape[0], c, *size))
    picked = _unfold(np.eye(size[0] * size[1]).reshape(-1, 1, *size), k, dilation, padding, stride)
    return y + np.einsum("pkl,nckl->ncp", picked, x.reshape(x.shape[0], c, k * k, -1)).reshape(y.shape)


def _bilinear(x: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    for axis, out in zip((2, 3), size, strict=True):
        n = x.shape[axis]
        at = np.arange(out) * ((n - 1) / max(out - 1, 1)) if align_corners else (np.arange(out) + 0.5) * n / out - 0.5
        at = np.clip(at, 0, n - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, n - 1), axis) * share
    return x


def _interpolate(x: np.ndarray, size: Any = None, mode: str = "nearest", align_corners: bool = False) -> np.ndarray:
    if mode == "bilinear":
        return _bilinear(x, size, bool(align_corners))
    for axis, out in zip(range(2, x.ndim), size, strict=True):
        x = x.take(np.arange(out) * x.shape[axis] // out, axis)
    return x


def _window_norm(x: np.ndarray, p: float, k: int) -> np.ndarray:
    return (R.avg_pool2d(x**p, k) * k * k) ** (1.0 / p)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _margin_ranking(a: np.ndarray, b: np.ndarray, y: np.ndarray, margin: float = 0.0) -> Any:
    return np.maximum(0.0, -y * (a - b) + margin).mean()


def _triplet(a: np.ndarray, p: np.ndarray, n: np.ndarray) -> Any:
    return np.maximum(0.0, _distance(a, p) - _distance(a, n) + 1.0).mean()


def _put(x: np.ndarray, dim: int, index: np.ndarray, source: Any) -> np.ndarray:
    y = x.copy()
    np.moveaxis(y, dim, 0)[index] = source if np.ndim(source) == 0 else np.moveaxis(source, dim, 0)
    return y


def _median(x: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.argsort(x, axis=dim, kind="stable").take([(x.shape[dim] - 1) // 2], dim)
    return np.take_along_axis(x, at, dim).squeeze(dim), at.squeeze(dim)


def _kthvalue(x: np.ndarray, k: int, dim: int = -1) -> tuple[np.ndarray, np.ndarray]:
    at = np.argsort(x, axis=dim, kind="stable").take([k - 1], dim)
    return np.take_along_axis(x, at, dim).squeeze(dim), at.squeeze(dim)


_SUMS = "the reference multiplies NaN by 0"

CASES = [
    curve("sw.asinh", np.arcsinh),
    curve("sw.acosh", np.arccosh, within(1.2, 4.0)),
    curve("sw.atanh", np.arctanh, within(-0.8, 0.8)),
    curve("sw.erfc", lambda x: 1.0 - R.erf(x), within(-1.5, 1.5)),
    curve("sw.frac", lambda x: x - np.trunc(x), within(0.1, 0.9)),
    curve("sw.logit", R.logit, within(0.2, 0.8)),
    pair("sw.hypot", np.hypot),
    pair("sw.xlogy", lambda a, b: a * np.log(b), uniform),
    pair("sw.copysign", np.copysign, uniform),
    OpCase(
        "sw.fmod",
        [Sample(normal(33, std=3.0), 1.5), Sample(normal(7), -0.7)],
        forward=np.fmod,
        backward=lambda dy, x, y: (dy,),
    ),
    row(
        "sw.addcmul",
        lambda x, a, b, value=1: x + value * a * b,
        Sample(normal(3, 5), normal(3, 5), normal(5), value=0.5),
    ),
    row(
        "sw.addcdiv",
        lambda x, a, b, value=1: x + value * a / b,
        Sample(normal(3, 5), normal(3, 5), uniform(5), value=0.5),
    ),
    row("sw.baddbmm", lambda x, a, b: x + a @ b, Sample(normal(2, 3, 4), normal(2, 3, 5), normal(2, 5, 4))),
    row("sw.cumprod", np.cumprod, Sample(uniform(7), 0), Sample(uniform(3, 9), 1), Sample(given([2.0, 0.0, 3.0]), 0)),
    row("sw.nansum", np.nansum, Sample(normal(3, 7), 1), Sample(normal(33))),
    row("sw.nanmean", np.nanmean, Sample(normal(3, 7), 1), Sample(normal(33))),
    row(
        "sw.var_mean",
        lambda x, dim: (x.var(dim, ddof=1), x.mean(dim)),
        Sample(normal(3, 7), 1),
        Sample(normal(5, 4), 0),
    ),
    row(
        "sw.std_mean",
        lambda x, dim: (x.std(dim, ddof=1), x.mean(dim)),
        Sample(normal(3, 7), 1),
        Sample(normal(5, 4), 0),
    ),
    row(
        "sw.median", _median, Sample(distinct(3, 7), 1), Sample(distinct(4, 3), 0), sums=False, nan="the median is NaN"
    ),
    row("sw.kthvalue", _kthvalue, Sample(distinct(3, 7), 2), Sample(distinct(4, 3), 3, 0), sums=False),
    row("sw.diagonal", lambda x, offset=0: np.diagonal(x, offset), Sample(normal(3, 5)), Sample(normal(4, 4), -1)),
    row("sw.diag", np.diag, Sample(normal(3, 5)), Sample(normal(4), 1), mostly_zero="off the diagonal"),
    row("sw.movedim", np.moveaxis, Sample(normal(2, 3, 4), 0, 2), Sample(normal(2, 3), 1, 0)),
    row(
        "sw.narrow",
        lambda x, d, s, n: x.take(range(s, s + n), d),
        Sample(normal(5, 3), 0, 1, 3),
        Sample(normal(2, 7), 1, 6, 1),
    ),
    row("sw.select", lambda x, d, i: x.take(i, d), Sample(normal(5, 3), 0, 2), Sample(normal(2, 7), -1, -1)),
    row(
        "sw.tensor_split",
        lambda x, n, dim=0: tuple(np.array_split(x, n, dim)),
        Sample(normal(7, 2), 3),
        Sample(normal(2, 5), 2, 1),
    ),
    row("sw.take", lambda x, i: x.reshape(-1)[i], Sample(normal(3, 5), ints(7, high=15))),
    row("sw.take_along_dim", np.take_along_axis, Sample(normal(3, 5), ints(3, 2, high=5), 1)),
    row("sw.index_copy", _put, Sample(normal(5, 3), 0, places(2, dim=0, size=5), normal(2, 3))),
    row("sw.index_fill", _put, Sample(normal(5, 3), 1, places(2, dim=0, size=3), 2.5)),
    row("sw.tile", np.tile, Sample(normal(2, 3), (2, 2)), Sample(normal(3), (2, 2))),
    row("sw.hstack", lambda xs: np.hstack(xs), Sample([normal(2, 3), normal(2, 1)]), Sample([normal(3), normal(2)])),
    row("sw.vstack", lambda xs: np.vstack(xs), Sample([normal(2, 3), normal(1, 3)]), Sample([normal(3), normal(3)])),
    row(
        "F.normalize",
        lambda x, p=2.0, dim=1: x / np.maximum(_norm(x, p, dim), 1e-12),
        Sample(normal(3, 5)),
        Sample(normal(2, 3, 4), 3.0, 2),
    ),
    row(
        "F.cosine_similarity",
        _cosine,
        Sample(normal(3, 5), normal(3, 5)),
        Sample(normal(2, 3, 4), normal(2, 3, 4), dim=2),
    ),
    row("F.pairwise_distance", _distance, Sample(normal(3, 5), normal(3, 5)), Sample(normal(3, 5), normal(3, 5), 3.0)),
    row(
        "F.local_response_norm",
        _local_response,
        Sample(normal(2, 5, 3), 3),
        Sample(normal(1, 6, 2, 2), 2, 0.5, 0.6, 2.0),
    ),
    row(
        "F.rms_norm",
        lambda x, shape, w=None, eps=1e-5: (
            x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (1.0 if w is None else w)
        ),
        Sample(normal(3, 7), (7,), None, 1e-5),
        Sample(normal(2, 3, 4), (4,), uniform(4), 1e-5),
    ),
    row(
        "F.scaled_dot_product_attention",
        _attention,
        Sample(normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3)),
        Sample(normal(1, 4, 2), normal(1, 4, 2), normal(1, 4, 2), is_causal=True),
    ),
    row(
        "F.pixel_unshuffle",
        lambda x, r: R.pixel_shuffle_backward(
            x, np.zeros((x.shape[0], x.shape[1] * r * r, x.shape[2] // r, x.shape[3] // r)), r
        )[0],
        Sample(normal(2, 3, 4, 6), 2),
    ),
    row(
        "F.channel_shuffle",
        lambda x, g: x.reshape(x.shape[0], g, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape),
        Sample(normal(2, 6, 3, 2), 3),
    ),
    row("F.unfold", _unfold, Sample(normal(2, 2, 5, 4), 2), Sample(normal(1, 3, 5, 5), 3, 1, 1, 2), nan=_SUMS),
    row("F.fold", _fold, Sample(normal(2, 8, 12), (5, 4), 2), Sample(normal(1, 18, 9), (5, 5), 3, 1, 1, 2), nan=_SUMS),
    row(
        "F.interpolate",
        _interpolate,
        Sample(normal(2, 3, 4, 5), size=(8, 10)),
        Sample(normal(1, 2, 5), size=(3,)),
        Sample(normal(1, 2, 4, 5), size=(7, 3), mode="bilinear"),
        Sample(normal(1, 2, 4, 5), size=(7, 9), mode="bilinear", align_corners=True),
        nan=_SUMS,
    ),
    row("F.lp_pool2d", _window_norm, Sample(uniform(2, 3, 4, 6), 2.0, 2), Sample(uniform(1, 2, 6, 6), 3.0, 3)),
    row("F.soft_margin_loss", lambda x, y: _softplus(-x * y).mean(), Sample(normal(3, 7), signs(3, 7))),
    row(
        "F.margin_ranking_loss",
        _margin_ranking,
        Sample(normal(9), normal(9), signs(9)),
        Sample(normal(9), normal(9), signs(9), 0.5),
    ),
    row(
        "F.hinge_embedding_loss",
        lambda x, y: np.where(y > 0, x, np.maximum(0.0, 1.0 - x)).mean(),
        Sample(normal(3, 7), signs(3, 7)),
    ),
    row("F.triplet_margin_loss", _triplet, Sample(normal(4, 5), normal(4, 5), normal(4, 5))),
    row("F.poisson_nll_loss", lambda x, t: (np.exp(x) - t * x).mean(), Sample(normal(3, 7), uniform(3, 7, grad=False))),
    row(
        "F.cosine_embedding_loss",
        lambda a, b, y: np.where(y > 0, 1.0 - _cosine(a, b), np.maximum(0.0, _cosine(a, b))).mean(),
        Sample(normal(5, 4), normal(5, 4), signs(5)),
    ),
    row(
        "F.multi_margin_loss",
        lambda x, t: np.mean(
            [np.maximum(0.0, 1.0 - r[c] + np.delete(r, c)).sum() / len(r) for r, c in zip(x, t, strict=True)]
        ),
        Sample(normal(4, 5), ints(4, high=5)),
    ),
    row(
        "F.bilinear",
        lambda a, b, w, bias=None: np.einsum("ni,oij,nj->no", a, w, b) + (0.0 if bias is None else bias),
        Sample(normal(3, 2), normal(3, 4), normal(5, 2, 4), normal(5)),
    ),
]
