"""Convolution on tensor cores: against float64, exactly, with integers whose sums every kernel must get right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import array_of

DTYPES = ("bfloat16", "float16", "float32", "tf32")


class Conv(NamedTuple):
    x: tuple[int, ...]
    k: int
    kernel: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 1
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: bool = False


CONVS = {
    "rows not full": Conv((2, 8, 9, 7), 16, bias=True),
    "many steps": Conv((1, 88, 6, 5), 24),
    "large tiles": Conv((2, 72, 16, 16), 136, 1, padding=0, bias=True),
    "stride 2": Conv((1, 24, 10, 11), 40, stride=2),
    "stride 2, large": Conv((4, 80, 24, 24), 72, 2, 2, 0),
    "pointwise": Conv((2, 40, 5, 5), 72, 1, padding=0, bias=True),
    "pointwise, stride 2": Conv((2, 16, 7, 6), 8, 1, 2, 0),
    "groups": Conv((1, 32, 6, 5), 48, groups=2, bias=True),
    "dilation": Conv((1, 8, 9, 9), 8, 3, 1, 2, 2),
    "more phases than a launch": Conv((1, 8, 11, 9), 8, (5, 3), (3, 2), (2, 1)),
    "phases without taps": Conv((1, 8, 9, 9), 8, 3, 2, 1, 2),
    "wide kernel": Conv((1, 8, 13, 12), 16, 7, 2, 3),
    "no padding": Conv((3, 8, 4, 4), 8, 4, 1, 0),
    "three channels": Conv((2, 3, 12, 10), 16, bias=True),
    "three channels, wide kernel": Conv((1, 3, 19, 18), 24, 7, 2, 3),
    "five channels": Conv((1, 5, 6, 7), 40, (3, 2), 1, 0),
    "several images in a tile": Conv((5, 16, 4, 3), 16),
    "more tiles than blocks": Conv((3, 8, 32, 32), 16),
    "32 channels": Conv((2, 32, 9, 9), 32, bias=True),
    "64 channels": Conv((2, 64, 8, 8), 64),
    "two slices of channels": Conv((1, 16, 9, 9), 72, stride=2),
}


@pytest.fixture(params=DTYPES)
def dtype(request: Any) -> Iterator[str]:
    sw.backends.cudnn.allow_tf32 = request.param == "tf32"
    yield "float32" if request.param == "tf32" else request.param
    sw.backends.cudnn.allow_tf32 = False


def integers(shape: tuple[int, ...], seed: int, most: int = 2) -> Any:
    return sw.tensor(np.random.default_rng(seed).integers(-most, most + 1, shape).astype(np.float64))


def operands(c: Conv) -> tuple[list[Any], dict[str, Any]]:
    kernel = (c.kernel, c.kernel) if isinstance(c.kernel, int) else c.kernel
    x, w = integers(c.x, 0), integers((c.k, c.x[1] // c.groups, *kernel), 1)
    settings = {"stride": c.stride, "padding": c.padding, "dilation": c.dilation, "groups": c.groups}
    return [x, w, *([integers((c.k,), 2)] if c.bias else [])], settings


def run(function: Any, tensors: list[Any], settings: dict[str, Any]) -> list[np.ndarray]:
    """The result and all gradients."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = function(*leaves, **settings)
    y.backward(integers(tuple(y.shape), 3, 1).to(y.dtype).to(y.device))
    return [array_of(t) for t in (y, *(t.grad for t in leaves))]


def equal(function: Any, tensors: list[Any], settings: dict[str, Any], dtype: str) -> None:
    expected = run(function, tensors, settings)
    actual = run(function, [t.to(getattr(sw, dtype)).cuda() for t in tensors], settings)
    for name, e, a in zip(("y", "dx", "dw", "db"), expected, actual, strict=False):
        rounded = array_of(sw.tensor(e).to(getattr(sw, dtype)))
        np.testing.assert_array_equal(a, rounded, name)


@pytest.mark.parametrize("name", CONVS)
def test_integers_are_exact(name: str, dtype: str) -> None:
    if dtype == "float32" and ("large" in name or "more tiles" in name):
        pytest.skip("float32 has one size of tile, and no kernel for few channels")
    equal(F.conv2d, *operands(CONVS[name]), dtype)


def test_transposed(dtype: str) -> None:
    tensors = [integers((2, 16, 5, 6), 0), integers((16, 8, 3, 3), 1), integers((8,), 2)]
    equal(F.conv_transpose2d, tensors, {"stride": 2, "padding": 1, "output_padding": 1}, dtype)


def test_one_dimension(dtype: str) -> None:
    equal(F.conv1d, [integers((2, 8, 31), 0), integers((16, 8, 5), 1)], {"padding": 2}, dtype)


def test_gradients_that_add_up(dtype: str) -> None:
    """A second convolution of the same tensor."""
    w = integers((8, 8, 3, 3), 5)

    def twice(x: Any, v: Any) -> Any:
        return F.conv2d(x, v, padding=1) + F.conv2d(x, w.to(x.dtype).to(x.device), padding=1)

    equal(twice, [integers((1, 8, 6, 5), 0), integers((8, 8, 3, 3), 1)], {}, dtype)


def test_fractions(dtype: str) -> None:
    """Ordinary numbers, and operands of the size that training has."""
    eps = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-21}[dtype]
    if sw.backends.cudnn.allow_tf32:
        eps = 2.0**-11
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 32, 7, 9)), rng.standard_normal((24, 32, 3, 3)) / 17
    tensors = [sw.tensor(t).to(getattr(sw, dtype)) for t in (x, w)]
    expected = run(F.conv2d, [t.double() for t in tensors], {"padding": 1})
    actual = run(F.conv2d, [t.cuda() for t in tensors], {"padding": 1})
    for e, a in zip(expected, actual, strict=True):
        assert np.abs(a - e).max() <= 4 * eps * np.abs(e).max()


def test_not_a_number_stays(dtype: str) -> None:
    x = np.zeros((1, 8, 5, 5))
    x[0, 3, 2, 2] = np.nan
    y = F.conv2d(
        sw.tensor(x).to(getattr(sw, dtype)).cuda(), sw.ones(8, 8, 3, 3).to(getattr(sw, dtype)).cuda(), padding=1
    )
    bad = np.isnan(array_of(y))
    assert bad[:, :, 1:4, 1:4].all() and bad.sum() == 8 * 9


@pytest.mark.parametrize("channels", [8, 16, 24, 32, 48, 64, 72])
def test_fragments_are_read_without_bank_conflicts(channels: int) -> None:
    if not (emulator := emulated()):
        pytest.skip("counted on the emulator")
    for stride in (1, 2):
        x, w = (integers(s, 0).to(sw.bfloat16).cuda() for s in ((1, channels, 16, 12), (channels, channels, 3, 3)))
        emulator.reset_counters()
        F.conv2d(x.requires_grad_(), w.requires_grad_(), stride=stride).sum().backward()
        assert emulator.counter("matrix_loads") > 100
        assert emulator.counter("matrix_load_conflicts") == 0, stride


def emulated() -> Any:
    library = os.environ.get("SKIPWAY_CUDA_LIBRARY", "")
    if "emulated" not in library:
        return None
    from cuda_emulator.control import Emulator

    return Emulator(library)


def test_the_plan_says_what_runs_and_why(capsys: Any) -> None:
    layers = [
        sw.nn.Conv2d(3, 16, 3, padding=1), sw.nn.Conv2d(16, 80, 3, padding=1), sw.nn.Conv2d(80, 80, 3, padding=1),
        sw.nn.Conv2d(80, 72, 1), sw.nn.Conv2d(72, 5, 3), sw.nn.ConvTranspose2d(5, 8, 2),
    ]  # fmt: skip
    model = sw.nn.Sequential(*layers).to(sw.bfloat16).cuda()
    plan = sw.show_plan(model, sw.zeros(1, 3, 8, 8).to(sw.bfloat16).cuda(), backward=True, repeats=1)
    rows = {(r.layer, r.pass_): r for r in plan.rows}
    assert rows["0", "forward"].algorithm == "halos 64x16"
    assert rows["1", "forward"].algorithm == "halos 64x64"
    assert rows["2", "forward"].algorithm == rows["2", "data gradient"].algorithm == "tiles 64x64"
    assert rows["2", "weight gradient"].algorithm == "tiles 128x128, 1 pieces"
    assert rows["3", "forward"].algorithm.startswith("cublas")
    assert rows["4", "forward"].algorithm == "plain" and "multiple of 8" in rows["4", "forward"].why
    assert rows["5", "forward"].algorithm == "halos 64x16"  # the data gradient of a convolution
    printed = capsys.readouterr().out
    assert all(r.why and r.why in printed for r in plan.rows)
