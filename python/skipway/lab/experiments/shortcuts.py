"""The shortcuts and the orders of activations of He et al. 2016b, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import models

from .._frame import Bench, experiment, floats
from .._learn import evaluate, sgd, smooth, train

# He et al. 2016b, test errors of ResNet-110 on CIFAR-10 in percent: shortcuts from table 1, orders from table 2;
# None where the paper says that it fails to converge (above 20 %).
SHORTCUTS: dict[str, float | None] = {
    "identity": 6.61, "scaling": 12.35, "exclusive-gating": 8.70, "shortcut-gating": 12.86, "conv1x1": 12.22,
    "dropout": None,
}  # fmt: skip
BLOCKS: dict[str, float | None] = {
    "original": 6.61, "bn-after-add": 8.17, "relu-before-add": 7.84, "relu-only-preact": 6.71, "full-preact": 6.37,
}  # fmt: skip


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Six shortcuts (in the original order) and five orders of activations (with identity shortcuts): training loss and
    test error after a small budget on small images, beside the test errors that the paper found for ResNet-110 on
    CIFAR-10 after 164 epochs. The two columns are not comparable in size; the question is whether the ranks agree.

    Whatever multiplies the shortcut makes the signal and the gradient decay exponentially with the number of blocks
    (He et al. 2016b, equation 8).
    """
    depth, steps, lr = bench.pick((38, 200, 0.1), (26, 40, 0.05))
    images = bench.images()
    cases = [("shortcut", s, {"shortcut": s, "block": "original"}) for s in SHORTCUTS]
    cases += [("block", b, {"shortcut": "identity", "block": b}) for b in BLOCKS if b != "original"]
    runs: dict[str, Any] = {"shortcut": {}, "block": {}}
    for group, name, options in bench.bar(cases, "networks"):
        sw.manual_seed(bench.seed)
        model = models.cifar_resnet(
            depth, num_classes=len(images.classes), in_channels=images.channels, width=8, **options
        ).to(bench.device)
        optimizer = sgd(model, lr, weight_decay=1e-4)
        curve = smooth(train(model, images.x, images.y, optimizer, steps, 64, np.random.default_rng(bench.seed)), 15)
        test = 1 - evaluate(model, images.test_x, images.test_y)[1]
        runs[group][name] = {"losses": curve, "final": float(curve[-1]), "test_error": test}
    runs["block"] = {"original": runs["shortcut"]["identity"], **runs["block"]}
    final = {name: run["final"] for name, run in runs["shortcut"].items()}
    order = sorted(final, key=lambda n: final[n])
    holds = all(final[n] > final["identity"] + 0.05 for n in ("scaling", "dropout", "shortcut-gating"))
    blocks = {name: run["final"] for name, run in runs["block"].items()}
    sentence = (
        f"after {steps} steps of a ResNet-{depth} the shortcuts rank by training loss: "
        + ", ".join(f"{n} {f'{final[n]:.2f}' if final[n] < 100 else 'over 100'}" for n in order)
        + " (published errors of ResNet-110: "
        + ", ".join(f"{n} {'over 20' if e is None else e} %" for n, e in SHORTCUTS.items())
        + "); the orders of activations: "
        + ", ".join(f"{n} {blocks[n]:.2f}" for n in sorted(blocks, key=lambda n: blocks[n]))
    )
    published = {"shortcut": SHORTCUTS, "block": BLOCKS}
    return sentence, holds, {"depth": depth, "steps": steps, "data": bench.data, "published": published, "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    grid = figure.subplots(2, 2, width_ratios=(1.2, 1))
    for (left, right), group in zip(grid, ("shortcut", "block"), strict=True):
        runs = data["runs"][group]
        for name, run in runs.items():
            left.plot(floats(run["losses"]), label=name)
        left.set(xlabel="step", ylabel="training loss", ylim=(0, 3), title=f"{group}s, ResNet-{data['depth']}")
        left.grid(alpha=0.3)
        left.legend(fontsize=8)
        rows = np.arange(len(runs))
        published = [data["published"][group][n] for n in runs]
        right.barh(
            rows - 0.2, [20 if p is None else p for p in published], 0.4, color="C7", label="published: 110 layers"
        )
        right.barh(
            rows + 0.2, [100 * r["test_error"] for r in runs.values()], 0.4, color="C1", label="here, small budget"
        )
        for row, p in zip(rows, published, strict=True):
            if p is None:
                right.text(20.3, row - 0.2, "> 20", va="center", fontsize=8)
        right.set_yticks(rows, list(runs))
        right.invert_yaxis()
        right.set(xlabel="test error (%): CIFAR-10 published, " + data["data"] + " here", xlim=(0, None))
        right.legend(fontsize=8)


shortcuts = experiment("shortcuts", measure, draw, size=(13, 7), data=("digits", "mnist5k"))
