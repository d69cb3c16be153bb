"""Batches chosen, augmented and normalised by one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw

MEAN, STD = [120.0, 90.0, 60.0], [50.0, 60.0, 70.0]


def images(n: int = 5, size: tuple[int, int] = (7, 9), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n, channels, *size), dtype=np.uint8)


def augment(x: np.ndarray, index: list[int], dtype: Any = sw.float32, device: str = "cpu", **options: Any) -> Any:
    c = x.shape[1]
    tensors = (sw.from_numpy(x), sw.tensor(np.array(index, np.int64)), sw.tensor(MEAN[:c]), sw.tensor(STD[:c]))
    return sw._core.augment_images(*(t.to(device) for t in tensors), dtype, **options)


def pixels(y: Any) -> np.ndarray:
    """Back to uint8 values."""
    c = y.shape[1]
    mean, std = (np.array(v[:c], np.float32)[:, None, None] for v in (MEAN, STD))
    return np.rint(y.cpu().float().numpy() * std + mean).astype(np.int64)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_augmentation_it_normalises(dtype: str, channels: int) -> None:
    x = images(channels=channels)
    before = sw.get_rng_state().tolist()
    y = augment(x, [4, 0, 4], getattr(sw, dtype))
    assert sw.get_rng_state().tolist() == before, "nothing is drawn"
    assert y.dtype is getattr(sw, dtype) and y.shape == (3, channels, 7, 9)
    assert y.is_contiguous(memory_format=sw.channels_last)
    mean, std = (np.array(v[:channels])[:, None, None] for v in (MEAN, STD))
    tolerance = 2.0**-8 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(y.double().numpy(), (x[[4, 0, 4]] - mean) / std, rtol=tolerance, atol=1e-6)
    assert augment(x, []).shape == (0, channels, 7, 9)


def test_any_layout_of_the_images() -> None:
    x = sw.from_numpy(images())
    index, mean, std = sw.tensor([1, 2]), sw.tensor(MEAN), sw.tensor(STD)
    expected = sw._core.augment_images(x, index, mean, std).tolist()
    for other in (x.contiguous(memory_format=sw.channels_last), sw.cat([x, x], 3)[:, :, :, :9]):
        assert sw._core.augment_images(other, index, mean, std).tolist() == expected


def shifted(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    _, h, w = image.shape
    padded = np.pad(image, [(0, 0), (h, h), (w, w)])
    return padded[:, h + dy : 2 * h + dy, w + dx : 2 * w + dx]


def test_crops_flips_and_holes() -> None:
    sw.manual_seed(3)
    x = images(2).astype(np.int64)
    n = 400
    index = [i % 2 for i in range(n)]
    crops = pixels(augment(x.astype(np.uint8), index, padding=2))
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    candidates = {(i, s): shifted(x[i], *s).tobytes() for i in range(2) for s in shifts}
    seen = []
    for b, crop in enumerate(crops):
        found = [s for s in shifts if candidates[index[b], s] == crop.tobytes()]
        assert len(found) == 1
        seen += found
    counts = [seen.count(s) for s in shifts]
    assert min(counts) > 2 and max(counts) < 40, "all shifts are as likely"
    flips = pixels(augment(x.astype(np.uint8), index, flip=True))
    flipped = [int((flip == x[index[b]][:, :, ::-1]).all()) for b, flip in enumerate(flips)]
    assert all(f or (flips[b] == x[index[b]]).all() for b, f in enumerate(flipped))
    assert 150 < sum(flipped) < 250
    holes = pixels(augment(x.astype(np.uint8), index, hole=4, hole_value=0.0))
    rows, columns = set(), set()
    for b, hole in enumerate(holes):
        at = np.argwhere(hole[0] == 0)
        (top, left), (bottom, right) = at.min(0), at.max(0)
        assert (hole[:, top : bottom + 1, left : right + 1] == 0).all() and bottom - top < 4 and right - left < 4
        assert (hole == x[index[b]]).sum() == hole.size - 3 * len(at)
        rows.add(top), columns.add(right)
    assert rows == {0, 1, 2, 3, 4} and columns == {1, 2, 3, 4, 5, 6, 7, 8}


def test_affine_maps() -> None:
    """Of an image that is a plane, pixels inside are where the map says: the mean gradient turns and scales."""
    i, j = np.mgrid[0:31, 0:31]
    x = np.stack([(3 * i + 100), (3 * j + 100)]).astype(np.uint8)[None]
    one = sw._core.augment_images
    arguments = sw.from_numpy(x), sw.tensor([0] * 200), sw.zeros(2), sw.ones(2)
    sw.manual_seed(1)
    angle = 0.3
    y = (one(*arguments, angle=angle).double().numpy() - 100) / 3
    dy = y[:, :, 16, 15] - y[:, :, 15, 15]  # where one pixel down comes from
    turned = np.arctan2(dy[:, 1], dy[:, 0])
    np.testing.assert_allclose(np.hypot(dy[:, 0], dy[:, 1]), 1, rtol=1e-3)
    assert np.abs(turned).max() < angle + 1e-3 and turned.std() > angle / 3
    np.testing.assert_allclose(y[:, :, 15, 15], 15, atol=1e-3)
    y = (one(*arguments, shift=2.5).double().numpy() - 100) / 3
    moved = y[:, :, 15, 15] - 15
    assert np.abs(moved).max() < 2.5 and moved.std() > 1 and abs(moved.mean()) < 0.4
    np.testing.assert_allclose(y[:, 0, 16, 15] - y[:, 0, 15, 15], 1, rtol=1e-3)
    y = (one(*arguments, zoom=0.25).double().numpy() - 100) / 3
    size = y[:, 0, 16, 15] - y[:, 0, 15, 15]
    assert size.min() > 0.79 and size.max() < 1.26 and size.std() > 0.08
    y = (one(*arguments, shear=0.2).double().numpy() - 100) / 3
    slant = y[:, 1, 16, 15] - y[:, 1, 15, 15]
    assert np.abs(slant).max() < 0.2 and slant.std() > 0.08


def test_the_generator_decides() -> None:
    x = images()
    options: dict[str, Any] = {"padding": 3, "flip": True, "hole": 2}
    sw.manual_seed(5)
    first = [augment(x, [0, 1, 2], **options).tolist() for _ in range(2)]
    sw.manual_seed(5)
    assert [augment(x, [0, 1, 2], **options).tolist() for _ in range(2)] == first and first[0] != first[1]
    own = [augment(x, [0], generator=sw.Generator().manual_seed(1), **options).tolist() for _ in range(2)]
    assert own[0] == own[1]


@pytest.mark.parametrize(
    "error, message, change",
    [
        (IndexError, "index 5 is out of range for 5 images", {"index": [5]}),
        (IndexError, "index -1 is out of range", {"index": [-1]}),
        (ValueError, "padding", {"padding": -1}),
        (ValueError, "padding", {"padding": 10**12}),
        (ValueError, "hole", {"hole": -1}),
        (ValueError, "finite limits", {"angle": float("nan")}),
        (ValueError, "a crop .padding. or an affine map, got both", {"angle": 1.0, "padding": 1}),
        (TypeError, "a floating dtype, got int64", {"dtype": sw.int64}),
    ],
)
def test_errors(error: type[Exception], message: str, change: dict[str, Any]) -> None:
    arguments = {"index": [0], **change}
    with pytest.raises(error, match=f"augment_images: .*{message}"):
        augment(images(), **arguments)


def test_errors_of_tensors() -> None:
    x, index, mean, std = sw.from_numpy(images()), sw.tensor([0]), sw.tensor(MEAN), sw.tensor(STD)
    one = sw._core.augment_images
    for error, message, arguments in (
        (TypeError, "images of uint8, got float32", (x.float(), index, mean, std)),
        (ValueError, r"\(N, C, H, W\), got \(3, 7, 9\)", (x[0], index, mean, std)),
        (ValueError, r"got images of shape \(5, 0, 7, 9\)", (x[:, :0], index, mean, std)),
        (TypeError, "index of int64, got int32", (x, index.int(), mean, std)),
        (ValueError, r"index of shape \(B,\)", (x, index[None], mean, std)),
        (ValueError, r"mean of shape \(3,\)", (x, index, mean[:2], std)),
        (TypeError, "std of float32, got float64", (x, index, mean, std.double())),
    ):
        with pytest.raises(error, match=f"augment_images: .*{message}"):
            one(*arguments)
