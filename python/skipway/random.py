"""The default generator of random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from . import _core
from ._core import get_rng_state as get_rng_state
from ._core import initial_seed as initial_seed
from ._core import manual_seed as manual_seed
from ._core import seed as seed
from ._core import set_rng_state as set_rng_state

default_generator = _core.default_generator


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **options: Any) -> Iterator[None]:
    """Restores the default generator's state at the end of the block."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)
