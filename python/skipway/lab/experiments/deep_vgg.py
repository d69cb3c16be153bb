"""Plain deep convolutional networks with Xavier's and with Kaiming's weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from skipway import nn

from .._frame import Bench, experiment, floats
from .._learn import evaluate, sgd, smooth, train

FILLS = {
    "Kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "Xavier": lambda w: nn.init.xavier_normal_(w, mode="fan_in"),
}


def plain_net(depth: int, channels: int, classes: int, width: int = 16) -> nn.Sequential:
    """3x3 convolutions and ReLUs, a pooling in the middle, no normalization: `depth` layers with weights."""
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        layers += [nn.Conv2d(width if i else channels, width, 3, padding=1), nn.ReLU()]
        if i + 1 == (depth - 1) // 2:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Training loss of plain networks of 3x3 convolutions and ReLUs without normalization, for several depths, with
    weights of variance 2/n (Kaiming) and 1/n (Xavier), n being the inputs of a neuron.

    With 1/n the signal shrinks by sqrt(2) in each layer and so does the gradient (He et al. 2015, section 2.2). In
    the paper's ImageNet networks 22 layers still converge with both, sooner with 2/n, and 30 layers with 2/n alone
    (figures 2 and 3). Here the budget is some hundred steps, so that the depth at which 1/n no longer learns is
    smaller; the depths say where.
    """
    depths, steps, lr = bench.pick(([8, 14, 22, 30], 400, 0.01), ([4, 10], 200, 0.005))
    images = bench.images()
    runs: dict[str, Any] = {}
    cases = [(d, name) for d in depths for name in FILLS]
    for depth, name in bench.bar(cases, "networks"):
        model = plain_net(depth, images.channels, len(images.classes))
        nn.init.apply(model, FILLS[name])
        model = model.to(bench.device)
        losses = train(model, images.x, images.y, sgd(model, lr), steps, 64, np.random.default_rng(bench.seed))
        accuracy = evaluate(model, images.test_x, images.test_y)[1]
        curve = smooth(losses, 20)
        below = np.flatnonzero(curve < 1.5)
        runs.setdefault(str(depth), {})[name] = {
            "losses": curve, "test_accuracy": accuracy, "final": float(curve[-1]),
            "steps_to_1.5": int(below[0]) if len(below) else None,
        }  # fmt: skip
    chance = float(np.log(len(images.classes)))
    shallow, deep = runs[str(depths[0])], runs[str(depths[-1])]
    stuck = [d for d in depths if runs[str(d)]["Xavier"]["final"] > chance - 0.02]
    first = [shallow[n]["steps_to_1.5"] for n in FILLS]
    holds = (
        deep["Xavier"]["final"] > chance - 0.05
        and deep["Kaiming"]["final"] < deep["Xavier"]["final"] - 0.3
        and first[0] is not None
        and (first[1] is None or first[0] < first[1])
    )
    learned = ", ".join(f"{runs[str(d)]['Kaiming']['final']:.2f} at {d}" for d in depths)
    sentence = (
        f"with {depths[0]} layers the training loss falls below 1.5 after {first[0]} steps with Kaiming weights and"
        f" {'not within' if first[1] is None else f'after {first[1]} with Xavier, of'} {steps} steps"
        f"{' with Xavier' if first[1] is None else ''}; at {' and '.join(map(str, stuck)) or 'no'} layers Xavier does"
        f" not leave {chance:.2f}, the loss of a guess, while Kaiming reaches {learned} layers"
    )
    return sentence, holds, {"depths": depths, "steps": steps, "lr": lr, "chance": chance, "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    row = np.atleast_1d(figure.subplots(1, len(data["depths"]), sharey=True))
    for axes, depth in zip(row, data["depths"], strict=True):
        for name, run in data["runs"][str(depth)].items():
            share = 100 * run["test_accuracy"]
            color = "C0" if name == "Kaiming" else "C3"
            axes.plot(floats(run["losses"]), label=f"{name} (test {share:.0f} %)", color=color)
        axes.axhline(data["chance"], color="grey", lw=0.8, ls="--")
        axes.set(title=f"{depth} layers", xlabel="step", ylim=(0, 1.2 * data["chance"]))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left")
    row[0].set_ylabel("training loss")


deep_vgg = experiment("deep-vgg", measure, draw, size=(13, 3.6), data=("digits", "mnist5k", "fashion-mnist"))
