"""Folding BatchNorm into the layer before it, for inference.

With BatchNorm's running statistics, bn(conv(x)) = conv'(x) with
    weight' = weight * s,   bias' = (bias - mean) * s + beta,   s = gamma / sqrt(var + eps)   (per output channel)
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import skipway.nn.functional as F
from skipway import nn

from ._inference import Planned

_ACTIVATIONS = {"relu": F.relu}
_TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "bfloat16": 0.1, "float16": 0.02}


class FuseError(RuntimeError):
    """The fused model does not compute what the model computes."""


@dataclass
class FuseReport:
    """What :func:`fuse` did: ``fused`` holds (layer, BatchNorm) names, ``skipped`` BatchNorms with the reason.

    ``max_difference`` is the largest difference in any output for a random input, ``scale`` the largest output.
    """

    fused: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    max_difference: float = 0.0
    scale: float = 0.0
    input_shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        text = f"fused {len(self.fused)} BatchNorm layers; max difference {self.max_difference:.3g}"
        text += f" (outputs up to {self.scale:.3g}) for an input of shape {self.input_shape}"
        return text + "".join(f"\n  kept {name}: {why}" for name, why in self.skipped.items())


class FoldedNorm(nn.Module):
    """What is left of a BatchNorm layer after folding: the addition of the residual, and the activation."""

    def __init__(self, activation: str | None = None) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Any, residual: Any = None) -> Any:
        if residual is not None:
            return F.residual_add(x, residual, activation=self.activation)
        if self.activation is None:
            return x
        act = _ACTIVATIONS.get(self.activation) or getattr(F, self.activation)
        return act(x)

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}"


def fuse(model: nn.Module, input: Any = None, *, input_size: Sequence[int] | None = None, verbose: bool = False) -> Any:
    """A copy of ``model``, in eval mode, whose BatchNorm layers are folded into the convolution or linear layer that
    feeds them, wherever that layer stands. Additions of residuals and activations that belong to a BatchNorm layer
    stay.

    In inference (under ``no_grad``) a fused model made of the layers of residual networks runs as a plan of ops,
    without Python between them, and with additions and relu in the convolutions' own passes, on the CPU as on CUDA
    devices. Plans are made and checked at the first call for each size of image; with gradients, hooks, autocast or
    changed layers the model runs as it is written, and so it does in a CUDA graph's capture without such a call before.

    A run with a random input shows which layer feeds which BatchNorm, and checks that the outputs agree; a layer whose
    output is used elsewhere too is left as it is. ``fused.fuse_report`` says what was done and the largest difference.

    Args:
        model: left unchanged.
        input: an input to trace and check with; or
        input_size: its shape, (N, C, H, W); without both, a shape is tried that fits the first layer.
        verbose: print the report.

    Raises:
        FuseError: when outputs differ by more than rounding explains.
        ValueError: when no input was given and none of the usual sizes fits.
    """
    import skipway as sw

    fused = copy.deepcopy(model).eval()
    names = {id(m): name for name, m in fused.named_modules()}
    report = FuseReport()
    with sw.no_grad():
        x, expected, pairs = _trace(fused, _candidates(fused, input, input_size))
        folds = [_Fold(layer, norm) for layer, norm in pairs]
        tolerance = _TOLERANCE.get(str(x.dtype).rpartition(".")[2], _TOLERANCE["float32"])

        def check() -> bool:
            report.max_difference, report.scale = _difference(expected, fused(x))
            return _close(report, tolerance)

        for f in folds:
            f.do(fused)
        if not check():
            folds = _one_by_one(fused, folds, check, names, report)
            check()
    report.input_shape = tuple(x.shape)
    report.fused = [(names[id(f.layer)], names[id(f.norm)]) for f in folds]
    for name, m in fused.named_modules():
        if isinstance(m, _norm_types()):
            report.skipped.setdefault(name, "no convolution or linear layer feeds it alone")
    if not _close(report, tolerance):
        raise FuseError(
            f"fuse: outputs differ by {report.max_difference:.3g} (largest output {report.scale:.3g}) for a random"
            f" input of shape {report.input_shape}: does the model depend on more than its input?"
        )
    fused.fuse_report = report
    if "forward" not in fused.__dict__:
        fused.forward = Planned(fused, _agree, _noise_like)
    if verbose:
        print(report)
    return fused


def _norm_types() -> tuple[type, ...]:
    return nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


def _layer_types() -> tuple[type, ...]:
    return nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear


def _candidates(model: nn.Module, given: Any, size: Sequence[int] | None) -> list[Any]:
    import skipway as sw

    if given is not None:
        return [given]
    like = next((p for p in model.parameters()), None)
    dtype, device = (like.dtype, like.device) if like is not None else (sw.float32, sw.device("cpu"))

    def random(shape: Sequence[int]) -> Any:
        return _noise(shape, dtype, device)

    if size is not None:
        return [random(size)]
    first = next((m for m in model.modules() if isinstance(m, _layer_types())), None)
    if first is None:
        raise ValueError("fuse: the model has no convolution or linear layer; give an input")
    if isinstance(first, nn.Linear):
        return [random((2, first.in_features))]
    dims = 1 if isinstance(first, nn.Conv1d) else 3 if isinstance(first, nn.Conv3d) else 2
    return [random((2, first.in_channels, *([s] * dims))) for s in (32, 28, 64, 224, 8, 16)]


def _noise(shape: Sequence[int], dtype: Any, device: Any) -> Any:
    import skipway as sw

    # A fixed draw of its own, so that the library's generator does not move.
    values = np.random.Generator(np.random.Philox(7)).standard_normal(int(np.prod(shape))).astype(np.float32)
    return sw.from_numpy(values.reshape(tuple(shape))).to(device, dtype)


def _noise_like(x: Any) -> Any:
    return _noise(x.shape, x.dtype, x.device)


def _agree(expected: Any, got: Any) -> bool:
    report = FuseReport()
    report.max_difference, report.scale = _difference(expected, got)
    return _close(report, _TOLERANCE.get(str(expected.dtype).rpartition(".")[2], _TOLERANCE["float32"]))


def _trace(model: nn.Module, inputs: list[Any]) -> tuple[Any, Any, list[tuple[Any, Any]]]:
    """An input that fits, the model's output for it, and the (layer, norm) pairs that can be folded."""
    error: Exception | None = None
    for x in inputs:
        try:
            return (x, *_watch(model, x))
        except Exception as e:
            error = error or e
    raise ValueError(f"fuse: no input of a usual size fits the model ({error}); give input= or input_size=") from error


def _watch(model: nn.Module, x: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    made: dict[int, list[Any]] = {}  # layer -> its outputs
    fed: dict[int, list[Any]] = {}  # norm -> its inputs
    modules = {id(m): m for m in model.modules()}

    def layer_hook(layer: Any, args: Any, out: Any) -> None:
        made.setdefault(id(layer), []).append(out)

    def norm_hook(norm: Any, args: Any) -> None:
        fed.setdefault(id(norm), []).append(args[0])

    hooks = [m.register_forward_hook(layer_hook) for m in modules.values() if isinstance(m, _layer_types())]
    hooks += [m.register_forward_pre_hook(norm_hook) for m in modules.values() if isinstance(m, _norm_types())]
    try:
        expected = model(x)
    finally:
        for h in hooks:
            h.remove()
    maker = {id(out): (key, len(outs)) for key, outs in made.items() for out in outs}
    pairs = []
    for key, takes in fed.items():
        source, times = maker.get(id(takes[0]), (0, 0))
        if times == 1 and len(takes) == 1 and modules[key].running_mean is not None:
            pairs.append((modules[source], modules[key]))
    return expected, pairs


class _Fold:
    """A layer and the BatchNorm it feeds."""

    def __init__(self, layer: Any, norm: Any) -> None:
        self.layer, self.norm = layer, norm
        self.before = (layer.weight, layer.bias)
        self.folded = FoldedNorm(getattr(norm, "activation", None)).eval()

    def do(self, model: nn.Module) -> None:
        layer, norm = self.layer, self.norm
        w, mean, var = _array(layer.weight), _array(norm.running_mean), _array(norm.running_var)
        gamma = _array(norm.weight) if norm.weight is not None else np.ones_like(mean)
        beta = _array(norm.bias) if norm.bias is not None else np.zeros_like(mean)
        bias = _array(layer.bias) if layer.bias is not None else np.zeros_like(mean)
        s = gamma / np.sqrt(var + norm.eps)
        if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, kh, kw)
            g = layer.groups
            w = (w.reshape(g, -1, *w.shape[1:]) * s.reshape(g, 1, -1, 1, 1)).reshape(w.shape)
        else:
            w = w * s.reshape(-1, *([1] * (w.ndim - 1)))
        like = layer.weight
        layer.weight = nn.Parameter(_tensor(w, like))
        layer.bias = nn.Parameter(_tensor((bias - mean) * s + beta, like))
        _replace(model, norm, self.folded)

    def undo(self, model: nn.Module) -> None:
        self.layer.weight, self.layer.bias = self.before
        _replace(model, self.folded, self.norm)


def _array(t: Any) -> np.ndarray:
    return t.detach().cpu().double().numpy()


def _tensor(a: np.ndarray, like: Any) -> Any:
    import skipway as sw

    return sw.from_numpy(np.ascontiguousarray(a)).to(like.dtype).to(like.device)


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


def _one_by_one(
    fused: nn.Module, folds: list[_Fold], check: Any, names: dict[int, str], report: FuseReport
) -> list[_Fold]:
    """Undoes all folds and keeps those after which the output still agrees."""
    for f in folds:
        f.undo(fused)
    kept = []
    for f in folds:
        f.do(fused)
        if check():
            kept.append(f)
        else:
            f.undo(fused)
            report.skipped[names[id(f.norm)]] = f"the output of {names[id(f.layer)]} is used elsewhere too"
    return kept


def _outputs(value: Any) -> list[np.ndarray]:
    import skipway as sw

    if isinstance(value, sw.Tensor):
        return [_array(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [a for v in value for a in _outputs(v)]
    return []


def _difference(expected: Any, got: Any) -> tuple[float, float]:
    a, b = _outputs(expected), _outputs(got)
    if len(a) != len(b) or any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
        return float("inf"), 0.0
    largest = max((float(np.abs(x - y).max(initial=0)) for x, y in zip(a, b, strict=True)), default=0.0)
    return largest, max((float(np.abs(x).max(initial=0)) for x in a), default=0.0)


def _close(report: FuseReport, tolerance: float) -> bool:
    return report.max_difference <= tolerance * max(1e-3, report.scale)  # NaN is not close


class _CallableModule(types.ModuleType):
    """``skipway.fuse`` names this module once it is imported; calling it calls the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return fuse(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
