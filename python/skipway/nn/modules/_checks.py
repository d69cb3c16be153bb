"""Checks of what constructors of layers are given: every message names layer, argument, expectation and value."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


def _name(layer: Any) -> str:
    return layer if isinstance(layer, str) else type(layer).__name__


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    if isinstance(value, (str, bytes)):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _entries(value: Any) -> tuple[Any, ...]:
    scalar = (
        isinstance(value, (str, bytes, dict, set)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    )
    return (value,) if scalar else tuple(value)


def _expect_integer(layer: Any, least: int | None, name: str, entry: Any, wanted: str, value: Any) -> None:
    if not _is_whole(entry):
        raise TypeError(f"{_name(layer)}: expected {name} to be {wanted}, got {value!r:.80}")
    if not -(2**63) <= operator.index(entry) < 2**63:
        raise ValueError(f"{_name(layer)}: expected {name} to fit into 64 bits, got {value!r}")
    if least is not None and entry < least:
        raise ValueError(f"{_name(layer)}: expected {name} to be at least {least}, got {value!r}")


def expect_whole(layer: Any, least: int | None, optional: bool = False, **arguments: Any) -> None:
    """Each argument is an integer of at least `least`; `optional` lets None pass.

    Raises TypeError for anything else and ValueError for what is too small.
    """
    for name, value in arguments.items():
        if not (value is None and optional):
            _expect_integer(layer, least, name, value, "an integer", value)


def expect_sizes(layer: Any, least: int | None, optional: bool = False, **arguments: Any) -> None:
    """Each argument is an integer or a sequence of integers, as `expect_whole` wants them; `optional`: or of None."""
    for name, value in arguments.items():
        for entry in _entries(value):
            if not (entry is None and optional):
                _expect_integer(layer, least, name, entry, "an integer or integers", value)


def expect_count(layer: Any, count: int, **arguments: Any) -> None:
    """ValueError unless each argument is one value or `count` values."""
    for name, value in arguments.items():
        if isinstance(value, Iterable) and not isinstance(value, str) and len(_entries(value)) != count:
            raise ValueError(f"{_name(layer)}: expected {name} to be a number or {count} numbers, got {value!r}")


def expect_divisible(layer: Any, by: str, divisor: int, **arguments: int) -> None:
    """Each argument is a multiple of `divisor`, the argument that is called `by`."""
    for name, value in arguments.items():
        if value % divisor != 0:
            raise ValueError(f"{_name(layer)}: {name} must be divisible by {by}, got {value} and {divisor}")


def expect_number(
    layer: Any,
    optional: bool = False,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    **arguments: Any,
) -> None:
    """Each argument is a number, within [least, most] and greater than `above` where these are given."""
    for name, value in arguments.items():
        if value is None and optional:
            continue
        if not _is_number(value):
            raise TypeError(f"{_name(layer)}: expected {name} to be a number, got {value!r}")
        if least is not None and most is not None:
            fits, wanted = least <= value <= most, f"between {least} and {most}"
        elif least is not None:
            fits, wanted = value >= least, f"to be at least {least}"
        else:
            fits, wanted = above is None or value > above, f"to be greater than {above}"
        if not fits:
            raise ValueError(f"{_name(layer)}: expected {name} {wanted}, got {value}")


def expect_option(layer: Any, options: Iterable[str], **arguments: Any) -> None:
    """Each argument is one of some strings."""
    allowed = list(options)
    for name, value in arguments.items():
        if value not in allowed:
            wanted = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
            raise ValueError(f"{_name(layer)}: expected {name} to be {wanted}, got {value!r}")


def expect_a(layer: Any, kind: Any, wanted: str, optional: bool = False, **arguments: Any) -> None:
    """Each argument is an instance of `kind`, which the message calls `wanted`."""
    for name, value in arguments.items():
        if not isinstance(value, kind) and not (optional and value is None):
            raise TypeError(f"{_name(layer)}: expected {name} to be {wanted}, got {value!r}")
