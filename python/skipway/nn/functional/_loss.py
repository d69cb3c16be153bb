"""Losses. reduction is "mean", "sum" or "none"; `size_average` and `reduce` are its former spelling.

Most are functions of the core, which documents them: `help(F.cross_entropy)`.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._amp_state import widen_inputs
from ..._core import Tensor
from ..._precision import rounded_once
from ._checks import broadcast, expect_broadcast, expect_classes, expect_same_dims, shapes_of
from ._layers import pairwise_distance

__all__ = [
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "soft_margin_loss", "multilabel_soft_margin_loss", "margin_ranking_loss", "cosine_embedding_loss",
    "multi_margin_loss", "multilabel_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip

cross_entropy = widen_inputs(_core.cross_entropy)
nll_loss = widen_inputs(_core.nll_loss)
mse_loss = widen_inputs(_core.mse_loss)
l1_loss = widen_inputs(_core.l1_loss)
smooth_l1_loss = widen_inputs(_core.smooth_l1_loss)
huber_loss = widen_inputs(_core.huber_loss)
binary_cross_entropy = widen_inputs(_core.binary_cross_entropy)
binary_cross_entropy_with_logits = widen_inputs(_core.binary_cross_entropy_with_logits)
kl_div = widen_inputs(_core.kl_div)
poisson_nll_loss = widen_inputs(_core.poisson_nll_loss)
hinge_embedding_loss = widen_inputs(_core.hinge_embedding_loss)
soft_margin_loss = widen_inputs(_core.soft_margin_loss)


def _legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _reduction(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    return reduction if size_average is None and reduce is None else _legacy_reduction(size_average, reduce)


def _reduce(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: expected reduction to be 'none', 'mean' or 'sum', got {reduction!r}")


@rounded_once
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2, with var at least eps (the clamp has no gradient)."""
    if not isinstance(var, Tensor):
        if not isinstance(var, Real):
            raise TypeError(f"gaussian_nll_loss: expected var to be a tensor or a number, got {var!r:.80}")
        var = creation.full_like(input, var)
    expect_broadcast("gaussian_nll_loss", input=input, target=target)
    spread = var.unsqueeze(-1) if var.shape == input.shape[:-1] else var
    if spread.dim() != input.dim() or any(
        n not in (1, size) for n, size in zip(spread.shape, input.shape, strict=True)
    ):
        raise _core.ShapeError(
            "gaussian_nll_loss: expected var of the input's shape, but for sizes of 1 or the last dimension, got "
            + shapes_of({"input": input, "var": var})
        )
    var = spread
    if bool((var < 0).any()):
        raise ValueError(f"gaussian_nll_loss: expected var of at least 0, got {var.min().item()}")
    var = var + (var.detach().clamp(min=eps) - var.detach())
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce("gaussian_nll_loss", loss, reduction)


@rounded_once
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross entropy of logits."""
    expect_broadcast("multilabel_soft_margin_loss", input=input, target=target)
    if weight is not None:
        expect_broadcast("multilabel_soft_margin_loss", input=input, weight=weight)
    loss = -(target * _core.logsigmoid(input) + (1 - target) * _core.logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduce("multilabel_soft_margin_loss", loss.mean(-1), _reduction(reduction, size_average, reduce))


@rounded_once
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    expect_same_dims("margin_ranking_loss", input1=input1, input2=input2, target=target)
    loss = (-target * (input1 - input2) + margin).clamp(min=0)
    return _reduce("margin_ranking_loss", loss, _reduction(reduction, size_average, reduce))


@rounded_once
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1."""
    name, eps = "cosine_embedding_loss", 1e-12
    expect_same_dims(name, input1=input1, input2=input2)
    norms = ((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)
    cos = (input1 * input2).sum(-1) / norms.sqrt()
    if input1.dim() not in (1, 2) or target.dim() != cos.dim() or not broadcast(cos.shape, target.shape):
        got = shapes_of({"input1": input1, "input2": input2, "target": target})
        raise _core.ShapeError(f"{name}: expected (N, D) inputs and (N,) target, or (D,) and (), got {got}")
    zero = creation.zeros_like(cos)
    loss = _core.where(target == 1, 1 - cos, zero) + _core.where(target == -1, (cos - margin).clamp(min=0), zero)
    return _reduce(name, loss, _reduction(reduction, size_average, reduce))


@rounded_once
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over the other classes i of max(0, margin - x[target] + x[i])^p / C."""
    rows, at = (input.unsqueeze(0), target.reshape(1)) if input.dim() == 1 else (input, target)
    if rows.dim() != 2 or tuple(at.shape) != (rows.shape[0],):
        raise _core.ShapeError(
            "multi_margin_loss: expected (N, C) input and (N,) target, got "
            + shapes_of({"input": input, "target": target})
        )
    expect_classes("multi_margin_loss", at, 0, rows.shape[1])
    if weight is not None and tuple(weight.shape) != (rows.shape[1],):
        raise _core.ShapeError(
            f"multi_margin_loss: expected weight of shape {(rows.shape[1],)} (one per class), got {tuple(weight.shape)}"
        )
    column = at.unsqueeze(1)
    gap = (margin - rows.gather(1, column) + rows).clamp(min=0)
    gap = gap if p == 1 else gap * gap
    if weight is not None:
        gap = gap * weight[at].unsqueeze(1)
    others = creation.ones_like(rows.detach()).scatter(1, column, 0.0)
    loss = (gap * others).sum(1) / rows.shape[1]
    loss = loss.squeeze(0) if input.dim() == 1 else loss
    return _reduce("multi_margin_loss", loss, _reduction(reduction, size_average, reduce))


@rounded_once
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); swap: the nearer of the two ways to the negative."""
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        margin=margin,
        swap=swap,
        reduction=_reduction(reduction, size_average, reduce),
    )


@rounded_once
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own."""
    distance = pairwise_distance if distance_function is None else distance_function
    expect_same_dims("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = _core.minimum(far, distance(positive, negative))
    return _reduce("triplet_margin_loss", (near - far + margin).clamp(min=0), reduction)


@rounded_once
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over targets y and other classes i of max(0, 1 - (x[y] - x[i])) / C; a target of -1 ends the list."""
    rows, labels = (input.unsqueeze(0), target.unsqueeze(0)) if input.dim() == 1 else (input, target)
    if rows.dim() != 2 or rows.shape != labels.shape:
        raise _core.ShapeError(
            "multilabel_margin_loss: expected (N, C) or (C,) input and a target of its shape, got "
            + shapes_of({"input": input, "target": target})
        )
    expect_classes("multilabel_margin_loss", labels, -1, rows.shape[1])
    listed = ((labels < 0).long().cumsum(1) == 0).to(rows.dtype)
    safe = labels.clamp(min=0)
    is_target = creation.zeros_like(rows.detach()).scatter_add(1, safe, listed).clamp(max=1.0)
    gap = (1 - rows.gather(1, safe).unsqueeze(2) + rows.unsqueeze(1)).clamp(min=0)
    loss = (gap * listed.unsqueeze(2) * (1 - is_target).unsqueeze(1)).sum((1, 2)) / rows.shape[1]
    loss = loss.squeeze(0) if input.dim() == 1 else loss
    return _reduce("multilabel_margin_loss", loss, _reduction(reduction, size_average, reduce))
