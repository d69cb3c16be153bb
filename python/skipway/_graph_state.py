"""Which CUDA graph this thread captures, for what has to act again before each of its replays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Action = Callable[[], Any]


class _State(threading.local):
    actions: list[Action] | None = None


_state = _State()


def begin(actions: list[Action]) -> None:
    """From here on, `record` adds to these actions."""
    _state.actions = actions


def end() -> None:
    """The capture is over."""
    _state.actions = None


def capturing() -> bool:
    """Does this thread capture a graph?"""
    return _state.actions is not None


def record(action: Action) -> bool:
    """In a capture, has `action` run before each replay; False where there is none."""
    if _state.actions is None:
        return False
    _state.actions.append(action)
    return True


def refuse(what: str) -> None:
    """A RuntimeError in a capture."""
    if _state.actions is not None:
        raise RuntimeError(f"cuda graph: {what} cannot be captured: take a step before the capture")
