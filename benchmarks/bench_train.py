"""A training step (forward, loss, backward, SGD with momentum) of a CIFAR residual network, against PyTorch.

    python benchmarks/bench_train.py --model resnet20 --batch 128 --threads 2 --peer torch --rounds 10 --dtype bfloat16

Both train the same network from the same weights on the same batch, in float32 or (forward pass and loss under
autocast) in bfloat16, and the losses of the first steps are compared before anything is timed. PyTorch runs eagerly, in
channels-last memory, which is its fastest eager layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway import models
from timing import arguments, header, interleave, ratios, summary

# How far the losses of two steps may differ, of their size: activations of bfloat16 are off by 2^-9 each.
SAME_LOSS = {"float32": 1e-3, "bfloat16": 2e-2}


def skipway_step(model: sw.nn.Module, images: np.ndarray, labels: np.ndarray, narrow: bool) -> Callable[[], float]:
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


def torch_step(
    depth: int, state: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray, threads: int, narrow: bool
) -> Callable[[], float]:
    import torch
    from peers.torch_resnet import CifarResNet

    torch.set_num_threads(threads)
    model = CifarResNet(depth)
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    model = model.to(memory_format=torch.channels_last).train()
    x = torch.tensor(images).contiguous(memory_format=torch.channels_last)
    target = torch.tensor(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = torch.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = arguments("Times a training step of a CIFAR residual network.")
    parser.add_argument("--model", default="resnet20", help="resnet20, resnet32, ... (6n + 2; default resnet20)")
    parser.add_argument("--batch", type=int, default=128, help="images per step (default 128)")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images (default 32)")
    parser.add_argument("--dtype", choices=list(SAME_LOSS), default="float32", help="float32 (default) or bfloat16")
    args = parser.parse_args()
    narrow = args.dtype == "bfloat16"
    match = re.fullmatch(r"resnet(\d+)", args.model)
    if not match or int(match[1]) % 6 != 2:
        parser.error(f"--model: expected resnet20, resnet32, ... (6n + 2), got {args.model}")

    rng = np.random.default_rng(0)
    images = rng.standard_normal((args.batch, 3, args.size, args.size)).astype(np.float32)
    labels = rng.integers(0, 10, args.batch)
    sw.set_num_threads(args.threads)
    sw.manual_seed(0)
    model = getattr(models, args.model)(num_classes=10)
    state = {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
    contenders = {"skipway": skipway_step(model, images, labels, narrow)}
    packages = ["skipway", "numpy"]
    if args.peer == "torch":
        contenders["torch"] = torch_step(int(match[1]), state, images, labels, args.threads, narrow)
        packages.append("torch")

    print(header(packages, args.threads))
    print(f"{args.model}, batch {args.batch}, {args.size}x{args.size}, {args.dtype}, {args.rounds} rounds")
    for i in range(2):
        losses = {name: step() for name, step in contenders.items()}
        print(f"loss of step {i + 1}: " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
        if max(losses.values()) - min(losses.values()) > SAME_LOSS[args.dtype] * max(losses.values()):
            raise SystemExit("the contenders do not compute the same")
    times = interleave(contenders, args.rounds)
    for name, seconds in times.items():
        print(summary(name, seconds), f"  {args.batch / min(seconds):8.0f} images/s")
    if "torch" in times:
        least, median = ratios(times["skipway"], times["torch"])
        print(f"skipway / torch: min {least:.3f}, median {median:.3f}")


if __name__ == "__main__":
    main()
