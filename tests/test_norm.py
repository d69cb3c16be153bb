"""Group, instance, layer, RMS and local response norm, and residual_add, against NumPy in float64."""

import numpy as np
import pytest
from norm_tools import ACTS, SHAPES, channel_norm, column, group_norm, sample
from numeric import assert_close, cast, check_directional, numpy, tensor
from skipway import _core


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# ---- group, instance, layer, RMS, local response ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 2] + [(5, 12)], ids=str)
def test_group_and_instance_norm(isa, rng, shape, dtype):
    x, w, b, _ = sample(rng, shape, dtype)
    wide = [a.astype(np.float64) for a in (x, w, b)]
    for groups in {1, 2, 4, 5, shape[1]}:
        if shape[1] % groups == 0 and x[0].size // groups > 1:
            assert_close(
                _core.group_norm(tensor(x), groups, tensor(w), tensor(b)), group_norm(wide[0], groups, *wide[1:]), dtype
            )
    if len(shape) == 2:
        return
    running = tensor(np.zeros(shape[1], dtype)), tensor(np.ones(shape[1], dtype))
    y = _core.instance_norm(tensor(x), *running, tensor(w), tensor(b), momentum=0.5)
    assert_close(y, group_norm(wide[0], shape[1], *wide[1:]), dtype)
    n, axes = x[0, 0].size, tuple(range(2, x.ndim))
    assert_close(running[0], 0.5 * wide[0].mean(axes).mean(0), dtype)
    assert_close(running[1], 0.5 + 0.5 * wide[0].var(axes).mean(0) * n / (n - 1), dtype)
    y = _core.instance_norm(tensor(x), *running, use_input_stats=False)
    stats = tuple(column(numpy(s), x.ndim) for s in running)
    assert_close(y, channel_norm(wide[0], (), stats=stats), dtype)


@pytest.mark.parametrize("shape", [(3, 12, 5, 5), (70, 6, 3), (5, 12), (2, 16, 40, 40)], ids=str)
def test_group_norm_gradients(isa, rng, shape):
    x, w, b, _ = sample(rng, shape, np.float64)
    for groups in (1, 2, 6, shape[1]):
        if shape[1] % groups == 0 and x[0].size > groups:
            check_directional(lambda x, w, b, g=groups: _core.group_norm(x, g, w, b), [x, w, b], rng)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5), (7, 1), (200, 16), (2, 3, 33), (130, 65), (3, 4099), (2000, 17)], ids=str)
def test_layer_and_rms_norm(isa, rng, shape, dtype):
    x = (rng.standard_normal(shape) + 3).astype(dtype)
    w, b = rng.standard_normal((2, shape[-1])).astype(dtype)
    wide = x.astype(np.float64)
    xhat = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    assert_close(_core.layer_norm(tensor(x), shape[-1:]), xhat, dtype)
    assert_close(_core.layer_norm(tensor(x), shape[-1:], tensor(w), tensor(b)), xhat * w + b, dtype)
    assert_close(_core.layer_norm(tensor(x), shape[-1:], None, tensor(b)), xhat + b, dtype)
    rms = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-3)
    assert_close(_core.rms_norm(tensor(x), shape[-1:], tensor(w), 1e-3), rms * w, dtype)
    if dtype == "float64" and shape[-1] > 1:
        check_directional(lambda x, w, b: _core.layer_norm(x, shape[-1:], w, b), [x, w, b], rng)
        check_directional(lambda x, b: _core.layer_norm(x, shape[-1:], None, b), [x, b], rng)
        check_directional(lambda x, w: _core.rms_norm(x, shape[-1:], w), [x, w], rng)


def test_layer_norm_over_several_dimensions_and_strided_input(isa, rng):
    x, w = rng.standard_normal((5, 4, 3, 6)), rng.standard_normal((3, 6))
    check_directional(lambda x, w: _core.layer_norm(x.transpose(0, 1), (3, 6), w), [x, w], rng)


def test_layer_norm_of_values_around_2000_has_unit_variance(isa, rng):
    x = (2000 + rng.standard_normal((64, 512))).astype(np.float32)
    y = numpy(_core.layer_norm(tensor(x), (512,)))
    assert np.abs(y.var(-1) - 1).max() < 1e-4 and np.abs(y.mean(-1)).max() < 1e-5


@pytest.mark.parametrize("parameters", [_core.float32, _core.bfloat16])
def test_bfloat16_norms_compute_in_float32(isa, rng, parameters):
    x = cast(tensor(rng.standard_normal((30, 40, 10))), _core.bfloat16)
    w = cast(tensor(rng.standard_normal(10)), parameters)
    wide = numpy(x)
    xhat = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    y = _core.layer_norm(x, (10,), w)
    assert y.dtype is _core.bfloat16
    assert_close(y, xhat * numpy(w), "bfloat16", 0.51)
    v = cast(tensor(rng.standard_normal(40)), parameters)
    g = _core.group_norm(x, 8, v)
    assert_close(g, group_norm(wide, 8, numpy(v), np.zeros(40)), "bfloat16", 0.51)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_local_response_norm(isa, rng, size):
    x = rng.standard_normal((2, 7, 3, 4))
    s = np.stack([(x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1] ** 2).sum(1) for c in range(7)], 1)
    y = _core.local_response_norm(tensor(x), size, 0.2, 0.75, 1.5)
    assert_close(y, x / (1.5 + 0.2 / size * s) ** 0.75, "float64")
    check_directional(lambda x: _core.local_response_norm(x, size, 0.2, 0.75, 1.5), [x], rng)


# ---- residual_add ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("activation", ACTS)
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 33), (3, 64, 40, 40)], ids=str)
def test_residual_add(isa, rng, shape, scale, activation, dtype):
    x, branch = (cast(tensor(rng.standard_normal(shape)), getattr(_core, dtype)) for _ in range(2))
    y = _core.residual_add(x, branch, scale, activation)
    assert_close(y, ACTS[activation](numpy(x) + scale * numpy(branch)), dtype, 1)
    if dtype == "float64" and shape != (3, 64, 40, 40):
        f = lambda x, b: _core.residual_add(x, b, scale, activation)  # noqa: E731
        check_directional(f, [numpy(x), numpy(branch)], rng, h=1e-7, tolerance=2e-5)


def test_residual_add_keeps_nan_and_handles_layouts(isa, rng):
    x = rng.standard_normal((2, 5, 4, 4)).astype(np.float32)
    x[0, 0, 0, 0] = np.nan
    last = tensor(x.transpose(0, 2, 3, 1)).permute(0, 3, 1, 2)
    y = numpy(_core.residual_add(last, tensor(x), 1.0, "relu"))
    assert np.isnan(y[0, 0, 0, 0]) and np.isnan(y).sum() == 1
    assert np.array_equal(np.nan_to_num(y), np.nan_to_num(np.maximum(x + x, 0).astype(np.float64)))
    assert _core.residual_add(tensor(np.zeros((0, 3))), tensor(np.zeros((0, 3)))).shape == (0, 3)
    wide = tensor(np.zeros((2, 10, 4, 4), np.float32))[:, ::2]
    assert np.array_equal(
        np.nan_to_num(numpy(_core.residual_add(wide, tensor(x)))), np.nan_to_num(x.astype(np.float64))
    )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("columns", [1, 5, 17, 64, 1000, 2049, 5000])
@pytest.mark.parametrize("mean, spread", [(0, 1), (1e4, 1), (-3, 1e-3), (0, 1e-14), (0, 1e25), (1e30, 1e29)])
def test_layer_norm_at_any_scale(columns, mean, spread):
    """Sums of squares that float32 cannot hold, and means far from zero."""
    rng = np.random.default_rng(columns)
    x = (mean + spread * rng.standard_normal((3, columns))).astype(np.float32)
    x[1, 0] += np.float32(100 * spread)  # far from the others
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-30)
    y = _core.layer_norm(_core.from_numpy(x), [columns], None, None, 1e-30).numpy()
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape, groups", [((2, 64, 9, 9), 8), ((20, 16, 6, 5), 4), ((3, 5, 7, 7), 5)])
@pytest.mark.parametrize("mean, spread", [(0, 1), (1e4, 1), (0, 1e-18), (0, 1e22), (5, 0)])
@pytest.mark.parametrize("first", [0, 1e3])
def test_group_norm_at_any_scale(shape, groups, mean, spread, first):
    """Sums relative to a first value that is far from the others, or whose squares float32 cannot hold."""
    rng = np.random.default_rng(3)
    x = (mean + spread * rng.standard_normal(shape)).astype(np.float32)
    x[0, :, 0, 0] += np.float32(first * spread)
    wide = x.astype(np.float64).reshape(shape[0], groups, -1)
    centred = wide - wide.mean(2, keepdims=True)
    want = (centred / np.sqrt((centred**2).mean(2, keepdims=True) + 1e-36)).reshape(shape)
    y = _core.group_norm(_core.from_numpy(x), groups, None, None, 1e-36).numpy()
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=3e-5)
