"""What bench_cuda.py times: for each kernel family its inputs, the call, and the least memory traffic that it needs.

Traffic is counted in bytes as if nothing stayed in a cache between two kernels that need all of an array (batch norm
reads its input twice: for the statistics, and to normalise), and everything did within one (layer norm reads a row
once). So a perfect kernel reaches the bandwidth of a copy, and none can be far above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

GOAL_FAMILIES = ("norm", "dropout", "residual", "activation", "optimizer")


class Spec(NamedTuple):
    """One input: normally distributed, or integers in [0, below)."""

    shape: tuple[int, ...]
    below: int = 0
    grad: bool = True
    float32: bool = False  # whatever the dtype that is timed
    positive: bool = False
    plain: bool = False  # row-major even if it has four dimensions


class Problem(NamedTuple):
    """`run(lib, *inputs)` for lib = skipway or torch; peer: PyTorch's way, where it is another."""

    inputs: list[Spec]
    run: Callable[..., Any]
    forward_bytes: float
    backward_bytes: float | None = None  # None: there is nothing to time
    peer: Callable[..., Any] | None = None
    flop: float = 0  # of the forward pass; the backward pass has twice as many
    compare: bool = True
    step: bool = False  # run makes a function that is timed instead (an optimizer's step)


class Case(NamedTuple):
    name: str
    family: str
    make: Callable[[int, int, bool], Problem]  # elements, bytes of one, tiny
    sized: bool = True  # False: it has one size of its own


def images(n: int, tiny: bool) -> tuple[int, int, int, int]:
    channels, side = (16, 8) if tiny else (64, 32)
    return max(1, n // (channels * side * side)), channels, side, side


def rows(n: int, tiny: bool) -> tuple[int, int]:
    columns = 64 if tiny else 1024
    return max(1, n // columns), columns


def channel_specs(channels: int, running: bool) -> list[Spec]:
    affine = [Spec((channels,), float32=True)] * 2
    statistics = [Spec((channels,), grad=False, float32=True, positive=True)] * 2
    return affine + (statistics if running else [])


def batch_norm(n: int, item: int, tiny: bool) -> Problem:
    shape = images(n, tiny)
    size = math.prod(shape) * item

    def run(lib: Any, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        return lib.nn.functional.batch_norm(x, mean, var, w, b, True)

    return Problem([Spec(shape), *channel_specs(shape[1], True)], run, 3 * size, 5 * size)


def batch_norm_add_relu(n: int, item: int, tiny: bool) -> Problem:
    shape = images(n, tiny)
    size, mask = math.prod(shape) * item, math.prod(shape) / 8

    def run(lib: Any, x: Any, r: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        return lib.nn.functional.batch_norm(x, mean, var, w, b, True, residual=r, activation="relu")

    def peer(lib: Any, x: Any, r: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        return lib.relu(lib.nn.functional.batch_norm(x, mean, var, w, b, True) + r)

    specs = [Spec(shape), Spec(shape), *channel_specs(shape[1], True)]
    return Problem(specs, run, 4 * size + mask, 6 * size + 2 * mask, peer)


def batch_norm_inference(n: int, item: int, tiny: bool) -> Problem:
    shape = images(n, tiny)

    def run(lib: Any, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        with lib.no_grad():
            return lib.nn.functional.batch_norm(x, mean, var, w, b, False)

    return Problem([Spec(shape), *channel_specs(shape[1], True)], run, 2 * math.prod(shape) * item)


def layer_norm(n: int, item: int, tiny: bool) -> Problem:
    shape = rows(n, tiny)
    size = math.prod(shape) * item

    def run(lib: Any, x: Any, w: Any, b: Any) -> Any:
        return lib.nn.functional.layer_norm(x, (x.shape[1],), w, b)

    return Problem([Spec(shape), Spec(shape[1:]), Spec(shape[1:])], run, 2 * size, 3 * size)


def group_norm(n: int, item: int, tiny: bool) -> Problem:
    shape = images(n, tiny)
    size = math.prod(shape) * item

    def run(lib: Any, x: Any, w: Any, b: Any) -> Any:
        return lib.nn.functional.group_norm(x, 8, w, b)

    return Problem([Spec(shape), Spec((shape[1],)), Spec((shape[1],))], run, 2 * size, 3 * size)


def dropout(n: int, item: int, tiny: bool) -> Problem:
    def run(lib: Any, x: Any) -> Any:
        return lib.nn.functional.dropout(x, 0.1, True)

    return Problem([Spec(rows(n, tiny))], run, 2 * n * item, 2 * n * item, compare=False)


def residual_add_relu(n: int, item: int, tiny: bool) -> Problem:
    def run(lib: Any, x: Any, branch: Any) -> Any:
        return lib.nn.functional.residual_add(x, branch, activation="relu")

    def peer(lib: Any, x: Any, branch: Any) -> Any:
        return lib.relu(x + branch)

    return Problem([Spec(images(n, tiny))] * 2, run, 3 * n * item, 3 * n * item, peer)


def activation(name: str) -> Callable[[int, int, bool], Problem]:
    def make(n: int, item: int, tiny: bool) -> Problem:
        return Problem(
            [Spec(rows(n, tiny))],
            lambda lib, x: getattr(lib.nn.functional, name)(x),
            2 * n * item,
            3 * n * item,
        )

    return make


def max_pool(n: int, item: int, tiny: bool) -> Problem:
    def run(lib: Any, x: Any) -> Any:
        return lib.nn.functional.max_pool2d(x, 3, 2, 1)

    # x, y, dy, dx, and one byte per output that says which element it was
    return Problem([Spec(images(n, tiny))], run, 1.25 * n * item + n / 4, 1.25 * n * item + n / 4)


def avg_pool(n: int, item: int, tiny: bool) -> Problem:
    def run(lib: Any, x: Any) -> Any:
        return lib.nn.functional.avg_pool2d(x, 2)

    return Problem([Spec(images(n, tiny))], run, 1.25 * n * item, 1.25 * n * item)


def softmax(n: int, item: int, tiny: bool) -> Problem:
    return Problem([Spec(rows(n, tiny))], lambda lib, x: lib.nn.functional.softmax(x, 1), 2 * n * item, 3 * n * item)


def cross_entropy(n: int, item: int, tiny: bool) -> Problem:
    shape = rows(n, tiny)

    def run(lib: Any, x: Any, target: Any) -> Any:
        return lib.nn.functional.cross_entropy(x, target)

    targets = Spec(shape[:1], below=shape[1], grad=False)
    return Problem([Spec(shape), targets], run, n * item + 8 * shape[0], 2 * n * item + 8 * shape[0])


def reduction(name: str, dim: int) -> Callable[[int, int, bool], Problem]:
    def make(n: int, item: int, tiny: bool) -> Problem:
        return Problem([Spec(rows(n, tiny))], lambda lib, x: getattr(lib, name)(x, dim), n * item, n * item)

    return make


def add_broadcast(n: int, item: int, tiny: bool) -> Problem:
    shape = rows(n, tiny)
    # backward: the sum over rows for the vector; the other gradient is dy itself
    return Problem([Spec(shape), Spec(shape[1:])], lambda lib, x, b: x + b, 2 * n * item, n * item)


def copy(n: int, item: int, tiny: bool) -> Problem:
    return Problem([Spec(rows(n, tiny), grad=False)], lambda lib, x: x.clone(), 2 * n * item)


def transposed_copy(n: int, item: int, tiny: bool) -> Problem:
    return Problem([Spec(rows(n, tiny), grad=False)], lambda lib, x: x.t().contiguous(), 2 * n * item)


def embedding(n: int, item: int, tiny: bool) -> Problem:
    words, width = (64, 16) if tiny else (32768, 512)
    tokens = max(1, n // width)

    def run(lib: Any, index: Any, table: Any) -> Any:
        return lib.nn.functional.embedding(index, table)

    read = (tokens * width) * item
    specs = [Spec((tokens,), below=words, grad=False), Spec((words, width))]
    return Problem(specs, run, 2 * read + 8 * tokens, read + words * width * item + 8 * tokens)


RESNET50 = [(64, 3, 7, 7), (64,), (64,)]
for _width, _blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
    for _i in range(_blocks):
        _in = 4 * _width if _i else (64 if _width == 64 else 2 * _width)
        RESNET50 += [(_width, _in, 1, 1), (_width, _width, 3, 3), (4 * _width, _width, 1, 1)]
        RESNET50 += [(_width,)] * 4 + [(4 * _width,)] * 2
        RESNET50 += [] if _i else [(4 * _width, _in, 1, 1), (4 * _width,), (4 * _width,)]
RESNET50 += [(1000, 2048), (1000,)]


def optimizer(name: str, arrays: int, **options: Any) -> Callable[[int, int, bool], Problem]:
    """arrays: read or written per parameter."""

    def make(n: int, item: int, tiny: bool) -> Problem:
        shapes = [(8, 3, 3, 3), (8,), (33,), (16, 8)] if tiny else RESNET50
        count = sum(math.prod(s) for s in shapes)

        def run(lib: Any, *parameters: Any) -> Callable[[], Any]:
            for p in parameters:
                p.grad = lib.ones_like(p) * 1e-3
            fused = {"fused": True} if lib.__name__ == "torch" else {}  # ours always is
            return getattr(lib.optim, name)(list(parameters), lr=1e-3, **options, **fused).step

        return Problem([Spec(s, plain=True) for s in shapes], run, arrays * count * item, compare=False, step=True)

    return make


def linear(m: int, k: int, out: int) -> Callable[[int, int, bool], Problem]:
    def make(n: int, item: int, tiny: bool) -> Problem:
        a, b, c = (17, 24, 9) if tiny else (m, k, out)
        size = (a * b + b * c + a * c) * item

        def run(lib: Any, x: Any, w: Any, bias: Any) -> Any:
            return lib.nn.functional.linear(x, w, bias)

        specs = [Spec((a, b)), Spec((c, b)), Spec((c,))]
        return Problem(specs, run, size, 2 * size, flop=2.0 * a * b * c)

    return make


def matmul(side: int) -> Callable[[int, int, bool], Problem]:
    def make(n: int, item: int, tiny: bool) -> Problem:
        s = 20 if tiny else side
        return Problem(
            [Spec((s, s))] * 2, lambda lib, a, b: lib.matmul(a, b), 3 * s * s * item, 6 * s * s * item, flop=2.0 * s**3
        )

    return make


def conv(channels: int, out: int, side: int, stride: int = 1) -> Callable[[int, int, bool], Problem]:
    def make(n: int, item: int, tiny: bool) -> Problem:
        batch, h = (1, 6) if tiny else (128, side)
        x, w = (batch, channels, h, h), (out, channels, 3, 3)
        result = batch * out * (h // stride) ** 2
        size = (math.prod(x) + math.prod(w) + result) * item

        def run(lib: Any, x: Any, w: Any) -> Any:
            return lib.nn.functional.conv2d(x, w, None, stride, 1)

        return Problem([Spec(x), Spec(w)], run, size, 2 * size, flop=2.0 * result * channels * 9)

    return make


CASES = [
    Case("copy", "copy", copy),
    Case("batch_norm", "norm", batch_norm),
    Case("batch_norm + add + relu", "norm", batch_norm_add_relu),
    Case("batch_norm, inference", "norm", batch_norm_inference),
    Case("layer_norm", "norm", layer_norm),
    Case("group_norm", "norm", group_norm),
    Case("dropout", "dropout", dropout),
    Case("residual_add + relu", "residual", residual_add_relu),
    Case("relu", "activation", activation("relu")),
    Case("gelu", "activation", activation("gelu")),
    Case("SGD, momentum, ResNet-50", "optimizer", optimizer("SGD", 5, momentum=0.9, weight_decay=1e-4), False),
    Case("AdamW, ResNet-50", "optimizer", optimizer("AdamW", 7), False),
    Case("max_pool2d 3x3 /2", "pool", max_pool),
    Case("avg_pool2d 2x2", "pool", avg_pool),
    Case("softmax", "softmax", softmax),
    Case("cross_entropy", "softmax", cross_entropy),
    Case("sum of rows", "reduce", reduction("sum", 1)),
    Case("sum of columns", "reduce", reduction("sum", 0)),
    Case("mean of rows", "reduce", reduction("mean", 1)),
    Case("mean of columns", "reduce", reduction("mean", 0)),
    Case("add a row vector", "elementwise", add_broadcast),
    Case("transposed copy", "copy", transposed_copy),
    Case("embedding", "index", embedding),
    Case("linear 8192 x 1024 -> 4096", "matrix", linear(8192, 1024, 4096), False),
    Case("matmul 4096^3", "matrix", matmul(4096), False),
    Case("conv 3x3, 3 -> 16, 32x32", "conv", conv(3, 16, 32), False),
    Case("conv 3x3, 16 -> 16, 32x32", "conv", conv(16, 16, 32), False),
    Case("conv 3x3, 16 -> 32, 32x32 /2", "conv", conv(16, 32, 32, 2), False),
    Case("conv 3x3, 32 -> 32, 16x16", "conv", conv(32, 32, 16), False),
    Case("conv 3x3, 64 -> 64, 8x8", "conv", conv(64, 64, 8), False),
]
