"""Resizing: each dimension is a matrix product in NumPy float64, and its gradient the transposed one."""

import numpy as np
import pytest
from numeric import tensor
from skipway import _core

TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 0.03}


def matrix(mode, size, out, scale_factor=None, align_corners=False):
    """(out, size): row o holds the weights of output o."""
    m = np.zeros((out, size))
    scale = 1 / scale_factor if scale_factor else size / out
    for o in range(out):
        u = scale * (o + 0.5) - 0.5
        if align_corners:
            u = o * (size - 1) / (out - 1) if out > 1 else 0.0
        if mode == "nearest":
            m[o, min(int(np.floor(scale * o)), size - 1)] = 1
        elif mode == "nearest-exact":
            m[o, min(int(np.floor(scale * (o + 0.5))), size - 1)] = 1
        elif mode == "area":
            window = slice(o * size // out, -(-(o + 1) * size // out))
            m[o, window] = 1 / (window.stop - window.start)
        elif mode == "linear":
            for i in range(size):
                m[o, i] = max(0, 1 - abs(np.clip(u, 0, size - 1) - i))
        else:
            for k in range(int(np.floor(u)) - 1, int(np.floor(u)) + 3):
                d, a = abs(u - k), -0.75
                w = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4)
                m[o, min(max(k, 0), size - 1)] += w
    return m


def apply(matrices, x):
    for d, m in enumerate(matrices):
        x = np.moveaxis(np.tensordot(m, x, (1, 2 + d)), 0, 2 + d)
    return x


def check(shape, size, mode, dtype, scale_factor=None, align_corners=None):
    rng = np.random.default_rng(0)
    x = tensor(rng.standard_normal(shape), dtype=getattr(_core, dtype)).requires_grad_()
    options = {"mode": mode}
    if align_corners is not None:
        options["align_corners"] = align_corners
    options.update({"scale_factor": scale_factor} if scale_factor else {"size": size})
    y = _core.interpolate(x, **options)
    kernel = "linear" if mode.endswith("linear") else "cubic" if mode == "bicubic" else mode
    factors = [None] * len(size)
    if scale_factor:
        factors = scale_factor if isinstance(scale_factor, tuple) else [scale_factor] * len(size)
    matrices = [
        matrix(kernel, i, o, None if mode == "area" else f, bool(align_corners))
        for i, o, f in zip(shape[2:], size, factors, strict=True)
    ]
    dy = tensor(rng.standard_normal(y.shape), dtype=getattr(_core, dtype))
    (dx,) = _core._grad([y], [x], [dy], False, False)
    exact = [t.detach().numpy().astype(np.float64) for t in (x, y, dx, dy)]
    tol = TOLERANCE[dtype]
    assert y.shape == (*shape[:2], *size) and y.dtype is x.dtype and y._is_channels_last()
    np.testing.assert_allclose(exact[1], apply(matrices, exact[0]), rtol=tol, atol=tol)
    np.testing.assert_allclose(exact[2], apply([m.T for m in matrices], exact[3]), rtol=tol, atol=tol * 4)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "shape, size", [((2, 3, 5), (8,)), ((2, 17, 6, 7), (12, 3)), ((1, 70, 1, 4), (5, 1)), ((2, 5, 3, 4, 2), (2, 9, 3))]
)
def test_sizes(isa, shape, size, dtype):
    for mode in ("nearest", "nearest-exact", "area"):
        check(shape, size, mode, dtype)
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    for align_corners in (None, False, True):
        check(shape, size, linear, dtype, align_corners=align_corners)
        if len(size) == 2:
            check(shape, size, "bicubic", dtype, align_corners=align_corners)


def test_scale_factors(isa):
    for factor, size in [(2, (10, 14)), (0.5, (2, 3)), (1.5, (7, 10)), ((2.0, 0.6), (10, 4))]:
        for mode in ("nearest", "bilinear", "bicubic", "nearest-exact", "area"):
            check((2, 3, 5, 7), size, mode, "float64", factor)


def test_recomputed_scale():
    x = _core.rand((1, 2, 5, 5), dtype=_core.float64)
    a = _core.interpolate(x, scale_factor=1.5, mode="bilinear", recompute_scale_factor=True)
    np.testing.assert_array_equal(a.numpy(), _core.interpolate(x, (7, 7), mode="bilinear").numpy())


def test_empty_batch_and_one_size_for_all():
    assert _core.interpolate(_core.empty((0, 3, 4, 4)), 8).shape == (0, 3, 8, 8)
    assert _core.interpolate(_core.empty((1, 3, 4, 4, 4)), 2).shape == (1, 3, 2, 2, 2)


def test_nan_stays_where_it_is():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 3, 3] = np.nan
    y = _core.interpolate(_core.from_numpy(x), scale_factor=2, mode="bilinear").numpy()
    assert np.isnan(y[0, 0, 6:, 6:]).all() and not np.isnan(y[0, 0, :5]).any()


@pytest.mark.parametrize(
    "shape, options, error, message",
    [
        ((2, 3), {"size": 2}, _core.ShapeError, r"interpolate: expected \(N, C, ...\) input"),
        ((2, 3, 4, 4), {}, ValueError, "one of size and scale_factor"),
        ((2, 3, 4, 4), {"size": 2, "scale_factor": 2}, ValueError, "one of size and scale_factor"),
        ((2, 3, 4, 4), {"size": (2, 2, 2)}, _core.ShapeError, "size of 2 numbers"),
        ((2, 3, 4, 4), {"size": 0}, _core.ShapeError, "output sizes from 1"),
        ((2, 3, 4, 4), {"scale_factor": 0.1}, _core.ShapeError, "output sizes from 1"),
        ((2, 3, 4, 4), {"scale_factor": -1.0}, ValueError, "positive scale_factor"),
        ((2, 3, 4, 4), {"size": 2, "mode": "linear"}, ValueError, "mode 'linear' does not apply"),
        ((2, 3, 4, 4), {"size": 2, "align_corners": True}, ValueError, "align_corners does not apply"),
        ((2, 3, 4, 4), {"size": 2, "mode": "bilinear", "antialias": True}, ValueError, "antialias"),
        ((2, 3, 0, 4), {"size": 2}, _core.ShapeError, "spatial dimensions of at least 1"),
    ],
)
def test_bad_arguments(shape, options, error, message):
    with pytest.raises(error, match=message):
        _core.interpolate(_core.empty(shape), **options)
