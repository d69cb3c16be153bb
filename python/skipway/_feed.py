"""What feeds and shows a training run: augmentation, batches, the learning rate's schedule and the progress bar."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import skipway as sw
from skipway.data import batch as aug
from skipway.data._random import Stream
from skipway.data.files import Images

# ---------------------------------------------------------------------------------------------------------------- data


def augmentation(name: str, size: int) -> aug.BatchTransform | None:
    """The augmentation ``name`` for images of ``size`` pixels, on uint8 or float32 batches."""
    shift = max(1, size // 8)
    return {
        "none": None,
        "affine": aug.random_affine(degrees=10.0, shift=size / 12, scale=0.12, shear=0.15),
        "shift": aug.random_crop(max(1, size // 14)),
        "flip": aug.random_flip(),
        "crop-flip": aug.compose(aug.random_crop(shift), aug.random_flip()),
        "crop-flip-cutout": aug.compose(aug.random_crop(shift), aug.random_flip(), aug.cutout(size // 2, fill=128)),
    }[name]


def limits(name: str, size: int) -> dict[str, Any]:
    """The augmentation ``name`` for images of ``size`` pixels, as options of `_core.augment_images`."""
    shift = max(1, size // 8)
    known: dict[str, dict[str, Any]] = {
        "none": {},
        "affine": {"angle": math.radians(10.0), "shift": size / 12, "zoom": 0.12, "shear": 0.15},
        "shift": {"padding": max(1, size // 14)},
        "flip": {"flip": True},
        "crop-flip": {"padding": shift, "flip": True},
        "crop-flip-cutout": {"padding": shift, "flip": True, "hole": size // 2, "hole_value": 128.0},
    }
    return known[name]


def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float32; exact sums, whatever the order."""
    x = images.astype(np.int64)
    n = x.shape[0] * x.shape[2] * x.shape[3]
    s, s2 = x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))
    mean = s / n
    std = np.sqrt(np.maximum((n * s2 - s * s) / float(n) ** 2, 1e-12))
    return mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32)


def order_of(n: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The images of each batch of an epoch: a permutation of all that the seed and the epoch give."""
    order = Stream(seed, epoch, 0).permutation(n)
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks.pop()  # one image alone has no batch statistics
    return chunks


class DeviceImages:
    """All images of a set, as uint8 on a CUDA device, where batches are chosen, augmented and normalised."""

    def __init__(self, data: Images, batch_size: int, mean: np.ndarray, std: np.ndarray, device: Any) -> None:
        self.data, self.batch_size, self.device = data, batch_size, device
        rows = np.ascontiguousarray(data.images.transpose(0, 2, 3, 1))
        self.images = sw.from_numpy(rows).to(device).permute(0, 3, 1, 2)
        self.labels = sw.from_numpy(data.labels.astype(np.int64)).to(device)
        self.mean, self.std = (sw.from_numpy(v.astype(np.float32)).to(device) for v in (mean, std))

    @staticmethod
    def fit(device: Any, *sets: Images) -> bool:
        """Do they take at most a quarter of the memory that is free?"""
        return sum(s.images.nbytes for s in sets) <= sw.cuda.mem_get_info(device)[0] // 4

    def __len__(self) -> int:
        """Batches of a shuffled pass."""
        return len(order_of(len(self.data), self.batch_size, 0, 0))

    def batch(self, index: Any, augment: dict[str, Any]) -> tuple[Any, Any]:
        """The images and labels with these indices, a tensor on the device."""
        x = sw._core.augment_images(self.images, index, self.mean, self.std, **augment)
        return x, self.labels.index_select(0, index)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Any]:
        """The indices of each batch of an epoch, on the device."""
        chunks = order_of(len(self.data), self.batch_size, seed, epoch)
        order = sw.from_numpy(np.concatenate(chunks)).to(self.device)
        start = 0
        for chunk in chunks:
            yield order[start : start + len(chunk)]
            start += len(chunk)

    def in_order(self) -> Iterator[tuple[Any, Any]]:
        """All batches, without augmentation."""
        for start in range(0, len(self.data), self.batch_size):
            stop = min(len(self.data), start + self.batch_size)
            yield self.batch(sw.arange(start, stop, device=self.device), {})


class Batches:
    """Normalised batches of images in memory; the next one is made while the present one is in use."""

    def __init__(self, data: Images, batch_size: int, mean: np.ndarray, std: np.ndarray) -> None:
        self.data, self.batch_size = data, batch_size
        self.mean, self.scale = mean.astype(np.float32), (1.0 / std).astype(np.float32)

    def normalise(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32, channels last in memory, as convolutions want it."""
        y = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float32)
        y -= self.mean
        y *= self.scale
        return y.transpose(0, 3, 1, 2)

    def in_order(self) -> Iterator[tuple[Any, Any]]:
        n = len(self.data)
        return self._ahead([np.arange(i, min(n, i + self.batch_size)) for i in range(0, n, self.batch_size)], None)

    def shuffled(self, seed: int, epoch: int, augment: aug.BatchTransform | None) -> Iterator[tuple[Any, Any]]:
        chunks = order_of(len(self.data), self.batch_size, seed, epoch)
        return self._ahead(chunks, lambda x, i: x if augment is None else augment(x, Stream(seed, epoch, 1 + i)))

    def __len__(self) -> int:
        """Of a shuffled pass."""
        full, rest = divmod(len(self.data), self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))

    def _ahead(self, chunks: list[np.ndarray], change: Callable[[np.ndarray, int], np.ndarray] | None) -> Iterator[Any]:
        def make(i: int) -> tuple[np.ndarray, np.ndarray]:
            x = self.data.images[chunks[i]]
            if change is not None:
                x = change(x, i)
            return self.normalise(x), self.data.labels[chunks[i]]

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(make, 0)
            for i in range(len(chunks)):
                x, y = coming.result()
                if i + 1 < len(chunks):
                    coming = pool.submit(make, i + 1)
                yield sw.from_numpy(x), sw.from_numpy(y)


# ------------------------------------------------------------------------------------------------------------ schedule


def schedule_factor(name: str, steps: int) -> Callable[[int], float]:
    """The learning rate at a step, as a part of ``--lr``; cosine and linear warm up for 5 % of the steps."""

    def warm(p: float) -> float:
        return min(1.0, (p + 0.5 / steps) / 0.05)

    def factor(step: int) -> float:
        p = min(step, steps) / steps
        if name == "cosine":
            return warm(p) * 0.5 * (1.0 + math.cos(math.pi * p))
        if name == "linear":
            return warm(p) * (1.0 - p)
        if name == "step":
            return 0.1 ** ((p >= 0.5) + (p >= 0.75))
        if name == "onecycle":  # Smith 2018: up to the full rate at 30 %, then down to almost nothing
            if p < 0.3:
                return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * p / 0.3))
            return 0.5 * (1.0 + math.cos(math.pi * (p - 0.3) / 0.7))
        return 1.0

    return factor


# ------------------------------------------------------------------------------------------------------------ progress


class Progress:
    """A bar on a terminal, one plain line per epoch elsewhere."""

    def __init__(self, epochs: int, done: int, images_per_epoch: int, stream: Any = None) -> None:
        self.stream = stream or sys.stdout
        self.epochs, self.images = epochs, images_per_epoch
        self.first, self.start = done, time.perf_counter()
        self.bar: Any = None
        self.test = ""
        if getattr(self.stream, "isatty", lambda: False)():
            from tqdm import tqdm  # type: ignore[import-untyped]

            self.bar = tqdm(
                total=epochs * images_per_epoch, initial=done * images_per_epoch, unit=" images", file=self.stream,
                ncols=shutil.get_terminal_size().columns, smoothing=0.05,
                bar_format="{desc} |{bar}| {percentage:3.0f}% {rate_fmt}, {remaining} left{postfix}",
            )  # fmt: skip

    def batch(self, epoch: int, count: int, loss: float, accuracy: float) -> None:
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {epoch}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"loss {loss:.4f}, accuracy {100 * accuracy:.2f} %{self.test}", refresh=False)
            self.bar.update(count)

    def epoch(self, row: dict[str, Any]) -> None:
        if self.bar is not None:
            self.test = f", test {100 * row['test_accuracy']:.2f} %"
            return
        epoch = row["epoch"]
        left = (time.perf_counter() - self.start) / (epoch - self.first) * (self.epochs - epoch)
        width = len(str(self.epochs))
        print(
            f"epoch {epoch:{width}}/{self.epochs}  loss {row['train_loss']:.4f}"
            f"  accuracy {100 * row['train_accuracy']:6.2f} %"
            f"  test {100 * row['test_accuracy']:6.2f} %  {row['images_per_second']:.0f} images/s  {left:.0f} s left",
            file=self.stream,
            flush=True,
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
