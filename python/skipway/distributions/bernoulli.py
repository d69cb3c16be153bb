"""Bernoulli: 1 with probability p, else 0."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor
from ..autograd import no_grad
from ..nn.functional import binary_cross_entropy_with_logits
from .distribution import Distribution, as_parameters


class Bernoulli(Distribution):
    """1 with probability `probs` (or sigmoid(`logits`)), else 0."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Bernoulli: expected one of probs and logits")
        if probs is not None:
            (self.probs,) = as_parameters(probs)
            if not bool(((self.probs >= 0) & (self.probs <= 1)).all()):
                raise ValueError("Bernoulli: expected probs between 0 and 1")
            self.logits = _core.logit(self.probs, 1e-7)
        else:
            (self.logits,) = as_parameters(logits)
            self.probs = _core.sigmoid(self.logits)
        self.batch_shape = tuple(self.probs.shape)

    @property
    def mean(self) -> Tensor:
        """p."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return _core.bernoulli(self.probs.expand(self._shape(sample_shape)).contiguous())

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = _core.broadcast_tensors(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
