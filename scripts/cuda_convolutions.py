"""Every convolution of ResNet-20 and ResNet-50 on an H100: the kernel that the rule chooses, and its least time.

    python scripts/cuda_convolutions.py            # prints the table
    python scripts/cuda_convolutions.py --write    # writes it in benchmarks/cuda_budget.md

The rule is asked for 132 multiprocessors, through the GPU there is or else the emulator (tests/cuda_emulator).
Occupancy: the share of a multiprocessor's threads that its blocks have, at 128 registers a thread (96 in the kernel by
warpgroups), when all blocks of the launch are spread over the device.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from conv_layers import NETWORKS, Layer  # noqa: E402

TABLE = ROOT / "benchmarks" / "cuda_budget.md"
BEGIN, END = "<!-- convolutions: begin -->", "<!-- convolutions: end -->"
MULTIPROCESSORS, THREADS, SHARED, REGISTERS = 132, 2048, 228 * 1024, 65536
BANDWIDTH, TENSOR_CORES = 3.35e12, 800e12
PASSES = {"forward": "forward", "data_gradient": "data", "weight_gradient": "weight"}


def load() -> Any:
    """skipway with a CUDA device."""
    if "SKIPWAY_CUDA_LIBRARY" not in os.environ:
        import skipway as sw

        if sw.cuda.is_available():
            return sw
        from cuda_emulator.build import library

        os.environ["SKIPWAY_CUDA_LIBRARY"] = str(library())
        os.execv(sys.executable, [sys.executable, *sys.argv])  # the library is looked for once
    import skipway as sw

    return sw


def chosen(sw: Any, layer: Layer, batch: int, pass_: str) -> tuple[str, str, str]:
    """The algorithm, its blocks and its occupancy."""
    three = lambda d, hw: [d, hw, hw]  # noqa: E731
    algorithm, _, launch = sw._core._conv_cuda_plan(
        batch, layer.channels, layer.out, 1, three(1, layer.side), three(1, layer.result), three(1, layer.kernel),
        three(1, layer.stride), three(0, layer.padding), [1, 1, 1], sw.bfloat16, pass_,
        multiprocessors=MULTIPROCESSORS,
    )  # fmt: skip
    blocks, threads, shared = map(int, launch.split())
    if not threads:
        return algorithm, "", ""
    registers = 96 if "wgmma" in algorithm else 128
    fit = min(THREADS // threads, SHARED // (shared + 1024), REGISTERS // (registers * threads))
    resident = min(fit, -(-blocks // MULTIPROCESSORS))
    return algorithm, f"{blocks:,}", f"{resident * threads / THREADS:.0%}"


def rows(sw: Any) -> list[list[str]]:
    found = []
    for network, (layers, batches) in NETWORKS.items():
        for batch in batches:
            for i, layer in enumerate(layers()):
                x, y, w = layer.elements(batch)
                bytes_, flop = 2.0 * (x + y + w), layer.flop(batch)
                memory, arithmetic = bytes_ / BANDWIDTH, flop / TENSOR_CORES
                least = f"{max(memory, arithmetic) * 1e6:.1f}"
                for pass_, short in PASSES.items():
                    if i == 0 and pass_ == "data_gradient":
                        continue
                    algorithm, blocks, occupancy = chosen(sw, layer, batch, pass_)
                    size = f"{layer.channels} -> {layer.out}, {layer.kernel}x{layer.kernel}"
                    size += f" /{layer.stride}" if layer.stride > 1 else ""
                    found.append([
                        f"{network}, {batch}", f"`{layer.name}`", f"{size}, {layer.side}x{layer.side}", short,
                        algorithm, blocks, occupancy, f"{bytes_ * 1e-6:.1f}", f"{flop * 1e-9:.2f}",
                        "memory" if memory > arithmetic else "tensor cores", least,
                    ])  # fmt: skip
    return found


def table(sw: Any) -> str:
    head = ["network, batch", "layer", "shape", "pass", "kernel", "blocks", "occupancy", "MB", "GFLOP", "bound by"]
    lines = [[*head, "least time, µs"], ["---"] * 5 + ["--:"] * 4 + ["---", "--:"], *rows(sw)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args()
    text = table(load())
    if not options.write:
        print(text)
        return 0
    before, after = TABLE.read_text().split(BEGIN)[0], TABLE.read_text().split(END)[1]
    TABLE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
