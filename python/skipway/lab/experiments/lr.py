"""A learning-rate range test, and training at what it suggests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import skipway as sw
from skipway import nn, optim

from .._frame import Bench, experiment, floats
from .._learn import sgd, smooth, train


def range_test(
    model: nn.Module,
    optimizer: optim.Optimizer,
    x: Any,
    y: Any,
    low: float,
    high: float,
    steps: int,
    batch: int,
    rng: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Rates rising from `low` to `high` by one factor per step, and the loss at each; NaN after it has blown up."""
    rates = np.geomspace(low, high, steps)

    def use(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = float(rates[min(step + 1, steps - 1)])

    use(-1)
    return rates, np.array(train(model, x, y, optimizer, steps, batch, rng, use))


def suggestion(rates: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    """The rate at which the smoothed loss falls fastest, and that at which it has blown up (twice its least value)."""
    window = max(9, len(losses) // 15)
    curve = smooth(list(losses), window)  # the mean of the steps before: half a window late
    known = np.isfinite(curve)
    least = int(np.nanargmin(curve))
    worse = np.flatnonzero((np.arange(len(curve)) > least) & (~known | (curve > 2 * curve[least] + 0.5)))
    blown = float(rates[worse[0]]) if len(worse) else float(rates[-1])
    falls = curve[2 * window : least + 1] - curve[window : max(window, least + 1 - window)]
    at = window + int(np.argmin(falls)) if len(falls) else least
    return float(rates[at]), blown


def _mlp(inputs: int, classes: int) -> nn.Sequential:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes)
    )
    nn.init.apply(model, "kaiming_normal")
    return model


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """A network trained while its learning rate grows exponentially: the loss falls, is least and then blows up (Smith
    2017, section 3.3). The rate of the steepest fall is then compared with others in training from the start.
    """
    steps, budget = bench.pick((300, 600), (150, 150))
    images = bench.images()
    inputs, classes = images.x[0].numel(), len(images.classes)

    def fresh() -> nn.Module:
        sw.manual_seed(bench.seed)
        return _mlp(inputs, classes).to(bench.device)

    model = fresh()
    rng = np.random.default_rng(bench.seed)
    rates, losses = range_test(model, sgd(model, 1e-4, 0.0), images.x, images.y, 1e-4, 30.0, steps, 64, rng)
    best, blown = suggestion(rates, losses)
    courses: dict[str, Any] = {}
    for name, rate in bench.bar(
        {"suggested / 100": best / 100, "suggested": best, "blown up": blown, "blown up x 3": 3 * blown}.items(),
        "training",
    ):
        model = fresh()
        run = train(model, images.x, images.y, sgd(model, rate, 0.0), budget, 64, np.random.default_rng(bench.seed))
        curve = smooth(run, 10)
        courses[name] = {"rate": rate, "losses": curve, "final": float(curve[-1])}
    ends = {n: c["final"] if math.isfinite(c["final"]) else math.inf for n, c in courses.items()}
    chosen = ends["suggested"]
    holds = chosen < 0.7 * ends["suggested / 100"] and chosen < 0.7 * ends["blown up x 3"] and 1e-3 < best < blown

    def said(name: str) -> str:
        return f"{ends[name]:.2g}" if math.isfinite(ends[name]) else "not a number"

    sentence = (
        f"in {steps} steps of rising learning rate the loss falls fastest at {best:.2g} and has blown up at"
        f" {blown:.2g}; after {budget} steps from the start the loss is {said('suggested')} at {best:.2g},"
        f" {said('suggested / 100')} at a hundredth of it, {said('blown up')} at {blown:.2g} and"
        f" {said('blown up x 3')} at three times that"
    )
    numbers = {"rates": rates, "losses": losses, "smooth": smooth(list(losses), 9), "best": best, "blown": blown}
    return sentence, holds, {**numbers, "courses": courses}


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    left.plot(data["rates"], floats(data["losses"]), color="lightgrey", label="loss")
    left.plot(data["rates"], floats(data["smooth"]), color="C0", label="mean of 9 steps")
    for rate, color, name in ((data["best"], "C2", "steepest fall"), (data["blown"], "C3", "blown up")):
        left.axvline(rate, color=color, ls="--", label=f"{name}: {rate:.2g}")
    left.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 4), title="range test")
    for name, course in data["courses"].items():
        right.plot(floats(course["losses"]), label=f"{name}: {course['rate']:.2g}")
    right.set(xlabel="step", ylabel="training loss", ylim=(0, 3.5), title="training from the start")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


lr = experiment("lr", measure, draw, size=(11, 3.8), data=("digits", "mnist5k", "mnist", "fashion-mnist"))
