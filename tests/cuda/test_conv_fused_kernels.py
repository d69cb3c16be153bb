"""Convolutions with a prologue and an epilogue, in each of the kernels, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import array_of
from skipway import _core

# (x, weight, settings); by 16-bit types in halos, in tiles, in tiles by groups, in the plain kernel
CASES = {
    "few channels": ((3, 16, 9, 10), (24, 16, 3, 3), {"padding": 1}),
    "three channels": ((1, 3, 9, 10), (16, 3, 3, 3), {"padding": 1, "stride": 2}),
    "64 channels": ((1, 64, 6, 7), (72, 64, 3, 3), {"padding": 1}),
    "tiles": ((2, 80, 6, 5), (72, 80, 3, 3), {"padding": 1}),
    "large tiles": ((2, 72, 16, 16), (136, 72, 1, 1), {}),
    "groups": ((1, 32, 6, 5), (48, 16, 3, 3), {"padding": 1, "groups": 2}),
    "plain": ((2, 5, 6, 5), (6, 5, 3, 3), {"padding": 1}),
}
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-20}


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def per_channel(t: Any) -> Any:
    return t.view(1, -1, 1, 1)


@pytest.fixture(params=list(EPS))
def dtype(request: Any) -> str:
    return request.param


def operands(name: str, dtype: str) -> tuple[list[Any], dict[str, Any]]:
    x, w, settings = CASES[name]
    fan = np.prod(w[1:]) ** 0.5
    values = [normal(x, 0), normal(w, 1) / fan, normal(w[:1], 2)]
    return [sw.tensor(v).to(getattr(sw, dtype)) for v in values], settings


@pytest.mark.parametrize("name", CASES)
def test_prologue_and_epilogue(name: str, dtype: str) -> None:
    """x' = relu(x * scale + shift), zero outside of the image; y = relu6(z * scale + shift + residual)."""
    (x, w, b), settings = operands(name, dtype)
    numbers = [sw.tensor(normal((n,), i).astype(np.float32)) for i, n in enumerate([x.shape[1]] * 2 + [w.shape[0]] * 2)]
    wide = [t.double() for t in numbers]
    inner = F.relu(x.double() * per_channel(wide[0]) + per_channel(wide[1])).to(x.dtype).double()
    z = F.conv2d(inner, w.double(), b.double(), **settings)
    residual = sw.tensor(normal(tuple(z.shape), 9)).to(x.dtype)
    expected = F.relu6(z * per_channel(wide[2]) + per_channel(wide[3]) + residual.double())
    y, mean, deviations = _core._conv2d_fused(
        x.cuda(), w.cuda(), b.cuda(), **settings, in_scale=numbers[0].cuda(), in_shift=numbers[1].cuda(),
        in_activation="relu", scale=numbers[2].cuda(), shift=numbers[3].cuda(), residual=residual.cuda(),
        activation="relu6",
    )  # fmt: skip
    assert mean is None and deviations is None and y.dtype == x.dtype
    # The prologue's results may be rounded the other way, which is one unit of a term of the sum.
    bound = 4 * EPS[dtype] * (1 + float(z.abs().max()) * float(wide[2].abs().max()))
    assert np.abs(array_of(y) - array_of(expected)).max() < bound
    assert float(expected.max()) > 1, "the case sees the activation only"


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("name", CASES)
def test_moments(name: str, dtype: str, offset: float) -> None:
    """Of the result before it is rounded, also where the mean is many times the standard deviation."""
    (x, w, b), settings = operands(name, dtype)
    b = b + offset
    z = array_of(F.conv2d(x.double(), w.double(), b.double(), **settings))
    z = np.moveaxis(z, 1, 0).reshape(w.shape[0], -1)
    y, mean, deviations = _core._conv2d_fused(x.cuda(), w.cuda(), b.cuda(), **settings, moments=True)
    # The plain kernel's are those of the rounded result.
    eps = EPS[dtype] * (1 + offset) if name == "plain" else 2.0**-18
    np.testing.assert_allclose(array_of(mean), z.mean(1), atol=eps * 3)
    np.testing.assert_allclose(array_of(deviations) / z.shape[1], z.var(1), rtol=8 * eps, atol=8 * eps**2)
    plain = F.conv2d(x.cuda(), w.cuda(), b.cuda(), **settings)
    np.testing.assert_array_equal(array_of(y), array_of(plain))


@pytest.mark.parametrize(
    ("x", "w"), [((1, 8, 8300, 1), (8, 8, 1, 1)), ((3, 3, 11, 13), (5, 3, 1, 1))], ids=["halos", "rows"]
)
def test_moments_of_many_parts(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    """More than are joined at once, the last of them not full; channels whose means drift from part to part."""
    values = normal(x, 0) + np.linspace(-20, 20, x[2])[:, None]
    image, weight = (sw.tensor(v).to(sw.bfloat16) for v in (values, normal(w, 1)))
    z = array_of(F.conv2d(image.double(), weight.double()))
    z = np.moveaxis(z, 1, 0).reshape(w[0], -1)
    results = [_core._conv2d_fused(image.cuda(), weight.cuda(), moments=True)[1:] for _ in range(2)]
    mean, deviations = (array_of(t) for t in results[0])
    eps = 2.0**-18 if w[0] % 8 == 0 else EPS["bfloat16"]  # the plain kernel's are those of the rounded result
    np.testing.assert_allclose(mean, z.mean(1), atol=eps * np.abs(z).max())
    np.testing.assert_allclose(deviations / z.shape[1], z.var(1), rtol=8 * eps)
    for first, again in zip(*results, strict=True):
        np.testing.assert_array_equal(array_of(first), array_of(again))


def test_what_is_not_finite_is_not() -> None:
    for value in (np.nan, np.inf):
        x = np.ones((2, 16, 8, 8))
        x[1, 3, 4, 4] = value
        w = sw.ones(16, 16, 3, 3).to(sw.bfloat16).cuda()
        _, mean, deviations = _core._conv2d_fused(sw.tensor(x).to(sw.bfloat16).cuda(), w, padding=1, moments=True)
        assert not np.isfinite(array_of(mean)).any() and not np.isfinite(array_of(deviations)).any()


def test_an_empty_batch(dtype: str) -> None:
    x, w = (sw.zeros(*s).to(getattr(sw, dtype)).cuda() for s in ((0, 8, 5, 5), (16, 8, 3, 3)))
    y, mean, deviations = _core._conv2d_fused(x, w, moments=True)
    assert y.shape == (0, 16, 3, 3)
    assert not array_of(mean).any() and not array_of(deviations).any()


def test_coefficients_elsewhere() -> None:
    x, w = sw.zeros(1, 8, 5, 5).cuda(), sw.zeros(8, 8, 3, 3).cuda()
    with pytest.raises(sw.DeviceError, match="scale"):
        _core._conv2d_fused(x, w, scale=sw.ones(8), shift=sw.ones(8))
