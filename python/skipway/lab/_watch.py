"""An instrument on a network while it trains."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import skipway as sw
from skipway import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_ELEMENTS = 1 << 14  # of a tensor that are looked at

VANISHING, EXPLODING, DEAD, LOUD = 1e-4, 1e4, 0.5, 0.1


TEXTS = {
    "batch of 1": "BatchNorm in training mode sees a batch of 1: its statistics are those of one sample; use larger"
    " batches, GroupNorm, or freeze() it",
    "frozen": "the weights of this BatchNorm are frozen but its running statistics still move ({drift:.1e} standard"
    " deviations since the last look): put it in eval mode, or freeze() it",
    "order": "this BatchNorm comes after the dropout {dropout}: its running variance, taken with dropout, does not fit"
    " evaluation without (Li et al. 2019, section 3); put dropout behind the last BatchNorm",
    "finite": "exploding: {what} are no longer finite",
    "dead": "dead ReLUs: {share:.0f} % of the units have been 0 for every sample of the last looks; try a lower"
    " learning rate, or Kaiming initialization",
    "update": "one step changes the weight by {share:.0f} % of its norm (healthy is some 0.1 %); try a lower learning"
    " rate",
    "vanishing": "vanishing: the {what} here is {ratio:.1e} of that at {other}; try another initialization,"
    " normalization or shortcuts",
    "exploding": "exploding: the {what} here is {ratio:.1e} times that at {other}; try another initialization,"
    " normalization or a lower learning rate",
}


class WatchWarning(UserWarning):
    """Something that `watch` saw and that keeps networks from learning."""


def _some(t: Any) -> np.ndarray:
    """At most some 16,000 elements of a tensor, whole samples (or filters) first, as float32 (N, ...)."""
    t = t.detach()
    per = max(1, t.numel() // max(1, t.shape[0])) if t.dim() else 1
    t = t[: max(1, _ELEMENTS // per)] if t.dim() else t.reshape(1)
    return t.to(sw.float32).cpu().numpy()


def _rms(values: np.ndarray) -> float:
    flat = values.ravel()
    with np.errstate(all="ignore"):
        return math.sqrt(float(np.dot(flat, flat)) / max(1, flat.size))


class Layer:
    """What was seen of one layer: a list per quantity, with an entry for each look.

    mean, std, zeros: of the output; dead: the share of channels that were never above 0 in the last looks, None where
    the layer is no rectifier. gradient: root mean square of the loss's gradient in the output; update: |change of the
    weight in a step| / |weight|. drift: the change of running means in a step, in running standard deviations.
    """

    QUANTITIES = ("mean", "std", "zeros", "dead", "gradient", "update", "drift")

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module, self.kind = name, module, type(module).__name__
        self.seen: dict[str, list[float | None]] = {q: [] for q in self.QUANTITIES}
        self.alive: list[np.ndarray] = []
        self.rectifies = "relu" in self.kind.lower() or getattr(module, "activation", None) is not None

    def last(self, quantity: str) -> float | None:
        """The latest value that is known."""
        return next((v for v in reversed(self.seen[quantity]) if v is not None), None)

    def look(self, output: Any) -> None:
        values = _some(output)
        for q in self.QUANTITIES:
            self.seen[q].append(None)
        with np.errstate(all="ignore"):
            mean = float(values.mean())
        self.seen["mean"][-1] = mean
        self.seen["std"][-1] = _rms(values - mean) if math.isfinite(mean) else mean
        zeros = 1.0 - np.count_nonzero(values) / max(1, values.size)
        self.seen["zeros"][-1] = zeros
        if self.rectifies and values.ndim > 1 and zeros > 0 and float(values.min()) >= 0:
            channels = 1 if values.ndim > 2 else values.ndim - 1
            others = tuple(a for a in range(values.ndim) if a != channels)
            self.alive = [*self.alive[-4:], np.asarray((values > 0).any(axis=others))]
            if len(self.alive) > 2 and len({a.shape for a in self.alive}) == 1:
                self.seen["dead"][-1] = 1.0 - float(np.any(self.alive, axis=0).mean())

    def note(self, quantity: str, value: float) -> None:
        if self.seen[quantity]:
            self.seen[quantity][-1] = value


class Watch:
    """Records per layer while a model trains, and warns in words; made by `watch`, and a context manager.

    layers: name -> `Layer`, in the order of calls. steps: the training steps that were looked at.
    warnings: what was said, in order.
    """

    def __init__(self, model: nn.Module, every: int, quiet: bool) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"watch: expected a module, got {type(model).__name__}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"watch: every must be a whole number of at least 1, got {every!r}")
        self.model, self.every, self.quiet = model, every, quiet
        self.layers: dict[str, Layer] = {}
        self.steps: list[int] = []
        self.warnings: list[str] = []
        self.step = 0
        self._said: set[tuple[str, str]] = set()
        self._leaves = [(n, m) for n, m in model.named_modules() if not list(m.children())]
        self._hooks: list[Any] = []
        self._order: list[tuple[str, nn.Module]] = []
        self._means: dict[str, np.ndarray] = {}
        self._before: list[tuple[Layer, Any, np.ndarray, str]] = []
        self._handles = [model.register_forward_pre_hook(self._begin), model.register_forward_hook(self._end)]

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Looks at the last step and takes all hooks off the model."""
        self._finish()
        self._release()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    # ---- one step

    def _begin(self, model: nn.Module, args: Any) -> None:
        self._release()  # what a forward that failed may have left
        if not (model.training and sw.is_grad_enabled()):
            return
        self._finish()
        looking = self.step % self.every == 0
        self.step += 1
        if not looking:
            return
        self.steps.append(self.step - 1)
        self._order = []
        for name, module in self._leaves:
            self._hooks.append(module.register_forward_hook(self._looker(name)))

    def _looker(self, name: str) -> Any:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, sw.Tensor) or not output.dtype.is_floating_point or not output.numel():
                return
            if any(m is module for _, m in self._order):
                return  # a layer that is used again: its first call stands for it
            layer = self.layers.get(name)
            if layer is None:
                layer = self.layers[name] = Layer(name, module)
            self._order.append((name, module))
            layer.look(output)
            if isinstance(module, _NORMS):
                self._look_at_norm(layer, module, args)
            if output.requires_grad:
                output.register_hook(lambda g: layer.note("gradient", _rms(_some(g))))
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and weight.requires_grad:
                self._before.append((layer, weight, _some(weight).copy(), "update"))

        return look

    def _look_at_norm(self, layer: Layer, module: Any, args: Any) -> None:
        if not module.training:
            return
        if module.running_mean is not None:
            # taken after the batch has been counted: the next look compares two steps
            self._before.append((layer, module.running_mean, _some(module.running_mean).copy(), "drift"))
        if args and isinstance(args[0], sw.Tensor) and args[0].shape[0] == 1:
            self._say("batch of 1", layer.name)

    def _end(self, model: nn.Module, args: Any, output: Any) -> None:
        looked = bool(self._hooks)
        self._release()
        if looked:
            self._check_order()

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _finish(self) -> None:
        """At the next step: what the last look's step has changed, and what there is to say."""
        if not self.steps or self.step - 1 != self.steps[-1]:
            return
        pending, self._before = self._before, []
        if not pending and not self._order:
            return
        for layer, tensor, before, quantity in pending:
            after = _some(tensor)
            if quantity == "update":
                size = _rms(before)
                if size > 0 and after.shape == before.shape:
                    layer.note("update", _rms(after - before) / size)
        self._order = []
        self._drifts(pending)
        self._check_values()

    def _drifts(self, pending: list[tuple[Layer, Any, np.ndarray, str]]) -> None:
        for layer, _, mean, quantity in pending:
            if quantity != "drift":
                continue
            module: Any = layer.module
            old, self._means[layer.name] = self._means.get(layer.name), mean
            if old is None or old.shape != mean.shape:
                continue
            drift = _rms((mean - old) / np.sqrt(_some(module.running_var) + module.eps))
            layer.note("drift", drift)
            if module.weight is not None and not module.weight.requires_grad and drift > 0:
                self._say("frozen", layer.name, drift=drift)

    # ---- what there is to say

    def _say(self, kind: str, name: str, **values: Any) -> None:
        if (kind, name) in self._said:
            return
        self._said.add((kind, name))
        text = TEXTS[kind].format(**values)
        place = f"layer {name} ({self.layers[name].kind})" if name else "the model"
        message = f"step {self.steps[-1] if self.steps else 0}, {place}: {text}"
        self.warnings.append(message)
        if not self.quiet:
            warnings.warn(message, WatchWarning, stacklevel=2)

    def _check_order(self) -> None:
        dropped: str | None = None
        for name, module in self._order:
            if isinstance(module, _DROPOUTS) and module.training and module.p > 0:
                dropped = name
            elif isinstance(module, _NORMS) and module.training and dropped is not None:
                self._say("order", name, dropout=dropped)
                dropped = None

    def _check_values(self) -> None:
        present = [layer for layer in self.layers.values() if layer.seen["std"]]
        for layer in present:
            now = {q: values[-1] for q, values in layer.seen.items()}
            for q, what in (("std", "outputs"), ("gradient", "gradients")):
                if now[q] is not None and not math.isfinite(now[q]):  # type: ignore[arg-type]
                    self._say("finite", layer.name, what=what)
            for q, most in (("dead", DEAD), ("update", LOUD)):
                value = now[q]
                if value is not None and math.isfinite(value) and value > most:
                    self._say(q, layer.name, share=100 * value)
        self._compare(present, "gradient", reverse=True)
        self._compare(present, "std", reverse=False)

    def _compare(self, present: list[Layer], quantity: str, reverse: bool) -> None:
        """The end that the signal, or the gradient, reaches last against the one it starts from."""
        known = [(layer, v) for layer in present if (v := layer.seen[quantity][-1]) is not None and math.isfinite(v)]
        if len(known) < 3:
            return
        (far, end), (near, start) = (known[0], known[-1]) if reverse else (known[-1], known[0])
        if start <= 0 or VANISHING * start <= end <= EXPLODING * start:
            return
        what = "gradient" if quantity == "gradient" else "signal"
        kind = "vanishing" if end < start else "exploding"
        self._say(kind, far.name, what=what, ratio=end / start, other=near.name)

    # ---- what it shows

    def to_dict(self) -> dict[str, Any]:
        """Everything that was recorded, in lists and numbers."""
        layers = {n: {"kind": layer.kind, **layer.seen} for n, layer in self.layers.items()}
        return {"steps": self.steps, "warnings": self.warnings, "layers": layers}

    def __str__(self) -> str:
        """A table of the latest values, and the warnings."""
        width = max([5, *(len(n) for n in self.layers)])
        lines = [f"{'layer':{width}}  {'kind':14} " + " ".join(f"{q:>9}" for q in Layer.QUANTITIES)]
        for name, layer in self.layers.items():
            values = (layer.last(q) for q in Layer.QUANTITIES)
            shown = " ".join(f"{'' if v is None else format(v, '.2e'):>9}" for v in values)
            lines.append(f"{name:{width}}  {layer.kind[:14]:14} {shown}")
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def report(self, path: str | os.PathLike = "watch.html", title: str = "") -> Path:
        """Writes one HTML page with the warnings, a table and, with matplotlib, pictures; the page loads nothing."""
        from ._watch_report import page

        self._finish()
        place = Path(path).expanduser()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page(self, title or type(self.model).__name__), encoding="utf-8")
        return place

    def _repr_html_(self) -> str:
        from ._watch_report import body

        return body(self)


def watch(model: nn.Module, every: int = 20, quiet: bool = False) -> Watch:
    """Puts hooks on a model that record, while it trains in whatever loop, what its layers do.

        with sw.lab.watch(model) as seen:
            ...  # train
        print(seen)
        seen.report("watch.html")

    Every `every`-th forward pass in training mode is looked at: mean and standard deviation of each layer's output, the
    share of zeros and of dead units, the gradient in it, the size of the weights' updates and the drift of running
    statistics. Warnings (`WatchWarning`, once per kind and layer, unless `quiet`) say in words what is wrong:
    vanishing, exploding or no longer finite signals and gradients, dead ReLUs, updates that are too large, BatchNorm in
    training mode with a batch of 1, dropout before BatchNorm, frozen BatchNorm whose statistics still move. Numbers
    come from some 16,000 elements of each tensor. The model computes the same bits as without.

    Raises TypeError for anything but a module and ValueError for an `every` below 1.
    """
    return Watch(model, every, quiet)
