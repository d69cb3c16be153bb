"""What distributions have in common."""

from __future__ import annotations

from typing import Any

from .. import _creation as creation
from .._core import Tensor
from ..autograd import no_grad


def as_parameters(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape."""
    from .. import _core

    tensors = [v if isinstance(v, Tensor) else creation.tensor(float(v)) for v in values]
    return tuple(_core.broadcast_tensors(*tensors))


class Distribution:
    """A distribution of one number for each element of its parameters."""

    batch_shape: tuple[int, ...] = ()

    def _shape(self, sample_shape: Any) -> tuple[int, ...]:
        extra = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
        return extra + tuple(self.batch_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that are differentiable in the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no differentiable draws")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of shape sample_shape + the parameters' shape; no gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability (density) of `value`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        raise NotImplementedError
