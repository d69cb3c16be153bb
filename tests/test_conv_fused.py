"""Convolutions with what stands before and behind them, against the same steps one by one."""

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import _core

pytestmark = pytest.mark.usefixtures("restore")

CASES = [  # input, weight, arguments
    ((3, 16, 13, 9), (32, 16, 3, 3), dict(padding=1)),
    ((2, 3, 17, 17), (20, 3, 7, 7), dict(padding=3, stride=2)),
    ((2, 16, 9, 9), (24, 16, 1, 1), dict()),
    ((2, 32, 9, 9), (32, 1, 3, 3), dict(padding=1, groups=32)),
    ((8, 64, 16, 16), (64, 64, 3, 3), dict(padding=1)),
    ((9, 48, 2, 2), (40, 48, 3, 3), dict(padding=1)),
    ((2, 272, 6, 5), (272, 272, 3, 3), dict(padding=1)),
]


def sample(case, dtype):
    x_shape, w_shape, kw = case
    dtype = getattr(sw, dtype)
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, w_shape[:1]))
    x, w, b = (sw.from_numpy(a).to(dtype) for a in (x, w, b))
    y = F.conv2d(x, w, b, **kw)
    residual = sw.from_numpy(rng.standard_normal(y.shape).astype(np.float32)).to(dtype)
    return rng, x, w, b, residual


def per_channel(t):
    return t.view(1, -1, 1, 1)


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_prologue_and_epilogue(isa, case, dtype, algorithm):
    """x' = relu(x * scale + shift), zero outside the image; y = relu6(z * scale + shift + residual)."""
    sw.backends.cpu.set_conv_algorithm(algorithm)
    rng, x, w, b, residual = sample(case, dtype)
    scales = [sw.from_numpy(rng.standard_normal(n).astype(np.float32)) for n in [x.shape[1]] * 2 + [w.shape[0]] * 2]
    y, mean, deviations = _core._conv2d_fused(
        x, w, b, **case[2], in_scale=scales[0], in_shift=scales[1], in_activation="relu",
        scale=scales[2], shift=scales[3], residual=residual, activation="relu6",
    )  # fmt: skip
    assert mean is None and deviations is None
    inner = F.relu(x.float() * per_channel(scales[0]) + per_channel(scales[1])).to(x.dtype)
    z = F.conv2d(inner, w, b, **case[2]).float()
    expected = F.relu6(z * per_channel(scales[2]) + per_channel(scales[3]) + residual.float())
    # Between the steps, bfloat16 is rounded here and there: to 2^-9 of z, times the scale.
    slack = 0.02 if dtype == "bfloat16" else 1e-5
    bound = slack * (1 + float(z.abs().max()) * float(scales[2].abs().max()))
    assert y.dtype == x.dtype
    assert float((y.float() - expected).abs().max()) < bound
    assert float(expected.max()) > 1, "the case sees the activation only"


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_moments_are_those_of_the_result(isa, case, offset, algorithm):
    """Also where the mean is 10,000 times the standard deviation."""
    sw.backends.cpu.set_conv_algorithm(algorithm)
    _, x, w, b, _ = sample(case, "float32")
    runs = []
    for threads in (1, 3):
        sw.set_num_threads(threads)
        runs.append(_core._conv2d_fused(x, w, b + offset, **case[2], moments=True))
    y, mean, deviations = runs[0]
    values = np.moveaxis(y.numpy().astype(np.float64), 1, 0).reshape(y.shape[1], -1)
    # Parts sum 1024 values in float32 about a pivot that may be some standard deviations off: eps * sqrt(1024) * 3 / 3.
    atol = 2.0**-23 * 32 * values.std(axis=1).max()
    np.testing.assert_allclose(mean.numpy(), values.mean(axis=1), rtol=1e-6, atol=atol)
    np.testing.assert_allclose(deviations.numpy(), values.var(axis=1) * values.shape[1], rtol=2e-5)
    for a, c in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(a.numpy(), c.numpy())
    plain = F.conv2d(x, w, b + offset, **case[2])
    np.testing.assert_array_equal(plain.numpy(), y.numpy())


def test_a_constant_channel_has_no_deviations(isa):
    x, w = sw.full((2, 16, 8, 8), 1e5), sw.full((16, 16, 1, 1), 1e5)
    _, mean, deviations = _core._conv2d_fused(x, w, moments=True)
    assert not deviations.numpy().any()
    np.testing.assert_allclose(mean.numpy(), 1.6e11, rtol=1e-6)


def test_moments_of_what_is_not_finite_are_not():
    for value in (np.nan, np.inf):
        x = np.ones((2, 16, 8, 8), np.float32)
        x[1, 3, 4, 4] = value
        _, mean, deviations = _core._conv2d_fused(sw.from_numpy(x), sw.ones((16, 16, 3, 3)), padding=1, moments=True)
        assert not np.isfinite(mean.numpy()).any()
        assert not np.isfinite(deviations.numpy()).any()


def test_an_empty_batch():
    y, mean, deviations = _core._conv2d_fused(sw.zeros((0, 4, 5, 5)), sw.ones((6, 4, 3, 3)), moments=True)
    assert y.shape == (0, 6, 3, 3)
    assert not mean.numpy().any() and not deviations.numpy().any()


def test_errors():
    x, w = sw.zeros((2, 4, 5, 5)), sw.zeros((6, 4, 3, 3))
    with pytest.raises(sw.ShapeError, match=r"expected scale of shape \(6,\), got \(5,\)"):
        _core._conv2d_fused(x, w, scale=sw.ones(5), shift=sw.ones(5))
    with pytest.raises(ValueError, match="expected both a scale and a shift, or neither"):
        _core._conv2d_fused(x, w, scale=sw.ones(6))
    with pytest.raises(TypeError, match="expected in_scale in float32, got float64"):
        _core._conv2d_fused(x, w, in_scale=sw.ones(4, dtype=sw.float64), in_shift=sw.ones(4))
    with pytest.raises(sw.ShapeError, match=r"expected residual of shape \(2, 6, 3, 3\), got \(2, 6, 5, 5\)"):
        _core._conv2d_fused(x, w, residual=sw.zeros((2, 6, 5, 5)))
    with pytest.raises(TypeError, match="expected float32 or bfloat16, got float64"):
        _core._conv2d_fused(x.double(), w.double())
    with pytest.raises(ValueError, match="expected relu, leaky_relu or relu6, got gelu"):
        _core._conv2d_fused(x, w, activation="gelu")
