"""Python's multiprocessing; tensors travel by value."""

from multiprocessing import *  # noqa: F403
from typing import Any as _Any


def set_sharing_strategy(new_strategy: _Any) -> None:
    """Accepted: tensors travel by value."""
