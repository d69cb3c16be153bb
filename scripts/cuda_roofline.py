"""The least time of every CUDA kernel on an H100, from the bytes it must move and the operations it must do.

    python scripts/cuda_roofline.py            # checks the table in benchmarks/cuda_budget.md
    python scripts/cuda_roofline.py --write    # writes it

Exit status 1: the table is old, or a kernel has no row. There is one for every SW_CUDA_KERNEL, at a size of training
ResNets (or of a language model, for layer norm and softmax). Arrays are counted once, except where a kernel needs all
of one before its first result and so reads it twice. An operation is an addition, a multiplication, a comparison or a
function such as exp; integer work (indices, random bits) is not counted.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benchmarks" / "cuda_budget.md"
BEGIN, END = "<!-- roofline: begin -->", "<!-- roofline: end -->"
BANDWIDTH = 3.35e12  # bytes per second
CORES, TENSOR_CORES = 67e12, 800e12  # FLOP per second: float32 on CUDA cores; bfloat16, dense, as reached in practice

BF16, F32, I64 = 2, 4, 8


class Row(NamedTuple):
    size: str
    bytes: float
    flop: float
    peak: float = CORES


def pointwise(size: str, n: float, item: int, arrays: float, flop: float, extra: float = 0) -> Row:
    """arrays: of n elements, read or written; flop: per element; extra: other bytes."""
    return Row(size, arrays * n * item + extra, flop * n)


IMAGES = 128 * 256 * 56 * 56
TOKENS = 8192 * 4096
LOGITS = 8192 * 32000
STEM = 128 * 64 * 112 * 112
PARAMETERS = 25_557_032
AUGMENTED = 128 * 3 * 224 * 224


def images(arrays: float, flop: float, extra: float = 0) -> Row:
    return pointwise("128x256x56x56 bf16", IMAGES, BF16, arrays, flop, extra)


def tokens(arrays: float, flop: float, extra: float = 0) -> Row:
    return pointwise("8192x4096 bf16", TOKENS, BF16, arrays, flop, extra)


def logits(arrays: float, flop: float) -> Row:
    return pointwise("8192x32000 bf16", LOGITS, BF16, arrays, flop)


def stem(arrays: float, flop: float, extra: float = 0) -> Row:
    return pointwise("128x64x112x112 bf16, 3x3 /2", STEM, BF16, arrays, flop, extra)


def parameters(arrays: float, flop: float) -> Row:
    return pointwise("25,557,032 parameters f32", PARAMETERS, F32, arrays, flop)


def wide(arrays: float, flop: float, item: int = F32) -> Row:
    return pointwise("8192x4096 " + {F32: "f32", I64: "int64"}[item], TOKENS, item, arrays, flop)


def convolution() -> Row:
    batch, channels, side = 128, 128, 28
    activations = batch * channels * side * side
    size = (2 * activations + channels * channels * 9) * BF16
    text = "128x128x28x28 -> 128, 3x3, bf16"
    return Row(text, size, 2.0 * activations * channels * 9, TENSOR_CORES)


def product() -> Row:
    m, k, n = 8192, 1024, 4096
    return Row("8192x1024 by 1024x4096 bf16", (m * k + k * n + m * n) * BF16, 2.0 * m * k * n, TENSOR_CORES)


SIGNS = IMAGES / 8  # bytes: one bit for each ReLU
POOLED = STEM / 4

ROWS: dict[str, Row] = {
    # normalisation: x is read for the statistics and again to normalise; dy and x likewise in the backward pass
    "channel_norm_forward": images(4, 10, SIGNS),  # x twice, residual, y
    "channel_norm_apply": images(2, 4),
    "channel_norm_backward": images(6, 14, 2 * SIGNS),  # x and dy twice, dx, dresidual
    "layer_norm_forward": tokens(2, 8),
    "layer_norm_backward": tokens(3, 14),
    "local_response_forward": images(2, 6),
    "local_response_backward": images(3, 12),
    # pointwise
    "residual_add_forward": images(3, 3),
    "residual_add_backward": images(4, 2),  # dy, y, dx, dbranch
    "activation_forward": images(2, 8),  # GELU
    "activation_backward": images(3, 14),
    "activation_prelu": images(2, 2),
    "dropout_kernel": images(2, 2),
    "elementwise_unary": wide(2, 1),
    "elementwise_unary_grad": wide(3, 2),
    "elementwise_binary": wide(3, 1),
    "elementwise_ternary": wide(4, 2),
    "copy_strided": wide(2, 0),
    # random numbers: written, nothing read
    "random_fill": wide(1, 8),
    "trunc_normal_fill": wide(1, 12),
    "random_integers": wide(1, 0, I64),
    "bernoulli_fill": wide(1, 1),
    # reductions: x is read once; results are small
    "reduce_forward": wide(1, 1),
    "arg_reduce_forward": wide(1, 1),
    "centered_backward": wide(2, 3),
    "extreme_backward": wide(3, 3),  # x twice: the equals are counted first
    "prod_backward": wide(3, 3),  # likewise
    "scan_forward": wide(2, 1),
    "cumprod_backward": wide(4, 4),  # x, dy, the products, dx
    "sort_positions": pointwise("8192x4096 f32", TOKENS, F32, 1, 12, TOKENS * I64),  # log2(4096) comparisons
    # softmax and losses
    "softmax_forward": logits(2, 5),
    "softmax_backward": logits(3, 4),
    "cross_entropy_forward": logits(1, 4),
    "cross_entropy_backward": logits(2, 5),
    "loss_forward": wide(2, 3),
    "loss_backward": wide(3, 3),
    # pooling: 4-byte indices of the pooled elements
    "max_pool_forward": stem(1.25, 2.25, 4 * POOLED),
    "max_pool_backward": stem(1.25, 1, 4 * POOLED),
    "avg_pool_forward": stem(1.25, 2.25),
    "avg_pool_backward": stem(1.25, 2.25),
    "max_unpool_kernel": stem(1.25, 0, I64 * POOLED),
    "resample_kernel": pointwise("128x64x56x56 -> 112x112, bilinear, bf16", STEM, BF16, 1.25, 8),
    # indexing: int64 offsets
    "index_offsets": pointwise("33,554,432 indices", TOKENS, I64, 2, 0),
    "move_elements": pointwise("33,554,432 elements f32", TOKENS, F32, 2, 0, TOKENS * I64),
    # optimizers: parameter and gradient, and what each keeps
    "sgd_kernel": parameters(5, 6),
    "rmsprop_kernel": parameters(5, 9),
    "adagrad_kernel": parameters(5, 7),
    "adadelta_kernel": parameters(7, 14),
    "adam_kernel": parameters(7, 13),
    "grad_norm_kernel": parameters(1, 2),
    "grad_norm_total_kernel": pointwise("1,560 partial sums f64", 1560, 8, 1, 1),
    "grad_scale_kernel": parameters(2, 1),
    "grad_unscale_kernel": parameters(2, 2),
    "update_scale_kernel": pointwise("4 numbers", 4, F32, 2, 1),
    # images: uint8 read, float32 written
    "augment_kernel": Row("128x3x224x224 uint8 -> f32", AUGMENTED * (1 + F32), 2.0 * AUGMENTED),
    # matrix products
    "conv_forward": convolution(),
    "conv_data_grad": convolution(),
    "conv_weight_grad": convolution(),
    "channel_sum": images(1, 1),
    "gemm": product(),
}


LAUNCH_NOTHING = {"conv_plan", "conv_loads_norms"}


def cuda_kernels(root: Path = ROOT) -> dict[str, str]:
    """The kernels of every CUDA source: name -> source."""
    found = {}
    for source in sorted((root / "csrc").rglob("*.cu")):
        for name in re.findall(r"^SW_CUDA_KERNEL\((\w+)", source.read_text(), re.MULTILINE):
            if name not in LAUNCH_NOTHING:
                found[name] = source.name
    return found


def declared_kernels(root: Path = ROOT) -> set[str]:
    headers = (root / "csrc" / "ops").glob("*.h")
    return {n for h in headers for n in re.findall(r"^SW_DECLARE_KERNEL\((\w+)", h.read_text(), re.MULTILINE)}


def bound(row: Row) -> tuple[float, str]:
    """Seconds, and by what."""
    memory, arithmetic = row.bytes / BANDWIDTH, row.flop / row.peak
    unit = "tensor cores" if row.peak == TENSOR_CORES else "arithmetic"
    return (memory, "memory") if memory >= arithmetic else (arithmetic, unit)


def table() -> str:
    lines = [
        "| kernel | at | MB | GFLOP | FLOP per byte | bound by | least time, µs |",
        "|---|---|--:|--:|--:|---|--:|",
    ]
    for name, row in ROWS.items():
        seconds, by = bound(row)
        cells = [f"`{name}`", row.size, f"{row.bytes * 1e-6:.0f}", f"{row.flop * 1e-9:.2f}"]
        cells += [f"{row.flop / row.bytes:.1f}", by, f"{seconds * 1e6:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def written(text: str) -> str:
    """text with the present table."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args()
    missing = sorted(set(cuda_kernels()) - set(ROWS))
    if missing:
        print(f"no row for {', '.join(missing)}: add one to ROWS")
        return 1
    text = TABLE.read_text()
    if options.write:
        TABLE.write_text(written(text))
    elif written(text) != text:
        print(f"{TABLE.relative_to(ROOT)} is old: python scripts/cuda_roofline.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
