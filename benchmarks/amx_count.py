"""The tile instructions of a training step of ResNet-20 in bfloat16, counted by tests/amx_emulator. Nothing is timed.

    python benchmarks/amx_count.py [--batch 128] [--threads 2]

For each convolution, forward, data gradient and weight gradient, and for the whole step:

    tdpbf16ps, tileloadd, tilestored, ldtilecfg   how often each is executed
    occupied   of the 16 x 16 x 32 multiply-adds of a tdpbf16ps, those of the rows, columns and k that it was given
    useful     of the same, those that the convolution's formula has; more than are occupied, where taps that
               read padding alone are left out
    Mcycle     what the instructions take a core at least, in 10^6 cycles: the largest of 16 for each tdpbf16ps, 8 for
               each tileloadd and 16 for each tilestored, the throughputs in the chapter on AMX of Intel's "64 and IA-32
               Architectures Optimization Reference Manual"

Runs on Linux on x86-64 CPUs with AVX512-BF16 and without AMX; the emulator is built by g++.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conv_layers import Layer, resnet20

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

TILE = 16 * 16 * 32
CYCLES = {"tdpbf16ps": 16, "tileloadd": 8, "tilestored": 16}
SHOWN = ("tdpbf16ps", "tileloadd", "tilestored", "ldtilecfg")


def report(name: str, counts: dict[str, int], multiply_adds: float) -> None:
    room = TILE * max(counts["tdpbf16ps"], 1)
    cycles = max(counts[kind] * each for kind, each in CYCLES.items())
    numbers = "".join(f"{counts[kind]:>12,}" for kind in SHOWN)
    shares = f"{counts['multiply_adds'] / room:>10.1%}{multiply_adds / room:>9.1%}"
    print(f"{name:34}{numbers}{shares}{cycles / 1e6:>9.2f}")


def convolution(layer: Layer, batch: int, count: Callable[[Callable[[], object]], dict[str, int]]) -> None:
    import skipway as sw
    import skipway.nn.functional as F

    rng = np.random.default_rng(0)

    def tensor(*shape: int) -> sw.Tensor:
        return sw.from_numpy(rng.standard_normal(shape).astype(np.float32))

    x = tensor(batch, layer.channels, layer.side, layer.side).to(sw.bfloat16)
    w = tensor(layer.out, layer.channels, layer.kernel, layer.kernel)
    dy = tensor(batch, layer.out, layer.result, layer.result).to(sw.bfloat16)

    def forward() -> sw.Tensor:
        with sw.autocast("cpu", dtype=sw.bfloat16):
            return F.conv2d(x, w, None, layer.stride, layer.padding)

    name = f"{layer.name} {layer.channels}>{layer.out} {layer.side}^2"
    report(f"{name} forward", count(forward), layer.flop(batch) / 2)
    for leaf, what in ((x, "data"), (w, "weight")):
        if leaf is x and layer.channels == 3:  # the images need no gradient
            continue
        leaf.requires_grad_()
        y = forward()
        report(f"{name} {what}", count(lambda y=y: y.backward(dy)), layer.flop(batch) / 2)
        leaf.requires_grad_(False)


def step(batch: int) -> None:
    import skipway as sw
    import skipway.nn.functional as F
    from skipway import models

    rng = np.random.default_rng(0)
    images = sw.from_numpy(rng.standard_normal((batch, 3, 32, 32)).astype(np.float32))
    sw.manual_seed(0)
    model = models.resnet20(num_classes=10)
    with sw.autocast("cpu", dtype=sw.bfloat16):
        loss = F.cross_entropy(model(images), sw.from_numpy(rng.integers(0, 10, batch)))
    loss.backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import amx_emulator
    import skipway as sw
    from skipway import _core

    if not amx_emulator.possible(_core.best_isa()):
        raise SystemExit(f"nothing to count on here: best_isa is {_core.best_isa()}, expected avx512_bf16, on Linux")
    emulator = amx_emulator.Emulator(amx_emulator.library())
    emulator.install()
    _core._assume_tiles()
    _core.set_isa("amx")
    sw.set_num_threads(options.threads)

    def count(call: Callable[[], object]) -> dict[str, int]:
        before = emulator.counts()
        call()
        return {kind: number - before[kind] for kind, number in emulator.counts().items()}

    print(f"{'batch ' + str(options.batch):34}" + "".join(f"{kind:>12}" for kind in SHOWN), end="")
    print(f"{'occupied':>10}{'useful':>9}{'Mcycle':>9}")
    layers = resnet20()
    for layer in layers:
        convolution(layer, options.batch, count)
    macs = sum((2 + (layer.channels > 3)) * layer.count * layer.flop(options.batch) / 2 for layer in layers)
    report("the step", count(lambda: step(options.batch)), macs + 3 * options.batch * 64 * 10)


if __name__ == "__main__":
    main()
