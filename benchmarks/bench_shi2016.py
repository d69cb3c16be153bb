"""The networks of Shi et al. 2016, "Benchmarking state-of-the-art deep learning software tools", table 7, with its
batch sizes: seconds per mini-batch of training (forward, loss, backward, SGD with momentum) beside PyTorch's, on the
CPU.

    python benchmarks/bench_shi2016.py --threads 2 --rounds 5 --json shi2016.json

Each network without residuals is written once below and built from both libraries; outputs in eval mode are compared
before anything is timed. PyTorch runs eagerly, convolutional networks in channels-last memory. The paper's LSTM is left
out: its text leaves open too much of how it is cut into sequences.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, NamedTuple

import timing


def fcn(nn: Any, widths: list[int]) -> Any:
    layers: list[Any] = [nn.Flatten()]
    for a, b in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(a, b), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def alexnet(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(9216, 4096), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


def alexnet_r(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(3, 2), nn.ReLU(), nn.LocalResponseNorm(3, alpha=5e-5, beta=0.75),
        nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(3, alpha=5e-5, beta=0.75),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(3, 2), nn.Flatten(), nn.Linear(64 * 3 * 3, 10),
    )  # fmt: skip


class Network(NamedTuple):
    name: str
    batch: int
    shape: tuple[int, ...]
    classes: int
    build: Callable[[Any], Any] | str  # from a library's nn, or a name in skipway.models and peers.torch_resnet


NETWORKS = [
    Network("FCN-S", 64, (26752,), 26752, lambda nn: fcn(nn, [26752, 2048, 2048, 2048, 26752])),
    Network("AlexNet-S", 16, (3, 224, 224), 1000, alexnet),
    Network("ResNet-50", 16, (3, 224, 224), 1000, "resnet50"),
    Network("FCN-R", 1024, (784,), 10, lambda nn: fcn(nn, [784, 2048, 4096, 1024, 10])),
    Network("AlexNet-R", 1024, (3, 32, 32), 10, alexnet_r),
    Network("ResNet-56", 128, (3, 32, 32), 10, "resnet56"),
]


def step_of(library: Any, model: Any, x: Any, target: Any) -> Callable[[], float]:
    optimizer = library.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()

    def step() -> float:
        optimizer.zero_grad()
        loss = library.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contenders(net: Network, peers: list[str], threads: int) -> dict[str, Callable[[], float]]:
    import numpy as np
    import skipway as sw
    from skipway import models

    rng = np.random.default_rng(0)
    data = rng.standard_normal((net.batch, *net.shape)).astype(np.float32)
    labels = rng.integers(0, net.classes, net.batch)
    sw.manual_seed(0)
    by_name = isinstance(net.build, str)
    ours = getattr(models, net.build)(num_classes=net.classes) if by_name else net.build(sw.nn)
    x = sw.from_numpy(data)
    steps = {"skipway": step_of(sw, ours, x, sw.from_numpy(labels))}
    if not peers:
        return steps
    import torch
    from peers.torch_resnet import make

    torch.set_num_threads(threads)
    theirs = make(net.build, net.classes) if by_name else net.build(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    y = torch.tensor(data)
    if len(net.shape) == 3:
        theirs, y = theirs.to(memory_format=torch.channels_last), y.contiguous(memory_format=torch.channels_last)
    with sw.no_grad(), torch.no_grad():
        a, b = ours.eval()(x[:2]).numpy(), theirs.eval()(y[:2]).numpy()
    if np.abs(a - b).max() > 1e-3 * np.abs(b).max():
        raise SystemExit(f"{net.name}: the contenders do not compute the same")
    return steps | {"torch": step_of(torch, theirs, y, torch.tensor(labels))}


def main() -> None:
    parser = timing.peer_arguments("Times the networks of Shi et al. 2016.", ["torch"])
    parser.add_argument("--network", default=None, help=f"comma-separated, of {', '.join(n.name for n in NETWORKS)}")
    args = parser.parse_args()
    timing.limit_threads(args.threads)
    import skipway as sw

    peers = timing.chosen_peers(args, {"torch": "torch"})
    sw.set_num_threads(args.threads)
    packages = ["skipway", "numpy", *peers]
    print(timing.header(packages, args.threads))
    rows = []
    for net in NETWORKS:
        if args.network and net.name not in args.network.split(","):
            continue
        times = timing.interleave(contenders(net, peers, args.threads), args.rounds, warmup=1)
        print("\n".join(timing.table(f"{net.name}, batch {net.batch}", times)), flush=True)
        rows.append({"network": net.name, "batch": net.batch, "seconds": times})
        gc.collect()
    timing.write_json(args.json, packages, args.threads, rows)


if __name__ == "__main__":
    main()
