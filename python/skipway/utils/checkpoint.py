"""Activation checkpointing. Functions are called as they are: activations are kept, nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Returns function(*args, **kwargs); the result and the gradients are those of a checkpointed call."""
    for option in ("preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"):
        kwargs.pop(option, None)
    return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Calls the modules one after another."""
    for function in functions.children() if hasattr(functions, "children") else functions:
        input = function(input)
    return input
