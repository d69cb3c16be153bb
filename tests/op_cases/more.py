"""Less common ops, and those composed of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .activations import LENGTHS
from .case import Input, OpCase, Sample, distinct, given, ints, normal, places, uniform


def row(path: str, *samples: Sample, **options: Any) -> OpCase:
    options.setdefault("sums", True)
    return OpCase(path, list(samples), **options)


def curve(path: str, make: Callable[..., Input] = normal, **options: Any) -> OpCase:
    return row(path, *[Sample(make(*n)) for n in LENGTHS], Sample(make(2, 3, 4, 5)), sums=False, **options)


def pair(path: str, right: Callable[..., Input] = normal, **options: Any) -> OpCase:
    samples = [Sample(normal(*n), right(*n)) for n in LENGTHS[:7]]
    return row(path, *samples, Sample(normal(3, 5), right(5)), Sample(normal(2, 1, 3), right(4, 1)), **options)


def within(low: float, high: float) -> Callable[..., Input]:
    return lambda *shape: uniform(*shape, low=low, high=high)


def signs(*shape: int) -> Input:
    return Input(lambda rng: rng.choice([-1.0, 1.0], shape), False)


CASES = [
    curve("sw.asinh"),
    curve("sw.acosh", within(1.2, 4.0)),
    curve("sw.atanh", within(-0.8, 0.8)),
    curve("sw.erfc", within(-1.5, 1.5)),
    curve("sw.frac", within(0.1, 0.9)),
    curve("sw.logit", within(0.2, 0.8)),
    pair("sw.hypot"),
    pair("sw.xlogy", uniform),
    pair("sw.copysign", uniform),
    row(
        "sw.fmod",
        Sample(normal(33, std=3.0), 1.5),
        Sample(normal(7), -0.7),
        Sample(normal(5, 4), uniform(4)),
        sums=False,
    ),
    row("sw.addcmul", Sample(normal(3, 5), normal(3, 5), normal(5), value=0.5)),
    row("sw.addcdiv", Sample(normal(3, 5), normal(3, 5), uniform(5), value=0.5)),
    row(
        "sw.baddbmm",
        Sample(normal(2, 3, 4), normal(2, 3, 5), normal(2, 5, 4)),
        Sample(normal(4), normal(2, 3, 5), normal(2, 5, 4), beta=0.5, alpha=2.0),
    ),
    row("sw.cumprod", Sample(uniform(7), 0), Sample(uniform(3, 9), 1), Sample(given([2.0, 0.0, 3.0]), 0)),
    row("sw.nansum", Sample(normal(3, 7), 1), Sample(normal(33)), Sample(given([[1.0, np.nan], [2.0, 3.0]]), 0)),
    row("sw.nanmean", Sample(normal(3, 7), 1), Sample(normal(33)), Sample(given([[1.0, np.nan], [2.0, 3.0]]), 0)),
    row("sw.var_mean", Sample(normal(3, 7), 1), Sample(normal(5, 4), 0), Sample(normal(5, 4), 0, correction=0)),
    row("sw.std_mean", Sample(normal(3, 7), 1), Sample(normal(5, 4), 0), Sample(normal(5, 4), 0, correction=0)),
    row("sw.median", Sample(distinct(3, 7), 1), Sample(distinct(4, 3), 0), sums=False),
    row("sw.kthvalue", Sample(distinct(3, 7), 2), Sample(distinct(4, 3), 3, 0), sums=False),
    row("sw.diagonal", Sample(normal(3, 5)), Sample(normal(4, 4), -1), Sample(normal(2, 3, 4), 1, 0, 2)),
    row("sw.diag", Sample(normal(3, 5)), Sample(normal(4), 1), mostly_zero="off the diagonal"),
    row(
        "sw.movedim", Sample(normal(2, 3, 4), 0, 2), Sample(normal(2, 3), 1, 0), Sample(normal(2, 3, 4), (0, 1), (2, 0))
    ),
    row("sw.narrow", Sample(normal(5, 3), 0, 1, 3), Sample(normal(2, 7), 1, 6, 1)),
    row("sw.select", Sample(normal(5, 3), 0, 2), Sample(normal(2, 7), -1, -1)),
    row("sw.tensor_split", Sample(normal(7, 2), 3), Sample(normal(2, 5), 2, 1), Sample(normal(7, 2), (1, 3))),
    row("sw.take", Sample(normal(3, 5), ints(7, high=15))),
    row("sw.take_along_dim", Sample(normal(3, 5), ints(3, 2, high=5), 1)),
    row("sw.index_copy", Sample(normal(5, 3), 0, places(2, dim=0, size=5), normal(2, 3))),
    row("sw.index_fill", Sample(normal(5, 3), 1, places(2, dim=0, size=3), 2.5)),
    row("sw.tile", Sample(normal(2, 3), (2, 2)), Sample(normal(3), (2, 2)), Sample(normal(2, 3), (4,))),
    row("sw.hstack", Sample([normal(2, 3), normal(2, 1)]), Sample([normal(3), normal(2)])),
    row("sw.vstack", Sample([normal(2, 3), normal(1, 3)]), Sample([normal(3), normal(3)])),
    row(
        "F.normalize", Sample(normal(3, 5)), Sample(normal(2, 3, 4), 3.0, 2), Sample(normal(2, 3, std=0.1), 2.0, 1, 1.0)
    ),
    row(
        "F.cosine_similarity",
        Sample(normal(3, 5), normal(3, 5)),
        Sample(normal(2, 3, 4), normal(2, 3, 4), dim=2),
    ),
    row("F.pairwise_distance", Sample(normal(3, 5), normal(3, 5)), Sample(normal(3, 5), normal(3, 5), 3.0)),
    row("F.local_response_norm", Sample(normal(2, 5, 3), 3), Sample(normal(1, 6, 2, 2), 2, 0.5, 0.6, 2.0)),
    row("F.rms_norm", Sample(normal(3, 7), (7,), None, 1e-5), Sample(normal(2, 3, 4), (4,), uniform(4), 1e-5)),
    row(
        "F.scaled_dot_product_attention",
        Sample(normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3)),
        Sample(normal(1, 4, 2), normal(1, 4, 2), normal(1, 4, 2), is_causal=True),
        Sample(normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3), normal(3, 5), scale=0.3),
    ),
    row("F.pixel_unshuffle", Sample(normal(2, 3, 4, 6), 2)),
    row("F.channel_shuffle", Sample(normal(2, 6, 3, 2), 3)),
    row(
        "F.unfold",
        Sample(normal(2, 2, 5, 4), 2),
        Sample(normal(1, 3, 5, 5), 3, 1, 1, 2),
        Sample(normal(1, 2, 7, 6), (3, 2), 2),
    ),
    row("F.fold", Sample(normal(2, 8, 12), (5, 4), 2), Sample(normal(1, 18, 9), (5, 5), 3, 1, 1, 2)),
    row(
        "F.interpolate",
        Sample(normal(2, 3, 4, 5), size=(8, 10)),
        Sample(normal(1, 2, 5), size=(3,)),
        Sample(normal(1, 2, 5), scale_factor=1.7, mode="nearest-exact"),
        Sample(normal(1, 2, 5), scale_factor=1.7, mode="linear"),
        Sample(normal(1, 2, 4, 5), size=(7, 3), mode="bilinear"),
        Sample(normal(1, 2, 4, 5), size=(7, 9), mode="bilinear", align_corners=True),
        Sample(normal(1, 2, 4, 5), size=(7, 3), mode="bicubic"),
        Sample(normal(1, 2, 3, 4, 2), scale_factor=2.0, mode="trilinear"),
    ),
    row("F.lp_pool2d", Sample(uniform(2, 3, 4, 6), 2.0, 2), Sample(uniform(1, 2, 6, 6), 3.0, 3)),
    row("F.soft_margin_loss", Sample(normal(3, 7), signs(3, 7)), Sample(normal(3, 7), signs(3, 7), reduction="sum")),
    row("F.margin_ranking_loss", Sample(normal(9), normal(9), signs(9)), Sample(normal(9), normal(9), signs(9), 0.5)),
    row("F.hinge_embedding_loss", Sample(normal(3, 7), signs(3, 7)), Sample(normal(3, 7), signs(3, 7), 0.5)),
    row(
        "F.triplet_margin_loss",
        Sample(normal(4, 5), normal(4, 5), normal(4, 5)),
        Sample(normal(4, 5), normal(4, 5), normal(4, 5), 2.0, 3.0, reduction="sum"),
    ),
    row(
        "F.poisson_nll_loss",
        Sample(normal(3, 7), uniform(3, 7, grad=False)),
        Sample(uniform(3, 7), uniform(3, 7, high=5.0, grad=False), log_input=False, full=True),
    ),
    row(
        "F.cosine_embedding_loss",
        Sample(normal(5, 4), normal(5, 4), signs(5)),
        Sample(normal(5, 4), normal(5, 4), signs(5), 0.1, reduction="none"),
    ),
    row(
        "F.multi_margin_loss",
        Sample(normal(4, 5), ints(4, high=5)),
        Sample(normal(4, 5), ints(4, high=5), 2, 0.7, uniform(5, grad=False)),
    ),
    row(
        "F.bilinear",
        Sample(normal(3, 2), normal(3, 4), normal(5, 2, 4), normal(5)),
        Sample(normal(2, 3, 2), normal(2, 3, 4), normal(5, 2, 4)),
    ),
]
