"""What each layer does to a signal going forward and to its gradient coming back."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import nn

from .._frame import Bench, experiment, floats

# label -> activation, weights
SCHEMES: dict[str, tuple[str, Any]] = {
    "normal 0.01, tanh": ("tanh", lambda w: nn.init.normal_(w, std=0.01)),
    "normal 0.05, tanh": ("tanh", lambda w: nn.init.normal_(w, std=0.05)),
    "Xavier, tanh": ("tanh", nn.init.xavier_normal_),
    "Xavier, ReLU": ("relu", nn.init.xavier_normal_),
    "Kaiming, ReLU": ("relu", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
}
VARIANTS = {"plain": "layers alone", "bn": "BatchNorm", "ln": "LayerNorm", "shortcut": "shortcuts"}
EDGES = np.linspace(-2.0, 2.0, 41)


class Stack(nn.Module):
    """`depth` times linear, norm, activation, with or without the identity around each."""

    def __init__(self, width: int, depth: int, scheme: str, variant: str) -> None:
        super().__init__()
        activation, fill = SCHEMES[scheme]
        self.shortcut = variant == "shortcut"
        norm = {"bn": nn.BatchNorm1d, "ln": nn.LayerNorm}.get(variant)
        layers = []
        for _ in range(depth):
            linear = nn.Linear(width, width, bias=False)
            fill(linear.weight)
            act = nn.Tanh() if activation == "tanh" else nn.ReLU()
            layers.append(nn.Sequential(linear, *([norm(width)] if norm else []), act))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Any) -> Any:
        signals = [x]
        for layer in self.layers:
            signals.append(signals[-1] + layer(signals[-1]) if self.shortcut else layer(signals[-1]))
        return signals


def _statistics(model: Stack, x: Any, grad: Any) -> dict[str, list]:
    signals = model(x.detach().requires_grad_())
    for s in signals[1:]:
        s.retain_grad()
    (signals[-1] * grad).sum().backward()
    forward = [s.detach().cpu().numpy() for s in signals]
    backward = [s.grad.cpu().numpy() for s in signals]
    shares = [np.histogram(np.clip(f, EDGES[0], EDGES[-1]), EDGES)[0] / f.size for f in forward]
    return {
        "mean": [float(f.mean(dtype=np.float64)) for f in forward],
        "std": [float(f.std(dtype=np.float64)) for f in forward],
        "zeros": [float((f == 0).mean()) for f in forward],
        "gradient_std": [float(b.std(dtype=np.float64)) for b in backward],
        "histogram": [[round(float(v), 4) for v in s] for s in shares],
    }


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """The standard deviation of the activations of each layer of a deep MLP, forward, and of their gradients, backward,
    at the start, for five initializations, each alone, with BatchNorm, with LayerNorm and with identity shortcuts.

    With n inputs per neuron, weights of variance 1/n keep the signal of a linear layer (Glorot and Bengio 2010,
    equation 10), and of tanh's near 0; a ReLU halves the mean square, which variance 2/n makes up for (He et al. 2015,
    equation 10). Normalization brings any scale back to 1, and with a shortcut the signal grows instead of vanishing.
    """
    width, samples = bench.pick(500, 128), bench.pick(256, 64)
    depths = bench.pick([10, 20, 50, 100], [10, 30])
    x = sw.randn(samples, width).to(bench.device)
    grad = sw.randn(samples, width).to(bench.device)
    cases = [(d, s, v) for d in depths for s in SCHEMES for v in VARIANTS]
    runs: dict[str, Any] = {}
    for depth, scheme, variant in bench.bar(cases, "networks"):
        model = Stack(width, depth, scheme, variant).to(bench.device)
        found = _statistics(model, x, grad)
        if depth != depths[0]:
            del found["histogram"]
        runs.setdefault(str(depth), {}).setdefault(scheme, {})[variant] = found
    deep = runs[str(depths[-1])]

    def last(scheme: str, variant: str = "plain", what: str = "std") -> float:
        return float(deep[scheme][variant][what][-1 if what == "std" else 0])

    kept, lost = last("Kaiming, ReLU"), last("Xavier, ReLU")
    expected = 2 ** (-depths[-1] / 2)
    normed = [last(s, v) for s in ("Xavier, ReLU", "Kaiming, ReLU") for v in ("bn", "ln")]
    holds = (
        0.05 < kept < 10
        and 0.05 < lost / expected < 20
        and last("normal 0.01, tanh") < 1e-6
        and all(0.3 < v < 1.1 for v in normed)
        and last("Xavier, ReLU", "shortcut") > 10
    )
    sentence = (
        f"after {depths[-1]} layers of ReLU the signal (1 at the input) has a standard deviation of {kept:.2g} with"
        f" Kaiming weights and of {lost:.1e} with Xavier's (2^(-{depths[-1] // 2}) = {expected:.1e} is what theory"
        f" says), and the gradient at the input is {last('Kaiming, ReLU', what='gradient_std'):.2g} against"
        f" {last('Xavier, ReLU', what='gradient_std'):.1e}; BatchNorm or LayerNorm hold the signal at"
        f" {min(normed):.2g} to {max(normed):.2g} for both, and shortcuts let it grow to"
        f" {last('Xavier, ReLU', 'shortcut'):.1e} and {last('Kaiming, ReLU', 'shortcut'):.1e}"
    )
    return sentence, holds, {"width": width, "samples": samples, "depths": depths, "edges": EDGES, "runs": runs}


def draw(figure: Any, data: dict[str, Any]) -> None:
    depths = data["depths"]
    deep, shallow = data["runs"][str(depths[-1])], data["runs"][str(depths[0])]
    grid = figure.add_gridspec(3, 20)
    for row, (what, title) in enumerate((("std", "activations, std"), ("gradient_std", "gradients, std"))):
        for column, (variant, name) in enumerate(VARIANTS.items()):
            axes = figure.add_subplot(grid[row, 5 * column : 5 * column + 5])
            for i, scheme in enumerate(SCHEMES):
                values = floats(deep[scheme][variant][what])
                axes.plot(np.maximum(values, 1e-40), color=f"C{i}", label=scheme, lw=1.4)
            axes.set(yscale="log", ylim=(1e-20, 1e20), title=name if row == 0 else "", xlabel="layer")
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(title)
            if row == 0 and column == 3:
                axes.legend(fontsize=7, loc="lower left")
    edges = floats(data["edges"])
    for i, scheme in enumerate(SCHEMES):
        axes = figure.add_subplot(grid[2, 4 * i : 4 * i + 4])
        shares = floats(shallow[scheme]["plain"]["histogram"]).T
        extent = (-0.5, shares.shape[1] - 0.5, edges[0], edges[-1])
        axes.imshow(np.log10(shares + 1e-4), aspect="auto", origin="lower", extent=extent, cmap="magma")
        axes.set(title=scheme, xlabel="layer", ylabel="value (share of neurons, log)" if i == 0 else "")
        axes.title.set_fontsize(9)
    figure.suptitle(f"A signal through {depths[-1]} layers of {data['width']}, and values in {depths[0]} layers")


signal = experiment("signal", measure, draw, size=(13, 9))
