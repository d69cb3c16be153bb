"""Multinomial: how often each of K classes comes up."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .. import _creation as creation
from .._core import Tensor
from ..autograd import no_grad
from .categorical import Categorical
from .distribution import Distribution


class Multinomial(Distribution):
    """Counts of the classes in `total_count` draws of `Categorical(probs, logits)`."""

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int) or total_count < 0:
            raise ValueError(f"Multinomial: expected total_count to be an integer of at least 0, got {total_count}")
        self.total_count = total_count
        self._class = Categorical(probs, logits)
        self.probs, self.logits = self._class.probs, self._class.logits
        self.batch_shape = self._class.batch_shape

    @property
    def mean(self) -> Tensor:
        """total_count * p."""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """total_count * p (1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            extra = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
            draws = self._class.sample((self.total_count, *extra))
            return _core.one_hot(draws, self.probs.shape[-1]).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        counts = value.detach().reshape(-1, value.shape[-1]).tolist()
        ways = [math.lgamma(sum(row) + 1) - sum(math.lgamma(n + 1) for n in row) for row in counts]
        arrangements = creation.tensor(ways, dtype=self.logits.dtype).reshape(tuple(value.shape[:-1]))
        return arrangements + (value * self.logits).sum(-1)
