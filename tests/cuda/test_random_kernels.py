"""Random numbers on the device: the bits of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
from against_cpu import array_of
from skipway import _core

pytestmark = pytest.mark.usefixtures("restore")

SIZES = (0, 1, 15, 31, 32, 64, 100, 257, 1000)
INFINITE = float("inf")


def same_bits(f: Callable[[str], Any], what: Any = "") -> None:
    results = []
    for device in ("cpu", "cuda"):
        sw.manual_seed(123)
        results.append(f(device))
    assert results[1].is_cuda and results[0].dtype == results[1].dtype
    np.testing.assert_array_equal(array_of(results[1]), array_of(results[0]), str(what))


FILLS = {
    "uniform": lambda t: t.uniform_(-2, 3),
    "uniform_narrow": lambda t: t.uniform_(1, 1.0078125),
    "normal": lambda t: t.normal_(1, 2),
    "exponential": lambda t: t.exponential_(0.5),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", FILLS)
def test_fills(name: str, dtype: str) -> None:
    for n in SIZES:
        same_bits(lambda d, n=n: FILLS[name](sw.empty(n, dtype=getattr(sw, dtype), device=d)), n)
    same_bits(lambda d: FILLS[name](sw.zeros(302, dtype=getattr(sw, dtype), device=d)[1:]), "not at 16 bytes")
    same_bits(lambda d: FILLS[name](sw.zeros(6, 50, dtype=getattr(sw, dtype), device=d).t()), "strided")


@pytest.mark.parametrize("name", FILLS)
def test_fills_of_float16(name: str) -> None:
    """The CPU has no float16 kernels: the same numbers as float32's, rounded, and below the upper bound."""
    for shift in (0, 1):
        sw.manual_seed(5)
        x = FILLS[name](sw.zeros(200 + shift, dtype=sw.float16, device="cuda")[shift:])
        sw.manual_seed(5)
        y = FILLS[name](sw.zeros(200)).half()
        if name.startswith("uniform"):
            top = np.nextafter(np.float16(3 if name == "uniform" else 1.0078125), np.float16(0))
            y = y.clamp(max=float(top))
        np.testing.assert_array_equal(array_of(x), array_of(y))


# Wide around 0, narrow around 0, upper tails (long, short), lower tail, one point, everything
WINDOWS = [(-2, 2), (-0.5, 0.75), (2, 9), (2, 2.25), (-9, -2), (-INFINITE, -3), (1, 1), (-INFINITE, INFINITE)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_truncated_normals(window: tuple[float, float]) -> None:
    def fill(device: str, n: int, dtype: Any) -> Any:
        return _core.trunc_normal_(sw.empty(n, dtype=dtype, device=device), 0.5, 1.5, *window)

    for dtype in (sw.float32, sw.float64, sw.bfloat16):
        for n in (1, 17, 300):
            same_bits(lambda d, n=n, t=dtype: fill(d, n, t), n)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float32", "float64", "bfloat16"])
def test_integers(dtype: str) -> None:
    t = getattr(sw, dtype)
    for n in SIZES:
        same_bits(lambda d, n=n: sw.empty(n, dtype=t, device=d).random_(), n)
        if dtype != "bool":
            same_bits(lambda d, n=n: sw.empty(n, dtype=t, device=d).random_(3, 100), n)
            same_bits(lambda d, n=n: sw.randint(0, 7, (n,), dtype=t, device=d), n)
        same_bits(lambda d, n=n: sw.empty(n, dtype=t, device=d).bernoulli_(0.3), n)
    for p in (0.0, 1.0):
        same_bits(lambda d, p=p: sw.empty(70, dtype=t, device=d).bernoulli_(p), p)


def test_float16_integers() -> None:
    sw.manual_seed(1)
    x = sw.empty(500, dtype=sw.float16, device="cuda").random_()
    assert float(x.float().cpu().max()) <= 2048 and float(x.float().cpu().max()) > 1900
    with pytest.raises(ValueError, match="do not fit float16"):
        sw.empty(3, dtype=sw.float16, device="cuda").random_(0, 5000)


def test_bernoulli_of_tensors() -> None:
    p = sw.linspace(0, 1, 150).reshape(3, 50)
    same_bits(lambda d: sw.bernoulli(p.to(d)))
    same_bits(lambda d: sw.bernoulli(p.double().to(d).t()))
    same_bits(lambda d: sw.empty(2, 3, 50, device=d).bernoulli_(p.to(d)))
    same_bits(lambda d: sw.empty(7, dtype=sw.bool, device=d).bernoulli_(sw.tensor(0.5)))
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\], got 1.5"):
        sw.bernoulli(sw.tensor([0.5, 1.5], device="cuda"))
    with pytest.raises(sw.DeviceError, match="bernoulli_"):
        sw.empty(3, 50, device="cuda").bernoulli_(p)


def test_creation_and_sampling() -> None:
    same_bits(lambda d: sw.rand(5, 7, device=d))
    same_bits(lambda d: sw.randn(5, 7, device=d))
    same_bits(lambda d: sw.rand_like(sw.empty(9, device=d)))
    same_bits(lambda d: sw.randn_like(sw.empty(9, device=d)))
    same_bits(lambda d: sw.randint_like(sw.empty(9, device=d), 3, 8))
    same_bits(lambda d: sw.randperm(100, device=d))
    same_bits(lambda d: sw.normal(sw.arange(6.0).to(d), sw.ones(6).to(d)))
    same_bits(lambda d: sw.normal(0.5, sw.ones(6).to(d)))
    same_bits(lambda d: sw.normal(0.0, 2.0, size=(33,), device=d))
    weights = sw.tensor([[1.0, 0, 3, 2], [0, 1, 1, 5]])
    same_bits(lambda d: sw.multinomial(weights.to(d), 20, replacement=True))
    same_bits(lambda d: sw.multinomial(weights.to(d), 3))
    with pytest.raises(ValueError, match="expected finite weights"):
        sw.multinomial(sw.tensor([1.0, -1.0], device="cuda"), 1)


def test_generators() -> None:
    a, b = sw.Generator(), sw.Generator()
    a.manual_seed(7)
    b.manual_seed(7)
    x, y = sw.empty(99).normal_(generator=a), sw.empty(99, device="cuda").normal_(generator=b)
    np.testing.assert_array_equal(array_of(y), array_of(x))
    assert not np.array_equal(array_of(sw.empty(99, device="cuda").normal_(generator=b)), array_of(x))


def test_distributions_look_right() -> None:
    sw.manual_seed(2)
    z = array_of(sw.randn(20000, device="cuda"))
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.02 and abs((np.abs(z) < 1).mean() - 0.6827) < 0.015
    u = array_of(sw.rand(20000, device="cuda"))
    assert abs(u.mean() - 0.5) < 0.01 and u.min() >= 0 and u.max() < 1
