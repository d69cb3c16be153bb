"""Rectifiers as layers: activations that pass what is positive and damp the rest; see `activation` for the others."""

from __future__ import annotations

from typing import Any

from ... import _creation as creation
from ..._core import Tensor
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ._checks import expect_number, expect_whole
from .module import Module


def _inplace_repr(inplace: bool, first: bool = False) -> str:
    return ("inplace=True" if first else ", inplace=True") if inplace else ""


class _Inplace(Module):
    """An activation whose only argument is `inplace`."""

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return _inplace_repr(self.inplace, first=True)


class ReLU(_Inplace):
    """max(x, 0) (Nair and Hinton 2010)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)


class Hardtanh(Module):
    """x clamped to [min_val, max_val]."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        expect_number(self, min_val=self.min_val, max_val=self.max_val)
        if not self.min_val < self.max_val:
            raise ValueError(
                f"{type(self).__name__}: expected min_val < max_val, got {self.min_val} and {self.max_val}"
            )

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}{_inplace_repr(self.inplace)}"


class ReLU6(Hardtanh):
    """min(max(x, 0), 6) (Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10")."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input, self.inplace)

    def extra_repr(self) -> str:
        return _inplace_repr(self.inplace, first=True)


class LeakyReLU(Module):
    """x where x > 0, negative_slope * x elsewhere (Maas et al. 2013)."""

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        expect_number(self, negative_slope=negative_slope)
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}{_inplace_repr(self.inplace)}"


class _Alpha(Module):
    """An activation with `alpha` and `inplace`."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        expect_number(self, alpha=alpha)
        self.alpha = alpha
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}{_inplace_repr(self.inplace)}"


class ELU(_Alpha):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2016)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)


class CELU(_Alpha):
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)


class SELU(_Inplace):
    """scale * (x if x > 0 else alpha * (exp(x) - 1)), self-normalizing (Klambauer et al. 2017, equation 2)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class PReLU(Module):
    """x where x > 0, weight * x elsewhere; one learned weight, or one per channel (He et al. 2015, equation 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        expect_whole(self, 0, num_parameters=num_parameters)
        expect_number(self, init=init)
        self.num_parameters = num_parameters
        self.init = init
        self.weight: Any = Parameter(creation.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All weights are `init`."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """Leaky ReLU whose slope is drawn from U(lower, upper) in training, their mean in evaluation (Xu et al. 2015)."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        expect_number(self, lower=lower, upper=upper)
        if not lower <= upper:
            raise ValueError(f"RReLU: expected lower <= upper, got {lower} and {upper}")
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}{_inplace_repr(self.inplace)}"


class Threshold(Module):
    """x where x > threshold, `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        expect_number(self, threshold=threshold, value=value)
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}{_inplace_repr(self.inplace)}"


class CReLU(Module):
    """Beyond PyTorch: relu(x) and relu(-x) side by side along `dim` (Shang et al. 2016, definition 2.1)."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        expect_whole(self, None, dim=dim)
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.crelu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Maxout(Module):
    """Beyond PyTorch: the maximum over `pool_size` neighbouring channels (Goodfellow et al. 2013, section 3)."""

    def __init__(self, pool_size: int, dim: int = 1) -> None:
        super().__init__()
        expect_whole(self, 1, pool_size=pool_size)
        self.pool_size = pool_size
        expect_whole(self, None, dim=dim)
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.maxout(input, self.pool_size, self.dim)

    def extra_repr(self) -> str:
        return f"pool_size={self.pool_size}, dim={self.dim}"
