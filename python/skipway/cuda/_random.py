"""Seeding: all devices share the CPU's default generator, so that the same seed gives the same numbers everywhere."""

from __future__ import annotations

from typing import Any

from .. import _core


def manual_seed(seed: int) -> None:
    """Seeds the default generator, which all devices share."""
    _core.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seeds the default generator, which all devices share."""
    _core.manual_seed(seed)


def seed() -> None:
    """Seeds the default generator from the system's entropy."""
    _core.seed()


def seed_all() -> None:
    """Seeds the default generator from the system's entropy."""
    _core.seed()


def initial_seed() -> int:
    """The seed of the default generator, which all devices share."""
    return _core.initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of the default generator, which all devices share."""
    return _core.get_rng_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Sets the state of the default generator, which all devices share."""
    _core.set_rng_state(new_state)
