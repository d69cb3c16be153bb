"""One row per op: reference, samples, bad inputs. tests/test_ops.py runs every row on every instruction set and
type."""

from . import (
    activations,
    convolutions,
    elementwise,
    indexing,
    linear,
    losses,
    normalization,
    pooling,
    reductions,
    shapes,
)
from .case import Bad, Input, OpCase, Sample, round_to

FAMILIES = (
    activations,
    convolutions,
    elementwise,
    indexing,
    linear,
    losses,
    normalization,
    pooling,
    reductions,
    shapes,
)
CASES: list[OpCase] = [case for family in FAMILIES for case in family.CASES]

__all__ = ["CASES", "Bad", "Input", "OpCase", "Sample", "round_to"]
