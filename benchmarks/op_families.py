"""Single ops other than convolutions for bench_ops.py: written once where both libraries spell them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import skipway as sw


class Case(NamedTuple):
    name: str
    shapes: tuple[tuple[int, ...], ...]  # the first of the image or rows, then what else takes a gradient
    run: Callable[..., Any]  # (library, *tensors)
    ours: Callable[..., Any] | None = None  # where skipway has a spelling of its own


def norm_add_relu(t: Any, x: Any, r: Any, w: Any, b: Any) -> Any:
    f = t.nn.functional
    return f.relu(f.batch_norm(x, None, None, w, b, True) + r)


def norm_add_relu_fused(t: Any, x: Any, r: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.batch_norm(x, None, None, w, b, True, residual=r, activation="relu")


def labels(t: Any, x: Any) -> Any:
    return t.arange(x.shape[0]) % x.shape[1]


IMAGE, SMALL, ROWS = (32, 64, 56, 56), (128, 16, 32, 32), (4096, 768)
CASES = [
    Case("batch_norm", (IMAGE, (64,), (64,)), lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, True)),
    Case("batch_norm + add + relu", (IMAGE, IMAGE, (64,), (64,)), norm_add_relu, norm_add_relu_fused),
    Case("batch_norm + add + relu, 16 channels", (SMALL, SMALL, (16,), (16,)), norm_add_relu, norm_add_relu_fused),
    Case("layer_norm", (ROWS, (768,), (768,)), lambda t, x, w, b: t.nn.functional.layer_norm(x, (768,), w, b)),
    Case("group_norm, 8 groups", (IMAGE, (64,), (64,)), lambda t, x, w, b: t.nn.functional.group_norm(x, 8, w, b)),
    Case("dropout", (ROWS,), lambda t, x: t.nn.functional.dropout(x, 0.1)),
    Case(
        "residual add + relu",
        (IMAGE, IMAGE),
        lambda t, x, y: t.nn.functional.relu(x + y),
        lambda t, x, y: t.nn.functional.residual_add(x, y, activation="relu"),
    ),
    Case("gelu", (ROWS,), lambda t, x: t.nn.functional.gelu(x)),
    Case("cross_entropy, 1000 classes", ((1024, 1000),), lambda t, x: t.nn.functional.cross_entropy(x, labels(t, x))),
    Case("softmax, 1000 classes", ((1024, 1000),), lambda t, x: t.nn.functional.softmax(x, 1)),
    Case("max_pool2d 3x3 /2", (IMAGE,), lambda t, x: t.nn.functional.max_pool2d(x, 3, 2, 1)),
    Case("avg_pool2d 2x2", (IMAGE,), lambda t, x: t.nn.functional.avg_pool2d(x, 2)),
    Case("linear 768 -> 3072", (ROWS, (3072, 768), (3072,)), lambda t, x, w, b: t.nn.functional.linear(x, w, b)),
]


def tensors(t: Any, arrays: list[np.ndarray], dtype: str) -> list[Any]:
    made = []
    for array in arrays:
        x = t.from_numpy(array.copy()).to(getattr(t, dtype))
        x = x.contiguous(memory_format=t.channels_last) if x.dim() == 4 else x
        made.append(x.detach().requires_grad_(True))
    return made


def passes(t: Any, grad: Callable[..., Any], run: Callable[..., Any], inputs: list[Any]) -> dict[str, Any]:
    y = run(t, *inputs)
    dy = t.ones_like(y)
    return {
        "forward": lambda: run(t, *[x.detach() for x in inputs]).data_ptr(),  # asks for results that wait to be read
        "backward": lambda: grad(y, inputs, dy, retain_graph=True),
    }


def op_cases(peer: bool, dtype: str, only: list[str]) -> Iterator[tuple[str, dict]]:
    """Name and contenders of each pass of each op whose name contains one of `only`."""
    for case in CASES:
        if not any(part in case.name for part in only):
            continue
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in case.shapes]
        each = {"skipway": passes(sw, sw.autograd.grad, case.ours or case.run, tensors(sw, arrays, dtype))}
        if peer:
            import torch

            each["torch"] = passes(torch, torch.autograd.grad, case.run, tensors(torch, arrays, dtype))
        for which in ("forward", "backward"):
            yield f"{case.name:38s} {which:9s}", {who: runs[which] for who, runs in each.items()}


RESNET50_SIZES = [(64, 3, 7, 7), *[(64, 64, 3, 3)] * 3, *[(256, 64, 1, 1)] * 7, *[(128, 128, 3, 3)] * 4]
RESNET50_SIZES += [*[(512, 128, 1, 1)] * 8, *[(256, 256, 3, 3)] * 6, *[(1024, 256, 1, 1)] * 12]
RESNET50_SIZES += [*[(512, 512, 3, 3)] * 3, *[(2048, 512, 1, 1)] * 6, (1000, 2048), *[(256,)] * 106]  # about 25 million


def optimizer_cases(peer: bool, dtype: str, only: list[str]) -> Iterator[tuple[str, dict]]:
    """A step over parameters of about the number and the sizes of ResNet-50's."""
    kinds = {"SGD, momentum": ("SGD", {"momentum": 0.9}), "AdamW": ("AdamW", {})}
    for name, (kind, options) in kinds.items():
        if not any(part in name for part in only):
            continue
        runs = {}
        libraries = [sw]
        if peer:
            import torch

            libraries.append(torch)
        for t in libraries:
            parameters = [t.randn(*size).to(getattr(t, dtype)).requires_grad_(True) for size in RESNET50_SIZES]
            for p in parameters:
                p.grad = t.ones_like(p)
            more = {"fused": True} if t is not sw else {}
            runs[t.__name__] = getattr(t.optim, kind)(parameters, lr=1e-3, **options, **more).step
        yield f"{name + ', ResNet-50':38s} {'step':9s}", runs
