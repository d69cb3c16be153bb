"""Uniform."""

from __future__ import annotations

from typing import Any

from .. import _core
from .. import _creation as creation
from .._core import Tensor
from .distribution import Distribution, as_parameters


class Uniform(Distribution):
    """U(low, high)."""

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = as_parameters(low, high)
        if not bool((self.low < self.high).all()):
            raise ValueError("Uniform: expected low < high")
        self.batch_shape = tuple(self.low.shape)

    @property
    def mean(self) -> Tensor:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Tensor:
        """(high - low)^2 / 12."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.low + (self.high - self.low) * creation.rand(self._shape(sample_shape), dtype=self.low.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value >= self.low) & (value < self.high)
        density = -(self.high - self.low).log() + creation.zeros_like(value)
        return _core.where(inside, density, float("-inf"))

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()
