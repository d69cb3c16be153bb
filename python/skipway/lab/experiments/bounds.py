"""The singular values of the layers as bounds on the gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import skipway as sw
from skipway import nn

from .._frame import Bench, experiment, floats

SLOPE = {"sigmoid": 0.25, "tanh": 1.0, "relu": 1.0}  # the largest derivative
# label -> activation, weights
CASES: dict[str, tuple[str, Any]] = {
    "sigmoid, Xavier": ("sigmoid", nn.init.xavier_normal_),
    "tanh, Xavier": ("tanh", nn.init.xavier_normal_),
    "tanh, normal with gain 2": ("tanh", lambda w: nn.init.xavier_normal_(w, gain=2.0)),
    "ReLU, Xavier": ("relu", nn.init.xavier_normal_),
    "ReLU, Kaiming": ("relu", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
    "ReLU, normal with gain 2": ("relu", lambda w: nn.init.xavier_normal_(w, gain=2.0)),
    "linear, orthogonal": ("linear", nn.init.orthogonal_),
}


def conv_spectrum(kernel: np.ndarray, size: int) -> np.ndarray:
    """The singular values of a convolution (out, in, k, k) on `size` x `size` pixels that wrap around, in falling
    order.

    Those of the matrices of its Fourier transform, one per frequency (Sedghi et al. 2019, theorem 6).
    """
    if kernel.ndim != 4 or max(kernel.shape[2:]) > size:
        raise ValueError(f"conv_spectrum: expected (out, in, k, k) with k up to {size}, got {kernel.shape}")
    transform = np.fft.fft2(kernel.astype(np.float64), (size, size), axes=(2, 3)).transpose(2, 3, 0, 1)
    return np.sort(np.linalg.svd(transform, compute_uv=False).ravel())[::-1]


def _conv_matrix(kernel: np.ndarray, size: int, device: Any) -> np.ndarray:
    """The same convolution as a matrix, by running it on every unit picture."""
    out, inputs, k = kernel.shape[:3]
    units = sw.from_numpy(np.eye(inputs * size * size).reshape(-1, inputs, size, size)).to(device)
    layer = nn.Conv2d(inputs, out, k, padding=k // 2, padding_mode="circular", bias=False).double().to(device)
    with sw.no_grad():
        layer.weight.copy_(sw.from_numpy(kernel.astype(np.float64)))
        return layer(units).cpu().numpy().reshape(len(units), -1).T


def _gradients(activation: str, fill: Any, width: int, depth: int, device: Any) -> dict[str, Any]:
    """log10 of |gradient at layer l| / |gradient at the output| for one sample, and of its bounds."""
    f = {"sigmoid": sw.sigmoid, "tanh": sw.tanh, "relu": sw.relu, "linear": lambda t: t}[activation]
    weights = []
    for _ in range(depth):
        w = sw.empty(width, width, dtype=sw.float64)
        weights.append(fill(w).to(device))
    signals = [sw.randn(1, width, dtype=sw.float64).to(device).requires_grad_()]
    before = []
    for w in weights:
        before.append(signals[-1].matmul(w.t()))
        signals.append(f(before[-1]))
    slopes = []
    for z in before:
        leaf = z.detach().requires_grad_()
        f(leaf).sum().backward()
        slopes.append(leaf.grad.cpu().numpy()[0])
    for s in signals[1:]:
        s.retain_grad()
    signals[-1].backward(sw.randn(1, width, dtype=sw.float64).to(device))
    norms = [float(np.linalg.norm(s.grad.cpu().numpy())) for s in signals]
    measured = [_log(n / norms[-1]) for n in norms]
    upper, lower, free, tiny = [0.0], [0.0], [0.0], [0.0]
    for w, d in zip(reversed(weights), reversed(slopes), strict=True):
        matrix = w.cpu().numpy()
        values = np.linalg.svd(d[:, None] * matrix, compute_uv=False)
        own = np.linalg.svd(matrix, compute_uv=False)
        upper.append(upper[-1] + _log(values[0]))
        lower.append(lower[-1] + _log(values[-1]))
        free.append(free[-1] + _log(own[0] * SLOPE.get(activation, 1.0)))
        tiny.append(tiny[-1] + _log(own[-1] * np.abs(d).min()))
    return {
        "measured": measured, "upper": upper[::-1], "lower": lower[::-1], "upper_of_weights": free[::-1],
        "lower_of_weights": tiny[::-1],
    }  # fmt: skip


def _log(value: float) -> float:
    return math.log10(value) if value > 1e-300 else -math.inf


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """The norm of the gradient layer by layer, between the products of the largest and of the smallest singular values.

    With D the derivatives of the activation, a layer multiplies the gradient by (D W)^T, so that its norm changes by a
    factor between the smallest and the largest singular value of D W, and no more than max|D| times that of W (Pascanu
    et al. 2013, section 2.1). For a ReLU the lower bound is 0: a gradient may live on dead neurons alone. A
    convolution's singular values are found through the FFT (Sedghi et al. 2019), and compared with those of its matrix.
    """
    width, depth = bench.pick((64, 50), (32, 20))
    runs = {
        name: _gradients(activation, fill, width, depth, bench.device)
        for name, (activation, fill) in bench.bar(CASES.items(), "networks")
    }
    inside = all(
        low - 1e-9 <= m <= high + 1e-9 and high <= free + 1e-9
        for r in runs.values()
        for low, m, high, free in zip(r["lower"], r["measured"], r["upper"], r["upper_of_weights"], strict=True)
    )
    spectra, worst = _spectra(bench)
    at = {name: r["measured"][0] for name, r in runs.items()}
    holds = (
        inside and worst < 1e-10 and at["sigmoid, Xavier"] < -8 and at["ReLU, normal with gain 2"] > 2
        and abs(at["ReLU, Kaiming"]) < 1.5 and abs(at["linear, orthogonal"]) < 1e-6
    )  # fmt: skip
    sentence = (
        f"through {depth} layers of {width} the gradient changes by 10^{at['sigmoid, Xavier']:.1f} with sigmoid,"
        f" 10^{at['tanh, Xavier']:.1f} with tanh, 10^{at['ReLU, Xavier']:.1f} with ReLU and Xavier,"
        f" 10^{at['ReLU, Kaiming']:.1f} with ReLU and Kaiming and 10^{at['ReLU, normal with gain 2']:.1f} with weights"
        f" of gain 2, {'always' if inside else 'NOT always'} within the products of the singular values (of D W: up to"
        f" 10^{runs['ReLU, Kaiming']['upper'][0]:.1f} for ReLU and Kaiming); the FFT gives a convolution's singular"
        f" values to {worst:.0e} of the largest"
    )
    return sentence, holds, {"width": width, "depth": depth, "runs": runs, "spectra": spectra, "fft_error": worst}


def _spectra(bench: Bench) -> tuple[dict[str, Any], float]:
    channels, size = bench.pick((16, 16), (8, 8))
    fills = {
        "Kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "Xavier": nn.init.xavier_normal_,
        "orthogonal rows": nn.init.orthogonal_,
        "dirac": nn.init.dirac_,
    }
    spectra = {}
    for name, fill in fills.items():
        kernel = fill(sw.empty(channels, channels, 3, 3, dtype=sw.float64)).numpy()
        spectra[name] = conv_spectrum(kernel, size)[:: max(1, channels * size * size // 128)]
    small = nn.init.kaiming_normal_(sw.empty(3, 4, 3, 3, dtype=sw.float64)).numpy()
    direct = np.linalg.svd(_conv_matrix(small, 8, bench.device), compute_uv=False)
    through = conv_spectrum(small, 8)
    return spectra, float(np.abs(direct[: len(through)] - through).max() / direct[0])


def draw(figure: Any, data: dict[str, Any]) -> None:
    grid = figure.subplots(2, 4)
    layers = np.arange(data["depth"] + 1)
    for axes, (name, run) in zip(grid.ravel(), data["runs"].items(), strict=False):
        for key, label, style in (
            ("upper_of_weights", "largest slope x largest of W", "C1--"),
            ("upper", "largest of D W", "C1-"),
            ("measured", "measured", "k-"),
            ("lower", "smallest of D W", "C0-"),
            ("lower_of_weights", "smallest slope x smallest of W", "C0--"),
        ):
            axes.plot(layers, floats(run[key]), style, label=label, lw=2 if key == "measured" else 1.2)
        top = max(3.0, float(np.nanmax(floats(run["upper_of_weights"]))))
        bottom = float(np.nanmin(floats(run["measured"])))
        axes.set(title=name, xlabel="layer", ylim=(2.5 * min(bottom, -4) - 2, 1.1 * top))
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("log10 of gradient / gradient at the output")
    grid[0][0].legend(fontsize=7)
    axes = grid[1][3]
    for name, values in data["spectra"].items():
        axes.plot(np.linspace(0, 1, len(values)), floats(values), label=name)
    axes.set(title="a 3x3 convolution's singular values", xlabel="rank (share)", yscale="log", ylim=(1e-2, 10))
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


bounds = experiment("bounds", measure, draw, size=(15, 7))
