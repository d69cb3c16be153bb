"""A deep MLP that is to tell the inside of a disc from the outside, with and without BatchNorm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import skipway as sw
from skipway import nn

from .._frame import Bench, experiment, floats
from .._learn import evaluate, sgd, train


def points(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Uniform in [-1, 1]^2; class 1 is the disc of half its area."""
    x = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    y = ((x**2).sum(1) < 2 / math.pi).astype(np.int64)
    return sw.from_numpy(x), sw.from_numpy(y)


def mlp(std: float, norm: bool, hidden: int = 16, width: int = 32) -> nn.Sequential:
    sizes = [2] + [width] * (hidden + 1)
    layers: list[nn.Module] = []
    for n, out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n, out), *([nn.BatchNorm1d(out)] if norm else []), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 2))
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std)
            nn.init.zeros_(m.bias)
    return model


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Test error in a 2-d problem, of an MLP of Linear(2, 32), 16 hidden layers of 32 and ReLUs, with weights from
    N(0, std^2) and SGD at 0.1, against std over several decades; the same with BatchNorm.

    Without normalization the signal is multiplied by std * sqrt(32 / 2) in each layer (He et al. 2015, equation 9), so
    that all but a narrow range around std = 1/4 vanish or explode; BatchNorm (Ioffe and Szegedy 2015, section 3.3)
    takes the scale of the weights out of the problem. A loss that is not finite counts as an error of one half.
    """
    stds = bench.pick([0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0], [0.01, 0.25, 1.0])
    steps, batch = bench.pick(1000, 250), 100
    x, y = (t.to(bench.device) for t in points(bench.rng, 1000))
    test_x, test_y = (t.to(bench.device) for t in points(bench.rng, 1000))
    errors: dict[str, list[float]] = {"without": [], "with": []}
    losses: dict[str, list[Any]] = {"without": [], "with": []}
    cases = [(norm, std) for norm in errors for std in stds]
    maps: dict[str, Any] = {}
    for norm, std in bench.bar(cases, "networks"):
        model = mlp(std, norm == "with").to(bench.device)
        course = train(model, x, y, sgd(model, 0.1, momentum=0.0), steps, batch, np.random.default_rng(bench.seed))
        losses[norm].append(course[:: max(1, steps // 100)])
        failed = math.isnan(course[-1])
        errors[norm].append(0.5 if failed else 1 - evaluate(model, test_x, test_y)[1])
        if std == 0.01:
            maps[norm] = _map(model)
    inner = [i for i, s in enumerate(stds) if 0.01 <= s <= 1]
    worst = max(errors["with"][i] for i in inner)
    naive = errors["without"][stds.index(0.01)]
    best = int(np.argmin(errors["without"]))
    sentence = (
        f"with weights from N(0, 0.01^2) the test error of 18 layers is {100 * naive:.1f} % without BatchNorm, a"
        f" coin's, and {100 * errors['with'][stds.index(0.01)]:.1f} % with it; with it the error is at most"
        f" {100 * worst:.1f} % for every std from 0.01 to 1, without it its best is"
        f" {100 * errors['without'][best]:.1f} %, at {stds[best]:g}"
    )
    numbers = {"stds": stds, "errors": errors, "losses": losses, "maps": maps, "steps": steps}
    return sentence, naive > 0.4 and worst < 0.15, numbers


def _map(model: nn.Module, size: int = 40) -> Any:
    """The share of class 1 over the square, in evaluation mode."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    model.eval()
    with sw.no_grad():
        out = model(sw.from_numpy(grid).to(next(model.parameters()).device)).softmax(1)[:, 1]
    return np.round(out.cpu().numpy().reshape(size, size), 3)


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, *rest = figure.subplots(1, 4, width_ratios=(1.6, 1.4, 1, 1))
    for norm, color in (("without", "C3"), ("with", "C0")):
        left.plot(data["stds"], 100 * floats(data["errors"][norm]), "o-", color=color, label=f"{norm} BatchNorm")
        course = floats(data["losses"][norm][data["stds"].index(0.01)])
        steps = np.arange(len(course)) * data["steps"] / len(course)
        rest[0].plot(steps, course, color=color, label=f"{norm}, std 0.01")
    left.set(xscale="log", xlabel="std of the initial weights", ylabel="test error (%)", ylim=(0, 60))
    rest[0].set(xlabel="step", ylabel="training loss", ylim=(0, 1))
    for axes in (left, rest[0]):
        axes.grid(alpha=0.3)
        axes.legend()
    for axes, norm in zip(rest[1:], ("without", "with"), strict=True):
        axes.imshow(floats(data["maps"][norm]), extent=(-1, 1, -1, 1), origin="lower", vmin=0, vmax=1, cmap="coolwarm")
        turn = np.linspace(0, 2 * math.pi, 200)
        radius = math.sqrt(2 / math.pi)
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), "k--", lw=1)
        axes.set(title=f"{norm} BatchNorm, std 0.01", xticks=[], yticks=[])


disc = experiment("disc", measure, draw, size=(15, 3.8))
