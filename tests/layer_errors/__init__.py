"""Tables of bad input: for every layer of `skipway.nn`, calls and options that must fail, and what they must say."""

from . import activations, convolutions, losses, normalizations, others, pooling, residual
from .case import Bad, Given, Row

FAMILIES = (activations, convolutions, losses, normalizations, others, pooling, residual)
ROWS: dict[str, Row] = {name: row for family in FAMILIES for name, row in family.ROWS.items()}

__all__ = ["FAMILIES", "ROWS", "Bad", "Given", "Row"]
