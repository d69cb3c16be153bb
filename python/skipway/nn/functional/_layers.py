"""Convolution, linear maps, pooling, normalization, dropout, embedding, attention.

Most are functions of the core, which documents them: `help(F.batch_norm)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._amp_state import mixed_on_cpu, narrow_inputs
from ..._core import Tensor
from ..._precision import rounded_once
from ...autograd import no_grad
from ._checks import expect_broadcast, shapes_of

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "bilinear",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "batch_norm", "layer_norm",
    "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "embedding", "one_hot", "residual_add",
    "cosine_similarity", "pairwise_distance", "scaled_dot_product_attention", "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
]  # fmt: skip


conv1d = narrow_inputs(_core.conv1d)
conv2d = mixed_on_cpu(_core.conv2d, _core._conv2d_mixed)
conv3d = narrow_inputs(_core.conv3d)
conv_transpose1d = narrow_inputs(_core.conv_transpose1d)
conv_transpose2d = narrow_inputs(_core.conv_transpose2d)
conv_transpose3d = narrow_inputs(_core.conv_transpose3d)
linear = narrow_inputs(_core.linear)
avg_pool1d = _core.avg_pool1d
avg_pool2d = _core.avg_pool2d
avg_pool3d = _core.avg_pool3d
adaptive_avg_pool1d = _core.adaptive_avg_pool1d
adaptive_avg_pool2d = _core.adaptive_avg_pool2d
adaptive_avg_pool3d = _core.adaptive_avg_pool3d
adaptive_max_pool1d = _core.adaptive_max_pool1d
adaptive_max_pool2d = _core.adaptive_max_pool2d
adaptive_max_pool3d = _core.adaptive_max_pool3d
max_pool1d = _core.max_pool1d
max_pool2d = _core.max_pool2d
max_pool3d = _core.max_pool3d
max_unpool1d = _core.max_unpool1d
max_unpool2d = _core.max_unpool2d
max_unpool3d = _core.max_unpool3d
batch_norm = _core.batch_norm
instance_norm = _core.instance_norm
layer_norm = _core.layer_norm
group_norm = _core.group_norm
rms_norm = _core.rms_norm
local_response_norm = _core.local_response_norm
dropout = _core.dropout
dropout1d = _core.dropout1d
dropout2d = _core.dropout2d
dropout3d = _core.dropout3d
alpha_dropout = _core.alpha_dropout
feature_alpha_dropout = _core.feature_alpha_dropout
residual_add = _core.residual_add
one_hot = _core.one_hot


def adaptive_max_pool1d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` with `return_indices=True`."""
    return adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` with `return_indices=True`."""
    return adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool3d` with `return_indices=True`."""
    return adaptive_max_pool3d(input, output_size, True)


@rounded_once
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = x1^T A_k x2 + b_k; weight is (out, in1, in2)."""
    last = tuple(input1.shape[-1:]) + tuple(input2.shape[-1:])
    if weight.dim() != 3 or last != tuple(weight.shape[1:]):
        raise _core.ShapeError(
            f"bilinear: expected inputs with last dimensions {tuple(weight.shape[1:])}, got {tuple(input1.shape)} "
            f"and {tuple(input2.shape)}"
        )
    if input1.shape[:-1] != input2.shape[:-1]:
        got = shapes_of({"input1": input1, "input2": input2})
        raise _core.ShapeError(f"bilinear: expected inputs alike but for the last dimension, got {got}")
    out, in1, in2 = weight.shape
    mixed = linear(input1, weight.permute(0, 2, 1).reshape(out * in2, in1)).reshape(*input1.shape[:-1], out, in2)
    result = (mixed * input2.unsqueeze(-2)).sum(-1)
    return result if bias is None else result + bias


def _with_indices(pool: Callable[..., Any], name: str) -> Callable[..., Any]:
    def pooled(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    pooled.__name__ = pooled.__qualname__ = name + "_with_indices"
    pooled.__doc__ = f"`{name}` with `return_indices=True`."
    return pooled


max_pool1d_with_indices = _with_indices(max_pool1d, "max_pool1d")
max_pool2d_with_indices = _with_indices(max_pool2d, "max_pool2d")
max_pool3d_with_indices = _with_indices(max_pool3d, "max_pool3d")


def _lp_pool(
    op: str, pool: Any, dims: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    if norm_type == 0:
        raise ValueError(f"{op}: expected a norm_type other than 0, got {norm_type}")
    window = tuple(kernel_size) if isinstance(kernel_size, Iterable) else (kernel_size,)
    count = window[0] ** dims if len(window) == 1 else math.prod(window)
    total = pool(input.pow(norm_type), kernel_size, stride, 0, ceil_mode) * count
    return (_core.sign(total) * _core.relu(_core.abs(total))).pow(1.0 / norm_type)


@rounded_once
def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """sum(x^p)^(1/p) over windows of (N, C, L) input."""
    return _lp_pool("lp_pool1d", avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


@rounded_once
def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """sum(x^p)^(1/p) over windows of (N, C, H, W) input."""
    return _lp_pool("lp_pool2d", avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


@rounded_once
def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """sum(x^p)^(1/p) over windows of (N, C, D, H, W) input."""
    return _lp_pool("lp_pool3d", avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


@rounded_once
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Tensor:
    """x / max(||x||_p, eps) along `dim`."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (rows, columns): (...) integer indices -> (..., columns). Gradients are dense."""
    if scale_grad_by_freq:
        raise ValueError("embedding: scale_grad_by_freq is not supported")
    if isinstance(input, Tensor) and input.dtype.is_floating_point:
        raise TypeError(f"embedding: expected input to be of an integer dtype, got {input.dtype.name}")
    if max_norm is not None:
        with no_grad():
            norms = weight.norm(norm_type, 1, keepdim=True)
            used = creation.zeros(weight.shape[0], dtype=_core.bool, device=weight.device)
            used[input.flatten()] = True
            scale = (max_norm / (norms + 1e-7)).clamp(max=1.0)
            weight.copy_(_core.where(used.unsqueeze(1) & (norms > max_norm), weight * scale, weight))
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return _core.embedding(input, weight, padding_idx)


@rounded_once
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(||x1||, eps) max(||x2||, eps)) along `dim`."""
    expect_broadcast("cosine_similarity", x1=x1, x2=x2)
    x1, x2 = _core.broadcast_tensors(x1, x2)
    n1 = x1.norm(2, dim, keepdim=True).clamp(min=eps)
    n2 = x2.norm(2, dim, keepdim=True).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


@rounded_once
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """||x1 - x2 + eps||_p over the last dimension."""
    expect_broadcast("pairwise_distance", x1=x1, x2=x2)
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


@rounded_once
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q K^T * scale + mask) V (Vaswani et al. 2017); scale None is 1/sqrt(d). Bool masks: True takes part."""
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = _core.matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        shape = query.shape[-2], key.shape[-2]
        attn_mask = creation.ones(shape, dtype=_core.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == _core.bool else scores + attn_mask
    return _core.matmul(dropout(_core.softmax(scores, -1), dropout_p, dropout_p > 0), value)
