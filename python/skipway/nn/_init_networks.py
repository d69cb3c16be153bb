"""Initial values of whole networks, and a report of what they do to a signal."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import _core
from .._core import Tensor
from ..autograd import no_grad
from . import init


@dataclass(frozen=True)
class LayerGain:
    """What a layer's initial weight does to a signal.

    gain: root mean square of the output, before the bias, over that of an input of independent numbers of mean 0:
        sqrt(fan_in * mean(w^2)). Kaiming's is sqrt(2), to make up for a ReLU that halves the mean square.
    fan_in: inputs that one output sees, without padding.
    std: of the weight.
    output_std: of the output for the data, where the scheme has looked at data; else None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    fan_in: float
    std: float
    gain: float
    output_std: float | None = None

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        seen = "" if self.output_std is None else f"  output std {self.output_std:.4g}"
        return (
            f"{self.name or '(model)':<28} {self.kind:<16} {size:<16} std {self.std:<10.4g} gain {self.gain:.4g}{seen}"
        )


@dataclass
class InitReport:
    """The scheme and a `LayerGain` per layer, in order; `report["layer1.0.conv1"]` is the one of that name."""

    scheme: str
    layers: list[LayerGain] = field(default_factory=list)

    def __iter__(self) -> Iterator[LayerGain]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: int | str) -> LayerGain:
        if isinstance(key, int):
            return self.layers[key]
        found = [layer for layer in self.layers if layer.name == key]
        if not found:
            raise KeyError(f"no layer {key!r}; there are {', '.join(layer.name for layer in self.layers)}")
        return found[0]

    def __str__(self) -> str:
        return "\n".join([f"{self.scheme}: {len(self)} layers", *(f"  {layer}" for layer in self.layers)])


_FILLS: dict[str, Callable[..., Tensor]] = {
    "average_normal": init.average_normal_,
    "kaiming_normal": functools.partial(init.kaiming_normal_, nonlinearity="relu"),
    "kaiming_uniform": functools.partial(init.kaiming_uniform_, nonlinearity="relu"),
    "normal": functools.partial(init.normal_, std=0.01),
    "orthogonal": init.orthogonal_,
    "trunc_normal": functools.partial(init.trunc_normal_, std=0.02),
    "xavier_normal": init.xavier_normal_,
    "xavier_uniform": init.xavier_uniform_,
}


def _layers(op: str, model: Any) -> list[tuple[str, Any]]:
    """The linear layers and convolutions with their names."""
    from .modules import Linear, Module
    from .modules.conv import _ConvNd

    if not isinstance(model, Module):
        raise TypeError(f"{op}: expected model to be a module, got {model!r:.80}")
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, (Linear, _ConvNd))]
    for name, m in found:
        if not isinstance(m.weight, Tensor) or type(m.weight).__name__ == "UninitializedParameter":
            raise ValueError(f"{op}: layer {name!r} has no weight yet; call the model on a batch first")
    return found


def _fan_in(layer: Any) -> float:
    shape = tuple(layer.weight.shape)
    if getattr(layer, "transposed", False):
        return shape[0] // layer.groups * math.prod(shape[2:]) / math.prod(layer.stride)
    return float(math.prod(shape[1:]))


def _gain(name: str, layer: Any, output_std: float | None = None) -> LayerGain:
    weight = layer.weight.detach().cpu().numpy().astype("float64")
    square, std = (float((weight**2).mean()), float(weight.std())) if weight.size else (0.0, 0.0)
    fan_in = _fan_in(layer)
    return LayerGain(name, type(layer).__name__, weight.shape, fan_in, std, math.sqrt(fan_in * square), output_std)


def gains(model: Any) -> InitReport:
    """The gains of a model's linear layers and convolutions as they are."""
    return InitReport("as it is", [_gain(name, m) for name, m in _layers("gains", model)])


def apply(model: Any, scheme: str | Callable[[Tensor], Any], *, bias: float | None = 0.0, **options: Any) -> InitReport:
    """Fills the weights of all linear layers and convolutions, and reports each layer's gain; `print` it.

    model: other layers (normalization, embedding, projections of attention) keep their values.
    scheme: a function that fills a weight, or the name of one of this module:
        "xavier_normal", "xavier_uniform" (Glorot and Bengio 2010), "kaiming_normal", "kaiming_uniform" (He et al. 2015,
        for relu), "average_normal", "orthogonal" (Saxe et al. 2014), "normal" (std 0.01 as of Krizhevsky et al. 2012),
        "trunc_normal" (std 0.02); "looks_linear" (Balduzzi et al. 2017), which mirrors a layer if the activation
        before it, in the order of `model.modules()`, is a `CReLU`; "lsuv" (Mishkin and Matas 2016), with `data=`.
    bias: what biases become; None leaves them.
    options: of the function, as `mode="fan_out"`, `gain=2.0`, `std=0.05` or `generator=`.

    Raises ValueError for an unknown name, listing the known ones, and for a lazy layer without a weight.
    """
    names = sorted([*_FILLS, "looks_linear", "lsuv"])
    if not callable(scheme) and scheme not in names:
        raise ValueError(f"apply: unknown scheme {scheme!r}; expected a function or one of {', '.join(names)}")
    if scheme == "lsuv" and "data" not in options:
        raise ValueError("apply: scheme 'lsuv' expects data=, a batch of inputs that it measures outputs with")
    layers = _layers("apply", model)
    if scheme == "lsuv":
        _fill_biases(layers, bias)
        return lsuv_(model, **options)
    if scheme == "looks_linear":
        mirrored = _after_crelu(model)
        for _, m in layers:
            fill = init.looks_linear_ if id(m) in mirrored else init.orthogonal_
            fill(m.weight, **options)
    else:
        fill_any: Callable[..., Any] = scheme if callable(scheme) else _FILLS[scheme]
        with no_grad():
            for _, m in layers:
                fill_any(m.weight, **options)
    _fill_biases(layers, bias)
    shown = getattr(scheme, "__name__", str(scheme)) if callable(scheme) else scheme
    return InitReport(shown, [_gain(name, m) for name, m in layers])


def _fill_biases(layers: list[tuple[str, Any]], bias: float | None) -> None:
    for _, m in layers:
        if bias is not None and m.bias is not None:
            init.constant_(m.bias, bias)


def _after_crelu(model: Any) -> set[int]:
    from .modules import CReLU, Linear
    from .modules.conv import _ConvNd

    mirrored, doubled = set(), False
    for m in model.modules():
        if isinstance(m, CReLU):
            doubled = True
        elif isinstance(m, (Linear, _ConvNd)):
            if doubled:
                mirrored.add(id(m))
            doubled = False
    return mirrored


class _Reached(BaseException):
    """Ends a run at a layer whose output is all that was wanted; not an Exception, so that nothing names a layer."""


class _Run:
    """Runs a model on data as often as wanted, and leaves no trace but in weights."""

    def __init__(self, model: Any, data: Any) -> None:
        self.model = model
        self.args = tuple(data) if isinstance(data, (tuple, list)) else (data,)

    def __enter__(self) -> _Run:
        from .modules.batchnorm import _BatchNorm

        self.modes = [(m, m.training) for m in self.model.modules()]
        self.buffers = [(b, b.clone()) for b in self.model.buffers()]
        self.model.eval()
        for m, _ in self.modes:
            if isinstance(m, _BatchNorm):
                m.train()  # its running statistics know nothing yet
        return self

    def __exit__(self, *_: Any) -> None:
        for m, training in self.modes:
            m.training = training
        with no_grad():
            for b, before in self.buffers:
                b.copy_(before)

    def order(self, layers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Those layers that the model calls, in the order of their first calls."""
        called: dict[int, None] = {}
        hooks = [m.register_forward_hook(lambda m, _, __: called.setdefault(id(m))) for _, m in layers]
        try:
            with no_grad():
                self.model(*self.args)
        finally:
            for hook in hooks:
                hook.remove()
        known = {id(m): (name, m) for name, m in layers}
        return [known[key] for key in called]

    def variance(self, layer: Any) -> float:
        """Of the output of a layer, at its first call."""
        seen: list[float] = []

        def stop(_: Any, __: Any, output: Tensor) -> None:
            seen.append(float(output.to(_core.float32).var(correction=0).item()))
            raise _Reached

        hook = layer.register_forward_hook(stop)
        try:
            with no_grad():
                self.model(*self.args)
        except _Reached:
            pass
        finally:
            hook.remove()
        return seen[0]


def lsuv_(
    model: Any, data: Any, tol: float = 0.1, max_trials: int = 10, orthogonal: bool = True, generator: Any = None
) -> InitReport:
    """Layer-sequential unit variance (Mishkin and Matas 2016, algorithm 1): layer by layer, in the order of calls, the
    weight is divided by the standard deviation of the layer's output until its variance is within `tol` of 1.

    model: biases stay as they are; running statistics and modes are put back. Dropout is off, BatchNorm uses the batch.
    data: a batch, or a tuple of the model's arguments.
    tol, max_trials: Tol_var and T_max of the paper.
    orthogonal: begin with `orthogonal_` weights, as the paper does; False keeps those there are.

    Returns the gains, with the standard deviations of the outputs; layers that the model does not call are left out.
    Raises ValueError naming the layer whose output is constant or not finite.
    """
    if tol <= 0 or max_trials < 1:
        raise ValueError(f"lsuv_: expected tol above 0 and max_trials of at least 1, got {tol} and {max_trials}")
    layers = _layers("lsuv_", model)
    if orthogonal:
        for _, m in layers:
            init.orthogonal_(m.weight, generator=generator)
    report = InitReport("lsuv")
    with _Run(model, data) as run:
        for name, m in run.order(layers):
            variance = run.variance(m)
            for _ in range(max_trials):
                if not (math.isfinite(variance) and variance > 0):
                    raise ValueError(f"lsuv_: the output of layer {name!r} has variance {variance} for this data")
                if abs(variance - 1) < tol:
                    break
                with no_grad():
                    m.weight.mul_(1 / math.sqrt(variance))
                variance = run.variance(m)
            report.layers.append(_gain(name, m, math.sqrt(variance)))
    return report


def zero_gamma_(model: Any) -> list[str]:
    """Weight 0 for the normalization that ends the branch of each residual block, so that blocks begin as their
    shortcuts (Goyal et al. 2017, section 5.1). Returns the names of these normalizations.

    A block is a `Residual`, or a module with a child or attribute named downsample or shortcut. Where a normalization
    does not end the branch, as with pre-activation, nothing changes: its zeros would stop the gradient as well.
    """
    names = {id(m): name for name, m in model.named_modules()}
    found = [last for m in model.modules() if (last := _last_norm(m)) is not None]
    for norm in found:
        init.zeros_(norm.weight)
    return [names[id(norm)] for norm in found]


def _last_norm(block: Any) -> Any:
    from .modules import Identity, Linear, Residual, Sequential, StochasticDepth
    from .modules._affine import AffineModule
    from .modules.conv import _ConvNd
    from .modules.dropout import _DropoutNd
    from .modules.normalization import RMSNorm

    def ends(children: Any) -> Any:
        for child in reversed(list(children)):
            if isinstance(child, Sequential):
                return ends(child.children())
            if not isinstance(child, (_DropoutNd, Identity, StochasticDepth)):
                return child
        return None

    if hasattr(block, "last_norm"):
        last = block.last_norm
    elif isinstance(block, Residual):
        last = ends([block.body])
        last = None if getattr(last, "activation", None) is not None else last
    elif hasattr(block, "downsample") or hasattr(block, "shortcut"):
        own = [m for name, m in block.named_children() if name not in ("downsample", "shortcut")]
        last = ends(m for m in own if isinstance(m, (AffineModule, RMSNorm, Linear, _ConvNd)))
    else:
        return None
    fits = isinstance(last, (AffineModule, RMSNorm)) and last.weight is not None
    return last if fits else None
