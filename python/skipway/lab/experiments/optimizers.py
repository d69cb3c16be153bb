"""SGD, momentum, Nesterov, RMSprop and Adam in one valley and on one network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import skipway as sw
from skipway import nn, optim

from .._frame import Bench, experiment, floats
from .._learn import evaluate, smooth, train

FLAT, STEEP = 0.01, 1.0
START = (-8.0, 3.0)
TURN = math.radians(25)


def _quadratic() -> np.ndarray:
    """The matrix A of f(p) = p^T A p / 2, with curvatures FLAT and STEEP along turned axes."""
    c, s = math.cos(TURN), math.sin(TURN)
    axes = np.array([[c, -s], [s, c]])
    return axes @ np.diag([FLAT, STEEP]) @ axes.T


def valley_optimizers() -> dict[str, Callable[[Any], Any]]:
    """The best constants for a quadratic where there is theory (Polyak 1964; Nesterov 2004, section 2.2)."""
    root = math.sqrt(STEEP / FLAT)
    heavy = 4 / (math.sqrt(STEEP) + math.sqrt(FLAT)) ** 2
    return {
        "SGD": lambda p: optim.SGD(p, lr=2 / (STEEP + FLAT)),
        "momentum": lambda p: optim.SGD(p, lr=heavy, momentum=((root - 1) / (root + 1)) ** 2),
        "Nesterov": lambda p: optim.SGD(p, lr=1 / STEEP, momentum=(root - 1) / (root + 1), nesterov=True),
        "RMSprop": lambda p: optim.RMSprop(p, lr=0.05),
        "Adam": lambda p: optim.Adam(p, lr=0.3),
    }


def descend(make: Callable[[Any], Any], steps: int, device: Any = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """The path and the values of f along it."""
    matrix = sw.from_numpy(_quadratic()).to(device)
    point = sw.tensor(START, dtype=sw.float64).to(device).requires_grad_()
    optimizer = make([point])
    path, values = [], []
    for _ in range(steps):
        value = (point * matrix.matmul(point)).sum() * 0.5
        path.append(point.detach().cpu().numpy().copy())
        values.append(float(value.item()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return np.array(path), np.array(values)


NETWORK: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "SGD": (lambda p, lr: optim.SGD(p, lr=lr), (0.03, 0.1, 0.3)),
    "momentum": (lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9), (0.01, 0.03, 0.1)),
    "Nesterov": (lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True), (0.01, 0.03, 0.1)),
    "RMSprop": (lambda p, lr: optim.RMSprop(p, lr=lr), (0.0003, 0.001, 0.003)),
    "Adam": (lambda p, lr: optim.Adam(p, lr=lr), (0.001, 0.003, 0.01)),
}


def _cnn(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """The paths of five optimizers in a valley a hundred times as steep across as along, and the loss of a small
    convolutional network with each, at the best of three rates.

    With condition number k gradient descent needs some k/4 ln(1/e) steps to reduce f by e, with momentum some
    sqrt(k)/4 ln(1/e) (Polyak 1964; Goh 2017). RMSprop and Adam (Kingma and Ba 2015) scale each coordinate, which a
    turned valley makes less useful; at a fixed rate they end by circling the minimum.
    """
    steps = 600
    paths: dict[str, Any] = {}
    for name, make in valley_optimizers().items():
        path, values = descend(make, steps, bench.device)
        small = np.flatnonzero(values < 1e-6 * values[0])
        reached = int(small[0]) if len(small) else None
        paths[name] = {"path": path[:60], "values": values, "steps_to_1e-6": reached}
    images = bench.images()
    budget, rates = bench.pick((400, 3), (60, 1))
    courses: dict[str, Any] = {}
    cases = [(n, r) for n, (_, all_rates) in NETWORK.items() for r in (all_rates if rates == 3 else all_rates[1:2])]
    for name, rate in bench.bar(cases, "networks"):
        sw.manual_seed(bench.seed)
        model = _cnn(images.channels, len(images.classes)).to(bench.device)
        optimizer = NETWORK[name][0](model.parameters(), rate)
        curve = smooth(train(model, images.x, images.y, optimizer, budget, 64, np.random.default_rng(bench.seed)), 20)
        if name not in courses or curve[-1] < courses[name]["losses"][-1]:
            accuracy = evaluate(model, images.test_x, images.test_y)[1]
            courses[name] = {"rate": rate, "losses": curve, "test_accuracy": accuracy}
    need = {name: p["steps_to_1e-6"] for name, p in paths.items()}
    end = {name: float(c["losses"][-1]) for name, c in courses.items()}
    plain, heavy, nesterov = (need[n] or steps for n in ("SGD", "momentum", "Nesterov"))
    told = ", ".join(f"{value:.3f} ({n} at {courses[n]['rate']:g})" for n, value in end.items())
    faster = plain > 3 * heavy and plain > 3 * nesterov
    holds = faster and max(end["momentum"], end["Nesterov"]) < end["SGD"]
    sentence = (
        f"in a valley of condition number {STEEP / FLAT:.0f} SGD needs {plain} steps to a millionth of the first value,"
        f" momentum {heavy}, Nesterov's {nesterov}, RMSprop {need['RMSprop'] or f'more than {steps}'} and Adam"
        f" {need['Adam'] or f'more than {steps}'}; after {budget} steps of a small CNN the training losses are"
        f" {told}"
    )
    return sentence, holds, {"matrix": _quadratic(), "paths": paths, "courses": courses}


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.4, 1, 1))
    x, y = np.meshgrid(np.linspace(-9, 4, 120), np.linspace(-6, 4, 120))
    (a, b), (_, d) = data["matrix"]
    heights = np.log10(0.5 * (a * x * x + 2 * b * x * y + d * y * y) + 1e-4)
    left.contour(x, y, heights, 10, colors="lightgrey", linewidths=0.8)
    for i, (name, run) in enumerate(data["paths"].items()):
        path = floats(run["path"])
        left.plot(path[:, 0], path[:, 1], ".-", ms=3, lw=0.7, color=f"C{i}", label=name)
        middle.plot(np.maximum(floats(run["values"]), 1e-16), color=f"C{i}", label=name)
        course = data["courses"][name]
        right.plot(floats(course["losses"]), color=f"C{i}", label=f"{name} at {course['rate']:g}")
    left.set(xlim=(-9, 4), ylim=(-6, 4), title="the first 60 steps")
    middle.set(yscale="log", ylim=(1e-12, None), xlabel="step", ylabel="f", title="in the valley")
    right.set(yscale="log", xlabel="step", ylabel="training loss", title="a small CNN")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


optimizers = experiment("optimizers", measure, draw, size=(14, 4.2), data=("digits", "mnist5k", "fashion-mnist"))
