"""Categorical: one of K classes."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._core import Tensor
from ..autograd import no_grad
from .distribution import Distribution


class Categorical(Distribution):
    """Class k with probability proportional to `probs[..., k]`, or to exp(`logits[..., k]`)."""

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Categorical: expected one of probs and logits")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = self.probs.clamp(min=1e-7, max=1 - 1e-7).log()
        else:
            assert logits is not None
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = self.logits.exp()
        self.batch_shape = tuple(self.probs.shape[:-1])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            shape = self._shape(sample_shape)
            rows = self.probs.expand((*shape, self.probs.shape[-1])).reshape(math.prod(shape), -1)
            return _core.multinomial(rows, 1, True).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        index = value.long().unsqueeze(-1)
        rows: Any = _core.broadcast_shapes(tuple(index.shape[:-1]), self.batch_shape)
        shape = (*rows, self.logits.shape[-1])
        return self.logits.expand(shape).gather(-1, index.expand((*shape[:-1], 1))).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.logits * self.probs).sum(-1)
