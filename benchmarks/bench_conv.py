"""Every convolution of ResNet-20 and ResNet-50 in three passes, against PyTorch's (cuDNN), channels-last bfloat16.

    python benchmarks/bench_conv.py                     both networks, all batch sizes
    python benchmarks/bench_conv.py --only ResNet-50    one of them
    python benchmarks/bench_conv.py --device cpu --tiny --peer none    a dry run (so is --device cuda on the emulator)

As bench_cuda.py does it: interleaved rounds in one process, results compared before they are timed. At the end, the
sums over each network, every layer as often as it occurs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from bench_cuda import Bench, machine
from conv_layers import NETWORKS, Layer
from cuda_cases import Problem, Spec
from gpu_timing import interleaved

PASSES = ("forward", "data gradient", "weight gradient")
DTYPE = "bfloat16"


def problem(layer: Layer, batch: int, which: str, tiny: bool) -> Problem:
    if tiny:
        layer, batch = layer._replace(channels=min(layer.channels, 8), out=8, side=8), 1
    x = Spec((batch, layer.channels, layer.side, layer.side), grad=which == "data gradient")
    w = Spec((layer.out, layer.channels, layer.kernel, layer.kernel), grad=which == "weight gradient")

    def run(lib: Any, x: Any, w: Any) -> Any:
        return lib.nn.functional.conv2d(x, w, None, layer.stride, layer.padding)

    size = 2.0 * sum(layer.elements(batch))
    return Problem([x, w], run, size, None if which == "forward" else size, flop=layer.flop(batch))


def measure(bench: Bench, layer: Layer, batch: int, which: str) -> dict[str, Any]:
    p = problem(layer, batch, which, bench.tiny)
    pass_ = "forward" if which == "forward" else "backward"
    bench.differences = {}
    try:
        calls = bench.calls(p, DTYPE, p.forward_bytes)[pass_]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    clocks = {"skipway": bench.ours, "torch": bench.theirs}
    times = interleaved({name: (clocks[name], c) for name, c in calls.items()}, bench.rounds)
    row: dict[str, Any] = {"bytes": p.forward_bytes, "flop": p.flop}
    for name, t in times.items():
        if t.error:
            return {"error": f"{name}: {t.error}"}
        row[name] = {"min": min(t.seconds), "median": statistics.median(t.seconds), "late": t.late}
    if pass_ in bench.differences:
        row["differs"] = bench.differences[pass_]
    return row


def shown(name: str, which: str, row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {name} | {which} | failed: {' '.join(row['error'].split())[:200]} | | | | |"
    ours = row["skipway"]["median"]
    cells = [name, which, f"{ours * 1e6:.1f}", f"{row['flop'] / ours * 1e-12:.1f}", f"{row['bytes'] / ours * 1e-9:.0f}"]
    if "torch" in row:
        theirs = row["torch"]["median"]
        cells += [f"{theirs * 1e6:.1f}", f"{theirs / ours:.2f}"]
    else:
        cells += ["", ""]
    return "| " + " | ".join(cells) + (f" WRONG: {row['differs']}" if "differs" in row else "") + " |"


HEAD = ["| layer | pass | skipway µs | TFLOP/s | GB/s | PyTorch µs | PyTorch / skipway |", "|---|---|" + "--:|" * 5]


def total(network: str, batch: int, rows: list[dict[str, Any]]) -> str:
    mine = [r for r in rows if r["network"] == network and r["batch"] == batch and "skipway" in r]
    sums = {n: sum(r[n]["median"] * r["count"] for r in mine if n in r) for n in ("skipway", "torch")}
    text = f"{network}, batch {batch}: {sums['skipway'] * 1e3:.3f} ms in {len(mine)} different convolutions and passes"
    return text + (f"; PyTorch {sums['torch'] * 1e3:.3f} ms" if sums["torch"] else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--peer", choices=["torch", "none"], default="torch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="small layers: a dry run")
    parser.add_argument("--only", default="", help="networks and layers whose name contains this")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no layer after this time")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--markdown", type=Path, help="where to write the table")
    args = parser.parse_args()
    bench = Bench(args)
    rows: list[dict[str, Any]] = []
    lines = [f"```\n{machine(bench)}\n```", "", *HEAD]
    print("\n".join(lines), flush=True)
    begin, left_out = time.monotonic(), 0
    groups = [(n, b) for n, (_, batches) in NETWORKS.items() for b in batches]
    for network, batch in groups:
        for i, layer in enumerate(NETWORKS[network][0]()):
            name = f"{network}, {batch}, {layer.name}"
            for which in PASSES:
                if args.only not in name or (i == 0 and which == "data gradient"):
                    continue
                if time.monotonic() - begin > args.seconds:
                    left_out += 1
                    continue
                row = measure(bench, layer, batch, which)
                rows.append(row | {"network": network, "batch": batch, "layer": layer.name, "count": layer.count})
                lines.append(shown(name, which, row))
                print(lines[-1], flush=True)
    lines += ["", *(total(network, batch, rows) for network, batch in groups)]
    lines += [f"{left_out} left out, as the time was up."] if left_out else []
    print("\n".join(lines[-len(groups) - 1 :]))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(bench), "rows": rows}, indent=1))
    return int(not rows or any("error" in r or "differs" in r for r in rows))


if __name__ == "__main__":
    raise SystemExit(main())
