"""Convolution, linear maps, pooling, normalization, dropout, embedding, padding, attention."""

from __future__ import annotations

import math
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._amp_state import narrow_inputs
from ..._core import Tensor
from ...autograd import no_grad

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "linear", "bilinear", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "max_unpool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "lp_pool1d",
    "lp_pool2d", "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
    "normalize", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
    "embedding", "one_hot", "residual_add", "cosine_similarity", "pairwise_distance",
    "scaled_dot_product_attention",
]  # fmt: skip


conv1d = narrow_inputs(_core.conv1d)
conv2d = narrow_inputs(_core.conv2d)
conv3d = narrow_inputs(_core.conv3d)
conv_transpose1d = narrow_inputs(_core.conv_transpose1d)
conv_transpose2d = narrow_inputs(_core.conv_transpose2d)
linear = narrow_inputs(_core.linear)
avg_pool1d = _core.avg_pool1d
avg_pool2d = _core.avg_pool2d
avg_pool3d = _core.avg_pool3d
adaptive_avg_pool1d = _core.adaptive_avg_pool1d
adaptive_avg_pool2d = _core.adaptive_avg_pool2d
adaptive_avg_pool3d = _core.adaptive_avg_pool3d
layer_norm = _core.layer_norm
group_norm = _core.group_norm
one_hot = _core.one_hot
residual_add = _core.residual_add


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = x1^T A_k x2 + b_k; weight is (out, in1, in2)."""
    if weight.dim() != 3 or input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise _core.ShapeError(
            f"bilinear: expected inputs with last dimensions {tuple(weight.shape[1:])}, got {tuple(input1.shape)} "
            f"and {tuple(input2.shape)}"
        )
    out, in1, in2 = weight.shape
    mixed = linear(input1, weight.permute(0, 2, 1).reshape(out * in2, in1)).reshape(*input1.shape[:-1], out, in2)
    result = (mixed * input2.unsqueeze(-2)).sum(-1)
    return result if bias is None else result + bias




def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, L) or (C, L) input; NaN wins."""
    return _core.max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, H, W) or (C, H, W) input; NaN wins."""
    return _core.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, D, H, W) or (C, D, H, W) input; NaN wins."""
    return _core.max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool1d` with `return_indices=True`."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool2d` with `return_indices=True`."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> Any:
    """`max_pool3d` with `return_indices=True`."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def _pair(x: Any) -> tuple[int, int]:
    return (x, x) if isinstance(x, int) else (x[0], x[-1])


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Puts maxima back where `max_pool2d(..., return_indices=True)` found them, zeros elsewhere."""
    kernel, pad = _pair(kernel_size), _pair(padding)
    step = kernel if stride is None else _pair(stride)
    if output_size is None:
        h, w = ((input.shape[i - 2] - 1) * step[i] - 2 * pad[i] + kernel[i] for i in range(2))
    else:
        h, w = tuple(output_size)[-2:]
    flat = creation.zeros((*input.shape[:-2], h * w), dtype=input.dtype, device=input.device)
    return flat.scatter(-1, indices.flatten(-2), input.flatten(-2)).reshape(*input.shape[:-2], h, w)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Max pooling of (N, C, L) or (C, L) input to a length of `output_size`."""
    return _core.adaptive_max_pool1d(input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Max pooling of (N, C, H, W) or (C, H, W) input to `output_size`; None keeps that size."""
    return _core.adaptive_max_pool2d(input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Max pooling of (N, C, D, H, W) or (C, D, H, W) input to `output_size`; None keeps that size."""
    return _core.adaptive_max_pool3d(input, output_size, return_indices)


def _finish_lp(mean: Tensor, norm_type: float, count: int) -> Tensor:
    total = mean * count
    return (_core.sign(total) * _core.relu(_core.abs(total))).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x^p)^(1/p) over windows of (N, C, L) input."""
    count = kernel_size if isinstance(kernel_size, int) else kernel_size[0]
    mean = avg_pool1d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _finish_lp(mean, norm_type, count)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x^p)^(1/p) over windows of (N, C, H, W) input."""
    height, width = _pair(kernel_size)
    mean = avg_pool2d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _finish_lp(mean, norm_type, height * width)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias per channel (dim 1) (Ioffe and Szegedy 2015).

    In training, mean and biased variance come from the batch, and the running statistics move by `momentum` towards
    the mean and the unbiased variance; otherwise the running statistics are used. Beyond PyTorch: `residual`, of the
    input's shape, is added and `activation` applied in the same pass.
    """
    return _core.batch_norm(
        input, running_mean, running_var, weight, bias, training, momentum, eps, residual=residual, activation=activation
    )


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`batch_norm` of each sample by itself (Ulyanov et al. 2016)."""
    return _core.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; eps None is the dtype's epsilon."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(input.shape)[-len(shape) :] != shape:
        raise _core.ShapeError(
            f"rms_norm: expected input whose last dimensions are {shape}, got {tuple(input.shape)}"
        )
    eps = creation.finfo(input.dtype).eps if eps is None else eps
    wide = input.float() if input.dtype == _core.bfloat16 else input
    mean = (wide * wide).mean(tuple(range(-len(shape), 0)), keepdim=True)
    result = (wide * _core.rsqrt(mean + eps)).to(input.dtype)
    return result if weight is None else result * weight


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012)."""
    if input.dim() < 3:
        raise _core.ShapeError(f"local_response_norm: expected 3D or higher input, got {tuple(input.shape)}")
    n, c = input.shape[:2]
    rows = (input * input).reshape(n, c, -1).transpose(1, 2)
    padded = _core.pad(rows, (size // 2, (size - 1) // 2))
    mean = avg_pool1d(padded, size, 1).transpose(1, 2).reshape(*input.shape)
    return input / (mean * alpha + k).pow(beta)


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Tensor:
    """x / max(||x||_p, eps) along `dim`."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def _dropped(result: Tensor, input: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace and result is not input else result


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes elements with probability p and scales the others by 1 / (1 - p) (Srivastava et al. 2014)."""
    return _dropped(_core.dropout(input, p, training), input, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of (N, C, L) or (C, L) input."""
    return _dropped(_core.dropout1d(input, p, training), input, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of (N, C, H, W) or (C, H, W) input."""
    return _dropped(_core.dropout2d(input, p, training), input, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W) input."""
    return _dropped(_core.dropout3d(input, p, training), input, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance of SELU networks (Klambauer et al. 2017)."""
    return _dropped(_core.alpha_dropout(input, p, training), input, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels (dims 0 and 1)."""
    if not training or p == 0:
        return input
    alpha = -1.7580993408473766  # -scale * alpha of SELU
    keep = creation.rand((*input.shape[:2], *(1 for _ in input.shape[2:])), device=input.device) >= p
    a = ((1 - p) * (1 + p * alpha * alpha)) ** -0.5 if p < 1 else 0.0
    mask = keep.to(input.dtype)
    result = (_core.where(keep, input, creation.zeros_like(input)) + alpha * (1 - mask)) * a - a * alpha * p
    return _dropped(result, input, inplace)


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
    if max_norm is not None:
        with no_grad():
            norms = weight.norm(norm_type, 1, keepdim=True)
            used = creation.zeros(weight.shape[0], dtype=_core.bool)
            used[input.flatten()] = True
            scale = (max_norm / (norms + 1e-7)).clamp(max=1.0)
            weight.copy_(_core.where(used.unsqueeze(1) & (norms > max_norm), weight * scale, weight))
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return _core.embedding(input, weight, padding_idx)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(||x1||, eps) max(||x2||, eps)) along `dim`."""
    n1 = x1.norm(2, dim, keepdim=True).clamp(min=eps)
    n2 = x2.norm(2, dim, keepdim=True).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """||x1 - x2 + eps||_p over the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


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
        attn_mask = creation.ones((query.shape[-2], key.shape[-2]), dtype=_core.bool).tril()
    if attn_mask is not None:
        if attn_mask.dtype == _core.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        else:
            scores = scores + attn_mask
    return _core.matmul(dropout(_core.softmax(scores, -1), dropout_p, dropout_p > 0), value)
