"""Noise as regularization, on few training images."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import nn, optim

from .._frame import Bench, experiment, floats
from .._learn import evaluate, falling, train

ARMS = ("none", "dropout", "spatial dropout", "DropConnect", "stochastic depth", "shake-shake")
BLOCKS = 4


class _Shaken(nn.Module):
    """x + a mixture of two branches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.mix = _branch(width, "none", 0), _branch(width, "none", 0), nn.ShakeShake()

    def forward(self, x: Any) -> Any:
        return nn.functional.relu(x + self.mix(self.one(x), self.two(x)))


def _branch(width: int, arm: str, block: int) -> nn.Sequential:
    last: nn.Module = nn.Conv2d(width, width, 3, padding=1, bias=False)
    if arm == "DropConnect":
        last = nn.DropConnectConv2d(width, width, 3, padding=1, bias=False, p=0.3)
    noise = {"dropout": nn.Dropout(0.3), "spatial dropout": nn.Dropout2d(0.2)}.get(arm)
    end = [nn.StochasticDepth.linear_decay(BLOCKS, 0.5)[block]] if arm == "stochastic depth" else []
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *([noise] if noise else []), last, nn.BatchNorm2d(width), *end,
    )  # fmt: skip


def network(arm: str, channels: int, classes: int, width: int) -> nn.Sequential:
    """A stem, residual blocks with the noise of `arm` in their branches, and a linear layer."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    ]  # fmt: skip
    for block in range(BLOCKS):
        shaken = arm == "shake-shake"
        layers.append(_Shaken(width) if shaken else nn.Residual(_branch(width, arm, block), activation="relu"))
        if block == 1:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """A small residual network on 1,000 training images, with and without noise in its branches: dropout (Srivastava et
    al. 2014), spatial dropout (Tompson et al. 2015), DropConnect (Wan et al. 2013), stochastic depth (Huang et al.
    2016) and shake-shake (Gastaldi 2017): training and test loss, both in evaluation mode, every other epoch of Adam
    at a rate that falls to 0.

    Noise keeps the network from fitting the training images to the last: its training loss is higher, and the gap to
    the test loss smaller. Whether the test error gains depends on the noise and on the budget.
    """
    count, epochs, width = bench.pick((1000, 30, 16), (200, 16, 12))
    images = bench.images(count, bench.pick(1000, None), shrink=1 if bench.data == "digits" else 2)
    per_epoch = max(1, len(images.x) // 50)
    runs: dict[str, Any] = {}
    for arm in bench.bar(ARMS, "networks"):
        sw.manual_seed(bench.seed)
        model = network(arm, images.channels, len(images.classes), width).to(bench.device)
        run: dict[str, Any] = {"train": [], "test": [], "train_accuracy": [], "test_accuracy": []}

        def note(step: int, model: nn.Module = model, run: dict[str, Any] = run) -> None:
            if (step + 1) % (2 * per_epoch) == 0:
                for part, x, y in (("train", images.x, images.y), ("test", images.test_x, images.test_y)):
                    loss, accuracy = evaluate(model, x, y)
                    run[part].append(loss)
                    run[f"{part}_accuracy"].append(accuracy)

        optimizer = optim.Adam(model.parameters(), lr=3e-3)
        rng = np.random.default_rng(bench.seed)
        steps = epochs * per_epoch
        train(model, images.x, images.y, optimizer, steps, 50, rng, falling(optimizer, steps, note))
        run["gap"] = float(np.mean(run["test"][-3:]) - np.mean(run["train"][-3:]))
        run["test_error"] = 1 - float(np.mean(run["test_accuracy"][-3:]))
        run["train_loss"] = float(np.mean(run["train"][-3:]))
        runs[arm] = run
    noisy = ARMS[1:]
    harder = [arm for arm in noisy if runs[arm]["train_loss"] > runs["none"]["train_loss"]]
    better = [arm for arm in noisy if runs[arm]["test_error"] < runs["none"]["test_error"]]
    narrower = [arm for arm in noisy if runs[arm]["gap"] < runs["none"]["gap"]]
    sentence = (
        f"after {epochs} epochs on {len(images.x)} images of {bench.data} the training loss without noise is"
        f" {runs['none']['train_loss']:.3f} and the test loss {runs['none']['gap']:.3f} above it, the test error"
        f" {100 * runs['none']['test_error']:.1f} %; with noise the training loss is higher for {len(harder)} of"
        f" {len(noisy)}, the gap smaller for {len(narrower)} and the test error lower for {len(better)}: "
        + ", ".join(f"{a} {100 * runs[a]['test_error']:.1f} % (gap {runs[a]['gap']:.3f})" for a in noisy)
    )
    numbers = {"epochs": epochs, "images": len(images.x), "runs": runs}
    return sentence, len(harder) >= 4 and len(narrower) >= 4, numbers


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, middle, right = figure.subplots(1, 3)
    for i, (arm, run) in enumerate(data["runs"].items()):
        epochs = 2 * np.arange(1, len(run["train"]) + 1)
        left.plot(epochs, np.maximum(floats(run["train"]), 1e-5), color=f"C{i}", label=arm)
        middle.plot(epochs, floats(run["test"]), color=f"C{i}", label=arm)
        right.plot(epochs, 100 * (1 - floats(run["test_accuracy"])), color=f"C{i}", label=arm)
    left.set(yscale="log", ylabel="training loss (evaluation mode)", title=f"{data['images']} training images")
    middle.set(ylabel="test loss", ylim=(0, None))
    right.set(ylabel="test error (%)")
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)


dropout = experiment("dropout", measure, draw, size=(14, 4), data=("fashion-mnist", "digits", "mnist5k", "mnist"))
