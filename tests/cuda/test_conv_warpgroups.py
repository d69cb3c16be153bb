"""Convolution by warpgroups (wgmma, TMA) on sm_90a: against float64, exactly, with integers; and when it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
import test_gradient_sums
from against_cpu import array_of
from skipway import _core
from test_conv_kernels import Conv, equal, integers, operands

DTYPES = ("bfloat16", "float16")

# More than 64 channels of the source, as fewer stay with the kernel of halos.
CONVS = {
    "3x3": Conv((1, 72, 7, 10), 72),
    "3x3 and a bias, boxes not full, two tiles of columns": Conv((3, 128, 5, 9), 136, bias=True),
    "64 result channels": Conv((2, 80, 9, 6), 64, bias=True),
    "24 result channels": Conv((1, 72, 6, 6), 24),
    "1x1": Conv((2, 136, 6, 7), 80, 1, padding=0, bias=True),
    "5x5": Conv((1, 72, 8, 9), 72, 5, padding=2),
    "no padding": Conv((2, 72, 6, 5), 80, 3, padding=0),
    "padding larger than the kernel": Conv((1, 72, 4, 5), 72, 2, padding=3),
    "one row of the kernel": Conv((1, 72, 9, 12), 72, (1, 5), padding=(0, 2)),
    "dilation": Conv((1, 72, 9, 8), 72, 3, 1, 2, 2),
    "stride 2": Conv((2, 72, 9, 11), 80, stride=2, bias=True),
    "stride 2, even": Conv((1, 128, 8, 8), 72, 2, 2, 0),
    "stride 2 of columns, dilation": Conv((1, 72, 9, 11), 72, 3, (1, 2), 2, (1, 3)),
    "1x1, stride 2": Conv((2, 72, 7, 8), 96, 1, 2, 0),
    "stride 3: gradient alone, more phases than a launch": Conv((1, 72, 11, 9), 80, (5, 3), (3, 2), (2, 1)),
    "many small images": Conv((131, 72, 1, 1), 72, 1, padding=0),
    "images of 2 x 2": Conv((35, 72, 2, 2), 72),
}


@pytest.fixture(params=DTYPES)
def dtype(request: Any) -> str:
    return request.param


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    if sw.cuda.get_device_capability() != (9, 0):
        pytest.skip("the device is no sm_90")
    monkeypatch.setenv("SKIPWAY_CUDA_CONV", "warpgroups")


def plan(x: tuple[int, ...], out: int, pass_: str, kernel: int = 3, stride: int = 1, **more: Any) -> tuple[str, str]:
    """What would compute a convolution of bfloat16 with padding kernel / 2, and why."""
    result = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in x[2:]]
    algorithm, why, _ = _core._conv_cuda_plan(
        x[0], x[1], out, 1, [1, *x[2:]], [1, *result], [1, kernel, kernel], [1, stride, stride],
        [0, kernel // 2, kernel // 2], [1, 1, 1], more.pop("dtype", sw.bfloat16), pass_, **more,
    )  # fmt: skip
    return algorithm, why


@pytest.mark.parametrize("name", CONVS)
def test_integers_are_exact(name: str, dtype: str, asked_for: None) -> None:
    equal(F.conv2d, *operands(CONVS[name]), dtype)


def test_one_dimension(dtype: str, asked_for: None) -> None:
    equal(F.conv1d, [integers((2, 72, 31), 0), integers((80, 72, 5), 1)], {"padding": 2}, dtype)


def test_transposed(dtype: str, asked_for: None) -> None:
    tensors = [integers((2, 80, 5, 6), 0), integers((80, 72, 3, 3), 1), integers((72,), 2)]
    equal(F.conv_transpose2d, tensors, {"stride": 2, "padding": 1, "output_padding": 1}, dtype)


def test_gradients_that_add_up(dtype: str, asked_for: None) -> None:
    w = integers((72, 72, 3, 3), 5)

    def twice(x: Any, v: Any) -> Any:
        return F.conv2d(x, v, padding=1) + F.conv2d(x, w.to(x.dtype).to(x.device), padding=1)

    equal(twice, [integers((1, 72, 6, 5), 0), integers((72, 72, 3, 3), 1)], {}, dtype)


def test_channels_of_the_next_tap_do_not_count(dtype: str, asked_for: None) -> None:
    """72 channels are 64 and a part of 64 more, which must not reach into the next tap's weights."""
    w = np.ones((72, 72, 2, 1))
    w[:, 0, 1] = np.inf
    x, w = (sw.tensor(t).to(getattr(sw, dtype)).cuda() for t in (np.ones((1, 72, 5, 4)), w))
    assert np.isposinf(array_of(F.conv2d(x, w))).all()


def test_not_a_number_stays(dtype: str, asked_for: None) -> None:
    x = np.zeros((1, 72, 5, 5))
    x[0, 70, 2, 2] = np.nan
    y = F.conv2d(*(sw.tensor(t).to(getattr(sw, dtype)).cuda() for t in (x, np.ones((72, 72, 3, 3)))), padding=1)
    bad = np.isnan(array_of(y))
    assert bad[:, :, 1:4, 1:4].all() and bad.sum() == 72 * 9


@pytest.mark.parametrize("channels", [64, 136])
def test_epilogue(channels: int, dtype: str, asked_for: None) -> None:
    """y = relu6(z * scale + shift + residual), and the moments of z, against NumPy's float64."""
    eps = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    rng = np.random.default_rng(0)
    values = [
        rng.standard_normal((2, 72, 7, 9)),
        rng.standard_normal((channels, 72, 3, 3)) / 25,
        np.full(channels, 5.0),
    ]
    values += [rng.standard_normal((2, channels, 7, 9))]
    x, w, b, residual = (sw.tensor(v).to(getattr(sw, dtype)) for v in values)
    padded = np.pad(array_of(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    z = np.einsum("nchwrs,kcrs->nkhw", windows, array_of(w), optimize=True) + 5
    scale, shift = rng.standard_normal((2, channels)).astype(np.float32)
    y, *_ = _core._conv2d_fused(
        x.cuda(), w.cuda(), b.cuda(), padding=1, scale=sw.tensor(scale).cuda(), shift=sw.tensor(shift).cuda(),
        residual=residual.cuda(), activation="relu6",
    )  # fmt: skip
    expected = np.clip(z * scale[:, None, None] + shift[:, None, None] + array_of(residual), 0, 6)
    assert np.abs(array_of(y) - expected).max() < 6 * eps and 1 < expected.mean() < 5
    y, mean, deviations = _core._conv2d_fused(x.cuda(), w.cuda(), b.cuda(), padding=1, moments=True)
    np.testing.assert_allclose(array_of(mean), z.mean((0, 2, 3)), atol=2.0**-18)
    np.testing.assert_allclose(array_of(deviations) / (2 * 7 * 9), z.var((0, 2, 3)), rtol=2.0**-15)
    assert np.abs(array_of(y) - z).max() < eps * np.abs(z).max()


def test_a_prologue_is_for_another_kernel(asked_for: None) -> None:
    x, w = (integers(s, i).to(sw.bfloat16) for i, s in enumerate([(1, 72, 6, 6), (72, 72, 3, 3)]))
    scale, shift = sw.full((72,), 2.0), sw.full((72,), 1.0)
    expected = F.conv2d(F.relu(x.double() * 2 + 1), w.double(), padding=1)
    y, *_ = _core._conv2d_fused(
        x.cuda(), w.cuda(), padding=1, in_scale=scale.cuda(), in_shift=shift.cuda(), in_activation="relu"
    )
    np.testing.assert_array_equal(array_of(y), array_of(expected.to(sw.bfloat16)))


def test_what_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    if sw.cuda.get_device_capability() != (9, 0):
        pytest.skip("the device is no sm_90")
    monkeypatch.delenv("SKIPWAY_CUDA_CONV", raising=False)
    h100 = {"multiprocessors": 132}
    for pass_ in ("forward", "data_gradient"):
        algorithm, why = plan((256, 256, 14, 14), 256, pass_, **h100)
        assert algorithm == "wgmma 128x128" and "sm_90a" in why
        assert plan((32, 256, 14, 14), 256, pass_, **h100)[0] == "wgmma 128x64"  # 49 tiles of positions
        assert plan((1, 256, 14, 14), 256, pass_, **h100)[0] == "tiles 64x64"  # too few tiles
        assert plan((256, 72, 14, 14), 72, pass_, **h100)[0].startswith("tiles")  # too much padding
        assert plan((256, 64, 56, 56), 64, pass_, **h100)[0].startswith("halos")
        assert plan((256, 256, 14, 14), 256, pass_, dtype=sw.float32, **h100)[0] == "tiles 64x64"
        assert plan((256, 256, 28, 28), 256, pass_, stride=2, **h100)[0] == "wgmma 128x128"
        assert plan((256, 256, 28, 28), 512, pass_, 1, **h100)[0] == "cublas, or wgmma 128x128"
    assert plan((256, 512, 7, 7), 512, "forward", **h100)[0] == "wgmma 128x128"  # 128 images of one pixel to a tile
    assert plan((256, 256, 14, 14), 256, "weight_gradient", **h100)[0].startswith("tiles")
    monkeypatch.setenv("SKIPWAY_CUDA_CONV", "tiles")
    assert plan((256, 256, 14, 14), 256, "forward", **h100)[0] == "tiles 128x128"


def test_the_plan_of_a_model_names_it(monkeypatch: pytest.MonkeyPatch, asked_for: None) -> None:
    monkeypatch.delenv("SKIPWAY_CUDA_CONV")
    model = sw.nn.Conv2d(128, 128, 1, padding=1).to(sw.bfloat16).cuda()
    side = 14 if sw.cuda.get_device_properties(0).multi_processor_count <= 8 else 126
    rows = sw.show_plan(model, sw.zeros(2, 128, side, side).to(sw.bfloat16).cuda(), backward=True, repeats=1).rows
    found = {row.pass_: row.algorithm for row in rows}
    assert found["forward"] == found["data gradient"] == "wgmma 128x128"


# Convolutions whose forward pass normalises what it loads: not by warpgroups over several taps.
SUMS = {
    "3x3": Conv((1, 64, 7, 10), 80),
    "1x1, two tiles of columns": Conv((2, 136, 7, 9), 80, 1, padding=0),
    "stride 2, 64 columns": Conv((3, 64, 9, 7), 72, stride=2),
    "phases of a stride of 2 without taps": Conv((2, 72, 7, 8), 96, 1, 2, 0),
    "more phases than a launch": Conv((1, 72, 11, 9), 80, (5, 3), (3, 2), (2, 1)),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_a_gradient(name: str, dtype: str, asked_for: None) -> None:
    """What the norm before the convolution needs, as a pass of its own would sum it: exact, with whole numbers."""
    c = SUMS[name]
    (_, w, *_), settings = operands(c)
    conv = test_gradient_sums.Conv(c.x, tuple(w.shape), settings)
    without, summed, taken = test_gradient_sums.with_and_without(
        lambda: test_gradient_sums.Exact(conv, dtype, "relu").gradients()
    )
    sw.backends.deferral.gradient_sums = False
    assert taken == 1
    for a, b in zip(without, summed, strict=True):
        np.testing.assert_array_equal(array_of(b), array_of(a))
