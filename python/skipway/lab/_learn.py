"""Training in a few lines, as the experiments need it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import skipway as sw
import skipway.nn.functional as F
from skipway import nn, optim


def sgd(model: nn.Module, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> optim.SGD:
    return optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)


def shuffled(rng: np.random.Generator, n: int, size: int) -> Iterator[Any]:
    """Indices of full batches, pass after pass, without an end."""
    size = min(size, n)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - size + 1, size):
            yield sw.from_numpy(order[start : start + size].copy())


def train(
    model: nn.Module,
    x: Any,
    y: Any,
    optimizer: Any,
    steps: int,
    batch: int,
    rng: np.random.Generator,
    each: Callable[[int], Any] | None = None,
    clip: float | None = None,
) -> list[float]:
    """Losses of `steps` steps of cross entropy; `each(step)` runs after each. A loss that is not finite ends it: the
    rest is NaN. Gradients of a norm above `clip` are shortened to it."""
    losses: list[float] = []
    model.train()
    batches = shuffled(rng, len(x), batch)
    for step in range(steps):
        rows = next(batches).to(x.device)
        loss = F.cross_entropy(model(x[rows]), y[rows])
        losses.append(float(loss.item()))
        if not math.isfinite(losses[-1]):
            return losses[:-1] + [math.nan] * (steps - step)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if each is not None:
            each(step)
    return losses


def falling(optimizer: Any, steps: int, then: Callable[[int], Any] | None = None) -> Callable[[int], Any]:
    """For `each` of `train`: the rate falls linearly to 0, and `then(step)` runs."""
    rates = [group["lr"] for group in optimizer.param_groups]

    def each(step: int) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - (step + 1) / steps)
        if then is not None:
            then(step)

    return each


def evaluate(model: nn.Module, x: Any, y: Any, batch: int = 512, training: bool = False) -> tuple[float, float]:
    """Mean cross entropy and accuracy, with running statistics; with those of each batch if `training`."""
    modes = [(m, m.training) for m in model.modules()]
    model.train(training)
    loss, right = 0.0, 0
    with sw.no_grad():
        for start in range(0, len(x), batch):
            out, target = model(x[start : start + batch]), y[start : start + batch]
            loss += float(F.cross_entropy(out, target, reduction="sum").item())
            right += int((out.argmax(1) == target).sum().item())
    for m, mode in modes:
        m.training = mode
    return loss / len(x), right / len(x)


def smooth(losses: list[float], window: int = 10) -> np.ndarray:
    """Means of `window` losses up to each step."""
    values = np.array(losses, dtype=np.float64)
    return np.array([values[max(0, i + 1 - window) : i + 1].mean() for i in range(len(values))])
