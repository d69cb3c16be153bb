"""CUDA kernels, forward and backward, against PyTorch on the same device in the same process.

    python benchmarks/bench_cuda.py                       everything: float32 and bfloat16, 1 MB to 256 MB
    python benchmarks/bench_cuda.py --quick --seconds 90  16 MB and 64 MB, and what can be done in 90 seconds
    python benchmarks/bench_cuda.py --device cpu --tiny   a dry run without a GPU (so is --device cuda on the emulator)

For each kernel: the time's minimum and median over interleaved rounds, the ratio to PyTorch's, GB/s (of the least
traffic that the op needs, see cuda_cases.py; TFLOP/s for matrix products and convolutions), and the share of the
bandwidth of a copy of an array of the same size, measured in the same run. Results are compared before they are timed.
On arrays of less than 16 MB, both the kernels and the copy find data in the GPU's second-level cache.
Exit status 1 if an op failed or its result differed.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import skipway as sw
from cuda_cases import CASES, GOAL_FAMILIES, Case, Problem, Spec
from gpu_timing import Clock, EventClock, Timing, interleaved
from timing import header

SIZES = (64, 16, 256, 4, 1)  # MB of the input, the most telling first
QUICK_SIZES = (64, 16)
ITEM = {"float32": 4, "bfloat16": 2}
# In the L2 norm, as ReLU's gradient jumps where roundings decide a sign. This finds wrong kernels, not inexact ones.
TOLERANCE = {"float32": 2e-3, "bfloat16": 1e-1}
GOALS = {"forward": 0.85, "backward": 0.80}
TURNING = 160e6  # bytes of inputs that take turns, so that they do not stay in the second-level cache
CPU_TURNING = 1


class Bench:
    """The devices, the clocks and the results so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device, self.rounds, self.tiny = args.device, args.rounds, args.tiny
        self.torch: Any = None
        if args.peer == "torch":
            import torch

            self.torch = torch
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 means float32
            torch.backends.cudnn.benchmark = True
            torch.manual_seed(0)
            if self.tiny:
                torch.set_num_threads(1)
        sw.manual_seed(0)
        if self.device == "cuda" and not sw.cuda.is_available():
            sys.exit(f"bench_cuda: skipway finds no CUDA device: {sw._core._cuda_reason()}")
        self.gpu = self.device == "cuda" and not sw._core._cuda_emulated()
        if self.gpu and self.torch is not None and not self.torch.cuda.is_available():
            sys.exit("bench_cuda: this PyTorch finds no CUDA device (install a CUDA build, or pass --peer none)")
        self.peer_device = "cuda" if self.gpu else "cpu"
        self.turning = TURNING if self.gpu else CPU_TURNING
        self.filler = sw.empty(2, 2**25, device="cuda") if self.gpu and self.torch is None else None
        self.ours = EventClock(sw, self.wait) if self.gpu else Clock(self.host_synchronize())
        self.theirs = EventClock(self.torch, self.wait) if self.gpu and self.torch is not None else Clock()
        self.rows: list[dict[str, Any]] = []
        self.copy_speed: dict[tuple[str, int], float] = {}

    def host_synchronize(self) -> Any:
        return sw.cuda.synchronize if self.device == "cuda" else lambda: None

    def wait(self, seconds: float) -> None:
        """Keeps the default stream, which both libraries share, busy."""
        if self.torch is not None:
            self.torch.cuda._sleep(int(seconds * 2.0e9))
            return
        for _ in range(int(seconds / 5e-5) + 1):  # a copy of 128 MB takes longer than 50 us
            self.filler[0].copy_(self.filler[1])

    # ---- inputs -----------------------------------------------------------------------------------------------------
    def inputs(self, specs: list[Spec], dtype: str) -> tuple[list[Any], list[Any]]:
        """The same values for skipway and for PyTorch; on one device they share the memory."""
        theirs = [self.torch_input(s, dtype) for s in specs] if self.torch is not None else []
        ours = [self.to_ours(t) for t in theirs] if theirs else [self.own_input(s, dtype) for s in specs]
        for tensors in (ours, theirs):
            for t, s in zip(tensors, specs, strict=False):
                if s.grad and not s.below:
                    t.requires_grad_(True)
        return ours, theirs

    def torch_input(self, s: Spec, dtype: str) -> Any:
        torch = self.torch
        if s.below:
            return torch.randint(s.below, s.shape, device=self.peer_device)
        t = torch.randn(s.shape, device=self.peer_device, dtype=torch.float32)
        t = (t.abs() + 0.5 if s.positive else t).to(torch.float32 if s.float32 else getattr(torch, dtype))
        return t.contiguous(memory_format=torch.channels_last) if len(s.shape) == 4 and not s.plain else t

    def own_input(self, s: Spec, dtype: str) -> Any:
        if s.below:
            return sw.randint(0, s.below, s.shape, device=self.device)
        t = sw.randn(s.shape, device=self.device)
        t = (t.abs() + 0.5 if s.positive else t).to(sw.float32 if s.float32 else getattr(sw, dtype))
        return t.contiguous(memory_format=sw.channels_last) if len(s.shape) == 4 and not s.plain else t

    def to_ours(self, t: Any) -> Any:
        return sw.from_dlpack(t.detach()).to(self.device)

    # ---- one problem ------------------------------------------------------------------------------------------------
    def calls(self, problem: Problem, dtype: str, bytes_each: float) -> dict[str, dict[str, list[Any]]]:
        """pass -> library -> one call for each set of inputs. Compares the results of the first set."""
        result: dict[str, dict[str, list[Any]]] = {"forward": {}, "backward": {}}
        for number in range(max(1, min(16, math.ceil(self.turning / bytes_each)))):
            ours, theirs = self.inputs(problem.inputs, dtype)
            runs = [("skipway", sw, problem.run, ours)]
            if self.torch is not None:
                runs.append(("torch", self.torch, problem.peer or problem.run, theirs))
            made = {name: self.passes(problem, lib, run, tensors) for name, lib, run, tensors in runs}
            if problem.backward_bytes is not None:
                self.share_gradient(made)
            for name, passes in made.items():
                for which, call in passes.items():
                    if callable(call):
                        result[which].setdefault(name, []).append(call)
            if number == 0 and problem.compare and len(made) == 2:
                for which in ("forward", "backward") if problem.backward_bytes is not None else ("forward",):
                    self.compare(which, made["skipway"][which](), made["torch"][which](), dtype)
        return result

    @staticmethod
    def passes(problem: Problem, lib: Any, run: Any, tensors: list[Any]) -> dict[str, Any]:
        if problem.step:
            return {"forward": run(lib, *tensors)}
        made: dict[str, Any] = {"forward": lambda: run(lib, *tensors)}
        if problem.backward_bytes is not None:
            y = run(lib, *tensors)
            wanted = [t for t in tensors if t.requires_grad]
            dy: list[Any] = [y]
            made["dy"] = dy  # y, until share_gradient puts its gradient there
            made["backward"] = lambda: lib.autograd.grad(y, wanted, dy[0], retain_graph=True)
        return made

    def share_gradient(self, made: dict[str, dict[str, Any]]) -> None:
        dy = made["torch" if self.torch is not None else "skipway"]["dy"]
        y = dy[0].detach()
        if self.torch is None:
            random = sw.randn(tuple(y.shape), device=self.device).to(y.dtype)
            dy[0] = random.contiguous(memory_format=sw.channels_last) if len(y.shape) == 4 else random
            return
        dy[0] = self.torch.randn_like(y)
        made["skipway"]["dy"][0] = self.to_ours(dy[0])

    def compare(self, which: str, ours: Any, theirs: Any, dtype: str) -> None:
        pairs = zip(ours, theirs, strict=True) if which == "backward" else [(ours, theirs)]
        for number, (a, b) in enumerate(pairs):
            a = self.torch.from_dlpack(a.detach().to("cpu" if self.peer_device == "cpu" else self.device))
            if tuple(a.shape) != tuple(b.shape):
                raise ValueError(f"{which}: shape {tuple(a.shape)}, PyTorch's is {tuple(b.shape)}")
            a, b = a.double(), b.double()
            difference, size = (a - b).norm().item(), b.norm().item()
            if not difference <= TOLERANCE[dtype] * size + 1e-6:
                self.differences[which] = f"result {number} differs by {difference:.3g} from {size:.3g} in the L2 norm"

    def run(self, case: Case, dtype: str, mb: int) -> None:
        n = (256 if case.family == "conv" else 2048) if self.tiny else mb * 2**20 // ITEM[dtype]
        problem = case.make(n, ITEM[dtype], self.tiny)
        row = {
            "kernel": case.name,
            "family": case.family,
            "dtype": dtype,
            "MB": mb if case.sized and not self.tiny else None,
        }
        self.differences: dict[str, str] = {}
        try:
            calls = self.calls(problem, dtype, problem.forward_bytes)
        except Exception as error:
            self.rows.append(row | {"pass": "forward", "error": f"{type(error).__name__}: {error}"})
            return
        for which, size in (("forward", problem.forward_bytes), ("backward", problem.backward_bytes)):
            if size is None:
                continue
            clocks = {"skipway": self.ours, "torch": self.theirs}
            times = interleaved({name: (clocks[name], c) for name, c in calls[which].items()}, self.rounds)
            flop = problem.flop * (2 if which == "backward" else 1)
            self.rows.append(row | {"pass": which} | self.figures(case, dtype, mb, which, size, flop, times))
            if which in self.differences:
                self.rows[-1]["differs"] = self.differences[which]

    def figures(
        self, case: Case, dtype: str, mb: int, which: str, size: float, flop: float, times: dict[str, Timing]
    ) -> dict[str, Any]:
        out: dict[str, Any] = {"bytes": size, "flop": flop}
        for name, t in times.items():
            if t.error:
                return out | {"error": f"{name}: {t.error}"}
            out[name] = {"min": min(t.seconds), "median": statistics.median(t.seconds), "late": t.late}
        median = out["skipway"]["median"]
        out["GB/s"] = size / median * 1e-9
        if flop:
            out["TFLOP/s"] = flop / median * 1e-12
        if case.name == "copy":
            self.copy_speed[dtype, mb] = max(size / out[name]["median"] * 1e-9 for name in times)
        if not flop and (dtype, mb) in self.copy_speed:
            out["share"] = out["GB/s"] / self.copy_speed[dtype, mb]
        if case.family in GOAL_FAMILIES and mb >= 16 and not self.tiny:
            out["goal"] = GOALS[which]
        if "torch" in out:
            out["ratio"] = [out["skipway"][k] / out["torch"][k] for k in ("min", "median")]
        return out


# ---- the report -----------------------------------------------------------------------------------------------------
def table_row(r: dict[str, Any]) -> str:
    head = [r["kernel"], r["pass"], r["dtype"], "" if r["MB"] is None else str(r["MB"])]
    if "error" in r:
        return "| " + " | ".join([*head, "failed: " + " ".join(r["error"].split())[:200].replace("|", "/")]) + " |" * 6

    def times(name: str) -> str:
        t = r.get(name)
        return f"{t['min'] * 1e6:.1f} / {t['median'] * 1e6:.1f}{' *' if t['late'] else ''}" if t else ""

    ratio = " / ".join(f"{x:.2f}" for x in r["ratio"]) if "ratio" in r else ""
    speed = f"{r['TFLOP/s']:.1f} TFLOP/s" if "TFLOP/s" in r else f"{r['GB/s']:.0f}"
    share = f"{100 * r['share']:.0f} %" if "share" in r else ""
    goal = ""
    if "goal" in r and "share" in r:
        goal = f"{100 * r['goal']:.0f} %: {'met' if r['share'] >= r['goal'] else 'missed'}"
    if "differs" in r:
        goal += f" WRONG: {r['differs']}"
    return "| " + " | ".join([*head, times("skipway"), times("torch"), ratio, speed, share, goal]) + " |"


COLUMNS = "kernel, pass, dtype, MB, skipway µs (min / median), PyTorch µs, ratio (min / median), GB/s, of a copy, goal"


def report(bench: Bench, left_out: list[str]) -> str:
    names = COLUMNS.split(", ")
    lines = ["| " + " | ".join(names) + " |", "|---|---|---|" + "--:|" * (len(names) - 4) + "---|"]
    lines += [table_row(r) for r in bench.rows]
    if any(r.get(name, {}).get("late") for r in bench.rows for name in ("skipway", "torch")):
        lines += ["", "\\* includes the host's time: it could not queue the calls before the GPU ran them."]
    aimed = [r for r in bench.rows if "goal" in r and "share" in r]
    if aimed:
        lines += ["", f"Goals met: {sum(r['share'] >= r['goal'] for r in aimed)} of {len(aimed)}."]
    if left_out:
        lines += ["", f"Not timed, as the time was up: {'; '.join(left_out)}."]
    return "\n".join(lines)


def machine(bench: Bench) -> str:
    if bench.gpu:
        p = sw.cuda.get_device_properties(0)
        device = f"{p.name}, {p.multi_processor_count} multiprocessors; {sw._core._cuda_description()}"
        if bench.torch is not None:
            device += f"; PyTorch with CUDA {bench.torch.version.cuda}, cuDNN {bench.torch.backends.cudnn.version()}"
    else:
        device = "none: a dry run, whose times mean nothing" + (" (emulator)" if bench.device == "cuda" else "")
    packages = ["skipway", "numpy"] + (["torch"] if bench.torch is not None else [])
    return f"{header(packages, sw.get_num_threads())}\nGPU:      {device}"


def plan(bench: Bench, args: argparse.Namespace) -> list[tuple[Case, str, int]]:
    sizes = [1] if args.tiny else QUICK_SIZES if args.quick else SIZES
    names = [c for c in CASES if args.only in c.name]
    if all(c.name != "copy" for c in names):
        names = CASES[:1] + names  # whose bandwidth the shares are of
    return [
        (case, dtype, mb)
        for mb in sizes
        for dtype in args.dtypes.split(",")
        for case in names
        if case.sized or mb == sizes[0]
    ]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--peer", choices=["torch", "none"], default="torch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="16 MB and 64 MB only")
    parser.add_argument("--tiny", action="store_true", help="a few hundred elements: a dry run")
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no kernel after this time")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--markdown", type=Path, help="where to write the table")
    return parser.parse_args()


def main() -> int:
    args = parsed()
    bench = Bench(args)
    print(machine(bench), flush=True)
    begin, left_out = time.monotonic(), []
    for case, dtype, mb in plan(bench, args):
        if time.monotonic() - begin > args.seconds:
            left_out.append(f"{case.name} {dtype} {mb} MB")
            continue
        before = len(bench.rows)
        bench.run(case, dtype, mb)
        gc.collect()
        for row in bench.rows[before:]:
            print(table_row(row), flush=True)
    text = f"```\n{machine(bench)}\n```\n\n{report(bench, left_out)}\n"
    if args.markdown:
        args.markdown.write_text(text)
    else:
        print("\n" + text)
    if args.json:
        args.json.write_text(
            json.dumps({"machine": machine(bench), "rows": bench.rows, "left_out": left_out}, indent=1)
        )
    failed = [r for r in bench.rows if "error" in r or "differs" in r]
    print(f"{len(bench.rows) - len(failed)} timed, {len(failed)} failed or wrong, {len(left_out)} left out")
    return 1 if failed or not bench.rows else 0


if __name__ == "__main__":
    sys.exit(main())
