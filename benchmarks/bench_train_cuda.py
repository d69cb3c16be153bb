"""Training steps on a GPU (forward, loss, backward, SGD with momentum; bfloat16 autocast), against PyTorch.

    python benchmarks/bench_train_cuda.py                  ResNet-20/56/110, batch 128, 512; ResNet-18/50, batch 256
    python benchmarks/bench_train_cuda.py --seconds 100    what can be done in 100 seconds, the goals' models first
    python benchmarks/bench_train_cuda.py --tiny           a dry run: a tiny network, on the emulator too

All train the same network from the same weights on the same batch, and the losses of the first steps are compared
before anything is timed. skipway runs eagerly and as a CUDA graph (sw.cuda.graph); PyTorch, in channels-last memory,
eagerly, as a CUDA graph of the whole step, compiled, and compiled within such a graph. A round is many steps between
two waits for the device, so that the host's time counts; small networks take turns, large ones come one after the
other, as their memory does not fit side by side. Exit status 1 if a loss differed or skipway failed.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway import models
from timing import header

Step = Callable[[], Any]  # one step of training, on the device, without a wait; returns the loss
# (model, batch, size of the images), the goals' first
CONFIGURATIONS = (
    ("resnet20", 128, 32), ("resnet50", 256, 224), ("resnet20", 512, 32), ("resnet18", 256, 224),
    ("resnet56", 128, 32), ("resnet110", 128, 32), ("resnet56", 512, 32), ("resnet110", 512, 32),
)  # fmt: skip
CIFAR = ("resnet8", "resnet20", "resnet56", "resnet110")
SLOW = ("compiled", "compiled, graph")  # to prepare: they are left out when time is short
TOLERANCE = 2e-2  # of the first losses, in bfloat16
COLUMNS = (
    "model", "batch", "skipway eager", "skipway graph", "PyTorch eager", "PyTorch graph", "PyTorch compiled",
    "PyTorch compiled, graph", "images/s", "PyTorch eager / skipway", "best PyTorch / skipway", "goal",
)  # fmt: skip
GOALS = {
    ("resnet20", 128): "4 times PyTorch eager, 1.5 times compiled with graphs",
    ("resnet50", 256): "PyTorch's best",
}


def sizes(model: str) -> int:
    return 10 if model in CIFAR else 1000


def skipway_steps(
    model: str, images: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, Callable[[], Step]], dict[str, np.ndarray]]:
    """What makes an eager step and a graph, from the same weights; and the weights."""
    sw.manual_seed(0)
    first = getattr(models, model)(num_classes=sizes(model))
    state = {name: np.array(value.numpy()) for name, value in first.state_dict().items()}

    def make(graphed: bool) -> Step:
        net = getattr(models, model)(num_classes=sizes(model))
        net.load_state_dict(first.state_dict())
        net = net.cuda().train()
        x, y = sw.from_numpy(images).cuda().contiguous(memory_format=sw.channels_last), sw.from_numpy(labels).cuda()
        optimizer = sw.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

        def step() -> Any:
            optimizer.zero_grad()
            with sw.autocast("cuda", dtype=sw.bfloat16):
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return sw.cuda.graph(step) if graphed else step

    return {"skipway eager": lambda: make(False), "skipway graph": lambda: make(True)}, state


def torch_network(model: str, state: dict[str, np.ndarray]) -> Any:
    import torch
    from peers.torch_imagenet import ResNet
    from peers.torch_resnet import CifarResNet

    net = CifarResNet(int(model[6:])) if model in CIFAR else ResNet(int(model[6:]))
    net.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return net


def torch_steps(
    model: str, state: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray, gpu: bool, slow: bool
) -> dict[str, Callable[[], Step]]:
    """What makes each contender; on the CPU, eager alone."""
    import torch

    device = "cuda" if gpu else "cpu"
    torch.backends.cudnn.benchmark = True
    x = torch.tensor(images).to(device).contiguous(memory_format=torch.channels_last)
    y = torch.tensor(labels).to(device)

    def make(compiled: bool, graphed: bool) -> Step:
        net = torch_network(model, state).to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        forward = torch.compile(net) if compiled else net

        def step() -> Any:
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return captured(step) if graphed else step

    def captured(step: Step) -> Step:
        """The first call captures, after the steps that PyTorch asks for, so that no loss can be compared."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step()

        def replay() -> Any:
            graph.replay()
            return loss

        return replay

    makers = {"PyTorch eager": lambda: make(False, False)}
    if gpu:
        makers["PyTorch graph"] = lambda: make(False, True)
    if gpu and slow:
        makers["PyTorch compiled"] = lambda: make(True, False)
        makers["PyTorch compiled, graph"] = lambda: make(True, True)
    return makers


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if not sw.cuda.is_available():
            sys.exit(f"bench_train_cuda: skipway finds no CUDA device: {sw._core._cuda_reason()}")
        self.gpu = not sw._core._cuda_emulated()
        self.begin = time.monotonic()
        self.rows: list[dict[str, Any]] = []

    def left(self) -> float:
        return self.args.seconds - (time.monotonic() - self.begin)

    def wait(self) -> None:
        sw.cuda.synchronize()
        if self.gpu and self.args.peer == "torch":
            import torch

            torch.cuda.synchronize()

    def run(self, model: str, batch: int, size: int) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        images = rng.standard_normal((batch, 3, size, size)).astype(np.float32)
        labels = rng.integers(0, sizes(model), batch)
        row: dict[str, Any] = {"model": model, "batch": batch, "times": {}, "errors": {}}
        makers, state = skipway_steps(model, images, labels)
        if self.args.peer == "torch":
            makers |= torch_steps(model, state, images, labels, self.gpu, self.left() > 60)
        # Side by side where all fit into memory, else one after the other
        groups = [list(makers)] if size <= 64 else [[name] for name in makers]
        for names in groups:
            ready: dict[str, Step] = {}
            for name in names:
                try:
                    ready[name] = makers[name]()
                    row.setdefault("losses", {})[name] = [float(ready[name]()) for _ in range(3)]
                except Exception as error:
                    ready.pop(name, None)
                    row["errors"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
                if len(groups) > 1:
                    del makers[name]
            self.time(ready, row)
            ready.clear()
            self.free()
        self.compare(row)
        return row

    def free(self) -> None:
        gc.collect()
        sw.cuda.empty_cache()
        if self.gpu and self.args.peer == "torch":
            import torch

            torch.cuda.empty_cache()

    @staticmethod
    def compare(row: dict[str, Any]) -> None:
        """Eager steps from the same weights, and skipway's graph, which takes no step before its first."""
        losses = row.get("losses", {})
        for name in ("skipway graph", "PyTorch eager"):
            if name not in losses or "skipway eager" not in losses:
                continue
            for a, b in zip(losses["skipway eager"], losses[name], strict=True):
                if not abs(a - b) <= TOLERANCE * max(abs(a), abs(b)):
                    row["differs"] = f"losses of skipway eager {losses['skipway eager']}, of {name} {losses[name]}"

    def time(self, ready: dict[str, Step], row: dict[str, Any]) -> None:
        times: dict[str, list[float]] = {name: [] for name in ready}
        for i in range(self.args.rounds):
            for name in list(ready) if i % 2 == 0 else reversed(list(ready)):
                ready[name]()
                self.wait()
                begin = time.perf_counter()
                for _ in range(self.args.steps):
                    ready[name]()
                self.wait()
                times[name].append((time.perf_counter() - begin) / self.args.steps)
        row["times"] |= {name: {"min": min(t), "median": statistics.median(t)} for name, t in times.items()}


def table_row(row: dict[str, Any]) -> str:
    times = {name: t["min"] for name, t in row["times"].items()}
    best = times.get("skipway graph", times.get("skipway eager"))
    torch = {name: t for name, t in times.items() if name.startswith("PyTorch")}

    def cell(name: str) -> str:
        if name not in times:
            return row["errors"].get(name, "not run" if name in COLUMNS else "")
        return f"{1e3 * row['times'][name]['min']:.3f} / {1e3 * row['times'][name]['median']:.3f}"

    cells = [row["model"], str(row["batch"]), *(cell(name) for name in COLUMNS[2:8])]
    cells.append(f"{row['batch'] / best:.0f}" if best else "")
    cells.append(f"{torch['PyTorch eager'] / best:.2f}" if best and "PyTorch eager" in torch else "")
    cells.append(f"{min(torch.values()) / best:.2f}" if best and torch else "")
    cells.append(row.get("differs") or GOALS.get((row["model"], row["batch"]), ""))
    return f"| {' | '.join(cells)} |"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|--:|" + "--:|" * 9 + "---|", *map(table_row, rows)]
    return "Milliseconds of a step, minimum / median.\n\n" + "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=("torch", "none"), default="torch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="of a round (default 20)")
    parser.add_argument("--only", default="", metavar="NAME", help="only models of this name")
    parser.add_argument("--tiny", action="store_true", help="one tiny network, to see that everything runs")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no model after this time")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--markdown", type=Path, help="where to write the table")
    args = parser.parse_args()
    if args.tiny:
        args.rounds, args.steps = 1, 1
    return args


def main() -> int:
    args = parsed()
    bench = Bench(args)
    packages = ["skipway", "numpy", *(["torch"] if args.peer == "torch" else [])]
    where = f"{header(packages, sw.get_num_threads())}\ndevice:   {sw.cuda.get_device_name(0)}"
    print(where, flush=True)
    chosen = (("resnet8", 2, 8),) if args.tiny else tuple(c for c in CONFIGURATIONS if args.only in ("", c[0]))
    left_out = []
    for model, batch, size in chosen:
        if bench.left() < 20 and bench.rows:
            left_out.append(f"{model} batch {batch}")
            continue
        bench.rows.append(bench.run(model, batch, size))
        print(table_row(bench.rows[-1]), flush=True)
    text = f"```\n{where}\n```\n\n{table(bench.rows)}\n"
    if left_out:
        text += f"\nLeft out for lack of time: {', '.join(left_out)}.\n"
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        args.json.write_text(json.dumps({"machine": where, "rows": bench.rows, "left_out": left_out}, indent=1))
    wrong = [r for r in bench.rows if "differs" in r or any(n.startswith("skipway") for n in r["errors"])]
    for r in bench.rows:
        for name, error in r["errors"].items():
            print(f"{r['model']} batch {r['batch']}, {name}: {error}")
    print(f"{len(bench.rows)} models timed, {len(wrong)} failed or wrong, {len(left_out)} left out")
    return 1 if wrong or not bench.rows else 0


if __name__ == "__main__":
    sys.exit(main())
