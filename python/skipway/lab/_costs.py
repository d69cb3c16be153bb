"""What a layer makes of a shape, and what it costs: parameters, multiply-adds and FLOPs for one sample.

Multiply-adds are the products of convolutions, linear layers and attention, each with the addition that follows it;
biases, normalization, activations and pooling have none. With C channels, an output of H x W and a kernel of K x K:

    convolution        H W C_out (C_in / groups) K^2
    transposed         H W C_in (C_out / groups) K^2, with H and W of the input
    linear             outputs x inputs, for each row

FLOPs are 2 per multiply-add, 1 per output for a bias, and per element: activation 1, normalization 2 (a scale and a
shift, as in evaluation; local response normalization as many as its window), pooling the size of its window, softmax 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import skipway as sw
from skipway import nn

Shape = tuple[int, ...]


class Cost(NamedTuple):
    """Forward, of one sample; None: unknown."""

    multiply_adds: int | None = 0
    flops: int | None = 0


_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONV_TRANSPOSE = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_POOL = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.LPPool3d,
)  # fmt: skip
_ADAPTIVE = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip
_BATCH_NORM = (nn.modules.batchnorm._BatchNorm,)  # of any dimensions, lazy or not
_NORM = (
    *_BATCH_NORM, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm,
    nn.AxisNorm,
)  # fmt: skip
_SOFTMAX = (nn.Softmax, nn.Softmin, nn.LogSoftmax, nn.Softmax2d)
_ACTIVATION = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.PReLU, nn.RReLU, nn.Threshold, nn.SiLU,
    nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.GELU,
    nn.Softplus, nn.Hardshrink, nn.Softshrink,
)  # fmt: skip
_NOTHING = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.StochasticDepth,
)  # fmt: skip
# Rows of their own, whatever is inside.
WHOLE = (nn.MultiheadAttention, nn.RNNBase)


def is_own(layer: Any) -> bool:
    """Whether the layer computes what its class of this library computes, and no subclass's forward."""
    return type(layer).forward.__module__.startswith("skipway.nn.modules.")


def is_lazy(layer: Any) -> bool:
    return isinstance(layer, nn.modules.lazy.LazyModuleMixin)


def output_shape(layer: Any, shape: Shape) -> Shape | None:
    """The shape that a layer makes of the (batched) `shape`; None: only running it tells, or it is an error."""
    if not is_own(layer):
        return None
    if isinstance(layer, _CONV):
        dims = layer._dims
        if len(shape) != dims + 2 or not (is_lazy(layer) or shape[1] == layer.in_channels):
            return None
        sizes = _sizes(lambda s: _convolve(layer, s), shape[2:], layer.kernel_size, layer.dilation)
        return None if sizes is None else (shape[0], layer.out_channels, *sizes)
    if isinstance(layer, nn.Linear):
        fits = len(shape) > 0 and (is_lazy(layer) or shape[-1] == layer.in_features)
        return (*shape[:-1], layer.out_features) if fits else None
    if isinstance(layer, (*_POOL, *_ADAPTIVE)):
        if getattr(layer, "return_indices", False) or len(shape) != _dims(layer) + 2:
            return None
        forward: Any = type(layer).forward
        kernel, dilation = getattr(layer, "kernel_size", 1), getattr(layer, "dilation", 1)
        sizes = _sizes(lambda s: forward(layer, sw.zeros(1, 1, *s)), shape[2:], kernel, dilation)
        return None if sizes is None else (*shape[:2], *sizes)
    if isinstance(layer, _BATCH_NORM):
        return shape if len(shape) > 1 and (is_lazy(layer) or shape[1] == layer.num_features) else None
    if isinstance(layer, (*_ACTIVATION, *_NOTHING, *_SOFTMAX, nn.LocalResponseNorm)):
        return shape
    return None


def _dims(pool: Any) -> int:
    """The dimensions of a pooling layer's windows, which its class is named after."""
    return next(int(c.__name__[-2]) for c in type(pool).__mro__ if c.__name__[-2:] in ("1d", "2d", "3d"))


def _convolve(layer: Any, sizes: Sequence[int]) -> Any:
    """One channel of the layer's convolution."""
    x, w = sw.zeros(1, 1, *sizes), sw.zeros(1, 1, *layer.kernel_size)
    return type(layer)._function(x, w, None, layer.stride, layer.padding, layer.dilation, 1)


def _sizes(run: Callable[[list[int]], Any], sizes: Shape, kernel: Any, dilation: Any) -> list[int] | None:
    """The sizes of the maps that `run` makes, one dimension after the other, with the rest as small as the window."""
    kernels, dilations = ([v] * len(sizes) if isinstance(v, int) else list(v) for v in (kernel, dilation))
    least = [min(n, d * (k - 1) + 1) for n, k, d in zip(sizes, kernels, dilations, strict=True)]
    try:
        return [int(run([*least[:i], n, *least[i + 1 :]]).shape[2 + i]) for i, n in enumerate(sizes)]
    except (ValueError, RuntimeError):  # the window is larger than the map: the layer itself says so best
        return None


def cost(layer: Any, given: Shape, made: Shape, has_parameters: bool) -> Cost:
    """Of `layer`, from the shapes of its input and output without the batch."""
    outputs, inputs = math.prod(made), math.prod(given)
    if isinstance(layer, _CONV_TRANSPOSE):
        products = inputs * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
        return Cost(products, 2 * products + (outputs if layer.bias is not None else 0))
    if isinstance(layer, _CONV):
        channels = given[0] if is_lazy(layer) else layer.in_channels
        products = outputs * (channels // layer.groups) * math.prod(layer.kernel_size)
        return Cost(products, 2 * products + (outputs if layer.bias is not None else 0))
    if isinstance(layer, nn.Linear):
        products = outputs * (given[-1] if is_lazy(layer) else layer.in_features)
        return Cost(products, 2 * products + (outputs if layer.bias is not None else 0))
    if isinstance(layer, nn.Bilinear):
        products = outputs * (layer.in1_features + 1) * layer.in2_features
        return Cost(products, 2 * products + (outputs if layer.bias is not None else 0))
    if isinstance(layer, nn.MultiheadAttention):
        return _attention(layer, given)
    if isinstance(layer, nn.RNNBase):
        steps = given[0] if len(given) > 1 else 1
        products = steps * sum(int(p.numel()) for p in layer.parameters() if p.dim() > 1)
        return Cost(products, 2 * products + steps * sum(int(p.numel()) for p in layer.parameters() if p.dim() == 1))
    return _elementwise(layer, inputs, outputs, has_parameters)


def _elementwise(layer: Any, inputs: int, outputs: int, has_parameters: bool) -> Cost:
    if isinstance(layer, _NORM):
        return Cost(0, outputs * (2 + (getattr(layer, "activation", None) is not None)))
    if isinstance(layer, nn.LocalResponseNorm):
        return Cost(0, outputs * layer.size)
    if isinstance(layer, _POOL):
        window = layer.kernel_size
        return Cost(0, outputs * (window ** _dims(layer) if isinstance(window, int) else math.prod(window)))
    if isinstance(layer, _ADAPTIVE):
        return Cost(0, inputs)
    if isinstance(layer, _SOFTMAX):
        return Cost(0, 3 * outputs)
    if isinstance(layer, (*_ACTIVATION, nn.CReLU, nn.Maxout, nn.GLU)):
        return Cost(0, outputs if isinstance(layer, _ACTIVATION) else inputs)
    if isinstance(layer, nn.ShakeShake):
        return Cost(0, 3 * outputs)
    if has_parameters and not isinstance(layer, nn.Embedding):
        return Cost(None, None)
    return Cost()


def _attention(layer: Any, given: Shape) -> Cost:
    """Projections of queries, keys and values and of the output, and two products of length x length."""
    length, width = (given[0], layer.embed_dim) if len(given) > 1 else (1, layer.embed_dim)
    projections = length * width * (2 * width + layer.kdim + layer.vdim)
    scores = 2 * length * length * width
    return Cost(projections + scores, 2 * (projections + scores) + 3 * layer.num_heads * length * length)


def parameter_counts(layer: Any, given: Shape | None) -> tuple[int, int]:
    """Weights and biases; the parameters of lazy layers that have not seen an input are what `given` makes them."""
    if is_lazy(layer) and layer.has_uninitialized_params():
        return _lazy_counts(layer, given)
    counts = [0, 0]
    for name, p in layer.named_parameters(recurse=isinstance(layer, WHOLE)):
        counts["bias" in name.rpartition(".")[2]] += int(p.numel())
    return counts[0], counts[1]


def _lazy_counts(layer: Any, given: Shape | None) -> tuple[int, int]:
    if given is None:
        return 0, 0
    bias = layer.out_features if isinstance(layer, nn.Linear) else getattr(layer, "out_channels", given[0])
    if layer._parameters.get("bias") is None:
        bias = 0
    if isinstance(layer, nn.Linear):
        return given[-1] * layer.out_features, bias
    if isinstance(layer, (*_CONV, *_CONV_TRANSPOSE)):
        return layer.out_channels * given[0] // layer.groups * math.prod(layer.kernel_size), bias
    return (given[0], given[0]) if layer.affine else (0, 0)


def window(layer: Any) -> tuple[Any, Any, Any]:
    """Kernel, stride and padding, where the layer has them."""
    if not isinstance(layer, (*_CONV, *_CONV_TRANSPOSE, *_POOL)):
        return None, None, None
    return layer.kernel_size, layer.stride, getattr(layer, "padding", 0)
