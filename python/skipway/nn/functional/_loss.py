"""Losses. reduction is "mean", "sum" or "none"; `size_average` and `reduce` are its former spelling."""

from __future__ import annotations

import math
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor

__all__ = [
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "soft_margin_loss", "multilabel_soft_margin_loss", "margin_ranking_loss", "cosine_embedding_loss",
    "multi_margin_loss", "triplet_margin_loss",
]  # fmt: skip


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


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target].

    input: (N, C), (N, C, ...) or (C,) logits. target: class indices of the shape without C, or class probabilities of
    the input's shape. The mean over indices divides by the sum of the targets' weights, ignored rows left out.
    """
    reduction = _reduction(reduction, size_average, reduce)
    return _core.cross_entropy(
        input,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-input[target]; input: (N, C), (N, C, ...) or (C,) log-probabilities; target: class indices."""
    reduction = _reduction(reduction, size_average, reduce)
    return _core.nll_loss(input, target, weight=weight, ignore_index=ignore_index, reduction=reduction)


def _weighted(loss: Any, name: str, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return loss(input, target, reduction=reduction)
    return _reduce(name, loss(input, target, reduction="none") * weight, reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2. Shapes must be the same: (n, 1) against (n,) is an error, not an n x n comparison."""
    reduction = _reduction(reduction, size_average, reduce)
    return _weighted(_core.mse_loss, "mse_loss", input, target, weight, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; shapes must be the same."""
    reduction = _reduction(reduction, size_average, reduce)
    return _weighted(_core.l1_loss, "l1_loss", input, target, weight, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """(x - y)^2 / (2 beta) where |x - y| < beta, |x - y| - beta / 2 elsewhere; shapes must be the same."""
    return _core.smooth_l1_loss(
        input, target, reduction=_reduction(reduction, size_average, reduce), beta=beta
    )


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """(x - y)^2 / 2 where |x - y| < delta, delta * (|x - y| - delta / 2) elsewhere; shapes must be the same."""
    if weight is None:
        return _core.huber_loss(input, target, reduction=reduction, delta=delta)
    return _reduce("huber_loss", _core.huber_loss(input, target, reduction="none", delta=delta) * weight, reduction)


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise _core.ShapeError(
            f"{name}: expected a target of the input's shape {tuple(input.shape)}, got {tuple(target.shape)}"
        )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) of probabilities p; logarithms are at least -100."""
    _same_shape("binary_cross_entropy", input, target)
    floor = -100.0
    loss = -(target * input.log().clamp(min=floor) + (1 - target) * (1 - input).log().clamp(min=floor))
    if weight is not None:
        loss = loss * weight
    return _reduce("binary_cross_entropy", loss, _reduction(reduction, size_average, reduce))


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of logits, without overflow."""
    return _core.binary_cross_entropy_with_logits(
        input, target, weight=weight, reduction=_reduction(reduction, size_average, reduce), pos_weight=pos_weight
    )


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log target - input), input being log-probabilities; "batchmean" divides the sum by the batch size."""
    reduction = _reduction(reduction, size_average, reduce)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        positive = target > 0
        log = _core.where(positive, target, creation.ones_like(target)).log()
        loss = _core.where(positive, target * log, creation.zeros_like(target)) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.dim() > 0 else loss.sum()
    return _reduce("kl_div", loss, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target * input (log_input), or input - target * log(input + eps)."""
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = _core.where(target > 1, target, creation.ones_like(target))
        stirling = large * large.log() - large + 0.5 * (2 * math.pi * large).log()
        loss = loss + _core.where(target > 1, stirling, creation.zeros_like(target))
    return _reduce("poisson_nll_loss", loss, _reduction(reduction, size_average, reduce))


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2, with var at least eps (the clamp has no gradient)."""
    if not isinstance(var, Tensor):
        var = creation.full_like(input, var)
    if var.dim() == input.dim() - 1:
        var = var.unsqueeze(-1)
    if bool((var < 0).any()):
        raise ValueError("gaussian_nll_loss: var has negative elements")
    var = var + (var.detach().clamp(min=eps) - var.detach())
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce("gaussian_nll_loss", loss, reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    zero = creation.zeros_like(input)
    far = _core.where(target != 1, (margin - input).clamp(min=0), zero)
    loss = far + _core.where(target != -1, input, zero)
    return _reduce("hinge_embedding_loss", loss, _reduction(reduction, size_average, reduce))


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input))."""
    loss = -_core.logsigmoid(target * input)
    return _reduce("soft_margin_loss", loss, _reduction(reduction, size_average, reduce))


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross entropy of logits."""
    loss = -(target * _core.logsigmoid(input) + (1 - target) * _core.logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduce("multilabel_soft_margin_loss", loss.mean(-1), _reduction(reduction, size_average, reduce))


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
    loss = (-target * (input1 - input2) + margin).clamp(min=0)
    return _reduce("margin_ranking_loss", loss, _reduction(reduction, size_average, reduce))


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
    eps = 1e-12
    norms = ((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)
    cos = (input1 * input2).sum(-1) / norms.sqrt()
    zero = creation.zeros_like(cos)
    loss = _core.where(target == 1, 1 - cos, zero) + _core.where(target == -1, (cos - margin).clamp(min=0), zero)
    return _reduce("cosine_embedding_loss", loss, _reduction(reduction, size_average, reduce))


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
    column = at.unsqueeze(1)
    gap = (margin - rows.gather(1, column) + rows).clamp(min=0)
    gap = gap if p == 1 else gap * gap
    if weight is not None:
        gap = gap * weight[at].unsqueeze(1)
    others = creation.ones_like(rows.detach()).scatter(1, column, 0.0)
    loss = (gap * others).sum(1) / rows.shape[1]
    loss = loss.squeeze(0) if input.dim() == 1 else loss
    return _reduce("multi_margin_loss", loss, _reduction(reduction, size_average, reduce))


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
    from ._layers import pairwise_distance

    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = _core.minimum(far, pairwise_distance(positive, negative, p, eps))
    loss = (near - far + margin).clamp(min=0)
    return _reduce("triplet_margin_loss", loss, _reduction(reduction, size_average, reduce))
