"""One pass through a model that sees every layer's shapes and leaves no trace in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import skipway as sw
from skipway import nn

from ._costs import WHOLE, Shape, is_lazy, output_shape

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass
class Call:
    """One call of a layer: its shapes with the batch, and whether its input depends on learned values."""

    name: str
    layer: Any
    given: Shape
    made: Shape
    learned_input: bool


def rows_of(model: nn.Module) -> list[tuple[str, Any]]:
    """The layers that are rows: those without layers inside, and those with parameters of their own."""
    found: list[tuple[str, Any]] = []
    inside: set[int] = set()
    for name, layer in model.named_modules():
        if id(layer) in inside:
            continue
        if isinstance(layer, WHOLE):
            inside.update(id(m) for m in layer.modules())
            found.append((name, layer))
        elif not any(True for _ in layer.children()) or any(True for _ in layer.parameters(recurse=False)):
            found.append((name, layer))
    return found


@contextmanager
def untouched(model: nn.Module, training: bool) -> Iterator[None]:
    """Puts every attribute and buffer of the model, and the random numbers, back where they were; inside, the model
    trains or not, and calls no hooks."""
    modules = list(model.modules())
    inner = ("_parameters", "_buffers", "_modules")
    before = [(dict(m.__dict__), [dict(getattr(m, n)) for n in inner]) for m in modules]
    buffers = [(b, b._version, b.detach().clone()) for b in model.buffers() if not nn.modules.lazy.is_lazy(b)]
    state = sw.get_rng_state()
    devices = range(sw.cuda.device_count()) if sw.cuda.is_initialized() else ()
    device_states = [sw.cuda.get_rng_state(i) for i in devices]
    try:
        for m in modules:
            m.__dict__["training"] = training
            for hooks in _HOOKS:
                m.__dict__[hooks] = OrderedDict()
        with sw.no_grad():
            yield
    finally:
        for m, (attributes, members) in zip(modules, before, strict=True):
            m.__dict__.clear()
            m.__dict__.update(attributes)
            for n, values in zip(inner, members, strict=True):
                current = getattr(m, n)
                current.clear()
                current.update(values)
        with sw.no_grad():
            for b, version, kept in buffers:
                if b._version != version:
                    b.copy_(kept)
        sw.set_rng_state(state)
        for i, device_state in zip(devices, device_states, strict=True):
            sw.cuda.set_rng_state(device_state, i)


def trace(model: nn.Module, inputs: tuple[Any, ...], training: bool, compute: bool) -> tuple[list[Call], str | None]:
    """The calls of the model's layers, and what stopped it, if anything did.

    Unless `compute`, layers whose output's shape is known are not run: zeros without memory of their own go on.
    """
    calls: list[Call] = []
    learned = [False]

    def watch(name: str, layer: Any) -> None:
        run = layer.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            given = next((a for a in (*args, *kwargs.values()) if isinstance(a, sw.Tensor)), None)
            shape = None if compute or given is None else output_shape(layer, tuple(given.shape))
            before = learned[0]
            if given is not None and shape is not None:
                out = sw.zeros((), dtype=given.dtype, device=given.device).expand(shape)
            else:
                if compute is False and is_lazy(layer):
                    raise ValueError(f"{name}: a lazy layer that has not seen an input")
                out = run(*args, **kwargs)
            first = _first_tensor(out)
            if given is not None and first is not None:
                calls.append(Call(name, layer, tuple(given.shape), tuple(first.shape), before))
            learned[0] = learned[0] or any(p.requires_grad for p in layer.parameters())
            return out

        layer.__dict__["forward"] = forward

    with untouched(model, training):
        for name, layer in rows_of(model):
            watch(name, layer)
        try:
            model(*inputs)
        except Exception as e:  # whatever the model's code raises
            return calls, f"{type(e).__name__}: {e}"
    return calls, None


def _first_tensor(value: Any) -> Any:
    if isinstance(value, sw.Tensor):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((t for t in map(_first_tensor, value) if t is not None), None)
    return None
