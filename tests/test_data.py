"""Datasets, samplers, collation and transforms."""

from __future__ import annotations

from collections import Counter, namedtuple

import numpy as np
import pytest
import skipway as sw
from skipway import data
from skipway.data import batch
from skipway.data import transforms as T
from skipway.data._random import Stream
from skipway.data.files import stratified_split


def generator(seed: int = 0):
    return sw.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------------ random numbers


def test_stream_is_fixed_for_all_time():
    # From Philox4x64-10's raw words, which NumPy promises to keep.
    assert Stream(1, 2, 3, 4).words(2).tolist() == Stream(1, 2, 3, 4).words(2).tolist()
    assert [int(x) for x in Stream(0).permutation(8)] == [int(x) for x in np.argsort(Stream(0).words(8))]
    keys = {tuple(Stream(*k).words(2).tolist()) for k in [(0,), (1,), (0, 1), (0, 0, 1), (0, 0, 0, 1)]}
    assert len(keys) == 5


def test_stream_distributions():
    s = Stream(5)
    u = s.uniform(100_000)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.005
    i = s.integers(7, 70_000)
    assert set(i.tolist()) == set(range(7)) and abs(np.bincount(i) - 10_000).max() < 500
    z = s.normal(100_000)
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02
    assert sorted(s.permutation(1000).tolist()) == list(range(1000))


# ------------------------------------------------------------------------------------------------------------ datasets


def test_tensor_dataset():
    d = data.TensorDataset(sw.arange(6).reshape(3, 2), sw.arange(3))
    assert len(d) == 3 and d[1][0].tolist() == [2, 3] and int(d[1][1]) == 1
    with pytest.raises(ValueError, match=r"equal first dimensions, got \[3, 2\]"):
        data.TensorDataset(sw.zeros(3), sw.zeros(2))


def test_concat_and_subset():
    both = data.ConcatDataset([[10, 11], [20, 21, 22]])
    assert [both[i] for i in range(5)] == [10, 11, 20, 21, 22] and both[-1] == 22
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(IndexError):
        both[-6]
    part = data.Subset(both, [4, 0])
    assert len(part) == 2 and [part[0], part[1]] == [22, 10] and part.__getitems__([1, 0]) == [10, 22]


def test_random_split():
    parts = data.random_split(range(10), [7, 3], generator=generator(1))
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(parts[0].indices + parts[1].indices) == list(range(10))
    again = data.random_split(range(10), [7, 3], generator=generator(1))
    assert again[0].indices == parts[0].indices
    assert [len(p) for p in data.random_split(range(10), [0.5, 0.25, 0.25])] == [6, 2, 2]
    with pytest.raises(ValueError, match="sum to the dataset's 10 samples"):
        data.random_split(range(10), [7, 2])


def test_stratified_split_is_fixed_and_even():
    labels = [0] * 50 + [1] * 30 + [2] * 5
    rest, chosen = stratified_split(labels, 0.2, 3)
    assert Counter(labels[i] for i in chosen) == {0: 10, 1: 6, 2: 1}
    assert sorted([*rest, *chosen]) == list(range(85))
    assert stratified_split(labels, 0.2, 4)[1].tolist() != chosen.tolist()


# ------------------------------------------------------------------------------------------------------------ samplers


def test_random_sampler():
    s = data.RandomSampler(range(20), generator=generator(3))
    first, second = list(s), list(s)
    assert sorted(first) == list(range(20)) and first != second
    assert list(data.RandomSampler(range(20), generator=generator(3))) == first
    drawn = list(data.RandomSampler(range(5), replacement=True, num_samples=1000, generator=generator()))
    assert len(drawn) == 1000 and set(drawn) == set(range(5))
    more = list(data.RandomSampler(range(4), num_samples=10))
    assert len(more) == 10 and all(sorted(more[i : i + 4]) == [0, 1, 2, 3] for i in (0, 4))
    assert list(data.RandomSampler([])) == []
    with pytest.raises(ValueError, match="num_samples"):
        data.RandomSampler(range(3), num_samples=0)


def test_global_seed_decides():
    sw.manual_seed(11)
    first = list(data.RandomSampler(range(30)))
    sw.manual_seed(11)
    assert list(data.RandomSampler(range(30))) == first


def test_subset_random_sampler():
    assert sorted(data.SubsetRandomSampler([5, 9, 2])) == [2, 5, 9]


def test_weighted_sampler():
    n = 20_000
    counts = Counter(data.WeightedRandomSampler([0, 1, 3, 0], n, generator=generator()))
    assert set(counts) == {1, 2} and abs(counts[2] / n - 0.75) < 0.02
    for seed in range(50):
        drawn = list(data.WeightedRandomSampler([0, 1, 3, 0, 2], 3, replacement=False, generator=generator(seed)))
        assert sorted(drawn) == [1, 2, 4]
    with pytest.raises(ValueError, match="3 samples without replacement from 2"):
        data.WeightedRandomSampler([0, 1, 1], 3, replacement=False)
    with pytest.raises(ValueError, match="weights"):
        data.WeightedRandomSampler([1, -1], 1)


def test_batch_sampler():
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(data.BatchSampler(range(5), 2, False)) == 3 and len(data.BatchSampler(range(5), 2, True)) == 2
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        data.BatchSampler(range(5), 0, False)


# ------------------------------------------------------------------------------------------------------------- collate

Pair = namedtuple("Pair", "x y")


def test_default_collate():
    out = data.default_collate([{"a": (1, 2.0), "b": "x"}, {"a": (3, 4.0), "b": "y"}])
    assert out["a"][0].tolist() == [1, 3] and out["a"][0].dtype == sw.int64
    assert out["a"][1].dtype == sw.float64 and out["b"] == ["x", "y"]
    pair = data.default_collate([Pair(sw.zeros(2), np.float32(1)), Pair(sw.ones(2), np.float32(2))])
    assert isinstance(pair, Pair) and tuple(pair.x.shape) == (2, 2) and pair.y.dtype == sw.float32
    arrays = data.default_collate([np.zeros((2, 3), np.uint8), np.ones((2, 3), np.uint8)])
    assert tuple(arrays.shape) == (2, 2, 3) and arrays.dtype == sw.uint8
    assert data.default_collate([True, False]).dtype == sw.bool


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sw.zeros(2), sw.zeros(3)], r"\(2,\) in sample 0 and \(3,\) in sample 1"),
        ([np.zeros(2), np.zeros((1, 2))], r"\(2,\) in sample 0 and \(1, 2\) in sample 1"),
        ([(1, 2), (1,)], "sample 0 has 2 elements, sample 1 has 1"),
        ([], "empty batch"),
    ],
)
def test_collate_errors(samples, message):
    with pytest.raises(ValueError, match=message):
        data.default_collate(samples)


def test_collate_of_unknown_type():
    with pytest.raises(TypeError, match="found object"):
        data.default_collate([object()])


def test_default_convert():
    out = data.default_convert({"a": np.float32(2), "b": [np.arange(3)], "c": "s"})
    assert out["a"].dtype == sw.float32 and out["b"][0].tolist() == [0, 1, 2] and out["c"] == "s"


# ---------------------------------------------------------------------------------------------------------- transforms


def image(h=6, w=5, c=3):
    return np.arange(h * w * c, dtype=np.uint8).reshape(h, w, c)


def test_to_tensor_and_normalize():
    x = T.ToTensor()(image())
    assert tuple(x.shape) == (3, 6, 5) and x.dtype == sw.float32
    np.testing.assert_array_equal(x.numpy(), image().transpose(2, 0, 1) / np.float32(255))
    y = T.Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])(x)
    np.testing.assert_allclose(y.numpy()[2], (x.numpy()[2] - 0.3) / 4, rtol=1e-6)
    assert tuple(T.ToTensor()(np.zeros((4, 5), np.uint8)).shape) == (1, 4, 5)
    with pytest.raises(TypeError, match="ToTensor"):
        T.Normalize([0], [1])(image())
    with pytest.raises(ValueError, match="std must not be 0"):
        T.Normalize([0], [0])


def test_crops_and_flips_keep_the_kind():
    from PIL import Image

    for img in (image(), Image.fromarray(image()), T.ToTensor()(image())):
        out = T.Compose([T.RandomCrop(4, padding=2), T.RandomHorizontalFlip(1.0)])(img)
        assert type(out) is (Image.Image if isinstance(img, Image.Image) else type(img))
    np.testing.assert_array_equal(T.RandomHorizontalFlip(1.0)(image()), image()[:, ::-1])
    np.testing.assert_array_equal(T.RandomVerticalFlip(1.0)(image()), image()[::-1])
    np.testing.assert_array_equal(T.RandomCrop((6, 5))(image()), image())
    np.testing.assert_array_equal(T.CenterCrop(4)(image()), image()[1:5, 0:4])
    assert T.CenterCrop(8)(image()).shape == (8, 8, 3)
    with pytest.raises(ValueError, match=r"size \(9, 9\) is larger"):
        T.RandomCrop(9)(image())
    with pytest.raises(TypeError, match="got str"):
        T.RandomCrop(2)("picture")


def test_random_crop_reaches_every_place():
    found = {T.RandomCrop(2)(np.arange(9, dtype=np.uint8).reshape(3, 3))[0, 0].item() for _ in range(100)}
    assert found == {0, 1, 3, 4}


def test_resize():
    flat = np.full((10, 20, 3), 77, np.uint8)
    out = T.Resize(5)(flat)
    assert out.shape == (5, 10, 3) and (out == 77).all()
    assert T.Resize((3, 4))(flat).shape == (3, 4, 3)
    np.testing.assert_array_equal(T.Resize((1, 2))(np.array([[0, 100, 200, 40]], np.uint8))[0].shape, (2,))
    ramp = np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 8, 1).repeat(4, 0)
    np.testing.assert_allclose(
        T.Resize((4, 4))(ramp)[:, 1:3, 0], ramp[:, :, 0].reshape(4, 4, 2).mean(2)[:, 1:3], atol=1e-6
    )


def test_resize_agrees_with_pillow():
    from PIL import Image

    rng = np.random.Generator(np.random.PCG64(0))
    img = Image.fromarray(rng.integers(0, 256, (23, 31, 3), dtype=np.uint8))
    for size in ((11, 13), (40, 50)):
        ours = np.asarray(T.Resize(size)(img)).astype(int)
        theirs = np.asarray(img.resize((size[1], size[0]), Image.Resampling.BILINEAR)).astype(int)
        assert abs(ours - theirs).max() <= 1


def test_erasing_cutout_and_colours():
    x = sw.ones(3, 8, 8)
    out = T.RandomErasing(p=1.0)(x)
    zeros = int((out == 0).sum().item())
    assert 0 < zeros < 3 * 64 and bool((x == 1).all())
    holes = T.Cutout(4)(np.ones((8, 8), np.uint8))
    assert 4 <= (holes == 0).sum() <= 16
    gray = T.Grayscale()(image())
    assert gray.shape == (6, 5, 1)
    np.testing.assert_array_equal(T.ColorJitter()(image()), image())
    bright = T.ColorJitter(brightness=(2.0, 2.0))(image())
    np.testing.assert_array_equal(bright, np.minimum(2 * image().astype(int), 255))
    assert T.RandomResizedCrop(4)(image()).shape == (4, 4, 3)
    np.testing.assert_array_equal(T.RandomRotation((90, 90))(image(5, 5)), np.rot90(image(5, 5)))
    assert T.Lambda(lambda v: v + 1)(1) == 2
    assert T.RandomApply([T.Lambda(lambda v: v + 1)], p=0.0)(1) == 1
    assert T.RandomChoice([T.Lambda(lambda v: "a"), T.Lambda(lambda v: "b")], p=[0, 1])(0) == "b"


def test_transforms_follow_the_seed():
    def run():
        sw.manual_seed(4)
        return [T.RandomCrop(3)(image())[0, 0, 0].item() for _ in range(10)]

    assert run() == run() and len(set(run())) > 1


# --------------------------------------------------------------------------------------------------- whole batches


def test_batch_crop_and_flip():
    x = np.arange(2 * 1 * 4 * 4, dtype=np.uint8).reshape(2, 1, 4, 4) + 1
    seen = set()
    for key in range(60):
        out = batch.random_crop(1)(x, Stream(key))
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        places = [(i, j) for i in range(3) for j in range(3) if (out[0] == padded[0, :, i : i + 4, j : j + 4]).all()]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 9
    flipped = batch.random_flip(1.0)(x, Stream(0))
    np.testing.assert_array_equal(flipped, x[..., ::-1])
    np.testing.assert_array_equal(batch.random_flip(0.0)(x, Stream(0)), x)


def test_batch_affine():
    x = np.zeros((1, 1, 5, 5), np.float32)
    x[0, 0, 1, 2] = 1
    np.testing.assert_allclose(batch.random_affine()(x, Stream(0)), x, atol=1e-6)
    y, xs = np.mgrid[:5, :5].astype(np.float64)
    moved = batch.sample_bilinear(x, (y - 1)[None], xs[None])
    assert moved[0, 0, 2, 2] == 1 and moved.sum() == 1
    half = batch.sample_bilinear(x, (y + 0.5)[None], xs[None])
    assert half[0, 0, 0, 2] == 0.5 and half[0, 0, 1, 2] == 0.5 and half.sum() == 1
    many = batch.random_affine(10, 1, 0.1, 0.1)(np.repeat(x, 50, 0), Stream(1))
    assert many.shape == (50, 1, 5, 5) and abs(many.sum((1, 2, 3)).mean() - 1) < 0.15


def test_batch_cutout():
    out = batch.cutout(3)(np.ones((40, 2, 9, 9), np.uint8), Stream(2))
    holes = (out == 0).sum((2, 3))
    assert (holes[:, 0] == holes[:, 1]).all() and holes.max() == 9 and holes.min() >= 4
