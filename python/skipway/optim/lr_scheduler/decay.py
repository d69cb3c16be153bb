"""Schedules given by a formula of the epoch t."""

from __future__ import annotations

import math
import types
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, per_group

Lambda = Callable[[int], float]


class LambdaLR(LRScheduler):
    """lr = base * lr_lambda(t); one function for all groups, or a list with one each."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Lambda | list[Lambda], last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Any] = per_group("lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=False)]

    def state_dict(self) -> dict[str, Any]:
        """As `LRScheduler.state_dict`; of the functions, only callable objects keep their attributes."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(f, (types.FunctionType, types.BuiltinFunctionType)) else dict(f.__dict__)
            for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned; functions stay as they are."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, state in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=False):
            if state is not None:
                f.__dict__.update(state)


class MultiplicativeLR(LambdaLR):
    """lr = lr * lr_lambda(t)."""

    def get_lr(self) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return (
            rates
            if self._is_initial
            else [lr * f(self.last_epoch) for lr, f in zip(rates, self.lr_lambdas, strict=False)]
        )


class StepLR(LRScheduler):
    """lr = base * gamma^(t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        stays = self.last_epoch == 0 or self.last_epoch % self.step_size != 0
        return group["lr"] if stays else group["lr"] * self.gamma

    def _closed_form(self, base_lr: float) -> float:
        return base_lr * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base * gamma^(number of milestones reached)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        if self.last_epoch not in self.milestones:
            return group["lr"]
        return group["lr"] * self.gamma ** self.milestones[self.last_epoch]

    def _closed_form(self, base_lr: float) -> float:
        return base_lr * self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned, also from a file, where milestones may have become strings."""
        super().load_state_dict(state_dict)
        self.milestones = Counter({int(k): v for k, v in dict(self.milestones).items()})


class ConstantLR(LRScheduler):
    """lr = base * factor before epoch total_iters, base from then on."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"Constant multiplicative factor expected to be between 0 and 1, got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.factor
        return group["lr"] if self.last_epoch != self.total_iters else group["lr"] * (1.0 / self.factor)

    def _closed_form(self, base_lr: float) -> float:
        return base_lr * (self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor))


class LinearLR(LRScheduler):
    """lr = base * factor, which goes from start_factor to end_factor in total_iters epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(
                f"Starting multiplicative factor expected to be greater than 0 and at most 1, got {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1, got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return group["lr"]
        rise = self.end_factor - self.start_factor
        return group["lr"] * (1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))

    def _closed_form(self, base_lr: float) -> float:
        rise = self.end_factor - self.start_factor
        return base_lr * (self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters)


class ExponentialLR(LRScheduler):
    """lr = base * gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        return group["lr"] if self._is_initial else group["lr"] * self.gamma

    def _closed_form(self, base_lr: float) -> float:
        return base_lr * self.gamma**self.last_epoch


class PolynomialLR(LRScheduler):
    """lr = base * (1 - t / total_iters)^power, 0 from epoch total_iters on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        if self._is_initial or self.last_epoch > self.total_iters:
            return group["lr"]
        now = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return group["lr"] * (now / before) ** self.power

    def _closed_form(self, base_lr: float) -> float:
        return base_lr * (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov and Hutter 2017, eq. 5, no restarts)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _lr(self, group: dict[str, Any], base_lr: float) -> float:
        t, period = self.last_epoch, self.T_max
        if self._is_initial:
            return group["lr"]
        if self._step_count == 1 and t > 0:
            return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(t * math.pi / period)) / 2
        if (t - 1 - period) % (2 * period) == 0:  # the rate was eta_min, from which no ratio leads away
            return group["lr"] + (base_lr - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (group["lr"] - self.eta_min) + self.eta_min

    def _closed_form(self, base_lr: float) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
