"""Single ops, forward and backward, against PyTorch.

    python benchmarks/bench_ops.py --family conv --threads 1 --rounds 20
    python benchmarks/bench_ops.py --family ops --threads 2 --dtype bfloat16 --json ops.json
    python benchmarks/bench_ops.py --family optimizer --threads 2 --dtype bfloat16
    python benchmarks/bench_ops.py --family ops --only gelu,dropout

Ratios are skipway's time over PyTorch's, by minimum and by median: below 1, skipway is faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import skipway as sw
import skipway.nn.functional as F
from op_families import op_cases, optimizer_cases
from timing import chosen_peers, header, interleave, peer_arguments, ratios, write_json


class Conv(NamedTuple):
    batch: int
    channels_in: int
    channels_out: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1


CONVOLUTIONS = [
    Conv(32, 3, 16, 32, 3),  # ResNet-20
    Conv(32, 16, 16, 32, 3),
    Conv(32, 32, 32, 16, 3),
    Conv(32, 64, 64, 8, 3),
    Conv(32, 16, 32, 32, 3, stride=2),
    Conv(32, 16, 32, 32, 1, stride=2),
    Conv(4, 3, 64, 224, 7, stride=2),  # ResNet-18 and 50
    Conv(4, 64, 64, 56, 3),
    Conv(4, 128, 128, 28, 3),
    Conv(8, 256, 256, 14, 3),
    Conv(8, 512, 512, 7, 3),
    Conv(4, 256, 64, 56, 1),
    Conv(8, 1024, 256, 14, 1),
    Conv(32, 512, 512, 4, 3),  # ResNet-18 on 32x32
    Conv(1, 256, 256, 14, 3),
    Conv(8, 32, 32, 112, 3, groups=32),  # depthwise
    Conv(8, 384, 384, 14, 3, groups=384),
    Conv(8, 256, 256, 28, 3, groups=32),  # ResNeXt
]


def conv_cases(peer: bool) -> Iterator[tuple[str, float, dict]]:
    """Name, GFLOP and contenders of each pass of each convolution."""
    for c in CONVOLUTIONS:
        rng = np.random.default_rng(0)
        padding = c.kernel // 2
        image = rng.standard_normal((c.batch, c.channels_in, c.size, c.size)).astype(np.float32)
        filters = rng.standard_normal((c.channels_out, c.channels_in // c.groups, c.kernel, c.kernel)).astype(
            np.float32
        )
        x = sw.from_numpy(image).contiguous(memory_format=sw.channels_last).requires_grad_(True)
        w = sw.from_numpy(filters).requires_grad_(True)
        y = F.conv2d(x, w, None, c.stride, padding, 1, c.groups)
        dy = sw.ones_like(y)
        ours = {
            "forward": lambda x=x, w=w, c=c, p=padding: F.conv2d(
                x.detach(), w.detach(), None, c.stride, p, 1, c.groups
            ),
            "data gradient": lambda x=x, y=y, dy=dy: sw.autograd.grad(y, x, dy, retain_graph=True),
            "weight gradient": lambda w=w, y=y, dy=dy: sw.autograd.grad(y, w, dy, retain_graph=True),
        }
        theirs = torch_conv(c, image, filters, padding) if peer else {}
        flop = 2e-9 * dy.numel() * filters[0].size
        for name, run in ours.items():
            label = f"{c.batch}x{c.channels_in}x{c.size}x{c.size} -> {c.channels_out}, {c.kernel}x{c.kernel}"
            label += f" /{c.stride}" * (c.stride > 1) + f" groups {c.groups}" * (c.groups > 1)
            contenders = {"skipway": run} | ({"torch": theirs[name]} if peer else {})
            yield f"{label:44s} {name:16s}", flop, contenders


def torch_conv(c: Conv, image: np.ndarray, filters: np.ndarray, padding: int) -> dict:
    import torch

    layout = {"memory_format": torch.channels_last}
    x = torch.tensor(image).contiguous(**layout).requires_grad_(True)
    w = torch.tensor(filters).contiguous(**layout).requires_grad_(True)
    y = torch.nn.functional.conv2d(x, w, None, c.stride, padding, 1, c.groups)
    dy = torch.ones_like(y)
    return {
        "forward": lambda: torch.nn.functional.conv2d(x.detach(), w.detach(), None, c.stride, padding, 1, c.groups),
        "data gradient": lambda: torch.autograd.grad(y, x, dy, retain_graph=True),
        "weight gradient": lambda: torch.autograd.grad(y, w, dy, retain_graph=True),
    }


def cases(args: Any, peer: bool) -> Iterator[tuple[str, float, dict]]:
    """Name, GFLOP (0 where they tell nothing) and contenders of each pass of the family."""
    if args.family == "conv":
        yield from conv_cases(peer)
        return
    simple = op_cases if args.family == "ops" else optimizer_cases
    for name, contenders in simple(peer, args.dtype, args.only.split(",")):
        yield name, 0.0, contenders


def line(name: str, gflop: float, times: dict[str, list[float]]) -> str:
    each = []
    for who, seconds in times.items():
        rate = f" {gflop / min(seconds):6.0f} GFLOP/s" if gflop else ""
        each.append(f"{who} {min(seconds) * 1e3:8.3f} ms{rate}")
    if "torch" in times:
        least, median = ratios(times["skipway"], times["torch"])
        each.append(f"ratio min {least:.2f} median {median:.2f}")
    return f"{name} " + "   ".join(each)


def main() -> None:
    parser = peer_arguments("Times single ops.", ["torch"])
    parser.add_argument("--family", choices=["conv", "ops", "optimizer"], default="conv")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="not of convolutions")
    parser.add_argument("--only", default="", help="comma-separated: ops whose name contains one of these")
    args = parser.parse_args()
    sw.set_num_threads(args.threads)
    peers = chosen_peers(args, {"torch": "torch"})
    packages = ["skipway", "numpy", *peers]
    if peers:
        import torch

        torch.set_num_threads(args.threads)
    print(header(packages, args.threads))
    rows = []
    for name, gflop, contenders in cases(args, bool(peers)):
        slow = args.family != "ops" or name.startswith("linear")
        times = interleave(contenders, args.rounds, calls=1 if slow else 10)
        print(line(name, gflop, times), flush=True)
        dtype = "float32" if args.family == "conv" else args.dtype
        rows.append({"op": " ".join(name.split()), "dtype": dtype, "gflop": gflop, "seconds": times})
    write_json(args.json, packages, args.threads, rows)


if __name__ == "__main__":
    main()
