"""Softmax, cross-entropy and pointwise losses on the device, against NumPy and the CPU in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
WORK = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-23, "float16": 2.0**-23}
TINY = {"float64": 1e-300, "float32": 1e-37, "bfloat16": 1e-37, "float16": 2.0**-24}
DTYPES = list(EPS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(9)


def numpy(t: sw.Tensor) -> np.ndarray:
    return t.detach().cpu().to(sw.float64).numpy()


def stored(array: np.ndarray, dtype: str) -> np.ndarray:
    return numpy(sw.tensor(array).to(getattr(sw, dtype)))


def on_device(array: np.ndarray, dtype: str, grad: bool = False) -> sw.Tensor:
    return sw.tensor(array).to(getattr(sw, dtype)).cuda().requires_grad_(grad)


def assert_close(actual: sw.Tensor | None, expected: np.ndarray, dtype: str, scale: float, stores: int = 1) -> None:
    """stores: how often a value is rounded to dtype; scale: of the terms that are computed with."""
    assert actual is not None and actual.is_cuda and tuple(actual.shape) == expected.shape
    limit = stores * EPS[dtype] * np.abs(expected) + 64 * WORK[dtype] * scale + TINY[dtype]
    difference = np.abs(numpy(actual) - expected)
    np.testing.assert_array_less(np.where(np.isnan(expected) & np.isnan(numpy(actual)), 0, difference), limit)


def soft(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


# Rows in packs and not, more than one to a block and longer than shared memory keeps; and columns.
LINES = [((3, 1), 1), ((40, 10), 1), ((5, 264), 1), ((2, 1001), 1), ((4, 7, 5), 1), ((20, 70), 0), ((1, 26000), 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, dim", LINES)
def test_softmax(shape: tuple[int, ...], dim: int, dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.standard_normal(shape) * 3 + 100, dtype)
    dy = stored(rng.standard_normal(shape), dtype)
    p = soft(a, dim)
    for f, y, dx, scale in (
        (F.softmax, p, p * (dy - (p * dy).sum(dim, keepdims=True)), 1.0),
        (F.log_softmax, np.log(p), dy - p * dy.sum(dim, keepdims=True), 10.0),
    ):
        x = on_device(a, dtype, grad=True)
        result = f(x, dim)
        assert_close(result, y, dtype, scale)
        assert_close(f(x.detach(), dim), y, dtype, scale)
        result.backward(on_device(dy, dtype))
        assert_close(x.grad, dx, dtype, scale * (1 + np.abs(dy.sum(dim)).max()))
    x = on_device(a, dtype, grad=True)
    assert_close(F.softmin(x, dim), soft(-a, dim), dtype, 1)


def test_softmax_of_extremes() -> None:
    rows = [[-np.inf, 0.0, 0.0], [-np.inf] * 3, [np.inf, 0.0, 1.0], [np.nan, 0.0, 1.0], [1e30, -1e30, 1e30]]
    for x in (sw.tensor(rows, device="cuda"), sw.tensor(rows, device="cuda").T.contiguous().T):
        y = numpy(F.softmax(x, 1))
        np.testing.assert_array_equal(y[[0, 4]], [[0, 0.5, 0.5], [0.5, 0, 0.5]])
        assert np.isnan(y[1:4]).all()
    assert F.softmax(sw.zeros(0, 3, device="cuda"), 1).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_gradients_add_up(dtype: str, rng: np.random.Generator) -> None:
    """A second gradient is added to the first, in packs and element by element."""
    for n in (16, 9):
        a = stored(rng.standard_normal((3, n)), dtype)
        x, double = on_device(a, dtype, grad=True), on_device(a, dtype, grad=True)
        w = on_device(stored(rng.standard_normal((3, n)), dtype), dtype)
        (F.softmax(x, 1) * w).sum().backward()
        y = F.softmax(double, 1)
        z = F.softmax(double, 1)
        ((y + z) * w).sum().backward()
        assert x.grad is not None
        assert_close(double.grad, 2 * numpy(x.grad), dtype, 2, stores=2)


# ---- cross-entropy -------------------------------------------------------------------------------------------------


def entropy(
    x: np.ndarray, k: np.ndarray, weights: np.ndarray, reduction: str, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of rows x with coefficients k, and its gradient: "mean" divides by the sum of `weights`."""
    z = -np.log(soft(x, 1))
    rows = (k * z).sum(1)
    divisor = weights.sum() if reduction == "mean" else 1
    loss = rows if reduction == "none" else rows.sum() / divisor
    return loss, (dy if reduction == "none" else dy / divisor)[..., None] * (soft(x, 1) * k.sum(1, keepdims=True) - k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, classes", [(1, 1), (37, 10), (9, 16), (3, 300), (2, 13000)])
def test_cross_entropy(rows: int, classes: int, dtype: str, rng: np.random.Generator) -> None:
    a = stored(rng.standard_normal((rows, classes)) * 2, dtype)
    w = rng.random(classes) + 0.5 if classes > 1 else np.ones(1)
    t = rng.integers(0, classes, rows)
    t[::4] = -100 if rows > 1 else 0
    kept = t >= 0
    cases = list(itertools.product(("none", "mean", "sum"), (None, w), (0.0, 0.1)))
    if rows * classes > 1000:
        cases = [("mean", w, 0.1)]
    for reduction, weight, e in cases:
        by_class = np.ones(classes) if weight is None else stored(w, "float32") if dtype != "float64" else w
        k = (1 - e) * (t[:, None] == np.arange(classes)) * by_class + e / classes * by_class
        k[~kept] = 0
        dy = stored(rng.standard_normal(rows if reduction == "none" else ()), dtype)
        loss, grad = entropy(a, k, by_class[np.where(kept, t, 0)] * kept, reduction, dy)
        x = on_device(a, dtype, grad=True)
        given = (
            None if weight is None else sw.tensor(by_class).to("cuda", sw.float64 if dtype == "float64" else sw.float32)
        )
        target = sw.tensor(t.astype("int32" if e else "int64")).cuda()
        y = F.cross_entropy(x, target, given, reduction=reduction, label_smoothing=e)
        assert_close(y, loss, dtype, float(np.abs(loss).max()) + 1)
        y.backward(on_device(dy, dtype))
        assert_close(x.grad, grad, dtype, float(np.abs(dy).max() * (1 + k.sum(1).max())))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [7, 24])
def test_cross_entropy_of_probabilities(classes: int, dtype: str, rng: np.random.Generator) -> None:
    a, q = stored(rng.standard_normal((6, classes)), dtype), stored(rng.random((6, classes)) / classes, dtype)
    w = np.arange(1, classes + 1) / 4
    for reduction, e in (("mean", 0.0), ("none", 0.25)):
        k = w * ((1 - e) * q + e / classes)
        dy = stored(rng.standard_normal(6 if reduction == "none" else ()), dtype)
        loss, grad = entropy(a, k, np.ones(6), reduction, dy)
        x, target = on_device(a, dtype, grad=True), on_device(q, dtype, grad=True)
        given = sw.tensor(w).to("cuda", sw.float64 if dtype == "float64" else sw.float32)
        y = F.cross_entropy(x, target, given, reduction=reduction, label_smoothing=e)
        assert_close(y, loss, dtype, float(np.abs(loss).max()) + 1)
        y.backward(on_device(dy, dtype))
        assert_close(x.grad, grad, dtype, float(np.abs(dy).max() * (1 + k.sum(1).max())))
        g = dy if reduction == "none" else dy / 6
        assert_close(target.grad, g[..., None] * (1 - e) * w * -np.log(soft(a, 1)), dtype, float(np.abs(g).max() * 40))


def test_images_and_log_probabilities(rng: np.random.Generator) -> None:
    a, t = rng.standard_normal((2, 5, 3, 4)), rng.integers(0, 5, (2, 3, 4))
    x = on_device(a, "float32", grad=True)
    y = F.nll_loss(F.log_softmax(x, 1), sw.tensor(t.astype(np.uint8)).cuda())
    y.backward()
    rows = a.transpose(0, 2, 3, 1).reshape(-1, 5)
    loss, grad = entropy(rows, np.eye(5)[t.ravel()], np.ones(24), "mean", np.ones(()))
    assert_close(y, np.asarray(loss), "float32", 1)
    assert_close(x.grad, grad.reshape(2, 3, 4, 5).transpose(0, 3, 1, 2), "float32", 1)
    z = on_device(a, "float32", grad=True)
    F.cross_entropy(z, sw.tensor(t).cuda()).backward()
    assert z.grad is not None
    assert_close(x.grad, numpy(z.grad), "float32", 1)


def test_bad_targets() -> None:
    x = sw.zeros(4, 3, device="cuda", requires_grad=True)
    y = F.cross_entropy(x, sw.tensor([0, 3, 1, 2], device="cuda"))
    with pytest.raises(IndexError, match="target 3 is out of range for size 3"):
        y.item()
    with pytest.raises(sw.DeviceError, match="expected target on cuda:0"):
        F.cross_entropy(x, sw.tensor([0, 1, 1, 2]))
    with pytest.raises(sw.DeviceError, match="expected weight on cuda:0"):
        F.cross_entropy(x, sw.tensor([0, 1, 1, 2], device="cuda"), weight=sw.ones(3))
    y = F.binary_cross_entropy(sw.tensor([0.5, 1.5], device="cuda"), sw.ones(2, device="cuda"))
    with pytest.raises(ValueError, match=r"expected input values in \[0, 1\] \(probabilities\), got 1.5 \(number 1"):
        y.item()


def test_no_rows() -> None:
    x = sw.zeros(0, 3, device="cuda", requires_grad=True)
    t = sw.zeros(0, dtype=sw.int64, device="cuda")
    assert F.cross_entropy(x, t, reduction="none").shape == (0,) and F.cross_entropy(x, t, reduction="sum").item() == 0
    y = F.cross_entropy(x, t)
    assert np.isnan(y.item())
    y.backward()
    assert x.grad is not None and x.grad.shape == (0, 3)
    assert F.mse_loss(x, x.detach(), reduction="sum").item() == 0


# ---- pointwise losses ----------------------------------------------------------------------------------------------


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(1, 16, n) / 16


def signs(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], n)


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n)


Draw = Callable[[np.random.Generator, int], np.ndarray]
LOSSES: list[tuple[str, dict[str, Any], Draw, Draw]] = [
    ("mse_loss", {}, normal, normal),
    ("l1_loss", {}, normal, normal),
    ("smooth_l1_loss", {"beta": 0.7}, normal, normal),
    ("huber_loss", {"delta": 0.6}, normal, normal),
    ("binary_cross_entropy", {}, unit, unit),
    ("binary_cross_entropy_with_logits", {}, normal, unit),
    ("kl_div", {}, normal, unit),
    ("kl_div", {"log_target": True}, normal, normal),
    ("soft_margin_loss", {}, normal, signs),
    ("hinge_embedding_loss", {"margin": 0.8}, normal, signs),
    ("poisson_nll_loss", {"full": True}, normal, lambda rng, n: 3 * unit(rng, n)),
    ("poisson_nll_loss", {"log_input": False, "full": True}, unit, lambda rng, n: 3 * unit(rng, n)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, options, draw_x, draw_t", LOSSES)
def test_pointwise(
    name: str, options: dict[str, Any], draw_x: Draw, draw_t: Draw, dtype: str, rng: np.random.Generator
) -> None:
    for n, reduction in ((1, "sum"), (37, "none"), (1030, "mean")):
        a, b = stored(draw_x(rng, n), dtype), stored(draw_t(rng, n), dtype)
        dy = stored(rng.random(n) if reduction == "none" else np.ones(()), dtype)
        f = getattr(F, name)
        x, t = sw.tensor(a).requires_grad_(True), sw.tensor(b).requires_grad_(True)
        expected = f(x, t, reduction=reduction, **options)
        expected.backward(sw.tensor(dy))
        for shift in (0, 1):  # the second does not begin at a pack
            u, v = (on_device(np.concatenate([[0.5] * shift, c]), dtype, grad=True) for c in (a, b))
            y = f(u[shift:], v[shift:], reduction=reduction, **options)
            assert_close(y, numpy(expected), dtype, 4 + float(np.abs(numpy(expected)).max()))
            y.backward(on_device(dy, dtype))
            for leaf, reference in ((u, x), (v, t)):
                assert reference.grad is not None and leaf.grad is not None
                assert_close(leaf.grad[shift:], numpy(reference.grad), dtype, 8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights(dtype: str, rng: np.random.Generator) -> None:
    a, b, w = rng.standard_normal((5, 6)), rng.random((5, 6)), rng.random((5, 6)) + 0.5
    cases: list[tuple[Callable[..., sw.Tensor], dict[str, np.ndarray]]] = [
        (F.mse_loss, {"weight": w}),
        (F.huber_loss, {"weight": w}),
        (F.binary_cross_entropy_with_logits, {"weight": w, "pos_weight": w[0] * 2}),
    ]
    for f, extra in cases:
        results = []
        for device, d in (("cpu", "float64"), ("cuda", dtype)):
            x = sw.tensor(stored(a, dtype)).to(device, getattr(sw, d)).requires_grad_(True)
            given = {k: sw.tensor(stored(v, dtype)).to(device, getattr(sw, d)) for k, v in extra.items()}
            y = f(x, sw.tensor(stored(b, dtype)).to(device, getattr(sw, d)), reduction="mean", **given)
            y.backward()
            results.append((y, x.grad))
        for expected, actual in zip(results[0], results[1], strict=True):
            assert_close(actual, numpy(expected), dtype, 1)
