"""How fast could a training step be on an H100? A model on paper, not a measurement.

    python benchmarks/cuda_model.py                  both networks
    python benchmarks/cuda_model.py --launch-us 2.5  with another time between kernels

Every kernel takes the longer of its bytes over the bandwidth and its operations over the peak, and a time for its
launch. Five ways to compute the same step, in bfloat16:

    unfused   convolution, batch norm, addition and ReLU are kernels of their own
    fused     batch norm + addition + ReLU is one kernel, which keeps one bit for each ReLU
    deferred  batch norm + ReLU happens in the next convolution's prologue, forward and for its weight gradient, and is
              written only where a shortcut reads it
    + sums    and the epilogues of convolutions do the sums of batch norms: forward the statistics, and in the data
              gradient, with dReLU, those of its gradient (the small kernels that add up tiles' sums are left out)
    in conv   statistics in the convolution's epilogue, batch norm + ReLU in the next one's prologue; only what a
              shortcut reads is written; the data gradient's epilogue does dReLU and the sums, and the rest of the batch
              norm's gradient happens when it is read

skipway computes "deferred" (docs/deferral.md) where its kernels of few channels and of tiles run, "fused" elsewhere;
`backends.deferral.moments` and `gradient_sums` add "+ sums", but for the convolutions that leave norms to a pass of
their own. "in conv" is what could still be had.

Arrays are counted once for each kernel that reads or writes them. Small parts (the classifier, all pooling but
ResNet-50's first) are left out; the optimizer reads and writes five float32 per parameter.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from conv_layers import NETWORKS, Layer

HALF = 2  # bytes

# What others have measured, to compare with. MLPerf Training, closed division, ResNet-50 on a node of eight: images per
# second of one GPU. NVIDIA's table of round 3.0 (developer.nvidia.com/deep-learning-performance-training-inference,
# entry 3.0-2053) has 13.466 minutes to 75.90 % on 8 H100, which at 36 epochs of 1,281,167 images is 7,140 each.
ANCHORS = {"ResNet-50": "MLPerf Training, per GPU: 7,150 img/s on an H100, 7,950 on an H200"}


@dataclass(frozen=True)
class Machine:
    bandwidth: float  # bytes per second
    tensor: float  # FLOP per second
    launch: float  # seconds


@dataclass
class Work:
    bytes: float
    flop: float = 0.0

    def seconds(self, m: Machine) -> float:
        return max(self.bytes / m.bandwidth, self.flop / m.tensor) + m.launch


def convolutions(layer: Layer, batch: int, first: bool) -> Iterator[Work]:
    """Forward, weight gradient and, but for the first layer, data gradient."""
    x, y, w = layer.elements(batch)
    for _ in range(2 if first else 3):
        yield Work((x + y + w) * HALF, layer.flop(batch))


def unfused(layer: Layer, batch: int, first: bool) -> Iterator[Work]:
    y = layer.elements(batch)[1] * HALF
    yield from convolutions(layer, batch, first)
    yield Work(3 * y)  # batch norm: x twice, y
    yield Work(5 * y)  # its gradient: x and dy twice, dx
    if layer.residual:
        yield Work(3 * y)  # the addition; its gradient is free
    if layer.relu:
        yield Work(2 * y)
        yield Work(3 * y)


def fused(layer: Layer, batch: int, first: bool) -> Iterator[Work]:
    y = layer.elements(batch)[1] * HALF
    mask = y / 16 if layer.relu else 0.0
    yield from convolutions(layer, batch, first)
    yield Work((4 if layer.residual else 3) * y + mask)
    yield Work((6 if layer.residual else 5) * y + 2 * mask)  # with the shortcut's gradient


def deferred(layer: Layer, batch: int, first: bool, sums: bool = False) -> Iterator[Work]:
    y = layer.elements(batch)[1] * HALF
    written = layer.residual or not layer.relu
    mask = y / 16 if written and layer.relu else 0.0
    yield from convolutions(layer, batch, first)
    if written:
        yield Work((4 if layer.residual else 3) * y - (y if sums else 0) + mask)
        yield Work((6 if layer.residual else 5) * y + 2 * mask)
    else:
        if not sums:
            yield Work(y)  # statistics
        yield Work((4 if sums else 5) * y)  # the next data gradient's epilogue reads this layer's result once more


def deferred_with_sums(layer: Layer, batch: int, first: bool) -> Iterator[Work]:
    return deferred(layer, batch, first, sums=True)


def in_convolutions(layer: Layer, batch: int, first: bool) -> Iterator[Work]:
    y = layer.elements(batch)[1] * HALF
    forward, *backward = convolutions(layer, batch, first)
    yield forward  # statistics in the epilogue
    if layer.residual or not layer.relu:  # written, as a shortcut reads it: x, shortcut, y, and the bits
        yield Work(3 * y + y / 16)
        yield Work(3 * y + y / 16)  # dz and the sums: dy, x, dz
    else:
        yield Work(y)  # in the next data gradient's epilogue: reads this layer's result once more
    for work in backward:  # each reads this layer's result beside dz, to finish the batch norm's gradient
        yield Work(work.bytes + y, work.flop)


WAYS = {
    "unfused": unfused, "fused": fused, "deferred": deferred, "+ sums": deferred_with_sums, "in conv": in_convolutions,
}  # fmt: skip


def step(network: str, batch: int, way: str, m: Machine) -> tuple[float, float, int]:
    """Seconds, bytes and kernels of a training step."""
    layers = NETWORKS[network][0]()
    seconds = moved = 0.0
    kernels = 0
    parameters = sum(layer.elements(1)[2] * layer.count for layer in layers)
    extra = [Work(5 * 4.0 * parameters)]
    if network == "ResNet-50":  # max pooling, forward and backward, with a byte for each maximum
        stem = layers[0].elements(batch)[1] * HALF
        extra += [Work(1.25 * stem + stem / 8)] * 2
    works = [(w, layer.count) for i, layer in enumerate(layers) for w in WAYS[way](layer, batch, i == 0)]
    for work, count in [*works, *((w, 1) for w in extra)]:
        seconds += work.seconds(m) * count
        moved += work.bytes * count
        kernels += count
    return seconds, moved, kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s (default: an H100's 3.35)")
    parser.add_argument("--tensor", type=float, default=600, help="TFLOP/s of convolutions (default 600, by mma.sync)")
    parser.add_argument("--launch-us", type=float, default=1.5, help="between kernels of a CUDA graph (default 1.5)")
    options = parser.parse_args()
    m = Machine(options.bandwidth * 1e12, options.tensor * 1e12, options.launch_us * 1e-6)
    print(f"A model, not a measurement: {options.bandwidth} TB/s, {options.tensor:.0f} TFLOP/s, "
          f"{options.launch_us} us a kernel")  # fmt: skip
    print(f"{'network':10} {'batch':>5} {'way':8} {'kernels':>7} {'GB':>7} {'ms':>8} {'img/s':>9}")
    for network, (_, batches) in NETWORKS.items():
        for batch in batches:
            for way in WAYS:
                seconds, moved, kernels = step(network, batch, way, m)
                print(f"{network:10} {batch:5} {way:8} {kernels:7} {moved * 1e-9:7.2f} {seconds * 1e3:8.3f} "
                      f"{batch / seconds:9,.0f}")  # fmt: skip
        if network in ANCHORS:
            print(f"           measured: {ANCHORS[network]}")


if __name__ == "__main__":
    main()
