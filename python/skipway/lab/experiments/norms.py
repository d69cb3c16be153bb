"""Normalizations over batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import skipway as sw
from skipway import models, nn

from .._frame import Bench, experiment, floats
from .._learn import evaluate, sgd, train

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda c: nn.Identity(),
    "BN": nn.BatchNorm2d,
    "LN": lambda c: nn.GroupNorm(1, c),
    "GN": lambda c: nn.GroupNorm(4, c),
    "IN": lambda c: nn.InstanceNorm2d(c, affine=True),
}


def _settle(model: nn.Module, x: Any, size: int, batches: int = 40) -> None:
    """Forward passes that make the running statistics those of the final weights."""
    model.train()
    with sw.no_grad():
        for i in range(batches):
            start = i * size % max(1, len(x) - size + 1)
            model(x[start : start + size])


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """ResNet-8 with no normalization, BatchNorm, LayerNorm (over channels and pixels), GroupNorm (4 groups) and
    InstanceNorm: test accuracy after the same number of images, for batches of 2 to 64, with a rate proportional to the
    batch, and the time of a training step.

    BatchNorm's statistics are the noisier the smaller the batch, and those of training and evaluation come apart (Wu
    and He 2018, figure 1; Ioffe 2017); the others do not know of the batch.
    Before evaluation 40 more batches pass without learning, so that the running statistics are those of the final
    weights.
    """
    sizes = bench.pick([2, 4, 8, 16, 32, 64], [2, 32])
    kinds = bench.pick(list(NORMS), ["none", "BN", "GN"])
    count, epochs, base = bench.pick((None, 3, 0.1), (320, 2, 0.2))
    images = bench.images(count)
    runs: dict[str, Any] = {}
    for kind, size in bench.bar([(k, s) for k in kinds for s in sizes], "networks"):
        sw.manual_seed(bench.seed)
        model = models.cifar_resnet(
            8, num_classes=len(images.classes), in_channels=images.channels, width=16, norm_layer=NORMS[kind]
        ).to(bench.device)
        steps = epochs * (len(images.x) // size)
        optimizer = sgd(model, base * size / 64)
        clock: list[float] = []

        def note(_: int, clock: list[float] = clock) -> None:
            clock.append(time.perf_counter())

        train(model, images.x, images.y, optimizer, steps, size, np.random.default_rng(bench.seed), note)
        seconds = float(np.median(np.diff(clock)))
        _settle(model, images.x, size)
        test_loss, accuracy = evaluate(model, images.test_x, images.test_y)
        seen = images.x[: 256 // size * size], images.y[: 256 // size * size]
        still = evaluate(model, *seen)
        moving = evaluate(model, *seen, batch=size, training=True)  # last: it moves the running statistics
        runs.setdefault(kind, {})[str(size)] = {
            "accuracy": accuracy, "test_loss": test_loss, "steps": steps, "step_seconds": seconds,
            "gap_loss": moving[0] - still[0], "gap_accuracy": still[1] - moving[1],
        }  # fmt: skip
    small, large = str(sizes[0]), str(32)
    bn, gn = runs["BN"], runs["GN"]
    gaps = abs(bn[small]["gap_loss"]), abs(bn[large]["gap_loss"])
    holds = gaps[0] > 2 * gaps[1] and gaps[0] > 0.05 and abs(gn[small]["gap_loss"]) < 1e-4
    sentence = (
        f"with batches of 2 BatchNorm gets {100 * bn[small]['accuracy']:.1f} % of test images right and GroupNorm"
        f" {100 * gn[small]['accuracy']:.1f} %, with batches of 32 {100 * bn[large]['accuracy']:.1f} % and"
        f" {100 * gn[large]['accuracy']:.1f} % (no normalization: {100 * runs['none'][small]['accuracy']:.1f} % and"
        f" {100 * runs['none'][large]['accuracy']:.1f} %); the loss on the same training images is"
        f" {bn[small]['gap_loss']:+.2f} higher with the batch's statistics than with the running ones at batches of 2,"
        f" {bn[large]['gap_loss']:+.2f} at 32 and {gn[small]['gap_loss']:+.2f} with GroupNorm"
    )
    return sentence, holds, {"sizes": sizes, "epochs": epochs, "images": len(images.x), "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    panels = figure.subplots(1, 3)
    keys = (("accuracy", "test accuracy (%)", 100), ("gap_loss", "loss in train - in eval mode", 1))
    for axes, (key, label, scale) in zip(panels, (*keys, ("step_seconds", "ms per step", 1e3)), strict=True):
        for kind, by_size in data["runs"].items():
            axes.plot(data["sizes"], scale * floats([by_size[str(s)][key] for s in data["sizes"]]), "o-", label=kind)
        axes.set(xscale="log", xlabel="batch size", ylabel=label, xticks=data["sizes"])
        axes.set_xticklabels([str(s) for s in data["sizes"]])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].legend()
    panels[0].set_title(f"after {data['epochs']} times {data['images']} images")


norms = experiment("norms", measure, draw, size=(13, 3.8), data=("digits", "mnist5k"))
