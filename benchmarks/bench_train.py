"""A training step (forward, loss, backward, SGD with momentum) of residual networks, against PyTorch.

    python benchmarks/bench_train.py --model resnet20,resnet56,resnet18 --threads 2 --json train.json

All train the same network from the same weights on the same batch, in float32 or, with --dtype bfloat16, under
autocast; the losses of the first steps are compared before anything is timed. PyTorch runs eagerly, in channels-last
memory, which is its fastest eager layout; and compiled (`--peers torch,compile`; not by default, as its first step
takes half a minute). The last two columns say how many times longer than skipway a contender takes, by minimum and by
median. --memory runs each contender in a process of its own: the time of its first step, and how much memory it needed
beyond what it held before that step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import timing

PACKAGES = {"torch": "torch", "compile": "torch"}
SIZES = {"resnet18": (16, 224), "resnet34": (16, 224), "resnet50": (16, 224)}  # batch and image; else 128 and 32


def skipway_step(model, images, labels, narrow: bool = False) -> Callable[[], float]:
    import skipway as sw
    import skipway.nn.functional as F

    x, target = sw.from_numpy(images), sw.from_numpy(labels)
    optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    model.train()

    def step() -> float:
        optimizer.zero_grad()
        with sw.autocast("cpu", dtype=sw.bfloat16, enabled=narrow):
            loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_step(name: str, classes: int, state: dict, images, labels, threads: int, narrow: bool, compiled: bool):
    import torch
    from peers.torch_resnet import load

    torch.set_num_threads(threads)
    model = load(name, classes, state).train()
    call = torch.compile(model) if compiled else model
    x = torch.tensor(images).contiguous(memory_format=torch.channels_last)
    target = torch.tensor(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            loss = torch.nn.functional.cross_entropy(call(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class Case:
    """A network and its batch; weights and data are the same for everybody."""

    def __init__(self, name: str, batch: int | None, size: int | None, dtype: str, threads: int) -> None:
        import numpy as np
        import skipway as sw
        from skipway import models

        usual = SIZES.get(name, (128, 32))
        self.name, self.batch, self.size = name, batch or usual[0], size or usual[1]
        self.narrow, self.threads = dtype == "bfloat16", threads
        self.classes = 1000 if name in SIZES else 10
        rng = np.random.default_rng(0)
        self.images = rng.standard_normal((self.batch, 3, self.size, self.size)).astype(np.float32)
        self.labels = rng.integers(0, self.classes, self.batch)
        sw.set_num_threads(threads)
        sw.manual_seed(0)
        self.model = getattr(models, name)(num_classes=self.classes)

    def title(self) -> str:
        kind = "bfloat16 under autocast" if self.narrow else "float32"
        return f"{self.name}, batch {self.batch}, {self.size}x{self.size}, {kind}"

    def step(self, who: str) -> Callable[[], float]:
        if who == "skipway":
            return skipway_step(self.model, self.images, self.labels, self.narrow)
        import numpy as np

        state = {name: np.array(value.numpy()) for name, value in self.model.state_dict().items()}
        data = (self.images, self.labels, self.threads, self.narrow)
        return torch_step(self.name, self.classes, state, *data, who == "torch.compile")


def status(key: str) -> float:
    """MB, from /proc: VmRSS is held now, VmHWM was held at most."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def measure_alone(case: Case, who: str) -> dict[str, float]:
    """Milliseconds of the first and of a later step, and MB that the steps needed, in this fresh process."""
    step = case.step(who)
    before, times = status("VmRSS"), []
    for _ in range(6):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    return {"first_ms": times[0], "later_ms": min(times[1:]), "peak_mb": status("VmHWM") - before}


def alone(case: Case, args, who: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--alone", who, "--model", case.name, "--threads", str(args.threads)]
    command += ["--batch", str(case.batch), "--size", str(case.size), "--dtype", args.dtype]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(result.stdout)


def compare(case: Case, peers: list[str], rounds: int) -> dict[str, list[float]]:
    steps = {who: case.step(who) for who in ["skipway", *peers]}
    for i in range(2):
        losses = {name: step() for name, step in steps.items()}
        print(f"  loss of step {i + 1}: " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
        allowed = 3e-2 if case.narrow else 1e-3
        if max(losses.values()) - min(losses.values()) > allowed * max(losses.values()):
            raise SystemExit("the contenders do not compute the same")
    return timing.interleave(steps, rounds)


def main() -> None:
    parser = timing.peer_arguments("Times a training step of residual networks.", list(PACKAGES))
    parser.add_argument("--model", default="resnet20", help="comma-separated: resnet20, resnet18, ...")
    parser.add_argument("--batch", type=int, default=None, help="images per step (default 128 of 32x32, 16 of 224x224)")
    parser.add_argument("--size", type=int, default=None, help="height and width of the images (default 32 or 224)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--memory", action="store_true", help="first step and memory, in fresh processes")
    parser.add_argument("--alone", default=None, help="used by --memory: one contender, figures as JSON")
    args = parser.parse_args()
    timing.limit_threads(args.threads)
    if args.alone:
        case = Case(args.model, args.batch, args.size, args.dtype, args.threads)
        print(json.dumps(measure_alone(case, args.alone)))
        return
    chosen = [p for p in timing.chosen_peers(args, PACKAGES) if p != "compile" or args.peers]
    peers = ["torch.compile" if p == "compile" else p for p in chosen]
    packages = ["skipway", "numpy", *dict.fromkeys(PACKAGES[p] for p in chosen)]
    print(timing.header(packages, args.threads))
    rows = []
    for name in args.model.split(","):
        case = Case(name, args.batch, args.size, args.dtype, args.threads)
        print(case.title())
        times = compare(case, peers, args.rounds)
        print("\n".join(timing.table("  a step:", times)), flush=True)
        row = {"model": name, "batch": case.batch, "size": case.size, "dtype": args.dtype, "seconds": times}
        if args.memory:
            row["alone"] = {who: alone(case, args, who) for who in times}
            for who, figures in row["alone"].items():
                print(
                    f"  {who:14s} first step {figures['first_ms']:8.1f} ms, later {figures['later_ms']:8.1f} ms,"
                    f" memory of a step {figures['peak_mb']:7.1f} MB",
                    flush=True,
                )
        rows.append(row)
    timing.write_json(args.json, packages, args.threads, rows)


if __name__ == "__main__":
    main()
