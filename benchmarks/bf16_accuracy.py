"""Does a ResNet trained in bfloat16 (autocast) reach float32's accuracy? Fashion-MNIST, several seeds.

    python benchmarks/bf16_accuracy.py --data-dir /usr/share/datasets/fashion-mnist --model resnet20 --epochs 10

Each seed gives both dtypes the same initial weights, order of images and flips. SGD with momentum, cosine schedule.
Prints the test accuracy of every run, the means and their difference.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway import models
from skipway.data.files import Images, load_idx


def batch(images: np.ndarray) -> sw.Tensor:
    return sw.from_numpy((images.astype(np.float32) - 72.9) / 90.0)  # the training images' mean and deviation


def accuracy(model: sw.nn.Module, data: Images, narrow: bool) -> float:
    """Percent."""
    model.eval()
    correct = 0
    with sw.no_grad(), sw.autocast("cpu", dtype=sw.bfloat16, enabled=narrow):
        for i in range(0, len(data.labels), 500):
            found = model(batch(data.images[i : i + 500])).numpy(force=True).argmax(1)
            correct += int((found == data.labels[i : i + 500]).sum())
    return 100 * correct / len(data.labels)


def run(args: argparse.Namespace, train: Images, test: Images, dtype: str, seed: int) -> float:
    narrow = dtype == "bfloat16"
    sw.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = models.get(args.model, num_classes=10, in_channels=1)
    optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    count = min(args.images, len(train.labels))
    steps = args.epochs * (count // args.batch)
    scheduler = sw.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.5 * (1 + math.cos(math.pi * i / steps)))
    for _ in range(args.epochs):
        model.train()
        order = rng.permutation(len(train.labels))[:count]
        for i in range(0, count - args.batch + 1, args.batch):
            at = order[i : i + args.batch]
            images = train.images[at]
            flip = rng.random(len(at)) < 0.5
            images[flip] = images[flip][..., ::-1]
            with sw.autocast("cpu", dtype=sw.bfloat16, enabled=narrow):
                loss = F.cross_entropy(model(batch(images)), sw.from_numpy(train.labels[at].astype(np.int64)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return accuracy(model, test, narrow)


def main() -> None:
    parser = argparse.ArgumentParser(description="Test accuracy after training in float32 and in bfloat16.")
    parser.add_argument("--data-dir", default=None, help="folder of the four idx files")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=60000, help="training images per epoch, drawn anew (default all)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    train, test = load_idx("fashion-mnist", args.data_dir)
    print(f"{args.model}, Fashion-MNIST, {args.epochs} epochs of {args.images} images, batch {args.batch}, ", end="")
    print(f"instruction set {sw._core.get_isa()}")
    found: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for seed in range(args.seeds):
        for dtype, values in found.items():
            begin = time.perf_counter()
            values.append(run(args, train, test, dtype, seed))
            print(f"seed {seed}  {dtype:8s}  {values[-1]:.2f} %  ({time.perf_counter() - begin:.0f} s)", flush=True)
    means = {dtype: statistics.mean(values) for dtype, values in found.items()}
    print(f"mean: float32 {means['float32']:.2f} %, bfloat16 {means['bfloat16']:.2f} %, ", end="")
    print(f"difference {means['bfloat16'] - means['float32']:+.2f} points")


if __name__ == "__main__":
    main()
