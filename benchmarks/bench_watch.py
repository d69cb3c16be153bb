"""What `skipway.lab.watch` costs: training steps of a ResNet-20 on 8 x 8 images, batch 64, with and without it.

    python benchmarks/bench_watch.py

Interleaved, the least of many rounds of 20 steps; `watch` looks at one step in 20, its default. Small steps are the
worst case: what a look costs hardly depends on the size of the network's tensors.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway import lab, models, optim
from timing import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", metavar="FILE", default=None, help="write the figures here too")
    args = parser.parse_args()
    sw.manual_seed(0)
    model = models.cifar_resnet(20, in_channels=1, shortcut="A")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = sw.randn(64, 1, 8, 8), sw.from_numpy(np.arange(64) % 10)

    def train() -> float:
        start = time.perf_counter()
        for _ in range(20):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - start

    train()
    least = {"without": float("inf"), "with": float("inf")}
    for _ in range(args.rounds):
        least["without"] = min(least["without"], train())
        with lab.watch(model, quiet=True):
            least["with"] = min(least["with"], train())
    sw.show_config()
    share = least["with"] / least["without"] - 1
    for name, seconds in least.items():
        print(f"{name:8} {1e3 * seconds / 20:.2f} ms per step")
    print(f"overhead {100 * share:.1f} %")
    rows = [{"watch": name, "seconds": seconds / 20} for name, seconds in least.items()]
    write_json(args.json, ["skipway", "numpy"], sw.get_num_threads(), rows)


if __name__ == "__main__":
    main()
