"""Augmentation on the device gives the CPU's bits, and is part of graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skipway as sw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_augment import augment, images  # noqa: E402

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "crop": {"padding": 3},
    "crop-flip-hole": {"padding": 1, "flip": True, "hole": 3, "hole_value": 128.0},
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_cpus_bits(options: str, dtype: str, channels: int) -> None:
    x = images(channels=channels)
    index = [int(i) for i in np.random.default_rng(1).integers(0, 5, 70)]
    results = []
    for device in ("cpu", "cuda"):
        sw.manual_seed(7)
        results.append(augment(x, index, getattr(sw, dtype), device, **OPTIONS[options]).cpu())
    assert results[0].tolist() == results[1].tolist()
    half = augment(x, index, sw.float16, "cuda")
    assert half.dtype is sw.float16 and half.is_contiguous(memory_format=sw.channels_last)


def test_affine_maps_are_close_to_the_cpus() -> None:
    results = []
    for device in ("cpu", "cuda"):
        sw.manual_seed(7)
        options = {"angle": 0.2, "shift": 1.0, "zoom": 0.1, "shear": 0.1, "flip": True, "hole": 2}
        results.append(augment(images(), [0, 1, 2, 3, 4] * 3, sw.float32, device, **options).cpu().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3, atol=1e-3)


def test_replays_augment_anew() -> None:
    x = sw.from_numpy(images()).cuda()
    mean, std = sw.zeros(3, device="cuda"), sw.ones(3, device="cuda")

    def f(index: Any) -> Any:
        return sw._core.augment_images(x, index, mean, std, padding=2, flip=True)

    def sequence(call: Any) -> list[Any]:
        sw.manual_seed(2)
        return [call(sw.tensor([i % 5, 3]).cuda()).cpu().tolist() for i in range(5)]

    expected = sequence(f)
    assert sequence(sw.cuda.graph(f)) == expected and expected[0][1] != expected[1][1]


def test_an_index_out_of_range_comes_with_the_next_wait() -> None:
    for wrong in (5, -1):
        y = augment(images(), [0, wrong], device="cuda")
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for size 5"):
            y[0].cpu()
    with pytest.raises(sw.DeviceError, match="expected index on cuda:0"):
        sw._core.augment_images(sw.from_numpy(images()).cuda(), sw.tensor([0]), sw.zeros(3), sw.ones(3))
