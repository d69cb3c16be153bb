"""Ways to fill a weight before training. All work in place, outside of autograd, and return the tensor.

Glorot and Bengio 2010 is "Understanding the difficulty of training deep feedforward neural networks", He et al. 2015
"Delving deep into rectifiers", whose equation 10 is for relu and 15 for leaky_relu.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core
from .. import _creation as creation
from .._core import Tensor
from ..autograd import no_grad


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights have to grow to make up for a nonlinearity.

    1 for linear, convolutions and sigmoid; 5/3 for tanh; sqrt(2) for relu; sqrt(2 / (1 + slope^2)) for leaky_relu;
    3/4 for selu.
    """
    linear = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    if nonlinearity in linear or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif isinstance(param, (int, float)) and not isinstance(param, bool):
            slope = param
        else:
            raise ValueError(f"calculate_gain: negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"calculate_gain: unsupported nonlinearity {nonlinearity!r}")


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs one output sees, and how many outputs one input reaches; weights are (out, in, *kernel)."""
    if tensor.dim() < 2:
        raise ValueError(f"fan in and fan out need at least 2 dimensions, got shape {tuple(tensor.shape)}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _calculate_correct_fan(tensor: Tensor, mode: str) -> float:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ValueError(f"expected mode 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}")
    fans = _calculate_fan_in_and_fan_out(tensor)
    return sum(fans) / 2 if mode == "fan_avg" else fans[mode == "fan_out"]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """U(a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """N(mean, std^2)."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """N(mean, std^2) conditioned on [a, b], by the inverse of its distribution function (Devroye 1986, II.2)."""

    def cdf(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    low, high = cdf((a - mean) / std), cdf((b - mean) / std)
    with no_grad():
        uniform = creation.empty(tuple(tensor.shape), dtype=_core.float64)
        uniform.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
        values = _core.erfinv(uniform) * (std * math.sqrt(2.0)) + mean
        return tensor.copy_(values.clamp(a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """All `val`."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """All 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """All 0."""
    return constant_(tensor, 0.0)


def _copy_array(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(_core.from_numpy(np.ascontiguousarray(values)))


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix; 2-D only."""
    if tensor.dim() != 2:
        raise ValueError(f"eye_: expected a tensor of 2 dimensions, got {tuple(tensor.shape)}")
    return _copy_array(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The convolution that hands its input channels through unchanged, in each group as many as it can."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError(f"dirac_: expected a tensor of 3, 4 or 5 dimensions, got {tuple(tensor.shape)}")
    out = tensor.shape[0]
    if out % groups != 0:
        raise ValueError(f"dirac_: dim 0 must be divisible by groups, got {out} and {groups}")
    values = np.zeros(tuple(tensor.shape))
    centre = tuple(size // 2 for size in tensor.shape[2:])
    per_group = out // groups
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            where = (group * per_group + channel, channel, *centre)
            values[where] = 1
    return _copy_array(tensor, values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None, *, mode: str = "fan_avg") -> Tensor:
    """U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16).

    `mode`: "fan_avg"; "fan_in" or "fan_out" take that fan for both, which equations 10 and 11 ask for one by one.
    """
    bound = gain * math.sqrt(3.0 / _calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None, *, mode: str = "fan_avg") -> Tensor:
    """N(0, std^2) with std = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 12).

    `mode`: "fan_avg"; "fan_in" or "fan_out" take that fan for both, which equations 10 and 11 ask for one by one.
    """
    std = gain * math.sqrt(1.0 / _calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def average_normal_(tensor: Tensor, factor: float = 2.0, generator: Any = None) -> Tensor:
    """N(0, factor / (n_l + n_(l+1))), n_l being the fan in and n_(l+1) the fan out.

    Factor 2 (Glorot and Bengio 2010, equation 12) keeps the signal of a linear layer, 4 makes up for a ReLU, which
    halves it (He et al. 2015, with the mean of the fans of equations 10 and 14).
    """
    if not factor > 0:
        raise ValueError(f"average_normal_: expected factor to be greater than 0, got {factor}")
    return normal_(tensor, 0.0, math.sqrt(factor / sum(_calculate_fan_in_and_fan_out(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """U(-b, b) with b = gain * sqrt(3 / fan) (He et al. 2015, equations 10 and 15); `a` is the slope of leaky_relu.

    `mode`: "fan_in" keeps the signal forward, "fan_out" the gradient backward, "fan_avg" is between.
    """
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan) (He et al. 2015, equations 10 and 15); `a` is the slope of leaky_relu.

    `mode`: "fan_in" keeps the signal forward, "fan_out" the gradient backward, "fan_avg" is between.
    """
    if 0 in tensor.shape:
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Orthonormal rows or columns of a (out, rest) matrix, as which the weight is seen, times gain (Saxe et al. 2014,
    section 3)."""
    if tensor.dim() < 2:
        raise ValueError(f"orthogonal_: expected at least 2 dimensions, got {tuple(tensor.shape)}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    draws = creation.empty((rows, columns), dtype=_core.float64)
    flat = normal_(draws, generator=generator).numpy()
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    q = q * np.sign(np.diag(r))
    return _copy_array(tensor, gain * (q.T if rows < columns else q).reshape(tuple(tensor.shape)))


def looks_linear_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """[W, -W] along the inputs (dim 1), with an orthogonal W (Balduzzi et al. 2017, section 4).

    Behind a `CReLU`, W relu(x) - W relu(-x) = W x: the network begins as a linear one. A weight with more than two
    dimensions has orthonormal rows or columns as `orthogonal_` gives it.
    """
    if tensor.dim() < 2 or tensor.shape[1] % 2 != 0:
        got = tuple(tensor.shape)
        raise ValueError(
            f"looks_linear_: expected at least 2 dimensions, and an even number of inputs (dim 1), got {got}"
        )
    out, inputs, *window = tensor.shape
    half = orthogonal_(creation.empty((out, inputs // 2, *window), dtype=_core.float64), gain, generator).numpy()
    return _copy_array(tensor, np.concatenate([half, -half], axis=1))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """N(0, std^2) with a fraction `sparsity` of each column set to 0; 2-D only (Martens 2010, section 5)."""
    if tensor.dim() != 2:
        raise ValueError(f"sparse_: expected a tensor of 2 dimensions, got {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0.0, std, generator)
    values = tensor.detach().cpu().numpy().copy()
    for column in range(columns):
        values[_core.randperm(rows, generator=generator).numpy()[:zeros], column] = 0
    return _copy_array(tensor, values)


def _former(name: str, new: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def old(*args: Any, **kwargs: Any) -> Tensor:
        return new(*args, **kwargs)

    old.__name__ = old.__qualname__ = name
    old.__doc__ = f"The former name of `{new.__name__}`."
    return old


uniform = _former("uniform", uniform_)
normal = _former("normal", normal_)
constant = _former("constant", constant_)
eye = _former("eye", eye_)
dirac = _former("dirac", dirac_)
xavier_uniform = _former("xavier_uniform", xavier_uniform_)
xavier_normal = _former("xavier_normal", xavier_normal_)
kaiming_uniform = _former("kaiming_uniform", kaiming_uniform_)
kaiming_normal = _former("kaiming_normal", kaiming_normal_)
orthogonal = _former("orthogonal", orthogonal_)
sparse = _former("sparse", sparse_)

from ._init_networks import InitReport, LayerGain, apply, gains, lsuv_, zero_gamma_  # noqa: E402, F401 (they use the above)
