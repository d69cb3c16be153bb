"""Sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

from ... import _core
from ..._core import Tensor


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stacks (L_i, ...) sequences as (L, N, ...), or (N, L, ...), L being the longest; short ones are padded."""
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        missing = longest - s.shape[0]
        sides = (0, missing) if padding_side == "right" else (missing, 0)
        padded.append(_core.pad(s, (0, 0) * (s.dim() - 1) + sides, "constant", padding_value))
    return _core.stack(padded, 0 if batch_first else 1)
