"""What starting with zeros does: everywhere, and in the last normalization of each residual block."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
import skipway.nn.functional as F
from skipway import models, nn

from .._frame import Bench, experiment, floats
from .._learn import sgd, smooth, train

ARMS = {"gamma 1": "C3", "gamma 0": "C0", "all weights 0": "C7"}


def _network(arm: str, depth: int, channels: int, classes: int) -> nn.Module:
    zero = arm == "gamma 0"
    model = models.cifar_resnet(
        depth, num_classes=classes, in_channels=channels, width=8, shortcut="A", zero_init_residual=zero
    )
    if arm == "all weights 0":
        nn.init.apply(model, nn.init.zeros_)
    return model


def _start(model: nn.Module, x: Any, y: Any) -> dict[str, Any]:
    """The signal behind each block, the first loss, and how many parameters have a gradient that is not 0."""
    stds: list[float] = []

    def note(_: Any, __: Any, output: Any) -> None:
        stds.append(float(output.detach().std().item()))

    blocks = [m for stage in ("layer1", "layer2", "layer3") for m in getattr(model, stage).children()]
    hooks = [m.register_forward_hook(note) for m in blocks]
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    for h in hooks:
        h.remove()
    norms = {n: float(p.grad.norm().item()) for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {
        "block_std": stds,
        "loss": float(loss.item()),
        "gradient_norm": float(np.sqrt(sum(v * v for v in norms.values()))),
        "with_gradient": [n for n, v in norms.items() if v > 0],
        "parameters": len(norms),
    }


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Residual networks whose blocks end in a BatchNorm with weight 1 or 0 at the start, and one of all zeros.

    Every branch adds to the variance of the signal, so that it grows with the number of blocks; with weight 0 each
    block starts as its shortcut (Goyal et al. 2017, section 5.1). Zeros in all weights, on the other hand, leave all
    neurons alike: no gradient gets past the last bias.
    """
    depth, steps, lr = bench.pick((56, 200, 0.1), (26, 50, 0.1))
    images = bench.images()
    runs: dict[str, Any] = {}
    for arm in bench.bar(ARMS, "networks"):
        sw.manual_seed(bench.seed)
        model = _network(arm, depth, images.channels, len(images.classes)).to(bench.device)
        run = _start(model, images.x[:256], images.y[:256])
        losses = train(model, images.x, images.y, sgd(model, lr), steps, 64, np.random.default_rng(bench.seed))
        run["losses"] = smooth(losses, 10)
        runs[arm] = run
    first = {arm: run["loss"] for arm, run in runs.items()}
    per_stage = len(runs["gamma 1"]["block_std"]) // 3
    grown = {arm: run["block_std"][per_stage - 1] / max(run["block_std"][0], 1e-30) for arm, run in runs.items()}
    zeros = runs["all weights 0"]
    chance = float(np.log(len(images.classes)))
    holds = (
        grown["gamma 1"] > 1.15 * grown["gamma 0"]
        and abs(grown["gamma 0"] - 1) < 0.05
        and zeros["with_gradient"] == ["fc.bias"]
        and zeros["losses"][-1] > chance - 0.1
        and all(runs[a]["losses"][-1] < chance - 0.3 for a in ("gamma 0", "gamma 1"))
    )
    end = {arm: float(run["losses"][-1]) for arm, run in runs.items()}
    sentence = (
        f"through the {per_stage} blocks of the first stage of a ResNet-{depth} the signal grows by"
        f" {grown['gamma 1']:.2f} with gamma 1 and by {grown['gamma 0']:.2f} with gamma 0, where the first loss is"
        f" {first['gamma 0']:.2f} instead of {first['gamma 1']:.2f} (a guess: {chance:.2f}); after {steps} steps the"
        f" losses are {end['gamma 0']:.2f} and {end['gamma 1']:.2f}; with all weights 0 only"
        f" {len(zeros['with_gradient'])} of {zeros['parameters']} parameters has a gradient and the loss stays at"
        f" {end['all weights 0']:.2f}"
    )
    return sentence, holds, {"depth": depth, "steps": steps, "lr": lr, "chance": chance, "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    for arm, run in data["runs"].items():
        blocks = np.arange(1, len(run["block_std"]) + 1)
        left.plot(blocks, floats(run["block_std"]), "o-", ms=3, color=ARMS[arm], label=arm)
        right.plot(floats(run["losses"]), color=ARMS[arm], label=f"{arm}, first loss {run['loss']:.2f}")
    left.set(title=f"ResNet-{data['depth']} at the start", xlabel="block", ylabel="std of the signal", ylim=(0, None))
    right.axhline(data["chance"], color="grey", lw=0.8, ls="--")
    right.set(title=f"SGD at {data['lr']}", xlabel="step", ylabel="training loss", ylim=(0, 1.4 * data["chance"]))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()


zero_init = experiment("zero-init", measure, draw, size=(11, 3.8), data=("digits", "mnist5k"))
