"""How gradients of neighbouring inputs come apart with depth."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import nn

from .._frame import Bench, experiment, floats
from .._learn import evaluate, smooth, train

COLORS = {"brown noise": "tan", "white noise": "lightgrey"}


def network(kind: str, depth: int, width: int, inputs: int = 1, outputs: int = 1) -> nn.Sequential:
    """`depth` layers of `width` ReLUs and a linear layer: "plain"; "bn", with BatchNorm before each ReLU; a number,
    with BatchNorm and shortcuts, x + number * W relu(BN(x)); "looks-linear", with CReLUs."""
    layers: list[nn.Module] = [nn.Linear(inputs, width)]
    for _ in range(depth - 1):
        if kind == "looks-linear":
            layers += [nn.CReLU(), nn.Linear(2 * width, width)]
            continue
        body = [*([] if kind == "plain" else [nn.BatchNorm1d(width)]), nn.ReLU(), nn.Linear(width, width)]
        layers += body if kind in ("plain", "bn") else [nn.Residual(nn.Sequential(*body), scale=float(kind))]
    layers += [nn.BatchNorm1d(width)] if kind == "bn" else []
    layers += [nn.CReLU()] if kind == "looks-linear" else [nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(2 * width if kind == "looks-linear" else width, outputs))
    nn.init.apply(model, "looks_linear" if kind == "looks-linear" else "kaiming_normal")
    first = layers[0]
    nn.init.normal_(first.weight)  # type: ignore[arg-type]  # the input is one number: its scale is of no account
    nn.init.normal_(first.bias)  # type: ignore[arg-type]
    return model


def gradients(model: nn.Module, x: Any) -> np.ndarray:
    """df/dx at each point of a grid, each on its own: BatchNorm uses the statistics of the grid as constants."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    for m in norms:
        m.momentum = 1.0
    model.train()
    with sw.no_grad():
        model(x)
    leaf = x.detach().requires_grad_()
    model.eval()(leaf).sum().backward()
    return leaf.grad.double().cpu().numpy()[:, 0]


def autocorrelation(curves: np.ndarray, lags: int) -> list[float]:
    """E[g(x) g(x + k)] / E[g(x)^2] over all curves (one per row): the mean over initializations is 0."""
    scaled = curves / np.sqrt((curves**2).mean(1, keepdims=True))
    n = curves.shape[1]
    return [float((scaled[:, : n - k] * scaled[:, k:]).mean()) for k in range(lags)]


def _train_deep(bench: Bench, depth: int) -> dict[str, Any]:
    """The same deep network of CReLUs, looks-linear and with Kaiming weights, on digits."""
    images = bench.images()
    x, test_x = images.x.flatten(1), images.test_x.flatten(1)
    steps = bench.pick(300, 40)
    runs: dict[str, Any] = {"depth": depth, "steps": steps}
    for name in bench.bar(("looks-linear", "Kaiming"), f"training {depth} layers"):
        model = network("looks-linear", depth - 1, 24, x.shape[1], 10)
        nn.init.orthogonal_(model[0].weight)
        if name == "Kaiming":
            nn.init.apply(model, "kaiming_normal")
        model = model.to(bench.device)
        optimizer = sw.optim.Adam(model.parameters(), lr=bench.pick(2e-4, 5e-4))
        losses = train(model, x, images.y, optimizer, steps, 64, np.random.default_rng(bench.seed))
        loss, accuracy = evaluate(model, test_x, images.test_y)
        runs[name] = {"losses": losses, "test_accuracy": accuracy, "test_loss": loss}
    return runs


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """Gradients of a network of one input along a line: their autocorrelation, against that of brown and white noise.

    In plain ReLU networks with BatchNorm it falls exponentially with depth until the gradients look like white noise;
    with shortcuts sublinearly, and the less the smaller the branches (Balduzzi et al. 2017, theorems 1 to 3); a network
    that begins as a linear one has constant gradients (section 4). Without BatchNorm and biases the inputs of a line
    become alike with depth, so that the gradients come apart more slowly. Then a 200-layer network without shortcuts is
    trained on digits, with Looks-Linear weights and with Kaiming's.
    """
    width, points, draws = bench.pick((200, 256, 20), (64, 128, 6))
    lags = points // 8
    grid = np.linspace(-2, 2, points, dtype=np.float32)[:, None]
    x = sw.from_numpy(grid).to(bench.device)
    kinds = {
        "1 layer": ("plain", 1), "plain, 24": ("plain", 24), "plain, 50": ("plain", 50), "BN, 24": ("bn", 24),
        "BN, 50": ("bn", 50), "ResNet with BN, 50": ("1", 50), "branches x 0.1, 50": ("0.1", 50),
        "Looks-Linear, 50": ("looks-linear", 50),
    }  # fmt: skip
    curves: dict[str, Any] = {}
    for name, (kind, depth) in bench.bar(kinds.items(), "gradients"):
        curves[name] = np.stack([gradients(network(kind, depth, width).to(bench.device), x) for _ in range(draws)])
    noise = bench.rng.normal(size=(200, points))
    walk = np.cumsum(bench.rng.normal(size=(200, 4 * points)), 1)[:, -points:]
    curves["brown noise"], curves["white noise"] = walk - walk.mean(1, keepdims=True), noise
    found = {name: autocorrelation(c, lags) for name, c in curves.items()}
    deep = _train_deep(bench, bench.pick(200, 100))
    k = points // 128
    at = {name: values[k] for name, values in found.items()}
    lines = [deep[n]["test_accuracy"] for n in ("looks-linear", "Kaiming")]
    holds = (
        at["1 layer"] > 0.9 and abs(at["BN, 50"]) < 0.2 and at["ResNet with BN, 50"] > at["BN, 50"] + 0.2
        and at["branches x 0.1, 50"] > at["ResNet with BN, 50"] and at["Looks-Linear, 50"] > 0.99
        and lines[0] > lines[1] + 0.2
    )  # fmt: skip
    sentence = (
        f"at {k} of {points} points apart the gradients' autocorrelation is {at['1 layer']:.2f} for 1 layer,"
        f" {at['plain, 24']:.2f} and {at['plain, 50']:.2f} for 24 and 50 plain layers, {at['BN, 24']:.2f} and"
        f" {at['BN, 50']:.2f} for 24 and 50 with BatchNorm (white noise {at['white noise']:.2f}, brown"
        f" {at['brown noise']:.2f}), {at['ResNet with BN, 50']:.2f} for a ResNet of 50 ({at['branches x 0.1, 50']:.2f}"
        f" with branches x 0.1) and {at['Looks-Linear, 50']:.2f} for Looks-Linear; after {deep['steps']} steps a"
        f" {deep['depth']}-layer net without shortcuts is right on {100 * lines[0]:.1f} % of test digits with"
        f" Looks-Linear weights and on {100 * lines[1]:.1f} % with Kaiming's"
    )
    shown = {name: c[0] / np.abs(c[0]).max() for name, c in curves.items()}
    numbers = {"x": grid[:, 0], "lag": k, "autocorrelation": found, "gradients": shown, "deep": deep, "width": width}
    return sentence, holds, numbers


def draw(figure: Any, data: dict[str, Any]) -> None:
    grid = figure.add_gridspec(3, 10)
    for i, (name, curve) in enumerate(data["gradients"].items()):
        axes = figure.add_subplot(grid[i // 5, 2 * (i % 5) : 2 * (i % 5) + 2])
        axes.plot(data["x"], floats(curve), lw=0.8, color=COLORS.get(name, f"C{i}"))
        axes.set(ylim=(-1.1, 1.1), yticks=[], xlabel="x" if i > 4 else "", ylabel="df/dx" if i % 5 == 0 else "")
        axes.set_title(name, fontsize=9)
    left, right = figure.add_subplot(grid[2, :6]), figure.add_subplot(grid[2, 6:])
    step = data["x"][1] - data["x"][0]
    for i, (name, values) in enumerate(data["autocorrelation"].items()):
        left.plot(np.arange(len(values)) * step, floats(values), color=COLORS.get(name, f"C{i}"), label=name)
    left.set(xlabel="distance of two inputs", ylabel="autocorrelation of gradients", ylim=(-0.3, 1.05))
    deep = data["deep"]
    for name in ("looks-linear", "Kaiming"):
        accuracy = deep[name]["test_accuracy"]
        right.plot(smooth(deep[name]["losses"]), label=f"{name} (test accuracy {100 * accuracy:.1f} %)")
    right.set(title=f"{deep['depth']} layers without shortcuts, on digits", xlabel="step", ylabel="training loss")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, ncols=2 if axes is left else 1)


shattering = experiment("shattering", measure, draw, size=(12.5, 7.5), data=("digits",))
