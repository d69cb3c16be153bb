"""One row per op: reference, samples, bad inputs. tests/test_ops.py runs every row on every instruction set and
type."""

from . import (
    activations,
    convolutions,
    elementwise,
    indexing,
    linear,
    losses,
    more,
    normalization,
    pooling,
    reductions,
    shapes,
)
from .bad_inputs import BAD
from .case import Bad, Input, OpCase, Sample, round_to
from .more_bad_inputs import BAD as MORE_BAD

FAMILIES = (
    activations,
    convolutions,
    elementwise,
    indexing,
    linear,
    losses,
    more,
    normalization,
    pooling,
    reductions,
    shapes,
)
CASES: list[OpCase] = [case for family in FAMILIES for case in family.CASES]
for _case in CASES:
    _case.errors += BAD.get(_case.name, []) + MORE_BAD.get(_case.name, [])
if _unknown := (BAD.keys() | MORE_BAD.keys()) - {case.name for case in CASES}:
    raise ValueError(f"bad inputs of rows that do not exist: {sorted(_unknown)}")

__all__ = ["CASES", "Bad", "Input", "OpCase", "Sample", "round_to"]
