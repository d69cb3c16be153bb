"""Plain and residual networks of 20 and 56 layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import models

from .._frame import Bench, experiment, floats
from .._learn import evaluate, falling, sgd, smooth, train

KINDS = {"plain": None, "ResNet": "A"}


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Training error of plain networks and ResNets of 20 and 56 layers (CIFAR form, option A, 8 channels in the first
    stage) after the same few epochs, for several seeds.

    The deeper plain network has the higher training error, although it could copy the shallower one; with identity
    shortcuts the deeper network loses nothing (He et al. 2016, section 1, figures 1 and 6). The rate falls to 0. The
    branches of the ResNets start at 0 (Goyal et al. 2017, section 5.1), which takes the place of a longer training with
    a warm-up: without it the ResNet of 56 layers is still behind after so few steps.
    """
    depths = [20, 56]
    seeds, count, steps, lr = bench.pick((3, 5000, 240, 0.2), (1, None, 90, 0.2))
    images = bench.images(count, bench.pick(2000, None), shrink=1 if bench.data == "digits" else 2)
    runs: dict[str, Any] = {}
    cases = [(kind, depth, seed) for kind in KINDS for depth in depths for seed in range(seeds)]
    for kind, depth, seed in bench.bar(cases, "networks"):
        sw.manual_seed(bench.seed + seed)
        model = models.cifar_resnet(
            depth, num_classes=len(images.classes), in_channels=images.channels, width=8, shortcut=KINDS[kind],
            zero_init_residual=KINDS[kind] is not None,
        ).to(bench.device)  # fmt: skip
        rng, optimizer = np.random.default_rng((bench.seed, seed)), sgd(model, lr, weight_decay=1e-4)
        losses = train(model, images.x, images.y, optimizer, steps, 64, rng, falling(optimizer, steps))
        part = slice(0, 2000)
        run = runs.setdefault(f"{kind}-{depth}", {"losses": [], "train_error": [], "test_error": [], "final": []})
        run["losses"].append(smooth(losses, 20)[:: max(1, steps // 120)])
        run["final"].append(float(smooth(losses, 40)[-1]))
        run["train_error"].append(1 - evaluate(model, images.x[part], images.y[part])[1])
        run["test_error"].append(1 - evaluate(model, images.test_x, images.test_y)[1])

    def said(name: str, key: str = "final") -> str:
        values = runs[name][key]
        return f"{np.mean(values):.2f}" + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "")

    plain = [runs[f"plain-{d}"]["final"] for d in depths]
    res = [runs[f"ResNet-{d}"]["final"] for d in depths]
    holds = min(plain[1]) > max(plain[0]) + 0.1 and np.mean(res[1]) < np.mean(res[0]) + 0.05
    errors = ", ".join(f"{n} {100 * np.mean(r['train_error']):.1f} %" for n, r in runs.items())
    sentence = (
        f"after {steps} steps on {bench.data} the training loss of the plain network is {said('plain-20')} with 20"
        f" layers and {said('plain-56')} with 56, of the ResNet {said('ResNet-20')} and {said('ResNet-56')}"
        f" ({seeds} seed{'s, mean and range' if seeds > 1 else ''}); training errors in evaluation: {errors}"
    )
    return sentence, bool(holds), {"steps": steps, "seeds": seeds, "images": len(images.x), "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    left, middle, right = figure.subplots(1, 3)
    for axes, kind in ((left, "plain"), (middle, "ResNet")):
        for color, depth in (("C0", 20), ("C3", 56)):
            curves = floats(data["runs"][f"{kind}-{depth}"]["losses"])
            steps = np.linspace(0, data["steps"], curves.shape[1])
            axes.fill_between(steps, curves.min(0), curves.max(0), color=color, alpha=0.2)
            axes.plot(steps, curves.mean(0), color=color, label=f"{kind}-{depth}")
        axes.set(xlabel="step", ylabel="training loss", ylim=(0, 2.5), title=kind)
        axes.grid(alpha=0.3)
        axes.legend()
    names = list(data["runs"])
    for offset, key, color in ((-0.2, "train_error", "C7"), (0.2, "test_error", "C1")):
        values = 100 * floats([data["runs"][n][key] for n in names])
        spread = np.abs(np.stack([values.mean(1) - values.min(1), values.max(1) - values.mean(1)]))
        right.bar(np.arange(len(names)) + offset, values.mean(1), 0.4, yerr=spread, color=color, label=key[:-6])
    right.set_xticks(range(len(names)), names)
    right.set(ylabel="error (%)", title=f"after {data['steps']} steps, {data['seeds']} seed(s)")
    right.legend()


depth = experiment("depth", measure, draw, size=(14, 4), data=("fashion-mnist", "digits", "mnist5k", "mnist"))
