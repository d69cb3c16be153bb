"""Plain deep convolutional networks with Xavier's and with Kaiming's weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import skipway as sw
import skipway.nn.functional as F
from skipway import nn

from .._frame import Bench, experiment, floats
from .._learn import evaluate, sgd, smooth, train

FILLS = {
    "Kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "Xavier": lambda w: nn.init.xavier_normal_(w, mode="fan_in"),
}
COLORS = {"Kaiming": "C0", "Xavier": "C3"}
LEARNED = 1.5  # a loss that no network reaches by guessing


def plain_net(depth: int, channels: int, classes: int, width: int = 16) -> nn.Sequential:
    """3x3 convolutions and ReLUs, a pooling in the middle, no normalization: `depth` layers with weights."""
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        layers += [nn.Conv2d(width if i else channels, width, 3, padding=1), nn.ReLU()]
        if i + 1 == (depth - 1) // 2:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _first_gradient(model: nn.Module, x: Any, y: Any) -> float:
    """The norm of the gradient of the first layer's weights."""
    F.cross_entropy(model(x), y).backward()
    norm = float(next(model.parameters()).grad.norm().item())
    model.zero_grad()
    return norm


def _course(bench: Bench, images: Any, depth: int, name: str, seed: int, steps: int, lr: float) -> dict[str, Any]:
    sw.manual_seed(seed)  # the same draws for both: Xavier's weights are Kaiming's over the root of 2
    model = plain_net(depth, images.channels, len(images.classes))
    nn.init.apply(model, FILLS[name])
    model = model.to(bench.device)
    gradient = _first_gradient(model, images.x[:256], images.y[:256])
    rng = np.random.default_rng(seed)
    curve = smooth(train(model, images.x, images.y, sgd(model, lr), steps, 64, rng, clip=0.2), 20)
    below = np.flatnonzero(curve < LEARNED)
    return {
        "losses": curve[:: max(1, steps // 200)], "final": float(curve[-1]), "first_gradient": gradient,
        "test_accuracy": evaluate(model, images.test_x, images.test_y)[1],
        "steps_to_1.5": int(below[0]) if len(below) else None,
    }  # fmt: skip


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Training loss of plain networks of 3x3 convolutions and ReLUs without normalization, for several depths, with
    weights of variance 2/n (Kaiming) and 1/n (Xavier), n being the inputs of a neuron.

    With 1/n the signal shrinks by sqrt(2) in each layer and so does the gradient (He et al. 2015, section 2.2):
    networks of 22 layers converge with both, sooner with 2/n, and those of 30 layers with 2/n alone (figures 2 and 3).
    The images are pixels from 0 to 255 less their mean, and the rate is the same for all; the gradient's norm is
    clipped at 0.2, which the small gradients of Xavier's deep networks do not feel.
    """
    depths, seeds, steps, lr = bench.pick(([14, 22, 30], 3, 800, 0.05), ([22, 30], 1, 360, 0.05))
    images = bench.images()
    stretch = 255 / float((images.x.max() - images.x.min()).item())
    images.x, images.test_x = images.x * stretch, images.test_x * stretch
    runs: dict[str, Any] = {}
    cases = [(d, name, bench.seed + i) for d in depths for name in FILLS for i in range(seeds)]
    for depth, name, seed in bench.bar(cases, "networks"):
        run = runs.setdefault(str(depth), {}).setdefault(name, {})
        for key, value in _course(bench, images, depth, name, seed, steps, lr).items():
            run.setdefault(key, []).append(value)
    chance = float(np.log(len(images.classes)))
    numbers = {"depths": depths, "seeds": seeds, "steps": steps, "lr": lr, "chance": chance, "runs": runs}
    return _sentence(numbers), _holds(numbers), numbers


def _typical(run: dict[str, Any], key: str) -> float:
    """The median over seeds; a loss that was not reached counts as reached never."""
    return float(np.median([math.inf if v is None else v for v in run[key]]))


def _holds(data: dict[str, Any]) -> bool:
    """By the seeds' medians: of 22 layers both learn, Kaiming's sooner; of 30 Kaiming's do and Xavier's never start."""
    chance, (shallow, deep) = data["chance"], (data["runs"][d] for d in ("22", "30"))
    return (
        _typical(shallow["Kaiming"], "steps_to_1.5") < 0.8 * _typical(shallow["Xavier"], "steps_to_1.5")
        and _typical(shallow["Xavier"], "final") < chance - 0.3
        and _typical(deep["Kaiming"], "final") < LEARNED
        and _typical(deep["Xavier"], "final") > chance - 0.05
    )


def _sentence(data: dict[str, Any]) -> str:
    def said(depth: str, name: str) -> str:
        run = data["runs"][depth][name]
        after, final = _typical(run, "steps_to_1.5"), _typical(run, "final")
        if math.isfinite(after):
            return f"after {after:.0f} steps"
        return f"not in {data['steps']} steps ({final:.2f} then)"

    def times(depth: str) -> str:
        kaiming, xavier = (_typical(data["runs"][depth][name], "first_gradient") for name in FILLS)
        return f"{float(f'{kaiming / xavier:.2g}'):,.0f} times"

    many = f" (medians of {data['seeds']} seeds)" if data["seeds"] > 1 else ""
    return (
        f"with 22 layers the training loss falls below {LEARNED} {said('22', 'Kaiming')} with Kaiming weights and"
        f" {said('22', 'Xavier')} with Xavier's, whose gradient in the first layer is {times('22')} smaller at the"
        f" start; with 30 layers {said('30', 'Kaiming')} with Kaiming weights and {said('30', 'Xavier')} with Xavier's"
        f" ({times('30')} smaller), where a guess has {data['chance']:.2f}{many}"
    )


def draw(figure: Any, data: dict[str, Any]) -> None:
    row = np.atleast_1d(figure.subplots(1, len(data["depths"]), sharey=True))
    for axes, depth in zip(row, data["depths"], strict=True):
        for name, run in data["runs"][str(depth)].items():
            curves = floats(run["losses"])
            steps = np.linspace(0, data["steps"], curves.shape[1])
            share = 100 * np.median(run["test_accuracy"])
            axes.plot(steps, curves.T, color=COLORS[name], lw=0.6, alpha=0.6)
            axes.plot(steps, np.median(curves, 0), color=COLORS[name], label=f"{name} (test {share:.0f} %)")
        axes.axhline(data["chance"], color="grey", lw=0.8, ls="--")
        axes.set(title=f"{depth} layers", xlabel="step", ylim=(0, 1.2 * data["chance"]))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    row[0].set_ylabel("training loss")


deep_vgg = experiment("deep-vgg", measure, draw, size=(13, 3.6), data=("digits", "mnist5k", "fashion-mnist"))
