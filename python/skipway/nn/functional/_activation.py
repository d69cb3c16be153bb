"""Activations. All take and return tensors of any one shape; `inplace` overwrites the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor

__all__ = [
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "selu_", "celu", "celu_", "silu",
    "mish", "gelu", "hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid",
    "sigmoid", "tanh", "tanhshrink", "hardshrink", "softshrink", "threshold", "threshold_", "prelu", "rrelu", "rrelu_",
    "glu", "softmax", "softmin", "log_softmax", "gumbel_softmax", "maxout", "crelu",
]  # fmt: skip


def _overwrite(input: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """f(input), written to the input's memory. f may save its argument for backward, so it gets a copy of its own."""
    if _core.is_grad_enabled() and input.requires_grad:
        return input.copy_(f(input.clone()))
    return input.copy_(f(input))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); NaN stays NaN."""
    return input.relu_() if inplace else _core.relu(input)


def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return input.relu_()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return _overwrite(input, _core.relu6) if inplace else _core.relu6(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    if inplace:
        return _overwrite(input, lambda x: _core.leaky_relu(x, negative_slope))
    return _core.leaky_relu(input, negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return leaky_relu(input, negative_slope, inplace=True)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    return _overwrite(input, lambda x: _core.elu(x, alpha)) if inplace else _core.elu(input, alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return elu(input, alpha, inplace=True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the constants of Klambauer et al. 2017."""
    return _overwrite(input, _core.selu) if inplace else _core.selu(input)


def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return selu(input, inplace=True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    return _overwrite(input, lambda x: _core.celu(x, alpha)) if inplace else _core.celu(input, alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return celu(input, alpha, inplace=True)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _overwrite(input, _core.silu) if inplace else _core.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return _overwrite(input, _core.mish) if inplace else _core.mish(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x clamped to [min_val, max_val]."""
    if inplace:
        return _overwrite(input, lambda x: _core.hardtanh(x, min_val, max_val))
    return _core.hardtanh(input, min_val, max_val)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _overwrite(input, _core.hardswish) if inplace else _core.hardswish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    result = _core.hardtanh(input / 6 + 0.5, 0.0, 1.0)
    return input.copy_(result) if inplace else result


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; the identity where beta * x > threshold."""
    return _core.softplus(input, beta, threshold)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x) (Hendrycks and Gimpel 2016); approximate="tanh" takes their equation with tanh."""
    return _core.gelu(input, approximate=approximate)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return _core.softsign(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _core.logsigmoid(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _core.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """tanh(x)."""
    return _core.tanh(input)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - _core.tanh(input)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, 0 elsewhere."""
    return _core.where((input >= -lambd) & (input <= lambd), creation.zeros_like(input), input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 between."""
    if lambd < 0:
        raise ValueError(f"softshrink: expected lambd to be at least 0, got {lambd}")
    return input - _core.hardtanh(input, -lambd, lambd)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, `value` elsewhere."""
    result = input.masked_fill(input <= threshold, value)
    return input.copy_(result) if inplace else result


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    return input.copy_(input.masked_fill(input <= threshold, value))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, weight * x elsewhere; weight has one element, or one per channel (dim 1)."""
    return _core.prelu(input, weight)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU with slopes from U(lower, upper), drawn per element, in training; their mean otherwise."""
    if training:
        slope = creation.rand(tuple(input.shape), dtype=input.dtype, device=input.device) * (upper - lower) + lower
        result = _core.where(input >= 0, input, input * slope)
    else:
        result = _core.leaky_relu(input.clone() if inplace else input, (lower + upper) / 2)
    return input.copy_(result) if inplace else result


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, inplace=True)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the halves of the input along `dim`."""
    size = input.size(dim)
    if size % 2 != 0:
        raise _core.ShapeError(f"glu: expected an even size in dim {dim}, got {tuple(input.shape)}")
    a, b = input.split(size // 2, dim)
    return a * _core.sigmoid(b)


def _softmax_dim(name: str, input: Tensor, dim: int | None) -> int:
    """What PyTorch takes when `dim` is left out: 0 for 0, 1 and 3 dimensions, else 1."""
    return dim if dim is not None else 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, without overflow."""
    input = input if dtype is None else input.to(dtype)
    return _core.softmax(input, _softmax_dim("softmax", input, dim))


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-x)."""
    return softmax(-input, dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    input = input if dtype is None else input.to(dtype)
    return _core.log_softmax(input, _softmax_dim("log_softmax", input, dim))


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A differentiable sample of a categorical distribution (Jang et al. 2017); hard: one-hot forward."""
    uniform = creation.rand(tuple(logits.shape), dtype=logits.dtype, device=logits.device).clamp(1e-20)
    gumbel = -(-uniform.log()).clamp(1e-20).log()
    soft = _core.softmax((logits + gumbel) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    return creation.zeros_like(soft).scatter(dim, index, 1.0) - soft.detach() + soft


def maxout(input: Tensor, pool_size: int, dim: int = 1) -> Tensor:
    """The maximum over `pool_size` neighbouring channels (Goodfellow et al. 2013): C -> C / pool_size along `dim`."""
    return _core.maxout(input, pool_size, dim)


def crelu(input: Tensor, dim: int = 1) -> Tensor:
    """relu(x) and relu(-x) side by side along `dim` (Shang et al. 2016): C -> 2 C."""
    return _core.crelu(input, dim)
