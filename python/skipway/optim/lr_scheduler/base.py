"""What schedules have in common."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ... import _graph_state
from ..optimizer import Optimizer


def in_each_replay(step: Callable[..., None]) -> Callable[..., None]:
    """A schedule's step that is part of a captured CUDA graph happens before each replay instead of in the capture."""

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if not _graph_state.record(functools.partial(wrapper, self, *args, **kwargs)):
            step(self, *args, **kwargs)

    return wrapper


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value per parameter group, from one for all or a list."""
    groups = len(optimizer.param_groups)
    if isinstance(value, (list, tuple)):
        if len(value) != groups:
            raise ValueError(f"{name} must have the same length as optimizer.param_groups: {groups}, got {len(value)}")
        return list(value)
    return [value] * groups


class LRScheduler:
    """Sets the learning rate of each parameter group, epoch by epoch.

    A schedule defines `_lr(group, base_lr)`, the rate of `last_epoch` from that of the epoch before (so that schedules
    can be chained), or overrides `get_lr`.
    """

    _is_initial = False
    _closed_form: Any = None

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming with last_epoch >= 0; "
                    "load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """All that the schedule knows, but for the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[float]:
        """The rates set last, one per group."""
        return self._last_lr

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rates of `last_epoch`, one per group."""
        return [self._lr(group, base) for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False)]

    @in_each_replay
    def step(self, epoch: Any = None) -> None:
        """Goes on to the next epoch."""
        skipped = type(self.optimizer).step is Optimizer.step and not self.optimizer._opt_called
        if self._step_count == 1 and skipped:
            warnings.warn(
                "lr_scheduler.step() was called before optimizer.step(), so the first learning rate is never used; "
                "call them the other way round",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: Any = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            closed = self._closed_form
            values = self.get_lr() if closed is None else [closed(base) for base in self.base_lrs]
        self._set(values)

    def _set(self, values: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=False):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class _LRScheduler(LRScheduler):
    """The former name of `LRScheduler`."""
