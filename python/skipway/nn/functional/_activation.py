"""Activations. All take and return tensors of any one shape; `inplace` overwrites the input.

Most are functions of the core, which documents them: `help(F.gelu)`.
"""

from __future__ import annotations

from ... import _core
from ... import _creation as creation
from ..._core import Tensor

__all__ = [
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "selu_", "celu", "celu_", "silu",
    "mish", "gelu", "hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid",
    "sigmoid", "tanh", "tanhshrink", "hardshrink", "softshrink", "threshold", "threshold_", "prelu", "rrelu", "rrelu_",
    "glu", "softmax", "softmin", "log_softmax", "gumbel_softmax", "maxout", "crelu",
]  # fmt: skip

relu = _core.relu
relu_ = _core.relu_
relu6 = _core.relu6
leaky_relu = _core.leaky_relu
elu = _core.elu
selu = _core.selu
celu = _core.celu
silu = _core.silu
mish = _core.mish
gelu = _core.gelu
hardtanh = _core.hardtanh
hardswish = _core.hardswish
hardsigmoid = _core.hardsigmoid
softplus = _core.softplus
softsign = _core.softsign
logsigmoid = _core.logsigmoid
sigmoid = _core.sigmoid
tanh = _core.tanh
tanhshrink = _core.tanhshrink
hardshrink = _core.hardshrink
softshrink = _core.softshrink
threshold = _core.threshold
prelu = _core.prelu
glu = _core.glu
softmax = _core.softmax
softmin = _core.softmin
log_softmax = _core.log_softmax
maxout = _core.maxout
crelu = _core.crelu


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return _core.leaky_relu(input, negative_slope, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return _core.elu(input, alpha, True)


def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return _core.selu(input, True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return _core.celu(input, alpha, True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return _core.hardtanh(input, min_val, max_val, True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    return _core.threshold(input, threshold, value, True)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU with slopes from U(lower, upper), one per element, in training, their mean else (Xu et al. 2015)."""
    if training:
        slope = creation.rand(tuple(input.shape), dtype=input.dtype, device=input.device) * (upper - lower) + lower
        result = _core.where(input >= 0, input, input * slope)
    else:
        return _core.rrelu(input, lower, upper, inplace)
    return input.copy_(result) if inplace else result


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, inplace=True)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A differentiable sample of a categorical distribution (Jang et al. 2017); hard: one-hot forward."""
    uniform = creation.rand(tuple(logits.shape), dtype=logits.dtype, device=logits.device).clamp(1e-20)
    gumbel = -(-uniform.log()).clamp(1e-20).log()
    soft = _core.softmax((logits + gumbel) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    return creation.zeros_like(soft).scatter(dim, index, 1.0) - soft.detach() + soft
